"""Readers that are broken on purpose: the suite must notice each of them."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from tests.fuzz.task import Read
from usviewer.errors import UserError


def write(folder: Path) -> None:
    """An input that none of them looks at."""
    (folder / "a.bin").write_bytes(b"a")


def write_slowly(folder: Path) -> None:
    """An input that takes longer to make than a reader may take."""
    time.sleep(1.5)
    write(folder)


def reads(folder: Path) -> Read:
    """All is well."""
    return Read(sentences=("A note.",))


def refuses(folder: Path) -> Read:
    """All is well, too."""
    raise UserError("It is damaged", "Copy it again")


def raises(folder: Path) -> Read:
    """A fault of the program."""
    raise KeyError("x")


def hangs(folder: Path) -> Read:
    """Waits for ever."""
    while True:
        time.sleep(1.0)


def crashes(folder: Path) -> Read:
    """Reads where nothing is, as a library in C may."""
    ctypes.string_at(1)
    return Read()


def hoards(folder: Path) -> Read:
    """1.2 GB for a moment, for nothing."""
    bytearray(1_200_000_000)
    return Read()


def hoards_for_a_picture(folder: Path) -> Read:
    """The same for a picture that is worth it."""
    bytearray(1_200_000_000)
    return Read(picture_bytes=400_000_000)


def hoards_all(folder: Path) -> Read:
    """More and more, until it is ended."""
    kept = []
    while True:
        kept.append(bytearray(200_000_000))


def says_it_badly(folder: Path) -> Read:
    """A refusal that no user understands."""
    raise UserError("Errno 22 in parse()")
