"""FFmpeg through PyAV: opening a clip, one pass through its frames, and a frame as RGB.

Nothing of FFmpeg's own words reaches the user: its log is silenced, and whatever PyAV raises becomes a ``UserError`` or
a count of damaged packets here.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from usviewer.acquire.source import MAX_PIXELS, MAX_WORK_BYTES, unreadable
from usviewer.errors import UserError, foreign_parser
from usviewer.files import open_regular
from usviewer.frame import Pixels

av.logging.set_level(None)

# Only recordings: no playlists or scripts, which could make FFmpeg read other files or the network.
FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,asf,gif,flv,ogg,ivf,h264,hevc,mjpeg,dv,mxf,nut,rm,wtv"
# FFmpeg decodes up to ten frames while it opens a clip whose header does not say all, before anything can be asked.
# A screen of 5K has 14.7 megapixels; ten of the largest that then remain (6 bytes a pixel) take 960 MB.
MAX_OPENING_PX = 16_000_000
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file,pipe", "max_pixels": str(MAX_OPENING_PX)}
DECODER_THREADS = 2
# For a seek, which somebody waits for.
SEEK_THREADS = min(4, max(DECODER_THREADS, os.cpu_count() or 1))
# A read that fails may fail for ever: after so many the clip ends.
MAX_BROKEN_READS = 64
# Whole pictures are converted in bands of so many pixels: arithmetic takes up to 8 bytes each, and several copies.
BAND_PX = 1_000_000
# So many frames late are frames given while several threads decode (``decode_all`` says why).
REORDER_FRAMES = 8
# How many frames a decoder holds at once, by what its codec allows; with one that it works on and two that are cached.
HELD_FRAMES = {"gif": 5, "mjpeg": 4, "png": 5, "rawvideo": 4, "ffv1": 5, "prores": 4, "mpeg1video": 7, "mpeg2video": 7}
HELD_FRAMES |= {"mpeg4": 7, "wmv1": 7, "wmv2": 7, "vp8": 8, "vp9": 12, "libdav1d": 12, "av1": 12}
MOST_HELD_FRAMES = 20  # H.264 and HEVC: 16 to predict from
# A frame on its way to RGB: the scaler's picture and its copy, of 4 bytes a pixel at most, in addition to our own.
CONVERSION_BYTES_PER_PX = 8
UNKNOWN_BYTES_PER_PX = 4.0

Matrix = tuple[int, int, int, int]


@dataclass(slots=True)
class Damage:
    """What went wrong in one pass: packets that did not decode, frames that FFmpeg marked, reads that failed."""

    packets: int = 0
    frames: int = 0
    reads: int = 0


def open_container(clip: str | bytes, name: str) -> Any:
    """Open a file path or the bytes of a clip. Raises ``UserError`` if FFmpeg cannot read it."""
    if isinstance(clip, str):
        try:
            open_regular(Path(clip)).close()
        except OSError as error:
            raise unreadable(name, error, was_there=True) from error
    with foreign_parser(
        f"{name} is not a clip, picture or DICOM file that can be read", "It may be cut off or of another kind"
    ):
        # Without "file:" FFmpeg takes what stands before a colon in a name for a protocol.
        opened: Any = BytesIO(clip) if isinstance(clip, bytes) else f"file:{clip}"
        # Titles that are not UTF-8 are common in AVI.
        return av.open(opened, options=OPTIONS, metadata_errors="replace")


def picture_stream(container: Any, name: str, threads: int = DECODER_THREADS) -> Any:
    """Find the stream of moving pictures (cover art does not count), and set it to decode on few threads.

    Raises ``UserError`` where there is none, its codec is not known, or its decoder would need too much memory.
    """
    with foreign_parser(f"{name} is damaged", "Copy it again"):
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        known = [stream for stream in streams if stream.codec_context is not None]
    if not streams:
        raise UserError(f"{name} has no video in it", "Give a video, a picture or a DICOM file")
    if not known:
        raise UserError(f"{name} uses a codec that is not known here", "Convert it to H.264 in an MP4 file")
    stream = known[0]
    with foreign_parser(f"{name} is damaged", "Copy it again"):
        codec = stream.codec_context
        width, height, pixel_format = codec.width, codec.height, codec.format
    _check_memory(name, codec.name, width, height, pixel_format)
    most_px = MAX_WORK_BYTES / _work_bytes_per_px(codec.name, pixel_format, 1)
    fits = width * height * _work_bytes_per_px(codec.name, pixel_format, threads) <= MAX_WORK_BYTES
    with foreign_parser(f"{name} is damaged", "Copy it again"):
        stream.thread_type = "AUTO"
        if not fits:  # each thread holds frames of its own
            threads = 1
        stream.thread_count = threads
        codec.options = {"max_pixels": str(min(MAX_PIXELS, int(most_px)))}  # what the stream itself says may differ
    return stream


def _check_memory(name: str, codec: str, width_px: int, height_px: int, pixel_format: Any) -> None:
    """Raise ``UserError`` for pictures that take a decoder too much memory, even on one thread."""
    if width_px * height_px * _work_bytes_per_px(codec, pixel_format, 1) > MAX_WORK_BYTES:
        raise UserError(
            f"{name} is {width_px} x {height_px} pixels: too large to decode as a clip", "Save it smaller, or as stills"
        )


def _work_bytes_per_px(codec: str, pixel_format: Any, threads: int) -> float:
    """What decoding takes, in bytes for a pixel of the picture, in addition to the picture that is returned."""
    bytes_per_px = UNKNOWN_BYTES_PER_PX
    if pixel_format is not None:
        bytes_per_px = float(pixel_format.padded_bits_per_pixel) / 8
    waiting = 0
    if threads > 1:
        waiting = REORDER_FRAMES + 2 * threads
    return bytes_per_px * (HELD_FRAMES.get(codec, MOST_HELD_FRAMES) + waiting) + CONVERSION_BYTES_PER_PX


def decode_all(clip: str | bytes, name: str, damage: Damage) -> Iterator[VideoFrame]:
    """Decode every frame of a clip, the same ones each time.

    How FFmpeg patches damage depends on the timing of its threads, so at the first damage the pass is taken up again
    on one thread, without the frames that were given already. Frames are given late by the depth of reordering, since
    a frame is shown before the damaged one that it was predicted from.
    """
    given = 0
    for wanted in (DECODER_THREADS, 1):
        late = deque[VideoFrame]()
        damage.packets = damage.frames = damage.reads = 0
        container = open_container(clip, name)
        try:
            stream = picture_stream(container, name, wanted)
            threads = int(stream.thread_count)
            lag = 0
            if threads > 1:
                lag = REORDER_FRAMES
            for number, frame in enumerate(decode(container, stream, damage, name)):
                if threads > 1 and damage != Damage():
                    break
                late.append(frame)
                if len(late) > lag and number - lag >= given:
                    given += 1
                    yield late.popleft()
                elif len(late) > lag:
                    late.popleft()
        finally:
            container.close()
        if threads == 1 or damage == Damage():
            yield from late
            return


def decode(
    container: Any,
    stream: Any,
    damage: Damage,
    name: str,
    passed: Callable[[int | None], bool] | None = None,
) -> Iterator[VideoFrame]:
    """Decode every frame from where the container stands to its end; damage is counted and skipped.

    A frame whose time ``passed`` says is only passed over need not come: it is not decoded where nothing else is
    predicted from it. Raises ``UserError`` where pictures become too large on the way.
    """
    codec, kind = stream.codec_context, None
    for packet in _packets(container, stream, damage):
        if passed is not None:
            over = packet is not None and passed(packet.pts)
            codec.skip_frame = "NONREF" if over else "DEFAULT"
        try:
            frames = packet.decode() if packet is not None else stream.decode(None)
        except Exception as error:  # whatever PyAV raises on a packet, that packet is damaged
            if not isinstance(error, EOFError):
                damage.packets += 1
            continue
        if kind != (codec.width, codec.height, codec.pix_fmt):  # the codec's: frames come many packets later
            kind = codec.width, codec.height, codec.pix_fmt
            _check_memory(name, codec.name, codec.width, codec.height, codec.format)
        for frame in frames:
            damage.frames += bool(frame.is_corrupt)
            yield frame


def _packets(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """Packets to the end, reading on after a failed read; a last None flushes the decoder if reading broke."""
    for _ in range(MAX_BROKEN_READS):
        try:
            yield from container.demux(stream)
        except Exception:  # whatever PyAV raises on a read
            damage.reads += 1
        else:
            return
    yield None


class Converter:
    """Frames as RGB, upright, on black; keeps the scaler between frames of one format."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()
        self._turned: tuple[int, Matrix | None] | None = None

    def rgb(self, frame: VideoFrame) -> Pixels:
        """Pixels (height, width, 3) as a player shows them: full range, display matrix applied."""
        return upright(self.as_stored(frame), self.matrix(frame))

    def matrix(self, frame: VideoFrame) -> Matrix | None:
        """The frame's display matrix. Read again only where the rotation changes."""
        rotation = int(frame.rotation)
        if self._turned is None or self._turned[0] != rotation:
            with foreign_parser("What the recording says about its rotation is damaged", "Copy it again"):
                self._turned = rotation, display_matrix(frame)
        return self._turned[1]

    def as_stored(self, frame: VideoFrame) -> Pixels:
        """Pixels (height, width, 3) without the display matrix."""
        transparent = frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)
        with foreign_parser(f"Pictures of the kind {frame.format.name} cannot be shown", "Convert it to H.264"):
            converted = self._scaler.reformat(
                frame,
                format="rgba" if transparent else "rgb24",
                interpolation=Interpolation.BICUBIC,  # FFmpeg's own default; others smear or shift colour edges
                dst_color_range=ColorRange.JPEG,
                threads=1,
            )
            pixels = np.asarray(converted.to_ndarray(), dtype=np.uint8)
        if transparent:
            return on_black(pixels)
        return pixels


