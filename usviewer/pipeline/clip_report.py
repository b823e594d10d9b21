"""What many readings of one patient say together: the sweep by site, the pulse, the structures that were seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from usviewer.measure import aorta, fetal_brain, summarize, sweep
from usviewer.measure.fetal_brain import PlaneOver, Seen
from usviewer.measure.plane import time_of
from usviewer.measure.pulse import Pulse, pulse_of
from usviewer.measure.reading import Reading, Summary

# Of a live source: a sweep takes no longer, and the memory stays bounded.
KEPT_S = 120.0
PULSE_S = 10.0
# Two minutes of readings take some 15 ms, which the inference thread has once in two seconds.
EVERY_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class ClipReport:
    """Of the aorta: ``sweep``, the aggregate of each site, largest maximum first, and ``pulse`` (None: not looked for).

    Of the fetal brain: ``structures`` and ``planes``. ``span_s`` is the time that the readings cover.
    """

    finding: str = ""
    sweep: tuple[Summary, ...] = ()
    pulse: Pulse | None = None
    structures: Mapping[str, Seen] = field(default_factory=dict)
    planes: Mapping[str, PlaneOver] = field(default_factory=dict)
    frames: int = 0
    span_s: float = 0.0


EMPTY_REPORT = ClipReport()


def clip_report(readings: Sequence[Reading], pulse_s: float | None = None) -> ClipReport:
    """What the readings of one patient amount to; the pulse from the last ``pulse_s`` of them (None: from all)."""
    if not readings:
        return EMPTY_REPORT
    last = readings[-1]
    found = ClipReport(last.finding, frames=len(readings), span_s=time_of(last.key) - time_of(readings[0].key))
    if last.finding == aorta.FINDING:
        return replace(found, sweep=sweep(readings), pulse=_pulse(readings, pulse_s))
    if last.finding == fetal_brain.FINDING:
        return replace(
            found, structures=fetal_brain.structures_over(readings), planes=fetal_brain.planes_over(readings)
        )
    return found


def _pulse(readings: Sequence[Reading], pulse_s: float | None) -> Pulse | None:
    until_s = time_of(readings[-1].key)
    recent = readings if pulse_s is None else [r for r in readings if until_s - time_of(r.key) <= pulse_s]
    like = summarize(recent)
    return pulse_of(recent, like) if like is not None else None


class RecentReport:
    """The readings of the last two minutes of a live source, without their outlines, and what they amount to."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()
        self._due_s = 0.0
        self.findings = EMPTY_REPORT

    def add(self, reading: Reading) -> None:
        """One more; every two seconds all are looked at together. Where time runs backwards they begin anew."""
        now = time_of(reading.key)
        if self._readings and now < time_of(self._readings[-1].key):
            self._readings.clear()
            self._due_s = 0.0
        self._readings.append(replace(reading, outlines_xy_px=()))
        while now - time_of(self._readings[0].key) > KEPT_S:
            self._readings.popleft()
        if now >= self._due_s:
            self._due_s = now + EVERY_S
            self.findings = clip_report(tuple(self._readings), PULSE_S)
