"""Models whose answer is known, installed as a user would install them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tomli_w
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.onnx_graphs import unet, unet_manifest
from usviewer.infer.onnx_file import sha256_of
from usviewer.infer.registry import add_model

WIDTH, HEIGHT = 128, 96


def add_dark_finder(folder: Path, model_id: str = "dark", finding: str = "aorta", label: str = "aorta") -> str:
    """A U-Net that outlines what is dark on pictures of 128 x 96, pixel for pixel."""
    folder.mkdir(parents=True)
    unet(folder / "model.onnx", height=HEIGHT, width=WIDTH, blob=True)
    labels = [{"name": label, "color": "#56b4e9", "edge": "inner"}]
    manifest = unet_manifest(folder / "model.onnx", model_id, finding=finding, labels=labels)
    return _install(folder, manifest)


def add_box_finder(
    folder: Path, boxes: Sequence[tuple[float, float, float, float, Sequence[float]]], labels: Sequence[str]
) -> str:
    """A detector that gives the same boxes (x0, y0, x1, y1, score of each class) whatever it is shown."""
    folder.mkdir(parents=True)
    rows = [((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, *scores) for x0, y0, x1, y1, scores in boxes]
    table = numpy_helper.from_array(np.array(rows, np.float32).T[None], "boxes")
    nothing = numpy_helper.from_array(np.array(0, np.float32), "nothing")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["boxes", "zero"], ["output0"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + len(labels), len(rows)])
    graph = helper.make_graph(nodes, "boxes", [image], [output], [table, nothing])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    manifest = unet_manifest(path, "boxes", finding="fetal-brain", task="detect", decoder="yolov8-detect")
    manifest["input"]["name"] = "images"
    manifest["output"] = {"name": "output0", "min_score": 0.25}
    manifest["labels"] = [{"name": name, "color": "#56b4e9", "edge": "not stated"} for name in labels]
    return _install(folder, manifest)


def add_normalising_finder(folder: Path, model_id: str = "zscore") -> str:
    """A network that divides by the spread of the picture, as nnU-Net's do: no numbers come of an even picture.

    It outlines what is brighter than the mean by one standard deviation.
    """
    folder.mkdir(parents=True)
    one, ten = (numpy_helper.from_array(np.array(value, np.float32), name) for value, name in ((1, "one"), (10, "ten")))
    mean = {"axes": [1, 2, 3], "keepdims": 1}
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], **mean),
        helper.make_node("Sub", ["image", "mean"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["power"]),
        helper.make_node("ReduceMean", ["power"], ["variance"], **mean),
        helper.make_node("Sqrt", ["variance"], ["spread"]),
        helper.make_node("Div", ["away", "spread"], ["score"]),
        helper.make_node("Sub", ["score", "one"], ["above"]),
        helper.make_node("Mul", ["above", "ten"], ["map"]),
    ]
    image, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH]) for name in ("image", "map")
    )
    graph = helper.make_graph(nodes, "zscore", [image], [logits], [one, ten])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    labels = [{"name": "aorta", "color": "#56b4e9", "edge": "inner"}]
    manifest = unet_manifest(path, model_id, finding="aorta", labels=labels)
    return _install(folder, manifest)


def _install(folder: Path, manifest: dict[str, Any]) -> str:
    assert manifest["files"]["model"]["sha256"] == sha256_of(folder / "model.onnx")
    (folder / "manifest.toml").write_text(tomli_w.dumps(manifest))
    return add_model(folder).id
