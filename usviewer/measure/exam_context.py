"""What only the operator knows of a picture, and says: how the vessel is cut, where along it, how old the fetus is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from usviewer.measure import aorta, fetal_head
from usviewer.measure.plane import PlaneTracker
from usviewer.measure.reading import Plane, Reading, Site, Summary


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
        """What readings of this finding depend on: empty where that is nothing. A site names, it changes no value."""
        if finding == aorta.FINDING and self.plane is not None:
            return f"plane={self.plane}"
        if finding == fetal_head.FINDING and self.gestational_age_weeks is not None:
            return f"gestational_age_weeks={self.gestational_age_weeks:.4f}"
        return ""

    def named(self, reading: Reading) -> Reading:
        """The reading with this site."""
        if reading.finding != aorta.FINDING or reading.site is self.site:
            return reading
        return replace(reading, site=self.site)

    def named_summary(self, summary: Summary | None, finding: str) -> Summary | None:
        """The summary with this site."""
        return replace(summary, site=self.site) if summary is not None and finding == aorta.FINDING else summary


NO_CONTEXT: ExamContext = ExamContext()
