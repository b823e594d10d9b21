"""ONNX Runtime: the CPU, CUDA, CoreML and DirectML."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.preprocess import Tensor
from usviewer.infer.session.base import (
    KINDS,
    ByShape,
    Call,
    Outputs,
    RunStopped,
    Session,
    cause_of,
    fallback,
)
from usviewer.infer.session.int8 import int8_file

_CPU = "CPUExecutionProvider"
_PROVIDER_OPTIONS: Mapping[str, dict[str, str]] = {
    # Exhaustive search of convolutions would hold the first frame up for seconds.
    "cuda": {"cudnn_conv_algo_search": "HEURISTIC", "do_copy_in_default_stream": "1"},
    "coreml": {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
}
_NEWER_FORMAT = re.compile(r"IR version: (\d+), max supported IR version: (\d+)")
_NEWER_OPSET = re.compile(r"Opset (\d+) .* till opset (\d+)")
_QUIET = 4  # only fatal messages: what matters is read from the session and said in the user's words


def open_onnxruntime(spec: ModelSpec, engine: str, threads: int, spinning: bool) -> Session:
    """Open a session on that engine, or on the CPU with a notice when it does not start.

    Raises ``UserError`` where the graph cannot be loaded.
    """
    ort = _library()
    path = int8_file(spec) if engine == "cpu-int8" else spec.path
    assert path is not None
    session = _start(ort, path, _options(ort, threads, spinning, engine), _providers(engine))
    actual = _actual(engine, session.get_providers()[0])
    notice = ""
    if engine not in ("auto", actual):
        why = "it is not in this installation"
        if KINDS[engine].provider in installed():
            why = "it does not start on this computer"
        notice = fallback(engine, why)
    names = list(spec.graph_outputs)
    stopper = _Stopper(ort)
    bound = ByShape(lambda _: _Bound(session, spec.input.name, names, stopper))
    library = f"ONNX Runtime {ort.__version__}"

    def run(tensor: Tensor) -> Outputs:
        return bound[tensor.shape].run(tensor)

    return Session(engine, actual, notice, threads, library, run, _cancel=stopper.stop)


def open_call(path: Path, outputs: Sequence[str], threads: int, spinning: bool) -> Call:
    """Open a graph of several inputs on the CPU. Raises ``UserError`` where it cannot be loaded."""
    session = _start(_library(), path, _options(_library(), threads, spinning, "cpu"), [])
    names, stopper = list(outputs), _Stopper(_library())

    def call(feeds: Mapping[str, NDArray[np.float32]]) -> Outputs:
        try:
            return tuple(session.run(names, dict(feeds), stopper.begin()))
        except Exception as error:  # its exceptions share no public base
            if stopper.stopped:
                raise RunStopped from None
            raise UserError(
                f"{path.name} stopped with an error: {cause_of(error)}", "Export the model again"
            ) from error

    return Call(call, stopper.stop)


def installed() -> tuple[str, ...]:
    """Name the providers that the installed build has; one of a GPU may still fail to start."""
    return tuple(_library().get_available_providers())


def version() -> str:
    """Give the version of the library."""
    return str(_library().__version__)


@functools.cache
def _library() -> Any:
    import onnxruntime as ort

    ort.set_default_logger_severity(_QUIET)
    ort.disable_telemetry_events()  # of Windows; the others were never started (``usviewer/__init__.py``)
    if "CUDAExecutionProvider" in ort.get_available_providers():
        _preload(ort)
    return ort


def _preload(ort: Any) -> None:
    """Load CUDA and cuDNN from the ``nvidia-*`` packages of pip where they are: no system installation is needed."""
    if hasattr(ort, "preload_dlls") and importlib.util.find_spec("nvidia") is not None:
        # What is missing shows when the session starts; the library would print it.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            ort.preload_dlls()


def _providers(engine: str) -> list[Any]:
    """The engine's provider with its options, where this installation has it; the CPU is always behind it."""
    name = engine
    if engine == "auto":
        name = "cuda"
    provider = KINDS[name].provider
    if provider == _CPU or provider not in installed():
        return []
    return [(provider, _PROVIDER_OPTIONS.get(name, {}))]


