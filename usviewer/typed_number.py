"""Numbers as people type them: the same text means the same number in every field and option, on every computer.

Point and comma are both the decimal sign, whatever the computer's language. What could mean two numbers is refused with
the reason, never guessed: ``1,234`` is one thousand and more to some and one and a quarter to others. It is taken only
where one of the two is out of the question, because it lies beyond the limits of what is asked for. Digits that are
grouped, exponents, words (``nan``), and digits of other scripts are refused as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

from usviewer.errors import UserError

# What a suffix multiplies by. Lengths are asked for in mm.
NO_UNIT: Mapping[str, float] = MappingProxyType({})
LENGTH_IN_MM: Mapping[str, float] = MappingProxyType({"mm": 1.0, "cm": 10.0})
SECONDS: Mapping[str, float] = MappingProxyType({"s": 1.0})

# More is not typed by hand, and Python refuses to read 5,000 digits with an error of its own.
MOST_LETTERS = 40
_NUMBER = re.compile(r"([+-]?)(\d*)(?:([.,])(\d+))?", re.ASCII)
_SUFFIXED = re.compile(r"(.*?[0-9.,])\s*([^\W\d_]+(?:/[^\W\d_]+)?)?", re.DOTALL)
_GROUPED = re.compile(r"[+-]?\d+(?:[.,\s'’`·_]\d+)+")  # noqa: RUF001 - Swiss and typographic apostrophes
_ADVICE = "Write it without grouping, with one decimal sign, such as 52.5"


def parse_number(
    text: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    units: Mapping[str, float] = NO_UNIT,
    grouping: bool = True,
) -> float:
    """Read the number that a person typed, from ``least`` to ``most``.

    ``units`` are the suffixes that may follow, each with what it multiplies by (``LENGTH_IN_MM``: ``5 cm`` is 50).
    ``grouping`` False: nobody who writes here groups digits, so ``1.234`` has one meaning (a table made by a program).
    Raises ``UserError`` for what is not a number, what may mean two, and what lies beyond the limits.
    """
    typed = text.strip()
    digits, factor = _without_unit(typed, units)
    found = _NUMBER.fullmatch(digits)
    if found is None or not (found[2] or found[4]):
        raise _refusal(typed)
    sign, whole, _, part = found.groups(default="")
    value = float(f"{sign}{whole or '0'}.{part or '0'}") * factor
    # Three digits behind the sign may be a group: refused where that number lies within the limits as well.
    if grouping and len(part) == 3 and len(whole) <= 3 and whole[:1] not in ("", "0"):
        if least <= float(f"{sign}{whole}{part}") * factor <= most:
            raise _ambiguous(typed, f"{sign}{whole}", part)
    if not least <= value <= most:
        raise UserError(f"'{_short(typed)}' is not {_range(least, most)}", "Check the number and its unit")
    return value


def parse_whole(text: str, *, least: int, most: int) -> int:
    """Read the whole number that a person typed, from ``least`` to ``most``. Raises ``UserError`` for anything else."""
    typed = text.strip()
    if not re.fullmatch(r"[+-]?\d{1,15}", typed, re.ASCII):
        raise UserError(f"'{_short(typed)}' is not a whole number", "Write it with the digits 0 to 9 only")
    if not least <= int(typed) <= most:
        raise UserError(f"'{_short(typed)}' is not {_range(least, most)}", "Check the number")
    return int(typed)


def plain_number(value: float, decimals: int = 4) -> str:
    """Write a number as fields show it and ``parse_number`` reads it: with a point, and without an exponent."""
    text = f"{value:.{decimals}f}"
    if "." in text:  # the zeros of 100 stay
        return text.rstrip("0").rstrip(".")
    return text


def _without_unit(typed: str, units: Mapping[str, float]) -> tuple[str, float]:
    """The digits, and what the unit behind them multiplies by."""
    found = _SUFFIXED.fullmatch(typed[: MOST_LETTERS + 1])
    if found is None or not found[2]:
        return typed, 1.0
    if found[2].casefold() not in units:
        if re.fullmatch(r"[eE]", found[2]) or not _NUMBER.fullmatch(found[1]):
            raise _refusal(typed)
        do = "Give the number alone"
        if units:
            do = f"Give it in {' or '.join(units)}"
        raise UserError(f"'{_short(typed)}' has a unit that does not belong here", do)
    return found[1], units[found[2].casefold()]


def _refusal(typed: str) -> UserError:
    """Say why this is not a number that could be taken."""
    if not typed:
        return UserError("There is no number", "Type one")
    if any(letter.isdigit() and not letter.isascii() for letter in typed):
        return UserError(f"'{_short(typed)}' has digits that are not 0 to 9", "Write it with the digits 0 to 9")
    if _GROUPED.fullmatch(typed.rstrip("mcMC ")):
        return UserError(f"'{_short(typed)}' has digits in groups, and it is not certain what they mean", _ADVICE)
    return UserError(f"'{_short(typed)}' is not a plain number", "Write it like 52.5 or 52,5")


def _ambiguous(typed: str, whole: str, part: str) -> UserError:
    decimal = f"{whole}.{part}".rstrip("0").rstrip(".")
    clear = decimal if len(decimal) < len(whole) + 4 else f"{decimal}0"  # a fourth digit cannot be a group
    return UserError(f"'{_short(typed)}' may mean {decimal} or {whole}{part}", f"Write {clear} or {whole}{part}")


def _short(typed: str) -> str:
    if len(typed) <= MOST_LETTERS:
        return typed
    return f"{typed[:MOST_LETTERS]}..."


def _plain(value: float) -> str:
    return plain_number(value, 12)


def _range(least: float, most: float) -> str:
    if math.isfinite(most):
        return f"a number from {_plain(least)} to {_plain(most)}"
    if math.isfinite(least):
        return f"a number of {least:g} or more"
    return "a number"
