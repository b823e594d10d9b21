"""Pictures of one scene that a set stores several times, or as neighbouring frames: they must share a fold.

And pictures that stand in two sets: what is in a test must not be in training.
"""

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


HASH_SIDE = 16
"""Lowest frequencies a side that make the hash: 255 bits."""
SAME_PICTURE_BITS = 30
"""Copies of HC18 in two sets, resized and encoded again, differ in 0 to 10 bits; pictures of different patients in more
than 56, those of different organs in more than 80."""


def picture_hash(gray: Gray) -> NDArray[np.bool_]:
    """A perceptual hash of the content (255 bits): which low frequencies of the cosine transform are strong."""
    x0, y0, x1, y1 = content_box(gray)
    small = cv2.resize(gray[y0:y1, x0:x1], (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return np.asarray(low > np.median(low))


def hash_distances(first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
    """How many bits differ [len(first), len(second)]."""
    a, b = (np.where(np.stack(hashes), 1.0, -1.0).astype(np.float32) for hashes in (first, second))
    return (a.shape[1] - a @ b.T) / 2


def _local_contrast(gray: Gray) -> NDArray[np.float32]:
    x0, y0, x1, y1 = content_box(gray)
    small = cv2.resize(gray[y0:y1, x0:x1], (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = cv2.GaussianBlur(small, (0, 0), 1) - cv2.GaussianBlur(small, (0, 0), 6)
    fine = fine / (np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6)) + 3)
    fine -= fine.mean()
    return np.asarray(fine / np.linalg.norm(fine), np.float32)
