"""The things that can be drawn: a display list in image pixels, painted alike by the window and by every export.

Positions follow ``usviewer.units`` (corner convention). Widths are in drawing units: ``Scene.unit_px`` image pixels
each, so that a line looks alike on a small and on a large picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from usviewer.frame import FrameKey, Points
from usviewer.overlay import palette
from usviewer.overlay.palette import Colour, Size
from usviewer.overlay.words import TextLine
from usviewer.units import Box, Point


class LineStyle(StrEnum):
    """How a line is drawn. Each kind of line has its own, as well as its colour, for people who cannot tell colours."""

    SOLID = "solid"
    DASHED = "dashed"
    DOTTED = "dotted"


class Anchor(StrEnum):
    """Which point of a text lies at its position."""

    TOP_LEFT = "top left"
    TOP_RIGHT = "top right"
    BOTTOM_LEFT = "bottom left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom right"


# eq=False where there are arrays: NumPy compares them point by point, which is neither True nor False.
@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A closed line through ``points_xy_px`` (N, 2), with a label above it where there are several."""

    points_xy_px: Points
    colour: Colour = palette.MASK
    line: LineStyle = LineStyle.SOLID
    width: float = 2.0
    label: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """A tinted area; ``alpha`` 0 is invisible, 1 opaque."""

    points_xy_px: Points
    colour: Colour = palette.MASK
    alpha: float = 0.25


@dataclass(frozen=True, slots=True)
class CaliperMark:
    """A measured length, with a bar across each end."""

    ends_xy_px: tuple[Point, Point]
    colour: Colour = palette.CALIPER
    line: LineStyle = LineStyle.SOLID
    width: float = 2.0


@dataclass(frozen=True, slots=True)
class BoxMark:
    """A detector's box with its label."""

    box_xyxy_px: Box
    label: str
    colour: Colour = palette.MASK
    width: float = 2.0


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A bar of known length, level or upright, with a tick at each of ``divisions`` + 1 places."""

    start_xy_px: Point
    end_xy_px: Point
    label: str
    divisions: int = 1
    colour: Colour = palette.TEXT
    width: float = 2.0


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph on the picture; it is wrapped at ``max_width_px``.

    ``at_xy_px`` is where its ``anchor`` lies.
    """

    at_xy_px: Point
    text: str
    anchor: Anchor = Anchor.BOTTOM_LEFT
    size: Size = Size.SMALL
    colour: Colour = palette.TEXT
    max_width_px: float = float("inf")


@dataclass(frozen=True, slots=True)
class TextPanel:
    """The numbers: lines on a dark ground, in the corner (``at_xy_px``) that ``anchor`` names."""

    at_xy_px: Point
    anchor: Anchor
    lines: tuple[TextLine, ...]
    max_width_px: float
    max_height_px: float


# A new kind is drawn in two places: view.painter and overlay.raster (docs/adr/0007-two-renderers.md).
Item = Outline | Fill | CaliperMark | BoxMark | ScaleBar | Text | TextPanel


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is drawn on the frame of that key, in drawing order. ``frame_size_px`` is (width, height)."""

    key: FrameKey
    frame_size_px: tuple[int, int]
    items: tuple[Item, ...] = ()
    unit_px: float = 1.0
