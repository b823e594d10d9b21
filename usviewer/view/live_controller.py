"""Live mode: one source with one model, its states, and the freeze."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from PySide6.QtCore import QObject, Signal

from usviewer.acquire import open_source
from usviewer.calibrate.calibration import live_calibration
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.findings import EMPTY_REPORT, finding_of
from usviewer.measure.reading import Reading, Status, Summary
from usviewer.overlay.text import TextContext
from usviewer.pipeline.analyzer import FrameAnalyzer, FrameResult
from usviewer.pipeline.live_run import MOST_FAILURES, LiveRun, LiveSnapshot, LiveStatus
from usviewer.pipeline.signal import SignalState
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Banner
from usviewer.view.notify import Notify
from usviewer.view.presenter import Presenter

_WITHHELD = {
    SignalState.CONNECTING: "",
    SignalState.FROZEN: "Frozen input: this frame only, no current number",
}
_BANNERS = {
    SignalState.CONNECTING: Banner("Connecting", "The picture appears as soon as the source sends one"),
    SignalState.BLACK: Banner("Black picture", "The source sends a black picture: is the scanner on?", theme.WARNING),
    SignalState.NO_SIGNAL: Banner("No signal", "Check the cable between the scanner and the grabber", theme.WARNING),
    SignalState.FROZEN: Banner("Frozen input", "", theme.WARNING, at_top=True),
    SignalState.FORMAT_CHANGED: Banner("Format changed", "Measuring again", theme.WARNING, at_top=True),
    SignalState.GONE: Banner("Source gone", "Waiting for it to come back", theme.ERROR),
}
RETRY = "Try the model again"
# In these the newest picture holds no ultrasound, so no overlay belongs to it.
_EMPTY = (SignalState.BLACK, SignalState.NO_SIGNAL)


class LiveController(QObject):
    """Runs the live source and says what is on the screen. ``tick`` is called at the display's rate."""

    reading_added = Signal(object)  # Reading, in the order of the pictures
    withdrawn = Signal()  # what the trend has shown no longer holds

    def __init__(
        self, app_state: AppState, presenter: Presenter, notify: Notify, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._app_state, self._presenter, self._notify = app_state, presenter, notify
        self._run: LiveRun | None = None
        self._uri = ""
        self._frozen_s: float | None = None
        self._held_as = NO_CONTEXT  # what the operator had said when the held picture was read
        self._said = NO_CONTEXT  # what the operator said last
        self._last_pair: FrameResult | None = None
        self._last_message = ""
        self._problem = ""  # why the model was taken off, as it was said last
        self.status: LiveStatus | None = None
        self.newest: Frame | None = None
        app_state.given_changed.connect(self._use_given)
        app_state.engine_changed.connect(self._use_engine)
        app_state.scale_changed.connect(self._use_scale)

    # -- the source

    @property
    def active(self) -> bool:
        """True while a source is open, whatever its state."""
        return self._run is not None

    @property
    def uri(self) -> str:
        """The source that is open; empty when there is none."""
        return self._uri

    def open(self, uri: str) -> None:
        """Show this source. It is opened in the capture thread; the one before is closed first."""
        self.close()
        self._app_state.forget_scale()
        self._app_state.set_given(NO_CONTEXT)
        self._uri = uri
        self._run = LiveRun(
            partial(open_source, uri),
            live_calibration(self._app_state.stated_scale),
            self._app_state.engine(),
            self._app_state.given,
        )
        self._run.start()

    def close(self) -> None:
        """Let the source go, in the background: a device that hangs must not hold the window up."""
        run, self._run = self._run, None
        self._uri, self.status, self._last_pair, self._last_message = "", None, None, ""
        self.newest = None
        self._presenter.set_report(EMPTY_REPORT)
        self._frozen_s = None
        self._offer("")
        if run is not None:
            self._app_state.loads.submit(run.stop, self._stopped)
            self._notify.withdraw("source")
        self._presenter.set_banner(None)
        self.withdrawn.emit()

    def _stopped(self, ended: bool) -> None:
        if not ended:
            self._notify.warn("The source did not close in time: it may still be in use.", key="closing")

    def _use_engine(self, *, withdraw: bool = True) -> None:
        if self._run is not None and not self._app_state.loading:
            self._run.set_model(self._app_state.engine(), self._app_state.given)
            if withdraw:
                self._withdraw()

    def _use_given(self) -> None:
        """Apply what the operator said to the pictures that come, and to the one that is held.

        A site that is set while a picture is held names that picture: what the trend has shown stays.
        """
        before, self._said = self._said, self._app_state.given
        self._use_engine(withdraw=not self.frozen or replace(before, site=self._said.site) != self._said)
        if not self.frozen:
            return
        given, on_screen = self._app_state.given, self._app_state.on_screen
        reading = on_screen.reading
        if reading is not None and self._only_names(given, reading.finding):
            named = given.named_summary(on_screen.summary, reading.finding)
            self._show_frozen(given.named(reading), named)
        else:
            self._analyse_held()
        self._held_as = given

    def _only_names(self, given: ExamContext, finding: str) -> bool:
        """Whether this changes the name of the site, at most, and no value of a reading of this finding."""
        return "site" in finding_of(finding).context and given.settings(finding) == self._held_as.settings(finding)

    def _use_scale(self) -> None:
        if self._run is not None:
            self._run.set_calibrate(live_calibration(self._app_state.stated_scale))
            self._withdraw()

    def _withdraw(self) -> None:
        """Take away what was made by what no longer holds: now, not with the next picture."""
        if not self.frozen and self._app_state.engine() is not None:
            self._presenter.renew()
        self.withdrawn.emit()

    # -- freezing

    @property
    def frozen(self) -> bool:
        """True while the user holds one picture; the source goes on behind it."""
        return self._frozen_s is not None

    def freeze(self) -> None:
        """Hold the exact pair of picture and overlay, or let it go again.

        Where the picture on the screen has no overlay (the model was too slow for it), it is analysed now.
        """
        if self._run is None:
            return
        if self.frozen:
            self._frozen_s = None
            return
        if self._app_state.on_screen.frame is None:
            return
        self._frozen_s, self._held_as = time.monotonic(), self._app_state.given
        on_screen = self._app_state.on_screen
        self._show_frozen(on_screen.reading, on_screen.summary)
        if on_screen.reading is None:
            self._analyse_held()

    def _analyse_held(self) -> None:
        frame, model = self._app_state.on_screen.frame, self._app_state.engine()
        if model is not None and frame is not None:
            self._show_frozen(None, None, pending=True)
            analyzer = FrameAnalyzer(model, context=self._app_state.given)  # of its own: the live run goes on behind it
            self._app_state.loads.submit(partial(analyzer.analyze, frame), partial(self._analysed, frame))

    def _analysed(self, frame: Frame, done: FrameResult) -> None:
        if self.frozen and self._app_state.on_screen.frame is frame:
            self._show_frozen(done.reading, None)

    def _show_frozen(self, reading: Reading | None, summary: Summary | None, *, pending: bool = False) -> None:
        self._presenter.set_banner(_banner_of_reading(reading))
        self._presenter.show(self._app_state.on_screen.frame, reading, summary, "Frozen", pending=pending)

    # -- following

    def tick(self) -> None:
        """Take what is newest and show it."""
        if self._run is None:
            return
        self._run.raise_failure()
        snapshot = self._run.snapshot()
        self.status, self.newest = snapshot.status, snapshot.newest
        self._presenter.set_report(snapshot.findings)
        self._tell(snapshot.status.message)
        self._offer(snapshot.status.model_problem)
        self._follow(snapshot)
        if not self.frozen:
            self._show(snapshot)

    def _tell(self, message: str) -> None:
        if message != self._last_message:
            self._last_message = message
            if message:
                self._notify.report(UserError(message), key="source")
            else:
                self._notify.withdraw("source")

    def _offer(self, problem: str) -> None:
        """Where the model was taken off: say why, and let the user try it again."""
        if problem == self._problem:
            return
        self._problem = problem
        self._notify.withdraw("model-off")
        if problem:
            said = f"The model failed on {MOST_FAILURES} pictures in a row and was taken off. {problem}."
            self._notify.ask(said, {RETRY: self.retry_model}, key="model-off")

    def retry_model(self) -> None:
        """Try the model again that was taken off."""
        if self._run is not None:
            self._run.retry()

    def _follow(self, snapshot: LiveSnapshot) -> None:
        """The trend gets each reading once, and none that was made while the input was not live."""
        pair = snapshot.pair
        if pair is not None and pair is not self._last_pair:
            self._last_pair = pair
            if snapshot.status.state.holds_numbers and not self.frozen:
                self.reading_added.emit(pair.reading)

    def _show(self, snapshot: LiveSnapshot) -> None:
        state = snapshot.status.state
        frame, pair, note = snapshot.to_show()
        if state in _EMPTY:
            frame, pair, note = snapshot.newest, None, ""
        reading = pair.reading if pair else None
        summary = snapshot.summary if reading else None
        pending = self._is_pending(snapshot)
        self._presenter.show(
            frame,
            reading,
            summary,
            note,
            is_current=state.holds_numbers,
            pending=pending,
            newest=snapshot.newest,
            context=_context_of(state),
        )
        self._presenter.set_banner(_banner_of(snapshot.status, self._app_state.on_screen.reading))

    def _is_pending(self, snapshot: LiveSnapshot) -> bool:
        """Whether the first result of this model, scale and word of the operator is on its way."""
        status = snapshot.status
        running = self._app_state.engine() is not None and not status.model_problem
        comes = status.state.holds_numbers or status.state is SignalState.FROZEN
        return running and comes and snapshot.pair is None

    def stop(self) -> bool:
        """Close for good, when the window closes; False when a thread did not end in time."""
        run, self._run = self._run, None
        return run is None or run.stop()


def _context_of(state: SignalState) -> TextContext:
    """How a live picture is said: no aggregate where the input is not live, and no number once it has stopped."""
    if state.holds_numbers:
        return TextContext(is_live=True)
    withheld = _WITHHELD.get(state, f"{str(state).capitalize()}: no current number")
    return TextContext(is_live=True, holds_frame=state is SignalState.FROZEN, withheld=withheld)


def _banner_of(status: LiveStatus, reading: Reading | None) -> Banner | None:
    """What is said large over the picture; None when nothing is to be said."""
    if status.state is SignalState.STALLED:
        return Banner(f"Stalled {status.state_age_s:.1f} s", "The source sends no new pictures", theme.WARNING)
    if status.state in _BANNERS:
        return _BANNERS[status.state]
    if status.model_problem:
        return Banner("The model was taken off", status.model_problem, theme.WARNING, at_top=True)
    return _banner_of_reading(reading)


def _banner_of_reading(reading: Reading | None) -> Banner | None:
    if reading is None or reading.status is Status.MEASURED or reading.carried_s:
        return None
    return Banner(_not_measured(reading), reading.reason if reading.status is Status.REFUSED else "", at_top=True)


def _not_measured(reading: Reading) -> str:
    if reading.status is Status.NOT_VISUALISED:
        return finding_of(reading.finding).absent_banner
    return "Not measured"
