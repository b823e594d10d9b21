"""Recorded clips as sources: every frame in order, exact seeking, real times, and what is wrong with the recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from usviewer.acquire.clip import ClipReader
from usviewer.acquire.source import RecordedSource
from usviewer.frame import Frame, Pixels, SourceInfo, make_frame
from usviewer.units import is_square


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
