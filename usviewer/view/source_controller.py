"""What is open: a live source or a clip, changed, closed, remembered for the next start."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget

from usviewer.acquire import check_address
from usviewer.errors import UserError
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Banner
from usviewer.view.late_parts import LateParts
from usviewer.view.live_controller import LiveController
from usviewer.view.notify import Notify
from usviewer.view.panels import SidePanel
from usviewer.view.presenter import Presenter
from usviewer.view.window_layout import WindowLayout


class SourceController:
    """Opens and closes for one window. ``add_model`` takes a model's file or folder."""

    def __init__(
        self,
        window: QWidget,
        app_state: AppState,
        presenter: Presenter,
        notify: Notify,
        live: LiveController,
        late: LateParts,
        layout: WindowLayout,
        side_panel: SidePanel,
        add_model: Callable[[Path], None],
    ) -> None:
        self._window, self._app_state, self._presenter, self._notify = window, app_state, presenter, notify
        self._live, self._late, self._layout, self._side_panel = live, late, layout, side_panel
        self._add_model = add_model
        self._last_live, self._last_clip = "", ""  # what the key that changes the mode goes back to

    def open_live(self, uri: str) -> None:
        """Show a live source; an address that can never be opened is said, and nothing changes."""
        try:  # before anything is closed
            check_address(uri)
        except UserError as error:
            self._notify.report(error, key="source")
            return
        self._put_down()
        self._close_review()
        self._last_live = uri
        self._layout.show_picture()
        self._live.open(uri)
        self._remember(uri, "live")

    def open_path(self, path: Path) -> None:
        """Open a file or folder under review; a model is added instead."""
        if path.suffix.lower() == ".onnx" or (path / "manifest.toml").is_file():
            self._add_model(path)
            return
        self._put_down()
        self._last_clip = str(path)
        self._layout.show_picture()
        self._live.close()
        self._presenter.clear()
        self._presenter.set_banner(Banner("Opening", path.name))
        self._remember(str(path), "review")
        self._late.open(lambda late: late.review.open(path))

    def restore(self) -> None:
        """What was open last, if it was; the welcome where nothing was."""
        settings = self._app_state.settings
        if not settings.source:
            return
        if settings.mode == "live":
            self.open_live(settings.source)
        elif os.path.exists(settings.source):  # Path.exists raises for too long a name
            self.open_path(Path(settings.source))
        else:
            self._notify.warn(f"{Path(settings.source).name} from the last session is no longer there.")

    def close(self) -> None:
        """Back to the start."""
        self._put_down()
        self._live.close()
        self._close_review()
        self._presenter.clear()
        self._layout.show_welcome()
        self._remember("", "")

    def change_mode(self) -> None:
        """From the live source to the clip, and back."""
        if self._live.active:
            if self._last_clip:
                self.open_path(Path(self._last_clip))
            else:
                self.ask_for_file()
        elif self._last_live:
            self.open_live(self._last_live)
        else:
            self._side_panel.open_panel("source")

    def ask_for_file(self) -> None:
        """Let the user choose a file."""
        title = "Open a clip, a still or a DICOM file"
        path, _ = QFileDialog.getOpenFileName(self._window, title, self._folder())
        if path:
            self.open_path(Path(path))

    def ask_for_folder(self) -> None:
        """Let the user choose a folder."""
        title = "Open a folder of clips or pictures"
        path = QFileDialog.getExistingDirectory(self._window, title, self._folder())
        if path:
            self.open_path(Path(path))

    def _put_down(self) -> None:
        """Close the open panel, and put away the tool in hand, which was for the picture before."""
        self._side_panel.close_panel()
        if (late := self._late.made) is not None:
            late.tools.cancel_tool()

    def _close_review(self) -> None:
        if (late := self._late.made) is not None:
            late.review.close()

    def _folder(self) -> str:
        if not self._last_clip:
            return ""
        return str(Path(self._last_clip).parent)

    def _remember(self, uri: str, mode: str) -> None:
        self._app_state.set_setting("source", uri)
        self._app_state.set_setting("mode", mode)
