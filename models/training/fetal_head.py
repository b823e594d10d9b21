"""The bundled fetal head model, from raw data to `models/fetal-head`: ``python -m models.training.fetal_head``.

`--fold K` trains and scores one fold of the exam-wise cross-validation (figures in `--work/fold-K.json`);
without it all pictures are used and the model is exported, with the figures of the folds in its card.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.training import train as training
from models.training.data.augment import Matrix, Ranges, cut_holes, random_placement, vary_tone, warp
from models.training.data.heads import AnnotatedHead, coverage, list_heads, placement_matrix, then
from models.training.data.pictures import (
    Gray,
    PlacedPicture,
    fold_of_exams,
    input_spec,
    input_table,
    load_picture,
    other_pictures,
    oversampled,
    place_picture,
)
from models.training.data.sources import read_gray
from models.training.networks.mobilenet import MobileUNet
from models.training.networks.small_unet import SmallUNet
from models.training.train import parameter_count
from models.training.viewer import find, raw_outputs, spec_of
from usviewer.evaluate.statistics import overlap
from usviewer.frame import Mask
from usviewer.infer.manifest import InputSpec
from usviewer.infer.prediction import Instance, full_mask
from usviewer.measure import geometry

Map = NDArray[np.float32]

VERSION = "0.2.0"
FOLDS = 3
RANGES = Ranges(turn_deg=28.0, zoom_log=0.16, squeeze_log=0.06, shift=0.1, flip_x=0.5, flip_y=0.5)
NETWORKS: dict[str, type[torch.nn.Module]] = {"mobile": MobileUNet, "small": SmallUNet}
NEGATIVE_SHARE = 0.08
"""Share of training pictures without a head (necks and limbs): silence has to be learnt too."""


# ---------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class HeadShelf:
    """Pictures ready for augmentation: heads with the map from the unit circle, and pictures without a head."""

    heads: Sequence[tuple[Gray, Matrix]]
    others: Sequence[Gray]


def load_shelf(heads: Sequence[AnnotatedHead], data_dir: Path, spec: InputSpec, most: int | None = None) -> HeadShelf:
    """Everything one training needs, at the oversampled size."""
    large = oversampled(spec)
    items = []
    for head in heads:
        picture = load_picture(head.path, large)
        items.append((picture.gray, then(head.map_from_circle(), placement_matrix(picture.placement))))
    return HeadShelf(items, other_pictures(data_dir, ("carotid", "nerve"), large, held_out=False, most=most))


def one_example(rng: np.random.Generator, shelf: HeadShelf, index: int, spec: InputSpec) -> tuple[Gray, Map]:
    """A varied picture (height, width) and the share of every pixel that is head."""
    size = (spec.width_px, spec.height_px)
    negative = bool(shelf.others) and rng.random() < NEGATIVE_SHARE
    gray, circle = (shelf.others[int(rng.integers(len(shelf.others)))], None) if negative else shelf.heads[index]
    matrix = random_placement(rng, gray.shape[::-1], size, RANGES)
    picture = cut_holes(rng, vary_tone(rng, warp(gray, matrix, size)))
    target = np.zeros(picture.shape, np.float32) if circle is None else coverage(then(circle, matrix), size)
    return picture, target


def batches(shelf: HeadShelf, spec: InputSpec, batch: int, seed: int, first_step: int) -> Iterator[tuple[Gray, Map]]:
    """Endless batches ([B, 1, H, W] each); step n is the same whatever ran before, so that training can resume."""
    step, per_epoch = first_step, max(1, len(shelf.heads) // batch)
    while True:
        epoch, within = divmod(step, per_epoch)
        order = np.random.default_rng((seed, epoch)).permutation(len(shelf.heads))
        rng = np.random.default_rng((seed, 7, step))
        chosen = [int(order[(within * batch + k) % len(order)]) for k in range(batch)]
        pairs = [one_example(rng, shelf, index, spec) for index in chosen]
        yield np.stack([p[0] for p in pairs])[:, None], np.stack([p[1] for p in pairs])[:, None]
        step += 1


# --------------------------------------------------------------------------------------------- measuring


def manifest_of(width: int, height: int, gate: float, accuracy: dict[str, object]) -> dict[str, object]:
    """The contract with the viewer, without the file's hash."""
    return {
        "schema": 1,
        "id": "fetal-head",
        "name": "Fetal head",
        "version": VERSION,
        "task": "segment",
        "finding": "fetal-head",
        "decoder": "unet",
        "licence": "Apache-2.0",
        "input": input_table(input_spec(width, height)),
        "output": {
            "name": "logits",
            "activation": "sigmoid",
            "mask_threshold": 0.5,
            "min_score": gate,
            "min_area": 60.0,
            "max_instances": 1,
        },
        "labels": [{"name": "fetal head", "color": "#56B4E9", "edge": "outer"}],
        "training": {
            "data": "HC18 (van den Heuvel 2018, CC BY 4.0); CCAUI necks and USGRA limbs without a head",
            "recipe": "python -m models.training.fetal_head",
        },
        "accuracy": accuracy,
        "golden": {"frame": "golden.png"},
    }


