"""The training loop that every recipe shares: resumable, averaged weights, curves as a picture."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.losses import segmentation_loss
from models.training.networks.efficientnet import EfficientLiteEncoder

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class TrainingSettings:
    """What a run is made of, besides its data."""

    steps: int
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up_steps: int = 200
    ema_decay: float = 0.998
    validate_every: int = 500
    checkpoint_s: float = 180.0
    seed: int = 1
    threads: int = 1
    encoder_share: float = 1.0
    """Learning rate of a pre-trained encoder, as a share of the rest's."""
    half_precision: bool = True
    """Depthwise convolutions are twice as slow in bf16 on a CPU."""


class MovingAverage:
    """Averaged copy of a network: single checkpoints swing widely, their average does not."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the trained weights; early on faster, to forget the random start."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, now in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now.detach(), 1 - decay)
            else:
                mean.copy_(now)


def parameter_count(model: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def pick_device() -> torch.device:
    """CUDA when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then half a cosine down to 2 %."""
    if step < settings.warm_up_steps:
        return settings.learning_rate * (step + 1) / settings.warm_up_steps
    progress = (step - settings.warm_up_steps) / max(1, settings.steps - settings.warm_up_steps)
    return settings.learning_rate * (0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, progress))))


@dataclass
class TrainingRun:
    """A network being trained, with all that a checkpoint has to hold."""

    model: nn.Module
    average: MovingAverage
    optimizer: torch.optim.Optimizer
    step: int
    history: list[dict[str, float]]


def start_or_resume(model: nn.Module, settings: TrainingSettings, folder: Path) -> TrainingRun:
    """A fresh run, or the one that the folder's checkpoint holds."""
    folder.mkdir(parents=True, exist_ok=True)
    model = model.to(pick_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        parameter_groups(model, settings), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    run = TrainingRun(model, MovingAverage(model, settings.ema_decay), optimizer, 0, [])
    path = folder / "checkpoint.pt"
    if path.exists():
        state = torch.load(path, map_location=pick_device(), weights_only=True)
        run.model.load_state_dict(state["model"])
        run.average.model.load_state_dict(state["average"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.step, run.history = int(state["step"]), list(state["history"])
    return run


def parameter_groups(model: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """What is learnt at the full rate; and, where it shall change more slowly, the encoder."""
    if settings.encoder_share == 1.0:
        return [{"params": list(model.parameters()), "share": 1.0}]
    encoder = [p for part in model.modules() if isinstance(part, EfficientLiteEncoder) for p in part.parameters()]
    of_encoder = {id(parameter) for parameter in encoder}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in of_encoder]
    return [{"params": encoder, "share": settings.encoder_share}, {"params": rest, "share": 1.0}]


def save_checkpoint(run: TrainingRun, settings: TrainingSettings, folder: Path) -> None:
    """Written aside, then renamed: a stop at any moment leaves a whole checkpoint."""
    state: dict[str, Any] = {
        "model": run.model.state_dict(),
        "average": run.average.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "history": run.history,
        "settings": asdict(settings),
    }
    aside = folder / "checkpoint.tmp"
    torch.save(state, aside)
    aside.replace(folder / "checkpoint.pt")


def keep_average(run: TrainingRun, folder: Path) -> None:
    """Keep the averaged weights of this step, as ``--init`` takes them: the last ones need not be the best."""
    torch.save({"average": run.average.model.state_dict()}, folder / f"average-{run.step}.pt")


def train(
    run: TrainingRun,
    settings: TrainingSettings,
    data: Iterator[tuple[NDArray[Any], NDArray[Any]]],
    validate: Callable[[nn.Module], dict[str, float]],
    folder: Path,
    loss_of: Callable[[Any, Tensor], Tensor] = segmentation_loss,
) -> None:
    """Train up to `settings.steps`; `data` must start at `run.step`. Validation sees the averaged weights.

    `loss_of` takes what the network gives and the batch's target, and gives the loss to lower.
    """
    device = pick_device()
    # A second OpenMP thread gains little on small maps, and loses a factor of ten when the cores are shared.
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed + run.step)
    scaler = torch.amp.GradScaler(enabled=device.type == "cuda")
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    saved_at, shown_at, losses = time.monotonic(), time.monotonic(), list[float]()
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, data)
        while run.step < settings.steps:
            image, target = (torch.from_numpy(a).to(device) for a in waiting.result())
            waiting = reader.submit(next, data)
            for group in run.optimizer.param_groups:
                group["lr"] = learning_rate_at(run.step, settings) * group["share"]
            run.model.train()
            run.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype, enabled=settings.half_precision):
                logits = run.model(image)
            loss = loss_of(logits, target)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.unscale_(run.optimizer)
            nn.utils.clip_grad_norm_(run.model.parameters(), 2.0)
            scaler.step(run.optimizer)
            scaler.update()
            run.average.update(run.model, run.step)
            run.step += 1
            losses.append(float(loss.detach()))
            if run.step % settings.validate_every == 0 or run.step == settings.steps:
                seconds = (time.monotonic() - shown_at) / len(losses)
                figures = {"step": float(run.step), "loss": float(np.mean(losses)), "s_per_step": seconds}
                figures |= validate(run.average.model)
                run.history.append(figures)
                print(json.dumps({k: round(v, 4) for k, v in figures.items()}), flush=True)
                plot_history(run.history, folder / "curves.png")
                keep_average(run, folder)
                losses, shown_at = [], time.monotonic()
            if time.monotonic() - saved_at > settings.checkpoint_s or run.step == settings.steps:
                save_checkpoint(run, settings, folder)
                saved_at = time.monotonic()


def plot_history(history: list[dict[str, float]], path: Path) -> None:
    """Loss and every metric over the steps, as a picture."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure  # only the recipes need it

    names = [name for name in history[0] if name not in {"step", "s_per_step"}]
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    steps = [h["step"] for h in history]
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        axes.plot(steps, [h[name] for h in history])
        axes.set_title(name)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
