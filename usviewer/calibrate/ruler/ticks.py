"""Small bright marks that may be the ticks of a vertical ruler (transpose the picture for a horizontal one)."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Pixels

Grey = NDArray[np.uint8]
Values = NDArray[np.float64]

# How far a mark must stand out from what is above and below it. Over tissue only the higher levels separate them.
LEVELS = (40, 80, 140)
MAX_THICKNESS = 0.016
MAX_LENGTH = 0.06
# A letter or tissue has a neighbour this near.
ALONE_PX = 8
MIN_PITCH_PX = 6.0
MIN_TICKS = 5
# Scanners draw ticks on whole rows, and a capture may be resampled: each is within a pixel of where it belongs.
REACH_PX = 1.25
MAX_GAP = 2
MIN_OCCUPIED = 0.8
# Less of a column than this repeats itself: texture.
MIN_REPEATS = 0.45
# Ticks on whole rows scatter by 0.29 px; a residual far below that (ticks that happen to fit) is luck, not knowledge.
FLOOR_PX = 0.1
# Centres that all have the same fraction of a pixel were drawn on whole rows (length of their mean phase).
SAME_PHASE = 0.8
ROUNDING_PX = 0.51


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What one column of a picture crosses, an entry each, downwards.

    Box (``x0 <= x < x1``, likewise ``y``), ``centre_y`` to a fraction of a pixel (corner convention), ``peak``
    contrast, and whether nothing else stands right beside it.
    """

    x0: Values
    x1: Values
    y0: Values
    y1: Values
    centre_y: Values
    peak: Values
    alone: NDArray[np.bool_]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Marks:
        """Select some of the marks."""
        return Marks(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.x0)

    @property
    def length(self) -> Values:
        """Extent along the row, in pixels."""
        return self.x1 - self.x0

    @property
    def thickness(self) -> Values:
        """Extent along the column, in pixels."""
        return self.y1 - self.y0


def brightest_channel(pixels: Pixels) -> Grey:
    """The brightest of red, green and blue (ten times as fast as numpy's own maximum)."""
    red, green, blue = cv2.split(pixels)
    return np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.uint8)


def steady_picture(frames: Sequence[Pixels]) -> Grey:
    """Brightest channel, darkest value over the frames: a ruler stays, tissue that moves fades."""
    return np.asarray(np.minimum.reduce([brightest_channel(pixels) for pixels in frames]), dtype=np.uint8)


def thickest_px(shape: tuple[int, ...]) -> int:
    """The most rows that a tick can have in a picture of this shape."""
    return max(9, round(MAX_THICKNESS * max(shape)))


def stand_out(grey: Grey, reach: int) -> Grey:
    """What is brighter than its surroundings above and below, and thin: an axis line or a grey bar vanishes."""
    # The border is dark, or ticks at the very edge would count as thick.
    padded = cv2.copyMakeBorder(grey, reach, reach, 0, 0, cv2.BORDER_CONSTANT, value=0)
    thick = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((reach, 1), dtype=np.uint8))
    return np.asarray(cv2.subtract(padded, thick)[reach:-reach], dtype=np.uint8)


