"""Small widgets that every part of the window uses: labels, buttons, a field for lengths, a row that wraps.

Text on the screen is only text. Qt by itself takes a name that looks like HTML for HTML, and loads its pictures too.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QObject, QPoint, QRect, QSize, Qt, QUrl
from PySide6.QtGui import QImage, QTextDocument
from PySide6.QtWidgets import (
    QLabel,  # noqa: TID251  # the one place
    QLayout,
    QLayoutItem,
    QLineEdit,
    QPushButton,
    QTextEdit,
    QWidget,
)

from usviewer.plain_text import printable
from usviewer.typed_number import LENGTH_IN_MM, parse_number, plain_number
from usviewer.view import theme


def shown(text: str) -> str:
    """Text as it may be shown: control characters, and marks that reverse the text, as escapes; lines as they are."""
    if text.isprintable():  # nearly every text, and labels are set several times a second
        return text
    return "\n".join(map(printable, text.split("\n")))


def tip(text: str) -> str:
    """A tooltip that reads exactly so. Qt guesses markup by its looks, and cannot be told that it is plain text."""
    if "<" not in text and "&lt;" not in text:
        return shown(text)
    return f'<p style="white-space: pre-wrap">{html.escape(shown(text))}</p>'


def caption(text: str) -> str:
    """Text on a button, where an ampersand is shown and does not mark a key."""
    return shown(text).replace("&", "&&")


class PlainLabel(QLabel):
    """A label whose text is never markup."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(text)

    def setText(self, text: str) -> None:
        super().setText(shown(text))


class PlainPage(QTextEdit):
    """A page of Markdown to read. HTML in it is ignored, and nothing is loaded for it, pictures included."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setDocument(_Closed(self))

    def setMarkdown(self, text: str) -> None:
        features = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML
        self.document().setMarkdown(text, features)


class _Closed(QTextDocument):
    """A document that loads nothing from disk or elsewhere."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)

    def loadResource(self, _kind: int, _name: QUrl | str) -> Any:
        return QImage()  # of nothing, Qt would look for the file by itself


def button(text: str, tooltip: str, act: Callable[[], None]) -> QPushButton:
    """A button of full touch size with its name and tooltip."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    made.setAccessibleName(text)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.clicked.connect(lambda _=False: act())
    return made


def words(text: str = "", *, quiet: bool = False, size_px: int = theme.TEXT_PX, bold: bool = False) -> PlainLabel:
    """Text that wraps."""
    label = PlainLabel(text)
    label.setWordWrap(True)
    label.setFont(theme.font(size_px, bold=bold))
    if quiet:
        label.setProperty("role", "quiet")
    return label


class LengthField(QLineEdit):
    """Shows ``52.5 mm``, takes ``52,5`` and ``5.25 cm`` as well (``typed_number``).

    Qt's own fields for numbers read a point or a comma by the language of the computer, and drop what does not fit it.
    """

    def __init__(self, value_mm: float, least_mm: float, most_mm: float, name: str) -> None:
        super().__init__()
        self._least_mm, self._most_mm = least_mm, most_mm
        self.setMinimumHeight(theme.TOUCH_PX)
        self.setAccessibleName(name)
        self.setToolTip(name)
        self.setValue(value_mm)

    def value(self) -> float:
        """The length in mm. Raises ``UserError`` with the reason where what was typed is not a length."""
        return parse_number(self.text(), least=self._least_mm, most=self._most_mm, units=LENGTH_IN_MM)

    def setValue(self, value_mm: float) -> None:
        """Show a length, with a point."""
        self.setText(f"{plain_number(value_mm)} mm")


class Flow(QLayout):
    """Widgets side by side at their full size; those that have no room go on in another row.

    ``at_end`` follow ``widgets``, at the right end of their rows.
    """

    def __init__(self, widgets: Sequence[QWidget], at_end: Sequence[QWidget] = (), gap_px: int = theme.GRID_PX) -> None:
        super().__init__()
        self._items: list[QLayoutItem] = []
        self._at_end = frozenset(at_end)
        self._gap_px = gap_px
        for widget in (*widgets, *at_end):
            self.addWidget(widget)

    def addItem(self, item: QLayoutItem) -> None:
        self._items.append(item)

    def count(self) -> int:
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:
        if not 0 <= index < len(self._items):  # Qt counts up until there is none
            return None
        return self._items[index]

    def takeAt(self, index: int) -> QLayoutItem | None:
        if not 0 <= index < len(self._items):
            return None
        return self._items.pop(index)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width_px: int) -> int:
        rows = self._rows(width_px)
        return sum(_height_px(row) for row in rows) + self._gap_px * max(0, len(rows) - 1)

    def sizeHint(self) -> QSize:
        shown = self._shown()
        return QSize(_width_px(shown, self._gap_px), _height_px(shown))

    def minimumSize(self) -> QSize:
        shown = self._shown()
        return QSize(max((item.sizeHint().width() for item in shown), default=0), _height_px(shown))

    def setGeometry(self, place: QRect) -> None:
        super().setGeometry(place)
        top = place.top()
        for row in self._rows(place.width()):
            left, height_px = place.left(), _height_px(row)
            spare_px = max(0, place.width() - _width_px(row, self._gap_px))
            for item in row:
                size = item.sizeHint()
                # The first of them takes the room that is left, which moves it and those after it to the end.
                if item.widget() in self._at_end:
                    left, spare_px = left + spare_px, 0
                item.setGeometry(QRect(QPoint(left, top + (height_px - size.height()) // 2), size))
                left += size.width() + self._gap_px
            top += height_px + self._gap_px

    def _shown(self) -> list[QLayoutItem]:
        return [item for item in self._items if not item.isEmpty()]

    def _rows(self, width_px: int) -> list[list[QLayoutItem]]:
        rows: list[list[QLayoutItem]] = []
        for item in self._shown():
            # The first of a row stands in it even where it is wider: nothing is left out.
            if rows and _width_px([*rows[-1], item], self._gap_px) <= width_px:
                rows[-1].append(item)
            else:
                rows.append([item])
        return rows


def _width_px(items: list[QLayoutItem], gap_px: int) -> int:
    return sum(item.sizeHint().width() for item in items) + gap_px * max(0, len(items) - 1)


def _height_px(items: list[QLayoutItem]) -> int:
    return max((item.sizeHint().height() for item in items), default=0)
