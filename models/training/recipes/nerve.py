"""Nerves and vessels in pictures of linear probes: USGRA, with other anatomy and simulated screens as negatives.

Near-duplicate pictures always share a fold: a quarter of USGRA is stored twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor, nn

from models.training.data.augment import Ranges, cut_holes, random_placement, vary_tone, warp
from models.training.data.duplicates import scene_groups
from models.training.data.pictures import OVERSAMPLING, Gray, bootstrap_interval, input_table, place_picture, sector_box
from models.training.data.simulate import scenes
from models.training.data.sources import list_images, read_gray, read_vessel_mask
from models.training.failures import FOUND, TRUTH, tile
from models.training.losses import segmentation_loss
from models.training.networks.efficientnet import EfficientUNet
from models.training.recipe import (
    Draw,
    Example,
    FoldResult,
    Judgement,
    Recipe,
    Row,
    RunOptions,
    Split,
    read_folds,
    split_by_fold,
)
from models.training.reliability import edge_error_px, fitted_edge_sd, reliability_rows
from models.training.train import TrainingSettings
from models.training.viewer import find_in
from usviewer.evaluate.statistics import overlap
from usviewer.frame import Mask
from usviewer.infer.manifest import InputSpec
from usviewer.infer.prediction import Instance, full_mask

VERSION = "0.2.0"
FOLDS = 5
NERVE, VESSEL = 1, 2
RANGES = Ranges(turn_deg=9.0, zoom_log=0.2, squeeze_log=0.1, shift=0.12, flip_x=0.5)
SHARES = {"nerve": 0.76, "carotid": 0.08, "fetal": 0.04, "muscle": 0.05, "simulated": 0.07}
"""What a batch is made of; all but the first have no (labelled) nerve."""
VESSEL_SHARE = 0.25
"""Of the vessel's outline in the loss: learning both alike is known to cost the nerve."""
SIMULATED_SEED = 11
GOLDEN = "0002"
GOLDEN_PX = 320
TRIAL_GATE = 0.6
"""At which a run is watched, and of a model without cross-validation."""
GATES = tuple(round(0.5 + 0.02 * k, 2) for k in range(24))


# -------------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class ClassPicture:
    """A picture with its class numbers (0 background, 1 nerve, 2 vessel); pictures of one scene share a group."""

    kind: str
    name: str
    group: str
    gray: Gray
    classes: Gray


def split(options: RunOptions) -> Split[ClassPicture]:
    """Nerves by fold; held-out pictures of other anatomy are tested with every fold."""
    nerves = load_nerves(options.data, options.limit)
    by_fold = split_by_fold(nerves, [picture.group for picture in nerves], FOLDS, options.fold)
    return Split(by_fold.trained, [*by_fold.tested, *options.few(load_others(options.data, held_out=True))])


def load_nerves(data_dir: Path, most: int | None = None) -> list[ClassPicture]:
    """Pictures with a nerve, by name; `most` for a trial run."""
    folder = data_dir / "nerve_usgra"
    paths = sorted((folder / "images").glob("*.png"))[:most]
    pictures = [
        ClassPicture("nerve", p.stem, p.stem, read_gray(p), read_gray(folder / "masks" / p.name)) for p in paths
    ]
    groups = scene_groups([picture.gray for picture in pictures])
    return [replace(picture, group=pictures[at].name) for picture, at in zip(pictures, groups, strict=True)]


def load_others(data_dir: Path, *, held_out: bool) -> list[ClassPicture]:
    """Carotids (their vessel is labelled), muscles and every third fetal head, on one side of the split of ``sources``.

    The muscles are seen lengthwise: they show no nerve in section.
    """
    images = list_images(data_dir, held_out=held_out)
    chosen = [image for image in images if image.kind in {"carotid", "muscle"}]
    chosen += [image for image in images if image.kind == "fetal_head"][2::3]
    pictures = []
    for image in chosen:
        gray, vessel = read_gray(image.path), read_vessel_mask(image)
        classes = np.zeros_like(gray) if vessel is None else vessel * np.uint8(VESSEL)
        pictures.append(ClassPicture(image.kind.split("_")[0], image.path.stem, image.path.stem, gray, classes))
    return pictures


