"""How long the stages take: the last few hundred of each, and their percentiles."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np

KEPT = 512
RATE_SPAN_S = 2.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; all zero when nothing was measured."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    maximum: float = 0.0
    count: int = 0


class Timings:
    """Durations by stage, and rates by event. Not thread-safe: the owner holds its lock."""

    def __init__(self) -> None:
        self._durations_ms: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._moments_s: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))

    def add(self, stage: str, began_s: float, ended_s: float) -> None:
        """One more duration, from two monotonic times."""
        self._durations_ms[stage].append((ended_s - began_s) * 1000.0)

    def add_ms(self, stage: str, milliseconds: float) -> None:
        """One more duration."""
        self._durations_ms[stage].append(milliseconds)

    def tick(self, event: str, at_s: float) -> None:
        """Something happened once."""
        self._moments_s[event].append(at_s)

    def stages(self) -> tuple[str, ...]:
        """Names of all stages that were timed, in the order they first came."""
        return tuple(self._durations_ms)

    def percentiles(self, stage: str) -> Percentiles:
        """Over the last ``KEPT`` durations."""
        values = self._durations_ms.get(stage)
        if not values:
            return Percentiles()
        p50, p95, p99 = np.percentile(np.fromiter(values, float), (50, 95, 99))
        return Percentiles(float(p50), float(p95), float(p99), max(values), len(values))

    def rate(self, event: str, now_s: float) -> float:
        """Events a second over the last two seconds; 0 when they have stopped."""
        recent = [moment for moment in self._moments_s.get(event, ()) if now_s - moment <= RATE_SPAN_S]
        if len(recent) < 2 or recent[-1] <= recent[0]:
            return 0.0
        return (len(recent) - 1) / (recent[-1] - recent[0])
