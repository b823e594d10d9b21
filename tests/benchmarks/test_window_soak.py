"""The long run: what it finds in figures, and that it watches the real window and closes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("PySide6")

from PySide6.QtWidgets import QWidget

from benchmarks.window_soak import WindowSample, WindowSoak, WindowSoakResult, markdown
from tests.conftest import ROOT

QUIET = WindowSample(0.0, 400.0, 20, 6, 40, 5, 30.0, 40.0, 30.0, 30.0, 0)


def result(samples: list[WindowSample], p99: float = 10.0) -> WindowSoakResult:
    return WindowSoakResult("c", {"cores": 2}, "s", "m", "e", 30.0, delay_ms={"p99": p99}, samples=samples)


def run_of(count: int, **grows: float) -> list[WindowSample]:
    """Samples of five seconds each; each named value grows by this much over the whole run."""
    share = [index / (count - 1) for index in range(count)]
    return [
        replace(
            QUIET, at_s=5.0 * index, **{name: getattr(QUIET, name) + by * share[index] for name, by in grows.items()}
        )
        for index in range(count)
    ]


def test_a_steady_run_is_within_all_limits() -> None:
    assert result(run_of(360)).failures() == []
    assert "Within all limits" in markdown(result(run_of(360)))


@pytest.mark.parametrize(
    ("grows", "said"),
    [
        ({"memory_mb": 60.0}, "Memory grew"),
        ({"latency_ms": 15.0}, "Latency grew"),
        ({"own_threads": 4.0}, "Own threads grew"),
        ({"timers": 3.0}, "Timers grew"),
        ({"handles": 9.0}, "Handles grew"),
    ],
)
def test_what_grows_is_found(grows: dict[str, float], said: str) -> None:
    assert [sentence.startswith(said) for sentence in result(run_of(360, **grows)).failures()] == [True]


def test_what_grows_only_while_it_loads_is_not_held_against_it() -> None:
    loading = [replace(QUIET, at_s=5.0 * index, memory_mb=100.0) for index in range(12)]
    assert result(loading + [replace(QUIET, at_s=60.0 + 5.0 * i) for i in range(100)]).failures() == []


def test_a_late_timer_is_found() -> None:
    assert "late" in result(run_of(360), p99=30.0).failures()[0]


class OverlaidWindow(QWidget):
    """What the soak looks at of a window: here a picture and its overlay are on the screen from the beginning."""

    def __init__(self) -> None:
        super().__init__()
        on_screen = SimpleNamespace(frame=object(), reading=object())
        self.app_state = SimpleNamespace(on_screen=on_screen, engine=lambda: None)
        self.live = SimpleNamespace(status=None)


def test_from_the_first_overlay_on_the_timer_is_watched(qtbot: Any, tmp_path: Path) -> None:
    window = OverlaidWindow()
    qtbot.addWidget(window)
    window.show()
    soak = WindowSoak(window, 0.01, tmp_path, "command")  # type: ignore[arg-type]
    qtbot.waitUntil(lambda: soak.result is not None, timeout=30_000)
    document = json.loads((tmp_path / "window.json").read_text())
    assert set(document["started"]) == {"window", "picture", "overlay"}
    assert document["timer_count"] >= 1 and document["delay_ms"]["p99"] >= 0 and not window.isVisible()


def test_the_real_window_is_watched_and_closed(tmp_path: Path) -> None:
    """As a developer runs it: a process of its own, the window opened from outside."""
    command = [sys.executable, "-m", "benchmarks.window_soak", "phantom:?live=1&width=320&height=240"]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [*command, "--minutes", "0.1", "--out", str(tmp_path / "out")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr  # 1: on a busy computer the timer may be late
    document = json.loads((tmp_path / "out" / "window.json").read_text())
    assert {"window", "picture"} <= set(document["started"])
    assert document["samples"] and document["minutes"] == 0.1
    page = (tmp_path / "out" / "window.md").read_text()
    assert page.strip() == done.stdout.strip() and "320 x 240" in page
