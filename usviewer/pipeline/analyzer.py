"""One frame calibrated, predicted and measured: the only place that does this, with all its state over frames.

The live view, the review, ``analyze``, ``evaluate`` and ``bench`` each have a ``FrameAnalyzer`` of their own over the
one model that is loaded. ``analyze_clip`` runs one over a whole clip, its stages overlapped, and drops no frame.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure import NO_CONTEXT, ExamContext, PlaneTracker, read
from usviewer.measure.reading import Reading, Status
from usviewer.pipeline.worker import is_bug, reason_of, serial_executor

if TYPE_CHECKING:
    from usviewer.infer.predictor import Predictor

_log = logging.getLogger(__name__)

Calibrate = Callable[[Frame], Frame]
Predict = Callable[[Frame, TemporalGate | None], Prediction]
# ``usviewer.measure.read``: the finding, the state over frames and the age in weeks go with the prediction.
Read = Callable[[Prediction, ImageGeometry | None, str, PlaneTracker | None, float | None], Reading]
# Frames that may wait between two stages. More would only hold memory: a 4K frame is 25 MB.
STAGE_DEPTH = 4
# A model that has read none of so many frames reads none of the clip: its error is the input's own.
MOST_FIRST_FAILURES = 10
_END = object()

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that is loaded and checked, with the words that name it. It is shared by all runs, and has no state.

    ``requested`` and ``running`` name the inference engine that was asked for and the one that runs, in words;
    ``engine`` is the name of the one that runs, as predictions have it. ``notice`` says in one sentence why they
    differ. ``labels`` is everything the model can find. ``chosen`` is what the automatic choice of the engine found
    out, a line each; empty where none was made. ``cancel`` ends a prediction that runs, where the engine can (None: it
    cannot). ``lock``: a predictor serves one thread at a time.
    """

    predict: Predict
    model_label: str
    requested: str
    running: str
    engine: str = ""
    model_id: str = ""
    sha256: str = ""
    finding: str = ""
    labels: tuple[str, ...] = ()
    notice: str = ""
    chosen: tuple[str, ...] = ()
    cancel: Callable[[], object] | None = None
    read: Read = read
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def loaded(predictor: Predictor) -> LoadedModel:
    """A predictor as the runs use it."""
    spec = predictor.spec
    return LoadedModel(
        predictor.predict,
        f"{spec.name} {spec.version}",
        predictor.session.requested,
        predictor.engine,
        predictor.session.actual,
        spec.id,
        spec.sha256,
        spec.finding,
        tuple(label.name for label in spec.labels),
        predictor.notice,
        predictor.choice.lines() if predictor.choice is not None else (),
        predictor.cancel,
    )


def load_model(model: str | Path, engine: str = "auto", threads: int | None = None) -> LoadedModel:
    """Load a model, check it and warm it up. Slow: up to some seconds, more the first time on a computer.

    ``model`` is the id of one that is installed, or the folder of one that is not (a ``Path``), with its manifest.
    ``engine`` "auto" takes the fastest that agrees with the processor; ``threads`` None, as many as leave a core for
    decoding and drawing. Raises ``UserError`` where anything about the model is not right.
    """
    from usviewer.infer.manifest import read_manifest
    from usviewer.infer.predictor import Predictor  # brings the inference engines, the slowest imports of all
    from usviewer.infer.registry import load_spec
    from usviewer.infer.session import engine_threads

    spec = read_manifest(model) if isinstance(model, Path) else load_spec(model)
    return loaded(Predictor(spec, engine, threads or engine_threads(live=True), spinning=False))


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """One frame with everything that was computed from it.

    ``problem`` is what went wrong in the program or the model; then there is no instance, and the reading is refused
    for that reason. A frame that was read, and must not be measured, has none.
    """

    frame: Frame
    prediction: Prediction
    reading: Reading
    problem: Exception | None = None


def unchanged(frame: Frame) -> Frame:
    """The calibration of frames that have their geometry already."""
    return frame


def try_to_calibrate(calibrate: Calibrate, frame: Frame) -> tuple[Frame, Exception | None]:
    """The frame with its geometry; without any, so without millimetres, and why, where that could not be found."""
    try:
        return calibrate(frame), None
    except Exception as error:
        return frame.with_geometry(None), error


