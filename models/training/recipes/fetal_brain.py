"""Structures of the fetal brain as boxes: a YOLOv8 on a pre-trained encoder, cross-validated by exam.

It learns on other scanners first, whose boxes are tighter and have other names: the head, the CSP, the ventricle.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from models.training.boxes import Boxes, Detections, average_precision, iou_table, move_boxes, place_boxes
from models.training.data.augment import Ranges, cut_holes, random_placement, vary_tone, warp
from models.training.data.pictures import Gray, input_table, load_picture, other_pictures, oversampled
from models.training.data.sources import exam_of, read_gray
from models.training.failures import FOUND, TRUTH, box_tile
from models.training.losses import DetectionLoss
from models.training.networks.efficientnet import EfficientBackbone
from models.training.networks.yolov8 import YoloV8
from models.training.recipe import (
    PRETRAINING,
    Draw,
    Example,
    Judgement,
    Recipe,
    Row,
    RunOptions,
    Split,
    read_folds,
    split_by_fold,
)
from models.training.train import TrainingSettings
from models.training.viewer import find_in
from usviewer.infer.manifest import InputSpec

NAMES = ("choroid plexus", "cavum septi pellucidi", "midline falx")
COLORS = ("#56B4E9", "#E69F00", "#CC79A7")
VERSION = "0.2.0"
FOLDS = 5
MOST_BOXES = 4
RANGES = Ranges(turn_deg=5.0, zoom_log=0.16, squeeze_log=0.07, shift=0.1, flip_x=0.5)
PRETRAINING_RANGES = Ranges(turn_deg=10.0, zoom_log=0.2, squeeze_log=0.08, shift=0.12, flip_x=0.5)
NEGATIVES = ("carotid", "nerve")
NEGATIVE_SHARE = 0.06
MISLABELLED = {"529_HC", "632_HC"}
"""In these the choroid plexus carries the label of the CSP (529), or the two are swapped (632): seen on the pictures.
They are left out of training; in tests their labels stay as published."""
CHANNELS, REPEATS = (12, 24, 48, 80, 128), (1, 1, 1, 1)
"""Of the neck; the first two are not used with another backbone."""
OTHER_NAMES = {"BRAIN": 0, "CSP": 1, "LATERAL_VENTRICLE": 2}
"""Classes of the pre-training. Only the CSP is one of ``NAMES``."""
OPEN_GATE = 0.01
"""Average precision wants every box with its score."""
TRIAL_GATE = 0.3
GATES = tuple(round(0.15 + 0.05 * k, 2) for k in range(12))
USUAL_GATE = 0.4
"""Of gates that are equally good, the nearest to this one."""
GOLDEN = "588_HC"


# -------------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class BoxedPicture:
    """A picture with its boxes [M, 5]: class, then x0, y0, x1, y1 in its own pixels (corner convention)."""

    name: str
    exam: str
    path: Path
    boxes: Boxes


def split(options: RunOptions) -> Split[BoxedPicture]:
    """Pictures with structures by fold; none of those with a wrong label is learnt from."""
    pictures = options.few(list_labelled(options.data))
    by_fold = split_by_fold(pictures, [picture.exam for picture in pictures], FOLDS, options.fold)
    return Split([one for one in by_fold.trained if one.name not in MISLABELLED], by_fold.tested)


def split_of_other_scanners(options: RunOptions) -> Split[BoxedPicture]:
    """Pictures of other scanners in which all three structures carry a box: a missing one means nothing there."""
    pictures = options.few([one for one in list_other_scanners(options.data) if len(one.boxes) == len(OTHER_NAMES)])
    return Split(pictures, pictures[:24])


def list_labelled(data_dir: Path) -> list[BoxedPicture]:
    """All pictures with structure boxes, the set's own copies (three a training picture) included."""
    found = []
    for path in sorted((data_dir / "fetal_brain_boxes").glob("*/images/*.jpg")):
        name = path.name.split("_png")[0]
        found.append(BoxedPicture(name, exam_of("fetal_brain", name), path, _read_boxes(path)))
    return found


def _read_boxes(image: Path) -> Boxes:
    height, width = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE).shape
    rows = np.loadtxt(image.parents[1] / "labels" / f"{image.stem}.txt", ndmin=2)
    centre, size = rows[:, 1:3] * (width, height), rows[:, 3:5] * (width, height)
    return np.hstack([rows[:, :1], centre - size / 2, centre + size / 2])


