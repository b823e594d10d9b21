"""From a model's id to an ``Engine`` that the live view and the review run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.infer.predictor import Predictor
from usviewer.infer.registry import load_spec
from usviewer.infer.session import engine_threads
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure import read
from usviewer.measure.exam_context import NO_CONTEXT, ExamContext
from usviewer.measure.reading import Reading
from usviewer.pipeline.live_run import Engine


def load_engine(model_id: str, engine: str = "auto", threads: int | None = None) -> Engine:
    """Load a model, check it and warm it up. Slow; ``UserError`` where anything about it is not right."""
    predictor = Predictor(load_spec(model_id), engine, threads or engine_threads(live=True), spinning=False)
    turn = threading.Lock()

    def predict(frame: Frame, presence: TemporalGate) -> Prediction:
        with turn:  # a predictor serves one thread at a time; freezing may ask while the live run does
            return predictor.predict(frame, state=presence)

    return _engine(predictor, predict, engine)


def _engine(
    predictor: Predictor,
    predict: Callable[[Frame, TemporalGate], Prediction],
    requested: str,
    given: ExamContext = NO_CONTEXT,
) -> Engine:
    """The same loaded model with a tracker of its own: state over frames belongs to one run."""
    spec, tracker, presence = predictor.spec, given.tracker(), TemporalGate()

    def measure(prediction: Prediction, geometry: ImageGeometry | None) -> Reading:
        return read(prediction, geometry, spec.finding, tracker, given.gestational_age_weeks)

    return Engine(
        lambda frame: predict(frame, presence),
        measure,
        f"{spec.name} {spec.version}",
        requested,
        predictor.engine,
        model_id=spec.id,
        sha256=spec.sha256,
        finding=spec.finding,
        labels=tuple(label.name for label in spec.labels),
        notice=predictor.notice,
        renewed=lambda said: _engine(predictor, predict, requested, said),
        chosen=predictor.choice.lines() if predictor.choice is not None else (),
        cancel=getattr(predictor, "cancel", None),
    )
