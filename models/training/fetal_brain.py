"""The bundled detector of fetal brain structures: ``python -m models.training.fetal_brain``.

`--pretrain` learns to find the head on HC18 (pictures that also carry structure boxes left out); `--fold K` trains and
scores one fold, split by HC18 exam; without either all pictures are used and the model is exported.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.training import train as training
from models.training.data.augment import Matrix, Ranges, cut_holes, random_placement, vary_tone, warp
from models.training.data.heads import list_heads
from models.training.data.pictures import (
    Gray,
    fold_of_exams,
    input_spec,
    input_table,
    load_picture,
    other_pictures,
    oversampled,
)
from models.training.data.sources import exam_of
from models.training.losses import DetectionLoss
from models.training.networks.yolov8 import YoloV8
from models.training.train import parameter_count
from models.training.viewer import find, raw_outputs, spec_of
from usviewer.infer.manifest import InputSpec
from usviewer.infer.preprocess import Placement

Boxes = NDArray[np.float64]

NAMES = ("choroid plexus", "cavum septi pellucidi", "midline falx")
COLORS = ("#56B4E9", "#E69F00", "#CC79A7")
VERSION = "0.1.0"
FOLDS = 5
WIDTH_PX, HEIGHT_PX = 288, 192
MOST_BOXES = 4
RANGES = Ranges(turn_deg=5.0, zoom_log=0.16, squeeze_log=0.07, shift=0.1, flip_x=0.5)
HEAD_RANGES = Ranges(turn_deg=10.0, zoom_log=0.2, squeeze_log=0.08, shift=0.12, flip_x=0.5)
NEGATIVE_SHARE = 0.06
MISLABELLED = {"529_HC", "632_HC"}
"""In these the choroid plexus carries the label of the CSP (529), or the two are swapped (632): seen on the pictures.
They are left out of training; in tests their labels stay as published."""
CHANNELS, REPEATS = (12, 24, 48, 80, 128), (1, 1, 1, 1)


@dataclass(frozen=True)
class BoxedPicture:
    """A picture with its boxes [M, 5]: class, then x0, y0, x1, y1 in its own pixels (corner convention)."""

    name: str
    exam: str
    path: Path
    boxes: Boxes


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


def head_boxes(data_dir: Path, spared: set[str]) -> list[BoxedPicture]:
    """HC18 heads as boxes of class 0, without the spared exams."""
    found = []
    for head in list_heads(data_dir):
        if head.exam not in spared:
            linear = head.map_from_circle()[:, :2]
            half = np.sqrt((linear**2).sum(axis=1))  # extent of an ellipse along each axis
            centre = np.array(head.ellipse.center_xy)
            found.append(
                BoxedPicture(head.name, head.exam, head.path, np.hstack([0, centre - half, centre + half])[None])
            )
    return found


# ---------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class BoxShelf:
    """Oversampled pictures with boxes in their pixels, and pictures without any structure."""

    items: Sequence[tuple[Gray, Boxes]]
    others: Sequence[Gray]


def load_shelf(labelled: Sequence[BoxedPicture], data_dir: Path, spec: InputSpec, most: int | None = None) -> BoxShelf:
    """Everything one training needs."""
    large = oversampled(spec)
    items = []
    for one in labelled:
        picture = load_picture(one.path, large)
        items.append((picture.gray, place_boxes(one.boxes, picture.placement)))
    return BoxShelf(items, other_pictures(data_dir, ("carotid", "nerve"), large, held_out=False, most=most))


def place_boxes(boxes: Boxes, placement: Placement) -> Boxes:
    """Boxes of the frame in input pixels."""
    return np.hstack([boxes[:, :1], placement.to_input(boxes[:, 1:].reshape(-1, 2)).reshape(-1, 4)])


def move_boxes(boxes: Boxes, matrix: Matrix, size: tuple[int, int]) -> Boxes:
    """Boxes through an affine map: the box around the mapped inscribed ellipse, which does not grow by turning.

    Cut at the picture's border; boxes that lose more than half of their area are dropped.
    """
    centre, half = (boxes[:, 1:3] + boxes[:, 3:5]) / 2, (boxes[:, 3:5] - boxes[:, 1:3]) / 2
    centre = centre @ matrix[:, :2].T + matrix[:, 2]
    half = np.sqrt((half**2) @ (matrix[:, :2] ** 2).T)
    whole = np.hstack([centre - half, centre + half])
    cut = np.clip(whole, 0, np.tile(size, 2))
    area, left = np.prod(2 * half, axis=1), np.prod(cut[:, 2:] - cut[:, :2], axis=1)
    return np.hstack([boxes[:, :1], cut])[left > 0.5 * area]


def one_example(
    rng: np.random.Generator, shelf: BoxShelf, index: int, spec: InputSpec, ranges: Ranges
) -> tuple[Gray, Boxes]:
    """A varied picture (height, width) and its boxes [MOST_BOXES, 5], unused rows of class -1."""
    size = (spec.width_px, spec.height_px)
    empty = bool(shelf.others) and rng.random() < NEGATIVE_SHARE
    gray, boxes = (
        (shelf.others[int(rng.integers(len(shelf.others)))], np.zeros((0, 5))) if empty else shelf.items[index]
    )
    matrix = random_placement(rng, gray.shape[::-1], size, ranges)
    picture = vary_tone(rng, warp(gray, matrix, size))
    picture = cut_holes(rng, picture, 1) if rng.random() < 0.4 else picture
    rows = np.full((MOST_BOXES, 5), -1.0)
    moved = move_boxes(boxes, matrix, size)
    rows[: len(moved)] = moved
    return picture, rows


def batches(
    shelf: BoxShelf, spec: InputSpec, batch: int, seed: int, first_step: int, ranges: Ranges
) -> Iterator[tuple[Gray, NDArray[np.float32]]]:
    """Endless batches (pictures [B, 1, H, W], boxes [B, M, 5]); step n is the same whatever ran before."""
    step = first_step
    while True:
        rng = np.random.default_rng((seed, 7, step))
        chosen = rng.integers(0, len(shelf.items), batch)
        pairs = [one_example(rng, shelf, int(index), spec, ranges) for index in chosen]
        yield np.stack([p[0] for p in pairs])[:, None], np.stack([p[1] for p in pairs]).astype(np.float32)
        step += 1


# --------------------------------------------------------------------------------------------- measuring


def manifest_of(
    gate: float, accuracy: dict[str, object], width: int = WIDTH_PX, height: int = HEIGHT_PX
) -> dict[str, object]:
    """The contract with the viewer, without the file's hash."""
    return {
        "schema": 1,
        "id": "fetal-brain",
        "name": "Fetal brain structures",
        "version": VERSION,
        "task": "detect",
        "finding": "fetal-brain",
        "decoder": "yolov8-detect",
        "licence": "Apache-2.0",
        "input": input_table(input_spec(width, height)),
        "output": {"name": "output0", "min_score": gate, "max_instances": 6, "iou_threshold": 0.5},
        "labels": [{"name": n, "color": c, "edge": "not stated"} for n, c in zip(NAMES, COLORS, strict=True)],
        "training": {
            "data": "boxes by FozanAzhar on HC18, pre-trained on HC18 heads (van den Heuvel 2018), both CC BY 4.0",
            "recipe": "python -m models.training.fetal_brain",
        },
        "accuracy": accuracy,
        "golden": {"frame": "golden.png"},
    }


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, best first: classes [K], scores [K], boxes [K, 4]; and the truth [M, 5]."""

    name: str
    exam: str
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: Boxes
    truth: Boxes


def look(model: nn.Module, labelled: Sequence[BoxedPicture], spec: InputSpec) -> list[Detections]:
    """Run the network and the viewer's decoder with the gate nearly open, as average precision wants it."""
    contract = spec_of(manifest_of(0.01, {}, spec.width_px, spec.height_px))
    pictures = [load_picture(one.path, spec) for one in labelled]
    outputs = raw_outputs(model, [p.gray for p in pictures])
    found = []
    for one, picture, output in zip(labelled, pictures, outputs, strict=True):
        instances = find(output, picture.placement, contract)
        boxes = np.array([i.box_xyxy_px for i in instances], np.float64).reshape(-1, 4)
        classes, scores = np.array([i.class_index for i in instances], np.int64), np.array([i.score for i in instances])
        found.append(Detections(one.name, one.exam, classes, scores, boxes, one.boxes))
    return found


