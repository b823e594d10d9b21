"""The whole command on small folders whose answers are known, and single verdicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.tiny_models import add_box_finder, add_dark_finder
from usviewer.__main__ import main
from usviewer.evaluate.datasets import Dataset, DatasetKind, DatasetOptions, open_dataset
from usviewer.evaluate.datasets.dataset import EllipseTruth, LabelledBox
from usviewer.evaluate.verdict import Outcome, box_iou, match_labels, matched_ious, outcome_of, read_mask

LUMEN = EllipseTruth((64.0, 48.0), 20.0, 16.0, 0.0)


def write_case(folder: Path, stem: str, shown: EllipseTruth | None, truth: EllipseTruth | None) -> None:
    """A picture that is dark inside one ellipse, labelled with another."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    picture = np.full((96, 128), 200, np.uint8)
    if shown:
        picture[shown.mask(128, 96)] = 0
    mask = truth.mask(128, 96).astype(np.uint8) if truth else np.zeros((96, 128), np.uint8)
    cv2.imwrite(str(folder / "images" / f"{stem}.png"), picture)
    cv2.imwrite(str(folder / "masks" / f"{stem}.png"), mask)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Two exact, one 4 pixels too deep at both ends, one missed, one elsewhere, one false alarm, one rightly none."""
    folder, larger, away = (
        tmp_path / "own",
        EllipseTruth((64.0, 48.0), 20.0, 20.0, 0.0),
        EllipseTruth((20.0, 20.0), 9.0, 9.0, 0.0),
    )
    rows = {
        "exact-1": (LUMEN, LUMEN),
        "exact-2": (LUMEN, LUMEN),
        "larger": (larger, LUMEN),
        "missed": (None, LUMEN),
        "elsewhere": (away, LUMEN),
        "false": (LUMEN, None),
        "none": (None, None),
    }
    for stem, (shown, truth) in rows.items():
        write_case(folder, stem, shown, truth)
    return folder


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def scores(folder: Path, section: str) -> dict[str, dict[str, float]]:
    content = json.loads((folder / "summary.json").read_text())
    return content["scores"][section]


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "images.csv").open() as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_figures_of_known_cases(tmp_path: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_dark_finder(tmp_path / "model")
    out = tmp_path / "out"
    assert evaluate("dark", cases, "--out", out, "--mm-per-pixel", "0.5") == 0
    found = scores(out, "aorta")
    assert found["found_percent"]["value"] == pytest.approx(60) and found["found_percent"]["count"] == 5
    assert found["found_half_percent"]["value"] == pytest.approx(60)
    assert found["missed_percent"]["value"] == found["elsewhere_percent"]["value"] == pytest.approx(20)
    assert found["false_alarm_percent"]["value"] == pytest.approx(50)
    assert found["dice_found"]["value"] == pytest.approx((2 + 2 * 16 / 36) / 3, abs=0.02)
    assert found["dice"]["value"] == pytest.approx(found["dice_found"]["value"] * 3 / 5, abs=1e-4)
    assert found["recall"]["value"] == pytest.approx(0.6, abs=0.01)
    by_name = rows(out)
    assert float(by_name["larger.png"]["difference_mm"]) == pytest.approx(4.0, abs=0.3)
    assert float(by_name["exact-1.png"]["difference_mm"]) == pytest.approx(0.0, abs=0.25)
    assert float(by_name["exact-1.png"]["true_mm"]) == pytest.approx(16.0, abs=0.1)
    assert by_name["missed.png"]["measured_mm"] == "" and by_name["missed.png"]["dice"] == "0.0"
    assert by_name["none.png"]["dice"] == "" and by_name["false.png"]["outcome"] == "false alarm"
    screen = capsys.readouterr().out
    assert "AP diameter: mean absolute error" in screen and "Dice, misses count 0" in screen


def test_files_are_whole_and_repeatable(tmp_path: Path, cases: Path) -> None:
    add_dark_finder(tmp_path / "model")
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        assert evaluate("dark", cases, "--out", out) == 0
        assert {path.name for path in out.iterdir()} == {"images.csv", "summary.json", "bland-altman.png", "index.html"}
    for name in ("images.csv", "summary.json", "index.html"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()
    picture = cv2.imread(str(outs[0] / "bland-altman.png"))
    assert picture is not None and picture.shape[0] > 300
    text = (outs[0] / "index.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 4  # all that is wrong
    assert "http" not in text and "missed.png" in text
    assert text.index("missed.png") < text.index("larger.png")


def test_without_a_scale_lengths_are_in_pixels(tmp_path: Path, cases: Path) -> None:
    add_dark_finder(tmp_path / "model")
    assert evaluate("dark", cases, "--out", tmp_path / "out") == 0
    found = scores(tmp_path / "out", "aorta")
    assert "length_mae_px" in found and "hd95_px" in found
    assert not [key for key in found if key.endswith("_mm")]
    assert rows(tmp_path / "out")["exact-1.png"]["true_mm"] == ""


def test_head_circumference(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "model", finding="fetal-head", label="fetal head")
    for number, axis in enumerate((16.0, 20.0)):
        write_case(
            tmp_path / "own", str(number), EllipseTruth((64, 48), 30, axis, 20), EllipseTruth((64, 48), 30, axis, 20)
        )
    assert evaluate("dark", tmp_path / "own", "--out", tmp_path / "out", "--mm-per-pixel", "1.0") == 0
    row = rows(tmp_path / "out")["0.png"]
    assert float(row["true_mm"]) == pytest.approx(EllipseTruth((0, 0), 30, 16, 0).circumference_px, abs=0.5)
    assert abs(float(row["difference_mm"])) < 2.5
    low, high = float(row["low_95_mm"]), float(row["high_95_mm"])
    assert low < float(row["measured_mm"]) < high
    found = scores(tmp_path / "out", "fetal head")
    assert found["interval_holds_percent"]["count"] == 2
    assert found["interval_half_width_mm"]["value"] > 0.0


def test_negatives_count_every_mask(tmp_path: Path, cases: Path) -> None:
    add_dark_finder(tmp_path / "model")
    assert evaluate("dark", cases, "--negatives", "--out", tmp_path / "out") == 0
    found = scores(tmp_path / "out", "false alarms")
    assert found["false_alarm_percent"]["value"] == pytest.approx(100 * 5 / 7, abs=1e-3)
    assert not (tmp_path / "out" / "bland-altman.png").exists()


def test_any_folder_of_pictures_may_be_negatives(tmp_path: Path, cases: Path) -> None:
    add_dark_finder(tmp_path / "model")
    assert evaluate("dark", cases / "images", "--out", tmp_path / "refused") == 2
    assert not (tmp_path / "refused").exists()
    assert evaluate("dark", cases / "images", "--negatives", "--out", tmp_path / "out") == 0
    found = scores(tmp_path / "out", "false alarms")
    assert found["false_alarm_percent"]["count"] == 7


def test_label_images_of_a_clip(tmp_path: Path, cases: Path) -> None:
    add_dark_finder(tmp_path / "model")
    names = sorted(path.name for path in (cases / "images").iterdir())
    folder = tmp_path / "analysed"
    (folder / "masks").mkdir(parents=True)
    for index, name in enumerate(names):
        (folder / "masks" / f"{index:06d}.png").write_bytes((cases / "masks" / name).read_bytes())
    assert evaluate("dark", folder, "--frames", cases / "images", "--out", tmp_path / "out") == 0
    assert evaluate("dark", cases, "--out", tmp_path / "same") == 0
    assert scores(tmp_path / "out", "aorta")["dice"]["value"] == scores(tmp_path / "same", "aorta")["dice"]["value"]


def test_a_folder_that_brings_its_own_frames_takes_no_clip(
    tmp_path: Path, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_dark_finder(tmp_path / "model")
    for negatives in ([], ["--negatives"]):
        assert evaluate("dark", cases, "--frames", cases / "images", "--out", tmp_path / "out", *negatives) == 2
        said = capsys.readouterr().err
        assert "--frames is for" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = [(10, 10, 50, 50, (0.9, 0.0)), (60, 20, 100, 60, (0.0, 0.8)), (5, 70, 25, 90, (0.01, 0.0))]
    add_box_finder(tmp_path / "model", boxes, ["csp", "falx"])
    for part in ("images", "labels"):
        (tmp_path / "own" / part).mkdir(parents=True)
    for stem, second in (("a", "1 0.625 0.41667 0.3125 0.41667\n"), ("b", "")):
        cv2.imwrite(str(tmp_path / "own" / "images" / f"{stem}.png"), np.full((96, 128), 90, np.uint8))
        (tmp_path / "own" / "labels" / f"{stem}.txt").write_text(f"0 0.234375 0.3125 0.3125 0.41667\n{second}")
    assert evaluate("boxes", tmp_path / "own", "--out", tmp_path / "out") == 0
    whole, csp, falx = (scores(tmp_path / "out", name) for name in ("all classes", "csp", "falx"))
    assert csp["map50"]["value"] == pytest.approx(1.0) and csp["map50_95"]["value"] > 0.95
    assert falx["precision"]["value"] == 0.5 and falx["recall"]["value"] == 1.0
    assert falx["false_alarm_percent"]["value"] == 100
    # Two equally scored falx boxes, one of them right: COCO ranks the first picture first.
    assert whole["map50"]["value"] == pytest.approx((csp["map50"]["value"] + falx["map50"]["value"]) / 2)
    assert rows(tmp_path / "out")["a.png"]["instances"] == "1"  # the faint box counts for mAP only
    assert "mAP50-95" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("nobody", "phantom"), "There is no model 'nobody'"),
        (("dark", "nowhere"), "There is no nowhere"),
        (("dark", "phantom", "--every", "0"), "--every 0 cannot be right"),
        (("dark", "phantom", "--count", "0"), "--count 0 cannot be right"),
        (("dark", "phantom", "--mm-per-pixel", "wide"), "is not a scale"),
        (("dark", "phantom", "--held-out"), "took no part in training"),
        (("dark", "phantom", "--mm-per-pixel", ""), "is not a scale"),
        (("dark", "phantom", "--frames", "a.mp4"), "--frames is for"),
        (("dark", "phantom", "--frames", ""), "--frames is for"),
        (("dark", "model", "--count", "5"), "--count is for phantoms"),
        (("dark", "phantom:?frames=2", "--scale-sd", "0.01"), "--scale-sd is for phantoms"),
        (("dark", "a" * 300), "There is no aaa"),
        (("dark", "a" * 300, "--negatives"), "the name is too long"),
        (("dark", "phantom", "--count", "1", "--out", "a" * 300), "the name is too long"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    add_dark_finder(tmp_path / "model")
    before = _results_in(tmp_path)
    assert evaluate(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error and error.count("\n") == 1
    assert _results_in(tmp_path) == before


def _results_in(folder: Path) -> list[Path]:
    """What lies in the folder, but for the program's own folders (its log)."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("xdg_"))


