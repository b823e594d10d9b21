"""From a model's raw outputs to instances in frame pixels. Pure functions; the decoder is the manifest's.

Masks are thresholded **after** bilinear upsampling to the frame's own pixels: the other way round every edge would be
off by up to a cell of the output, 2 to 4 pixels (``docs/clinical.md``, "The diameter from a mask").

Resampling: a grid's value belongs to the centre of its cell. The value at a frame pixel is the bilinear blend of the
cells around the pixel's centre, held constant beyond the outermost cells whose centre lies in the picture (cells of
padding take no part). It is exact, unlike OpenCV's warps with their 5-bit weights. Both axes are separate, so a small
window is cheap. Elementwise on purpose: the threads of numpy's matrix product cost milliseconds when other threads want
the cores.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.frame import Mask
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import PixelBox, Placement
from usviewer.units import Box

Array = NDArray[np.float32]
Values = NDArray[np.float64]
_CellBox = tuple[slice, slice]
Outputs = tuple[Array, ...]

# The best so many boxes enter the suppression, as in the published post-processing.
MAX_CANDIDATES = 30_000
# 256 KiB a buffer: they stay in the processor's cache.
BAND_PX = 1 << 15


def decode(outputs: Outputs, placement: Placement, spec: ModelSpec) -> tuple[Instance, ...]:
    """Find all instances in a model's raw outputs, best first, in frame pixels.

    ``outputs`` are those that the manifest names, float32 with a batch axis of one. Raises ``UserError`` for outputs
    that are not numbers, out of range, or of another shape than the manifest says.
    """
    if spec.decoder == "unet":
        return _decode_unet(outputs[0], placement, spec)
    return _decode_yolo(outputs, placement, spec)


# --- YOLOv8: a table of boxes (4 + classes + mask coefficients, anchors), and mask prototypes -------------------------


def _decode_yolo(outputs: Outputs, placement: Placement, spec: ModelSpec) -> tuple[Instance, ...]:
    table = outputs[0]
    classes = len(spec.labels)
    wanted = 4 + classes
    prototypes: Array | None = None
    if len(outputs) > 1:
        prototypes = outputs[1]
        wanted += prototypes.shape[1]
    if table.ndim != 3 or table.shape[:2] != (1, wanted):
        raise _wrong_shape(spec, table)
    found = _candidates(table[0], classes, spec)
    kept = suppress(
        found.boxes, found.classes, spec.output.iou_threshold, spec.output.max_instances, agnostic=spec.output.agnostic
    )
    boxes = _to_frame(found.boxes[kept], placement)
    instances = []
    for number, box in zip(kept, boxes, strict=True):
        mask, origin = None, (0, 0)
        if prototypes is not None:
            coefficients = table[0, 4 + classes :, found.anchors[number]]
            mask, origin = _prototype_mask(coefficients, prototypes, box, placement, spec)
            if mask is None:
                continue
        index = int(found.classes[number])
        instances.append(_instance(spec, index, float(found.scores[number]), box, mask, origin))
    # What was found has been looked at above. That nothing is there may be said only by outputs that are all numbers.
    if not instances and not all(_finite(output) for output in outputs):
        raise _not_numbers(spec)
    return tuple(instances)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Boxes (N, 4) x0, y0, x1, y1 in input pixels, best first, with score, class and column of the table."""

    boxes: Values
    scores: Array
    classes: NDArray[np.intp]
    anchors: NDArray[np.intp]


def _candidates(table: Array, classes: int, spec: ModelSpec) -> _Candidates:
    rows = table[4 : 4 + classes]
    scores: Array = rows.max(axis=0)
    _check_probabilities(scores, spec)
    anchors = np.flatnonzero(scores > spec.output.min_score)
    # Stable: of equal scores the first stays first, on every computer.
    anchors = anchors[np.argsort(-scores[anchors], kind="stable")[:MAX_CANDIDATES]]
    centre, size = table[:2, anchors].T.astype(np.float64), table[2:4, anchors].T.astype(np.float64)
    boxes = np.concatenate((centre - size / 2, centre + size / 2), axis=1)
    if not np.isfinite(boxes).all():
        raise _not_numbers(spec)
    return _Candidates(boxes, scores[anchors], np.argmax(rows[:, anchors], axis=0), anchors)


