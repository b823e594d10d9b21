"""From a picture to the model's input, and the one map between the two."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Pixels, Points
from usviewer.infer.manifest import InputSpec

Tensor = NDArray[np.uint8] | NDArray[np.float32]
PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a crop of the frame lies in the model's input: ``input = (frame - crop corner) * scale + pad``.

    Positions are continuous with the origin at the corner of the first pixel (``usviewer.units``), which makes the map
    exact for masks, boxes and points alike. ``scale_xy`` is what the resize really did, per axis, in input pixels per
    frame pixel: rounding to whole pixels makes it differ a little from axis to axis, and pixels that are not square
    make it differ by their shape, so that the network sees square ones.
    """

    crop_xyxy_px: PixelBox
    input_size_px: tuple[int, int]
    scale_xy: tuple[float, float]
    pad_xy_px: tuple[int, int]

    @property
    def scale(self) -> float:
        """Input pixels per frame pixel, of squares of the same area where the axes differ."""
        return math.sqrt(math.prod(self.scale_xy))

    def to_input(self, points_xy_px: Points) -> Points:
        """Map frame positions (..., 2) to input pixels, float64."""
        result = (np.asarray(points_xy_px, np.float64) - self.crop_xyxy_px[:2]) * self.scale_xy + self.pad_xy_px
        return np.asarray(result, np.float64)

    def to_frame(self, points_xy_px: Points) -> Points:
        """Map input positions (..., 2) to frame pixels, float64."""
        result = (np.asarray(points_xy_px, np.float64) - self.pad_xy_px) / self.scale_xy + self.crop_xyxy_px[:2]
        return np.asarray(result, np.float64)


