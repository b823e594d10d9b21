"""What is open: a live source or a clip, changed, closed, remembered for the next start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFileDialog

from usviewer.acquire import check_address
from usviewer.errors import UserError
from usviewer.view.canvas import Banner

if TYPE_CHECKING:
    from usviewer.view.main_window import MainWindow


class SourceController:
    """Opens and closes for one window."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._last_live, self._last_clip = "", ""

    def open_live(self, uri: str) -> None:
        """Show a live source; an address that can never be opened is said, and nothing changes."""
        window = self._window
        try:
            check_address(uri)
        except UserError as error:
            window.desk.notify.report(error, key="source")
            return
        self._put_down()
        if window.review is not None:
            window.review.close()
        self._last_live = uri
        window.show_picture()
        window.live.open(uri)
        self._remember(uri, "live")

    def open_path(self, path: Path) -> None:
        """Open a file or folder under review; a model is added instead."""
        window = self._window
        if path.suffix.lower() == ".onnx" or (path / "manifest.toml").is_file():
            window.drawer.open_panel("model")
            window.drawer.panel("model").add(path)  # type: ignore[attr-defined]
            return
        self._put_down()
        self._last_clip = str(path)
        window.show_picture()
        window.live.close()
        window.desk.show(None, None, None)
        window.desk.canvas.set_banner(Banner("Opening", path.name))
        self._remember(str(path), "review")
        window.when_complete(lambda: self._review(path))

    def _review(self, path: Path) -> None:
        self._window.review.open(path)
        self._window.arrange_sides()

    def restore(self) -> None:
        """What was open last, if it was; the welcome where nothing was."""
        settings = self._window.desk.settings
        if not settings.source:
            return
        if settings.mode == "live":
            self.open_live(settings.source)
        elif os.path.exists(settings.source):  # Path.exists raises for too long a name
            self.open_path(Path(settings.source))
        else:
            self._window.desk.notify.warn(f"{Path(settings.source).name} from the last session is no longer there.")

    def close(self) -> None:
        """Back to the start."""
        window = self._window
        self._put_down()
        window.live.close()
        if window.review is not None:
            window.review.close()
        window.desk.show(None, None, None)
        window.show_welcome()
        self._remember("", "")

    def change_mode(self) -> None:
        """From the live source to the clip, and back."""
        if self._window.live.active:
            if self._last_clip:
                self.open_path(Path(self._last_clip))
            else:
                self.ask_for_file()
        elif self._last_live:
            self.open_live(self._last_live)
        else:
            self._window.drawer.open_panel("source")

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
        """The open panel has done its work; the tool in hand was for the picture before."""
        self._window.drawer.close_panel()
        if self._window.hand is not None:
            self._window.hand.cancel_tool()

    def _folder(self) -> str:
        return str(Path(self._last_clip).parent) if self._last_clip else ""

    def _remember(self, uri: str, mode: str) -> None:
        self._window.desk.set_setting("source", uri)
        self._window.desk.set_setting("mode", mode)