def iou_table(first: Boxes, second: Boxes) -> Boxes:
    """IoU of every box of one set with every box of the other."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (first, second)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both + 1e-9))


def average_precision(found: Sequence[Detections], index: int, threshold: float) -> float:
    """COCO's rule for one class at one IoU: 101 recall points, each object answered once, best score first."""
    rows, total = [], 0
    for one in found:
        truth = one.truth[one.truth[:, 0] == index, 1:]
        total += len(truth)
        free = np.ones(len(truth), bool)
        for k in np.nonzero(one.classes == index)[0]:
            overlap = iou_table(one.boxes[k : k + 1], truth)[0] * free if len(truth) else np.zeros(0)
            hit = bool(overlap.size and overlap.max() >= threshold)
            if hit:
                free[int(overlap.argmax())] = False
            rows.append((one.scores[k], hit))
    if not total or not rows:
        return 0.0
    hits = np.array([hit for _, hit in sorted(rows, key=lambda row: -row[0])])
    recall, precision = np.cumsum(hits) / total, np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.where(at < len(envelope), envelope[np.minimum(at, len(envelope) - 1)], 0.0).mean())


def summary(found: Sequence[Detections], classes: int = len(NAMES)) -> dict[str, float]:
    """mAP50 and mAP50-95 over the classes, and AP50 of each."""
    thresholds = np.arange(0.5, 0.96, 0.05)
    table = np.array([[average_precision(found, c, float(t)) for t in thresholds] for c in range(classes)])
    figures = {"map50": float(table[:, 0].mean()), "map50_95": float(table.mean())}
    return figures | {f"ap50_{c}": float(table[c, 0]) for c in range(classes)}


