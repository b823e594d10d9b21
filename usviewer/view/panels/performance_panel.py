"""How long the stages take, and every message so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QHeaderView, QListWidget, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout

from usviewer.logs import log_path
from usviewer.pipeline.live_run import LiveStatus, Percentiles
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.notify import Notify
from usviewer.view.panels import PanelBase
from usviewer.view.widgets import shown, words

_EVERY_S = 0.5  # figures that change faster cannot be read
_COLUMNS = ("stage, ms", "p50", "p95", "p99", "max")
# As a frame passes through them; others follow.
_ORDER = ("calibrate", "preprocess", "infer", "decode", "latency")
_NAMES = {"latency": "to overlay"}


class PerformancePanel(PanelBase):
    """A table of the stages, the rates in words, the messages below."""

    title = "Performance"

    def __init__(self, app_state: AppState, notify: Notify, status: Callable[[], LiveStatus | None]) -> None:
        super().__init__()
        self._app_state, self._notify, self._status = app_state, notify, status
        self._shown_s = 0.0
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setAccessibleName("Times of the stages")
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        header = self.table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if (first := self.table.horizontalHeaderItem(0)) is not None:
            first.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in range(1, len(_COLUMNS)):
            self.table.setColumnWidth(column, 50)
        self.facts = words(quiet=True)
        self.choice = words(quiet=True)
        self.choice.setAccessibleName("Choice of the engine")
        self.messages = QListWidget()
        self.messages.setAccessibleName("Messages so far")
        self.messages.setWordWrap(True)
        self.log_folder = button = QPushButton("Show log folder")
        button.setToolTip("Open the folder of the log and of the reports of errors; they name no patient")
        button.clicked.connect(lambda _checked=False: _show_log_folder(notify))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 8, 0)
        layout.setSpacing(theme.GRID_PX)
        layout.addWidget(self.table, 3)
        layout.addWidget(self.facts)
        layout.addWidget(self.choice)
        layout.addWidget(words("Messages", bold=True))
        layout.addWidget(self.messages, 2)
        layout.addWidget(self.log_folder)
        notify.changed.connect(self._show_messages)

    def opened(self) -> None:
        self._shown_s = 0.0
        self._show_messages()
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._shown_s < _EVERY_S:  # called at the display's rate
            return
        self._shown_s = now
        status = self._status()
        stages: Mapping[str, Percentiles] = {}
        if status is not None:
            stages = status.stages_ms
        names = [name for name in _ORDER if name in stages] + [name for name in stages if name not in _ORDER]
        self.table.setRowCount(len(names))
        for row, name in enumerate(names):
            times = stages[name]
            for column, text in enumerate(
                (_NAMES.get(name, name), *(f"{t:.1f}" for t in (times.p50, times.p95, times.p99, times.maximum)))
            ):
                self._set(row, column, text)
        self.facts.setText(_facts(status))
        engine, choice = self._app_state.engine(), ""
        if engine is not None:
            choice = "\n".join(engine.chosen)
        self.choice.setText(choice)
        self.choice.setVisible(bool(choice))

    def _set(self, row: int, column: int, text: str) -> None:
        item = self.table.item(row, column)
        if item is None:
            item = QTableWidgetItem()
            if column:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(row, column, item)
        item.setText(text)

    def _show_messages(self) -> None:
        if self.isVisible():
            self.messages.clear()
            self.messages.addItems([shown(message.text) for message in reversed(self._notify.history)])


def _show_log_folder(notify: Notify) -> None:
    """The desktop's file manager shows it; where there is none, its path is said."""
    folder = log_path().parent
    if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))):
        notify.tell(f"The log is in {folder}", key="log")


def _facts(status: LiveStatus | None) -> str:
    if status is None:
        return "No live source."
    size = "connecting"
    if (source := status.source) is not None:
        size = f"{source.name}, {source.width_px} x {source.height_px}"
    return (
        f"{size}\n{status.source_rate:.1f} pictures and {status.result_rate:.1f} results a second\n"
        f"{status.captured} captured, {status.dropped} dropped (a newer one replaced them)\n"
        f"{status.model_label} · engine asked for: {status.engine_requested or 'none'}\n"
        f"engine that runs: {status.engine_running or 'none'}"
    )
