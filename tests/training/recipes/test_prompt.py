"""Simulated structures and prompts, the network's drawing of prompts, and a short run of the recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training import prompting  # noqa: E402
from models.training.data import prompt_pictures, prompt_scenes  # noqa: E402
from models.training.networks.prompt import GRID, LOGIT_PX, SIDE_PX, PromptNetwork, draw_prompts  # noqa: E402
from models.training.recipe import run  # noqa: E402
from models.training.recipes import prompt  # noqa: E402
from usviewer.frame import make_frame  # noqa: E402
from usviewer.infer.golden import read_picture  # noqa: E402
from usviewer.infer.manifest import read_manifest  # noqa: E402
from usviewer.infer.prompt import at_point  # noqa: E402
from usviewer.infer.prompt.prompt_model import PromptModel  # noqa: E402

pytestmark = pytest.mark.train


def disc(centre: tuple[float, float], radius: float, side: int = LOGIT_PX) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side] + 0.5
    return np.hypot(x - centre[0], y - centre[1]) < radius


def test_shapes_have_the_size_asked_for_in_every_family() -> None:
    y, x = np.mgrid[0:200, 0:200].astype(np.float32) + 0.5
    for family in (*prompt_scenes.FAMILIES, prompt_scenes.HELD_OUT_FAMILY):
        for seed in range(5):
            shape = prompt_scenes.random_shape(np.random.default_rng(seed), (100, 100), 60, family)
            inside = shape.distance(x, y) < 0
            assert 30 < 2 * np.sqrt(inside.sum() / np.pi) < 100, (family, seed)
            assert cv2.connectedComponents(inside.astype(np.uint8))[0] <= 3  # lobes may hang by a thread


def test_a_scene_shows_the_structures_it_labels_and_repeats() -> None:
    scenes = [prompt_scenes.render_scene(np.random.default_rng(7), None) for _ in range(2)]
    assert np.array_equal(scenes[0].image, scenes[1].image) and np.array_equal(scenes[0].planes, scenes[1].planes)
    masks = [((scenes[0].planes >> bit) & 1).astype(bool) for bit in range(8)]
    assert all(prompt_scenes.is_visible(scenes[0].image, mask) for mask in masks if mask.any())
    assert not prompt_scenes.is_visible(np.full((320, 320), 90, np.uint8), disc((160, 160), 50, 320))


def test_targets_keep_nested_structures_apart() -> None:
    outer, inner = disc((128, 128), 60, SIDE_PX), disc((128, 128), 20, SIDE_PX)
    masks = prompt_pictures.targets(prompt_scenes.pack([outer, inner, disc((20, 20), 3, SIDE_PX)]))
    assert [round(float((mask > 127).sum()) * 4 / np.pi) for mask in masks] == pytest.approx([3600, 400], rel=0.05)


def test_prompts_are_drawn_where_they_are() -> None:
    coords = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [100.0, 60.0], [200.0, 20.0]]])
    maps, weights = draw_prompts(coords, torch.tensor([[-1.0, -1.0, 1.0, 0.0]]))
    for channel, (x, y) in ((0, (100, 60)), (3, (200, 20))):
        row, column = divmod(int(maps[0, channel].argmax()), GRID)
        assert abs((column + 0.5) * 4 - x) <= 2 and abs((row + 0.5) * 4 - y) <= 2
    assert float(weights.sum()) == pytest.approx(2.0, abs=0.01)
    assert float(maps[0, 6:10].abs().max()) == 0.0  # there is no box
    boxed, middle = draw_prompts(torch.tensor([[[40.0, 80.0], [120.0, 200.0]]]), torch.tensor([[2.0, 3.0]]))
    inside = boxed[0, 6] > 0.5
    assert inside.nonzero().amin(0).tolist() == [20, 10] and inside.nonzero().amax(0).tolist() == [49, 29]
    assert float(boxed[0, :6].max()) < 1e-6 and float(middle[0, 1].max()) == 0.0


def test_padding_and_an_unused_mask_do_not_matter() -> None:
    torch.manual_seed(0)
    network = PromptNetwork().eval()
    embedding = network.encoder(torch.randint(0, 256, (1, 1, SIDE_PX, SIDE_PX), dtype=torch.uint8))
    coords, labels = torch.tensor([[[90.0, 70.0]]]), torch.tensor([[1.0]])
    none = torch.zeros(1, 1, LOGIT_PX, LOGIT_PX), torch.zeros(1, 1)
    plain = network.decoder(embedding, coords, labels, *none)
    padded = network.decoder(
        embedding,
        torch.cat([coords, torch.full((1, 1, 2), 13.0)], 1),
        torch.tensor([[1.0, -1.0]]),
        torch.full_like(none[0], 5.0),
        none[1],
    )
    for first, second in zip(plain, padded, strict=True):
        assert torch.allclose(first, second, atol=1e-5)


def test_corrections_fall_on_what_is_wrong() -> None:
    truth, found = disc((40, 64), 20), disc((90, 64), 15)
    prompts = prompting.Prompts.none(1)
    prompting.correct(None, prompts, 0, truth, found)
    prompting.correct(None, prompts, 0, truth, truth | found)
    assert prompts.labels[0].tolist()[:5] == [-1, -1, 1, 0, -1]
    assert np.allclose(prompts.coords[0, 2:4], [(80, 128), (180, 128)], atol=4)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = prompting.somewhere_inside(rng, truth, 0.5)
        assert np.hypot(x - 40, y - 64) < 11.5


@pytest.mark.data
def test_a_short_run_learns_and_exports(data: Path, tmp_path: Path) -> None:
    places = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    few = replace(prompt.RECIPE, watched=4)
    run(few, [*places, "--limit", "3", "--scenes", "6", "--steps", "12", "--batch", "2"])
    state = torch.load(tmp_path / "work" / "all" / "checkpoint.pt", weights_only=True)
    losses = [row["loss"] for row in state["history"]]
    assert losses[-1] < 0.9 * losses[0]
    spec = read_manifest(tmp_path / "out")
    model = PromptModel(spec, "cpu", threads=1)  # the golden case passes
    assert sum(file.path.stat().st_size for file in spec.files.values()) < 8e6
    assert spec.golden is not None
    frame = make_frame(read_picture(spec.golden.frame), "golden.png", 0)
    found = model.outline(model.embed(frame), at_point(spec.golden.points_xy_px[0]))
    assert found.low_res.logits.shape == (LOGIT_PX, LOGIT_PX)
    assert 0 <= found.score <= 1
