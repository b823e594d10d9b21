"""The two graphs of the prompt model in the layout of SAM's export, its manifest, card and golden case."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.training import prompt as recipe
from models.training import prompt_scenes
from models.training.bundle import read_card
from models.training.export import LARGEST_DIFFERENCE, OPSET, sha256_of, to_toml
from models.training.failures import FOUND, TRUTH, tile, write_montage
from models.training.networks import parameter_count
from models.training.pictures import input_spec, input_table
from models.training.prompt_data import fitted, targets
from models.training.prompt_network import EMBEDDING, GRID, LOGIT_PX, SIDE_PX
from models.training.prompt_scenes import Labelled
from usviewer.evaluate.prompts import next_click
from usviewer.infer.manifest import MANIFEST
from usviewer.infer.registry import record_golden

Gray = NDArray[np.uint8]

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")
OUTPUTS = ("iou_predictions", "low_res_masks")
PIXEL_CENTRE = 0.5
"""SAM's graphs count points from the middle of a pixel; the network counts from corners."""
SMALLEST_HALVED = 256
"""Weights of fewer numbers stay in single precision: they weigh nothing."""
WEIGHT_TOLERANCE = 0.15
"""Most that a logit may move, of a spread of about ten, because weights are stored in half precision."""
GOLDEN_SEED = 21


class DecoderGraph(nn.Module):
    """The decoder with the inputs and outputs of SAM's export."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, embedding: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Expected overlap [1, 1] and logits [1, 1, 128, 128]."""
        logits, quality = self.decoder(embedding, coords + PIXEL_CENTRE, labels, mask, has_mask.reshape(1, 1))
        return quality, logits


