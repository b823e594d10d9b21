"""Recorded clips as sources: every frame in order, exact seeking, real times, and what is wrong with the recording.

``ClipReader`` gives the pictures by their number: the timetable, seeking by timestamp, and a decoder with a position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from av.video.frame import VideoFrame

from usviewer.acquire.decoding import (
    MAX_OPENING_PX,
    SEEK_THREADS,
    Converter,
    Damage,
    decode,
    decode_all,
    open_container,
    picture_stream,
)
from usviewer.acquire.source import RecordedSource, check_size
from usviewer.errors import UserError, foreign_parser
from usviewer.frame import Frame, Pixels, SourceInfo, make_frame
from usviewer.units import is_square

# Containers that store a presentation time with every frame, and codecs whose every packet is one shown frame:
# there a list of packets is a list of frames. Everywhere else frames are counted by decoding.
INDEXED_FORMATS = {"mov", "matroska", "gif"}
INDEXED_CODECS = {"h264", "hevc", "av1", "vp9", "mjpeg", "gif", "mpeg4", "ffv1", "prores", "png"}
# Times of reordered frames come out of order here: they are known only once all have been read.
DISORDERED_FORMATS = {"avi"}
# Frames that were decoded are kept for going back one by one: a second or two of ordinary ultrasound.
CACHE_BYTES = 96_000_000
MAX_CACHED_FRAMES = 64
# Reading on over so many frames costs less than seeking to a key frame and decoding from there.
READ_ON_FRAMES = 8
# Codecs in which frames that nothing is predicted from can be left out on the way to another one.
PASSABLE_CODECS = {"h264", "hevc"}
# So many frames before the one that is sought are decoded in any case: for going back frame by frame.
KEPT_BEHIND = 8


def mean_rate(times_s: Sequence[float | None]) -> float | None:
    """Compute the frames a second over a whole recording; None where its times are not known."""
    known = [time_s for time_s in times_s if time_s is not None]
    if len(known) < 2 or len(known) != len(times_s) or known[-1] <= known[0]:
        return None
    return (len(known) - 1) / (known[-1] - known[0])


def clip_notes(reader: ClipReader) -> tuple[str, ...]:
    """Say what the user must know about a clip, as far as it has been read."""
    notes = []
    if not is_square(float(reader.pixel_aspect)):
        notes.append(
            f"Pixels are not square (1 : {float(1 / reader.pixel_aspect):.4g}): one scale does not fit both axes"
        )
    if reader.matrix:
        notes.append("Turned upright as the recording says")
    if reader.first_tick is None and reader.frames_per_second:
        notes.append(f"Frames carry no times: taken from the stated {reader.frames_per_second:.4g} a second")
    count, damage = reader.known_count, reader.damage  # counted frames, never what the header promises
    if count is not None and count < reader.promised_frames:
        notes.append(f"Ends early: {count} of {reader.promised_frames} frames are there")
    elif count is not None and _seconds_missing(reader) > 0:
        notes.append(f"Ends early: {_seconds_missing(reader):.1f} of {reader.promised_s:.1f} seconds are missing")
    if damage.packets or damage.reads or damage.frames:
        parts = (damage.packets + damage.reads, "could not be decoded"), (damage.frames, "are damaged")
        notes.append("Recording damaged: " + ", ".join(f"{number} frames {what}" for number, what in parts if number))
    return tuple(notes)


def _seconds_missing(reader: ClipReader) -> float:
    """How much shorter a clip is than it says, 0 where that is within the slack of headers."""
    last_s = reader.times_s()[-1] if reader.known_count else None
    if last_s is None:
        return 0.0
    missing_s = reader.promised_s - last_s
    # Headers are not exact: less than a second, or than a tenth, is not a sign of a cut.
    if missing_s <= max(1.0, 0.1 * reader.promised_s):
        return 0.0
    return missing_s


class VideoSource(RecordedSource):
    """A clip. Damaged packets are skipped and noted; nothing else is dropped, doubled or resized."""

    def __init__(self, path: Path) -> None:
        self._reader = ClipReader(str(path), path.name)
        self._uri = str(path)

    @property
    def info(self) -> SourceInfo:
        """Size as shown (after turning); ``frame_count`` and the mean rate once counted."""
        reader = self._reader
        counted = reader.known_count is not None
        return SourceInfo(
            uri=self._uri,
            name=Path(self._uri).stem,
            kind="video",
            width_px=reader.width_px,
            height_px=reader.height_px,
            frames_per_second=mean_rate(reader.times_s()) if counted else reader.frames_per_second,
            frame_count=reader.known_count,
            notes=clip_notes(reader),
            pixel_aspect=float(reader.pixel_aspect),
        )

    def __iter__(self) -> Iterator[Frame]:
        for index, (pixels, time_s) in enumerate(self._reader.pictures()):
            yield self._frame(pixels, index, time_s)

    def seek(self, index: int) -> Frame:
        """Exactly frame ``index``, decoded from the key frame before it."""
        self.check_index(index)
        pixels, time_s = self._reader.picture(index)
        return self._frame(pixels, index, time_s)

    def seek_near(self, index: int) -> Frame:
        """The nearest frame that is decoded already or is a key frame."""
        self.check_index(index)
        return self.seek(self._reader.near(index))

    def _frame(self, pixels: Pixels, index: int, time_s: float | None) -> Frame:
        return make_frame(pixels, self._uri, index, time_s, pixel_aspect=float(self._reader.pixel_aspect))

    def times_s(self) -> Sequence[float | None]:
        """Seconds since the first frame."""
        return self._reader.times_s()

    def close(self) -> None:
        """Close the decoder."""
        self._reader.close()


@dataclass(frozen=True)
class _Timetable:
    """Presentation time of every frame in the stream's ticks, in order, and which frames are key frames.

    ``counted`` is True when every frame was decoded to make it.
    """

    ticks: tuple[int | None, ...]
    key_indices: tuple[int, ...]
    tick_s: Fraction
    counted: bool

    @cached_property
    def timed(self) -> bool:
        """Whether every frame has its own, rising time: without, frames are found by counting."""
        known = [tick for tick in self.ticks if tick is not None]
        return len(known) == len(self.ticks) and all(a < b for a, b in pairwise(known))

    @cached_property
    def numbers(self) -> dict[int | None, int]:
        """Frame number by its tick."""
        return {tick: number for number, tick in enumerate(self.ticks)}


class ClipReader:
    """Pictures of one clip by number; knows FFmpeg, not ``Frame``. ``clip`` is a path or the clip's bytes."""

    def __init__(self, clip: str | bytes, name: str) -> None:
        self.name = name
        self.damage = Damage()
        self.pixel_aspect = Fraction(1)
        self._clip = clip
        self._convert = Converter()
        self._table: _Timetable | None = None
        self._cache: OrderedDict[int, VideoFrame] = OrderedDict()
        self._cursor: _Cursor | None = None
        self._times_of: _Timetable | None = None
        self._times: tuple[float | None, ...] = ()
        self._read_facts()

    def _read_facts(self) -> None:
        container = open_container(self._clip, self.name)
        try:
            stream = picture_stream(container, self.name)
            with foreign_parser(f"The header of {self.name} is damaged", "Copy it again"):
                self._read_header(container, stream)
            width_px, height_px = stream.codec_context.width, stream.codec_context.height
            if not width_px or not height_px:
                raise UserError(
                    f"The pictures of {self.name} are damaged, or larger than {MAX_OPENING_PX // 1_000_000} megapixels",
                    "Copy it again, or save it smaller",
                )
            check_size(self.name, width_px, height_px)
            first = next(decode(container, stream, Damage(), self.name), None)
        finally:
            container.close()
        if first is None:
            raise UserError(f"No picture of {self.name} can be decoded", "The file is damaged: copy it again")
        self.first_tick = first.pts
        self.matrix = self._convert.matrix(first)
        pixels = self._convert.rgb(first)
        if self.matrix and not self.matrix[0]:
            self.pixel_aspect = 1 / self.pixel_aspect
        self.height_px, self.width_px = pixels.shape[:2]

    def _read_header(self, container: Any, stream: Any) -> None:
        self.format = str(container.format.name).split(",")[0]
        self.codec = str(stream.codec_context.name)
        self.promised_frames = int(stream.frames)
        self.tick_s = Fraction(stream.time_base)
        self.promised_s = (container.duration or 0) / 1e6
        if stream.duration:  # the container's may include sound that goes on after the pictures
            self.promised_s = float(stream.duration * self.tick_s)
        self.pixel_aspect = Fraction(stream.sample_aspect_ratio or 1)
        rate = stream.average_rate
        # Some containers give their clock, such as 90,000 a second, as the rate.
        self.frames_per_second: float | None = None
        if rate and 0 < rate <= 1000:
            self.frames_per_second = float(rate)

    def pictures(self) -> Iterator[tuple[Pixels, float | None]]:
        """Every picture and its time in seconds, from an own pass; a whole pass settles the timetable."""
        damage, ticks, keys = Damage(), list[int | None](), list[int]()
        times_s = self.times_s() if self.format in DISORDERED_FORMATS else ()
        for number, frame in enumerate(decode_all(self._clip, self.name, damage)):
            if frame.key_frame:
                keys.append(number)
            ticks.append(frame.pts)
            if times_s:
                yield self._rgb(frame), times_s[number]
            else:
                yield self._rgb(frame), self._time_s(number, frame.pts, ticks[0])
        self._settle(_Timetable(tuple(ticks), tuple(keys), self.tick_s, counted=True), damage)

    def picture(self, index: int) -> tuple[Pixels, float | None]:
        """Return exactly picture ``index``."""
        frame = self._cache.get(index) or self._fetch(index)
        return self._rgb(frame), self.times_s()[index]

    def times_s(self) -> tuple[float | None, ...]:
        """Time of every picture, in seconds since the first."""
        table = self.table()
        if self._times_of is not table:
            known = [tick for tick in table.ticks if tick is not None]
            disordered = self.format in DISORDERED_FORMATS and len(known) == len(table.ticks)
            ticks: tuple[int | None, ...] = table.ticks
            if disordered:
                ticks = tuple(sorted(known))
            self._times_of = table
            self._times = tuple(self._time_s(index, tick, ticks[0]) for index, tick in enumerate(ticks))
        return self._times

    @property
    def known_count(self) -> int | None:
        """How many pictures there are, if they have been counted."""
        if self._table is None:
            return None
        return len(self._table.ticks)

    def near(self, index: int) -> int:
        """The number of a picture close to ``index`` that costs little: decoded already, or a key frame."""
        keys = self.table().key_indices
        if index in self._cache or (self._cursor and self._cursor.next_index == index) or not keys:
            return index
        return min(keys, key=lambda key: abs(key - index))

    def table(self) -> _Timetable:
        """The timetable: from the packets where these can be trusted, else by decoding everything once."""
        if self._table is None:
            self._table = self._table_of_packets()
        return self._table or self._count()

    def close(self) -> None:
        """Drop the decoder and the decoded pictures."""
        if self._cursor:
            self._cursor.close()
        self._cursor = None
        self._cache.clear()

    def _rgb(self, frame: VideoFrame) -> Pixels:
        check_size(self.name, frame.width, frame.height)
        return self._convert.rgb(frame)

    def _time_s(self, index: int, tick: int | None, start: int | None) -> float | None:
        """Time since the first frame; where frames carry no times, by the stated rate if there is one."""
        if self.first_tick is None:
            if self.frames_per_second is None:
                return None
            return index / self.frames_per_second
        if tick is None or start is None:
            return None
        return float((tick - start) * self.tick_s)

    def _table_of_packets(self) -> _Timetable | None:
        if self.format not in INDEXED_FORMATS or self.codec not in INDEXED_CODECS:
            return None
        container = open_container(self._clip, self.name)
        try:
            stream = picture_stream(container, self.name)
            packets = [
                (packet.pts, packet.is_keyframe, packet.is_corrupt or packet.is_discard, packet.is_discard)
                for packet in container.demux(stream)
                if packet.size
            ]
        except Exception:  # whatever PyAV raises: then frames are counted by decoding
            return None
        finally:
            container.close()
        self.promised_frames -= sum(discard for *_, discard in packets)  # cut off by an edit list
        if any(tick is None or bad for tick, _, bad, _ in packets):
            return None
        packets.sort()  # packets lie in the order of decoding, frames are shown by their times
        ticks = tuple(packet[0] for packet in packets)
        keys = tuple(index for index, packet in enumerate(packets) if packet[1])
        table = _Timetable(ticks, keys, self.tick_s, counted=False)
        whole = self.promised_frames in (0, len(ticks))
        if whole and table.timed and ticks[:1] == (self.first_tick,):
            return table
        return None

    def _count(self) -> _Timetable:
        damage = Damage()
        frames = [(frame.pts, frame.key_frame) for frame in decode_all(self._clip, self.name, damage)]
        keys = tuple(index for index, (_, key) in enumerate(frames) if key)
        return self._settle(_Timetable(tuple(tick for tick, _ in frames), keys, self.tick_s, counted=True), damage)

    def _settle(self, table: _Timetable, damage: Damage) -> _Timetable:
        """Take a counted timetable; what was decoded under another numbering is dropped."""
        if self._table is None or self._table.ticks != table.ticks:
            self.close()
        self._table, self.damage = table, damage
        return table

    def _fetch(self, index: int) -> VideoFrame:
        """Decode up to ``index``: from the cursor's position, from a key frame before it, or from the start."""
        for cursor in self._cursors(index):
            frame = self._advance(cursor, index)
            if not cursor.intact:
                self.damage = cursor.damage
            if frame is not None and (cursor.intact or cursor.threads == 1):
                return frame
        if not self.table().counted:  # the packets promised a frame that does not decode
            self._count()
            if index < len(self.table().ticks):
                return self._fetch(index)
        raise UserError(f"Frame {index} of {self.name} is damaged", "Choose another frame")

    def _cursors(self, index: int) -> Iterator[_Cursor]:
        """Places to decode from, cheapest first. A damaged clip is only ever decoded from its start, on one thread."""
        table = self.table()
        seekable = table.timed and self.damage == Damage()
        before: tuple[int, ...] = ()
        if seekable:
            before = table.key_indices[: bisect_right(table.key_indices, index)]
        here = self._cursor.next_index if self._cursor else None
        if self._cursor and here is not None and here <= index and (not before or before[-1] <= here + READ_ON_FRAMES):
            yield self._cursor
        # What is marked as a key frame may not be one: its frames then do not follow, and the one before is tried.
        for key_index in reversed(before[-2:]):
            if key_index > 0 and self.damage == Damage():
                yield self._restart(key_index, SEEK_THREADS)
        if self.damage == Damage():
            yield self._restart(0, SEEK_THREADS)
        yield self._restart(0, 1)

    def _restart(self, key_index: int, threads: int) -> _Cursor:
        """Go to a key frame with the open decoder; for the very start, open a new one."""
        if key_index and self._cursor and self._cursor.intact and self._cursor.threads == threads:
            self._cursor.go(key_index)
            return self._cursor
        if self._cursor:
            self._cursor.close()
        if threads == 1:
            self._cache.clear()
        self._cursor = _Cursor(self._clip, self.name, self.table(), threads)
        if key_index:
            self._cursor.go(key_index)
        return self._cursor

    def _advance(self, cursor: _Cursor, index: int) -> VideoFrame | None:
        """Decode and cache up to ``index``; None if the cursor comes out elsewhere."""
        passable = self.codec in PASSABLE_CODECS and not self.table().counted and cursor.threads > 1
        cursor.whole_from = 0
        if passable:
            cursor.whole_from = max(0, index - KEPT_BEHIND)
        for number, frame in cursor:
            self._cache[number] = frame
            self._cache.move_to_end(number)
            picture_bytes = sum(plane.buffer_size for plane in frame.planes)
            while len(self._cache) > max(2, min(MAX_CACHED_FRAMES, CACHE_BYTES // max(picture_bytes, 1))):
                self._cache.popitem(last=False)
            if number == index:
                return frame
            if number > index:
                break
        return None


class _Cursor:
    """A decoder at a position in a clip. Numbers the frames that it gives by their times.

    Iteration ends early (and ``next_index`` becomes None) when a frame is not the one the timetable has next: then
    the key frame it started from was not one. Frames before ``whole_from`` may be left out. ``intact`` is False once
    anything on the way was damaged: how FFmpeg patches damage depends on what it decoded before, so only a pass from
    the very start on one thread repeats it.
    """

    def __init__(self, clip: str | bytes, name: str, table: _Timetable, threads: int) -> None:
        self._table, self._name = table, name
        self._container = open_container(clip, name)
        self._stream = picture_stream(self._container, name, threads)
        self.next_index: int | None = 0
        self.whole_from = 0
        self.threads = threads
        self.damage = Damage()
        self._frames = self._decoded()

    def _decoded(self) -> Iterator[VideoFrame]:
        if self._table.counted:  # its packets could not be trusted: every frame is decoded
            return decode(self._container, self._stream, self.damage, self._name)
        return decode(self._container, self._stream, self.damage, self._name, self._passed)

    def _passed(self, tick: int | None) -> bool:
        return self.whole_from > 0 and self._table.numbers.get(tick, self.whole_from) < self.whole_from

    def go(self, key_index: int) -> None:
        """Seek to a key frame or before it, as near as the container can; the first frame tells where."""
        self._frames.close()  # type: ignore[attr-defined]
        self.next_index = None
        try:
            self._container.seek(self._table.ticks[key_index], stream=self._stream, backward=True)
        except Exception:  # some streams cannot: the next place to start from is tried
            return
        self._frames = self._decoded()

    @property
    def intact(self) -> bool:
        """Whether all that was read so far was undamaged."""
        return self.damage == Damage()

    def __iter__(self) -> Iterator[tuple[int, VideoFrame]]:
        for frame in self._frames:
            number = self.next_index
            if self._table.timed:  # else frames can only be counted
                number = self._table.numbers.get(frame.pts)
            if number is None or not self._is_next(number):
                break
            self.next_index = number + 1
            yield number, frame
        self.next_index = None

    def _is_next(self, number: int) -> bool:
        """Whether a frame follows the one before it, but for those that were passed over."""
        if self.next_index is None or number == self.next_index:
            return True
        return self.next_index < number <= self.whole_from

    def close(self) -> None:
        self._frames.close()  # type: ignore[attr-defined]
        self._container.close()
