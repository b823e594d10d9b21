"""The things that can be drawn: a display list in image pixels, painted alike by the window and by every export.

Positions follow ``usviewer.units`` (corner convention). Widths are in drawing units: ``Scene.unit_px`` image pixels
each, so that a line looks alike on a small and on a large picture.

A picture whose own pixels are not square is stretched together with its scene, so that letters and bars stay upright.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np

from usviewer.frame import Frame, FrameKey, Pixels, Points, digest_of
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


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedFrame:
    """A frame and the scene that belongs to it: what is kept is what was seen.

    Raises ``ValueError`` (a bug, nothing the user can mend) when the scene was made for another frame, or when the
    pixels are not those the key was made from.
    """

    frame: Frame
    scene: Scene

    def __post_init__(self) -> None:
        if self.frame.key != self.scene.key:
            raise ValueError(f"overlay of {self.scene.key} laid over {self.frame.key}")
        if self.scene.frame_size_px != self.frame.size_px:
            raise ValueError("overlay made for another picture size")
        if digest_of(self.frame.pixels) != self.frame.key.digest:
            raise ValueError("the pixels have changed since the frame was made")


def square_size_px(size_px: tuple[int, int], pixel_aspect: float) -> tuple[int, int]:
    """Size (width, height) of the same picture with square pixels; neither side becomes shorter."""
    width, height = size_px
    return max(width, round(width * pixel_aspect)), max(height, round(height / pixel_aspect))


def square_pixels(pixels: Pixels, pixel_aspect: float) -> Pixels:
    """Stretch a picture (uint8, height x width x 3, RGB) into a new one whose pixels are square.

    ``pixel_aspect`` is the width of a pixel over its height.
    """
    size_px = square_size_px((pixels.shape[1], pixels.shape[0]), pixel_aspect)
    return np.asarray(cv2.resize(pixels, size_px, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def square_scene(scene: Scene, pixel_aspect: float) -> Scene:
    """The same display list over the picture that ``square_pixels`` makes."""
    size_px = square_size_px(scene.frame_size_px, pixel_aspect)
    # Of the whole pixels that the picture gets, not of the aspect itself: rounding must not move a caliper.
    scale_xy = size_px[0] / scene.frame_size_px[0], size_px[1] / scene.frame_size_px[1]
    unit_px = scene.unit_px * palette.unit_px(size_px) / palette.unit_px(scene.frame_size_px)
    items = tuple(_stretched(item, scale_xy) for item in scene.items)
    return Scene(scene.key, size_px, items, unit_px)


def _stretched(item: Item, scale_xy: Point) -> Item:
    def at(point: Point) -> Point:
        return (point[0] * scale_xy[0], point[1] * scale_xy[1])

    match item:
        case Outline() | Fill():
            return replace(item, points_xy_px=np.asarray(item.points_xy_px) * scale_xy)
        case CaliperMark():
            return replace(item, ends_xy_px=(at(item.ends_xy_px[0]), at(item.ends_xy_px[1])))
        case BoxMark():
            x0, y0, x1, y1 = item.box_xyxy_px
            return replace(item, box_xyxy_px=(*at((x0, y0)), *at((x1, y1))))
        case ScaleBar():
            return replace(item, start_xy_px=at(item.start_xy_px), end_xy_px=at(item.end_xy_px))
        case Text():
            return replace(item, at_xy_px=at(item.at_xy_px), max_width_px=item.max_width_px * scale_xy[0])
        case TextPanel():
            width, height = item.max_width_px * scale_xy[0], item.max_height_px * scale_xy[1]
            return replace(item, at_xy_px=at(item.at_xy_px), max_width_px=width, max_height_px=height)
