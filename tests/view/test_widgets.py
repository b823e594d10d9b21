"""Names from outside are text on the screen, whatever they look like."""

from __future__ import annotations

import ast
from pathlib import Path

import cv2
import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QTextDocument
from PySide6.QtWidgets import QApplication, QPushButton

from tests.conftest import ROOT
from usviewer.errors import UserError
from usviewer.view.notify import Notify
from usviewer.view.review_clips import ClipList
from usviewer.view.widgets import PlainLabel, PlainPage, caption, shown, tip
from usviewer.view.window_bars import Chip

NAME = "<h1>Aorta 24 mm, normal<img src=small.png>.mp4"


@pytest.mark.parametrize("text", [NAME, "<b>x</b>", "a & b", "&lt;x&gt;", "$x^2$", "two\nlines"])
def test_a_label_shows_the_very_text(themed: QApplication, text: str) -> None:
    label = PlainLabel(text)
    assert label.textFormat() is Qt.TextFormat.PlainText
    assert label.text() == text
    label.setText(f"{text}!")
    assert label.text() == f"{text}!"


def test_the_message_strip_shows_a_damaged_files_name_as_it_is(themed: QApplication) -> None:
    notify = Notify()
    notify.report(UserError(f"{NAME} is damaged"))
    (label,) = notify.findChildren(PlainLabel)
    assert label.textFormat() is Qt.TextFormat.PlainText and label.text() == f"{NAME} is damaged."
    notify.ask("Which?", {"Tom & <b>Jerry</b>": lambda: None})
    (button,) = (each for each in notify.findChildren(QPushButton) if "Tom" in each.text())
    assert button.text() == "Tom && <b>Jerry</b>"
    notify.deleteLater()


@pytest.mark.parametrize("name", [NAME, "a <b>b</b>", "x &lt;y", "plain name"])
def test_a_tooltip_reads_as_the_text(themed: QApplication, name: str) -> None:
    said = tip(name)
    document = QTextDocument()
    if said != name:
        document.setHtml(said)
        assert document.toPlainText() == name
        assert "<img" not in said and "<h1" not in said
    else:
        assert "<" not in said


def test_names_that_are_not_text_and_controls_are_shown_as_escapes(themed: QApplication) -> None:
    raw = b"a\x1b[2J\xfc\xe2\x80\xae.mp4".decode("utf-8", "surrogateescape")
    assert shown(raw) == "a\\x1b[2J\\xfc\\u202e.mp4"
    assert PlainLabel(raw).text() == shown(raw) and caption(f"{raw}&") == f"{shown(raw)}&&"
    clips = ClipList()
    clips.set_clips(raw, (Path(raw), Path(NAME)))
    assert [clips.list.item(row).text() for row in range(2)] == [shown(raw), NAME.rpartition("/")[2]]
    chip = Chip("Source")
    chip.say(raw)
    assert shown(raw) in chip.text()
    clips.deleteLater()


def test_a_card_shows_no_html_and_fetches_no_picture(themed: QApplication, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((40, 40, 3), 200, np.uint8))
    page = PlainPage()
    page.setMarkdown(f"# Card\n\n**bold** ![picture]({tmp_path / 'small.png'})\n\n<b>not bold</b> <img src='a.png'>\n")
    text = page.toPlainText()
    assert "Card" in text and "bold" in text and "<b>not bold</b>" in text
    document = page.document()
    found = document.resource(QTextDocument.ResourceType.ImageResource, str(tmp_path / "small.png"))
    assert isinstance(found, QImage) and found.isNull()
    page.deleteLater()


def test_no_file_of_the_window_makes_a_label_of_another_kind() -> None:
    """The linter forbids it; this guards the linter's rule."""
    for path in (ROOT / "usviewer" / "view").rglob("*.py"):
        names = {alias.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip
        assert path.name == "widgets.py" or not names & {"QLabel", "QMessageBox", "QTextBrowser"}, path
