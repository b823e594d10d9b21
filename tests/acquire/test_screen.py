"""A region of the screen, on a display of its own (Xvfb) that these tests start; skipped where there is none."""

from __future__ import annotations

import itertools

import pytest

from tests.helpers.displays import Display, display
from usviewer.acquire import open_source
from usviewer.acquire.screen import ScreenAddress, parse_screen_uri
from usviewer.errors import UserError

__all__ = ["display"]


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("screen:", ScreenAddress()),
        ("screen:2", ScreenAddress(2)),
        ("screen:0?rate=12.5", ScreenAddress(0, None, 12.5)),
        ("screen:0?rate=12,5", ScreenAddress(0, None, 12.5)),
        ("screen:?region=100,50,1280x720&rate=60", ScreenAddress(1, (100, 50, 1280, 720), 60.0)),
        ("screen:?region=0,0,1280,800", ScreenAddress(1, (0, 0, 1280, 800))),
    ],
)
def test_an_address_says_monitor_region_and_rate(uri: str, meant: ScreenAddress) -> None:
    assert parse_screen_uri(uri) == meant


@pytest.mark.parametrize(
    "uri",
    [
        "screen:left",
        "screen:-1",
        "screen:?region=1,2,3",
        "screen:?region=abc",
        "screen:?region=1,2,3,4,5",
        "screen:?region=-5,0,100x100",
        "screen:?rate=fast",
        "screen:?rate=0",
        "screen:?rate=500",
        "screen:?rate=3e1",
        "screen:?rate=\uff13\uff10",
        "screen:?region=\u0661,0,10x10",
        "screen:\u0662",
        "screen:?monitor=2",
        "screen:?nothing",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="screen"):
        parse_screen_uri(uri)


def test_without_a_display_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(UserError, match="No screen can be captured here"):
        open_source("screen:")


def test_what_the_screen_shows_is_what_comes(display: Display) -> None:
    with open_source("screen:") as source:
        frame = next(iter(source))
        assert (frame.width_px, frame.height_px) == display.size_px
        assert frame.pixels[5, 5].tolist() == list(display.colour)
        assert frame.pixels.min(axis=(0, 1)).tolist() == frame.pixels.max(axis=(0, 1)).tolist()


def test_a_region_is_of_its_own_size_and_may_not_reach_beyond(display: Display) -> None:
    width, height = display.size_px
    with open_source("screen:?region=10,20,160x120&rate=240") as source:
        assert (source.info.width_px, source.info.height_px) == (160, 120)
        assert source.info.kind == "screen" and source.info.live and source.info.frames_per_second == 240
        assert next(iter(source)).pixels.shape == (120, 160, 3)
    with pytest.raises(UserError, match="beyond the screen"):
        open_source(f"screen:?region=1,0,{width}x{height}")
    with pytest.raises(UserError, match="too small"):
        open_source("screen:?region=0,0,16x16")
    with pytest.raises(UserError, match="no screen 7"):
        open_source("screen:7")


def test_pictures_come_at_the_rate_and_never_late_ones(display: Display) -> None:
    with open_source("screen:?region=0,0,64x64&rate=50") as source:
        times = [frame.key.capture_time_s for frame, _ in zip(source, range(6), strict=False)]
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert min(steps) > 0.010 and sum(steps) >= 0.090
