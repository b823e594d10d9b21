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
from models.training.mobilenet import MobileUNet  # noqa: E402
from models.training.pictures import fold_of_exams, input_spec, place_picture  # noqa: E402
from models.training.sources import read_gray  # noqa: E402
from usviewer.infer.manifest import read_manifest  # noqa: E402
from usviewer.infer.predictor import Predictor  # noqa: E402
from usviewer.measure import geometry  # noqa: E402

pytestmark = pytest.mark.train

ELLIPSE = fetal_head.Ellipse((70.3, 50.8), (44.0, 30.0), 0.4)


def test_coverage_has_the_area_and_centre_of_the_ellipse() -> None:
    share = fetal_head.coverage(ELLIPSE.map_from_circle(), (140, 100))
    rows, columns = np.mgrid[0:100, 0:140] + 0.5
    assert share.sum() == pytest.approx(math.pi * 44 * 30, rel=1e-3)
    assert (share * columns).sum() / share.sum() == pytest.approx(70.3, abs=0.02)
    assert (share * rows).sum() / share.sum() == pytest.approx(50.8, abs=0.02)


def test_circumference_of_known_ellipses() -> None:
    # Complete elliptic integrals: docs/clinical.md, "Circumference, diameters and cephalic index".
    for axes, expected in (((50, 50), 314.1593), ((50, 40), 283.6167), ((60, 45), 331.5524)):
        assert fetal_head.circumference(geometry.Ellipse((0, 0), *axes, 0.0)) == pytest.approx(expected, abs=1e-3)


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
    heads = fetal_head.list_heads(data)
    assert len(heads) == 799
    ellipses = [geometry.Ellipse(h.ellipse.center_xy_px, *h.ellipse.semi_axes_px, 0.0) for h in heads]
    hc_mm = [fetal_head.circumference(e) * h.mm_per_px for e, h in zip(ellipses, heads, strict=True)]
    assert np.abs(np.subtract(hc_mm, [h.circumference_mm for h in heads])).mean() < 0.12


@pytest.mark.data
def test_the_truth_at_the_network_s_size_is_nearly_perfect(data: Path) -> None:
    spec = input_spec(192, 128)
    contract = spec_of(fetal_head.manifest_of(192, 128, 0.5, {}))
    scores = []
    for head in fetal_head.list_heads(data)[:12]:
        gray = read_gray(head.path)
        placement = place_picture(gray, spec).placement
        placed = fetal_head.then(head.ellipse.map_from_circle(), fetal_head.placement_matrix(placement))
        share = fetal_head.coverage(placed, (192, 128)).clip(1e-3, 1 - 1e-3)
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
