"""The annotated heads of HC18, and ellipses as maps of the unit circle: exact at any size of the picture."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.data.augment import Matrix
from models.training.data.sources import exam_of
from usviewer.infer.preprocess import Placement
from usviewer.measure.geometry import Ellipse

ShareMap = NDArray[np.float32]


@dataclass(frozen=True)
class AnnotatedHead:
    """One picture of HC18 with its ellipse in pixels (corner convention)."""

    name: str
    exam: str
    path: Path
    mm_per_px: float
    circumference_mm: float
    ellipse: Ellipse

    def map_from_circle(self) -> Matrix:
        """The (2, 3) map that takes the unit circle to the head's outline."""
        return map_from_circle(self.ellipse)


def list_heads(data_dir: Path) -> list[AnnotatedHead]:
    """All pictures of the table, in its order."""
    folder = data_dir / "fetal_head_hc18"
    with open(folder / "train.csv", newline="", encoding="utf-8") as file:
        return [_read_row(folder, row) for row in csv.DictReader(file)]


def _read_row(folder: Path, row: dict[str, str]) -> AnnotatedHead:
    # The annotated line was fitted through pixel indices; 0.5 takes them to the corner convention.
    center = (float(row["ellipse_center_x_px"]) + 0.5, float(row["ellipse_center_y_px"]) + 0.5)
    axes = (float(row["ellipse_semi_axis_a_px"]), float(row["ellipse_semi_axis_b_px"]))
    return AnnotatedHead(
        row["name"],
        exam_of("fetal_head", row["name"]),
        folder / "train" / f"{row['name']}.jpg",
        float(row["pixel_size_mm"]),
        float(row["head_circumference_mm"]),
        Ellipse(center, *axes, math.radians(float(row["ellipse_angle_deg"]))),
    )


def map_from_circle(ellipse: Ellipse) -> Matrix:
    """The (2, 3) map that takes the unit circle to an ellipse."""
    cos, sin = math.cos(ellipse.angle_rad), math.sin(ellipse.angle_rad)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag((ellipse.semi_major, ellipse.semi_minor))
    return np.hstack([linear, np.array(ellipse.center_xy)[:, None]])


def then(first: Matrix, second: Matrix) -> Matrix:
    """One (2, 3) map after the other."""
    return np.hstack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]])


def placement_matrix(placement: Placement) -> Matrix:
    """Frame pixels to input pixels, as a matrix."""
    (sx, sy), (px, py), (x0, y0) = placement.scale_xy, placement.pad_xy_px, placement.crop_xyxy_px[:2]
    return np.array([[sx, 0, px - x0 * sx], [0, sy, py - y0 * sy]], np.float64)


def coverage(circle_to_picture: Matrix, size_px: tuple[int, int]) -> ShareMap:
    """Share of every pixel (height, width) that lies inside the image of the unit circle, exact to about 0.01."""
    width, height = size_px
    inverse = np.linalg.inv(circle_to_picture[:, :2])
    x, y = np.meshgrid(
        np.arange(width) + 0.5 - circle_to_picture[0, 2], np.arange(height) + 0.5 - circle_to_picture[1, 2]
    )
    u, v = inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y
    radius = np.sqrt(u * u + v * v) + 1e-9
    # Distance to the outline: (radius - 1) over the length of its gradient.
    gradient = np.hypot(inverse[0, 0] * u + inverse[1, 0] * v, inverse[0, 1] * u + inverse[1, 1] * v) / radius
    return np.clip(0.5 - (radius - 1) / gradient, 0, 1).astype(np.float32)
