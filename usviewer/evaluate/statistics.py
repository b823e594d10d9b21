"""How well two readers agree: overlap of masks, distance of outlines, differences of lengths, and their intervals.

Pure functions on arrays. "Truth" is the reference reader, "predicted" the one that is judged; differences are always
predicted minus truth, so that a positive bias means "measured too large".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from usviewer.frame import Mask
from usviewer.measure.reading import NORMAL_95

Values = NDArray[np.float64]
Statistic = Callable[[Values], float]

# Enough for the ends of a 95 % interval; mAP, which takes longer, has fewer (``average_precision``).
RESAMPLES = 2000
LEVEL = 0.95
# Rows of the distance table that are held at once: a few MB for outlines of some thousand pixels.
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Overlap:
    """Agreement of two masks, each figure 0 to 1; None where it has no meaning (nothing to divide by).

    Two empty masks agree (Dice and IoU 1). ``precision`` is None when nothing was predicted, ``recall`` when there is
    nothing to find.
    """

    dice: float
    iou: float
    precision: float | None
    recall: float | None


def overlap(truth: Mask, predicted: Mask) -> Overlap:
    """Overlap of two masks (bool, height x width), by counting pixels. ``ValueError`` where their shapes differ."""
    if truth.shape != predicted.shape:
        raise ValueError(f"masks of different shapes: {truth.shape} and {predicted.shape}")
    wanted, given = int(np.count_nonzero(truth)), int(np.count_nonzero(predicted))
    both = int(np.count_nonzero(np.logical_and(truth, predicted)))
    if wanted + given == 0:
        return Overlap(1.0, 1.0, None, None)
    return Overlap(
        dice=2 * both / (wanted + given),
        iou=both / (wanted + given - both),
        precision=_share(both, given),
        recall=_share(both, wanted),
    )


def _share(part: int, whole: int) -> float | None:
    """Part of the whole, 0 to 1; None where there is nothing to divide by."""
    if not whole:
        return None
    return part / whole


def hausdorff(
    truth: Mask, predicted: Mask, percentile: float = 95.0, mm_per_px: tuple[float, float] = (1.0, 1.0)
) -> float | None:
    """Distance between two outlines: the larger of the two directed percentiles; None when a mask is empty.

    95 gives HD95, 100 the Hausdorff distance that HC18 reports. Outlines are the masks' border pixels; ``mm_per_px``
    is (x, y), and the result is in its unit: px with the default, mm with a spacing.
    """
    first, second = _border(truth) * mm_per_px, _border(predicted) * mm_per_px
    if not len(first) or not len(second):
        return None
    there, back = _nearest(first, second), _nearest(second, first)
    return float(max(np.percentile(there, percentile), np.percentile(back, percentile)))


def _border(mask: Mask) -> Values:
    """Positions (x, y) of the mask's pixels that have a neighbour (of four) outside it; (N, 2)."""
    filled = mask.astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # Beyond the picture there is nothing: a mask that reaches its edge has a border there.
    inside = cv2.erode(filled, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    rows, columns = np.nonzero(filled - inside)
    return np.stack([columns, rows], axis=1).astype(np.float64)


def _nearest(points: Values, others: Values) -> Values:
    """For each point the distance to the nearest of the others."""
    found = np.empty(len(points))
    # In pieces: the whole table of distances between two outlines of a large picture would take gigabytes.
    for start in range(0, len(points), _CHUNK):
        part = points[start : start + _CHUNK]
        squared = sum((part[:, None, axis] - others[None, :, axis]) ** 2 for axis in (0, 1))
        found[start : start + _CHUNK] = np.sqrt(np.min(squared, axis=1))
    return found


@dataclass(frozen=True, slots=True)
class Agreement:
    """Signed differences in sum, in the unit of the differences.

    ``lower_limit`` and ``upper_limit`` are the 95 % limits of agreement, bias -+ 1.96 sd. They and ``sd`` are None for
    a single value.
    """

    count: int
    mean_absolute_error: float
    bias: float
    sd: float | None
    lower_limit: float | None
    upper_limit: float | None


def agreement(differences: ArrayLike) -> Agreement | None:
    """Bland-Altman figures of differences (N,), predicted minus truth; None when there are none.

    Limits of agreement: Bland & Altman, Lancet 1986;327:307.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not values.size:
        return None
    bias = float(values.mean())
    absolute = float(np.abs(values).mean())
    if values.size == 1:
        return Agreement(1, absolute, bias, None, None, None)
    sd = float(values.std(ddof=1))
    return Agreement(values.size, absolute, bias, sd, bias - NORMAL_95 * sd, bias + NORMAL_95 * sd)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; the interval is None where it cannot be known (fewer than two groups)."""

    value: float
    low: float | None = None
    high: float | None = None

    def rounded_interval(self, digits: int = 5) -> list[float] | None:
        """The interval as files write it; None where there is none."""
        if self.low is None or self.high is None:
            return None
        return [round(self.low, digits), round(self.high, digits)]


def mean(values: Values) -> float:
    """Arithmetic mean, as a plain number."""
    return float(np.mean(values))


def mean_absolute(values: Values) -> float:
    """Mean of the absolute values."""
    return float(np.mean(np.abs(values)))


def bootstrap(
    values: ArrayLike,
    groups: Sequence[Hashable],
    statistic: Statistic = mean,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """A statistic with its percentile bootstrap interval; whole groups are drawn with replacement.

    ``groups`` names the patient, exam or clip of each value: pictures of one patient are alike, and drawing them one
    by one would promise more than was seen. None without values.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) != len(groups):
        raise ValueError(f"{len(data)} values but {len(groups)} groups")
    if not data.size:
        return None
    members = _members(data, groups)
    if len(members) < 2:  # one patient does not tell how far patients differ
        return Estimate(statistic(data))
    draws = [np.concatenate([members[i] for i in draw]) for draw in resampled(len(members), resamples, seed)]
    low, high = interval([statistic(drawn) for drawn in draws])
    return Estimate(statistic(data), low, high)


def proportion(flags: Sequence[bool], groups: Sequence[Hashable]) -> Estimate | None:
    """Share of True, 0 to 1, with its interval.

    As ``bootstrap``; but where all flags are alike resampling can only repeat them and would claim certainty. There it
    is Wilson's score interval (J Am Stat Assoc 1927;22:209) with each group counted once: 0 of 3 patients is 0 to 0.56.
    """
    found = bootstrap(np.asarray(flags, dtype=np.float64), groups)
    if found is None or found.low is None or found.value not in (0.0, 1.0):
        return found
    spread = NORMAL_95**2 / len(set(groups))
    reach = spread / (1 + spread)
    if found.value == 0.0:
        return Estimate(0.0, 0.0, reach)
    return Estimate(1.0, 1.0 - reach, 1.0)


def resampled(count: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """Indices drawn with replacement, (resamples, count); the same for the same seed."""
    return np.random.default_rng(seed).integers(0, count, size=(resamples, count))


def interval(statistics: ArrayLike) -> tuple[float, float]:
    """Central 95 % of resampled statistics; those that could not be computed (NaN) are left out."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(np.asarray(statistics, dtype=np.float64), [tail, 100 - tail])
    return float(low), float(high)


def _members(data: Values, groups: Sequence[Hashable]) -> list[Values]:
    """The values of each group, in order of first appearance."""
    rows: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        rows.setdefault(group, []).append(index)
    return [data[indices] for indices in rows.values()]