def simulated_negatives(count: int, seed: int) -> list[ClassPicture]:
    """Lungs, effusions, phantoms and empty screens, without any label."""
    rng = np.random.default_rng(seed)
    kinds = [lambda: scenes.lung(rng, None), lambda: scenes.fluid(rng, None)]
    kinds += [lambda: scenes.phantom(rng), lambda: scenes.no_scan(rng)]
    drawn = [kinds[int(rng.choice(4, p=(0.5, 0.2, 0.2, 0.1)))]() for _ in range(count)]
    return [ClassPicture("simulated", str(i), str(i), s.image, np.zeros_like(s.image)) for i, s in enumerate(drawn)]


# -------------------------------------------------------------------------------------------------------- learning


def examples(trained: Sequence[ClassPicture], options: RunOptions) -> Draw:
    """Varied nerves, other anatomy and simulated screens, in fixed shares."""
    others = options.few(load_others(options.data, held_out=False))
    others += simulated_negatives(min(options.scenes, options.steps), SIMULATED_SEED)
    longest_px = options.width_px * OVERSAMPLING
    pools: dict[str, list[ClassPicture]] = {kind: [] for kind in SHARES}
    for picture in [*trained, *others]:
        pools[picture.kind].append(shrunk_to_sector(picture, longest_px))
    kinds = [kind for kind, pool in pools.items() if pool]
    shares = np.array([SHARES[kind] for kind in kinds])

    def draw(rng: np.random.Generator, step: int) -> list[Example]:
        drawn = []
        for _ in range(options.batch):
            pool = pools[kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]]
            drawn.append(one_example(rng, pool[int(rng.integers(len(pool)))], options.input))
        return drawn

    return draw


def shrunk_to_sector(picture: ClassPicture, longest_px: int) -> ClassPicture:
    """A picture cropped as the viewer crops it; a little more than the network's size keeps turning sharp."""
    x0, y0, x1, y1 = sector_box(picture.gray)
    scale = longest_px / max(x1 - x0, y1 - y0)
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    gray = cv2.resize(picture.gray[y0:y1, x0:x1], size, interpolation=mode)
    classes = cv2.resize(picture.classes[y0:y1, x0:x1], size, interpolation=cv2.INTER_NEAREST)
    return replace(picture, gray=np.asarray(gray, np.uint8), classes=np.asarray(classes, np.uint8))


def one_example(rng: np.random.Generator, picture: ClassPicture, spec: InputSpec) -> Example:
    """A varied picture and its class numbers, both of the network's size."""
    height, width = picture.gray.shape
    whole = (spec.width_px, spec.height_px)
    scale = min(spec.width_px / width, spec.height_px / height)
    fitted = (round(width * scale), round(height * scale))
    matrix = random_placement(rng, (width, height), fitted, RANGES)
    matrix[:, 2] += (np.array(whole) - np.array(fitted)) / 2
    gray = vary_tone(rng, warp(picture.gray, matrix, whole))
    classes = warp(picture.classes, matrix, whole, nearest=True)
    if rng.random() < 0.3:
        gray = cut_holes(rng, gray, 1)
    return gray, classes


def outline_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """What a wrong outline costs: the nerve's against all else, and a little the vessel's (logits [N, 2, H, W])."""
    nerve = segmentation_loss(logits[:, :1], (classes == NERVE)[:, None])
    vessel = segmentation_loss(logits[:, 1:], (classes == VESSEL)[:, None])
    return nerve + VESSEL_SHARE * vessel


# --------------------------------------------------------------------------------------------------------- scoring


def manifest(options: RunOptions, gate: float, accuracy: Mapping[str, object]) -> dict[str, object]:
    """The contract with the viewer, without the file's hash."""
    return {
        "schema": 1,
        "id": RECIPE.id,
        "name": "Nerve and vessel",
        "version": VERSION,
        "task": "segment",
        "finding": "nerve",
        "decoder": "unet",
        "licence": "Apache-2.0",
        "input": input_table(options.input),
        "output": {
            "name": "logits",
            "activation": "sigmoid",
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
            "data": "USGRA (tmkand/usgra-seg), CCAUI carotids, HC18 heads as negatives, all CC BY 4.0; "
            "TimTrack muscles as negatives (CC0, CC BY 4.0); simulated scenes as negatives",
            "recipe": RECIPE.command,
        },
        "accuracy": dict(accuracy),
        "golden": {"frame": "golden.png"},
    }


