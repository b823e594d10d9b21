"""Damage to bytes, whatever they mean: what disks, cables, editors and attackers do to a file.

All chance comes from the ``Random`` that is handed in, so that the same numbers give the same damage.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

Damage = Callable[[bytes, bytes, Random], bytes]

# Where formats keep what decides how the rest is read.
HEAD_BYTES = 512
TAIL_BYTES = 256
# The ends of the number ranges, and their neighbours, break more readers than chance does.
INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
INTEGERS_64 = (*INTEGERS, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
FORMS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
LONGEST_RUN = 2048


def damaged(content: bytes, other: bytes, random: Random) -> bytes:
    """One to three damages, one after the other. ``other`` is another input of the same kind, to splice with."""
    for _ in range(random.randint(1, 3)):
        content = random.choice(DAMAGES)(content, other, random)
    return content


def _place(content: bytes, random: Random) -> int:
    """A position: often near the beginning, sometimes near the end, else anywhere."""
    where = random.random()
    if where < 0.5:
        return random.randrange(max(1, min(HEAD_BYTES, len(content))))
    if where < 0.6:
        return max(0, len(content) - 1 - random.randrange(TAIL_BYTES))
    return random.randrange(max(1, len(content)))


def _run(content: bytes, random: Random) -> tuple[int, int]:
    start = _place(content, random)
    return start, min(len(content), start + 1 + int(LONGEST_RUN * random.random() ** 3))


def flip_bits(content: bytes, other: bytes, random: Random) -> bytes:
    """Some bits turned over."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[_place(content, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, other: bytes, random: Random) -> bytes:
    """A run of bytes replaced by zeros, ones or noise of the same length."""
    start, end = _run(content, random)
    filler = random.choice((b"\0", b"\xff", None))
    run = random.randbytes(end - start) if filler is None else filler * (end - start)
    return content[:start] + run + content[end:]


def cut_off(content: bytes, other: bytes, random: Random) -> bytes:
    """The end is missing."""
    return (
        content[: _place(content, random)] if random.random() < 0.3 else content[: random.randrange(len(content) + 1)]
    )


def cut_out(content: bytes, other: bytes, random: Random) -> bytes:
    """A run of bytes is missing: all offsets behind it are wrong."""
    start, end = _run(content, random)
    return content[:start] + content[end:]


def double(content: bytes, other: bytes, random: Random) -> bytes:
    """A run of bytes stands there several times."""
    start, end = _run(content, random)
    return content[:end] + content[start:end] * random.choice((1, 1, 3, 100)) + content[end:]


def splice(content: bytes, other: bytes, random: Random) -> bytes:
    """The beginning of this one, the end of the other."""
    return content[: _place(content, random)] + other[_place(other, random) :]


def transplant(content: bytes, other: bytes, random: Random) -> bytes:
    """A run of the other one written over this one."""
    start, end = _run(other, random)
    at = _place(content, random)
    return content[:at] + other[start:end] + content[at + end - start :]


def write_integer(content: bytes, other: bytes, random: Random) -> bytes:
    """A number from the ends of the ranges, at a place that may mean a size, a count or an offset."""
    form = random.choice(FORMS)
    size = struct.calcsize(form)
    at = _place(content, random)
    value = random.choice(INTEGERS_64) & ((1 << 8 * size) - 1)
    return content[:at] + struct.pack(form, value) + content[at + size :]


def change_length(content: bytes, other: bytes, random: Random) -> bytes:
    """A number that looks like the length of what follows it, made too small or far too large."""
    found = _lengths(content, _place(content, random))
    if not found:
        return write_integer(content, other, random)
    at, form, value = random.choice(found)
    size = struct.calcsize(form)
    changed = random.choice((0, 1, value - 1, value + 1, value * 2, value * 1000, len(content), (1 << 8 * size) - 1))
    return content[:at] + struct.pack(form, changed & ((1 << 8 * size) - 1)) + content[at + size :]


def _lengths(content: bytes, start: int) -> list[tuple[int, str, int]]:
    """Numbers near ``start`` that would fit the rest of the file as a length: place, form and value."""
    found = []
    for at in range(start, min(start + 256, len(content) - 4)):
        for form in ("<I", ">I", "<H", ">H"):
            (value,) = struct.unpack_from(form, content, at)
            if 3 < value <= len(content) - at:
                found.append((at, form, value))
    return found


DAMAGES: tuple[Damage, ...] = (
    flip_bits,
    overwrite,
    cut_off,
    cut_out,
    double,
    splice,
    transplant,
    write_integer,
    write_integer,
    change_length,
    change_length,
)