def test_models_and_data_that_do_not_fit_are_refused(
    tmp_path: Path, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_box_finder(tmp_path / "boxes", [(10, 10, 50, 50, (0.9,))], ["csp"])
    assert evaluate("boxes", cases, "--out", tmp_path / "out") == 2
    assert "The model gives boxes, the data set has masks" in capsys.readouterr().err
    add_dark_finder(tmp_path / "nerve", "nerve-finder", "nerve", "nerve")
    assert evaluate("nerve-finder", "phantom", "--out", tmp_path / "out") == 2
    assert "The model finds nerve; the data set shows aorta" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_labels_match_by_name_whatever_the_spelling(tmp_path: Path) -> None:
    from usviewer.infer.registry import load_spec

    add_dark_finder(tmp_path / "model", "head", "fetal-head", "Fetal_Head")
    dataset = Dataset("x", DatasetKind.MASKS, ("fetal head",), lambda: iter(()), 0, "exam")
    assert match_labels(dataset, load_spec("head")) == {"fetal head": "Fetal_Head"}


def test_phantom_geometry_is_reported_beside_the_whole_chain(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "model")
    assert evaluate("dark", "phantom:population?count=2", "--out", tmp_path / "out") == 0
    found = scores(tmp_path / "out", "aorta")
    assert found["geometry_mae_mm"]["value"] < 0.15 and found["geometry_mae_mm"]["count"] == 2


def test_geometry_on_a_true_mask_is_the_ellipses_own(tmp_path: Path) -> None:
    from usviewer.infer.registry import load_spec

    add_dark_finder(tmp_path / "model")
    write_case(tmp_path / "own", "a", None, LUMEN)
    (sample,) = open_dataset(str(tmp_path / "own"), DatasetOptions()).samples()
    measured = read_mask(sample.truth.masks["class 1"], sample.frame, load_spec("dark")).get("ap_diameter")
    assert measured is not None and measured.value_px == pytest.approx(32.0, abs=0.2)


def test_outcomes() -> None:
    empty, left, right = np.zeros((2, 2), bool), np.array([[1, 0], [0, 0]], bool), np.array([[0, 1], [0, 0]], bool)
    assert outcome_of(empty, empty) is Outcome.RIGHTLY_NONE
    assert outcome_of(empty, left) is Outcome.FALSE_ALARM
    assert outcome_of(left, empty) is Outcome.MISSED
    assert outcome_of(left, right) is Outcome.ELSEWHERE
    assert outcome_of(left, left | right) is Outcome.FOUND


def test_box_matching_gives_each_true_box_one() -> None:
    assert box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    truth = [(0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)]
    found = [LabelledBox(0, (0.0, 0.0, 10.0, 10.0), 0.9), LabelledBox(0, (1.0, 0.0, 10.0, 10.0), 0.8)]
    assert matched_ious(truth, found) == [1.0, 0.0]


@pytest.mark.data
def test_lung_clips_are_negatives(tmp_path: Path, data: Path) -> None:
    dataset = open_dataset(str(data / "clips_lung_pocovid"), DatasetOptions(every=50, limit=3))
    samples = list(dataset.samples())
    assert dataset.kind is DatasetKind.NEGATIVES and len(samples) == 3
    assert {sample.group for sample in samples} == {"Reg_pat1Image_132943.mpeg"}
