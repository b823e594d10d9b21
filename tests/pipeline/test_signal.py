"""The state of the input, from its frames and from their absence."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.helpers.fakes import picture
from usviewer.acquire import open_source
from usviewer.calibrate import Calibrator
from usviewer.frame import Frame, ImageGeometry, Pixels, Sector, make_frame
from usviewer.pipeline.signal import SignalState, SignalWatch, picture_state


def frame(pixels: Pixels, at_s: float) -> Frame:
    return make_frame(pixels, "device", 0, capture_time_s=at_s)


def test_a_moving_picture_is_live_and_stalls_when_it_stops_coming() -> None:
    watch = SignalWatch()
    assert watch.state_at(0.0) is SignalState.CONNECTING
    for index in range(10):
        watch.see(frame(picture(index), index / 30))
    assert watch.state_at(0.4) is SignalState.LIVE
    assert watch.state_at(0.9) is SignalState.STALLED
    assert watch.age_s(1.3) == pytest.approx(1.0)
    watch.see(frame(picture(99), 1.4))
    assert watch.state_at(1.4) is SignalState.LIVE


def test_identical_frames_are_frozen_only_after_half_a_second() -> None:
    watch = SignalWatch()
    for index in range(60):
        watch.see(frame(picture(3), index / 60))
        expected = SignalState.FROZEN if index / 60 >= 0.5 else SignalState.LIVE
        assert watch.state_at(index / 60) is expected
    watch.see(frame(picture(4), 1.0))
    assert watch.state_at(1.0) is SignalState.LIVE


def test_a_slow_scan_on_a_fast_screen_is_not_frozen() -> None:
    watch = SignalWatch()
    for index in range(120):
        watch.see(frame(picture(index // 12), index / 60))
        assert watch.state_at(index / 60) is SignalState.LIVE


@pytest.mark.parametrize(
    ("pixels", "state"),
    [
        (np.zeros((480, 640, 3), np.uint8), SignalState.BLACK),
        (np.full((480, 640, 3), (0, 0, 200), np.uint8), SignalState.NO_SIGNAL),
        (picture(1, 640, 480), SignalState.LIVE),
    ],
)
def test_pictures_without_a_scan(pixels: Pixels, state: SignalState) -> None:
    assert picture_state(pixels) is state


def test_a_new_size_withdraws_what_was_measured() -> None:
    watch = SignalWatch()
    assert not watch.see(frame(picture(0), 0.0))
    assert watch.see(frame(picture(1, 128, 96), 0.03))
    assert watch.state_at(0.03) is SignalState.FORMAT_CHANGED
    assert not watch.state_at(0.03).holds_numbers


def test_a_source_that_was_gone_comes_back() -> None:
    watch = SignalWatch()
    watch.see(frame(picture(0), 0.0))
    watch.gone(0.1)
    assert watch.state_at(5.0) is SignalState.GONE
    assert watch.see(frame(picture(1), 6.0))
    assert watch.state_at(6.0).holds_numbers


# --- frozen, whatever runs on around the ultrasound -------------------------------------------------------------------

WIDTH, HEIGHT = 960, 720
FAN = Sector(
    np.array([(400.0, 40.0), (560.0, 40.0), (800.0, 640.0), (160.0, 640.0)]), (160, 40, 800, 640), certain=True
)


def speckle(seed: int = 0) -> Pixels:
    """Something like a scan: grains inside the fan, black around it."""
    grains = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 3)
    grey = np.clip(90 + 35 * grains / grains.std(), 0, 255).astype(np.uint8)
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(inside, [FAN.outline_xy_px.astype(np.int32)], 1)
    return np.repeat((grey * inside)[:, :, None], 3, axis=2)


STILL = speckle()
_other = functools.cache(speckle)


def _clock(index: int) -> Pixels:
    shown = STILL.copy()
    cv2.putText(shown, f"10:15:{index // 10:02d}", (820, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (200, 200, 200), 1)
    return shown


def _blink(index: int) -> Pixels:
    shown = STILL.copy()
    if index // 6 % 2:
        shown[100:116, 900:908] = 255
    return shown


@functools.cache
def _noisy(seed: int, most: int, depth: int) -> Pixels:
    added = np.random.default_rng(seed).integers(-most, most + 1, (HEIGHT, WIDTH, depth), dtype=np.int16)
    return np.clip(STILL.astype(np.int16) + added, 0, 255).astype(np.uint8)


def _noise(index: int, most: int = 1, depth: int = 1) -> Pixels:
    """Some pictures of the same, each with noise of its own."""
    return _noisy(index % 5, most, depth)


@functools.cache
def _packed(seed: int) -> Pixels:
    packed = cv2.imencode(".jpg", _noisy(seed, 3, 1), [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def _jpeg(index: int) -> Pixels:
    """A grabber's own noise, and the compression of what it made of it."""
    return _packed(index % 5)


