"""Damage to what a DICOM file says: elements gone, empty, absurd or of another kind, and broken encapsulation."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections.abc import Callable
from random import Random
from typing import Any

import pydicom
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag

from tests.fuzz import mutate

# What readers of pictures look at.
KEYWORDS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PlanarConfiguration", "NumberOfFrames", "PhotometricInterpretation", "FrameTime", "FrameTimeVector",
    "FrameIncrementPointer", "CineRate", "RecommendedDisplayFrameRate", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "RescaleSlope", "RescaleIntercept", "PixelSpacing", "PixelAspectRatio", "Modality",
    "SOPClassUID", "SpecificCharacterSet", "SequenceOfUltrasoundRegions", "PixelData", "VOILUTSequence",
    "ModalityLUTSequence", "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "NumberOfStages", "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence", "ImageType", "PixelPaddingValue", "SmallestImagePixelValue",
)  # fmt: skip
REGION_KEYWORDS = (
    "RegionSpatialFormat", "RegionDataType", "RegionFlags", "RegionLocationMinX0", "RegionLocationMinY0",
    "RegionLocationMaxX1", "RegionLocationMaxY1", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection",
    "PhysicalDeltaX", "PhysicalDeltaY", "ReferencePixelX0", "ReferencePixelPhysicalValueX",
)  # fmt: skip
WHOLE = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i"}
WHOLE_VALUES = (0, 1, 2, 3, 4, 7, 8, 9, 12, 16, 31, 32, 33, 64, 255, 256, 4095, 16384, 32767, 32768, 65535)
FLOATS = (0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), 0.001, 10.0)
TEXTS = (
    b"", b" ", b"0", b"-1", b"1", b"3 frames", b"1e400", b"nan", b"1,5", b"1\\2", b"\\", b"\\\\\\", b"99999999999",
    b"x", b"\xff\xfe", b"0" * 4000, b"1.5", b"33\\33\\x", b"\0", b"1e-320", b"MONOCHROME1", b"YBR_FULL",
    b"YBR_FULL_422", b"YBR_ICT", b"RGB", b"PALETTE COLOR", b"ISO_IR 192", b"ISO 2022 IR 87", b"SIGMOID",
)  # fmt: skip
KINDS = (
    "US",
    "SS",
    "UL",
    "FD",
    "FL",
    "DS",
    "IS",
    "CS",
    "UI",
    "OB",
    "OW",
    "UN",
    "SQ",
    "LO",
    "AT",
    "ZZ",
    "UT",
    "OF",
    "UV",
)
SYNTAXES = (
    b"", b"\0", b"1.2", b"x", b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99",
    b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.57",
    b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.100", b"1.2.840.10008.1.2.4.102",
    b"1.2.840.10008.1.2.4.201", b"1.2.840.113619.5.2", b"1.2.840.10008.1.2.1.98",
)  # fmt: skip
SYNTAX = Tag(0x00020010)
PIXELS = b"\xe0\x7f\x10\x00"
ITEM = b"\xfe\xff\x00\xe0"
DELIMITER = b"\xfe\xff\xdd\xe0"
DEEPEST = 2000

TagDamage = Callable[[Dataset, Random], None]


def damaged_tags(content: bytes, other: bytes, random: Random) -> bytes:
    """A file of which one to three elements say something else; of encapsulated pixels often the items, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        for _ in range(8):  # not every damage can be written
            try:
                return _changed(content, random)
            except Exception:
                continue
    return mutate.damaged(content, other, random)


