"""What every engine is to the rest of the program: a name, a precision, and a session that runs."""

from __future__ import annotations

import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.infer.preprocess import Tensor
from usviewer.logs import OwnText

Outputs = tuple[NDArray[np.float32], ...]
T = TypeVar("T")
_log = logging.getLogger(__name__)

# A source changes its picture's shape rarely; a few compiled shapes are kept all the same.
KEPT_SHAPES = 3
# What is left of an engine's exception; the longest that says something has 200 letters.
MAX_CAUSE = 300


@dataclass(frozen=True, slots=True)
class EngineKind:
    """One engine that can be asked for.

    ``title`` names it for people, ``precision`` what it computes in. ``exact`` engines compute in single precision and
    must reproduce a model's golden case; of the others the check against the CPU decides (``infer.choice``).
    ``provider`` is ONNX Runtime's name of it, empty for OpenVINO.
    """

    title: str
    precision: str
    exact: bool
    provider: str = ""
    on_cpu: bool = False


# CoreML computes in half precision on the neural engine, whatever the graph has: it counts as not exact.
KINDS: Mapping[str, EngineKind] = {
    "cpu": EngineKind("CPU", "fp32", True, "CPUExecutionProvider", on_cpu=True),
    "cpu-int8": EngineKind("CPU", "int8", False, "CPUExecutionProvider", on_cpu=True),
    "openvino": EngineKind("OpenVINO", "fp32", True, on_cpu=True),
    "openvino-bf16": EngineKind("OpenVINO", "bf16", False, on_cpu=True),
    "openvino-int8": EngineKind("OpenVINO", "int8", False, on_cpu=True),
    "cuda": EngineKind("CUDA", "fp32", True, "CUDAExecutionProvider"),
    "coreml": EngineKind("CoreML", "fp16", False, "CoreMLExecutionProvider"),
    "directml": EngineKind("DirectML", "fp32", True, "DmlExecutionProvider"),
}
ENGINES = ("auto", *KINDS)


@dataclass(slots=True, eq=False)
class Session:
    """A model on an engine.

    ``requested`` is the engine that was asked for, ``actual`` the one that runs, read from the engine itself.
    ``notice`` is one sentence for the user when the two differ, empty otherwise. ``takes_bytes``: in place of what the
    manifest says it takes bytes (1, height, width, channels), RGB or grey, and brings range, channel order and layout
    about itself, faster than they can be prepared. Not for two threads at once, but for ``cancel``.
    """

    requested: str
    actual: str
    notice: str
    threads: int
    library: str
    _run: Callable[[Tensor], Outputs]
    takes_bytes: bool = False
    _cancel: Callable[[], None] = lambda: None
    _stopped: bool = False

    def run(self, tensor: Tensor) -> Outputs:
        """Run the graph on one prepared tensor, and give the outputs that the manifest names, in its order.

        They are float32, and valid until the next call. Raises ``RunStopped`` when ``cancel`` ended the run, and
        ``UserError`` for an engine that stops with an error.
        """
        self._stopped = False
        try:
            return self._run(tensor)
        except UserError:
            raise
        except Exception as error:  # engines raise types of their own
            if self._stopped:
                raise RunStopped from None
            raise UserError(f"The engine stopped with an error: {cause_of(error)}", "Try another engine") from error

    def cancel(self) -> None:
        """From another thread: end the run in progress, if there is one; the next run works again.

        A run that begins just after this is not ended: ask again until the thread that runs has ended.
        """
        self._stopped = True
        self._cancel()

    def describe(self) -> str:
        """Name processor, library, precision and threads in one phrase."""
        kind = KINDS[self.actual]
        place, words = kind.title, [self.library]
        if kind.precision != "fp32":
            words.append(kind.precision)
        if kind.on_cpu:
            place = "CPU"
            words.append(f"{self.threads} thread{'s' if self.threads != 1 else ''}")
        return f"{place} ({', '.join(words)})"


class RunStopped(UserError):
    """A run was ended from outside, by ``cancel``: nothing is wrong, and there is no result."""

    def __init__(self) -> None:
        super().__init__("The model was stopped before it had finished", "Try again")


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A small graph of several inputs: inputs by name in, outputs out. ``cancel`` as of a ``Session``."""

    _run: Callable[[Mapping[str, NDArray[np.float32]]], Outputs]
    cancel: Callable[[], None]

    def __call__(self, feeds: Mapping[str, NDArray[np.float32]]) -> Outputs:
        """Run the graph. Raises ``UserError`` where it stops with an error, ``RunStopped`` where it was ended."""
        return self._run(feeds)


class ByShape(Generic[T]):
    """Something made once for each input shape; the least recently used is dropped."""

    def __init__(self, make: Callable[[tuple[int, ...]], T]) -> None:
        self._make = make
        self._kept: OrderedDict[tuple[int, ...], T] = OrderedDict()

    def __getitem__(self, shape: tuple[int, ...]) -> T:
        found = self._kept.get(shape)
        if found is None:
            found = self._kept[shape] = self._make(shape)
            if len(self._kept) > KEPT_SHAPES:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(shape)
        return found


def usable_cores() -> int:
    """Count the physical cores that this process may use, at least one."""
    # Two threads on one physical core share its arithmetic units: engines gain nothing from the second.
    cores = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):  # Linux: a container may have fewer than the machine
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores)


def engine_threads(*, live: bool) -> int:
    """Say how many threads an engine gets: all usable cores, or one less where other work has to keep its pace.

    That is a window (``live``), or the decoder and encoder of a clip.
    """
    return max(1, usable_cores() - live)


def name_of(engine: str) -> str:
    """Give an engine's name for people, with its precision where that is reduced."""
    kind = KINDS[engine]
    if kind.precision == "fp32" or engine == "coreml":  # CoreML has no other: the name says it
        return kind.title
    return f"{kind.title} {kind.precision}"


def fallback(engine: str, why: str) -> str:
    """Make, and log, the sentence for an engine that does not run; ``why`` is in the program's own words."""
    _log.warning("engine %s was asked for, the CPU runs: %s", OwnText(engine), OwnText(why))
    return f"{name_of(engine)} was asked for, but {why}: running on the CPU."


# Where an engine's exception was raised in its own source: a file, a line, and a function with all its types.
_SOURCE = re.compile(r"\S+\.(?:cc|cpp|h|hpp):\d+ .*\) (?=[A-Z])")
_LOADING = re.compile(r"Load model from .*? failed: ?")
_KIND = re.compile(r"\[\w+Error\] ")
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_FOLDERS = re.compile(r"(?<![\w.])(?:/[^\s/:'\"]+)+/(?=[^\s/])")


def cause_of(error: Exception) -> str:
    """Bring what an engine's exception says into one line, without the folders and places in source that it names."""
    text = " ".join(str(error).split())
    for noise in (_CODE, _LOADING, _SOURCE, _FOLDERS, _KIND):
        text = noise.sub("", text)
    text = text.strip().rstrip(".")
    if len(text) > MAX_CAUSE:
        return f"{text[:MAX_CAUSE]} …"
    return text or type(error).__name__
