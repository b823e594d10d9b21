"""Geometry of the fetal head recipe, and a short run of it."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training import fetal_head  # noqa: E402
from models.training.bundle import find, spec_of  # noqa: E402
from models.training.data.heads import coverage, list_heads, map_from_circle, placement_matrix, then  # noqa: E402
from models.training.data.pictures import fold_of_exams, input_spec, place_picture  # noqa: E402
from models.training.data.sources import read_gray  # noqa: E402
from models.training.networks.mobilenet import MobileUNet  # noqa: E402
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


def test_mobile_net_u_net_keeps_within_its_parameters() -> None:
    model = MobileUNet().eval()
    assert sum(p.numel() for p in model.parameters()) <= 4_400_000
    with torch.no_grad():
        assert model(torch.zeros(2, 1, 64, 96, dtype=torch.uint8)).shape == (2, 1, 64, 96)


def test_pictures_of_one_exam_share_a_fold() -> None:
    exams = ["010", "011", "010", "012", "013", "011"]
    fold = fold_of_exams(exams, 3)
    assert fold[0] == fold[2] and fold[1] == fold[5]
    assert set(fold.tolist()) == {0, 1, 2}


@pytest.mark.data
def test_annotations_lie_on_the_table_s_circumference(data: Path) -> None:
    heads = list_heads(data)
    assert len(heads) == 799
    hc_mm = [h.ellipse.circumference * h.mm_per_px for h in heads]
    assert np.abs(np.subtract(hc_mm, [h.circumference_mm for h in heads])).mean() < 0.12


@pytest.mark.data
def test_the_truth_at_the_network_s_size_is_nearly_perfect(data: Path) -> None:
    spec = input_spec(192, 128)
    contract = spec_of(fetal_head.manifest_of(192, 128, 0.5, {}))
    scores = []
    for head in list_heads(data)[:12]:
        gray = read_gray(head.path)
        placement = place_picture(gray, spec).placement
        placed = then(head.map_from_circle(), placement_matrix(placement))
        share = coverage(placed, (192, 128)).clip(1e-3, 1 - 1e-3)
        found = find(np.log(share / (1 - share))[None], placement, contract)
        scores.append(fetal_head.score_picture(head, gray.shape[::-1], found))
    figures = fetal_head.summary(scores)
    assert figures["dice"] > 0.995
    assert figures["adf_mm"] < 0.15


@pytest.mark.data
def test_a_short_run_learns_and_exports(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = ["fetal_head", "--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    short = ["--limit", "12", "--steps", "15", "--batch", "4", "--width", "96", "--height", "64"]
    for extra in (["--fold", "0"], []):
        monkeypatch.setattr(sys, "argv", common + short + extra)
        fetal_head.main()
    state = torch.load(tmp_path / "work" / "all" / "checkpoint.pt", weights_only=True)
    losses = [row["loss"] for row in state["history"]]
    assert losses[-1] < 0.9 * losses[0]
    assert json.loads((tmp_path / "work" / "fold-0.json").read_text())["summary"]["dice"] > 0
    spec = read_manifest(tmp_path / "out")
    Predictor(spec, "cpu", 1)  # the golden case passes
    assert spec.labels[0].edge == "outer"
    assert "van den Heuvel" in (tmp_path / "out" / "CARD.md").read_text()
