"""The abdominal aorta in transverse pictures: simulated scenes on real textures, other anatomy as negatives.

Scenes are rendered once and kept under `--work`. The presence gate is chosen with the viewer's own input and decoder,
on simulated validation scenes and the held-out fifth of the CC BY pictures, never on test data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.training.data.aorta_scenes import (
    TRIAL,
    TRIAL_PICTURES,
    SceneSet,
    real_negatives,
    render_scenes,
    with_negatives,
)
from models.training.data.augment_vessel import looks_of, vary_vessel
from models.training.data.pictures import Gray, PlacedPicture, input_table, place_picture
from models.training.data.simulate.lengthwise import long_axis, long_vein
from models.training.data.simulate.scenes import SimulatedScene, abdomen, gray_levels
from models.training.data.sources import list_images, read_gray
from models.training.data.textures import thinned
from models.training.losses import segmentation_loss
from models.training.networks.efficientnet import EfficientUNet
from models.training.networks.small_unet import SmallUNet
from models.training.recipe import Draw, Example, Judgement, Recipe, RunOptions, Split, shuffled
from models.training.reliability import edge_error_px, fitted_edge_sd, measured_size, reliability_rows
from models.training.train import TrainingSettings
from models.training.viewer import find_in
from usviewer.evaluate.statistics import overlap
from usviewer.infer.manifest import InputSpec
from usviewer.infer.prediction import Instance, full_mask
from usviewer.measure.findings.aorta import AP, LONGITUDINAL

VERSION = "0.3.0"
SIZE_PX, FIRST_SIZE_PX = 224, 192
FIRST_SHARE = 0.45
"""Of the steps, in which smaller pictures are learnt from: they cost less. The others set the borders at the size that
runs. A run that starts from another's weights is at that size throughout."""
NEGATIVES_PER_SCENE = 0.25
VALIDATION_SEED = 900
VALIDATION_SCENES = 500
OPEN_GATE = 0.5
"""No mean of probabilities above the mask's threshold is lower."""
CANDIDATES = 20
"""Blobs a picture that are kept with their scores: at a higher gate the viewer may show another one."""
RIGHT_DICE = 0.5
GATES = tuple(round(0.50 + 0.02 * k, 2) for k in range(21))
FALSE_ALARM_WEIGHT = 3
"""A number on nothing is worse than none, and in a clip what has passed the gate stays with less."""
SIZES_MM = ((10, 20), (20, 30), (30, 50), (50, 100))
DEPTHS_MM = ((0, 60), (60, 90), (90, 250))
CONTRASTS = ((0, 40), (40, 70), (70, 101))
"""Ranges of the card's tables: lumen, depth of its middle, and how much darker it is than its surroundings (%)."""
LENGTHWISE_SEED = 950
GOLDEN_SEEDS = range(5000, 5120)


# -------------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class AortaPicture:
    """A picture as the viewer hands it to the network, with the truth in its own pixels.

    ``lumen_mm`` is 0 where there is no aorta; ``mm_per_px`` is that of the picture, NaN where nobody knows it.
    ``contrast`` is how much darker the lumen is than its surroundings, in percent. ``lengthwise`` shows a vessel along
    its length.
    """

    real: bool
    placed: PlacedPicture
    mask: NDArray[np.uint8]
    lumen_mm: float
    mm_per_px: float
    contrast: float = 0.0
    lengthwise: bool = False

    @property
    def depth_mm(self) -> float:
        """Of the lumen's middle below the upper edge of the picture."""
        return float(np.nonzero(self.mask)[0].mean() * self.mm_per_px) if self.mask.any() else 0.0


def input_of(options: RunOptions) -> InputSpec:
    """The input of the network: the viewer shrinks pictures for it without averaging, as its shipped manifest says."""
    return replace(options.input, interpolation="linear")


