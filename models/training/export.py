"""A trained network as ONNX, checked against PyTorch."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

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
