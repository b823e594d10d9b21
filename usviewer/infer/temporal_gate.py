"""What was there a moment ago needs less evidence to be there still: steadies the presence gate over a clip.

A model's score of the same vessel wavers from frame to frame. With one threshold the outline blinks; a lower
threshold for everything would let in false alarms. So an object appears with the full score, and stays with a lower one
while it lies where it lay.
"""

from __future__ import annotations

from usviewer.frame import FrameKey
from usviewer.infer.manifest import OutputSpec
from usviewer.infer.prediction import Instance
from usviewer.units import Box

# About six frames at 25 a second: longer ago, and the probe may point elsewhere.
MAX_GAP_S = 0.25
MIN_OVERLAP = 0.4


class TemporalGate:
    """State of one clip or live run; give it to ``Predictor.predict`` for frames in the order of time.

    Frames of another source or size, from before, or after a gap of more than a quarter of a second start again.
    """

    def __init__(self) -> None:
        self._source = ""
        self._size_px: tuple[int, int] | None = None
        self._seen_s = 0.0
        self._admitted: tuple[Instance, ...] = ()

    def admit(
        self,
        instances: tuple[Instance, ...],
        key: FrameKey,
        output: OutputSpec,
        frame_size_px: tuple[int, int] | None = None,
    ) -> tuple[Instance, ...]:
        """Those that pass the gate by themselves, and those that passed it just before in the same place."""
        now_s = key.time_s
        same = (key.source, frame_size_px) == (self._source, self._size_px)  # places of another size are other places
        if not same or not 0.0 <= now_s - self._seen_s <= MAX_GAP_S:
            self._admitted = ()
        admitted = tuple(one for one in instances if one.score >= output.min_score or self._stays(one))
        self.follow(admitted, key, frame_size_px)
        return admitted

    def follow(
        self, admitted: tuple[Instance, ...], key: FrameKey, frame_size_px: tuple[int, int] | None = None
    ) -> None:
        """Go on from what was admitted on this frame before, as if it had just been."""
        if admitted:
            self._source, self._size_px = key.source, frame_size_px
            self._seen_s, self._admitted = key.time_s, admitted

    def _stays(self, instance: Instance) -> bool:
        return any(
            before.label == instance.label and _overlap(before.box_xyxy_px, instance.box_xyxy_px) >= MIN_OVERLAP
            for before in self._admitted
        )


def _overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (sum(areas) - width * height)
