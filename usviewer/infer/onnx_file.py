"""A look into an ONNX file before any engine may load it: that it is whole, safe, and what its manifest says."""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from usviewer.errors import UserError, foreign_parser
from usviewer.files import open_regular
from usviewer.infer.manifest import InputSpec, ModelSpec

if TYPE_CHECKING:
    from io import BufferedReader

# Far above any model for a laptop, far below what protobuf and memory can bear.
MAX_FILE_BYTES = (1 << 31) - 1  # the format's own limit
MAX_TENSOR_ELEMENTS = 1 << 28
LOOPS = ("Loop", "Scan")
STANDARD_DOMAINS = ("", "ai.onnx")
# What leaves the values of a picture as they are; behind any other operator it is no longer a picture.
_PASSING = ("Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Resize", "Pad")
_ARITHMETIC = ("Sub", "Add", "Mul", "Div")
# Means of pictures of 0..255 lie around 115; those of 0..1 and of -1..1 are at most 1.
MIN_BYTE_MEAN = 16.0
MAX_STEPS = 16

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph; an axis whose length the file leaves open is None."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Graph:
    """The outside of an ONNX graph. ``scales_bytes``: its first steps bring 0..255 to another range themselves."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]
    scales_bytes: bool = False


def sha256_of(path: Path) -> str:
    """Hash of a file, in lower-case hexadecimal. Raises ``UserError`` where it cannot be read."""
    try:
        with _opened(path) as file:
            return hashlib.file_digest(cast("BufferedReader", file), "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check the file") from None


def _opened(path: Path) -> BinaryIO:
    """A regular file of no more than the format allows: a hash over ``/dev/zero`` would never end."""
    file = open_regular(path)
    if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
        file.close()
        raise UserError(f"{path.name} is larger than 2 GiB", "Use a smaller model")
    return file


def check_hashes(spec: ModelSpec) -> None:
    """Raise ``UserError`` when a file of the model is not the one that its manifest names."""
    for file in spec.files.values():
        if sha256_of(file.path) != file.sha256:
            raise UserError(
                f"{file.path.name} of model '{spec.id}' is not the file that its manifest names (another sha256)",
                "Add the model again",
            )


def inspect(path: Path) -> Graph:
    """Read the outside of a graph, and refuse what could reach out of the file or exhaust the machine.

    Raises ``UserError`` for a file that is not an ONNX model, data kept outside the file, operators that are not of the
    ONNX standard, and absurd sizes.
    """
    model, name = _load(path), path.name
    # Every field of a damaged file may raise when it is looked at: bytes that are not text, types that do not exist.
    with foreign_parser(f"{name} is not an ONNX model, or is damaged", "Export the model again"):
        return _graph_of(model, name)


def _graph_of(model: Any, name: str) -> Graph:
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise UserError(f"{name} is not an ONNX model", "Export the model as ONNX")
    _refuse_custom_operators(model, name)
    for tensor in _tensors(model):
        _refuse_bad_tensor(tensor, name)
    initial = {tensor.name for tensor in model.graph.initializer}
    graph = Graph(
        inputs=tuple(_port(value) for value in model.graph.input if value.name not in initial),
        outputs=tuple(_port(value) for value in model.graph.output),
        metadata={_text(entry.key): _text(entry.value) for entry in model.metadata_props},
        scales_bytes=_scales_bytes(model),
    )
    for port in (*graph.inputs, *graph.outputs):
        known = [side for side in port.shape if side is not None]
        if any(side < 1 for side in known) or math.prod(known) > MAX_TENSOR_ELEMENTS:
            raise UserError(f"{name} has an impossible shape {_shape_text(port.shape)}", "Export the model again")
    return graph


def has_loop(path: Path) -> bool:
    """Whether the graph repeats a part of itself as often as its input says: perhaps without an end.

    Raises ``UserError`` where the file cannot be read.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check the file") from None
    return _has_loop(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _has_loop(path: Path, _time_ns: int, _size: int) -> bool:  # time and size: another file under the same name
    return any(node.op_type in LOOPS for node in _nodes(_load(path)))


def check_graphs(spec: ModelSpec) -> None:
    """Look into every ONNX file of a model: ``inspect`` it, then compare it with the manifest.

    Raises ``UserError`` for the first that is not safe or does not fit.
    """
    if spec.prompt is None:
        check_fits(spec, inspect(spec.path))
    else:
        _check_prompt_fits(spec, inspect(spec.files["encoder"].path), inspect(spec.files["decoder"].path))


def _check_prompt_fits(spec: ModelSpec, encoder: Graph, decoder: Graph) -> None:
    """Raise ``UserError`` when the two graphs of a prompt model do not take and give what the manifest says."""
    if len(encoder.inputs) != 1:
        raise _unfit(spec, f"(encoder) takes {len(encoder.inputs)} inputs instead of one")
    _check_input(spec, encoder.inputs[0])
    _check_range(spec, encoder)
    names = spec.prompt
    assert names is not None
    roles = (names.embeddings, names.coords, names.labels, names.mask, names.has_mask, names.size)
    wanted = [name for name in roles if name]  # an empty name: the decoder takes no such input
    taken, given = {port.name: port for port in decoder.inputs}, {port.name: port for port in decoder.outputs}
    if set(taken) != set(wanted):
        raise _unfit(spec, f"(decoder) takes {', '.join(taken)}, not {', '.join(wanted)}")
    for name in (spec.output.name, names.scores):
        if name not in given:
            raise _unfit(spec, f"(decoder) has no output '{name}'")
    embeddings = next((port for port in encoder.outputs if port.name == names.embeddings), None)
    if embeddings is None:
        raise _unfit(spec, f"(encoder) has no output '{names.embeddings}'")
    if not (_alike(embeddings, (1, None, None, None)) and _alike(taken[names.embeddings], embeddings.shape)):
        raise _unfit(spec, "(decoder) does not take the embeddings that the encoder gives")
    _check_prompt_ports(spec, taken, given)


def _check_prompt_ports(spec: ModelSpec, taken: Mapping[str, Port], given: Mapping[str, Port]) -> None:
    names = spec.prompt
    assert names is not None
    shapes: dict[str, Shape] = {names.coords: (1, None, 2), names.labels: (1, None), names.has_mask: (1,)}
    if names.mask:
        shapes[names.mask] = (1, 1, *taken[names.mask].shape[2:])
        if None in taken[names.mask].shape[2:]:
            raise _unfit(spec, f"(decoder) takes masks of any size as '{names.mask}'; export it with a fixed size")
    for name, shape in shapes.items():
        if name and not _alike(taken[name], shape):
            raise _unfit(
                spec, f"(decoder) takes {_shape_text(taken[name].shape)} as '{name}', not {_shape_text(shape)}"
            )
    if taken[names.coords].shape[1] is not None:
        raise _unfit(spec, "(decoder) takes a fixed number of points; export it with a dynamic one")
    masks, scores = given[spec.output.name], given[names.scores]
    if not (_alike(masks, (1, None, None, None)) and _alike(scores, (1, masks.shape[1]))):
        raise _unfit(spec, f"(decoder) gives {_shape_text(masks.shape)} masks and {_shape_text(scores.shape)} scores")


def _alike(port: Port, shape: Shape) -> bool:
    """Single precision, and the same sides wherever both are known."""
    return (
        port.dtype == "float32"
        and len(port.shape) == len(shape)
        and all(a is None or b is None or a == b for a, b in zip(port.shape, shape, strict=True))
    )


def check_fits(spec: ModelSpec, graph: Graph) -> None:
    """Raise ``UserError`` when the graph does not take and give what the manifest says."""
    if len(graph.inputs) != 1:
        raise _unfit(spec, f"takes {len(graph.inputs)} inputs instead of one")
    _check_input(spec, graph.inputs[0])
    _check_range(spec, graph)
    outputs = {port.name: port for port in graph.outputs}
    for name in filter(None, (spec.output.name, spec.output.masks)):
        if name not in outputs:
            raise _unfit(spec, f"has no output '{name}'")
    main = outputs[spec.output.name]
    if spec.decoder == "unet":
        _check_unet(spec, main)
    else:
        _check_yolo(spec, main, outputs.get(spec.output.masks))


def _input_shape(spec: InputSpec) -> Shape:
    """Give the shape that the manifest promises: one picture, with open sides where they are dynamic."""
    height, width = spec.height_px or None, spec.width_px or None
    if spec.layout == "NCHW":
        return (1, spec.channels, height, width)
    return (1, height, width, spec.channels)


def _load(path: Path) -> Any:
    import onnx  # slow to import: only when a model is loaded

    try:
        with (
            _opened(path) as file,
            foreign_parser(f"{path.name} is not an ONNX model, or is cut short", "Export the model again"),
        ):
            return onnx.load(file, format="protobuf", load_external_data=False)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check the name of the file") from None


def _refuse_custom_operators(model: Any, name: str) -> None:
    # Functions that the file brings along are made of operators that are looked at here too.
    own = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model):
        if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in own:
            raise UserError(
                f"{name} uses the operator {node.domain}.{node.op_type}, which is not of the ONNX standard",
                "Export the model with standard operators only",
            )


