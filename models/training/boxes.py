"""Boxes [M, 5] (class, x0, y0, x1, y1; corner convention): moved with a picture, compared, scored by COCO's rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.data.augment import Matrix
from usviewer.infer.preprocess import Placement

Boxes = NDArray[np.float64]


def place_boxes(boxes: Boxes, placement: Placement) -> Boxes:
    """Boxes of the frame in input pixels."""
    return np.hstack([boxes[:, :1], placement.to_input(boxes[:, 1:].reshape(-1, 2)).reshape(-1, 4)])


def move_boxes(boxes: Boxes, matrix: Matrix, size: tuple[int, int]) -> Boxes:
    """Boxes through an affine map: the box around the mapped inscribed ellipse, which does not grow by turning.

    Cut at the picture's border; boxes that lose more than half of their area are dropped.
    """
    centre, half = (boxes[:, 1:3] + boxes[:, 3:5]) / 2, (boxes[:, 3:5] - boxes[:, 1:3]) / 2
    centre = centre @ matrix[:, :2].T + matrix[:, 2]
    half = np.sqrt((half**2) @ (matrix[:, :2] ** 2).T)
    whole = np.hstack([centre - half, centre + half])
    cut = np.clip(whole, 0, np.tile(size, 2))
    area, left = np.prod(2 * half, axis=1), np.prod(cut[:, 2:] - cut[:, :2], axis=1)
    return np.hstack([boxes[:, :1], cut])[left > 0.5 * area]


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, best first: classes [K], scores [K], boxes [K, 4]; and the truth [M, 5]."""

    name: str
    exam: str
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: Boxes
    truth: Boxes


def iou_table(first: Boxes, second: Boxes) -> Boxes:
    """IoU of every box of one set with every box of the other."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (first, second)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both + 1e-9))


def average_precision(found: Sequence[Detections], index: int, threshold: float) -> float:
    """COCO's rule for one class at one IoU: 101 recall points, each object answered once, best score first."""
    rows, total = [], 0
    for one in found:
        truth = one.truth[one.truth[:, 0] == index, 1:]
        total += len(truth)
        free = np.ones(len(truth), bool)
        for k in np.nonzero(one.classes == index)[0]:
            overlap = iou_table(one.boxes[k : k + 1], truth)[0] * free if len(truth) else np.zeros(0)
            hit = bool(overlap.size and overlap.max() >= threshold)
            if hit:
                free[int(overlap.argmax())] = False
            rows.append((one.scores[k], hit))
    if not total or not rows:
        return 0.0
    hits = np.array([hit for _, hit in sorted(rows, key=lambda row: -row[0])])
    recall, precision = np.cumsum(hits) / total, np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.where(at < len(envelope), envelope[np.minimum(at, len(envelope) - 1)], 0.0).mean())
