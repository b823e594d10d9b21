"""What a prediction amounts to: named measurements with their convention, plane and quality."""

from __future__ import annotations

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure import aorta, generic
from usviewer.measure.plane import PlaneTracker
from usviewer.measure.reading import Reading
from usviewer.measure.trend import Trend, summarize

__all__ = ["PlaneTracker", "Trend", "read", "summarize"]


def read(
    prediction: Prediction, geometry: ImageGeometry | None, finding: str, tracker: PlaneTracker | None = None
) -> Reading:
    """Measure one frame for what the model finds (``finding`` of its manifest).

    A finding without measurements of its own gets outlines, boxes, scores and areas. ``tracker`` is the state over the
    frames of one source (see ``PlaneTracker``); without it each frame speaks for itself.
    """
    if finding == aorta.FINDING:
        return aorta.read(prediction, geometry, tracker)
    return generic.read(prediction, geometry, finding)
