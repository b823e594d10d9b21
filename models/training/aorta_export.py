"""Gate, figures, manifest, card and golden frame of the aorta model."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.training import train as training
from models.training.aorta import SIZE_PX, Validation, shrink, shrink_masks
from models.training.data.simulate import physics, scenes
from models.training.decode import VesselFound, ap_extent_px, best_instance, dice
from models.training.export import export_onnx, write_bundle
from models.training.train import parameter_count
from usviewer.infer.onnx_file import sha256_of

VERSION = "0.2.0"
GATES = tuple(round(0.50 + 0.02 * k, 2) for k in range(21))
MOST_LOST = 0.01
"""Share of the rightly outlined simulated aortas that the gate may cost: above that, silence costs too much."""
MOST_FALSE_ALARMS = 0.01
"""On held-out real negatives; a gate is raised until it is reached, whatever it costs."""
MOST_FALSE_ALARMS_SIMULATED = 0.04
"""On simulated lungs, effusions, phantoms and abdomens without an aorta: what no real negative here shows."""


@dataclass(frozen=True)
class AortaFigures:
    """What validation says of the gated model; `by_size` maps a range of diameters (mm) to Dice and AP error."""

    gate: float
    dice: float
    missed: float
    false_alarms_simulated: float
    false_alarms_real: float
    by_size: dict[str, tuple[int, float, float]]


@dataclass(frozen=True)
class Recorded:
    """AortaFigures on test-only data by name, and the story of the bundled weights."""

    measured: dict[str, object]
    history: str


def choose_gate(model: nn.Module, validation: Validation) -> AortaFigures:
    """The highest gate that loses next to no aorta and keeps real negatives silent, and the figures at that gate."""
    scenes = validation.scenes
    found = [best_instance(p) for p in training.predict(model, scenes.images)]
    real = np.array([_score(best_instance(p)) for p in training.predict(model, validation.negatives)])
    positive = scenes.lumen_mm > 0
    scores = np.array([_score(i) for i in found])
    right = np.array([_gated_dice(i, m, 0.0) > 0.5 for i, m in zip(found, scenes.masks, strict=True)]) & positive
    affordable = [g for g in GATES if (right & (scores < g)).sum() <= MOST_LOST * positive.sum()]
    empty = scores[~positive]
    quiet = [
        g
        for g in GATES
        if float((real >= g).mean()) <= MOST_FALSE_ALARMS
        and (not empty.size or float((empty >= g).mean()) <= MOST_FALSE_ALARMS_SIMULATED)
    ]
    gate = max(affordable[-1], quiet[0] if quiet else GATES[-1])
    overlaps = np.array([_gated_dice(i, m, gate) for i, m in zip(found, scenes.masks, strict=True)])
    return AortaFigures(
        gate,
        float(overlaps[positive].mean()),
        float((overlaps[positive] <= 0.5).mean()),
        float((scores[~positive] >= gate).mean()) if (~positive).any() else 0.0,
        float((real >= gate).mean()),
        _by_size(validation, found, overlaps),
    )


def _score(instance: VesselFound | None) -> float:
    return instance.score if instance else 0.0


def _gated_dice(instance: VesselFound | None, mask: NDArray[np.uint8], gate: float) -> float:
    return dice(instance.mask, mask) if instance and instance.score >= gate else 0.0


def _by_size(
    validation: Validation, found: list[VesselFound | None], overlaps: NDArray[np.float64]
) -> dict[str, tuple[int, float, float]]:
    """Count, mean Dice and mean absolute AP error (mm, of those found) for each range of lumen diameters."""
    scenes, table = validation.scenes, {}
    for low, high in ((10, 20), (20, 30), (30, 50), (50, 100)):
        rows = np.nonzero((scenes.lumen_mm >= low) & (scenes.lumen_mm < high))[0]
        errors = [
            abs(ap_extent_px(instance.mask) - ap_extent_px(scenes.masks[i]))
            * scenes.mm_per_px[i]
            * physics.SCENE_PX
            / SIZE_PX
            for i in rows
            if overlaps[i] > 0.5 and (instance := found[i]) is not None
        ]
        if len(rows):
            table[f"{low}-{high} mm"] = (
                len(rows),
                float(overlaps[rows].mean()),
                float(np.mean(errors)) if errors else 0.0,
            )
    return table


def golden_scene(model: nn.Module) -> scenes.SimulatedScene:
    """The first simulated scene with a plain vessel of ordinary calibre that the model outlines well.

    Without any real texture: nothing of a patient is shipped.
    """
    fallback = None
    for seed in range(5000, 5120):
        scene = scenes.abdomen(np.random.default_rng(seed), None, with_aorta=True)
        if not (15 < scene.lumen_mm < 30 and 500 < int(scene.mask.sum()) < 2500):
            continue
        fallback = fallback or scene
        instance = best_instance(training.predict(model, shrink(scene.image[None]))[0])
        if instance and dice(instance.mask, shrink_masks(scene.mask[None])[0]) > 0.93 and instance.score > 0.9:
            return scene
    if fallback is None:
        raise RuntimeError("no golden scene among the seeds")
    return fallback


def recorded() -> Recorded:
    """What no recipe can know: figures on test-only data, measured afterwards, and the weights' story."""
    path = Path(__file__).with_name("aorta_recorded.json")
    state = json.loads(path.read_text()) if path.exists() else {}
    return Recorded(dict(state.get("measured", {})), str(state.get("history", "One run of the recipe.")))


