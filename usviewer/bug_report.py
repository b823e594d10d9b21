"""What is told of an error in the program: where it happened and of which kind, in the program's own words alone.

The message of an exception and the arguments of the command may hold the name of a file, and so of a patient. A report
is made to be sent to somebody: neither is in it, and folders are shortened to what lies in the installation.
"""

from __future__ import annotations

import errno
import itertools
import platform
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from usviewer import __version__

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
