"""Another program timed beside this one: what is asked of it, and what cannot be asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peer
from benchmarks.peer import PEERS, Peer, PeerCase, ratios_of
from tests.helpers.tiny_models import add_dark_finder
from usviewer.cli.bench_cases import Result, Spread, held_frames
from usviewer.errors import UserError
from usviewer.frame import make_frame
from usviewer.infer.registry import add_model, load_spec

PEER_PYTHON = os.environ.get("USVIEWER_PEER_PYTHON", "")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--shapes", "round"], "no shape 'round'. Choose one of rect, square"),
        (["--shapes", ","], "the list ',' is empty"),
        (["--frames", "0"], "--frames 0 cannot be right"),
    ],
)
def test_wrong_options_give_one_sentence(options: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        peer.main(["--python", sys.executable, *options])
    with pytest.raises(UserError, match="--python"):
        peer.main([])


def test_an_environment_without_the_peer_says_what_it_lacks(tmp_path: Path) -> None:
    model = add_dark_finder(tmp_path / "dark")
    options = ["--model", model, "--source", "phantom:?frames=2&screen=0", "--size", "320x240", "--engines", "cpu"]
    with pytest.raises(UserError, match="cannot do that: ModuleNotFoundError"):
        peer.main([*options, "--python", sys.executable, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


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
    assert [times for _, _, times in ratios_of(results)] == [3.0, 8.0]


def test_a_peer_that_does_not_start_is_one_sentence(tmp_path: Path) -> None:
    frames = [make_frame(np.zeros((48, 64, 3), np.uint8), "x", 0)]
    with pytest.raises(UserError, match="does not start"):
        Peer("ultralytics", str(tmp_path / "no-python"), frames, tmp_path)
    with Peer("ultralytics", sys.executable, frames, tmp_path) as other, pytest.raises(UserError, match="ultralytics"):
        PeerCase(other, "model.onnx", load_spec("aorta"), 1, drawn=False)


def test_the_peers_script_is_never_imported() -> None:
    text = PEERS["ultralytics"].read_text()
    assert "import ultralytics" in text and "benchmarks.peer_ultralytics" not in sys.modules


@pytest.mark.peer
@pytest.mark.skipif(not PEER_PYTHON, reason="USVIEWER_PEER_PYTHON names no environment with the peer")
def test_the_peer_runs_the_same_file(tmp_path: Path) -> None:
    from tests.helpers.onnx_graphs import yolov8n

    yolov8n(tmp_path / "model.onnx", height=320, width=320)
    spec = add_model(tmp_path / "model.onnx", "peer")
    frames = held_frames("phantom:?frames=2", (320, 240), 2)
    with Peer("ultralytics", PEER_PYTHON, frames, tmp_path) as other:
        case = PeerCase(other, str(spec.path), spec, 1, drawn=False)
        times = case.run(3)
    assert len(times) == 3 and all(stages["total"] > 0 for stages in times) and "ultralytics" in case.engine
