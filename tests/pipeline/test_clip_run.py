"""The stages run overlapped, in order, and stop cleanly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry, make_frame
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure.reading import Reading, Status
from usviewer.pipeline.analyzer import Calibrate, FrameAnalyzer, LoadedModel, Predict, Read, unchanged
from usviewer.pipeline.clip_run import (
    MOST_FIRST_FAILURES,
    STAGE_DEPTH,
    analyze_clip,
    prefetch,
    read_ahead,
)
from usviewer.pipeline.refusals import reason_of
from usviewer.pipeline.worker import INTERRUPTED_S


def stage_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "usviewer-stage"]


def test_prefetch_keeps_items_and_order() -> None:
    assert list(prefetch(range(100), depth=3)) == list(range(100))
    assert not stage_threads()


def test_prefetch_runs_ahead_but_not_further_than_its_depth() -> None:
    made: list[int] = []
    third = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    waiting = prefetch(numbers(), depth=2)
    assert next(waiting) == 0
    assert third.wait(5)  # one is taken, two wait, one is in the producer's hand
    assert len(made) <= 4
    waiting.close()
    assert len(made) < 50
    assert not stage_threads()


def test_an_error_comes_out_at_its_place() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    seen = []
    with pytest.raises(ValueError, match="third"):
        for number in prefetch(numbers()):
            seen.append(number)
    assert seen == [1, 2]
    assert not stage_threads()


def test_leaving_early_closes_the_producer() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    waiting = prefetch(numbers(), depth=STAGE_DEPTH)
    next(waiting)
    waiting.close()
    assert closed.is_set()


def seen(frame: Frame, _state: TemporalGate | None = None) -> Prediction:
    return Prediction(frame.key, (8, 8), (), "fake", "0", "none")


def nothing(prediction: Prediction, *_: object) -> Reading:
    return Reading(prediction.key, "aorta", Status.NOT_VISUALISED)


def analyzer(predict: Predict = seen, calibrate: Calibrate = unchanged, read: Read = nothing) -> FrameAnalyzer:
    model = LoadedModel(predict, "M 1", "cpu", "CPU", "cpu", "m", "ab", "aorta", read=read)
    return FrameAnalyzer(model, calibrate)


def test_every_frame_of_a_clip_is_analysed_once_and_in_order() -> None:
    frames = [make_frame(np.full((8, 8, 3), index, np.uint8), "clip", index) for index in range(40)]

    def calibrate(frame: Frame) -> Frame:
        return frame.with_geometry(ImageGeometry(calibration_id=str(frame.key.index)))

    def read(prediction: Prediction, geometry: ImageGeometry | None, *_: object) -> Reading:
        assert geometry is not None and geometry.calibration_id == str(prediction.key.index)
        return Reading(prediction.key, "aorta", Status.NOT_VISUALISED)

    results = list(analyze_clip(frames, analyzer(calibrate=calibrate, read=read)))
    assert [result.reading.key for result in results] == [frame.key for frame in frames]
    assert all(result.frame.key is result.prediction.key for result in results)
    assert not stage_threads()


def test_what_is_begun_ahead_runs_beside_and_is_given_when_asked():
    begun, may_end = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert may_end.wait(10)
        return 7

    with read_ahead(work) as give:
        assert begun.wait(10)
        may_end.set()
        assert give() == give() == 7


def test_what_fails_ahead_fails_where_it_is_asked_for_and_the_thread_has_ended():
    before = threading.active_count()
    with read_ahead(lambda: [][0]) as give:
        for _ in range(2):
            with pytest.raises(IndexError):
                give()
    assert threading.active_count() == before
    with read_ahead(lambda: [][0]):  # never asked for: nobody is told
        pass


# --- a bad frame ------------------------------------------------------------------------------------------------------


def clip_frames(count: int) -> list[Frame]:
    return [make_frame(np.full((8, 8, 3), index % 251, np.uint8), "clip", index) for index in range(count)]


@pytest.mark.parametrize("error", [UserError("not numbers"), MemoryError(), RuntimeError("bad alloc"), KeyError("x")])
@pytest.mark.parametrize("at", [0, 20, 39])
def test_a_bad_frame_is_refused_with_its_reason_and_the_others_go_on(error: Exception, at: int) -> None:
    def predict(frame: Frame, _state: TemporalGate | None) -> Prediction:
        if frame.key.index == at:
            raise error
        return seen(frame)

    frames = clip_frames(40)
    results = list(analyze_clip(frames, analyzer(predict)))
    assert [result.reading.key for result in results] == [frame.key for frame in frames]
    assert [result.frame.key.index for result in results if result.problem is not None] == [at]
    bad = results[at]
    assert bad.problem is error and bad.reading.status is Status.REFUSED and bad.reading.reason == reason_of(error)
    assert (bad.reading.finding, bad.reading.model_id, bad.prediction.engine) == ("aorta", "m", "cpu")
    assert not bad.prediction.instances and not bad.reading.measurements
    assert not stage_threads()


def test_a_frame_that_cannot_be_measured_or_calibrated_is_refused_alike() -> None:
    def calibrate(frame: Frame) -> Frame:
        if frame.key.index == 3:
            raise UserError("two scales")
        return frame

    def read(prediction: Prediction, *_: object) -> Reading:
        if prediction.key.index == 5:
            raise ZeroDivisionError
        return nothing(prediction)

    results = list(analyze_clip(clip_frames(8), analyzer(seen, calibrate, read)))
    assert [result.frame.key.index for result in results if result.problem is not None] == [3, 5]
    assert results[3].frame.geometry is None


@pytest.mark.parametrize("count", [1, 4, 1000])
def test_a_model_that_reads_no_frame_at_all_is_an_error_of_the_input(count: int) -> None:
    asked: list[int] = []

    def predict(frame: Frame, _state: TemporalGate | None) -> Prediction:
        asked.append(frame.key.index)
        raise UserError(f"No model for frame {frame.key.index}")

    with pytest.raises(UserError, match="frame 0"):
        list(analyze_clip(clip_frames(count), analyzer(predict)))
    assert len(asked) == min(count, MOST_FIRST_FAILURES)
    assert not stage_threads()


def test_what_the_source_itself_raises_still_ends_the_clip() -> None:
    def frames() -> Iterator[Frame]:
        yield from clip_frames(2)
        raise UserError("The file ends here")

    with pytest.raises(UserError, match="ends here"):
        list(analyze_clip(frames(), analyzer()))


def test_after_a_second_interrupt_nothing_that_blocks_is_waited_for() -> None:
    gate = threading.Event()
    with pytest.raises(KeyboardInterrupt), read_ahead(lambda: gate.wait(30)):
        began_s = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began_s < INTERRUPTED_S + 0.5
    gate.set()
