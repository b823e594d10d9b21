"""Fits straight sides and arcs to the silhouette of an ultrasound picture.

A sector is the part of the frame between two side lines and, where these meet in an apex, between two arcs about it;
straight tops and bottoms (linear probes, cropped panes) are lines as well. Shadows and dark tissue only take away from
the silhouette, text and marks only add to it, so a border is a line with many silhouette points on it and hardly any
beyond it: neither a mean nor the outermost points.

Of each fit it is said how well it explains the picture: ``certain`` means that everything outside may be blanked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Points
from usviewer.units import Point

Array = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

ON_LINE_PX = 1.5
# A point beyond a line counts against it more than one on it counts for it: beyond lie only text and marks.
BEYOND_COST = 1.5
# Lines are tried through each two of so many border points: 276 of them.
ANCHORS = 24
BEAMS = 181
MIN_FAN_RAD = math.radians(1.0)
# Panes that cut a fan stand upright.
PANE_RAD = math.radians(4.0)
# A silhouette is rough: border counts as seen when some of it lies this near.
NEAR_PX = 3
CORNER_RAD = math.radians(25.0)
# Fans stand upright. One that leans has lost a side to a shadow along a beam (or the picture was turned).
LEAN_RAD = math.radians(6.0)
# What ``certain`` needs. It decides about blanking: what is outside may hold a name, and no tissue may be cut away.
MAX_OUTSIDE = 0.004
MIN_SUPPORT = 0.80
MIN_SIDE_SUPPORT = 0.55
MIN_CLEAN = 0.97
WHOLE_SHARE = 0.985


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """An outline at the working size, with what is known about the probe, and how well it explains the picture."""

    outline_xy: Points
    apex_xy: Point | None
    face_radius: float | None
    certain: bool
    score: float
    sides: tuple[float, float] | None = None
    facts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _FittedLine:
    """Half-plane ``nx x + ny y >= c`` (unit normal pointing inward) and how many pixels of border lie on it."""

    nx: float
    ny: float
    c: float
    support_px: float


def fit_outline(mask: Bytes, lit: Bools) -> Fit | None:
    """Fit one silhouette (0 or 1, height x width); None where its lines enclose nothing.

    ``lit`` is everything above the background, text included, of the same size.
    """
    filled = _filled(mask)
    height, width = filled.shape
    left, right = _side_lines(filled, flip=False), _side_lines(filled, flip=True)
    tops, bottoms = _end_lines(filled, flip=False), _end_lines(filled, flip=True)
    lines = [*left, *right, *tops, *bottoms]
    apex = None
    if left and right:
        apex = _apex(left[0], right[0], filled)
    rectangle = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    face, angles = None, None
    if apex is None:
        subject = rectangle
    else:
        arcs = _arcs(filled, apex, left[0], right[0])
        face, angles = arcs.face, arcs.angles
        subject = _annular_sector(apex, face or 0.0, arcs.far, arcs.angles)
        # The first side lines and the arcs are in the sector already; a straight end counts only where no arc is seen.
        lines = [*left[1:], *right[1:]]
        if face is None:
            lines += tops
        if not arcs.far_seen:
            lines += bottoms
        lines += _frame_lines(width, height)
    for line in lines:
        subject = _clip(subject, line)
        if len(subject) < 3:
            return None
    return _judge(subject, apex, face, angles, filled, lit)


def corridor(fit: Fit, shape: tuple[int, ...]) -> Bytes:
    """Everything between the two sides of a fit, however far up and down: where other pieces of it may lie."""
    height, width = shape
    if fit.apex_xy is None or fit.sides is None:
        x0, x1 = fit.outline_xy[:, 0].min() - 2.0, fit.outline_xy[:, 0].max() + 2.0
        wedge = np.array([[x0, 0.0], [x1, 0.0], [x1, height], [x0, height]])
    else:
        wedge = _annular_sector(fit.apex_xy, 0.0, 4.0 * (height + width + abs(fit.apex_xy[1])), fit.sides)
    return draw_region(wedge, shape)


def _filled(mask: Bytes) -> Bytes:
    # Dark vessels, cysts and shadows inside the silhouette are part of the sector all the same.
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled


def _side_lines(filled: Bytes, flip: bool) -> list[_FittedLine]:
    """Up to two lines on the left (right with ``flip``), the one with most border on it first."""
    width = filled.shape[1]
    seen = filled
    if flip:
        seen = filled[:, ::-1]
    points = _first_columns(seen)
    lines = _support_lines(points, math.radians(80.0), 0.10 * max(filled.shape))
    lines = lines[:1] + [line for line in lines[1:] if line.nx >= math.cos(PANE_RAD)]
    if flip:
        lines = [_FittedLine(-line.nx, line.ny, line.c - line.nx * width, line.support_px) for line in lines]
    return lines


def _end_lines(filled: Bytes, flip: bool) -> list[_FittedLine]:
    """A straight top (bottom with ``flip``), if there is one."""
    height = filled.shape[0]
    seen = filled
    if flip:
        seen = filled[::-1]
    turned = np.ascontiguousarray(seen.T)
    columns = np.count_nonzero(filled.any(axis=0))
    found = _support_lines(_first_columns(turned), PANE_RAD, 0.3 * columns, most=1)
    lines = [_FittedLine(line.ny, line.nx, line.c, line.support_px) for line in found]
    if flip:
        lines = [_FittedLine(line.nx, -line.ny, line.c - line.ny * height, line.support_px) for line in lines]
    return lines


def _first_columns(filled: Bytes) -> Points:
    """Left border point of every row, without the rows that are cut by the frame."""
    rows = np.flatnonzero(filled.any(axis=1))
    first = filled.argmax(axis=1)[rows]
    inside = first > 1
    return np.column_stack([first[inside], rows[inside] + 0.5]).astype(np.float64)


def _support_lines(points: Points, max_angle_rad: float, min_support_px: float, most: int = 2) -> list[_FittedLine]:
    """Greedy: the best-supported line, then the best through the points that are not on it."""
    lines: list[_FittedLine] = []
    rest = points
    while len(lines) < most and len(rest) >= 8:
        line = _best_line(rest, points, max_angle_rad)
        if line is None or line.support_px < min_support_px:
            break
        lines.append(line)
        rest = rest[np.abs(rest @ (line.nx, line.ny) - line.c) > ON_LINE_PX]
    return lines


def _best_line(points: Points, everything: Points, max_angle_rad: float) -> _FittedLine | None:
    """The line through two of the points with most points on it and fewest beyond it."""
    anchors = points[np.unique(np.linspace(0, len(points) - 1, ANCHORS).astype(int))]
    first, second = np.triu_indices(len(anchors), 1)
    along = anchors[second] - anchors[first]
    length = np.hypot(along[:, 0], along[:, 1])
    normal = np.column_stack([along[:, 1], -along[:, 0]]) / np.maximum(length, 1e-9)[:, None]
    keep = (length > 6.0) & (normal[:, 0] >= math.cos(max_angle_rad))
    if not keep.any():
        return None
    normal, c = normal[keep], np.einsum("ij,ij->i", normal[keep], anchors[first[keep]])
    # Some of the points are enough to compare lines; the best one is refined on all of them.
    step = max(1, len(everything) // 160)
    distance = everything[::step] @ normal.T - c
    on, beyond = np.abs(distance) <= ON_LINE_PX, distance < -ON_LINE_PX
    # There is one point in each row: on a slanted line it stands for more of its length (five times at most).
    weight = 1.0 / np.maximum(normal[:, 0], 0.2)
    score = (on.sum(axis=0) * weight - BEYOND_COST * beyond.sum(axis=0)) * step
    best = int(np.argmax(score))
    return _refined(everything, normal[best], float(c[best]))


def _refined(points: Points, normal: Array, c: float) -> _FittedLine:
    """Least squares through the points on the line, twice."""
    for _ in range(2):
        on = points[np.abs(points @ normal - c) <= ON_LINE_PX]
        if len(on) < 3:
            break
        centre = on.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov((on - centre).T))
        turned = vectors[:, 0]
        if turned[0] <= 0:  # the normal points inward, to the right; an eigenvector has no sign of its own
            turned = -turned
        normal, c = turned, float(turned @ centre)
    distance = points @ normal - c
    weight = 1.0 / max(float(normal[0]), 0.2)
    on_line, beyond = np.abs(distance) <= ON_LINE_PX, distance < -ON_LINE_PX
    support = weight * np.count_nonzero(on_line) - BEYOND_COST * np.count_nonzero(beyond)
    return _FittedLine(float(normal[0]), float(normal[1]), c, float(support))


def _apex(left: _FittedLine, right: _FittedLine, filled: Bytes) -> Point | None:
    """Where the sides meet above the picture's deeper half; None for parallel sides."""
    turn = math.atan2(left.ny, left.nx) - math.atan2(-right.ny, -right.nx)
    lean = math.atan2(left.ny, left.nx) + math.atan2(right.ny, -right.nx)
    determinant = left.nx * right.ny - left.ny * right.nx
    if abs(lean) < MIN_FAN_RAD or abs(determinant) < 1e-9 or abs(turn) > math.pi:
        return None
    x = (left.c * right.ny - right.c * left.ny) / determinant
    y = (left.nx * right.c - right.nx * left.c) / determinant
    rows = np.flatnonzero(filled.any(axis=1))
    if y >= rows[0] + 0.3 * (rows[-1] - rows[0]):
        return None
    return (x, y)


