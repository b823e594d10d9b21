"""The heart beat in a diameter curve: systolic and diastolic diameter, pulsatility, heart rate; or why there is none.

The curve is evened out in time, freed of slow changes (breath, hand) and compared with itself shifted in time. Only a
shift of a heart beat's length after which it clearly repeats itself makes a beat; then all beats are laid over one
another, and the median beat gives systole and diastole, so that no single frame does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usviewer.measure.reading import Plane, Reading, Status, Summary

Values = NDArray[np.float64]

# 40 to 200 beats a minute.
LONGEST_BEAT_S, SHORTEST_BEAT_S = 1.5, 0.3
MIN_BEATS = 2.5
MAX_GAP_S = 0.3
MIN_RATE_HZ = 8.0
# How alike the curve and the shifted curve must be (correlation), and more for short curves, where chance does it too.
MIN_LIKENESS = 0.4
CHANCE = 3.5
# A multiple of the beat repeats as well: the shortest shift that is nearly as good as the best one counts.
NEARLY = 0.85
PHASES = 36
# Half the width, in beats, of the piece of all beats over which a median is taken.
PIECE = 0.045
# A frame this many standard deviations off its neighbours' median is a slip.
SLIP = 6.0

# A sweep along the vessel changes the diameter as well. So far (in diameters) may its middle wander, and so far may the
# slow course of the diameter range (as a share of it), before nobody can tell that from a beat.
MAX_WANDER = 0.5
MAX_CHANGE = 0.2

MOVING = "The probe moves along or across the vessel: its beat cannot be told from that"
TOO_SHORT = "The diameter was not followed for long enough to see a heart beat"
NO_BEAT = "The diameter shows no heart beat"


@dataclass(frozen=True, slots=True)
class Pulse:
    """The heart beat of a diameter, in ``unit`` (mm or px). Without a beat there is a ``reason``, the rest is None.

    ``systolic`` and ``diastolic`` are the largest and smallest diameter of the median beat, ``pulsatility_percent``
    their difference in percent of the diastolic one, ``likeness`` the correlation of one beat with the next, ``beats``
    how many went in.
    """

    name: str = ""
    unit: str = ""
    systolic: float | None = None
    diastolic: float | None = None
    pulsatility_percent: float | None = None
    heart_rate_per_min: float | None = None
    likeness: float | None = None
    beats: float | None = None
    reason: str = ""


def pulse_of(readings: Iterable[Reading], like: Summary) -> Pulse:
    """Find the heart beat in the readings of the same kind as ``like`` (quantity, unit, plane, edge, site).

    Without one the ``reason`` says why; a longitudinal diameter never shows one.
    """
    times, values, middles_px, sizes_px = _series(readings, like)
    if like.plane is Plane.LONGITUDINAL:
        return Pulse(reason=NO_BEAT)
    curve = _longest_even(times, values)
    if curve is None:
        return Pulse(reason=TOO_SHORT)
    step_s, even, part = curve
    if _is_moving(middles_px[part], sizes_px[part], _steady(_without_slips(even), step_s)):
        return Pulse(reason=MOVING)
    beat = _beat(even, step_s)
    if beat is None:
        return Pulse(reason=NO_BEAT)
    period_s, likeness = beat
    diastolic, systolic = _extremes(even, step_s, period_s)
    return Pulse(
        like.name,
        like.unit,
        systolic,
        diastolic,
        100.0 * (systolic - diastolic) / diastolic,
        60.0 / period_s,
        likeness,
        len(even) * step_s / period_s,
    )


def _series(readings: Iterable[Reading], like: Summary) -> tuple[Values, Values, Values, Values]:
    """Times (s), values, middles of the calipers (px; nan without one) and lengths in pixels of one kind, by time."""
    rows = []
    for reading in readings:
        if reading.status is not Status.MEASURED:
            continue
        found = reading.get(like.name)
        if found is None or (reading.plane, reading.edge, reading.site) != (like.plane, like.edge, like.site):
            continue
        if not like.shares_unit(reading):
            continue
        value = found.value_px
        if like.unit == "mm":
            value = found.value_mm
        if value is not None:
            (x0, y0), (x1, y1) = found.ends_xy_px or ((math.nan, math.nan), (math.nan, math.nan))
            middle = ((x0 + x1) / 2.0, (y0 + y1) / 2.0)
            rows.append((reading.key.time_s, value, *middle, found.value_px or math.nan))
    ordered = np.array(sorted(rows), dtype=np.float64).reshape(-1, 5)
    return ordered[:, 0], ordered[:, 1], ordered[:, 2:4], ordered[:, 4]


def _longest_even(times: Values, values: Values) -> tuple[float, Values, slice] | None:
    """The longest stretch without a gap: step (s), values at even steps, and where it lies among the given ones.

    None where it is too short or its frames too far apart.
    """
    steps = np.diff(times)
    if len(steps) < 3:
        return None
    step_s = max(float(np.median(steps)), 1e-3)
    bounds = np.concatenate([[0], np.flatnonzero(steps > MAX_GAP_S) + 1, [len(times)]])
    longest = int(np.argmax(times[bounds[1:] - 1] - times[bounds[:-1]]))
    part = slice(int(bounds[longest]), int(bounds[longest + 1]))
    span_s = float(times[part][-1] - times[part][0])
    if step_s > 1.0 / MIN_RATE_HZ or span_s < MIN_BEATS * 2.0 * SHORTEST_BEAT_S:
        return None
    at = np.arange(times[part][0], times[part][-1] + 1e-9, step_s)
    return step_s, np.interp(at, times[part], values[part]), part


def _is_moving(middles_px: Values, sizes_px: Values, slow: Values) -> bool:
    """Whether the picture shows another piece of the vessel at the end than at the beginning, as far as can be told."""
    if float(np.ptp(slow)) > MAX_CHANGE * float(np.median(slow)):
        return True
    if not np.isfinite(middles_px).all():
        return False
    low, high = np.percentile(middles_px, (5.0, 95.0), axis=0)
    return bool(np.max(high - low) > MAX_WANDER * float(np.median(sizes_px)))


def _without_slips(even: Values) -> Values:
    """Single frames far off their neighbours take the neighbours' median (Hampel's filter over five)."""
    middle = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(even, 2, mode="edge"), 5), axis=1)
    away = np.abs(even - middle)
    return np.where(away > SLIP * 1.4826 * np.median(away), middle, even)


def _steady(even: Values, step_s: float) -> Values:
    """The slow course: a centred mean over the longest beat; straight on at the ends."""
    count = max(3, round(LONGEST_BEAT_S / step_s)) | 1
    half = min(count // 2, len(even) - 1)
    head, tail = 2.0 * even[0] - even[half:0:-1], 2.0 * even[-1] - even[-2 : -2 - half : -1]
    padded = np.concatenate([head, even, tail])
    return np.convolve(padded, np.full(2 * half + 1, 1.0 / (2 * half + 1)), mode="valid")


def _beat(even: Values, step_s: float) -> tuple[float, float] | None:
    """Length of a beat in seconds and how alike successive beats are; None where the curve does not repeat itself."""
    quiet = _without_slips(even)
    swing = quiet - _steady(quiet, step_s)
    longest_s = min(LONGEST_BEAT_S, len(even) * step_s / MIN_BEATS)
    lags = np.arange(max(2, math.floor(SHORTEST_BEAT_S / step_s)), math.ceil(longest_s / step_s) + 2)
    lags = lags[lags < len(swing) - 2]
    if len(lags) < 3 or not swing.any():
        return None
    alike = np.array([_correlation(swing[lag:], swing[:-lag]) for lag in lags])
    peaks = [i for i in range(1, len(lags) - 1) if alike[i] >= alike[i - 1] and alike[i] > alike[i + 1]]
    best = max((alike[i] for i in peaks), default=0.0)
    if best < max(MIN_LIKENESS, CHANCE / math.sqrt(len(even))):
        return None
    first = next(i for i in peaks if alike[i] >= NEARLY * best)
    before, here, after = alike[first - 1 : first + 2]
    curvature = before - 2.0 * here + after
    shift = 0.0
    if curvature < 0.0:  # the top of the parabola through the three: a beat is not a whole number of frames
        shift = 0.5 * (before - after) / curvature
    return float(lags[first] + shift) * step_s, float(here)


def _correlation(first: Values, second: Values) -> float:
    power = math.sqrt(float(first @ first) * float(second @ second))
    if not power > 0.0:
        return 0.0
    return float(first @ second) / power


def _extremes(even: Values, step_s: float, period_s: float) -> tuple[float, float]:
    """Smallest and largest diameter of the median beat: about the median of the slow course."""
    slow = _steady(even, step_s)
    swing = even - slow
    phase = np.arange(len(even)) * step_s / period_s % 1.0
    away = np.abs((phase[None, :] - np.arange(PHASES)[:, None] / PHASES + 0.5) % 1.0 - 0.5)
    beat = np.array([np.median(swing[near]) for near in away <= PIECE if near.any()])
    level = float(np.median(slow))
    return level + float(beat.min()), level + float(beat.max())
