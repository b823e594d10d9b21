"""A recording of what is seen: the annotated stream, the raw one without overlay, and the readings as a table."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.measure.reading import Reading
from usviewer.overlay.items import AnnotatedFrame, Scene
from usviewer.save.export import ExportFolder
from usviewer.save.media import ClipWriter, Form, form_of
from usviewer.save.tables import CsvTable, reading_columns, reading_row


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame:
    """One picture of a recording. ``scene`` and ``reading`` are None where it was shown without an overlay."""

    frame: Frame
    scene: Scene | None
    reading: Reading | None


class Recorder:
    """Writes a folder with ``annotated.mp4``, ``raw.mp4`` and ``readings.csv``; another one when size or model changes.

    ``raw.mp4`` has no overlay and is coded without loss; both streams are blanked outside the sector unless
    ``keep_surroundings``. Times are those of capture. A failure to write keeps nothing of the part that failed.
    ``notice`` is what the user must know about the pictures. Every method is slow work for one thread.
    """

    def __init__(self, parent: Path, name: str, *, keep_surroundings: bool = False) -> None:
        self.notice = ""
        self._parent = parent
        self._name = name
        self._keep_surroundings = keep_surroundings
        self._part: _Part | None = None
        self._written: list[Path] = []

    def add(self, recorded: RecordedFrame) -> None:
        """Append one picture. Raises ``UserError`` where it cannot be written."""
        if self._part is not None and not self._part.takes(recorded):
            self._end_part()
        if self._part is None:
            export = ExportFolder(self._parent, self._name, keep_surroundings=self._keep_surroundings)
            self._part = _Part(export, form_of(recorded.frame), recorded.frame.key.capture_time_s)
        try:
            self._part.add(recorded)
        except UserError:
            self._part.abort()
            self._part = None
            raise
        self.notice = self.notice or self._part.export.notice  # the first stands for all

    def close(self) -> tuple[Path, ...]:
        """Finish. Returns the folders that were written, none when there was no picture. Raises ``UserError``."""
        self._end_part()
        return tuple(self._written)

    def _end_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            self._written.append(part.finish())


class _Part:
    """Pictures of one size and shape of pixel with readings of one finding."""

    def __init__(self, export: ExportFolder, form: Form, began_s: float) -> None:
        self.export = export
        self._form = form
        self._began_s = self._last_s = began_s
        self._finding: str | None = None
        self._table: CsvTable | None = None
        self._stack = ExitStack()
        try:
            self._annotated = self._stack.enter_context(self._writer("annotated.mp4"))
            self._raw = self._stack.enter_context(self._writer("raw.mp4", lossless=True))
        except UserError:
            self.abort()
            raise

    def _writer(self, name: str, *, lossless: bool = False) -> ClipWriter:
        # One thread: what is seen and inferred meanwhile wants the others.
        aspect = self._form.pixel_aspect
        return ClipWriter(
            self.export.path / name, self._form.size_px, pixel_aspect=aspect, lossless=lossless, threads=1
        )

    def takes(self, recorded: RecordedFrame) -> bool:
        """Whether a picture belongs here."""
        # A clip has one size, and a table the columns of one finding.
        same_form = form_of(recorded.frame) == self._form
        return same_form and (recorded.reading is None or self._finding in (None, recorded.reading.finding))

    def add(self, recorded: RecordedFrame) -> None:
        """Append one picture to both streams, and its reading to the table."""
        # A clip's times cannot run backwards; a frame that is shown again in review has its old one.
        self._last_s = max(self._last_s, recorded.frame.key.capture_time_s)
        time_s = self._last_s - self._began_s
        raw = self.export.bare_picture(recorded.frame)
        annotated = raw
        if recorded.scene is not None:
            annotated = self.export.annotated_picture(AnnotatedFrame(recorded.frame, recorded.scene))
        self._raw.add(raw, time_s)
        self._annotated.add(annotated, time_s)
        if recorded.reading is not None:
            self._row(recorded.reading)

    def _row(self, reading: Reading) -> None:
        if self._table is None:
            self._finding = reading.finding
            columns = reading_columns(reading.finding)
            self._table = self._stack.enter_context(CsvTable(self.export.path / "readings.csv", columns))
        self._table.add(reading_row(reading))

    def finish(self) -> Path:
        """Give the folder its name. Nothing of it stays where one of its files cannot be finished."""
        with self.export:
            self._stack.close()
            return self.export.become_folder()

    def abort(self) -> None:
        """Remove this part."""
        with self.export, suppress(UserError):
            self._stack.__exit__(UserError, UserError("aborted"), None)
