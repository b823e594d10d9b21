"""Mean average precision of boxes by the COCO rule, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from usviewer.errors import UserError
from usviewer.evaluate.datasets.dataset import LabelledBox
from usviewer.evaluate.statistics import Estimate, Values, interval, resampled

# Accumulating one resample costs some 10 ms; 400 settle the ends of the interval to about 0.005.
MAP_RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class BoxSample:
    """Truth and prediction of one picture; ``group`` is the patient or exam it belongs to."""

    size_px: tuple[int, int]
    truth: tuple[LabelledBox, ...]
    predicted: tuple[LabelledBox, ...]
    group: str


@dataclass(frozen=True, slots=True)
class _AveragePrecision:
    """mAP at IoU 0.50 and averaged over 0.50:0.05:0.95; ``per_class`` gives both for each class index."""

    map50: Estimate
    map50_95: Estimate
    per_class: dict[int, tuple[float, float]]


def average_precision(
    samples: Sequence[BoxSample], class_count: int, resamples: int = MAP_RESAMPLES, seed: int = 0
) -> _AveragePrecision | None:
    """COCO mAP (101 recall points, at most 100 boxes a picture) with intervals that resample whole groups.

    Classes without any true box are left out, as COCO does. None when there is no true box at all. ``UserError`` when
    pycocotools is not installed.
    """
    if not any(sample.truth for sample in samples):
        return None
    evaluator = _evaluated(samples, class_count)
    precision = _precision(evaluator)
    per_class = {index: _maps(precision[:, :, index]) for index in range(class_count)}
    value50, value50_95 = _maps(precision)
    low50, low50_95 = _intervals(evaluator, [sample.group for sample in samples], resamples, seed)
    return _AveragePrecision(
        Estimate(value50, *low50),
        Estimate(value50_95, *low50_95),
        {index: values for index, values in per_class.items() if not np.isnan(values[0])},
    )


def _evaluated(samples: Sequence[BoxSample], class_count: int) -> Any:
    """A COCOeval that has matched every picture, for all box sizes together."""
    try:
        from pycocotools.coco import COCO  # type: ignore[import-untyped]
        from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(
            "Judging a detector needs the package pycocotools", "Install it: pip install 'usviewer[evaluate]'"
        ) from error
    # pycocotools prints its progress, and only the figures belong on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        truth, predicted = COCO(), COCO()
        truth.dataset = _coco_dataset(samples, class_count, "truth")
        predicted.dataset = _coco_dataset(samples, class_count, "predicted")
        truth.createIndex()
        predicted.createIndex()
        evaluator = COCOeval(truth, predicted, "bbox")
        # All sizes together: COCO's small, medium and large are areas in pixels of photographs.
        evaluator.params.areaRng = [evaluator.params.areaRng[0]]
        evaluator.params.areaRngLbl = ["all"]
        evaluator.evaluate()
    return evaluator


def _coco_dataset(samples: Sequence[BoxSample], class_count: int, side: str) -> dict[str, Any]:
    images = [{"id": i, "width": s.size_px[0], "height": s.size_px[1]} for i, s in enumerate(samples)]
    annotations: list[dict[str, Any]] = []
    for image_id, sample in enumerate(samples):
        for box in getattr(sample, side):
            x0, y0, x1, y1 = box.box_xyxy_px
            annotations.append(
                {
                    "id": len(annotations) + 1,  # COCO takes id 0 for "no match"
                    "image_id": image_id,
                    "category_id": box.class_index,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "score": box.score,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": index, "name": str(index)} for index in range(class_count)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _precision(evaluator: Any) -> Values:
    """Precision by (IoU threshold, recall point, class); -1 of COCO becomes NaN."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    precision = np.asarray(evaluator.eval["precision"], dtype=np.float64)[:, :, :, 0, -1]
    return np.where(precision < 0, np.nan, precision)


def _maps(precision: Values) -> tuple[float, float]:
    """Mean precision at IoU 0.50 and over all thresholds; NaN where no class had a true box."""
    if np.isnan(precision).all():
        return float("nan"), float("nan")
    return float(np.nanmean(precision[0])), float(np.nanmean(precision))


def _intervals(
    evaluator: Any, groups: Sequence[str], resamples: int, seed: int
) -> tuple[tuple[float, float] | tuple[()], tuple[float, float] | tuple[()]]:
    """Bootstrap intervals of both figures; the pictures' matches are reused, only their mix changes."""
    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        return (), ()
    # ``evalImgs`` lies class by class, and in each class picture by picture.
    members = [[i for i, group in enumerate(groups) if group == name] for name in names]
    per_class = np.array(evaluator.evalImgs, dtype=object).reshape(len(evaluator.params.catIds), len(groups))
    drawn: list[tuple[float, float]] = []
    for draw in resampled(len(names), resamples, seed):
        pictures = [i for group in draw for i in members[group]]
        evaluator.evalImgs = list(per_class[:, pictures].ravel())
        evaluator.params.imgIds = list(range(len(pictures)))
        evaluator._paramsEval.imgIds = evaluator.params.imgIds  # noqa: SLF001 - accumulate() counts pictures there
        drawn.append(_maps(_precision(evaluator)))
    values = np.array(drawn)
    return interval(values[:, 0]), interval(values[:, 1])
