"""The int8 variant of a model: made for this computer's user, static, weights per channel, calibrated on pictures.

The last layers of the head stay in single precision: box sides, scores and mask coefficients are read as numbers there,
and the steps of int8 would show in the diameter. Whether a variant is good enough is decided by ``infer.choice``.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from usviewer.errors import UserError
from usviewer.files import make_folder, write_bytes
from usviewer.frame import Frame
from usviewer.infer import onnx_file
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.places import keep_json, kept_json
from usviewer.infer.preprocess import Tensor, make_square, prepare

# Static quantisation looks at the range of every layer on so many pictures.
CALIBRATION_FRAMES = 24
_RECORD = "int8.json"
_FILE = "int8.onnx"
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def int8_folder(spec: ModelSpec) -> Path:
    """Give the folder of the int8 variant of exactly this file: bundled models lie where nothing may be written."""
    return Path(platformdirs.user_data_dir("usviewer", appauthor=False)) / "variants" / spec.sha256[:32]


def int8_file(spec: ModelSpec) -> Path | None:
    """Find the int8 variant; None where there is none, or it is not the file that was checked."""
    folder = int8_folder(spec)
    record, made = kept_json(folder / _RECORD), folder / _FILE
    with contextlib.suppress(OSError, UserError):
        if record.get("model_sha256") == spec.sha256 and record.get("sha256") == _hash_of(made):
            return made
    return None


def int8_sha256(spec: ModelSpec) -> str:
    """Give the hash of the int8 variant; empty where there is none."""
    made = int8_file(spec)
    if made is None:
        return ""
    return _hash_of(made)


def make_int8(spec: ModelSpec, pictures: Sequence[Frame]) -> None:
    """Make the variant, calibrated on these pictures, and put it where the engines find it.

    Raises ``UserError``, and keeps nothing, when the graph cannot be quantised.
    """
    with tempfile.TemporaryDirectory(prefix="usviewer-int8-") as folder:
        made = Path(folder) / _FILE
        _quantise(spec, made, _inputs(spec, pictures))
        onnx_file.check_fits(spec, onnx_file.inspect(made))
        content = made.read_bytes()
    # Only what has passed the same look as any other model takes the place of the variant before.
    target = make_folder(int8_folder(spec)) / _FILE
    drop_int8(spec)
    write_bytes(target, content)
    # The record is written last: a variant that is cut short is never taken for a whole one.
    record = {"model": spec.id, "model_sha256": spec.sha256, "sha256": _hash_of(target)}
    keep_json(target.with_name(_RECORD), record)


def drop_int8(spec: ModelSpec) -> None:
    """Remove the variant, if there is one: the record first, without which the file counts for nothing."""
    for name in (_RECORD, _FILE):
        (int8_folder(spec) / name).unlink(missing_ok=True)


def _hash_of(path: Path) -> str:
    """Hash of a file, computed once for as long as its time and size stay. Raises ``OSError`` where there is none."""
    state = path.stat()
    return _known_hash(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _known_hash(path: Path, _time_ns: int, _size_bytes: int) -> str:
    return onnx_file.sha256_of(path)


def _inputs(spec: ModelSpec, pictures: Sequence[Frame]) -> list[Tensor]:
    """The model's input for each picture, all of one shape."""
    tensors = []
    for picture in pictures:
        box, aspect = picture.sector_box_px, picture.pixel_aspect
        tensors.append(prepare(picture.pixels, make_square(spec.input), box, pixel_aspect=aspect)[0])
    return tensors


def _quantise(spec: ModelSpec, target: Path, inputs: Sequence[Tensor]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader:
        """What the library asks for one after another."""

        def __init__(self) -> None:
            self._waiting: Iterator[Tensor] = iter(inputs)

        def get_next(self) -> dict[str, Tensor] | None:
            for tensor in self._waiting:
                return {spec.input.name: tensor}
            return None

    prepared = target.with_name("prepared.onnx")
    try:
        with _quietly():
            quant_pre_process(str(spec.path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                # Seven bits: without VNNI processors add two products of eight bits in sixteen, which overflow.
                reduce_range=True,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=exact_nodes(prepared),
            )
    except Exception as error:  # the library raises whatever it meets
        raise UserError(f"'{spec.id}' cannot be quantised: {str(error)[:200]}", "Use it as it is") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The library's warnings are not the user's business."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def exact_nodes(path: Path) -> list[str]:
    """Name the nodes that stay in single precision: the last convolution of each branch and all that decodes it.

    Found by walking back from the outputs until a convolution is met; one that averages a softmax (the box sides of
    YOLOv8) is part of the decoding, and the walk goes on behind it. Nodes without a name are given one in the file.
    """
    import onnx

    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node {number}"
    onnx.save(model, path)
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    waiting = [output.name for output in model.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        if node.op_type not in _CONVOLUTIONS or _averages_softmax(node, makers):
            waiting += node.input
    return sorted(found)


def _averages_softmax(node: Any, makers: dict[str, Any]) -> bool:
    """Whether only turning and reshaping stand between this node and a softmax before it."""
    before = makers.get(node.input[0])
    while before is not None and before.op_type in ("Transpose", "Reshape", "Identity"):
        before = makers.get(before.input[0])
    return before is not None and before.op_type == "Softmax"
