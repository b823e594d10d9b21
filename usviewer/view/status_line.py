"""The line at the foot of the window: what this is not for, and how the machine is doing."""

from __future__ import annotations

import time

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QWidget

from usviewer.pipeline.live_run import LiveStatus
from usviewer.view import theme
from usviewer.view.plain import PlainLabel

_EVERY_S = 0.25
RESEARCH = "Research use only · not for diagnosis"


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
            self.say(status_words(status, engine, overlay_age_s))

    def say(self, text: str) -> None:
        """Say this on the right."""
        self._right.setText(text)
        self._said_s = time.monotonic()


def status_words(status: LiveStatus | None, engine: str, overlay_age_s: float | None) -> str:
    """Rate of the source, engine, latency, drops and the age of the overlay, as far as they are known."""
    if status is None:
        return engine
    parts = [f"source {status.source_rate:.0f} fps"] if status.source_rate else []
    infer = status.stages_ms.get("infer")
    parts.append(f"{engine} {infer.p50:.0f} ms" if infer and infer.count and engine else engine)
    if status.latency_ms.count:
        parts.append(f"latency {status.latency_ms.p50:.0f}/{status.latency_ms.p95:.0f} ms")
    if overlay_age_s is not None:
        parts.append(f"overlay {min(9.9, overlay_age_s):.2f} s old")
    parts.append(f"{status.dropped} dropped")
    return "   ·   ".join(part for part in parts if part)
