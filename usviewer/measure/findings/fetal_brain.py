"""Which structures of the fetal brain were seen, on a frame and over a clip. No lengths: a box is no caliper.

Standard planes as the ISUOG guideline describes them (``docs/clinical.md``, "Standard planes"). What a detector cannot
see, such as the thalami, is left to the operator and said so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure.findings.base import (
    ClipReport,
    FileValue,
    Finding,
    ReadState,
    ReportRow,
    ReportSection,
    StatusMark,
    base_reading,
    plain_report,
    register,
    rounded_floats,
)
from usviewer.measure.reading import Reading, Status

CHOROID_PLEXUS, CSP, MIDLINE_FALX = "CHOROID_PLEXUS", "CSP", "MIDLINE_FALX"
STRUCTURES = (CHOROID_PLEXUS, CSP, MIDLINE_FALX)
_OTHER_NAMES = {"CAVUM_SEPTI_PELLUCIDI": CSP, "FALX": MIDLINE_FALX}
_WORDS = {CSP: "CSP", CHOROID_PLEXUS: "Choroid plexus", MIDLINE_FALX: "Midline falx"}
NONE = "No structure of the brain is recognised"


@dataclass(frozen=True, slots=True)
class _StandardPlane:
    """What a standard plane must show: ``needs`` is what the model can find, ``by_eye`` what only the operator sees."""

    name: str
    needs: tuple[str, ...]
    by_eye: tuple[str, ...]


PLANES = (
    _StandardPlane("transventricular", STRUCTURES, ("frontal horns", "atrium")),
    _StandardPlane("transthalamic", (CSP, MIDLINE_FALX), ("thalami", "no cerebellum")),
)


@dataclass(frozen=True, slots=True)
class _StructureOver:
    """One structure over a clip: in how many frames, in which share of all, and where the model was surest."""

    frames: int
    share: float
    best_score: float | None
    best_frame: int | None


@dataclass(frozen=True, slots=True)
class _PlaneOver:
    """One standard plane over a clip: frames that show all it needs, the best of them, and what was never seen."""

    frames: int
    best_frame: int | None
    missing: tuple[str, ...]


def read(prediction: Prediction, geometry: ImageGeometry | None, _state: ReadState) -> Reading:
    """The structures of one frame with their boxes and scores; no measurement.

    ``quality`` is the mean of the best scores of all structures, 0 for one that is not seen: the frame that shows most
    is the best one.
    """
    reading = replace(base_reading(prediction, FETAL_BRAIN.id, geometry), no_scale_reason="")
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


def missing(plane: _StandardPlane, seen: Iterable[str]) -> tuple[str, ...]:
    """What a plane needs and was not seen."""
    there = set(seen)
    return tuple(name for name in plane.needs if name not in there)


def structures_over(readings: Sequence[Reading]) -> Mapping[str, _StructureOver]:
    """Every structure over a clip, the known ones always, in a fixed order."""
    scores = [(reading.key.index, scores_of(reading)) for reading in readings]
    others = sorted({name for _, found in scores for name in found} - set(STRUCTURES))
    return {name: _seen(name, scores) for name in (*STRUCTURES, *others)}


def planes_over(readings: Sequence[Reading]) -> Mapping[str, _PlaneOver]:
    """Every standard plane over a clip."""
    scores = [(reading.key.index, scores_of(reading)) for reading in readings]
    ever = {name for _, found in scores for name in found}
    return {plane.name: _plane_over(plane, scores, ever) for plane in PLANES}


def _seen(name: str, scores: Sequence[tuple[int, Mapping[str, float]]]) -> _StructureOver:
    found = [(score[name], index) for index, score in scores if name in score]
    best = max(found, key=lambda pair: (pair[0], -pair[1]), default=(None, None))
    return _StructureOver(len(found), len(found) / len(scores) if scores else 0.0, *best)


def _plane_over(plane: _StandardPlane, scores: Sequence[tuple[int, Mapping[str, float]]], ever: set[str]) -> _PlaneOver:
    whole = [(min(score[name] for name in plane.needs), index) for index, score in scores if not missing(plane, score)]
    best = max(whole, key=lambda pair: (pair[0], -pair[1]), default=(0.0, None))[1]
    return _PlaneOver(len(whole), best, missing(plane, ever))


# --- in words ---------------------------------------------------------------------------------------------------------


def structure_name(label: str) -> str:
    """A structure of the brain in the clinician's words."""
    return _WORDS.get(structure(label), label.replace("_", " ").capitalize())


