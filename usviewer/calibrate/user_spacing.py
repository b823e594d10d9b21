"""A scale that a person states: as a number, or by two points a known distance apart."""

from __future__ import annotations

import math
import re

from usviewer.calibrate.plausible import MAX_WIDTH_MM
from usviewer.errors import UserError
from usviewer.typed_number import MOST_LETTERS, parse_number
from usviewer.units import MAX_MM_PER_PX, MIN_MM_PER_PX, Point, ScaleSource, Spacing, isotropic

MIN_LENGTH_PX = 20.0
# A click lands within about half a pixel of where it was meant at each end; 1 px for the length is on the safe side.
CLICK_SD_PX = 1.0
# Two marks of a picture; nothing that it shows is longer.
MIN_DISTANCE_MM, MAX_DISTANCE_MM = 1.0, MAX_WIDTH_MM
PER_PIXEL = {"mm": 1.0, "mm/px": 1.0, "mm/pixel": 1.0}
# What stands between two values can be no decimal sign; it is not the x of px or pixel.
BETWEEN = re.compile(r"(?<![pP])(?<![pP][iI])[xX×]")  # noqa: RUF001 - the sign for "times"
GIVE_SCALE = "Give one number such as 0.21, or those of x and y with an x between them: 0.21x0.25"
ISOTROPIC = "Assumes square pixels"


def spacing_from_text(text: str) -> Spacing:
    """The spacing of ``--mm-per-pixel``: ``0.2`` for square pixels, ``0.2x0.25`` for x and y.

    A comma is a decimal sign, as everywhere. Raises ``UserError`` for anything else.
    """
    parts = BETWEEN.split(text.strip())
    try:
        values = [parse_number(part, least=MIN_MM_PER_PX, most=MAX_MM_PER_PX, units=PER_PIXEL) for part in parts]
    except UserError as error:
        raise _no_scale(text, f"{error.what[:1].lower()}{error.what[1:]}") from None
    if len(values) > 2:
        raise _no_scale(text, f"it has {len(values)} values")
    return Spacing(values[0], values[-1], ScaleSource.USER)


def spacing_from_numbers(x_mm_per_px: float, y_mm_per_px: float) -> Spacing:
    """The spacing of two numbers, by the limits of ``spacing_from_text``. Raises ``UserError`` beyond them."""
    for value in (x_mm_per_px, y_mm_per_px):
        if not MIN_MM_PER_PX <= value <= MAX_MM_PER_PX:  # false for nan, too
            raise UserError(
                f"{value:g} mm per pixel cannot be right",
                f"Give a number from {MIN_MM_PER_PX:g} to {MAX_MM_PER_PX:g}",
            )
    return Spacing(x_mm_per_px, y_mm_per_px, ScaleSource.USER)


def _no_scale(text: str, why: str) -> UserError:
    return UserError(f"'{text[:MOST_LETTERS]}' is not a scale in mm per pixel: {why}", GIVE_SCALE)


def spacing_from_points(start_xy_px: Point, end_xy_px: Point, distance_mm: float) -> Spacing:
    """The spacing from two marks of the picture, a known distance apart.

    One distance gives one number: pixels are taken to be square, and ``detail`` says so. ``relative_sd`` is the error
    of the two clicks, one pixel over the length. Raises ``UserError`` when the marks are too close to be trusted.
    """
    if not MIN_DISTANCE_MM <= distance_mm <= MAX_DISTANCE_MM:  # false for nan, too
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
