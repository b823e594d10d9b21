"""A trained network as a model folder: ONNX checked against PyTorch, manifest, card and golden case."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import tomli_w
import torch
from torch import nn

from models.training.data.sources import Gray
from usviewer.infer import golden
from usviewer.infer.manifest import MANIFEST, ModelSpec, read_manifest
from usviewer.infer.onnx_file import sha256_of
from usviewer.infer.predictor import Predictor

OPSET = 17
LARGEST_DIFFERENCE = 2e-3
"""Most that a logit may differ between PyTorch and ONNX Runtime, both in FP32."""


def export_onnx(
    model: nn.Module, path: Path, size_px: tuple[int, int], channels: int = 1, output: str = "logits"
) -> None:
    """Write the graph (`image` uint8 -> `output` float32, dynamic batch), then prove that it computes the same."""
    model = model.cpu().float().eval()
    height, width = size_px
    rng = np.random.default_rng(0)
    example = rng.integers(0, 256, (2, channels, height, width), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, and gives the smaller, plainer graph
        torch.onnx.export(
            model,
            (torch.from_numpy(example),),
            str(aside),
            input_names=["image"],
            output_names=[output],
            dynamic_axes={"image": {0: "N"}, output: {0: "N"}},
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(str(aside)))
    with torch.no_grad():
        expected = model(torch.from_numpy(example)).numpy()
    session = onnxruntime.InferenceSession(str(aside), providers=["CPUExecutionProvider"])
    computed = np.asarray(session.run([output], {"image": example})[0])
    worst = float(np.abs(expected - computed).max())
    if worst > LARGEST_DIFFERENCE:
        raise RuntimeError(f"the exported graph differs from the network by {worst:.3g}")
    aside.replace(path)


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
