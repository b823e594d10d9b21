"""What the hand does on the picture: calipers, an ellipse, two points of known distance. Geometry in image pixels.

A tool keeps its shape and paints it; what the shape measures is asked of ``measure``. Nothing snaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QPainter, QPen, QTransform

from usviewer.frame import Pixels
from usviewer.measure.manual import ellipse_outline
from usviewer.overlay import palette
from usviewer.overlay.items import LineStyle
from usviewer.overlay.layout import avoid_overlap
from usviewer.units import Box, Point
from usviewer.view import theme
from usviewer.view.painter import label, paint_caliper, paint_outline

HANDLE_PX = 7.0
MOST_CALIPERS = 4  # a fifth takes the place of the oldest
# Eight screen pixels for each image pixel; an odd number of them has one in the middle.
LENS_PX = 168
LENS_SPAN_PX = 21
Segment = tuple[Point, Point]


class Tool(Protocol):
    """Takes the hand's events in image pixels; each method says whether the picture has to be painted again."""

    def press(self, at_xy_px: Point, button: Qt.MouseButton, reach_px: float) -> bool:
        """A button goes down. ``reach_px`` is how near a handle must be to be taken."""

    def move(self, at_xy_px: Point) -> bool:
        """The hand moves, with or without a button."""

    def release(self, at_xy_px: Point, button: Qt.MouseButton) -> bool:
        """A button goes up."""

    def key(self, key: int) -> bool:
        """A key is pressed; True when the tool has used it."""

    def paint(self, painter: QPainter, to_screen: QTransform) -> None:
        """Draw the shape over the picture."""


def distance_px(a: Point, b: Point) -> float:
    """Straight distance in image pixels."""
    return math.hypot(a[0] - b[0], a[1] - b[1])


def nearest(points: Sequence[Point], at_xy_px: Point, reach_px: float) -> int | None:
    """Which of the points lies nearest, within reach."""
    found = min(range(len(points)), key=lambda index: distance_px(points[index], at_xy_px), default=None)
    if found is None or distance_px(points[found], at_xy_px) > reach_px:
        return None
    return found


def _paint_handles(painter: QPainter, to_screen: QTransform, points: Sequence[Point]) -> None:
    """Round handles that a finger can find, hollow so that they hide nothing."""
    for point in points:
        at = to_screen.map(QPointF(*point))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for colour, width in ((palette.HALO, 4.0), (palette.MANUAL, 2.0)):
            painter.setPen(QPen(QColor(*colour), width))
            painter.drawEllipse(at, HANDLE_PX, HANDLE_PX)


def _label_beside(painter: QPainter, text: str, at: QPointF, taken: list[Box] | None = None) -> None:
    """Words beside a place on the screen; on its other side where they would leave the picture.

    They lie over none of the boxes that are ``taken``, and take their own.
    """
    painter.setFont(theme.font(theme.TEXT_PX, bold=True))
    metrics = QFontMetricsF(painter.font())
    lines, step = text.split("\n"), metrics.height() + 4
    width = max(metrics.horizontalAdvance(line) for line in lines) + 8
    # The hand is at the place itself.
    x = at.x() + 14
    if x + width >= painter.viewport().width():
        x = at.x() - 14 - width
    y = min(max(at.y() - 10, step), painter.viewport().height() - 8.0 - step * (len(lines) - 1))
    left, top = max(6.0, x) - 4, y - metrics.height()
    box = (left, top, left + width, top + step * len(lines))
    if taken is not None:
        view = painter.viewport()
        ((left, top),) = avoid_overlap([box], (0.0, 0.0, float(view.width()), float(view.height())), taken)
        taken.append((left, top, left + width, top + step * len(lines)))
    for number, line in enumerate(lines):
        label(painter, line, QPointF(left + 4, top + metrics.height() + number * step), palette.MANUAL)


