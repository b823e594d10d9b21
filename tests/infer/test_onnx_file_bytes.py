"""Whether a graph brings bytes to its own range itself: then a manifest must not do it a second time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.pictures import SpecFactory
from usviewer.errors import UserError
from usviewer.infer import onnx_file
from usviewer.infer.manifest import read_manifest

Step = tuple[str, float | Sequence[float]]


def begun_with(path: Path, *steps: Step) -> None:
    """The graph of a file, with steps before everything else."""
    model = onnx.load(path)
    weights, nodes, name = [], [], "image"
    for number, (kind, value) in enumerate(steps):
        after = f"step{number}"
        if kind in ("Cast", "Identity"):
            nodes.append(
                helper.make_node(kind, [name], [after], **({"to": TensorProto.FLOAT} if kind == "Cast" else {}))
            )
        else:
            weights.append(numpy_helper.from_array(np.array(value, np.float32), f"value{number}"))
            nodes.append(helper.make_node(kind, [name, f"value{number}"], [after]))
        name = after
    for node in model.graph.node:
        for index, taken in enumerate(node.input):
            node.input[index] = name if taken == "image" else taken
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.initializer.extend(weights)
    onnx.save(model, path)


BYTES: list[tuple[Step, ...]] = [
    (("Div", 255.0),),
    (("Cast", 0.0), ("Mul", 1 / 255)),
    (("Identity", 0.0), ("Sub", 127.5), ("Div", 127.5)),
    (("Sub", [123.675]), ("Mul", [1 / 58.395])),
    (("Add", -116.28),),
]
OTHERS: list[tuple[Step, ...]] = [
    (),
    (("Sub", 0.485), ("Div", 0.229)),
    (("Mul", 255.0),),
    (("Add", 1.0),),
    (("Div", 2.0),),
]


@pytest.mark.parametrize("steps", BYTES)
def test_a_graph_that_scales_bytes_must_be_given_bytes(unet: SpecFactory, steps: tuple[Step, ...]) -> None:
    spec = unet()
    begun_with(spec.path, *steps)
    graph = onnx_file.inspect(spec.path)
    assert graph.scales_bytes
    with pytest.raises(UserError, match=r"value_range = \[0, 255\]"):
        onnx_file.check_fits(spec, graph)
    manifest = spec.folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("value_range = [\n    0,\n    1,\n]", "value_range = [0, 255]"))
    onnx_file.check_fits(read_manifest(spec.folder), graph)


@pytest.mark.parametrize("steps", OTHERS)
def test_other_first_steps_say_nothing(unet: SpecFactory, steps: tuple[Step, ...]) -> None:
    spec = unet()
    begun_with(spec.path, *steps)
    graph = onnx_file.inspect(spec.path)
    assert not graph.scales_bytes
    onnx_file.check_fits(spec, graph)
