"""Equally spaced positions among others: the pitch of a ruler's ticks, to a fraction of a pixel. Pure numbers."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.float64]

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


@dataclass(frozen=True, slots=True)
class Lattice:
    """Positions ``origin_px + k * pitch_px``, and which of the given ones lie there.

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


def likely_pitches(profile: Positions, count: int = 3) -> list[float]:
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


def fit_lattice(positions: Positions, pitch_px: float) -> Lattice | None:
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
    return found if found is not None and found.occupied >= MIN_OCCUPIED else None


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


def _pruned(positions: Positions, chain: list[tuple[int, int]]) -> Lattice | None:
    """Fit again to the members within reach; the first site is 0 again."""
    fit = _least_squares(positions, chain)
    near = [(i, k) for i, k in chain if abs(positions[i] - fit.origin_px - k * fit.pitch_px) <= REACH_PX]
    if len(near) < MIN_TICKS:
        return None
    return _least_squares(positions, [(i, k - near[0][1]) for i, k in near])


def _least_squares(positions: Positions, chain: list[tuple[int, int]]) -> Lattice:
    members, sites = (tuple(column) for column in zip(*chain, strict=True))
    k, y = np.asarray(sites, dtype=np.float64), positions[list(members)]
    spread = float(np.sum((k - k.mean()) ** 2))
    pitch = float(np.sum((k - k.mean()) * (y - y.mean()))) / spread
    origin = float(y.mean() - pitch * k.mean())
    left = y - origin - pitch * k
    scatter = float(np.sqrt(np.sum(left**2) / max(1, len(k) - 2)))
    sd = max(scatter, FLOOR_PX) / spread**0.5 / pitch
    return Lattice(origin, pitch, float(np.sqrt(np.mean(left**2))), sd, members, sites)


def allow_for_rounding(lattice: Lattice, positions: Positions) -> Lattice:
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
