"""Damage to what an ONNX graph says: shapes, weights, operators, versions, and graphs that never end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz import mutate
from tests.fuzz.mutate_text import NASTY

SIDES = (0, 1, 2, 3, 7, 64, 65536, 1 << 20, 1 << 31, 1 << 40, -1, -(1 << 40))
VERSIONS = (-1, 0, 1, 5, 12, 21, 99, 1 << 31, 1 << 62)
OPERATORS = ("Foo", "", "Conv", "Identity", "Shape", "Loop", "If", "NonZero", "RandomNormal", "Unique", "TopK", "é")
PLACES = ("../../etc/passwd", "/etc/passwd", "weights.bin", "", "/dev/zero", "model.onnx")
METADATA = (
    "[" * 10_000,
    "{" * 300,
    "{0: 'a'}" * 2,
    "__import__('os')",
    "9" * 5000,
    "[0, 0]",
    "[-1, -1]",
    "[1e9, 1]",
    "",
)
DEEPEST = 30  # protobuf itself takes a hundred levels, three for each

GraphDamage = Callable[[Any, Random], None]


def damaged_graph(content: bytes, other: bytes, random: Random) -> bytes:
    """A file that protobuf can read, whose graph says something else in one to three places."""
    model = onnx.load_model_from_string(content)
    for _ in range(random.randint(1, 3)):
        try:
            random.choice(DAMAGES)(model, random)
        except Exception:  # nothing of that kind in this graph, or not to be written
            continue
    try:
        return bytes(model.SerializeToString())
    except Exception:
        return mutate.damaged(content, other, random)


def _weight(model: Any, random: Random) -> Any:
    return random.choice(model.graph.initializer)


def _node(model: Any, random: Random) -> Any:
    return random.choice(model.graph.node)


def _port(model: Any, random: Random) -> Any:
    return random.choice([*model.graph.input, *model.graph.output])


def _dims(model: Any, random: Random) -> None:
    dims = _weight(model, random).dims
    if dims and random.random() < 0.7:
        dims[random.randrange(len(dims))] = random.choice(SIDES)
    else:
        dims.extend([random.choice(SIDES)] * random.choice((1, 2, 10)))


def _dtype(model: Any, random: Random) -> None:
    _weight(model, random).data_type = random.choice((0, 2, 6, 7, 8, 10, 11, 16, 99))


def _data(model: Any, random: Random) -> None:
    weight = _weight(model, random)
    weight.raw_data = mutate.damaged(weight.raw_data or b"\0" * 8, b"", random)


def _missing_weight(model: Any, random: Random) -> None:
    del model.graph.initializer[random.randrange(len(model.graph.initializer))]


def _odd_numbers(model: Any, random: Random) -> None:
    """Weights that are no numbers: the outputs are none, either."""
    weight = _weight(model, random)
    values = np.full(numpy_helper.to_array(weight).shape, random.choice((np.nan, np.inf, 1e30, 0)), np.float32)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def _external(model: Any, random: Random) -> None:
    weight = _weight(model, random)
    weight.data_location = random.choice((0, 1, 1))
    for key, value in (("location", random.choice(PLACES)), ("offset", random.choice(("0", "-1", "x", str(1 << 62))))):
        weight.external_data.add(key=key, value=value)


def _operator(model: Any, random: Random) -> None:
    node = _node(model, random)
    if random.random() < 0.7:
        node.op_type = random.choice(OPERATORS)
    else:
        node.domain = random.choice(("com.microsoft", "x", "ai.onnx.ml", "ai.onnx"))


def _missing_node(model: Any, random: Random) -> None:
    del model.graph.node[random.randrange(len(model.graph.node))]


def _wires(model: Any, random: Random) -> None:
    """A node that takes what is not there, what comes later, or its own result."""
    node = _node(model, random)
    names = [name for other in model.graph.node for name in other.output]
    taken = random.choice((*node.output, random.choice(names), "nowhere", ""))
    if node.input:
        node.input[random.randrange(len(node.input))] = taken


def _attribute(model: Any, random: Random) -> None:
    attribute = random.choice([a for node in model.graph.node for a in node.attribute])
    way = random.random()
    if way < 0.5 and attribute.ints:
        attribute.ints[random.randrange(len(attribute.ints))] = random.choice(SIDES)
    elif way < 0.7:
        attribute.type = random.choice((0, 1, 2, 3, 6, 7, 8))
    else:
        attribute.i, attribute.s = random.choice(SIDES), b"\xff\xfe"


def _version(model: Any, random: Random) -> None:
    way = random.random()
    if way < 0.4:
        model.ir_version = random.choice(VERSIONS)
    elif way < 0.8 and model.opset_import:
        model.opset_import[0].version = random.choice(VERSIONS)
    elif way < 0.9:
        del model.opset_import[:]
    else:
        model.opset_import.add(domain=random.choice(("", "x")), version=random.choice(VERSIONS))


def _port_shape(model: Any, random: Random) -> None:
    kind = _port(model, random).type.tensor_type
    way = random.random()
    if way < 0.6 and kind.shape.dim:
        random.choice(kind.shape.dim).dim_value = random.choice(SIDES)
    elif way < 0.7:
        kind.shape.dim.add().dim_param = "n"
    elif way < 0.8:
        del kind.shape.dim[:]
    else:
        kind.elem_type = random.choice((0, 1, 2, 7, 9, 10, 11, 16, 99))


def _port_name(model: Any, random: Random) -> None:
    port = _port(model, random)
    if random.random() < 0.2:
        port.type.Clear()
    else:
        port.name = random.choice(("", "x", "image", "a\nb", model.graph.output[0].name))


def _metadata(model: Any, random: Random) -> None:
    if model.metadata_props and random.random() < 0.9:
        random.choice(model.metadata_props).value = random.choice((*METADATA, _printed(random)))
    else:
        model.metadata_props.add(key="names", value=random.choice(METADATA))


def _printed(random: Random) -> str:
    return repr(random.choice(NASTY)).encode("utf-8", "replace").decode()


def _swallow(model: Any, nodes: list[Any], scalar: str) -> None:
    """Put nodes before the graph's own and let its first output depend on their result."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [f"{name}_kept" if name == output else name for name in node.output]
        node.input[:] = [f"{name}_kept" if name == output else name for name in node.input]
    added = [*nodes, helper.make_node("ReduceMax", [scalar], ["swallowed"], keepdims=0)]
    model.graph.node.extend([*added, helper.make_node("Add", [f"{output}_kept", "swallowed"], [output])])