def checklist(reading: Reading, labels: Sequence[str] = ()) -> tuple[StatusMark, ...]:
    """Which structures were seen, with the model's score.

    Those of the standard planes always come first; after them whatever else the model can find (``labels``).
    """
    seen = scores_of(reading)
    names = dict.fromkeys((*_WORDS, *map(structure, labels), *seen))
    return tuple(StatusMark(structure_name(name), name in seen, seen.get(name)) for name in names)


def checks(reading: Reading) -> tuple[str, ...]:
    """What each standard plane still needs."""
    seen = scores_of(reading)
    return tuple(plane_check(plane, seen) for plane in PLANES)


def plane_check(plane: _StandardPlane, seen: Collection[str]) -> str:
    """One standard plane: what is missing, or what only the operator can check."""
    lacking = missing(plane, seen)
    if lacking:
        return f"{plane.name.capitalize()} plane: {_and(lacking)} missing"
    return f"{plane.name.capitalize()} plane: all found; check by eye {', '.join(plane.by_eye)}"


def _and(names: Iterable[str]) -> str:
    return " and ".join(structure_name(name) for name in names)


def report(readings: Sequence[Reading], _recent_s: float | None) -> ClipReport:
    """Every structure and every standard plane over a clip."""
    structures, planes = structures_over(readings), planes_over(readings)
    return replace(
        plain_report(readings),
        sections=(
            ReportSection("Structures", structure_rows(structures, len(readings)), over_frames=True),
            ReportSection("Standard planes", plane_rows(planes)),
        ),
        document={
            "structures": {name: rounded_floats(asdict(seen)) for name, seen in structures.items()},
            "planes": {name: asdict(plane) for name, plane in planes.items()},
        },
    )


def structure_rows(structures: Mapping[str, _StructureOver], frames: int) -> tuple[ReportRow, ...]:
    """Every structure: in how many of the frames, and where it was seen best."""
    return tuple(
        ReportRow(
            structure_name(name),
            f"{seen.frames} of {frames} frames" if seen.frames else "not seen",
            "" if seen.best_score is None else f"best {seen.best_score:.2f} in frame {seen.best_frame}",
            seen.best_frame,
        )
        for name, seen in structures.items()
    )


def plane_rows(planes: Mapping[str, _PlaneOver]) -> tuple[ReportRow, ...]:
    """Every standard plane: frames that show all it needs, or what was never seen."""
    return tuple(
        ReportRow(
            f"{name.capitalize()} plane",
            f"{plane.frames} frames" if plane.frames else None,
            _plane_detail(plane),
            plane.best_frame,
        )
        for name, plane in planes.items()
    )


def _plane_detail(plane: _PlaneOver) -> str:
    if plane.missing:
        return f"never seen: {_and(plane.missing)}"
    if plane.best_frame is not None:
        return ""
    return "never all in one frame"


def _cells(reading: Reading) -> dict[str, FileValue]:
    seen = scores_of(reading)
    scores = {name: None if name not in seen else round(float(seen[name]), 4) for name in STRUCTURES}
    lacking = {f"{plane.name}_missing": " ".join(missing(plane, seen)) for plane in PLANES}
    return {**{f"{name.lower()}_score": score for name, score in scores.items()}, **lacking}


FETAL_BRAIN = register(
    Finding(
        "fetal-brain",
        "Fetal brain",
        absent="Fetal brain not visualised",
        absent_banner="Fetal brain not seen",
        read=read,
        labels=("choroid plexus", "csp", "cavum septi pellucidi", "falx", "midline falx"),
        extra_columns=(
            *(f"{name.lower()}_score" for name in STRUCTURES),
            *(f"{plane.name}_missing" for plane in PLANES),
        ),
        extra_cells=_cells,
        from_outline=False,
        checklist=checklist,
        checks=checks,
        report=report,
    )
)
