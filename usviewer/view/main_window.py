"""The window: puts the parts together and decides nothing."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QEvent, QRect, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QKeyEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedLayout, QVBoxLayout, QWidget

from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.overlay.scene import MaskStyle
from usviewer.settings import Settings
from usviewer.view import theme
from usviewer.view.action import Action
from usviewer.view.actions import tooltip_of
from usviewer.view.app_state import AppState
from usviewer.view.commands import Commands
from usviewer.view.live_controller import LiveController
from usviewer.view.panels.makers import panel_makers
from usviewer.view.panels.side_panel import SidePanel
from usviewer.view.reading_panel import ReadingPanel
from usviewer.view.source_bar import SourceBar
from usviewer.view.source_controller import SourceController
from usviewer.view.status_line import StatusLine
from usviewer.view.status_texts import StatusTexts
from usviewer.view.welcome import Welcome

TICK_MS = 16
SAY_EVERY_S = 0.2
COMPLETE_AFTER_S = 3.0
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
_MASKS = tuple(MaskStyle)


class MainWindow(QWidget):
    """One window, two modes. Controllers and panels act; the window places them and passes their words on."""

    def __init__(self, settings: Settings, settings_path: Path | None = None) -> None:
        super().__init__()
        self.setWindowTitle("usviewer")
        self.setAcceptDrops(True)
        self.setMinimumSize(960, 600)
        self.desk = AppState(settings, settings_path, self)
        self.live = LiveController(self.desk, self)
        self.review: Any = None
        self.hand: Any = None
        self.keep: Any = None
        self.ruler: Any = None
        self.prompt: Any = None
        self.full_screen = False
        self._opens: Callable[[], None] | None = None  # what is opened once the slow parts are there
        self._waits: list[Callable[[], None]] = []  # keys that were pressed meanwhile
        self._completing, self._began_s = False, time.monotonic()
        self._closing = False
        self._said_s = 0.0
        self._has_frame = False
        self.session, self.commands, self._say = SourceController(self), Commands(self), StatusTexts(self)
        self.top, self.rail, self.status = SourceBar(), ReadingPanel(), StatusLine()
        self._build()
        self.commands.take_keys()
        self._connect()
        self.set_side_panels(settings.side_panels)
        self.show_welcome()
        self._say.chips()
        self._timer = QTimer(self, interval=TICK_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.tick)
        self._timer.start()

    # -- putting together

    def _complete_in_time(self) -> None:
        """Load the slow parts (plots, decoders) beside the window: when they are asked for, or once the first overlay
        stands, which is what everybody waits for.
        """
        waited_s = time.monotonic() - self._began_s
        if self._opens or self._waits or self.desk.on_screen.reading is not None or waited_s > COMPLETE_AFTER_S:
            self._completing = True
            self.desk.loads.submit(_import_slow_parts, lambda _: self.complete())

    def complete(self) -> None:
        """Add review, the hand's tools and keeping. May be called twice."""
        if self.review is not None:
            return
        from usviewer.view.capture_controller import CaptureController
        from usviewer.view.prompt_controller import PromptController
        from usviewer.view.review_controller import ReviewController
        from usviewer.view.ruler_bar import RulerController
        from usviewer.view.tool_controller import ToolController

        self.hand = ToolController(self.desk)
        self.keep = CaptureController(self.desk)
        self.review = ReviewController(self.desk)
        self.ruler = RulerController(self.desk, self.live, lambda: self.review)
        self.prompt = PromptController(self.desk, self.live, self.review, self.hand)
        self._middle.addWidget(self.ruler.bar)
        self._middle.addWidget(self.prompt.bar)
        self.review.clips.setObjectName("sidebar")
        self._row.insertWidget(0, self.review.clips)
        self._middle.addWidget(self.review.timeline)
        self.review.changed.connect(self.arrange_sides)
        self.arrange_sides()
        self.commands.enable()
        opens, self._opens = self._opens, None
        waits, self._waits = self._waits, []
        if opens is not None:
            opens()
        for act in waits:
            self.commands.guarded(act)

    def when_complete(self, act: Callable[[], None]) -> None:
        """Do it now, or as soon as the slow parts are there."""
        if self.review is not None:
            act()
        else:
            self._opens = act

    def do_when_complete(self, action: Action) -> None:
        """A key of the first seconds: what it is about is held now, and done as soon as the slow parts are there."""
        if action.shown is not None:
            act = partial(action.shown, self, self.desk.to_keep())
        else:
            act = partial(action.run, self)
            if action.holds_still and self.live.active and not self.live.frozen:
                self.live.freeze()
        self._waits.append(act)
        self.desk.notify.tell(f"{action.text}: in a moment, the rest of the program is being loaded.", key="loading")

    def _build(self) -> None:
        self._place = _Place()
        self._place.setMinimumSize(theme.PICTURE_LEAST_PX, theme.PICTURE_LOWEST_PX)
        self._place.resized.append(self._arrange)
        self.welcome = Welcome(self.actions_by_id, self.run)
        self._stack = QStackedLayout(self._place)
        self._stack.addWidget(self.welcome)
        self._stack.addWidget(self.desk.canvas)
        self.desk.notify.setParent(self._place)
        self.drawer = SidePanel(panel_makers(self), self)
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

    def _fill_rail(self) -> None:
        for index, name in RAIL_BUTTONS:
            button = self.commands.button(name)
            button.setProperty("role", "record" if name == "record" else "rail")
            self.rail.buttons.addWidget(button, index // 2, index % 2)
        self.commands.buttons["play"][0].hide()

    def _fill_top(self) -> None:
        for chip, name in ((self.top.source, "source"), (self.top.model, "model"), (self.top.scale, "scale")):
            chip.setToolTip(tooltip_of(self.actions_by_id[name]))
            chip.clicked.connect(lambda _=False, name=name: self.run(name))
        for name, text in TOP_BUTTONS.items():
            button = self.commands.button(name, words=False)
            button.setText(text)
            self.top.add_button(button)

    def _connect(self) -> None:
        desk = self.desk
        desk.shown_changed.connect(self._show_answer)
        desk.engine_changed.connect(self._say.chips)
        desk.scale_changed.connect(self._say.chips)
        desk.given_changed.connect(self._say.answer)
        desk.notify.changed.connect(self._arrange)
        self.drawer.changed.connect(self.commands.enable)
        self.drawer.changed.connect(self.arrange_sides)
        self.live.reading_added.connect(self.rail.trend.add)
        self.live.withdrawn.connect(self.rail.trend.reset)

    # -- running

    @property
    def actions_by_id(self) -> dict[str, Action]:
        """Every action with the user's own key."""
        return self.commands.by_id

    def run(self, name: str) -> None:
        """Do what an action says, if what it needs is there."""
        self.commands.run(name)

    def open_live(self, uri: str) -> None:
        """Show a live source."""
        self.session.open_live(uri)

    def open_path(self, path: Path) -> None:
        """Open a file or folder under review; a model is added instead."""
        self.session.open_path(path)

    def findings(self) -> ClipReport:
        """What the frames so far say together: of the live source, or of the clip under review."""
        if self.desk.seen_otherwise:
            return EMPTY_REPORT  # they are of the model's outlines, not of what was pointed at
        if self.live.active:
            return self.live.findings
        snapshot = self.review.snapshot if self.review is not None else None
        return snapshot.findings if snapshot is not None else EMPTY_REPORT

    def go_to_frame(self) -> Callable[[int], None] | None:
        """How a frame of the clip under review is shown; None in the live view."""
        return self.review.go if self.review is not None and self.review.active else None

    def tick(self) -> None:
        """One turn at the display's rate."""
        self.desk.tick()
        self.live.tick()
        if self.review is not None and self.review.active:
            self.review.tick()
        if self.ruler is not None:
            self.ruler.waits = self.prompt.on
            self.ruler.tick()
            self.prompt.tick()
        self.drawer.tick()
        if self.review is None and not self._completing:
            self._complete_in_time()
        self._say.status()
        now = time.monotonic()
        if now - self._said_s > SAY_EVERY_S:
            self._said_s = now
            self.commands.enable()
            self._say.chips()

    def _show_answer(self) -> None:
        if self._has_frame != (self.desk.on_screen.frame is not None):
            self._has_frame = not self._has_frame
            self.commands.enable()
        self._say.answer()
        self._arrange_trend()

    def _arrange_trend(self) -> None:
        """The trend is the model's, live: it does not stand beside an outline that was pointed at."""
        reviewing = self.review is not None and self.review.active
        self.rail.show_trend(not reviewing and not self.desk.seen_otherwise)

    # -- how it looks

    def restore_geometry(self) -> None:
        """The window where it was last."""
        if self.desk.settings.geometry:
            self.restoreGeometry(QByteArray.fromBase64(self.desk.settings.geometry.encode()))

    def show_welcome(self) -> None:
        """The three ways to begin."""
        self._stack.setCurrentWidget(self.welcome)
        self.arrange_sides()

    def show_picture(self) -> None:
        """The place of the picture, which may be still to come."""
        self._stack.setCurrentWidget(self.desk.canvas)
        self.desk.canvas.setFocus()
        self.arrange_sides()
        self.commands.enable()

    @property
    def welcoming(self) -> bool:
        """True while no source is open."""
        return self._stack.currentWidget() is self.welcome

    def set_side_panels(self, shown: bool) -> None:
        """Show or fold the rail and the timeline."""
        self.desk.set_setting("side_panels", shown)
        self.arrange_sides()

    def set_full_screen(self, on: bool) -> None:
        """Picture and number alone."""
        self.full_screen = on
        if on:
            self.showFullScreen()
        else:
            self.showNormal()
        self.arrange_sides()

    def arrange_sides(self) -> None:
        """Show what belongs to the mode, unless it is folded away."""
        shown = self.desk.settings.side_panels and not self.welcoming
        self.rail.setVisible(shown)
        self.top.setVisible(not self.full_screen)
        self.rail.set_buttons_visible(not self.full_screen)
        if self.review is not None:
            reviewing = self.review.active and shown and not self.full_screen
            self.commands.buttons["play"][0].setVisible(self.review.active)
            self.commands.buttons["freeze"][0].setVisible(not self.review.active)
            self._arrange_trend()
            self.review.timeline.setVisible(reviewing)
            self.review.clips.setVisible(reviewing and self._has_room_for_clips())

    def _has_room_for_clips(self) -> bool:
        """In a small window the list of clips gives way to an open panel: nothing is covered."""
        sides_px: int = self.rail.maximumWidth() + self.review.clips.maximumWidth()
        drawer_px = self.drawer.width() if self.drawer.current else 0
        return self.width() - sides_px - drawer_px >= theme.PICTURE_LEAST_PX

    def hide_overlay(self, hidden: bool) -> None:
        """The untouched picture, or the overlay again."""
        self.desk.set_style(replace(self.desk.style, hidden=hidden))

    def next_mask(self) -> None:
        """Outline, fill, nothing, outline ..."""
        at = _MASKS.index(self.desk.style.mask)
        self.desk.set_setting("mask", str(_MASKS[(at + 1) % len(_MASKS)]))

    def cancel_tool(self) -> None:
        """The topmost thing that is open."""
        if self.drawer.current:
            self.drawer.close_panel()
        elif self.hand is not None and self.hand.cancel_tool():
            pass
        elif self.desk.notify.current is not None:
            self.desk.notify.dismiss()
        elif self.full_screen:
            self.set_full_screen(False)
        elif self.prompt is not None and self.prompt.on:
            self.prompt.toggle()

    def _arrange(self) -> None:
        """Keep what floats over the picture in its place."""
        width, height = self._place.width(), self._place.height()
        wide = max(240, min(760, width - 32))
        tall = max(self.desk.notify.heightForWidth(wide), 56)
        self.desk.notify.setGeometry(QRect((width - wide) // 2, height - tall - 16, wide, tall))

    # -- Qt's own

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.drawer.fit(self.width())
        self.rail.set_width(min(440, max(theme.RAIL_WIDTH_PX, round(self.width() * 0.215))))
        self.arrange_sides()
        self._arrange()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._arrange()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self.commands.held(event, pressed=True):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if not self.commands.held(event, pressed=False):
            super().keyReleaseEvent(event)

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
        for controller in (self.prompt, self.review, self.keep):
            if controller is not None:
                controller.close()
        self.desk.set_setting("geometry", bytes(self.saveGeometry().toBase64().data()).decode())
        self.desk.close()


def _import_slow_parts() -> None:
    for name in (
        "cv2",
        "av",
        "pyqtgraph",
        "usviewer.view.review_controller",
        "usviewer.view.capture_controller",
        "usviewer.view.prompt_controller",
    ):
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