def _options(ort: Any, threads: int, spinning: bool, engine: str) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # more serve only the parallel mode, which is not asked for
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if engine == "directml":  # which supports neither
        options.enable_mem_pattern = False
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    return options


def _start(ort: Any, path: Path, options: Any, providers: list[Any]) -> Any:
    """A session on those providers, or on the CPU alone when they raise while starting."""
    attempts = [[_CPU]]
    if providers:
        attempts.insert(0, [*providers, _CPU])
    for attempt in attempts:
        try:
            # ONNX Runtime's own fallback prints to the terminal.
            return ort.InferenceSession(path, options, providers=attempt, enable_fallback=0)
        except Exception as error:  # its exceptions share no public base
            failure = error
    raise _refusal(path.name, failure)


def _refusal(name: str, failure: Exception) -> UserError:
    """Say why a file is not loaded, in full where the exporter was newer than this library."""
    if found := _NEWER_FORMAT.search(str(failure)):
        has, most = found.groups()
        return UserError(
            f"{name} has the ONNX format version {has} (IR version); the installed ONNX Runtime reads up to {most}",
            "Export it with an older version of onnx, or update onnxruntime",
        )
    if found := _NEWER_OPSET.search(str(failure)):
        has, most = found.groups()
        return UserError(
            f"{name} has opset {has}; the installed ONNX Runtime runs up to opset {most}",
            "Export it with opset=17, or update onnxruntime",
        )
    return UserError(f"{name} cannot be loaded: {cause_of(failure)}", "Export the model again")


def _actual(engine: str, provider: str) -> str:
    """The engine that runs, by the provider that the session names first."""
    # Several engines may share a provider (the CPU in single precision and in int8): the one asked for comes first.
    if engine != "auto" and KINDS[engine].provider == provider:
        return engine
    return next(name for name, kind in KINDS.items() if kind.provider == provider)


class _Stopper:
    """Options of a session's runs, by which another thread ends the one in progress: between two steps of the graph,
    those of a loop's body included.
    """

    def __init__(self, ort: Any) -> None:
        self._options = ort.RunOptions()
        self._options.log_severity_level = _QUIET

    @property
    def stopped(self) -> bool:
        return bool(self._options.terminate)

    def begin(self) -> Any:
        """The options for a new run."""
        self._options.terminate = False
        return self._options

    def stop(self) -> None:
        self._options.terminate = True


class _Bound:
    """Inputs of one shape: the outputs live in buffers that are kept, and nothing is allocated for a frame."""

    def __init__(self, session: Any, feed: str, names: list[str], stopper: _Stopper) -> None:
        self._stopper = stopper
        self._session, self._feed, self._names = session, feed, names
        self._binding: Any = None
        self._outputs: Outputs = ()
        self._address = 0

    def run(self, tensor: Tensor) -> Outputs:
        """The outputs, overwritten by the next call."""
        if not self._outputs:
            # The first run tells the shapes of the outputs.
            first = self._session.run(self._names, {self._feed: tensor}, self._stopper.begin())
            self._outputs = tuple(np.ascontiguousarray(output) for output in first)
            return self._outputs
        if self._binding is None or tensor.ctypes.data != self._address or not tensor.flags.c_contiguous:
            self._bind(np.ascontiguousarray(tensor))
        self._session.run_with_iobinding(self._binding, self._stopper.begin())
        return self._outputs

    def _bind(self, tensor: NDArray[Any]) -> None:
        self._kept, self._address = tensor, tensor.ctypes.data
        binding = self._session.io_binding()
        binding.bind_input(self._feed, "cpu", 0, tensor.dtype, tensor.shape, tensor.ctypes.data)
        for name, output in zip(self._names, self._outputs, strict=True):
            binding.bind_output(name, "cpu", 0, output.dtype, output.shape, output.ctypes.data)
        self._binding = binding