def _changed(content: bytes, random: Random) -> bytes:
    if ITEM in content and random.random() < 0.35:
        return _broken_items(content, random)
    dataset = dcmread(io.BytesIO(content), force=True)
    for _ in range(random.randint(1, 3)):
        random.choice(DAMAGES)(dataset, random)
    implicit, little = dataset.original_encoding
    packed = io.BytesIO()
    pydicom.dcmwrite(packed, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    return packed.getvalue()


def put(dataset: Dataset, tag: BaseTag, kind: str, value: bytes) -> None:
    """An element whose bytes are written as they are, whatever its kind would allow."""
    value += b"\0" * (len(value) % 2)
    dataset._dict[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True)


def _picked(dataset: Dataset, random: Random) -> tuple[Dataset, BaseTag]:
    """An element to damage, and the dataset it is in: of the file itself or of its first region."""
    regions: Any = dataset.get("SequenceOfUltrasoundRegions")
    if regions and random.random() < 0.3:
        return regions[0], Tag(tag_for_keyword(random.choice(REGION_KEYWORDS)) or 0)
    here = [keyword for keyword in KEYWORDS if keyword in dataset]
    keyword = random.choice(here if here and random.random() < 0.7 else KEYWORDS)
    return dataset, Tag(tag_for_keyword(keyword) or 0)


def _kind_of(tag: BaseTag) -> str:
    return pydicom.datadict.dictionary_VR(tag).split(" ")[0]


def _gone(dataset: Dataset, random: Random) -> None:
    holder, tag = _picked(dataset, random)
    holder.pop(tag, None)


def _empty(dataset: Dataset, random: Random) -> None:
    holder, tag = _picked(dataset, random)
    put(holder, tag, _kind_of(tag), b"")


def _absurd(dataset: Dataset, random: Random) -> None:
    holder, tag = _picked(dataset, random)
    kind = _kind_of(tag)
    put(holder, tag, kind, _value(kind, random))


def _another_kind(dataset: Dataset, random: Random) -> None:
    holder, tag = _picked(dataset, random)
    kind = random.choice(KINDS)
    put(holder, tag, kind, _value(random.choice((kind, "DS")), random))


def _value(kind: str, random: Random) -> bytes:
    count = random.choice((1, 1, 1, 2, 0, 5))
    if kind in WHOLE:
        form = WHOLE[kind]
        limit = 1 << 8 * struct.calcsize(form)
        values = [random.choice(WHOLE_VALUES) % limit for _ in range(count)]
        return b"".join(struct.pack(form.upper() if value >= limit // 2 else form, value) for value in values)
    if kind in ("FD", "FL"):
        form = "<d" if kind == "FD" else "<f"
        values_f = [random.choice(FLOATS) for _ in range(count)]
        return b"".join(struct.pack(form, value if kind == "FD" or abs(value) < 1e38 else 3e38) for value in values_f)
    if kind in ("OB", "OW", "UN", "SQ", "OF"):
        return random.randbytes(random.choice((0, 2, 8, 64, 1000)))
    return random.choice(TEXTS)


def _syntax(dataset: Dataset, random: Random) -> None:
    meta = dataset.file_meta
    if random.random() < 0.1:
        meta.pop(SYNTAX, None)
    else:
        put(meta, SYNTAX, "UI", random.choice(SYNTAXES))


def _deep(dataset: Dataset, random: Random) -> None:
    deep_sequence(dataset, random.choice((10, 100, DEEPEST)))


def deep_sequence(dataset: Dataset, depth: int) -> None:
    """A sequence in a sequence in a sequence, of undefined length: what is walked by recursion ends."""
    opening = b"\x18\x00\x11\x60SQ\0\0\xff\xff\xff\xff" + ITEM + b"\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + DELIMITER + b"\0\0\0\0"
    body = opening * depth + closing * depth
    tag = Tag(tag_for_keyword("SequenceOfUltrasoundRegions") or 0)
    put(dataset, tag, "SQ", ITEM + struct.pack("<I", len(body)) + body)


def _many_frames(dataset: Dataset, random: Random) -> None:
    """More frames, and a time for each, than there are pixels."""
    count = random.choice((0, 1, 1000, 100_000, 2**31))
    put(dataset, Tag(tag_for_keyword("NumberOfFrames") or 0), "IS", str(count).encode())
    times = b"\\".join([b"40"] * min(count, 10_000))
    put(dataset, Tag(tag_for_keyword("FrameTimeVector") or 0), "DS", times)


def _fewer_pixels(dataset: Dataset, random: Random) -> None:
    """Pixels that are cut off, doubled or noise, though the length of the element is right."""
    element = dataset.get_item(Tag(0x7FE00010))
    if element is None or not isinstance(element.value, bytes):
        return
    value = mutate.damaged(element.value, element.value, random)
    value += b"\0" * (len(value) % 2)
    dataset._dict[element.tag] = element._replace(value=value) if isinstance(element, RawDataElement) else element


DAMAGES: tuple[TagDamage, ...] = (
    _gone, _empty, _empty, _absurd, _absurd, _absurd, _another_kind, _another_kind, _syntax, _deep, _many_frames,
    _fewer_pixels,
)  # fmt: skip


def _broken_items(content: bytes, random: Random) -> bytes:
    """Encapsulated pixels whose offset table, item lengths or delimiters are wrong."""
    start = max(content.rfind(PIXELS), 0)
    places = _all(content, ITEM, start)
    if not places:
        raise ValueError("nothing encapsulated")
    at = random.choice(places) + 4
    length = struct.unpack_from("<I", content, at)[0]
    way = random.random()
    if way < 0.4:
        wrong = random.choice((0, 1, length - 2, length + 2, length * 2, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF))
        return content[:at] + struct.pack("<I", wrong & 0xFFFFFFFF) + content[at + 4 :]
    if way < 0.6:  # the offset table: one that is there is changed, else one is put in
        table = struct.pack("<III", 0, *(random.choice(mutate.INTEGERS) for _ in range(2)))
        at, length = places[0] + 4, struct.unpack_from("<I", content, places[0] + 4)[0]
        return content[:at] + struct.pack("<I", len(table)) + table + content[at + 4 + length :]
    if way < 0.7:
        return content[: at - 4] + DELIMITER + content[at:]
    if way < 0.8:
        return content.replace(DELIMITER, ITEM)
    if way < 0.9:
        return content[:at] + struct.pack("<I", 0) + content[at + 4 + length :]
    return content[: at - 4] + content[at + 4 + length :]


def _all(content: bytes, wanted: bytes, start: int) -> list[int]:
    found: list[int] = []
    at = content.find(wanted, start)
    while at >= 0 and len(found) < 1000:
        found.append(at)
        at = content.find(wanted, at + 4)
    return found
