"""Small parts that the panels share."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton

from usviewer.view import theme


def button(text: str, tooltip: str, act: Callable[[], None]) -> QPushButton:
    """A button of full touch size with its name and tooltip."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    made.setAccessibleName(text)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.clicked.connect(lambda _=False: act())
    return made


def words(text: str = "", *, quiet: bool = False, size_px: int = theme.TEXT_PX, bold: bool = False) -> QLabel:
    """Text that wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setFont(theme.font(size_px, bold=bold))
    if quiet:
        label.setProperty("role", "quiet")
    return label
