"""Many frames: what grows is noticed, and the figures are written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.frame_soak import FixedWork, main, soak
from tests.helpers.tiny_models import add_dark_finder
from usviewer.cli.bench_cases import held_frames
from usviewer.infer.predictor import Predictor
from usviewer.infer.registry import load_spec


@pytest.fixture
def model(tmp_path: Path) -> str:
    return add_dark_finder(tmp_path / "dark")


def test_a_soak_notices_growth(model: str) -> None:
    predictor = Predictor(load_spec(model), "cpu", 1)
    frames = held_frames("phantom:?frames=2&screen=0", (160, 120), 2)
    kept: list[bytes] = []
    assert soak(predictor, frames, 60).growth_mb < 10
    leaky = soak(predictor, frames, 60, tick=lambda: kept.append(os.urandom(4_000_000)))
    assert leaky.growth_mb > 30 and not leaky.steady


def test_the_figures_are_printed_and_written(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--source", "phantom:?frames=2&screen=0", "--size", "160x120", "--engine", "cpu", "--threads", "1"]
    code = main(["--model", model, *options, "--count", "80", "--out", str(tmp_path / "out")])
    made = json.loads((tmp_path / "out" / "frame_soak.json").read_text())
    assert made["frames"] == 80 and made["first_ms"] > 0
    page = capsys.readouterr().out
    assert "80 frames on CPU" in page and ("Not steady." in page) == (code == 1)


def test_the_fixed_work_takes_time() -> None:
    assert FixedWork().ms() > 0
