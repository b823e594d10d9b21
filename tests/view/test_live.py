"""Live mode in the real window: pairs, states, freeze, exchange of model and scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.fakes import FakeDevice, FakeEngine, picture
from usviewer.calibrate.calibrator import GIVEN_FOR_OTHER_SIZE
from usviewer.errors import UserError
from usviewer.frame import digest_of
from usviewer.pipeline.signal import SignalState
from usviewer.units import ScaleSource, isotropic
from usviewer.view.answer import DASH
from usviewer.view.live import scaled_for
from usviewer.view.main_window import MainWindow


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    monkeypatch.setattr("usviewer.view.live.open_source", lambda _uri: device.open())
    return device


@pytest.fixture
def live(window: MainWindow, device: FakeDevice, qtbot: Any) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A running window on the fake grabber; call it with what to wait for."""
    window.desk.set_engine(FakeEngine().engine())
    window.open_live("device:usb-fake")
    yield lambda condition: qtbot.waitUntil(condition, timeout=10_000)
    device.frames.put(None)


def state(window: MainWindow) -> SignalState | None:
    return window.live.status.state if window.live.status else None


def test_the_pair_on_the_screen_belongs_together(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.reading is not None)
    frame, reading, _, shown = window.desk.shown()
    assert frame is not None and reading is not None and shown is not None
    assert reading.key == frame.key == shown.scene.key
    assert digest_of(frame.pixels) == reading.key.digest
    assert window.desk.canvas.scene is shown.scene


def test_freeze_holds_the_exact_pair_while_the_source_goes_on(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.reading is not None)
    held = window.desk.shown()
    window.run("freeze")
    for value in range(2, 6):
        device.frames.put(picture(value))
    live(lambda: window.live.status is not None and window.live.status.captured == 5)
    window.tick()
    frame, reading, _, shown = window.desk.shown()
    assert (frame, reading) == held[:2]
    assert shown is not None and shown.frame is held[0]
    assert window.desk.canvas.frame is held[0]
    window.run("freeze")
    live(lambda: (now := window.desk.on_screen.frame) is not None and now.key.index == 4)


def test_freezing_a_bare_picture_analyses_that_very_picture(window: MainWindow, device: FakeDevice, live: Any) -> None:
    window.desk.set_engine(None)
    device.frames.put(picture(3))
    live(lambda: window.desk.on_screen.frame is not None)
    assert window.desk.on_screen.reading is None
    window.live._run.set_engine(None)  # the run stays without a model: only the freeze may analyse
    window.desk._engine = FakeEngine().engine()
    window.run("freeze")
    live(lambda: window.desk.on_screen.reading is not None)
    frame, reading, _, _ = window.desk.shown()
    assert frame is not None and reading is not None and reading.key == frame.key


def test_a_stalled_source_says_so_and_withdraws_the_numbers(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.reading is not None)
    live(lambda: state(window) is SignalState.STALLED)
    banner = window.desk.canvas._banner
    assert banner is not None and banner.text.startswith("Stalled")
    assert window.rail.answer is not None and window.rail.answer.number == DASH
    device.frames.put(picture(2))
    live(lambda: window.desk.canvas._banner is None)


def test_a_black_picture_carries_no_overlay(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.reading is not None)
    device.frames.put(np.zeros((48, 64, 3), np.uint8))
    live(lambda: state(window) is SignalState.BLACK)
    window.tick()
    assert window.desk.on_screen.reading is None
    banner = window.desk.canvas._banner
    assert banner is not None and banner.text == "Black picture"


def test_a_source_that_is_gone_says_so_and_comes_back(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.reading is not None)
    device.frames.put(UserError("The grabber was pulled out", "Plug it in again"))
    live(lambda: state(window) is SignalState.GONE)
    live(lambda: window.desk.notify.current is not None)
    assert "pulled out" in window.desk.notify.current.text
    device.frames.put(picture(2))
    live(lambda: window.desk.canvas._banner is None)
    live(lambda: window.desk.notify.current is None)


def test_the_model_is_exchanged_without_stopping_the_picture(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.reading is not None)
    run = window.live._run
    other = FakeEngine()
    window.desk.set_engine(other.engine())
    device.frames.put(picture(2))
    live(lambda: bool(other.seen))
    assert window.live._run is run and device.opened == 1


def test_a_new_scale_withdraws_what_was_measured(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.reading is not None)
    window.desk.set_user_spacing(isotropic(0.2, ScaleSource.USER))
    live(lambda: window.desk.on_screen.reading is None)
    device.frames.put(picture(2))
    live(lambda: window.desk.on_screen.reading is not None)
    frame = window.desk.on_screen.frame
    assert frame is not None and frame.geometry is not None
    assert [region.spacing.y_mm_per_px for region in frame.geometry.regions if region.spacing] == [0.2]


def test_the_users_scale_does_not_hold_on_another_picture_size() -> None:
    from usviewer.frame import make_frame

    calibrate = scaled_for(isotropic(0.2, ScaleSource.USER), (64, 48))
    same = calibrate(make_frame(picture(0), "s", 0))
    other = calibrate(make_frame(picture(0, 80, 48), "s", 1))
    assert same.geometry is not None and any(region.spacing for region in same.geometry.regions)
    assert other.geometry is not None and not any(region.spacing for region in other.geometry.regions)


def test_a_source_that_changes_its_size_loses_the_users_millimetres_until_it_is_back(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    window.desk.set_engine(FakeEngine().engine())
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.reading is not None)
    window.desk.set_user_spacing(isotropic(0.2, ScaleSource.USER))
    for number, (size, holds) in enumerate((((64, 48), True), ((80, 48), False), ((64, 48), True)), 2):
        device.frames.put(picture(number, *size))
        live(lambda size=size, number=number: _shown_size(window) == (size, picture(number, *size).mean()))
        geometry = window.desk.on_screen.frame.geometry
        assert bool(geometry.regions) is holds
        assert holds or geometry.no_scale_reason == GIVEN_FOR_OTHER_SIZE


def _shown_size(window: MainWindow) -> tuple[tuple[int, int], float] | None:
    frame = window.desk.on_screen.frame
    return None if frame is None else ((frame.width_px, frame.height_px), frame.pixels.mean())


def test_a_bug_in_a_thread_is_raised_where_the_user_hears_of_it(
    window: MainWindow, device: FakeDevice, live: Any, qtbot: Any
) -> None:
    engine = FakeEngine()

    def broken(*_: object) -> Any:
        raise ZeroDivisionError("bug")

    engine.predict = broken  # type: ignore[method-assign]
    with qtbot.captureExceptions() as raised:
        window.desk.set_engine(engine.engine())
        device.frames.put(picture(1))
        live(lambda: bool(raised))
    assert raised[0][0] is ZeroDivisionError


def test_closing_the_source_returns_to_the_start(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.desk.on_screen.frame is not None)
    device.frames.put(None)
    window.run("close_source")
    assert window.welcoming and window.desk.on_screen.frame is None
    assert not window.live.active