def _angle(line: _FittedLine) -> float:
    """Angle of a side line from straight down, positive to the right."""
    x, y = -line.ny, line.nx
    if y <= 0:  # the line's direction, turned downwards
        x, y = -x, -y
    return math.atan2(x, y)


@dataclass(frozen=True, slots=True)
class _Arcs:
    """Radius of the probe face (None where it is not seen) and of the deep end, and the angles of the sides."""

    face: float | None
    far: float
    far_seen: bool
    angles: tuple[float, float]


def _arcs(filled: Bytes, apex: Point, left: _FittedLine, right: _FittedLine) -> _Arcs:
    """Look along the beams between the sides for where the silhouette begins and ends."""
    height, width = filled.shape
    angles = (_angle(left), _angle(right))
    turn = np.linspace(*angles, BEAMS + 2)[1:-1]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - apex
    reach = math.ceil(float(np.hypot(corners[:, 0], corners[:, 1]).max()))
    nearest = max(0, math.floor(np.hypot(*_gap(apex, width, height))))
    radius = np.arange(nearest, reach + 1)
    column = np.floor(apex[0] + np.sin(turn)[:, None] * radius).astype(np.intp)
    row = np.floor(apex[1] + np.cos(turn)[:, None] * radius).astype(np.intp)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    seen = inside & (filled[row.clip(0, height - 1), column.clip(0, width - 1)] > 0)
    some = seen.any(axis=1)
    first, last = seen.argmax(axis=1), len(radius) - 1 - seen[:, ::-1].argmax(axis=1)
    enter, leave = inside.argmax(axis=1), len(radius) - 1 - inside[:, ::-1].argmax(axis=1)
    # A beam whose tissue begins where it enters the picture shows no face: the picture was cut there. So with the end.
    face = _common_radius(first[some & (first > enter + 2)])
    far = _common_radius(-last[some & (last < leave - 2)])
    deepest = float(len(radius))
    if some.any():
        deepest = float(last[some].max()) + 1.0
    if face is None and first[some].size and float(np.median(first[some] - enter[some])) > 2.0:
        face = float(np.percentile(first[some], 2))
    if face is not None:
        face += nearest
    if far is None:
        return _Arcs(face, nearest + deepest, False, angles)
    return _Arcs(face, nearest + (0.5 - far), True, angles)


