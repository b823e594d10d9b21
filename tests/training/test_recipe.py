"""What all recipes share: options, folds, resuming, starting from other weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training import recipe as recipes  # noqa: E402
from models.training.losses import segmentation_loss  # noqa: E402
from models.training.networks.small_unet import SmallUNet  # noqa: E402
from models.training.recipe import Draw, Example, Recipe, RunOptions, Split, run  # noqa: E402
from models.training.train import TrainingSettings  # noqa: E402

pytestmark = pytest.mark.train

STEPS, STOPS_AT = 6, 3


class Stopped(Exception):
    """Somebody pulled the plug."""


def discs(rng: np.random.Generator, count: int) -> list[Example]:
    y, x = np.mgrid[0:32, 0:32]
    pairs = []
    for _ in range(count):
        column, row = rng.uniform(10, 22, 2)
        mask = np.hypot(x - column, y - row) < 7
        pairs.append((np.where(mask, 30, 160).astype(np.uint8), mask[None].astype(np.float32)))
    return pairs


def tiny_recipe(stops_at: int = STEPS + 9) -> Recipe[int, int]:
    def examples(trained: Sequence[int], options: RunOptions) -> Draw:
        def draw(rng: np.random.Generator, step: int) -> list[Example]:
            if step >= stops_at:
                raise Stopped
            return discs(rng, options.batch)

        return draw

    return Recipe(
        id="disc",
        about="Dark discs",
        version="1",
        size_px=(32, 32),
        training=TrainingSettings(steps=STEPS, batch=2, checkpoint_s=0.0),
        networks={"small": lambda: SmallUNet((4, 8, 8, 8, 8))},
        data=lambda options: Split(range(4), range(4)),
        examples=examples,
        loss=lambda state, options: segmentation_loss,
        score=lambda model, items, options: list(items),
        summary=lambda answers: {"seen": float(len(answers))},
        record=lambda answer: {"number": answer},
        folds=2,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoint.pt", weights_only=True)["average"]
    return state


def test_a_run_that_was_stopped_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(tiny_recipe(), ["--work", str(whole), "--no-export"])
    with pytest.raises(Stopped):
        run(tiny_recipe(STOPS_AT), ["--work", str(parts), "--no-export"])
    assert torch.load(parts / "all" / "checkpoint.pt", weights_only=True)["step"] < STEPS
    run(tiny_recipe(), ["--work", str(parts), "--no-export"])
    expected, resumed = weights(whole / "all"), weights(parts / "all")
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_a_fold_keeps_a_row_for_every_tested_picture(tmp_path: Path) -> None:
    run(tiny_recipe(), ["--work", str(tmp_path), "--fold", "1"])
    (fold,) = recipes.read_folds(recipes.parse_options(tiny_recipe(), ["--work", str(tmp_path)]))
    assert [row["number"] for row in fold.rows] == [0, 1, 2, 3]
    network = fold.network(SmallUNet((4, 8, 8, 8, 8)))
    assert not network.training


def test_weights_of_a_network_with_another_last_layer_start_a_run(tmp_path: Path) -> None:
    run(tiny_recipe(), ["--work", str(tmp_path), "--no-export"])
    start = tmp_path / "all" / "checkpoint.pt"
    three_classes = SmallUNet((4, 8, 8, 8, 8), classes=3)
    recipes.load_weights(three_classes, start)
    assert torch.equal(three_classes.state_dict()["stem.0.weight"], weights(tmp_path / "all")["stem.0.weight"])
    with pytest.raises(KeyError):
        recipes.load_weights(torch.nn.Linear(2, 2), start)


def test_a_run_without_steps_is_the_mean_of_the_runs_that_it_starts_from(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        run(tiny_recipe(), ["--work", str(tmp_path), "--name", seed, "--seed", seed, "--no-export"])
    first, second = (tmp_path / seed / "checkpoint.pt" for seed in ("1", "2"))
    options = ["--work", str(tmp_path), "--name", "mean", "--init", str(first), str(second), "--steps", "0"]
    network = SmallUNet((4, 8, 8, 8, 8))
    recipes.load_weights(network, first, second)
    mean, one, other = network.state_dict(), weights(tmp_path / "1"), weights(tmp_path / "2")
    assert torch.allclose(mean["stem.0.weight"], (one["stem.0.weight"] + other["stem.0.weight"]) / 2)
    assert recipes.origin(recipes.parse_options(tiny_recipe(), options)).endswith(
        "mean of those of the runs `1` and `2`."
    )


def test_pictures_of_one_exam_are_on_one_side() -> None:
    exams = ["010", "011", "010", "012", "013", "011"]
    for fold in range(3):
        split = recipes.split_by_fold(list(range(6)), exams, 3, fold)
        assert {exams[i] for i in split.trained}.isdisjoint(exams[i] for i in split.tested)
        assert sorted([*split.trained, *split.tested]) == list(range(6))
    whole = recipes.split_by_fold(list(range(6)), exams, 3, None)
    assert whole.trained == whole.tested == list(range(6))


def test_every_picture_comes_once_an_epoch() -> None:
    first_epoch = [index for step in range(3) for index in recipes.shuffled(12, 4, 1, step)]
    assert sorted(first_epoch) == list(range(12))
    assert recipes.shuffled(12, 4, 1, 3) != recipes.shuffled(12, 4, 1, 0)


def test_options_without_a_meaning_are_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    plain = replace(tiny_recipe(), folds=0)
    for option in (["--fold", "0"], ["--scenes", "3"], ["--pretrain"], ["--net", "small"]):
        with pytest.raises(SystemExit):
            recipes.parse_options(plain, option)
    assert "python -m models.training disc" in capsys.readouterr().err


def test_watched_pictures_are_spread_evenly() -> None:
    assert recipes.spread(range(100), 10) == range(0, 100, 10)
    assert recipes.spread(range(5), 10) == range(5)
