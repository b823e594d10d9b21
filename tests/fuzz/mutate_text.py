"""Damage to JSON and TOML: values of other kinds and sizes, and text that no writer of ours would write."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import tomli_w

from tests.fuzz import mutate

# Values that a key may hold though nobody meant them: other types, the ends of ranges, what floats cannot hold,
# text that is no text, and depth.
NASTY: tuple[Any, ...] = (
    True, False, 0, 1, -1, 2, 255, 256, 65536, 2**31, 2**32, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e-320, 1e308,
    float("inf"), float("-inf"), float("nan"), "", "x", " ", "\0", "a\nb", "\x1b[2J", "../../etc/passwd", "/dev/zero",
    "C:\\x", "x" * 100_000, "\ud800", "\u202etext", "1", "nan", "<h1>24 mm</h1>", "%s%n", [], {}, [[]], [0], [1, 2],
    [1] * 10_000, ["x"], {"x": 1}, {"": ""}, [[0] * 3] * 3, [1e300, 1e300],
)  # fmt: skip
DEEP = 100_000
DIGITS = 10_000  # more than Python turns into a number
BOM = "\ufeff"
NUMBER = re.compile(r"(?<![\w.])-?\d+(\.\d+)?(?![\w.])")
NUMBERS = ("1e400", "-1e400", "NaN", "Infinity", "inf", "-0", "00", "1e-400", "9" * DIGITS, "0x10", "1_0", "1.", ".5")

TextDamage = Callable[[str, Random], str]


def damaged_json(content: bytes, other: bytes, random: Random) -> bytes:
    """A JSON file with other values, other text or other bytes."""
    return _damaged(content, other, random, json.loads, lambda tree: json.dumps(tree, indent=1))


def damaged_toml(content: bytes, other: bytes, random: Random) -> bytes:
    """A TOML file with other values, other text or other bytes."""
    return _damaged(content, other, random, tomllib.loads, lambda tree: tomli_w.dumps(without_none(tree)))


def _damaged(
    content: bytes, other: bytes, random: Random, read: Callable[[str], Any], write: Callable[[Any], str]
) -> bytes:
    way = random.random()
    if way < 0.6:
        try:
            return write(damaged_tree(read(content.decode()), random)).encode("utf-8", "surrogatepass")
        except (ValueError, TypeError, RecursionError):  # not to be written: as text, then
            way = 0.7
    if way < 0.9:
        return random.choice(TEXTS)(content.decode("utf-8", "replace"), random).encode("utf-8", "surrogatepass")
    return mutate.damaged(content, other, random)


def damaged_tree(tree: Any, random: Random) -> Any:
    """The same document with one to three of its values replaced, taken away, doubled or moved."""
    tree = copy.deepcopy(tree)
    for _ in range(random.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            return random.choice(NASTY)
        holder, key = random.choice(places)
        _change(holder, key, tree, random)
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of the document as its holder and its key there."""
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


def _change(holder: Any, key: Any, tree: Any, random: Random) -> None:
    what = random.random()
    if what < 0.6:
        holder[key] = copy.deepcopy(random.choice(NASTY))
    elif what < 0.8:
        del holder[key]
    elif what < 0.9 and isinstance(holder, list):
        holder.extend([holder[key]] * random.choice((1, 2, 1000)))
    elif isinstance(holder, dict):
        holder[random.choice(("x", "", "\n", "version", "name", str(key) + "2"))] = copy.deepcopy(holder[key])
    else:
        holder[key] = copy.deepcopy(random.choice(list(_places(tree)))[0])


def without_none(tree: Any) -> Any:
    """TOML knows no null."""
    if isinstance(tree, dict):
        return {key: without_none(value) for key, value in tree.items() if value is not None}
    return [without_none(value) for value in tree if value is not None] if isinstance(tree, list) else tree


# --- the text ---------------------------------------------------------------------------------------------------------


def _other_number(text: str, random: Random) -> str:
    found = list(NUMBER.finditer(text))
    if not found:
        return random.choice(NUMBERS)
    match = random.choice(found)
    return text[: match.start()] + random.choice(NUMBERS) + text[match.end() :]


def _deep(text: str, random: Random) -> str:
    opening = random.choice(("[", '{"a":', "[{", "(", "{a="))
    nest = opening * random.choice((100, 1000, DEEP))
    return random.choice((nest, f"x = {nest}", _inserted(text, nest, random)))


def _inserted(text: str, more: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + more + text[at:]


def _odd_letters(text: str, random: Random) -> str:
    return _inserted(
        text, random.choice(("\0", "\ud800", BOM, "\x1b[31m", "\r", "\u2028", "é", '"', "\\", "#")), random
    )


def _marked(text: str, random: Random) -> str:
    return BOM + text


def _twice(text: str, random: Random) -> str:
    """A line again: a key that stands there twice."""
    lines = text.splitlines(keepends=True) or [text]
    at = random.randrange(len(lines))
    return "".join([*lines[: at + 1], *lines[at:]])


def _half(text: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)]


def _long(text: str, random: Random) -> str:
    return _inserted(text, random.choice(("9", "x", " ", "\n", "-", '"')) * 1_000_000, random)


def _something_else(text: str, random: Random) -> str:
    return random.choice(("", "null", "0", "true", '"x"', "[]", "{}", "[1, 2", "{", "\n" * 10, "\0" * 100, "NaN"))


TEXTS: tuple[TextDamage, ...] = (
    _other_number, _other_number, _other_number, _deep, _odd_letters, _marked, _twice, _half, _long, _something_else,
)  # fmt: skip
