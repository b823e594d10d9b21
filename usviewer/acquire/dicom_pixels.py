"""DICOM pixel data, one frame at a time, as 8-bit RGB.

pydicom decodes to the stored values (``raw``) and says which colour space they are in; the one conversion to RGB is
here, so that everything is converted exactly once. Where the description and the data disagree, the data
decide: the length of plain data, the fragments of packed ones, the head of a frame's own stream.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
)

from usviewer.acquire.dicom_file import (
    ITEM,
    Fragment,
    Opened,
    Stream,
    frames_of,
    heads_of,
    read_fragments,
    stream_facts,
)
from usviewer.acquire.dicom_header import COLOURS, GREY, PALETTE, YBR, PixelLayout, check_colour, read_pixel_layout
from usviewer.acquire.dicom_tables import ValueTables
from usviewer.acquire.dicom_values import packed_bytes, quiet
from usviewer.errors import UserError, foreign_parser
from usviewer.frame import Pixels

# Faster than pydicom's first choice (gdcm), equal to the bit, silent, and strict with pictures that are cut off.
PLUGINS = {str(JPEGBaseline8Bit): "pillow", str(JPEG2000Lossless): "pylibjpeg", str(JPEG2000): "pylibjpeg"}
BY_PILLOW = (JPEGBaseline8Bit, JPEGExtended12Bit)
# What a packed frame may take, at most, of its size without packing: no packing makes pictures much larger.
PACKED_SHARE, PACKED_SPARE_BYTES = 1.5, 1_000_000
# A video is read into memory: half of the budget of 1 GB.
VIDEO_BYTES = 512_000_000
# Frames that tell the range of values of a recording without a window, from all over it.
RANGE_FRAMES = 8
# Tables are looked up and colours converted in strips: NumPy's own copies are many times the picture.
STRIP_PIXELS = 1 << 20
# Packings that come with the colours they are in (JPEG unless its stream says something else).
STATE_COLOURS = {
    JPEGBaseline8Bit: "YBR_FULL",
    JPEGExtended12Bit: "YBR_FULL",
    JPEG2000: "YBR_ICT",
    JPEG2000Lossless: "YBR_RCT",
}

Stored = np.ndarray[Any, Any]


class PixelReader:
    """The frames of one dataset."""

    def __init__(self, opened: Opened, name: str) -> None:
        self._opened, self._name, self._syntax = opened, name, opened.syntax
        self._layout = read_pixel_layout(opened.dataset, name)
        self._decoder = self._decoder_of(opened.syntax)
        self._frames = self._packed_frames()
        if self._frames is None:
            if opened.syntax.is_encapsulated:  # the file says packed, its pixels are not
                self._syntax = ExplicitVRLittleEndian
            self._decoder = self._decoder_of(self._syntax)
            self._layout = _plain_layout(self._layout, opened.length or 0)
        elif self._frames:
            self._adopt(self._stream(self._frames[0]))
        check_colour(self._layout, name)
        if self._syntax == JPEGExtended12Bit and self._layout.bits_stored > 8:  # no decoder with a permissive licence
            raise self._unreadable()
        self.frame_count = self._plain_count() if self._frames is None else len(self._frames)
        self._tables = ValueTables(opened.dataset, self._layout, self._find_range)
        self._values = _stored_values(self._layout, masked=self._masked)

    def pixels(self, index: int) -> Pixels:
        """Frame ``index`` as RGB (height, width, 3); ``UserError`` if it does not decode."""
        values, colour = self._decoded(index)
        if values.ndim == 2:
            return _looked_up(self._codes(values), self._tables.of(index, self._values))
        eight_bit = to_8_bit(values, self._layout.bits_stored)
        if colour in YBR:
            return ybr_to_rgb(eight_bit)
        return eight_bit

    def _unreadable(self) -> UserError:
        return UserError(
            f"{self._name} is packed in a way that cannot be read ({self._opened.syntax.name})", "Export it again"
        )

    def _decoder_of(self, syntax: UID) -> Any:
        try:
            with quiet(), foreign_parser(""):
                return get_decoder(syntax)
        except UserError as error:
            raise self._unreadable() from error

    @property
    def _masked(self) -> bool:
        """Whether bits beyond those stored may hold anything: streams of JPEG 2000 and JPEG-LS have none."""
        return self._syntax not in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes)

    def _packed_frames(self) -> list[Any] | None:
        """The fragments of each frame; None where the pixels are plain, whatever the transfer syntax says."""
        opened = self._opened
        opened.data.seek(opened.offset)
        if opened.length is not None and (not self._syntax.is_encapsulated or opened.data.read(4) != ITEM):
            return None
        if not self._syntax.is_encapsulated:
            raise self._unreadable()
        table, fragments = read_fragments(opened.data, opened.offset, self._name)
        tables = [_extended_offsets(opened), table]
        return frames_of(fragments, tables, self._layout.frames, heads_of(opened.data, self._syntax))

    def _adopt(self, stream: Stream) -> None:
        """Adopt what the head of the first frame says about its samples."""
        layout = self._layout
        if stream.samples in (1, 3):
            layout = replace(layout, samples=stream.samples, signed=layout.signed and stream.samples == 1)
        if layout.samples == 1 and layout.colour not in (*GREY, PALETTE):
            layout = replace(layout, colour=GREY[1])
        if layout.samples == 3 and layout.colour not in COLOURS and self._syntax in STATE_COLOURS:
            layout = replace(layout, colour=STATE_COLOURS[self._syntax])
        if self._syntax in BY_PILLOW and 0 < stream.bits <= 8 < layout.bits_allocated:
            layout = replace(layout, bits_allocated=8, bits_stored=8, high_bit=7)
        self._layout = layout

    def _plain_count(self) -> int:
        """Frames that are really there, by the length of the data; without the padding behind them."""
        length, size, declared = self._opened.length or 0, self._layout.frame_bytes, self._layout.frames
        whole = length // size
        exact = length - whole * size <= 1  # padded to an even length
        if exact or declared is None:
            return whole
        return min(whole, declared)

    def _decoded(self, index: int) -> tuple[Stored, str]:
        """The stored values of a frame and their colours."""
        what = f"Frame {index} of {self._name} cannot be decoded"
        do = "The file is damaged or cut off: copy it again"
        if self._frames is None:
            self._opened.data.seek(self._opened.offset)
            with quiet(), foreign_parser(what, do):
                options = {**self._options(), "number_of_frames": self.frame_count, "view_only": True}
                return self._as_array(self._opened.data, index, options)
        packed = self._packed(self._frames[index])
        stream = stream_facts(packed, self._syntax, self._layout.bits_allocated // 8)
        self._check_stream(stream, index)
        with quiet(), foreign_parser(what, do):
            source = encapsulate([packed], has_bot=False)
            values, colour = self._as_array(source, 0, {**self._options(), "number_of_frames": 1})
        return values, self._true_colour(colour, stream)

    def _as_array(self, source: Any, index: int, options: dict[str, Any]) -> tuple[Stored, str]:
        plugin = PLUGINS.get(str(self._syntax), "")
        values, facts = self._decoder.as_array(source, index=index, raw=True, decoding_plugin=plugin, **options)
        if values.ndim not in (2, 3):
            raise ValueError(values.shape)
        return values, str(facts["photometric_interpretation"])

    def _options(self) -> dict[str, Any]:
        """The description for pydicom. Unused bits are ours to mask where a table does it."""
        layout = self._layout
        options: dict[str, Any] = {
            "rows": layout.rows,
            "columns": layout.columns,
            "samples_per_pixel": layout.samples,
            "photometric_interpretation": layout.colour,
            "planar_configuration": layout.planar if self._frames is None else 0,  # packed: the decoders know
            "bits_allocated": layout.bits_allocated,
            "bits_stored": layout.bits_stored,
            "pixel_representation": int(layout.signed),
            "pixel_keyword": "PixelData",
            "pixel_vr": self._opened.vr,
        }
        if self._masked and layout.samples == 1:
            options["correct_unused_bits"] = False
        return options

    def _true_colour(self, colour: str, stream: Stream) -> str:
        """The colour space of a decoded frame; writers of JPEG often state the one before compression."""
        if self._syntax not in BY_PILLOW or stream.samples != 3:
            return colour
        if stream.adobe_transform is not None:
            # The decoder has converted what the stream says is YBR.
            return colour if stream.adobe_transform == 0 else "RGB"
        if stream.subsampled and not stream.named_rgb:  # colours at half the width: this cannot be RGB
            return YBR[0]
        return colour

    def _packed(self, fragments: list[Fragment]) -> bytes:
        size = sum(length for _, length in fragments)
        plain = self._layout.pixels * self._layout.samples * self._layout.bits_allocated // 8
        if size > plain * PACKED_SHARE + PACKED_SPARE_BYTES:
            raise UserError(f"A frame of {self._name} is packed in more bytes than it can have", "Export it again")
        return b"".join(_content(self._opened, fragment) for fragment in fragments)

    def _stream(self, fragments: list[Fragment]) -> Stream:
        return stream_facts(self._packed(fragments), self._syntax, self._layout.bits_allocated // 8)

    def _check_stream(self, stream: Stream, index: int) -> None:
        """Check what a stream states, before a decoder allocates memory for it."""
        layout = self._layout
        if stream.size_px not in (None, (layout.columns, layout.rows)):
            width, height = stream.size_px or (0, 0)
            raise UserError(
                f"Frame {index} of {self._name} is packed as {width} x {height} pixels, "
                f"but the file states {layout.columns} x {layout.rows}",
                "Export it again",
            )
        if stream.samples not in (0, layout.samples):
            raise UserError(f"Frame {index} of {self._name} has {stream.samples} samples a pixel", "Export it again")

    def _codes(self, values: Stored) -> Stored:
        """Stored values as indices into the table: unsigned, in native byte order, shifted down where they lie high."""
        codes = _as_codes(values)
        if self._layout.high_bit >= self._layout.bits_stored:
            return codes >> self._high_shift
        return codes

    @cached_property
    def _high_shift(self) -> int:
        """How far above the low end samples lie: as High Bit says, if the bits above those stored are used at all."""
        layout = self._layout
        high = self._masked and bool(self._codes_in_use[2**layout.bits_stored :].any())
        if not high:
            return 0
        return layout.high_bit + 1 - layout.bits_stored

    def _find_range(self) -> tuple[int, int]:
        """The smallest and the largest value of the recording."""
        codes = np.flatnonzero(self._codes_in_use)
        if self._layout.high_bit >= self._layout.bits_stored:
            codes = codes >> self._high_shift
        values = self._values[codes]
        if not len(values):  # no frame could be decoded: a range that nothing fits into keeps the stated one
            return 0, 2**16
        return int(values.min()), int(values.max())

    @cached_property
    def _codes_in_use(self) -> Stored:
        """For every code whether it is there, on frames from all over the recording."""
        used = np.zeros(len(self._values), dtype=bool)
        last = self.frame_count - 1
        for index in sorted({round(step * last / (RANGE_FRAMES - 1)) for step in range(RANGE_FRAMES)}):
            try:
                codes = _as_codes(self._decoded(index)[0])
            except UserError:  # said when that frame is asked for
                continue
            for strip in _strips(codes):
                used[codes[strip]] = True
        return used


def _stored_values(layout: PixelLayout, *, masked: bool) -> Stored:
    """The value that each code of a sample's container stands for; nothing for colours."""
    bits = layout.bits_allocated
    if layout.samples != 1:
        return np.empty(0, dtype=np.int32)
    codes = np.arange(2**bits, dtype=np.int32)
    used = bits
    if masked:
        used = layout.bits_stored
    codes &= 2**used - 1  # bits above those stored may hold overlays in old files
    if not layout.signed:
        return codes
    return np.where(codes >= 2 ** (used - 1), codes - 2**used, codes)