@dataclass(frozen=True)
class HeadScore:
    """One picture's figures; circumferences in mm, ``hc_mm`` NaN where nothing was found; ``score`` is the viewer's.

    ``likeness`` is the overlap of the outline with the ellipse of its moments: the viewer refuses to measure below
    ``fetal_head.MIN_OVERLAP``. ``mm_per_input_px`` is the size of a pixel of the network's input.
    """

    name: str
    exam: str
    dice: float
    iou: float
    hc_mm: float
    true_hc_mm: float
    score: float
    likeness: float = 0.0
    mm_per_input_px: float = 0.0


def true_mask(head: AnnotatedHead, size_px: tuple[int, int]) -> Mask:
    """The annotated head on a picture of (width, height)."""
    return np.asarray(coverage(head.map_from_circle(), size_px) > 0.5, np.bool_)


def score_picture(head: AnnotatedHead, size_px: tuple[int, int], found: Sequence[Instance]) -> HeadScore:
    """Overlap and circumference of the best instance on the original pixels (width, height)."""
    truth = true_mask(head, size_px)
    if not found:
        return HeadScore(head.name, head.exam, 0.0, 0.0, math.nan, head.circumference_mm, 0.0)
    agreement = overlap(truth, full_mask(found[0], size_px))
    shape = geometry.shape_of(np.asarray(found[0].mask))
    hc_mm = shape.moments.ellipse().circumference * head.mm_per_px if shape else math.nan
    likeness = geometry.ellipse_overlap(shape) if shape else 0.0
    return HeadScore(
        head.name, head.exam, agreement.dice, agreement.iou, hc_mm, head.circumference_mm, found[0].score, likeness
    )


def look(model: torch.nn.Module, pictures: Sequence[PlacedPicture], spec: InputSpec) -> list[tuple[Instance, ...]]:
    """What the viewer would find in each picture, with the gate open."""
    contract = spec_of(manifest_of(spec.width_px, spec.height_px, 0.5, {}))
    outputs = raw_outputs(model, [picture.gray for picture in pictures])
    return [find(output, picture.placement, contract) for output, picture in zip(outputs, pictures, strict=True)]


def score_heads(model: torch.nn.Module, heads: Sequence[AnnotatedHead], spec: InputSpec) -> list[HeadScore]:
    """Figures of every picture, read from disk one by one."""
    scores = []
    for head in heads:
        gray = read_gray(head.path)
        picture = place_picture(gray, spec)
        found = look(model, [picture], spec)[0]
        score = score_picture(head, (gray.shape[1], gray.shape[0]), found)
        mm_per_input_px = head.mm_per_px / math.sqrt(math.prod(picture.placement.scale_xy))
        scores.append(replace(score, mm_per_input_px=mm_per_input_px))
    return scores


