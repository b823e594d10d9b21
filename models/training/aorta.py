"""The bundled aorta model, from raw data to `models/aorta`: ``python -m models.training.aorta --data ../shared/data``.

Scenes are rendered once and kept under `--work`; training resumes from its last checkpoint. The presence gate is
chosen on simulated validation scenes and the held-out fifth of the CC BY images, never on test data.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.training import train as training
from models.training.data.aorta_pictures import (
    TRIAL,
    SceneSet,
    batches,
    held_out_negatives,
    real_negatives,
    render_scenes,
    with_negatives,
)
from models.training.decode import best_instance, dice
from models.training.networks.small_unet import SmallUNet
from models.training.train import parameter_count

Gray = NDArray[np.uint8]

SIZE_PX = 256
SMALL_PX = 160
SMALL_SHARE = 0.7
"""The first steps see smaller pictures, at less than half the cost; the last ones set the borders."""
VALIDATION_SEED = 900


@dataclass(frozen=True)
class Validation:
    """What is watched while training and sets the gate: simulated scenes and held-out real negatives."""

    scenes: SceneSet
    negatives: Gray


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, default=Path("build/aorta"), help="scenes, checkpoints and curves")
    parser.add_argument("--out", type=Path, default=Path("models/aorta"), help="where the model goes")
    parser.add_argument("--images", type=int, default=12000, help="simulated scenes")
    parser.add_argument("--steps", type=int, default=7000, help="training steps")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--init", type=Path, help="checkpoint whose averaged weights start the run")
    parser.add_argument("--no-export", action="store_true", help="train only")
    return parser.parse_args()


def shrink(pictures: Gray) -> Gray:
    """Stored pictures at the network's size."""
    size = (SIZE_PX, SIZE_PX)
    return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures]).astype(np.uint8)


def shrink_masks(masks: Gray) -> Gray:
    """Stored masks at the network's size, by majority."""
    return (shrink(masks * 255) > 127).astype(np.uint8)


def load_validation(data_dir: Path, work: Path, count: int) -> Validation:
    """Scenes of another seed, and the held-out fifth of the real negatives."""
    scenes = render_scenes(data_dir, work / "validation", count, VALIDATION_SEED)
    small = SceneSet(shrink(scenes.images), shrink_masks(scenes.masks), scenes.lumen_mm, scenes.mm_per_px)
    return Validation(small, shrink(held_out_negatives(data_dir, None if count > TRIAL else 12)))


def load_training(data_dir: Path, work: Path, count: int, seed: int) -> SceneSet:
    """Simulated scenes, and one real negative for every nine of them."""
    scenes = render_scenes(data_dir, work / "scenes", count, seed)
    return with_negatives(scenes, real_negatives(data_dir, max(2, count // 9), seed))


def validate(model: nn.Module, validation: Validation) -> dict[str, float]:
    """Dice and misses on simulated aortas, false alarms on simulated and on real negatives (ungated)."""
    probability = training.predict(model, validation.scenes.images)
    scores, found, alarms = [], [], []
    for p, mask in zip(probability, validation.scenes.masks, strict=True):
        instance = best_instance(p)
        if mask.any():
            overlap = dice(instance.mask, mask) if instance else 0.0
            scores.append(overlap)
            found.append(overlap > 0.5)
        else:
            alarms.append(instance is not None)
    real = [best_instance(p) is not None for p in training.predict(model, validation.negatives)]
    return {
        "dice": float(np.mean(scores)) if scores else 0.0,
        "found": float(np.mean(found)) if found else 0.0,
        "false_alarms_simulated": float(np.mean(alarms)) if alarms else 0.0,
        "false_alarms_real": float(np.mean(real)),
    }


def training_size_px(step: int, steps: int) -> int:
    """Side of the training pictures at that step."""
    return SMALL_PX if step < SMALL_SHARE * steps else SIZE_PX


def train_model(args: argparse.Namespace, validation: Validation) -> nn.Module:
    """Train, or finish what a checkpoint has begun; returns the averaged weights."""
    settings = training.TrainingSettings(
        steps=args.steps,
        batch=args.batch,
        seed=args.seed,
        validate_every=max(1, min(500, args.steps // 4)),
        warm_up_steps=min(200, args.steps // 10 + 1),
    )
    torch.manual_seed(args.seed)
    model = SmallUNet()
    if args.init:
        model.load_state_dict(torch.load(args.init, map_location="cpu", weights_only=True)["average"])
    run = training.start_or_resume(model, settings, args.work / "run")
    print(f"{parameter_count(model)} parameters, from step {run.step} of {settings.steps}", flush=True)
    if run.step < settings.steps:
        scenes = load_training(args.data, args.work, args.images, args.seed)
        data = batches(scenes, settings.batch, lambda step: training_size_px(step, args.steps), args.seed, run.step)
        training.train(run, settings, data, lambda m: validate(m, validation), args.work / "run")
    return run.average.model


def main() -> None:
    """Render, train, choose the gate, export."""
    args, started = parse_arguments(), time.monotonic()
    cv2.setNumThreads(1)
    validation = load_validation(args.data, args.work, max(8, min(500, args.images // 4)))
    model = train_model(args, validation)
    if not args.no_export:
        from models.training.aorta_export import export

        export(model, validation, args)
    print(f"done in {(time.monotonic() - started) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
