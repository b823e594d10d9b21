"""``usviewer analyze`` with a model of each finding writes what its user needs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.tiny_models import HEIGHT, WIDTH, add_box_finder, add_dark_finder
from usviewer.__main__ import main

CENTRE, AXES = (64, 48), (30, 24)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A bright picture with one dark ellipse of 60 x 48 pixels, which the tiny models outline."""
    pixels = np.full((HEIGHT, WIDTH), 230, np.uint8)
    cv2.ellipse(pixels, (CENTRE, (2 * AXES[0], 2 * AXES[1]), 0), 20, cv2.FILLED)
    path = tmp_path / "still.png"
    cv2.imwrite(str(path), pixels)
    return path


def analysed(out: Path, *arguments: str) -> tuple[dict[str, str], dict]:
    assert main(["analyze", *arguments, "--no-video", "--out", str(out)]) == 0
    with (out / "readings.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    return row, json.loads((out / "summary.json").read_text(encoding="utf-8"))


def test_a_nerve_has_its_area(tmp_path: Path, picture: Path) -> None:
    model = add_dark_finder(tmp_path / "model", "n", "nerve", "nerve")
    row, summary = analysed(tmp_path / "out", str(picture), "--model", model, "--mm-per-pixel", "0.1")
    assert float(row["area_mm2"]) == pytest.approx(np.pi * 30 * 24 * 0.01, rel=0.05)
    assert (float(row["error_edge"]) > 0, row["answer_unit"]) == (True, "mm2")
    assert summary["aggregate"]["unit"] == "mm2"
    silent, _ = analysed(tmp_path / "silent", str(picture), "--model", model)
    assert silent["area_px2"]
    assert silent["area_mm2"] == ""


def test_an_area_is_printed_in_square_units(tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = add_dark_finder(tmp_path / "model", "n", "nerve", "nerve")
    analysed(tmp_path / "out", str(picture), "--model", model, "--mm-per-pixel", "0.1")
    line = next(line for line in capsys.readouterr().err.splitlines() if line.strip().startswith("Nerve, Area"))
    assert line.count(" mm²") == 2


def test_no_nerve_is_a_state_of_its_own(tmp_path: Path, picture: Path) -> None:
    model = add_dark_finder(tmp_path / "model", "v", "nerve", "vessel")
    row, summary = analysed(tmp_path / "out", str(picture), "--model", model)
    assert (row["status"], row["reason"], row["area_px2"]) == ("not visualised", "No nerve seen", "")
    assert summary["aggregate"] is None


def test_a_head_has_its_biometry(tmp_path: Path, picture: Path) -> None:
    model = add_dark_finder(tmp_path / "model", "h", "fetal-head", "fetal head")
    options = ("--model", model, "--mm-per-pixel", "1.0", "--gestational-age-weeks", "20+0")
    row, summary = analysed(tmp_path / "out", str(picture), *options)
    assert float(row["head_circumference_mm"]) == pytest.approx(170.1, abs=3)
    assert float(row["cephalic_index_percent"]) == pytest.approx(80.0, abs=2)
    assert row["gestational_age_hadlock_weeks"] == ""  # this model outlines the inner edge
    assert "outer edge" in row["warnings"]
    assert summary["biometry"]["biparietal_diameter"] == pytest.approx(48, abs=1.5)


def test_a_brain_says_what_was_seen(tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = [(10, 10, 40, 30, (0.8, 0.0)), (60, 50, 90, 70, (0.0, 0.6))]
    model = add_box_finder(tmp_path / "model", boxes, ("CSP", "MIDLINE_FALX"))
    row, summary = analysed(tmp_path / "out", str(picture), "--model", model)
    assert (row["csp_score"], row["midline_falx_score"], row["choroid_plexus_score"]) == ("0.8", "0.6", "")
    assert summary["structures"]["CSP"] == {"frames": 1, "share": 1.0, "best_score": 0.8, "best_frame": 0}
    assert summary["planes"]["transventricular"]["missing"] == ["CHOROID_PLEXUS"]
    assert "Choroid plexus not seen" in capsys.readouterr().err


def test_an_aorta_has_its_site_and_the_table_that_was_asked_for(tmp_path: Path, picture: Path) -> None:
    model = add_dark_finder(tmp_path / "model", "a")
    options = ("--model", model, "--mm-per-pixel", "0.4", "--site", "distal", "--reference", "nhs")
    row, summary = analysed(tmp_path / "out", str(picture), *options)
    assert row["site"] == "distal"
    assert float(row["answer_low_95"]) < float(row["ap_diameter_mm"]) < float(row["answer_high_95"])
    assert summary["sweep"][0]["site"] == "distal"
    assert "no surveillance" in summary["reference"]["says"]
    outer, _ = analysed(tmp_path / "px", str(picture), "--model", model, "--reference", "nhs")
    assert outer["answer_unit"] == "px" and float(outer["answer_low_95"]) < float(outer["ap_diameter_px"])


@pytest.mark.parametrize("option", [("--site", "middle"), ("--reference", "esvs"), ("--gestational-age-weeks", "99")])
def test_what_is_not_known_is_one_sentence(
    picture: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    assert main(["analyze", str(picture), *option]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
