"""What many readings of one patient say together: the sweep by site, the pulse, the structures that were seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from usviewer.measure.findings import EMPTY_REPORT, ClipReport, finding_of
from usviewer.measure.reading import Reading

# Of a live source: a sweep takes no longer, and the memory stays bounded.
KEPT_S = 120.0
PULSE_S = 10.0
# Two minutes of readings take some 15 ms, which the inference thread has once in two seconds.
EVERY_S = 2.0


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
        """One more; every two seconds all are looked at together. Where time runs backwards they begin anew."""
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
