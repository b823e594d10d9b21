"""The window: puts the parts together and decides nothing."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QEvent, QRect, QSize, Qt, QTimer
from PySide6.QtGui import (
    QAction,
    QCloseEvent,
    QDragEnterEvent,
    QDropEvent,
    QKeyEvent,
    QKeySequence,
    QResizeEvent,
    QShowEvent,
)
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QStackedLayout, QVBoxLayout, QWidget

from usviewer.errors import UserError
from usviewer.measure.reading import Reading
from usviewer.overlay.scene import MaskStyle
from usviewer.pipeline.signal import SignalState
from usviewer.settings import Settings
from usviewer.view import theme
from usviewer.view.action import Action, Needs
from usviewer.view.actions import key_of, tooltip_of, with_keys
from usviewer.view.answer import answer_of
from usviewer.view.canvas import Banner
from usviewer.view.desk import Desk
from usviewer.view.icons import icon
from usviewer.view.live import LiveController
from usviewer.view.panels.drawer import Drawer
from usviewer.view.rail import Rail
from usviewer.view.status_line import StatusLine
from usviewer.view.top_line import TopLine
from usviewer.view.welcome import Welcome

TICK_MS = 16
COMPLETE_AFTER_S = 3.0
TOP_BUTTONS = ("open", "mode", "overlay", "performance", "keys", "full_screen")
_TOP_WORDS = {"open": "Open", "mode": "Review"}
_RAIL_WORDS = {"play": "Play"}
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
_MASKS = tuple(MaskStyle)


class MainWindow(QWidget):
    """One window, two modes. Controllers and panels act; the window places them and passes their words on."""

    def __init__(self, settings: Settings, settings_path: Path | None = None) -> None:
        super().__init__()
        self.setWindowTitle("usviewer")
        self.setAcceptDrops(True)
        self.setMinimumSize(960, 600)
        self.desk = Desk(settings, settings_path, self)
        self.live = LiveController(self.desk, self)
        self.review: Any = None
        self.hand: Any = None
        self.keep: Any = None
        self._waits: list[Callable[[], None]] = []
        self._completing, self._began_s = False, time.monotonic()
        self.actions_by_id: dict[str, Action] = with_keys(settings.keys)
        self.full_screen = False
        self._last_live, self._last_clip = "", ""
        self._closing = False
        self._enabled_s = 0.0
        self._has_frame = False
        self._qactions: dict[str, QAction] = {}
        self._buttons: dict[str, list[QPushButton]] = {}
        self.top, self.rail, self.status = TopLine(), Rail(), StatusLine()
        self._build()
        self._make_qactions()
        self._connect()
        self.set_side_panels(settings.side_panels)
        self._show_welcome()
        self._timer = QTimer(self, interval=TICK_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.tick)
        self._timer.start()

    # -- putting together

    def _complete_in_time(self) -> None:
        """Load the slow parts (plots, decoders) beside the window: when they are asked for, or once the first overlay
        stands, which is what everybody waits for.
        """
        waited_s = time.monotonic() - self._began_s
        if self._waits or self.desk.on_screen.reading is not None or waited_s > COMPLETE_AFTER_S:
            self._completing = True
            self.desk.loads.submit(_import_slow_parts, lambda _: self.complete())

    def complete(self) -> None:
        """Add review, the hand's tools and keeping. May be called twice."""
        if self.review is not None:
            return
        from usviewer.view.hand import HandController
        from usviewer.view.keep import KeepController
        from usviewer.view.review import ReviewController

        self.hand = HandController(self.desk)
        self.keep = KeepController(self.desk)
        self.review = ReviewController(self.desk)
        self.review.clips.setObjectName("sidebar")
        self._row.insertWidget(0, self.review.clips)
        self._middle.addWidget(self.review.timeline)
        self.review.changed.connect(self._arrange_sides)
        self._arrange_sides()
        self._enable()
        waits, self._waits = self._waits, []
        for act in waits:
            act()

    def _build(self) -> None:
        self._place = _Place()
        self._place.resized.append(self._arrange)
        self.welcome = Welcome(self.actions_by_id, self.run)
        self._stack = QStackedLayout(self._place)
        self._stack.addWidget(self.welcome)
        self._stack.addWidget(self.desk.canvas)
        self.desk.notify.setParent(self._place)
        self.drawer = Drawer(self._panel_makers(), self)
        self._middle, self._row = QVBoxLayout(), QHBoxLayout()
        self._middle.setSpacing(0)
        self._middle.addWidget(self._place, 1)
        self._row.setSpacing(0)
        self._row.addLayout(self._middle, 1)
        self._row.addWidget(self.drawer)
        self._row.addWidget(self.rail)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.top)
        column.addLayout(self._row, 1)
        column.addWidget(self.status)
        self._fill_rail()
        self._fill_top()
        self._buttons["play"][0].hide()

    def _panel_makers(self) -> dict[str, Callable[[], Any]]:
        def source() -> Any:
            from usviewer.view.panels.source import SourcePanel

            return SourcePanel(self.desk, self.open_live, self.ask_for_file)

        def model() -> Any:
            from usviewer.view.panels.model import ModelPanel

            return ModelPanel(self.desk)

        def scale() -> Any:
            from usviewer.view.panels.scale import ScalePanel

            known = "calibrate" in self.actions_by_id
            return ScalePanel(self.desk, (lambda: self.run("calibrate")) if known else None)

        def overlay() -> Any:
            from usviewer.view.panels.overlay import OverlayPanel

            return OverlayPanel(self.desk)

        def performance() -> Any:
            from usviewer.view.panels.performance import PerformancePanel

            return PerformancePanel(self.desk, lambda: self.live.status)

        def keys() -> Any:
            from usviewer.view.panels.keys import KeysPanel

            return KeysPanel(self.desk, lambda: self.actions_by_id, self._make_qactions)

        return {f.__name__: f for f in (source, model, scale, overlay, performance, keys)}

    def _fill_rail(self) -> None:
        for index, name in ((0, "freeze"), (0, "play"), (1, "caliper"), (2, "save"), (3, "record")):
            button = self._button(name)
            button.setProperty("role", "record" if name == "record" else "rail")
            self.rail.buttons.addWidget(button, index // 2, index % 2)

    def _fill_top(self) -> None:
        for chip, name in ((self.top.source, "source"), (self.top.model, "model"), (self.top.scale, "scale")):
            chip.setToolTip(tooltip_of(self.actions_by_id[name]))
            chip.clicked.connect(lambda _=False, name=name: self.run(name))
        for name in TOP_BUTTONS:
            button = self._button(name, words=False)
            button.setText(_TOP_WORDS.get(name, ""))
            self.top.add_button(button)

    def _button(self, name: str, *, words: bool = True) -> QPushButton:
        action = self.actions_by_id[name]
        button = QPushButton(icon(action.icon), "")
        button.setIconSize(QSize(18, 18))
        button.setCheckable(action.checked is not None)
        button.setAccessibleName(action.text)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setProperty("words", words)
        button.clicked.connect(lambda _=False: self.run(name))
        self._buttons.setdefault(name, []).append(button)
        return button

    def _make_qactions(self) -> None:
        """Shortcuts and button texts from the records; again when the user has changed a key."""
        self.actions_by_id = with_keys(self.desk.settings.keys)
        for qaction in self._qactions.values():
            self.removeAction(qaction)
            qaction.deleteLater()
        self._qactions = {}
        for name, action in self.actions_by_id.items():
            if action.released is None:  # a held key is followed by hand, below
                qaction = QAction(action.text, self)
                qaction.setShortcut(QKeySequence(action.key))
                qaction.setAutoRepeat(name in _REPEATS)
                qaction.triggered.connect(lambda _=False, name=name: self.run(name))
                self.addAction(qaction)
                self._qactions[name] = qaction
            for button in self._buttons.get(name, ()):
                button.setToolTip(tooltip_of(action))
                if button.property("words"):
                    button.setText(f"{_RAIL_WORDS.get(name, action.text)}   {key_of(action)}")

    def _connect(self) -> None:
        desk = self.desk
        desk.shown_changed.connect(self._show_answer)
        desk.engine_changed.connect(self._show_chips)
        desk.scale_changed.connect(self._show_chips)
        desk.notify.changed.connect(self._arrange)
        self.drawer.changed.connect(self._enable)
        self.live.reading_added.connect(self._add_to_trend)
        self.live.withdrawn.connect(self.rail.trend.reset)

    # -- running

    def run(self, name: str) -> None:
        """Do what an action says, if what it needs is there; what goes wrong is said in one place."""
        action = self.actions_by_id[name]
        if not self.possible(action):
            return
        try:
            action.run(self)
        except UserError as error:
            self.desk.notify.report(error)
        self._enable()

    def possible(self, action: Action) -> bool:
        """Whether what the action needs is there."""
        reviewing = self.review is not None and self.review.active
        if self.review is None and action.group in ("Measure", "Keep") and action.id != "freeze":
            return False
        return {
            Needs.NOTHING: True,
            Needs.SOURCE: self.live.active or reviewing,
            Needs.FRAME: self.desk.on_screen.frame is not None,
            Needs.LIVE: self.live.active and self.desk.on_screen.frame is not None,
            Needs.REVIEW: reviewing,
        }[action.needs]

    def tick(self) -> None:
        """One turn at the display's rate."""
        self.desk.tick()
        self.live.tick()
        if self.review is not None and self.review.active:
            self.review.tick()
        self.drawer.tick()
        if self.review is None and not self._completing:
            self._complete_in_time()
        self._show_status()
        now = time.monotonic()
        if now - self._enabled_s > 0.2:
            self._enabled_s = now
            self._enable()
            self._show_chips()

    def _enable(self) -> None:
        for name, action in self.actions_by_id.items():
            possible = self.possible(action)
            if (qaction := self._qactions.get(name)) is not None:
                qaction.setEnabled(possible)
            on = possible and action.checked is not None and action.checked(self)
            for button in self._buttons.get(name, ()):
                button.setEnabled(possible)
                if button.isCheckable():
                    button.setChecked(on)

    # -- what is open

    def open_live(self, uri: str) -> None:
        """Show a live source."""
        self.drawer.close_panel()
        if self.review is not None:
            self.review.close()
        self._last_live = uri
        self._show_picture()
        self.live.open(uri)
        self._keep_session(uri, "live")

    def open_path(self, path: Path) -> None:
        """Open a file or folder under review; a model is added instead."""
        if path.suffix.lower() == ".onnx" or (path / "manifest.toml").is_file():
            self.drawer.open_panel("model")
            self.drawer.panel("model").add(path)  # type: ignore[attr-defined]
            return
        self.drawer.close_panel()
        self._last_clip = str(path)
        self._show_picture()
        self.live.close()
        self.desk.show(None, None, None)
        self._keep_session(str(path), "review")
        if self.review is None:
            self.desk.canvas.set_banner(Banner("Opening", path.name))
            self._waits = [lambda: self._review(path)]
        else:
            self._review(path)

    def _review(self, path: Path) -> None:
        self.review.open(path)
        self._arrange_sides()

    def restore_geometry(self) -> None:
        """The window where it was last."""
        if self.desk.settings.geometry:
            self.restoreGeometry(QByteArray.fromBase64(self.desk.settings.geometry.encode()))

    def restore(self) -> None:
        """What was open last, if it was; the welcome where nothing was."""
        settings = self.desk.settings
        if not settings.source:
            return
        if settings.mode == "live":
            self.open_live(settings.source)
        elif Path(settings.source).exists():
            self.open_path(Path(settings.source))
        else:
            self.desk.notify.warn(f"{Path(settings.source).name} from the last session is no longer there.")

    def close_source(self) -> None:
        """Back to the start."""
        self.live.close()
        if self.review is not None:
            self.review.close()
        self.desk.show(None, None, None)
        self._show_welcome()
        self._keep_session("", "")

    def change_mode(self) -> None:
        """From the live source to the clip, and back."""
        if self.live.active:
            if self._last_clip:
                self.open_path(Path(self._last_clip))
            else:
                self.ask_for_file()
        elif self._last_live:
            self.open_live(self._last_live)
        else:
            self.drawer.open_panel("source")

    def ask_for_file(self) -> None:
        """Let the user choose a file."""
        path, _ = QFileDialog.getOpenFileName(self, "Open a clip, a still or a DICOM file", self._folder())
        if path:
            self.open_path(Path(path))

    def ask_for_folder(self) -> None:
        """Let the user choose a folder."""
        path = QFileDialog.getExistingDirectory(self, "Open a folder of clips or pictures", self._folder())
        if path:
            self.open_path(Path(path))

    def _folder(self) -> str:
        return str(Path(self._last_clip).parent) if self._last_clip else ""

    def _keep_session(self, uri: str, mode: str) -> None:
        self.desk.set_setting("source", uri)
        self.desk.set_setting("mode", mode)

    # -- how it looks

    def _show_welcome(self) -> None:
        self._stack.setCurrentWidget(self.welcome)
        self._arrange_sides()

    def _show_picture(self) -> None:
        self._stack.setCurrentWidget(self.desk.canvas)
        self.desk.canvas.setFocus()
        self._arrange_sides()

    @property
    def welcoming(self) -> bool:
        """True while no source is open."""
        return self._stack.currentWidget() is self.welcome

    def set_side_panels(self, shown: bool) -> None:
        """Show or fold the rail and the timeline."""
        self.desk.set_setting("side_panels", shown)
        self._arrange_sides()

    def set_full_screen(self, on: bool) -> None:
        """Picture and number alone."""
        self.full_screen = on
        if on:
            self.showFullScreen()
        else:
            self.showNormal()
        self._arrange_sides()

    def _arrange_sides(self) -> None:
        shown = self.desk.settings.side_panels and not self.welcoming
        self.rail.setVisible(shown)
        self.top.setVisible(not self.full_screen)
        self.rail.set_buttons_visible(not self.full_screen)
        if self.review is not None:
            reviewing = self.review.active and shown and not self.full_screen
            self._buttons["play"][0].setVisible(self.review.active)
            self._buttons["freeze"][0].setVisible(not self.review.active)
            self.rail.trend.setVisible(not self.review.active)
            self.review.timeline.setVisible(reviewing)
            self.review.clips.setVisible(reviewing)

    def hide_overlay(self, hidden: bool) -> None:
        """The untouched picture, or the overlay again."""
        self.desk.set_style(replace(self.desk.style, hidden=hidden))

    def next_mask(self) -> None:
        """Outline, fill, nothing, outline ..."""
        at = _MASKS.index(self.desk.style.mask)
        self.desk.set_setting("mask", str(_MASKS[(at + 1) % len(_MASKS)]))

    def put_away(self) -> None:
        """The topmost thing that is open."""
        if self.drawer.current:
            self.drawer.close_panel()
        elif self.hand is not None and self.hand.put_away():
            pass
        elif self.desk.notify.current is not None:
            self.desk.notify.dismiss()
        elif self.full_screen:
            self.set_full_screen(False)

    # -- saying

    def _show_answer(self) -> None:
        now, engine = self.desk.on_screen, self.desk.engine()
        if self._has_frame != (now.frame is not None):
            self._has_frame = now.frame is not None
            self._enable()
        over = "the last" if self.live.active else "the clip,"
        if self.review is not None and self.review.snapshot is not None and not self.review.snapshot.complete:
            over = "the clip so far,"
        waiting = "Hold still for a heart beat"
        if self.live.frozen or not self.live.active:
            waiting = "This frame only: less than a heart beat of it was measured"
        self.rail.show_answer(
            answer_of(
                now.reading,
                now.summary,
                holds=now.holds,
                over=over,
                labels=engine.labels if engine else (),
                withdrawn=self._withdrawn(),
                waiting=waiting,
            )
        )

    def _withdrawn(self) -> str:
        """Why there is no number, where the reading itself does not say."""
        desk, status = self.desk, self.live.status
        if self.live.active and status is not None and not status.state.holds_numbers:
            return _WITHDRAWN.get(status.state, f"{str(status.state).capitalize()}: no current number")
        if desk.loading and desk.engine() is None:
            return "The model is loading"
        if desk.engine() is None:
            return desk.engine_problem or "No model: nothing is outlined or measured"
        return "The model is too slow for this source" if desk.on_screen.note else ""

    def _add_to_trend(self, reading: Reading) -> None:
        self.rail.trend.add(reading)

    def _show_status(self) -> None:
        engine, on_screen = self.desk.engine(), self.desk.on_screen
        words = engine.running if engine else "loading the model" if self.desk.loading else "no model"
        age_s = None
        if self.live.active and on_screen.reading is not None and on_screen.frame is not None:
            age_s = time.monotonic() - on_screen.frame.key.capture_time_s
        self.status.show_status(self.live.status if self.live.active else None, words, age_s)

    def _show_chips(self) -> None:
        from usviewer.view.panels.scale import scale_words

        status, engine = self.live.status, self.desk.engine()
        if self.live.active and status is not None:
            name = status.source.name if status.source else self.live.uri
            rate = f" · {status.source_rate:.0f} fps" if status.source_rate else ""
            live = status.state.holds_numbers
            said = f"{name}{rate}" if live else f"{name} · {status.state}"
            self.top.source.say(said, _DOTS.get(status.state, theme.WARNING))
        elif self.review is not None and self.review.active:
            self.top.source.say(Path(self._last_clip).name)
        else:
            self.top.source.say("No source")
        for button in self._buttons["mode"]:
            button.setText("Review" if self.live.active or self.welcoming else "Live")
        label = engine.model_label if engine else "No model"
        self.top.model.say("Model is loading" if self.desk.loading else label, warning=engine is None)
        value, source, good = scale_words(self.desk.on_screen.frame)
        place = source.partition(" · ")[0].removeprefix("From: ")
        self.top.scale.say(f"{value} · {place}" if good else value, warning=not good and not self.welcoming)
        self.top.scale.setVisible(not self.welcoming)

    # -- Qt's own

    def _arrange(self) -> None:
        """Keep what floats over the picture in its place."""
        width, height = self._place.width(), self._place.height()
        wide = max(240, min(760, width - 32))
        tall = max(self.desk.notify.heightForWidth(wide), 56)
        self.desk.notify.setGeometry(QRect((width - wide) // 2, height - tall - 16, wide, tall))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.rail.set_width(min(440, max(theme.RAIL_WIDTH_PX, round(self.width() * 0.215))))
        self._arrange()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._arrange()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._held(event, pressed=True):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if not self._held(event, pressed=False):
            super().keyReleaseEvent(event)

    def _held(self, event: QKeyEvent, *, pressed: bool) -> bool:
        """Follow the keys that work while they are held."""
        key = QKeySequence(event.keyCombination()).toString()
        for action in self.actions_by_id.values():
            if action.released is not None and key and action.key == key:
                if not event.isAutoRepeat():
                    (self.run(action.id) if pressed else action.released(self))
                return True
        return False

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.ActivationChange and not self.isActiveWindow() and self.desk.style.hidden:
            self.hide_overlay(False)  # the key's release went to another window
        super().changeEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self.open_path(paths[0])

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self._closing and getattr(self.keep, "recording", False):
            event.ignore()
            self.desk.notify.ask(
                "A recording is running.",
                {"Finish it and close": self._close_now, "Go on recording": lambda: None},
            )
            return
        self._finish()
        event.accept()

    def _close_now(self) -> None:
        self._closing = True
        self.close()

    def _finish(self) -> None:
        """Stop everything that runs, in the order of the frames; nothing that is being written is lost."""
        self._timer.stop()
        self.drawer.close_panel()
        self.live.stop()
        for controller in (self.review, self.keep):
            if controller is not None:
                controller.close()
        self.desk.set_setting("geometry", bytes(self.saveGeometry().toBase64().data()).decode())
        self.desk.close()


_REPEATS = frozenset({"zoom_in", "zoom_out", "step_back", "step_on", "second_back", "second_on"})


def _import_slow_parts() -> None:
    for name in ("cv2", "av", "pyqtgraph", "usviewer.view.review", "usviewer.view.keep"):
        importlib.import_module(name)


class _Place(QWidget):
    """Where the picture is; tells when its size has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.resized: list[Callable[[], None]] = []

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        for tell in self.resized:
            tell()
