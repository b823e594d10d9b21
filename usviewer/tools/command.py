"""What the commands share on the command line."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from usviewer.errors import UserError
from usviewer.typed_number import NO_UNIT, parse_number, parse_whole

# Nothing is measured, played or watched for longer than a day; no count of frames has more digits.
MOST_SECONDS = 86_400.0
MOST_COUNT = 10_000_000
DEFAULT_MODEL = "aorta"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence instead of a usage text."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise ``UserError`` where argparse would print its usage."""
        raise UserError(f"{message[:1].upper()}{message[1:]}", f"'{self.prog} --help' lists what can be said")


def console() -> Console:
    """Where a command talks to the user; in a pipe or file lines are not broken at 80 columns."""
    screen = Console(stderr=True, highlight=False)
    return screen if screen.is_terminal else Console(stderr=True, highlight=False, width=240)


def number(
    least: float = -math.inf, most: float = math.inf, units: Mapping[str, float] = NO_UNIT
) -> Callable[[str], float]:
    """The type of an option that takes a number: as it is typed in every field of the window, too."""

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
    """``UserError`` for a number below the least that makes sense, or one that is none."""
    if not (math.isfinite(value) and value >= least):
        raise UserError(f"{option} {value:g} cannot be right", f"Give a number of {least:g} or more")


def unused_names(sources: Sequence[str]) -> list[str]:
    """A folder name for each input, from its file name without the ending; the second of a kind gets "-2"."""
    names: list[str] = []
    for source in sources:
        stem = re.sub(r"[^\w.+-]+", "_", Path(source).stem or Path(source).resolve().name).strip("._") or "input"
        count = sum(name == stem or name.startswith(f"{stem}-") for name in names)
        names.append(stem if stem not in names else f"{stem}-{count + 1}")
    return names
