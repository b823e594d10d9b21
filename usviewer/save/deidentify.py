"""One policy for what leaves the program: names are burnt in around the ultrasound, so that part is blanked."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from usviewer.frame import ImageGeometry, Mask, Pixels, Sector

BLANKED = "Blanked outside the ultrasound"
KEPT_AS_ASKED = "What lies around the ultrasound is kept, as asked: look for names before you pass the pictures on"
KEPT_UNCERTAIN = (
    "Where the ultrasound ends is not certain, so nothing was blanked: look for names before you pass the pictures on"
)


def blank_outside_sector(pixels: Pixels, geometry: ImageGeometry | None, keep_surroundings: bool) -> Pixels:
    """Return the picture as it may leave the program: black outside the sector where the sector is certain.

    Where it is not, or where the surroundings are wanted, the picture is unchanged and ``privacy_notice`` says so.
    """
    sector = _blankable(geometry, keep_surroundings)
    if sector is None:
        return pixels
    return blank_outside(pixels, sector)


def privacy_notice(geometry: ImageGeometry | None, keep_surroundings: bool) -> str:
    """What the user must know about the exported pictures; empty when their surroundings were blanked."""
    if keep_surroundings:
        return KEPT_AS_ASKED
    if _blankable(geometry, keep_surroundings) is None:
        return KEPT_UNCERTAIN
    return ""


def blank_outside(pixels: Pixels, sector: Sector) -> Pixels:
    """Copy a picture (uint8, height x width x 3, RGB), black where it lies outside the sector.

    That is every pixel whose centre lies outside the sector's outline by more than one pixel.
    """
    inside = _inside(sector, pixels.shape[0], pixels.shape[1])
    return np.asarray(cv2.bitwise_and(pixels, pixels, mask=inside.view(np.uint8)), dtype=np.uint8)


def _blankable(geometry: ImageGeometry | None, keep_surroundings: bool) -> Sector | None:
    if geometry is None or geometry.sector is None or keep_surroundings:
        return None
    # A guessed outline could blank the very thing that was measured.
    if not geometry.sector.certain:
        return None
    return geometry.sector


@lru_cache(maxsize=4)
def _inside(sector: Sector, height: int, width: int) -> Mask:
    """Which pixels are ultrasound; cached, since it is the same for every frame of a clip."""
    inside = np.zeros((height, width), np.uint8)
    # OpenCV counts from the centre of a pixel, in sixteenths here; usviewer.units from its corner.
    outline = np.round((sector.outline_xy_px - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(inside, [outline], 1, cv2.LINE_8, 4)
    return inside.astype(np.bool_)
