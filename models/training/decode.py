"""From logits to one instance and its score, as the viewer decodes it; and the figures recipes report."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Instance:
    """One vessel found: its mask and the mean probability inside it."""

    mask: Mask
    score: float


def best_instance(probability: Map, threshold: float = 0.5, least_px: int = 12) -> Instance | None:
    """The component with the best product of mean probability and roundness; its size plays no part."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > threshold).astype(np.uint8))
    best: tuple[float, Instance] | None = None
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < least_px:
            continue
        mask = (labels == label).astype(np.uint8)
        score = float(probability[mask > 0].mean())
        rank = score * roundness(mask)
        if best is None or rank > best[0]:
            best = (rank, Instance(mask, score))
    return best[1] if best else None


def roundness(mask: Mask) -> float:
    """Area over the area of the ellipse with the same second moments: 1 for any full ellipse."""
    moments = cv2.moments(mask, binaryImage=True)
    area = moments["m00"]
    # 1/12 is the variance of a pixel's own width.
    xx, yy, xy = moments["mu20"] / area + 1 / 12, moments["mu02"] / area + 1 / 12, moments["mu11"] / area
    return float(min(1.0, area / (4 * np.pi * np.sqrt(max(xx * yy - xy * xy, 1e-6)))))


def dice(first: Mask, second: Mask) -> float:
    """Overlap of two masks; 1 when both are empty."""
    total = int((first > 0).sum()) + int((second > 0).sum())
    return 2 * int(((first > 0) & (second > 0)).sum()) / total if total else 1.0


def ap_extent_px(mask: Mask) -> float:
    """Antero-posterior size of a mask by its second moment, in rows (docs/clinical.md, "The diameter from a mask")."""
    moments = cv2.moments(mask, binaryImage=True)
    return 4 * float(np.sqrt(moments["mu02"] / moments["m00"] + 1 / 12))