class CaliperTool:
    """Up to four straight lengths. Press near an end to drag it, on free ground to begin another.

    ``describe`` gives the words beside a length, from ``measure``; ``changed`` is told after every change.
    """

    def __init__(self, describe: Callable[[Point, Point], str], changed: Callable[[], None]) -> None:
        self._describe = describe
        self._changed = changed
        self._held: tuple[int, int] | None = None
        self.lengths: list[list[Point]] = []

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Every length that has one."""
        return tuple((ends[0], ends[1]) for ends in self.lengths if ends[0] != ends[1])

    def takes(self, at_xy_px: Point, reach_px: float) -> bool:
        """Whether an end lies there."""
        return nearest([end for ends in self.lengths for end in ends], at_xy_px, reach_px) is not None

    def press(self, at_xy_px: Point, button: Qt.MouseButton, reach_px: float) -> bool:
        if button is not Qt.MouseButton.LeftButton:
            return False
        found = nearest([end for ends in self.lengths for end in ends], at_xy_px, reach_px)
        if found is not None:  # two ends a length, in turn
            self._held = (found // 2, found % 2)
        else:
            self.lengths = [*self.lengths[-(MOST_CALIPERS - 1) :], [at_xy_px, at_xy_px]]
            self._held = (len(self.lengths) - 1, 1)
        return self._tell()

    def move(self, at_xy_px: Point) -> bool:
        if self._held is None:
            return False
        self.lengths[self._held[0]][self._held[1]] = at_xy_px
        return self._tell()

    def release(self, at_xy_px: Point, button: Qt.MouseButton) -> bool:
        if button is not Qt.MouseButton.LeftButton or self._held is None:
            return False
        self._held = None
        self.lengths = [ends for ends in self.lengths if ends[0] != ends[1]]  # a click without a drag has no length
        return self._tell()

    def key(self, key: int) -> bool:
        """Delete and Backspace take the newest length away."""
        if key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and self.lengths:
            self.lengths.pop()
            self._held = None
            return self._tell()
        return False

    def paint(self, painter: QPainter, to_screen: QTransform, taken: list[Box] | None = None) -> None:
        """``taken`` are the places of words that others have written; this one's own are added."""
        for start, end in self.segments:
            paint_caliper(painter, to_screen, (start, end), palette.MANUAL, LineStyle.DASHED, 2.0)
            _paint_handles(painter, to_screen, (start, end))
        for number, (start, end) in enumerate(self.segments, 1):
            right = max((start, end), key=lambda point: point[0])
            mark = f"{number}  " if len(self.segments) > 1 else ""
            _label_beside(painter, mark + self._describe(start, end), to_screen.map(QPointF(*right)), taken)

    def _tell(self) -> bool:
        self._changed()
        return True


