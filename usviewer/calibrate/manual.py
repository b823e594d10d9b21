"""A scale that a person states: a number, or two points a known distance apart."""

from __future__ import annotations

import math

from usviewer.errors import UserError
from usviewer.units import Point, ScaleSource, Spacing, isotropic

MIN_LENGTH_PX = 20.0
# A click lands within about half a pixel of where it was meant at each end; 1 px for the length is on the safe side.
CLICK_SD_PX = 1.0
MAX_DISTANCE_MM = 1000.0
ISOTROPIC = "Assumes square pixels"


def spacing_from_text(text: str) -> Spacing:
    """The spacing of ``--mm-per-pixel``: ``0.2`` for square pixels, ``0.2,0.25`` for x and y.

    Raises ``UserError`` for anything else.
    """
    parts = text.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise UserError(
            f"'{text}' is not a scale in mm per pixel", "Give one number, or X,Y for pixels that are not square"
        )
    return Spacing(values[0], values[-1], ScaleSource.USER)


def spacing_from_points(start_xy_px: Point, end_xy_px: Point, distance_mm: float) -> Spacing:
    """The spacing from two marks of the picture, a known distance apart.

    One distance gives one number: pixels are taken to be square, and ``detail`` says so. ``relative_sd`` is the error
    of the two clicks, one pixel over the length. Raises ``UserError`` when the marks are too close to be trusted.
    """
    if not (math.isfinite(distance_mm) and 0.0 < distance_mm <= MAX_DISTANCE_MM):
        raise UserError(
            f"A distance of {distance_mm:g} mm cannot be right", "Give the distance of the two points in mm"
        )
    length_px = math.hypot(end_xy_px[0] - start_xy_px[0], end_xy_px[1] - start_xy_px[1])
    if not length_px >= MIN_LENGTH_PX:
        raise UserError(
            f"The two points are only {length_px:.0f} pixels apart",
            f"Choose marks that are at least {MIN_LENGTH_PX:.0f} pixels apart, better the whole length of the ruler",
        )
    sd = CLICK_SD_PX / length_px
    detail = f"{distance_mm:g} mm over {length_px:.1f} px, +-{100.0 * sd:.2g} %. {ISOTROPIC}"
    return isotropic(distance_mm / length_px, ScaleSource.MANUAL, detail, sd)
