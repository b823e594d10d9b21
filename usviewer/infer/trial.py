"""A model that this computer has not run before is first run in a process of its own, which can be ended.

A graph may hold a loop without an end, ask for all memory there is, or bring an engine to a fault: inside the program
nothing could stop it, neither Ctrl-C nor closing the window. So a model of the user's own is loaded and run on its
golden picture in a child process first, with a deadline and a limit of memory. What went well is remembered for exactly
these files, manifest and libraries. Bundled models are ours, and what lies elsewhere is loaded only by who made it.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from usviewer.errors import UserError
from usviewer.files import read_bytes
from usviewer.infer import golden, session
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.places import cache_folder, keep_json, kept_json, user_folder

# Loading the bundled models and one picture take 1 s on two cores, 8 s while eight other programs want them. A model of
# a hundred times that is no use at a bedside.
DEADLINE_S = 120.0
# A U-Net of 4096 x 4096 with 16 channels holds 1 GB a layer. A file's weights are in memory up to three times while an
# engine turns them into its own form, and twice as large where the file has half precision.
MEMORY_BYTES = 3_000_000_000
MEMORY_FOR_EACH_BYTE = 6
# What the rest of the computer keeps: a child that takes the last of it would bring other programs down.
SPARE_BYTES = 500_000_000
# How often the child is looked at.
POLL_S = 0.02

# True in the child itself, which must not try once more.
inside = False

# What runs now, and in which model's folder.
_running: dict[subprocess.Popen[bytes], Path] = {}


def require(spec: ModelSpec, engine: str = "cpu") -> None:
    """Return when the model may be loaded into this process on that engine; the first time this takes seconds.

    Raises ``UserError`` where it does not load, takes too long or too much memory, ends with a fault, does not
    reproduce its golden case, or was stopped.
    """
    if needed(spec) and not kept_json(_path(spec, engine)):
        run(spec, engine)
        remember(spec, engine)


def needed(spec: ModelSpec) -> bool:
    """Say whether the model must be tried: the user added it, or is adding it, and this is not the child."""
    return not inside and not spec.bundled and user_folder() in spec.folder.parents


def run(spec: ModelSpec, engine: str = "cpu", *, record: bool = False) -> None:
    """Try the model now, whatever is remembered; ``record`` also writes a golden case where there is none.

    Raises ``UserError`` as ``require`` does.
    """
    words = [str(spec.folder), engine, f"{DEADLINE_S:.0f}"]
    if record:
        words.append("record")
    command = [sys.executable, "-m", "usviewer.infer.trying", *words]
    limit, quiet = _memory_limit(spec), subprocess.DEVNULL
    with ExitStack() as afterwards:
        with _ctrl_c_waits():
            child = subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet)
            afterwards.enter_context(child)
            afterwards.callback(child.kill)
            afterwards.callback(_running.pop, child, None)
            _running[child] = spec.folder
        _wait(child, spec, limit)
        said, _ = child.communicate()
        stopped = child not in _running
    _judge(child.returncode, said, stopped, spec)


def stop(model_id: str = "") -> None:
    """End the trials that run, of one installed model or of all, from any thread.

    Whoever waits for one gets a ``UserError``.
    """
    for child, folder in tuple(_running.items()):
        if model_id in ("", folder.name):
            _running.pop(child, None)
            child.kill()


atexit.register(stop)


def remember(spec: ModelSpec, engine: str = "cpu") -> None:
    """Note that it went well. A cache: where it cannot be written the model is tried again the next time."""
    path = _path(spec, engine)
    with suppress(UserError):
        keep_json(path, {"model": spec.id, "engine": engine})


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back, also from a child that is started meanwhile, until that child takes it itself.

    Python that is interrupted while it starts ends with code 1, as after a fault.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: subprocess.Popen[bytes], spec: ModelSpec, limit: int) -> None:
    """Until the child has ended; it is killed, and ``UserError`` raised, at the limits of time and memory."""
    due_s = time.monotonic() + DEADLINE_S
    while child.poll() is None:
        if time.monotonic() > due_s:
            raise UserError(
                f"Model '{spec.id}' had not finished one picture after {DEADLINE_S:.0f} s", "Use a smaller model"
            )
        if _resident_bytes(child.pid) > limit:
            raise UserError(f"Model '{spec.id}' takes more than {limit / 1e9:.1f} GB", "Use a smaller model")
        with suppress(subprocess.TimeoutExpired):
            child.wait(POLL_S)


def _resident_bytes(pid: int) -> int:
    """Memory of a process; 0 of one that ends while it is asked."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError, ValueError):
        return 0


def _judge(code: int, said: bytes, stopped: bool, spec: ModelSpec) -> None:
    """Raise what the child's end means, if anything."""
    if stopped or code == -signal.SIGINT:
        raise UserError(f"Trying the model '{spec.id}' was stopped", "Try again")
    try:
        answer = json.loads(said)
    except ValueError:  # it ended before it could answer
        why = f"signal {-code}" if code < 0 else f"code {code}"
        what = f"Loading the model '{spec.id}' ended the engine with a fault ({why})"
        raise UserError(what, "Use another model") from None
    if "bug" in answer:  # an error in our own code must stay visible
        raise RuntimeError(f"trying the model failed: {answer['bug']}")
    if answer:
        raise UserError(str(answer["what"]), str(answer["do"]))


def _memory_limit(spec: ModelSpec) -> int:
    files = sum(os.path.getsize(file.path) for file in spec.files.values() if os.path.isfile(file.path))
    wanted = MEMORY_BYTES + MEMORY_FOR_EACH_BYTE * files
    return max(SPARE_BYTES, min(wanted, int(psutil.virtual_memory().available) - SPARE_BYTES))


def _path(spec: ModelSpec, engine: str) -> Path:
    # Whatever of these changes, the model is tried again.
    facts: Sequence[object] = (
        engine,
        spec.sha256,
        spec.decoder,
        spec.input,
        spec.output,
        spec.prompt,
        [label.name for label in spec.labels],
        spec.golden and (spec.golden.points_xy_px, spec.golden.positive, spec.golden.box_xyxy_px, _golden_hash(spec)),
        session.versions(),
    )
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    return cache_folder() / "tried" / f"{spec.id}-{digest}.json"


def _golden_hash(spec: ModelSpec) -> str:
    content = b""
    with suppress(OSError):
        if spec.golden is not None:
            content += read_bytes(spec.golden.frame, golden.MAX_PICTURE_BYTES)
            content += read_bytes(spec.golden.expected, golden.MAX_EXPECTED_BYTES)
    return hashlib.sha256(content).hexdigest()
