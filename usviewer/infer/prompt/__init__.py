"""Models that outline what they are pointed at: what is pointed at, what the encoder saw, what the decoder answered.

An encoder looks at the picture once, a decoder answers every click. The layout is that of the original SAM's ONNX
export (``docs/models.md``). ``decoder_io`` is pure, ``infer.runner`` runs the two graphs, ``prompt_model`` is what the
rest of the program uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.frame import FrameKey
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import Placement
from usviewer.units import Box, Point

Logits = NDArray[np.float32]

# More clicks than anybody makes on one structure; every one of them is a token of the decoder.
MAX_POINTS = 32


@dataclass(frozen=True, slots=True)
class Prompt:
    """Clicks and a box on one structure, in frame pixels (corner convention of ``usviewer.units``).

    ``positive[i]`` says whether the structure is at point ``i``, or is not. Raises ``UserError`` where nothing is
    pointed at: a negative click alone means nothing.
    """

    points_xy_px: tuple[Point, ...] = ()
    positive: tuple[bool, ...] = ()
    box_xyxy_px: Box | None = None

    def __post_init__(self) -> None:
        numbers = [value for point in self.points_xy_px for value in point] + list(self.box_xyxy_px or ())
        if len(self.points_xy_px) != len(self.positive) or not all(map(math.isfinite, numbers)):
            raise ValueError("every point needs two numbers and a sign")
        # A decoder outlines something around any click; a negative one alone would be outlined as if it were meant.
        if self.box_xyxy_px is None and not any(self.positive):
            raise UserError("Nothing is pointed at", "Click on the structure or draw a box around it")
        if len(self.points_xy_px) > MAX_POINTS:
            raise UserError(
                f"There are more than {MAX_POINTS} clicks on one structure", "Start again, or use the brush"
            )
        if self.box_xyxy_px is not None:
            x0, y0, x1, y1 = self.box_xyxy_px
            if not (x0 < x1 and y0 < y1):
                raise UserError("The box is empty", "Draw it from one corner to the opposite one")

    def with_point(self, point_xy_px: Point, *, positive: bool) -> Prompt:
        """Give the same prompt with one click more."""
        # Never in place: an answer keeps the prompt that it answers.
        return replace(self, points_xy_px=(*self.points_xy_px, point_xy_px), positive=(*self.positive, positive))


def at_point(point_xy_px: Point) -> Prompt:
    """Make a prompt of one positive click, in frame pixels."""
    return Prompt((point_xy_px,), (True,))


def in_box(box_xyxy_px: Box) -> Prompt:
    """Make a prompt of one box in frame pixels, from any corner. Raises ``UserError`` if the box is empty."""
    x0, y0, x1, y1 = box_xyxy_px
    return Prompt(box_xyxy_px=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))


@dataclass(frozen=True, slots=True, eq=False)
class LowResMask:
    """Logits (height, width; read-only) over the model's whole padded input, above 0 inside: a hint for the decoder."""

    logits: Logits


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """What the encoder made of one frame: ``values`` float32 [1, C, h, w], read-only. Any number of prompts use it.

    ``edge_sd_px`` as in ``Prediction``; ``milliseconds`` is what it took.
    """

    key: FrameKey
    frame_size_px: tuple[int, int]
    placement: Placement
    values: NDArray[np.float32]
    model_sha256: str
    edge_sd_px: float | None = None
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class PromptOutline:
    """The answer to one prompt.

    ``instance`` has the mask inside its box in frame pixels, and is None where nothing was outlined. ``score`` is the
    overlap (IoU) with the truth that the model predicts, 0 to 1. ``low_res`` refines: give it back with one more click.
    ``uncertain`` outlines are shown as such; ``reason`` is one sentence then.
    """

    prompt: Prompt
    instance: Instance | None
    score: float
    low_res: LowResMask
    uncertain: bool = False
    reason: str = ""
    milliseconds: float = field(default=0.0)

    def called(self, label: str, class_index: int = 0) -> PromptOutline:
        """The same outline under the name that the user gave it."""
        if self.instance is None:
            return self
        return replace(self, instance=replace(self.instance, label=label, class_index=class_index))
