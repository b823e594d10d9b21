"""The bundled prompt model, from raw data to `models/prompt`: ``python -m models.training.prompt``.

A network that outlines what is pointed at learns from structures of every kind, whatever their names: real vessels,
nerves and fetal heads, and simulated ones. At every step each picture is encoded once and asked for several of its
structures, by a box or by clicks; some of the answers are corrected by further clicks, as a user would.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training import train as training
from models.training.networks import parameter_count
from models.training.prompt_data import batches, fitted, real_pictures, render, targets
from models.training.prompt_network import (
    BOX_END,
    BOX_START,
    LOGIT_PX,
    NEGATIVE,
    POSITIVE,
    SIDE_PX,
    PromptNetwork,
)
from models.training.prompt_scenes import Labelled
from usviewer.evaluate.prompts import box_of, depth_map, next_click
from usviewer.evaluate.statistics import overlap

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]

VERSION = "0.1.0"
SLOTS = 8
"""Points that a prompt in training may have: two corners and six clicks."""
PX = SIDE_PX / LOGIT_PX
"""Input pixels in a pixel of the logits, on which clicks are chosen."""
SCENES, HELD_OUT_SCENES = 5000, 40
SCENE_SEED, HELD_OUT_SEED = 11, 5


# ------------------------------------------------------------------------------------------ simulated prompts


@dataclass
class Prompts:
    """Points [N, SLOTS, 2] in input pixels with labels [N, SLOTS] (-1: none), and the former answers' logits."""

    coords: NDArray[np.float32]
    labels: NDArray[np.float32]
    mask: Tensor
    has_mask: Tensor

    @classmethod
    def none(cls, count: int) -> Prompts:
        """Prompts without any point yet."""
        return cls(
            np.zeros((count, SLOTS, 2), np.float32),
            np.full((count, SLOTS), -1, np.float32),
            torch.zeros(count, 1, LOGIT_PX, LOGIT_PX),
            torch.zeros(count, 1),
        )

    def click(self, index: int, xy: tuple[float, float], label: int) -> None:
        """One more point of a prompt, in pixels of the logits; the corners of a box take the first two places."""
        corner = label in {BOX_START, BOX_END}
        slot = label - BOX_START if corner else 2 + int((self.labels[index, 2:] >= 0).sum())
        if slot < SLOTS:
            self.coords[index, slot] = np.array(xy) * PX
            self.labels[index, slot] = label

    def box(self, index: int, box: Sequence[float]) -> None:
        """A box x0, y0, x1, y1 in pixels of the logits."""
        self.click(index, (box[0], box[1]), BOX_START)
        self.click(index, (box[2], box[3]), BOX_END)

    def of(self, rows: NDArray[np.int64]) -> Prompts:
        """Some of the prompts."""
        return Prompts(self.coords[rows], self.labels[rows], self.mask[rows], self.has_mask[rows])


def somewhere_inside(rng: Generator, region: Mask, least_depth: float) -> tuple[float, float]:
    """A random point at least that deep in a region, as a share of its greatest depth."""
    depth = depth_map(region)
    rows, columns = np.nonzero(depth >= max(1e-3, least_depth * float(depth.max())))
    at = int(rng.integers(len(rows)))
    return float(columns[at] + rng.random()), float(rows[at] + rng.random())


def loose_box(rng: Generator, mask: Mask) -> tuple[float, ...]:
    """The box of a mask as a hand would draw it: tight, loose, or a little inside."""
    x0, y0, x1, y1 = box_of(mask)
    spread = float(rng.choice((0.01, 0.05, 0.1)))
    noise = np.clip(rng.normal(0, spread, 4), -2 * spread, 2 * spread)
    return tuple(np.array([x0, y0, x1, y1]) + noise * (x1 - x0, y1 - y0, x1 - x0, y1 - y0))


