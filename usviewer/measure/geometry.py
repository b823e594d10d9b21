"""Pure geometry of one mask: moments, ellipse, extents, outline, borders, the width of a tube.

It takes pixels and gives pixels, or mm. Positions follow ``usviewer.units``: column ``i`` covers ``[i, i + 1)``.
Lengths come from second moments, because everything that is read off an OpenCV contour is about one pixel short: its
points are pixel centres (``fitEllipse`` -0.95 px, ``minAreaRect`` -1.21 px, moments +0.01 px on digitised circles;
``docs/clinical.md``, "The diameter from a mask").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Mask, Points, Sector
from usviewer.units import Point

Matrix = NDArray[np.float64]
Array = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

# A unit square's own variance along each axis; without it a digitised shape is too small.
PIXEL_VARIANCE = 1.0 / 12.0
# Up to this slope, height times cosine is exact enough; beyond it the chord along the normal is intersected.
CHORD_SLOPE_RAD = math.radians(20.0)
# What is left out at both ends, in diameters, and near the sector's edge: docs/clinical.md, "The diameter from a mask".
END_DIAMETERS = 0.5
TUBE_EDGE_PX = 5.0
MIN_COLUMNS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Area, centroid (x, y) and 2 x 2 covariance of a filled shape; in pixels, or in mm after ``scaled``."""

    area: float
    centroid_xy: Point
    covariance: Matrix

    def scaled(self, x_scale: float, y_scale: float) -> Moments:
        """The same shape in other units, for example mm with the spacing of each axis."""
        scale = np.array([x_scale, y_scale])
        centroid = (self.centroid_xy[0] * x_scale, self.centroid_xy[1] * y_scale)
        return Moments(self.area * x_scale * y_scale, centroid, self.covariance * np.outer(scale, scale))

    def extent(self, direction_xy: Point) -> float:
        """Full extent of the ellipse of these moments, projected on a direction (of any length): ``4 sqrt(u' C u)``.

        For the vertical this is ``2 sqrt((ra sin t)^2 + (rb cos t)^2)`` (``docs/clinical.md``, "The diameter from a
        mask").
        """
        unit = np.asarray(direction_xy, dtype=np.float64)
        unit = unit / np.hypot(unit[0], unit[1])
        return 4.0 * math.sqrt(max(0.0, float(unit @ self.covariance @ unit)))

    def ellipse(self) -> Ellipse:
        """The ellipse that has the same second moments."""
        # Eigenvalues ascend: the second is that of the major axis. A filled ellipse has a quarter of the squared
        # semi-axes as its variances, hence the factor 2.
        values, vectors = np.linalg.eigh(self.covariance)
        minor, major = 2.0 * np.sqrt(np.maximum(values, 0.0))
        angle = math.atan2(float(vectors[1, 1]), float(vectors[0, 1]))
        return Ellipse(self.centroid_xy, float(major), float(minor), angle)


