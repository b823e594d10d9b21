"""What became of one label on one frame, and which labels can be compared at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from usviewer.errors import UserError
from usviewer.evaluate.datasets import Dataset, DatasetKind, LengthTruth
from usviewer.evaluate.statistics import Overlap
from usviewer.infer.manifest import ModelSpec

# What other programs call the same structure.
_ALIASES = {"head": "fetal head", "skull": "fetal head", "cavum septi pellucidi": "csp", "falx": "midline falx"}


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
