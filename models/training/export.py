"""Trained network to a model folder: ONNX checked against PyTorch, manifest with hashes, golden frame."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

Gray = NDArray[np.uint8]
TomlValue = str | int | float | bool | list[int] | list[str]

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


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_toml(tables: Mapping[str, object]) -> str:
    """TOML of a plain tree: top-level values, tables, nested tables, and lists of tables."""
    lines = [f"{key} = {_value(value)}" for key, value in tables.items() if not _is_table(value)]
    for key, value in tables.items():
        if isinstance(value, Mapping):
            lines += _table(key, value)
        elif _is_table(value):
            for entry in value:  # type: ignore[attr-defined]
                lines += ["", f"[[{key}]]", *(f"{k} = {_value(v)}" for k, v in entry.items())]
    return "\n".join(lines) + "\n"


def _table(name: str, table: Mapping[str, object]) -> list[str]:
    plain = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    lines = ["", f"[{name}]", *plain] if plain or not table else []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += _table(f"{name}.{key}", value)
    return lines


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def write_golden(path: Path, picture: Gray) -> None:
    """The golden frame: a simulated picture, so that nothing of a patient is shipped."""
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"cannot write {path}")
