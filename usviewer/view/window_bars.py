"""The line at the head of the window, the line at its foot, and what is said there and in the reading panel.

Source, model and scale stand at the head, one click from being changed. The words of a reading: ``overlay/text``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from usviewer.overlay.text import reading_text
from usviewer.pipeline.live_run import LiveStatus
from usviewer.pipeline.signal import SignalState
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.late_parts import LateParts
from usviewer.view.live_controller import LiveController
from usviewer.view.panels.scale_panel import scale_words
from usviewer.view.presenter import Presenter
from usviewer.view.reading_panel import ReadingPanel
from usviewer.view.widgets import PlainLabel, caption

_EVERY_S = 0.25  # so that it can be read
RESEARCH = "Research use only · not for diagnosis"
_DOTS = {
    SignalState.LIVE: theme.GOOD,
    SignalState.BACK: theme.GOOD,
    SignalState.CONNECTING: theme.QUIET,
    SignalState.GONE: theme.ERROR,
}


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
    """The line at the head: chips at the left, buttons at the right."""

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
    """The line at the foot: left the sentence that is always there, right what changes, slowly enough to be read."""

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
        """Say rates, latency and drops, at most four times a second."""
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


class StatusTexts:
    """Updates the reading panel, the source bar and the status line from the app state.

    ``mode_buttons`` change between the live view and review.
    """

    def __init__(
        self,
        app_state: AppState,
        presenter: Presenter,
        live: LiveController,
        late: LateParts,
        readings: ReadingPanel,
        source_bar: SourceBar,
        status_line: StatusLine,
        mode_buttons: Sequence[QPushButton],
    ) -> None:
        self._app_state, self._presenter, self._live, self._late = app_state, presenter, live, late
        self._readings, self._bar, self._line, self._mode_buttons = readings, source_bar, status_line, mode_buttons

    def answer(self) -> None:
        """The reading panel: the number, or why there is none."""
        now, engine = self._app_state.on_screen, self._app_state.engine()
        context = self._presenter.text_context(now)
        context = replace(
            context,
            withheld=context.withheld or self._withheld(),
            labels=engine.labels if engine else (),
            reference=self._app_state.settings.reference,
        )
        self._readings.show_answer(reading_text(now.reading, now.summary, context))

    def _withheld(self) -> str:
        """Why there is no number, where the reading itself does not say."""
        app_state, status = self._app_state, self._live.status
        if self._live.active and status is not None and status.model_problem:
            return f"The model was taken off: {status.model_problem}"
        if app_state.loading and app_state.engine() is None:
            return "The model is loading"
        if app_state.engine() is None:
            return app_state.engine_problem or "No model: nothing is outlined or measured"
        if app_state.on_screen.note:
            return "The model is too slow for this source"
        return ""

    def status(self) -> None:
        """The line at the foot."""
        live, on_screen = self._live, self._app_state.on_screen
        age_s = None
        if live.active and on_screen.reading is not None and on_screen.frame is not None:
            age_s = time.monotonic() - on_screen.frame.key.capture_time_s
        self._line.show_status(live.status if live.active else None, self._engine_words(), age_s)

    def _engine_words(self) -> str:
        status, engine = self._live.status, self._app_state.engine()
        if self._live.active and status is not None and status.model_problem:
            return "model taken off"
        if engine is not None:
            return engine.running
        if self._app_state.loading:
            return "loading the model"
        return "no model"

    def chips(self, *, welcoming: bool) -> None:
        """The line at the head: source, model and scale; before a source is open, no scale."""
        self._source_chip()
        for button in self._mode_buttons:
            button.setText("Review" if self._live.active or welcoming else "Live")
        engine = self._app_state.engine()
        label = "No model"
        if engine:
            label = engine.model_label
        self._bar.model.say("Model is loading" if self._app_state.loading else label, warning=engine is None)
        value, source, good = scale_words(self._app_state.on_screen.frame)
        place = source.partition(" · ")[0].removeprefix("From: ")
        if good:
            said = f"{value} · {place}"
        else:
            said = value
        self._bar.scale.say(said, warning=not good and not welcoming)
        self._bar.scale.setVisible(not welcoming)

    def _source_chip(self) -> None:
        chip, live = self._bar.source, self._live
        if self._late.reviewing:
            path = self._late.needed.review.path
        else:
            path = None
        if live.active and (status := live.status) is not None:
            if status.source:
                name = status.source.name
            else:
                name = live.uri
            rate = ""
            if status.source_rate:
                rate = f" · {status.source_rate:.0f} fps"
            if status.state.holds_numbers:
                said = f"{name}{rate}"
            else:
                said = f"{name} · {status.state}"
            chip.say(said, _DOTS.get(status.state, theme.WARNING))
        else:
            chip.say(path.name if path is not None else "No source")