def perhaps_alone(lit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Lit pixels of marks that may have nothing beside them; every mark that ``measure_marks`` calls alone is kept.

    Whole pictures at once: strokes of letters and speckle drop out before any column of them is looked at. A gap below
    ``ALONE_PX`` is closed, and whatever lies as near to what was filled in is beside something itself.
    """
    near = ALONE_PX - 1
    padded = cv2.copyMakeBorder(lit.view(np.uint8), 0, 0, near, near, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((1, near), dtype=np.uint8))
    filled = cv2.dilate(cv2.subtract(closed, padded), np.ones((1, 2 * near + 1), dtype=np.uint8))
    return np.asarray(lit & (filled[:, near:-near] == 0), dtype=np.bool_)


def runs_of(lit: NDArray[np.bool_], x: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and one-past-last rows of the lit stretches of a column, without those that the border cuts."""
    steps = np.diff(lit[:, x].astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    whole = (starts > 0) & (ends < lit.shape[0])
    return starts[whole], ends[whole]


def measure_marks(
    contrast: Grey, lit: NDArray[np.bool_], x: int, starts: NDArray[np.intp], ends: NDArray[np.intp]
) -> Marks:
    """The marks of column ``x`` whose rows are given, each as far as it reaches to the left and to the right."""
    rows = [_measure(contrast, lit, x, int(y0), int(y1)) for y0, y1 in zip(starts, ends, strict=True)]
    x0, x1, y0, y1, centre, peak, alone = np.array(rows, dtype=np.float64).reshape(-1, 7).T
    return Marks(x0, x1, y0, y1, centre, peak, alone.astype(bool))


def _measure(contrast: Grey, lit: NDArray[np.bool_], x: int, y0: int, y1: int) -> tuple[float, ...]:
    brightest = y0 + int(np.argmax(contrast[y0:y1, x]))
    dark = np.flatnonzero(~lit[brightest])
    after = int(np.searchsorted(dark, x))
    x0, x1 = 0, lit.shape[1]
    if after > 0:
        x0 = int(dark[after - 1]) + 1
    if after < len(dark):
        x1 = int(dark[after])
    # The faint rim that lies below the level counts for the centre as well.
    top, bottom = max(0, y0 - 1), min(lit.shape[0], y1 + 1)
    weight = contrast[top:bottom, x0:x1].sum(axis=1, dtype=np.float64)
    centre = float(weight @ (np.arange(top, bottom) + 0.5) / weight.sum())
    beside = lit[y0:y1, max(0, x0 - ALONE_PX) : max(0, x0 - 1)].any() or lit[y0:y1, x1 + 1 : x1 + ALONE_PX].any()
    return x0, x1, y0, y1, centre, float(contrast[y0:y1, x0:x1].max()), not beside


@dataclass(frozen=True, slots=True)
class Lattice:
    """Values ``origin_px + k * pitch_px``, and which of the given ones lie there.

    ``members`` are indices into the given positions and ``sites`` their ``k``, both ascending, the first ``k`` being 0.
    ``residual_px`` is the root mean square of what is left, ``relative_sd`` the standard error of the pitch as a
    fraction of it (least squares over all members).
    """

    origin_px: float
    pitch_px: float
    residual_px: float
    relative_sd: float
    members: tuple[int, ...]
    sites: tuple[int, ...]

    @property
    def occupied(self) -> float:
        """Share of the sites between the first and the last that hold a position."""
        return len(self.sites) / (self.sites[-1] + 1)


def likely_pitches(profile: Values, count: int = 3) -> list[float]:
    """Lags at which a non-negative profile repeats itself well (autocorrelation), finest first.

    Ticks on whole rows alternate between two distances: twice their pitch, or three times, then repeats better than the
    pitch itself, so its fractions are tried as well.
    """
    size = len(profile)
    spectrum = np.fft.rfft(profile, 2 * size)
    repeats = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: size // (MIN_TICKS - 1) + 2]
    lowest = int(MIN_PITCH_PX)
    inner = repeats[lowest:-1]
    peaks = np.flatnonzero((inner >= repeats[lowest - 1 : -2]) & (inner > repeats[lowest + 1 :])) + lowest
    best = peaks[np.argsort(-repeats[peaks], kind="stable")][:count]
    # All but one of so many ticks find another one, a pitch further on.
    ticks = max(2.0, float(profile.sum()) / 3.0)
    enough = MIN_REPEATS * float(repeats[0]) * (ticks - 1.0) / ticks
    pitches = sorted({float(lag) / part for lag in best if repeats[lag] >= enough for part in (1, 2, 3)})
    return [pitch for pitch in pitches if pitch >= MIN_PITCH_PX and repeats[int(pitch)] >= enough]


def fit_lattice(positions: Values, pitch_px: float) -> Lattice | None:
    """The lattice of about this pitch that holds most of the (ascending) positions; None below ``MIN_TICKS``.

    From each position a chain is followed both ways, with the pitch refined on the way; at most ``MAX_GAP`` ticks in a
    row may be missing, and one in five of all.
    """
    best: list[tuple[int, int]] = []
    covered: set[int] = set()
    places: list[float] = positions.tolist()
    for start in range(len(places)):
        if start in covered:
            continue
        chain = _follow(places, start, pitch_px)
        covered.update(index for index, _ in chain)
        best = max(best, chain, key=len)
    if len(best) < MIN_TICKS:
        return None
    found = _pruned(positions, best)
    if found is None or found.occupied < MIN_OCCUPIED:
        return None
    return found


def _follow(places: list[float], start: int, pitch_px: float) -> list[tuple[int, int]]:
    """(index, site) of the positions that one after another lie a pitch apart.

    Plain numbers and running sums: this is tried some thousand times a picture.
    """
    first = places[start]
    chain = [(start, 0)]
    origin, pitch, site, gap = first, pitch_px, 1, 0
    sum_k = sum_kk = sum_y = sum_ky = 0.0
    while gap <= MAX_GAP and (expected := origin + site * pitch) < places[-1] + 3.0 * REACH_PX:
        # Few ticks on whole rows tell the pitch only roughly: look further around where the next should be.
        reach = min(REACH_PX * (1.0 + 2.0 / len(chain)), 0.25 * pitch)
        index = _nearest(places, expected)
        if abs(places[index] - expected) <= reach and index > chain[-1][0]:
            chain.append((index, site))
            gap, y, count = 0, places[index] - first, len(chain)
            sum_k, sum_kk, sum_y, sum_ky = sum_k + site, sum_kk + site * site, sum_y + y, sum_ky + site * y
            pitch = (count * sum_ky - sum_k * sum_y) / (count * sum_kk - sum_k * sum_k)
            origin = first + (sum_y - pitch * sum_k) / count
        else:
            gap += 1
        site += 1
    return chain


def _nearest(places: list[float], to: float) -> int:
    after = bisect.bisect_left(places, to)
    if after == len(places) or (after > 0 and to - places[after - 1] < places[after] - to):
        return after - 1
    return after


def _pruned(positions: Values, chain: list[tuple[int, int]]) -> Lattice | None:
    """Fit again to the members within reach; the first site is 0 again."""
    fit = _least_squares(positions, chain)
    near = [(i, k) for i, k in chain if abs(positions[i] - fit.origin_px - k * fit.pitch_px) <= REACH_PX]
    if len(near) < MIN_TICKS:
        return None
    return _least_squares(positions, [(i, k - near[0][1]) for i, k in near])


def _least_squares(positions: Values, chain: list[tuple[int, int]]) -> Lattice:
    members, sites = (tuple(column) for column in zip(*chain, strict=True))
    k, y = np.asarray(sites, dtype=np.float64), positions[list(members)]
    spread = float(np.sum((k - k.mean()) ** 2))
    pitch = float(np.sum((k - k.mean()) * (y - y.mean()))) / spread
    origin = float(y.mean() - pitch * k.mean())
    left = y - origin - pitch * k
    scatter = float(np.sqrt(np.sum(left**2) / max(1, len(k) - 2)))
    sd = max(scatter, FLOOR_PX) / spread**0.5 / pitch
    return Lattice(origin, pitch, float(np.sqrt(np.mean(left**2))), sd, members, sites)


def allow_for_rounding(lattice: Lattice, positions: Values) -> Lattice:
    """Allow for ticks that were rounded to whole rows, in the pitch and its error; else return the fit unchanged.

    Rounding is not noise: at 22.99 px from tick to tick it makes one step in the middle of a long ruler, which least
    squares takes for a slope. Every pitch that puts each tick within the rounding of where it was drawn is as good as
    any other: the middle of them is taken, and their spread (uniform) is its error.
    """
    k, y = np.asarray(lattice.sites, dtype=np.float64), positions[list(lattice.members)]
    phases = np.exp(2j * np.pi * y)
    if abs(phases.mean()) < SAME_PHASE:
        return lattice
    first, second = np.triu_indices(len(k), 1)
    steps, lengths = k[second] - k[first], y[second] - y[first]
    low = float(np.max((lengths - 2.0 * ROUNDING_PX) / steps))
    high = float(np.min((lengths + 2.0 * ROUNDING_PX) / steps))
    if low > high:
        return lattice  # more than rounding
    pitch = (low + high) / 2.0
    left = y - pitch * k
    origin = float(left.max() + left.min()) / 2.0
    sd = max(lattice.relative_sd, (high - low) / 12.0**0.5 / pitch)
    residual = float(np.sqrt(np.mean((left - origin) ** 2)))
    return replace(lattice, origin_px=origin, pitch_px=pitch, residual_px=residual, relative_sd=sd)