def summary(scores: Sequence[HeadScore]) -> dict[str, float]:
    """Means over pictures: Dice, IoU, signed and absolute difference of the circumference (DF and ADF of HC18)."""
    found = [s for s in scores if not math.isnan(s.hc_mm)]
    errors = np.array([s.hc_mm - s.true_hc_mm for s in found]) if found else np.array([math.nan])
    return {
        "dice": float(np.mean([s.dice for s in scores])),
        "iou": float(np.mean([s.iou for s in scores])),
        "adf_mm": float(np.mean(np.abs(errors))),
        "df_mm": float(np.mean(errors)),
        "missed": float(len(scores) - len(found)),
    }


# ---------------------------------------------------------------------------------------------- the recipe


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, default=Path("build/fetal-head"), help="checkpoints, figures and curves")
    parser.add_argument("--out", type=Path, default=Path("models/fetal-head"), help="where the model goes")
    parser.add_argument("--fold", type=int, help="train and score this fold only")
    parser.add_argument("--width", type=int, default=288)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="use only so many pictures")
    parser.add_argument("--init", type=Path, help="checkpoint whose averaged weights start the run")
    parser.add_argument("--name", help="folder of the run under --work")
    parser.add_argument("--net", choices=NETWORKS, default="small", help="U-Net with this encoder")
    return parser.parse_args(arguments)


def train_model(
    args: argparse.Namespace, heads: Sequence[AnnotatedHead], watched: Sequence[AnnotatedHead], folder: Path
) -> training.TrainingRun:
    """Train on `heads`, or finish what a checkpoint has begun; `watched` are scored now and then."""
    spec = input_spec(args.width, args.height)
    settings = training.TrainingSettings(
        steps=args.steps,
        batch=args.batch,
        learning_rate=args.rate,
        seed=args.seed,
        warm_up_steps=min(150, args.steps // 10 + 1),
        ema_decay=0.985,
        validate_every=max(1, args.steps // 5),
    )
    torch.manual_seed(args.seed)
    model = NETWORKS[args.net]()
    if args.init:
        model.load_state_dict(torch.load(args.init, map_location="cpu", weights_only=True)["average"])
    run = training.start_or_resume(model, settings, folder)
    print(f"{parameter_count(model)} parameters, from step {run.step} of {settings.steps}", flush=True)
    if run.step < settings.steps:
        shelf = load_shelf(heads, args.data, spec, args.limit)
        data = batches(shelf, spec, settings.batch, args.seed, run.step)
        training.train(run, settings, data, lambda m: summary(score_heads(m, watched, spec)), folder)
    return run


def run_fold(args: argparse.Namespace, heads: Sequence[AnnotatedHead]) -> dict[str, float]:
    """One fold: train on the other exams, score this one's, note every picture's figures."""
    fold = fold_of_exams([head.exam for head in heads], FOLDS)
    trained = [h for h, f in zip(heads, fold, strict=True) if f != args.fold]
    tested = [h for h, f in zip(heads, fold, strict=True) if f == args.fold]
    name = args.name or f"fold-{args.fold}"
    run = train_model(args, trained, tested[::4], args.work / name)
    spec = input_spec(args.width, args.height)
    scores = score_heads(run.average.model, tested, spec)
    figures = summary(scores)
    (args.work / f"{name}.json").write_text(
        json.dumps({"summary": figures, "scores": [vars(s) for s in scores]}, indent=1)
    )
    return figures


def main() -> None:
    """One fold, or the model that is shipped."""
    args, started = parse_arguments(), time.monotonic()
    cv2.setNumThreads(1)
    heads = list_heads(args.data)[: args.limit]
    if args.fold is not None:
        print(f"fold {args.fold}: {run_fold(args, heads)}", flush=True)
    else:
        run = train_model(args, heads, heads[::16], args.work / (args.name or "all"))
        from models.training.fetal_head_export import export

        export(run.average.model, args)
    print(f"done in {(time.monotonic() - started) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
