"""Geometry of the fetal head recipe, and a short run of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from models.training.data.heads import (  # noqa: E402
    SPAIN,
    coverage,
    list_heads,
    list_spanish_heads,
    map_from_circle,
    placement_matrix,
    then,
)
from models.training.data.pictures import place_picture  # noqa: E402
from models.training.data.sources import read_gray  # noqa: E402
from models.training.recipe import parse_options, run  # noqa: E402
from models.training.recipes import fetal_head  # noqa: E402
from models.training.viewer import find, spec_of  # noqa: E402
from usviewer.infer.manifest import read_manifest  # noqa: E402
from usviewer.infer.predictor import Predictor  # noqa: E402
from usviewer.measure.geometry import Ellipse  # noqa: E402

pytestmark = pytest.mark.train

ELLIPSE = Ellipse((70.3, 50.8), 44.0, 30.0, 0.4)


def test_coverage_has_the_area_and_centre_of_the_ellipse() -> None:
    share = coverage(map_from_circle(ELLIPSE), (140, 100))
    rows, columns = np.mgrid[0:100, 0:140] + 0.5
    assert share.sum() == pytest.approx(math.pi * 44 * 30, rel=1e-3)
    assert (share * columns).sum() / share.sum() == pytest.approx(70.3, abs=0.02)
    assert (share * rows).sum() / share.sum() == pytest.approx(50.8, abs=0.02)


@pytest.mark.data
def test_annotations_lie_on_the_table_s_circumference(data: Path) -> None:
    heads = list_heads(data)
    assert len(heads) == 799
    hc_mm = [h.ellipse.circumference * h.mm_per_px for h in heads]
    assert np.abs(np.subtract(hc_mm, [h.circumference_mm for h in heads])).mean() < 0.12


@pytest.mark.data
def test_heads_of_other_scanners_are_those_that_are_outlined(data: Path) -> None:
    heads = list_spanish_heads(data)
    assert len(heads) == 451  # of 479; in the others the head is cut off, and only structures are outlined
    assert all(head.origin == SPAIN and math.isnan(head.mm_per_px) for head in heads)
    assert min(head.ellipse.semi_minor for head in heads) > 40


@pytest.mark.data
def test_the_truth_at_the_network_s_size_is_nearly_perfect(data: Path) -> None:
    options = parse_options(fetal_head.RECIPE, ["--width", "192", "--height", "128"])
    contract = spec_of(fetal_head.manifest(options, 0.5, {}))
    scores = []
    for head in list_heads(data)[:12]:
        gray = read_gray(head.path)
        placement = place_picture(gray, options.input).placement
        placed = then(head.map_from_circle(), placement_matrix(placement))
        share = coverage(placed, (192, 128)).clip(1e-3, 1 - 1e-3)
        found = find(np.log(share / (1 - share))[None], placement, contract)
        scores.append(fetal_head.score_picture(head, gray.shape[::-1], found))
    figures = fetal_head.summary(scores)
    assert figures["dice"] > 0.995
    assert figures["adf_mm"] < 0.15


@pytest.mark.data
def test_a_short_run_learns_scores_a_fold_and_exports(data: Path, tmp_path: Path) -> None:
    places = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    short = ["--limit", "12", "--steps", "15", "--batch", "4", "--width", "96", "--height", "64"]
    for extra in (["--fold", "0"], []):
        run(fetal_head.RECIPE, [*places, *short, *extra])
    state = torch.load(tmp_path / "work" / "all" / "checkpoint.pt", weights_only=True)
    losses = [row["loss"] for row in state["history"]]
    assert losses[-1] < 0.9 * losses[0]
    assert json.loads((tmp_path / "work" / "fold-0.json").read_text())["summary"]["dice"] > 0
    spec = read_manifest(tmp_path / "out")
    Predictor(spec, "cpu", 1)  # the golden case passes
    assert spec.labels[0].edge == "outer"
    assert "van den Heuvel" in (tmp_path / "out" / "CARD.md").read_text()


def head_score(score: float, likeness: float = 1.0) -> fetal_head.HeadScore:
    return fetal_head.HeadScore("a", "a", 0.9, 0.8, 300.0, 301.0, score, likeness, 0.5)


def test_other_scanners_have_their_own_row_and_no_millimetres() -> None:
    other = fetal_head.HeadScore("b", "b", 0.8, 0.7, math.nan, math.nan, 0.9, 1.0, math.nan, SPAIN)
    figures = fetal_head.summary([head_score(0.9), other])
    assert figures["dice"] == pytest.approx(0.9) and figures["dice_other_scanners"] == pytest.approx(0.8)
    assert figures["adf_mm"] == pytest.approx(1.0) and figures["missed"] == 0


def test_the_gate_lies_between_mistakes_and_heads() -> None:
    figures = fetal_head.figures_at_gate([head_score(0.9), head_score(0.9)], [0.0, 0.6])
    assert figures.gate == 0.75 and figures.false_alarms == 0.0 and figures.refused == 0.0
    assert fetal_head.figures_at_gate([], [0.0]).gate == 0.75
    assert figures.measured(head_score(0.8)) and not figures.measured(head_score(0.7))
    assert not figures.measured(head_score(0.8, likeness=0.1))
