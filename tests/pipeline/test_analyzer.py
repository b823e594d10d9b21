"""One frame calibrated, predicted and measured, with what is carried over frames; a whole clip drops no frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.fakes import FakeClip
from tests.helpers.tiny_models import add_dark_finder
from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry, make_frame
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure import ExamContext, PlaneTracker
from usviewer.measure.reading import Plane, Reading, Site, Status
from usviewer.pipeline.analyzer import (
    MOST_FIRST_FAILURES,
    STAGE_DEPTH,
    Calibrate,
    FrameAnalyzer,
    LoadedModel,
    Predict,
    Read,
    analyze_clip,
    load_model,
    prefetch,
    read_ahead,
    unchanged,
)
from usviewer.pipeline.worker import INTERRUPTED_S, reason_of


def test_a_loaded_model_says_what_it_is_and_its_analyzer_reads(tmp_path: Path) -> None:
    model = load_model(add_dark_finder(tmp_path / "m"), "cpu", 1)
    assert (model.model_id, model.finding, model.labels) == ("dark", "aorta", ("aorta",))
    assert len(model.sha256) == 64
    assert (model.requested, model.engine) == ("cpu", "cpu") and "CPU" in model.running
    with open_source("phantom:?width=320&height=240&frames=2") as source:
        frame = source.seek(0)
    done = FrameAnalyzer(model)(frame)
    assert done.problem is None
    assert done.frame is frame and done.prediction.key == frame.key == done.reading.key
    assert done.reading.model_sha256 == model.sha256


def test_a_model_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UserError, match="no model 'nothing'"):
        load_model("nothing")


class Watched:
    """A model that keeps what it was given."""

    def __init__(self) -> None:
        self.gates: list[TemporalGate | None] = []
        self.trackers: list[PlaneTracker | None] = []
        self.ages: list[float | None] = []
        self.geometries: list[ImageGeometry | None] = []

    def predict(self, frame: Frame, state: TemporalGate | None) -> Prediction:
        self.gates.append(state)
        return Prediction(frame.key, frame.size_px, (), "fake", "0" * 64, "cpu")

    def read(
        self,
        prediction: Prediction,
        geometry: ImageGeometry | None,
        finding: str,
        tracker: PlaneTracker | None = None,
        gestational_age_weeks: float | None = None,
    ) -> Reading:
        self.trackers.append(tracker)
        self.ages.append(gestational_age_weeks)
        self.geometries.append(geometry)
        return Reading(prediction.key, finding, Status.NOT_VISUALISED)

    def model(self) -> LoadedModel:
        return LoadedModel(self.predict, "Fake 1", "cpu", "CPU", "cpu", "fake", "0" * 64, "aorta", read=self.read)


def frames(count: int = 3) -> list[Frame]:
    return list(FakeClip(count))


def test_frames_of_a_clip_share_one_state_until_it_is_restarted() -> None:
    seen = Watched()
    analyzer = FrameAnalyzer(seen.model())
    first, second, third = frames()
    analyzer(first), analyzer(second)
    analyzer.restart()
    analyzer(third)
    assert seen.gates[0] is seen.gates[1] is not seen.gates[2] is not None
    assert seen.trackers[0] is seen.trackers[1] is not seen.trackers[2] is not None


def test_pictures_that_do_not_follow_one_another_carry_nothing() -> None:
    seen = Watched()
    analyzer = FrameAnalyzer(seen.model(), context=ExamContext(Plane.TRANSVERSE), sequence=False)
    held = []
    for frame in frames():
        analyzer(frame)
        tracker = seen.trackers[-1]
        assert tracker is not None and tracker.pinned is Plane.TRANSVERSE
        held.append(tracker._last)
        tracker.update(Plane.LONGITUDINAL, frame.key)
    assert seen.gates == [None] * 3 and held == [None] * 3


def test_what_the_operator_says_goes_into_each_reading_and_begins_again_with_the_same_model() -> None:
    seen = Watched()
    analyzer = FrameAnalyzer(seen.model())
    first, second, _ = frames()
    analyzer(first)
    other = analyzer.with_context(ExamContext(Plane.LONGITUDINAL, Site.MID, 28.0))
    other(second)
    assert other.model is analyzer.model
    before, after = seen.trackers
    assert before is not None and after is not None
    assert (before.pinned, before.site) == (None, Site.NOT_SET)
    assert (after.pinned, after.site) == (Plane.LONGITUDINAL, Site.MID)
    assert seen.ages == [None, 28.0] and seen.gates[0] is not seen.gates[1]


def test_a_frame_is_calibrated_before_the_model_sees_it() -> None:
    seen, geometry = Watched(), ImageGeometry(calibration_id="here")
    done = FrameAnalyzer(seen.model(), lambda frame: frame.with_geometry(geometry))(frames()[0])
    assert done.frame.geometry is geometry and seen.geometries == [geometry]


@pytest.mark.parametrize("stage", ["calibrate", "predict", "read"])
def test_whatever_is_raised_on_a_frame_refuses_it_with_the_true_reason(stage: str) -> None:
    error = UserError("Two scales contradict each other")

    def fail(*_: object) -> None:
        raise error

    model = Watched().model()
    if stage != "calibrate":
        model = replace(model, **{stage: fail})
    analyzer = FrameAnalyzer(model, fail) if stage == "calibrate" else FrameAnalyzer(model)  # type: ignore[arg-type]
    done = analyzer(frames()[0])
    assert done.problem is error and done.reading.status is Status.REFUSED
    assert done.reading.reason == error.what and not done.prediction.instances
    assert (done.reading.finding, done.prediction.model_id, done.prediction.engine) == ("aorta", "fake", "cpu")
    assert done.frame.geometry is None


def test_one_model_serves_one_thread_at_a_time() -> None:
    inside, most, lock = [0], [0], threading.Lock()
    both = threading.Barrier(2)

    class Slow(Watched):
        def predict(self, frame: Frame, state: TemporalGate | None) -> Prediction:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            threading.Event().wait(0.02)
            with lock:
                inside[0] -= 1
            return super().predict(frame, state)

    model = Slow().model()

    def work() -> None:
        analyzer = FrameAnalyzer(model)
        both.wait(5)
        for frame in frames(2):
            analyzer(frame)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert most == [1]


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
