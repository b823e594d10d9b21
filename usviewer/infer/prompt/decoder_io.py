"""A prompt in frame pixels as the decoder's inputs, and the decoder's logits as an outline. Pure functions.

As for every model, logits are brought to the frame's own pixels first and compared with the threshold there: the other
way round every edge would be off by up to a cell.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.frame import Mask
from usviewer.infer.decode import resampler
from usviewer.infer.manifest import ModelSpec, PromptSpec
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import PixelBox, Placement
from usviewer.infer.prompt import LowResMask, Prompt, PromptOutline

Array = NDArray[np.float32]
Origin = tuple[int, int]

# The labels of points in the ONNX export of the original SAM (docs/models.md).
NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT, NO_POINT = 0.0, 1.0, 2.0, 3.0, -1.0
# The export counts from the middle of a pixel, and adds this much itself.
PIXEL_CENTRE = 0.5
# A mask that was drawn, or carried here, is a sure answer of the kind the decoder gave itself.
SURE_LOGIT = 6.0

NOTHING = "Nothing is outlined here"
UNSURE = "The model is not sure of this outline"
MISSED = "The outline does not hold a place that was clicked"
TAKEN = "The outline holds a place that was excluded"

# A single mask and three of different size for a click that may mean a part or the whole (the original's export).
_SINGLE_AND_THREE = 4


# --- to the decoder ---------------------------------------------------------------------------------------------------


def _simplified(prompt: Prompt) -> Prompt:
    """Reduce a prompt to what a decoder of one point or one box takes: the box, or else the newest positive click."""
    if prompt.box_xyxy_px is not None:
        return Prompt(box_xyxy_px=prompt.box_xyxy_px)
    pairs = zip(prompt.points_xy_px, prompt.positive, strict=True)
    return Prompt(([point for point, positive in pairs if positive][-1],), (True,))


def points_and_labels(prompt: Prompt, placement: Placement, spec: PromptSpec) -> tuple[Array, Array]:
    """Give ``point_coords`` [1, N, 2] and ``point_labels`` [1, N], float32, in input pixels.

    Clicks come first, then the box's two corners, or the point that stands for no box.
    """
    if spec.prompts == "one":
        prompt = _simplified(prompt)
    positions: list[tuple[float, float]] = list(prompt.points_xy_px)
    labels = [POSITIVE if positive else NEGATIVE for positive in prompt.positive]
    if prompt.box_xyxy_px is not None:
        x0, y0, x1, y1 = prompt.box_xyxy_px
        positions += [(x0, y0), (x1, y1)]
        labels += [TOP_LEFT, BOTTOM_RIGHT]
    inside = placement.to_input(np.array(positions, np.float64)) - PIXEL_CENTRE
    if prompt.box_xyxy_px is None and spec.pad_point:
        inside = np.vstack((inside, np.zeros((1, 2))))
        labels.append(NO_POINT)
    return inside[None].astype(np.float32), np.array([labels], np.float32)


def low_res_of(mask: Mask, placement: Placement, grid_size: tuple[int, int]) -> LowResMask:
    """Turn a mask of the whole frame (height, width) into logits on a grid of (columns, rows) over the model's input.

    Each cell holds the share of the mask around its centre, as a logit of at most ``SURE_LOGIT``.
    """
    columns, rows = grid_size
    step_x, step_y = placement.input_size_px[0] / columns, placement.input_size_px[1] / rows
    centres = np.stack(np.meshgrid((np.arange(columns) + 0.5) * step_x, (np.arange(rows) + 0.5) * step_y), axis=-1)
    where = placement.to_frame(centres) - PIXEL_CENTRE  # OpenCV counts from the middle of a pixel
    cell_px = max(step_x / placement.scale_xy[0], step_y / placement.scale_xy[1])
    share = mask.astype(np.float32)
    if cell_px > 1:  # a cell takes in several pixels: without the blur it would see only the one at its centre
        share = np.asarray(cv2.GaussianBlur(share, (0, 0), cell_px / 2), np.float32)
    sampled = cv2.remap(
        share,
        where[..., 0].astype(np.float32),
        where[..., 1].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0.0,
    )
    least = 1 / (1 + np.exp(SURE_LOGIT))
    inside = np.clip(sampled, least, 1 - least)
    logits = np.log(inside / (1 - inside)).astype(np.float32)
    logits.setflags(write=False)
    return LowResMask(logits)


# --- from the decoder -------------------------------------------------------------------------------------------------


def _choose_mask(scores: Array, *, ambiguous: bool) -> int:
    """Choose which of the decoder's masks is the answer.

    Of four, the first is for clear prompts, the best of the other three for an ``ambiguous`` one: a lone click. Of any
    other number the best by score.
    """
    if len(scores) == _SINGLE_AND_THREE:
        if not ambiguous:
            return 0
        return 1 + int(np.argmax(scores[1:]))
    return int(np.argmax(scores))


def outline(
    masks: Array, scores: Array, placement: Placement, prompt: Prompt, spec: ModelSpec, *, ambiguous: bool
) -> PromptOutline:
    """Turn the decoder's ``masks`` [1, K, h, w] (logits) and ``scores`` [1, K] into an outline in frame pixels.

    It has the model's first label; the caller may rename it.
    Raises ``UserError`` for outputs of another shape, or that are not numbers.
    """
    if masks.ndim != 4 or scores.shape != masks.shape[:2] or masks.shape[0] != 1 or 0 in masks.shape:
        raise UserError(
            f"Model '{spec.id}' gave masks {list(masks.shape)} with scores {list(scores.shape)}", "Export it again"
        )
    chosen = _choose_mask(scores[0], ambiguous=ambiguous)
    logits = np.array(masks[0, chosen], np.float32)
    if not (np.isfinite(logits).all() and math.isfinite(float(scores[0, chosen]))):
        raise UserError(f"Model '{spec.id}' gave values that are not numbers", "Try another engine or another model")
    logits.setflags(write=False)
    score = float(np.clip(scores[0, chosen], 0.0, 1.0))
    found = _mask(logits, placement, spec.output.mask_threshold)
    instance: Instance | None = None
    if found is not None:
        found = kept_parts(*found, prompt)
        instance = _instance(found, score, spec)
    reason = _doubt(found, prompt, score, spec.output.min_score)
    return PromptOutline(prompt, instance, score, LowResMask(logits), bool(reason), reason)


def _mask(logits: Array, placement: Placement, threshold: float) -> tuple[Mask, Origin] | None:
    """What is above the threshold in the picture, and where its window lies; None for nothing."""
    limit = math.log(threshold / (1 - threshold))  # as a logit: no sigmoid over the whole grid
    grid = resampler(placement, (logits.shape[1], logits.shape[0]))
    above = logits > limit
    # Cells of the padding are no part of the picture: what the model outlines there cannot be measured.
    above[: grid.y.first] = above[grid.y.last + 1 :] = False
    above[:, : grid.x.first] = above[:, grid.x.last + 1 :] = False
    if not above.any():
        return None
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    window: PixelBox = grid.pixels_of(
        slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    )
    if window[0] >= window[2] or window[1] >= window[3]:
        return None
    mask = grid.exceeds(logits[grid.cells(window)].astype(np.float64), window, limit)
    return _trimmed(mask, (window[0], window[1]))


def kept_parts(mask: Mask, origin: Origin, prompt: Prompt) -> tuple[Mask, Origin]:
    """Keep, of several parts, those that hold a positive click; if none does, the largest.

    ``origin`` is the mask's top-left pixel in the frame; the answer is trimmed and has its own.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count <= 2:  # OpenCV counts the background as a part
        return mask, origin
    clicked = {_value_at(parts, origin, point) for point, sign in _clicks(prompt) if sign} - {0}
    wanted = clicked or {1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))}
    kept = _trimmed(np.isin(parts, sorted(wanted)), origin)
    assert kept is not None  # every part has a pixel
    return kept