def suppress(
    boxes_xyxy: Values, classes: NDArray[np.intp], iou_threshold: float, most: int, *, agnostic: bool = False
) -> list[int]:
    """Suppress what is not a maximum: give the indices of the boxes that stay, at most ``most``.

    ``boxes_xyxy`` (N, 4) are in input pixels, best first; ``classes`` (N,) are their labels' numbers. A box falls when
    it overlaps a better one of its own class (of any class when ``agnostic``) by more than the threshold.
    """
    areas = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1)
    waiting = np.arange(len(boxes_xyxy))
    kept: list[int] = []
    while waiting.size and len(kept) < most:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        if waiting.size:
            rest = boxes_xyxy[waiting]
            sides = np.minimum(rest[:, 2:], boxes_xyxy[best, 2:]) - np.maximum(rest[:, :2], boxes_xyxy[best, :2])
            shared = np.prod(np.maximum(sides, 0), axis=1)
            # Written as a product: two empty boxes have no ratio.
            stays = shared <= iou_threshold * (areas[best] + areas[waiting] - shared)
            if not agnostic:
                stays |= classes[waiting] != classes[best]
            waiting = waiting[stays]
    return kept


def _to_frame(boxes: Values, placement: Placement) -> Values:
    # A box may reach into the padding: nothing was seen there, so it ends at the rim of the crop.
    x0, y0, x1, y1 = placement.crop_xyxy_px
    corners = placement.to_frame(boxes.reshape(-1, 2))
    return np.clip(corners, (x0, y0), (x1, y1)).reshape(-1, 4)


def _prototype_mask(
    coefficients: Array, prototypes: Array, box: Values, placement: Placement, spec: ModelSpec
) -> tuple[Mask | None, tuple[int, int]]:
    """The mask inside the box (columns x with x0 <= x < x1, rows alike), or None where it is empty.

    Logits are the prototypes weighted by the coefficients; a probability of one half is a logit of 0, so no sigmoid
    is needed. Only the cells under the box are computed.
    """
    x0, y0, x1, y1 = (math.ceil(side) for side in box)
    if x0 >= x1 or y0 >= y1:
        return None, (0, 0)
    count, rows, columns = prototypes.shape[1:]
    grid = resampler(placement, (columns, rows))
    window = (x0, y0, x1, y1)
    cells = grid.cells(window)
    under = prototypes[0, :, cells[0], cells[1]]
    # einsum: without the threads of a matrix product, which cost more than they give on so little.
    logits = np.einsum("k,kn->n", coefficients.astype(np.float64), under.reshape(count, -1).astype(np.float64))
    if not np.isfinite(logits).all():
        raise _not_numbers(spec)
    mask = grid.exceeds(logits.reshape(under.shape[1:]), window, 0.0)
    if not mask.any():
        return None, (0, 0)
    return mask, (x0, y0)


# --- U-Net: a map of logits or probabilities for each class -----------------------------------------------------------


def _decode_unet(output: Array, placement: Placement, spec: ModelSpec) -> tuple[Instance, ...]:
    maps = _probabilities(output, placement, spec)
    ranked: list[tuple[float, Instance]] = []
    for index in range(len(spec.labels)):
        grid = resampler(placement, (maps.shape[2], maps.shape[1]))
        blobs = sorted(_blobs(maps[index], grid, placement, spec), key=lambda blob: -blob.rank)
        for blob in blobs[: spec.output.max_instances]:
            box = (blob.window[0], blob.window[1], blob.window[2], blob.window[3])
            instance = _instance(spec, index, blob.score, np.array(box, np.float64), blob.mask, blob.window[:2])
            ranked.append((blob.rank, instance))
    return tuple(instance for _, instance in sorted(ranked, key=lambda pair: -pair[0]))


