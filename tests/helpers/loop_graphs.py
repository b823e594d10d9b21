"""Graphs that do not end, or take all memory there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.onnx_graphs import OPSET

SIDE = 64
SHAPE = [1, 1, SIDE, SIDE]


def endless(path: Path, *, brighter_than: float = -1.0) -> None:
    """A loop that goes on for ever on pictures (0..1) of a mean brightness above a limit, and gives others back."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Mul", ["map_in", "one"], ["map_out"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("map_in", TensorProto.FLOAT, SHAPE),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("map_out", TensorProto.FLOAT, SHAPE),
        ],
    )
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "limit"], ["begin"]),
        helper.make_node("Loop", ["", "begin", "image"], ["map"], body=body),
    ]
    _save(path, nodes, {"one": np.float32(1), "limit": np.float32(brighter_than)})


def greedy(path: Path, gigabytes: int = 40) -> None:
    """A file of a few bytes that fills as much memory."""
    count = np.array([gigabytes * 250_000_000], np.int64)
    one = numpy_helper.from_array(np.array([1], np.float32))
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Clip", ["whole", "nothing", "nothing"], ["zero"]),
        helper.make_node("Add", ["count", "zero"], ["size"]),  # not known before the graph runs
        helper.make_node("ConstantOfShape", ["size"], ["much"], value=one),
        helper.make_node("ReduceMean", ["much"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["image", "mean"], ["map"]),
    ]
    _save(path, nodes, {"count": count, "nothing": np.int64(0)})


def _save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> None:
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE)] for name in ("image", "map")]
    graph = helper.make_graph(nodes, "test", *ports, kept)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8), path)
