"""The state of the window with its controllers, and a hand that works on the canvas, without the window round them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtTest import QTest

from tests.helpers.fakes import FakeEngine
from usviewer.settings import Settings
from usviewer.units import Point
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Canvas
from usviewer.view.capture_controller import CaptureController
from usviewer.view.notify import Notify
from usviewer.view.presenter import Presenter
from usviewer.view.review_controller import ReviewController
from usviewer.view.tool_bar import ToolBar
from usviewer.view.tool_controller import ToolController

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


class Workbench:
    """Everything of review but the window; ``until`` turns the wheel that the window's timer turns."""

    def __init__(self, qtbot: Any, folder: Path, engine: FakeEngine | None = None) -> None:
        self.qtbot = qtbot
        self.kept = folder / "kept"
        self.app_state = AppState(Settings(save_folder=str(self.kept)), folder / "settings.json")
        self.canvas, self.notify = Canvas(), Notify()
        self.presenter = Presenter(self.app_state, self.canvas)
        self.app_state.failed.connect(lambda error, key: self.notify.report(error, key=key))
        self.canvas.resize(960, 720)
        self.hand = ToolController(self.app_state, self.canvas, self.notify)
        self.tool_bar = ToolBar(self.hand, self.canvas, self.notify)
        self.keep = CaptureController(self.app_state, self.presenter, self.notify)
        self.review = ReviewController(self.app_state, self.presenter, self.notify)
        for widget in (self.canvas, self.notify, self.review.timeline, self.review.clips):
            qtbot.addWidget(widget)
        self.review.timeline.resize(960, 150)
        self.canvas.show()
        if engine is not None:
            self.app_state.set_engine(engine.engine())

    def turn(self) -> None:
        self.app_state.tick()
        self.review.tick()

    def until(self, condition: Callable[[], Any], timeout_ms: int = 15_000) -> None:
        def turned() -> bool:
            self.turn()
            return bool(condition())

        self.qtbot.waitUntil(turned, timeout=timeout_ms)

    def open(self, path: Path) -> None:
        """Open and wait until all is analysed and a picture is shown (kept results are there before it)."""
        self.review.open(path)
        self.until(lambda: self.is_done() and self.app_state.on_screen.frame is not None)

    def is_done(self) -> bool:
        now = self.review.snapshot
        return now is not None and now.complete and now.curve is not None and bool(now.curve.analysed.all())

    @property
    def index(self) -> int:
        frame = self.app_state.on_screen.frame
        return -1 if frame is None else frame.key.index

    @property
    def said(self) -> str:
        return self.notify.current.text if self.notify.current else ""

    def close(self) -> None:
        self.review.close()
        assert self.keep.close()
        assert self.app_state.close()

    # -- the hand

    def screen(self, at: Point) -> QPoint:
        mapped = self.canvas.image_to_screen().map(QPointF(*at))
        return QPoint(round(mapped.x()), round(mapped.y()))

    def drag(self, start: Point, end: Point, button: Qt.MouseButton = LEFT) -> None:
        """Press, move in three steps, release; positions are of the image."""
        QTest.mousePress(self.canvas, button, Qt.KeyboardModifier.NoModifier, self.screen(start))
        for step in (1, 2, 3):
            at = (start[0] + (end[0] - start[0]) * step / 3, start[1] + (end[1] - start[1]) * step / 3)
            self.canvas.mouseMoveEvent(_moved(self.screen(at), button))
        QTest.mouseRelease(self.canvas, button, Qt.KeyboardModifier.NoModifier, self.screen(end))

    def click(self, at: Point, button: Qt.MouseButton = LEFT) -> None:
        QTest.mouseClick(self.canvas, button, Qt.KeyboardModifier.NoModifier, self.screen(at))


def _moved(at: QPoint, button: Qt.MouseButton) -> Any:
    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QMouseEvent

    none = Qt.MouseButton.NoButton
    return QMouseEvent(QEvent.Type.MouseMove, QPointF(at), QPointF(at), none, button, Qt.KeyboardModifier.NoModifier)
