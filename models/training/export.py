"""A trained network as a model folder: ONNX checked against PyTorch, manifest, card and golden case."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import tomli_w
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models.training.data.sources import Gray
from usviewer.infer import golden
from usviewer.infer.manifest import MANIFEST, ModelSpec, read_manifest
from usviewer.infer.onnx_file import sha256_of
from usviewer.infer.predictor import Predictor

OPSET = 17
LARGEST_DIFFERENCE = 2e-3
"""Most that an output may differ between PyTorch and ONNX Runtime, both in FP32."""
WEIGHT_TOLERANCE = 0.15
"""Most that a logit may move, of a spread of about ten, because weights are stored in half precision."""
SMALLEST_HALVED = 256
"""Weights of fewer numbers stay in single precision: they weigh nothing."""

Feeds = Mapping[str, NDArray[Any]]
Axes = Mapping[str, Mapping[int, str]]


def export_onnx(model: nn.Module, path: Path, size_px: tuple[int, int], output: str = "logits") -> None:
    """Write the graph of a network of one picture: `image` uint8 -> `output` float32, dynamic batch.

    `size_px` is (height, width). Raises ``RuntimeError`` where the file computes something else than the network.
    """
    pictures = np.random.default_rng(0).integers(0, 256, (2, 1, *size_px), dtype=np.uint8)
    write_graph(model, path, [{"image": pictures}], [output], {"image": {0: "N"}, output: {0: "N"}})


class ExportedNetwork(nn.Module):
    """A finished graph in the place of a network in training."""

    def __init__(self, path: Path, output: str) -> None:
        super().__init__()
        self.output = output
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.place = nn.Parameter(torch.zeros(1))  # callers ask a network for its device

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """What the graph gives."""
        return torch.from_numpy(self.session.run([self.output], {"image": image.numpy()})[0])


def write_graph(
    model: nn.Module, path: Path, feeds: Sequence[Feeds], outputs: Sequence[str], axes: Axes, *, halved: bool = False
) -> None:
    """Write a graph with those dynamic axes, and prove on all `feeds` that it computes what the network does.

    With `halved`, large weights are stored in half precision, and the proof is repeated with that tolerance.
    """
    model = model.cpu().float().eval()
    path.parent.mkdir(parents=True, exist_ok=True)
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
    if halved:
        halve_weights(aside)
        compare(model, aside, feeds, outputs, WEIGHT_TOLERANCE)
    aside.replace(path)


@torch.no_grad()
def compare(model: nn.Module, path: Path, feeds: Sequence[Feeds], outputs: Sequence[str], tolerance: float) -> None:
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


def fill_card(recipe_id: str, **values: object) -> str:
    """The card's template of a recipe, filled in."""
    template = Path(__file__).with_name("cards") / f"{recipe_id}.md"
    return template.read_text(encoding="utf-8").format(**values)


def write_bundle(out: Path, manifest: Mapping[str, object], card: str, golden_frame: Gray) -> ModelSpec:
    """Manifest, card and golden case beside `model.onnx`; the case is what ONNX Runtime on the CPU finds now."""
    model = out / "model.onnx"
    filled = {**manifest, "files": {"model": {"path": model.name, "sha256": sha256_of(model)}}}
    (out / MANIFEST).write_text(tomli_w.dumps(filled), encoding="utf-8")
    (out / "CARD.md").write_text(card, encoding="utf-8")
    spec = read_manifest(out)
    assert spec.golden is not None
    if not cv2.imwrite(str(spec.golden.frame), golden_frame):
        raise OSError(f"cannot write {spec.golden.frame}")
    maker = Predictor(spec, "cpu", 1, check_golden=False)
    expected = maker.observe(golden.read_picture(spec.golden.frame), "recorded when the model was exported")
    golden.write_expected(spec.golden.expected, expected)
    Predictor(spec, "cpu", 1)  # raises where the folder would not load
    return spec
