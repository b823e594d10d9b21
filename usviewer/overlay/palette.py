"""Colours and sizes of everything drawn on the picture (Okabe-Ito: safe for the colour-blind)."""

from __future__ import annotations

from enum import StrEnum

Colour = tuple[int, int, int]

MASK: Colour = (0x56, 0xB4, 0xE9)
CALIPER: Colour = (0xF0, 0xE4, 0x42)
MANUAL: Colour = (0xFF, 0xFF, 0xFF)
WARNING: Colour = (0xE6, 0x9F, 0x00)
TEXT: Colour = (0xE6, 0xEA, 0xED)
QUIET: Colour = (0x9A, 0xA4, 0xAD)
HALO: Colour = (0x0E, 0x11, 0x13)

# The sizes below are right for a picture whose short side has this many pixels.
_REFERENCE_SHORT_SIDE_PX = 800
# Smaller pictures keep their letters readable, until these would fill the picture.
_SMALLEST_UNIT_PX = 0.85
_TINY_SHORT_SIDE_PX = 420


class Size(StrEnum):
    """The four sizes of letters."""

    HEADLINE = "headline"
    TITLE = "title"
    BODY = "body"
    SMALL = "small"


_UNITS = {Size.HEADLINE: 46.0, Size.TITLE: 20.0, Size.BODY: 15.0, Size.SMALL: 13.0}


def unit_px(frame_size_px: tuple[int, int], scale: float = 1.0) -> float:
    """Pixels per drawing unit, so that lines and letters look alike on every size of picture."""
    short = min(frame_size_px)
    floor = _SMALLEST_UNIT_PX * min(1.0, short / _TINY_SHORT_SIDE_PX)
    return scale * max(short / _REFERENCE_SHORT_SIDE_PX, floor)


def font_px(size: Size, unit: float) -> int:
    """Height of the letters' body in pixels."""
    return max(8, round(_UNITS[size] * unit))