def _caliper(index: int) -> Pixels:
    """The operator measures on the scanner: a cross moves over the frozen picture."""
    shown = STILL.copy()
    x, y = 420 + 4 * index, 300 + index
    cv2.drawMarker(shown, (x, y), (255, 255, 0), cv2.MARKER_CROSS, 24, 2)
    cv2.putText(shown, f"Dist {index / 10:.1f} cm", (20, 690), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    return shown


STANDING: dict[str, Callable[[int], Pixels]] = {
    "still": lambda _: STILL,
    "clock": _clock,
    "blink": _blink,
    "noise": _noise,
    "noise of 3": lambda index: _noise(index, 3, 3),
    "jpeg": _jpeg,
    "caliper": _caliper,
}


def watched(pictures: Callable[[int], Pixels], count: int, rate: float, sector: Sector | None) -> list[SignalState]:
    watch, states = SignalWatch(), []
    for index in range(count):
        geometry = ImageGeometry(sector=sector)
        watch.see(make_frame(pictures(index), "device", index, capture_time_s=index / rate, geometry=geometry))
        states.append(watch.state_at(index / rate))
    return states


@pytest.mark.parametrize("sector", [FAN, None, replace(FAN, certain=False)], ids=["sector", "none", "guessed"])
@pytest.mark.parametrize("name", STANDING)
def test_a_frozen_scanner_is_frozen_within_a_second_and_stays_so(name: str, sector: Sector | None) -> None:
    states = watched(STANDING[name], 24, 10.0, sector)
    assert set(states[:4]) == {SignalState.LIVE}
    assert set(states[10:]) == {SignalState.FROZEN}, "it never flips back, with the second hand or the cursor"


def _moving_slowly(index: int) -> Pixels:
    """A vessel at rest, at the turn of a breath: a shift of 0.1 pixel from frame to frame."""
    shift = np.float32([(1, 0, 0), (0, 1, 0.1 * index)])
    return np.asarray(cv2.warpAffine(STILL, shift, (WIDTH, HEIGHT)), np.uint8)


def _strip(index: int) -> Pixels:
    """An M-mode strip that runs on below a picture that stands."""
    shown = STILL.copy()
    shown[480:700] = np.roll(_other(7)[200:420], 3 * index, axis=1)
    return shown


@pytest.mark.parametrize(
    ("pictures", "sector"),
    [
        (lambda index: _other(index % 6), FAN),
        (_moving_slowly, FAN),
        (_moving_slowly, None),
        (_strip, None),
        (lambda index: _noise(index // 4, 12), FAN),  # 15 scans a second on a screen of 60
    ],
    ids=["speckle", "slow", "slow, no sector", "strip", "repeated"],
)
def test_what_moves_is_never_frozen(pictures: Callable[[int], Pixels], sector: Sector | None) -> None:
    assert set(watched(pictures, 40, 20.0, sector)) == {SignalState.LIVE}


def test_it_is_live_again_with_the_first_picture_that_moved() -> None:
    states = watched(lambda index: _noise(index) if index < 20 else _other(1 + index % 4), 24, 15.0, FAN)
    assert states[19] is SignalState.FROZEN and set(states[20:]) == {SignalState.LIVE}


@pytest.mark.parametrize(
    "options", ["", "&probe_motion_mm=0&respiration_mm=0", "&probe_motion_mm=0&respiration_mm=0&pulsation_mm=0.4"]
)
def test_the_live_phantom_is_never_frozen_however_still_it_is_held(options: str) -> None:
    watch, calibrator = SignalWatch(), Calibrator()
    with open_source(f"phantom:?width=480&height=360&fps=15&frames=60{options}") as source:
        for index, frame in enumerate(source):
            watch.see(calibrator(replace(frame, key=replace(frame.key, capture_time_s=index / 15))))
            assert watch.state_at(index / 15) is SignalState.LIVE, index
