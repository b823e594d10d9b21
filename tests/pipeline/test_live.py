"""Live: newest wins, an overlay belongs to its frame, numbers are withdrawn when the input is not live."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.fakes import FakeClip, FakeDevice, FakeEngine, picture, wait_until
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.pipeline.live import LiveRun, Mailbox
from usviewer.pipeline.signal import SignalState


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
    run.set_engine(None)
    assert run.snapshot().pair is None
    assert run.snapshot().newest is not None
    other = FakeEngine()
    run.set_engine(other.engine())
    device.frames.put(picture(1))
    wait_until(lambda: run.snapshot().pair is not None)
    assert other.seen


def test_a_recording_is_played_at_its_own_rate_and_again() -> None:
    engine = FakeEngine()
    run = LiveRun(lambda: FakeClip(10, frames_per_second=100.0), same, engine.engine())
    run.start()
    try:
        wait_until(lambda: run.snapshot().status.captured >= 25)
        assert run.snapshot().status.source_rate == pytest.approx(100.0, rel=0.4)
        assert run.snapshot().status.latency_ms.count > 0
    finally:
        assert run.stop()


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
