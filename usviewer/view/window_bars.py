"""The line at the head of the window (source, model and scale, one click from being changed), and that at its foot."""

from __future__ import annotations

import time

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from usviewer.pipeline.live_run import LiveStatus
from usviewer.view import theme
from usviewer.view.widgets import PlainLabel, caption

_EVERY_S = 0.25  # so that it can be read
RESEARCH = "Research use only · not for diagnosis"


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
        room_for_dot = "     " if dot else ""
        self.setText(f"{room_for_dot}{caption(text)}  ▾")
        self.setAccessibleName(f"{self._name}: {text}")
        if warning != bool(self.property("warning")):
            # Costly, so only on a change: Qt reads a property in a style sheet again only when told to.
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


class StatusLine(QFrame):
    """Left the sentence that is always there, right what changes (four times a second, so that it can be read)."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("statusline")
        self.setFixedHeight(30)
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 0, 16, 0)
        self._left, self._right = PlainLabel(RESEARCH), PlainLabel()
        for label in (self._left, self._right):
            label.setFont(theme.font(theme.LABEL_PX))
            label.setProperty("role", "quiet")
        self._left.setAccessibleName(RESEARCH)
        self._right.setAccessibleName("Rates, latency and dropped frames")
        self._right.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self._left)
        row.addWidget(self._right, 1)
        self._said_s = 0.0

    def show_status(self, status: LiveStatus | None, engine: str, overlay_age_s: float | None) -> None:
        """Say it, at most four times a second."""
        now = time.monotonic()
        if now - self._said_s >= _EVERY_S:
            self._said_s = now
            self.say(_status_words(status, engine, overlay_age_s))

    def say(self, text: str) -> None:
        """Say this on the right."""
        self._right.setText(text)
        self._said_s = time.monotonic()


def _status_words(status: LiveStatus | None, engine: str, overlay_age_s: float | None) -> str:
    """Rate of the source, engine, latency, drops and the age of the overlay, as far as they are known."""
    if status is None:
        return engine
    parts = []
    if status.source_rate:
        parts.append(f"source {status.source_rate:.0f} fps")
    infer = status.stages_ms.get("infer")
    if infer and infer.count and engine:
        engine = f"{engine} {infer.p50:.0f} ms"
    parts.append(engine)
    if status.latency_ms.count:
        parts.append(f"latency {status.latency_ms.p50:.0f}/{status.latency_ms.p95:.0f} ms")
    if overlay_age_s is not None:
        parts.append(f"overlay {min(9.9, overlay_age_s):.2f} s old")
    parts.append(f"{status.dropped} dropped")
    return "   ·   ".join(part for part in parts if part)
