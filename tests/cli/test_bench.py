from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny_models import add_dark_finder
from usviewer.cli import bench
from usviewer.cli.bench_cases import (
    BLOCK,
    LoopSource,
    OtherLoad,
    OwnCase,
    Spread,
    held_frames,
    measure,
    run_live,
    spread,
)
from usviewer.cli.command import Parser
from usviewer.errors import UserError
from usviewer.frame import make_frame
from usviewer.infer.predictor import Predictor
from usviewer.infer.registry import load_spec


def run(*words: str) -> int:
    parser = Parser(prog="usviewer bench")
    bench.add_options(parser)
    args = parser.parse_args(words)
    return int(args.run(args))


@pytest.fixture
def model(tmp_path: Path) -> str:
    return add_dark_finder(tmp_path / "dark")


def test_everything_in_one_run(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    source = "phantom:?frames=6&screen=0"
    options = ["--size", "320x240", "--engines", "cpu,openvino", "--threads", "1", "--frames", "40", "--draw"]
    long = ["--live", "1.5", "--rate", "40"]
    assert run("--model", model, "--source", source, *options, *long, "--out", str(out)) == 0
    made = json.loads((out / "bench.json").read_text())
    assert made["machine"]["cores"] >= 1 and made["machine"]["onnxruntime"] and made["model"]["sha256"]
    first, second = made["results"]
    assert first["name"] == "usviewer, cpu, 96x128, 1 thread" and "OpenVINO" in second["engine"]
    for result in made["results"]:
        assert set(result["stages_ms"]) == {
            "preprocess", "infer", "decode", "measure", "total", "draw", "with drawing",
        }  # fmt: skip
        for stage in result["stages_ms"].values():
            assert 0 < stage["p50"] <= stage["p95"] <= stage["p99"] <= stage["maximum"] and stage["count"] == 40
    (live,) = made["live"]
    assert live["rate"] == 40 and live["overlays"] > 11 and live["latency_ms"]["p50"] < 1000
    page = (out / "bench.md").read_text()
    assert capsys.readouterr().out.strip() == page.strip()
    for words in ("## A frame, ms", "p50 | p95 | p99 | max", "Capture to overlay", "preprocess"):
        assert words in page
    assert str(tmp_path) not in page


def test_the_choice_is_in_the_report(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("USVIEWER_ENGINE")
    picture = tmp_path / "still.png"
    _write_disc(picture)
    options = ["--size", "320x240", "--frames", "20", "--out", str(tmp_path)]
    assert run("--model", model, "--source", str(picture), *options) == 0
    made = json.loads((tmp_path / "bench.json").read_text())
    assert made["choices"][0].endswith("threads") or made["choices"][0].endswith("thread")
    assert any(line.startswith("OpenVINO: ") for line in made["choices"])


def _write_disc(path: Path) -> None:
    import cv2

    y, x = np.mgrid[0:240, 0:320]
    cv2.imwrite(str(path), np.where(np.hypot(x - 160, y - 120) < 50, 20, 200).astype(np.uint8))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--engines", "npu"], "no engine 'npu'. Choose one of all, auto"),
        (["--size", "big"], "'big' is not a size"),
        (["--threads", "0"], "1 to 64"),
        (["--rate", "fast"], "frames a second"),
        (["--rate", "29,97"], "write 29.97, or 30/60"),
        (["--rate", "1e2"], "frames a second"),
        (["--frames", "1_0"], "not a whole number"),
        (["--threads", "\uff12"], "1 to 64 threads"),
        (["--live", "1.500"], "may mean 1.5 or 1500"),
        (["--source", "nothing.mp4"], "nothing.mp4"),
        (["--frames", "-3"], "--frames -3 cannot be right"),
        (["--live", "-1"], "--live -1 cannot be right"),
        (["--live", "nan"], "--live: 'nan' is not a plain number"),
        (["--live", "inf"], "--live: 'inf' is not a plain number"),
        (["--engines", ""], "the list '' is empty"),
        (["--engines", ","], "the list ',' is empty"),
        (["--threads", ""], "the list '' is empty"),
    ],
)
def test_wrong_words_give_one_sentence(model: str, words: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        run("--model", model, *words)


class _Fixed:
    """A case whose frames take what they are said to take."""

    def __init__(self, name: str, milliseconds: float, order: list[str]) -> None:
        self.name, self.engine, self._ms, self._order = name, "none", milliseconds, order
        self.notice, self.found = "", 1

    def run(self, count: int) -> list[dict[str, float]]:
        self._order.append(self.name)
        return [{"infer": self._ms / 2, "total": self._ms + i % 2} for i in range(count)]


def test_cases_take_turns_and_the_first_block_does_not_count() -> None:
    order: list[str] = []
    results = measure([_Fixed("a", 10, order), _Fixed("b", 20, order)], 3 * BLOCK)
    assert order == ["a", "b"] * 4
    assert [r.stages_ms["total"].count for r in results] == [60, 60]
    assert results[0].frames_per_second == pytest.approx(1000 / 10.5)


def test_the_stages_add_up(model: str) -> None:
    frames = held_frames("phantom:?frames=2&screen=0", (320, 240), 2)
    case = OwnCase(load_spec(model), "cpu", "rect", 1, frames, drawn=True)
    for row in case.run(10):
        parts = sum(row[name] for name in ("preprocess", "infer", "decode", "measure"))
        assert 0.5 * row["total"] < parts <= row["total"]
        assert row["with drawing"] == pytest.approx(row["total"] + row["draw"])


def test_percentiles() -> None:
    assert spread([float(i) for i in range(101)]) == Spread(50, 95, 99, 100, 101)


def test_a_loop_gives_new_keys_for_the_same_pictures() -> None:
    frames = [make_frame(np.full((48, 64, 3), i, np.uint8), "x", i) for i in range(3)]
    source = LoopSource(frames, 60.0)
    taken = [frame for frame, _ in zip(source, range(7), strict=False)]
    assert [frame.key.index for frame in taken] == list(range(7))
    assert taken[3].key.digest == taken[0].key.digest and taken[3].key.capture_time_s >= taken[0].key.capture_time_s
    assert source.info.live and source.info.frames_per_second == 60.0


def test_frames_are_fitted_into_the_size(tmp_path: Path) -> None:
    _write_disc(tmp_path / "still.png")
    (frame,) = held_frames(str(tmp_path / "still.png"), (640, 240), 4)
    assert (frame.width_px, frame.height_px) == (640, 240)
    assert frame.pixels[:, :150].max() == 0 and frame.pixels[120, 320].max() < 60 and frame.pixels[10, 320].min() > 150
    phantom = held_frames("phantom:?frames=4", (400, 300), 2)
    assert [(f.width_px, f.height_px) for f in phantom] == [(400, 300)] * 2 and phantom[0].geometry is not None


def test_a_slow_model_gets_the_newest_frame(model: str) -> None:
    predictor = Predictor(load_spec(model), "cpu", 1)
    frames = held_frames("phantom:?frames=6&screen=0", (320, 240), 6)
    result = run_live(predictor, frames, 200.0, 1.5)
    assert result.overlays > 11 and result.newest > 0.9
    assert result.overlays + result.dropped <= result.captured


def test_other_load_is_what_others_use() -> None:
    load = OtherLoad()
    own = sum(i * i for i in range(2_000_000))
    assert own and 0 <= load.cores() <= (os.cpu_count() or 1) + 0.5
