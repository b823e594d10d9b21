"""A simulated user of the prompt model: boxes and clicks as hands draw them, and clicks where an answer is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.networks.prompt import BOX_END, BOX_START, LOGIT_PX, NEGATIVE, POSITIVE, SIDE_PX
from usviewer.evaluate.prompts import box_of, depth_map, next_click
from usviewer.frame import Mask

SLOTS = 8
"""Points that a prompt in training may have: two corners and six clicks."""
PX = SIDE_PX / LOGIT_PX
"""Input pixels in a pixel of the logits, on which clicks are chosen."""


@dataclass
class Prompts:
    """Points [N, SLOTS, 2] in input pixels with labels [N, SLOTS] (-1: none), and the former answers' logits."""

    coords: NDArray[np.float32]
    labels: NDArray[np.float32]
    mask: Tensor
    has_mask: Tensor

    @classmethod
    def none(cls, count: int) -> Prompts:
        """Prompts without any point yet."""
        return cls(
            np.zeros((count, SLOTS, 2), np.float32),
            np.full((count, SLOTS), -1, np.float32),
            torch.zeros(count, 1, LOGIT_PX, LOGIT_PX),
            torch.zeros(count, 1),
        )

    def click(self, index: int, xy: tuple[float, float], label: int) -> None:
        """One more point of a prompt, in pixels of the logits; the corners of a box take the first two places."""
        corner = label in {BOX_START, BOX_END}
        slot = label - BOX_START if corner else 2 + int((self.labels[index, 2:] >= 0).sum())
        if slot < SLOTS:
            self.coords[index, slot] = np.array(xy) * PX
            self.labels[index, slot] = label

    def box(self, index: int, box: Sequence[float]) -> None:
        """A box x0, y0, x1, y1 in pixels of the logits."""
        self.click(index, (box[0], box[1]), BOX_START)
        self.click(index, (box[2], box[3]), BOX_END)

    def of(self, rows: NDArray[np.int64]) -> Prompts:
        """Some of the prompts."""
        return Prompts(self.coords[rows], self.labels[rows], self.mask[rows], self.has_mask[rows])


def somewhere_inside(rng: Generator, region: Mask, least_depth: float) -> tuple[float, float]:
    """A random point at least that deep in a region, as a share of its greatest depth."""
    depth = depth_map(region)
    rows, columns = np.nonzero(depth >= max(1e-3, least_depth * float(depth.max())))
    at = int(rng.integers(len(rows)))
    return float(columns[at] + rng.random()), float(rows[at] + rng.random())


def loose_box(rng: Generator, mask: Mask) -> tuple[float, ...]:
    """The box of a mask as a hand would draw it: tight, loose, or a little inside."""
    x0, y0, x1, y1 = box_of(mask)
    spread = float(rng.choice((0.01, 0.05, 0.1)))
    noise = np.clip(rng.normal(0, spread, 4), -2 * spread, 2 * spread)
    return tuple(np.array([x0, y0, x1, y1]) + noise * (x1 - x0, y1 - y0, x1 - x0, y1 - y0))


def first_prompt(rng: Generator, prompts: Prompts, index: int, mask: Mask) -> None:
    """A box, one click, several, or a box and a click; now and then with the outline of a moment ago."""
    kind = rng.random()
    if kind < 0.42:
        prompts.box(index, loose_box(rng, mask))
    if kind > 0.36:
        for _ in range(1 if rng.random() < 0.8 else int(rng.integers(2, 4))):
            prompts.click(index, somewhere_inside(rng, mask, float(rng.choice((0.2, 0.6, 0.9)))), POSITIVE)
        if rng.random() < 0.08:
            around = (cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~mask
            if around.any():
                prompts.click(index, somewhere_inside(rng, around, 0.3), NEGATIVE)
    if rng.random() < 0.1:
        prompts.mask[index, 0] = torch.from_numpy(stale_logits(rng, mask))
        prompts.has_mask[index] = 1.0


def stale_logits(rng: Generator, mask: Mask) -> NDArray[np.float32]:
    """The outline as a neighbouring frame had it: moved, thicker or thinner."""
    width = max(1, round(0.08 * float(np.sqrt(mask.sum()))))
    size = int(rng.integers(1, width + 1)) * 2 + 1
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    shift = np.float32([[1, 0, rng.normal(0, width)], [0, 1, rng.normal(0, width)]])
    moved = cv2.warpAffine(mask.astype(np.float32), shift, mask.shape[::-1])
    changed = change(moved, np.ones((size, size), np.uint8)) if rng.random() < 0.7 else moved
    return np.asarray((cv2.GaussianBlur(changed, (0, 0), 1.0) - 0.5) * rng.uniform(4, 16), np.float32)


def correct(rng: Generator | None, prompts: Prompts, index: int, truth: Mask, found: Mask) -> None:
    """One more click where the answer is wrong: by the rule, or with `rng` somewhere in that region."""
    click = next_click(truth, found)
    if click is None:
        return
    at = click.xy_px
    if rng is not None:
        at = somewhere_inside(rng, (truth & ~found) if click.positive else (found & ~truth), rng.choice((0.5, 0.8)))
    prompts.click(index, at, POSITIVE if click.positive else NEGATIVE)


def ask(decoder: nn.Module, embedding: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Logits and expected overlaps of prompts, N / B of them for every embedding."""
    device = embedding.device
    coords, labels = torch.from_numpy(prompts.coords).to(device), torch.from_numpy(prompts.labels).to(device)
    logits, quality = decoder(embedding, coords, labels, prompts.mask.to(device), prompts.has_mask.to(device))
    return logits, quality
