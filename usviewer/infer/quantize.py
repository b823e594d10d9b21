"""The int8 variant of a model: static, weights per channel, calibrated on pictures. Kept only if its masks agree.

The last layers of the head stay in single precision: box sides, scores and mask coefficients are read as numbers there,
and the steps of int8 would show in the diameter.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer import check_frames, choice, onnx_file, variants
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.preprocess import Tensor, prepare
from usviewer.infer.runner import make_square
from usviewer.infer.session import engine_threads

CALIBRATION_FRAMES = 24
_CONVOLUTIONS = ("Conv", "ConvTranspose")


def quantize(spec: ModelSpec, frames: Sequence[Frame] = ()) -> tuple[choice.EngineTrial, ...]:
    """Make the int8 variant, check it and keep it when it passes; its trials on the engines that run it.

    ``frames`` are the user's own; without them bundled ones calibrate. Raises ``UserError``, and keeps nothing, when no
    engine passes or the graph cannot be quantised.
    """
    pictures = tuple(frames) or check_frames.bundled_frames(spec)
    if not pictures:
        raise UserError(f"There are no pictures to calibrate '{spec.id}' on", "Give a clip with --frames")
    inputs = _inputs(spec, check_frames.choose_evenly(pictures, CALIBRATION_FRAMES))
    with tempfile.TemporaryDirectory(prefix="usviewer-int8-") as folder:
        made = Path(folder) / "int8.onnx"
        _quantise(spec, made, inputs)
        onnx_file.check_fits(spec, onnx_file.inspect(made))
        target = variants.int8_folder(spec)
        target.mkdir(parents=True, exist_ok=True)
        staged = target / "made.onnx"
        staged.write_bytes(made.read_bytes())
        variants.keep_int8(spec, staged)
    return _judge(spec, (lambda: pictures) if frames else None)


def _judge(spec: ModelSpec, frames: Any) -> tuple[choice.EngineTrial, ...]:
    engines = ("cpu-int8", "openvino-int8")
    try:
        made = choice.choose_engine(spec, engine_threads(live=False), frames=frames, engines=engines, anew=True)
    except BaseException:
        variants.drop_int8(spec)
        raise
    trials = tuple(trial for trial in made.trials if trial.engine != "cpu" or trial.samples)
    if not any(trial.passed for trial in trials if trial.engine in engines):
        variants.drop_int8(spec)
        why = made.notice or "; ".join(trial.describe() for trial in trials if trial.engine in engines)
        raise UserError(
            f"The int8 variant of '{spec.id}' is not exact enough and was not kept ({why})", "Use it as it is"
        )
    return trials


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
            tensor = next(self._waiting, None)
            return None if tensor is None else {spec.input.name: tensor}

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
    """Names of the nodes that stay in single precision: the last convolution of each branch and all that decodes it.

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
    """Whether nothing but turning and reshaping lies between this node and a softmax before it."""
    before = makers.get(node.input[0])
    while before is not None and before.op_type in ("Transpose", "Reshape", "Identity"):
        before = makers.get(before.input[0])
    return before is not None and before.op_type == "Softmax"
