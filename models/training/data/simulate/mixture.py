"""The mixture of scenes that the aorta is learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from models.training.data.simulate.anatomy import TextureBank
from models.training.data.simulate.lengthwise import long_axis, long_vein
from models.training.data.simulate.scenes import (
    Donor,
    SimulatedScene,
    abdomen,
    eye,
    fluid,
    lung,
    no_scan,
    phantom,
    transplant,
    upper_abdomen,
)


def random_scene(rng: Generator, bank: TextureBank | None, donors: Sequence[Donor] = ()) -> SimulatedScene:
    """One scene of the training mixture: three in four hold an aorta that can be seen."""
    for _ in range(20):
        scene = _any_scene(rng, bank, donors)
        if not scene.mask.any() or is_visible(scene):
            break
    return scene


def is_visible(scene: SimulatedScene) -> bool:
    """The lumen is darker than its surroundings in the finished picture; large ones must be clearly so."""
    width = max(3, round(0.2 * float(np.sqrt(scene.mask.sum()))))
    around = cv2.dilate(scene.mask, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > scene.mask
    inside_gray, around_gray = float(scene.image[scene.mask > 0].mean()), float(np.median(scene.image[around]))
    share = (around_gray - inside_gray) / (around_gray + 8)
    return share > (0.22 if scene.lumen_mm > 34 else 0.10) and around_gray - inside_gray > 4


def _any_scene(rng: Generator, bank: TextureBank | None, donors: Sequence[Donor]) -> SimulatedScene:
    kind = rng.random()
    if kind < 0.14 and donors:
        return transplant(rng, donors)
    if kind < 0.25:
        return upper_abdomen(rng, bank)
    if kind < 0.36:
        return long_axis(rng, bank)
    if kind < 0.76:
        return abdomen(rng, bank, with_aorta=True)
    if kind < 0.81:
        return abdomen(rng, bank, with_aorta=False)
    if kind < 0.83:
        return long_vein(rng, bank)
    if kind < 0.91:
        return lung(rng, bank)
    if kind < 0.94:
        return fluid(rng, bank)
    if kind < 0.97:
        return phantom(rng)
    return eye(rng, bank) if kind < 0.99 else no_scan(rng)
