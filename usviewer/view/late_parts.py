"""Review, the hand's tools, pointing and keeping: their libraries take seconds to load, so they come a little later."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from usviewer.view.app_state import AppState
from usviewer.view.canvas import Canvas
from usviewer.view.live_controller import LiveController
from usviewer.view.notify import Notify
from usviewer.view.presenter import Presenter

if TYPE_CHECKING:  # these are loaded in the background
    from usviewer.view.capture_controller import CaptureController
    from usviewer.view.prompt_controller import PromptController
    from usviewer.view.review_controller import ReviewController
    from usviewer.view.ruler_bar import RulerController
    from usviewer.view.tool_bar import ToolBar
    from usviewer.view.tool_controller import ToolController
    from usviewer.view.tracking_controller import TrackingController

# At the welcome page nothing asks for them; by then the window is drawn and idle.
COMPLETE_AFTER_S = 3.0


@dataclass(frozen=True, slots=True)
class LateControllers:
    """Review, the hand's tools, pointing, and keeping. ``tool_bar`` floats over the canvas."""

    tools: ToolController
    tool_bar: ToolBar
    capture: CaptureController
    review: ReviewController
    ruler: RulerController
    tracking: TrackingController
    prompt: PromptController

    def tick(self) -> None:
        """One turn at the display's rate: first the picture, then what is said of it."""
        if self.review.active:  # the others look at what it has put on the screen
            self.review.tick()
        self.ruler.tick()
        self.prompt.tick()

    def close(self) -> None:
        """End for good; what is being recorded is finished."""
        # In the order of the frames: what is recorded ends last, with all that was shown.
        self.prompt.close()
        self.review.close()
        self.capture.close()


def make_late_controllers(
    app_state: AppState, presenter: Presenter, canvas: Canvas, notify: Notify, live: LiveController
) -> LateControllers:
    """Put them together. Takes seconds where their libraries are not loaded yet."""
    from usviewer.view.capture_controller import CaptureController
    from usviewer.view.pointing import PromptSession
    from usviewer.view.prompt_controller import PromptController
    from usviewer.view.review_controller import ReviewController
    from usviewer.view.ruler_bar import RulerController
    from usviewer.view.tool_bar import ToolBar
    from usviewer.view.tool_controller import ToolController
    from usviewer.view.tracking_controller import TrackingController

    tools = ToolController(app_state, canvas, notify)
    tool_bar = ToolBar(tools, canvas, notify)
    capture = CaptureController(app_state, presenter, notify)
    review = ReviewController(app_state, presenter, notify)
    ruler = RulerController(app_state, presenter, canvas, notify, live, review)
    session = PromptSession()
    tracking = TrackingController(app_state, presenter, notify, live, review, session)
    prompt = PromptController(app_state, presenter, notify, live, review, tools, session, tracking)
    return LateControllers(tools, tool_bar, capture, review, ruler, tracking, prompt)


class LateParts(QObject):
    """Makes the late controllers once: when something asks for them, or after the first overlay stands.

    Until then what is asked of them waits. ``completed`` is told before the first of it is done.
    """

    completed = Signal()

    def __init__(self, app_state: AppState, make: Callable[[], LateControllers], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app_state, self._make = app_state, make
        self._made: LateControllers | None = None
        self._opens: Callable[[LateControllers], None] | None = None  # what is opened then: only the last counts
        self._waits: list[Callable[[], None]] = []  # keys that were pressed meanwhile
        self._loading, self._began_s = False, time.monotonic()

    @property
    def made(self) -> LateControllers | None:
        """The controllers; None while their libraries load."""
        return self._made

    @property
    def needed(self) -> LateControllers:
        """The controllers, for whoever is only asked once they are there."""
        assert self._made is not None
        return self._made

    @property
    def reviewing(self) -> bool:
        """Whether a clip is under review."""
        return self._made is not None and self._made.review.active

    @property
    def waiting(self) -> int:
        """How many keys wait for them."""
        return len(self._waits)

    def tick(self) -> None:
        """Begin to load when something asks for them, or once the first overlay stands, which nothing may delay."""
        if self._made is not None:
            self._made.tick()
            return
        waited_s = time.monotonic() - self._began_s
        shown = self._app_state.on_screen.reading is not None
        if not self._loading and (self._opens or self._waits or shown or waited_s > COMPLETE_AFTER_S):
            self._loading = True
            self._app_state.loads.submit(_import_slow_parts, lambda _: self.complete())

    def complete(self) -> None:
        """Make them now, and do what has waited for them. May be called twice."""
        if self._made is not None:
            return
        self._made = self._make()
        self.completed.emit()
        opens, self._opens = self._opens, None
        waits, self._waits = self._waits, []
        if opens is not None:
            opens(self._made)
        for act in waits:
            act()

    def open(self, act: Callable[[LateControllers], None]) -> None:
        """Open something now, or as soon as they are there, in the place of what was to be opened before."""
        if self._made is not None:
            act(self._made)
        else:
            self._opens = act

    def later(self, act: Callable[[], None]) -> None:
        """Do this as soon as they are there."""
        self._waits.append(act)


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
