"""The last seconds as a small curve, with gaps where the vessel was not measured."""

from __future__ import annotations

from collections import deque

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from usviewer.measure.reading import Dimension, Reading, Status
from usviewer.overlay import words
from usviewer.view import theme

SPAN_S = 10.0
# Without a reading for longer, a line would claim values that nobody measured.
_GAP_S = 0.5
# A steady vessel must not look like a storm: the axis spans at least this share of the value.
_MIN_SPAN_SHARE = 0.3


class TrendView(QWidget):
    """Value over time; add one point a reading. The right edge is now."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumHeight(56)
        self.setMaximumHeight(230)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Trend of the last 10 seconds")
        self._points: deque[tuple[float, float | None]] = deque()
        self._unit = self._finding = ""
        self._size_px: tuple[int, int] | None = None
        self._scale = 1.0
        self._now_s = 0.0

    def sizeHint(self) -> QSize:
        return QSize(240, 110)

    def set_scale(self, scale: float) -> None:
        """Letters and height for a rail of this scale."""
        self._scale = scale
        self.setMaximumHeight(round(230 * scale))
        self.update()

    def reset(self) -> None:
        """Forget the curve."""
        self._points.clear()
        self.update()

    def add(self, reading: Reading) -> None:
        """One more reading, at the time its picture was captured."""
        value, unit = _value_of(reading)
        size_px = None
        if unit.startswith("px"):  # pixels of two sizes are two units
            size_px = reading.frame_size_px
        if value is not None and (unit, size_px) != (self._unit, self._size_px):
            self._points.clear()
            self._unit, self._size_px = unit, size_px
        self._finding = reading.finding
        self._now_s = reading.key.capture_time_s  # the picture's time: a slow model does not bend the curve
        self._points.append((self._now_s, value))
        while self._points and self._now_s - self._points[0][0] > SPAN_S:
            self._points.popleft()
        self.update()

    def runs(self) -> list[list[tuple[float, float]]]:
        """The stretches without a gap, oldest first, as (seconds before now, value)."""
        runs: list[list[tuple[float, float]]] = [[]]
        last_s = None
        for at_s, value in self._points:
            if value is None or (last_s is not None and at_s - last_s > _GAP_S):
                runs.append([])
            if value is not None:
                runs[-1].append((self._now_s - at_s, value))
                last_s = at_s
        return [run for run in runs if run]

    def _figure(self, value: float) -> str:
        """In the unit of the answer."""
        if self._unit == "mm2":
            return f"{value:.0f}"
        return words.big_number(value, self._unit, self._finding)[0]

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(theme.font(round(theme.LABEL_PX * self._scale)))
        painter.setPen(QColor(theme.QUIET))
        largest = max((value for _, value in self._points if value is not None), default=0.0)
        beside = painter.fontMetrics().horizontalAdvance(self._figure(1.5 * largest)) + 10
        area = QRectF(self.rect()).adjusted(0, 9, -max(30 * self._scale, beside), -20 * self._scale)
        foot = QRectF(0, area.bottom() + 2, area.width(), 16 * self._scale)
        painter.drawText(foot, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, "10 s ago")
        painter.drawText(foot, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, "now")
        painter.setPen(QPen(QColor(theme.LINE), 1))
        for y in (area.top() + 0.5, round(area.center().y()) + 0.5, area.bottom() + 0.5):
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
        runs = self.runs()
        if runs:
            self._paint_curve(painter, area, runs)
        painter.end()

    def _paint_curve(self, painter: QPainter, area: QRectF, runs: list[list[tuple[float, float]]]) -> None:
        values = [value for run in runs for _, value in run]
        middle = (max(values) + min(values)) / 2
        half = max(max(values) - min(values), _MIN_SPAN_SHARE * middle, 1e-6) / 2 * 1.1
        painter.setPen(QColor(theme.QUIET))
        for value, y in ((middle + half, area.top()), (middle - half, area.bottom())):
            place = QRectF(area.right() + 4, y - 8, self.width() - area.right() - 4, 16)
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self._figure(value))
        painter.setPen(QPen(QColor(theme.CALIPER), 1.6))
        for run in runs:
            points = [
                QPointF(
                    area.right() - ago_s / SPAN_S * area.width(),
                    area.center().y() - (value - middle) / half * area.height() / 2,
                )
                for ago_s, value in run
            ]
            if len(points) == 1:  # a line needs two: a lone value is a dot
                points.append(points[0] + QPointF(1, 0))
            painter.drawPolyline(QPolygonF(points))


def _value_of(reading: Reading) -> tuple[float | None, str]:
    """The quoted value and its unit; None and "" for a gap."""
    if reading.status is not Status.MEASURED or not reading.measurements:
        return None, ""
    main = reading.measurements[0]
    if main.dimension not in (Dimension.LENGTH, Dimension.AREA):
        return None, ""
    if main.value_mm is None:
        return main.value_px, "px"
    if main.dimension is Dimension.AREA:
        return main.value_mm, "mm2"
    return main.value_mm, "mm"
