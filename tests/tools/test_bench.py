from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny_models import add_dark_finder
from usviewer.errors import UserError
from usviewer.frame import make_frame
from usviewer.infer.predictor import Predictor
from usviewer.infer.registry import add_model, load_spec
from usviewer.tools import bench
from usviewer.tools.benchmark import machine, report
from usviewer.tools.benchmark.cases import BLOCK, OwnCase, Result, Spread, measure, spread
from usviewer.tools.benchmark.frames import LoopSource, held_frames
from usviewer.tools.benchmark.live import run_live
from usviewer.tools.benchmark.peer import PEERS, Peer, PeerCase
from usviewer.tools.benchmark.soak import soak
from usviewer.tools.command import Parser

PEER_PYTHON = os.environ.get("USVIEWER_PEER_PYTHON", "")


def run(*words: str) -> int:
    parser = Parser(prog="usviewer")
    bench.add_parser(parser.add_subparsers(parser_class=Parser))
    args = parser.parse_args(["bench", *words])
    return int(args.run(args))


@pytest.fixture
def model(tmp_path: Path) -> str:
    return add_dark_finder(tmp_path / "dark")


def test_everything_in_one_run(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    source = "phantom:?frames=6&screen=0"
    options = ["--size", "320x240", "--engines", "cpu,openvino", "--threads", "1", "--frames", "40", "--draw"]
    long = ["--live", "1.5", "--rate", "40", "--soak", "80"]
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
    (soaked,) = made["soak"]
    assert soaked["frames"] == 80 and soaked["first_ms"] > 0
    page = (out / "bench.md").read_text()
    assert capsys.readouterr().out.strip() == page.strip()
    for words in ("## A frame, ms", "p50 | p95 | p99 | max", "Capture to overlay", "Memory grew", "preprocess"):
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
        (["--engines", "npu"], "no engine 'npu'"),
        (["--shapes", "round"], "no shape 'round'"),
        (["--size", "big"], "no size like"),
        (["--threads", "0"], "1 to 64"),
        (["--rate", "fast"], "frames a second"),
        (["--rate", "29,97"], "write 29.97, or 30/60"),
        (["--rate", "1e2"], "frames a second"),
        (["--frames", "1_0"], "no whole number"),
        (["--threads", "\uff12"], "1 to 64 threads"),
        (["--live", "1.500"], "may mean 1.5 or 1500"),
        (["--peer", "ultralytics"], "--peer-python"),
        (["--source", "nothing.mp4"], "nothing.mp4"),
        (["--frames", "-3"], "--frames -3 cannot be right"),
        (["--live", "-1"], "--live -1 cannot be right"),
        (["--live", "nan"], "--live: 'nan' is no plain number"),
        (["--live", "inf"], "--live: 'inf' is no plain number"),
        (["--soak", "-1"], "--soak -1 cannot be right"),
        (["--engines", ""], "names nothing"),
        (["--shapes", ","], "names nothing"),
        (["--threads", ""], "names nothing"),
    ],
)
def test_wrong_words_give_one_sentence(model: str, words: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        run("--model", model, *words)


class _Fixed:
    """A case whose frames take what they are said to take."""

    def __init__(self, name: str, milliseconds: float, order: list[str]) -> None:
        self.name, self.engine, self._ms, self._order = name, "none", milliseconds, order

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


def _result(name: str, ms: float, own: bool, drawn_ms: float | None = None) -> Result:
    stages = {"total": Spread(ms, ms, ms, ms, 20)} | ({"infer": Spread(1, 1, 1, 1, 20)} if own else {})
    if drawn_ms is not None:
        stages["with drawing"] = Spread(drawn_ms, drawn_ms, drawn_ms, drawn_ms, 20)
    return Result(name, "e", stages, {}, 1.0)


def test_ratios_compare_like_with_like() -> None:
    results = [
        _result("ours", 15, True, 16),
        _result("ultralytics predict, .pt, 2 threads", 45, False),
        _result("ultralytics predict + plot, .pt, 2 threads", 128, False),
    ]
    assert [times for _, _, times in report.ratios(results)] == [3.0, 8.0]


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


def test_a_soak_notices_growth(model: str) -> None:
    predictor = Predictor(load_spec(model), "cpu", 1)
    frames = held_frames("phantom:?frames=2&screen=0", (160, 120), 2)
    kept: list[bytes] = []
    assert soak(predictor, frames, 60).growth_mb < 10
    leaky = soak(predictor, frames, 60, tick=lambda: kept.append(os.urandom(4_000_000)))
    assert leaky.growth_mb > 30 and not leaky.steady


def test_other_load_is_what_others_use() -> None:
    load = machine.OtherLoad()
    own = sum(i * i for i in range(2_000_000))
    assert own and 0 <= load.cores() <= (os.cpu_count() or 1) + 0.5
    assert machine.FixedWork().ms() > 0


def test_a_peer_that_does_not_start_is_one_sentence(tmp_path: Path) -> None:
    frames = [make_frame(np.zeros((48, 64, 3), np.uint8), "x", 0)]
    with pytest.raises(UserError, match="does not start"):
        Peer("ultralytics", str(tmp_path / "no-python"), frames, tmp_path)
    with Peer("ultralytics", sys.executable, frames, tmp_path) as peer, pytest.raises(UserError, match="ultralytics"):
        PeerCase(peer, "model.onnx", load_spec("aorta"), 1, drawn=False)


def test_the_peers_script_is_never_imported() -> None:
    text = PEERS["ultralytics"].read_text()
    assert "import ultralytics" in text and "usviewer.tools.benchmark.peer_ultralytics" not in sys.modules


@pytest.mark.peer
@pytest.mark.skipif(not PEER_PYTHON, reason="USVIEWER_PEER_PYTHON names no environment with the peer")
def test_the_peer_runs_the_same_file(tmp_path: Path) -> None:
    from tests.helpers.onnx_graphs import yolov8n

    yolov8n(tmp_path / "model.onnx", height=320, width=320)
    spec = add_model(tmp_path / "model.onnx", "peer")
    frames = held_frames("phantom:?frames=2", (320, 240), 2)
    with Peer("ultralytics", PEER_PYTHON, frames, tmp_path) as peer:
        case = PeerCase(peer, str(spec.path), spec, 1, drawn=False)
        times = case.run(3)
    assert len(times) == 3 and all(stages["total"] > 0 for stages in times) and "ultralytics" in case.engine
