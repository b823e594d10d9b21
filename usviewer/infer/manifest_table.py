"""A TOML table read strictly: typed, complete, and nothing left over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from usviewer.errors import UserError
from usviewer.plain_text import printable

_REQUIRED = object()

T = TypeVar("T")


class ManifestTable:
    """A TOML table that gives up its values one by one, typed, and refuses what is left over."""

    def __init__(self, values: object, where: str) -> None:
        self._where = where
        if not isinstance(values, Mapping):
            raise UserError(f"{where} of the manifest must be a table", "Correct it")
        self._values = dict(values)

    def wrong(self, key: str, wanted: str) -> UserError:
        """Make the error for a value of this table."""
        return UserError(f"{key} in {self._where} must be {wanted}", "Correct manifest.toml")

    def take(self, key: str, kind: type[T], default: object = _REQUIRED) -> T:
        """Take out a value of that type. Raises ``UserError`` where it is missing or of another type."""
        value = self._values.pop(key, default)
        if value is _REQUIRED:
            raise UserError(f"{key} is missing in {self._where}", "Complete manifest.toml")
        # For Python True is the number 1; for whoever wrote the manifest it is not.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, _KINDS.get(kind, "a number"))
        return value

    def has(self, key: str) -> bool:
        """Say whether the key is there, and was not taken yet."""
        return key in self._values

    def words(self, key: str, most: int, default: object = _REQUIRED) -> str:
        """Take out text that is shown: so many letters at most, control characters as escapes."""
        return printable(self.take(key, str, default)[:most])

    def table(self, key: str) -> ManifestTable:
        """Take out a table in this one."""
        return ManifestTable(self.take(key, dict), key)

    def choice(self, key: str, allowed: Mapping[str, str] | tuple[str, ...], default: object = _REQUIRED) -> str:
        """Take out one of the allowed words."""
        value = self.take(key, str, default)
        if value not in allowed:
            raise self.wrong(key, "one of " + ", ".join(allowed))
        return value

    def whole(self, key: str, least: int, most: int, default: int) -> int:
        """Take out a whole number within bounds."""
        value = self.take(key, int, default)
        if not least <= value <= most:
            raise self.wrong(key, f"{least} to {most}")
        return value

    def number(self, key: str, default: float) -> float:
        """Take out a finite number that is not negative."""
        (value,) = self._finite(key, [self._values.pop(key, default)])
        if value < 0:
            raise self.wrong(key, "zero or more")
        return value

    def fraction(self, key: str, default: float) -> float:
        """Take out a number between 0 and 1."""
        value = self.number(key, default)
        if value > 1:
            raise self.wrong(key, "between 0 and 1")
        return value

    def pair(self, key: str) -> tuple[float, float]:
        """Take out two finite numbers."""
        return self.pair_of(key, self.take(key, list))

    def pair_of(self, key: str, row: object) -> tuple[float, float]:
        """Give the two finite numbers of a list that was taken out."""
        values = self._finite(key, row if isinstance(row, list) else [])
        if len(values) != 2:
            raise self.wrong(key, "two numbers")
        return values[0], values[1]

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """Take out so many finite numbers, or none where the key is absent."""
        values = self._finite(key, self.take(key, list, []))
        if len(values) not in (0, count):
            raise self.wrong(key, f"{count} number(s)")
        return values

    def _finite(self, key: str, values: list[Any]) -> tuple[float, ...]:
        # TOML has inf and nan.
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise self.wrong(key, "a finite number")
        return tuple(float(value) for value in values)

    def done(self, hints: Mapping[str, str] = MappingProxyType({})) -> None:
        """Refuse keys that were not taken out; ``hints`` says what to do about keys with a word in them."""
        # A key that is misspelt, or not known to this version, would otherwise be a default that nobody chose.
        if self._values:
            for word, do in hints.items():
                if key := next((key for key in map(str, self._values) if word in key.lower()), ""):
                    raise UserError(f"A manifest cannot say '{printable(key[:50])}'", do)
            unknown = ", ".join(sorted(map(str, self._values)))[:200]
            raise UserError(f"Unknown key in {self._where}: {unknown}", "Correct the spelling in manifest.toml")


_KINDS: dict[type, str] = {int: "a whole number", str: "text", bool: "true or false", list: "a list", dict: "a table"}