def _probabilities(output: Array, placement: Placement, spec: ModelSpec) -> Array:
    """Maps (labels, rows, columns) of probability, without the background."""
    first = int(spec.output.background)
    maps = output
    if output.ndim == 4 and output.shape[0] == 1:
        maps = output[0]
    if spec.input.layout == "NHWC":
        maps = np.moveaxis(maps, -1, 0)
    if maps.ndim != 3 or maps.shape[0] != first + len(spec.labels):
        raise _wrong_shape(spec, output)
    if not np.isfinite(maps).all():
        raise _not_numbers(spec)
    if spec.output.activation == "sigmoid":
        # Beyond +-80 a float32 probability is 0 or 1 anyway, and exp would overflow.
        return np.asarray(1 / (1 + np.exp(-np.clip(maps[first:], -80, 80))))
    if spec.output.activation == "softmax":
        powers = np.exp(maps - maps.max(axis=0))  # the highest becomes 1: exp cannot overflow
        return np.asarray((powers / powers.sum(axis=0))[first:])
    _check_probabilities(maps, spec)
    return maps[first:]


@dataclass(frozen=True, slots=True, eq=False)
class _Blob:
    mask: Mask
    window: PixelBox
    score: float
    rank: float


def _blobs(probability: Array, grid: Resampler, placement: Placement, spec: ModelSpec) -> list[_Blob]:
    """Connected parts of the frame where the upsampled probability exceeds the threshold.

    Upsampling happens only around what can exceed it: a frame pixel does only if one of its four cells does. The
    result is that of upsampling everything.
    """
    threshold = spec.output.mask_threshold
    # The manifest counts pixels of the input, a mask has those of the frame.
    least_px = spec.output.min_area_px / (placement.scale_xy[0] * placement.scale_xy[1])
    islands, boxes = _islands(probability, grid, threshold)
    blobs: list[_Blob] = []
    for number, (rows, columns) in enumerate(boxes, 1):
        # A mean cannot exceed the highest value: what cannot pass the gate is not worth upsampling.
        highest = probability[rows, columns][islands[rows, columns] == number].max(initial=0.0)
        window = grid.pixels_of(rows, columns)
        if highest < spec.output.min_score or window[0] >= window[2] or window[1] >= window[3]:
            continue
        cells = grid.cells(window)
        values = np.where(islands[cells] == number, probability[cells], 0.0).astype(np.float64)
        blobs += _parts(grid.window(values, window), threshold, window, least_px)
    return [blob for blob in blobs if blob.score >= spec.output.min_score]