@dataclass(frozen=True)
class NerveAnswer:
    """What the viewer's decoder, with the gate open, finds in one picture."""

    picture: ClassPicture
    instances: tuple[Instance, ...]
    input_px_per_px: float = 1.0

    def mask(self, label: int, gate: float) -> Mask:
        """Everything of a class that passes the gate, on the whole picture."""
        height, width = self.picture.gray.shape
        whole = np.zeros((height, width), np.bool_)
        for instance in self.instances:
            if instance.class_index == label - 1 and instance.score >= gate:
                whole |= full_mask(instance, (width, height))
        return whole

    def dice(self, label: int, gate: float) -> float:
        """Overlap with the truth; 1 when both are empty."""
        return overlap(self.picture.classes == label, self.mask(label, gate)).dice

    @property
    def best_nerve(self) -> Instance | None:
        """The nerve that the viewer measures."""
        nerves = (one for one in self.instances if one.class_index == NERVE - 1)
        return max(nerves, key=lambda one: one.score, default=None)

    @property
    def best(self) -> float:
        """Score of the best nerve, 0 where there is none."""
        return self.best_nerve.score if self.best_nerve else 0.0

    @property
    def edge_error_px(self) -> float | None:
        """That of the best nerve's area, against the annotated nerve that it touches most."""
        found = self.best_nerve
        if found is None:
            return None
        height, width = self.picture.gray.shape
        outline = full_mask(found, (width, height))
        return edge_error_px(found, touched_most(self.picture.classes, outline), "nerve", "area", self.input_px_per_px)


def score(model: nn.Module, pictures: Sequence[ClassPicture], options: RunOptions) -> list[NerveAnswer]:
    """What the viewer would find with an open gate."""
    placed = [place_picture(picture.gray, options.input) for picture in pictures]
    found = find_in(model, placed, manifest(options, GATES[0], {}))
    scales = [one.placement.scale for one in placed]
    return [NerveAnswer(*each) for each in zip(pictures, found, scales, strict=True)]


def touched_most(classes: Gray, outline: Mask) -> Mask:
    """The one annotated nerve that an outline covers most of; an empty mask where it touches none."""
    _, numbers = cv2.connectedComponents((classes == NERVE).astype(np.uint8))
    touched = np.bincount(numbers[outline], minlength=1)
    touched[0] = 0
    nearest = int(touched.argmax())
    return np.asarray((numbers == nearest) & (nearest > 0), np.bool_)


def summary(answers: Sequence[NerveAnswer]) -> dict[str, float]:
    """Mean Dice where there is a nerve (or a vessel), pictures without any true nerve pixel found, false alarms."""
    with_nerve = [a for a in answers if (a.picture.classes == NERVE).any()]
    with_vessel = [a for a in answers if (a.picture.classes == VESSEL).any() and a.picture.kind == "nerve"]
    alarms = [a.best >= TRIAL_GATE for a in answers if a.picture.kind != "nerve"]
    dice = [a.dice(NERVE, TRIAL_GATE) for a in with_nerve]
    return {
        "nerve_dice": mean(dice),
        "vessel_dice": mean([a.dice(VESSEL, TRIAL_GATE) for a in with_vessel]),
        "missed": mean([value < 0.1 for value in dice]),
        "false_alarms": mean(alarms),
    }


def mean(values: Sequence[float]) -> float:
    """Mean of some figures, 0 of none."""
    return float(np.mean(values)) if values else 0.0