class EllipseTool:
    """An ellipse: drag its first axis, then its ends, its width or (inside) the whole of it."""

    def __init__(self, describe: Callable[[Segment, float], str], changed: Callable[[], None]) -> None:
        self._describe = describe
        self._changed = changed
        self._held = ""
        self._from: Point = (0.0, 0.0)
        self.axis: list[Point] = []
        self.half_width_px: float | None = None

    @property
    def shape(self) -> tuple[Segment, float] | None:
        """The axis from end to end and the half width across it; None until one is drawn."""
        if len(self.axis) < 2 or distance_px(*self.axis) < 1.0:
            return None
        return (self.axis[0], self.axis[1]), self._half_width()

    def takes(self, at_xy_px: Point, reach_px: float) -> bool:
        """Whether a handle lies there."""
        return self.shape is not None and nearest(self._handles(), at_xy_px, reach_px) is not None

    def press(self, at_xy_px: Point, button: Qt.MouseButton, reach_px: float) -> bool:
        if button is not Qt.MouseButton.LeftButton:
            return False
        found = None
        if self.shape:
            found = nearest(self._handles(), at_xy_px, reach_px)
        self._from = at_xy_px
        if found is not None:
            self._held = ("first", "last", "width", "width")[found]
        elif self._is_inside(at_xy_px):
            self._held = "all"
        else:
            self.axis, self.half_width_px, self._held = [at_xy_px, at_xy_px], None, "last"
        return self._tell()

    def move(self, at_xy_px: Point) -> bool:
        if not self._held:
            return False
        if self._held == "width":
            self.half_width_px = max(1.0, self._across(at_xy_px))
        elif self._held == "all":
            dx, dy = at_xy_px[0] - self._from[0], at_xy_px[1] - self._from[1]
            self.axis = [(x + dx, y + dy) for x, y in self.axis]
            self._from = at_xy_px
        else:
            self.axis[("first", "last").index(self._held)] = at_xy_px
        return self._tell()

    def release(self, at_xy_px: Point, button: Qt.MouseButton) -> bool:
        if button is not Qt.MouseButton.LeftButton or not self._held:
            return False
        self._held = ""
        if self.shape is None:
            self.axis = []
        elif self.half_width_px is None:
            self.half_width_px = self._half_width()
        return self._tell()

    def key(self, key: int) -> bool:
        """Delete and Backspace take the ellipse away."""
        if key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and self.axis:
            self.axis, self.half_width_px, self._held = [], None, ""
            return self._tell()
        return False

    def paint(self, painter: QPainter, to_screen: QTransform, taken: list[Box] | None = None) -> None:
        """``taken`` are the places of words that others have written; this one's own are added."""
        if self.shape is None:
            return
        axis, half_width = self.shape
        outline = ellipse_outline(axis, half_width)
        paint_outline(painter, to_screen, outline, palette.MANUAL, LineStyle.DASHED, 2.0)
        _paint_handles(painter, to_screen, self._handles())
        right = outline[int(np.argmax(outline[:, 0]))]
        _label_beside(painter, self._describe(axis, half_width), to_screen.map(QPointF(*right)), taken)

    def _handles(self) -> list[Point]:
        (x0, y0), (x1, y1) = self.axis
        length, half = max(1e-6, distance_px(*self.axis)), self._half_width()
        middle, across = ((x0 + x1) / 2, (y0 + y1) / 2), (-(y1 - y0) / length * half, (x1 - x0) / length * half)
        return [
            *self.axis,
            (middle[0] + across[0], middle[1] + across[1]),
            (middle[0] - across[0], middle[1] - across[1]),
        ]

    def _half_width(self) -> float:
        # Until the width is dragged.
        return self.half_width_px or 0.4 * distance_px(*self.axis)

    def _is_inside(self, at: Point) -> bool:
        if self.shape is None:
            return False
        (x0, y0), (x1, y1) = self.axis
        half_length = distance_px(*self.axis) / 2
        along = ((at[0] - (x0 + x1) / 2) * (x1 - x0) + (at[1] - (y0 + y1) / 2) * (y1 - y0)) / (2 * half_length)
        return (along / half_length) ** 2 + (self._across(at) / self._half_width()) ** 2 < 1

    def _across(self, at: Point) -> float:
        (x0, y0), (x1, y1) = self.axis
        # The part of the way from the middle that is square to the axis.
        length = max(1e-6, distance_px(*self.axis))
        return abs((at[0] - (x0 + x1) / 2) * -(y1 - y0) / length + (at[1] - (y0 + y1) / 2) * (x1 - x0) / length)

    def _tell(self) -> bool:
        self._changed()
        return True


