"""The only folder that knows inference engines: open a model on one, run it, and say honestly which one runs.

Engines are imported when they are asked for: they are the slowest imports of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from usviewer.errors import UserError
from usviewer.infer import onnx_file
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.session import ort, vino
from usviewer.infer.session.base import (
    ENGINES,
    KINDS,
    Call,
    EngineKind,
    Outputs,
    RunStopped,
    Session,
    engine_threads,
    fallback,
    name_of,
    usable_cores,
)
from usviewer.infer.session.int8 import int8_file

__all__ = [
    "ENGINES",
    "KINDS",
    "Call",
    "EngineKind",
    "Outputs",
    "RunStopped",
    "Session",
    "engine_threads",
    "name_of",
    "open_call",
    "open_session",
    "usable_cores",
    "usable_engines",
    "versions",
]


def open_session(
    spec: ModelSpec, engine: str = "auto", threads: int | None = None, *, spinning: bool = True
) -> Session:
    """Load a model's graph on an engine, and say which one really runs.

    ``auto`` here is the plain order CUDA, CPU; what is fastest and right is chosen by ``infer.choice``. ``threads``
    defaults to the physical cores this process may use. ``spinning`` lets idle engine threads wait busily: faster
    alone, slower where another process wants the core. An engine that is not here or does not start is replaced by the
    CPU and ``notice`` says so. Raises ``UserError`` for an unknown engine or a graph that cannot be loaded.
    """
    if engine not in ENGINES:
        raise UserError(f"There is no engine '{engine}'", f"Choose one of {', '.join(ENGINES)}")
    count = threads or usable_cores()
    why = _why_not(spec, engine)
    if why:
        # The user asked for a model, not for an error: the CPU runs everything, and the notice is shown.
        session = ort.open_onnxruntime(spec, "cpu", count, spinning)
        session.requested, session.notice = engine, fallback(engine, why)
        return session
    if engine.startswith("openvino"):
        return vino.open_openvino(spec, engine, count)
    return ort.open_onnxruntime(spec, engine, count, spinning)


def open_call(path: Path, outputs: Sequence[str], threads: int | None = None, *, spinning: bool = True) -> Call:
    """Load a small graph of several inputs (the decoder of a prompt model) on the CPU: inputs by name in, outputs out.

    Raises ``UserError`` for a graph that cannot be loaded, and the call for one that stops.
    """
    return ort.open_call(path, outputs, threads or usable_cores(), spinning)


def usable_engines(spec: ModelSpec) -> tuple[str, ...]:
    """Name the engines that may run this model here, the CPU first. One of a GPU may still fail to start."""
    found = set(ort.installed())
    return tuple(
        engine
        for engine, kind in KINDS.items()
        if (not kind.provider or kind.provider in found) and not _why_not(spec, engine)
    )


def versions() -> dict[str, str]:
    """Give the versions of the engines' libraries, by name; those that are not installed are left out."""
    said = {"onnxruntime": ort.version(), "openvino": vino.version()}
    return {name: version for name, version in said.items() if version}


def _has_loop(spec: ModelSpec) -> bool:
    """Whether a user's own model has a loop. Of a file that cannot be read, loading says why."""
    # Our own models have none: their files need not be read a second time.
    with suppress(UserError):
        return not spec.bundled and onnx_file.has_loop(spec.path)
    return False


def _why_not(spec: ModelSpec, engine: str) -> str:
    """The reason why an engine cannot be tried at all, or nothing."""
    if engine.startswith("openvino") and not vino.version():
        return "it is not installed"
    # ``cancel`` is not looked at inside an OpenVINO loop; ONNX Runtime looks between the steps of its body, too.
    if engine.startswith("openvino") and _has_loop(spec):
        return "the model has a loop, which it could not be stopped in"
    if engine == "openvino-bf16" and not vino.has_bf16():
        return "this processor has no bf16"
    if engine.endswith("int8") and int8_file(spec) is None:
        return f"the model has no int8 variant ('usviewer models quantize {spec.id}' makes one)"
    return ""
