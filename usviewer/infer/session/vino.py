"""OpenVINO on the CPU: single precision, bf16 where the processor has it, and int8 models."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np

from usviewer.errors import UserError
from usviewer.infer.manifest import InputSpec, ModelSpec
from usviewer.infer.preprocess import Tensor
from usviewer.infer.session.base import ByShape, Outputs, Session, cause_of
from usviewer.infer.session.int8 import int8_file


def open_openvino(spec: ModelSpec, engine: str, threads: int) -> Session:
    """A session, compiled for each shape of the input: dynamic shapes cost a third of the speed.

    Raises ``UserError`` where the graph cannot be read.
    """
    import openvino

    try:
        core = openvino.Core()
    except Exception as error:
        raise UserError(f"OpenVINO does not start: {cause_of(error)}", "Use the engine 'cpu'") from None
    path = int8_file(spec) if engine == "openvino-int8" else spec.path
    settings = {
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        # A thread that is bound to a core waits for it while another process has it and the next core is free.
        "ENABLE_CPU_PINNING": "NO",
        # Without it lower precision would be used unasked where the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if engine == "openvino-bf16" else "f32",
    }
    takes_bytes = spec.input.dtype != "uint8"
    compiled = ByShape(lambda shape: _Compiled(core, path, spec, shape, settings))
    packed = ByShape(lambda shape: _Compiled(core, path, spec, shape, settings, from_bytes=True))

    running: list[_Compiled] = []

    def run(tensor: Tensor) -> Outputs:
        made = (packed if takes_bytes and tensor.dtype == np.uint8 else compiled)[tensor.shape]
        running[:] = [made]
        return made.run(tensor)

    def cancel() -> None:
        for made in tuple(running):
            made.cancel()

    try:
        if spec.input.width_px and takes_bytes:
            _ = packed[(1, spec.input.height_px, spec.input.width_px, spec.input.channels)]
        elif spec.input.width_px:
            _ = compiled[_shape(spec)]
        else:
            core.read_model(path)
    except Exception as error:
        raise UserError(f"OpenVINO cannot load {spec.path.name}: {cause_of(error)}", "Use the engine 'cpu'") from None
    library = f"OpenVINO {version()}"
    return Session(engine, engine, "", threads, library, run, takes_bytes, cancel)


@functools.cache
def has_bf16() -> bool:
    """Whether the processor computes in bf16: forced where it does not, it fails or is many times slower."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def version() -> str:
    """Of the library; empty where it is not installed."""
    try:
        import openvino
    except ImportError:
        return ""
    return str(openvino.__version__).split("-")[0]


def _shape(spec: ModelSpec) -> tuple[int, ...]:
    height, width, channels = spec.input.height_px, spec.input.width_px, spec.input.channels
    return (1, channels, height, width) if spec.input.layout == "NCHW" else (1, height, width, channels)


class _Compiled:
    """The model for one shape of its input."""

    def __init__(
        self,
        core: Any,
        path: Any,
        spec: ModelSpec,
        shape: tuple[int, ...],
        settings: dict[str, str],
        *,
        from_bytes: bool = False,
    ) -> None:
        model = core.read_model(path)
        own = (shape[0], shape[3], *shape[1:3]) if from_bytes and spec.input.layout == "NCHW" else shape
        if list(model.inputs[0].get_partial_shape()) != list(own):
            model.reshape(list(own))
        if from_bytes:
            model = _from_bytes(model, spec.input)
        if spec.output.masks:
            model = _channels_last(model, spec.output.masks)
        compiled = core.compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._table = compiled.output(spec.graph_outputs[0])
        self._masks = compiled.output(spec.output.masks) if spec.output.masks else None

    def run(self, tensor: Tensor) -> Outputs:
        """The outputs, in the engine's own memory, overwritten by the next call."""
        self._request.infer({0: tensor}, share_inputs=True)
        table = self._request.get_tensor(self._table).data
        if self._masks is None:
            return (table,)
        return table, np.moveaxis(self._request.get_tensor(self._masks).data, -1, 1)

    def cancel(self) -> None:
        """End the run in progress at the engine's next step; it does not look for this inside a loop."""
        with contextlib.suppress(Exception):  # where none is in progress
            self._request.cancel()


def _from_bytes(model: Any, spec: InputSpec) -> Any:
    """Everything that turns bytes into the model's input, as the first steps of the graph."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    low, high = spec.value_range
    level = (high - low) / 255  # the manifest's (low + byte * level - mean) / std, as one shift and one division
    means, deviations = spec.mean or (0.0,) * spec.channels, spec.std or (1.0,) * spec.channels
    shifts = [(mean - low) / level for mean in means]
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    steps.input().model().set_layout(Layout(spec.layout))
    prepare = steps.input().preprocess().convert_element_type(Type.f32)
    if spec.channel_order == "bgr":
        prepare = prepare.reverse_channels()
    if any(shifts):
        prepare = prepare.mean(shifts)
    prepare.scale([deviation / level for deviation in deviations])
    return steps.build()


def _channels_last(model: Any, output: str) -> Any:
    """The mask prototypes as the engine computes them: turning them around cost a tenth of a frame.

    The caller gets them turned back, as a view.
    """
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.output(output).model().set_layout(Layout("NCHW"))
    steps.output(output).tensor().set_layout(Layout("NHWC"))
    return steps.build()
