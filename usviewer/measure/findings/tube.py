"""Width of a vessel that is cut lengthwise: perpendicular to its centreline.

How: ``docs/clinical.md``, "The diameter from a mask", under *Longitudinal*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Points
from usviewer.measure.geometry import Shape
from usviewer.units import Point

Array = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

# Up to this slope, height times cosine is exact enough; beyond it the chord along the normal is intersected.
CHORD_SLOPE_RAD = math.radians(20.0)
# What is left out at both ends, in diameters, and near the sector's edge: docs/clinical.md, "The diameter from a mask".
END_DIAMETERS = 0.5
EDGE_PX = 5.0
MIN_COLUMNS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Widest:
    """Largest width of a tube, in the scaled units, with the ends of its caliper and of the centreline (frame px)."""

    width: float
    ends_xy_px: tuple[Point, Point]
    centreline_xy_px: Points


def widest(shape: Shape, near_border: Bools, x_scale: float = 1.0, y_scale: float = 1.0) -> Widest | None:
    """Find the largest median-filtered width perpendicular to the centreline; None when too little is left to measure.

    ``near_border`` marks the pixels (shape of ``shape.mask``) too close to the sector's edge to be believed. The first
    and last half diameter and the columns that hold such a pixel are ignored. Lengths are in units of the scales (mm
    with a spacing, px without).
    """
    steep = _runs_down(shape, x_scale, y_scale)
    mask, edge, step, rise = shape.mask, near_border, x_scale, y_scale
    if steep:
        mask, edge, step, rise = shape.mask.T, near_border.T, y_scale, x_scale
    filled = mask.any(axis=0)
    along = (np.flatnonzero(filled) + 0.5) * step
    # The walls: first and last row of each column. Between them there is no hole, the shape was filled.
    upper = mask.argmax(axis=0)[filled] * rise
    lower = (mask.shape[0] - mask[::-1].argmax(axis=0)[filled]) * rise
    if len(along) < MIN_COLUMNS:
        return None
    upper, lower = _smooth_walls(along, upper.astype(np.float64), lower.astype(np.float64))
    middle, slope = _centreline(along, 0.5 * (upper + lower), lower - upper)
    above, below = _crossings(along, upper, lower, middle, slope)
    width = np.hypot(below[:, 0] - above[:, 0], below[:, 1] - above[:, 1])
    at_edge = np.asarray((mask & edge).any(axis=0))
    usable = _usable(along, slope, width, at_edge[filled])
    if np.count_nonzero(usable) < MIN_COLUMNS:
        return None
    steady = _running_median(width[usable], max(3, _odd(0.2 * float(np.median(width)) / step)))
    best = np.flatnonzero(usable)[int(np.argmax(steady))]
    back = _ToFrame(shape.origin_px, steep, step, rise)
    line = back(np.column_stack([along, middle])[usable])
    # The caliper is as long as the number: the filtered width, about the middle of the two walls.
    centre, half = 0.5 * (above[best] + below[best]), 0.5 * (below[best] - above[best])
    half *= float(steady.max()) / max(float(width[best]), 1e-9)
    ends = back(np.array([centre - half, centre + half]))
    return Widest(float(steady.max()), (_point(ends[0]), _point(ends[1])), line)


def _runs_down(shape: Shape, x_scale: float, y_scale: float) -> bool:
    """True when the long axis is nearer to the vertical: then rows take the place of columns."""
    direction = shape.moments.scaled(x_scale, y_scale).ellipse().major_direction
    return abs(direction[1]) > abs(direction[0])


def _smooth_walls(along: Array, upper: Array, lower: Array) -> tuple[Array, Array]:
    """Median, then mean over a quarter of the diameter: spikes and the steps of the pixels go, a bulge stays."""
    step = along[1] - along[0]
    count = _odd(0.25 * float(np.median(lower - upper)) / step)
    longest = len(along)
    if longest % 2 == 0:  # a centred window has a middle
        longest -= 1
    count = min(count, longest)
    upper, lower = _running_median(upper, count), _running_median(lower, count)
    return _running_mean(upper, count), _running_mean(lower, count)


def _centreline(along: Array, middle: Array, height: Array) -> tuple[Array, Array]:
    """Second-order polynomial through the middles of the walls, and its slope.

    Where the vessel ends askew its columns are shorter and their middles lie off the axis: they do not count.
    """
    centre, half = along.mean(), 0.5 * (along[-1] - along[0])
    t = (along - centre) / half  # from -1 to 1, where a polynomial is well conditioned
    whole = height >= 0.8 * float(np.median(height))
    c2, c1, c0 = np.polyfit(t[whole], middle[whole], 2)
    return (c2 * t + c1) * t + c0, (2.0 * c2 * t + c1) / half


def _crossings(along: Array, upper: Array, lower: Array, middle: Array, slope: Array) -> tuple[Points, Points]:
    """Where the normal of the centreline meets the upper and the lower wall, for every column."""
    cosine = 1.0 / np.hypot(1.0, slope)
    normal_x, normal_y = -slope * cosine, cosine
    up, down = (upper - middle) * cosine, (lower - middle) * cosine
    if float(np.max(np.abs(np.arctan(slope)))) > CHORD_SLOPE_RAD:
        for _ in range(14):  # damped fixed point: converges for slopes up to 60 degrees
            up = 0.5 * (up + (np.interp(along + up * normal_x, along, upper) - middle) / normal_y)
            down = 0.5 * (down + (np.interp(along + down * normal_x, along, lower) - middle) / normal_y)
    above = np.column_stack([along + up * normal_x, middle + up * normal_y])
    below = np.column_stack([along + down * normal_x, middle + down * normal_y])
    return above, below


def _usable(along: Array, slope: Array, width: Array, at_edge: Bools) -> Bools:
    """Columns that are neither at the ends of the vessel nor at the border of the sector."""
    length = np.concatenate([[0.0], np.cumsum(np.diff(along) * np.hypot(1.0, slope[1:]))])
    trim = END_DIAMETERS * float(np.median(width))
    usable: Bools = (length >= trim) & (length <= length[-1] - trim) & ~at_edge
    return usable


@dataclass(frozen=True, slots=True)
class _ToFrame:
    """From (along, across) in scaled units inside the rectangle back to frame pixels."""

    origin_px: tuple[int, int]
    steep: bool
    step: float
    rise: float

    def __call__(self, points: Points) -> Points:
        pixels = points / np.array([self.step, self.rise])
        if self.steep:
            pixels = pixels[:, ::-1]
        return np.asarray(pixels + np.asarray(self.origin_px), dtype=np.float64)


def _point(row: Array) -> Point:
    return (float(row[0]), float(row[1]))


def _odd(count: float) -> int:
    return max(1, round(count) | 1)


def _running_mean(values: Array, count: int) -> Array:
    """Centred moving average; straight continuation at the ends, so that a slanted wall stays straight."""
    if count < 3 or len(values) < count:
        return values
    half = count // 2
    head = 2.0 * values[0] - values[half:0:-1]
    tail = 2.0 * values[-1] - values[-2 : -2 - half : -1]
    return np.convolve(np.concatenate([head, values, tail]), np.full(count, 1.0 / count), mode="valid")


def _running_median(values: Array, count: int) -> Array:
    if len(values) < count:
        return np.full_like(values, np.median(values))
    if count < 3:
        return values
    half = count // 2
    padded = np.pad(values, half, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, count), axis=1))
