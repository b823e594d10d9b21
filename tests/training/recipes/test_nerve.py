"""Groups, loss and scores of the nerve recipe, and a short run of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training.recipe import run  # noqa: E402
from models.training.recipes import nerve  # noqa: E402
from usviewer.infer.manifest import read_manifest  # noqa: E402
from usviewer.infer.prediction import Instance  # noqa: E402
from usviewer.infer.predictor import Predictor  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.data
def test_pictures_stored_twice_share_a_group(data: Path) -> None:
    group = {picture.name: picture.group for picture in nerve.load_nerves(data)}
    assert group["0043"] == group["0077"] != group["0014"] == group["0083"]
    assert group["0006"] == group["0056"]
    assert group["0001"] != group["0002"]


def test_loss_prefers_the_right_class_and_pools_its_target() -> None:
    classes = torch.zeros(1, 16, 16, dtype=torch.uint8)
    classes[:, 4:12, 4:12] = nerve.NERVE
    right = torch.stack([classes == nerve.NERVE, classes == nerve.VESSEL], dim=1).float() * 20 - 10
    wrong = right[:, [1, 0]]
    assert float(nerve.outline_loss(right, classes)) < 0.05 < 1 < float(nerve.outline_loss(wrong, classes))
    half = torch.nn.functional.avg_pool2d(right, 2)
    assert float(nerve.outline_loss(half, classes)) < 0.05


def answer(score: float, truth: np.ndarray, kind: str = "nerve") -> nerve.NerveAnswer:
    blank = np.zeros((10, 10), np.uint8)
    found = Instance("nerve", 0, score, (2, 3, 6, 7), np.ones((4, 4), np.bool_), (2, 3))
    picture = nerve.ClassPicture(kind, "x", "x", blank, truth.astype(np.uint8))
    return nerve.NerveAnswer(picture, (found,) if score else ())


def test_dice_and_false_alarms_obey_the_gate() -> None:
    truth = np.zeros((10, 10))
    truth[3:7, 2:4] = nerve.NERVE
    assert answer(0.7, truth).dice(nerve.NERVE, 0.6) == pytest.approx(2 * 8 / (16 + 8))
    assert answer(0.7, truth).dice(nerve.NERVE, 0.8) == 0.0
    nothing = np.zeros((10, 10))
    figures = nerve.summary([answer(0.7, truth), answer(0.0, nothing, "carotid")])
    assert figures["false_alarms"] == 0.0 and figures["missed"] == 0.0
    assert nerve.summary([answer(0.7, truth), answer(0.7, nothing, "carotid")])["false_alarms"] == 1.0


def test_presence_is_judged_by_the_order_of_the_scores() -> None:
    rows = [{"best": value} for value in (0.9, 0.8, 0.4)]
    assert nerve.presence_auc(rows, [{"best": 0.1}]) == 1.0
    assert nerve.presence_auc(rows, [{"best": 0.8}]) == pytest.approx((1 + 0.5) / 3)
    assert nerve.presence_auc(rows, []) == 0.0


def test_the_gate_weighs_outlines_against_false_alarms() -> None:
    rows = [{"nerve_dice": {"0.5": 0.8, "0.6": 0.8, "0.7": 0.3}}]
    others = [{"best": 0.55}]
    assert nerve.worth(rows, others, 0.6) > max(nerve.worth(rows, others, gate) for gate in (0.5, 0.7))


@pytest.mark.data
def test_a_short_run_learns_scores_a_fold_and_exports(data: Path, tmp_path: Path) -> None:
    places = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    short = ["--limit", "10", "--steps", "16", "--batch", "4", "--width", "64", "--height", "64", "--scenes", "4"]
    for extra in (["--fold", "0"], []):
        run(nerve.RECIPE, [*places, *short, *extra])
    state = torch.load(tmp_path / "work" / "all" / "checkpoint.pt", weights_only=True)
    losses = [row["loss"] for row in state["history"]]
    assert losses[-1] < 0.9 * losses[0]
    spec = read_manifest(tmp_path / "out")
    Predictor(spec, "cpu", 1)  # the golden case passes
    assert [label.name for label in spec.labels] == ["nerve", "vessel"]
    assert "1 of 5 folds" in (tmp_path / "out" / "CARD.md").read_text()
