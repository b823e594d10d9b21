"""Boxes against boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from usviewer.evaluate.average_precision import BoxSample, LabelledBox
from usviewer.evaluate.datasets import Dataset, Sample
from usviewer.evaluate.verdict import Outcome, Verdict
from usviewer.infer.prediction import Prediction
from usviewer.units import Box

# The overlap at which mAP50 counts a box as found; precision and recall beside it follow the same rule.
MATCH_IOU = 0.5


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
