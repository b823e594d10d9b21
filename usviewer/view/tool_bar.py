"""The strip at the foot of the picture that says what the tool in hand does, with its few settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from usviewer.calibrate.calibration import MAX_DISTANCE_MM, MIN_DISTANCE_MM
from usviewer.errors import UserError
from usviewer.view import theme
from usviewer.view.canvas import Canvas
from usviewer.view.notify import Notify
from usviewer.view.tool_controller import ToolController
from usviewer.view.widgets import LengthField, PlainLabel

DEFAULT_DISTANCE_MM = 50.0
VALUE_PX = 116
# Whole centimetres, as depth rulers are marked.
PRESETS_MM = (10.0, 20.0, 50.0, 100.0)
_SAYS = {
    "caliper": "Drag from edge to edge. Drag an end to move it; drag elsewhere for another length.",
    "ellipse": "Drag the long axis from end to end, then the width. Drag inside to move all of it.",
    "correct": "",
    "calibrate": "Mark two points a known distance apart, best the whole length of the depth ruler.",
}


class ToolBar(QFrame):
    """Says what the tool in hand does. Floats over the foot of the canvas; shown while a tool is in hand."""

    def __init__(self, tools: ToolController, canvas: Canvas, message: Notify) -> None:
        super().__init__(canvas)
        self.setObjectName("handbar")
        self.setAccessibleName("Tool")
        self.setStyleSheet(
            f"#handbar {{ background: {theme.SURFACE}; border: 1px solid {theme.LINE}; border-radius: 10px; }}"
        )
        self._tools = tools
        self._canvas = canvas
        self._says = PlainLabel()
        self._says.setWordWrap(True)
        self._says.setProperty("role", "quiet")
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 8, 12, 8)
        column.setSpacing(6)
        column.addWidget(self._says)
        self._rows = {"correct": self._mask_row(), "calibrate": self._scale_row()}
        self._rows |= {"caliper": self._clear_row(), "ellipse": self._clear_row()}
        for row in self._rows.values():
            column.addWidget(row)
        canvas.installEventFilter(self)
        tools.changed.connect(self._show_state)
        self._message = message
        message.changed.connect(self._place)
        self.hide()

    # -- rows

    def _mask_row(self) -> QWidget:
        self.outline = self._button(
            "Outline", "Drag the handles; press on the line for another; right click removes one", self._outline
        )
        self.add = self._button("Brush", "Paint to add; right button takes away", lambda: self._brush(erasing=False))
        self.erase = self._button("Eraser", "Paint to take away", lambda: self._brush(erasing=True))
        for each in (self.outline, self.add, self.erase):
            each.setCheckable(True)
        self.brush_size = QSlider(Qt.Orientation.Horizontal)
        self.brush_size.setRange(2, 80)
        self.brush_size.setFixedWidth(96)
        self.brush_size.setAccessibleName("Brush size")
        self.brush_size.setToolTip("Size of the brush")
        self.brush_size.valueChanged.connect(self._set_size)
        self.undo = self._button("Undo", "Take the last step back (Ctrl+Z)", lambda: self._tools.undo())
        self.redraw = self._button("Redraw", "Take the outline away and draw it again, point by point", self._redraw)
        self.automatic = self._button("Automatic", "The model's own outline again", self._tools.restore_automatic)
        return _row(
            self.outline, self.add, self.erase, self.brush_size, self.undo, self.redraw, self.automatic, self._done()
        )

    def _scale_row(self) -> QWidget:
        name = "Distance of the two marks in mm"
        self.distance = LengthField(DEFAULT_DISTANCE_MM, MIN_DISTANCE_MM, MAX_DISTANCE_MM, name)
        self.distance.setFixedWidth(VALUE_PX)
        presets = [
            self._button(f"{mm / 10:g} cm", f"The marks are {mm:g} mm apart", partial(self.distance.setValue, mm))
            for mm in PRESETS_MM
        ]
        self.use = self._button("Use this scale", "Measure in millimetres with this scale", self._use_scale)
        self.use.setProperty("role", "primary")
        return _row(PlainLabel("Distance"), *presets, self.distance, self.use, self._done("Cancel"))

    def _clear_row(self) -> QWidget:
        clear = self._button("Remove all", "Take everything drawn on this picture away", self._tools.clear)
        return _row(clear, self._done())

    def _done(self, words: str = "Done") -> QPushButton:
        return self._button(words, f"{words}: put the tool away (Esc)", self._tools.cancel_tool)

    def _button(self, words: str, tooltip: str, act: Callable[[], object]) -> QPushButton:
        button = QPushButton(words)
        button.setToolTip(tooltip)
        button.setAccessibleName(words)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _checked=False: act())
        return button

    @property
    def says(self) -> str:
        """What the bar says now."""
        return self._says.text()

    # -- acting

    def _outline(self) -> None:
        if self._tools.mask is not None:
            self._tools.mask.use_handles()
            self._show_state()

    def _brush(self, *, erasing: bool) -> None:
        if self._tools.mask is not None:
            self._tools.mask.use_brush(erasing=erasing)
            self._show_state()

    def _set_size(self, radius_px: int) -> None:
        if self._tools.mask is not None:
            self._tools.mask.set_radius(float(radius_px))
            self._canvas.update()

    def _redraw(self) -> None:
        if self._tools.mask is not None:
            self._tools.mask.use_handles()
            self._tools.mask.clear()
            self._show_state()

    def _use_scale(self) -> None:
        try:
            self._tools.set_scale(self.distance.value())
        except UserError as error:
            self._says.setText(str(error))
            self._place()

    # -- showing

    def _show_state(self) -> None:
        chosen = str(self._tools.chosen)
        changed = self.isVisible() != bool(chosen) or self.property("tool") != chosen
        self.setProperty("tool", chosen)
        mask = self._tools.mask
        if mask is not None:
            self._show_mask(mask.brush, mask.erasing, mask.can_undo, round(mask.radius_px))
        if chosen:
            said = self._mask_words() or _SAYS[chosen]
            if self._says.text() != said:
                self._says.setText(said)
                changed = True
            self.use.setEnabled(len(self._tools.points) == 2)
        if changed:
            for name, row in self._rows.items():
                row.setVisible(name == chosen)
            self.setVisible(bool(chosen))
            self._place()
        self._canvas.update()

    def _show_mask(self, brush: bool, erasing: bool, can_undo: bool, radius_px: int) -> None:
        self.outline.setChecked(not brush)
        self.add.setChecked(brush and not erasing)
        self.erase.setChecked(brush and erasing)
        self.brush_size.setEnabled(brush)
        self.undo.setEnabled(can_undo)
        if self.brush_size.value() != radius_px:
            self.brush_size.blockSignals(True)  # the slider follows the brush here, not the brush the slider
            self.brush_size.setValue(radius_px)
            self.brush_size.blockSignals(False)

    def _mask_words(self) -> str:
        mask = self._tools.mask
        if mask is None:
            return ""
        if mask.drawing:
            return "Press point after point round the structure; press the first one again, or Enter, to close."
        if mask.brush and mask.erasing:
            return "Paint to take away."
        if mask.brush:
            return "Paint to add; the right button takes away."
        return "Drag a handle, press on the line for another, right click removes one, drag inside to move all."

    def _place(self) -> None:
        if not self.isVisible():
            return
        room = self._canvas.width() - 32
        self._says.setFixedWidth(min(room - 26, max(600, self._rows_width())))
        self.adjustSize()
        width = min(self.width(), room)
        below = 12
        if self._message.current is not None:  # above the message, which lies at the foot of the picture too
            below = self._message.height() + 28
        top = self._canvas.height() - self.height() - below
        self.setGeometry((self._canvas.width() - width) // 2, top, width, self.height())
        self.raise_()

    def _rows_width(self) -> int:
        return max(row.sizeHint().width() for row in self._rows.values() if not row.isHidden())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._canvas and event.type() == QEvent.Type.Resize:
            self._place()
        return False


def _row(*widgets: QWidget) -> QWidget:
    holder = QWidget()
    holder.setObjectName("handrow")
    holder.setStyleSheet("#handrow { background: transparent; }")
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(theme.GRID_PX)
    row.addStretch(1)
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch(1)
    return holder
