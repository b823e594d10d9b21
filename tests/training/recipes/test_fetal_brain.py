"""Boxes, average precision and a short run of the fetal brain recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training.boxes import Detections, average_precision, move_boxes  # noqa: E402
from models.training.recipe import parse_options, run  # noqa: E402
from models.training.recipes import fetal_brain  # noqa: E402
from usviewer.infer.manifest import read_manifest  # noqa: E402
from usviewer.infer.predictor import Predictor  # noqa: E402

pytestmark = pytest.mark.train

TRUTH = np.array([[0.0, 10, 10, 50, 30]])


def seen(scores: list[float], boxes: list[list[float]], truth: np.ndarray = TRUTH) -> Detections:
    return Detections(
        "a", "a", np.zeros(len(scores), np.int64), np.array(scores), np.array(boxes).reshape(-1, 4), truth
    )


def test_boxes_do_not_grow_by_turning_and_are_dropped_outside() -> None:
    quarter = np.array([[0.0, -1.0, 40.0], [1.0, 0.0, 0.0]])  # (x, y) -> (40 - y, x)
    moved = move_boxes(TRUTH, quarter, (100, 100))
    assert moved[0, 1:].tolist() == pytest.approx([10, 10, 30, 50])
    slight = np.deg2rad(5)
    turn = np.array([[np.cos(slight), -np.sin(slight), 0], [np.sin(slight), np.cos(slight), 0]])
    box = move_boxes(TRUTH, turn, (100, 100))[0, 1:]
    assert (box[2] - box[0]) * (box[3] - box[1]) < 40 * 20 * 1.05
    away = np.array([[1.0, 0.0, 60.0], [0.0, 1.0, 0.0]])
    assert len(move_boxes(TRUTH, away, (85, 100))) == 0


def test_average_precision_of_known_cases() -> None:
    right, wrong = TRUTH[0, 1:].tolist(), [60.0, 60.0, 80.0, 80.0]
    assert average_precision([seen([0.9], [right])], 0, 0.5) == pytest.approx(1.0)
    assert average_precision([seen([0.9, 0.5], [wrong, right])], 0, 0.5) == pytest.approx(0.5)
    assert average_precision([seen([0.9, 0.5], [right, right])], 0, 0.5) == pytest.approx(1.0)
    # One of two objects found: precision 1 up to recall 0.5, 51 of the 101 points.
    assert average_precision([seen([0.9], [right]), seen([], [])], 0, 0.5) == pytest.approx(51 / 101)
    shifted = [right[0] + 10, right[1], right[2] + 10, right[3]]  # IoU 0.6
    assert average_precision([seen([0.9], [shifted])], 0, 0.55) == pytest.approx(1.0)
    assert average_precision([seen([0.9], [shifted])], 0, 0.65) == 0.0


def test_average_precision_agrees_with_pycocotools() -> None:
    pytest.importorskip("pycocotools")
    from usviewer.evaluate.average_precision import BoxSample
    from usviewer.evaluate.average_precision import average_precision as reference
    from usviewer.evaluate.datasets.dataset import LabelledBox

    rng = np.random.default_rng(5)
    found, samples = [], []
    for number in range(12):
        truth = np.array([[c, *(start := rng.uniform(0, 60, 2)), *(start + rng.uniform(15, 40, 2))] for c in (0, 1, 2)])
        boxes = np.vstack([truth[:, 1:] + rng.normal(0, 3, (3, 4)), rng.uniform(0, 100, (2, 4))])
        boxes[3:, 2:] = boxes[3:, :2] + 20
        classes, scores = np.array([0, 1, 2, 0, 1]), rng.uniform(0.1, 1, 5)
        order = np.argsort(-scores)
        found.append(Detections(str(number), str(number), classes[order], scores[order], boxes[order], truth))
        predicted = tuple(
            LabelledBox(int(c), tuple(b), float(s)) for c, b, s in zip(classes, boxes, scores, strict=True)
        )
        wanted = tuple(LabelledBox(int(row[0]), tuple(row[1:])) for row in truth)
        samples.append(BoxSample((120, 120), wanted, predicted, str(number)))
    figures, expected = fetal_brain.summary(found), reference(samples, 3, resamples=2)
    assert expected is not None
    assert figures["map50"] == pytest.approx(expected.map50.value, abs=1e-6)
    assert figures["map50_95"] == pytest.approx(expected.map50_95.value, abs=1e-6)


def test_the_gate_counts_right_wrong_and_missed_boxes() -> None:
    right, wrong = TRUTH[0, 1:].tolist(), [60.0, 60.0, 80.0, 80.0]
    assert fetal_brain.counts([seen([0.9], [right])], 0.5) == (1, 0, 0)
    assert fetal_brain.counts([seen([0.9], [wrong])], 0.5) == (0, 1, 1)
    assert fetal_brain.counts([seen([0.4], [right])], 0.5) == (0, 0, 1)


def test_what_a_fold_keeps_is_read_again() -> None:
    answer = seen([0.9, 0.2], [TRUTH[0, 1:].tolist(), [1.0, 2.0, 3.0, 4.0]])
    again = fetal_brain.recorded(json.loads(json.dumps(fetal_brain.record(answer))))
    assert np.array_equal(again.boxes, answer.boxes) and np.array_equal(again.truth, answer.truth)
    assert fetal_brain.summary([again]) == fetal_brain.summary([answer])


@pytest.mark.data
def test_pre_training_sees_complete_pictures_of_other_scanners_only(data: Path) -> None:
    options = parse_options(fetal_brain.RECIPE, ["--data", str(data)])
    pictures = fetal_brain.split(options)
    assert len(pictures.tested) == 161
    assert not fetal_brain.MISLABELLED & {one.name for one in pictures.trained}
    others = fetal_brain.split_of_other_scanners(options).trained
    assert len(others) > 200 and not {one.exam for one in pictures.tested} & {one.exam for one in others}
    assert all(sorted(one.boxes[:, 0]) == [0, 1, 2] for one in others)


@pytest.mark.data
def test_a_short_run_learns_from_its_pre_training_and_exports(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    short = ["--limit", "9", "--steps", "16", "--batch", "4", "--width", "96", "--height", "64"]
    for extra in (["--pretrain"], ["--fold", "0"], []):
        run(fetal_brain.RECIPE, [*places, *short, *extra])
    state = torch.load(tmp_path / "work" / "pretrain" / "checkpoint.pt", weights_only=True)
    losses = [row["loss"] for row in state["history"]]
    assert losses[-1] < 0.9 * losses[0]
    assert "weights from" in capsys.readouterr().out
    spec = read_manifest(tmp_path / "out")
    Predictor(spec, "cpu", 1)  # the golden case passes
    assert spec.output.name == "output0"
    assert "1 of 5 folds" in (tmp_path / "out" / "CARD.md").read_text()
