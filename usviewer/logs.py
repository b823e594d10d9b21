"""What the program writes about itself for whoever looks into a fault: one short file with nothing about patients.

Three nets keep patients out of it. Only the program's own modules are heard: libraries log the values and names of what
they read. Of what a line is filled with, only numbers, members of the program's own enumerations and ``OwnText`` are
written; an exception becomes its class and place (``told``), any other text is left out. At last whatever looks like a
path, an address or the name of a file is cut out of the line.

A full disk, a folder that cannot be written or a disk that hangs costs lines, and nothing else: a line is put into a
queue of limited length, and a thread of ``logging`` writes it. Several windows and commands share the file: each takes
a lock for each line, so that none writes into what another one is renaming.

An error in the program also becomes a report, made to be sent to somebody: where it happened and of which kind. The
message of an exception and the arguments of a command may hold the name of a file, and so of a patient: neither is in
it, and folders are shortened to what lies in the installation.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import platform
import queue
import re
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from numbers import Number
from pathlib import Path

import platformdirs

from usviewer import __version__
from usviewer.errors import UserError
from usviewer.files import make_folder, one_at_a_time

LEVELS = ("debug", "info", "warning")
DEFAULT_LEVEL = "info"
# Some ten thousand lines: weeks of use at the level info, an hour of a fault that repeats itself.
MOST_BYTES, KEPT_FILES = 1_000_000, 5
# As many lines wait for a disk that hangs; further ones are counted.
MOST_WAITING = 1000
# The end of the program does not wait longer for the last lines.
END_DEADLINE_S = 1.0
# What repeats itself is written so often; a frame that fails comes 30 times a second.
REPEAT_S = 60.0
# Of so many lines it is known when they were written last. A longer line holds the content of something.
_MOST_REMEMBERED = 200
_MOST_LETTERS = 2000
_OWN = logging.getLogger("usviewer")
# Without a file nothing is written: else Python would print warnings on the error stream.
_OWN.addHandler(logging.NullHandler())
_log = logging.getLogger(__name__)

_ENDINGS = (
    "avi|bmp|csv|dcm|dic|dicom|gif|h264|h265|ima|img|jfif|jp2|jpe?g|json|m4v|mkv|mov|mp4|mpe?g|mts|npz|onnx|pdf|png|"
    "pth?|tiff?|toml|ts|txt|webm|webp|wmv|zip"
)
# What comes after the beginning of a path may hold spaces: the rest of the line goes.
_PATH = re.compile(r"(?<![\w.])(?:~|\.{1,2})?[/\\](?=\S).*|(?<!\w)[A-Za-z]:[/\\].*", re.DOTALL)
_ADDRESS = re.compile(r"\b(?:[a-z][a-z0-9+.-]*://|(?:device|screen|file|data):)\S+", re.IGNORECASE)
_FILE = re.compile(rf"\S+\.(?:{_ENDINGS})\b", re.IGNORECASE)
_UID = re.compile(r"\b\d+(?:\.\d+){4,}\b")
_CUT_OUT = ((_ADDRESS, "[address]"), (_PATH, "[path]"), (_FILE, "[file]"), (_UID, "[number]"))
# Whose versions a report names: what reads, runs and shows.
_LIBRARIES = (
    "numpy",
    "av",
    "pydicom",
    "pillow",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "PySide6-Essentials",
)
# An endless recursion has a thousand frames, a retry that chains its errors any number of them.
_MOST_FRAMES = 60
_DEEPEST = 10


class OwnText(str):
    """A text that the program itself chose: the name of an engine, a sentence of its own.

    Never of a file, a folder, a device, a user's model, or anything that was typed.
    """

    __slots__ = ()


def log_path() -> Path:
    """The file; earlier ones are called ``usviewer.log.1`` and so on."""
    return Path(platformdirs.user_log_dir("usviewer", appauthor=False)) / "usviewer.log"


def told(error: BaseException) -> OwnText:
    """An exception in one line: class and place of it, and of those it was raised for. Its message may hold names."""
    return OwnText(", for ".join(f"{kind_of(link)}{_place(link)}" for link in chain_of(error)))


def _place(error: BaseException) -> str:
    """The last line of the program itself that the exception went through; ``errors`` only turns one into another."""
    place, trace = "", error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.startswith("usviewer.") and module != "usviewer.errors":
            place = f" at {module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def redacted(text: str) -> str:
    """The line without whatever looks like a path, an address, the name of a file or a DICOM identifier."""
    for pattern, instead in _CUT_OUT:
        text = pattern.sub(instead, text)
    return text


@contextmanager
def written_down(level: str = DEFAULT_LEVEL, path: Path | None = None) -> Iterator[None]:
    """Write what the program says of itself inside the block into ``path`` (None: ``log_path``), from ``level`` on.

    What is raised out of the block is written, too. Where no file can be made nothing is written, nor raised.
    """
    end = _begin(level, path or log_path())
    try:
        yield
    except (UserError, MemoryError) as error:
        _log.warning("ended by %s", error)
        raise
    except Exception:
        _log.exception("ended by an error in the program")
        raise
    finally:
        end()


def _begin(level: str, path: Path) -> Callable[[], None]:
    """Open the log; what is given ends it."""
    try:
        make_folder(path.parent)
    except UserError:
        return lambda: None
    before, handler = _OWN.level, _Handler(level)
    listener = _Listener(handler.queue, _File(path))
    listener.start()
    _OWN.addHandler(handler)
    _OWN.setLevel(level.upper())

    def end() -> None:
        _OWN.setLevel(before)
        _OWN.removeHandler(handler)
        handler.close()
        listener.end(END_DEADLINE_S)

    return end


class _Lines(logging.Formatter):
    """A line of the program's own words; below an error in the program the lines that led to it."""

    def format(self, record: logging.LogRecord) -> str:
        text = redacted(_filled(record))[:_MOST_LETTERS]
        lines = [f"{record.levelname.lower()} {record.threadName} {record.name}:{record.lineno} {text}"]
        if record.exc_info and record.exc_info[1] is not None:
            lines += trace_of(record.exc_info[1])
        return "\n  ".join(" ".join(line.splitlines()) for line in lines)