def example(points: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Inputs of the decoder with that many points."""
    rng = np.random.default_rng(seed)
    feeds = (
        rng.normal(0, 1, (1, EMBEDDING, GRID, GRID)),
        rng.uniform(0, SIDE_PX, (1, points, 2)),
        rng.integers(0, 2, (1, points)),
        rng.normal(0, 4, (1, 1, LOGIT_PX, LOGIT_PX)),
        np.ones(1),
    )
    return {name: np.asarray(value, np.float32) for name, value in zip(INPUTS, feeds, strict=True)}


def write_graph(
    model: nn.Module,
    path: Path,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    outputs: Sequence[str],
    axes: dict[str, Any],
) -> None:
    """Write a graph, prove that it computes what the network does, then store its weights in half precision."""
    model = model.cpu().float().eval()
    aside = path.with_suffix(".tmp.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, and gives the smaller, plainer graph
        torch.onnx.export(
            model,
            tuple(torch.from_numpy(value) for value in feeds[0].values()),
            str(aside),
            input_names=list(feeds[0]),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    compare(model, aside, feeds, outputs, LARGEST_DIFFERENCE)
    halve_weights(aside)
    compare(model, aside, feeds, outputs, WEIGHT_TOLERANCE)
    aside.replace(path)


@torch.no_grad()
def compare(
    model: nn.Module, path: Path, feeds: Sequence[Mapping[str, NDArray[Any]]], outputs: Sequence[str], tolerance: float
) -> None:
    """Raise ``RuntimeError`` where the file computes something else than the network."""
    onnx.checker.check_model(onnx.load(str(path)))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for given in feeds:
        expected = model(*(torch.from_numpy(value) for value in given.values()))
        expected = expected if isinstance(expected, tuple) else (expected,)
        for name, wanted, computed in zip(outputs, expected, session.run(list(outputs), dict(given)), strict=True):
            worst = float(np.abs(wanted.numpy() - computed).max())
            if worst > tolerance:
                raise RuntimeError(f"{path.name} differs from the network by {worst:.3g} in {name}")


def halve_weights(path: Path) -> None:
    """Store large weights as half floats, widened by a cast that engines fold away when they load the file."""
    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for weight in list(graph.initializer):
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= SMALLEST_HALVED:
            name = weight.name
            graph.initializer.remove(weight)
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    onnx.save(model, str(path))


def write_graphs(model: nn.Module, out: Path) -> None:
    """Encoder and decoder of a trained network."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    picture = {"image": rng.integers(0, 256, (1, 1, SIDE_PX, SIDE_PX), dtype=np.uint8)}
    write_graph(model.get_submodule("encoder"), out / ENCODER, [picture], [INPUTS[0]], {})
    decoder = DecoderGraph(model.get_submodule("decoder"))
    points = {INPUTS[1]: {1: "points"}, INPUTS[2]: {1: "points"}}
    write_graph(decoder, out / DECODER, [example(3), example(1, 1), example(9, 2)], OUTPUTS, points)


def golden_case(out: Path) -> dict[str, object]:
    """A simulated picture with a click on its largest structure: nothing of a patient is shipped."""
    scene = prompt_scenes.render_scene(np.random.default_rng(GOLDEN_SEED), None)
    planes = [((scene.planes >> bit) & 1).astype(np.bool_) for bit in range(8)]
    click = next_click(max(planes, key=lambda plane: int(plane.sum())))
    assert click is not None
    if not cv2.imwrite(str(out / "golden.png"), scene.image):
        raise OSError(f"cannot write {out / 'golden.png'}")
    return {"frame": "golden.png", "expected": "golden.json", "points_xy_px": [list(click.xy_px)], "positive": [True]}


def manifest_of(out: Path, golden: Mapping[str, object], accuracy: Mapping[str, object]) -> dict[str, object]:
    """The contract with the viewer."""
    files = {"encoder": ENCODER, "decoder": DECODER}
    return {
        "schema": 1,
        "id": "prompt",
        "name": "Point at it: any structure",
        "version": recipe.VERSION,
        "task": "prompt",
        "finding": "other",
        "decoder": "sam",
        "licence": "Apache-2.0",
        "input": input_table(input_spec(SIDE_PX, SIDE_PX)) | {"pad": "corner"},
        "output": {"name": OUTPUTS[1], "min_score": 0.5, "mask_threshold": 0.5},
        "labels": [{"name": "structure", "color": "#56b4e9", "edge": "not stated"}],
        "training": {
            "data": "CCAUI carotids, USGRA nerves and vessels, HC18 heads, all CC BY 4.0; simulated structures",
            "recipe": "python -m models.training.prompt",
        },
        "accuracy": dict(accuracy),
        "golden": dict(golden),
        "files": {role: {"path": name, "sha256": sha256_of(out / name)} for role, name in files.items()},
    }


@dataclass(frozen=True)
class Judged:
    """What ``usviewer evaluate`` found on one data set."""

    name: str
    scores: Mapping[str, Mapping[str, Any]]

    def cell(self, key: str) -> str:
        """A figure with its interval."""
        score = self.scores[key]
        low, high = score["interval_95"] or (float("nan"), float("nan"))
        return f"{score['value']:.3f} ({low:.3f} to {high:.3f})"

    def row(self) -> str:
        """A row of the card's table."""
        cells = [self.cell(f"dice_{way}") for way in ("box", "clicks_1", "clicks_3")]
        sure = f"{self.scores['score_error_box']['value']:.2f} / {self.scores['score_error_clicks_1']['value']:.2f}"
        return "| " + " | ".join([self.name, str(self.scores["dice_box"]["count"]), *cells, sure]) + " |"


def collect(folder: Path) -> list[Judged]:
    """The evaluations kept in a folder, by name."""
    files = sorted(folder.glob("*/summary.json"))
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [Judged(file.parent.name, found["scores"]) for file, found in zip(files, documents, strict=True)]


def accuracy_of(judged: Sequence[Judged], edge_sd_px: float | None) -> dict[str, object]:
    """The manifest's figures."""
    table: dict[str, object] = {"edge_sd_input_px": round(edge_sd_px, 2)} if edge_sd_px else {}
    for one in judged:
        for way in ("box", "clicks_1", "clicks_3"):
            table[f"{one.name.replace('-', '_')}_dice_{way}"] = round(one.scores[f"dice_{way}"]["value"], 3)
    return table


@torch.no_grad()
def worst_tiles(model: nn.Module, pictures: Sequence[Labelled], count: int = 6) -> list[Gray]:
    """The structures that one click outlines worst, one a picture: truth and answer."""
    tiles: list[tuple[float, Gray]] = []
    for picture in pictures:
        sample = fitted(picture)
        truth = [mask > 127 for mask in targets(sample.planes)]
        if not truth:
            continue
        prompts = recipe.Prompts.none(len(truth))
        for index, mask in enumerate(truth):
            recipe.correct(None, prompts, index, mask, np.zeros_like(mask))
        embedding = model.get_submodule("encoder")(torch.from_numpy(sample.image[None, None]))
        answers = recipe.masks_of(model.get_submodule("decoder"), embedding, prompts)
        dices = recipe.dice_of(truth, answers)
        at = int(np.argmin(dices))
        outlines = [(enlarged(mask), colour) for mask, colour in ((truth[at], TRUTH), (answers[at], FOUND))]
        tiles.append((dices[at], tile(sample.image, f"one click: Dice {dices[at]:.2f}", outlines)))
    return [picture for _, picture in sorted(tiles, key=lambda one: one[0])[:count]]


def enlarged(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of the logits' size at the picture's."""
    return np.asarray(cv2.resize(mask.astype(np.uint8), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_NEAREST) > 0)


def export(model: nn.Module, args: argparse.Namespace, held_out: Sequence[Labelled]) -> None:
    """Write the whole model folder; `held_out` are the real pictures that training left out.

    Figures are those of evaluations kept under ``figures`` in the run's folder.
    """
    out: Path = args.out
    edge_sd_px = recipe.edge_sd_input_px(model, held_out)
    write_graphs(model, out)
    write_montage(out / "failures.jpg", worst_tiles(model, held_out))
    judged = collect(args.work / args.name / "figures")
    manifest = manifest_of(out, golden_case(out), accuracy_of(judged, edge_sd_px))
    (out / MANIFEST).write_text(to_toml(manifest), encoding="utf-8")
    (out / "CARD.md").write_text(card(model, args, judged, edge_sd_px), encoding="utf-8")
    record_golden(out, "recorded when the model was exported")


def card(model: nn.Module, args: argparse.Namespace, judged: Sequence[Judged], edge_sd_px: float | None) -> str:
    """The model card, in Markdown."""
    if not judged:
        return "# Point at it\n\nA trial run without figures.\n"
    return read_card(
        "prompt",
        version=recipe.VERSION,
        encoder_m=parameter_count(model.get_submodule("encoder")) / 1e6,
        decoder_m=parameter_count(model.get_submodule("decoder")) / 1e6,
        size_mb=sum((args.out / name).stat().st_size for name in (ENCODER, DECODER)) / 1e6,
        encoder_sha256=sha256_of(args.out / ENCODER),
        decoder_sha256=sha256_of(args.out / DECODER),
        figures="\n".join(one.row() for one in judged),
        edge_sd_px=f"{edge_sd_px:.1f}" if edge_sd_px else "not measured",
        scenes=args.scenes,
        steps=args.steps,
        batch=args.batch,
        prompts=args.prompts,
        golden_seed=GOLDEN_SEED,
    )
