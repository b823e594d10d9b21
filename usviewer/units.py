"""Pixels and millimetres: the only place where one becomes the other.

**Axes.** ``x`` runs right along the columns, ``y`` runs down along the rows. Positions are continuous, with the
origin at the top-left *corner* of the first pixel: column ``i`` covers ``[i, i + 1)`` and its centre is ``i + 0.5``.
This is DICOM's SCOORD, Qt's painter and YOLO's box convention. OpenCV's contours and drawing calls, and numpy's
indices, put the centre of a pixel at the integer: add 0.5 when you leave them, subtract it when you enter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from usviewer.errors import UserError

Point = tuple[float, float]
Box = tuple[float, float, float, float]

# The size of one pixel; what a scale makes of a whole picture is limited in ``calibrate.plausible``. Finest: 10 mm at
# 70 MHz over the 1080 rows of a screen (0.0093); the wave is 0.022 mm long, so anything finer shows nothing. Coarsest:
# 40 cm on a thumbnail of 80 rows. Scanners lie between 0.01 and 1.
MIN_MM_PER_PX = 0.008
MAX_MM_PER_PX = 5.0

# So far from 1 a pixel's width over its height still counts as square: scalers round (1279 : 1280), and 0.5 % is less
# than any scale is sure of.
SQUARE_WITHIN = 0.005
# Scanners show square pixels; recorders at half the lines or columns (2 : 1), of a wide picture (1.42 : 1), make 2.9.
# Beyond this a shape is a slip, whoever states it: a recording or a scale.
MOST_OBLONG = 3.0


def is_square(pixel_aspect: float) -> bool:
    """Tell whether a pixel of this width over height counts as square."""
    return abs(pixel_aspect - 1.0) <= SQUARE_WITHIN


def pixel_shape(pixel_aspect: float) -> float:
    """Give the width over height of a pixel to work with: exactly 1 for what counts as square or cannot be right."""
    believable = 1.0 / MOST_OBLONG <= pixel_aspect <= MOST_OBLONG
    if not believable or is_square(pixel_aspect):
        return 1.0
    return pixel_aspect


class ScaleSource(StrEnum):
    """Where a scale came from; shown next to every millimetre."""

    DICOM = "DICOM region"
    RULER = "on-screen ruler"
    MANUAL = "two points"
    USER = "given by the user"
    PHANTOM = "phantom"


@dataclass(frozen=True, slots=True)
class Spacing:
    """Millimetres per pixel along each axis, and where they came from.

    ``relative_sd`` is the standard deviation of the scale itself, as a fraction (0.01 is one percent).
    Raises ``UserError`` for values that no scanner has.
    """

    x_mm_per_px: float
    y_mm_per_px: float
    source: ScaleSource
    detail: str = ""
    relative_sd: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.x_mm_per_px, self.y_mm_per_px):
            if not (math.isfinite(value) and MIN_MM_PER_PX <= value <= MAX_MM_PER_PX):
                raise UserError(
                    f"A scale of {value:g} mm per pixel cannot be right",
                    f"Give a value between {MIN_MM_PER_PX:g} and {MAX_MM_PER_PX:g}",
                )

    @property
    def pixel_aspect(self) -> float:
        """Width over height of a pixel."""
        return self.x_mm_per_px / self.y_mm_per_px

    def length_mm(self, start_xy_px: Point, end_xy_px: Point) -> float:
        """Length of the straight line between two positions, in mm."""
        dx_mm = (end_xy_px[0] - start_xy_px[0]) * self.x_mm_per_px
        dy_mm = (end_xy_px[1] - start_xy_px[1]) * self.y_mm_per_px
        return math.hypot(dx_mm, dy_mm)

    def area_mm2(self, area_px: float) -> float:
        """Area in square mm of an area counted in pixels."""
        return area_px * self.x_mm_per_px * self.y_mm_per_px

    def words(self) -> str:
        """The value, or both: x and y."""
        if math.isclose(self.x_mm_per_px, self.y_mm_per_px, rel_tol=1e-6):
            return f"{self.y_mm_per_px:.4g}"
        return f"{self.x_mm_per_px:.4g} x {self.y_mm_per_px:.4g}"

    def describe(self) -> str:
        """One phrase for the screen: value(s) and source."""
        return f"{self.words()} mm/px, {self.source}"


def isotropic(mm_per_px: float, source: ScaleSource, detail: str = "", relative_sd: float = 0.0) -> Spacing:
    """Make the same scale along both axes. Raises ``UserError`` for one that no scanner has."""
    return Spacing(mm_per_px, mm_per_px, source, detail, relative_sd)
