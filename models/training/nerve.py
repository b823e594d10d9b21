"""The bundled nerve model, from raw data to `models/nerve`: ``python -m models.training.nerve``.

`--fold K` trains and scores one fold of the cross-validation (figures in `--work`); without it all pictures are used
and the model is exported. Near-duplicate pictures always share a fold: a quarter of this set is stored twice.
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
from torch import Tensor, nn

from models.training import train as training
from models.training.bundle import find, raw_outputs, spec_of
from models.training.data.augment import Ranges, cut_holes, random_placement, vary_tone, warp
from models.training.data.pictures import (
    OVERSAMPLING,
    fold_of_exams,
    input_spec,
    input_table,
    place_picture,
    sector_box,
)
from models.training.data.simulate import scenes
from models.training.data.sources import content_box, list_images, read_gray, read_vessel_mask
from models.training.losses import class_loss
from models.training.networks.small_unet import SmallUNet
from models.training.train import parameter_count
from usviewer.frame import Mask
from usviewer.infer.manifest import ModelSpec

Gray = NDArray[np.uint8]

VERSION = "0.1.0"
FOLDS = 5
NERVE, VESSEL = 1, 2
RANGES = Ranges(turn_deg=9.0, zoom_log=0.2, squeeze_log=0.1, shift=0.12, flip_x=0.5)
SIMULATED = 120
CLASS_WEIGHTS = (1.0, 3.0, 1.5)
DICE_SHARES = {NERVE: 1.0, VESSEL: 0.5}
"""The nerve counts double."""
SHARES = {"nerve": 0.78, "carotid": 0.09, "fetal": 0.06, "simulated": 0.07}
"""What a batch is made of; all but the first have no (labelled) nerve."""


@dataclass(frozen=True)
class ClassPicture:
    """A picture with its class numbers (0 background, 1 nerve, 2 vessel) in its own pixels."""

    kind: str
    name: str
    gray: Gray
    classes: Gray


# -------------------------------------------------------------------------------------------------- data


def load_nerves(data_dir: Path) -> list[ClassPicture]:
    """All pictures with a nerve, by name."""
    samples = []
    for path in sorted((data_dir / "nerve_usgra" / "images").glob("*.png")):
        mask = read_gray(data_dir / "nerve_usgra" / "masks" / path.name)
        samples.append(ClassPicture("nerve", path.stem, read_gray(path), mask))
    return samples


def load_others(data_dir: Path, *, held_out: bool) -> list[ClassPicture]:
    """Carotids (their vessel is labelled) and fetal heads, on one side of the fixed split of ``sources``."""
    samples = []
    fetal = 0
    for image in list_images(data_dir, held_out=held_out):
        if image.kind == "fetal_head":
            fetal += 1
        if image.kind == "carotid" or (image.kind == "fetal_head" and fetal % 3 == 0):
            gray = read_gray(image.path)
            vessel = read_vessel_mask(image)
            classes = np.zeros_like(gray) if vessel is None else vessel * VESSEL
            samples.append(ClassPicture(image.kind.split("_")[0], image.path.stem, gray, classes.astype(np.uint8)))
    return samples


def simulated_negatives(count: int, seed: int) -> list[ClassPicture]:
    """Lungs, effusions, phantoms and empty screens, without any label."""
    rng = np.random.default_rng(seed)
    kinds = [lambda: scenes.lung(rng, None), lambda: scenes.fluid(rng, None)]
    kinds += [lambda: scenes.phantom(rng), lambda: scenes.no_scan(rng)]
    drawn = [kinds[int(rng.choice(4, p=(0.5, 0.2, 0.2, 0.1)))]() for _ in range(count)]
    return [ClassPicture("simulated", str(i), s.image, np.zeros_like(s.image)) for i, s in enumerate(drawn)]


def duplicate_groups(samples: Sequence[ClassPicture], alike: float = 0.38) -> list[str]:
    """A group name for every picture; pictures of one scene share it.

    Compared is the local contrast (fine structure over its own strength) of the content, at 64x64, over shifts of up
    to 4 cells. Unrelated pictures of this set correlate below 0.32 (99th percentile), copies above 0.87; between
    them lie other frames of the same scene.
    """
    features = np.stack([_local_contrast(sample.gray) for sample in samples])
    flat = features.reshape(len(features), -1)
    best = np.full((len(features), len(features)), -1.0)
    for dy in range(-4, 5):
        for dx in range(-4, 5):
            best = np.maximum(best, np.roll(features, (dy, dx), (1, 2)).reshape(len(features), -1) @ flat.T)
    group = list(range(len(samples)))
    for first, second in zip(*np.nonzero(np.triu(best > alike, 1)), strict=True):
        old, new = group[second], group[first]
        group = [new if g == old else g for g in group]
    return [samples[g].name for g in group]


def _local_contrast(gray: Gray) -> NDArray[np.float32]:
    x0, y0, x1, y1 = content_box(gray)
    small = cv2.resize(gray[y0:y1, x0:x1], (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = cv2.GaussianBlur(small, (0, 0), 1) - cv2.GaussianBlur(small, (0, 0), 6)
    fine = fine / (np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6)) + 3)
    fine -= fine.mean()
    return np.asarray(fine / np.linalg.norm(fine), np.float32)


# ---------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class ClassShelf:
    """Samples cropped to their sector and shrunk to a little more than the network's size, by kind."""

    by_kind: dict[str, list[ClassPicture]]


