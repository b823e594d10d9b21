"""The long run: what it finds in figures, and that it watches the real window and closes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fakes import FakeClip, FakeEngine
from usviewer.view.main_window import MainWindow
from usviewer.view.soak import Sample, Soak, SoakResult, markdown

QUIET = Sample(0.0, 400.0, 20, 6, 40, 5, 30.0, 40.0, 30.0, 30.0, 0)


def result(samples: list[Sample], p99: float = 10.0) -> SoakResult:
    return SoakResult("c", {"cores": 2}, "s", "m", "e", 30.0, delay_ms={"p99": p99}, samples=samples)


def run_of(count: int, **grows: float) -> list[Sample]:
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


def test_the_real_window_is_watched_and_closed(
    window: MainWindow, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: FakeClip(500))
    window.desk.set_engine(FakeEngine().engine())
    window.open_live("fake")
    soak = Soak(window, 0.05, tmp_path / "out", "usviewer --soak")
    qtbot.waitUntil(lambda: soak.result is not None, timeout=30_000)
    assert not window.isVisible()
    document = json.loads((tmp_path / "out" / "window.json").read_text())
    assert set(document["started"]) == {"window", "picture", "overlay"}
    assert document["timer_count"] >= 1 and document["samples"]
    assert "fake, 64 x 48" in (tmp_path / "out" / "window.md").read_text()
