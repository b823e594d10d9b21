"""Reading a DICOM file up to its pixels, within bounds, and saying what is wrong with it.

Of packed frames: which fragments make which frame, and what the stream of a frame says about itself. Offset tables and
Number of Frames are often wrong in files that were put together later; the fragments are there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import SEEK_END, SEEK_SET, BytesIO
from itertools import pairwise
from pathlib import Path
from struct import unpack
from typing import BinaryIO, cast

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from usviewer.acquire.dicom_values import quiet, text, whole
from usviewer.errors import UserError, foreign_parser
from usviewer.files import open_regular

# Files without a preamble begin with group 0002 or 0008, little endian, or 0008, big endian.
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
NOT_PICTURES = ("Segmentation", "RT Dose", "Parametric Map", "Presentation State", "Structure Set")
SOP_CLASS, ROWS = 0x00080016, 0x00280010
PIXELS, OTHER_PIXELS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
UNDEFINED_LENGTH = 0xFFFFFFFF
# Everything before the pixels. The largest of real files have some MB for thousands of frames, about fifty elements
# each, and up to a hundred MB of the makers' own raw data. An element costs two or three reads and 500 bytes.
HEADER_BYTES = 256_000_000
HEADER_READS = 600_000
# A value longer than this is none that we ask for: it is passed over, not read.
VALUE_BYTES = 16_000_000
# A deflated file is unpacked into memory: a minute of ordinary ultrasound, and half of the budget of 1 GB.
INFLATED_BYTES = 512_000_000
INFLATE_STEP = 1 << 20
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
JP2, J2K = b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"
JP2_HEADER = 4096  # the boxes before the stream: a few hundred bytes
# A cine has some thousand frames of a few fragments each; a list entry of one costs about 100 bytes.
MAX_FRAGMENTS = 1_000_000

Fragment = tuple[int, int]
"""Where the content of a fragment begins, and its length."""


class _Header:
    """A file with a limit on what is read of it: pydicom would read whatever length an element states."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name, self._bytes, self._reads = file, name, 0, 0
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Read like a file, within the budget."""
        if not 0 <= size <= HEADER_BYTES:
            size = HEADER_BYTES
        content = self._file.read(size)
        self._bytes, self._reads = self._bytes + len(content), self._reads + 1
        if self._bytes >= HEADER_BYTES or self._reads > HEADER_READS:
            raise UserError(f"{self._name} has more data before its pictures than can be read", "Export it again")
        return content

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """As a file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As a file's."""
        return self._file.tell()


@dataclass
class _Stop:
    """Where the pixels begin: the reader reports it when it reaches them."""

    file: _Header
    tag: int = 0
    vr: str = ""
    length: int = 0
    offset: int = 0

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        if tag != PIXELS and tag not in OTHER_PIXELS:
            return False
        self.tag, self.vr, self.length, self.offset = int(tag), vr or "OW", length, self.file.tell()
        return True


@dataclass(frozen=True, slots=True)
class Opened:
    """A dataset without its pixels; these are in ``data``, ``length`` bytes from ``offset`` (None: to a delimiter)."""

    dataset: Dataset = field(repr=False)
    data: BinaryIO = field(repr=False)
    offset: int
    length: int | None
    vr: str
    syntax: UID


def is_dicom(path: Path, head: bytes) -> bool:
    """Tell a DICOM file by its content, with or without the preamble; ``head`` is its first 132 bytes."""
    if head[128:132] == b"DICM":
        return True
    if head[:2] not in FIRST_GROUPS:
        return False
    try:
        with quiet(), open_regular(path) as file:
            dataset = _parse(file, path.name, [SOP_CLASS, ROWS])[0]
    except Exception:  # no parser error says more than "no"
        return False
    return "SOPClassUID" in dataset or "Rows" in dataset


def read_file(file: BinaryIO, name: str) -> Opened:
    """Read everything but the pixels. Raises ``UserError`` for damaged files and for files without a picture."""
    with quiet(), foreign_parser(f"{name} is a damaged DICOM file", "Copy it again"):
        dataset, pixels, data = _parse(file, name)
        syntax = _complete_meta(dataset)
    _check_is_picture(dataset, pixels.tag, name)
    # Packed pixels are a sequence of fragments up to a delimiter (PS3.5 A.4).
    length: int | None = pixels.length
    if length == UNDEFINED_LENGTH:
        length = None
    if length is not None and pixels.offset + length > data.seek(0, SEEK_END):
        raise UserError(f"{name} is cut off", "Copy it again")
    return Opened(dataset, data, pixels.offset, length, pixels.vr, syntax)


def _parse(file: BinaryIO, name: str, tags: list[int | BaseTag] | None = None) -> tuple[Dataset, _Stop, BinaryIO]:
    """All elements (or some) before the pixels, where these begin, and in which data."""
    meta = _meta(file, name)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        header = _Header(file, name)
        stop = _Stop(header)
        source = cast("BinaryIO", header)
        return read_partial(source, stop, defer_size=VALUE_BYTES, force=True, specific_tags=tags), stop, file
    data = _inflated(file, name)
    header = _Header(data, name)
    stop = _Stop(header)
    source = cast("BinaryIO", header)
    dataset = read_dataset(source, False, True, stop_when=stop, defer_size=VALUE_BYTES, specific_tags=tags)
    dataset.file_meta = meta
    return dataset, stop, data


def _meta(file: BinaryIO, name: str) -> FileMetaDataset:
    """The meta information at the head of a file, which then stands behind it."""
    header = cast("BinaryIO", _Header(file, name))
    read_preamble(header, force=True)
    return FileMetaDataset(read_dataset(header, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2))


def _inflated(file: BinaryIO, name: str) -> BinaryIO:
    """Unpack a deflated dataset within a limit: a few bytes may unpack to any number of them."""
    unpacked, inflate = BytesIO(), zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflate.eof and (packed := inflate.unconsumed_tail or file.read(INFLATE_STEP)):
        unpacked.write(inflate.decompress(packed, INFLATE_STEP))
        if unpacked.tell() > INFLATED_BYTES:
            raise UserError(
                f"{name} unpacks to more than {INFLATED_BYTES // 1_000_000} MB", "Export it with another compression"
            )
    if not inflate.eof:
        raise UserError(f"{name} is cut off", "Copy it again")
    return unpacked


def _complete_meta(dataset: Dataset) -> UID:
    """The transfer syntax. Without meta information, or with an empty one: what pydicom found it could read."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    stated = text(dataset.file_meta, "TransferSyntaxUID")
    if not stated:
        return _syntax_by(*dataset.original_encoding)
    return UID(stated)


def _syntax_by(implicit: bool | None, little: bool | None) -> UID:
    if implicit:  # DICOM has no implicit VR that is big endian
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_is_picture(dataset: Dataset, pixels: int, name: str) -> None:
    sop_class = UID(text(dataset, "SOPClassUID"))
    kind = sop_class.name if sop_class.name != sop_class else ""  # what is in no list may be anything, a name too
    if text(dataset.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise UserError(f"{name} is the index of a DICOM medium, not a picture", "Give one of the files next to it")
    if any(word in kind for word in NOT_PICTURES):
        raise UserError(f"{name} is a DICOM {kind}, not a picture", "Give the ultrasound picture itself")
    if pixels != PIXELS or not whole(dataset, "Rows") or not whole(dataset, "Columns"):
        what = f" ({kind})" if kind else ""
        raise UserError(f"{name} is DICOM without a picture{what}, or cut off", "Give an ultrasound still or cine")


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
