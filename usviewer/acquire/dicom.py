"""DICOM stills and cine: a picture or a cine, whatever its packing, with the file's own times.

Nothing of the patient is read into ``SourceInfo`` or ``DicomTags``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from usviewer.acquire.dicom_file import Opened, is_dicom, read_file
from usviewer.acquire.dicom_header import DicomTags, RawRegion, declared_frames, frame_times, read_tags
from usviewer.acquire.dicom_pixels import PixelReader, video_stream
from usviewer.acquire.dicom_values import quiet
from usviewer.acquire.source import RecordedSource, check_size, unreadable
from usviewer.acquire.video import ClipReader, clip_notes, mean_rate
from usviewer.errors import UserError
from usviewer.files import open_regular
from usviewer.frame import Frame, Pixels, SourceInfo, make_frame

__all__ = ["DicomSource", "DicomTags", "RawRegion", "is_dicom"]

# MPEG-2, H.264 and H.265, whole or in fragments (".1").
VIDEO_SYNTAX = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?")


class DicomSource(RecordedSource):
    """A still or a cine. ``tags`` has the regions for ``calibrate``; frames carry no geometry of their own."""

    def __init__(self, path: Path) -> None:
        self._uri, self._name = str(path), path.name
        self._damaged: set[int] = set()
        self._clip: ClipReader | None = None
        self._pixels: PixelReader | None = None
        try:
            self._file = open_regular(path)
        except OSError as error:
            raise unreadable(path.name, error, was_there=True) from error
        try:
            with quiet():  # pydicom looks at values, and remarks on them, when they are first asked for
                self._open(read_file(self._file, self._name))
        except BaseException:
            self.close()
            raise

    def _open(self, opened: Opened) -> None:
        self.tags = read_tags(opened.dataset, opened.syntax)
        self._declared = declared_frames(opened.dataset)
        check_size(self._name, self.tags.columns, self.tags.rows)
        if VIDEO_SYNTAX.fullmatch(opened.syntax):
            self._clip = ClipReader(video_stream(opened, self._name), self._name)
            counted = len(self._clip.table().ticks)
            self._times_s, self._times_note = frame_times(opened.dataset, counted, self._clip.times_s())
        else:
            self._pixels = PixelReader(opened, self._name)
            if self._pixels.frame_count == 0:
                raise UserError(f"{self._name} has no complete frame", "Copy it again")
            self._times_s, self._times_note = frame_times(opened.dataset, self._pixels.frame_count)
        self._height_px, self._width_px = self._picture(0).shape[:2]

    @property
    def info(self) -> SourceInfo:
        """What is known so far; frames per second only where the file states them."""
        return SourceInfo(
            uri=self._uri,
            name=Path(self._uri).stem,
            kind="dicom",
            width_px=self._width_px,
            height_px=self._height_px,
            frames_per_second=mean_rate(self._times_s),
            frame_count=len(self._times_s),
            notes=self._notes(),
            pixel_aspect=self._pixel_aspect(),
        )

    def __iter__(self) -> Iterator[Frame]:
        """Every frame, decoded one by one; one that cannot be is left out, noted, and keeps its number."""
        if self._clip is None:
            for index in range(len(self._times_s)):
                try:
                    frame = self.seek(index)
                except UserError:
                    self._damaged.add(index)
                    continue
                yield frame
            return
        for index, (pixels, _) in enumerate(self._clip.pictures()):
            yield self._frame(pixels, index)

    def seek(self, index: int) -> Frame:
        """Exactly frame ``index``."""
        self.check_index(index)
        return self._frame(self._picture(index), index)

    def seek_near(self, index: int) -> Frame:
        """The frame itself; of a video inside DICOM the nearest cheap one."""
        self.check_index(index)
        if self._clip:
            index = self._clip.near(index)
        return self.seek(index)

    def times_s(self) -> Sequence[float | None]:
        """Seconds since the first frame by what the file says; None for a still and where nothing is said."""
        return self._times_s

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._clip:
            self._clip.close()

    def _frame(self, pixels: Pixels, index: int) -> Frame:
        return make_frame(pixels, self._uri, index, self._times_s[index], pixel_aspect=self._pixel_aspect())

    def _picture(self, index: int) -> Pixels:
        if self._clip:
            return self._clip.picture(index)[0]
        assert self._pixels is not None
        return self._pixels.pixels(index)

    def _pixel_aspect(self) -> float:
        if self.tags.pixel_aspect_ratio:
            # PS3.3 C.7.6.3.1.7 names the vertical size first: the inverse of our width over height.
            vertical, horizontal = self.tags.pixel_aspect_ratio
            return horizontal / vertical
        if self._clip:
            return float(self._clip.pixel_aspect)
        return 1.0

    def _notes(self) -> tuple[str, ...]:
        notes: list[str] = []
        if self._clip:
            notes += clip_notes(self._clip)
        count = len(self._times_s)
        if self._declared is None:
            notes.append(f"The file does not say how many frames it has; {count} were found")
        elif count != self._declared:
            notes.append(f"The file says that it has {self._declared} frames; {count} were found")
        if self._damaged:
            notes.append(f"Damaged, left out: frame {', '.join(map(str, sorted(self._damaged)))}")
        # Said, not refused: a capture of an ultrasound screen may state another modality, or "other".
        if self.tags.modality not in ("US", "IVUS", ""):
            notes.append(f"This is not ultrasound but {self.tags.modality}")
        if self._times_note:
            notes.append(self._times_note)
        return tuple(notes)