def manifest(figures: AortaFigures, notes: Recorded) -> dict[str, object]:
    """The contract with the viewer."""
    accuracy: dict[str, object] = {
        "simulated_dice": round(figures.dice, 3),
        "simulated_missed": round(figures.missed, 3),
        "simulated_false_alarms": round(figures.false_alarms_simulated, 3),
        "held_out_carotid_nerve_fetal_false_alarms": round(figures.false_alarms_real, 4),
    }
    accuracy |= notes.measured
    return {
        "schema": 1,
        "id": "aorta",
        "name": "Abdominal aorta",
        "version": VERSION,
        "task": "segment",
        "finding": "aorta",
        "decoder": "unet",
        "licence": "Apache-2.0",
        "input": {
            "name": "image",
            "width": SIZE_PX,
            "height": SIZE_PX,
            "channels": 1,
            "layout": "NCHW",
            "dtype": "uint8",
            "channel_order": "gray",
            "value_range": [0, 255],
            "resize": "letterbox",
            "pad_value": 0,
            "crop": "sector",
        },
        "output": {
            "name": "logits",
            "activation": "sigmoid",
            "mask_threshold": 0.5,
            "min_score": figures.gate,
            "keep_score": min(0.5, figures.gate),
            "max_instances": 1,
        },
        "labels": [{"name": "aorta", "color": "#56B4E9", "edge": "inner"}],
        "training": {
            "data": "simulated scenes; textures, vessels and negatives from CCAUI carotids, USGRA nerve blocks and "
            "HC18 fetal images (all CC BY 4.0), one fifth of the exams held out",
            "recipe": "python -m models.training.aorta",
        },
        "accuracy": accuracy,
        "golden": {"frame": "golden.png"},
    }


def card(model: nn.Module, figures: AortaFigures, notes: Recorded, size_mb: float, sha256: str) -> str:
    """The model card, in Markdown."""
    sizes = "\n".join(f"| {name} | {n} | {d:.3f} | {e:.1f} |" for name, (n, d, e) in figures.by_size.items())
    tested = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in notes.measured.items())
    return f"""# Abdominal aorta, version {VERSION}

**Research and teaching only. Not a medical device: no figure or outline of this model may guide care.**

## Intended use
Outlines the lumen of the abdominal aorta in transverse (short-axis) B-mode pictures of curved or phased probes,
one vessel a picture. The mask is the **lumen, inner edge to inner edge**; thrombus is outside of it, so an
aneurysm with thrombus reads small. It has no class for the vena cava: the operator confirms the vessel.

## Network
U-Net with residual blocks working at half resolution, {parameter_count(model) / 1e6:.2f} million parameters,
{size_mb:.1f} MB ONNX (FP32, opset 17). Input `image` uint8 [N, 1, 256, 256] (crop to the sector, letterbox),
output `logits` float32 of the same size. sha256 `{sha256}`.

## Data
Simulated scenes (`models/training/data/simulate/`), plus, with one exam in five held out
(`models/training/data/sources.py`):

| set | used as | licence |
|---|---|---|
| CCAUI carotids, Momot 2022, doi 10.17632/d4xt63mgjm.1 | tissue, transplanted vessels, negatives | CC BY 4.0 |
| USGRA nerve blocks, tmkand/usgra-seg | tissue, transplanted vessels, negatives | CC BY 4.0 |
| HC18 fetal heads, van den Heuvel 2018, doi 10.5281/zenodo.1322001 | tissue, negatives | CC BY 4.0 |
| boxes on HC18 (FozanAzhar/Ultrasound-Fetal-CNS-Anomaly-Detection) | negatives | CC BY 4.0 |

No real picture of an aorta was trained on. The presence gate (mean probability {figures.gate:.2f}) was chosen on
simulated scenes and the held-out exams.

## AortaFigures
Simulated validation scenes (another seed), gated: Dice {figures.dice:.3f}, missed {figures.missed:.1%}, false alarms
{figures.false_alarms_simulated:.1%}; held-out carotid, nerve and fetal pictures: false alarms
{figures.false_alarms_real:.2%}. Diameters over 30 mm exist **only in simulation**:

| lumen | scenes | Dice | AP error of those found (mm) |
|---|---|---|---|
{sizes}

Real pictures that training never saw (test only):

| what | figure |
|---|---|
{tested or "| none yet | |"}

## How these weights came about
{notes.history}

## Known failures
- Long-axis views were not trained: expect nothing, or a part of the lumen.
- Lumens that hardly differ from their surroundings, or lie mostly in a shadow, are missed.
- Eyes and other round fluid-filled organs right under the probe may be taken for a large aorta.
- The vena cava, a renal vein, a fluid-filled bowel loop or a cyst in front of a vertebra can be taken for the aorta.
- Real aneurysms, grafts and dissections were never seen.

## Retrain
`python -m models.training.aorta --data ../shared/data --work build/aorta` (about two hours on two cores; a GPU is
used when there is one; stops and resumes at its checkpoints).
"""


def export(model: nn.Module, validation: Validation, args: argparse.Namespace) -> None:
    """Write the whole model folder."""
    out: Path = args.out
    figures = choose_gate(model, validation)
    export_onnx(model, out / "model.onnx", (SIZE_PX, SIZE_PX))
    digest, size_mb = sha256_of(out / "model.onnx"), (out / "model.onnx").stat().st_size / 1e6
    notes = recorded()
    text = card(model, figures, notes, size_mb, digest)
    write_bundle(out, manifest(figures, notes), text, golden_scene(model).image)
    print(f"exported to {out}: {figures}", flush=True)
