"""Whether an outline explains the picture well enough that everything outside it may be blanked."""

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


def judge(
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
