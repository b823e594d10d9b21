"""How a structure moved from one picture to the next: its mask is carried along, and how well that went is told.

Points in and around the mask are followed by sparse optical flow (Lucas and Kanade, in pyramids), there and back; those
that return vote for one similarity (shift, turn, size). Pure functions on grey pictures (height, width) in bytes and
masks (height, width) of the whole picture; positions in the corner convention. What turns is a similarity only where
pixels are square: of others, points are followed and fitted on squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Frame, Mask, Points

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float64]

# Speckle is finer than what moves: the neighbourhood is looked at in no more than so many pixels.
WINDOW_PX = 192
# Around the box of the mask, whose neighbourhood is followed with it: a share of its longer side, and no less pixels.
LEAST_MARGIN_PX = 16.0
MARGIN = 0.5
GRID = 14
LEAST_POINTS = 6
# A point that comes back so far from where it began followed something else.
RETURN_PX = 1.0
# From one frame of a clip to the next nothing grows or turns by more; a fit that says so followed noise.
MOST_GROWTH, MOST_TURN_RAD = 1.25, 0.35
LK_WINDOW, LK_LEVELS = (17, 17), 3
LK_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.02)


@dataclass(frozen=True, slots=True, eq=False)
class MaskMotion:
    """A similarity (of the true shape) as a matrix (2, 3) on positions, and how far it can be trusted.

    ``share`` of the followed points agrees with it (0: nothing could be followed, and the matrix says that nothing
    moved). ``appearance`` is the correlation of the neighbourhood, carried along, with what is there now: 1 for the
    same picture, around 0 after a cut.
    """

    matrix: Matrix
    share: float
    appearance: float


def grey_of(frame: Frame) -> Grey:
    """Give the frame's brightness, uint8 (height, width)."""
    return np.asarray(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def estimate(before: Grey, after: Grey, mask: Mask, pixel_aspect: float = 1.0) -> MaskMotion:
    """Estimate how what the mask (height, width) covers in ``before`` has moved until ``after``.

    Pictures of different size give no motion and no trust. ``pixel_aspect`` is a pixel's width over its height.
    """
    if before.shape != after.shape or not mask.any():
        return MaskMotion(_nothing(), 0.0, 0.0)
    x0, y0, x1, y1 = _window(mask)
    squares = np.array((pixel_aspect, 1.0)) / min(1.0, pixel_aspect)  # a pixel's sides, the shorter being 1
    scale = min(1.0, WINDOW_PX / max((x1 - x0) * squares[0], (y1 - y0) * squares[1]))
    first, then = (_reduced(picture[y0:y1, x0:x1], scale * squares) for picture in (before, after))
    near = _reduced(mask[y0:y1, x0:x1].view(np.uint8) * np.uint8(255), scale * squares) > 127
    reach = 2 * round(0.15 * max(near.shape)) + 1
    near = cv2.dilate(near.view(np.uint8), np.ones((reach, reach), np.uint8)).astype(np.bool_)
    starts = _grid(near)
    ends, kept = _follow(first, then, starts)
    origin, steps = np.array((x0, y0)), np.array((first.shape[1] / (x1 - x0), first.shape[0] / (y1 - y0)))
    here, there = ((points + 0.5) / steps + origin for points in (starts[kept], ends[kept]))
    matrix, agreed = _similarity(here * squares, there * squares, 1.5 / scale)
    matrix = matrix * np.append(squares, 1.0) / squares[:, None]
    share = agreed / max(1, len(starts))
    local = _local(matrix, origin, steps)
    return MaskMotion(matrix, share, _correlation(first, then, near, local))


def move_mask(mask: Mask, matrix: Matrix) -> Mask:
    """Move a mask (height, width) by a matrix (2, 3) on positions; what leaves the picture is gone."""
    height, width = mask.shape
    result = np.zeros_like(mask)
    if not mask.any():
        return result
    x0, y0, x1, y1 = _box(mask)
    # Only where the box of the mask arrives is warped: most of the picture is empty.
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64) @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (width, height))
    if left >= right or top >= bottom:
        return result
    local = matrix.copy()
    # OpenCV counts from the middle of a pixel, on both sides.
    local[:, 2] += matrix[:, :2] @ (x0 + 0.5, y0 + 0.5) - (left + 0.5, top + 0.5)
    values = mask[y0:y1, x0:x1].view(np.uint8) * np.uint8(255)
    result[top:bottom, left:right] = cv2.warpAffine(values, local, (int(right - left), int(bottom - top))) > 127
    return result


def overlap(first: Mask, second: Mask) -> float:
    """Give the intersection over union of two masks (height, width); 0 for two empty ones."""
    union = int(np.count_nonzero(first | second))
    if union == 0:
        return 0.0
    return int(np.count_nonzero(first & second)) / union


def _nothing() -> Matrix:
    return np.array(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))


def _box(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _window(mask: Mask) -> tuple[int, int, int, int]:
    """The mask's box with a margin, inside the picture."""
    x0, y0, x1, y1 = _box(mask)
    margin = math.ceil(max(LEAST_MARGIN_PX, MARGIN * max(x1 - x0, y1 - y0)))
    height, width = mask.shape
    return max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)