@dataclass(frozen=True, slots=True)
class Ellipse:
    """Centre, semi-axes and the angle of the major axis from +x (radians, towards +y)."""

    center_xy: Point
    semi_major: float
    semi_minor: float
    angle_rad: float

    @property
    def elongation(self) -> float:
        """Major over minor axis, 1 for a circle."""
        if self.semi_minor > 0:
            return self.semi_major / self.semi_minor
        return math.inf

    @property
    def major_direction(self) -> Point:
        """Unit vector along the major axis."""
        return (math.cos(self.angle_rad), math.sin(self.angle_rad))

    @property
    def minor_direction(self) -> Point:
        """Unit vector along the minor axis."""
        return (-math.sin(self.angle_rad), math.cos(self.angle_rad))

    @property
    def circumference(self) -> float:
        """Perimeter by Ramanujan's second approximation (1914), exact to 0.0001 mm for heads.

        Against the elliptic integral: ``docs/clinical.md``, "Circumference, diameters and cephalic index".
        """
        a, b = self.semi_major, self.semi_minor
        if a + b == 0.0:
            return 0.0
        h = ((a - b) / (a + b)) ** 2
        return math.pi * (a + b) * (1.0 + 3.0 * h / (10.0 + math.sqrt(4.0 - 3.0 * h)))

    def polygon(self, count: int = 90) -> Points:
        """Points (count, 2) around the ellipse."""
        turn = np.linspace(0.0, 2.0 * math.pi, count, endpoint=False)
        along, across = self.semi_major * np.cos(turn), self.semi_minor * np.sin(turn)
        axes = np.array([self.major_direction, self.minor_direction])
        return np.asarray(np.column_stack([along, across]) @ axes + np.asarray(self.center_xy), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One connected, filled mask inside its rectangle, with what everything else is computed from.

    ``mask`` is tight around the shape; ``origin_px`` (column, row) is its top-left pixel. ``outline_xy_px`` runs along
    the outer edges of the pixels, closed, in frame pixels.
    """

    mask: Mask
    origin_px: tuple[int, int]
    outline_xy_px: Points
    moments: Moments


def shape_of(mask: Mask, origin_px: tuple[int, int] = (0, 0)) -> Shape | None:
    """Largest connected component of a mask (bool, height x width) with its holes filled; None when it is empty.

    ``origin_px`` (column, row) is where the mask's top-left pixel lies in the frame.
    """
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    contour = contours[0]
    if len(contours) > 1:  # a part one pixel wide has no area by OpenCV: its length decides
        contour = max(contours, key=lambda c: (cv2.contourArea(c), len(c)))
    x, y, width, height = cv2.boundingRect(contour)
    filled = np.zeros((height, width), dtype=np.uint8)
    cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED, offset=(-x, -y))
    origin = (origin_px[0] + x, origin_px[1] + y)
    whole = filled.view(np.bool_)
    whole.setflags(write=False)
    return Shape(whole, origin, outline_of(filled, origin), moments_of(filled, origin))


def moments_of(mask: NDArray[np.uint8] | Mask, origin_px: tuple[int, int] = (0, 0)) -> Moments:
    """Exact moments (px) of the union of the unit squares of a mask (height x width). It must not be empty."""
    m = cv2.moments(mask.view(np.uint8), binaryImage=True)
    area = m["m00"]
    # OpenCV counts from the middle of the first pixel, and takes pixels for points without an extent.
    centroid = (m["m10"] / area + 0.5 + origin_px[0], m["m01"] / area + 0.5 + origin_px[1])
    xx, yy, xy = m["mu20"] / area + PIXEL_VARIANCE, m["mu02"] / area + PIXEL_VARIANCE, m["mu11"] / area
    return Moments(float(area), centroid, np.array([[xx, xy], [xy, yy]]))


def outline_of(mask: NDArray[np.uint8] | Mask, origin_px: tuple[int, int] = (0, 0)) -> Points:
    """Closed outline (N, 2) of a connected mask through the outer corners of its pixels, not their centres.

    A grid node belongs to the shape when one of its four pixels does; the contour of the nodes is the outline.
    """
    height, width = mask.shape
    nodes = np.zeros((height + 1, width + 1), dtype=np.uint8)
    pixels = mask.view(np.uint8)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        nodes[row : row + height, column : column + width] |= pixels
    contours, _ = cv2.findContours(nodes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = contours[0]
    if len(contours) > 1:
        contour = max(contours, key=len)
    return contour[:, 0, :].astype(np.float64) + np.asarray(origin_px, dtype=np.float64)


def projected_extent(points_xy: Points, direction_xy: Point) -> float:
    """Extent of the points (N, 2) themselves along a direction: for the vertical, the rows of the mask."""
    unit = np.asarray(direction_xy, dtype=np.float64)
    positions = points_xy @ (unit / np.hypot(unit[0], unit[1]))
    return float(positions.max() - positions.min())


def ellipse_overlap(shape: Shape) -> float:
    """Intersection over union of the mask and the ellipse of its own moments."""
    # Inside the ellipse the Mahalanobis distance is at most 2. Single precision, since this runs for every mask.
    moments = shape.moments
    inverse = np.linalg.inv(moments.covariance)
    height, width = shape.mask.shape
    x = np.arange(width, dtype=np.float32) + np.float32(0.5 + shape.origin_px[0] - moments.centroid_xy[0])
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5 + shape.origin_px[1] - moments.centroid_xy[1]))[:, None]
    distance = x * (np.float32(inverse[0, 0]) * x + np.float32(2.0 * inverse[0, 1]) * y)
    distance += np.float32(inverse[1, 1]) * y * y
    common = float(np.count_nonzero((distance <= 4.0) & shape.mask))
    ellipse_area = 4.0 * math.pi * math.sqrt(float(np.linalg.det(moments.covariance)))
    return common / (moments.area + ellipse_area - common)


def solidity(shape: Shape) -> float:
    """Area of the mask over the area of its convex hull, 1 for a convex shape."""
    hull_area = cv2.contourArea(cv2.convexHull(shape.outline_xy_px.astype(np.float32)))
    return min(1.0, shape.moments.area / hull_area)


@lru_cache(maxsize=8)
def border_distance_px(sector: Sector | None, frame_size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Distance of every pixel (height x width) to the nearest pixel that is not ultrasound.

    What lies outside the frame counts as not ultrasound. Where the sector is uncertain its outline is a guess: then
    only its bounding box, outside which no model looked, bounds it. Cached: some milliseconds for a new sector.
    """
    width, height = frame_size_px
    # A frame of zeros around it makes the picture's own edge a border.
    inside = np.zeros((height + 2, width + 2), dtype=np.uint8)
    if sector is None:
        inside[1:-1, 1:-1] = 1
    elif not sector.certain:
        x0, y0, x1, y1 = sector.box_xyxy_px
        inside[1 + max(0, y0) : 1 + min(height, y1), 1 + max(0, x0) : 1 + min(width, x1)] = 1
    else:
        # In sixteenths of a pixel (``shift=4``): half a pixel less for OpenCV, one more for the frame of zeros.
        corners = np.rint((sector.outline_xy_px + 0.5) * 16).astype(np.int32)
        cv2.fillPoly(inside, [corners], 1, shift=4)
        # A sector that reaches the picture's edge was filled into the frame of zeros as well.
        inside[0, :] = inside[-1, :] = 0
        inside[:, 0] = inside[:, -1] = 0
    distance = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1], dtype=np.float32)
    distance.setflags(write=False)
    return distance


