"""Live: the newest outline, carried on by motion while the next one is being computed, and how old it is."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from usviewer.frame import Frame, FrameKey, Mask
from usviewer.infer.prediction import Instance, full_mask, instance_of
from usviewer.infer.tracking.limits import LEAST_APPEARANCE, LEAST_SHARE, MOST_GROWTH_AT_ALL, MOST_LOSS_AT_ALL
from usviewer.infer.tracking.optical_flow import Grey, estimate, grey_of, move_mask

# The frames that an answer may be late by; they are kept as grey pictures.
KEPT_FRAMES = 12
# An outline that nothing confirmed for so long is not shown any more.
MAX_AGE_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class TrackedOutline:
    """The outline on one frame.

    ``age_s`` is how long ago the picture was taken that the model answered on: 0 for the model's own answer, more for
    one that motion carried here (drawn dashed, with its age).
    """

    key: FrameKey
    instance: Instance
    age_s: float
    confidence: float


class MotionTracker:
    """State of one live run; not for two threads at once. Frames come in the order of capture."""

    def __init__(self) -> None:
        self._greys: OrderedDict[FrameKey, Grey] = OrderedDict()
        self._like: Instance | None = None
        self._mask: Mask | None = None
        self._at: FrameKey | None = None
        self._taken_s = 0.0
        self._area_px = 0  # of the model's answer
        self._confidence = 0.0

    def encoded(self, key: FrameKey, instance: Instance | None, frame_size_px: tuple[int, int]) -> None:
        """Take an answer for a frame that ``carry`` has seen; None where the structure was not found there.

        An answer that comes too late, for a frame that is no longer kept, changes nothing.
        """
        if instance is None:
            self.reset()
            return
        if key not in self._greys:
            return
        self._like, self._mask = instance, full_mask(instance, frame_size_px)
        self._at, self._taken_s, self._confidence = key, key.time_s, instance.score
        self._area_px = int(np.count_nonzero(self._mask))

    def carry(self, frame: Frame) -> TrackedOutline | None:
        """Carry the outline to this frame; None where there is none, or none that can be trusted any more."""
        grey = grey_of(frame)
        self._greys[frame.key] = grey
        while len(self._greys) > KEPT_FRAMES:
            self._greys.popitem(last=False)
        if self._mask is None or self._like is None or self._at is None:
            return None
        age_s = frame.key.time_s - self._taken_s
        before = self._greys.get(self._at)
        fits = before is not None and before.shape == grey.shape and 0.0 <= age_s <= MAX_AGE_S
        if not fits or (frame.key != self._at and not self._move(before, grey, frame.pixel_aspect)):
            self.reset()
            return None
        self._at = frame.key
        instance = instance_of(self._mask, self._like, self._confidence)
        return TrackedOutline(frame.key, instance, age_s, self._confidence)

    def reset(self) -> None:
        """Forget the outline: another source, depth or model, or the structure is gone."""
        self._mask = self._like = self._at = None

    def _move(self, before: Grey | None, now: Grey, pixel_aspect: float) -> bool:
        assert self._mask is not None and before is not None
        motion = estimate(before, now, self._mask, pixel_aspect)
        if motion.appearance < LEAST_APPEARANCE or motion.share < LEAST_SHARE:
            return False
        self._mask = move_mask(self._mask, motion.matrix)
        self._confidence *= max(0.0, motion.appearance)
        area_px = int(np.count_nonzero(self._mask))
        return self._area_px / MOST_LOSS_AT_ALL <= area_px <= self._area_px * MOST_GROWTH_AT_ALL