def _huge(model: Any, random: Random) -> None:
    huge_tensor(model, random.choice((1000, 30_000, 100_000, 1 << 31)))


def huge_tensor(model: Any, side: int) -> None:
    """A tensor that a few bytes describe and no memory holds."""
    shape = numpy_helper.from_array(np.array([side, side], np.int64), "huge_shape")
    model.graph.initializer.append(shape)
    _swallow(model, [helper.make_node("ConstantOfShape", ["huge_shape"], ["huge"])], "huge")


def _loop(model: Any, random: Random) -> None:
    """A loop of very many turns, or without an end."""
    endless_loop(model, turns=random.choice((10, 1 << 62, None)))


def endless_loop(model: Any, turns: int | None = None) -> None:
    """Let the first output wait for a loop of so many turns; None says no number, and the condition stays true."""
    scalar = [1]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, scalar),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, scalar),
        ],
    )
    constants = {"start": np.zeros(1, np.float32), "always": np.array(True)}
    if turns is not None:
        constants["turns"] = np.array(turns, np.int64)
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    count = "turns" if turns is not None else ""
    _swallow(model, [helper.make_node("Loop", [count, "always", "start"], ["last"], body=body)], "last")


def _nested(model: Any, random: Random) -> None:
    """Branches within branches: what is walked by recursion ends."""
    value = helper.make_tensor_value_info("deep", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["floor"], ["deep"])], "floor", [], [value])
    for _ in range(random.choice((3, 10, DEEPEST))):
        branch = helper.make_node("If", ["always"], ["deep"], then_branch=graph, else_branch=helper.make_graph(
            [helper.make_node("Identity", ["floor"], ["deep"])], "else", [], [value]))  # fmt: skip
        graph = helper.make_graph([branch], "branch", [], [value])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "floor"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    _swallow(model, list(graph.node), "deep")


def _twice(model: Any, random: Random) -> None:
    model.graph.node.append(_node(model, random))


def _function(model: Any, random: Random) -> None:
    """A function of the file's own that calls itself."""
    call = helper.make_node("Again", ["x"], ["y"], domain="own")
    function = helper.make_function("own", "Again", ["x"], ["y"], [call], [helper.make_opsetid("", 17)])
    model.functions.append(function)
    model.opset_import.add(domain="own", version=1)
    node = _node(model, random)
    node.op_type, node.domain = "Again", "own"


DAMAGES: tuple[GraphDamage, ...] = (
    _dims, _dtype, _data, _missing_weight, _odd_numbers, _external, _operator, _missing_node, _wires, _attribute,
    _version, _port_shape, _port_name, _metadata, _huge, _loop, _nested, _twice, _function,
)  # fmt: skip