def _islands(probability: Array, grid: Resampler, threshold: float) -> tuple[NDArray[np.int32], list[_CellBox]]:
    """Groups of cells above the threshold, with the cells beside them, so far apart that no frame pixel joins two.

    Gives the map of their numbers, from 1, and the box of each.
    """
    above = probability > threshold
    above[: grid.y.first] = above[grid.y.last + 1 :] = False
    above[:, : grid.x.first] = above[:, grid.x.last + 1 :] = False
    reach = max(1, math.ceil(max(grid.x.cells_per_px, grid.y.cells_per_px) / 2))
    near = cv2.dilate(above.view(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    left, top, wide, high = cv2.boundingRect(near)  # most of the map is empty
    islands = np.zeros(near.shape, np.int32)
    if not wide:
        return islands, []
    _, parts, stats, _ = cv2.connectedComponentsWithStats(near[top : top + high, left : left + wide], connectivity=8)
    islands[top : top + high, left : left + wide] = parts
    return islands, [
        (slice(top + y, top + y + height), slice(left + x, left + x + width))
        for x, y, width, height in stats[1:, :4].tolist()
    ]


def _parts(values: Values, threshold: float, window: PixelBox, least_px: float) -> list[_Blob]:
    above = (values > threshold).view(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    blobs = []
    for number in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[number])
        if area < least_px:
            continue
        mask = parts[y : y + height, x : x + width] == number
        score = cv2.mean(values[y : y + height, x : x + width], mask.view(np.uint8))[0]
        place = (window[0] + x, window[1] + y, window[0] + x + width, window[1] + y + height)
        blobs.append(_Blob(mask, place, score, score * roundness(mask)))
    return blobs


def roundness(mask: Mask) -> float:
    """Divide the area of a mask (height, width) by that of the ellipse with the same second moments.

    1 for any full ellipse, less for other shapes, 0 for an empty mask.
    """
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    area = moments["m00"]
    if area == 0:
        return 0.0
    # A pixel is a square, not a point: its own variance is 1/12 along each axis.
    xx, yy, xy = moments["mu20"] / area + 1 / 12, moments["mu02"] / area + 1 / 12, moments["mu11"] / area
    return float(min(1.0, area / (4 * math.pi * math.sqrt(xx * yy - xy * xy))))


# --- shared -----------------------------------------------------------------------------------------------------------


def _instance(
    spec: ModelSpec, index: int, score: float, box: Values, mask: Mask | None, origin: tuple[int, int]
) -> Instance:
    if mask is not None:
        mask.setflags(write=False)
    label = spec.labels[index]
    whole: Box = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return Instance(label.name, index, score, whole, mask, origin, label.edge)


def _finite(values: Array) -> bool:
    """Whether all are numbers: NaN and infinity show in the extremes (0.2 ms for the outputs of a YOLOv8)."""
    return not values.size or (math.isfinite(float(values.min())) and math.isfinite(float(values.max())))


def _check_probabilities(values: Array, spec: ModelSpec) -> None:
    least, most = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if not (math.isfinite(least) and math.isfinite(most)):
        raise _not_numbers(spec)
    if least < -1e-3 or most > 1 + 1e-3:  # beyond what rounding leaves: these are logits
        raise UserError(
            f"Model '{spec.id}' gives probabilities from {least:.3g} to {most:.3g}",
            "Correct 'activation' in its manifest, or export the model with its last activation",
        )


def _wrong_shape(spec: ModelSpec, output: Array) -> UserError:
    hint = ""
    if spec.decoder.startswith("yolo"):
        hint = " (suppression must not be built in: nms=False, end2end=False)"
    return UserError(
        f"Model '{spec.id}' gave an output of shape {list(output.shape)}, which does not fit its labels{hint}",
        "Correct its manifest or export it again",
    )


def _not_numbers(spec: ModelSpec) -> UserError:
    return UserError(f"Model '{spec.id}' gave values that are not numbers", "Try the engine 'cpu' or another model")


# --- from the grid of an output to the pixels of the frame ------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One axis: the cells ``low`` and ``high`` beside the centre of each pixel of the crop, and the weight of ``high``.

    ``first`` and ``last`` are the outermost cells that take part, ``cells_per_px`` the step from pixel to pixel.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: Values
    first: int
    last: int
    cells_per_px: float


@dataclass(frozen=True, slots=True, eq=False)
class Resampler:
    """The grid of one output, seen from the frame. Windows are half-open boxes of whole frame pixels in the crop."""

    x: _Axis
    y: _Axis
    origin_px: tuple[int, int]

    def cells(self, window: PixelBox) -> tuple[slice, slice]:
        """Give the rows and columns of the grid that the window needs."""
        x0, y0, x1, y1 = self._inside(window)
        rows = slice(int(self.y.low[y0]), int(self.y.high[y1 - 1]) + 1)
        return rows, slice(int(self.x.low[x0]), int(self.x.high[x1 - 1]) + 1)

    def window(self, values: Values, window: PixelBox) -> Values:
        """Give the value at every pixel of the window, float64 (rows, columns).

        ``values`` are those of the cells that ``cells`` names for it.
        """
        result = np.empty((window[3] - window[1], window[2] - window[0]))
        for rows, band in self._bands(values, window):
            result[rows] = band
        return result

    def exceeds(self, values: Values, window: PixelBox, threshold: float) -> Mask:
        """Give the mask of the pixels at which ``window(values, window)`` is above the threshold."""
        # Band by band, so that the values of the whole window are never in memory.
        result = np.empty((window[3] - window[1], window[2] - window[0]), np.bool_)
        for rows, band in self._bands(values, window):
            np.greater(band, threshold, out=result[rows])
        return result

    def _bands(self, values: Values, window: PixelBox) -> Iterator[tuple[slice, Values]]:
        """The window in bands of rows that stay in the processor's cache; each is overwritten by the next."""
        x0, y0, x1, y1 = self._inside(window)
        low, high, weight = (
            self.x.low[x0:x1] - self.x.low[x0],
            self.x.high[x0:x1] - self.x.low[x0],
            self.x.weight[x0:x1],
        )
        across = values.take(low, axis=1) * (1 - weight) + values.take(high, axis=1) * weight
        step = np.diff(across, axis=0, append=across[-1:])  # from each row of cells to the next
        height = max(1, BAND_PX // (x1 - x0))
        buffers = np.empty((2, min(height, y1 - y0), x1 - x0))
        for top in range(y0, y1, height):
            bottom = min(y1, top + height)
            band, base = buffers[0, : bottom - top], buffers[1, : bottom - top]
            row = self.y.low[top:bottom] - self.y.low[y0]
            np.take(step, row, axis=0, out=band, mode="clip")
            band *= self.y.weight[top:bottom, None]
            band += np.take(across, row, axis=0, out=base, mode="clip")
            yield slice(top - y0, bottom - y0), band

    def pixels_of(self, rows: slice, columns: slice) -> PixelBox:
        """Give the window of all pixels to which any of these cells contributes; empty where there is none."""
        x0, x1 = _touching(self.x, columns)
        y0, y1 = _touching(self.y, rows)
        left, top = self.origin_px
        return (x0 + left, y0 + top, x1 + left, y1 + top)

    def _inside(self, window: PixelBox) -> PixelBox:
        left, top = self.origin_px
        return window[0] - left, window[1] - top, window[2] - left, window[3] - top


@functools.lru_cache(maxsize=16)
def resampler(placement: Placement, grid_size: tuple[int, int]) -> Resampler:
    """Make the resampler from an output grid of (columns, rows) over the model's whole input to the frame.

    It is kept: the frames of a source have one placement.
    """
    x0, y0, x1, y1 = placement.crop_xyxy_px
    width, height = placement.input_size_px
    pad_x, pad_y = placement.pad_xy_px
    scale_x, scale_y = placement.scale_xy
    columns, rows = grid_size
    return Resampler(
        x=_axis(x1 - x0, scale_x * columns / width, pad_x * columns / width, columns),
        y=_axis(y1 - y0, scale_y * rows / height, pad_y * rows / height, rows),
        origin_px=(x0, y0),
    )


def _axis(pixels: int, cells_per_px: float, pad_cells: float, cells: int) -> _Axis:
    # 1e-9: a centre that lies exactly on the rim of the picture belongs to it, whatever rounding does.
    first = max(0, math.ceil(pad_cells - 0.5 - 1e-9))
    last = min(cells - 1, math.floor(pad_cells + pixels * cells_per_px - 0.5 + 1e-9))
    if last < first:  # the picture is smaller than a cell
        first = last = min(cells - 1, int(pad_cells + pixels * cells_per_px / 2))
    position = np.clip((np.arange(pixels) + 0.5) * cells_per_px + pad_cells - 0.5, first, last)
    low = position.astype(np.intp)
    return _Axis(low, np.minimum(low + 1, last), position - low, first, last, cells_per_px)


def _touching(axis: _Axis, cells: slice) -> tuple[int, int]:
    start = int(np.searchsorted(axis.high, cells.start, side="left"))
    stop = int(np.searchsorted(axis.low, cells.stop - 1, side="right"))
    return start, max(start, stop)