def _reduced(picture: Grey, scale_xy: Points) -> Grey:
    if (scale_xy == 1.0).all():
        return np.ascontiguousarray(picture)
    size = max(1, round(picture.shape[1] * scale_xy[0])), max(1, round(picture.shape[0] * scale_xy[1]))
    mode = cv2.INTER_LINEAR
    if max(scale_xy) <= 1.0:
        mode = cv2.INTER_AREA  # OpenCV averages over areas only where it shrinks
    return np.ascontiguousarray(cv2.resize(picture, size, interpolation=mode))


def _grid(near: Mask) -> NDArray[np.float32]:
    """Evenly spread positions inside, as OpenCV counts (x, y)."""
    rows, columns = near.shape
    step = max(2.0, math.sqrt(np.count_nonzero(near)) / GRID)
    y, x = np.mgrid[step / 2 : rows : step, step / 2 : columns : step]
    points = np.stack((x.ravel(), y.ravel()), axis=1)
    inside = near[points[:, 1].astype(int), points[:, 0].astype(int)]
    return np.asarray(points[inside], np.float32)


def _follow(first: Grey, then: Grey, starts: NDArray[np.float32]) -> tuple[NDArray[np.float32], Mask]:
    """Where the points went, and which of them come back from there."""
    if len(starts) < LEAST_POINTS:
        return starts, np.zeros(len(starts), np.bool_)
    ends, found = _flow(first, then, starts)
    returned, again = _flow(then, first, ends)
    return ends, found & again & (np.linalg.norm(returned - starts, axis=1) <= RETURN_PX)


def _flow(first: Grey, then: Grey, starts: NDArray[np.float32]) -> tuple[NDArray[np.float32], Mask]:
    guess = starts[:, None].copy()  # OpenCV may write into what it is given
    ends, found, _ = cv2.calcOpticalFlowPyrLK(
        first, then, starts[:, None], guess, winSize=LK_WINDOW, maxLevel=LK_LEVELS, criteria=LK_CRITERIA
    )
    return np.asarray(ends[:, 0], np.float32), np.asarray(found[:, 0] == 1, np.bool_)


def _similarity(here: Points, there: Points, tolerance_px: float) -> tuple[Matrix, int]:
    """The similarity that most points agree with, and how many do.

    Least squares on those near the median shift first, then on those near the fit.
    """
    if len(here) < LEAST_POINTS:
        return _nothing(), 0
    shift = np.median(there - here, axis=0)
    matrix = _nothing()
    matrix[:, 2] = shift
    agreed = _agreeing(here, there, matrix, 4 * tolerance_px)
    for _ in range(3):
        if np.count_nonzero(agreed) < LEAST_POINTS:
            break
        fitted = _fit(here[agreed], there[agreed])
        if fitted is None:
            break
        matrix = fitted
        agreed = _agreeing(here, there, matrix, tolerance_px)
    return matrix, int(np.count_nonzero(agreed))


def _agreeing(here: Points, there: Points, matrix: Matrix, tolerance_px: float) -> Mask:
    off = here @ matrix[:, :2].T + matrix[:, 2] - there
    result: Mask = np.hypot(off[:, 0], off[:, 1]) <= tolerance_px
    return result


def _fit(here: Points, there: Points) -> Matrix | None:
    """Least-squares similarity (Umeyama 1991, in two dimensions as complex numbers); None where it cannot be right."""
    middle, goal = here.mean(axis=0), there.mean(axis=0)
    a, b = (here - middle) @ (1, 1j), (there - goal) @ (1, 1j)
    power = float((np.abs(a) ** 2).sum())
    turn = 1.0 + 0j  # all points are one: nothing can be said of turn and size
    if power > 0:
        turn = complex((np.conj(a) * b).sum() / power)
    growth, angle = abs(turn), abs(math.atan2(turn.imag, turn.real))
    if not (1 / MOST_GROWTH <= growth <= MOST_GROWTH and angle <= MOST_TURN_RAD):
        return None
    rotation = np.array(((turn.real, -turn.imag), (turn.imag, turn.real)))
    return np.column_stack((rotation, goal - rotation @ middle))


def _local(matrix: Matrix, origin: Points, steps: Points) -> Matrix:
    """The motion on the pixels of the reduced window, as OpenCV counts them."""
    scale = np.diag(steps)
    linear = scale @ matrix[:, :2] @ np.linalg.inv(scale)
    shift = scale @ (matrix[:, :2] @ origin + matrix[:, 2] - origin)
    return np.column_stack((linear, shift + linear @ (0.5, 0.5) - (0.5, 0.5)))


def _correlation(first: Grey, then: Grey, near: Mask, local: Matrix) -> float:
    """Of the neighbourhood carried along with what is there, -1 to 1; 0 where one of the two is even."""
    size = (then.shape[1], then.shape[0])
    carried = cv2.warpAffine(cv2.GaussianBlur(first, (0, 0), 1.5), local, size)
    where = cv2.warpAffine(near.view(np.uint8), local, size, flags=cv2.INTER_NEAREST).astype(np.bool_)
    # Blurred on both sides: speckle is finer than what is compared.
    now = cv2.GaussianBlur(then, (0, 0), 1.5)
    if np.count_nonzero(where) < 2:
        return 0.0
    a, b = carried[where].astype(np.float64), now[where].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    size_of = math.sqrt(float(a @ a) * float(b @ b))
    if size_of <= 1e-6:
        return 0.0
    return float(a @ b) / size_of
