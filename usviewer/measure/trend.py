"""From single frames to a number worth quoting: median and maximum over at least one heart beat, with an interval."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from usviewer.frame import FrameKey
from usviewer.infer.prediction import Edge
from usviewer.measure.plane import time_of
from usviewer.measure.reading import Measurement, Plane, Reading, Status, Summary
from usviewer.units import Spacing

NORMAL_95 = 1.96
MAX_GAP_S = 0.5
# One beat at 60 per minute. Shorter spans are not called an aggregate.
MIN_SPAN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Kind:
    """What must be equal for two values to be aggregated. Another spacing is another unit."""

    name: str
    unit: str
    plane: Plane
    edge: Edge
    spacing: Spacing | None
    model: tuple[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class _Sample:
    time_s: float
    value: float
    sd: float
    key: FrameKey


class Trend:
    """Sliding window, by media time (capture time where the recording has none), over the answer of each reading.

    Starts anew after 0.5 s without a measured reading, and on any change of quantity, unit, spacing, plane, edge, model
    or source, and when time runs backwards. Pixels and millimetres are never mixed.
    """

    def __init__(self, window_s: float = 2.0, min_span_s: float = MIN_SPAN_S) -> None:
        self._window_s = max(window_s, min_span_s)
        self._min_span_s = min_span_s
        self.reset()

    def reset(self) -> None:
        """Forget everything (a cut, a seek, another source, depth or model)."""
        self._kind: _Kind | None = None
        self._samples: deque[_Sample] = deque()

    def add(self, reading: Reading) -> Summary | None:
        """Take in one reading; the aggregate, or None until the window spans ``min_span_s``."""
        now = time_of(reading.key)
        if self._samples and not 0.0 <= now - self._samples[-1].time_s <= MAX_GAP_S:
            self.reset()
        kind = _kind_of(reading)
        if kind is not None:
            if kind != self._kind:
                self.reset()
            self._kind = kind
            self._samples.append(_sample_of(reading, now))
        elif self._kind is not None and _differs(reading, self._kind):
            self.reset()
        while self._samples and now - self._samples[0].time_s > self._window_s:
            self._samples.popleft()
        if self._kind is None or not self._samples or now - self._samples[0].time_s < self._min_span_s:
            return None
        return _summary(self._kind, self._samples)


def summarize(readings: Iterable[Reading]) -> Summary | None:
    """The aggregate of a whole clip, or None when nothing was measured.

    Values of different kinds (plane, unit, edge, model ...) are never mixed: a transverse diameter comes before a
    longitudinal one, which may underestimate; then millimetres before pixels; then the kind with the most frames.
    """
    groups: dict[_Kind, list[_Sample]] = {}
    for reading in readings:
        kind = _kind_of(reading)
        if kind is not None:
            groups.setdefault(kind, []).append(_sample_of(reading, time_of(reading.key)))
    if not groups:
        return None
    best = max(groups, key=lambda k: (k.plane is not Plane.LONGITUDINAL, k.unit == "mm", len(groups[k])))
    return _summary(best, groups[best])


def _kind_of(reading: Reading) -> _Kind | None:
    """What the reading's answer (its first measurement) is; None when it has none."""
    answer = _answer(reading)
    if answer is None:
        return None
    unit = "px" if answer.value_mm is None else "mm"
    return _Kind(
        answer.name,
        unit,
        reading.plane,
        reading.edge,
        reading.spacing if unit == "mm" else None,
        (reading.model_id, reading.model_sha256),
        reading.key.source,
    )


def _answer(reading: Reading) -> Measurement | None:
    if reading.status is not Status.MEASURED or not reading.measurements:
        return None
    answer = reading.measurements[0]
    return None if answer.value_px is None and answer.value_mm is None else answer


def _sample_of(reading: Reading, time_s: float) -> _Sample:
    answer = reading.measurements[0]
    if answer.value_mm is not None:
        return _Sample(time_s, answer.value_mm, _systematic_sd(answer, reading.spacing), reading.key)
    return _Sample(time_s, answer.value_px or 0.0, 0.0, reading.key)


def _systematic_sd(answer: Measurement, spacing: Spacing | None) -> float:
    """Error that averaging does not remove, in mm: the scale's own, or all that the measurement states."""
    scale_sd = (spacing.relative_sd if spacing else 0.0) * (answer.value_mm or 0.0)
    return max(scale_sd, answer.sd_mm or 0.0)


def _differs(reading: Reading, kind: _Kind) -> bool:
    """True when a reading without a value already shows that what comes next is something else."""
    return reading.key.source != kind.source or (reading.model_id, reading.model_sha256) != kind.model


def _summary(kind: _Kind, samples: Sequence[_Sample]) -> Summary:
    values = np.array([sample.value for sample in samples])
    low, high = median_interval(values)
    median = float(np.median(values))
    systematic = NORMAL_95 * float(np.median([sample.sd for sample in samples]))
    steady = _steady(values)
    top = int(np.argmax(steady))
    times = [sample.time_s for sample in samples]
    return Summary(
        kind.name,
        kind.unit,
        median,
        float(steady[top]),
        (median - math.hypot(median - low, systematic), median + math.hypot(high - median, systematic)),
        max(times) - min(times),
        len(values),
        _key_near(samples, top, float(steady[top])),
        kind.plane,
        kind.edge,
    )


def median_interval(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    """95 % interval of the median from order statistics (binomial, normal approximation), without a distribution.

    Neighbouring frames repeat one another, so the count is first reduced to that of independent values,
    ``n (1 - r) / (1 + r)`` with r the lag-1 autocorrelation. Below six independent values no order statistics reach
    95 %: then it is the whole range.
    """
    count = len(values)
    independent = _independent_count(values)
    if independent < 6.0:
        return float(values.min()), float(values.max())
    ordered = np.sort(values)
    half_share = 0.5 * NORMAL_95 / math.sqrt(independent)
    low = max(0, math.floor((0.5 - half_share) * count) - 1)
    high = min(count - 1, math.ceil((0.5 + half_share) * count))
    return float(ordered[low]), float(ordered[high])


def _independent_count(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    deviation = values - values.mean()
    power = float(deviation @ deviation)
    if len(values) < 3 or power == 0.0:
        return float(len(values))
    correlation = min(0.99, max(0.0, float(deviation[1:] @ deviation[:-1]) / power))
    return len(values) * (1.0 - correlation) / (1.0 + correlation)


def _steady(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Median of three neighbours: a maximum must not be one frame's slip."""
    if len(values) < 3:
        return values
    triples = np.lib.stride_tricks.sliding_window_view(np.pad(values, 1, mode="reflect"), 3)
    return np.asarray(np.median(triples, axis=1))


def _key_near(samples: Sequence[_Sample], index: int, value: float) -> FrameKey:
    """The frame, among the three around ``index``, that had the value."""
    around = range(max(0, index - 1), min(len(samples), index + 2))
    return samples[min(around, key=lambda i: (abs(samples[i].value - value), abs(i - index)))].key