def load_shelf(samples: Sequence[ClassPicture], side_px: int) -> ClassShelf:
    """Samples ready for augmentation."""
    shelf: dict[str, list[ClassPicture]] = {kind: [] for kind in SHARES}
    for sample in samples:
        shelf[sample.kind].append(_shrunk(sample, side_px * OVERSAMPLING))
    return ClassShelf({kind: items for kind, items in shelf.items() if items})


def _shrunk(sample: ClassPicture, side_px: int) -> ClassPicture:
    x0, y0, x1, y1 = sector_box(sample.gray)
    scale = side_px / max(x1 - x0, y1 - y0)
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    gray = cv2.resize(sample.gray[y0:y1, x0:x1], size, interpolation=mode)
    classes = cv2.resize(sample.classes[y0:y1, x0:x1], size, interpolation=cv2.INTER_NEAREST)
    return ClassPicture(sample.kind, sample.name, np.asarray(gray, np.uint8), np.asarray(classes, np.uint8))


def one_example(rng: np.random.Generator, sample: ClassPicture, side_px: int) -> tuple[Gray, Gray]:
    """A varied picture and its class numbers, both (side, side)."""
    height, width = sample.gray.shape
    scale = side_px / max(height, width)
    fitted = (round(width * scale), round(height * scale))
    matrix = random_placement(rng, (width, height), fitted, RANGES)
    matrix[:, 2] += (side_px - np.array(fitted)) / 2
    picture = warp(sample.gray, matrix, (side_px, side_px))
    classes = warp(sample.classes, matrix, (side_px, side_px), nearest=True)
    picture = vary_tone(rng, picture)
    return (cut_holes(rng, picture, 1) if rng.random() < 0.3 else picture), classes


def batches(shelf: ClassShelf, side_px: int, batch: int, seed: int, first_step: int) -> Iterator[tuple[Gray, Gray]]:
    """Endless batches (pictures [B, 1, S, S], class numbers [B, S, S]); step n is the same whatever ran before."""
    kinds = list(shelf.by_kind)
    shares = np.array([SHARES[kind] for kind in kinds])
    step = first_step
    while True:
        rng = np.random.default_rng((seed, 7, step))
        pairs = []
        for _ in range(batch):
            pool = shelf.by_kind[kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]]
            pairs.append(one_example(rng, pool[int(rng.integers(len(pool)))], side_px))
        yield np.stack([p[0] for p in pairs])[:, None], np.stack([p[1] for p in pairs])
        step += 1


def outline_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """What a wrong outline of nerve or vessel costs."""
    return class_loss(logits, classes, CLASS_WEIGHTS, DICE_SHARES)


# --------------------------------------------------------------------------------------------- measuring


