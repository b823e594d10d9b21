"""The only file that knows an inference engine: open a model on it, run it, and say honestly which one runs.

Engines are imported when they are asked for: they are the slowest imports of the program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.preprocess import Tensor

Outputs = tuple[NDArray[np.float32], ...]

# Providers of ONNX Runtime in the order in which they may serve; the CPU is always behind them.
_PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
    "coreml": ("CoreMLExecutionProvider",),
    "directml": ("DmlExecutionProvider",),
}
ENGINES = ("auto", *_PROVIDERS, "openvino")
_TITLES = {"cpu": "CPU", "cuda": "CUDA", "tensorrt": "TensorRT", "coreml": "CoreML", "directml": "DirectML"}
_QUIET = 4  # only fatal messages: what matters is read from the session and said in the user's words


@dataclass(slots=True, eq=False)
class Session:
    """A model on an engine.

    ``requested`` is the engine that was asked for, ``actual`` the one that runs, read from the engine itself.
    ``notice`` is one sentence for the user when the two differ, empty otherwise. Not for two threads at once.
    """

    requested: str
    actual: str
    notice: str
    threads: int
    library: str
    _run: Callable[[Tensor], Outputs]

    def run(self, tensor: Tensor) -> Outputs:
        """The outputs that the manifest names, in its order; valid until the next call."""
        try:
            return self._run(tensor)
        except UserError:
            raise
        except Exception as error:  # engines raise types of their own
            raise UserError(f"The engine stopped with an error: {_first_line(error)}", "Try another engine") from error

    def describe(self) -> str:
        """One phrase: engine, library and threads."""
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.actual in _ON_CPU else ""
        return f"{_TITLES.get(self.actual, 'CPU')} ({self.library}{threads})"


_ON_CPU = ("cpu", "openvino")


def open_session(
    spec: ModelSpec, engine: str = "auto", threads: int | None = None, *, spinning: bool = True
) -> Session:
    """Load a model's graph on an engine.

    ``threads`` defaults to the physical cores this process may use. ``spinning`` lets idle engine threads wait busily:
    faster alone, slower where another process wants the core. An engine that is not here or does not start is replaced
    by the CPU and ``notice`` says so. Raises ``UserError`` for an unknown engine or a graph that cannot be loaded.
    """
    if engine not in ENGINES:
        raise UserError(f"There is no engine '{engine}'", f"Choose one of {', '.join(ENGINES)}")
    count = threads or usable_cores()
    if engine == "openvino":
        try:
            return _open_openvino(spec, count)
        except ImportError:
            session = _open_onnxruntime(spec, "cpu", count, spinning)
            session.requested, session.notice = engine, _fallback("OpenVINO", "it is not installed")
            return session
    return _open_onnxruntime(spec, engine, count, spinning)


def usable_cores() -> int:
    """Physical cores that this process may use, at least one."""
    physical = psutil.cpu_count(logical=False) or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))


def _open_onnxruntime(spec: ModelSpec, engine: str, threads: int, spinning: bool) -> Session:
    import onnxruntime as ort

    ort.set_default_logger_severity(_QUIET)
    installed = ort.get_available_providers()
    wanted = _PROVIDERS["cuda" if engine == "auto" else engine]
    providers = [name for name in wanted if name in installed]
    options = _onnxruntime_options(ort, threads, spinning)
    session = _start(ort, spec, options, providers)
    actual = _engine_of(session.get_providers()[0])
    notice = ""
    if engine not in ("auto", actual):
        why = "it does not start on this computer" if wanted[0] in providers else "it is not in this installation"
        notice = _fallback(_TITLES[engine], why)
    names, feed = _output_names(spec), spec.input.name

    def run(tensor: Tensor) -> Outputs:
        return tuple(session.run(names, {feed: tensor}))

    return Session(engine, actual, notice, threads, f"ONNX Runtime {ort.__version__}", run)


def _onnxruntime_options(ort: Any, threads: int, spinning: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    return options


def _start(ort: Any, spec: ModelSpec, options: Any, providers: list[str]) -> Any:
    """A session on those providers, or on the CPU alone when they raise while starting."""
    cpu = "CPUExecutionProvider"
    attempts = [[*providers, cpu], [cpu]] if providers and providers != [cpu] else [[cpu]]
    for attempt in attempts:
        try:
            # ONNX Runtime's own fallback prints to the terminal.
            return ort.InferenceSession(spec.path, options, providers=attempt, enable_fallback=0)
        except Exception as error:  # its exceptions share no public base
            failure = error
    raise UserError(f"{spec.path.name} cannot be loaded: {_first_line(failure)}", "Export the model again")


def _open_openvino(spec: ModelSpec, threads: int) -> Session:
    import openvino

    core = openvino.Core()
    # Single precision until the choice of engines checks what lower precision does to a diameter.
    settings = {
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        compiled = core.compile_model(core.read_model(spec.path), "CPU", settings)
    except Exception as error:
        raise UserError(
            f"OpenVINO cannot load {spec.path.name}: {_first_line(error)}", "Use the engine 'cpu'"
        ) from None
    request = compiled.create_infer_request()
    ports = [compiled.output(name) for name in _output_names(spec)]

    def run(tensor: Tensor) -> Outputs:
        request.infer({0: tensor}, share_inputs=True)
        return tuple(request.get_tensor(port).data for port in ports)

    version = openvino.__version__.split("-")[0]
    return Session("openvino", "openvino", "", threads, f"OpenVINO {version}", run)


def _output_names(spec: ModelSpec) -> list[str]:
    return [name for name in (spec.output.name, spec.output.masks) if name]


def _engine_of(provider: str) -> str:
    return next((engine for engine, names in _PROVIDERS.items() if names[0] == provider), provider)


def _fallback(title: str, why: str) -> str:
    return f"{title} was asked for, but {why}: running on the CPU."


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
