"""Varied copies of pictures with a vessel."""

from __future__ import annotations

import numpy as np

from models.training.data.augment_vessel import change_depth_gain, looks_of, sharpen, take_look


def picture(level: float, spread: float) -> np.ndarray:
    return np.clip(np.random.default_rng(0).normal(level, spread, (64, 64)), 9, 255).astype(np.uint8)


def test_a_picture_takes_the_gray_levels_of_another_and_keeps_its_order() -> None:
    dark, bright = picture(60, 15), picture(160, 30)
    changed = [take_look(np.random.default_rng(seed), dark, looks_of(bright[None])) for seed in range(8)]
    means = [float(one.mean()) for one in changed]
    assert all(75 < mean <= bright.mean() + 3 for mean in means) and max(means) > 120
    flat = dark.ravel().argsort(kind="stable")
    assert all((np.diff(one.ravel()[flat].astype(int)) >= 0).all() for one in changed)


def test_black_stays_black_whatever_the_look() -> None:
    with_black = picture(60, 15)
    with_black[:16] = 0
    assert not take_look(np.random.default_rng(1), with_black, looks_of(picture(160, 30)[None]))[:16].any()


def test_gain_changes_with_depth_only_and_edges_become_steeper() -> None:
    level = np.full((64, 64), 100, np.uint8)
    gained = change_depth_gain(np.random.default_rng(2), level)
    assert (gained == gained[:, :1]).all() and gained.std() > 3
    step = np.full((64, 64), 80, np.uint8)
    step[:, 32:] = 120
    assert sharpen(np.random.default_rng(0), step).max() > 122