def _filled(record: logging.LogRecord) -> str:
    args = record.args
    try:
        if isinstance(args, tuple):
            if args:  # without, a % in the text is a % and nothing else
                return str(record.msg) % tuple(map(_safe, args))
    except (TypeError, ValueError):  # a number was expected where a text stood, which was left out
        pass
    return str(record.msg)


def _safe(value: object) -> object:
    """What may be written of a value that a line is filled with."""
    if value is None or isinstance(value, Number | OwnText):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, BaseException):
        return told(value)
    if isinstance(value, tuple):
        return tuple(map(_safe, value))
    return f"[{type(value).__name__} left out]"


class _Handler(QueueHandler):
    """Hands lines over without ever waiting. What repeats itself is counted."""

    def __init__(self, level: str) -> None:
        super().__init__(queue.Queue(MOST_WAITING))
        self.setLevel(level.upper())
        self.setFormatter(_Lines())
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._put(self.format(record), record.created)
        except Exception:  # whatever it was: the work goes on
            self._lost += 1

    def close(self) -> None:
        with suppress(Exception):
            now_s = time.time()
            for text, (_, more) in self._said.items():
                if more:
                    self._enqueue(f"{text.splitlines()[0]} (and {more} more like it)", now_s)
            if self._lost:
                self._enqueue(f"warning MainThread {__name__}:0 {self._lost} lines were lost", now_s)
        super().close()

    def _put(self, text: str, at_s: float) -> None:
        said_s, more = self._said.pop(text, (-REPEAT_S, 0))
        repeated = at_s - said_s < REPEAT_S
        self._said[text] = (said_s, more + 1) if repeated else (at_s, 0)
        # The one that was said longest ago stands first: what repeats itself was put behind again.
        if len(self._said) > _MOST_REMEMBERED:
            self._said.popitem(last=False)
        if repeated:
            return
        if more:
            text += f" (and {more} more like it)"
        self._enqueue(text, at_s)

    def _enqueue(self, text: str, at_s: float) -> None:
        utc = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))
        line = f"{utc}.{int(at_s % 1 * 1000):03d}Z {os.getpid()} {text}"
        self.queue.put_nowait(logging.makeLogRecord({"msg": line}))


