"""A picture and its Scene with square pixels, for pictures whose own pixels are not: letters and bars stay upright."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from usviewer.frame import Pixels
from usviewer.overlay import palette
from usviewer.overlay.items import BoxMark, CaliperMark, Fill, Item, Outline, ScaleBar, Scene, Text, TextPanel
from usviewer.units import Point


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