def list_other_scanners(data_dir: Path) -> list[BoxedPicture]:
    """Pictures of other scanners with their boxes of ``OTHER_NAMES``."""
    folder = data_dir / "fetal_brain_spain"
    boxes: dict[str, list[list[float]]] = {}
    with open(folder / "boxes.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            corners = [float(row[name]) for name in ("x0", "y0", "x1", "y1")]
            boxes.setdefault(row["name"], []).append([OTHER_NAMES[row["label"]], *corners])
    return [
        BoxedPicture(name, exam_of("fetal_plane", name), folder / "images" / f"{name}.jpg", np.array(rows))
        for name, rows in sorted(boxes.items())
    ]


# -------------------------------------------------------------------------------------------------------- learning


@dataclass(frozen=True)
class BoxShelf:
    """Oversampled pictures with boxes in their pixels, and pictures without any structure."""

    items: Sequence[tuple[Gray, Boxes]]
    others: Sequence[Gray]


def load_shelf(pictures: Sequence[BoxedPicture], options: RunOptions) -> BoxShelf:
    """Everything one training needs."""
    large = oversampled(options.input)
    items = []
    for one in pictures:
        picture = load_picture(one.path, large)
        items.append((picture.gray, place_boxes(one.boxes, picture.placement)))
    return BoxShelf(items, other_pictures(options.data, NEGATIVES, large, held_out=False, most=options.limit))


def examples(trained: Sequence[BoxedPicture], options: RunOptions, ranges: Ranges = RANGES) -> Draw:
    """Varied pictures, and now and then one without any structure."""
    shelf = load_shelf(trained, options)

    def draw(rng: np.random.Generator, step: int) -> list[Example]:
        chosen = rng.integers(0, len(shelf.items), options.batch)
        return [one_example(rng, shelf, int(index), options.input, ranges) for index in chosen]

    return draw


def one_example(rng: np.random.Generator, shelf: BoxShelf, index: int, spec: InputSpec, ranges: Ranges) -> Example:
    """A varied picture (height, width) and its boxes [MOST_BOXES, 5], unused rows of class -1."""
    size = (spec.width_px, spec.height_px)
    if shelf.others and rng.random() < NEGATIVE_SHARE:
        gray, boxes = shelf.others[int(rng.integers(len(shelf.others)))], np.zeros((0, 5))
    else:
        gray, boxes = shelf.items[index]
    matrix = random_placement(rng, gray.shape[::-1], size, ranges)
    picture = vary_tone(rng, warp(gray, matrix, size))
    if rng.random() < 0.4:
        picture = cut_holes(rng, picture, 1)
    rows = np.full((MOST_BOXES, 5), -1.0, np.float32)
    moved = move_boxes(boxes, matrix, size)
    rows[: len(moved)] = moved
    return picture, rows


# --------------------------------------------------------------------------------------------------------- scoring


def manifest(options: RunOptions, gate: float, accuracy: Mapping[str, object]) -> dict[str, object]:
    """The contract with the viewer, without the file's hash."""
    return {
        "schema": 1,
        "id": RECIPE.id,
        "name": "Fetal brain structures",
        "version": VERSION,
        "task": "detect",
        "finding": "fetal-brain",
        "decoder": "yolov8-detect",
        "licence": "Apache-2.0",
        "input": input_table(options.input),
        "output": {"name": RECIPE.output, "min_score": gate, "max_instances": 6, "iou_threshold": 0.5},
        "labels": [{"name": n, "color": c, "edge": "not stated"} for n, c in zip(NAMES, COLORS, strict=True)],
        "training": {
            "data": "boxes by FozanAzhar on HC18 (van den Heuvel 2018), pre-trained on boxes of other scanners "
            "(Zenodo 8265464), all CC BY 4.0",
            "recipe": RECIPE.command,
        },
        "accuracy": dict(accuracy),
        "golden": {"frame": "golden.png"},
    }


def score(model: nn.Module, pictures: Sequence[BoxedPicture], options: RunOptions) -> list[Detections]:
    """What the viewer would find with the gate nearly open."""
    placed = [load_picture(one.path, options.input) for one in pictures]
    answers = []
    for one, found in zip(pictures, find_in(model, placed, manifest(options, OPEN_GATE, {})), strict=True):
        boxes = np.array([i.box_xyxy_px for i in found], np.float64).reshape(-1, 4)
        classes, scores = np.array([i.class_index for i in found], np.int64), np.array([i.score for i in found])
        answers.append(Detections(one.name, one.exam, classes, scores, boxes, one.boxes))
    return answers


def summary(found: Sequence[Detections], classes: int = len(NAMES)) -> dict[str, float]:
    """mAP50 and mAP50-95 over the classes, and AP50 of each."""
    thresholds = np.arange(0.5, 0.96, 0.05)
    table = np.array([[average_precision(found, c, float(t)) for t in thresholds] for c in range(classes)])
    figures = {"map50": float(table[:, 0].mean()), "map50_95": float(table.mean())}
    return figures | {f"ap50_{c}": float(table[c, 0]) for c in range(classes)}


def record(answer: Detections) -> Row:
    """Everything that was found in a picture, and the truth."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(answer).items()}


def recorded(row: Row) -> Detections:
    """A kept answer again."""
    return Detections(
        row["name"],
        row["exam"],
        np.array(row["classes"], np.int64),
        np.array(row["scores"], np.float64),
        np.array(row["boxes"], np.float64).reshape(-1, 4),
        np.array(row["truth"], np.float64).reshape(-1, 5),
    )


# ---------------------------------------------------------------------------------------------------- gate and card


def judge(model: nn.Module, split: Split[BoxedPicture], options: RunOptions) -> Judgement:
    """The gate with the best F1 at IoU 0.5 over the folds, and the figures there."""
    found = [recorded(row) for fold in read_folds(options) for row in fold.rows]
    if not found:
        return Judgement(TRIAL_GATE, {})
    gate = max(GATES, key=lambda g: (round(f1(found, g), 3), -abs(g - USUAL_GATE)))
    return Judgement(gate, accuracy_of(found), card_values(found, gate), worst_tiles(found, gate, split))


def counts(found: Sequence[Detections], gate: float) -> tuple[int, int, int]:
    """Right, wrong and missed boxes at IoU 0.5; the best box of each class only, as the viewer reports structures."""
    right = wrong = missed = 0
    for one in found:
        for index in range(len(NAMES)):
            truth = one.truth[one.truth[:, 0] == index, 1:]
            mine = np.nonzero((one.classes == index) & (one.scores >= gate))[0][:1]
            hit = bool(len(mine) and len(truth) and iou_table(one.boxes[mine], truth).max() >= 0.5)
            right += hit
            wrong += len(mine) > 0 and not hit
            missed += len(truth) > 0 and not hit
    return right, wrong, missed


def f1(found: Sequence[Detections], gate: float) -> float:
    """Harmonic mean of precision and recall at a gate."""
    right, wrong, missed = counts(found, gate)
    return 2 * right / max(1, 2 * right + wrong + missed)


def intervals(found: Sequence[Detections], draws: int = 300) -> dict[str, tuple[float, float, float]]:
    """Every figure of ``summary`` over all pictures, with its 95 % interval by drawing exams."""
    exams = sorted({one.exam for one in found})
    by_exam = {exam: [one for one in found if one.exam == exam] for exam in exams}
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(draws):
        chosen = rng.integers(0, len(exams), len(exams))
        drawn.append(summary([one for k in chosen for one in by_exam[exams[k]]]))
    return {
        name: (value, *(float(np.percentile([figures[name] for figures in drawn], q)) for q in (2.5, 97.5)))
        for name, value in summary(found).items()
    }


def accuracy_of(found: Sequence[Detections]) -> dict[str, object]:
    """The manifest's figures."""
    point = summary(found)
    names = len({one.name for one in found})
    return {
        "data": f"{len(found)} pictures ({names} distinct) with boxes on HC18, cross-validation by exam",
        "map50": round(point["map50"], 3),
        "map50_95": round(point["map50_95"], 3),
    }


def card_values(found: Sequence[Detections], gate: float) -> dict[str, object]:
    """What only this model's card says."""
    titles = {"map50": "mAP50", "map50_95": "mAP50-95"}
    titles |= {f"ap50_{index}": f"AP50, {name}" for index, name in enumerate(NAMES)}
    means = intervals(found)
    right, wrong, missed = counts(found, gate)
    sound = summary([one for one in found if one.name not in MISLABELLED])
    return {
        "mislabelled": ", ".join(sorted(MISLABELLED)),
        "pictures": len(found),
        "distinct": len({one.name for one in found}),
        "sound_map50": sound["map50"],
        "sound_map50_95": sound["map50_95"],
        "rows": "\n".join(
            f"| {t} | {means[k][0]:.3f} | {means[k][1]:.3f} to {means[k][2]:.3f} |" for k, t in titles.items()
        ),
        "right": right,
        "wrong": wrong,
        "missed": missed,
        "golden": GOLDEN,
    }


def worst_tiles(found: Sequence[Detections], gate: float, split: Split[BoxedPicture], count: int = 6) -> list[Gray]:
    """One picture of each of the names with most errors at the gate, then with the lowest overlaps."""
    tiles: dict[str, Gray] = {}
    for one in sorted(found, key=lambda one: badness(one, gate)):
        path = path_of(one, split.tested)
        if path is not None and one.name not in tiles and len(tiles) < count:
            tiles[one.name] = detection_tile(one, gate, path)
    return list(tiles.values())


def path_of(one: Detections, pictures: Sequence[BoxedPicture]) -> Path | None:
    """Which of the copies of a picture this is: that with the same boxes."""
    same = (p.path for p in pictures if p.name == one.name and np.array_equal(one.truth, p.boxes))
    return next(same, None)


def badness(one: Detections, gate: float) -> tuple[int, float]:
    """Sorts the worst first: the most errors, then the lowest overlaps."""
    _, wrong, missed = counts([one], gate)
    best = [iou_table(one.boxes[one.classes == t[0]], t[None, 1:]).max(initial=0.0) for t in one.truth]
    return -(wrong + missed), float(np.mean(best))


def detection_tile(one: Detections, gate: float, path: Path) -> Gray:
    """A picture with its true boxes and those that pass the gate."""
    kept = one.scores >= gate
    boxes = [(box, TRUTH) for box in one.truth[:, 1:]] + [(box, FOUND) for box in one.boxes[kept]]
    said = zip(one.classes[kept], one.scores[kept], strict=True)
    found = ", ".join(f"{NAMES[index].split()[0]} {score:.2f}" for index, score in said)
    return box_tile(read_gray(path), f"{one.name}: {found}", boxes)


def golden(model: nn.Module, options: RunOptions) -> Gray:
    """A validation picture of the set, shrunk to 320 pixels."""
    one = next(item for item in list_labelled(options.data) if item.name == GOLDEN)
    return np.asarray(cv2.resize(read_gray(one.path), (320, 216), interpolation=cv2.INTER_AREA), np.uint8)


def build_network(*, pretrained: bool = True) -> YoloV8:
    """Neck and head of a YOLOv8, narrower and shallower than the nano model's, on the encoder of EfficientNet-Lite0."""
    backbone = EfficientBackbone(pretrained=pretrained)
    return YoloV8(len(NAMES), 0, 1, CHANNELS, REPEATS, backbone, backbone.channels)


STRUCTURES = Recipe(
    id="fetal-brain",
    about="Structures of the fetal brain, from boxes on HC18 to models/fetal-brain",
    version=VERSION,
    size_px=(288, 192),
    training=TrainingSettings(
        steps=500,
        learning_rate=2e-3,
        weight_decay=2e-2,
        warm_up_steps=80,
        ema_decay=0.985,
        validate_every=125,
        encoder_share=0.3,
        half_precision=False,
    ),
    networks={"efficient": build_network, "efficient-random": partial(build_network, pretrained=False)},
    data=split,
    examples=examples,
    loss=lambda state, options: DetectionLoss((options.height_px, options.width_px)),
    score=score,
    summary=summary,
    record=record,
    manifest=manifest,
    judge=judge,
    golden=golden,
    folds=FOLDS,
    output="output0",
)
OTHER_SCANNERS = replace(
    STRUCTURES,
    about=f"learn from other scanners first, in the run `{PRETRAINING}` under --work",
    data=split_of_other_scanners,
    examples=partial(examples, ranges=PRETRAINING_RANGES),
)
RECIPE = replace(STRUCTURES, pretraining=OTHER_SCANNERS)
