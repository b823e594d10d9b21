"""The line at the head of the window: source, model and scale as chips, each one click from being changed."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from usviewer.view import theme
from usviewer.view.plain import caption


class Chip(QPushButton):
    """What there is and its state, in one phrase; a coloured dot where a state has a colour."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name = name
        self._dot = ""
        self._whole = ""
        self.setProperty("role", "chip")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.setMinimumHeight(theme.TOUCH_PX)

    def say(self, text: str, dot: str = "", *, warning: bool = False) -> None:
        """Show this, with a dot of this colour (none when empty); a warning stands in its own colour."""
        if (text, dot) == (self._whole, self._dot) and warning == bool(self.property("warning")):
            return
        self._whole, self._dot = text, dot
        self.setText(("     " if dot else "") + caption(text) + "  ▾")
        self.setAccessibleName(f"{self._name}: {text}")
        if warning != bool(self.property("warning")):
            self.setProperty("warning", warning)
            self.style().unpolish(self)
            self.style().polish(self)
        self.updateGeometry()
        if (parent := self.parentWidget()) is not None and (layout := parent.layout()) is not None:
            layout.activate()  # now: a longer name would stand cut off until the next turn of the event loop

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not self._dot:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._dot))
        painter.drawEllipse(QRectF(11, self.height() / 2 - 5, 10, 10))
        painter.end()


class SourceBar(QFrame):
    """Chips at the left, buttons at the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("topline")
        self.setFixedHeight(theme.TOUCH_PX + 8)
        self.source, self.model, self.scale = Chip("Source"), Chip("Model"), Chip("Scale")
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(8, 4, 8, 4)
        self._row.setSpacing(4)
        for chip in (self.source, self.model, self.scale):
            self._row.addWidget(chip)
        self._row.addStretch(1)

    def add_button(self, button: QPushButton) -> None:
        """One more at the right end."""
        button.setProperty("role", "chip")
        button.setIconSize(QSize(20, 20))
        button.setMinimumSize(theme.TOUCH_PX, theme.TOUCH_PX)
        self._row.addWidget(button)
