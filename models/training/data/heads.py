"""Annotated heads (HC18, other scanners), and ellipses as maps of the unit circle: exact at any size of the picture."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.data.augment import Matrix
from models.training.data.sources import exam_of, read_gray
from usviewer.infer.preprocess import Placement
from usviewer.measure.geometry import Ellipse, moments_of

HC18, SPAIN = "hc18", "spain"
HEAD = 1
"""Class number of the masks of ``SPAIN``; the structures within the head have others."""

ShareMap = NDArray[np.float32]


@dataclass(frozen=True)
class AnnotatedHead:
    """One picture with the ellipse along the outer edge of its skull, in pixels (corner convention).

    ``origin`` is ``HC18`` or ``SPAIN``; only HC18 says what a pixel measures, of the others it is NaN.
    """

    origin: str
    name: str
    exam: str
    path: Path
    mm_per_px: float
    circumference_mm: float
    ellipse: Ellipse

    def map_from_circle(self) -> Matrix:
        """The (2, 3) map that takes the unit circle to the head's outline."""
        return map_from_circle(self.ellipse)


def list_spanish_heads(data_dir: Path) -> list[AnnotatedHead]:
    """The pictures of other scanners whose head is outlined: an ellipse along the outer edge, as in HC18."""
    folder = data_dir / "fetal_brain_spain"
    heads = (_read_mask(folder, path) for path in sorted((folder / "masks").glob("*.png")))
    return [head for head in heads if head is not None]


def _read_mask(folder: Path, path: Path) -> AnnotatedHead | None:
    classes = read_gray(path)
    if not (classes == HEAD).any():  # two structures only: the head is cut off
        return None
    ellipse = moments_of(classes > 0).ellipse()
    picture = folder / "images" / f"{path.stem}.jpg"
    return AnnotatedHead(SPAIN, path.stem, exam_of("fetal_plane", path.stem), picture, math.nan, math.nan, ellipse)


def list_heads(data_dir: Path) -> list[AnnotatedHead]:
    """All pictures of HC18's table, in its order."""
    folder = data_dir / "fetal_head_hc18"
    with open(folder / "train.csv", newline="", encoding="utf-8") as file:
        return [_read_row(folder, row) for row in csv.DictReader(file)]


def _read_row(folder: Path, row: dict[str, str]) -> AnnotatedHead:
    # The annotated line was fitted through pixel indices; 0.5 takes them to the corner convention.
    center = (float(row["ellipse_center_x_px"]) + 0.5, float(row["ellipse_center_y_px"]) + 0.5)
    axes = (float(row["ellipse_semi_axis_a_px"]), float(row["ellipse_semi_axis_b_px"]))
    return AnnotatedHead(
        HC18,
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
