"""What the commands share: their parser, types of options, names of folders, and the report of a bug."""

from __future__ import annotations

import argparse
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from usviewer.errors import UserError
from usviewer.files import make_folder, short_name, write_text
from usviewer.logs import DEFAULT_LEVEL, LEVELS, OwnText, log_path, options_of, report_of, surroundings, written_down
from usviewer.typed_number import NO_UNIT, parse_number, parse_whole

# Nothing is measured, played or watched for longer than a day; no count of frames has more digits.
MOST_SECONDS = 86_400.0
MOST_COUNT = 10_000_000
DEFAULT_MODEL = "aorta"
_MOST_NAME_BYTES = 200
_log = logging.getLogger(__name__)
# 2, as argparse has it, is for what the user can mend: a script can tell it from a bug.
EXIT_BUG = 1
EXIT_BAD_INPUT = 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence instead of a usage text. Every command takes ``--log-level``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.add_argument(
            "--log-level",
            choices=LEVELS,
            default=argparse.SUPPRESS,
            help=f"how much is written into the log (default: {DEFAULT_LEVEL})",
        )

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise ``UserError`` where argparse would print its usage."""
        raise UserError(f"{message[:1].upper()}{message[1:]}", f"'{self.prog} --help' lists the options")


@contextmanager
def logged(level: str, command: str, arguments: Sequence[str] = ()) -> Iterator[None]:
    """Keep the log inside the block; it begins with the command, the names of its options, and all versions."""
    with written_down(level):
        options = OwnText(options_of(arguments))
        _log.info("begin: %s %s; %s", OwnText(command), options, OwnText(", ".join(surroundings())))
        yield
        _log.info("end")


def bug_sentence(error: Exception, arguments: Sequence[str] = ()) -> str:
    """One sentence for an error in the program. The report with the traceback is written beside the log."""
    _log.error("an error in the program", exc_info=error)
    folder = log_path().parent
    path = folder / f"error-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    try:
        write_text(make_folder(folder) / path.name, report_of(error, arguments))
    except UserError:
        return "an error in the program. Please report what you did."
    return f"an error in the program. Please report it with the file {path}"


def number(
    least: float = -math.inf, most: float = math.inf, units: Mapping[str, float] = NO_UNIT
) -> Callable[[str], float]:
    """The type of an option that takes a number, read by the rules of every field of the window."""

    def read(text: str) -> float:
        try:
            return parse_number(text, least=least, most=most, units=units)
        except UserError as error:
            raise argparse.ArgumentTypeError(f"{error.what}. {error.do}") from None

    return read


def whole(least: int = -MOST_COUNT, most: int = MOST_COUNT) -> Callable[[str], int]:
    """The type of an option that takes a whole number."""

    def read(text: str) -> int:
        try:
            return parse_whole(text, least=least, most=most)
        except UserError as error:
            raise argparse.ArgumentTypeError(f"{error.what}. {error.do}") from None

    return read


def require_least(option: str, value: float, least: float) -> None:
    """Raise ``UserError`` for a number that is below ``least``, infinite or NaN."""
    if not (math.isfinite(value) and value >= least):
        raise UserError(f"{option} {value:g} cannot be right", f"Give a number of {least:g} or more")


def unused_names(sources: Sequence[str]) -> list[str]:
    """A folder name for each input, from its file name without the ending; the second of one name gets "-2".

    Names that differ in capitals only count as one: not every disk tells them apart.
    """
    names: list[str] = []
    taken: set[str] = set()
    for source in sources:
        path = Path(source)
        if path.name in ("", ".."):  # "." and "..": the folder that is meant has a name
            path = path.resolve()
        stem = re.sub(r"[^\w.+-]+", "_", path.stem).strip("._") or "input"
        stem = name = short_name(stem, _MOST_NAME_BYTES)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
