"""Gate, figures, manifest, card and golden case of the fetal brain detector."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from models.training import fetal_brain as recipe
from models.training.bundle import origin
from models.training.data.sources import read_gray
from models.training.export import export_onnx, fill_card, write_bundle
from models.training.failures import FOUND, TRUTH, Gray, box_tile, write_montage
from models.training.fetal_brain import Detections
from models.training.train import parameter_count
from usviewer.infer.onnx_file import sha256_of

GOLDEN = "588_HC"
GATES = tuple(round(0.15 + 0.05 * k, 2) for k in range(12))


@dataclass(frozen=True)
class BrainFigures:
    """Cross-validated detections of all folds that were run, and the gate."""

    folds: int
    found: list[Detections]
    gate: float

    def means(self, draws: int = 300) -> dict[str, tuple[float, float, float]]:
        """mAP50 and mAP50-95 over all pictures, with 95 % intervals by drawing exams."""
        exams = sorted({d.exam for d in self.found})
        by_exam = {e: [d for d in self.found if d.exam == e] for e in exams}
        rng = np.random.default_rng(0)
        drawn = []
        for _ in range(draws):
            drawn.append(
                recipe.summary([d for k in rng.integers(0, len(exams), len(exams)) for d in by_exam[exams[k]]])
            )
        point = recipe.summary(self.found)
        return {
            name: (point[name], *(float(np.percentile([d[name] for d in drawn], q)) for q in (2.5, 97.5)))
            for name in point
        }


def collect(args: argparse.Namespace) -> BrainFigures | None:
    """The folds' detections, or None without folds; the gate gives the best F1 at IoU 0.5."""
    files = sorted(args.work.glob("fold-?.json"))
    rows = [row for file in files for row in json.loads(file.read_text())["pictures"]]
    if not rows:
        return None
    found = [
        Detections(
            r["name"],
            r["exam"],
            np.array(r["classes"], np.int64),
            np.array(r["scores"], np.float64),
            np.array(r["boxes"], np.float64).reshape(-1, 4),
            np.array(r["truth"], np.float64).reshape(-1, 5),
        )
        for r in rows
    ]
    gate = max(GATES, key=lambda g: (round(f1(found, g), 3), -abs(g - 0.4)))
    return BrainFigures(len(files), found, gate)


def counts(found: list[Detections], gate: float) -> tuple[int, int, int]:
    """Right, wrong and missed boxes at IoU 0.5; the best box of each class only, as the viewer reports structures."""
    right = wrong = missed = 0
    for one in found:
        for index in range(len(recipe.NAMES)):
            truth = one.truth[one.truth[:, 0] == index, 1:]
            mine = np.nonzero((one.classes == index) & (one.scores >= gate))[0][:1]
            hit = bool(len(mine) and len(truth) and recipe.iou_table(one.boxes[mine], truth).max() >= 0.5)
            right, wrong, missed = (
                right + hit,
                wrong + (len(mine) > 0 and not hit),
                missed + (len(truth) > 0 and not hit),
            )
    return right, wrong, missed


def f1(found: list[Detections], gate: float) -> float:
    """Harmonic mean of precision and recall at a gate."""
    right, wrong, missed = counts(found, gate)
    return 2 * right / max(1, 2 * right + wrong + missed)


def accuracy_of(figures: BrainFigures) -> dict[str, object]:
    """The manifest's figures."""
    point = recipe.summary(figures.found)
    names = len({d.name for d in figures.found})
    return {
        "data": f"{len(figures.found)} pictures ({names} distinct) with boxes on HC18, cross-validation by exam",
        "map50": round(point["map50"], 3),
        "map50_95": round(point["map50_95"], 3),
    }


