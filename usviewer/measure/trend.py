"""Aggregates readings over time: median and maximum over at least one heart beat, each with an interval."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from usviewer.frame import FrameKey
from usviewer.infer.prediction import Edge
from usviewer.measure.reading import NORMAL_95, Dimension, Errors, Measurement, Plane, Reading, Site, Status, Summary
from usviewer.units import Spacing

Values = NDArray[np.float64]

# After so long without a value the probe may be elsewhere.
MAX_GAP_S = 0.5
# One beat at 60 per minute. Shorter spans are not called an aggregate: from diastole to systole an aorta grows by 2 mm
# (docs/clinical.md, "Accuracy and the heart beat"), and a part of a beat would show either.
MIN_SPAN_S = 1.0
# Standard deviation of the median of three normal values, in that of one.
MEDIAN_OF_THREE = 0.67


@dataclass(frozen=True, slots=True)
class _Kind:
    """What must be equal for two values to be aggregated.

    Another spacing is another unit, and so are pixels of pictures of another size. ``structure`` is the label of what
    was measured: of a model without a measured label the surest instance comes first, which may be another structure on
    the next frame.
    """

    name: str
    unit: str
    plane: Plane
    edge: Edge
    spacing: Spacing | None
    frame_size_px: tuple[int, int] | None
    model: tuple[str, str]
    source: str
    site: Site
    dimension: Dimension
    label: str
    structure: str


@dataclass(frozen=True, slots=True)
class _Sample:
    """One value; ``errors`` are those that averaging does not remove."""

    time_s: float
    value: float
    errors: Errors
    key: FrameKey


class Trend:
    """Sliding window, by media time (capture time where the recording has none), over the answer of each reading.

    It starts again after 0.5 s without a measured reading, on any change of quantity, unit, spacing, plane, edge,
    site, model or source, and when time runs backwards. Pixels and millimetres are never mixed, nor are pixels of
    pictures of different sizes.
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
        """Take in one reading and return the aggregate; None until the window spans ``min_span_s``."""
        now = reading.key.time_s
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

    Values of different kinds (plane, unit, edge, site, model ...) are never mixed: a transverse diameter comes before a
    longitudinal one, which may underestimate; then millimetres before pixels; then the kind with the most frames.
    """
    groups = _grouped(readings)
    best = max(groups, key=lambda k: (_rank(k), len(groups[k])), default=None)
    if best is None:
        return None
    return _summary(best, groups[best])


def other_sizes_note(readings: Iterable[Reading], summary: Summary | None) -> str:
    """One sentence where pixels of pictures of another size were left out of an aggregate; else empty."""
    if summary is None or summary.frame_size_px is None:
        return ""
    others = sum(r.status is Status.MEASURED and not summary.shares_unit(r) for r in readings)
    width, height = summary.frame_size_px
    if not others:
        return ""
    return (
        f"{others} frames of another size than {width} x {height} are not in the median: their pixels are another unit"
    )


def sweep(readings: Iterable[Reading]) -> tuple[Summary, ...]:
    """The aggregate of each site that a sweep went through, the one with the largest maximum first.

    Longitudinal diameters may underestimate: they are never the maximum of a sweep. Neither are pixels where there are
    millimetres, a kind with fewer frames of the same site, and pixels of any other size of picture than that with the
    most frames.
    """
    # Cut beside the middle a vessel looks too narrow (docs/clinical.md, "What can go wrong").
    groups = {kind: samples for kind, samples in _grouped(readings).items() if kind.plane is not Plane.LONGITUDINAL}
    top = max(map(_rank, groups), default=None)
    groups = _of_one_size({kind: samples for kind, samples in groups.items() if _rank(kind) == top})
    best: dict[Site, _Kind] = {}
    for kind in groups:
        if kind.site not in best or len(groups[kind]) > len(groups[best[kind.site]]):
            best[kind.site] = kind
    found = [_summary(kind, groups[kind]) for kind in best.values()]
    return tuple(sorted(found, key=lambda summary: -summary.maximum))


def _grouped(readings: Iterable[Reading]) -> dict[_Kind, list[_Sample]]:
    groups: dict[_Kind, list[_Sample]] = {}
    for reading in readings:
        kind = _kind_of(reading)
        if kind is not None:
            groups.setdefault(kind, []).append(_sample_of(reading, reading.key.time_s))
    return groups


def _of_one_size(groups: dict[_Kind, list[_Sample]]) -> dict[_Kind, list[_Sample]]:
    """Where lengths are in pixels, those of the picture size with the most frames: no other can be compared."""
    frames: Counter[tuple[int, int] | None] = Counter()
    for kind, samples in groups.items():
        frames[kind.frame_size_px] += len(samples)
    most = max(frames, key=lambda size: frames[size], default=None)
    return {kind: samples for kind, samples in groups.items() if kind.frame_size_px == most}


def _rank(kind: _Kind) -> tuple[bool, bool]:
    return (kind.plane is not Plane.LONGITUDINAL, kind.unit == "mm")


def _kind_of(reading: Reading) -> _Kind | None:
    """What the reading's answer (its first measurement) is; None when it has none."""
    answer = _answer(reading)
    if answer is None:
        return None
    kind = _Kind(
        answer.name,
        "px",
        reading.plane,
        reading.edge,
        None,
        reading.frame_size_px,
        (reading.model_id, reading.model_sha256),
        reading.key.source,
        reading.site,
        answer.dimension,
        reading.label,
        reading.label or next(iter(reading.labels), ""),
    )
    if answer.value_mm is None:
        return kind
    # Millimetres of pictures of two sizes are one unit; what must agree is the scale.
    return replace(kind, unit="mm", spacing=reading.spacing, frame_size_px=None)