class _Listener(QueueListener):
    """Writes what waits, in a thread of ``logging``."""

    def end(self, deadline_s: float) -> None:
        """Write what waits, and end; a disk that hangs is left to the thread, which ends with the program."""
        with suppress(queue.Full):
            self.enqueue_sentinel()
        if self._thread is not None:
            self._thread.join(deadline_s)


class _File(RotatingFileHandler):
    """The file, for the user alone. It is opened for each line, so that another process can rename it in between."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MOST_BYTES, backupCount=KEPT_FILES - 1, delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            with one_at_a_time(Path(self.baseFilename)):
                super().emit(record)
                self._let_go()

    def createLock(self) -> None:
        """No lock: one thread writes, and the end of Python would wait for the lock of a disk that hangs."""
        self.lock = None

    def flush(self) -> None:
        """Nothing: each line is flushed when the file is closed, and the end of Python must not wait for it."""

    def close(self) -> None:
        """Nothing, for the same reason: no line leaves the file open."""

    def handleError(self, record: logging.LogRecord) -> None:
        """The line is lost; ``logging`` would print a traceback over what the user sees."""
        self._let_go()

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", errors="backslashreplace", opener=_for_the_user_alone)

    def _let_go(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(Exception):
                stream.close()


def _for_the_user_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


# --- the report of an error -------------------------------------------------------------------------------------------


def report_of(error: BaseException, arguments: Sequence[str] = ()) -> str:
    """Write the whole report; of the command's ``arguments`` only the names of its options."""
    lines = list(surroundings())
    if options := options_of(arguments):
        lines.append(f"Options: {options}")
    return "\n".join([*lines, "", *trace_of(error)]) + "\n"


def surroundings() -> tuple[str, ...]:
    """List the versions of the program, of Python with its system, and of the libraries, a line each."""
    here = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    libraries = (f"{name} {found}" for name in _LIBRARIES if (found := _version(name)))
    return (f"usviewer {__version__}", f"Python {here}", *libraries)


def options_of(arguments: Sequence[str]) -> str:
    """List the names of a command's options, without what was typed after them."""
    words = itertools.takewhile(lambda word: word != "--", arguments)  # names of files follow, also ones with a dash
    return " ".join(word.partition("=")[0] for word in words if word.startswith("-") and not word[1:2].isdigit())


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Give the exception, then the one it was raised for, and so on."""
    link: BaseException | None = error
    for _ in range(_DEEPEST):
        if link is None:
            return
        yield link
        following = link.__cause__
        if following is None and not link.__suppress_context__:
            following = link.__context__
        link = following


def trace_of(error: BaseException) -> Iterator[str]:
    """Give the lines of the program that led to the exception, and to those it was raised for; no message of any."""
    for link in chain_of(error):
        yield f"{kind_of(link)}, raised at (the last is the place itself):"
        for frame in traceback.extract_tb(link.__traceback__)[-_MOST_FRAMES:]:
            yield f"  {_short(frame.filename)}:{frame.lineno} in {frame.name}: {(frame.line or '').strip()}"


def kind_of(error: BaseException) -> str:
    """Name the class of an exception, with the system's own code where it has one."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, OSError) and error.errno is not None:
        return f"{kind} ({errno.errorcode.get(error.errno, error.errno)})"
    return kind


def _short(file: str) -> str:
    """A code file below the folder it is imported from; its name alone elsewhere."""
    path = Path(file)
    roots = sorted((root for root in sys.path if root and path.is_relative_to(root)), key=len)
    if not roots:
        return path.name
    # Of a virtual environment inside a checkout the longest root is the one that was imported from.
    return path.relative_to(roots[-1]).as_posix()
