"""What a prediction amounts to: named measurements with their convention, plane and quality."""

from __future__ import annotations

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure.findings import ReadState, finding_of
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
    return finding_of(finding).read(prediction, geometry, ReadState(tracker, gestational_age_weeks))
