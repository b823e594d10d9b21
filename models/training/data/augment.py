"""Varied copies of real pictures: place, size and turn by one affine map; then tone, blur, noise, holes.

Positions are continuous with the origin at the corner of the first pixel, as everywhere in the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Ranges:
    """How far a copy may differ. ``turn_deg``, ``zoom_log`` and ``squeeze_log`` are standard deviations, ``shift``
    is the largest one as a share of the picture's side; ``flip_x`` and ``flip_y`` are probabilities.
    """

    turn_deg: float = 15.0
    zoom_log: float = 0.15
    squeeze_log: float = 0.05
    shift: float = 0.1
    flip_x: float = 0.5
    flip_y: float = 0.0


def random_placement(rng: Generator, size_in: tuple[int, int], size_out: tuple[int, int], ranges: Ranges) -> Matrix:
    """A (2, 3) map from a picture (width, height) to its varied copy."""
    base = np.array(size_out, np.float64) / np.array(size_in, np.float64)
    zoom = float(np.exp(np.clip(rng.normal(0, ranges.zoom_log), -2.2 * ranges.zoom_log, 2.2 * ranges.zoom_log)))
    squeeze = float(np.exp(rng.normal(0, ranges.squeeze_log)))
    turn = np.deg2rad(rng.normal(0, ranges.turn_deg))
    flip = np.where(rng.random(2) < (ranges.flip_x, ranges.flip_y), -1.0, 1.0)
    cos, sin = np.cos(turn), np.sin(turn)
    linear = zoom * np.array([[cos, -sin], [sin, cos]]) @ np.diag(flip * (squeeze, 1 / squeeze)) @ np.diag(base)
    shift = rng.uniform(-ranges.shift, ranges.shift, 2) * size_out
    offset = np.array(size_out) / 2 + shift - linear @ (np.array(size_in) / 2)
    return np.hstack([linear, offset[:, None]])


def warp(picture: Gray, matrix: Matrix, size_out: tuple[int, int], *, nearest: bool = False) -> Gray:
    """A picture through such a map; shrinking averages, unless class numbers must stay what they are."""
    factor = 1 if nearest else 2
    shifted = matrix * factor
    shifted[:, 2] += shifted[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from pixel centres
    size = (size_out[0] * factor, size_out[1] * factor)
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    moved = cv2.warpAffine(picture, shifted, size, flags=flags)
    return np.asarray(moved if nearest else cv2.resize(moved, size_out, interpolation=cv2.INTER_AREA), np.uint8)


def vary_tone(rng: Generator, picture: Gray, strength: float = 1.0) -> Gray:
    """Gamma and gain, uneven gain, blur, speckle, small video, compression; each only now and then."""
    curve = np.linspace(0, 1, 256) ** float(np.exp(rng.normal(0, 0.3 * strength)))
    curve = curve * float(np.exp(rng.normal(-0.05, 0.28 * strength)))
    picture = np.asarray(cv2.LUT(picture, np.clip(curve * 255, 0, 255).astype(np.uint8)), np.uint8)
    if rng.random() < 0.3:
        picture = _times(picture, np.exp(rng.uniform(0.05, 0.3) * _blobs(rng, picture.shape)))
    if rng.random() < 0.25:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.2)), np.uint8)
    if rng.random() < 0.35:
        grain = cv2.GaussianBlur(rng.standard_normal(picture.shape, dtype=np.float32), (0, 0), rng.uniform(0.3, 1.2))
        picture = _times(picture, 1 + rng.uniform(0.05, 0.4) * grain)
    if rng.random() < 0.15:
        picture = _small_video(rng, picture)
    if rng.random() < 0.15:
        _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        picture = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)
    return picture


def cut_holes(rng: Generator, picture: Gray, most: int = 2) -> Gray:
    """Black wedges and boxes: shadows, and what covers a corner of the screen."""
    picture = picture.copy()
    height, width = picture.shape
    for _ in range(int(rng.integers(0, most + 1))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.5:  # a shadow widens with depth
            top, bottom = rng.uniform(2, 0.1 * width), rng.uniform(4, 0.2 * width)
            corners = [(x - top, y), (x + top, y), (x + bottom, height), (x - bottom, height)]
            dark = np.zeros_like(picture)
            cv2.fillConvexPoly(dark, np.array(corners, np.int32), 255)
            share = cv2.GaussianBlur(dark, (0, 0), 2.5).astype(np.float32) / 255 * rng.uniform(0.4, 0.95)
            picture = _times(picture, 1 - share)
        else:
            w, h = rng.uniform(0.05, 0.22) * width, rng.uniform(0.05, 0.22) * height
            picture[int(y) : int(y + h), int(x) : int(x + w)] = 0
    return picture


def _times(picture: Gray, field: NDArray[np.floating]) -> Gray:
    return np.clip(picture * field, 0, 255).astype(np.uint8)


def _blobs(rng: Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    coarse = rng.standard_normal((5, 6), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _small_video(rng: Generator, picture: Gray) -> Gray:
    share = rng.uniform(0.45, 0.85)
    small = cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, picture.shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
