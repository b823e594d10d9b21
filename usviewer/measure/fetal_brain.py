"""Which structures of the fetal brain were seen, on a frame and over a clip. No lengths: a box is no caliper.

Standard planes as the ISUOG guideline describes them (``docs/clinical.md``, "Standard planes"). What a detector cannot
see, such as the thalami, is left to the operator and said so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure.generic import base_reading
from usviewer.measure.reading import Reading, Status

FINDING = "fetal-brain"
CHOROID_PLEXUS, CSP, MIDLINE_FALX = "CHOROID_PLEXUS", "CSP", "MIDLINE_FALX"
STRUCTURES: tuple[str, ...] = (CHOROID_PLEXUS, CSP, MIDLINE_FALX)
_OTHER_NAMES = {"CAVUM_SEPTI_PELLUCIDI": CSP, "FALX": MIDLINE_FALX}
NONE = "No structure of the brain is recognised"


@dataclass(frozen=True, slots=True)
class StandardPlane:
    """What a standard plane must show: ``needs`` is what the model can find, ``by_eye`` what only the operator sees."""

    name: str
    needs: tuple[str, ...]
    by_eye: tuple[str, ...]


PLANES: tuple[StandardPlane, ...] = (
    StandardPlane("transventricular", STRUCTURES, ("frontal horns", "atrium")),
    StandardPlane("transthalamic", (CSP, MIDLINE_FALX), ("thalami", "no cerebellum")),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One structure over a clip: in how many frames, in which share of all, and where the model was surest."""

    frames: int
    share: float
    best_score: float | None
    best_frame: int | None


@dataclass(frozen=True, slots=True)
class PlaneOver:
    """One standard plane over a clip: frames that show all it needs, the best of them, and what was never seen."""

    frames: int
    best_frame: int | None
    missing: tuple[str, ...]


def read(prediction: Prediction, geometry: ImageGeometry | None) -> Reading:
    """The structures of one frame with their boxes and scores; no measurement.

    ``quality`` is the mean of the best scores of all structures, 0 for one that is not seen: the frame that shows most
    is the best one.
    """
    reading = replace(base_reading(prediction, FINDING, geometry), no_scale_reason="")
    instances = prediction.instances
    if not instances:
        return replace(reading, reason=NONE)
    reading = replace(
        reading,
        status=Status.MEASURED,
        outlines_xy_px=tuple(np.empty((0, 2)) for _ in instances),
        labels=tuple(instance.label for instance in instances),
        boxes_xyxy_px=tuple(instance.box_xyxy_px for instance in instances),
        scores=tuple(instance.score for instance in instances),
        score=max(instance.score for instance in instances),
    )
    best = scores_of(reading)
    return replace(reading, quality=sum(best.get(name, 0.0) for name in STRUCTURES) / len(STRUCTURES))


def scores_of(reading: Reading) -> dict[str, float]:
    """The best score of each structure that was seen, under the names of ``STRUCTURES`` (others as they are)."""
    best: dict[str, float] = {}
    for label, score in zip(reading.labels, reading.scores, strict=True):
        name = structure(label)
        best[name] = max(score, best.get(name, 0.0))
    return best


def structure(label: str) -> str:
    """One name for the spellings: ``Midline falx`` is ``MIDLINE_FALX``, ``cavum septi pellucidi`` is ``CSP``."""
    name = re.sub(r"[^0-9A-Z]+", "_", label.upper()).strip("_")
    return _OTHER_NAMES.get(name, name)


def missing(plane: StandardPlane, seen: Iterable[str]) -> tuple[str, ...]:
    """What a plane needs and was not seen."""
    there = set(seen)
    return tuple(name for name in plane.needs if name not in there)


def structures_over(readings: Sequence[Reading]) -> Mapping[str, Seen]:
    """Every structure over a clip, the known ones always, in a fixed order."""
    scores = [(reading.key.index, scores_of(reading)) for reading in readings]
    others = sorted({name for _, found in scores for name in found} - set(STRUCTURES))
    return {name: _seen(name, scores) for name in (*STRUCTURES, *others)}


def planes_over(readings: Sequence[Reading]) -> Mapping[str, PlaneOver]:
    """Every standard plane over a clip."""
    scores = [(reading.key.index, scores_of(reading)) for reading in readings]
    ever = {name for _, found in scores for name in found}
    return {plane.name: _plane_over(plane, scores, ever) for plane in PLANES}


def _seen(name: str, scores: Sequence[tuple[int, Mapping[str, float]]]) -> Seen:
    found = [(score[name], index) for index, score in scores if name in score]
    best = max(found, key=lambda pair: (pair[0], -pair[1]), default=(None, None))
    return Seen(len(found), len(found) / len(scores) if scores else 0.0, *best)


def _plane_over(plane: StandardPlane, scores: Sequence[tuple[int, Mapping[str, float]]], ever: set[str]) -> PlaneOver:
    whole = [(min(score[name] for name in plane.needs), index) for index, score in scores if not missing(plane, score)]
    best = max(whole, key=lambda pair: (pair[0], -pair[1]), default=(0.0, None))[1]
    return PlaneOver(len(whole), best, missing(plane, ever))