def first_prompt(rng: Generator, prompts: Prompts, index: int, mask: Mask) -> None:
    """A box, one click, several, or a box and a click; now and then with the outline of a moment ago."""
    kind = rng.random()
    if kind < 0.42:
        prompts.box(index, loose_box(rng, mask))
    if kind > 0.36:
        for _ in range(1 if rng.random() < 0.8 else int(rng.integers(2, 4))):
            prompts.click(index, somewhere_inside(rng, mask, float(rng.choice((0.2, 0.6, 0.9)))), POSITIVE)
        if rng.random() < 0.08:
            around = (cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~mask
            if around.any():
                prompts.click(index, somewhere_inside(rng, around, 0.3), NEGATIVE)
    if rng.random() < 0.1:
        prompts.mask[index, 0] = torch.from_numpy(stale_logits(rng, mask))
        prompts.has_mask[index] = 1.0


def stale_logits(rng: Generator, mask: Mask) -> NDArray[np.float32]:
    """The outline as a neighbouring frame had it: moved, thicker or thinner."""
    width = max(1, round(0.08 * float(np.sqrt(mask.sum()))))
    size = int(rng.integers(1, width + 1)) * 2 + 1
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    shift = np.float32([[1, 0, rng.normal(0, width)], [0, 1, rng.normal(0, width)]])
    moved = cv2.warpAffine(mask.astype(np.float32), shift, mask.shape[::-1])
    changed = change(moved, np.ones((size, size), np.uint8)) if rng.random() < 0.7 else moved
    return np.asarray((cv2.GaussianBlur(changed, (0, 0), 1.0) - 0.5) * rng.uniform(4, 16), np.float32)


def correct(rng: Generator | None, prompts: Prompts, index: int, truth: Mask, found: Mask) -> None:
    """One more click where the answer is wrong: by the rule, or with `rng` somewhere in that region."""
    click = next_click(truth, found)
    if click is None:
        return
    at = click.xy_px
    if rng is not None:
        at = somewhere_inside(rng, (truth & ~found) if click.positive else (found & ~truth), rng.choice((0.5, 0.8)))
    prompts.click(index, at, POSITIVE if click.positive else NEGATIVE)


def ask(decoder: nn.Module, embedding: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Logits and expected overlaps of prompts, N / B of them for every embedding."""
    device = embedding.device
    coords, labels = torch.from_numpy(prompts.coords).to(device), torch.from_numpy(prompts.labels).to(device)
    logits, quality = decoder(embedding, coords, labels, prompts.mask.to(device), prompts.has_mask.to(device))
    return logits, quality


# --------------------------------------------------------------------------------------------------- the loss


class PromptLoss:
    """Asks the network for the structures of a batch and says how wrong the answers are."""

    def __init__(self, run: training.Run, seed: int) -> None:
        self.run = run
        self.seed = seed

    def __call__(self, embedding: Tensor, target: Tensor) -> Tensor:
        """`target` [B, K, 128, 128] uint8 by coverage; the first slots of K are answered and corrected beforehand."""
        rng = np.random.default_rng((self.seed, 13, self.run.step))
        decoder = self.run.model.get_submodule("decoder")
        batch = target.shape[0]
        truth = (target > 127).cpu().numpy().reshape(-1, LOGIT_PX, LOGIT_PX)
        prompts = Prompts.none(len(truth))
        for index, mask in enumerate(truth):
            first_prompt(rng, prompts, index, mask)
        with torch.autocast(embedding.device.type, dtype_of(embedding)):
            self._correct(rng, decoder, embedding.detach(), prompts, truth, batch)
            logits, quality = ask(decoder, embedding, prompts)
        wanted = target.reshape(-1, 1, LOGIT_PX, LOGIT_PX).float() / 255
        shared = iou((logits.detach() > 0)[:, 0], wanted[:, 0] > 0.5)
        return training.segmentation_loss(logits, wanted) + nn.functional.mse_loss(quality[:, 0].float(), shared)

    def _correct(
        self,
        rng: Generator,
        decoder: nn.Module,
        embedding: Tensor,
        prompts: Prompts,
        truth: NDArray[np.bool_],
        batch: int,
    ) -> None:
        """Half of a picture's prompts have been corrected once, half of these twice."""
        index = np.arange(len(truth)).reshape(batch, -1)
        decoder.eval()
        with torch.no_grad():
            for share in (2, 4):
                rows = index[:, : index.shape[1] // share].ravel()
                if not len(rows):
                    break
                logits = ask(decoder, embedding, prompts.of(rows))[0].float().cpu()
                for row, answer in zip(rows, logits, strict=True):
                    correct(rng, prompts, row, truth[row], (answer[0] > 0).numpy())
                    if rng.random() < 0.85:
                        prompts.mask[row], prompts.has_mask[row] = answer, 1.0
        decoder.train()


def dtype_of(tensor: Tensor) -> torch.dtype:
    """The short floats that the device trains in."""
    return torch.float16 if tensor.device.type == "cuda" else torch.bfloat16


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Overlap of boolean masks [N, H, W]."""
    both = (first & second).sum(dim=(1, 2)).float()
    return both / ((first | second).sum(dim=(1, 2)).float() + 1e-6)


# ------------------------------------------------------------------------------------------------ measuring


@torch.no_grad()
def score(model: nn.Module, pictures: Sequence[Labelled]) -> dict[str, float]:
    """Mean Dice by a box, by one click and after three, by the rule of the evaluation, on the logits' grid."""
    model.eval()
    encoder, decoder = model.get_submodule("encoder"), model.get_submodule("decoder")
    device = next(model.parameters()).device
    found: dict[str, list[float]] = {"box": [], "click1": [], "click3": []}
    for picture in pictures:
        sample = fitted(picture)
        truth = [mask > 127 for mask in targets(sample.planes)]
        if not truth:
            continue
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cpu"):
            embedding = encoder(torch.from_numpy(sample.image[None, None]).to(device))
            boxes = Prompts.none(len(truth))
            for index, mask in enumerate(truth):
                boxes.box(index, box_of(mask))
            found["box"] += dice_of(truth, masks_of(decoder, embedding, boxes))
            clicks = Prompts.none(len(truth))
            answers: list[Mask] = [np.zeros_like(mask) for mask in truth]
            for count in (1, 2, 3):
                for index, mask in enumerate(truth):
                    correct(None, clicks, index, mask, answers[index])
                answers = masks_of(decoder, embedding, clicks)
                if count in {1, 3}:
                    found[f"click{count}"] += dice_of(truth, answers)
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def dice_of(truth: Sequence[Mask], answers: Sequence[Mask]) -> list[float]:
    """Dice of every answer."""
    return [overlap(wanted, answer).dice for wanted, answer in zip(truth, answers, strict=True)]


def masks_of(decoder: nn.Module, embedding: Tensor, prompts: Prompts) -> list[Mask]:
    """The answers as masks; their logits become the prompts' former answers."""
    logits = ask(decoder, embedding, prompts)[0].float().cpu()
    prompts.mask, prompts.has_mask = logits, torch.ones(len(logits), 1)
    return [(answer[0] > 0).numpy() for answer in logits]


def watch(model: nn.Module, sets: Mapping[str, Sequence[Labelled]]) -> dict[str, float]:
    """The figures of every held-out set."""
    figures = {name: score(model, pictures) for name, pictures in sets.items()}
    return {f"{name} {what}": value for name, found in figures.items() for what, value in found.items()}


@torch.no_grad()
def edge_sd_input_px(model: nn.Module, pictures: Sequence[Labelled]) -> float | None:
    """How far outlines by a box lie from the true ones, root mean square in input pixels; None without any outline."""
    model.eval()
    off: list[NDArray[np.float32]] = []
    for picture in pictures:
        sample = fitted(picture)
        truth = [mask > 127 for mask in targets(sample.planes)]
        if not truth:
            continue
        prompts = Prompts.none(len(truth))
        for index, mask in enumerate(truth):
            prompts.box(index, box_of(mask))
        embedding = model.get_submodule("encoder")(torch.from_numpy(sample.image[None, None]))
        for mask, found in zip(truth, masks_of(model.get_submodule("decoder"), embedding, prompts), strict=True):
            inner = found & (depth_map(found) < 1.5)  # the pixels along the outline, on its inner side
            off.append(np.where(mask, depth_map(mask) - 1, -depth_map(~mask))[inner])
    distances = np.concatenate(off) if off else np.zeros(0)
    return PX * float(np.sqrt(np.mean(distances**2))) if len(distances) else None


# ---------------------------------------------------------------------------------------------- the recipe


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the raw data sets")
    parser.add_argument("--work", type=Path, default=Path("build/prompt"), help="scenes, checkpoints and curves")
    parser.add_argument("--out", type=Path, default=Path("models/prompt"), help="where the model goes")
    parser.add_argument("--steps", type=int, default=1900)
    parser.add_argument("--batch", type=int, default=8, help="pictures a step")
    parser.add_argument("--prompts", type=int, default=4, help="prompts a picture")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=SCENES, help="simulated pictures")
    parser.add_argument("--limit", type=int, help="use only so many real pictures of a kind")
    parser.add_argument("--every", type=int, default=400, help="validate after so many steps")
    parser.add_argument("--name", default="all", help="folder of the run under --work")
    return parser.parse_args(arguments)


class Encoding(nn.Module):
    """What the training loop calls: pictures in, embeddings out; the decoder travels along for the loss."""

    def __init__(self) -> None:
        super().__init__()
        network = PromptNetwork()
        self.encoder, self.decoder = network.encoder, network.decoder

    def forward(self, image: Tensor) -> Tensor:
        """The embeddings."""
        embedding: Tensor = self.encoder(image)
        return embedding


def held_out_sets(args: argparse.Namespace) -> dict[str, list[Labelled]]:
    """What validation looks at: other exams, and a family of outlines that training never draws."""
    real = real_pictures(args.data, held_out=True, most=min(24, args.limit or 24))
    count = min(HELD_OUT_SCENES, args.scenes)
    scenes = render(args.data, args.work / "scenes", count, HELD_OUT_SEED, held_out=True)[:count]
    return {"bent": scenes} | {kind: pictures[:12] if kind == "head" else pictures for kind, pictures in real.items()}


def train_model(args: argparse.Namespace) -> training.Run:
    """Train, or finish what a checkpoint has begun."""
    settings = training.Settings(
        steps=args.steps,
        batch=args.batch,
        learning_rate=args.rate,
        weight_decay=2e-2,
        seed=args.seed,
        warm_up_steps=min(150, args.steps // 10 + 1),
        ema_decay=0.995,
        validate_every=min(args.every, args.steps),
    )
    torch.manual_seed(args.seed)
    run = training.start_or_resume(Encoding(), settings, args.work / args.name)
    print(f"{parameter_count(run.model)} parameters, from step {run.step} of {settings.steps}", flush=True)
    if run.step < settings.steps:
        sets = held_out_sets(args)
        pools = {"simulated": render(args.data, args.work / "scenes", args.scenes, SCENE_SEED)}
        pools |= real_pictures(args.data, held_out=False, most=args.limit)
        data = batches(pools, args.batch, args.prompts, args.seed, run.step)
        loss = PromptLoss(run, args.seed)
        training.train(run, settings, data, lambda model: watch(model, sets), args.work / args.name, loss)
    return run


def main() -> None:
    """Train, then export."""
    args, started = parse_arguments(), time.monotonic()
    cv2.setNumThreads(1)
    model = train_model(args).average.model.cpu()
    real = real_pictures(args.data, held_out=True, most=min(24, args.limit or 24))
    from models.training.prompt_export import export

    export(model, args, [picture for pictures in real.values() for picture in pictures])
    print(f"done in {(time.monotonic() - started) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
