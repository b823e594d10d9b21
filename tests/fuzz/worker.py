"""The process in which inputs are read: one after the other, each with its outcome, its memory and its time."""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
import traceback
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

from tests.fuzz import readers
from tests.fuzz.clock import Clock
from tests.fuzz.sentence import fault_of
from tests.fuzz.task import Absent, Outcome, Read, Result, Task
from usviewer.errors import UserError

READY, WRITTEN = "ready", "written"
HOMES = ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "HOME", "TMPDIR")


def serve(connection: Connection, log: Path) -> None:
    """Answer tasks until the other side is gone. What libraries print goes into ``log``."""
    said = _redirected(log)
    readers.warm_up()
    connection.send(READY)
    while True:
        try:
            task, folder = connection.recv()
        except EOFError:
            return
        said.seek(0)
        said.truncate()
        # Where it hung is in the log when the other side ends this process.
        faulthandler.dump_traceback_later(0.9 * task.max_seconds, file=said)
        result = _carried_out(task, folder, connection)
        faulthandler.cancel_dump_traceback_later()
        connection.send(result)


def _redirected(log: Path) -> TextIO:
    said = log.open("w+", encoding="utf-8", errors="replace")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for stream in (1, 2):
        os.dup2(said.fileno(), stream)
    faulthandler.enable(file=said)
    return said


def _carried_out(task: Task, folder: Path, connection: Connection) -> Result:
    inputs = folder / "input"
    _at_home(folder / "home")
    inputs.mkdir()
    try:
        task.write(inputs)
    except Absent:
        connection.send(WRITTEN)
        return Result(task, "absent")
    connection.send(WRITTEN)
    forget_peak()
    clock = Clock()
    return replace(_outcome(task, inputs), extra_bytes=peak_bytes(), seconds=clock.seconds())


def _at_home(home: Path) -> None:
    home.mkdir(parents=True)
    for name in HOMES:
        os.environ[name] = str(home)
    tempfile.tempdir = None  # asked for anew
    os.environ["USVIEWER_ENGINE"] = "cpu"


def _outcome(task: Task, inputs: Path) -> Result:
    temporary = str(inputs.parent / "home")
    try:
        read = task.read(inputs)
    except UserError as error:
        return _judged(task, Read(sentences=(str(error),), refused=True), temporary)
    except BaseException as error:
        return Result(task, "exception", f"{type(error).__name__}: {str(error)[:300]}", _place(error))
    return _judged(task, read, temporary)


def _judged(task: Task, read: Read, temporary: str) -> Result:
    outcome: Outcome = "refused" if read.refused else "read"
    said = read.sentences[-1] if read.sentences else ""
    if task.must not in ("", outcome):
        return Result(task, "unexpected", f"{outcome} instead of {task.must}. {said}", picture_bytes=read.picture_bytes)
    for sentence in read.sentences:
        if poor := fault_of(sentence, temporary):
            return Result(task, outcome, sentence, poor=poor, picture_bytes=read.picture_bytes)
    return Result(task, outcome, said, picture_bytes=read.picture_bytes)


def _place(error: BaseException) -> str:
    """The product's last line on the way to the exception."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}usviewer{os.sep}" in frame.filename] or list(frames)
    last = own[-1]
    return f"{Path(*Path(last.filename).parts[-2:])}:{last.lineno}"


# --- memory: exact where Linux tells the peak since it was last forgotten, else the peak of the process so far -------


def forget_peak() -> None:
    """Let the peak begin anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes() -> int:
    """The most memory that this process held since ``forget_peak``."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return 0  # the watch from outside must do
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