def card(model: nn.Module, args: argparse.Namespace, figures: BrainFigures) -> str:
    """The model card, in Markdown."""
    path = args.out / "model.onnx"
    means = figures.means()
    titles = {"map50": "mAP50", "map50_95": "mAP50-95"}
    titles |= {f"ap50_{index}": f"AP50, {name}" for index, name in enumerate(recipe.NAMES)}
    right, wrong, missed = counts(figures.found, figures.gate)
    sound = recipe.summary([d for d in figures.found if d.name not in recipe.MISLABELLED])
    return fill_card(
        "fetal-brain",
        version=recipe.VERSION,
        parameters_m=parameter_count(model) / 1e6,
        size_mb=path.stat().st_size / 1e6,
        height=args.height,
        width=args.width,
        sha256=sha256_of(path),
        mislabelled=", ".join(sorted(recipe.MISLABELLED)),
        folds=figures.folds,
        all_folds=recipe.FOLDS,
        last_fold=recipe.FOLDS - 1,
        pictures=len(figures.found),
        distinct=len({d.name for d in figures.found}),
        sound_map50=sound["map50"],
        sound_map50_95=sound["map50_95"],
        rows="\n".join(
            f"| {t} | {means[k][0]:.3f} | {means[k][1]:.3f} to {means[k][2]:.3f} |" for k, t in titles.items()
        ),
        gate=figures.gate,
        right=right,
        wrong=wrong,
        missed=missed,
        origin=origin(args),
        golden=GOLDEN,
    )


def worst_tiles(args: argparse.Namespace, figures: BrainFigures, count: int) -> list[Gray]:
    """One picture of each of the names with most errors at the gate, then with the lowest overlaps."""
    paths = {}
    for one, item in (
        (d, item) for item in recipe.list_labelled(args.data) for d in figures.found if d.name == item.name
    ):
        if np.array_equal(one.truth, item.boxes):
            paths[id(one)] = item.path

    def badness(one: Detections) -> tuple[int, float]:
        _, wrong, missed = counts([one], figures.gate)
        best = [recipe.iou_table(one.boxes[one.classes == t[0]], t[None, 1:]).max(initial=0.0) for t in one.truth]
        return -(wrong + missed), float(np.mean(best))

    tiles, seen = [], set[str]()
    for one in sorted(figures.found, key=badness):
        if one.name in seen or id(one) not in paths or len(tiles) == count:
            continue
        seen.add(one.name)
        kept = one.scores >= figures.gate
        boxes = [(b, TRUTH) for b in one.truth[:, 1:]] + [(b, FOUND) for b in one.boxes[kept]]
        found = ", ".join(
            f"{recipe.NAMES[c].split()[0]} {s:.2f}" for c, s in zip(one.classes[kept], one.scores[kept], strict=True)
        )
        tiles.append(box_tile(read_gray(paths[id(one)]), f"{one.name}: {found}", boxes))
    return tiles


def golden_frame(args: argparse.Namespace) -> Gray:
    """A validation picture of the set, shrunk to 320 pixels."""
    one = next(item for item in recipe.list_labelled(args.data) if item.name == GOLDEN)
    return np.asarray(cv2.resize(read_gray(one.path), (320, 216), interpolation=cv2.INTER_AREA), np.uint8)


def export(model: nn.Module, args: argparse.Namespace) -> None:
    """Write the whole model folder."""
    out: Path = args.out
    figures = collect(args)
    export_onnx(model, out / "model.onnx", (args.height, args.width), output="output0")
    if figures is None:
        write_bundle(
            out,
            recipe.manifest_of(0.3, {}, args.width, args.height),
            "# Fetal brain\n\nA trial run.\n",
            golden_frame(args),
        )
        return
    write_montage(out / "failures.jpg", worst_tiles(args, figures, 6))
    manifest = recipe.manifest_of(figures.gate, accuracy_of(figures), args.width, args.height)
    write_bundle(out, manifest, card(model, args, figures), golden_frame(args))
    print(f"exported to {out}: gate {figures.gate}, {accuracy_of(figures)}", flush=True)
