"""The state of the input, from its frames and from their absence."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes import picture
from usviewer.frame import Frame, Pixels, make_frame
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
