"""Everything that is written about one analysed input, as one folder: all of it, or nothing.

The files grow in a folder of their own inside the target and move to their places at the end, so that an earlier
analysis stays whole until the new one is. Then its files go, all of them: a clip of yesterday with a table of today
would be taken for one analysis.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from usviewer.files import short_name
from usviewer.infer.prediction import Prediction
from usviewer.measure.reading import Reading, quality_rank
from usviewer.overlay.items import AnnotatedFrame
from usviewer.plain_text import printable
from usviewer.save import masks, plots
from usviewer.save.export import ExportFolder, remove_empty
from usviewer.save.media import ClipWriter, Form, fit_to_form, form_of
from usviewer.save.summary import AnalysisInfo, summary_document
from usviewer.save.tables import (
    INSTANCE_COLUMNS,
    CsvTable,
    instance_rows,
    reading_columns,
    reading_row,
    text_of_cell,
    write_json,
)

FITTED = "The picture changes its size: the annotated clip shows each fitted into the size of the first"
MASKS, PICTURES = Path("masks"), Path("annotated")
# All that may lie next to these two folders.
FILES = tuple(
    map(
        Path,
        (
            "annotated.mp4",
            "best-frame.png",
            "diameter.png",
            "instances.csv",
            "masks.json",
            "readings.csv",
            "summary.json",
        ),
    )
)
_NO_NAME = re.compile(r'[<>:"/\\|?*]')  # what Windows takes in no name
_MOST_NAME_BYTES = 240  # of 255: a number and the ending follow
# Columns that together are in no other program's table: by them a table of an earlier run is known.
_OWN_COLUMNS = frozenset({"frame", "file", "finding", "status", "frame_digest"})


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is written besides the tables, the summary, the best frame and the plot.

    ``video`` writes ``annotated.mp4``; without it, pictures go to ``annotated/`` one by one, or nowhere
    when ``pictures`` is False too.
    """

    video: bool = True
    pictures: bool = False
    masks: bool = False
    lossless: bool = False
    keep_surroundings: bool = False


