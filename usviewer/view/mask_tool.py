"""Correcting an outline by hand: handles on a smooth curve, or a brush; every gesture can be undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QTransform

from usviewer.frame import Mask, Points
from usviewer.measure.geometry import shape_of
from usviewer.measure.manual import fill_outline, handles_on, smooth_outline
from usviewer.overlay import palette
from usviewer.overlay.items import LineStyle
from usviewer.units import Point
from usviewer.view.painter import paint_outline
from usviewer.view.tools import nearest

MOST_UNDO = 100
# On an outline: enough for its shape, and so few that the hand can tell them apart.
LEAST_HANDLES, MOST_HANDLES = 8, 16
# Bits behind the point in OpenCV's coordinates: a brush moves by less than a pixel.
_FINE = 4


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """What a gesture starts from. ``handles`` is empty while the brush is at work."""

    mask: Mask
    handles: tuple[Point, ...]


class MaskTool:
    """Holds one mask over the whole picture (height, width). ``changed`` is told at the end of every gesture.

    Handles: drag one; press on the line to add one; right click removes one; drag inside to move all. On an empty
    picture each press adds one, until the first is pressed again. Brush: left adds, right (or ``erasing``) takes away.
    """

    def __init__(self, mask: Mask, changed: Callable[[Mask], None], handle_every_px: float = 24.0) -> None:
        self._changed = changed
        self._handle_every_px = handle_every_px
        self._history: list[_State] = []
        self._held: int | None = None
        self._moved_from: Point | None = None
        self._last_dab: Point | None = None
        self._taking = False
        self._hand: Point | None = None
        self._outlines: list[Points] | None = None
        self.mask = mask
        self.handles: list[Point] = []
        self.drawing = False
        self.brush = False
        self.erasing = False
        self.radius_px = 12.0
        self.use_handles()

    # -- modes

    def use_handles(self) -> None:
        """Work with handles from now on: on the largest part of what is there."""
        self.brush = False
        shape = shape_of(self.mask)
        self.handles = []
        if shape:
            self.handles = self._handles_on(shape.outline_xy_px)
        self.drawing = not self.handles

    def _handles_on(self, outline: Points) -> list[Point]:
        """As many as the hand can tell apart."""
        around_px = float(np.hypot(*(np.roll(outline, -1, axis=0) - outline).T).sum())
        count = min(MOST_HANDLES, max(LEAST_HANDLES, round(around_px / self._handle_every_px)))
        return [(float(x), float(y)) for x, y in handles_on(outline, count)]

    def use_brush(self, *, erasing: bool = False) -> None:
        """Work with the brush from now on."""
        self.brush, self.erasing, self.handles, self.drawing = True, erasing, [], False

    def set_radius(self, radius_px: float) -> None:
        """The size of the brush, in image pixels."""
        self.radius_px = radius_px

    def clear(self) -> None:
        """Take everything away, to draw it again."""
        self._remember()
        self._set_mask(np.zeros_like(self.mask))
        self.handles, self.drawing = [], not self.brush
        self._changed(self.mask)

    def replace(self, mask: Mask) -> None:
        """Start again from another mask; this can be undone. ``changed`` is not called."""
        self._remember()
        self._set_mask(mask)
        if not self.brush:
            self.use_handles()

    @property
    def can_undo(self) -> bool:
        """Whether a gesture can be taken back."""
        return bool(self._history)

    def undo(self) -> bool:
        """Take the last gesture back; False when there is none."""
        if not self._history:
            return False
        state = self._history.pop()
        self._set_mask(state.mask)
        self._held = self._moved_from = self._last_dab = None
        self.handles = list(state.handles)
        if not self.brush and not self.handles:
            self.use_handles()
        self._changed(self.mask)
        return True

    # -- the hand

    def press(self, at_xy_px: Point, button: Qt.MouseButton, reach_px: float) -> bool:
        if button not in (Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton):
            return False
        if self.brush:
            self._remember()
            self._taking = self.erasing or button is Qt.MouseButton.RightButton
            self._dab(at_xy_px, at_xy_px)
            return True
        if button is Qt.MouseButton.RightButton:
            return self._remove(nearest(self.handles, at_xy_px, reach_px))
        return self._take(at_xy_px, reach_px)

    def _take(self, at: Point, reach_px: float) -> bool:
        found = nearest(self.handles, at, reach_px)
        if self.drawing:
            return self._draw_on(at, found)
        if found is not None:
            self._remember()
            self._held = found
        elif (after := self._edge_at(at, reach_px)) is not None:
            self._remember()
            self.handles.insert(after, at)
            self._held = after
            self._refill()
        elif self._is_inside(at):
            self._remember()
            self._moved_from = at
        else:
            return False
        return True

    def _draw_on(self, at: Point, found: int | None) -> bool:
        self._remember()
        if found == 0 and len(self.handles) >= 3:
            self.drawing = False
            self._history.pop()  # closing changes no pixel: there is nothing to take back
            return True
        self.handles.append(at)
        self._held = len(self.handles) - 1
        self._refill()
        return True

    def _remove(self, found: int | None) -> bool:
        if found is None or len(self.handles) <= 3:  # two points enclose nothing
            return False
        self._remember()
        del self.handles[found]
        self._refill()
        self._changed(self.mask)
        return True

    def move(self, at_xy_px: Point) -> bool:
        before, self._hand = self._hand, at_xy_px
        if self._last_dab is not None:
            self._dab(self._last_dab, at_xy_px)
        elif self._held is not None:
            self.handles[self._held] = at_xy_px
            self._refill()
        elif self._moved_from is not None:
            dx, dy = at_xy_px[0] - self._moved_from[0], at_xy_px[1] - self._moved_from[1]
            self.handles = [(x + dx, y + dy) for x, y in self.handles]
            self._moved_from = at_xy_px
            self._refill()
        else:
            return self.brush and before != at_xy_px
        return True

    def release(self, at_xy_px: Point, button: Qt.MouseButton) -> bool:
        if self._held is None and self._moved_from is None and self._last_dab is None:
            return False
        self._held = self._moved_from = self._last_dab = None
        before = self._history[-1]
        if before.mask is self.mask and before.handles == tuple(self.handles):
            self._history.pop()  # a press that changed nothing
        else:
            self._changed(self.mask)
        return True

    def key(self, key: int) -> bool:
        """Enter closes what is being drawn."""
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.drawing and len(self.handles) >= 3:
            self.drawing = False
            return True
        return False

    # -- the mask

    def _remember(self) -> None:
        self._history = [*self._history[-(MOST_UNDO - 1) :], _State(self.mask, tuple(self.handles))]

    def _refill(self) -> None:
        height, width = self.mask.shape
        self._set_mask(fill_outline(smooth_outline(np.asarray(self.handles)), (width, height)))

    def _dab(self, start: Point, end: Point) -> None:
        """A thick line with round ends; masks are replaced, never changed, since the history holds the old ones."""
        self._last_dab = end
        mask = self.mask.astype(np.uint8)
        # OpenCV counts from the centre of a pixel, usviewer.units from its corner.
        places = [tuple(round((value - 0.5) * (1 << _FINE)) for value in point) for point in (start, end)]
        thickness = max(1, round(2 * self.radius_px))
        value = int(not self._taking)
        cv2.line(mask, places[0], places[1], value, thickness, cv2.LINE_8, _FINE)
        radius = max(1, round((self.radius_px - 0.5) * (1 << _FINE)))
        cv2.circle(mask, places[1], radius, value, cv2.FILLED, cv2.LINE_8, _FINE)
        self._set_mask(mask.view(np.bool_))

    def _set_mask(self, mask: Mask) -> None:
        self.mask, self._outlines = mask, None

    def _edge_at(self, at: Point, reach_px: float) -> int | None:
        """Where in the handles a new one belongs that lies on the line; None away from it."""
        if len(self.handles) < 3:
            return None
        curve = smooth_outline(np.asarray(self.handles))
        gaps = np.hypot(*(curve - at).T)
        if float(gaps.min()) > reach_px:
            return None
        return int(np.argmin(gaps)) * len(self.handles) // len(curve) + 1

    def _is_inside(self, at: Point) -> bool:
        height, width = self.mask.shape
        column, row = int(at[0]), int(at[1])
        return 0 <= column < width and 0 <= row < height and bool(self.mask[row, column])

    # -- painting

    def paint(self, painter: QPainter, to_screen: QTransform) -> None:
        for outline in self._outlines_now():
            paint_outline(painter, to_screen, outline, palette.MANUAL, LineStyle.DASHED, 2.0)
        for index, handle in enumerate(self.handles):
            self._paint_handle(painter, to_screen.map(QPointF(*handle)), index)
        if self.brush and self._hand is not None:
            self._paint_brush(painter, to_screen, self._hand)

    def _outlines_now(self) -> list[Points]:
        if len(self.handles) == 1:
            return []
        if self.handles:
            return [smooth_outline(np.asarray(self.handles))]
        if self._outlines is None:
            # Kept until the mask changes: they are painted with every picture.
            contours, _ = cv2.findContours(self.mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            self._outlines = [contour[:, 0, :].astype(np.float64) + 0.5 for contour in contours]
        return self._outlines

    def _paint_handle(self, painter: QPainter, at: QPointF, index: int) -> None:
        held = index == self._held
        side, colour = 9.0, palette.MANUAL
        if held or (self.drawing and index == 0):  # the first point closes the outline that is drawn
            side = 12.0
        if held:
            colour = palette.CALIPER
        painter.setPen(QPen(QColor(*palette.HALO), 1.5))
        painter.setBrush(QColor(*colour))
        painter.drawRect(QRectF(at.x() - side / 2, at.y() - side / 2, side, side))

    def _paint_brush(self, painter: QPainter, to_screen: QTransform, hand: Point) -> None:
        centre = to_screen.map(QPointF(*hand))
        across, down = self.radius_px * to_screen.m11(), self.radius_px * to_screen.m22()
        painter.setBrush(Qt.BrushStyle.NoBrush)
        colour = palette.MANUAL
        if self.erasing:
            colour = palette.WARNING
        for ring, width in ((palette.HALO, 3.0), (colour, 1.5)):
            painter.setPen(QPen(QColor(*ring), width))
            painter.drawEllipse(centre, across, down)
