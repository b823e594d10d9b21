"""What the window says around the picture: the answer, the chips, the status line. Words are made elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from PySide6.QtWidgets import QPushButton

from usviewer.overlay.text import reading_text
from usviewer.pipeline.signal import SignalState
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.late_parts import LateParts
from usviewer.view.live_controller import LiveController
from usviewer.view.panels.scale_panel import scale_words
from usviewer.view.presenter import Presenter
from usviewer.view.reading_panel import ReadingPanel
from usviewer.view.window_bars import SourceBar, StatusLine

_DOTS = {
    SignalState.LIVE: theme.GOOD,
    SignalState.BACK: theme.GOOD,
    SignalState.CONNECTING: theme.QUIET,
    SignalState.GONE: theme.ERROR,
}


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
