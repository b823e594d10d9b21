"""Choosing where frames come from: each device shows its picture before it is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout

from usviewer import acquire
from usviewer.frame import Frame
from usviewer.pipeline.live_run import LiveRun
from usviewer.pipeline.signal import SignalState
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Banner, Canvas
from usviewer.view.panels import PanelBase
from usviewer.view.widgets import PlainLabel, button, shown

if TYPE_CHECKING:
    from usviewer.acquire.device.backend import DeviceInfo

PHANTOM = "phantom:?live=1"


@dataclass(frozen=True, slots=True)
class _SourceChoice:
    """One line of the list."""

    uri: str
    name: str
    detail: str


class SourcePanel(PanelBase):
    """The list of what can be opened, and a live picture of the chosen line."""

    title = "Source"

    def __init__(self, app_state: AppState, open_live: Callable[[str], None], ask_file: Callable[[], None]) -> None:
        super().__init__()
        self._app_state, self._open_live = app_state, open_live
        self._preview: LiveRun | None = None
        self._choices: list[_SourceChoice] = []
        self.list = QListWidget()
        self.list.setAccessibleName("Sources")
        self.list.setToolTip("Choose a source to see its picture")
        self.list.currentRowChanged.connect(self._chosen)
        self.list.itemActivated.connect(lambda _item: self.use())
        self.picture = Canvas()
        self.picture.setAccessibleName("Live picture of the chosen source")
        self.picture.setMinimumSize(200, 180)
        self._hint = PlainLabel()
        self._hint.setWordWrap(True)
        self._hint.setProperty("role", "quiet")
        self._use = button("Use this source", "Show this source live", self.use)
        self._use.setProperty("role", "primary")
        again = button("Look again", "Look for devices again", self.look)
        files = button("Open a file…", "Open a clip, a still or a DICOM file (O)", ask_file)
        row = QHBoxLayout()
        for each in (files, again):
            row.addWidget(each)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(theme.GRID_PX)
        column.addWidget(self.list, 2)
        column.addWidget(self.picture, 3)
        column.addWidget(self._hint)
        column.addWidget(self._use)
        column.addLayout(row)

    def opened(self) -> None:
        self.look()

    def closed(self) -> None:
        self._end_preview()

    def look(self) -> None:
        """List what is there; devices are asked in the background."""
        self._fill(())  # the phantom is there at once
        self._app_state.loads.submit(acquire.list_devices, self._fill)

    def use(self) -> None:
        """Show the chosen source."""
        row = self.list.currentRow()
        if 0 <= row < len(self._choices):
            self._end_preview()  # lets the device go, for the live view to open it
            self._open_live(self._choices[row].uri)

    def tick(self) -> None:
        if self._preview is None:
            return
        snapshot = self._preview.snapshot()
        if snapshot.newest is not None:
            self.picture.show_bare(snapshot.newest)
        state = snapshot.status.state
        banner = None
        if state not in (SignalState.LIVE, SignalState.BACK):
            banner = Banner(str(state).capitalize(), snapshot.status.message, at_top=True)
        self.picture.set_banner(banner)

    def _fill(self, devices: tuple[DeviceInfo, ...]) -> None:
        found = [_SourceChoice(device.uri, device.name, device.detail) for device in devices]
        self._choices = [*found, _SourceChoice(PHANTOM, "Phantom", "Simulated aorta of known diameter")]
        self.list.clear()
        for choice in self._choices:
            lines = [line for line in (choice.name, choice.detail) if line]
            self.list.addItem(QListWidgetItem(shown("\n".join(lines))))
        self._hint.clear()
        if not found:
            self._hint.setText("No capture card or camera was found. Plug it in, then look again.")
        self._hint.setVisible(not found)
        self.list.setCurrentRow(0)

    def _chosen(self, row: int) -> None:
        self._end_preview()  # most devices serve one reader at a time
        self._use.setEnabled(0 <= row < len(self._choices))
        if 0 <= row < len(self._choices) and self.isVisible():
            self._preview = LiveRun(partial(acquire.open_source, self._choices[row].uri), _as_it_is)
            self._preview.start()

    def _end_preview(self) -> None:
        run, self._preview = self._preview, None
        self.picture.clear()
        self.picture.set_banner(None)
        if run is not None:  # in the background: a driver may take a second to let go
            self._app_state.loads.submit(run.stop)


def _as_it_is(frame: Frame) -> Frame:
    return frame