def _answer(reading: Reading) -> Measurement | None:
    if reading.status is not Status.MEASURED or not reading.measurements:
        return None
    answer = reading.measurements[0]
    if answer.value_px is None and answer.value_mm is None:
        return None
    return answer


def _sample_of(reading: Reading, time_s: float) -> _Sample:
    answer = reading.measurements[0]
    if answer.value_mm is not None:
        return _Sample(time_s, answer.value_mm, _errors_of(answer, reading.spacing), reading.key)
    return _Sample(time_s, answer.value_px or 0.0, answer.errors or Errors(), reading.key)


def _errors_of(answer: Measurement, spacing: Spacing | None) -> Errors:
    """Errors that all frames of a clip share, in mm: those that the measurement states, or the scale's own.

    The outline is taken to be off alike on all frames: that much more a median cannot promise.
    """
    if answer.errors is not None:
        return answer.errors
    scale_sd = 0.0
    if spacing:
        scale_sd = spacing.relative_sd * (answer.value_mm or 0.0)
    return Errors(scale=max(scale_sd, answer.sd_mm or 0.0))


def _differs(reading: Reading, kind: _Kind) -> bool:
    """True when a reading without a value already shows that what comes next is something else.

    A scale that was withdrawn takes every millimetre with it, also where nothing was measured on that frame.
    """
    withdrawn = kind.unit == "mm" and reading.spacing is None and bool(reading.no_scale_reason)
    other_model = (reading.model_id, reading.model_sha256) != kind.model
    other_size = kind.frame_size_px is not None and reading.frame_size_px != kind.frame_size_px
    return withdrawn or other_model or other_size or reading.key.source != kind.source


def _summary(kind: _Kind, samples: Sequence[_Sample]) -> Summary:
    values = np.array([sample.value for sample in samples])
    low, high = median_interval(values)
    median = float(np.median(values))
    shared = _median_errors(samples)
    # What all frames share stays in the median of any number of them: only the scatter shrinks.
    systematic = NORMAL_95 * shared.total
    steady = _steady(values)
    top = int(np.argmax(steady))
    times = [sample.time_s for sample in samples]
    return Summary(
        kind.name,
        kind.unit,
        median,
        float(steady[top]),
        (max(0.0, median - math.hypot(median - low, systematic)), median + math.hypot(high - median, systematic)),
        max(times) - min(times),
        len(values),
        _key_near(samples, top, float(steady[top])),
        kind.plane,
        kind.edge,
        site=kind.site,
        maximum_interval=_around_maximum(float(steady[top]), values, systematic),
        errors=replace(shared, frames=(high - low) / (2.0 * NORMAL_95)),
        dimension=kind.dimension,
        label=kind.label,
        frame_size_px=kind.frame_size_px,
    )


def _median_errors(samples: Sequence[_Sample]) -> Errors:
    """The median of each source, over the samples that know it."""
    parts = {name: [getattr(sample.errors, name) for sample in samples] for name in ("scale", "edge", "plane")}
    known = {name: [part for part in values if part is not None] for name, values in parts.items()}
    return Errors(**{name: float(np.median(values)) for name, values in known.items() if values})


def _around_maximum(maximum: float, values: Values, systematic: float) -> tuple[float, float]:
    """95 % interval of the maximum: what all frames share, and the scatter of single frames round their neighbours."""
    half = math.hypot(systematic, NORMAL_95 * MEDIAN_OF_THREE * _scatter(values))
    return (max(0.0, maximum - half), maximum + half)


def _scatter(values: Values) -> float:
    """Standard deviation of a single frame about the middle of its two neighbours, whatever the slow course."""
    if len(values) < 3:
        return 0.0
    # The difference has the variance 1 + 1/4 + 1/4; 1.4826 makes a median absolute deviation that of a normal one.
    away = values[1:-1] - 0.5 * (values[:-2] + values[2:])
    return float(1.4826 * np.median(np.abs(away)) / math.sqrt(1.5))


def median_interval(values: Values) -> tuple[float, float]:
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


def _independent_count(values: Values) -> float:
    deviation = values - values.mean()
    power = float(deviation @ deviation)
    if len(values) < 3 or power == 0.0:
        return float(len(values))
    correlation = min(0.99, max(0.0, float(deviation[1:] @ deviation[:-1]) / power))
    return len(values) * (1.0 - correlation) / (1.0 + correlation)


def _steady(values: Values) -> Values:
    """Median of three neighbours: a maximum must not be one frame's slip."""
    if len(values) < 3:
        return values
    triples = np.lib.stride_tricks.sliding_window_view(np.pad(values, 1, mode="reflect"), 3)
    return np.asarray(np.median(triples, axis=1))


def _key_near(samples: Sequence[_Sample], index: int, value: float) -> FrameKey:
    """The frame, among the three around ``index``, that had the value."""
    around = range(max(0, index - 1), min(len(samples), index + 2))
    return samples[min(around, key=lambda i: (abs(samples[i].value - value), abs(i - index)))].key
