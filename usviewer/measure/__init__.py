"""What a prediction amounts to: named measurements with their convention, plane and quality.

One frame is read; many readings of one patient say together what the sweep shows by site, the pulse, and the structures
that were seen. What only the operator knows (how the vessel is cut, where along it, how old the fetus is) is said in
the ``ExamContext``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure.findings import EMPTY_REPORT, ClipReport, ReadState, finding_of
from usviewer.measure.reading import Plane, Reading, Site, Summary
from usviewer.measure.section import PlaneTracker, with_carried
from usviewer.measure.trend import Trend, summarize, sweep
from usviewer.measure.uncertainty import without_guesses

__all__ = [
    "NO_CONTEXT",
    "ExamContext",
    "PlaneTracker",
    "RecentReport",
    "Trend",
    "clip_report",
    "read",
    "summarize",
    "sweep",
]

# Of a live source: a sweep takes no longer, and the memory stays bounded.
KEPT_S = 120.0
PULSE_S = 10.0
# Two minutes of readings take some 15 ms, which the inference thread has once in two seconds.
EVERY_S = 2.0


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
    for itself. ``gestational_age_weeks`` is what the operator typed, for the centile of a fetal head. A value whose
    error is more than half of it is withheld, and a warning says so. What was seen a moment ago and not on this frame
    is outlined and not measured.
    """
    reading = finding_of(finding).read(prediction, geometry, ReadState(tracker, gestational_age_weeks))
    return with_carried(without_guesses(reading), prediction)


def clip_report(readings: Sequence[Reading], recent_s: float | None = None) -> ClipReport:
    """What the readings of one patient amount to; the pulse from the last ``recent_s`` of them (None: from all)."""
    if not readings:
        return EMPTY_REPORT
    return finding_of(readings[-1].finding).report(readings, recent_s)


class RecentReport:
    """The readings of the last two minutes of a live source, without their outlines, and what they amount to."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()
        self._due_s = 0.0
        self.findings = EMPTY_REPORT

    def add(self, reading: Reading) -> None:
        """Add one; every two seconds all are looked at together. Where time runs backwards they begin again."""
        now = reading.key.time_s
        if self._readings and now < self._readings[-1].key.time_s:
            self._readings.clear()
            self._due_s = 0.0
        self._readings.append(replace(reading, outlines_xy_px=()))
        while now - self._readings[0].key.time_s > KEPT_S:
            self._readings.popleft()
        if now >= self._due_s:
            self._due_s = now + EVERY_S
            self.findings = clip_report(tuple(self._readings), PULSE_S)


@dataclass(frozen=True, slots=True)
class ExamContext:
    """The operator's word on one source; it holds for no other.

    ``plane`` None lets the outlines tell. ``gestational_age_weeks`` is the age known otherwise, never an estimate.
    """

    plane: Plane | None = None
    site: Site = Site.NOT_SET
    gestational_age_weeks: float | None = None

    def tracker(self) -> PlaneTracker:
        """A tracker with this plane and site."""
        return PlaneTracker(self.plane, self.site)

    def settings(self, finding: str) -> str:
        """Say what readings of this finding depend on; empty for nothing. A site is a name and changes no value."""
        used = finding_of(finding).context
        said = []
        if "plane" in used and self.plane is not None:
            said.append(f"plane={self.plane}")
        if "gestational_age_weeks" in used and self.gestational_age_weeks is not None:
            said.append(f"gestational_age_weeks={self.gestational_age_weeks:.4f}")
        return " ".join(said)

    def named(self, reading: Reading) -> Reading:
        """The reading with this site, where its finding has sites."""
        if reading.site is self.site or "site" not in finding_of(reading.finding).context:
            return reading
        return replace(reading, site=self.site)

    def named_summary(self, summary: Summary | None, finding: str) -> Summary | None:
        """The summary with this site, where its finding has sites."""
        if summary is None or "site" not in finding_of(finding).context:
            return summary
        return replace(summary, site=self.site)


NO_CONTEXT: ExamContext = ExamContext()