@dataclass(slots=True, eq=False)
class Workspace:
    """Buffers that are kept from frame to frame. One per predictor: not for two threads at once."""

    _kept: dict[str, NDArray[Any]] = field(default_factory=dict)

    def array(self, role: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Give the buffer for that role; a new one only when its shape or type has changed."""
        kept = self._kept.get(role)
        if kept is None or kept.shape != shape or kept.dtype != dtype:
            kept = self._kept[role] = np.empty(shape, dtype)
        return kept


@functools.lru_cache(maxsize=64)  # a clip asks the same twice a frame: for its pixels, and for how far outlines are off
def place(
    frame_size_px: tuple[int, int], spec: InputSpec, sector_box_px: PixelBox | None = None, pixel_aspect: float = 1.0
) -> Placement:
    """Say where a frame of (width, height) goes in the input, by the manifest's crop, size and resize rule.

    ``pixel_aspect`` is a frame pixel's width over its height. A picture that is stretched to a fixed size looks the
    same there whatever the shape of its pixels.
    """
    crop = _crop(frame_size_px, spec, sector_box_px)
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    inner = _scaled(width * pixel_aspect, height, spec)
    size = (spec.width_px, spec.height_px)
    if not spec.width_px:
        size = _padded(inner, spec)
    if spec.resize == "stretch":
        return Placement(crop, size, (size[0] / width, size[1] / height), (0, 0))
    if spec.pad == "corner":
        return Placement(crop, size, (inner[0] / width, inner[1] / height), (0, 0))
    # The odd pixel of padding goes right and below, as in the YOLO convention.
    pad = (round((size[0] - inner[0]) / 2 - 0.1), round((size[1] - inner[1]) / 2 - 0.1))
    return Placement(crop, size, (inner[0] / width, inner[1] / height), pad)


@functools.lru_cache(maxsize=16)
def make_square(spec: InputSpec) -> InputSpec:
    """Give the same input at its full square where its size is dynamic."""
    if spec.width_px:
        return spec
    return replace(spec, width_px=spec.side_px, height_px=spec.side_px)


def bytes_alone(spec: InputSpec) -> InputSpec:
    """Give the same input without its last steps, for an engine that does them: bytes (height, width, RGB or grey)."""
    order = "gray" if spec.channels == 1 else "rgb"
    return replace(spec, dtype="uint8", layout="NHWC", channel_order=order, value_range=(0.0, 255.0), mean=(), std=())


def prepare(
    pixels: Pixels,
    spec: InputSpec,
    sector_box_px: PixelBox | None = None,
    out: Workspace | None = None,
    pixel_aspect: float = 1.0,
) -> tuple[Tensor, Placement]:
    """Make the model's input from an RGB picture (height, width, 3), uint8, and say where the picture lies in it.

    The tensor has one picture, in the layout and type of the manifest. ``pixel_aspect`` is a pixel's width over its
    height: the one resize also makes pixels square. With ``out`` nothing is allocated: the tensor lives there, until
    the next call. Resizing keeps pixel centres at half positions (OpenCV's rule for linear and area), so the placement
    is exact.
    """
    work = out or Workspace()
    placement = place((pixels.shape[1], pixels.shape[0]), spec, sector_box_px, pixel_aspect)
    x0, y0, x1, y1 = placement.crop_xyxy_px
    crop = pixels[y0:y1, x0:x1]
    if spec.channels == 1:
        # Before the resize, which then has one channel to do instead of three.
        gray = work.array("gray", crop.shape[:2], "uint8")
        cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY, dst=gray)
        crop = gray
    canvas = _canvas(crop, placement, spec, work)
    return _tensor(canvas, spec, work), placement


def _crop(frame_size_px: tuple[int, int], spec: InputSpec, box: PixelBox | None) -> PixelBox:
    width, height = frame_size_px
    if spec.crop == "whole" or box is None:
        return (0, 0, width, height)
    x0, y0, x1, y1 = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    if x0 >= x1 or y0 >= y1:  # the box lies outside this picture
        return (0, 0, width, height)
    return (x0, y0, x1, y1)


def _scaled(width: float, height: int, spec: InputSpec) -> tuple[int, int]:
    """Size of a picture of this shape inside the input, aspect ratio kept to the pixel."""
    if spec.width_px:
        ratio = min(spec.width_px / width, spec.height_px / height)
    else:
        ratio = spec.side_px / max(width, height)
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _padded(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    width, height = (math.ceil(side / spec.stride_px) * spec.stride_px for side in size)
    return width, height


def _canvas(crop: Pixels, placement: Placement, spec: InputSpec, work: Workspace) -> Pixels:
    """The crop, resized into its place of the padded input (height, width[, 3]), in bytes."""
    width, height = placement.input_size_px
    left, top = placement.pad_xy_px
    right = left + round((placement.crop_xyxy_px[2] - placement.crop_xyxy_px[0]) * placement.scale_xy[0])
    bottom = top + round((placement.crop_xyxy_px[3] - placement.crop_xyxy_px[1]) * placement.scale_xy[1])
    canvas: Pixels = work.array("canvas", (height, width, *crop.shape[2:]), "uint8")
    for strip in (canvas[:top], canvas[bottom:], canvas[top:bottom, :left], canvas[top:bottom, right:]):
        strip[...] = spec.pad_value
    if spec.interpolation == "area":
        crop = _shrunk(crop, (right - left, bottom - top))
    mode = cv2.INTER_LINEAR
    if spec.interpolation == "area" and max(placement.scale_xy) <= 1:
        mode = cv2.INTER_AREA  # OpenCV averages over areas only where it shrinks
    cv2.resize(crop, (right - left, bottom - top), dst=canvas[top:bottom, left:right], interpolation=mode)
    return canvas


def _shrunk(crop: Pixels, size_px: tuple[int, int]) -> Pixels:
    """Where one axis shrinks and the other grows (pixels far from square): shrunk first, the way that axis wants it."""
    height, width = crop.shape[:2]
    shrinks = size_px[0] < width, size_px[1] < height
    if shrinks[0] == shrinks[1] or size_px[0] == width or size_px[1] == height:
        return crop
    size = (width, size_px[1])
    if shrinks[0]:
        size = (size_px[0], height)
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)


def _tensor(canvas: Pixels, spec: InputSpec, work: Workspace) -> Tensor:
    """Bytes (height, width[, 3]) as the graph wants them: layout, channel order, range."""
    height, width = canvas.shape[:2]
    if spec.channels == 1:
        shape = (1, 1, height, width) if spec.layout == "NCHW" else (1, height, width, 1)
        return _ranged([canvas], spec, work).reshape(shape)
    if spec.layout == "NHWC" and spec.channel_order == "bgr":
        turned = work.array("turned", canvas.shape, "uint8")
        cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR, dst=turned)
        canvas = turned
    if spec.layout == "NHWC":
        return _ranged([canvas], spec, work).reshape(1, height, width, 3)
    # Split into planes in the right order at once: turning the channels round would be one more pass over the picture.
    planes = work.array("planes", (3, height, width), "uint8")
    targets = list(planes)
    if spec.channel_order == "bgr":
        targets.reverse()
    cv2.split(canvas, targets)
    return _ranged(list(planes), spec, work, planes).reshape(1, 3, height, width)


def _ranged(parts: list[Pixels], spec: InputSpec, work: Workspace, whole: Pixels | None = None) -> Tensor:
    """Bytes through the manifest's range, mean and std: by a table of 256 values, faster than arithmetic."""
    if spec.dtype == "uint8":
        if whole is None:
            return parts[0]
        return whole
    tables = _tables(spec.value_range, spec.mean, spec.std, spec.channels)
    if whole is None:
        if spec.channels == 1:
            tables = tables[:, :, 0]
        target: NDArray[np.float32] = work.array("float", parts[0].shape, "float32")
        cv2.LUT(parts[0], tables, dst=target)
        return target
    target = work.array("float", whole.shape, "float32")
    for number, part in enumerate(parts):
        cv2.LUT(part, np.ascontiguousarray(tables[:, :, number]), dst=target[number])
    return target


@functools.lru_cache(maxsize=16)
def _tables(
    value_range: tuple[float, float], mean: tuple[float, ...], std: tuple[float, ...], channels: int
) -> NDArray[np.float32]:
    """Value of every byte for every channel, float32 (256, 1, channels)."""
    low, high = value_range
    values = np.repeat((low + np.arange(256) / 255 * (high - low))[:, None], channels, axis=1)
    if mean:
        values = (values - np.array(mean)) / np.array(std)
    return values.astype(np.float32)[:, None, :]