class FrameAnalyzer:
    """Calibrates, predicts and measures the frames of one source, in order. **Not** for two threads at once.

    All that is carried from frame to frame is in here: what was there a moment ago (``TemporalGate``), how the vessel
    is cut (``PlaneTracker``), and what ``calibrate`` has seen of the sector and the ruler. Without ``sequence`` frames
    do not follow one another (pictures of a folder): each is measured by itself.

    Whatever is raised on a frame costs that frame: it is refused with its true reason, never taken for one on which
    nothing was seen. Where two threads share the work, one calls ``calibrated`` and the other ``analyze``.
    """

    def __init__(
        self,
        model: LoadedModel,
        calibrate: Calibrate = unchanged,
        context: ExamContext = NO_CONTEXT,
        *,
        sequence: bool = True,
    ) -> None:
        self.model, self.context = model, context
        self._calibrate = calibrate
        self._sequence = sequence
        self.restart()

    def __call__(self, frame: Frame) -> FrameResult:
        """The frame with its geometry, what the model saw on it, and what that amounts to."""
        return self.analyze(*self.calibrated(frame))

    def calibrated(self, frame: Frame) -> tuple[Frame, Exception | None]:
        """The frame with its geometry; without any, so without millimetres, and why, where that could not be found."""
        return try_to_calibrate(self._calibrate, frame)

    def analyze(self, frame: Frame, problem: Exception | None = None, kept: Prediction | None = None) -> FrameResult:
        """A frame that is calibrated, or could not be (``problem``): then it is refused, and the model is not asked.

        ``kept`` is what the model said of it before: then it is not asked again.
        """
        if problem is not None:
            return self.refuse(frame, problem)
        try:
            if kept is not None:
                self._gate.follow(kept.instances, frame)
            prediction = kept if kept is not None else self.predict(frame)
            return FrameResult(frame, prediction, self.measure(prediction, frame.geometry))
        except Exception as error:  # also a full memory, and what an engine raises of its own
            return self.refuse(frame, error)

    def predict(self, frame: Frame) -> Prediction:
        """What the model sees on a calibrated frame."""
        with self.model.lock:
            return self.model.predict(frame, self._gate if self._sequence else None)

    def measure(self, prediction: Prediction, geometry: ImageGeometry | None) -> Reading:
        """What a prediction amounts to with this geometry; also for one that was kept: no network is asked."""
        if not self._sequence:
            self._tracker.reset()
        return self.model.read(
            prediction, geometry, self.model.finding, self._tracker, self.context.gestational_age_weeks
        )

    def refuse(self, frame: Frame, error: Exception) -> FrameResult:
        """The frame without a number, and why."""
        if is_bug(error):
            _log.error("a frame is refused for an error in the program", exc_info=error)
        else:
            _log.warning("a frame is refused: %s", error)
        model = self.model
        prediction = Prediction(frame.key, frame.size_px, (), model.model_id, model.sha256, model.engine)
        reading = Reading(
            frame.key,
            model.finding,
            Status.REFUSED,
            reason=reason_of(error),
            model_id=model.model_id,
            model_sha256=model.sha256,
        )
        return FrameResult(frame, prediction, reading, error)

    def with_context(self, context: ExamContext) -> FrameAnalyzer:
        """The same model and calibration, with what the operator says now and nothing carried over."""
        return FrameAnalyzer(self.model, self._calibrate, context, sequence=self._sequence)

    def restart(self) -> None:
        """Carry nothing over from the frames before: after a cut, a seek, another depth or source.

        The calibration goes on: a ruler that was withdrawn stays so until a person confirms one again.
        """
        self._gate, self._tracker = TemporalGate(), self.context.tracker()


# --- a whole clip -----------------------------------------------------------------------------------------------------


def prefetch(items: Iterable[T], depth: int = STAGE_DEPTH) -> Generator[T, None, None]:
    """Iterate in a thread of its own, at most ``depth`` items ahead; same items, same order.

    An exception of ``items`` is raised here, at its place. Closing the iterator (or leaving its loop) closes ``items``
    in the thread, and ends the thread.
    """
    iterator = iter(items)
    with serial_executor("stage", "a stage of the clip") as stage:
        # one more than may wait: while the consumer has its item, the thread works on that one
        ahead = deque(stage.submit(partial(next, iterator, _END)) for _ in range(depth + 1))
        try:
            while (item := ahead.popleft().result()) is not _END:
                ahead.append(stage.submit(partial(next, iterator, _END)))
                yield cast("T", item)
        finally:
            for future in ahead:
                future.cancel()
            if isinstance(items, Generator):
                stage.submit(items.close)


@contextmanager
def read_ahead(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begin something slow in a thread of its own; what is given waits for its result.

    What ``work`` raises is raised there, each time it is asked. The thread has ended when the block is left.
    """
    with serial_executor("ahead", "what was begun ahead") as thread:
        yield thread.submit(work).result


def analyze_clip(frames: Iterable[Frame], analyzer: FrameAnalyzer) -> Generator[FrameResult, None, None]:
    """Every frame of a clip, in order, through calibrate, infer and measure.

    Decoding (and calibration) runs in one thread, inference and measurement in a second, and the caller's own work on
    the results (drawing, encoding) in a third: both cores stay busy, no frame is dropped.

    A frame on which anything is raised is refused with that reason (``FrameResult.problem``), and the others go on.
    Where no frame can be read at all, the first error is raised.
    """

    def calibrated() -> Generator[tuple[Frame, Exception | None], None, None]:
        for frame in frames:  # what the source itself raises ends the clip
            yield analyzer.calibrated(frame)

    def analyzed() -> Generator[FrameResult, None, None]:
        first: Exception | None = None
        failed, read_any = 0, False
        with closing(prefetch(calibrated())) as waiting:
            for frame, problem in waiting:
                done = analyzer.analyze(frame, problem)
                read_any |= done.problem is None
                failed += done.problem is not None
                first = first or done.problem
                if first is not None and not read_any and failed >= MOST_FIRST_FAILURES:
                    raise first
                yield done
        if first is not None and not read_any:
            raise first

    return prefetch(analyzed())