def split(options: RunOptions) -> Split[AortaPicture]:
    """Scenes of another seed, and the held-out fifth of the real negatives; what is learnt from is rendered later."""
    count = max(8, min(VALIDATION_SCENES, options.scenes // 4))
    scenes = render_scenes(options.data, options.work / "validation", count, VALIDATION_SEED)
    images = thinned(list_images(options.data, held_out=True), None if count > TRIAL else TRIAL_PICTURES)
    tested = [simulated(*one, options) for one in scenes]
    real = [negative(read_gray(image.path), options) for image in images]
    return Split((), [*tested, *real, *lengthwise(max(2, count // 8), options)])


def lengthwise(count: int, options: RunOptions) -> list[AortaPicture]:
    """Aortas along their length, and half as many veins: nothing is chosen on them; the card has their figures."""
    drawn = [long_axis(np.random.default_rng((LENGTHWISE_SEED, k)), None) for k in range(count)]
    drawn += [long_vein(np.random.default_rng((LENGTHWISE_SEED + 1, k)), None) for k in range(count // 2)]
    scenes = [simulated(one.image, one.mask, one.lumen_mm, one.mm_per_px, options) for one in drawn]
    return [replace(picture, lengthwise=True) for picture in scenes]


def simulated(image: Gray, mask: Gray, lumen_mm: float, mm_per_px: float, options: RunOptions) -> AortaPicture:
    """A scene: the whole of it, for a scene is what the crop to the sector leaves."""
    height, width = image.shape
    placed = place_picture(image, input_of(options), (0, 0, width, height))
    return AortaPicture(False, placed, mask, float(lumen_mm), float(mm_per_px), contrast_of(image, mask))


def contrast_of(image: Gray, mask: Gray) -> float:
    """How much darker what is outlined is than a ring around it, in percent of the ring's gray level; 0 of nothing."""
    if not mask.any():
        return 0.0
    inside, around = gray_levels(image, mask)
    return float(np.clip(100 * (around - inside) / max(around, 1.0), 0.0, 100.0))


def negative(gray: Gray, options: RunOptions) -> AortaPicture:
    """A real picture without an aorta, cropped as the viewer crops it."""
    return AortaPicture(True, place_picture(gray, input_of(options)), np.zeros_like(gray), 0.0, math.nan)


# -------------------------------------------------------------------------------------------------------- learning


def examples(trained: Sequence[AortaPicture], options: RunOptions) -> Draw:
    """Varied scenes, and a real negative for every four of them; every picture once an epoch."""
    pictures = load_training(options)
    # The first run learns from the scenes as they are: with other looks from the start it did worse on other machines.
    looks = looks_of(pictures.images[options.scenes :]) if options.init else None

    def draw(rng: np.random.Generator, step: int) -> list[Example]:
        size_px = training_size_px(step, options)
        drawn = []
        for index in shuffled(len(pictures), options.batch, options.seed, step):
            image, mask = vary_vessel(rng, pictures.images[index], pictures.masks[index], size_px, looks)
            drawn.append((image, mask[None]))
        return drawn

    return draw


def load_training(options: RunOptions) -> SceneSet:
    """Everything that a run learns from."""
    scenes = render_scenes(options.data, options.work / "scenes", options.scenes, options.seed)
    return with_negatives(
        scenes, real_negatives(options.data, max(2, round(options.scenes * NEGATIVES_PER_SCENE)), options.seed)
    )


def training_size_px(step: int, options: RunOptions) -> int:
    """Side of the training pictures at that step."""
    is_first = not options.init and step < FIRST_SHARE * options.steps
    return FIRST_SIZE_PX if is_first else SIZE_PX


# --------------------------------------------------------------------------------------------------------- scoring


def manifest(options: RunOptions, gate: float, accuracy: Mapping[str, object]) -> dict[str, object]:
    """The contract with the viewer, without the file's hash."""
    return {
        "schema": 1,
        "id": RECIPE.id,
        "name": "Abdominal aorta",
        "version": VERSION,
        "task": "segment",
        "finding": "aorta",
        "decoder": "unet",
        "licence": "Apache-2.0",
        "input": input_table(input_of(options)),
        "output": {
            "name": "logits",
            "activation": "sigmoid",
            "mask_threshold": 0.5,
            "min_score": gate,
            "keep_score": min(0.5, gate),
            "max_instances": 1,
        },
        "labels": [{"name": "aorta", "color": "#56B4E9", "edge": "inner"}],
        "training": {
            "data": "simulated scenes; textures, vessels and negatives from CCAUI carotids, USGRA nerve blocks, HC18 "
            "and Spanish fetal pictures (CC BY 4.0), TimTrack muscles (CC0, CC BY 4.0); a fifth of the exams held out",
            "recipe": RECIPE.command,
        },
        "accuracy": dict(accuracy),
        "golden": {"frame": "golden.png"},
    }


@dataclass(frozen=True)
class Candidate:
    """A blob that the viewer may show: its score, its Dice, and the error of its diameter.

    That error in mm is absolute, NaN where the viewer would not measure it; ``edge_error_px`` is as
    ``models.training.reliability`` has it.
    """

    score: float
    dice: float
    error_mm: float
    edge_error_px: float | None = None


@dataclass(frozen=True)
class AortaScore:
    """What the viewer would find in one picture, best first."""

    real: bool
    lumen_mm: float
    candidates: tuple[Candidate, ...]
    depth_mm: float = 0.0
    contrast: float = 0.0
    lengthwise: bool = False

    def at(self, gate: float) -> Candidate | None:
        """What the viewer would show at that gate: the best of the blobs that pass it."""
        return next((one for one in self.candidates if one.score >= gate), None)

    def dice(self, gate: float) -> float:
        """Dice at that gate, 0 where nothing is shown."""
        shown = self.at(gate)
        return shown.dice if shown else 0.0

    @property
    def highest(self) -> float:
        """The highest gate at which anything is shown."""
        return max((one.score for one in self.candidates), default=0.0)


def score(model: nn.Module, pictures: Sequence[AortaPicture], options: RunOptions) -> list[AortaScore]:
    """What the viewer would find, with an open gate and all that a higher one would leave."""
    contract = manifest(options, OPEN_GATE, {})
    contract["output"] = {**contract["output"], "max_instances": CANDIDATES}  # type: ignore[dict-item]
    found = find_in(model, [picture.placed for picture in pictures], contract)
    return [
        AortaScore(
            picture.real,
            picture.lumen_mm,
            tuple(judged(picture, instance) for instance in instances),
            picture.depth_mm,
            picture.contrast,
            picture.lengthwise,
        )
        for picture, instances in zip(pictures, found, strict=True)
    ]


def judged(picture: AortaPicture, instance: Instance) -> Candidate:
    """One blob beside the truth."""
    mask, truth = full_mask(instance, picture.mask.shape[::-1]), picture.mask > 0
    if not truth.any():
        return Candidate(instance.score, 0.0, math.nan)
    scale, size_px = picture.placed.placement.scale, mask.shape[::-1]
    name = LONGITUDINAL if picture.lengthwise else AP
    off_px = edge_error_px(instance, truth, "aorta", name, scale)
    found = measured_size(instance, "aorta", name, size_px)
    error_mm = math.nan
    if off_px is not None and found is not None and found.sd:
        error_mm = abs(off_px) / scale * found.sd * picture.mm_per_px
    return Candidate(instance.score, overlap(truth, mask).dice, error_mm, off_px)


def summary(scores: Sequence[AortaScore]) -> dict[str, float]:
    """Dice and finds on simulated aortas, false alarms on simulated and on real negatives; all with the gate open."""
    scores = across(scores)
    dice = [one.dice(OPEN_GATE) for one in scores if one.lumen_mm > 0]
    return {
        "dice": mean(dice),
        "found": mean([value > RIGHT_DICE for value in dice]),
        "false_alarms_simulated": false_alarms(empty_scenes(scores), OPEN_GATE),
        "false_alarms_real": false_alarms(real_pictures(scores), OPEN_GATE),
    }


def across(scores: Sequence[AortaScore]) -> list[AortaScore]:
    """All but vessels along their length, which were not learnt."""
    return [one for one in scores if not one.lengthwise]


def empty_scenes(scores: Sequence[AortaScore]) -> list[AortaScore]:
    """Simulated pictures without an aorta."""
    return [one for one in scores if not one.real and one.lumen_mm == 0]


def real_pictures(scores: Sequence[AortaScore]) -> list[AortaScore]:
    """Real pictures: none of them shows an aorta."""
    return [one for one in scores if one.real]


def mean(values: Sequence[float]) -> float:
    """Mean of some figures, 0 of none."""
    return float(np.mean(values)) if values else 0.0


# ---------------------------------------------------------------------------------------------------- gate and card


def choose_gate(scores: Sequence[AortaScore]) -> float:
    """The gate of most worth; of several the highest."""
    return max(reversed(GATES), key=lambda gate: worth(scores, gate))


def worth(scores: Sequence[AortaScore], gate: float) -> float:
    """Mean Dice of the simulated aortas, less the shares of false alarms on simulated and on real pictures without."""
    scores = across(scores)
    dice = mean([one.dice(gate) for one in scores if one.lumen_mm > 0])
    alarms = false_alarms(empty_scenes(scores), gate) + false_alarms(real_pictures(scores), gate)
    return dice - FALSE_ALARM_WEIGHT * alarms


def false_alarms(scores: Sequence[AortaScore], gate: float) -> float:
    """Share of pictures without an aorta in which something is shown."""
    return mean([one.highest >= gate for one in scores])


Table = Mapping[str, tuple[int, float, float]]


@dataclass(frozen=True)
class AortaFigures:
    """What validation says at a gate; the tables map a range to the number of its scenes, Dice and error (mm)."""

    gate: float
    dice: float
    missed: float
    false_alarms_simulated: float
    false_alarms_real: float
    by_size: Table
    by_depth: Table
    by_contrast: Table
    lengthwise: Table
    false_alarms_veins: float
    edge_errors_px: Sequence[float]


def figures_at(scores: Sequence[AortaScore], gate: float) -> AortaFigures:
    """All figures at one gate."""
    along = [one for one in scores if one.lengthwise]
    scores = across(scores)
    dice = [one.dice(gate) for one in scores if one.lumen_mm > 0]
    return AortaFigures(
        gate,
        mean(dice),
        mean([value <= RIGHT_DICE for value in dice]),
        false_alarms(empty_scenes(scores), gate),
        false_alarms(real_pictures(scores), gate),
        by_range(scores, gate, lambda one: one.lumen_mm, SIZES_MM, "mm"),
        by_range(scores, gate, lambda one: one.depth_mm, DEPTHS_MM, "mm"),
        by_range(scores, gate, lambda one: one.contrast, CONTRASTS, "%"),
        by_range(along, gate, lambda one: one.lumen_mm, ((0, 100),), "mm"),
        false_alarms([one for one in along if one.lumen_mm == 0], gate),
        [one.edge_error_px for one in found_at(scores, gate) if one.edge_error_px is not None],
    )


def found_at(scores: Sequence[AortaScore], gate: float) -> list[Candidate]:
    """What is shown of simulated aortas, and is one."""
    shown = (one.at(gate) for one in scores if one.lumen_mm > 0)
    return [candidate for candidate in shown if candidate and candidate.dice > RIGHT_DICE]


def by_range(
    scores: Sequence[AortaScore],
    gate: float,
    value: Callable[[AortaScore], float],
    ranges: Sequence[tuple[int, int]],
    unit: str,
) -> Table:
    """Number, mean Dice and mean absolute error (mm, of those measured) of the simulated aortas in each range."""
    table = {}
    for low, high in ranges:
        some = [one for one in scores if one.lumen_mm > 0 and low <= value(one) < high]
        if some:
            errors = [one.error_mm for one in found_at(some, gate) if math.isfinite(one.error_mm)]
            table[f"{low}-{high} {unit}"] = (
                len(some),
                mean([one.dice(gate) for one in some]),
                mean(errors) if errors else math.nan,
            )
    return table


def rows_of(table: Table) -> str:
    """A table of the card; of nothing measured there is no error."""
    return "\n".join(
        f"| {name} | {n} | {dice:.3f} | {error_words(error)} |" for name, (n, dice, error) in table.items()
    )


def error_words(error_mm: float) -> str:
    """To a tenth."""
    return f"{error_mm:.1f}" if math.isfinite(error_mm) else "none measured"


def judge(model: nn.Module, split: Split[AortaPicture], options: RunOptions) -> Judgement:
    """The gate, and the figures there."""
    scores = score(model, split.tested, options)
    figures = figures_at(scores, choose_gate(scores))
    measured, history = recorded()
    accuracy: dict[str, object] = {
        "simulated_dice": round(figures.dice, 3),
        "simulated_missed": round(figures.missed, 3),
        "simulated_false_alarms": round(figures.false_alarms_simulated, 3),
        "held_out_carotid_nerve_fetal_muscle_false_alarms": round(figures.false_alarms_real, 4),
    }
    if edge_sd := round(fitted_edge_sd(figures.edge_errors_px), 2):
        accuracy["edge_sd_input_px"] = edge_sd
    card = card_values(figures, measured) | {"history": history}
    return Judgement(figures.gate, accuracy | measured, card, edge_errors_px=figures.edge_errors_px)


def recorded() -> tuple[dict[str, object], str]:
    """What no recipe can know: figures on test-only data, measured afterwards, and the weights' story.

    The file names the graph that they are of (``sha256``); a test compares it with the bundled one.
    """
    state = json.loads((Path(__file__).parents[1] / "cards" / "aorta_recorded.json").read_text(encoding="utf-8"))
    return dict(state["measured"]), str(state["history"])


def card_values(figures: AortaFigures, measured: Mapping[str, object]) -> dict[str, object]:
    """What only this model's card says."""
    return {
        "dice": figures.dice,
        "missed": figures.missed,
        "false_alarms_simulated": figures.false_alarms_simulated,
        "false_alarms_real": figures.false_alarms_real,
        "edge_sd_input_px": fitted_edge_sd(figures.edge_errors_px),
        "reliability": reliability_rows(figures.edge_errors_px),
        "sizes": rows_of(figures.by_size),
        "depths": rows_of(figures.by_depth),
        "contrasts": rows_of(figures.by_contrast),
        "lengthwise": rows_of(figures.lengthwise),
        "false_alarms_veins": figures.false_alarms_veins,
        "tested": "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in measured.items()),
    }


def golden(model: nn.Module, options: RunOptions) -> Gray:
    """The first simulated scene with a plain vessel of ordinary calibre that the model outlines well.

    Without any real texture: nothing of a patient is shipped.
    """
    fallback = None
    for scene in filter(is_plain, map(scene_of, GOLDEN_SEEDS)):
        fallback = fallback or scene
        (found,) = score(model, [simulated(scene.image, scene.mask, scene.lumen_mm, scene.mm_per_px, options)], options)
        shown = found.at(OPEN_GATE)
        if shown and shown.dice > 0.93 and shown.score > 0.9:
            return scene.image
    if fallback is None:
        raise RuntimeError("no golden scene among the seeds")
    return fallback.image


def scene_of(seed: int) -> SimulatedScene:
    """An abdomen with its aorta."""
    return abdomen(np.random.default_rng(seed), None, with_aorta=True)


def is_plain(scene: SimulatedScene) -> bool:
    """A vessel of ordinary calibre that is neither tiny nor huge in the picture."""
    return 15 < scene.lumen_mm < 30 and 500 < int(scene.mask.sum()) < 2500


RECIPE = Recipe(
    id="aorta",
    about="The abdominal aorta, from simulated scenes to models/aorta",
    version=VERSION,
    size_px=(SIZE_PX, SIZE_PX),
    training=TrainingSettings(
        steps=2200,
        batch=12,
        weight_decay=3e-2,
        ema_decay=0.99,
        encoder_share=0.3,
        half_precision=False,
        validate_every=200,
    ),
    networks={
        "efficient": EfficientUNet,
        "efficient-random": partial(EfficientUNet, pretrained=False),
        "small": SmallUNet,
    },
    data=split,
    examples=examples,
    loss=lambda state, options: segmentation_loss,
    score=score,
    summary=summary,
    manifest=manifest,
    judge=judge,
    golden=golden,
    scenes=8000,
    watched=240,
)
