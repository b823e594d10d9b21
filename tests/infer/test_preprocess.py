from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.pictures import cloudy
from usviewer.infer.manifest import InputSpec
from usviewer.infer.preprocess import Workspace, place, prepare

YOLO = InputSpec("images", 640, 640, 3, pad_value=114)
SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@settings(max_examples=60, deadline=None)
@given(size=SIZES, resize=st.sampled_from(["letterbox", "stretch"]), fixed=st.booleans(), sector=st.booleans())
def test_placement_maps_there_and_back(size: tuple[int, int], resize: str, fixed: bool, sector: bool) -> None:
    side = {"width_px": 640, "height_px": 432} if fixed else {"width_px": 0, "height_px": 0}
    spec = replace(YOLO, resize=resize, crop="sector" if sector else "whole", **side)
    box = (size[0] // 3, size[1] // 4, size[0] // 3 + 200, size[1])
    placement = place(size, spec, box)
    x0, y0, x1, y1 = placement.crop_xyxy_px
    corners = np.array([(x0, y0), (x1, y1), ((x0 + x1) / 2, y0 + 0.5)])
    there = placement.to_input(corners)
    np.testing.assert_allclose(placement.to_frame(there), corners, atol=1e-9)
    assert (there >= -1e-9).all() and (there <= np.array(placement.input_size_px) + 1e-9).all()
    assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
    if not fixed:
        assert all(side % 32 == 0 for side in placement.input_size_px)


# What the published letterbox gives: resized size, left and top padding, input size.
@pytest.mark.parametrize(
    ("frame", "dynamic", "inner", "pad", "size"),
    [
        ((1920, 1080), False, (640, 360), (0, 140), (640, 640)),
        ((1920, 1080), True, (640, 360), (0, 12), (640, 384)),
        ((640, 480), True, (640, 480), (0, 0), (640, 480)),
        ((480, 640), False, (480, 640), (80, 0), (640, 640)),
        ((1023, 767), False, (640, 480), (0, 80), (640, 640)),
        ((333, 500), False, (426, 640), (107, 0), (640, 640)),
        ((335, 500), False, (429, 640), (105, 0), (640, 640)),  # an odd pixel of padding goes to the right
        ((640, 432), True, (640, 432), (0, 8), (640, 448)),
    ],
)
def test_letterbox_is_that_of_yolo(
    frame: tuple[int, int], dynamic: bool, inner: tuple[int, int], pad: tuple[int, int], size: tuple[int, int]
) -> None:
    spec = replace(YOLO, width_px=0, height_px=0) if dynamic else YOLO
    placement = place(frame, spec)
    assert placement.input_size_px == size
    assert placement.pad_xy_px == pad
    assert placement.scale_xy == pytest.approx((inner[0] / frame[0], inner[1] / frame[1]))


def test_yolo_tensor_is_the_padded_linear_resize_over_255() -> None:
    picture = cloudy(333, 500)
    tensor, _ = prepare(picture, YOLO)
    wanted = np.full((640, 640, 3), 114, np.uint8)
    wanted[:, 107 : 107 + 426] = cv2.resize(picture, (426, 640), interpolation=cv2.INTER_LINEAR)
    assert tensor.shape == (1, 3, 640, 640) and tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0], wanted.transpose(2, 0, 1).astype(np.float64) / 255, atol=1e-7)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("order", ["gray", "rgb", "bgr"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_layout_order_and_range(layout: str, order: str, dtype: str) -> None:
    channels = 1 if order == "gray" else 3
    extra: dict[str, Any] = {"value_range": (0.0, 255.0)}
    if dtype == "float32":
        extra = {"value_range": (-1.0, 1.0), "mean": (0.1, 0.2, 0.3)[:channels], "std": (0.5, 0.6, 0.7)[:channels]}
    spec = InputSpec("x", 64, 48, channels, layout, dtype, order, resize="stretch", **extra)
    picture = cloudy(64, 48)
    tensor, _ = prepare(picture, spec)
    wanted = picture.astype(np.float64)
    if order == "gray":
        wanted = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float64)
    if order == "bgr":
        wanted = wanted[:, :, ::-1]
    if dtype == "float32":
        wanted = (wanted / 255 * 2 - 1 - np.array(spec.mean)) / np.array(spec.std)
    wanted = wanted[None] if layout == "NHWC" else wanted.transpose(2, 0, 1)[None]
    assert tensor.dtype == dtype
    np.testing.assert_allclose(tensor, wanted, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["linear", "area"])
@pytest.mark.parametrize("target", [(64, 64), (401, 303), (640, 640)])
def test_a_picture_lands_where_the_placement_says(interpolation: str, target: tuple[int, int]) -> None:
    """The centre of mass of a bright disc is where the map says: no half pixel is lost."""
    y, x = np.mgrid[0:300, 0:400] + 0.5
    picture = np.repeat((np.hypot(x - 250.3, y - 120.8) < 40).astype(np.uint8)[:, :, None] * 255, 3, axis=2)
    spec = InputSpec("x", *target, 1, dtype="uint8", channel_order="gray", value_range=(0, 255), crop="sector",
                     interpolation=interpolation)  # fmt: skip
    tensor, placement = prepare(picture, spec, (100, 20, 390, 280))
    weights = tensor[0, 0].astype(np.float64)
    rows, columns = np.mgrid[0 : target[1], 0 : target[0]] + 0.5
    centre = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
    pixels = picture[:, :, 0] / 255.0
    true = np.array([(pixels * x).sum(), (pixels * y).sum()]) / pixels.sum()
    np.testing.assert_allclose(placement.to_frame(centre), true, atol=0.08 / min(1, *placement.scale_xy))


def test_only_the_sector_reaches_the_model() -> None:
    picture = np.full((300, 400, 3), 255, np.uint8)
    picture[50:150, 100:300] = 7
    spec = replace(YOLO, crop="sector", pad_value=7, dtype="uint8", value_range=(0.0, 255.0))
    tensor, placement = prepare(picture, spec, (100, 50, 300, 150))
    assert placement.crop_xyxy_px == (100, 50, 300, 150) and (tensor == 7).all()


@pytest.mark.parametrize("box", [(-50, -20, 5000, 5000), None, (400, 10, 500, 20), (30, 30, 30, 40)])
def test_a_sector_that_is_no_part_of_the_frame_means_the_whole(box: tuple[int, int, int, int] | None) -> None:
    assert place((400, 300), replace(YOLO, crop="sector"), box).crop_xyxy_px == (0, 0, 400, 300)


def test_buffers_are_reused_and_refilled() -> None:
    work = Workspace()
    first, _ = prepare(cloudy(640, 360), YOLO, None, work)
    second, _ = prepare(np.zeros((640, 360, 3), np.uint8), YOLO, None, work)
    assert first is second or np.shares_memory(first, second)
    fresh, _ = prepare(np.zeros((640, 360, 3), np.uint8), YOLO)
    np.testing.assert_array_equal(second, fresh)


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
def test_degenerate_pictures_pass(size: tuple[int, int]) -> None:
    for spec in (YOLO, replace(YOLO, width_px=0, height_px=0), replace(YOLO, resize="stretch")):
        tensor, placement = prepare(np.zeros((size[1], size[0], 3), np.uint8), spec)
        assert tensor.shape[2:] == placement.input_size_px[::-1]


@settings(max_examples=60, deadline=None)
@given(size=SIZES, aspect=st.floats(0.25, 4.0), fixed=st.booleans())
def test_the_placement_of_oblong_pixels_maps_there_and_back(size: tuple[int, int], aspect: float, fixed: bool) -> None:
    side = {"width_px": 640, "height_px": 432} if fixed else {"width_px": 0, "height_px": 0}
    placement = place(size, replace(YOLO, **side), None, aspect)
    corners = np.array([(0.0, 0.0), size, (size[0] / 2, 0.5)])
    there = placement.to_input(corners)
    np.testing.assert_allclose(placement.to_frame(there), corners, atol=1e-9)
    assert (there >= -1e-9).all() and (there <= np.array(placement.input_size_px) + 1e-9).all()


@pytest.mark.parametrize("aspect", [0.5, 1.2, 2.0])
@pytest.mark.parametrize("fixed", [True, False])
def test_the_network_sees_square_pixels(aspect: float, fixed: bool) -> None:
    spec = YOLO if fixed else replace(YOLO, width_px=0, height_px=0)
    tall = place((round(800 / aspect), 600), spec, None, aspect)
    plain = place((800, 600), spec)
    assert tall.input_size_px == plain.input_size_px and tall.pad_xy_px == plain.pad_xy_px
    assert tall.scale_xy[0] / tall.scale_xy[1] == pytest.approx(aspect, rel=0.005)


def test_square_pixels_are_placed_as_ever_and_a_fixed_size_is_filled_whatever_their_shape() -> None:
    assert place((1023, 767), YOLO, None, 1.0) == place((1023, 767), YOLO)
    filled = replace(YOLO, resize="stretch")
    assert place((400, 600), filled, None, 2.0) == place((400, 600), filled)


@pytest.mark.parametrize("interpolation", ["linear", "area"])
def test_a_squashed_picture_gives_nearly_the_input_of_the_true_one(interpolation: str) -> None:
    pixels = cloudy(640, 480)
    squashed = np.asarray(cv2.resize(pixels, (320, 480), interpolation=cv2.INTER_AREA))
    spec = replace(
        YOLO, dtype="uint8", value_range=(0.0, 255.0), width_px=400, height_px=400, interpolation=interpolation
    )
    wanted, seen = prepare(pixels, spec)[0], prepare(squashed, spec, pixel_aspect=2.0)[0]
    assert np.abs(wanted.astype(int) - seen.astype(int)).mean() < 3
