from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PySide6.QtCore import QUrl

from tests.helpers.fakes import FakeEngine
from usviewer.logs import log_path
from usviewer.view.main_window import MainWindow
from usviewer.view.panels import performance_panel
from usviewer.view.panels.performance_panel import PerformancePanel

CHOICE = (
    "OpenVINO bf16 was chosen, 1 thread",
    "CPU: 41.0 ms; overlap 1.0000",
    "OpenVINO bf16: 15.0 ms; overlap 0.9990",
)


def test_it_says_which_engine_was_chosen_and_on_what_figures(make_window: Callable[..., MainWindow]) -> None:
    window = make_window()
    app_state = window.app_state
    panel = PerformancePanel(app_state, window.notify, lambda: None)
    app_state.set_engine(replace(FakeEngine().engine(), chosen=CHOICE))
    panel.opened()
    assert panel.choice.text().splitlines() == list(CHOICE) and not panel.choice.isHidden()
    app_state.set_engine(replace(FakeEngine().engine(), chosen=()))  # the engine was named by the user
    panel.opened()
    assert panel.choice.isHidden()
    app_state.set_engine(None)
    panel.opened()
    assert panel.choice.isHidden()


def test_the_folder_of_the_log_is_shown_or_its_path_is_said(
    make_window: Callable[..., MainWindow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desktop's own file manager must not open in a test: what it is asked is taken here."""
    asked: list[QUrl] = []

    def open_url(url: QUrl) -> bool:
        asked.append(url)
        return False

    monkeypatch.setattr(performance_panel, "QDesktopServices", SimpleNamespace(openUrl=open_url))
    window = make_window()
    panel = PerformancePanel(window.app_state, window.notify, lambda: None)
    panel.log_folder.click()
    folder = log_path().parent
    assert asked == [QUrl.fromLocalFile(str(folder))]
    assert window.notify.current is not None and window.notify.current.text == f"The log is in {folder}"
