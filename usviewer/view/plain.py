"""Text on the screen is text: Qt takes a name that looks like HTML for HTML, and shows what it says, pictures too."""

from __future__ import annotations

import html
from typing import Any

from PySide6.QtCore import QObject, Qt, QUrl
from PySide6.QtGui import QImage, QTextDocument
from PySide6.QtWidgets import QLabel, QTextEdit, QWidget  # noqa: TID251  # the one place

from usviewer.plain_text import printable


def shown(text: str) -> str:
    """Text as it may be shown: controls and marks that turn letters round as escapes, lines as they are."""
    if text.isprintable():  # nearly every text, and labels are set several times a second
        return text
    return "\n".join(map(printable, text.split("\n")))


def tip(text: str) -> str:
    """A tooltip that reads just so: Qt tells markup by its looks, and there is no other way to say that it is none."""
    if "<" not in text and "&lt;" not in text:
        return shown(text)
    return f'<p style="white-space: pre-wrap">{html.escape(shown(text))}</p>'


def caption(text: str) -> str:
    """Text on a button: an ampersand is one, and marks no key."""
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
    """Somebody's Markdown to read: no HTML in it, and no picture or anything else is fetched for it."""

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
