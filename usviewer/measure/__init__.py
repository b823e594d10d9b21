"""What a prediction amounts to: named measurements with their convention, plane and quality."""

from __future__ import annotations

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure import aorta, fetal_brain, fetal_head, generic, nerve
from usviewer.measure.plane import PlaneTracker
from usviewer.measure.reading import Reading
from usviewer.measure.trend import Trend, summarize, sweep

__all__ = ["PlaneTracker", "Trend", "read", "summarize", "sweep"]


def read(
    prediction: Prediction,
    geometry: ImageGeometry | None,
    finding: str,
    tracker: PlaneTracker | None = None,
    gestational_age_weeks: float | None = None,
) -> Reading:
    """Measure one frame for what the model finds (``finding`` of its manifest).

    A finding without measurements of its own gets outlines, boxes, scores and areas. ``tracker`` is the state over the
    frames of one source (see ``PlaneTracker``) and carries the operator's plane and site; without it each frame speaks
    for itself. ``gestational_age_weeks`` is what the operator typed, for the centile of a fetal head.
    """
    if finding == aorta.FINDING:
        return aorta.read(prediction, geometry, tracker)
    if finding == fetal_head.FINDING:
        return fetal_head.read(prediction, geometry, gestational_age_weeks)
    if finding == fetal_brain.FINDING:
        return fetal_brain.read(prediction, geometry)
    if finding == nerve.FINDING:
        return nerve.read(prediction, geometry)
    return generic.read(prediction, geometry, finding)
