"""One view for the picture and its Scene: the picture as large as it goes, the overlay of exactly that picture.

The frame is converted once into a 32-bit image (the format Qt paints fastest) and scaled while painting, each axis for
itself where pixels are not square. Everything on top is painted from data; the canvas computes no measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PySide6.QtCore import QPoint, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFontMetricsF,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QTransform,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from usviewer.frame import Frame
from usviewer.overlay.items import AnnotatedFrame
from usviewer.overlay.scene import Scene
from usviewer.units import Point
from usviewer.view import theme
from usviewer.view.painter import paint
from usviewer.view.tools import Tool

MAX_ZOOM = 12.0


@dataclass(frozen=True, slots=True)
class Banner:
    """A state said large over the picture, with a second line that says what to do.

    ``at_top`` keeps the middle of the picture free: there the operator is looking for the vessel.
    """

    text: str
    detail: str = ""
    colour: str = theme.TEXT
    at_top: bool = False


class Canvas(QWidget):
    """Shows an ``AnnotatedFrame`` or a bare frame. The wheel zooms, the middle button drags, a double click fits."""

    clicked = Signal(float, float, object)  # x_px, y_px in the image, Qt.MouseButton

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(theme.PICTURE_LEAST_PX, theme.PICTURE_LOWEST_PX)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName("Ultrasound picture")
        self._frame: Frame | None = None
        self._scene: Scene | None = None
        # The image is a view of this memory: both are kept, and made again only where the size changes.
        self._buffer: np.ndarray | None = None
        self._image: QImage | None = None
        self._banner: Banner | None = None
        self._corner_note = ""
        self._zoom = 1.0
        self._centre: QPointF | None = None
        self._dragged_from: QPoint | None = None
        self._tool: Tool | None = None
        self._marks: list[Callable[[QPainter, QTransform], None]] = []

    def sizeHint(self) -> QSize:
        return QSize(960, 640)

    # -- what is shown

    @property
    def frame(self) -> Frame | None:
        """The frame on the screen."""
        return self._frame

    @property
    def scene(self) -> Scene | None:
        """The overlay on the screen; None for a bare picture."""
        return self._scene

    def show_pair(self, shown: AnnotatedFrame) -> None:
        """Show a picture with its own overlay."""
        self._set_frame(shown.frame)
        self._scene = shown.scene
        self.update()

    def show_bare(self, frame: Frame) -> None:
        """Show a picture without overlay."""
        self._set_frame(frame)
        self._scene = None
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self._frame = self._scene = self._image = None
        self.update()

    @property
    def tool(self) -> Tool | None:
        """Who takes the hand's events; None: nobody."""
        return self._tool

    def set_tool(self, tool: Tool | None) -> None:
        """Hand the hand's events to this tool, and let it paint over the picture; None: to nobody."""
        self._tool = tool

    def add_marks(self, paint: Callable[[QPainter, QTransform], None]) -> None:
        """Let something more be painted over every picture, in image pixels, above the tool's own."""
        self._marks.append(paint)

    @property
    def banner(self) -> Banner | None:
        """The state that is said over the picture."""
        return self._banner

    def set_banner(self, banner: Banner | None) -> None:
        """Say a state large and centred, or stop saying it."""
        if banner != self._banner:
            self._banner = banner
            self.update()

    def set_corner_note(self, text: str) -> None:
        """A short note in the top left corner (frozen, edited, prompt tool)."""
        if text != self._corner_note:
            self._corner_note = text
            self.update()

    def _set_frame(self, frame: Frame) -> None:
        if self._frame is not None and frame.key == self._frame.key:
            if frame.pixel_aspect != self._frame.pixel_aspect:  # the scale says what shape they have
                self._frame = frame
                self.fit()
            return
        shape = (frame.height_px, frame.width_px, 4)
        if self._buffer is None or self._buffer.shape != shape:
            self._buffer = np.empty(shape, np.uint8)
            self._image = None
        # Into the same memory for every frame of this size: a live source sends 60 a second.
        cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGRA, dst=self._buffer)
        if self._image is None:
            self._image = QImage(
                self._buffer.data, frame.width_px, frame.height_px, 4 * frame.width_px, QImage.Format.Format_RGB32
            )
        if self._frame is None or _form(self._frame) != _form(frame):
            self.fit()  # the zoomed part of another picture shape would be somewhere else
        self._frame = frame

    # -- where it is

    def fit(self) -> None:
        """The whole picture, as large as it goes."""
        self._zoom, self._centre = 1.0, None
        self.update()

    def zoom_by(self, factor: float, about: QPointF | None = None) -> None:
        """Zoom, keeping the image position under ``about`` (screen) where it is."""
        if self._image is None:
            return
        about = about or QRectF(self.rect()).center()
        inverse, _ = self.image_to_screen().inverted()
        held = inverse.map(about)
        self._zoom = min(MAX_ZOOM, max(1.0, self._zoom * factor))  # never smaller than the whole picture
        if self._zoom == 1.0:
            self._centre = None
        else:
            x_scale, y_scale = self._scales()
            offset = QRectF(self.rect()).center() - about
            self._centre = held + QPointF(offset.x() / x_scale, offset.y() / y_scale)
        self.update()

    def _scales(self) -> tuple[float, float]:
        """Widget pixels to each image pixel, across and down: their ratio is the shape of an image pixel."""
        assert self._image is not None
        aspect = 1.0
        if self._frame is not None:
            aspect = self._frame.pixel_aspect
        wide, high = max(1.0, self._image.width() * aspect), max(1, self._image.height())
        scale = min(self.width() / wide, self.height() / high) * self._zoom
        return scale * aspect, scale

    def image_to_screen(self) -> QTransform:
        """From image pixels (corner convention) to widget pixels."""
        if self._image is None:
            return QTransform()
        x_scale, y_scale = self._scales()
        centre = self._centre or QPointF(self._image.width() / 2, self._image.height() / 2)
        middle = QRectF(self.rect()).center()
        corner = middle.x() - centre.x() * x_scale, middle.y() - centre.y() * y_scale
        return QTransform(x_scale, 0, 0, y_scale, *corner)

    def to_image(self, at: QPointF) -> Point:
        """Image position under a place on the screen."""
        inverse, _ = self.image_to_screen().inverted()
        mapped = inverse.map(at)
        return mapped.x(), mapped.y()

    # -- painting

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(theme.GROUND))
        if self._image is not None:
            transform = self.image_to_screen()
            painter.save()
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.setTransform(transform)
            painter.drawImage(0, 0, self._image)
            painter.restore()
            # The order is what covers what: the reading, then what the hand draws, then marks that others add.
            if self._scene is not None:
                paint(painter, self._scene, transform)
            if self._tool is not None:
                self._tool.paint(painter, transform)
            for paint_marks in self._marks:
                paint_marks(painter, transform)
        if self._corner_note:
            self._paint_note(painter)
        if self._banner is not None:
            self._paint_banner(painter, self._banner)
        painter.end()

    def _paint_note(self, painter: QPainter) -> None:
        painter.setFont(theme.font(theme.TEXT_PX, bold=True))
        metrics = QFontMetricsF(painter.font())
        ground = QRectF(12, 12, metrics.horizontalAdvance(self._corner_note) + 24, metrics.height() + 12)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(14, 17, 19, 210))
        painter.drawRoundedRect(ground, 6, 6)
        painter.setPen(QColor(theme.TEXT))
        painter.drawText(ground, Qt.AlignmentFlag.AlignCenter, self._corner_note)

    def _paint_banner(self, painter: QPainter, banner: Banner) -> None:
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        size_px, edge = 30, 20
        if banner.at_top:  # smaller: the picture goes on below
            size_px, edge = 20, 10
        large, small = theme.font(size_px, bold=True), theme.font(theme.TEXT_PX + 1)
        inner = QRectF(0, 0, min(640.0, self.width() - 32.0) - 48, 1000)
        top = QFontMetricsF(large).boundingRect(inner, int(flags), banner.text)
        below, gap = QRectF(), 0
        if banner.detail:
            below, gap = QFontMetricsF(small).boundingRect(inner, int(flags), banner.detail), 8
        width = max(top.width(), below.width()) + 56
        height = top.height() + gap + below.height() + 2 * edge
        above = (self.height() - height) / 2
        if banner.at_top:
            above = 16.0
        ground = QRectF((self.width() - width) / 2, above, width, height)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(14, 17, 19, 215))
        painter.drawRoundedRect(ground, 10, 10)
        painter.setPen(QColor(banner.colour))
        painter.setFont(large)
        painter.drawText(ground.adjusted(24, edge, -24, -(below.height() + gap + edge)), int(flags), banner.text)
        if banner.detail:
            painter.setPen(QColor(theme.TEXT))
            painter.setFont(small)
            painter.drawText(ground.adjusted(24, edge + top.height() + gap, -24, -edge), int(flags), banner.detail)

    # -- the hand

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.MiddleButton:
            self._dragged_from = event.position().toPoint()
            return
        if self._image is None:
            return
        if self._tool is not None and self._tool.press(
            self.to_image(event.position()), event.button(), self._reach_px()
        ):
            self.update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._dragged_from is not None and self._image is not None:
            x_scale, y_scale = self._scales()
            moved = event.position().toPoint() - self._dragged_from
            centre = self._centre or QPointF(self._image.width() / 2, self._image.height() / 2)
            self._centre = centre - QPointF(moved.x() / x_scale, moved.y() / y_scale)
            self._dragged_from = event.position().toPoint()
            self.update()
        elif self._tool is not None and self._image is not None and self._tool.move(self.to_image(event.position())):
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.MiddleButton:
            self._dragged_from = None
            return
        if self._image is None:
            return
        x, y = self.to_image(event.position())
        if self._tool is not None and self._tool.release((x, y), event.button()):
            self.update()
        self.clicked.emit(x, y, event.button())

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self._tool is None:
            self.fit()
        else:  # Qt sends this in the place of a second press, which a quick hand means as one
            self.mousePressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        self.zoom_by(1.0015 ** event.angleDelta().y(), event.position())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self._tool is not None and self._tool.key(event.key()):
            self.update()
            return
        super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.update()

    def _reach_px(self) -> float:
        """How near a handle must be to be taken, in image pixels: a fingertip (22 px) on the screen.

        Where pixels are not square, as many as cover that area.
        """
        return 22.0 / math.sqrt(math.prod(self._scales()))


def _form(frame: Frame) -> tuple[int, int, float]:
    return frame.width_px, frame.height_px, frame.pixel_aspect