def on_black(rgba: Pixels) -> Pixels:
    """Lay RGBA (height, width, 4) on black: RGB (height, width, 3), uint8."""
    if int(rgba[..., 3].min(initial=255)) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    pixels = np.empty((*rgba.shape[:2], 3), np.uint8)
    for top, bottom in bands(*rgba.shape[:2]):
        alpha = rgba[top:bottom, :, 3:].astype(np.uint16)
        pixels[top:bottom] = (rgba[top:bottom, :, :3] * alpha + 127) // 255
    return pixels


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """List the rows (from, to) of bands that cover a picture; ``to`` is not part of the band."""
    rows = max(1, BAND_PX // max(width, 1))
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def display_matrix(frame: VideoFrame) -> Matrix | None:
    """Give the signs of (a, b, c, d) of the frame's display matrix: ``x' = ax + cy``, ``y' = bx + dy``.

    None where there is none, where it changes nothing, or where it is not a quarter turn. Asking makes PyAV hold the
    frame in a ring of references, with all its pixels, until the next garbage collection: not for every frame.
    """
    side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    # 3 x 3 values in fixed point, row by row: (a, b, u), (c, d, v), and what moves and projects.
    a, b, _, c, d = struct.unpack_from("=5i", bytes(side_data))
    # Within 3.6 degrees (1 in 16) of a quarter turn; a picture between is not turned at all.
    if abs(a) + abs(d) > 16 * (abs(b) + abs(c)):
        if a > 0 and d > 0:  # upright already
            return None
        return (_sign(a), 0, 0, _sign(d))
    if abs(b) + abs(c) > 16 * (abs(a) + abs(d)):
        return (0, _sign(b), _sign(c), 0)
    return None


def _sign(value: int) -> int:
    return 1 if value > 0 else -1


def upright(pixels: Pixels, matrix: Matrix | None) -> Pixels:
    """Turn and mirror a picture (height, width, 3) as its display matrix says; a quarter turn swaps its sides."""
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if a:
        turned, flip_x, flip_y = pixels, a < 0, d < 0
    else:
        turned, flip_x, flip_y = pixels.transpose(1, 0, 2), c < 0, b < 0
    if flip_x:
        turned = turned[:, ::-1]
    if flip_y:
        turned = turned[::-1]
    return np.ascontiguousarray(turned)