def manifest_of(side_px: int, gate: float, accuracy: dict[str, object]) -> dict[str, object]:
    """The contract with the viewer, without the file's hash."""
    return {
        "schema": 1,
        "id": "nerve",
        "name": "Nerve and vessel",
        "version": VERSION,
        "task": "segment",
        "finding": "nerve",
        "decoder": "unet",
        "licence": "Apache-2.0",
        "input": input_table(input_spec(side_px, side_px)),
        "output": {
            "name": "logits",
            "activation": "softmax",
            "mask_threshold": 0.5,
            "min_score": gate,
            "min_area": 20.0,
            "max_instances": 4,
        },
        "labels": [
            {"name": "nerve", "color": "#009E73", "edge": "not stated"},
            {"name": "vessel", "color": "#D55E00", "edge": "not stated"},
        ],
        "training": {
            "data": "USGRA (tmkand/usgra-seg), CCAUI carotids, HC18 heads as negatives, all CC BY 4.0, "
            "simulated scenes as negatives",
            "recipe": "python -m models.training.nerve",
        },
        "accuracy": accuracy,
        "golden": {"frame": "golden.png"},
    }


@dataclass(frozen=True)
class NerveAnswer:
    """What the viewer's decoder, with the gate open, finds in one picture: masks with their scores, for each class."""

    sample: ClassPicture
    group: str
    nerves: list[tuple[float, Mask, tuple[int, int]]]
    vessels: list[tuple[float, Mask, tuple[int, int]]]

    def mask(self, label: int, gate: float) -> Mask:
        """Everything of a class that passes the gate, on the whole picture."""
        whole = np.zeros(self.sample.gray.shape, np.bool_)
        for score, mask, (x, y) in self.nerves if label == NERVE else self.vessels:
            if score >= gate:
                whole[y : y + mask.shape[0], x : x + mask.shape[1]] |= mask
        return whole

    @property
    def best(self) -> float:
        """Score of the best nerve, 0 where there is none."""
        return max((score for score, _, _ in self.nerves), default=0.0)


def look(model: nn.Module, samples: Sequence[ClassPicture], groups: Sequence[str], side_px: int) -> list[NerveAnswer]:
    """Run the network and the viewer's decoder."""
    spec: ModelSpec = spec_of(manifest_of(side_px, 0.5, {}))
    inputs = [place_picture(sample.gray, spec.input) for sample in samples]
    outputs = raw_outputs(model, [picture.gray for picture in inputs])
    found = []
    for sample, group, picture, output in zip(samples, groups, inputs, outputs, strict=True):
        instances = find(output, picture.placement, spec)
        by_class: tuple[list[tuple[float, Mask, tuple[int, int]]], ...] = ([], [])
        for i in instances:
            assert i.mask is not None
            by_class[i.class_index].append((i.score, i.mask, i.mask_origin_px))
        found.append(NerveAnswer(sample, group, *by_class))
    return found


def dice_of(found: NerveAnswer, label: int, gate: float) -> float:
    """Overlap with the truth; 1 when both are empty."""
    mask, truth = found.mask(label, gate), found.sample.classes == label
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def summary(found: Sequence[NerveAnswer], gate: float) -> dict[str, float]:
    """Mean Dice where there is a nerve (or a vessel), pictures without any true nerve pixel found, false alarms."""
    with_nerve = [f for f in found if (f.sample.classes == NERVE).any()]
    with_vessel = [f for f in found if (f.sample.classes == VESSEL).any() and f.sample.kind == "nerve"]
    without = [f for f in found if f.sample.kind != "nerve"]
    dice = [dice_of(f, NERVE, gate) for f in with_nerve]
    return {
        "nerve_dice": float(np.mean(dice)) if dice else 0.0,
        "vessel_dice": float(np.mean([dice_of(f, VESSEL, gate) for f in with_vessel])) if with_vessel else 0.0,
        "missed": float(np.mean([d < 0.1 for d in dice])) if dice else 0.0,
        "false_alarms": float(np.mean([f.best >= gate for f in without])) if without else 0.0,
    }


# ---------------------------------------------------------------------------------------------- the recipe


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, default=Path("build/nerve"), help="checkpoints, figures and curves")
    parser.add_argument("--out", type=Path, default=Path("models/nerve"), help="where the model goes")
    parser.add_argument("--fold", type=int, help="train and score this fold only")
    parser.add_argument("--side", type=int, default=192, help="input of the network, pixels a side")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="use only so many pictures with a nerve")
    parser.add_argument("--init", type=Path, help="checkpoint (nerve or fetal head) whose weights start the run")
    parser.add_argument("--name", help="folder of the run under --work")
    return parser.parse_args(arguments)