def _as_codes(values: Stored) -> Stored:
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native.view(f"u{native.dtype.itemsize}")


def ybr_to_rgb(ybr: Pixels) -> Pixels:
    """Turn JPEG's full-range YCbCr (height, width, 3) into RGB (PS3.3 C.7.6.3.1.2), within one level of the formula."""
    rgb = np.empty(ybr.shape, dtype=np.uint8)
    for strip in _strips(ybr):
        # OpenCV wants red difference before blue; NumPy reorders the channels.
        rgb[strip] = cv2.cvtColor(np.ascontiguousarray(ybr[strip][..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return rgb


def to_8_bit(values: Stored, bits_stored: int) -> Pixels:
    """Scale unsigned colour samples (height, width, 3) of ``bits_stored`` bits to 8 bits."""
    if values.dtype == np.uint8 and bits_stored == 8:
        return np.ascontiguousarray(values)
    pixels = np.empty(values.shape, dtype=np.uint8)
    for strip in _strips(values):
        scaled = np.rint(values[strip].astype(np.float64) * (255.0 / (2**bits_stored - 1)))
        pixels[strip] = np.clip(scaled, 0, 255).astype(np.uint8)
    return pixels


def _looked_up(codes: Stored, table: Pixels) -> Pixels:
    pixels = np.empty((*codes.shape, 3), dtype=np.uint8)
    for strip in _strips(codes):
        np.take(table, codes[strip], axis=0, out=pixels[strip], mode="clip")
    return pixels


def _strips(picture: Stored) -> list[slice]:
    rows = max(1, STRIP_PIXELS // max(1, picture.shape[1]))
    return [slice(start, start + rows) for start in range(0, picture.shape[0], rows)]


def _plain_layout(layout: PixelLayout, length: int) -> PixelLayout:
    """The layout that the length of the data tells: colours may be at half the width or not, whatever is stated."""
    if layout.colour not in YBR or layout.samples != 3:
        return layout
    for colour in (layout.colour, *YBR):
        other = replace(layout, colour=colour)
        if 0 <= length - other.frame_bytes * (layout.frames or 1) <= 1:
            return other
    return layout


def _extended_offsets(opened: Opened) -> tuple[int, ...]:
    packed = packed_bytes(opened.dataset, "ExtendedOffsetTable")
    if packed is None:
        return ()
    whole = packed[0][: len(packed[0]) // 8 * 8]  # a table that is cut off may still be right at its beginning
    return tuple(np.frombuffer(whole, "<u8").tolist())


def video_stream(opened: Opened, name: str) -> bytes:
    """Join the fragments of the clip inside a dataset, without the offset table (PS3.5 A.4).

    Raises ``UserError`` where it is damaged or too large.
    """
    _, fragments = read_fragments(opened.data, opened.offset, name)
    if sum(length for _, length in fragments) > VIDEO_BYTES:
        raise UserError(f"The video inside {name} is larger than {VIDEO_BYTES // 1_000_000} MB", "Export a shorter one")
    return b"".join(_content(opened, fragment) for fragment in fragments)


def _content(opened: Opened, fragment: Fragment) -> bytes:
    opened.data.seek(fragment[0])
    return opened.data.read(fragment[1])
