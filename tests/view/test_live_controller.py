"""Live mode in the real window: pairs, states, freeze, exchange of model and scale."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtWidgets import QPushButton

from tests.helpers.fakes import FakeDevice, FakeEngine, picture
from usviewer.calibrate.calibrator import GIVEN_FOR_OTHER_SIZE
from usviewer.errors import UserError
from usviewer.frame import Frame, digest_of
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure.findings import base
from usviewer.measure.reading import Status
from usviewer.overlay.items import TextPanel
from usviewer.overlay.scene import Style
from usviewer.overlay.text import DASH, WAITING, ReadingText
from usviewer.pipeline.signal import SignalState
from usviewer.units import ScaleSource, isotropic
from usviewer.view.capture_controller import scene_of
from usviewer.view.live_controller import RETRY
from usviewer.view.main_window import MainWindow


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    device = FakeDevice()
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: device.open())
    return device


@pytest.fixture
def live(window: MainWindow, device: FakeDevice, qtbot: Any) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A running window on the fake grabber; call it with what to wait for."""
    window.app_state.set_engine(FakeEngine().engine())
    window.open_live("device:usb-fake")
    yield lambda condition: qtbot.waitUntil(condition, timeout=10_000)
    device.frames.put(None)


def state(window: MainWindow) -> SignalState | None:
    return window.live.status.state if window.live.status else None


def said(window: MainWindow) -> ReadingText:
    assert window.readings.answer is not None
    return window.readings.answer


def kept_lines(window: MainWindow) -> list[str]:
    """What would be drawn into the picture if it were saved now."""
    now = window.presenter.to_keep()
    assert now.frame is not None
    context = window.presenter.text_context(now, is_saved=True)
    scene = scene_of(now.frame, now.reading, now.summary, Style(), "", context)
    panel = next(item for item in scene.items if isinstance(item, TextPanel))
    return [line.text for line in panel.lines]


