"""Pictures for the tests of ``infer``."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from usviewer.frame import Pixels
from usviewer.infer.manifest import ModelSpec

SpecFactory = Callable[..., ModelSpec]


def cloudy(width: int, height: int, seed: int = 0) -> Pixels:
    """A smooth random picture with structure at three scales, each channel its own."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.random((k, k, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for k in (5, 20, 80)
    ]
    return (np.clip(sum(layers) / 3, 0, 1) * 255).astype(np.uint8)


def disc_picture(width: int, height: int, centre: tuple[float, float], radius: float) -> Pixels:
    """A bright grey picture with one dark disc; position in the corner convention."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    inside = np.hypot(x - centre[0], y - centre[1]) < radius
    return np.repeat(np.where(inside, 20, 200).astype(np.uint8)[:, :, None], 3, axis=2)