def record(answer: NerveAnswer) -> Row:
    """What the choice of the gate needs: Dice at many gates, and the best score."""
    picture = answer.picture
    return {
        "kind": picture.kind,
        "name": picture.name,
        "group": picture.group,
        "best": answer.best,
        "nerve_dice": {gate: answer.dice(NERVE, gate) for gate in GATES} if picture.kind == "nerve" else {},
        "vessel_dice": answer.dice(VESSEL, GATES[0]),
        "has_vessel": bool((picture.classes == VESSEL).any()),
        "nerve_px": int(np.count_nonzero(picture.classes == NERVE)),
        "edge_error_px": answer.edge_error_px if picture.kind == "nerve" else None,
    }


# ---------------------------------------------------------------------------------------------------- gate and card


@dataclass(frozen=True)
class NerveFigures:
    """Cross-validated figures at the chosen gate; `alarms` maps a kind of picture to its number and share."""

    gate: float
    nerves: Sequence[Row]
    alarms: Mapping[str, tuple[int, float]]
    presence_auc: float

    def dice(self) -> list[float]:
        """Nerve Dice of every picture with a nerve, at the gate."""
        return [dice_at(row, self.gate) for row in self.nerves]

    def interval(self) -> tuple[float, float, float]:
        """Mean nerve Dice and its 95 % interval, by groups of alike pictures."""
        low, high = bootstrap_interval(self.dice(), [row["group"] for row in self.nerves])
        return float(np.mean(self.dice())), low, high

    def by_size(self) -> list[tuple[int, float]]:
        """Number and mean Dice of the pictures with small, middle and large nerves: thirds by their area in pixels."""
        order = np.argsort([row["nerve_px"] for row in self.nerves])
        dice = np.array(self.dice())[order]
        return [(len(third), mean(third.tolist())) for third in np.array_split(dice, 3)]

    def edge_errors_px(self) -> list[float]:
        """Those of the areas that the viewer would give."""
        shown = [row for row in self.nerves if row["best"] >= self.gate]
        return [row["edge_error_px"] for row in shown if row["edge_error_px"] is not None]

    def vessel(self) -> float:
        """Mean vessel Dice where there is a vessel."""
        return float(np.mean([row["vessel_dice"] for row in self.nerves if row["has_vessel"]]))


def dice_at(row: Mapping[str, Any], gate: float) -> float:
    """Nerve Dice of a row at the nearest gate that it holds."""
    table: dict[str, float] = row["nerve_dice"]
    return table[min(table, key=lambda g: abs(float(g) - gate))]


def presence_auc(nerves: Sequence[Row], others: Sequence[Row]) -> float:
    """How often a picture with a nerve scores higher than one without: the area under the ROC curve; ties are half."""
    with_nerve, without = (np.array([row["best"] for row in rows]) for rows in (nerves, others))
    if not len(with_nerve) or not len(without):
        return 0.0
    higher = (with_nerve[:, None] > without).mean()
    return float(higher + (with_nerve[:, None] == without).mean() / 2)


def worth(nerves: Sequence[Row], others: Sequence[Row], gate: float) -> float:
    """Mean Dice where there is a nerve, less the share of false alarms where there is none."""
    dice = float(np.mean([dice_at(row, gate) for row in nerves]))
    return dice - float(np.mean([row["best"] >= gate for row in others]))


def judge(model: nn.Module, split: Split[ClassPicture], options: RunOptions) -> Judgement:
    """The gate of most worth over the folds, and the figures there."""
    folds = read_folds(options)
    rows = [row for fold in folds for row in fold.rows]
    nerves = [row for row in rows if row["kind"] == "nerve"]
    if not nerves:
        return Judgement(TRIAL_GATE, {})
    others = [row for row in rows if row["kind"] != "nerve"]
    gate = max(GATES, key=lambda g: worth(nerves, others, g))
    figures = NerveFigures(gate, nerves, alarms_at(others, gate, len(folds)), presence_auc(nerves, others))
    failures = worst_tiles(folds, figures, split, options)
    return Judgement(gate, accuracy_of(figures), card_values(figures), failures, figures.edge_errors_px())


