"""What stored values look like: window, rescale, lookup tables and palettes as one table from value to colour.

Rescale and window of the functional groups of Enhanced multi-frame files (PS3.3 C.7.6.16) go before those of the
dataset; a frame's own before the shared ones. What is there without a value, or with one that cannot be, is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset

from usviewer.acquire.dicom_header import PALETTE, PixelLayout
from usviewer.acquire.dicom_values import items, number, numbers, packed_bytes, stored_as, text, words, words_in
from usviewer.errors import UserError
from usviewer.frame import Pixels

Values = np.ndarray[Any, np.dtype[np.float64]]
Entries = np.ndarray[Any, np.dtype[np.uint16]]
CHANNELS = ("Red", "Green", "Blue")
MAX_ENTRIES = 65_536
# Depths that scanners export. A recording that needs less than a sixteenth of the range that its file states, and has
# no window, would be black: then the smallest of these that holds its values is its range.
DEPTHS = (8, 10, 12, 14, 16)
UNUSED_BITS = 4


@dataclass(frozen=True, slots=True)
class _Window:
    """Linear between its ends, or a sigmoid (PS3.3 C.11.2.1.2, C.11.2.1.3)."""

    centre: float
    width: float
    function: str

    def shares(self, values: Values) -> Values:
        """0 (black) to 1 (white)."""
        if self.function == "SIGMOID":
            exponent = np.clip(-4 * (values - self.centre) / self.width, -700, 700)
            shares = 1 / (1 + np.exp(exponent))
        elif self.function == "LINEAR_EXACT":
            shares = (values - self.centre) / self.width + 0.5
        elif self.width == 1:
            shares = (values > self.centre - 0.5).astype(np.float64)
        else:
            shares = (values - (self.centre - 0.5)) / (self.width - 1) + 0.5
        return np.asarray(np.clip(shares, 0, 1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Rules:
    """From stored values to grey: what of it differs between frames."""

    slope: float
    intercept: float
    window: _Window | None


@dataclass(frozen=True, slots=True)
class _Lookup:
    entries: Entries
    first: int
    bits: int

    def of(self, values: Values) -> Values:
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[places], dtype=np.float64)


class ValueTables:
    """Tables (stored values, 3) of 8-bit RGB for the frames of one dataset with one sample a pixel.

    ``find_range`` gives the smallest and the largest value of the recording; it is asked only where nothing else tells
    what is white.
    """

    def __init__(self, dataset: Dataset, layout: PixelLayout, find_range: Callable[[], tuple[int, int]]) -> None:
        self._dataset, self._layout, self._find_range = dataset, layout, find_range
        self._frames = items(dataset, "PerFrameFunctionalGroupsSequence")
        self._shared = items(dataset, "SharedFunctionalGroupsSequence")[:1]
        self._voi = _first_lookup(dataset, "VOILUTSequence", layout.signed)
        self._modality = _first_lookup(dataset, "ModalityLUTSequence", layout.signed)
        self._range: tuple[float, float] | None = None
        self._kept: tuple[_Rules | None, Pixels] | None = None

    def of(self, index: int, values: np.ndarray[Any, Any]) -> Pixels:
        """The table of frame ``index``, for stored ``values`` as they stand for the codes 0, 1, 2, ..."""
        if self._layout.colour == PALETTE:  # one for the whole recording
            if self._kept is None:
                self._kept = None, self._palette(values)
            return self._kept[1]
        rules = self._rules(index)
        if self._kept is None or self._kept[0] != rules:
            self._kept = rules, self._grey(values, rules)
        return self._kept[1]

    def _groups(self, index: int, sequence: str) -> Iterator[Dataset]:
        """Where a rule of a frame may stand, nearest first."""
        for group in (*self._frames[index : index + 1], *self._shared):
            yield from items(group, sequence)[:1]
        yield self._dataset

    def _rules(self, index: int) -> _Rules:
        window = next(filter(None, map(_window, self._groups(index, "FrameVOILUTSequence"))), None)
        for place in self._groups(index, "PixelValueTransformationSequence"):
            slope, intercept = number(place, "RescaleSlope"), number(place, "RescaleIntercept")
            if slope is not None or intercept is not None:
                return _Rules(slope or 1.0, intercept or 0.0, window)  # a slope of 0 makes no picture
        return _Rules(1.0, 0.0, window)

    def _grey(self, stored: np.ndarray[Any, Any], rules: _Rules) -> Pixels:
        if self._modality is not None:
            values = self._modality.of(stored.astype(np.float64))
        else:
            values = stored.astype(np.float64) * rules.slope + rules.intercept
        if self._voi is not None:
            shares = self._voi.of(values) / (2**self._voi.bits - 1)
        elif rules.window is not None:
            shares = rules.window.shares(values)
        else:
            black, white = self._ends(rules)
            shares = (values - black) / (white - black)
        grey = np.clip(np.rint(shares * 255), 0, 255).astype(np.uint8)
        if self._layout.colour == "MONOCHROME1":
            grey = 255 - grey
        return np.repeat(grey[:, None], 3, axis=1)

    def _ends(self, rules: _Rules) -> tuple[float, float]:
        """Black and white where there is no window: the whole range, after the modality transformation."""
        if self._modality is not None:
            return 0.0, float(2**self._modality.bits - 1)
        ends = [end * rules.slope + rules.intercept for end in self._stored_range()]
        return min(ends), max(ends)

    def _stored_range(self) -> tuple[float, float]:
        """The range of stored values, for the whole recording: of Bits Stored, unless nearly all of it is unused."""
        if self._range is None:
            layout = self._layout
            self._range = _range_of(layout.bits_stored, layout.signed)
            if layout.bits_stored > DEPTHS[0]:
                self._range = _range_in_use(*self._find_range(), self._range, layout.bits_stored)
        return self._range

    def _palette(self, stored: np.ndarray[Any, Any]) -> Pixels:
        channels = [_palette_channel(self._dataset, channel, self._layout.signed) for channel in CHANNELS]
        colours = np.stack([channel.of(stored.astype(np.float64)) for channel in channels], axis=1).astype(np.uint16)
        # Some 16-bit palettes hold 8-bit values: their brightest colour then tells.
        if max(int(channel.entries.max()) for channel in channels) > 255:
            colours >>= 8
        return colours.astype(np.uint8)


def _range_of(bits: int, signed: bool) -> tuple[int, int]:
    """The least and the largest whole number of so many bits."""
    if signed:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _range_in_use(smallest: int, largest: int, stated: tuple[float, float], bits_stored: int) -> tuple[float, float]:
    for bits in DEPTHS:
        low, high = _range_of(bits, smallest < 0)
        if bits <= bits_stored - UNUSED_BITS and low <= smallest and largest <= high:
            return low, high
    return stated


def _window(place: Dataset) -> _Window | None:
    """The first window that can be one."""
    function = text(place, "VOILUTFunction").upper()
    # Width - 1 is divided by in the standard's own linear function (PS3.3 C.11.2.1.2.1).
    narrowest = 0.0 if function in ("LINEAR_EXACT", "SIGMOID") else 1.0
    for centre, width in zip(numbers(place, "WindowCenter") or (), numbers(place, "WindowWidth") or (), strict=False):
        if width > 0 and width >= narrowest:
            return _Window(centre, width, function)
    return None


def _first_lookup(dataset: Dataset, sequence: str, signed: bool) -> _Lookup | None:
    """The table of the first item that has one."""
    found = (_lookup(item, "LUTDescriptor", "LUTData", signed) for item in items(dataset, sequence))
    return next(filter(None, found), None)


def _descriptor(dataset: Dataset, keyword: str, signed: bool) -> tuple[int, int, int] | None:
    """Number of entries, the first value that is mapped, and bits of an entry (PS3.3 C.11.1.1)."""
    stated = words(dataset, keyword)
    if stated is None or len(stated) != 3:
        return None
    count, first, bits = map(int, stated)
    if first >= 2**15 and (signed or stored_as(dataset, keyword) == "SS"):
        first -= 2**16
    return count or MAX_ENTRIES, first, bits  # 65,536 entries do not fit into 16 bits: the standard writes 0


def _lookup(dataset: Dataset, descriptor: str, data: str, signed: bool) -> _Lookup | None:
    stated, packed = _descriptor(dataset, descriptor, signed), packed_bytes(dataset, data)
    if stated is None or packed is None:
        return None
    count, first, bits = stated
    entries = _entries(*packed, count, bits, stored_as(dataset, data))
    largest = int(entries.max())
    if not 8 <= bits <= 16 or largest >= 2**bits:  # what is stated cannot be: the entries tell
        bits = 8 if largest < 256 else 16
    return _Lookup(entries, first, bits)


def _entries(data: bytes, little: bool, count: int, bits: int, vr: str) -> Entries:
    """Entries of 16 or 8 bits, as many as were promised: the length tells which. A missing end is the last entry."""
    if len(data) > count + count % 2 or (len(data) < count and bits > 8):
        entries: np.ndarray[Any, Any] = words_in(data, little)
    else:
        entries = np.frombuffer(data, "u1")
        # Bytes that were written as words of a big-endian file lie in pairs the wrong way round.
        if not little and vr == "OW" and len(data) % 2 == 0:
            entries = entries.reshape(-1, 2)[:, ::-1].ravel()
    return _filled(entries, count)


def _filled(entries: np.ndarray[Any, Any], count: int) -> Entries:
    kept = entries[:count].astype(np.uint16)
    return np.pad(kept, (0, count - len(kept)), mode="edge")


def _palette_channel(dataset: Dataset, channel: str, signed: bool) -> _Lookup:
    descriptor = f"{channel}PaletteColorLookupTableDescriptor"
    table = _lookup(dataset, descriptor, f"{channel}PaletteColorLookupTableData", signed)
    table = table or _segmented(dataset, descriptor, f"Segmented{channel}PaletteColorLookupTableData", signed)
    if table is None:
        raise UserError("The palette of the picture is missing or damaged", "Export it again")
    return table


def _segmented(dataset: Dataset, descriptor: str, data: str, signed: bool) -> _Lookup | None:
    """A palette written as runs and lines (PS3.3 C.7.9.2)."""
    stated, packed = _descriptor(dataset, descriptor, signed), packed_bytes(dataset, data)
    if stated is None or packed is None:
        return None
    count, first, bits = stated
    content, little = packed
    codes = list(content)
    if bits != 8:
        codes = words_in(content, little).tolist()
    entries = expand_segments(codes, count, wide=bits != 8, little=little)
    if not entries:
        return None
    return _Lookup(_filled(np.asarray(entries), count), first, bits)


def expand_segments(codes: list[int], count: int, *, wide: bool, little: bool = True) -> list[int]:
    """List the entries that segments stand for, at most ``count`` of them; empty where they make no sense.

    Opcode 0: values as they are, 1: a line to a value, 2: earlier pieces again. Those may not be such again, so that a
    few bytes stand for no more than the table has.
    """
    entries: list[int] = []

    def add(at: int, pieces: int | None) -> bool:
        done = 0
        while at + 1 < len(codes) and len(entries) < count and (pieces is None or done < pieces):
            opcode, length, at, done = codes[at], codes[at + 1], at + 2, done + 1
            if opcode == 0:
                entries.extend(codes[at : at + length])
                at += length
            elif opcode == 1 and entries and at < len(codes):
                line = np.linspace(entries[-1], codes[at], length + 1)[1:]
                entries.extend(int(value) for value in np.rint(line))
                at += 1
            elif opcode == 2 and entries and pieces is None:
                size = 2 if wide else 4
                if not add(_offset(codes[at : at + size], wide, little), length):
                    return False
                at += size
            else:
                return False
        return True

    if not add(0, None):
        return []
    return entries[:count]


def _offset(parts: list[int], wide: bool, little: bool) -> int:
    """Where an earlier piece begins: two words, the low one first, or four bytes."""
    if wide:
        return sum(part << 16 * place for place, part in enumerate(parts))
    if not little:  # each word's own bytes are the other way round
        parts = [part for pair in (parts[:2], parts[2:]) for part in reversed(pair)]
    return sum(part << 8 * place for place, part in enumerate(parts))
