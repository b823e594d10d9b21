"""From the decoder's logits to an outline in frame pixels. Pure functions.

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
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import PixelBox, Placement
from usviewer.infer.prompt.types import LowResMask, Prompt, PromptOutline
from usviewer.infer.resample import resampler

Array = NDArray[np.float32]
Origin = tuple[int, int]

NOTHING = "Nothing is outlined here"
UNSURE = "The model is not sure of this outline"
MISSED = "The outline does not hold a place that was clicked"
TAKEN = "The outline holds a place that was excluded"

# A single mask and three of different size for a click that may mean a part or the whole (the original's export).
_SINGLE_AND_THREE = 4


def choose_mask(scores: Array, *, ambiguous: bool) -> int:
    """Which of the decoder's masks answers.

    Of four, the first is for clear prompts, the best of the other three for an ``ambiguous`` one: a lone click. Of any
    other number the best by score.
    """
    if len(scores) == _SINGLE_AND_THREE:
        return 1 + int(np.argmax(scores[1:])) if ambiguous else 0
    return int(np.argmax(scores))


def outline(
    masks: Array, scores: Array, placement: Placement, prompt: Prompt, spec: ModelSpec, *, ambiguous: bool
) -> PromptOutline:
    """``masks`` [1, K, h, w] and ``scores`` [1, K] of the decoder as an outline under the model's first label.

    Raises ``UserError`` for outputs of another shape, or that are not numbers.
    """
    if masks.ndim != 4 or scores.shape != masks.shape[:2] or masks.shape[0] != 1 or 0 in masks.shape:
        raise UserError(
            f"Model '{spec.id}' gave masks {list(masks.shape)} with scores {list(scores.shape)}", "Export it again"
        )
    chosen = choose_mask(scores[0], ambiguous=ambiguous)
    logits = np.array(masks[0, chosen], np.float32)
    if not (np.isfinite(logits).all() and math.isfinite(float(scores[0, chosen]))):
        raise UserError(f"Model '{spec.id}' gave values that are not numbers", "Try another engine or another model")
    logits.setflags(write=False)
    score = float(np.clip(scores[0, chosen], 0.0, 1.0))
    found = _mask(logits, placement, spec.output.mask_threshold)
    if found is not None:
        found = kept_parts(*found, prompt)
    instance = _instance(found, score, spec) if found is not None else None
    reason = _doubt(found, prompt, score, spec.output.min_score)
    return PromptOutline(prompt, instance, score, LowResMask(logits), bool(reason), reason)


def _mask(logits: Array, placement: Placement, threshold: float) -> tuple[Mask, Origin] | None:
    """What is above the threshold in the picture, and where its window lies; None for nothing."""
    limit = math.log(threshold / (1 - threshold))
    grid = resampler(placement, (logits.shape[1], logits.shape[0]))
    above = logits > limit
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
    """Of several parts those that hold a positive click; without any the largest."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count <= 2:
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
            return MISSED if positive else TAKEN
    return UNSURE if score < min_score else ""


def _clicks(prompt: Prompt) -> list[tuple[tuple[float, float], bool]]:
    return list(zip(prompt.points_xy_px, prompt.positive, strict=True))


def _value_at(values: NDArray[np.generic], origin: Origin, point: tuple[float, float]) -> int:
    """The value of the pixel that holds a position; 0 outside."""
    column, row = math.floor(point[0]) - origin[0], math.floor(point[1]) - origin[1]
    inside = 0 <= row < values.shape[0] and 0 <= column < values.shape[1]
    return int(values[row, column]) if inside else 0


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
