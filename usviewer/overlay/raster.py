"""Paints a Scene onto pixels, for every export. OpenCV draws with pixel centres at integers: hence the half pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from usviewer.frame import Pixels, Points
from usviewer.overlay.items import BoxMark, CaliperMark, Fill, LineStyle, Outline, ScaleBar, Scene
from usviewer.overlay.layout import TICK_UNITS, Corners, halo_px, lay_out
from usviewer.overlay.palette import HALO, Colour

_FRACTION_BITS = 4  # behind the point in OpenCV's coordinates: a sixteenth of a pixel
_PANEL_ALPHA = 0.8  # dark enough to read on white, and what lies below still shows
_END_BAR_UNITS = 14.0  # as in view.painter: what is saved looks as it was seen
_DASH_UNITS = {LineStyle.DASHED: (9.0, 6.0), LineStyle.DOTTED: (2.0, 5.0)}
# Beyond any picture. OpenCV's coordinates have 32 bits: a position that is far enough off would come round again.
_FAR_PX = 100_000.0


def draw(pixels: Pixels, scene: Scene) -> Pixels:
    """A painted copy of the picture (uint8, height x width x 3, RGB)."""
    picture = pixels.copy()
    paint(picture, scene)
    return picture


def paint(picture: Pixels, scene: Scene) -> None:
    """Paint a picture (uint8, height x width x 3, RGB) in place: grounds, then areas, then lines, then words.

    The picture is not a frame's own pixels, which nobody may change.
    """
    blocks = lay_out(scene)
    for block in blocks:
        if block.ground:
            _darken(picture, block.box_xyxy_px)
    for item in scene.items:
        if isinstance(item, Fill):
            _fill(picture, item)
    strokes = [stroke for item in scene.items for stroke in _strokes(item, scene.unit_px)]
    _stroke(picture, strokes, halo_px(scene.unit_px))
    for block in blocks:
        for line in block.lines:
            line.letters.press(picture, line.left_px, line.top_px)


def _darken(picture: Pixels, box_xyxy_px: Corners) -> None:
    x0, y0, x1, y1 = box_xyxy_px
    part = picture[y0:y1, x0:x1]
    if part.size:  # some of it lies on the picture
        dark = np.empty_like(part)
        dark[:] = HALO
        part[:] = cv2.addWeighted(dark, _PANEL_ALPHA, part, 1 - _PANEL_ALPHA, 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Stroke:
    """Open or closed lines of one colour, ``width_px`` wide."""

    lines_xy_px: Sequence[Points]
    closed: bool
    colour: Colour
    width_px: int


def _strokes(item: object, unit: float) -> Iterable[_Stroke]:
    match item:
        case Outline():
            yield _outline_stroke(item, unit)
        case CaliperMark():
            yield _caliper_stroke(item, unit)
        case BoxMark():
            x0, y0, x1, y1 = item.box_xyxy_px
            corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)
            yield _Stroke([corners], True, item.colour, _width_px(item.width, unit))
        case ScaleBar():
            yield _scale_stroke(item, unit)


def _width_px(width: float, unit: float) -> int:
    return max(1, round(width * unit))


def _outline_stroke(item: Outline, unit: float) -> _Stroke:
    points = np.asarray(item.points_xy_px, dtype=np.float64)
    width = _width_px(item.width, unit)
    if item.line is LineStyle.SOLID:
        return _Stroke([points], True, item.colour, width)
    return _Stroke(dashes(np.vstack([points, points[:1]]), *_dash_px(item.line, unit)), False, item.colour, width)


def _caliper_stroke(item: CaliperMark, unit: float) -> _Stroke:
    start, end = np.asarray(item.ends_xy_px, dtype=np.float64)
    body = np.stack([start, end])
    lines = [body]
    if item.line is not LineStyle.SOLID:
        lines = dashes(body, *_dash_px(item.line, unit))
    across = _across(start, end) * _END_BAR_UNITS * unit / 2
    lines = [*lines, *(np.stack([at - across, at + across]) for at in (start, end))]
    return _Stroke(lines, False, item.colour, _width_px(item.width, unit))


def _scale_stroke(item: ScaleBar, unit: float) -> _Stroke:
    start, end = np.asarray(item.start_xy_px, dtype=np.float64), np.asarray(item.end_xy_px, dtype=np.float64)
    across = _across(start, end) * TICK_UNITS * unit
    lines = [np.stack([start, end])]
    for part in range(item.divisions + 1):
        at = start + (end - start) * part / item.divisions
        reach = across if part in (0, item.divisions) else across / 2
        lines.append(np.stack([at - reach, at + reach]))
    return _Stroke(lines, False, item.colour, _width_px(item.width, unit))


def _across(start: Points, end: Points) -> Points:
    """Unit vector square to the line; level for a line without length."""
    dx, dy = end - start
    length = math.hypot(dx, dy)
    if length == 0:
        return np.array([1.0, 0.0])
    return np.array([-dy, dx]) / length


def _dash_px(line: LineStyle, unit: float) -> tuple[float, float]:
    dash, gap = _DASH_UNITS[line]
    return dash * unit, gap * unit


def dashes(points_xy_px: Points, dash_px: float, gap_px: float) -> list[Points]:
    """Cut an open line, float64 of shape (n, 2) in pixels, into dashes along its length, each of shape (m, 2)."""
    steps = np.hypot(*np.diff(points_xy_px, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    cut = []
    for begin in np.arange(0.0, along[-1], dash_px + gap_px):
        stop = min(begin + dash_px, along[-1])
        inner = (along > begin) & (along < stop)
        at = np.concatenate([[begin], along[inner], [stop]])
        cut.append(np.column_stack([np.interp(at, along, points_xy_px[:, axis]) for axis in (0, 1)]))
    return cut


def _stroke(picture: Pixels, strokes: list[_Stroke], halo_px: int) -> None:
    """All dark halos first, so that no halo lies over a neighbour's line."""
    for stroke in strokes:
        _polylines(picture, stroke, HALO, stroke.width_px + 2 * halo_px)
    for stroke in strokes:
        _polylines(picture, stroke, stroke.colour, stroke.width_px)


def _polylines(picture: Pixels, stroke: _Stroke, colour: Colour, width_px: int) -> None:
    lines = [_fixed_point(points) for points in stroke.lines_xy_px if len(points)]
    if lines:
        cv2.polylines(picture, lines, stroke.closed, colour, width_px, cv2.LINE_AA, _FRACTION_BITS)


def _fixed_point(points_xy_px: Points) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    # OpenCV counts from the centre of a pixel, usviewer.units from its corner.
    centred = np.clip(np.nan_to_num(points_xy_px) - 0.5, -_FAR_PX, _FAR_PX)
    return np.round(centred * (1 << _FRACTION_BITS)).astype(np.int32)


def _fill(picture: Pixels, item: Fill) -> None:
    if len(item.points_xy_px) < 3:
        return
    height, width = picture.shape[:2]
    x0, y0 = np.clip(np.floor(item.points_xy_px.min(axis=0)) - 1, 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(item.points_xy_px.max(axis=0)) + 1, 0, (width, height)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    # Only the part that it covers is copied and blended.
    part = picture[y0:y1, x0:x1]
    tinted = np.ascontiguousarray(part)
    cv2.fillPoly(tinted, [_fixed_point(item.points_xy_px - (x0, y0))], item.colour, cv2.LINE_AA, _FRACTION_BITS)
    part[:] = cv2.addWeighted(tinted, item.alpha, part, 1 - item.alpha, 0)
