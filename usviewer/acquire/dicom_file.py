"""Reading a DICOM file up to its pixels, within bounds, and saying what is wrong with it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from io import SEEK_END, SEEK_SET, BytesIO
from pathlib import Path
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
    MediaStorageDirectoryStorage,
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
