from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.helpers.fakes import FakeEngine
from usviewer.view.main_window import MainWindow
from usviewer.view.panels.performance_panel import PerformancePanel

CHOICE = (
    "OpenVINO bf16 was chosen, 1 thread",
    "CPU: 41.0 ms; overlap 1.0000",
    "OpenVINO bf16: 15.0 ms; overlap 0.9990",
)


def test_it_says_which_engine_was_chosen_and_on_what_figures(make_window: Callable[..., MainWindow]) -> None:
    window = make_window()
    desk = window.desk
    panel = PerformancePanel(desk, window.notify, lambda: None)
    desk.set_engine(replace(FakeEngine().engine(), chosen=CHOICE))
    panel.opened()
    assert panel.choice.text().splitlines() == list(CHOICE) and not panel.choice.isHidden()
    desk.set_engine(replace(FakeEngine().engine(), chosen=()))  # the engine was named by the user
    panel.opened()
    assert panel.choice.isHidden()
    desk.set_engine(None)
    panel.opened()
    assert panel.choice.isHidden()
