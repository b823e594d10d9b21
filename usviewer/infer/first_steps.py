"""What a graph does to its picture before it looks at it: whether it brings bytes to its own range itself."""

from __future__ import annotations

from typing import Any

# What leaves values as they are; behind anything else the picture is no longer a picture.
_PASSING = ("Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Resize", "Pad")
_ARITHMETIC = ("Sub", "Add", "Mul", "Div")
# Means of pictures of 0..255 lie around 115; those of 0..1 and of -1..1 are at most 1.
MIN_BYTE_MEAN = 16.0
MAX_STEPS = 16


def scales_bytes(model: Any) -> bool:
    """Whether the steps straight after the only input divide by 255, or take away the mean of bytes."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    makers = {name: node for node in model.graph.node for name in node.output}
    names = set(inputs[:1]) if len(inputs) == 1 else set()
    for _ in range(MAX_STEPS):
        following = [node for node in model.graph.node if names & set(node.input)]
        if any(_scales(node, names, weights, makers) for node in following):
            return True
        onward = [node for node in following if node.op_type in (*_PASSING, *_ARITHMETIC)]
        names = {name for node in onward for name in node.output}
        if not names:
            break
    return False


def _scales(node: Any, names: set[str], weights: dict[str, Any], makers: dict[str, Any]) -> bool:
    if node.op_type not in _ARITHMETIC or len(node.input) != 2:
        return False
    given = next((name for name in node.input if name not in names), None)
    values = None if given is None else _constant(given, weights, makers)
    if values is None:
        return False
    low, high = min(values), max(values)
    if node.op_type == "Div":
        return 254 <= low <= high <= 256
    if node.op_type == "Mul":
        return 1 / 256 <= low <= high <= 1 / 254
    means = (low, high) if node.op_type == "Sub" else (-high, -low)
    return min(means) >= MIN_BYTE_MEAN


def _constant(name: str, weights: dict[str, Any], makers: dict[str, Any]) -> list[float] | None:
    """The values of a small constant, by the file's weights or by a node that only gives it; None for anything else."""
    from onnx import numpy_helper

    tensor = weights.get(name)
    node = makers.get(name)
    if tensor is None and node is not None and node.op_type == "Constant":
        tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        single = next((attribute.f for attribute in node.attribute if attribute.name == "value_float"), None)
        if single is not None:
            return [float(single)]
    if tensor is None or sum(tensor.dims) > 16 or tensor.data_location == 1:
        return None
    values = numpy_helper.to_array(tensor).ravel().tolist()
    return [float(value) for value in values] or None
