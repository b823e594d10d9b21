"""Outlines against outlines, and the length that is measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from usviewer.evaluate.datasets import LengthTruth, Sample
from usviewer.evaluate.statistics import hausdorff, overlap
from usviewer.evaluate.verdict import Outcome, Verdict
from usviewer.frame import Frame, Mask
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Edge, Instance, Prediction, full_mask
from usviewer.measure import read
from usviewer.measure.findings import finding_of
from usviewer.measure.reading import Dimension, Measurement, Reading, Status
from usviewer.units import Spacing


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