def test_the_pair_on_the_screen_belongs_together(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    now = window.app_state.on_screen
    frame, reading, shown = now.frame, now.reading, now.shown
    assert frame is not None and reading is not None and shown is not None
    assert reading.key == frame.key == shown.scene.key
    assert digest_of(frame.pixels) == reading.key.digest
    assert window.canvas.scene is shown.scene


def test_freeze_holds_the_exact_pair_while_the_source_goes_on(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    held = window.app_state.on_screen
    window.run("freeze")
    for value in range(2, 6):
        device.frames.put(picture(value))
    live(lambda: window.live.status is not None and window.live.status.captured == 5)
    window.tick()
    now = window.app_state.on_screen
    frame, reading, shown = now.frame, now.reading, now.shown
    assert (frame, reading) == (held.frame, held.reading)
    assert shown is not None and shown.frame is held.frame
    assert window.canvas.frame is held.frame
    window.run("freeze")
    live(lambda: (now := window.app_state.on_screen.frame) is not None and now.key.index == 4)


def test_live_a_frame_without_an_aggregate_is_a_dash_and_frozen_it_is_its_own_number(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    live(lambda: said(window).reason == WAITING)
    assert said(window).number == DASH and ("now", "20 px") in said(window).beside
    window.run("freeze")
    assert (said(window).number, said(window).unit, said(window).basis) == ("20", "px", "this frame")


def test_what_is_saved_of_a_live_picture_says_what_the_screen_says(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    live(lambda: said(window).reason == WAITING)
    assert kept_lines(window)[1:2] == [DASH] and WAITING in kept_lines(window)
    window.run("freeze")
    assert kept_lines(window)[1:2] == ["20"] and said(window).number_sentence in kept_lines(window)


def test_freezing_a_bare_picture_analyses_that_very_picture(window: MainWindow, device: FakeDevice, live: Any) -> None:
    window.app_state.set_engine(None)
    device.frames.put(picture(3))
    live(lambda: window.app_state.on_screen.frame is not None)
    assert window.app_state.on_screen.reading is None
    window.live._run.set_model(None)  # the run stays without a model: only the freeze may analyse
    window.app_state._engine = FakeEngine().engine()
    window.run("freeze")
    live(lambda: window.app_state.on_screen.reading is not None)
    frame, reading = window.app_state.on_screen.frame, window.app_state.on_screen.reading
    assert frame is not None and reading is not None and reading.key == frame.key


def test_a_stalled_source_says_so_and_withdraws_the_numbers(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    live(lambda: state(window) is SignalState.STALLED)
    banner = window.canvas.banner
    assert banner is not None and banner.text.startswith("Stalled")
    assert window.readings.answer is not None and window.readings.answer.number == DASH
    device.frames.put(picture(2))
    live(lambda: window.canvas.banner is None)


def test_a_black_picture_carries_no_overlay(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    device.frames.put(np.zeros((48, 64, 3), np.uint8))
    live(lambda: state(window) is SignalState.BLACK)
    window.tick()
    assert window.app_state.on_screen.reading is None
    banner = window.canvas.banner
    assert banner is not None and banner.text == "Black picture"


def test_a_source_that_is_gone_says_so_and_comes_back(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    device.frames.put(UserError("The grabber was pulled out", "Plug it in again"))
    live(lambda: state(window) is SignalState.GONE)
    live(lambda: window.notify.current is not None)
    assert "pulled out" in window.notify.current.text
    device.frames.put(picture(2))
    live(lambda: window.canvas.banner is None)
    live(lambda: window.notify.current is None)


def test_the_model_is_exchanged_without_stopping_the_picture(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    run = window.live._run
    other = FakeEngine()
    window.app_state.set_engine(other.engine())
    device.frames.put(picture(2))
    live(lambda: bool(other.seen))
    assert window.live._run is run and device.opened == 1


def test_a_new_scale_withdraws_what_was_measured(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    window.app_state.set_user_spacing(isotropic(0.2, ScaleSource.USER))
    live(lambda: window.app_state.on_screen.reading is None)
    device.frames.put(picture(2))
    live(lambda: window.app_state.on_screen.reading is not None)
    frame = window.app_state.on_screen.frame
    assert frame is not None and frame.geometry is not None
    assert [region.spacing.y_mm_per_px for region in frame.geometry.regions if region.spacing] == [0.2]


def test_a_source_that_changes_its_size_loses_the_users_millimetres_until_it_is_back(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    window.app_state.set_engine(FakeEngine().engine())
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    window.app_state.set_user_spacing(isotropic(0.2, ScaleSource.USER))
    for number, (size, holds) in enumerate((((64, 48), True), ((80, 48), False), ((64, 48), True)), 2):
        device.frames.put(picture(number, *size))
        live(lambda size=size, number=number: _shown_size(window) == (size, picture(number, *size).mean()))
        geometry = window.app_state.on_screen.frame.geometry
        assert bool(geometry.regions) is holds
        assert holds or geometry.no_scale_reason == GIVEN_FOR_OTHER_SIZE


def _shown_size(window: MainWindow) -> tuple[tuple[int, int], float] | None:
    frame = window.app_state.on_screen.frame
    return None if frame is None else ((frame.width_px, frame.height_px), frame.pixels.mean())


def test_a_bug_in_a_thread_is_raised_where_the_user_hears_of_it(
    window: MainWindow, device: FakeDevice, live: Any, qtbot: Any
) -> None:
    engine = FakeEngine()

    def broken(*_: object) -> Any:
        raise ZeroDivisionError("bug")

    engine.predict = broken  # type: ignore[method-assign]
    with qtbot.captureExceptions() as raised:
        window.app_state.set_engine(engine.engine())
        device.frames.put(picture(1))
        live(lambda: bool(raised))
    assert raised[0][0] is ZeroDivisionError


def test_closing_the_source_returns_to_the_start(window: MainWindow, device: FakeDevice, live: Any) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.frame is not None)
    device.frames.put(None)
    window.run("close_source")
    assert window.welcoming and window.app_state.on_screen.frame is None
    assert not window.live.active


# --- a model that fails -----------------------------------------------------------------------------------------------


class Moody(FakeEngine):
    """Raises on every frame, until its mood has passed."""

    mood: Exception | None = MemoryError()

    def predict(self, frame: Frame, state: TemporalGate | None = None) -> Prediction:
        if self.mood is not None:
            raise self.mood
        return super().predict(frame, state)


def put_until(device: FakeDevice, live: Any, condition: Callable[[], bool]) -> None:
    """Pictures, each another one, until something is so."""
    value = [0]

    def fed() -> bool:
        value[0] += 1
        device.frames.put(picture(value[0]))
        return condition()

    live(fed)


def test_a_bad_frame_says_why_over_the_running_picture(window: MainWindow, device: FakeDevice, live: Any) -> None:
    engine = Moody()
    window.app_state.set_engine(engine.engine())
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    banner = window.canvas.banner
    assert banner is not None and "not enough memory" in banner.detail
    assert window.readings.answer is not None and window.readings.answer.number == DASH
    engine.mood = None
    device.frames.put(picture(2))
    live(lambda: window.canvas.banner is None)
    assert window.notify.current is None, "one frame is not worth a message that stays"


def test_a_model_that_was_taken_off_is_offered_again_with_its_reason(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    engine = Moody()
    window.app_state.set_engine(engine.engine())
    put_until(device, live, lambda: window.live.status is not None and window.live.status.model_problem != "")
    live(lambda: window.notify.current is not None)
    said = window.notify.current
    assert said is not None and "not enough memory" in said.text and list(said.answers) == [RETRY]
    banner = window.canvas.banner
    assert banner is not None and "taken off" in banner.text and "not enough memory" in banner.detail
    assert window.app_state.on_screen.note == "", "nothing is called slow"
    frame = window.app_state.on_screen.frame
    device.frames.put(picture(150))
    live(lambda: window.app_state.on_screen.frame is not frame)  # the picture goes on
    engine.mood = None
    button = next(b for b in window.notify.findChildren(QPushButton) if b.text() == RETRY)
    button.click()
    put_until(device, live, lambda: window.app_state.on_screen.reading is not None)
    live(lambda: window.notify.current is None and window.canvas.banner is None)


def test_a_held_picture_that_cannot_be_read_says_why(window: MainWindow, device: FakeDevice, live: Any) -> None:
    window.app_state.set_engine(None)
    device.frames.put(picture(3))
    live(lambda: window.app_state.on_screen.frame is not None)
    window.app_state._engine = Moody().engine()
    window.run("freeze")
    live(lambda: window.app_state.on_screen.reading is not None)
    reading, banner = window.app_state.on_screen.reading, window.canvas.banner
    assert reading is not None and reading.status is Status.REFUSED
    assert banner is not None and "not enough memory" in banner.detail


# --- what is saved is what is shown -----------------------------------------------------------------------------------


def test_between_the_old_model_and_the_first_result_of_the_new_one_nothing_is_saved(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    gate = threading.Event()
    window.app_state.set_engine(FakeEngine(gate).engine())
    for _ in range(2):  # at once, and with the next turn
        with pytest.raises(UserError, match="just being measured"):
            window.presenter.to_keep()
        window.tick()
    device.frames.put(picture(2))
    gate.set()
    live(lambda: window.app_state.on_screen.reading is not None)
    now = window.presenter.to_keep()
    assert now.frame is not None and now.reading is not None and now.reading.key == now.frame.key


def test_a_held_picture_is_saved_with_its_outline_or_not_at_all(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    window.app_state.set_engine(None)
    device.frames.put(picture(3))
    live(lambda: window.app_state.on_screen.frame is not None)
    assert window.presenter.to_keep().reading is None, "without a model the bare picture is what is shown"
    gate = threading.Event()
    window.app_state._engine = FakeEngine(gate).engine()
    window.run("freeze")
    with pytest.raises(UserError, match="just being measured"):
        window.presenter.to_keep()
    gate.set()
    live(lambda: window.app_state.on_screen.reading is not None)
    assert window.presenter.to_keep().note == "Frozen"


def test_a_site_that_is_said_of_a_held_picture_is_saved_with_it(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    window.run("freeze")
    window.run("site_mid")
    now = window.presenter.to_keep()
    assert now.reading is not None and now.reading.site == window.app_state.given.site != ""


def test_an_age_that_is_said_of_a_held_picture_counts_where_a_site_is_said_too(
    window: MainWindow, device: FakeDevice, live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = frozenset({"plane", "site", "gestational_age_weeks"})
    monkeypatch.setitem(base._FINDINGS, "aorta", replace(base._FINDINGS["aorta"], context=used))
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    window.run("freeze")
    window.app_state.set_given(replace(window.app_state.given, gestational_age_weeks=20.0))
    assert window.app_state.on_screen.reading is None and window.app_state.on_screen.pending
    live(lambda: window.app_state.on_screen.reading is not None)


def test_a_picture_without_overlay_because_the_model_is_slow_is_saved_as_it_is_shown(
    window: MainWindow, device: FakeDevice, live: Any
) -> None:
    gate = threading.Event()
    gate.set()
    window.app_state.set_engine(FakeEngine(gate).engine())
    device.frames.put(picture(1))
    live(lambda: window.app_state.on_screen.reading is not None)
    gate.clear()
    put_until(device, live, lambda: "too slow" in window.app_state.on_screen.note)
    assert window.presenter.to_keep().reading is None
    gate.set()
