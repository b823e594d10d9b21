"""An outline followed through a clip, frame by frame, in the order in which the frames are given.

The last outline, carried along by motion, becomes the next prompt: its box, its innermost point, and itself as a hint.
Each frame's answer is compared with what motion says, and its course with what a vessel can do. Where the two part, the
outline leaks, the picture changes or the structure leaves it, following stops and says why. Everything is a plain
generator: threads and cancelling are the caller's.

The course is looked at because a model that is asked on frame after frame with its own last answer may leak: each
answer is near the one before, and after some frames the outline has left the vessel. No single step shows that; half a
second does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from usviewer.frame import Frame, FrameKey, Mask
from usviewer.infer.prediction import Instance, Prediction, full_mask, instance_of
from usviewer.infer.prompt import Prompt, PromptOutline
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.infer.tracking.limits import (
    LEAST_APPEARANCE,
    LEAST_SHARE,
    MOST_GROWTH,
    MOST_GROWTH_AT_ALL,
    MOST_LOSS,
    MOST_LOSS_AT_ALL,
)
from usviewer.infer.tracking.optical_flow import Grey, MaskMotion, estimate, grey_of, move_mask, overlap
from usviewer.units import Box

# Of the model's answer with what motion says: below, the two no longer show the same structure.
LEAST_OVERLAP = 0.4
LEAST_AREA = 0.5
# So many weak frames in a row are bridged by motion; then the structure is lost.
PATIENCE = 3
# Of its area; less is left in the picture when a structure leaves it.
LEAST_LEFT = 0.7
BOX_MARGIN = 0.08

CHANGED = "The picture changes here: the structure may be somewhere else"
PARTED = "The outline no longer follows the structure"
LEFT = "The structure leaves the picture"

Ask = Callable[[Frame, Prompt, Mask], PromptOutline]
SPAN_S = 0.5
# Of the equivalent radius, against the way that motion says. True outlines: up to 0.16; in the sweep 0.83, as there
# the probe slides over the vessel.
MOST_ASIDE = 1.0
# Area over that of the convex hull: 0.95 to 1 for any section of a vessel. An outline that leaks through the wall, or
# is cut by a shadow, loses it. True outlines: no more than 0.011 within half a second.
MOST_DENT = 0.15

GREW = "The outline grew faster than a vessel can: it has leaked"
SHRANK = "The outline shrank faster than a vessel can"
ASIDE = "The outline moved otherwise than the picture"
DENTED = "The outline changed its shape faster than a vessel can"


@dataclass(frozen=True, slots=True)
class Segmenter:
    """What answers on each frame; without ``ask`` the outline is carried by motion alone."""

    ask: Ask | None = None
    model_id: str = "motion"
    model_sha256: str = ""
    engine: str = "motion"
    min_score: float = 0.5


BY_MOTION = Segmenter()


def segmenter_of(model: PromptModel) -> Segmenter:
    """Make a prompt model the one that answers."""

    def ask(frame: Frame, prompt: Prompt, carried: Mask) -> PromptOutline:
        embedding = model.embed(frame)
        # clear: the point was carried here inside a known outline, it does not mean a part of it.
        return model.outline(embedding, prompt, model.hint(embedding, carried), clear=True)

    spec = model.spec
    return Segmenter(ask, spec.id, spec.sha256, model.engine, spec.output.min_score)


@dataclass(frozen=True, slots=True)
class ConfidenceParts:
    """What a step's confidence is made of, each 0 to 1.

    ``score``: the overlap that the model predicts (by motion alone: the share of points that could be followed).
    ``overlap``: with the outline that motion carried here. ``appearance``: of the neighbourhood with that of the frame
    before. ``area``: the smaller of both areas over the larger.
    """

    score: float
    overlap: float
    appearance: float
    area: float

    @property
    def confidence(self) -> float:
        """The geometric mean: one bad part makes the whole doubtful."""
        return float((self.score * self.overlap * max(0.0, self.appearance) * self.area) ** 0.25)


@dataclass(frozen=True, slots=True, eq=False)
class TrackStep:
    """One frame: an ordinary prediction of no more than one instance, and how far it can be trusted.

    ``carried``: motion alone put the outline here, the model's own answer was not good enough. ``lost`` is one sentence
    on the last step, where the structure is no longer found (then there is no instance); empty elsewhere. ``objection``
    is why the model's answer was not taken, where it cannot be right.
    """

    prediction: Prediction
    parts: ConfidenceParts
    carried: bool = False
    lost: str = ""
    objection: str = ""

    @property
    def key(self) -> FrameKey:
        """The frame."""
        return self.prediction.key

    @property
    def instance(self) -> Instance | None:
        """The outline."""
        return next(iter(self.prediction.instances), None)

    @property
    def confidence(self) -> float:
        """0 to 1."""
        if self.lost:
            return 0.0
        return self.parts.confidence


def track_outline(
    frames: Iterable[Frame],
    first: Instance,
    follower: Segmenter = BY_MOTION,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[TrackStep]:
    """Follow ``first``, an outline on the first of the frames, through all others; a step for each of those others.

    Frames may run forwards or backwards. Ends with a step that says why when the structure is lost, and without one
    when the frames end or ``cancelled`` says so between two frames.
    """
    grey: Grey | None = None
    course: _Course | None = None
    mask = np.zeros((0, 0), np.bool_)
    weak = 0
    for frame in frames:
        if cancelled():
            return
        now = grey_of(frame)
        if grey is None or course is None:
            grey, mask = now, full_mask(first, frame.size_px)
            course = _Course(frame.key, mask)
            continue
        if now.shape != grey.shape:
            yield _lost(frame, CHANGED, follower)
            return
        step, mask = _step(frame, grey, now, mask, first, follower, course)
        weak += 1
        if not step.carried:
            weak = 0
        if not step.lost and weak >= PATIENCE:
            step = _lost(frame, step.objection or PARTED, follower, step.parts)
        yield step
        if step.lost:
            return
        grey = now


def _step(
    frame: Frame, before: Grey, now: Grey, mask: Mask, first: Instance, follower: Segmenter, course: _Course
) -> tuple[TrackStep, Mask]:
    motion = estimate(before, now, mask, frame.pixel_aspect)
    carried = move_mask(mask, motion.matrix)
    size, left = int(np.count_nonzero(mask)), int(np.count_nonzero(carried))
    parts = ConfidenceParts(motion.share, 1.0, motion.appearance, min(size, left) / max(size, left, 1))
    if motion.appearance < LEAST_APPEARANCE:
        return _lost(frame, CHANGED, follower, parts), mask
    # A structure that shrinks is not leaving: what is compared is the area that the motion alone would give.
    growth = abs(float(np.linalg.det(motion.matrix[:, :2])))
    if left < LEAST_LEFT * growth * size:
        return _lost(frame, LEFT, follower, parts), mask
    if objection := course.objection(frame.key, carried, carried):  # motion itself goes astray
        return _lost(frame, objection, follower, parts), mask
    if follower.ask is None:
        step, taken = _made(frame, first, carried, follower, parts, carried=motion.share < LEAST_SHARE), carried
    else:
        step, taken = _asked(frame, carried, motion, first, follower, course)
    course.add(frame.key, taken, carried)
    return step, taken


def _asked(
    frame: Frame, carried: Mask, motion: MaskMotion, first: Instance, follower: Segmenter, course: _Course
) -> tuple[TrackStep, Mask]:
    """The model's answer where it is good enough and can be right, else what motion says."""
    assert follower.ask is not None
    outline = follower.ask(frame, prompt_of(carried), carried)
    if outline.instance is None:
        parts = ConfidenceParts(0.0, 0.0, motion.appearance, 0.0)
        return _made(frame, first, carried, follower, parts, carried=True), carried
    mask = full_mask(outline.instance, frame.size_px)
    one, other = int(np.count_nonzero(mask)), int(np.count_nonzero(carried))
    parts = ConfidenceParts(outline.score, overlap(mask, carried), motion.appearance, min(one, other) / max(one, other))
    if outline.score < follower.min_score or parts.overlap < LEAST_OVERLAP or parts.area < LEAST_AREA:
        return _made(frame, first, carried, follower, parts, carried=True), carried
    if objection := course.objection(frame.key, mask, carried):
        step = _made(frame, first, carried, follower, parts, carried=True)
        return replace(step, objection=objection), carried
    return _made(frame, first, mask, follower, parts), mask


