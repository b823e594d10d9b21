"""Paints a Scene with Qt, item for item as ``overlay.raster`` does for files.

Drawn in image coordinates (Qt and ``usviewer.units`` share the corner convention); widths and letters are kept
at their size on the screen whatever the zoom.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPen, QPolygonF, QTransform

from usviewer.frame import Points
from usviewer.overlay.items import BoxMark, CaliperMark, Fill, Item, LineStyle, Outline, ScaleBar, Scene, Text
from usviewer.overlay.layout import avoid_overlap
from usviewer.overlay.palette import HALO, Colour
from usviewer.units import Box, Point
from usviewer.view import theme

_DASHES = {
    LineStyle.SOLID: Qt.PenStyle.SolidLine,
    LineStyle.DASHED: Qt.PenStyle.DashLine,
    LineStyle.DOTTED: Qt.PenStyle.DotLine,
}
# The same as in overlay.raster, in pixels of the screen: a picture and its file must look alike.
_END_BAR_PX = 14.0
_TICK_PX = 6.0
_NAME_ABOVE_PX = 4.0
# Contours with more corners are thinned. Qt strokes each corner, twice with the halo.
_MANY_POINTS = 100
# On the screen: how far a thinned contour may lie from the full one. Less than half a pixel is not seen.
_UNSEEN_PX = 0.35


def paint(painter: QPainter, scene: Scene, image_to_screen: QTransform) -> None:
    """Paint all items but panels: on the screen the numbers have their own place beside the picture."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    for item in scene.items:
        _paint_item(painter, item, image_to_screen)
    # Last: a line through a name would make it unreadable.
    _paint_names(painter, scene, image_to_screen)


def _paint_item(painter: QPainter, item: Item, to_screen: QTransform) -> None:
    match item:
        case Fill():
            painter.setPen(Qt.PenStyle.NoPen)
            colour = QColor(*item.colour)
            colour.setAlphaF(item.alpha)
            painter.setBrush(colour)
            painter.drawPolygon(_polygon(item.points_xy_px, to_screen))
        case Outline():
            paint_outline(painter, to_screen, item.points_xy_px, item.colour, item.line, item.width)
        case CaliperMark():
            paint_caliper(painter, to_screen, item.ends_xy_px, item.colour, item.line, item.width)
        case BoxMark():
            _paint_box(painter, item, to_screen)
        case ScaleBar():
            _paint_scale_bar(painter, item, to_screen)
        case Text():
            pass  # the research line stands in the window's own status line


def _polygon(points_xy_px: Points, to_screen: QTransform) -> QPolygonF:
    """Image positions, float64 of shape (n, 2), as a polygon on the screen.

    A contour of pixels has a thousand corners, most of which no screen can show.
    """
    if len(points_xy_px) > _MANY_POINTS:
        off_px = _UNSEEN_PX / max(1e-6, to_screen.m11(), to_screen.m22())
        fewer = cv2.approxPolyDP(np.asarray(points_xy_px, np.float32)[:, None], off_px, True)
        points_xy_px = fewer[:, 0].astype(np.float64)
    return to_screen.map(QPolygonF([QPointF(x, y) for x, y in points_xy_px.tolist()]))


def _twice(painter: QPainter, colour: Colour, width: float, line: LineStyle, draw: object) -> None:
    """First the dark halo, then the line itself."""
    assert callable(draw)
    # Ultrasound is black here and white there: only a dark edge keeps a bright line visible on both.
    halo = QPen(QColor(*HALO), width + 2)
    halo.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setPen(halo)
    draw()
    pen = QPen(QColor(*colour), width, _DASHES[line])
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setPen(pen)
    draw()