class ResultFolder:
    """Writes the results of one input; a context manager. An exception inside leaves the target as it was.

    ``finish`` writes what needs all frames and gives all files their names: ``folder`` then is where they are,
    ``document`` their summary. ``replaced`` says in one sentence what happened to the files that were there before;
    empty where there were none. ``notes`` are sentences about these files.

    The results of an earlier run in ``folder`` are replaced. With ``new_folder`` a number is added to its name instead
    where that is taken.
    """

    def __init__(
        self,
        folder: Path,
        finding: str,
        labels: tuple[str, ...],
        options: ExportOptions,
        *,
        new_folder: bool = False,
    ) -> None:
        self.folder = folder
        self.readings: list[Reading] = []
        self.notes: list[str] = []
        self.replaced = ""
        self.document: dict[str, Any] = {}
        self._labels = labels
        self._options = options
        self._new_folder = new_folder
        if new_folder:
            self._export = ExportFolder(folder.parent, folder.name, keep_surroundings=options.keep_surroundings)
        else:
            self._export = ExportFolder(folder, keep_surroundings=options.keep_surroundings)
        self._part = self._export.path
        self._stack = ExitStack()
        self._clip: ClipWriter | None = None
        self._form = Form((0, 0))  # of the clip, once there is one
        self._best: tuple[tuple[float, ...], AnnotatedFrame] | None = None
        self._coco: list[tuple[str, Prediction]] = []
        self._pictures: set[str] = set()
        try:
            self._rows = self._stack.enter_context(CsvTable(self._part / "readings.csv", reading_columns(finding)))
            self._instances = self._stack.enter_context(CsvTable(self._part / "instances.csv", INSTANCE_COLUMNS))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    @property
    def notice(self) -> str:
        """What the user must know about the pictures; empty where there is nothing to say."""
        return self._export.notice

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not finished."""
        with self._export:
            self._stack.__exit__(kind or RuntimeError, error or RuntimeError("not finished"), trace)

    def add(self, shown: AnnotatedFrame, prediction: Prediction, reading: Reading, time_s: float) -> None:
        """Add a frame. ``time_s`` is when it is shown in the annotated clip."""
        name = shown.frame.name
        self.readings.append(reading)
        self._rows.add(reading_row(reading, name))
        for row in instance_rows(prediction, name):
            self._instances.add(row)
        if self._options.masks:
            self._add_masks(prediction, name)
        self._draw(shown, time_s)
        # Said of every frame, drawn or not: the best one is drawn at the end.
        self._export.note_surroundings(shown.frame)
        self.note(self.notice)
        rank = quality_rank(reading)
        if self._best is None or rank > self._best[0]:
            self._best = (rank, shown)

    def note(self, sentence: str) -> None:
        """Add a note that the user must know about these files; once, and nothing where it is empty."""
        if sentence and sentence not in self.notes:
            self.notes.append(sentence)

    def finish(self, analysis: AnalysisInfo, last_duration_s: float | None, *, stopped: bool = False) -> None:
        """Write the summary, the best frame and the plot, and give all files their names.

        A run that was ``stopped`` early goes next to the results of an earlier run and does not replace them.
        """
        if self._clip is not None:
            self._clip.close(last_duration_s)
        self._rows.close()
        self._instances.close()
        self._stack.pop_all()
        self._write_end(analysis)
        earlier = _earlier_run(self.folder)
        if self._new_folder:
            self.folder = self._export.become_folder()
        elif stopped and earlier is not None:
            kept = self.folder
            self.folder = self._export.become_folder(kept.parent / f"{kept.name}-stopped")
            self.replaced = f"The results of an earlier run in {kept} stay; these are in {self.folder}"
        else:
            self._replace(earlier)

    def _write_end(self, analysis: AnalysisInfo) -> None:
        """Write what needs all frames."""
        self.document = summary_document(analysis, self.readings)
        write_json(self._part / "summary.json", self.document)
        if self._best is not None:
            self._export.write_picture(self._best[1], "best-frame.png")
        if len(self.readings) > 1 and analysis.aggregate is not None:  # one reading is not a curve
            plots.write_diameter_plot(
                self.readings, self._part / "diameter.png", analysis.aggregate, analysis.model_label
            )
        if self._options.masks:
            write_json(self._part / "masks.json", masks.coco_document(self._coco, self._labels))

    def _add_masks(self, prediction: Prediction, name: str) -> None:
        index = prediction.key.index
        masks.write_label_png(prediction, self._export.folder(MASKS) / _mask_name(index))
        if masks.labels_overlap(prediction):
            self.note(masks.overlap_note("masks.json"))
        self._coco.append((name or f"{index:06d}", prediction))

    def _draw(self, shown: AnnotatedFrame, time_s: float) -> None:
        if self._options.pictures:
            name = _free_picture(shown.frame.name, shown.frame.key.index, self._pictures)
            self._export.folder(PICTURES)
            self._export.write_picture(shown, PICTURES / name)
        elif self._options.video:
            self._add_to_clip(shown, time_s)

    def _add_to_clip(self, shown: AnnotatedFrame, time_s: float) -> None:
        form = form_of(shown.frame)
        if self._clip is None:
            self._form = form
            path, lossless = self._part / "annotated.mp4", self._options.lossless
            clip = ClipWriter(path, form.size_px, pixel_aspect=form.pixel_aspect, lossless=lossless)
            self._clip = self._stack.enter_context(clip)
        if form != self._form:
            self.note(FITTED)
        self._clip.add(fit_to_form(self._export.annotated_picture(shown), form, self._form), time_s)

    def _replace(self, earlier: _Earlier | None) -> None:
        """Put all files where they were wanted; those of an earlier run go, and so does what has the same names."""
        going = self._export.files()
        if earlier is not None:
            going = [*earlier.files, *going]
        old = [path for path in dict.fromkeys(going) if (self.folder / path).is_file()]
        self._export.move_out(replaced=old)
        if earlier is not None:
            remove_empty([self.folder / MASKS, self.folder / PICTURES])
        self.replaced = _replaced_words(self.folder, earlier, old)


# --- an earlier run ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Earlier:
    """A run whose results lie in a folder: the name of its ``source``, where it says so, and what it may have left."""

    source: str
    files: tuple[Path, ...]


def _earlier_run(folder: Path) -> _Earlier | None:
    """What an earlier run left; None where neither its summary nor its table of readings is there.

    Masks and pictures are told by the frames of that table, and only of a run that wrote any: what else lies beside
    them is the user's own.
    """
    source, rows = _source_of(folder / "summary.json"), _rows_of(folder / "readings.csv")
    if source is None and rows is None:
        return None
    left = list(FILES)
    if (folder / "masks.json").is_file():
        left += [MASKS / _mask_name(index) for index, _ in rows or ()]
    if not (folder / "annotated.mp4").is_file():
        left += _pictures_left(rows or ())
    return _Earlier(source or "", tuple(left))


def _source_of(path: Path) -> str | None:
    """The name of the source in a summary; None where the file is not a summary of this program."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if str(document["program"]).startswith("usviewer "):
            return str(document["source"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _rows_of(path: Path) -> list[tuple[int, str]] | None:
    """Frame and file of every reading; None where the file is not a table of this program."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if not _OWN_COLUMNS <= set(reader.fieldnames or ()):
                return None
            return [(int(row["frame"]), text_of_cell(row["file"] or "")) for row in reader]
    except (OSError, ValueError, TypeError, csv.Error):
        return None


def _mask_name(index: int) -> str:
    return f"{index:06d}.png"


def _free_picture(file: str, index: int, taken: set[str]) -> str:
    """Name a frame's picture after its file, as far as every disk takes the name and no other picture has it.

    Two files may differ in their ending or in capitals only, and another computer's disk does not know capitals.
    ``taken`` holds the names that are given, small, and gets this one.
    """
    # A table that somebody changed must not lead out of its folder.
    plain = _NO_NAME.sub("_", printable(Path(file).name))
    stem, whole = (short_name(part, _MOST_NAME_BYTES).rstrip(". ") for part in (Path(plain).stem, plain))
    for name in (stem, whole, f"{stem}-{index:06d}", f"{index:06d}"):
        picture = f"{name}.png"
        if name and picture.casefold() not in taken:
            break
    taken.add(picture.casefold())
    return picture


def _pictures_left(rows: Iterable[tuple[int, str]]) -> list[Path]:
    taken: set[str] = set()
    return [PICTURES / name for name in sorted(_free_picture(file, index, taken) for index, file in rows)]


def _replaced_words(folder: Path, earlier: _Earlier | None, old: Sequence[Path]) -> str:
    if not old:
        return ""
    if earlier is None:
        there = ", ".join(dict.fromkeys(path.parts[0] for path in old))
        return f"What was there under the same names in {folder} was replaced: {there}"
    whose = ""
    if earlier.source:
        whose = f" ({earlier.source})"
    return f"The results of an earlier run{whose} in {folder} were replaced"
