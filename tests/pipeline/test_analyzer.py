"""One frame calibrated, predicted and measured, with what is carried from frame to frame."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.fakes import FakeClip
from tests.helpers.tiny_models import add_dark_finder
from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure import ExamContext, PlaneTracker
from usviewer.measure.reading import Plane, Reading, Site, Status
from usviewer.pipeline.analyzer import FrameAnalyzer, LoadedModel, load_model


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
