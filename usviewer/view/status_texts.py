"""What the window says around the picture: the answer, the chips, the status line. Words are made elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from usviewer.pipeline.signal import SignalState
from usviewer.view import theme
from usviewer.view.exam_words import reference_words, sweep_pairs
from usviewer.view.panels.scale_panel import scale_words
from usviewer.view.reading_text import reading_text

if TYPE_CHECKING:
    from usviewer.view.main_window import MainWindow

_DOTS = {
    SignalState.LIVE: theme.GOOD,
    SignalState.BACK: theme.GOOD,
    SignalState.CONNECTING: theme.QUIET,
    SignalState.GONE: theme.ERROR,
}
_WITHDRAWN = {
    SignalState.CONNECTING: "",
    SignalState.FROZEN: "Frozen input: this frame only, no current number",
}


class StatusTexts:
    """Puts what is on the desk into the rail, the top line and the status line of one window."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window

    @property
    def _reviewing(self) -> bool:
        return self._window.review is not None and self._window.review.active

    def answer(self) -> None:
        """The rail: the number, or why there is none."""
        window = self._window
        now, engine = window.desk.on_screen, window.desk.engine()
        window.rail.show_answer(
            reading_text(
                now.reading,
                now.summary,
                is_current=now.is_current,
                over=self._over(),
                labels=engine.labels if engine else (),
                withdrawn=self._withdrawn(),
                waiting=self._waiting(),
                beyond=self._beyond(),
                current=self._is_current(),
                reference=reference_words(window.findings(), window.desk.settings.reference),
            )
        )

    def _is_current(self) -> bool:
        """Whether the picture's own values may stand: of a held or frozen picture, yes; of one that stalled, no."""
        live = self._window.live
        if not live.active or live.frozen or live.status is None:
            return True
        return live.status.state.holds_numbers or live.status.state is SignalState.FROZEN

    def _beyond(self) -> tuple[tuple[str, str], ...]:
        """What more frames than the summary's say: the pulse, and of a live sweep its largest diameter."""
        now, findings = self._window.desk.on_screen, self._window.findings()
        if not now.is_current or now.reading is None or now.reading.finding != findings.finding:
            return ()
        return (sweep_pairs(findings) if self._window.live.active else ()) + findings.pairs

    def _over(self) -> str:
        if self._window.live.active:
            return "the last"
        snapshot = self._window.review.snapshot if self._reviewing else None
        return "the clip so far," if snapshot is not None and not snapshot.complete else "the clip,"

    def _waiting(self) -> str:
        live = self._window.live
        if live.frozen or not live.active:
            return "This frame only: less than a heart beat of it was measured"
        return "Hold still for a heart beat"

    def _withdrawn(self) -> str:
        """Why there is no number, where the reading itself does not say."""
        desk, live = self._window.desk, self._window.live
        status = live.status
        if live.active and status is not None and not status.state.holds_numbers:
            return _WITHDRAWN.get(status.state, f"{str(status.state).capitalize()}: no current number")
        if live.active and status is not None and status.model_problem:
            return f"The model was taken off: {status.model_problem}"
        if desk.loading and desk.engine() is None:
            return "The model is loading"
        if desk.engine() is None:
            return desk.engine_problem or "No model: nothing is outlined or measured"
        return "The model is too slow for this source" if desk.on_screen.note else ""

    def status(self) -> None:
        """The line at the foot."""
        window = self._window
        engine, on_screen = window.desk.engine(), window.desk.on_screen
        words = engine.running if engine else "loading the model" if window.desk.loading else "no model"
        if window.live.active and window.live.status is not None and window.live.status.model_problem:
            words = "model taken off"
        age_s = None
        if window.live.active and on_screen.reading is not None and on_screen.frame is not None:
            age_s = time.monotonic() - on_screen.frame.key.capture_time_s
        window.status.show_status(window.live.status if window.live.active else None, words, age_s)

    def chips(self) -> None:
        """The line at the head: source, model and scale."""
        window = self._window
        self._source_chip()
        for button in window.commands.buttons["mode"]:
            button.setText("Review" if window.live.active or window.welcoming else "Live")
        engine = window.desk.engine()
        label = engine.model_label if engine else "No model"
        window.top.model.say("Model is loading" if window.desk.loading else label, warning=engine is None)
        value, source, good = scale_words(window.desk.on_screen.frame)
        place = source.partition(" · ")[0].removeprefix("From: ")
        said = f"{value} · {place}" if good else value
        window.top.scale.say(said, warning=not good and not window.welcoming)
        window.top.scale.setVisible(not window.welcoming)

    def _source_chip(self) -> None:
        chip, live = self._window.top.source, self._window.live
        if live.active and (status := live.status) is not None:
            name = status.source.name if status.source else live.uri
            rate = f" · {status.source_rate:.0f} fps" if status.source_rate else ""
            said = f"{name}{rate}" if status.state.holds_numbers else f"{name} · {status.state}"
            chip.say(said, _DOTS.get(status.state, theme.WARNING))
        elif self._reviewing:
            chip.say(self._window.review.path.name)
        else:
            chip.say("No source")
