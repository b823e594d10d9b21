from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from usviewer.infer.tracking.optical_flow import estimate, move_mask, overlap


def speckle(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Texture with grains of some pixels, as speckle has."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    grains = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.clip(110 + 60 * grains / grains.std(), 0, 255).astype(np.uint8)


def disc(width: int, height: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return np.hypot(x - centre[0], y - centre[1]) < radius


def similarity(turn: float, growth: float, shift: tuple[float, float], about: tuple[float, float]) -> np.ndarray:
    linear = growth * np.array(((math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))))
    return np.column_stack((linear, np.add(about, shift) - linear @ about))


def warped(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The picture after a motion of positions in the corner convention."""
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - (0.5, 0.5)
    return np.asarray(cv2.warpAffine(picture, centred, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT))


@pytest.mark.parametrize(
    ("turn", "growth", "shift"),
    [(0, 1, (0, 0)), (0, 1, (6.5, -3.25)), (0.05, 1, (2, 1)), (0, 1.04, (0, 0)), (-0.04, 0.97, (-5, 8))],
)
@pytest.mark.parametrize("size", [(320, 240), (1280, 960)])
def test_a_known_motion_is_found(size: tuple[int, int], turn: float, growth: float, shift: tuple[float, float]) -> None:
    width, height = size
    zoom = width / 320
    centre, radius = (width * 0.45, height * 0.55), 40 * zoom
    picture = cv2.resize(speckle(320, 240), size, interpolation=cv2.INTER_CUBIC)
    wanted = similarity(turn, growth, (shift[0] * zoom, shift[1] * zoom), centre)
    mask = disc(width, height, centre, radius)
    motion = estimate(picture, warped(picture, wanted), mask)
    corners = np.array(
        [(centre[0] + dx * radius, centre[1] + dy * radius) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    )
    off = corners @ (motion.matrix - wanted)[:, :2].T + (motion.matrix - wanted)[:, 2]
    assert np.abs(off).max() < 0.3 * zoom
    assert motion.share > 0.6 and motion.appearance > 0.97


def test_a_carried_mask_lies_exactly_where_the_motion_says() -> None:
    mask = disc(200, 150, (80.0, 70.0), 30.0)
    rows, columns = np.nonzero(move_mask(mask, similarity(0, 1, (17.5, -9.25), (80, 70))))
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((97.5, 60.75), abs=0.1)
    grown = move_mask(mask, similarity(0.3, 1.2, (0, 0), (80, 70)))
    assert overlap(grown, disc(200, 150, (80.0, 70.0), 36.0)) > 0.97
    assert not move_mask(mask, similarity(0, 1, (500, 0), (80, 70))).any()
    partly = move_mask(mask, similarity(0, 1, (-80, 0), (80, 70)))
    assert 0 < partly.sum() < mask.sum() and partly[:, 40:].sum() == 0


def test_another_picture_is_told_by_its_appearance() -> None:
    mask = disc(320, 240, (150.0, 120.0), 40.0)
    assert estimate(speckle(320, 240, 0), speckle(320, 240, 1), mask).appearance < 0.3


def test_nothing_to_follow_is_no_motion() -> None:
    even = np.full((240, 320), 90, np.uint8)
    motion = estimate(even, even, disc(320, 240, (150.0, 120.0), 40.0))
    np.testing.assert_allclose(motion.matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    for other in (np.zeros((10, 10), np.bool_), np.zeros((240, 320), np.bool_)):
        assert estimate(even, np.zeros((10, 10), np.uint8), other).share == 0.0


@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_a_turn_on_oblong_pixels_is_found(aspect: float) -> None:
    """The picture turns in its true shape, which is no similarity of its own pixels."""
    size, centre, radius = (640, 480), (288.0, 264.0), 80.0
    true = cv2.resize(speckle(320, 240), size, interpolation=cv2.INTER_CUBIC)
    wanted = similarity(0.12, 1.0, (6.0, -4.0), centre)
    shape = np.array((1 / aspect, 1.0)) * min(1.0, aspect)  # the frame's pixels to a true one
    frame_size = (round(size[0] * shape[0]), round(size[1] * shape[1]))
    before, after = (cv2.resize(p, frame_size, interpolation=cv2.INTER_AREA) for p in (true, warped(true, wanted)))
    y, x = np.mgrid[0 : frame_size[1], 0 : frame_size[0]] + 0.5
    mask = np.hypot(x / shape[0] - centre[0], y / shape[1] - centre[1]) < radius
    motion = estimate(before, after, mask, aspect)
    corners = np.array([(288 + dx * radius, 264 + dy * radius) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))])
    there = (corners * shape) @ motion.matrix[:, :2].T + motion.matrix[:, 2]
    assert np.abs(there / shape - (corners @ wanted[:, :2].T + wanted[:, 2])).max() < 1.0
    assert motion.share > 0.6 and motion.appearance > 0.95