def _gap(apex: Point, width: int, height: int) -> tuple[float, float]:
    """From a position to the nearest place of the frame."""
    return (max(0.0, -apex[0], apex[0] - width), max(0.0, -apex[1], apex[1] - height))


def _common_radius(radii: NDArray[np.intp]) -> float | None:
    """The radius that most beams share with few below it; None when fewer than a seventh do."""
    if len(radii) < 8:
        return None
    values = np.unique(radii)
    on = (np.abs(radii[:, None] - values) <= ON_LINE_PX).sum(axis=0)
    below = (radii[:, None] < values - ON_LINE_PX).sum(axis=0)
    best = int(np.argmax(on - BEYOND_COST * below))
    if on[best] - BEYOND_COST * below[best] < BEAMS / 7:
        return None
    return float(radii[np.abs(radii - values[best]) <= ON_LINE_PX].mean())


def _annular_sector(apex: Point, face: float, far: float, angles: tuple[float, float]) -> Points:
    """Face from left to right, then the deep arc back."""
    turn = np.linspace(*angles, 64)
    ring = np.column_stack([np.sin(turn), np.cos(turn)])
    near = np.zeros((1, 2))  # a face of no radius is the apex
    if face > 1.0:
        near = ring * face
    return np.asarray(np.vstack([near, ring[::-1] * far]) + np.asarray(apex), dtype=np.float64)


