"""A window without a screen; what runs on after a test fails it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("PySide6")

from PySide6.QtWidgets import QApplication

from tests.helpers.threads import no_thread_left
from usviewer.settings import Settings
from usviewer.view import theme
from usviewer.view.main_window import MainWindow


@pytest.fixture(scope="session")
def qapp_args() -> list[str]:
    return ["usviewer"]


@pytest.fixture
def themed(qapp: QApplication) -> QApplication:
    """The application with the program's fonts and colours."""
    if not qapp.styleSheet():
        theme.apply(qapp)
    return qapp


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    """Every thread that a test's window started must have ended with it."""
    with no_thread_left():
        yield


@pytest.fixture
def make_window(themed: QApplication, tmp_path: Path, qtbot: object) -> Iterator[Callable[..., MainWindow]]:
    """Windows of 1280 x 800 with their own settings file; closed, with everything that runs in them, after the test."""
    made: list[MainWindow] = []

    def make(settings: Settings | None = None, *, complete: bool = True) -> MainWindow:
        window = MainWindow(settings or Settings(), tmp_path / "settings.json")
        if complete:
            window.complete()
        window.resize(1280, 800)
        window.show()
        made.append(window)
        return window

    yield make
    for window in made:
        window.close_now()
        window.deleteLater()
    themed.processEvents()


@pytest.fixture
def window(make_window: Callable[..., MainWindow]) -> MainWindow:
    """The window as at the first start."""
    return make_window()
