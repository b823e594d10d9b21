"""The sheet beside the picture, in which one panel is open at a time: nothing is covered. Esc closes it.

Each panel is a file of this folder: source, model, scale, exam, overlay and keys (settings), performance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from usviewer.view import theme
from usviewer.view.theme import icon
from usviewer.view.widgets import PlainLabel

WIDTH_PX, LEAST_PX = 420, 336


class PanelBase(QWidget):
    """A sheet's content. ``opened`` and ``closed`` begin and end what costs something; ``tick`` follows the picture."""

    title = ""

    def opened(self) -> None:
        """It has become visible."""

    def closed(self) -> None:
        """It is no longer visible."""

    def tick(self) -> None:
        """Called at the display's rate while it is open."""


class SidePanel(QFrame):
    """Makes each panel when it is first asked for."""

    changed = Signal()

    def __init__(self, makers: Mapping[str, Callable[[], PanelBase]], parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("drawer")
        self._makers = dict(makers)
        self._panels: dict[str, PanelBase] = {}
        self.current = ""
        self._title = PlainLabel()
        self._title.setFont(theme.font(theme.TITLE_PX, bold=True))
        close = QPushButton(icon("close"), "")
        close.setProperty("role", "chip")
        close.setMinimumSize(theme.TOUCH_PX, theme.TOUCH_PX)
        close.setAccessibleName("Close the panel")
        close.setToolTip("Close the panel (Esc)")
        close.clicked.connect(lambda _=False: self.close_panel())
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addWidget(close)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(20, 8, 12, 16)
        self._column.setSpacing(theme.GRID_PX)
        self._column.addLayout(head)
        self.setFixedWidth(WIDTH_PX)
        self.hide()

    def fit(self, window_px: int) -> None:
        """Leave the picture its place in a small window."""
        self.setFixedWidth(min(WIDTH_PX, max(LEAST_PX, round(0.28 * window_px))))

    def toggle(self, name: str) -> None:
        """Open this panel, or close it when it is open."""
        if self.current == name:
            self.close_panel()
        else:
            self.open_panel(name)

    def open_panel(self, name: str) -> None:
        """Show this panel in the place of the one that is open."""
        if self.current == name:
            return
        self._put_down()
        panel = self.panel(name)
        self.current = name
        self._title.setText(panel.title)
        self.setAccessibleName(panel.title)
        panel.show()
        self.show()
        self.raise_()
        panel.opened()  # after it is shown: a panel that is hidden shows nothing
        self.changed.emit()

    def close_panel(self) -> None:
        """Close the open panel, if there is one."""
        if self.current:
            self._put_down()
            self.hide()
            self.changed.emit()

    def panel(self, name: str) -> PanelBase:
        """The panel of that name."""
        if name not in self._panels:
            # Only now: a panel brings libraries that the window's start would wait for.
            panel = self._makers[name]()
            panel.hide()
            self._column.addWidget(panel, 1)
            self._panels[name] = panel
        return self._panels[name]

    def tick(self) -> None:
        """Let the open panel follow the picture."""
        if self.current:
            self._panels[self.current].tick()

    def _put_down(self) -> None:
        if self.current:
            panel = self._panels[self.current]
            self.current = ""
            panel.hide()
            panel.closed()
