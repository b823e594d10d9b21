"""The hand that points: a click is on the structure, a right click is not, a drag is a box round it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QTransform

from usviewer.infer.prompt import Prompt
from usviewer.overlay import palette
from usviewer.units import Box, Point
from usviewer.view import theme
from usviewer.view.tools import distance_px

DOT_PX = 6.0  # on the screen, whatever the zoom
# A hand that moves less than this part of its reach has clicked.
STILL = 0.35


class PointingTool:
    """Tells what was pointed at, in image pixels; paints the clicks and the box of the structure in hand."""

    def __init__(
        self,
        point: Callable[[Point, bool], None],
        box: Callable[[Box], None],
        undo: Callable[[], bool],
        prompt: Callable[[], Prompt | None],
    ) -> None:
        self._point, self._box, self._undo, self._prompt = point, box, undo, prompt
        self._from: Point | None = None
        self._to: Point | None = None
        self._still_px = 0.0

    def press(self, at_xy_px: Point, button: Qt.MouseButton, reach_px: float) -> bool:
        if button is Qt.MouseButton.RightButton:
            self._from = None
            self._point(at_xy_px, False)
            return True
        if button is not Qt.MouseButton.LeftButton:
            return False
        # The reach is a fingertip on the screen: what is a drag does not depend on the zoom.
        self._from, self._to, self._still_px = at_xy_px, None, STILL * reach_px
        return True

    def move(self, at_xy_px: Point) -> bool:
        if self._from is None:
            return False
        if self._to is not None or distance_px(self._from, at_xy_px) > self._still_px:
            self._to = at_xy_px
        return True

    def release(self, at_xy_px: Point, button: Qt.MouseButton) -> bool:
        start, self._from = self._from, None
        if start is None or button is not Qt.MouseButton.LeftButton:
            return False
        dragged = self._to is not None or distance_px(start, at_xy_px) > self._still_px
        self._to = None
        # A box without width or height holds nothing, and it was not a click either.
        if dragged and start[0] != at_xy_px[0] and start[1] != at_xy_px[1]:
            self._box((*start, *at_xy_px))
        elif not dragged:
            self._point(start, True)
        return True

    def key(self, key: int) -> bool:
        return False

    def undo(self) -> bool:
        """Take the last step back."""
        return self._undo()

    def paint(self, painter: QPainter, to_screen: QTransform) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._from is not None and self._to is not None:
            _paint_box(painter, to_screen, (*self._from, *self._to))
        prompt = self._prompt()
        if prompt is None:
            return
        if prompt.box_xyxy_px is not None:
            _paint_box(painter, to_screen, prompt.box_xyxy_px)
        for point, positive in zip(prompt.points_xy_px, prompt.positive, strict=True):
            _paint_click(painter, to_screen.map(QPointF(*point)), positive)


def _paint_box(painter: QPainter, to_screen: QTransform, box: Box) -> None:
    first, last = to_screen.map(QPointF(box[0], box[1])), to_screen.map(QPointF(box[2], box[3]))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for colour, width in ((QColor(*palette.HALO), 3.0), (QColor(*palette.MANUAL), 1.2)):
        painter.setPen(QPen(colour, width, Qt.PenStyle.DotLine))
        painter.drawRect(QRectF(first, last).normalized())


def _paint_click(painter: QPainter, at: QPointF, positive: bool) -> None:
    """A plus or a minus in a disc: told apart by their shape, not by the colour alone."""
    painter.setPen(QPen(QColor(*palette.HALO), 1.5))
    painter.setBrush(QColor(theme.GOOD if positive else theme.ERROR))
    painter.drawEllipse(at, DOT_PX, DOT_PX)
    painter.setPen(QPen(QColor(theme.TEXT), 1.8))
    arm = DOT_PX - 2.5
    painter.drawLine(at - QPointF(arm, 0), at + QPointF(arm, 0))
    if positive:
        painter.drawLine(at - QPointF(0, arm), at + QPointF(0, arm))
