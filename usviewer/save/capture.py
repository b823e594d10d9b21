"""What the user captures in the window: a picture with what is known of it, or a recording with its readings.

A picture is an annotated PNG, and next to it everything that is known of it as JSON. A recording is the annotated
stream, the raw one without overlay, and the readings as a table.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usviewer import RESEARCH_USE, __version__
from usviewer.errors import UserError
from usviewer.files import short_name
from usviewer.frame import Frame
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.measure.reading import Dimension, Measurement, Reading, Summary
from usviewer.overlay.items import AnnotatedFrame, Scene
from usviewer.overlay.words import convention
from usviewer.save.export import ExportFolder, free_name
from usviewer.save.media import ClipWriter, Form, form_of
from usviewer.save.tables import CsvTable, reading_columns, reading_row, write_json

FORMAT = 1  # raised when a key changes its meaning
_FORBIDDEN = re.compile(r"[^\w.-]+")
# Frame, time, a number and the ending follow; file systems take 255.
_MOST_NAME_BYTES = 80


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One picture with what is known of it.

    ``manual`` are the operator's own measurements on it, ``given`` what the operator said of the source; ``report`` is
    what the frames up to it (or the whole clip) amount to. ``prompts`` is what was pointed at on it.
    """

    shown: AnnotatedFrame
    reading: Reading | None
    summary: Summary | None
    manual: tuple[Reading, ...]
    source_name: str
    model_label: str
    engine: str
    given: ExamContext = NO_CONTEXT
    report: ClipReport = EMPTY_REPORT
    prompts: tuple[Mapping[str, Any], ...] = ()


def _snapshot_name(source_name: str, frame: Frame, wall_clock_s: float | None = None) -> str:
    """Source, frame and time, fit for every file system: ``sweep-f000162-7_318s``; live, the time of the clock."""
    stem = short_name(_FORBIDDEN.sub("-", source_name).strip("-."), _MOST_NAME_BYTES) or "picture"
    if frame.key.media_time_s is not None:
        # No second point in the name: what follows it would be taken for its ending.
        when = f"{frame.key.media_time_s:.3f}s".replace(".", "_")
    else:
        when = time.strftime("%Y%m%d-%H%M%S", time.localtime(wall_clock_s))
    return f"{stem}-f{frame.key.index:06d}-{when}"


def save_snapshot(snapshot: Snapshot, folder: Path, *, keep_surroundings: bool = False) -> tuple[Path, str]:
    """Write the PNG and its JSON under a free name; both or neither.

    Returns the path of the PNG and what the user must know about its surroundings. Raises ``UserError``.
    """
    frame = snapshot.shown.frame
    with ExportFolder(folder, keep_surroundings=keep_surroundings) as export:
        picture = free_name(folder, _snapshot_name(snapshot.source_name, frame), (".png", ".json"))
        export.write_picture(snapshot.shown, picture.name)
        document = _snapshot_document(snapshot, picture.name, export.surroundings)
        write_json(export.path / picture.with_suffix(".json").name, document)
        export.move_out()
        return picture, export.notice


def _snapshot_document(snapshot: Snapshot, file: str, surroundings: str) -> dict[str, Any]:
    """The content of the JSON; its keys are described in ``docs/files.md``."""
    frame = snapshot.shown.frame
    return {
        "format": FORMAT,
        "program": f"usviewer {__version__}",
        "research_use": RESEARCH_USE,
        "picture": file,
        "source": snapshot.source_name,
        "frame": frame.key.index,
        "time_s": frame.key.media_time_s,
        "frame_digest": frame.key.digest,
        **_answer(snapshot),
        "given": {
            "plane": snapshot.given.plane and str(snapshot.given.plane),
            "site": str(snapshot.given.site) or None,
            "gestational_age_weeks": snapshot.given.gestational_age_weeks,
        },
        "sweep": snapshot.report.document.get("sweep", []),
        "pulse": snapshot.report.document.get("pulse"),
        "manual": [_manual(each) for each in snapshot.manual],
        "prompts": [dict(prompt) for prompt in snapshot.prompts],
        "model": _model(snapshot),
        "scale": snapshot.reading and _scale(snapshot.reading),
        "surroundings": surroundings,
        # Positions above are in the frame's own pixels; the PNG may be stretched to square ones.
        "frame_size_px": [frame.width_px, frame.height_px],
        "pixel_aspect": frame.pixel_aspect,
    }


def _answer(snapshot: Snapshot) -> dict[str, Any]:
    """What the model measured on this picture, and over the frames up to it; null where it measured nothing."""
    if snapshot.reading is None:
        return {"reading": None, "measurements": [], "summary": snapshot.summary and _summary(snapshot.summary)}
    return {
        "reading": reading_row(snapshot.reading, snapshot.shown.frame.name),
        "measurements": [_measurement(m) for m in snapshot.reading.measurements],
        "summary": snapshot.summary and _summary(snapshot.summary),
    }


def _model(snapshot: Snapshot) -> dict[str, Any] | None:
    reading = snapshot.reading
    if reading is None:
        return None
    return {
        "id": reading.model_id,
        "sha256": reading.model_sha256,
        "label": snapshot.model_label,
        "engine": snapshot.engine,
    }


def _measurement(m: Measurement) -> dict[str, Any]:
    power = ""
    if m.dimension is Dimension.AREA:
        power = "2"
    return {
        "name": m.name,
        "dimension": str(m.dimension),
        f"value_px{power}": m.value_px,
        f"value_mm{power}": m.value_mm,
        "value": m.value,
        "ends_xy_px": m.ends_xy_px,
        f"sd_mm{power}": m.sd_mm,
    }


def _manual(reading: Reading) -> dict[str, Any]:
    return {
        "kind": reading.finding,
        "measurements": [_measurement(m) for m in reading.measurements],
        "outline_xy_px": [outline.round(2).tolist() for outline in reading.outlines_xy_px],
        "scale": _scale(reading),
        "no_scale_reason": reading.no_scale_reason,
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "unit": summary.unit_field,
        "median": summary.median,
        "interval_95": summary.known_interval and list(summary.known_interval),
        "maximum": summary.maximum,
        "span_s": summary.span_s,
        "count": summary.count,
        "plane": str(summary.plane),
        "site": str(summary.site) or None,
        "convention": convention(summary.edge),
    }


def _scale(reading: Reading) -> dict[str, Any] | None:
    spacing = reading.spacing
    if spacing is None:
        return None
    return {
        "x_mm_per_px": spacing.x_mm_per_px,
        "y_mm_per_px": spacing.y_mm_per_px,
        "source": str(spacing.source),
        "detail": spacing.detail,
        "relative_sd": spacing.relative_sd,
    }


# --- recordings -------------------------------------------------------------------------------------------------------


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
