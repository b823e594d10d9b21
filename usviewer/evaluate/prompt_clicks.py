"""The rule by which a user is imitated who points at a structure and then corrects what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Mask
from usviewer.units import Box, Point

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Click:
    """A click in pixels of the mask's picture (corner convention); positive: this belongs to it."""

    xy_px: Point
    positive: bool


def depth_map(region: Mask) -> Map:
    """Distance of every pixel [H, W] of a region to what lies outside it, in pixels; beyond the picture is outside."""
    padded = cv2.copyMakeBorder(region.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1], np.float32)


def next_click(truth: Mask, found: Mask | None = None) -> Click | None:
    """Where the imitated user clicks next; None where nothing is wrong.

    The click falls on the pixel that lies deepest in a region that is wrong: missed (a positive click) or
    outlined although it does not belong (a negative one). Of equally deep pixels the first in reading order; missed
    goes before too much. Without an outline all of the structure is missed: the first click falls on its innermost
    pixel.
    """
    if found is None:
        found = np.zeros_like(truth)
    missed, extra = depth_map(truth & ~found), depth_map(found & ~truth)
    positive = bool(missed.max() >= extra.max())
    depth = missed if positive else extra
    if depth.max() <= 0:
        return None
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Click((float(column) + 0.5, float(row) + 0.5), positive)


def box_of(mask: Mask) -> Box:
    """The tight box x0, y0, x1, y1 (corner convention) of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
