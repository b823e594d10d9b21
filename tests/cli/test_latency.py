from __future__ import annotations

import numpy as np
import pytest

from usviewer.cli.latency import ENOUGH, SETTLING, Loopback, check_source
from usviewer.cli.timecode import pattern
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame

NOTHING = np.full((192, 256), 128, np.uint8)


def film(number: int | None, at_s: float) -> Frame:
    picture = NOTHING if number is None else pattern(number, 8)
    return make_frame(picture, "screen:", 0, capture_time_s=at_s)


def run(delay_s: float, count: int, unreadable: tuple[int, ...] = ()) -> Loopback:
    """A window that changes every 50 ms, filmed every 25 ms with a delay."""
    now = [0.0]
    loopback = Loopback(lambda: now[0])
    for number in range(count):
        now[0] = number * 0.05
        loopback.shown(number)
        for part in (0.0, 0.025):
            seen = None if number in unreadable else number
            loopback.filmed(film(seen, now[0] + part + delay_s))
    return loopback


def test_the_delay_is_from_painting_to_the_first_picture() -> None:
    result = run(0.012, 40).result("screen:")
    assert (result.filmed, result.unreadable, result.counted) == (80, 0, 39 - SETTLING)
    assert result.p50_ms == pytest.approx(12.0) and result.maximum_ms == pytest.approx(12.0)
    assert result.interval_ms == pytest.approx(25.0, rel=0.05)
    assert "p50 12.0" in result.lines()[0] and "80 pictures filmed" in result.lines()[1]


def test_pictures_that_cannot_be_read_are_counted_and_time_nothing() -> None:
    result = run(0.012, 40, unreadable=(20, 21)).result("screen:")
    assert result.unreadable == 4
    # Nobody knows whether the first picture after them was the first of its number.
    assert result.counted == 39 - SETTLING - 3


def test_a_number_that_was_never_shown_is_not_believed() -> None:
    loopback = run(0.012, 40)
    loopback.filmed(film(9000, 3.0))
    assert loopback.result("screen:").unreadable == 1


def test_nothing_filmed_nothing_read_or_too_little_is_one_sentence() -> None:
    with pytest.raises(UserError, match="No picture came from device:card"):
        Loopback().result("device:card")
    blind = Loopback()
    blind.filmed(film(None, 0.0))
    with pytest.raises(UserError, match="could not be read on any of 1 pictures"):
        blind.result("screen:")
    with pytest.raises(UserError, match="changes of the pattern were seen"):
        run(0.01, ENOUGH // 2).result("screen:")


def test_only_what_films_is_asked() -> None:
    check_source("screen:2")
    check_source("device:card")
    for uri in ("phantom:", "clip.mp4"):
        with pytest.raises(UserError, match="cannot film"):
            check_source(uri)
