"""Live: newest wins, an overlay belongs to its frame, numbers are withdrawn when the input is not live; timings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.helpers.fakes import FakeClip, FakeDevice, FakeEngine, picture, wait_until
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry, Region
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure.findings import EMPTY_REPORT
from usviewer.measure.reading import Status
from usviewer.pipeline.analyzer import Calibrate, FrameResult
from usviewer.pipeline.live_run import KEPT, MOST_FAILURES, LiveRun, Percentiles, Timings
from usviewer.pipeline.signal import SignalState
from usviewer.pipeline.worker import JOIN_DEADLINE_S, Mailbox
from usviewer.units import ScaleSource, isotropic


def same(frame: Frame) -> Frame:
    return frame


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def running(device: FakeDevice) -> Iterator[tuple[LiveRun, FakeDevice, FakeEngine]]:
    engine = FakeEngine()
    run = LiveRun(device.open, same, engine.engine())
    run.start()
    yield run, device, engine
    device.frames.put(None)
    if engine.gate:
        engine.gate.set()
    assert run.stop()
    assert run.stop(), "stopping twice is allowed"


def test_a_mailbox_keeps_only_the_newest() -> None:
    mailbox: Mailbox[int] = Mailbox()
    for number in range(5):
        mailbox.put(number)
    assert (mailbox.take(0.0), mailbox.replaced) == (4, 4)
    assert mailbox.take(0.0) is None


def test_closing_a_mailbox_wakes_the_waiter() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int | None] = []
    waiter = threading.Thread(target=lambda: taken.append(mailbox.take(60.0)))
    waiter.start()
    mailbox.close()
    waiter.join(5)
    assert taken == [None]


def test_the_pair_that_is_shown_belongs_together(running: tuple[LiveRun, FakeDevice, FakeEngine]) -> None:
    run, device, _ = running
    for value in range(8):
        device.frames.put(picture(value))
    wait_until(lambda: (pair := run.snapshot().pair) is not None and pair.frame.key.index == 7)
    frame, pair, note = run.snapshot().to_show()
    assert frame is not None and pair is not None and not note
    assert pair.reading.key == frame.key == pair.prediction.key


def test_a_slow_model_never_paints_on_a_newer_picture(device: FakeDevice) -> None:
    gate = threading.Event()
    engine = FakeEngine(gate)
    run = LiveRun(device.open, same, engine.engine())
    run.start()
    try:
        device.frames.put(picture(0))
        wait_until(lambda: run.snapshot().newest is not None)
        gate.set()
        wait_until(lambda: run.snapshot().pair is not None)
        gate.clear()
        threading.Event().wait(0.2)  # more than MAX_PAIR_AGE_S between the two pictures
        device.frames.put(picture(1))
        wait_until(lambda: (newest := run.snapshot().newest) is not None and newest.key.index == 1)
        frame, pair, note = run.snapshot().to_show()
        assert frame is not None and frame.key.index == 1
        assert pair is None
        assert "too slow" in note
    finally:
        gate.set()
        device.frames.put(None)
        assert run.stop()


def test_frames_that_come_while_the_model_is_busy_are_dropped_and_counted(device: FakeDevice) -> None:
    gate = threading.Event()
    engine = FakeEngine(gate)
    run = LiveRun(device.open, same, engine.engine())
    run.start()
    try:
        device.frames.put(picture(0))
        wait_until(lambda: run.snapshot().status.captured == 1)
        wait_until(lambda: run._waiting._item is None)  # the model has taken it
        for value in range(1, 6):
            device.frames.put(picture(value))
        wait_until(lambda: run.snapshot().status.captured == 6)
        assert run.snapshot().status.dropped == 4
        gate.set()
        wait_until(lambda: (pair := run.snapshot().pair) is not None and pair.frame.key.index == 5)
        assert len(engine.seen) == 2
    finally:
        gate.set()
        device.frames.put(None)
        assert run.stop()


def test_a_lost_source_says_so_withdraws_and_comes_back(running: tuple[LiveRun, FakeDevice, FakeEngine]) -> None:
    run, device, _ = running
    device.frames.put(picture(0))
    wait_until(lambda: run.snapshot().pair is not None)
    device.frames.put(UserError("The grabber was pulled out", "Plug it in again"))
    wait_until(lambda: run.snapshot().status.state is SignalState.GONE)
    assert "pulled out" in run.snapshot().status.message
    assert run.snapshot().summary is None
    device.frames.put(picture(1))
    wait_until(lambda: run.snapshot().status.state.holds_numbers)
    assert device.opened == 2, "the same device is opened again, no other"


def test_exchanging_the_model_keeps_the_picture_and_drops_the_old_result(
    running: tuple[LiveRun, FakeDevice, FakeEngine],
) -> None:
    run, device, _ = running
    device.frames.put(picture(0))
    wait_until(lambda: run.snapshot().pair is not None)
    run.set_model(None)
    assert run.snapshot().pair is None
    assert run.snapshot().newest is not None
    other = FakeEngine()
    run.set_model(other.engine())
    device.frames.put(picture(1))
    wait_until(lambda: run.snapshot().pair is not None)
    assert other.seen


def test_a_recording_is_played_at_its_own_rate_and_again() -> None:
    """Of times only what holds on a busy computer: never early, and a frame that came late does not delay the next."""
    taken: list[tuple[int, float]] = []

    def noting(frame: Frame) -> Frame:
        taken.append((frame.key.index, frame.key.capture_time_s))
        return frame

    run = LiveRun(lambda: FakeClip(3, frames_per_second=10.0), noting, FakeEngine().engine())
    began_s = time.monotonic()
    run.start()
    try:
        wait_until(lambda: len(taken) >= 8)
        wait_until(lambda: run.snapshot().status.source_rate > 0)
        wait_until(lambda: run.snapshot().status.latency_ms.count > 0)
    finally:
        assert run.stop()
    indices, times_s = [index for index, _ in taken], [at_s for _, at_s in taken]
    assert indices == [number % 3 for number in range(len(taken))]
    assert all(at_s - began_s >= 0.1 * number for number, at_s in enumerate(times_s))
    assert min(after_s - before_s for before_s, after_s in pairwise(times_s)) < 0.15


def test_an_overlay_at_the_limit_does_not_flicker(device: FakeDevice) -> None:
    gate = threading.Event()
    run = LiveRun(device.open, same, FakeEngine(gate).engine())
    run.start()
    try:
        gate.set()
        device.frames.put(picture(0))
        wait_until(lambda: run.snapshot().pair is not None)
        gate.clear()
        threading.Event().wait(0.2)
        device.frames.put(picture(1))
        wait_until(lambda: run.snapshot().to_show()[2] != "")
        gate.set()
        device.frames.put(picture(2))
        device.frames.put(picture(3))
        wait_until(lambda: run.snapshot().in_time)
        assert run.snapshot().too_slow, "a moment in time is not yet fast enough"
        wait_until(lambda: not run.snapshot().too_slow)
    finally:
        gate.set()
        device.frames.put(None)
        assert run.stop()


# --- one bad frame, and a model that fails again and again ------------------------------------------------------------


class Moody(FakeEngine):
    """Raises what ``mood`` holds, on every frame, until it is None."""

    def __init__(self, mood: Exception | None) -> None:
        super().__init__()
        self.mood = mood

    def predict(self, frame: Frame, state: TemporalGate | None = None) -> Prediction:
        if self.mood is not None:
            raise self.mood
        return super().predict(frame, state)


@contextmanager
def live_run(device: FakeDevice, engine: FakeEngine, calibrate: Calibrate = same) -> Iterator[LiveRun]:
    run = LiveRun(device.open, calibrate, engine.engine())
    run.start()
    try:
        yield run
    finally:
        device.frames.put(None)
        if engine.gate:
            engine.gate.set()
        assert run.stop()


def pair_of(run: LiveRun, index: int) -> FrameResult:
    wait_until(lambda: (pair := run.snapshot().pair) is not None and pair.frame.key.index == index)
    pair = run.snapshot().pair
    assert pair is not None
    return pair


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("Model 'm' gave values that are not numbers", "Try another"), "gave values that are not numbers"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("bad allocation\nstack"), "RuntimeError: bad allocation)"),
    ],
)
def test_whatever_is_raised_costs_that_frame_and_is_said_with_its_true_reason(
    device: FakeDevice, error: Exception, reason: str
) -> None:
    engine = Moody(error)
    with live_run(device, engine) as run:
        device.frames.put(picture(0))
        refused = pair_of(run, 0)
        assert refused.reading.status is Status.REFUSED and reason in refused.reading.reason
        assert not refused.reading.measurements and refused.reading.key == refused.frame.key
        assert run.snapshot().to_show()[2] == "", "it is not called slow"
        assert run.snapshot().status.state.holds_numbers, "nor is the source called gone"
        engine.mood = None
        device.frames.put(picture(1))
        assert pair_of(run, 1).reading.status is Status.MEASURED


def test_a_model_that_fails_again_and_again_is_taken_off_and_can_be_tried_again(device: FakeDevice) -> None:
    engine = Moody(MemoryError())
    with live_run(device, engine) as run:
        for value in range(MOST_FAILURES):
            assert run.snapshot().status.model_problem == ""
            device.frames.put(picture(value))
            wait_until(lambda at=value: run.snapshot().status.captured == at + 1 and run._waiting._item is None)
            wait_until(lambda at=value: run._failures == at + 1)
        assert "not enough memory" in run.snapshot().status.model_problem
        device.frames.put(picture(90))
        wait_until(lambda: (newest := run.snapshot().newest) is not None and newest.key.index == MOST_FAILURES)
        assert run.snapshot().to_show()[1:] == (None, ""), "the picture goes on, and nothing else is blamed"
        engine.mood = None
        run.retry()
        device.frames.put(picture(91))
        assert pair_of(run, MOST_FAILURES + 1).reading.status is Status.MEASURED
        assert run.snapshot().status.model_problem == ""
        run.retry()  # nothing is off: nothing happens
        assert run.snapshot().pair is not None


def test_failures_that_are_not_in_a_row_take_no_model_off(device: FakeDevice) -> None:
    engine = Moody(None)
    with live_run(device, engine) as run:
        for value in range(2 * MOST_FAILURES):
            engine.mood = None if value % MOST_FAILURES == MOST_FAILURES - 1 else MemoryError()
            device.frames.put(picture(value))
            pair_of(run, value)
        assert run.snapshot().status.model_problem == ""


def test_a_black_picture_says_nothing_about_the_model(device: FakeDevice) -> None:
    """Networks with a normalisation by the spread of the picture give no numbers on it."""
    engine = Moody(UserError("Model 'zscore' gave values that are not numbers"))
    with live_run(device, engine) as run:
        for value in range(MOST_FAILURES + 3):
            device.frames.put(np.full((48, 64, 3), value % 2, np.uint8))
            pair_of(run, value)
        assert run.snapshot().status.model_problem == ""
        engine.mood = None
        device.frames.put(picture(1))
        assert pair_of(run, MOST_FAILURES + 3).reading.status is Status.MEASURED


def test_a_bug_is_handed_over_once_however_often_it_repeats_itself(device: FakeDevice) -> None:
    engine = Moody(ZeroDivisionError("bug"))
    with live_run(device, engine) as run:
        device.frames.put(picture(0))
        pair_of(run, 0)
        wait_until(lambda: run.failure is not None)
        first = run.failure
        engine.mood = ZeroDivisionError("bug")
        device.frames.put(picture(1))
        pair_of(run, 1)
        assert run.failure is first
    assert isinstance(first, ZeroDivisionError)


def test_a_full_memory_is_no_bug(device: FakeDevice) -> None:
    with live_run(device, Moody(MemoryError())) as run:
        device.frames.put(picture(0))
        pair_of(run, 0)
        assert run.failure is None


def test_a_frame_that_cannot_be_calibrated_is_refused_without_a_millimetre_and_the_picture_goes_on(
    device: FakeDevice,
) -> None:
    broken: list[Exception] = []

    def calibrate(frame: Frame) -> Frame:
        if broken:
            raise broken[0]
        return scaled(frame)

    engine = FakeEngine()
    with live_run(device, engine, calibrate) as run:
        device.frames.put(picture(0))
        assert pair_of(run, 0).frame.geometry is not None
        broken.append(UserError("The file says 0.2, you said 0.3", "Leave it out"))
        device.frames.put(picture(1))
        refused = pair_of(run, 1)
        assert refused.frame.geometry is None and refused.reading.reason == "The file says 0.2, you said 0.3"
        assert run.snapshot().status.state.holds_numbers and len(engine.seen) == 1
        for value in range(2, 2 + MOST_FAILURES):
            device.frames.put(picture(value))
            pair_of(run, value)
        assert "you said 0.3" in run.snapshot().status.message
        assert run.snapshot().status.model_problem == "", "the model is not to blame"
        broken.clear()
        device.frames.put(picture(99))
        assert pair_of(run, 2 + MOST_FAILURES).reading.status is Status.MEASURED
        assert run.snapshot().status.message == ""


def test_a_bug_while_capturing_reopens_the_source(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usviewer.pipeline.live_run.REOPEN_EVERY_S", 0.01)
    with live_run(device, FakeEngine()) as run:
        device.frames.put(ZeroDivisionError("bug"))
        wait_until(lambda: run.snapshot().status.state is SignalState.GONE)
        assert "ZeroDivisionError: bug" in run.snapshot().status.message
        assert isinstance(run.failure, ZeroDivisionError)
        device.frames.put(picture(1))
        assert pair_of(run, 0).reading.status is Status.MEASURED
        assert run.snapshot().status.message == ""


def test_an_aggregate_that_cannot_take_a_reading_costs_that_frame(device: FakeDevice) -> None:
    with live_run(device, FakeEngine()) as run:
        run._trend.add = lambda _reading: 1 // 0  # type: ignore[method-assign, assignment, return-value]
        device.frames.put(picture(0))
        wait_until(lambda: (pair := run.snapshot().pair) is not None and pair.problem is not None)
        assert isinstance(run.failure, ZeroDivisionError)
        device.frames.put(picture(1))
        assert pair_of(run, 1).problem is None


# --- what was exchanged meanwhile must not come back ------------------------------------------------------------------


def scaled(frame: Frame, mm_per_px: float = 0.2) -> Frame:
    return frame.with_geometry(ImageGeometry((Region((0.0, 0.0, 64.0, 48.0), isotropic(mm_per_px, ScaleSource.USER)),)))


def rescaled(frame: Frame) -> Frame:
    return scaled(frame, 0.4)


@pytest.mark.parametrize("what", ["model", "scale", "nothing"])
def test_a_result_that_was_begun_before_an_exchange_is_not_published_after_it(device: FakeDevice, what: str) -> None:
    """The model or the scale was exchanged (or all was withdrawn) while the old one was still at work on a frame."""
    gate = threading.Event()
    engine, other = FakeEngine(gate), FakeEngine(gate)
    with live_run(device, engine, scaled) as run:
        device.frames.put(picture(0))
        wait_until(lambda: run._reading)
        match what:
            case "model":
                run.set_model(replace(other.engine(), sha256="1" * 64))
            case "scale":
                run.set_calibrate(rescaled)
            case _:
                run.reset()
        gate.set()
        wait_until(lambda: bool(engine.seen) and not run._reading)
        gate.clear()
        device.frames.put(picture(1))
        wait_until(lambda: run._reading)  # so the thread has done with the first frame
        assert run.snapshot().pair is None and run.snapshot().summary is None
        gate.set()
        geometry = pair_of(run, 1).frame.geometry
        assert geometry is not None and geometry.regions[0].spacing is not None
        assert geometry.regions[0].spacing.x_mm_per_px == (0.4 if what == "scale" else 0.2)


@pytest.mark.parametrize("what", ["model", "scale"])
def test_another_model_or_scale_begins_the_sweep_again(device: FakeDevice, what: str) -> None:
    with live_run(device, FakeEngine(), scaled) as run:
        device.frames.put(picture(0))
        wait_until(lambda: run.snapshot().findings.frames == 1)
        if what == "model":
            run.set_model(replace(FakeEngine().engine(), sha256="1" * 64))
        else:
            run.set_calibrate(rescaled)
        assert run.snapshot().findings is EMPTY_REPORT


def test_the_same_model_with_another_site_goes_on_with_the_sweep(device: FakeDevice) -> None:
    with live_run(device, FakeEngine(), scaled) as run:
        device.frames.put(picture(0))
        wait_until(lambda: run.snapshot().findings.frames == 1)
        run.set_model(FakeEngine().engine())
        assert run.snapshot().findings.frames == 1 and run.snapshot().pair is None


class FailingLate(FakeEngine):
    """Fails on each frame, once the gate is open."""

    def predict(self, frame: Frame, state: TemporalGate | None = None) -> Prediction:
        super().predict(frame, state)
        raise MemoryError


def test_a_failure_of_the_old_model_does_not_count_against_the_new_one(device: FakeDevice) -> None:
    gate = threading.Event()
    engine, other = FailingLate(gate), FailingLate()
    with live_run(device, engine) as run:
        device.frames.put(picture(0))
        wait_until(lambda: run._reading)
        run.set_model(replace(other.engine(), sha256="1" * 64))
        gate.set()
        wait_until(lambda: bool(engine.seen) and not run._reading)
        for value in range(1, MOST_FAILURES):
            device.frames.put(picture(value))
            pair_of(run, value)
        wait_until(lambda: run._failures >= MOST_FAILURES - 1)
        assert run.snapshot().status.model_problem == "", "the new one has not failed often enough"


def test_a_frame_that_was_calibrated_with_the_old_scale_is_not_shown_after_the_exchange(device: FakeDevice) -> None:
    at_it, gate = threading.Event(), threading.Event()

    def old(frame: Frame) -> Frame:
        at_it.set()
        assert gate.wait(10)
        return scaled(frame)

    with live_run(device, FakeEngine(), old) as run:
        device.frames.put(picture(0))
        assert at_it.wait(10)
        run.set_calibrate(same)
        gate.set()
        device.frames.put(picture(1))
        pair_of(run, 1)
        assert run.snapshot().status.captured == 1, "the frame of the old scale is left out"


def test_a_scale_that_is_lost_takes_every_number_that_was_measured_by_it(device: FakeDevice) -> None:
    gate = threading.Event()
    engine = FakeEngine(gate)
    gate.set()
    kept: list[bool] = [True]
    with live_run(device, engine, lambda frame: scaled(frame) if kept else frame) as run:
        for value in range(3):
            device.frames.put(picture(value))
            pair_of(run, value)
        recent = run._recent
        assert recent._readings
        gate.clear()
        kept.clear()
        device.frames.put(picture(3))
        wait_until(lambda: (newest := run.snapshot().newest) is not None and newest.key.index == 3)
        assert run.snapshot().pair is None, "the pair that was measured in millimetres is gone at once"
        assert run._recent is not recent and not run._recent._readings and not run._trend._samples


# --- stopping ---------------------------------------------------------------------------------------------------------


class Blocking(FakeDevice):
    """A device whose read blocks until it is closed from outside; ``deaf`` ones do not hear that either."""

    def __init__(self, *, deaf: bool = False) -> None:
        super().__init__()
        self._deaf = deaf

    def _release(self) -> None:
        if not self._deaf:
            self.frames.put(None)


def stop_in_time(run: LiveRun) -> tuple[bool, float]:
    began_s = time.monotonic()
    ended = run.stop()
    return ended, time.monotonic() - began_s


def test_a_read_that_blocks_returns_when_the_run_is_stopped() -> None:
    device = Blocking()
    run = LiveRun(device.open, same, FakeEngine().engine())
    run.start()
    wait_until(lambda: run._source is not None)
    ended, took_s = stop_in_time(run)
    assert ended and took_s < 0.5
    assert not any(thread.is_alive() for thread in run._threads)
    assert run.snapshot().status.message == "", "closing is not an error of the source"


def test_a_device_that_hangs_holds_nobody_up_and_is_said() -> None:
    device = Blocking(deaf=True)
    run = LiveRun(device.open, same, FakeEngine().engine())
    run.start()
    wait_until(lambda: run._source is not None)
    ended, took_s = stop_in_time(run)
    assert not ended and took_s < JOIN_DEADLINE_S + 0.3
    assert all(thread.daemon for thread in run._threads), "what is left behind never keeps the program alive"
    device.frames.put(None)
    wait_until(lambda: not any(thread.is_alive() for thread in run._threads))
    assert run.stop()


def test_a_device_whose_closing_hangs_holds_nobody_up() -> None:
    gate = threading.Event()

    class Stuck(FakeDevice):
        def _release(self) -> None:
            gate.wait(30)

    device = Stuck()
    run = LiveRun(device.open, same, None)
    run.start()
    wait_until(lambda: run._source is not None)
    ended, took_s = stop_in_time(run)
    assert not ended and took_s < JOIN_DEADLINE_S + 0.3
    gate.set()
    device.frames.put(None)
    wait_until(lambda: run.stop())


def test_a_source_that_never_opens_holds_nobody_up() -> None:
    gate, device = threading.Event(), FakeDevice()

    def hang() -> FakeDevice:
        gate.wait(30)
        return device

    run = LiveRun(hang, same, None)
    run.start()
    ended, took_s = stop_in_time(run)
    assert not ended and took_s < JOIN_DEADLINE_S + 0.3
    gate.set()
    device.frames.put(None)
    wait_until(lambda: run.stop())


def test_a_prediction_that_never_ends_is_cancelled_where_the_engine_can(device: FakeDevice) -> None:
    gate = threading.Event()
    engine = FakeEngine(gate)
    run = LiveRun(Blocking().open, same, replace(engine.engine(), cancel=gate.set))
    run.start()
    wait_until(lambda: run._source is not None)
    assert run._source is not None
    run._source.frames.put(picture(0))  # type: ignore[attr-defined]
    wait_until(lambda: run._reading)
    ended, took_s = stop_in_time(run)
    assert ended and took_s < JOIN_DEADLINE_S


def test_an_engine_that_is_idle_is_not_cancelled(device: FakeDevice) -> None:
    asked: list[int] = []
    run = LiveRun(Blocking().open, same, replace(FakeEngine().engine(), cancel=lambda: asked.append(1)))
    run.start()
    wait_until(lambda: run._source is not None)
    assert run.stop() and not asked


def test_stopping_what_never_began_is_allowed() -> None:
    assert LiveRun(FakeDevice().open, same).stop()


def test_percentiles_of_known_durations() -> None:
    timings = Timings()
    for milliseconds in range(101):
        timings.add("infer", 0.0, milliseconds / 1000)
    found = timings.percentiles("infer")
    assert (found.p50, found.p95, found.p99, found.maximum) == pytest.approx((50.0, 95.0, 99.0, 100.0))
    assert timings.percentiles("decode") == Percentiles()


def test_only_the_last_are_kept() -> None:
    timings = Timings()
    for _ in range(KEPT):
        timings.add_ms("infer", 1000.0)
    for _ in range(KEPT):
        timings.add_ms("infer", 1.0)
    assert timings.percentiles("infer").maximum == 1.0


def test_a_rate_fades_when_events_stop() -> None:
    timings = Timings()
    for index in range(61):
        timings.tick("capture", index / 30)
    assert timings.rate("capture", 2.0) == pytest.approx(30.0)
    assert timings.rate("capture", 9.0) == 0.0
