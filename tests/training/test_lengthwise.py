"""Scenes of vessels along their length: their truth is as wide as it says, by the viewer's own measurement."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.data.simulate.lengthwise import Tube, long_axis, long_vein
from models.training.reliability import measured_size
from usviewer.infer.prediction import Instance, instance_of

LIKE = Instance("aorta", 0, 0.9, (0.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("turn_rad", [0.0, 0.3])
def test_a_tube_is_as_wide_as_it_says_at_any_slope(turn_rad: float) -> None:
    tube = Tube(0.0, 60.0, turn_rad, 0.0, 20.0, 0.0, -300.0, 300.0)
    offset = np.arange(320, dtype=np.float32) * np.float32(0.4) - np.float32(64.0)
    x, z = np.meshgrid(offset, offset + np.float32(60.0))
    mask = (tube.distance(x, z) < 0) & (np.abs(x) < 50)
    size = measured_size(instance_of(mask, LIKE, 0.9), "aorta", "longitudinal_diameter", (320, 320))
    assert size is not None and size.value_px == pytest.approx(20.0 / 0.4, rel=0.03)


def test_scenes_are_the_same_for_a_seed_and_their_truth_measures_as_it_says() -> None:
    sizes = []
    for seed in range(12):
        scene, again = (long_axis(np.random.default_rng(seed), None) for _ in range(2))
        assert (scene.image == again.image).all() and scene.mask.any() and scene.lumen_mm > 8
        size = measured_size(
            instance_of(scene.mask > 0, LIKE, 0.9), "aorta", "longitudinal_diameter", scene.mask.shape[::-1]
        )
        if size is not None and size.value_px is not None:
            sizes.append(size.value_px * scene.mm_per_px / scene.lumen_mm)
    assert len(sizes) >= 8 and np.median(sizes) == pytest.approx(1.0, abs=0.08)  # vessels taper


def test_a_vein_along_its_length_is_not_to_be_outlined() -> None:
    scene = long_vein(np.random.default_rng(1), None)
    assert scene.lumen_mm == 0 and not scene.mask.any() and scene.image.max() > 60
