"""Packed frames: which fragments make which frame, and what the stream of a frame says about itself.

Offset tables and Number of Frames are often wrong in files that were put together later; the fragments are there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import unpack
from typing import BinaryIO

from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from usviewer.errors import UserError

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
JP2, J2K = b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"
JP2_HEADER = 4096  # the boxes before the stream: a few hundred bytes
# A cine has some thousand frames of a few fragments each; a list entry of one costs about 100 bytes.
MAX_FRAGMENTS = 1_000_000

Fragment = tuple[int, int]
"""Where the content of a fragment begins, and its length."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What the stream of one packed frame says; ``samples`` 0 where it says nothing."""

    samples: int = 0
    size_px: tuple[int, int] | None = None
    bits: int = 0
    subsampled: bool = False
    named_rgb: bool = False
    adobe_transform: int | None = None


def read_fragments(data: BinaryIO, offset: int, name: str) -> tuple[tuple[int, ...], list[Fragment]]:
    """Find the Basic Offset Table and all fragments of packed pixels that begin at ``offset``.

    Raises ``UserError`` for pixels that are cut off or damaged.
    """
    end = data.seek(0, 2)
    data.seek(offset)
    found: list[Fragment] = []
    while (mark := data.read(4)) == ITEM:
        size = data.read(4)
        length = end
        if len(size) == 4:
            length = unpack("<L", size)[0]
        begin = data.tell()
        if begin + length > end:
            raise UserError(f"{name} is cut off", "Copy it again")
        if len(found) > MAX_FRAGMENTS:
            raise UserError(f"{name} is packed in more than {MAX_FRAGMENTS} pieces", "Export it again")
        found.append((begin, length))
        data.seek(length, 1)
    if mark != DELIMITER or not found:
        raise UserError(f"{name} is cut off, or its pictures are damaged", "Copy it again")
    begin, length = found.pop(0)
    data.seek(begin)
    table = data.read(min(length, 4 * MAX_FRAGMENTS))
    return unpack(f"<{len(table) // 4}L", table[: len(table) // 4 * 4]), found


def frames_of(
    fragments: Sequence[Fragment],
    tables: Sequence[Sequence[int]],
    declared: int | None,
    begins: Callable[[Fragment], bool],
) -> list[Sequence[Fragment]]:
    """Sort fragments into frames. ``begins``: whether a fragment's content looks like the head of a frame.

    Offset tables, and one fragment a frame, are believed where they give the stated number of frames and leave no head
    inside a frame. Else the heads count; and where there are none, a table that can be, or the stated number.
    """
    if not fragments:
        return []
    first = fragments[0][0]
    numbers = {begin - first: number for number, (begin, _) in enumerate(fragments)}
    heads = [number for number, fragment in enumerate(fragments) if begins(fragment)]
    stated = [[numbers.get(offset, -1) for offset in table] for table in tables if table]
    ways = [starts for starts in stated if starts[0] == 0 and all(a < b for a, b in pairwise(starts))]
    if declared in (None, len(fragments)):
        ways.append(list(range(len(fragments))))
    fitting = [starts for starts in ways if len(starts) == declared and set(heads) <= set(starts)]
    if heads[:1] == [0]:
        fitting.append(heads)
    starts = next(iter((*fitting, *ways)), list(range(min(len(fragments), declared or 1))))
    return [fragments[begin:end] for begin, end in pairwise((*starts, len(fragments)))]


def heads_of(data: BinaryIO, syntax: UID) -> Callable[[Fragment], bool]:
    """Choose what tells whether a fragment begins a frame. A frame in RLE is always one fragment (PS3.5 A.4.2)."""
    if syntax == RLELossless:
        return lambda fragment: True
    # All JPEGs begin with SOI and another marker. JPEG 2000 may come with the boxes of a file, which DICOM forbids.
    marks: tuple[bytes, ...] = (b"\xff\xd8\xff",)
    if syntax in JPEG2000TransferSyntaxes:
        marks = (J2K, JP2)

    def begins(fragment: Fragment) -> bool:
        data.seek(fragment[0])
        return data.read(min(8, fragment[1])).startswith(marks)

    return begins


def stream_facts(packed: bytes, syntax: UID, sample_bytes: int) -> Stream:
    """Read what the head of a packed frame says about itself."""
    try:
        if syntax == RLELossless:
            segments = unpack("<L", packed[:4])[0]  # one for each byte of each sample (PS3.5 G.2)
            if segments % sample_bytes:
                return Stream()
            return Stream(segments // sample_bytes)
        if syntax in JPEG2000TransferSyntaxes:
            return _of_jpeg_2000(packed)
        if syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
            return _of_jpeg(packed)
    except (ValueError, IndexError, struct.error):  # no head that says anything: the decoder will tell
        pass
    return Stream()


def _of_jpeg_2000(packed: bytes) -> Stream:
    head = packed.index(J2K, 0, JP2_HEADER)
    right, bottom, left, top = unpack(">4L", packed[head + 8 : head + 24])
    samples = unpack(">H", packed[head + 40 : head + 42])[0]
    bits = (packed[head + 42] & 0x7F) + 1
    return Stream(samples, (right - left, bottom - top), bits)


def _of_jpeg(packed: bytes) -> Stream:
    """JPEG and JPEG-LS: walk from marker to marker up to the frame header."""
    at, adobe = 2, None
    while True:
        while packed[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker, length = packed[at + 1], unpack(">H", packed[at + 2 : at + 4])[0]
        if packed[at] != 0xFF or length < 2:
            raise ValueError("no marker")
        content = packed[at + 4 : at + 2 + length]
        # APP14 of Adobe: the last byte says how colours were turned (0: not, 1: YCbCr).
        if marker == 0xEE and content.startswith(b"Adobe"):
            adobe = content[11]
        # SOF55 of JPEG-LS, or SOF0 to SOF15 without DHT, JPG and DAC, which lie among them.
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, height, width, samples = unpack(">BHHB", content[:6])
            names = bytes(content[6 + 3 * number] for number in range(samples))
            sampling = {content[7 + 3 * number] for number in range(samples)}
            return Stream(samples, (width, height), bits, len(sampling) > 1, names in (b"RGB", b"rgb"), adobe)
        at += 2 + length
