"""Pictures of one scene that a set stores several times, or as neighbouring frames: they must share a fold."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.data.sources import Gray, content_box

SIDE = 64
"""Cells a side of what is compared."""
MOST_SHIFT = 4
ALIKE = 0.38
"""Unrelated pictures of USGRA correlate below 0.32 (99th percentile), copies above 0.87; between them lie other frames
of the same scene."""


def scene_groups(pictures: Sequence[Gray]) -> list[int]:
    """A number for every picture; pictures of one scene share that of its first.

    Compared is the local contrast (fine structure over its own strength) of the content, over shifts of a few cells.
    """
    features = np.stack([_local_contrast(picture) for picture in pictures])
    flat = features.reshape(len(features), -1)
    best = np.full((len(features), len(features)), -1.0)
    for dy in range(-MOST_SHIFT, MOST_SHIFT + 1):
        for dx in range(-MOST_SHIFT, MOST_SHIFT + 1):
            best = np.maximum(best, np.roll(features, (dy, dx), (1, 2)).reshape(len(features), -1) @ flat.T)
    group = list(range(len(pictures)))
    for first, second in zip(*np.nonzero(np.triu(best > ALIKE, 1)), strict=True):
        old, new = group[second], group[first]
        group = [new if g == old else g for g in group]
    return group


def _local_contrast(gray: Gray) -> NDArray[np.float32]:
    x0, y0, x1, y1 = content_box(gray)
    small = cv2.resize(gray[y0:y1, x0:x1], (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = cv2.GaussianBlur(small, (0, 0), 1) - cv2.GaussianBlur(small, (0, 0), 6)
    fine = fine / (np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6)) + 3)
    fine -= fine.mean()
    return np.asarray(fine / np.linalg.norm(fine), np.float32)
