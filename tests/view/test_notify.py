"""One place, one sentence at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication, QPushButton

from usviewer.errors import UserError
from usviewer.logs import log_path, written_down
from usviewer.view.notify import Level, Notify

A_NAME = "Muster_Anna.mp4"


@pytest.fixture
def notify(themed: QApplication) -> Iterator[Notify]:
    notify = Notify()
    yield notify
    notify.deleteLater()


def test_an_error_stays_until_it_is_put_away(notify: Notify) -> None:
    notify.report(UserError("The disk is full", "Free some space"))
    assert notify.current is not None and notify.current.text == "The disk is full. Free some space."
    assert not notify._hide_later.isActive()
    notify.dismiss()
    assert notify.current is None and notify.isHidden()


def test_what_is_shown_is_logged_by_its_kind_and_place(notify: Notify) -> None:
    with written_down():
        for error in (UserError(f"{A_NAME} is damaged"), ValueError(A_NAME)):
            notify.report(error)
    said = log_path().read_text()
    assert "shown: usviewer.errors.UserError" in said and "ValueError, raised at" in said
    assert "Muster" not in said


def test_a_repeated_message_is_said_once(notify: Notify) -> None:
    for _ in range(5):
        notify.report(UserError("The disk is full"), key="save")
    assert len(notify.history) == 1
    notify.dismiss()
    assert notify.current is None


def test_an_earlier_error_comes_back_after_a_later_message(notify: Notify) -> None:
    notify.report(UserError("The model is damaged"), key="model")
    notify.tell("Saved", key="save")
    assert notify.current is not None and notify.current.text == "Saved"
    notify.dismiss()
    assert notify.current is not None and notify.current.key == "model"
    notify.withdraw("model")
    assert notify.current is None


def test_a_bug_is_one_sentence_with_its_report_a_click_away(notify: Notify, themed: QApplication) -> None:
    try:
        raise KeyError(A_NAME)
    except KeyError as error:
        notify.report(error)
    assert notify.current is not None and A_NAME not in notify.current.text
    copy = next(b for b in notify.findChildren(QPushButton) if b.text() == "Copy details")
    copy.click()
    report = themed.clipboard().text()
    assert "KeyError" in report and "test_notify.py" in report
    assert A_NAME not in report, "a report is made to be sent to somebody"


def test_a_question_does_what_is_answered(notify: Notify) -> None:
    done: list[str] = []
    notify.ask("A recording is running.", {"Finish": lambda: done.append("finish"), "Go on": lambda: None})
    assert notify.current is not None and notify.current.level is Level.WARNING
    next(b for b in notify.findChildren(QPushButton) if b.text() == "Finish").click()
    assert done == ["finish"] and notify.current is None
