"""A recording of what is seen: the annotated stream, the raw one without overlay, and the readings as a table."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from usviewer.atomic import make_folder
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.measure.reading import Reading
from usviewer.overlay.annotated_frame import AnnotatedFrame
from usviewer.overlay.items import Scene
from usviewer.save.corrections import free_name
from usviewer.save.deidentify import blank_outside_sector, privacy_notice
from usviewer.save.media import ClipWriter, form_of, picture_of
from usviewer.save.tables import CsvTable, reading_columns, reading_row


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame:
    """One picture of a recording. ``scene`` and ``reading`` are None where it was shown without an overlay."""

    frame: Frame
    scene: Scene | None
    reading: Reading | None


class Recorder(Protocol):
    """The recorder behind the record key. Every method is slow, serves one thread and raises ``UserError``."""

    def add(self, taken: RecordedFrame) -> None:
        """Append one picture."""

    def close(self) -> tuple[Path, ...]:
        """Finish. Returns the files or folders that were written; none without a picture."""


class ClipRecorder:
    """Writes a folder with ``annotated.mp4``, ``raw.mp4`` and ``readings.csv``; another one when size or model changes.

    ``raw.mp4`` has no overlay and is coded without loss; both streams are blanked outside the sector unless
    ``keep_surroundings``. Times are those of capture. A failure to write keeps nothing of the part that failed.
    """

    def __init__(self, parent: Path, name: str, *, keep_surroundings: bool = False) -> None:
        self._parent = parent
        self._name = name
        self._keep_surroundings = keep_surroundings
        self._part: _Part | None = None
        self._written: list[Path] = []
        self.said = ""

    def add(self, taken: RecordedFrame) -> None:
        """Append one picture."""
        if self._part is not None and not self._part.takes(taken):
            self._end_part()
        if self._part is None:
            folder = free_name(make_folder(self._parent), self._name)
            self._part = _Part(folder, taken, self._keep_surroundings)
        self.said = self.said or privacy_notice(taken.frame.geometry, self._keep_surroundings)
        try:
            self._part.add(taken)
        except UserError:
            self._part.abort()
            self._part = None
            raise

    def close(self) -> tuple[Path, ...]:
        """Finish. Returns the folders that were written."""
        self._end_part()
        return tuple(self._written)

    def _end_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close()
            self._written.append(part.folder)


class _Part:
    """Pictures of one size and shape of pixel with readings of one finding."""

    def __init__(self, folder: Path, first: RecordedFrame, keep_surroundings: bool) -> None:
        self.folder = make_folder(folder)
        self._form = form_of(first.frame)
        self._began_s = self._last_s = first.frame.key.capture_time_s
        self._keep = keep_surroundings
        self._finding: str | None = None
        self._stack = ExitStack()
        try:
            self._annotated = self._stack.enter_context(self._writer("annotated.mp4"))
            self._raw = self._stack.enter_context(self._writer("raw.mp4", lossless=True))
        except UserError:
            self.abort()
            raise
        self._table: CsvTable | None = None

    def _writer(self, name: str, *, lossless: bool = False) -> ClipWriter:
        aspect = self._form.pixel_aspect
        return ClipWriter(self.folder / name, self._form.size_px, pixel_aspect=aspect, lossless=lossless, threads=1)

    def takes(self, taken: RecordedFrame) -> bool:
        """Whether a picture belongs here."""
        same_form = form_of(taken.frame) == self._form
        return same_form and (taken.reading is None or self._finding in (None, taken.reading.finding))

    def add(self, taken: RecordedFrame) -> None:
        self._last_s = max(self._last_s, taken.frame.key.capture_time_s)
        time_s = self._last_s - self._began_s
        raw = blank_outside_sector(taken.frame.pixels, taken.frame.geometry, self._keep)
        self._raw.add(raw, time_s)
        if taken.scene is None:
            self._annotated.add(raw, time_s)
        else:
            self._annotated.add(picture_of(AnnotatedFrame(taken.frame, taken.scene), self._keep), time_s)
        if taken.reading is not None:
            self._row(taken.reading)

    def _row(self, reading: Reading) -> None:
        if self._table is None:
            self._finding = reading.finding
            columns = reading_columns(reading.finding)
            self._table = self._stack.enter_context(CsvTable(self.folder / "readings.csv", columns))
        self._table.add(reading_row(reading))

    def close(self) -> None:
        self._stack.close()

    def abort(self) -> None:
        """Remove everything of this part."""
        with suppress(UserError):
            self._stack.__exit__(UserError, UserError("aborted"), None)
        shutil.rmtree(self.folder, ignore_errors=True)
