"""ONNX Runtime: the CPU, CUDA, TensorRT, CoreML and DirectML."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.preprocess import Tensor
from usviewer.infer.session import tensorrt
from usviewer.infer.session.base import KINDS, ByShape, Call, Outputs, Session, fallback, first_line
from usviewer.infer.variants import int8_file

_CPU = "CPUExecutionProvider"
_QUIET = 4  # only fatal messages: what matters is read from the session and said in the user's words


def open_onnxruntime(spec: ModelSpec, engine: str, threads: int, spinning: bool) -> Session:
    """A session on that engine, or on the CPU with a notice when it does not start."""
    ort = _library()
    path = int8_file(spec) if engine == "cpu-int8" else spec.path
    assert path is not None
    providers = _providers(spec, engine)
    session = _start(ort, path, _options(ort, threads, spinning, engine), providers)
    actual = _actual(engine, session.get_providers()[0])
    notice = ""
    if engine not in ("auto", actual):
        here = KINDS[engine].provider in installed()
        why = "it does not start on this computer" if here else "it is not in this installation"
        notice = fallback(engine, why)
    names = list(spec.graph_outputs)
    bound = ByShape(lambda _: _Bound(session, spec.input.name, names))
    library = f"ONNX Runtime {ort.__version__}"
    return Session(engine, actual, notice, threads, library, lambda tensor: bound[tensor.shape].run(tensor))


def open_call(path: Path, outputs: Sequence[str], threads: int, spinning: bool) -> Call:
    """A graph of several inputs on the CPU."""
    session = _start(_library(), path, _options(_library(), threads, spinning, "cpu"), [])
    names = list(outputs)

    def call(feeds: Mapping[str, NDArray[np.float32]]) -> Outputs:
        try:
            return tuple(session.run(names, dict(feeds)))
        except Exception as error:  # its exceptions share no public base
            raise UserError(
                f"{path.name} stopped with an error: {first_line(error)}", "Export the model again"
            ) from error

    return call


def installed() -> tuple[str, ...]:
    """Providers that the installed build has; one of a GPU may still fail to start."""
    return tuple(_library().get_available_providers())


def version() -> str:
    """Of the library."""
    return str(_library().__version__)


@functools.cache
def _library() -> Any:
    import onnxruntime as ort

    ort.set_default_logger_severity(_QUIET)
    ort.disable_telemetry_events()  # of Windows; the others were never started (``usviewer.no_telemetry``)
    if "CUDAExecutionProvider" in ort.get_available_providers():
        _preload(ort)
    return ort


def _preload(ort: Any) -> None:
    """Load CUDA and cuDNN from the ``nvidia-*`` packages of pip where they are: no system installation is needed."""
    if hasattr(ort, "preload_dlls") and importlib.util.find_spec("nvidia") is not None:
        # What is missing shows when the session starts; the library would print it.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            ort.preload_dlls()


def _providers(spec: ModelSpec, engine: str) -> list[Any]:
    """Providers with their options, in the order in which they may serve; the CPU is always behind them."""
    wanted = [KINDS["cuda" if engine == "auto" else engine].provider]
    if engine.startswith("tensorrt"):
        wanted.append(KINDS["cuda"].provider)
    present = [name for name in wanted if name in installed() and name != _CPU]
    return [(name, _provider_options(spec, engine, name)) for name in present]


def _provider_options(spec: ModelSpec, engine: str, provider: str) -> dict[str, str]:
    if provider == KINDS["tensorrt"].provider:
        return tensorrt.provider_options(spec, fp16=engine == "tensorrt-fp16")
    if provider == KINDS["cuda"].provider:
        # Exhaustive search of convolutions would hold the first frame up for seconds.
        return {"cudnn_conv_algo_search": "HEURISTIC", "do_copy_in_default_stream": "1"}
    if provider == KINDS["coreml"].provider:
        return {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"}
    return {}


def _options(ort: Any, threads: int, spinning: bool, engine: str) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if engine == "directml":  # which supports neither
        options.enable_mem_pattern = False
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    return options


def _start(ort: Any, path: Path, options: Any, providers: list[Any]) -> Any:
    """A session on those providers, or on the CPU alone when they raise while starting."""
    attempts = [[*providers, _CPU], [_CPU]] if providers else [[_CPU]]
    for attempt in attempts:
        try:
            # ONNX Runtime's own fallback prints to the terminal.
            return ort.InferenceSession(path, options, providers=attempt, enable_fallback=0)
        except Exception as error:  # its exceptions share no public base
            failure = error
    raise UserError(f"{path.name} cannot be loaded: {first_line(failure)}", "Export the model again")


def _actual(engine: str, provider: str) -> str:
    """The engine that runs, by the provider that the session names first."""
    if engine != "auto" and KINDS[engine].provider == provider:
        return engine
    return next(name for name, kind in KINDS.items() if kind.provider == provider)


class _Bound:
    """Inputs of one shape: the outputs live in buffers that are kept, and nothing is allocated for a frame."""

    def __init__(self, session: Any, feed: str, names: list[str]) -> None:
        self._session, self._feed, self._names = session, feed, names
        self._binding: Any = None
        self._outputs: Outputs = ()
        self._address = 0

    def run(self, tensor: Tensor) -> Outputs:
        """The outputs, overwritten by the next call."""
        if not self._outputs:
            # The first run tells the shapes of the outputs.
            first = self._session.run(self._names, {self._feed: tensor})
            self._outputs = tuple(np.ascontiguousarray(output) for output in first)
            return self._outputs
        if self._binding is None or tensor.ctypes.data != self._address or not tensor.flags.c_contiguous:
            self._bind(np.ascontiguousarray(tensor))
        self._session.run_with_iobinding(self._binding)
        return self._outputs

    def _bind(self, tensor: NDArray[Any]) -> None:
        self._kept, self._address = tensor, tensor.ctypes.data
        binding = self._session.io_binding()
        binding.bind_input(self._feed, "cpu", 0, tensor.dtype, tensor.shape, tensor.ctypes.data)
        for name, output in zip(self._names, self._outputs, strict=True):
            binding.bind_output(name, "cpu", 0, output.dtype, output.shape, output.ctypes.data)
        self._binding = binding