class PointsTool:
    """Two marks a known distance apart, set under a lens that shows single pixels."""

    def __init__(self, pixels: Callable[[], Pixels | None], changed: Callable[[], None]) -> None:
        self._pixels = pixels
        self._changed = changed
        self._held: int | None = None
        self._hand: Point | None = None
        self.points: list[Point] = []

    def clear(self) -> None:
        """Take the marks away, without telling of the change."""
        self.points = []

    def press(self, at_xy_px: Point, button: Qt.MouseButton, reach_px: float) -> bool:
        if button is not Qt.MouseButton.LeftButton:
            return False
        self._held = nearest(self.points, at_xy_px, reach_px)
        if self._held is None:
            if len(self.points) == 2:  # a third one begins again
                self.points = []
            self.points = [*self.points, at_xy_px]
            self._held = len(self.points) - 1
        return self.move(at_xy_px)

    def move(self, at_xy_px: Point) -> bool:
        self._hand = at_xy_px
        if self._held is not None:
            self.points[self._held] = at_xy_px
            self._changed()
        return True

    def release(self, at_xy_px: Point, button: Qt.MouseButton) -> bool:
        self._held = None
        self._changed()
        return True

    def key(self, key: int) -> bool:
        """The arrows move the newest mark by a fifth of a pixel; Delete takes it away."""
        steps = {
            Qt.Key.Key_Left: (-0.2, 0.0),
            Qt.Key.Key_Right: (0.2, 0.0),
            Qt.Key.Key_Up: (0.0, -0.2),
            Qt.Key.Key_Down: (0.0, 0.2),
        }
        if not self.points or (key not in steps and key not in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)):
            return False
        x, y = self.points.pop()
        if key in steps:
            self.points.append((x + steps[Qt.Key(key)][0], y + steps[Qt.Key(key)][1]))
            self._hand = self.points[-1]
        self._changed()
        return True

    def paint(self, painter: QPainter, to_screen: QTransform) -> None:
        if len(self.points) == 2:
            paint_caliper(painter, to_screen, (self.points[0], self.points[1]), palette.MANUAL, LineStyle.DASHED, 1.5)
        for point in self.points:
            _paint_cross(painter, to_screen.map(QPointF(*point)), 11.0)
        pixels = self._pixels()
        if self._hand is not None and pixels is not None:
            _paint_lens(painter, pixels, self._hand, to_screen.map(QPointF(*self._hand)), self.points)


def _paint_cross(painter: QPainter, at: QPointF, arm_px: float) -> None:
    for colour, width in ((palette.HALO, 3.0), (palette.MANUAL, 1.0)):
        painter.setPen(QPen(QColor(*colour), width))
        painter.drawLine(at - QPointF(arm_px, 0), at + QPointF(arm_px, 0))
        painter.drawLine(at - QPointF(0, arm_px), at + QPointF(0, arm_px))


def _paint_lens(
    painter: QPainter, pixels: Pixels, at_xy_px: Point, at_screen: QPointF, marks: Sequence[Point] = ()
) -> None:
    """The pixels round a position, each a square of eight, with a cross in the middle; away from the hand."""
    height, width = pixels.shape[:2]
    half = LENS_SPAN_PX / 2
    x0, y0 = math.floor(at_xy_px[0] - half), math.floor(at_xy_px[1] - half)
    # At the border the outermost pixel is repeated: the lens keeps its size and its middle.
    columns = np.clip(np.arange(x0, x0 + LENS_SPAN_PX + 1), 0, width - 1)
    rows = np.clip(np.arange(y0, y0 + LENS_SPAN_PX + 1), 0, height - 1)
    part = np.ascontiguousarray(pixels[np.ix_(rows, columns)])
    side = LENS_SPAN_PX + 1
    image = QImage(part.data, side, side, 3 * side, QImage.Format.Format_RGB888)
    left = at_screen.x() + 36
    if left + LENS_PX >= painter.viewport().width():
        left = at_screen.x() - 36 - LENS_PX
    top = max(8.0, min(at_screen.y() - LENS_PX / 2, painter.viewport().height() - LENS_PX - 8.0))
    frame = QRectF(left, top, LENS_PX, LENS_PX)
    scale = LENS_PX / LENS_SPAN_PX
    painter.save()
    painter.setClipRect(frame)
    # Single pixels are what the lens is for: smoothing would move an edge.
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
    offset = QPointF((x0 - (at_xy_px[0] - half)) * scale, (y0 - (at_xy_px[1] - half)) * scale)
    painter.drawImage(
        QRectF(frame.topLeft() + offset, QPointF(left + side * scale, top + side * scale) + offset), image
    )
    for mark in marks:
        _paint_cross(painter, frame.center() + QPointF(mark[0] - at_xy_px[0], mark[1] - at_xy_px[1]) * scale, 8.0)
    painter.setPen(QPen(QColor(theme.ACCENT), 1))
    painter.drawLine(QPointF(left, frame.center().y()), QPointF(frame.right(), frame.center().y()))
    painter.drawLine(QPointF(frame.center().x(), top), QPointF(frame.center().x(), frame.bottom()))
    painter.restore()
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(theme.QUIET), 1.5))
    painter.drawRect(frame)
