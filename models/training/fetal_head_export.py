"""Gate, figures, manifest, card and golden case of the fetal head model."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from models.training import fetal_head as recipe
from models.training.bundle import origin, read_card, write_bundle
from models.training.export import export_onnx, sha256_of
from models.training.failures import FOUND, TRUTH, Gray, tile, write_montage
from models.training.networks import parameter_count
from models.training.pictures import bootstrap_interval, input_spec, load_picture, place_picture
from models.training.sources import list_images, read_gray
from usviewer.infer.prediction import full_mask
from usviewer.measure.findings.fetal_head import MIN_OVERLAP
from usviewer.measure.reading import NORMAL_95
from usviewer.measure.uncertainty import CIRCUMFERENCE_GAIN

GOLDEN = "010_HC"
NETWORK_WORDS = {
    "mobile": "U-Net with a MobileNetV2 encoder (Sandler et al. 2018; width 1, one input channel)",
    "small": "U-Net with residual blocks working at half resolution",
}


@dataclass(frozen=True)
class Figures:
    """Cross-validation over the folds that were run, and the gate."""

    folds: int
    scores: list[recipe.Score]
    gate: float
    refused: float
    false_alarms: float
    negatives: int

    def measured(self, score: recipe.Score) -> bool:
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

    def _value(self, score: recipe.Score, name: str) -> float:
        if name == "adf_measured_mm" and not self.measured(score):
            return float("nan")
        if name in ("adf_mm", "adf_measured_mm"):
            return abs(score.hc_mm - score.true_hc_mm)
        if name == "df_mm":
            return score.hc_mm - score.true_hc_mm
        return float(getattr(score, name))


def collect(model: nn.Module, args: argparse.Namespace) -> Figures:
    """Read the folds' figures; choose the gate between the folds' heads and held-out pictures without a head."""
    scores = []
    files = sorted(args.work.glob("fold-?.json"))
    for file in files:
        scores += [recipe.Score(**row) for row in json.loads(file.read_text())["scores"]]
    spec = input_spec(args.width, args.height)
    kept = [i for i in list_images(args.data, held_out=True) if i.kind in {"carotid", "nerve"}][: args.limit]
    others = [load_picture(image.path, spec) for image in kept]
    silent = [found[0].score if found else 0.0 for found in recipe.look(model, others, spec)]
    heads = np.array([s.score for s in scores]) if scores else np.ones(1)
    # Half-way between what was drawn by mistake (a mean cannot be below one half) and the lowest of the heads.
    gate = round(float(np.clip((max(0.5, *silent) + np.percentile(heads, 1)) / 2, 0.5, 0.9)), 2)
    alarms = float(np.mean([s >= gate for s in silent]))
    return Figures(len(files), scores, gate, float((heads < gate).mean()), alarms, len(others))


def accuracy_of(figures: Figures) -> dict[str, object]:
    """The manifest's figures."""
    if not figures.scores:
        return {}
    table: dict[str, object] = {"data": f"HC18, {len(figures.scores)} pictures, cross-validation by exam"}
    for name, digits in (("dice", 4), ("iou", 4), ("adf_mm", 2), ("df_mm", 2)):
        table[name] = round(figures.mean(name)[0], digits)
    if edge_sd := round(figures.edge_sd_input_px(), 2):
        table["edge_sd_input_px"] = edge_sd
    return table | {"negative_pictures": figures.negatives, "false_alarms": round(figures.false_alarms, 4)}


