"""The one way to tell the user anything: one strip at the foot of the picture, one sentence at a time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from usviewer.errors import UserError
from usviewer.logs import report_of
from usviewer.view import theme
from usviewer.view.widgets import PlainLabel, caption, tip

KEPT = 50  # messages for the list; a fault that repeats must not fill the memory
_log = logging.getLogger(__name__)
# 0: until it is put away.
_STAYS_MS = {"info": 5_000, "warning": 12_000, "error": 0}


class Level(StrEnum):
    """How much it matters; an error stays until it is put away."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence. A later message of the same ``key`` takes its place; ``answers`` are buttons with what they do."""

    text: str
    level: Level = Level.INFO
    key: str = ""
    details: str = ""
    answers: Mapping[str, Callable[[], None]] = field(default_factory=dict)


class Notify(QFrame):
    """Shows the newest message; the earlier ones are kept for the list of messages."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("notify")
        self.setAccessibleName("Message")
        self._waiting: deque[Message] = deque()
        self._shown: Message | None = None
        self.history: deque[Message] = deque(maxlen=KEPT)
        self._hide_later = QTimer(self, singleShot=True)
        self._hide_later.timeout.connect(self.dismiss)
        self._text = PlainLabel()
        self._text.setWordWrap(True)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._buttons = QHBoxLayout()
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 6, 8, 6)
        row.setSpacing(theme.GRID_PX)
        row.addWidget(self._text, 1)
        row.addLayout(self._buttons)
        self.hide()

    # -- saying

    def tell(self, text: str, *, key: str = "", level: Level = Level.INFO, details: str = "") -> None:
        """Say one sentence."""
        self._say(Message(text, level, key or text, details))

    def warn(self, text: str, *, key: str = "") -> None:
        """Say one sentence that matters."""
        self.tell(text, key=key, level=Level.WARNING)

    def report(self, error: BaseException, *, key: str = "") -> None:
        """Say what went wrong: a ``UserError`` in its own words, a bug as one, with its report a click away."""
        if isinstance(error, UserError):
            _log.warning("shown: %s", error)
            self._say(Message(str(error), Level.ERROR, key or str(error)))
            return
        _log.error("shown: an error in the program", exc_info=error)
        text = f"An error in the program ({type(error).__name__}): please report it. The window goes on."
        self._say(Message(text, Level.ERROR, key or text, report_of(error)))

    def ask(self, text: str, answers: Mapping[str, Callable[[], None]], *, key: str = "question") -> None:
        """Ask once; each answer is a button, and one that does nothing puts the question away."""
        self._say(Message(text, Level.WARNING, key, answers=answers))

    def withdraw(self, key: str) -> None:
        """What was said under this key no longer holds."""
        self._waiting = deque(message for message in self._waiting if message.key != key)
        if self._shown is not None and self._shown.key == key:
            self.dismiss()

    @property
    def current(self) -> Message | None:
        """The message on the screen."""
        return self._shown

    def dismiss(self) -> None:
        """Put the message away; an earlier one that still matters comes back."""
        self._hide_later.stop()
        self._shown = None
        if self._waiting:
            self._show(self._waiting.pop())  # the newest of those that wait
        else:
            self.hide()
            self.changed.emit()

    # -- showing

    def _say(self, message: Message) -> None:
        repeated = self._shown is not None and self._shown.key == message.key
        self._waiting = deque(waiting for waiting in self._waiting if waiting.key != message.key)
        if not repeated:
            self.history.append(message)
            # What merely informs is out of date once something else is said.
            if self._shown is not None and self._shown.level is not Level.INFO:
                self._waiting.append(self._shown)
        self._show(message)

    def _show(self, message: Message) -> None:
        self._shown = message
        self._text.setText(message.text)
        self.setAccessibleDescription(message.text)
        self.setProperty("level", str(message.level))
        # Qt reads a property in a style sheet again only when told to.
        self.style().unpolish(self)
        self.style().polish(self)
        self._fill_buttons(message)
        stays_ms = _STAYS_MS[message.level]
        if message.answers:  # a question waits for its answer
            stays_ms = 0
        self._hide_later.stop()
        if stays_ms:
            self._hide_later.start(stays_ms)
        self.show()
        self.raise_()
        self.changed.emit()

    def _fill_buttons(self, message: Message) -> None:
        while (item := self._buttons.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for words, act in message.answers.items():
            self._button(words, partial(self._answer, act))
        if message.details:
            self._button("Copy details", lambda: QGuiApplication.clipboard().setText(message.details))
        if not message.answers:
            self._button("✕", self.dismiss, "Put this message away")

    def _answer(self, act: Callable[[], None]) -> None:
        self.dismiss()
        act()

    def _button(self, words: str, act: Callable[[], None], name: str = "") -> None:
        button = QPushButton(caption(words))
        button.setAccessibleName(name or words)
        button.setToolTip(tip(name or words))
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _checked=False: act())
        self._buttons.addWidget(button)
