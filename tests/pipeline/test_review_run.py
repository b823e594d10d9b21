"""Review: the exact frame, its own reading, the clip's rate, and every frame analysed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.fakes import FakeClip, FakeEngine, wait_until
from usviewer.acquire import Source
from usviewer.calibrate.calibration import StatedScale
from usviewer.errors import UserError
from usviewer.frame import Frame, FrameKey, ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure import ExamContext
from usviewer.measure.manual import Edit, edit_of
from usviewer.measure.reading import Provenance, Reading, Site, Status
from usviewer.pipeline.playback import media_times
from usviewer.pipeline.review_run import ReviewRun
from usviewer.save.kept_predictions import KeptPredictions
from usviewer.units import ScaleSource, isotropic


class FakeEvidence:
    """Of a clip whose frames all have one geometry; ``knows``: also without their pixels."""

    def __init__(self, knows: bool = True) -> None:
        self.knows = knows
        self.said: list[StatedScale] = []
        self.looked_at: list[int] = []

    def decide(self, said: StatedScale) -> FakeCalibration:
        self.said.append(said)
        mm = f"{said.spacing.y_mm_per_px:g} mm" if said.spacing is not None else "test"
        return FakeCalibration(self, ImageGeometry(calibration_id=mm))


class FakeCalibration:
    def __init__(self, evidence: FakeEvidence, geometry: ImageGeometry) -> None:
        self.evidence, self.geometry = evidence, geometry

    def __call__(self, frame: Frame) -> Frame:
        return frame.with_geometry(self.geometry)

    def note(self, frame: Frame) -> None:
        self.evidence.looked_at.append(frame.key.index)

    def without_pixels(self, key: FrameKey, size_px: tuple[int, int], stated_aspect: float) -> ImageGeometry | None:
        return self.geometry if self.evidence.knows else None

    def noted(self) -> tuple[str, Mapping[str, str]]:
        return "ruler", {str(index): "" for index in self.evidence.looked_at}

    def recall(self, reference: str, seen: Mapping[str, str]) -> None:
        assert reference == "ruler"


def fake_gather(_source: Source) -> FakeEvidence:
    return FakeEvidence()


def new_run(clip: FakeClip, engine: FakeEngine | None = None, kept: FakeKept | None = None) -> ReviewRun:
    review = ReviewRun(lambda: clip, fake_gather)
    review.start()
    if engine is not None:
        review.set_model(engine.engine(), kept)
    return review


class FakeKept:
    """What is kept, in memory."""

    def __init__(self, readings: Mapping[int, Reading] | None = None, edits: Mapping[int, Edit] | None = None) -> None:
        self.readings = readings
        self._edits = edits or {}
        self.stored: Mapping[int, Reading] | None = None
        self.predictions: KeptPredictions | None = None
        self.failing = False

    def load(self) -> Mapping[int, Reading] | None:
        return self.readings

    def store(self, readings: Mapping[int, Reading]) -> None:
        if self.failing:
            raise UserError("Could not write readings.npz: the disk is full", "Free some space")
        self.stored = readings

    def load_predictions(self) -> KeptPredictions | None:
        return self.predictions

    def store_predictions(self, kept: KeptPredictions) -> None:
        self.predictions = kept.copy()

    def edits(self) -> Mapping[int, Edit]:
        return self._edits


@pytest.fixture
def run() -> Iterator[ReviewRun]:
    review = new_run(FakeClip(50), FakeEngine())
    yield review
    assert review.stop()
    assert review.stop()
    assert not review.alive


def shown(run: ReviewRun) -> int:
    frame = run.snapshot().frame
    return -1 if frame is None else frame.key.index


def test_every_frame_is_analysed_and_has_its_own_reading(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    curve = run.snapshot().curve
    wait_until(lambda: (curve := run.snapshot().curve) is not None and bool(curve.analysed.all()))
    for index in (7, 31, 0, 49):
        run.seek(index)
        wait_until(lambda at=index: shown(run) == at)
        now = run.snapshot()
        assert now.frame is not None and now.reading is not None
        assert now.reading.key == now.frame.key
        assert now.frame.geometry is not None and now.frame.geometry.calibration_id == "test"
    curve = run.snapshot().curve
    assert curve is not None and np.allclose(curve.values, 20.0) and curve.unit == "px"
    assert run.snapshot().summary is not None and run.snapshot().summary.whole


def test_the_same_reading_is_the_same_object_until_it_changes(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete and run.snapshot().reading is not None)
    assert run.snapshot().reading is run.snapshot().reading


def test_dragging_ends_on_the_exact_frame(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().count == 50)
    for index in range(5, 45, 3):
        run.seek(index, exact=False)
    wait_until(lambda: shown(run) == 44)


def test_steps_stop_at_the_ends_and_add_up(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().count == 50)
    run.seek(45)
    run.step(1)
    run.step(1)
    wait_until(lambda: shown(run) == 47)
    run.step(5)
    wait_until(lambda: shown(run) == 49)
    run.step(-100)
    wait_until(lambda: shown(run) == 0)


def test_playing_keeps_the_rate_and_stops_at_the_end(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    began = time.monotonic()
    run.play(4.0)
    wait_until(lambda: shown(run) == 49 and not run.snapshot().playing)
    assert 0.45 < time.monotonic() - began < 2.0  # 49 frames of 25 a second, at four times the rate: 0.49 s


def test_a_loop_stays_within_its_range_and_holds_its_last_frame(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    run.seek(10)
    wait_until(lambda: shown(run) == 10)
    run.set_loop((10, 14))
    run.play(1.0)
    seen: list[int] = []
    began = time.monotonic()
    while time.monotonic() - began < 0.7:
        index = shown(run)
        if not seen or seen[-1] != index:
            seen.append(index)
    run.pause()
    assert set(seen) == {10, 11, 12, 13, 14}
    # Five frames of 40 ms: 0.7 s are three and a half rounds. Without the last frame's own time it would be more
    # (and fewer where this computer leaves some out).
    assert len(seen) <= 19


def test_what_is_asked_for_while_the_clip_ends_is_done(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    for _ in range(5):
        run.seek(48)
        wait_until(lambda: shown(run) == 48)
        run.play(4.0)
        wait_until(lambda: shown(run) == 49)
        run.seek(20)
        wait_until(lambda: shown(run) == 20 and not run.snapshot().playing)


def test_a_corrected_reading_stays_and_can_be_taken_back(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    automatic = run.automatic(3)
    assert automatic is not None
    run.replace_reading(3, replace(automatic, provenance=Provenance.EDITED))
    run.seek(3)
    wait_until(lambda: shown(run) == 3)
    reading = run.snapshot().reading
    assert reading is not None and reading.provenance is Provenance.EDITED
    wait_until(lambda: bool(run.snapshot().curve.edited[3]))
    run.replace_reading(3, None)
    wait_until(lambda: not run.snapshot().curve.edited.any())
    assert run.snapshot().reading.provenance is Provenance.AUTOMATIC


def test_kept_readings_are_taken_over_and_never_computed_again() -> None:
    first_kept = FakeKept()
    first = new_run(FakeClip(5), FakeEngine(), first_kept)
    wait_until(lambda: first_kept.stored is not None)
    assert first.stop()
    engine = FakeEngine()
    second = new_run(FakeClip(5), engine, FakeKept(first_kept.stored))
    wait_until(lambda: second.snapshot().reading is not None and second.snapshot().complete)
    assert not engine.seen
    assert second.stop()


def test_a_reading_of_other_pixels_is_never_shown() -> None:
    kept = FakeKept()
    first = new_run(FakeClip(5), FakeEngine(), kept)
    wait_until(lambda: kept.stored is not None)
    assert first.stop()
    wrong = {0: replace(kept.stored[0], key=kept.stored[1].key)}
    second = new_run(FakeClip(5), FakeEngine(), FakeKept(wrong))
    wait_until(lambda: second.snapshot().frame is not None and second.snapshot().complete)
    assert second.snapshot().reading is None
    assert second.stop()


def test_an_earlier_correction_is_measured_again() -> None:
    clip = FakeClip(6)
    digest = clip.seek(4).key.digest
    mask = np.zeros((48, 64), np.bool_)
    mask[10:40, 15:45] = True
    edit = edit_of(mask, digest, 0, "aorta", 0)
    review = new_run(clip, FakeEngine(), FakeKept(edits={4: edit, 2: edit}))  # of frame 2 the pixels differ
    wait_until(lambda: review.snapshot().complete)
    wait_until(lambda: (c := review.snapshot().curve) is not None and c.edited.any())
    assert np.flatnonzero(review.snapshot().curve.edited).tolist() == [4]
    assert review.stop()


def test_results_that_cannot_be_kept_are_said_and_stay_on_the_screen() -> None:
    kept = FakeKept()
    kept.failing = True
    review = new_run(FakeClip(5), FakeEngine(), kept)
    wait_until(lambda: "disk is full" in review.snapshot().message)
    assert review.snapshot().reading is not None
    assert review.stop()


def test_the_analysis_waits_while_the_picture_has_work_to_do() -> None:
    gate = threading.Event()

    class SlowClip(FakeClip):
        def seek(self, index: int) -> Frame:
            if index == 30:
                entered.set()
                gate.wait(0.3)  # a slow disk; the analysis would have read every frame in this time
                read_meanwhile.append(len(engine.seen))
            return super().seek(index)

    entered, read_meanwhile = threading.Event(), list[int]()
    engine = FakeEngine(held := threading.Event())
    review = new_run(SlowClip(50), engine)
    wait_until(lambda: review.snapshot().count == 50)
    review.seek(30)
    assert entered.wait(5)
    held.set()
    wait_until(lambda: review.snapshot().complete and shown(review) == 30)
    assert read_meanwhile[0] <= 1  # the one that had begun
    assert review.stop()


def test_a_new_model_takes_over_without_stopping_the_picture(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    other = FakeEngine()
    run.seek(12)
    wait_until(lambda: shown(run) == 12)
    run.set_model(replace(other.engine(), sha256="1" * 64))
    wait_until(lambda: run.snapshot().complete and len(other.seen) == 50)
    assert shown(run) == 12
    run.set_model(None)
    assert run.snapshot().reading is None and run.snapshot().curve is None


def test_a_frame_that_cannot_be_read_is_said_and_the_rest_goes_on() -> None:
    class Damaged(FakeClip):
        def seek(self, index: int) -> Frame:
            if index == 3:
                raise UserError("Frame 4 of fake is damaged", "Choose another frame")
            return super().seek(index)

    review = new_run(Damaged(6))
    wait_until(lambda: review.snapshot().count == 6)
    review.seek(3)
    wait_until(lambda: "damaged" in review.snapshot().message)
    review.seek(5)
    wait_until(lambda: shown(review) == 5)
    review.raise_failure()  # a damaged frame is not a bug
    assert review.stop()


def test_a_clip_that_cannot_be_opened_says_so_and_ends() -> None:
    def missing() -> Source:
        raise UserError("There is no file gone.mp4", "Check the name and the folder")

    review = ReviewRun(missing, fake_gather)
    review.start()
    review.set_model(FakeEngine().engine())
    wait_until(lambda: "gone.mp4" in review.snapshot().message)
    assert review.stop()


def test_a_bug_in_a_thread_is_handed_to_the_window() -> None:
    def broken(_source: Source) -> FakeEvidence:
        raise RuntimeError("bug")

    review = ReviewRun(lambda: FakeClip(3), broken)
    review.start()

    def raised() -> bool:
        try:
            review.raise_failure()
        except RuntimeError:
            return True
        return False

    wait_until(raised)
    assert not raised(), "told once"
    assert review.stop()


def test_times_are_the_files_own_or_even() -> None:
    assert media_times([0.0, 0.05, 0.2], 30.0) == (0.0, 0.05, 0.2)
    assert media_times([None, None, None], 10.0) == pytest.approx((0.0, 0.1, 0.2))
    assert media_times([0.0, 0.3, 0.1], 10.0) == pytest.approx((0.0, 0.1, 0.2))


class Failing(FakeEngine):
    """Raises on some frames, by their digest."""

    def __init__(self, error: Exception, bad: set[str]) -> None:
        super().__init__()
        self.error, self.bad = error, bad

    def predict(self, frame: Frame, state: TemporalGate | None = None) -> Prediction:
        if frame.key.digest in self.bad:
            raise self.error
        return super().predict(frame, state)


@pytest.mark.parametrize("error", [UserError("Model 'm' gave values that are not numbers"), MemoryError()])
def test_a_frame_that_cannot_be_read_is_refused_and_the_rest_of_the_clip_is_analysed(error: Exception) -> None:
    clip, kept = FakeClip(30), FakeKept()
    run = new_run(clip, Failing(error, {clip.seek(7).key.digest}), kept)
    wait_until(lambda: run.snapshot().complete)
    wait_until(lambda: run.snapshot().message != "")
    assert "1 of 30 frames could not be read (frame 7)" in run.snapshot().message
    run.seek(7)
    wait_until(lambda: shown(run) == 7)
    reading = run.snapshot().reading
    assert reading is not None and reading.status is Status.REFUSED and not reading.measurements
    run.raise_failure()  # what a model cannot read is not a bug
    assert kept.stored is None, "another time it may be read: nothing of this pass is kept"
    assert run.stop()


def test_a_bug_on_one_frame_is_raised_and_the_others_are_analysed() -> None:
    clip = FakeClip(30)
    run = new_run(clip, Failing(ZeroDivisionError("bug"), {clip.seek(7).key.digest}))
    wait_until(lambda: run.snapshot().complete)
    with pytest.raises(ZeroDivisionError):
        run.raise_failure()
    assert run.snapshot().analysed == 30
    assert run.stop()


def test_a_model_that_reads_nothing_is_said_at_once() -> None:
    clip = FakeClip(500)
    run = new_run(clip, Failing(UserError("Out of range"), {clip.seek(i).key.digest for i in range(500)}))
    wait_until(lambda: "Out of range" in run.snapshot().message)
    assert run.snapshot().analysed < 20 and not run.snapshot().complete
    assert run.stop()


def test_a_frame_that_cannot_be_decoded_for_whatever_reason_does_not_end_the_playback() -> None:
    class Damaged(FakeClip):
        def seek(self, index: int) -> Frame:
            if index == 3:
                raise MemoryError
            return super().seek(index)

    run = new_run(Damaged(20))
    wait_until(lambda: run.snapshot().count == 20)
    run.seek(3)
    wait_until(lambda: "not enough memory" in run.snapshot().message)
    run.seek(5)
    wait_until(lambda: shown(run) == 5)
    assert run.stop()


# --- measuring again --------------------------------------------------------------------------------------------------


class Scaled(FakeEngine):
    """Says with each reading by which calibration it was measured; ``measured`` counts."""

    def read(self, prediction: Prediction, geometry: ImageGeometry | None) -> Reading:
        assert geometry is not None
        return replace(super().read(prediction, geometry), no_scale_reason=geometry.calibration_id)


def scaled_run(clip: FakeClip, evidence: FakeEvidence, engine: FakeEngine, kept: FakeKept | None = None) -> ReviewRun:
    review = ReviewRun(lambda: clip, lambda _source: evidence)
    review.start()
    review.set_model(engine.engine(), kept)
    wait_until(lambda: is_read(review, clip.count))
    return review


def is_read(review: ReviewRun, count: int) -> bool:
    curve = review.snapshot().curve
    return review.snapshot().complete and curve is not None and int(curve.analysed.sum()) == count


def measured_by(review: ReviewRun, count: int) -> set[str]:
    return {reading.no_scale_reason for index in range(count) if (reading := review.automatic(index)) is not None}


def calibrated_by(review: ReviewRun) -> str:
    frame = review.snapshot().frame
    return frame.geometry.calibration_id if frame is not None and frame.geometry is not None else ""


SAID = StatedScale(isotropic(0.25, ScaleSource.USER), (64, 48), from_start=False)


@pytest.mark.parametrize("knows", [True, False])
def test_with_another_scale_every_frame_is_measured_again_and_the_network_is_not_asked(knows: bool) -> None:
    clip, evidence, engine = FakeClip(30), FakeEvidence(knows), Scaled()
    review = scaled_run(clip, evidence, engine)
    assert len(engine.seen) == 30 and measured_by(review, 30) == {"test"}
    review.seek(12)
    wait_until(lambda: shown(review) == 12)
    review.set_scale(SAID)
    assert review.snapshot().reading is None, "nothing of the old scale is shown from that moment on"
    review.set_model(engine.engine())
    wait_until(lambda: is_read(review, 30))
    assert measured_by(review, 30) == {"0.25 mm"} and len(engine.seen) == 30
    wait_until(lambda: review.snapshot().reading is not None)
    wait_until(lambda: calibrated_by(review) == "0.25 mm")  # by the playback, at its own pace
    assert shown(review) == 12
    assert review.stop()


def test_with_another_site_nothing_is_decoded_again() -> None:
    clip, engine = FakeClip(30), Scaled()
    review = scaled_run(clip, FakeEvidence(knows=False), engine)
    clip.sought.clear()
    decoded: list[int] = []
    clip.count_decoded(decoded)
    review.set_model(engine.engine(), given=ExamContext(site=Site.MID))
    wait_until(lambda: is_read(review, 30))
    assert len(engine.seen) == 30 and decoded == clip.sought == []
    assert review.stop()


def test_in_the_next_session_another_scale_needs_no_network_either() -> None:
    clip, kept, engine = FakeClip(30), FakeKept(), Scaled()
    first = scaled_run(clip, FakeEvidence(), engine, kept)
    wait_until(lambda: kept.predictions is not None)
    assert first.stop()
    kept.readings = None  # those are of another scale
    second = ReviewRun(lambda: clip, lambda _source: FakeEvidence(), said=SAID)
    second.start()
    second.set_model(engine.engine(), kept)
    wait_until(lambda: is_read(second, 30))
    assert measured_by(second, 30) == {"0.25 mm"} and len(engine.seen) == 30
    assert second.stop()


def test_an_analysis_that_was_ended_on_the_way_is_gone_on_with() -> None:
    clip, gate = FakeClip(30), threading.Event()

    class Halting(Scaled):
        def predict(self, frame: Frame, state: TemporalGate | None = None) -> Prediction:
            if frame.key.index == 10 and not gate.is_set():
                reached.set()
                gate.wait(10)
            return super().predict(frame, state)

    reached, engine = threading.Event(), Halting()
    review = ReviewRun(lambda: clip, fake_gather)
    review.start()
    review.set_model(engine.engine())
    assert reached.wait(10)
    review.set_scale(SAID)
    review.set_model(engine.engine())
    gate.set()
    wait_until(lambda: is_read(review, 30))
    assert measured_by(review, 30) == {"0.25 mm"}
    assert len(engine.seen) <= 31, "only the frame in hand was asked twice"
    assert review.stop()


def test_readings_of_one_scale_are_never_kept_as_those_of_another() -> None:
    clip, old, new = FakeClip(20), FakeKept(), FakeKept()
    engine = Scaled()
    review = ReviewRun(lambda: clip, fake_gather)
    review.start()
    review.set_model(engine.engine(), old)
    review.set_scale(SAID)
    review.set_model(engine.engine(), new)
    wait_until(lambda: new.stored is not None)
    assert {reading.no_scale_reason for reading in new.stored.values()} == {"0.25 mm"}
    assert old.stored is None or {reading.no_scale_reason for reading in old.stored.values()} == {"test"}
    assert review.stop()


def test_a_correction_takes_what_the_operator_says_of_the_exam() -> None:
    clip = FakeClip(6)
    mask = np.zeros((48, 64), np.bool_)
    mask[10:40, 15:45] = True
    edit = edit_of(mask, clip.seek(4).key.digest, 0, "aorta", 0)
    engine = FakeEngine()
    review = ReviewRun(lambda: clip, fake_gather)
    review.start()
    review.set_model(engine.engine(), given=ExamContext(site=Site.MID), edits={4: edit})
    wait_until(lambda: (c := review.snapshot().curve) is not None and c.edited.any())
    review.seek(4)
    wait_until(lambda: shown(review) == 4)
    reading = review.snapshot().reading
    assert reading is not None and reading.provenance is Provenance.EDITED and reading.site is Site.MID
    assert review.stop()


def test_a_kept_correction_beyond_the_clip_is_said() -> None:
    clip = FakeClip(6)
    edit = edit_of(np.ones((48, 64), np.bool_), "0" * 32, 0, "aorta", 0)
    review = new_run(clip, FakeEngine(), FakeKept(edits={40: edit}))
    wait_until(lambda: "frame 40" in review.snapshot().message)
    assert review.snapshot().complete
    assert review.stop()
