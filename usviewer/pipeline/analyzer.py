"""One frame calibrated, predicted and measured: the only place that does this, with all its state over frames.

The live view, the review, ``analyze``, ``evaluate`` and ``bench`` each have a ``FrameAnalyzer`` of their own over the
one model that is loaded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure import NO_CONTEXT, ExamContext, PlaneTracker, read
from usviewer.measure.reading import Reading, Status
from usviewer.pipeline.refusals import is_bug, reason_of

if TYPE_CHECKING:
    from usviewer.infer.predictor import Predictor

_log = logging.getLogger(__name__)

Calibrate = Callable[[Frame], Frame]
Predict = Callable[[Frame, TemporalGate | None], Prediction]
# ``usviewer.measure.read``: the finding, the state over frames and the age in weeks go with the prediction.
Read = Callable[[Prediction, ImageGeometry | None, str, PlaneTracker | None, float | None], Reading]


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
                self._gate.follow(kept.instances, frame.key, frame.size_px)
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
