"""A model that never finishes: the window goes on, another can be chosen, and closing ends at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w

from tests.helpers import loop_graphs, onnx_graphs
from usviewer.infer import registry, trial
from usviewer.view.main_window import MainWindow


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """Somebody unpacked it among the user's models."""
    folder = registry.user_folder() / "endless"
    folder.mkdir(parents=True)
    loop_graphs.endless(folder / "model.onnx")
    sides = {"width": loop_graphs.SIDE, "height": loop_graphs.SIDE}
    manifest = onnx_graphs.unet_manifest(folder / "model.onnx", "endless", activation="none", **sides)
    (folder / "manifest.toml").write_text(tomli_w.dumps(manifest))
    return "endless"


def until(window: MainWindow, true: Callable[[], bool], seconds: float = 60.0) -> None:
    due_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < due_s
        window.app_state.tick()
        time.sleep(0.01)


def test_the_window_closes_while_a_model_does_not_end(window: MainWindow, endless: str) -> None:
    window.app_state.load_model(endless, "cpu")
    until(window, lambda: bool(trial._running))
    began_s = time.monotonic()
    assert window.app_state.close()
    assert time.monotonic() - began_s < 3.0 and not trial._running


def test_another_model_is_chosen_while_one_does_not_end(window: MainWindow, endless: str) -> None:
    window.app_state.load_model(endless, "cpu")
    until(window, lambda: bool(trial._running))
    window.app_state.load_model("aorta", "cpu")
    until(window, lambda: not window.app_state.loading)
    engine = window.app_state.engine()
    assert engine is not None and engine.model_id == "aorta" and window.app_state.engine_problem == ""
