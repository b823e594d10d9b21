"""What a model says about one frame, in the frame's own pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from usviewer.frame import FrameKey, Mask
from usviewer.units import Box


class Edge(StrEnum):
    """What the outline of a label follows; the convention of every length measured on it."""

    # A length of one convention is never converted to another: no model says how thick the wall is.
    INNER = "inner"
    OUTER = "outer"
    NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One found object.

    ``box_xyxy_px`` is continuous (corner convention of ``usviewer.units``). ``mask`` (read-only bool, or None for a
    detector) covers only the rectangle whose top-left pixel is ``mask_origin_px`` (column, row).
    """

    label: str
    class_index: int
    score: float
    box_xyxy_px: Box
    mask: Mask | None = None
    mask_origin_px: tuple[int, int] = (0, 0)
    edge: Edge = Edge.NOT_STATED

    @property
    def area_px(self) -> float:
        """Pixels of the mask; of the box where there is no mask."""
        if self.mask is not None:
            return float(np.count_nonzero(self.mask))
        x0, y0, x1, y1 = self.box_xyxy_px
        return max(0.0, x1 - x0) * max(0.0, y1 - y0)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """All instances of one frame, best first. ``timings_ms`` has preprocess, infer and decode.

    ``measured`` names the one label of the model that is measured; empty where every instance may be.
    ``edge_sd_px`` is how far an outline is off, as a standard deviation in frame pixels (in squares of their area where
    they are not square); None where that is not known. ``carried`` was seen ``carried_s`` before, and not on this
    frame: its outlines have moved with the picture. They may be shown as such, and are never measured.
    """

    key: FrameKey
    frame_size_px: tuple[int, int]
    instances: tuple[Instance, ...]
    model_id: str
    model_sha256: str
    engine: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    edge_sd_px: float | None = None
    measured: str = ""
    carried: tuple[Instance, ...] = ()
    carried_s: float = 0.0


def full_mask(instance: Instance, frame_size_px: tuple[int, int]) -> Mask:
    """Give the instance's mask on the whole frame, bool (height, width); a detector's box has none and gives all False.

    ``frame_size_px`` is (width, height).
    """
    width, height = frame_size_px
    whole = np.zeros((height, width), dtype=np.bool_)
    if instance.mask is not None:
        x0, y0 = instance.mask_origin_px
        rows, columns = instance.mask.shape
        whole[y0 : y0 + rows, x0 : x0 + columns] = instance.mask
    return whole


def instance_of(mask: Mask, like: Instance, score: float) -> Instance:
    """Make an instance of a mask of the whole frame (height, width), with the label and edge of another."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    inner = mask[y0:y1, x0:x1].copy()
    inner.setflags(write=False)
    box = (float(x0), float(y0), float(x1), float(y1))
    return replace(like, score=score, box_xyxy_px=box, mask=inner, mask_origin_px=(x0, y0))