def _refuse_bad_tensor(tensor: Any, name: str) -> None:
    # Weights outside the file have no hash in the manifest, and the name of their file may lead anywhere.
    if tensor.data_location == 1 or tensor.external_data:  # 1 is TensorProto.EXTERNAL
        raise UserError(
            f"{name} keeps its weights in another file",
            "Export the model into one single ONNX file (torch.onnx.export: external_data=False)",
        )
    if any(side < 0 for side in tensor.dims) or math.prod(tensor.dims) > MAX_TENSOR_ELEMENTS:
        raise UserError(f"{name} has a weight of impossible shape {list(tensor.dims)}", "Export the model again")


def _graphs(model: Any) -> Iterator[Any]:
    """The main graph and everything nested in it: bodies of If and Loop, and local functions."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting.extend(attribute.graphs)
                if attribute.HasField("g"):
                    waiting.append(attribute.g)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())  # a function has none
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t
                if attribute.HasField("sparse_tensor"):
                    yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
                for sparse in attribute.sparse_tensors:
                    yield from (sparse.values, sparse.indices)


def _text(value: str | bytes) -> str:
    """Text of the file. The library gives bytes where it is not valid UTF-8: then this raises ``ValueError``."""
    if isinstance(value, str):
        return value
    return value.decode("utf-8")


def _port(value: Any) -> Port:
    import onnx

    kind = value.type.tensor_type
    dtype = "none"  # a sequence or a map: fits no manifest
    if value.type.HasField("tensor_type"):
        dtype = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
    if dtype == "float":
        dtype = "float32"  # ONNX says only "float", numpy and the manifest say how wide
    sides = (side.dim_value if side.HasField("dim_value") else None for side in kind.shape.dim)
    return Port(_text(value.name), dtype, tuple(sides))


def _check_input(spec: ModelSpec, port: Port) -> None:
    wanted = _input_shape(spec.input)
    if port.name != spec.input.name:
        raise _unfit(spec, f"has the input '{port.name}', not '{spec.input.name}'")
    if port.dtype == "float16":
        raise _unfit(spec, "takes half-precision input; export it without half")
    if port.dtype != spec.input.dtype:
        raise _unfit(spec, f"takes {port.dtype}, not {spec.input.dtype}")
    if len(port.shape) != 4 or any(a not in (None, b) for a, b in zip(port.shape, wanted, strict=True)):
        raise _unfit(spec, f"takes {_shape_text(port.shape)}, not {_shape_text(wanted)}")


def _check_range(spec: ModelSpec, graph: Graph) -> None:
    """A graph that brings bytes to its range itself must be given bytes: twice would make every picture black."""
    if graph.scales_bytes and (spec.input.value_range != (0.0, 255.0) or spec.input.mean):
        raise UserError(
            f"The graph of model '{spec.id}' brings 0 to 255 to its own range itself",
            "Say value_range = [0, 255] without mean and std in its manifest",
        )


def _check_unet(spec: ModelSpec, port: Port) -> None:
    channels = len(spec.labels) + spec.output.background
    shape = port.shape
    if spec.input.layout == "NHWC":
        shape = (*shape[:1], *shape[3:], *shape[1:3])
    if port.dtype != "float32" or len(shape) != 4 or shape[0] not in (None, 1) or shape[1] not in (None, channels):
        raise _unfit(spec, f"gives {port.dtype} {_shape_text(port.shape)}; {channels} float32 channel(s) are expected")
    ratios = {
        inside / outside
        for inside, outside in zip((spec.input.height_px, spec.input.width_px), shape[2:], strict=True)
        if inside and outside
    }
    # The decoder stretches the map over the whole input: one factor for both axes, or the mask would be displaced.
    if len(ratios) > 1 or any(ratio < 1 or ratio % 1 for ratio in ratios):
        raise _unfit(spec, f"gives {_shape_text(port.shape)}, which is not a whole fraction of the input")


def _check_yolo(spec: ModelSpec, port: Port, masks: Port | None) -> None:
    rows = 4 + len(spec.labels)
    if masks is not None:
        if len(masks.shape) != 4 or masks.dtype != "float32" or masks.shape[0] not in (None, 1) or not masks.shape[1]:
            raise _unfit(spec, f"gives mask prototypes of shape {_shape_text(masks.shape)}")
        rows += masks.shape[1]  # a coefficient for each prototype
    if len(port.shape) != 3 or port.dtype != "float32" or port.shape[0] not in (None, 1):
        raise _unfit(spec, f"gives {port.dtype} {_shape_text(port.shape)}, not one table of boxes")
    if port.shape[1] not in (None, rows):
        raise _unfit(
            spec,
            f"gives {_shape_text(port.shape)}; {len(spec.labels)} label(s) need {rows} rows of boxes "
            "(suppression must not be built in: nms=False, end2end=False)",
        )


def _unfit(spec: ModelSpec, what: str) -> UserError:
    return UserError(f"The graph of model '{spec.id}' {what}", "Correct its manifest or export it again")


def _shape_text(shape: Shape) -> str:
    return "[" + ", ".join("?" if side is None else str(side) for side in shape) + "]"


# --- its first steps: whether it brings bytes to its own range itself -------------------------------------------------


def _scales_bytes(model: Any) -> bool:
    """Whether the first steps straight after the only input divide by 255, or take away the mean of bytes."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    makers = {name: node for node in model.graph.node for name in node.output}
    if len(inputs) != 1:
        return False
    names = set(inputs)
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
    if given is None:
        return False
    values = _constant(given, weights, makers)
    if values is None:
        return False
    low, high = min(values), max(values)
    if node.op_type == "Div":
        return 254 <= low <= high <= 256
    if node.op_type == "Mul":
        return 1 / 256 <= low <= high <= 1 / 254
    if node.op_type == "Sub":
        return low >= MIN_BYTE_MEAN
    return -high >= MIN_BYTE_MEAN  # to add a negative mean is to take it away


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