def prompt_of(mask: Mask) -> Prompt:
    """Point at a mask (height, width) of the frame: its box with a little margin, and the point farthest inside.

    Not the centroid, which may lie outside a bent structure.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0, y0, x1, y1 = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    margin_x, margin_y = BOX_MARGIN * (x1 - x0), BOX_MARGIN * (y1 - y0)
    window = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].view(np.uint8), 1)
    depth = cv2.distanceTransform(window, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    inner = (x0 + float(column) - 0.5, y0 + float(row) - 0.5)  # without the padding, to the middle of the pixel
    height, width = mask.shape
    left, top, right, bottom = x0 - margin_x, y0 - margin_y, x1 + margin_x, y1 + margin_y
    box: Box = (max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))
    return Prompt((inner,), (True,), box)


def _made(
    frame: Frame, first: Instance, mask: Mask, follower: Segmenter, parts: ConfidenceParts, *, carried: bool = False
) -> TrackStep:
    return TrackStep(_prediction(frame, (instance_of(mask, first, parts.confidence),), follower), parts, carried)


def _lost(frame: Frame, why: str, follower: Segmenter, parts: ConfidenceParts | None = None) -> TrackStep:
    return TrackStep(_prediction(frame, (), follower), parts or ConfidenceParts(0.0, 0.0, 0.0, 0.0), False, why)


def _prediction(frame: Frame, instances: tuple[Instance, ...], follower: Segmenter) -> Prediction:
    return Prediction(
        frame.key,
        frame.size_px,
        instances,
        follower.model_id,
        follower.model_sha256,
        follower.engine,
    )


# --- corrections ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Track:
    """The outline of one structure over a clip: what was drawn or corrected by hand, and what was followed from there.

    Frames that the user set are never overwritten by following.
    """

    count: int
    anchors: dict[int, Instance] = field(default_factory=dict)
    steps: dict[int, TrackStep] = field(default_factory=dict)

    def correct(self, index: int, instance: Instance) -> tuple[range, range]:
        """Set a frame by hand, and give the frames to follow again, forwards and backwards, both beginning with it.

        They reach as far as the next frame that was set by hand, which stays, as what lies beyond it does.
        """
        self.anchors[index] = instance
        after = min((other for other in self.anchors if other > index), default=self.count)
        before = max((other for other in self.anchors if other < index), default=-1)
        self.steps = {at: step for at, step in self.steps.items() if not (before < at < after)}
        return range(index, after), range(index, before, -1)

    def add(self, index: int, step: TrackStep) -> None:
        """Keep what was followed to a frame, unless the user has set that frame."""
        if index not in self.anchors:
            self.steps[index] = step

    def instance(self, index: int) -> Instance | None:
        """Give the outline on a frame, by hand or followed; None where there is none."""
        if index in self.anchors:
            return self.anchors[index]
        step = self.steps.get(index)
        return step.instance if step else None

    def predictions(self) -> Mapping[int, Prediction]:
        """Give what was followed as any model's predictions, by frame (frames set by hand are the user's edits)."""
        return {index: step.prediction for index, step in sorted(self.steps.items()) if not step.lost}


# --- the course over half a second: what an outline can do ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _TrackPoint:
    """An outline at one moment; ``beyond`` and ``aside_px`` add up what motion did not say since the first."""

    at_s: float
    area_px: float
    solidity: float
    beyond: float = 0.0  # logarithm of the growth
    aside_px: tuple[float, float] = (0.0, 0.0)


class _Course:
    """The last half second of one outline. Frames may run forwards or backwards."""

    def __init__(self, key: FrameKey, mask: Mask) -> None:
        self._places = deque([_TrackPoint(_at_s(key), float(np.count_nonzero(mask)), solidity(mask))])

    def objection(self, key: FrameKey, mask: Mask, carried: Mask) -> str:
        """Say why this outline cannot be right after those before it; empty where it can.

        ``mask`` and ``carried`` (the outline before, by motion alone) are of the whole frame (height, width).
        """
        now = self._next(key, mask, carried)
        recent = [place for place in self._places if abs(now.at_s - place.at_s) <= SPAN_S] or [self._places[-1]]
        beyond = now.beyond - min(place.beyond for place in recent), now.beyond - max(place.beyond for place in recent)
        growth = now.area_px / min(place.area_px for place in recent)
        loss = max(place.area_px for place in recent) / max(now.area_px, 1.0)
        aside_px = max(math.dist(now.aside_px, place.aside_px) for place in recent)
        if beyond[0] > math.log(MOST_GROWTH) or growth > MOST_GROWTH_AT_ALL:
            return GREW
        if -beyond[1] > math.log(MOST_LOSS) or loss > MOST_LOSS_AT_ALL:
            return SHRANK
        if aside_px > MOST_ASIDE * math.sqrt(recent[-1].area_px / math.pi):
            return ASIDE
        if max(place.solidity for place in recent) - now.solidity > MOST_DENT:
            return DENTED
        return ""

    def add(self, key: FrameKey, mask: Mask, carried: Mask) -> None:
        """Remember an outline that was taken."""
        self._places.append(self._next(key, mask, carried))
        while abs(self._places[-1].at_s - self._places[0].at_s) > SPAN_S and len(self._places) > 1:
            self._places.popleft()

    def _next(self, key: FrameKey, mask: Mask, carried: Mask) -> _TrackPoint:
        last = self._places[-1]
        area_px, by_motion_px = float(np.count_nonzero(mask)), float(np.count_nonzero(carried))
        beyond = math.log(max(area_px, 1.0) / max(by_motion_px, 1.0))
        (x, y), (there_x, there_y) = _centre(mask), _centre(carried)
        aside_px = last.aside_px[0] + x - there_x, last.aside_px[1] + y - there_y
        return _TrackPoint(_at_s(key), area_px, solidity(mask), last.beyond + beyond, aside_px)


def solidity(mask: Mask) -> float:
    """Divide the area of a mask (height, width) by that of its convex hull, 0 to 1; 0 for an empty mask."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0.0
    points = np.concatenate(contours)
    if len(points) < 3:
        return 0.0
    hull = cv2.convexHull(points)
    # The hull runs through the middles of the pixels at the rim: half a pixel is missing all round.
    hull_px = cv2.contourArea(hull) + 0.5 * cv2.arcLength(hull, closed=True) + 1.0
    return min(1.0, float(np.count_nonzero(mask)) / hull_px)


def _centre(mask: Mask) -> tuple[float, float]:
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    area = max(moments["m00"], 1.0)
    return moments["m10"] / area, moments["m01"] / area


def _at_s(key: FrameKey) -> float:
    return key.time_s
