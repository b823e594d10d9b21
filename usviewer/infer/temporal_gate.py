"""What was there a moment ago needs less evidence to be there still: steadies the presence gate over a clip.

A model's score of the same vessel wavers from frame to frame. With one threshold the outline blinks; a lower
threshold for everything would let in false alarms. So an object appears with the full score, and stays with a lower one
while it lies where it lay, or where the picture's motion has brought it. On a frame without it, its outline is carried
there by that motion for a moment: to be shown as such, never to be measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from usviewer.frame import Frame
from usviewer.infer.manifest import OutputSpec
from usviewer.infer.prediction import Instance
from usviewer.infer.tracking.motion_tracker import MotionTracker
from usviewer.units import Box

# About six frames at 25 a second: longer ago, and the probe may point elsewhere.
MAX_GAP_S = 0.25
MIN_OVERLAP = 0.4


class TemporalGate:
    """State of one clip or live run; give it to ``Predictor.predict`` for frames in the order of time.

    Frames of another source or size, from before, or after a gap of more than a quarter of a second start again.
    ``carried`` is what was admitted before the last frame and not on it, as the picture's motion has moved it;
    ``carried_s`` is how long ago it was admitted. There is none where the motion cannot be told.
    """

    def __init__(self) -> None:
        self.carried: tuple[Instance, ...] = ()
        self.carried_s = 0.0
        self._admitted: tuple[Instance, ...] = ()
        self._seen_on: Frame | None = None
        # One for each outline, from the first frame on that it is missing.
        self._trackers: list[MotionTracker] = []

    def admit(self, instances: tuple[Instance, ...], frame: Frame, output: OutputSpec) -> tuple[Instance, ...]:
        """Those that pass the gate by themselves, and those that passed it just before in the same place."""
        if not self._goes_on(frame):
            self._forget()
        self.carried, self.carried_s = (), 0.0
        sure = [one for one in instances if one.score >= output.min_score]
        if not sure:
            self.carried = self._carry(frame)
        places = (*self._admitted, *self.carried)
        admitted = tuple(one for one in instances if one.score >= output.min_score or _stays(one, places))
        if admitted:
            self._see(admitted, frame)
        elif self.carried and self._seen_on is not None:
            self.carried_s = frame.key.time_s - self._seen_on.key.time_s
        return admitted

    def follow(self, admitted: tuple[Instance, ...], frame: Frame) -> None:
        """Go on from what was admitted on this frame before, as if it had just been."""
        if admitted:
            self._see(admitted, frame)
        elif self._goes_on(frame):
            self._carry(frame)

    def _see(self, admitted: tuple[Instance, ...], frame: Frame) -> None:
        self._admitted, self._seen_on = admitted, frame
        self._trackers, self.carried = [], ()

    def _goes_on(self, frame: Frame) -> bool:
        last = self._seen_on
        if last is None or (last.key.source, last.size_px) != (frame.key.source, frame.size_px):
            return False  # places of another size are other places
        return 0.0 <= frame.key.time_s - last.key.time_s <= MAX_GAP_S

    def _forget(self) -> None:
        self._admitted, self._seen_on, self._trackers = (), None, []

    def _carry(self, frame: Frame) -> tuple[Instance, ...]:
        """What was admitted, moved to this frame. Motion is worked out only here: most frames need none."""
        if self._seen_on is None:
            return ()
        if not self._trackers:
            self._trackers = [_tracker(one, self._seen_on) for one in self._admitted if one.mask is not None]
        outlines = (tracker.carry(frame) for tracker in self._trackers)
        return tuple(outline.instance for outline in outlines if outline is not None)


def _tracker(instance: Instance, frame: Frame) -> MotionTracker:
    """What follows an outline from the frame on which it was seen."""
    tracker = MotionTracker()
    tracker.carry(frame)
    tracker.encoded(frame.key, instance, frame.size_px)
    return tracker


def _stays(instance: Instance, places: Sequence[Instance]) -> bool:
    return any(
        before.label == instance.label and _overlap(before.box_xyxy_px, instance.box_xyxy_px) >= MIN_OVERLAP
        for before in places
    )


def _overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (sum(areas) - width * height)
