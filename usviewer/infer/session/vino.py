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
    """Open a session, compiled for each shape of the input: dynamic shapes cost a third of the speed.

    Raises ``UserError`` where the graph cannot be read.
    """
    import openvino

    try:
        core = openvino.Core()
    except Exception as error:
        raise UserError(f"OpenVINO does not start: {cause_of(error)}", "Use the engine 'cpu'") from None
    path = int8_file(spec) if engine == "openvino-int8" else spec.path
    # Said in both cases: without it OpenVINO would use bf16 unasked where the processor has it.
    precision = "bf16" if engine == "openvino-bf16" else "f32"
    settings = {
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        # A thread that is bound to a core waits for it while another process has it and the next core is free.
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_PRECISION_HINT": precision,
    }
    # A graph that takes bytes anyway needs no steps before it.
    takes_bytes = spec.input.dtype != "uint8"
    compiled = ByShape(lambda shape: _Compiled(core, path, spec, shape, settings))
    packed = ByShape(lambda shape: _Compiled(core, path, spec, shape, settings, from_bytes=True))

    running: list[_Compiled] = []

    def run(tensor: Tensor) -> Outputs:
        kept = compiled
        if takes_bytes and tensor.dtype == np.uint8:
            kept = packed
        made = kept[tensor.shape]
        running[:] = [made]
        return made.run(tensor)

    def cancel() -> None:
        for made in tuple(running):
            made.cancel()

    # Compiled now where the shape is known: a graph that OpenVINO does not take is found out here, not on a frame.
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
    """Say whether the processor computes in bf16: forced where it does not, it fails or is many times slower."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def version() -> str:
    """Give the version of the library; empty where it is not installed."""
    try:
        import openvino
    except ImportError:
        return ""
    return str(openvino.__version__).split("-")[0]


def _shape(spec: ModelSpec) -> tuple[int, ...]:
    height, width, channels = spec.input.height_px, spec.input.width_px, spec.input.channels
    if spec.input.layout == "NCHW":
        return (1, channels, height, width)
    return (1, height, width, channels)


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
        own = shape
        if from_bytes and spec.input.layout == "NCHW":  # bytes come as NHWC, the graph has its own order
            own = (shape[0], shape[3], *shape[1:3])
        if list(model.inputs[0].get_partial_shape()) != list(own):
            model.reshape(list(own))
        if from_bytes:
            model = _from_bytes(model, spec.input)
        if spec.output.masks:
            model = _channels_last(model, spec.output.masks)
        compiled = core.compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._table = compiled.output(spec.graph_outputs[0])
        self._masks: Any = None
        if spec.output.masks:
            self._masks = compiled.output(spec.output.masks)

    def run(self, tensor: Tensor) -> Outputs:
        """Run it: the outputs are in the engine's own memory, overwritten by the next call."""
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
