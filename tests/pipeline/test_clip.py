"""The stages run overlapped, in order, and stop cleanly."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from usviewer.frame import Frame, ImageGeometry, make_frame
from usviewer.infer.prediction import Prediction
from usviewer.measure.reading import Reading, Status
from usviewer.pipeline.clip import STAGE_DEPTH, ahead, analyse_clip, prefetch


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


def test_every_frame_of_a_clip_is_analysed_once_and_in_order() -> None:
    frames = [make_frame(np.full((8, 8, 3), index, np.uint8), "clip", index) for index in range(40)]

    def calibrate(frame: Frame) -> Frame:
        return frame.with_geometry(ImageGeometry(calibration_id=str(frame.key.index)))

    def predict(frame: Frame) -> Prediction:
        return Prediction(frame.key, (8, 8), (), "fake", "0", "none")

    def read(prediction: Prediction, geometry: ImageGeometry | None) -> Reading:
        assert geometry is not None and geometry.calibration_id == str(prediction.key.index)
        return Reading(prediction.key, "aorta", Status.NOT_VISUALISED)

    results = list(analyse_clip(frames, calibrate, predict, read))
    assert [result.reading.key for result in results] == [frame.key for frame in frames]
    assert all(result.frame.key is result.prediction.key for result in results)
    assert not stage_threads()


def test_what_is_begun_ahead_runs_beside_and_is_given_when_asked():
    begun, may_end = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert may_end.wait(10)
        return 7

    with ahead(work) as give:
        assert begun.wait(10)
        may_end.set()
        assert give() == give() == 7


def test_what_fails_ahead_fails_where_it_is_asked_for_and_the_thread_has_ended():
    before = threading.active_count()
    with ahead(lambda: [][0]) as give:
        for _ in range(2):
            with pytest.raises(IndexError):
                give()
    assert threading.active_count() == before
    with ahead(lambda: [][0]):  # never asked for: nobody is told
        pass
