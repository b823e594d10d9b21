"""The window: puts the parts together and decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QByteArray, QEvent, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QKeyEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QWidget

from usviewer.settings import Settings
from usviewer.view.actions import Controllers, tooltip_of, usable_keys, with_keys
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Canvas
from usviewer.view.commands import Commands, Welcome
from usviewer.view.late_parts import LateParts, make_late_controllers
from usviewer.view.live_controller import LiveController
from usviewer.view.notify import Notify
from usviewer.view.panels import PanelBase, SidePanel
from usviewer.view.presenter import Presenter
from usviewer.view.reading_panel import ReadingPanel
from usviewer.view.source_controller import SourceController
from usviewer.view.window_bars import SourceBar, StatusLine, StatusTexts
from usviewer.view.window_layout import WindowLayout

TICK_MS = 16  # 60 a second, as most displays
SAY_EVERY_S = 0.2  # words that change faster cannot be read
TOP_BUTTONS = {
    "open": "Open",
    "mode": "Review",
    "exam": "Exam",
    "point": "Point",
    "overlay": "",
    "performance": "",
    "keys": "",
    "full_screen": "",
}
RAIL_BUTTONS = ((0, "freeze"), (0, "play"), (1, "caliper"), (2, "save"), (3, "record"))


class MainWindow(QWidget):
    """One window, two modes. Controllers and panels act; the window places them and passes their words on."""

    def __init__(self, settings: Settings, settings_path: Path | None = None) -> None:
        super().__init__()
        self.setWindowTitle("usviewer")
        self.setAcceptDrops(True)
        self.setMinimumSize(960, 600)
        self._closing = self._has_frame = False
        self._said_s = 0.0
        app_state, canvas, notify = AppState(settings, settings_path, self), Canvas(), Notify()
        presenter = Presenter(app_state, canvas, self)
        live = LiveController(app_state, presenter, notify, self)
        late = LateParts(app_state, partial(make_late_controllers, app_state, presenter, canvas, notify, live), self)
        bar, readings, line = SourceBar(), ReadingPanel(), StatusLine()
        panel = SidePanel(self._panel_makers(), self)
        self.welcome = Welcome(with_keys(usable_keys(settings.keys)[0]), self.run)
        layout = WindowLayout(self, app_state, canvas, notify, self.welcome, bar, panel, readings, line)
        sources = SourceController(self, app_state, presenter, notify, live, late, layout, panel, self._add_model)
        controllers = Controllers(app_state, presenter, canvas, notify, live, sources, panel, layout, late)
        self.app_state, self.canvas, self.notify, self.presenter = app_state, canvas, notify, presenter
        self.live, self.late, self.sources = live, late, sources
        self.source_bar, self.readings, self.side_panel, self.window_layout = bar, readings, panel, layout
        self.commands = Commands(self, controllers)
        self._fill_rail()
        self._fill_top()
        mode_buttons = self.commands.buttons["mode"]
        self._texts = StatusTexts(app_state, presenter, live, late, readings, bar, line, mode_buttons)
        self.commands.take_keys()
        self._connect()
        layout.show_welcome()
        self._say_chips()
        self._timer = QTimer(self, interval=TICK_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.tick)
        self._timer.start()

    # -- putting together

    def _fill_rail(self) -> None:
        for index, name in RAIL_BUTTONS:
            button = self.commands.button(name)
            button.setProperty("role", "rail")
            if name == "record":  # red while it runs
                button.setProperty("role", "record")
            self.readings.buttons.addWidget(button, index // 2, index % 2)
            if name == "play":
                button.hide()

    def _fill_top(self) -> None:
        bar = self.source_bar
        for chip, name in ((bar.source, "source"), (bar.model, "model"), (bar.scale, "scale")):
            chip.setToolTip(tooltip_of(self.commands.by_id[name]))
            chip.clicked.connect(lambda _=False, name=name: self.run(name))
        for name, text in TOP_BUTTONS.items():
            button = self.commands.button(name, words=False)
            button.setText(text)
            bar.add_button(button)

    def _connect(self) -> None:
        app_state, notify = self.app_state, self.notify
        app_state.failed.connect(lambda error, key: notify.report(error, key=key))
        app_state.noticed.connect(lambda text, key: notify.warn(text, key=key))
        app_state.mended.connect(notify.withdraw)
        app_state.shown_changed.connect(self._show_answer)
        app_state.engine_changed.connect(self._say_chips)
        app_state.scale_changed.connect(self._say_chips)
        app_state.given_changed.connect(self._texts.answer)
        self.side_panel.changed.connect(self.commands.enable)
        self.window_layout.arranged.connect(self._show_mode)
        self.window_layout.picture_shown.connect(self.commands.enable)
        self.late.completed.connect(self._add_late_parts)
        self.live.reading_added.connect(self.readings.trend.add)
        self.live.withdrawn.connect(self.readings.trend.reset)

    def _add_late_parts(self) -> None:
        """Give review, the ruler and pointing their places."""
        late = self.late.needed
        for strip in (late.ruler.bar, late.prompt.bar):
            self.window_layout.add_strip(strip)
        self.window_layout.add_review(late.review.clips, late.review.timeline)
        late.review.changed.connect(lambda: self.window_layout.set_reviewing(self.late.reviewing))
        self.window_layout.arrange()
        self.commands.enable()

    def complete(self) -> None:
        """Add review, the hand's tools, pointing and keeping now. May be called twice."""
        self.late.complete()

    # -- the panels, made when they are first asked for

    def _panel_makers(self) -> dict[str, Callable[[], PanelBase]]:
        return {
            "source": self._source_panel,
            "model": self._model_panel,
            "scale": self._scale_panel,
            "exam": self._exam_panel,
            "overlay": self._overlay_panel,
            "performance": self._performance_panel,
            "keys": self._keys_panel,
        }

    def _source_panel(self) -> PanelBase:
        from usviewer.view.panels.source_panel import SourcePanel

        return SourcePanel(self.app_state, self.open_live, self.sources.ask_for_file)

    def _model_panel(self) -> PanelBase:
        from usviewer.view.panels.model_panel import ModelPanel

        return ModelPanel(self.app_state, self.notify)

    def _scale_panel(self) -> PanelBase:
        from usviewer.view.panels.scale_panel import ScalePanel

        return ScalePanel(self.app_state, self.notify, partial(self.run, "calibrate"))

    def _exam_panel(self) -> PanelBase:
        from usviewer.view.panels.exam_panel import ExamPanel

        return ExamPanel(self.app_state, self.notify, self.presenter.report, self._go_to_frame)

    def _overlay_panel(self) -> PanelBase:
        from usviewer.view.panels.settings_panels import OverlayPanel

        return OverlayPanel(self.app_state)

    def _performance_panel(self) -> PanelBase:
        from usviewer.view.panels.performance_panel import PerformancePanel

        return PerformancePanel(self.app_state, self.notify, lambda: self.live.status)

    def _keys_panel(self) -> PanelBase:
        from usviewer.view.panels.settings_panels import KeysPanel

        return KeysPanel(self.app_state, self.notify, lambda: self.commands.by_id, self.commands.take_keys)

    def _go_to_frame(self) -> Callable[[int], None] | None:
        """How a frame of the clip under review is shown; None in the live view."""
        if not self.late.reviewing:
            return None
        return self.late.needed.review.go

    def _add_model(self, path: Path) -> None:
        """Add a model that was opened or dropped, in its panel."""
        from usviewer.view.panels.model_panel import ModelPanel

        self.side_panel.open_panel("model")
        panel = self.side_panel.panel("model")
        assert isinstance(panel, ModelPanel)
        panel.add(path)

    # -- running

    def run(self, name: str) -> None:
        """Do what an action says, if what it needs is there."""
        self.commands.run(name)

    def open_live(self, uri: str) -> None:
        """Show a live source."""
        self.sources.open_live(uri)

    def open_path(self, path: Path) -> None:
        """Open a file or folder under review; a model is added instead."""
        self.sources.open_path(path)

    @property
    def welcoming(self) -> bool:
        """True while no source is open."""
        return self.window_layout.welcoming

    def tick(self) -> None:
        """One turn at the display's rate."""
        self.app_state.tick()
        self.live.tick()
        self.late.tick()
        self.side_panel.tick()
        self._texts.status()
        now = time.monotonic()
        if now - self._said_s > SAY_EVERY_S:
            self._said_s = now
            self.commands.enable()
            self._say_chips()

    def _say_chips(self) -> None:
        self._texts.chips(welcoming=self.welcoming)

    def _show_answer(self) -> None:
        if self._has_frame != (self.app_state.on_screen.frame is not None):
            self._has_frame = not self._has_frame
            self.commands.enable()
        self._texts.answer()
        self._show_trend(self.late.reviewing)

    def _show_mode(self, reviewing: bool) -> None:
        """Play belongs to a clip, freeze to a live source; they share a place."""
        self.commands.buttons["play"][0].setVisible(reviewing)
        self.commands.buttons["freeze"][0].setVisible(not reviewing)
        self._show_trend(reviewing)

    def _show_trend(self, reviewing: bool) -> None:
        """The trend is the model's, live: it does not stand beside an outline that was pointed at."""
        self.readings.show_trend(not reviewing and not self.presenter.shows_annotation)

    # -- Qt's own

    def restore_geometry(self) -> None:
        """The window where it was last."""
        if self.app_state.settings.geometry:
            self.restoreGeometry(QByteArray.fromBase64(self.app_state.settings.geometry.encode()))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.window_layout.fit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.window_layout.place_message()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self.commands.held(event, pressed=True):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if not self.commands.held(event, pressed=False):
            super().keyReleaseEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.ActivationChange and not self.isActiveWindow() and self.app_state.style.hidden:
            self.app_state.hide_overlay(False)  # the key's release went to another window
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
        late = self.late.made
        if not self._closing and late is not None and late.capture.recording:
            event.ignore()
            answers = {"Finish it and close": self.close_now, "Go on recording": lambda: None}
            self.notify.ask("A recording is running.", answers)
            return
        self._finish()
        event.accept()

    def close_now(self) -> None:
        """Close without a question: a recording that runs is finished."""
        self._closing = True
        self.close()

    def _finish(self) -> None:
        """Stop everything that runs, in the order of the frames; nothing that is being written is lost."""
        self._timer.stop()  # first: a turn must not meet what has ended
        self.side_panel.close_panel()
        self.live.stop()
        if (late := self.late.made) is not None:
            late.close()
        self.app_state.set_setting("geometry", bytes(self.saveGeometry().toBase64().data()).decode())
        self.app_state.close()
