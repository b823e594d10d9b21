"""Groups, loss and scores of the nerve recipe, and a short run of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training import nerve  # noqa: E402
from usviewer.infer.manifest import read_manifest  # noqa: E402
from usviewer.infer.predictor import Predictor  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.data
def test_pictures_stored_twice_share_a_group(data: Path) -> None:
    wanted = {"0043", "0077", "0014", "0083", "0006", "0056", "0001", "0002"}
    samples = [s for s in nerve.load_nerves(data) if s.name in wanted]
    groups = dict(zip((s.name for s in samples), nerve.duplicate_groups(samples), strict=True))
    assert groups["0043"] == groups["0077"] != groups["0014"] == groups["0083"]
    assert groups["0006"] == groups["0056"]
    assert groups["0001"] != groups["0002"]


def test_loss_prefers_the_right_class_and_pools_its_target() -> None:
    classes = torch.zeros(1, 16, 16, dtype=torch.uint8)
    classes[:, 4:12, 4:12] = nerve.NERVE
    right = torch.nn.functional.one_hot(classes.long(), 3).permute(0, 3, 1, 2).float() * 20 - 10
    wrong = right[:, [0, 2, 1]]
    assert float(nerve.outline_loss(right, classes)) < 0.05 < 1 < float(nerve.outline_loss(wrong, classes))
    half = torch.nn.functional.avg_pool2d(right, 2)
    assert float(nerve.outline_loss(half, classes)) < 0.05


def found(gate_score: float, truth: np.ndarray) -> nerve.NerveAnswer:
    mask = np.ones((4, 4), np.bool_)
    sample = nerve.ClassPicture("nerve", "x", np.zeros((10, 10), np.uint8), truth.astype(np.uint8))
    return nerve.NerveAnswer(sample, "x", [(gate_score, mask, (2, 3))], [])


def test_dice_and_false_alarms_obey_the_gate() -> None:
    truth = np.zeros((10, 10))
    truth[3:7, 2:4] = nerve.NERVE
    assert nerve.dice_of(found(0.7, truth), nerve.NERVE, 0.6) == pytest.approx(2 * 8 / (16 + 8))
    assert nerve.dice_of(found(0.7, truth), nerve.NERVE, 0.8) == 0.0
    empty = nerve.NerveAnswer(
        nerve.ClassPicture("carotid", "y", truth.astype(np.uint8), np.zeros((10, 10), np.uint8)), "y", [], []
    )
    figures = nerve.summary([found(0.7, truth), empty], 0.6)
    assert figures["false_alarms"] == 0.0
    assert figures["missed"] == 0.0


@pytest.mark.data
def test_a_short_run_learns_and_exports(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nerve, "SIMULATED", 4)
    common = ["nerve", "--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*common, "--limit", "10", "--steps", "16", "--batch", "4", "--side", "64"])
    nerve.main()
    state = torch.load(tmp_path / "work" / "all" / "checkpoint.pt", weights_only=True)
    losses = [row["loss"] for row in state["history"]]
    assert losses[-1] < 0.9 * losses[0]
    spec = read_manifest(tmp_path / "out")
    Predictor(spec, "cpu", 1)  # the golden case passes
    assert [label.name for label in spec.labels] == ["nerve", "vessel"]