def paint_outline(
    painter: QPainter, to_screen: QTransform, points_xy_px: Points, colour: Colour, line: LineStyle, width: float
) -> None:
    """A closed line through image positions, float64 of shape (n, 2)."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    polygon = _polygon(points_xy_px, to_screen)
    _twice(painter, colour, width, line, lambda: painter.drawPolygon(polygon))


def paint_caliper(
    painter: QPainter,
    to_screen: QTransform,
    ends_xy_px: tuple[Point, Point],
    colour: Colour,
    line: LineStyle,
    width: float,
) -> None:
    """A measured length with a bar across each end."""
    start, end = (to_screen.map(QPointF(*xy)) for xy in ends_xy_px)
    length = math.hypot(end.x() - start.x(), end.y() - start.y())
    across = QPointF(1, 0)
    if length > 0:
        across = QPointF(-(end.y() - start.y()) / length, (end.x() - start.x()) / length)
    across *= _END_BAR_PX / 2

    def draw() -> None:
        painter.drawLine(start, end)
        for at in (start, end):
            painter.drawLine(at - across, at + across)

    _twice(painter, colour, width, line, draw)


def _paint_box(painter: QPainter, item: BoxMark, to_screen: QTransform) -> None:
    x0, y0, x1, y1 = item.box_xyxy_px
    rectangle = to_screen.mapRect(QRectF(x0, y0, x1 - x0, y1 - y0))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    _twice(painter, item.colour, item.width, LineStyle.SOLID, lambda: painter.drawRect(rectangle))


def _paint_names(painter: QPainter, scene: Scene, to_screen: QTransform) -> None:
    """What each of several things is called, above it; over no other name, and over every line."""
    room = QRectF(painter.viewport())
    named = []
    for item in scene.items:
        if isinstance(item, BoxMark | Outline) and item.label:
            around = to_screen.mapRect(_bounds(item))
            if room.intersects(around):
                named.append((item, label_box(item.label, around.topLeft() - QPointF(0, _NAME_ABOVE_PX))))
    if not named:  # an aorta alone: most pictures
        return
    bars = [item for item in scene.items if isinstance(item, ScaleBar)]
    taken = [label_box(bar.label, _scale_label_at(bar, to_screen)) for bar in bars]
    corners = avoid_overlap([_corners(box) for _, box in named], _corners(room), [_corners(box) for box in taken])
    for (item, box), (left, top) in zip(named, corners, strict=True):
        box.moveTo(left, top)
        _paint_label(painter, item.label, box, item.colour)


def _bounds(item: BoxMark | Outline) -> QRectF:
    if isinstance(item, BoxMark):
        x0, y0, x1, y1 = item.box_xyxy_px
    else:
        (x0, y0), (x1, y1) = item.points_xy_px.min(axis=0), item.points_xy_px.max(axis=0)
    return QRectF(x0, y0, x1 - x0, y1 - y0)


def _corners(box: QRectF) -> Box:
    return box.left(), box.top(), box.right(), box.bottom()


def _paint_scale_bar(painter: QPainter, item: ScaleBar, to_screen: QTransform) -> None:
    start, end = to_screen.map(QPointF(*item.start_xy_px)), to_screen.map(QPointF(*item.end_xy_px))
    tick = QPointF(_TICK_PX, 0)
    if abs(end.x() - start.x()) >= abs(end.y() - start.y()):
        tick = QPointF(0, _TICK_PX)

    def draw() -> None:
        painter.drawLine(start, end)
        for part in range(item.divisions + 1):
            at = start + (end - start) * (part / item.divisions)
            reach = tick if part in (0, item.divisions) else tick / 2
            painter.drawLine(at - reach, at + reach)

    _twice(painter, item.colour, item.width, LineStyle.SOLID, draw)
    label(painter, item.label, _scale_label_at(item, to_screen), item.colour)


def _scale_label_at(item: ScaleBar, to_screen: QTransform) -> QPointF:
    start, end = to_screen.map(QPointF(*item.start_xy_px)), to_screen.map(QPointF(*item.end_xy_px))
    return QPointF(min(start.x(), end.x()), min(start.y(), end.y()) - _TICK_PX - 4)


def label(painter: QPainter, text: str, at: QPointF, colour: Colour, size_px: int = theme.TEXT_PX) -> None:
    """Words on a dark ground, their bottom left corner at a place on the screen."""
    if text:
        _paint_label(painter, text, label_box(text, at, size_px), colour, size_px)


def label_box(text: str, at: QPointF, size_px: int = theme.TEXT_PX) -> QRectF:
    """The ground that a label takes on the screen."""
    metrics = QFontMetricsF(theme.font(size_px, bold=True))
    return QRectF(at.x() - 4, at.y() - metrics.height(), metrics.horizontalAdvance(text) + 8, metrics.height() + 4)


def _paint_label(painter: QPainter, text: str, ground: QRectF, colour: Colour, size_px: int = theme.TEXT_PX) -> None:
    painter.setFont(theme.font(size_px, bold=True))
    dark = QColor(*HALO)
    dark.setAlpha(190)  # the picture below shows through
    painter.fillRect(ground, dark)
    painter.setPen(QColor(*colour))
    painter.drawText(ground.bottomLeft() + QPointF(4, -3 - QFontMetricsF(painter.font()).descent()), text)