# ---------------------------------------------------------------------------------------------- the recipe


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, default=Path("build/fetal-brain"), help="checkpoints, figures and curves")
    parser.add_argument("--out", type=Path, default=Path("models/fetal-brain"), help="where the model goes")
    parser.add_argument("--pretrain", action="store_true", help="learn heads first (run `pretrain` under --work)")
    parser.add_argument("--fold", type=int, help="train and score this fold only")
    parser.add_argument("--width", type=int, default=WIDTH_PX)
    parser.add_argument("--height", type=int, default=HEIGHT_PX)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="use only so many pictures")
    parser.add_argument(
        "--init", type=Path, help="checkpoint whose averaged weights start the run; default: `pretrain`"
    )
    parser.add_argument("--name", help="folder of the run under --work")
    return parser.parse_args(arguments)


def build_model() -> YoloV8:
    """The detector: a YOLOv8 narrower and shallower than the nano model, with one input channel."""
    return YoloV8(len(NAMES), inputs=1, channels=CHANNELS, repeats=REPEATS)


def train_model(
    args: argparse.Namespace,
    labelled: Sequence[BoxedPicture],
    watched: Sequence[BoxedPicture],
    folder: Path,
    ranges: Ranges = RANGES,
) -> training.TrainingRun:
    """Train, or finish what a checkpoint has begun."""
    spec = input_spec(args.width, args.height)
    settings = training.TrainingSettings(
        steps=args.steps,
        batch=args.batch,
        learning_rate=args.rate,
        weight_decay=2e-2,
        seed=args.seed,
        warm_up_steps=min(80, args.steps // 10 + 1),
        ema_decay=0.985,
        validate_every=max(1, args.steps // 4),
    )
    torch.manual_seed(args.seed)
    model = build_model()
    start = args.init or args.work / "pretrain" / "checkpoint.pt"
    if start.exists() and not args.pretrain:
        model.load_state_dict(torch.load(start, map_location="cpu", weights_only=True)["average"])
    run = training.start_or_resume(model, settings, folder)
    print(f"{parameter_count(model)} parameters, from step {run.step} of {settings.steps}", flush=True)
    if run.step < settings.steps:
        shelf = load_shelf(labelled, args.data, spec, args.limit)
        data = batches(shelf, spec, settings.batch, args.seed, run.step, ranges)
        loss = DetectionLoss((args.height, args.width))
        classes = 1 if args.pretrain else len(NAMES)
        training.train(run, settings, data, lambda m: summary(look(m, watched, spec), classes), folder, loss)
    return run


def run_fold(args: argparse.Namespace, labelled: Sequence[BoxedPicture]) -> dict[str, float]:
    """One fold: train on the other exams, score this one's pictures."""
    fold = fold_of_exams([one.exam for one in labelled], FOLDS)
    trained = [one for one, f in zip(labelled, fold, strict=True) if f != args.fold and one.name not in MISLABELLED]
    tested = [one for one, f in zip(labelled, fold, strict=True) if f == args.fold]
    name = args.name or f"fold-{args.fold}"
    run = train_model(args, trained, tested, args.work / name)
    found = look(run.average.model, tested, input_spec(args.width, args.height))
    figures = summary(found)
    rows = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(one).items()} for one in found]
    (args.work / f"{name}.json").write_text(json.dumps({"summary": figures, "pictures": rows}))
    return figures


def main() -> None:
    """Pre-training, one fold, or the model that is shipped."""
    args, started = parse_arguments(), time.monotonic()
    cv2.setNumThreads(1)
    labelled = list_labelled(args.data)[: args.limit]
    if args.pretrain:
        heads = head_boxes(args.data, {one.exam for one in list_labelled(args.data)})[: args.limit]
        train_model(args, heads, heads[:24], args.work / "pretrain", HEAD_RANGES)
    elif args.fold is not None:
        print(f"fold {args.fold}: {run_fold(args, labelled)}", flush=True)
    else:
        right = [one for one in labelled if one.name not in MISLABELLED]
        run = train_model(args, right, right[:24], args.work / (args.name or "all"))
        from models.training.fetal_brain_export import export

        export(run.average.model, args)
    print(f"done in {(time.monotonic() - started) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
