"""What became of one label on one frame: outlines against outlines with the length on them, and boxes against boxes.

Which labels of a data set and of a model can be compared at all is decided here as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from usviewer.errors import UserError
from usviewer.evaluate.average_precision import BoxSample
from usviewer.evaluate.datasets import Dataset, DatasetKind, LengthTruth, Sample
from usviewer.evaluate.datasets.dataset import LabelledBox
from usviewer.evaluate.statistics import Overlap, hausdorff, overlap
from usviewer.frame import Frame, Mask
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Edge, Instance, Prediction, full_mask
from usviewer.measure import read
from usviewer.measure.findings import finding_of
from usviewer.measure.reading import Dimension, Measurement, Reading, Status
from usviewer.units import Box, Spacing

# What other programs call the same structure.
_ALIASES = {"head": "fetal head", "skull": "fetal head", "cavum septi pellucidi": "csp", "falx": "midline falx"}
# The overlap at which mAP50 counts a box as found; precision and recall beside it follow the same rule.
MATCH_IOU = 0.5


class Outcome(StrEnum):
    """What became of one label on one frame."""

    FOUND = "found"
    MISSED = "missed"
    ELSEWHERE = "elsewhere"
    FALSE_ALARM = "false alarm"
    RIGHTLY_NONE = "rightly none"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One label on one frame. Figures that have no meaning there are None.

    ``true``, ``measured`` and ``geometry`` are the length by truth, by the model's mask, and by the same geometry on
    the true mask; ``interval_mm`` is the 95 % interval that is stated with the measured one; ``status`` and ``reason``
    are the reading's.
    """

    name: str
    index: int
    group: str
    label: str
    outcome: Outcome
    overlap: Overlap | None = None
    hd95_px: float | None = None
    hd95_mm: float | None = None
    hausdorff_mm: float | None = None
    score: float | None = None
    true: LengthTruth | None = None
    measured: LengthTruth | None = None
    geometry: LengthTruth | None = None
    status: str = ""
    reason: str = ""
    instances: int = 0
    boxes_found: int | None = None
    boxes_wanted: int | None = None
    worst_iou: float | None = None
    interval_mm: tuple[float, float] | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the stated interval holds the true length; None without an interval or a truth in mm."""
        if self.interval_mm is None or self.true is None or self.true.mm is None:
            return None
        return self.interval_mm[0] <= self.true.mm <= self.interval_mm[1]

    @property
    def wanted(self) -> bool:
        """Whether there was something to find."""
        return self.outcome in (Outcome.FOUND, Outcome.MISSED, Outcome.ELSEWHERE)


def match_labels(dataset: Dataset, spec: ModelSpec) -> dict[str, str]:
    """Match the labels of a data set (keys) to those of a model, where both know them. ``UserError`` without any.

    By name; by place where the data set does not name them (then the number of classes must not exceed the model's).
    """
    theirs = [label.name for label in spec.labels]
    if not dataset.named:
        if len(dataset.labels) > len(theirs):
            raise UserError(
                f"The data set has {len(dataset.labels)} classes, the model {len(theirs)}", "Choose another model"
            )
        return dict(zip(dataset.labels, theirs, strict=False))  # the model may know more than the pictures show
    known = {_plain(name): name for name in theirs}
    matched = {label: known[_plain(label)] for label in dataset.labels if _plain(label) in known}
    if not matched:
        raise UserError(
            f"The model finds {', '.join(theirs)}; the data set shows {', '.join(dataset.labels)}",
            "Choose another model, or add --negatives to count whatever it finds as a false alarm",
        )
    return matched


def _plain(label: str) -> str:
    # "Fetal_Head", "fetal-head" and "fetal head" are one label.
    words = " ".join(re.findall(r"[a-z0-9]+", label.casefold()))
    return _ALIASES.get(words, words)


def check_task(dataset: Dataset, spec: ModelSpec) -> None:
    """Raise ``UserError`` unless outlines are judged against masks, or boxes against boxes."""
    wanted = {DatasetKind.MASKS: "segment", DatasetKind.BOXES: "detect"}.get(dataset.kind)
    if wanted and spec.task != wanted:
        gives = {"segment": "outlines", "detect": "boxes"}.get(spec.task, spec.task)
        raise UserError(f"The model gives {gives}, the data set has {dataset.kind}", "Choose another model or data set")


# --- outlines ---------------------------------------------------------------------------------------------------------


def length_name(finding: str) -> str | None:
    """The measurement that a finding is judged by, as readings call it; None where what it quotes is not a length."""
    known = finding_of(finding)
    if known.quoted is None or known.quantities[known.quoted].dimension is not Dimension.LENGTH:
        return None
    return known.quoted


def judge_masks(
    sample: Sample, prediction: Prediction, reading: Reading, labels: Mapping[str, str], spec: ModelSpec
) -> list[Verdict]:
    """A verdict for each label that both the truth and the model know."""
    return [
        _judge_mask(sample, prediction, reading, mask, labels[label], spec)
        for label, mask in sample.truth.masks.items()
        if label in labels
    ]


def _judge_mask(
    sample: Sample, prediction: Prediction, reading: Reading, mask: Mask, label: str, spec: ModelSpec
) -> Verdict:
    chosen = [instance for instance in prediction.instances if instance.label == label]
    predicted = union(chosen, prediction.frame_size_px)
    verdict = Verdict(
        sample.name,
        sample.frame.key.index,
        sample.group,
        label,
        outcome_of(mask, predicted),
        overlap(mask, predicted),
        score=max((instance.score for instance in chosen), default=None),
        status=str(reading.status),
        reason=reading.reason,
        instances=len(chosen),
    )
    # Without two outlines there is no distance.
    if verdict.outcome in (Outcome.FOUND, Outcome.ELSEWHERE):
        verdict = _with_distances(verdict, mask, predicted, _spacing_of(sample.frame))
    # A length is compared for the model's first label only.
    if label == spec.labels[0].name and (name := length_name(spec.finding)):
        verdict = _with_lengths(verdict, sample, mask, reading, spec, name)
    return verdict


def union(instances: Sequence[Instance], frame_size_px: tuple[int, int]) -> Mask:
    """The mask (bool, height x width of the frame) of all that was outlined; ``frame_size_px`` is width, height."""
    whole: Mask = np.zeros((frame_size_px[1], frame_size_px[0]), np.bool_)
    for instance in instances:
        whole |= full_mask(instance, frame_size_px)
    return whole


def outcome_of(truth: Mask, predicted: Mask) -> Outcome:
    """What became of a structure: found where the two masks share a pixel. How well is for Dice to say."""
    if not truth.any():
        if predicted.any():
            return Outcome.FALSE_ALARM
        return Outcome.RIGHTLY_NONE
    if not predicted.any():
        return Outcome.MISSED
    if (truth & predicted).any():
        return Outcome.FOUND
    return Outcome.ELSEWHERE


def _spacing_of(frame: Frame) -> Spacing | None:
    """The one scale of a frame; None where it has none or several."""
    if frame.geometry is None:
        return None
    spacings = {region.spacing for region in frame.geometry.regions}
    if len(spacings) != 1:
        return None
    return spacings.pop()


def _with_distances(verdict: Verdict, truth: Mask, predicted: Mask, spacing: Spacing | None) -> Verdict:
    verdict = replace(verdict, hd95_px=hausdorff(truth, predicted))
    if spacing is None:
        return verdict
    scale = (spacing.x_mm_per_px, spacing.y_mm_per_px)
    return replace(
        verdict,
        hd95_mm=hausdorff(truth, predicted, mm_per_px=scale),
        hausdorff_mm=hausdorff(truth, predicted, 100.0, scale),
    )


def _with_lengths(
    verdict: Verdict, sample: Sample, truth: Mask, reading: Reading, spec: ModelSpec, name: str
) -> Verdict:
    """The length by truth, by the model and by the same geometry on the true mask.

    Where the data set knows no length of its own, the geometry on the true mask is the truth.
    """
    if not verdict.wanted:
        return verdict
    geometry = _length_of(read_mask(truth, sample.frame, spec), name)
    true = sample.truth.lengths.get(name)
    verdict = replace(verdict, true=true or geometry, measured=_length_of(reading, name))
    if true:  # otherwise the geometry is the truth, and comparing it with itself would say nothing
        verdict = replace(verdict, geometry=geometry)
    found = _measured(reading, name)
    if found is not None:
        verdict = replace(verdict, interval_mm=found.interval_mm)
    return verdict


def _measured(reading: Reading, name: str) -> Measurement | None:
    """The measurement, where the product would show it: a refused reading shows none."""
    if reading.status is not Status.MEASURED:
        return None
    return reading.get(name)


def _length_of(reading: Reading, name: str) -> LengthTruth | None:
    found = _measured(reading, name)
    if found is None or found.value_px is None:
        return None
    return LengthTruth(found.value_px, found.value_mm)


def read_mask(mask: Mask, frame: Frame, spec: ModelSpec) -> Reading:
    """Measure a mask (bool, height x width of the frame) that somebody else drew, as the model's first label."""
    rows, columns = np.nonzero(mask)
    instances: tuple[Instance, ...] = ()
    if rows.size:
        x0, y0, x1, y1 = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
        part = np.ascontiguousarray(mask[y0:y1, x0:x1])
        box = (float(x0), float(y0), float(x1), float(y1))
        instances = (Instance(spec.labels[0].name, 0, 1.0, box, part, (x0, y0), Edge.NOT_STATED),)
    size = frame.size_px
    return read(Prediction(frame.key, size, instances, "", "", ""), frame.geometry, spec.finding)


def judge_negative(sample: Sample, prediction: Prediction, reading: Reading) -> Verdict:
    """Judge a frame on which nothing is to be found: whatever was outlined is a false alarm."""
    verdict = Verdict(
        sample.name,
        sample.frame.key.index,
        sample.group,
        "",
        Outcome.RIGHTLY_NONE,
        status=str(reading.status),
        reason=reading.reason,
        instances=len(prediction.instances),
    )
    best = max(prediction.instances, key=lambda instance: instance.score, default=None)
    if best is None:
        return verdict
    return replace(verdict, label=best.label, outcome=Outcome.FALSE_ALARM, score=best.score)


# --- boxes ------------------------------------------------------------------------------------------------------------


def box_sample(sample: Sample, prediction: Prediction, dataset: Dataset, labels: Mapping[str, str]) -> BoxSample:
    """Truth and prediction in the data set's classes, for mAP."""
    index_of = {labels[label]: index for index, label in enumerate(dataset.labels) if label in labels}
    kept = tuple(box for box in sample.truth.boxes if dataset.labels[box.class_index] in labels)
    predicted = tuple(
        LabelledBox(index_of[instance.label], instance.box_xyxy_px, instance.score)
        for instance in prediction.instances
        if instance.label in index_of
    )
    return BoxSample(sample.frame.size_px, kept, predicted, sample.group)


def judge_boxes(sample: Sample, boxes: BoxSample, names: Sequence[str], min_score: float) -> list[Verdict]:
    """A verdict for each class that was wanted or found, at the model's own score threshold."""
    verdicts = []
    for index, name in enumerate(names):
        truth = [box for box in boxes.truth if box.class_index == index]
        found = [box for box in boxes.predicted if box.class_index == index and box.score >= min_score]
        ious = matched_ious([box.box_xyxy_px for box in truth], found)
        hits = sum(iou >= MATCH_IOU for iou in ious)
        verdicts.append(
            Verdict(
                sample.name,
                sample.frame.key.index,
                sample.group,
                name,
                _box_outcome(len(truth), len(found), hits),
                score=max((box.score for box in found), default=None),
                instances=len(found),
                boxes_found=hits,
                boxes_wanted=len(truth),
                worst_iou=min(ious, default=None),
            )
        )
    return verdicts


def _box_outcome(wanted: int, found: int, hits: int) -> Outcome:
    if hits:
        return Outcome.FOUND
    if wanted and found:
        return Outcome.ELSEWHERE
    if wanted:
        return Outcome.MISSED
    if found:
        return Outcome.FALSE_ALARM
    return Outcome.RIGHTLY_NONE


def matched_ious(truth: Sequence[Box], found: Sequence[LabelledBox]) -> list[float]:
    """For each true box the IoU of the box that was given to it, best score first; 0 where none was left."""
    given = [0.0] * len(truth)
    # COCO's order: the surest box chooses first, and a true box below the threshold may still be given to a later one.
    for box in sorted(found, key=lambda box: -box.score):
        free = [(box_iou(true, box.box_xyxy_px), i) for i, true in enumerate(truth) if given[i] < MATCH_IOU]
        iou, index = max(free, default=(0.0, -1))
        if index >= 0:
            given[index] = max(given[index], iou)
    return given


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (areas - width * height)