def card(model: nn.Module, args: argparse.Namespace, figures: Figures) -> str:
    """The model card, in Markdown."""
    path = args.out / "model.onnx"
    titles = {
        "dice": "Dice",
        "iou": "IoU",
        "adf_mm": "circumference, absolute difference (ADF, mm)",
        "adf_measured_mm": "the same, where the viewer would give one (mm)",
        "df_mm": "circumference, signed difference (DF, mm)",
    }
    errors = np.array([s.hc_mm - s.true_hc_mm for s in figures.scores if np.isfinite(s.hc_mm)])
    return read_card(
        "fetal_head",
        version=recipe.VERSION,
        network=NETWORK_WORDS[args.net],
        parameters_m=parameter_count(model) / 1e6,
        size_mb=path.stat().st_size / 1e6,
        height=args.height,
        width=args.width,
        sha256=sha256_of(path),
        folds=figures.folds,
        all_folds=recipe.FOLDS,
        last_fold=recipe.FOLDS - 1,
        pictures=len(figures.scores),
        rows="\n".join(_row(title, *figures.mean(name)) for name, title in titles.items()),
        by_size=by_size(figures),
        df_sd_mm=float(errors.std()),
        edge_sd_input_px=figures.edge_sd_input_px(),
        adf_95_mm=float(np.percentile(np.abs(errors), 95)),
        missed=len(figures.scores) - len(errors),
        gate=figures.gate,
        refused=figures.refused,
        unlike=float(np.mean([s.score >= figures.gate and not figures.measured(s) for s in figures.scores])),
        negatives=figures.negatives,
        false_alarms=figures.false_alarms,
        origin=origin(args),
        golden=GOLDEN,
    )


def _row(title: str, mean: float, low: float, high: float) -> str:
    digits = 2 if "mm" in title else 4
    return f"| {title} | {mean:.{digits}f} | {low:.{digits}f} to {high:.{digits}f} |"


def by_size(figures: Figures) -> str:
    """Dice and ADF for small, middle and large heads: they are not equally hard."""
    parts = []
    for low, high in ((0, 120), (120, 240), (240, 400)):
        some = [s for s in figures.scores if low <= s.true_hc_mm < high]
        if some:
            means = recipe.summary(some)
            parts.append(f"{low} to {high} mm ({len(some)}): Dice {means['dice']:.4f}, ADF {means['adf_mm']:.2f} mm")
    return "; ".join(parts)


def worst_tiles(args: argparse.Namespace, scores: list[recipe.Score], count: int) -> list[Gray]:
    """The pictures with the lowest Dice, drawn with the fold's own network."""
    heads = {head.name: head for head in recipe.list_heads(args.data)}
    spec = input_spec(args.width, args.height)
    tiles = []
    for file in sorted(args.work.glob("fold-?.json")):
        model = recipe.NETWORKS[args.net]()
        state = torch.load(args.work / file.stem / "checkpoint.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state["average"])
        mine = {row["name"] for row in json.loads(file.read_text())["scores"]}
        for score in sorted((s for s in scores if s.name in mine), key=lambda s: s.dice)[:count]:
            gray = read_gray(heads[score.name].path)
            size = (gray.shape[1], gray.shape[0])
            found = recipe.look(model, [place_picture(gray, spec)], spec)[0]
            mask = full_mask(found[0], size) if found else np.zeros(gray.shape, np.bool_)
            truth = recipe.true_mask(heads[score.name], size)
            caption = f"{score.name}: Dice {score.dice:.3f}, HC {score.hc_mm:.0f} / {score.true_hc_mm:.0f} mm"
            tiles.append((score.dice, tile(gray, caption, ((truth, TRUTH), (mask, FOUND)))))
    return [t for _, t in sorted(tiles, key=lambda pair: pair[0])[:count]]


def export(model: nn.Module, args: argparse.Namespace) -> None:
    """Write the whole model folder."""
    out: Path = args.out
    figures = collect(model, args)
    export_onnx(model, out / "model.onnx", (args.height, args.width))
    golden = read_gray(args.data / "fetal_head_hc18" / "train" / f"{GOLDEN}.jpg")
    golden = np.asarray(cv2.resize(golden, (320, 216), interpolation=cv2.INTER_AREA), np.uint8)
    if figures.scores:
        write_montage(out / "failures.jpg", worst_tiles(args, figures.scores, 6))
    text = card(model, args, figures) if figures.scores else "# Fetal head\n\nA trial run without cross-validation.\n"
    write_bundle(out, recipe.manifest_of(args.width, args.height, figures.gate, accuracy_of(figures)), text, golden)
    print(f"exported to {out}: gate {figures.gate}, {accuracy_of(figures)}", flush=True)
