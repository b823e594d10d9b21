"""Whether a scale can be right: no body is a metre deep, whoever states it. All limits are here, each with its reason.

Wrong scales are mostly wrong by a factor of ten (mm written where cm are meant, a decimal sign lost), a hundred or a
thousand (m), or have the axes mixed up. What they would make of the picture shows it, whatever the source of the scale:
a file's tags, a number that was typed, two points, a ruler, a ruler that was remembered. ``docs/calibration.md`` says
the same for users. The size and shape of one pixel are limited in ``units``.
"""

from __future__ import annotations

import math

from usviewer.errors import UserError
from usviewer.frame import Sector
from usviewer.units import MAX_MM_PER_PX, MIN_MM_PER_PX, MOST_OBLONG, Spacing

# The deepest setting of abdominal probes is 30 to 40 cm; whole bodies are not deeper.
MAX_DEPTH_MM = 400.0
# A sector of 75 degrees is 56 cm wide at 40 cm; panoramas, put together from many pictures, reach 60 cm.
MAX_WIDTH_MM = 600.0
# The finest pictures (eye at 50 MHz, skin, inside a vessel) show 5 to 10 mm; of these a part may be enlarged.
MIN_EXTENT_MM = 4.0
# A scale for the whole screen: the ultrasound takes half of its height at least, so twice the depth.
MAX_SCREEN_DEPTH_MM = 2.0 * MAX_DEPTH_MM

Size = tuple[float, float]


def implausible(x_mm_per_px: float, y_mm_per_px: float, size_px: Size, *, screen: bool = False) -> str:
    """Say what is impossible about a picture of that width and height by this scale; empty where it may be right.

    ``screen``: the picture is a whole screen, and the ultrasound only a part of it.
    """
    width_mm, depth_mm = size_px[0] * x_mm_per_px, size_px[1] * y_mm_per_px
    deepest_mm, widest_mm = MAX_DEPTH_MM, MAX_WIDTH_MM
    if screen:  # it may be much wider than the ultrasound on it
        deepest_mm, widest_mm = MAX_SCREEN_DEPTH_MM, math.inf
    if not MIN_EXTENT_MM <= depth_mm <= deepest_mm:
        return f"a picture {_cm(depth_mm)} cm deep"
    if width_mm < MIN_EXTENT_MM or width_mm > widest_mm:
        return f"a picture {_cm(width_mm)} cm wide"
    for value in (x_mm_per_px, y_mm_per_px):
        if not MIN_MM_PER_PX <= value <= MAX_MM_PER_PX:
            return f"a pixel of {value:.3g} mm"
    shape = y_mm_per_px / x_mm_per_px
    if shape > MOST_OBLONG:
        return f"pixels {shape:.3g} times as tall as wide"
    if shape < 1.0 / MOST_OBLONG:
        return f"pixels {1.0 / shape:.3g} times as wide as tall"
    return ""


def implausible_on_screen(spacing: Spacing, size_px: Size, sector: Sector | None = None) -> str:
    """Say the same for a scale of a whole picture: of all of it, and of the ``sector`` where that is certain."""
    found = implausible(spacing.x_mm_per_px, spacing.y_mm_per_px, size_px, screen=True)
    if found or sector is None or not sector.certain:
        return found
    x0, y0, x1, y1 = sector.box_xyxy_px
    return implausible(spacing.x_mm_per_px, spacing.y_mm_per_px, (x1 - x0, y1 - y0))


def check_stated(spacing: Spacing, size_px: Size, sector: Sector | None = None) -> None:
    """Raise ``UserError`` for a scale that a person states and that cannot be right for this picture."""
    found = implausible_on_screen(spacing, size_px, sector)
    if found:
        raise UserError(
            f"A scale of {spacing.words()} mm per pixel would mean {found}",
            "Check the number, its unit and the picture",
        )


def implausible_ruler(length_mm: float) -> str:
    """Say what is impossible about a ruler of this length; empty where it may be right."""
    if MIN_EXTENT_MM / 2.0 <= length_mm <= MAX_WIDTH_MM:  # of a short picture it may be a part
        return ""
    return f"a ruler {_cm(length_mm)} cm long"


def _cm(length_mm: float) -> str:
    return f"{length_mm / 10.0:.3g}"
