"""What the actions of one window work on: its controllers, by name and type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usviewer.view.app_state import AppState
from usviewer.view.canvas import Canvas
from usviewer.view.late_parts import LateParts
from usviewer.view.live_controller import LiveController
from usviewer.view.notify import Notify
from usviewer.view.panels.side_panel import SidePanel
from usviewer.view.presenter import Presenter
from usviewer.view.source_controller import SourceController
from usviewer.view.window_layout import WindowLayout

if TYPE_CHECKING:  # these are loaded in the background
    from usviewer.view.capture_controller import CaptureController
    from usviewer.view.prompt_controller import PromptController
    from usviewer.view.review_controller import ReviewController
    from usviewer.view.tool_controller import ToolController
    from usviewer.view.tracking_controller import TrackingController


@dataclass(frozen=True, slots=True)
class Controllers:
    """Everything that an action of the window may work on."""

    app_state: AppState
    presenter: Presenter
    canvas: Canvas
    notify: Notify
    live: LiveController
    sources: SourceController
    side_panel: SidePanel
    layout: WindowLayout
    late: LateParts

    @property
    def tools(self) -> ToolController:
        """The hand's tools, once they are loaded."""
        return self.late.needed.tools

    @property
    def capture(self) -> CaptureController:
        """Pictures and recordings, once they are loaded."""
        return self.late.needed.capture

    @property
    def review(self) -> ReviewController:
        """The clip under review, once that is loaded."""
        return self.late.needed.review

    @property
    def prompt(self) -> PromptController:
        """Pointing, once it is loaded."""
        return self.late.needed.prompt

    @property
    def tracking(self) -> TrackingController:
        """Following what was pointed at, once it is loaded."""
        return self.late.needed.tracking
