"""FFmpeg through PyAV: opening a clip, one pass through its frames, and a frame as RGB.

Nothing of FFmpeg's own words reaches the user: its log is silenced and its errors become ``UserError`` or a count of
damaged packets.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from usviewer.errors import UserError
from usviewer.frame import Pixels

av.logging.set_level(None)

# Only recordings: no playlists or scripts, which could make FFmpeg read other files or the network.
FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,asf,gif,flv,ogg,ivf,h264,hevc,mjpeg,dv,mxf,nut,rm,wtv"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file,pipe"}
DECODER_THREADS = 2
# For a seek, which somebody waits for.
SEEK_THREADS = min(4, max(DECODER_THREADS, os.cpu_count() or 1))
MAX_BROKEN_READS = 64
REORDER_FRAMES = 8

Matrix = tuple[int, int, int, int]


@dataclass(slots=True)
class Damage:
    """What went wrong in one pass: packets that did not decode, frames that FFmpeg marked, reads that failed."""

    packets: int = 0
    frames: int = 0
    reads: int = 0


def open_container(clip: str | bytes, name: str) -> Any:
    """Open a file path or the bytes of a clip; ``UserError`` if FFmpeg cannot make anything of it."""
    try:
        if isinstance(clip, bytes):
            return av.open(BytesIO(clip), options=OPTIONS)
        return av.open(f"file:{clip}", options=OPTIONS)
    except (FFmpegError, ValueError) as error:
        raise UserError(
            f"{name} is not a clip, picture or DICOM file that can be read", "It may be cut off or of another kind"
        ) from error


def picture_stream(container: Any, name: str, threads: int = DECODER_THREADS) -> Any:
    """The stream of moving pictures (cover art does not count), set to decode on few threads."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise UserError(f"{name} holds no moving pictures", "Give a video, a picture or a DICOM file")
    stream = streams[0]
    stream.thread_type = "AUTO"
    stream.thread_count = threads
    return stream


def decode_all(clip: str | bytes, name: str, damage: Damage) -> Iterator[VideoFrame]:
    """Every frame of a clip, the same ones each time.

    How FFmpeg patches damage depends on the timing of its threads, so at the first damage the pass is taken up again
    on one thread, without the frames that were given already. Frames are given late by the depth of reordering, since
    a frame is shown before the damaged one that it was predicted from.
    """
    given = 0
    for threads in (DECODER_THREADS, 1):
        late, lag = deque[VideoFrame](), REORDER_FRAMES if threads > 1 else 0
        damage.packets = damage.frames = damage.reads = 0
        container = open_container(clip, name)
        try:
            for number, frame in enumerate(decode(container, picture_stream(container, name, threads), damage)):
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
        if damage == Damage():
            yield from late
            return


def decode(
    container: Any, stream: Any, damage: Damage, passed: Callable[[int | None], bool] | None = None
) -> Iterator[VideoFrame]:
    """Every frame from where the container stands to its end; damage is counted and skipped.

    A frame whose time ``passed`` says is only passed over need not come: it is not decoded where nothing else is
    predicted from it.
    """
    for packet in _packets(container, stream, damage):
        if passed is not None:
            over = packet is not None and passed(packet.pts)
            stream.codec_context.skip_frame = "NONREF" if over else "DEFAULT"
        try:
            frames = packet.decode() if packet is not None else stream.decode(None)
        except FFmpegError as error:
            if not isinstance(error, EOFError):
                damage.packets += 1
            continue
        for frame in frames:
            damage.frames += bool(frame.is_corrupt)
            yield frame


def _packets(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """Packets to the end, reading on after a failed read; a last None flushes the decoder if reading broke."""
    for _ in range(MAX_BROKEN_READS):
        try:
            yield from container.demux(stream)
        except FFmpegError:
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
        """The frame's display matrix. It is read anew only where the rotation is not that of the frame before."""
        rotation = int(frame.rotation)
        if self._turned is None or self._turned[0] != rotation:
            self._turned = rotation, display_matrix(frame)
        return self._turned[1]

    def as_stored(self, frame: VideoFrame) -> Pixels:
        """The same without the display matrix."""
        transparent = frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)
        converted = self._scaler.reformat(
            frame,
            format="rgba" if transparent else "rgb24",
            interpolation=Interpolation.BICUBIC,  # FFmpeg's own default; others smear or shift colour edges
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        pixels = np.asarray(converted.to_ndarray(), dtype=np.uint8)
        return on_black(pixels) if transparent else pixels


def on_black(rgba: Pixels) -> Pixels:
    """RGBA (height, width, 4) laid on black."""
    alpha = rgba[..., 3:].astype(np.uint16)
    if int(alpha.min(initial=255)) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)


def display_matrix(frame: VideoFrame) -> Matrix | None:
    """The signs of (a, b, c, d) of the frame's display matrix: ``x' = ax + cy``, ``y' = bx + dy``.

    None where there is none, where it changes nothing, or where it is no quarter turn. Asking makes PyAV hold the frame
    in a ring of references, with all its pixels, until the next garbage collection: not for every frame.
    """
    side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", bytes(side_data))
    if abs(a) + abs(d) > 16 * (abs(b) + abs(c)):
        signs = (1 if a > 0 else -1, 0, 0, 1 if d > 0 else -1)
        return None if signs == (1, 0, 0, 1) else signs
    if abs(b) + abs(c) > 16 * (abs(a) + abs(d)):
        return (0, 1 if b > 0 else -1, 1 if c > 0 else -1, 0)
    return None


def upright(pixels: Pixels, matrix: Matrix | None) -> Pixels:
    """Turn and mirror a picture as its display matrix says."""
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    turned = pixels if a else pixels.transpose(1, 0, 2)
    flip_x, flip_y = (a < 0, d < 0) if a else (c < 0, b < 0)
    if flip_x:
        turned = turned[:, ::-1]
    if flip_y:
        turned = turned[::-1]
    return np.ascontiguousarray(turned)
