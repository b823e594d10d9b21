"""Gate, figures, manifest, card and golden case of the nerve model."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from models.training import nerve as recipe
from models.training.bundle import origin, read_card, write_bundle
from models.training.data.pictures import bootstrap_interval, sector_box
from models.training.export import export_onnx
from models.training.failures import FOUND, TRUTH, Gray, tile, write_montage
from models.training.networks.small_unet import SmallUNet
from models.training.train import parameter_count
from usviewer.infer.onnx_file import sha256_of

GATES = tuple(f"{0.5 + 0.02 * k:.2f}" for k in range(24))
GOLDEN = "0002"

EDGE_SD_INPUT_PX = 8.3
"""What the stated intervals take an outline to be off by. Measured with the networks of all folds at the gate of 0.64:
the best outline against the annotated nerve that it touches most (none: area 0), the difference of their areas over the
outline's length and ``uncertainty.MEAN_GAIN``; so large that 95 % of the areas lie in their 95 % intervals."""


@dataclass(frozen=True)
class NerveFigures:
    """Cross-validated figures at the chosen gate; `alarms` maps a kind of picture to its number and share."""

    folds: int
    gate: float
    pictures: list[dict[str, Any]]
    alarms: dict[str, tuple[int, float]]

    def dice(self) -> list[float]:
        """Nerve Dice of every picture with a nerve, at the gate."""
        return [_at(p["nerve_dice"], self.gate) for p in self.pictures]

    def interval(self) -> tuple[float, float, float]:
        """Mean nerve Dice and its 95 % interval, by groups of alike pictures."""
        low, high = bootstrap_interval(self.dice(), [p["group"] for p in self.pictures])
        return float(np.mean(self.dice())), low, high

    def vessel(self) -> float:
        """Mean vessel Dice where there is a vessel."""
        return float(np.mean([p["vessel_dice"] for p in self.pictures if p["has_vessel"]]))


def collect(args: argparse.Namespace) -> NerveFigures | None:
    """The folds' figures at the gate of most worth, or None without folds.

    Every fold's network looked at the same held-out pictures; the shares are means over the folds.
    """
    files = sorted(args.work.glob("fold-?.json"))
    rows = [row for file in files for row in json.loads(file.read_text())["pictures"]]
    nerves = [row for row in rows if row["kind"] == "nerve"]
    if not nerves:
        return None
    others = [row for row in rows if row["kind"] != "nerve"]
    gate = max((float(g) for g in GATES), key=lambda g: worth(nerves, others, g))
    alarms = {}
    for kind in sorted({row["kind"] for row in others}):
        scores = np.array([row["best"] for row in others if row["kind"] == kind])
        alarms[kind] = (len(scores) // len(files), float((scores >= gate).mean()))
    return NerveFigures(len(files), gate, nerves, alarms)


def worth(nerves: list[dict[str, Any]], others: list[dict[str, Any]], gate: float) -> float:
    """Mean Dice where there is a nerve, less the share of false alarms where there is none."""
    dice = float(np.mean([_at(row["nerve_dice"], gate) for row in nerves]))
    return dice - float(np.mean([row["best"] >= gate for row in others]))


def _at(table: dict[str, float], gate: float) -> float:
    return table[min(table, key=lambda g: abs(float(g) - gate))]


def accuracy_of(figures: NerveFigures) -> dict[str, object]:
    """The manifest's figures."""
    dice, low, high = figures.interval()
    table: dict[str, object] = {
        "data": f"USGRA, {len(figures.pictures)} pictures, cross-validation with alike pictures in one fold",
        "nerve_dice": round(dice, 3),
        "nerve_dice_low": round(low, 3),
        "nerve_dice_high": round(high, 3),
        "edge_sd_input_px": EDGE_SD_INPUT_PX,
        "vessel_dice": round(figures.vessel(), 3),
    }
    return table | {f"false_alarms_{kind}": round(share, 3) for kind, (_, share) in figures.alarms.items()}


def card(model: nn.Module, args: argparse.Namespace, figures: NerveFigures) -> str:
    """The model card, in Markdown."""
    path = args.out / "model.onnx"
    dice, low, high = figures.interval()
    values = np.array(figures.dice())
    kinds = figures.alarms.items()
    return read_card(
        "nerve",
        version=recipe.VERSION,
        parameters_m=parameter_count(model) / 1e6,
        size_mb=path.stat().st_size / 1e6,
        side=args.side,
        sha256=sha256_of(path),
        folds=figures.folds,
        all_folds=recipe.FOLDS,
        last_fold=recipe.FOLDS - 1,
        pictures=len(figures.pictures),
        gate=figures.gate,
        dice=dice,
        dice_low=low,
        dice_high=high,
        median=float(np.median(values)),
        missed=float((values < 0.1).mean()),
        vessel=figures.vessel(),
        alarms="\n".join(f"| {kind} pictures, held out | {count} | {share:.1%} |" for kind, (count, share) in kinds),
        origin=origin(args),
        golden=GOLDEN,
    )


def worst_tiles(args: argparse.Namespace, figures: NerveFigures, count: int) -> list[Gray]:
    """The pictures with the lowest nerve Dice, drawn with the fold's own network."""
    samples = {s.name: s for s in recipe.load_nerves(args.data)}
    dice = dict(zip((p["name"] for p in figures.pictures), figures.dice(), strict=True))
    names = sorted(dice, key=lambda name: dice[name])[:count]
    tiles = []
    for file in sorted(args.work.glob("fold-?.json")):
        mine = [n for n in names if any(p["name"] == n for p in json.loads(file.read_text())["pictures"])]
        if not mine:
            continue
        model = SmallUNet(classes=3)
        state = torch.load(args.work / file.stem / "checkpoint.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state["average"])
        for found in recipe.look(model, [samples[n] for n in mine], mine, args.side):
            truth = found.sample.classes == recipe.NERVE
            caption = f"{found.sample.name}: nerve Dice {dice[found.sample.name]:.2f}"
            outlines = ((truth, TRUTH), (found.mask(recipe.NERVE, figures.gate), FOUND))
            tiles.append(tile(found.sample.gray, caption, outlines))
    return tiles


def golden_frame(args: argparse.Namespace) -> Gray:
    """A picture of the set, cropped to its sector and shrunk to 320 pixels at most."""
    sample = next(s for s in recipe.load_nerves(args.data) if s.name == GOLDEN)
    x0, y0, x1, y1 = sector_box(sample.gray)
    scale = 320 / max(x1 - x0, y1 - y0)
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    return np.asarray(cv2.resize(sample.gray[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.uint8)


def export(model: nn.Module, args: argparse.Namespace) -> None:
    """Write the whole model folder."""
    out: Path = args.out
    figures = collect(args)
    export_onnx(model, out / "model.onnx", (args.side, args.side))
    if figures is None:
        manifest = recipe.manifest_of(args.side, 0.6, {})
        write_bundle(out, manifest, "# Nerve\n\nA trial run without cross-validation.\n", golden_frame(args))
        return
    write_montage(out / "failures.jpg", worst_tiles(args, figures, 6))
    manifest = recipe.manifest_of(args.side, figures.gate, accuracy_of(figures))
    write_bundle(out, manifest, card(model, args, figures), golden_frame(args))
    print(f"exported to {out}: gate {figures.gate}, {accuracy_of(figures)}", flush=True)
