"""``usviewer evaluate`` with a model that is pointed at, on folders whose answers are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.prompt_graphs import prompt_model
from usviewer.__main__ import main
from usviewer.errors import UserError
from usviewer.evaluate.datasets import DatasetKind, DatasetOptions, open_dataset
from usviewer.infer.registry import add_model


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    return np.hypot(x - centre[0], y - centre[1]) < radius


def write_pair(folder: Path, number: int, shown: np.ndarray, truth: np.ndarray) -> None:
    """A picture with dark places, and the mask of what is true at twice its size."""
    folder.mkdir(exist_ok=True)
    picture = np.full(shown.shape, 180, np.uint8)
    picture[shown] = 30
    cv2.imwrite(str(folder / f"Test_Image_{number}.png"), picture)
    large = cv2.resize(truth.astype(np.uint8) * 255, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(folder / f"mask_{number}.png"), large)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """One structure that is there, one whose truth is larger than what can be seen."""
    folder = tmp_path / "pairs"
    write_pair(folder, 1, disc((128, 128), (60, 64), 18), disc((128, 128), (60, 64), 18))
    write_pair(folder, 2, disc((128, 128), (70, 60), 12), disc((128, 128), (70, 60), 22))
    return folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    prompt_model(tmp_path / "pointed")
    return add_model(tmp_path / "pointed").id


def test_pairs_are_read_at_the_size_of_their_pictures(pairs: Path) -> None:
    dataset = open_dataset(str(pairs), DatasetOptions())
    assert (dataset.kind, dataset.labels, dataset.count) == (DatasetKind.MASKS, ("structure",), 2)
    first, second = dataset.samples()
    assert (first.name, second.name) == ("Test_Image_1.png", "Test_Image_2.png")
    assert np.array_equal(first.truth.masks["structure"], disc((128, 128), (60, 64), 18))


def test_a_mask_of_another_shape_or_with_two_pictures_is_refused(pairs: Path) -> None:
    cv2.imwrite(str(pairs / "mask_1.png"), np.zeros((100, 300), np.uint8))
    with pytest.raises(UserError, match="another shape"):
        list(open_dataset(str(pairs), DatasetOptions()).samples())
    cv2.imwrite(str(pairs / "Other_1.png"), np.zeros((128, 128), np.uint8))
    with pytest.raises(UserError, match="belong to one mask"):
        open_dataset(str(pairs), DatasetOptions())


def test_the_whole_command_gives_figures_and_pictures(pairs: Path, model: str, tmp_path: Path) -> None:
    assert main(["evaluate", model, str(pairs), "--out", str(tmp_path / "out"), "--engine", "cpu"]) == 0
    with (tmp_path / "out" / "structures.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    seen, larger = rows["Test_Image_1.png"], rows["Test_Image_2.png"]
    assert float(seen["dice_clicks_1"]) > 0.9
    # What cannot be seen is not outlined: 2 * 12^2 / (12^2 + 22^2), were the click's answer exact.
    assert float(larger["dice_clicks_1"]) == pytest.approx(0.46, abs=0.06)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    mean = (float(seen["dice_clicks_1"]) + float(larger["dice_clicks_1"])) / 2
    assert summary["scores"]["dice_clicks_1"]["value"] == pytest.approx(mean, abs=1e-3)
    assert {"dice_box", "dice_clicks_3", "score_error_clicks_1"} <= set(summary["scores"])
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<figure>") == 2
    assert page.index("Test_Image_2") < page.index("Test_Image_1")  # the worst first


def test_equal_runs_give_equal_files(pairs: Path, model: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["evaluate", model, str(pairs), "--out", str(tmp_path / name), "--engine", "cpu"]) == 0
    for file in ("structures.csv", "summary.json", "index.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_data_set_without_outlines_is_refused(pairs: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", model, str(pairs), "--negatives"]) != 0
    assert "outlines to point at" in " ".join(capsys.readouterr().err.split())


@pytest.mark.data
def test_the_real_test_sets_are_recognised(data: Path) -> None:
    for folder, count in (("prompt_breast_stu", 42), ("prompt_ovary_mmotu", 10)):
        dataset = open_dataset(str(data / folder), DatasetOptions())
        assert (dataset.kind, dataset.count) == (DatasetKind.MASKS, count)
        sample = next(iter(dataset.samples()))
        assert all(mask.any() for mask in sample.truth.masks.values())
