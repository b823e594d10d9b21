"""The viewer's own decoder on a network in training, and a finished model's folder with its golden case."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from torch import nn

from usviewer.infer import golden
from usviewer.infer.decode import decode
from usviewer.infer.manifest import MANIFEST, ModelSpec, parse_manifest, read_manifest
from usviewer.infer.onnx_file import sha256_of
from usviewer.infer.prediction import Instance
from usviewer.infer.predictor import Predictor
from usviewer.infer.preprocess import Placement

Gray = NDArray[np.uint8]


def spec_of(manifest: Mapping[str, object]) -> ModelSpec:
    """The viewer's view of a manifest whose file is not written yet: enough to decode with."""
    filled = {**manifest, "files": {"model": {"path": "model.onnx", "sha256": "0" * 64}}}
    return parse_manifest(filled, Path("."))


@torch.no_grad()
def raw_outputs(model: nn.Module, pictures: Sequence[Gray], batch: int = 16) -> NDArray[np.float32]:
    """What the network gives for letterboxed pictures, [N, ...] float32."""
    device = next(model.parameters()).device
    model.eval()
    parts = []
    for start in range(0, len(pictures), batch):
        block = torch.from_numpy(np.stack(pictures[start : start + batch])[:, None]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cpu"):
            parts.append(model(block).float().cpu().numpy())
    return np.concatenate(parts)


def find(outputs: NDArray[np.float32], placement: Placement, spec: ModelSpec) -> tuple[Instance, ...]:
    """What the viewer would find in one picture's output (without its batch axis)."""
    return decode((outputs[None],), placement, spec)


def origin(args: argparse.Namespace) -> str:
    """How the shipped weights came about, for the card."""
    if args.init is None:
        return f"The shipped weights: {args.steps} steps of {args.batch} pictures."
    return (
        f"The shipped weights continue the run `{args.init.parent.name}` for {args.steps} steps of {args.batch}"
        " pictures, on all pictures."
    )


def read_card(recipe: str, **values: object) -> str:
    """The card's template of a recipe, filled in."""
    template = Path(__file__).with_name("cards") / f"{recipe}.md"
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