def _doubt(found: tuple[Mask, Origin] | None, prompt: Prompt, score: float, min_score: float) -> str:
    """One sentence where the outline should not be trusted, else empty."""
    if found is None:
        return NOTHING
    mask, origin = found
    for point, positive in _clicks(prompt):
        if bool(_value_at(mask, origin, point)) != positive:
            if positive:
                return MISSED
            return TAKEN
    if score < min_score:
        return UNSURE
    return ""


def _clicks(prompt: Prompt) -> list[tuple[tuple[float, float], bool]]:
    return list(zip(prompt.points_xy_px, prompt.positive, strict=True))


def _value_at(values: NDArray[np.generic], origin: Origin, point: tuple[float, float]) -> int:
    """The value of the pixel that holds a position; 0 outside."""
    column, row = math.floor(point[0]) - origin[0], math.floor(point[1]) - origin[1]
    if not (0 <= row < values.shape[0] and 0 <= column < values.shape[1]):
        return 0
    return int(values[row, column])


def _trimmed(mask: Mask, origin: Origin) -> tuple[Mask, Origin] | None:
    """Without empty rows and columns around it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return inner, (origin[0] + int(columns[0]), origin[1] + int(rows[0]))


def _instance(found: tuple[Mask, Origin], score: float, spec: ModelSpec) -> Instance:
    mask, (left, top) = found
    mask.setflags(write=False)
    box = (float(left), float(top), float(left + mask.shape[1]), float(top + mask.shape[0]))
    label = spec.labels[0]
    return Instance(label.name, 0, score, box, mask, (left, top), label.edge)
