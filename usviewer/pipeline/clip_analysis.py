"""The analysis of a whole clip during its playback: from a source of its own, no frame dropped, the playback first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from usviewer.acquire import Source
from usviewer.errors import UserError
from usviewer.frame import Frame, FrameKey, ImageGeometry
from usviewer.measure import NO_CONTEXT, ExamContext, clip_report
from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.measure.manual import Edit, read_edited
from usviewer.measure.reading import Reading
from usviewer.pipeline.analyzer import MOST_FIRST_FAILURES, FrameAnalyzer, FrameResult, LoadedModel
from usviewer.pipeline.curve import Curve, curve_of
from usviewer.pipeline.playback import Playback, SharedCalibration
from usviewer.pipeline.worker import Worker, as_user_error, refusals
from usviewer.save.kept_predictions import KeptPrediction, KeptPredictions

STEP_ASIDE_S = 0.002
# The curve is drawn again so often, and in no more than a twentieth of the time.
CURVE_EVERY_S = 0.3
CURVE_SHARE = 0.05


class ReadingStore(Protocol):
    """Where the results of one clip with one model and one scale are kept between sessions (``save.cache``)."""

    def load(self) -> Mapping[int, Reading] | None:
        """The automatic readings of every frame; None where there are none."""

    def store(self, readings: Mapping[int, Reading]) -> None:
        """Keep the automatic readings; ``UserError`` where that fails."""

    def load_predictions(self) -> KeptPredictions | None:
        """What the model said of the frames, whatever the scale; None where nothing is kept."""

    def store_predictions(self, kept: KeptPredictions) -> None:
        """Keep what the model said of every frame; ``UserError`` where that fails."""

    def edits(self) -> Mapping[int, Edit]:
        """What the user corrected, by frame."""


class ClipAnalysis(Worker):
    """Reads every frame of a clip, or takes what was kept. ``readings`` is filled as it goes.

    What the model said of each frame is kept in ``predictions``: with another scale, or another word of the operator's,
    the next analysis measures it again without the network, and mostly without decoding.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        playback: Playback,
        model: LoadedModel,
        kept: ReadingStore | None = None,
        given: ExamContext = NO_CONTEXT,
        edits: Mapping[int, Edit] | None = None,
        predictions: KeptPredictions | None = None,
    ) -> None:
        """``edits`` are the user's corrections, where they are known here; else they are read from ``kept``.

        ``predictions`` are those of this model, as far as an earlier analysis of the clip has come.
        """
        super().__init__("the analysis")
        self.predictions = predictions if predictions is not None else KeptPredictions()
        self._open_source = open_source
        self._playback = playback
        self._edits: dict[int, Edit] | None = dict(edits) if edits is not None else None
        self._unmeasured: dict[int, Edit] = dict(edits or {})  # corrections whose frame was not measured yet
        self._model, self._given = model, given
        self._kept = kept
        self._lock = threading.Lock()
        self._corrected = threading.Event()
        self._calibration: SharedCalibration  # set in the thread, before anything is measured
        self._automatic: dict[int, Reading] = {}
        self._problems: dict[str, list[int]] = {}  # frames that could not be read, by reason
        self._edited: dict[int, Reading] = {}
        self._curve: Curve | None = None
        self._curve_due_s = 0.0
        self._findings = EMPTY_REPORT
        self._aggregated: bool | None = None  # not known before the source is open
        self._complete = False
        self._message = ""

    def start(self) -> None:
        """Begin, in the thread."""
        self._begin("analysis", self._work)

    def _wake(self) -> None:
        self._corrected.set()

    def _ended(self, error: UserError) -> None:
        self._say(str(error))

    # -- for the window

    def curve(self) -> Curve | None:
        """The curve over the clip, as far as it is read; the same object until it changes."""
        with self._lock:
            return self._curve

    def findings(self) -> ClipReport:
        """What the whole clip amounts to; nothing until all is read, nor for pictures of several patients."""
        with self._lock:
            return self._findings

    def reading(self, index: int) -> Reading | None:
        """One frame's reading, corrected where it was; None while a correction of it is still to be measured.

        What a person has put right is never shown, or kept, as the model had it.
        """
        with self._lock:
            if index in self._unmeasured:
                return None
            return self._edited.get(index) or self._automatic.get(index)

    def awaited(self, index: int) -> bool:
        """Whether this frame's reading is still to come."""
        with self._lock:
            missing = index in self._unmeasured or (not self._complete and index not in self._automatic)
        return missing and self.alive

    def automatic(self, index: int) -> Reading | None:
        """What the model said of a frame, whatever was corrected since."""
        with self._lock:
            return self._automatic.get(index)

    def progress(self) -> tuple[int, bool, str]:
        """Frames read, whether that is all, and what went wrong."""
        with self._lock:
            return len(self._automatic), self._complete, self._message

    def correct(self, index: int, reading: Reading | None) -> None:
        """Put a corrected reading in the place of the automatic one; None takes the correction back."""
        with self._lock:
            self._unmeasured.pop(index, None)
            if reading is None:
                self._edited.pop(index, None)
            else:
                self._edited[index] = reading
        self._corrected.set()

    def await_edit(self, index: int, edit: Edit | None) -> None:
        """A correction of a frame that is not analysed yet: it is measured when its turn comes; None: there is none."""
        with self._lock:
            if edit is None:
                self._unmeasured.pop(index, None)
            else:
                self._unmeasured[index] = edit
        self._corrected.set()

    # -- the thread

    def _work(self) -> None:
        if self._edits is None and self._kept is not None:
            found = dict(self._kept.edits())
            with self._lock:
                self._unmeasured = found | self._unmeasured
        kept = self._kept.load() if self._kept is not None else None
        if kept is not None:
            self._take(kept)
            self._draw_curve()
        calibration = self._playback.calibration()
        if calibration is None or self._stopping.is_set():
            return
        self._calibration = calibration
        with self._open_source() as source:
            self._aggregated = source.info.is_sequence
            analyzer = FrameAnalyzer(self._model, calibration, self._given, sequence=source.info.is_sequence)
            if kept is None and not self._measure_again(source, analyzer) and not self._read_all(source, analyzer):
                return  # ended from outside
            self._measure_left(source)
        with self._lock:
            self._complete = True
            count = len(self._automatic)
        self._draw_curve()
        if said := (*refusals(self._problems, count), *self._beyond()):
            self._say(" ".join(f"{sentence}." for sentence in said))
        if not self._problems and self._kept is not None and kept is None:  # problems may be gone another time
            self._keep(self._kept)
        while not self._stopping.is_set():
            self._corrected.wait()
            self._corrected.clear()
            if self._unmeasured and not self._stopping.is_set():
                with self._open_source() as source:
                    self._measure_left(source)
            self._draw_curve()

    def _measure_again(self, source: Source, analyzer: FrameAnalyzer) -> bool:
        """Measure what the model said before, without a picture; False where not all frames can be."""
        kept = self.predictions
        if not kept.frames and self._kept is not None:
            self._recall(self._kept.load_predictions())
        count = len(self._playback.picture().times_s)
        if sorted(kept.frames) != list(range(count)):
            return False
        readings: dict[int, Reading] = {}
        geometries: dict[int, ImageGeometry | None] = {}
        for index in range(count):
            one = kept.frames[index]
            geometry = geometries[index] = self._known_geometry(one)
            if self._stopping.is_set() or not one.holds_for(geometry):
                return False
            try:
                readings[index] = analyzer.measure(one.prediction(source.info.uri), geometry)
            except Exception:  # with its picture it is refused, and named
                return False
        kept.geometries, kept.calibrated_by = geometries, self._calibration
        with self._lock:
            self._automatic = readings
        return True

    def _recall(self, kept: KeptPredictions | None) -> None:
        """What an earlier session has left."""
        if kept is not None:
            self._calibration.recall(kept.reference, kept.seen)
            self.predictions.frames, self.predictions.stored = kept.frames, True

    def _known_geometry(self, kept: KeptPrediction) -> ImageGeometry | None:
        if self.predictions.calibrated_by is self._calibration:
            return self.predictions.geometries.get(kept.key.index)
        return self._calibration.without_pixels(kept.key, kept.bare.frame_size_px, kept.stated_aspect)

    def _read_all(self, source: Source, analyzer: FrameAnalyzer) -> bool:
        """Read every frame from its picture; the network is asked only of what it was not asked before."""
        if self._stopping.is_set():
            return False  # what was learnt of the geometries stays as it is
        analyzer.restart()
        self.predictions.geometries, self.predictions.calibrated_by = {}, self._calibration
        for frame in source:
            if not self._my_turn():
                return False
            self._read(frame, analyzer)
            if time.monotonic() >= self._curve_due_s:
                self._draw_curve()
        return True

    def _keep(self, kept: ReadingStore) -> None:
        try:
            kept.store(dict(self._automatic))
            if not self.predictions.stored:
                self.predictions.reference, self.predictions.seen = self._calibration.noted()
                kept.store_predictions(self.predictions)
                self.predictions.stored = True
        except UserError as error:
            self._say(str(error))

    def _draw_curve(self) -> None:
        began_s = time.monotonic()
        with self._lock:
            readings = {**self._automatic, **self._edited}
        count = len(self._playback.picture().times_s) or max(readings, default=-1) + 1
        curve = curve_of(readings, count, aggregated=self._aggregated is not False)
        whole = self._complete and self._aggregated is True
        findings = clip_report([readings[index] for index in sorted(readings)]) if whole else EMPTY_REPORT
        with self._lock:
            self._curve, self._findings = curve, findings
        took_s = time.monotonic() - began_s
        self._curve_due_s = began_s + max(CURVE_EVERY_S, took_s / CURVE_SHARE)

    def _my_turn(self) -> bool:
        """Stand back while the playback has work to do; False when it is time to end."""
        while self._playback.busy.is_set() and not self._stopping.wait(STEP_ASIDE_S):
            pass
        return not self._stopping.is_set()

    def _take(self, kept: Mapping[int, Reading]) -> None:
        with self._lock:
            self._automatic = {index: self._given.named(reading) for index, reading in kept.items()}
            self._complete = True

    def _read(self, frame: Frame, analyzer: FrameAnalyzer) -> None:
        """One frame; what goes wrong costs that frame, unless nothing of the clip can be read."""
        calibrated, problem = analyzer.calibrated(frame)
        kept = self._kept_of(calibrated)
        done = analyzer.analyze(calibrated, problem, kept.prediction(frame.key.source) if kept is not None else None)
        if done.problem is not None:
            self._note(frame, done.problem, done.reading.reason)
        else:
            self._remember(done, known=kept is not None)
        with self._lock:
            self._automatic[frame.key.index] = done.reading
        self._take_edit(calibrated.key, calibrated.size_px, calibrated.geometry)

    def _kept_of(self, frame: Frame) -> KeptPrediction | None:
        """What the model said of this very picture before, where it would be shown the same."""
        kept = self.predictions.frames.get(frame.key.index)
        same = kept is not None and kept.key.digest == frame.key.digest and kept.holds_for(frame.geometry)
        return kept if same else None

    def _remember(self, done: FrameResult, *, known: bool) -> None:
        frame = done.frame
        if not known:
            self.predictions.add(frame, done.prediction)
        self.predictions.geometries[frame.key.index] = frame.geometry
        self._calibration.note(frame)

    def _note(self, frame: Frame, problem: Exception, reason: str) -> None:
        self._note_bug(problem)
        self._problems.setdefault(reason, []).append(frame.key.index)
        failed = sum(map(len, self._problems.values()))
        with self._lock:
            read_any = failed <= len(self._automatic)
        if not read_any and failed >= MOST_FIRST_FAILURES:
            raise as_user_error(problem)

    def _measure_left(self, source: Source) -> None:
        """Corrections of frames that were analysed before them; decoded only where no geometry is known of them."""
        with self._lock:
            left = sorted(index for index in self._unmeasured if index in self._automatic)
        known = self.predictions.calibrated_by is self._calibration
        for index in left:
            kept = self.predictions.frames.get(index)
            if known and kept is not None and index in self.predictions.geometries:
                self._take_edit(kept.key, kept.bare.frame_size_px, self.predictions.geometries[index])
            else:
                frame = self._calibration(source.seek(index))
                self._take_edit(frame.key, frame.size_px, frame.geometry)

    def _take_edit(self, key: FrameKey, size_px: tuple[int, int], geometry: ImageGeometry | None) -> None:
        """Measure what was corrected again, with the scale of this pass; a correction of other pixels is left aside."""
        index = key.index
        with self._lock:
            edit, automatic = self._unmeasured.get(index), self._automatic.get(index)
        if edit is None or automatic is None:
            return
        reading = None
        if edit.digest == key.digest:
            reading = read_edited(automatic, edit, size_px, geometry, self._given)
        with self._lock:
            if self._unmeasured.pop(index, None) is not None and reading is not None:
                self._edited[index] = reading

    def _beyond(self) -> tuple[str, ...]:
        """What has to be said of corrections that no frame of the clip belongs to."""
        with self._lock:
            beyond = sorted(index for index in self._unmeasured if index not in self._automatic)
        if not beyond:
            return ()
        named = ", ".join(map(str, beyond))
        return (f"Corrections were kept of frames that this clip does not have (frame {named}): they are left aside",)

    def _say(self, message: str) -> None:
        with self._lock:
            self._message = message