def border_margin_px(shape: Shape, distance_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """The part of ``border_distance_px`` that the shape's rectangle covers; pixels outside the frame have 0."""
    x, y = shape.origin_px
    height, width = shape.mask.shape
    if x < 0 or y < 0 or y + height > distance_px.shape[0] or x + width > distance_px.shape[1]:
        padded = np.zeros((height, width), dtype=np.float32)
        y0, x0 = max(0, y), max(0, x)
        part = distance_px[y0 : max(y0, y + height), x0 : max(x0, x + width)]
        padded[y0 - y : y0 - y + part.shape[0], x0 - x : x0 - x + part.shape[1]] = part
        return padded
    return distance_px[y : y + height, x : x + width]


def touching_xy_px(shape: Shape, margin_px: NDArray[np.float32], reach_px: float = 2.0) -> Points:
    """Centres (N, 2) of the mask's pixels that lie within ``reach_px`` of the border."""
    rows, columns = np.nonzero(shape.mask & (margin_px <= reach_px))
    return np.column_stack([columns + 0.5 + shape.origin_px[0], rows + 0.5 + shape.origin_px[1]])


# --- a tube: the width of a vessel that is cut lengthwise (docs/clinical.md, "The diameter from a mask") --------------


@dataclass(frozen=True, slots=True, eq=False)
class _TubeWidth:
    """Largest width of a tube, in the scaled units, with the ends of its caliper and of the centreline (frame px)."""

    width: float
    ends_xy_px: tuple[Point, Point]
    centreline_xy_px: Points


def widest_tube(shape: Shape, near_border: Bools, x_scale: float = 1.0, y_scale: float = 1.0) -> _TubeWidth | None:
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
    return _TubeWidth(float(steady.max()), (_as_point(ends[0]), _as_point(ends[1])), line)


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


def _as_point(row: Array) -> Point:
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
