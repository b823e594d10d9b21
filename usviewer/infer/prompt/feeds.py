"""From a prompt in frame pixels to the decoder's inputs. Pure functions."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Mask
from usviewer.infer.manifest import PromptSpec
from usviewer.infer.preprocess import Placement
from usviewer.infer.prompt.types import LowResMask, Prompt

NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT, NO_POINT = 0.0, 1.0, 2.0, 3.0, -1.0
# The export counts from the middle of a pixel, and moves by this much itself.
PIXEL_CENTRE = 0.5
# A mask that was drawn, or carried here, is a sure answer of the kind the decoder gave itself.
SURE_LOGIT = 6.0

Array = NDArray[np.float32]


def simplified(prompt: Prompt) -> Prompt:
    """For a decoder of one point or one box: the box where there is one, else the newest positive click."""
    if prompt.box_xyxy_px is not None:
        return Prompt(box_xyxy_px=prompt.box_xyxy_px)
    pairs = zip(prompt.points_xy_px, prompt.positive, strict=True)
    return Prompt(([point for point, positive in pairs if positive][-1],), (True,))


def points_and_labels(prompt: Prompt, placement: Placement, spec: PromptSpec) -> tuple[Array, Array]:
    """``point_coords`` [1, N, 2] and ``point_labels`` [1, N]: clicks, then the box's corners or a point for none."""
    if spec.prompts == "one":
        prompt = simplified(prompt)
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
    """A mask of the whole frame (height, width) as logits on a grid of (columns, rows) over the model's input.

    Each cell holds the share of the mask around its centre, as a logit of at most ``SURE_LOGIT``.
    """
    columns, rows = grid_size
    step_x, step_y = placement.input_size_px[0] / columns, placement.input_size_px[1] / rows
    centres = np.stack(np.meshgrid((np.arange(columns) + 0.5) * step_x, (np.arange(rows) + 0.5) * step_y), axis=-1)
    where = placement.to_frame(centres) - PIXEL_CENTRE  # OpenCV counts from the middle of a pixel
    cell_px = max(step_x / placement.scale_xy[0], step_y / placement.scale_xy[1])
    share = mask.astype(np.float32)
    if cell_px > 1:
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