def build_model(start: Path | None) -> SmallUNet:
    """A fresh network; with `start` all that fits comes from it (a fetal head checkpoint has another last layer)."""
    model = SmallUNet(classes=3)
    if start:
        state, own = torch.load(start, map_location="cpu", weights_only=True)["average"], model.state_dict()
        fitting = {name: value for name, value in state.items() if own[name].shape == value.shape}
        model.load_state_dict(fitting, strict=False)
    return model


def train_model(
    args: argparse.Namespace, samples: Sequence[ClassPicture], watched: Sequence[ClassPicture], folder: Path
) -> training.Run:
    """Train on `samples` and the other kinds, or finish what a checkpoint has begun."""
    settings = training.TrainingSettings(
        steps=args.steps,
        batch=args.batch,
        learning_rate=args.rate,
        weight_decay=3e-2,
        seed=args.seed,
        warm_up_steps=min(100, args.steps // 10 + 1),
        ema_decay=0.985,
        validate_every=max(1, args.steps // 4),
    )
    torch.manual_seed(args.seed)
    run = training.start_or_resume(build_model(args.init), settings, folder)
    print(f"{parameter_count(run.model)} parameters, from step {run.step} of {settings.steps}", flush=True)
    if run.step < settings.steps:
        others = load_others(args.data, held_out=False)[: args.limit] + simulated_negatives(
            min(SIMULATED, args.steps), 11
        )
        shelf = load_shelf([*samples, *others], args.side)
        data = batches(shelf, args.side, settings.batch, args.seed, run.step)
        groups = [s.name for s in watched]
        training.train(
            run, settings, data, lambda m: summary(look(m, watched, groups, args.side), 0.5), folder, outline_loss
        )
    return run


def record(found: Sequence[NerveAnswer]) -> list[dict[str, object]]:
    """What later gate choices need: for every picture, Dice at many gates and the best score."""
    gates = [round(0.5 + 0.02 * k, 2) for k in range(24)]
    return [
        {
            "kind": f.sample.kind,
            "name": f.sample.name,
            "group": f.group,
            "best": f.best,
            "nerve_dice": {g: dice_of(f, NERVE, g) for g in gates} if f.sample.kind == "nerve" else {},
            "vessel_dice": dice_of(f, VESSEL, 0.5),
            "has_vessel": bool((f.sample.classes == VESSEL).any()),
        }
        for f in found
    ]


def run_fold(args: argparse.Namespace, samples: Sequence[ClassPicture]) -> dict[str, float]:
    """One fold: train on the other groups, score this one and the held-out pictures without a nerve."""
    groups = duplicate_groups(samples)
    fold = fold_of_exams(groups, FOLDS)
    trained = [s for s, f in zip(samples, fold, strict=True) if f != args.fold]
    tested = [s for s, f in zip(samples, fold, strict=True) if f == args.fold]
    others = load_others(args.data, held_out=True)
    name = args.name or f"fold-{args.fold}"
    run = train_model(args, trained, [*tested, *others[:40]], args.work / name)
    tested_groups = [g for g, f in zip(groups, fold, strict=True) if f == args.fold]
    found = look(run.average.model, [*tested, *others], [*tested_groups, *(s.name for s in others)], args.side)
    figures = summary(found, 0.6)
    (args.work / f"{name}.json").write_text(json.dumps({"summary": figures, "pictures": record(found)}))
    return figures


def main() -> None:
    """One fold, or the model that is shipped."""
    args, started = parse_arguments(), time.monotonic()
    cv2.setNumThreads(1)
    samples = load_nerves(args.data)[: args.limit]
    if args.fold is not None:
        print(f"fold {args.fold}: {run_fold(args, samples)}", flush=True)
    else:
        run = train_model(args, samples, samples[:20], args.work / (args.name or "all"))
        from models.training.nerve_export import export

        export(run.average.model, args)
    print(f"done in {(time.monotonic() - started) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