def _frame_lines(width: int, height: int) -> list[_FittedLine]:
    return [
        _FittedLine(1.0, 0.0, 0.0, 0.0),
        _FittedLine(-1.0, 0.0, -float(width), 0.0),
        _FittedLine(0.0, 1.0, 0.0, 0.0),
        _FittedLine(0.0, -1.0, -float(height), 0.0),
    ]


def _clip(polygon: Points, line: _FittedLine) -> Points:
    """The part of a polygon inside a half-plane (Sutherland and Hodgman)."""
    distance = polygon @ (line.nx, line.ny) - line.c
    kept: list[Array] = []
    for index, here in enumerate(polygon):
        before = index - 1
        if (distance[before] >= 0.0) != (distance[index] >= 0.0):
            share = distance[before] / (distance[before] - distance[index])
            kept.append(polygon[before] + share * (here - polygon[before]))
        if distance[index] >= 0.0:
            kept.append(here)
    return np.array(kept, dtype=np.float64).reshape(-1, 2)


def _judge(
    outline: Points,
    apex: Point | None,
    face: float | None,
    angles: tuple[float, float] | None,
    filled: Bytes,
    lit: Bools,
) -> Fit:
    """Judge how well an outline (N, 2, in pixels of the working size) explains the picture, and whether it is certain.

    ``filled`` is the silhouette and ``lit`` all that is brighter than the background, both height x width. ``apex``,
    ``face`` and ``angles`` (radians from straight down) are those of a fan; None where it has parallel sides.
    """
    region = draw_region(outline, filled.shape)
    outside = _count(filled & ~_grown(region, 2) & 1) / max(1, _count(filled))
    border = _walk(outline)
    support, by_side = _border_support(border, filled)
    clean = _moat(border, lit)
    cover = _count(region & filled) / max(1, _count(region))
    corners = _corners_held(outline, filled)
    whole = _count(region) >= WHOLE_SHARE * region.size
    upright = angles is None or abs(angles[0] + angles[1]) <= LEAN_RAD
    certain = (
        not whole
        and upright
        and corners
        and outside <= MAX_OUTSIDE
        and support >= MIN_SUPPORT
        and min(by_side.values(), default=0.0) >= MIN_SIDE_SUPPORT
        and clean >= MIN_CLEAN
    )
    score = support + 0.5 * cover - 4.0 * outside - 2.0 * (1.0 - clean) + 0.2 * corners - 0.5 * whole
    facts = {"support": support, "outside": outside, "clean": clean, "cover": cover, "corners": corners, **by_side}
    return Fit(outline, apex, face, certain, score, angles, facts)