def alarms_at(others: Sequence[Row], gate: float, folds: int) -> dict[str, tuple[int, float]]:
    """How many pictures without a nerve, and in which share one was found: every fold looked at the same pictures."""
    alarms = {}
    for kind in sorted({row["kind"] for row in others}):
        scores = np.array([row["best"] for row in others if row["kind"] == kind])
        alarms[kind] = (len(scores) // folds, float((scores >= gate).mean()))
    return alarms


def accuracy_of(figures: NerveFigures) -> dict[str, object]:
    """The manifest's figures."""
    dice, low, high = figures.interval()
    table: dict[str, object] = {
        "data": f"USGRA, {len(figures.nerves)} pictures, cross-validation with alike pictures in one fold",
        "nerve_dice": round(dice, 3),
        "nerve_dice_low": round(low, 3),
        "nerve_dice_high": round(high, 3),
        "vessel_dice": round(figures.vessel(), 3),
        "presence_auc": round(figures.presence_auc, 3),
    }
    if edge_sd := round(fitted_edge_sd(figures.edge_errors_px()), 2):
        table["edge_sd_input_px"] = edge_sd
    return table | {f"false_alarms_{kind}": round(share, 3) for kind, (_, share) in figures.alarms.items()}


def card_values(figures: NerveFigures) -> dict[str, object]:
    """What only this model's card says."""
    dice, low, high = figures.interval()
    values = np.array(figures.dice())
    kinds = figures.alarms.items()
    return {
        "pictures": len(figures.nerves),
        "dice": dice,
        "dice_low": low,
        "dice_high": high,
        "median": float(np.median(values)),
        "missed": float((values < 0.1).mean()),
        "vessel": figures.vessel(),
        "edge_sd_input_px": fitted_edge_sd(figures.edge_errors_px()),
        "reliability": reliability_rows(figures.edge_errors_px()),
        "presence_auc": figures.presence_auc,
        "by_size": "; ".join(f"{dice:.3f} ({count})" for count, dice in figures.by_size()),
        "alarms": "\n".join(f"| {kind} pictures, held out | {count} | {share:.1%} |" for kind, (count, share) in kinds),
        "golden": GOLDEN,
    }


def worst_tiles(
    folds: Sequence[FoldResult], figures: NerveFigures, split: Split[ClassPicture], options: RunOptions, count: int = 6
) -> list[Gray]:
    """The pictures with the lowest nerve Dice, drawn with the fold's own network."""
    pictures = {picture.name: picture for picture in split.trained}
    dice = dict(zip((row["name"] for row in figures.nerves), figures.dice(), strict=True))
    worst = sorted(dice, key=lambda name: dice[name])[:count]
    tiles = []
    for fold in folds:
        mine = [pictures[row["name"]] for row in fold.rows if row["name"] in worst and row["kind"] == "nerve"]
        for answer in score(fold.network(RECIPE.networks[options.network]()), mine, options):
            caption = f"{answer.picture.name}: nerve Dice {dice[answer.picture.name]:.2f}"
            outlines = ((answer.picture.classes == NERVE, TRUTH), (answer.mask(NERVE, figures.gate), FOUND))
            tiles.append(tile(answer.picture.gray, caption, outlines))
    return tiles


def golden(model: nn.Module, options: RunOptions) -> Gray:
    """A picture of the set, cropped to its sector and shrunk."""
    gray = read_gray(options.data / "nerve_usgra" / "images" / f"{GOLDEN}.png")
    x0, y0, x1, y1 = sector_box(gray)
    scale = GOLDEN_PX / max(x1 - x0, y1 - y0)
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    return np.asarray(cv2.resize(gray[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.uint8)


RECIPE = Recipe(
    id="nerve",
    about="Nerves and vessels, from USGRA to models/nerve",
    version=VERSION,
    size_px=(192, 192),
    training=TrainingSettings(
        steps=900,
        batch=12,
        weight_decay=3e-2,
        warm_up_steps=100,
        ema_decay=0.985,
        validate_every=300,
        encoder_share=0.3,
        half_precision=False,
    ),
    networks={
        "efficient": partial(EfficientUNet, 2, mirrored=True),
        "efficient-random": partial(EfficientUNet, 2, mirrored=True, pretrained=False),
    },
    data=split,
    examples=examples,
    loss=lambda state, options: outline_loss,
    score=score,
    summary=summary,
    record=record,
    manifest=manifest,
    judge=judge,
    golden=golden,
    folds=FOLDS,
    scenes=120,
)
