"""The first start: three ways to begin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from usviewer.view import theme
from usviewer.view.actions import Action, tooltip_of
from usviewer.view.theme import icon
from usviewer.view.widgets import PlainLabel

# The quickest way first: it needs neither a file nor a device.
_CARDS = (
    ("demo", "Watch the demonstration", "A simulated abdominal aorta of known diameter, segmented and measured live."),
    ("open", "Open a clip or DICOM", "Recorded clips, stills, folders and DICOM files. Or drop them on this window."),
    ("source", "Connect a scanner", "A capture card or a camera that shows the scanner's screen."),
)


class Welcome(QWidget):
    """Shown while no source is open."""

    def __init__(self, actions: dict[str, Action], run: Callable[[str], None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Welcome")
        column = QVBoxLayout(self)
        column.setContentsMargins(32, 24, 32, 24)
        column.addStretch(2)
        title = PlainLabel("usviewer")
        title.setFont(theme.font(40, bold=True))
        title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        claim = PlainLabel("Live ultrasound: outline, diameter, and where the millimetres come from")
        claim.setFont(theme.font(theme.TITLE_PX - 4))
        claim.setProperty("role", "quiet")
        claim.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        claim.setWordWrap(True)
        column.addWidget(title)
        column.addSpacing(4)
        column.addWidget(claim)
        column.addSpacing(32)
        column.addLayout(self._cards(actions, run))
        column.addSpacing(24)
        keys = PlainLabel("F1 shows every key")
        keys.setProperty("role", "quiet")
        keys.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(keys)
        column.addStretch(3)

    def _cards(self, actions: dict[str, Action], run: Callable[[str], None]) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(24)
        row.addStretch(1)
        for action_id, title, text in _CARDS:
            card = _Card(icon(actions[action_id].icon), title, text, tooltip_of(actions[action_id]))
            card.clicked.connect(partial(self._chosen, run, action_id))
            row.addWidget(card, 8)
        row.addStretch(1)
        return row

    def _chosen(self, run: Callable[[str], None], action_id: str, _checked: bool = False) -> None:
        run(action_id)


class _Card(QPushButton):
    """A button as large as a card: icon, title, sentence."""

    def __init__(self, picture: QIcon, title: str, text: str, tooltip: str) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName(title)
        self.setAccessibleDescription(text)
        self.setToolTip(tooltip)
        self.setMinimumSize(220, 210)
        self.setMaximumSize(380, 260)
        grid = QGridLayout(self)
        grid.setContentsMargins(24, 24, 24, 24)
        symbol, heading, body = PlainLabel(), PlainLabel(title), PlainLabel(text)
        symbol.setPixmap(picture.pixmap(QSize(36, 36)))
        heading.setFont(theme.font(theme.TITLE_PX - 2, bold=True))
        heading.setWordWrap(True)
        body.setWordWrap(True)
        body.setProperty("role", "quiet")
        for row, label in enumerate((symbol, heading, body)):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            grid.addWidget(label, row, 0)
        grid.setRowStretch(2, 1)
        body.setAlignment(Qt.AlignmentFlag.AlignTop)
