"""What only the operator knows of a picture, and says: how the vessel is cut, where along it, how old the fetus is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from usviewer.measure.findings import finding_of
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
