"""The fetal head in the plane of its circumference: HC18, cross-validated by exam, necks and limbs as negatives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from torch import nn

from models.training.data.augment import Matrix, Ranges, cut_holes, random_placement, vary_tone, warp
from models.training.data.heads import AnnotatedHead, coverage, list_heads, placement_matrix, then
from models.training.data.pictures import (
    Gray,
    bootstrap_interval,
    input_table,
    load_picture,
    other_pictures,
    oversampled,
    place_picture,
)
from models.training.data.sources import list_images, read_gray
from models.training.failures import FOUND, TRUTH, tile
from models.training.losses import segmentation_loss
from models.training.networks.mobilenet import MobileUNet
from models.training.networks.small_unet import SmallUNet
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
from models.training.train import TrainingSettings
from models.training.viewer import find_in
from usviewer.evaluate.statistics import overlap
from usviewer.frame import Mask
from usviewer.infer.manifest import InputSpec
from usviewer.infer.prediction import Instance, full_mask
from usviewer.measure import geometry
from usviewer.measure.findings.fetal_head import MIN_OVERLAP
from usviewer.measure.reading import NORMAL_95
from usviewer.measure.uncertainty import CIRCUMFERENCE_GAIN

VERSION = "0.2.0"
FOLDS = 3
RANGES = Ranges(turn_deg=28.0, zoom_log=0.16, squeeze_log=0.06, shift=0.1, flip_x=0.5, flip_y=0.5)
NEGATIVES = ("carotid", "nerve")
NEGATIVE_SHARE = 0.08
"""Share of training pictures without a head (necks and limbs): silence has to be learnt too."""
GOLDEN = "010_HC"
NETWORKS: dict[str, type[nn.Module]] = {"small": SmallUNet, "mobile": MobileUNet}
NETWORK_WORDS = {
    "mobile": "U-Net with a MobileNetV2 encoder (Sandler et al. 2018; width 1, one input channel)",
    "small": "U-Net with residual blocks working at half resolution",
}
OPEN_GATE = 0.5


def split(options: RunOptions) -> Split[AnnotatedHead]:
    """Heads by fold."""
    heads = options.few(list_heads(options.data))
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
    return HeadShelf(items, other_pictures(options.data, NEGATIVES, large, held_out=False, most=options.limit))


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
            "data": "HC18 (van den Heuvel 2018, CC BY 4.0); CCAUI necks and USGRA limbs without a head",
            "recipe": RECIPE.command,
        },
        "accuracy": dict(accuracy),
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
    return HeadScore(head.name, head.exam, dice, iou, hc_mm, head.circumference_mm, score, likeness, mm_per_input_px)


def score(model: nn.Module, heads: Sequence[AnnotatedHead], options: RunOptions) -> list[HeadScore]:
    """Figures of every picture, read from disk one by one."""
    return [score_head(model, head, options) for head in heads]


def score_head(model: nn.Module, head: AnnotatedHead, options: RunOptions) -> HeadScore:
    """What the viewer would find in one picture, against its annotation."""
    gray = read_gray(head.path)
    placed = place_picture(gray, options.input)
    (found,) = find_in(model, [placed], manifest(options, OPEN_GATE, {}))
    mm_per_input_px = head.mm_per_px / math.sqrt(math.prod(placed.placement.scale_xy))
    return score_picture(head, (gray.shape[1], gray.shape[0]), found, mm_per_input_px)


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


# ---------------------------------------------------------------------------------------------------- gate and card


@dataclass(frozen=True)
class HeadFigures:
    """Cross-validation over the folds that were run, and the gate."""

    scores: Sequence[HeadScore]
    gate: float
    refused: float
    false_alarms: float
    negatives: int

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

    def edge_sd_input_px(self) -> float:
        """The outline's standard error with which 95 % of the circumferences lie in their stated 95 % intervals."""
        units = [
            abs(s.hc_mm - s.true_hc_mm) / (CIRCUMFERENCE_GAIN * s.mm_per_input_px)
            for s in self.scores
            if self.measured(s)
        ]
        return float(np.percentile(units, 95)) / NORMAL_95 if units else 0.0

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
    figures = figures_at_gate(scores, silence(model, options))
    if not scores:
        return Judgement(figures.gate, {})
    card = card_values(figures) | {"network": NETWORK_WORDS[options.network]}
    return Judgement(figures.gate, accuracy_of(figures), card, worst_tiles(folds, split, options))


def silence(model: nn.Module, options: RunOptions) -> list[float]:
    """The score of what is drawn by mistake in each held-out picture without a head; 0 where nothing is."""
    images = [image for image in list_images(options.data, held_out=True) if image.kind in NEGATIVES]
    placed = [load_picture(image.path, options.input) for image in options.few(images)]
    found = find_in(model, placed, manifest(options, OPEN_GATE, {}))
    return [instances[0].score if instances else 0.0 for instances in found]


def figures_at_gate(scores: Sequence[HeadScore], silent: Sequence[float]) -> HeadFigures:
    """Half-way between what was drawn by mistake (a mean cannot be below one half) and the lowest of the heads."""
    heads = np.array([score.score for score in scores]) if scores else np.ones(1)
    gate = round(float(np.clip((max(OPEN_GATE, *silent) + np.percentile(heads, 1)) / 2, OPEN_GATE, 0.9)), 2)
    alarms = float(np.mean([score >= gate for score in silent]))
    return HeadFigures(scores, gate, float((heads < gate).mean()), alarms, len(silent))


def accuracy_of(figures: HeadFigures) -> dict[str, object]:
    """The manifest's figures."""
    table: dict[str, object] = {"data": f"HC18, {len(figures.scores)} pictures, cross-validation by exam"}
    for name, digits in (("dice", 4), ("iou", 4), ("adf_mm", 2), ("df_mm", 2)):
        table[name] = round(figures.mean(name)[0], digits)
    if edge_sd := round(figures.edge_sd_input_px(), 2):
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
        "edge_sd_input_px": figures.edge_sd_input_px(),
        "adf_95_mm": float(np.percentile(np.abs(errors), 95)) if errors.size else math.nan,
        "missed": len(figures.scores) - len(errors),
        "refused": figures.refused,
        "unlike": float(np.mean([s.score >= figures.gate and not figures.measured(s) for s in figures.scores])),
        "negatives": figures.negatives,
        "false_alarms": figures.false_alarms,
        "golden": GOLDEN,
    }


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
        steps=3000,
        learning_rate=3e-3,
        warm_up_steps=150,
        ema_decay=0.985,
        validate_every=600,
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
