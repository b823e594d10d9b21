"""Whether a screen shows two ultrasound images side by side: then a ruler may belong to either."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Pixels

WORK_PX = 320
ABOVE_BACKGROUND = 12
MIN_SHARE = 0.08
ALIKE = 0.6


def side_by_side(frames: Sequence[Pixels]) -> bool:
    """True when the brightest of all frames shows two large pieces beside each other, about equally high."""
    lit = np.maximum.reduce([_small(pixels) for pixels in frames]) > ABOVE_BACKGROUND
    opened = cv2.morphologyEx(lit.view(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9), dtype=np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    large = [piece for piece in stats[1:] if piece[cv2.CC_STAT_AREA] >= MIN_SHARE * lit.size]
    return any(_beside(first, other) for i, first in enumerate(large) for other in large[i + 1 :])


def _small(pixels: Pixels) -> Pixels:
    factor = WORK_PX / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(small.max(axis=2), dtype=np.uint8)


def _beside(first: NDArray[np.int32], other: NDArray[np.int32]) -> bool:
    x, y, width, height = first[:4]
    other_x, other_y, other_width, other_height = other[:4]
    apart = x + width <= other_x + 2 or other_x + other_width <= x + 2
    shared = min(y + height, other_y + other_height) - max(y, other_y)
    return bool(
        apart
        and shared >= ALIKE * max(height, other_height)
        and min(width, other_width) >= 0.5 * max(width, other_width)
    )