def _corners_held(outline: Points, filled: Bytes) -> bool:
    """True when the silhouette reaches into every corner of the outline: no side was continued into the dark."""
    before, after = outline - np.roll(outline, 1, axis=0), np.roll(outline, -1, axis=0) - outline
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    angle = np.abs(np.arctan2(turn, (before * after).sum(axis=1)))
    reach = max(NEAR_PX, round(0.015 * max(filled.shape)))
    near = _grown(filled, reach)
    return bool(_looked_up(near, outline[angle >= CORNER_RAD]).all())


@dataclass(frozen=True, slots=True, eq=False)
class _Border:
    """Places about a pixel apart along an outline, how much length each stands for, and the way out at each."""

    places: Points
    weight: Array
    outward: Points


def _walk(outline: Points) -> _Border:
    after = np.roll(outline, -1, axis=0)
    along = after - outline
    length = np.hypot(along[:, 0], along[:, 1])
    count = np.maximum(1, np.ceil(length)).astype(int)
    which = np.repeat(np.arange(len(outline)), count)
    share = (np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + 0.5) / count[which]
    clockwise = float(np.sum(outline[:, 0] * after[:, 1] - after[:, 0] * outline[:, 1])) > 0.0
    normal = np.column_stack([along[:, 1], -along[:, 0]]) / np.maximum(length, 1e-9)[:, None]
    if not clockwise:
        normal = -normal
    return _Border(outline[which] + share[:, None] * along[which], (length / count)[which], normal[which])


def _looked_up(image: NDArray[Any], places: Points) -> NDArray[Any]:
    """The pixels that hold the places; the nearest one for places outside the picture."""
    height, width = image.shape
    rows, columns = places[:, 1].clip(0, height - 1).astype(int), places[:, 0].clip(0, width - 1).astype(int)
    return np.asarray(image[rows, columns])


def _border_support(border: _Border, filled: Bytes) -> tuple[float, dict[str, float]]:
    """Share of the outline that has silhouette next to it: in all, and for each side by the way it faces."""
    held = _looked_up(_grown(filled, NEAR_PX), border.places) > 0
    weight, (x, y) = border.weight, border.outward.T
    sideways = np.abs(x) >= np.abs(y)
    sides = {
        "left": sideways & (x < 0),
        "right": sideways & (x >= 0),
        "top": ~sideways & (y < 0),
        "bottom": ~sideways & (y >= 0),
    }
    by_side = {k: float(weight[held & v].sum() / weight[v].sum()) for k, v in sides.items() if weight[v].sum() > 1.0}
    return float(weight[held].sum() / max(weight.sum(), 1e-9)), by_side


def _moat(border: _Border, lit: Bools) -> float:
    """Share of the outline with background, or the end of the picture, a few pixels outside it: no tissue goes on."""
    height, width = lit.shape
    dark = np.zeros(len(border.places), dtype=np.bool_)
    # One dark pixel of these is enough: the border is blurred, and a letter may stand beside it.
    for step in range(2, 8):
        x, y = (border.places + step * border.outward).T
        dark |= (x < 0) | (x >= width) | (y < 0) | (y >= height)
        dark |= ~_looked_up(lit, np.column_stack([x, y]))
    return float(border.weight[dark].sum() / max(border.weight.sum(), 1e-9))


def draw_region(outline: Points, shape: tuple[int, ...]) -> Bytes:
    """The polygon as a mask of a size (rows, columns): 1 inside."""
    region = np.zeros(shape, dtype=np.uint8)
    cv2.fillPoly(region, [np.rint((outline - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return region


def _grown(region: Bytes, reach: int) -> Bytes:
    size = 2 * reach + 1
    return np.asarray(cv2.dilate(region, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), dtype=np.uint8)


def _count(mask: NDArray[Any]) -> int:
    return int(np.count_nonzero(mask))
