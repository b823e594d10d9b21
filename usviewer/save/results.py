"""Everything that is written about one analysed input, as one folder: all of it, or nothing.

The files grow in a folder of their own inside the target and move to their places at the end, so that an earlier
analysis stays whole until the new one is. Then its files go, all of them: a clip of yesterday beside a table of today
would be taken for one analysis.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from usviewer.atomic import cannot_write, make_folder, short_name
from usviewer.infer.prediction import Prediction
from usviewer.measure.reading import Reading, quality_rank
from usviewer.overlay.annotated_frame import AnnotatedFrame
from usviewer.plain_text import printable
from usviewer.save import masks, plots
from usviewer.save.corrections import free_name
from usviewer.save.media import ClipWriter, Form, fit_to_form, form_of, picture_of, write_png
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
from usviewer.save.unfinished import PartFolder, remove_leftovers

FITTED = "The picture changes its size: the annotated clip shows each fitted into the size of the first"
MASKS, PICTURES = Path("masks"), Path("annotated")
# All that may lie beside these two folders.
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
# Columns that together are in no other program's table.
# What Windows takes in no name.
_NO_NAME = re.compile(r'[<>:"/\\|?*]')
_MOST_NAME_BYTES = 240  # of 255: a number and the ending follow
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

    ``finish`` writes what needs all frames and moves everything to its place: ``folder`` then is where it lies,
    ``document`` its summary. ``replaced`` says in one sentence what became of what was there before; empty where there
    was nothing.
    """

    def __init__(self, folder: Path, finding: str, labels: tuple[str, ...], wanted: ExportOptions) -> None:
        self.folder = folder
        self.readings: list[Reading] = []
        self.notes: list[str] = []
        self.replaced = ""
        self.document: dict[str, Any] = {}
        self._labels = labels
        self._wanted = wanted
        self._existed = os.path.isdir(folder)  # Path.is_dir raises for a name that is too long
        make_folder(folder)
        remove_leftovers(folder)
        self._unfinished = PartFolder(folder)
        self._part = self._unfinished.path
        self._stack = ExitStack()
        self._rows = self._stack.enter_context(CsvTable(self._part / "readings.csv", reading_columns(finding)))
        self._instances = self._stack.enter_context(CsvTable(self._part / "instances.csv", INSTANCE_COLUMNS))
        self._clip: ClipWriter | None = None
        self._form = Form((0, 0))  # of the clip, once there is one
        self._best: tuple[tuple[float, ...], AnnotatedFrame] | None = None
        self._coco: list[tuple[str, Prediction]] = []
        self._pictures: set[str] = set()

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not finished."""
        self._stack.__exit__(kind or RuntimeError, error or RuntimeError("not finished"), trace)
        self._unfinished.remove()
        if not self._existed and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def add(self, shown: AnnotatedFrame, prediction: Prediction, reading: Reading, time_s: float) -> None:
        """Add a frame. ``time_s`` is when it is shown in the annotated clip."""
        name = shown.frame.name
        self.readings.append(reading)
        self._rows.add(reading_row(reading, name))
        for row in instance_rows(prediction, name):
            self._instances.add(row)
        if self._wanted.masks:
            self._add_masks(prediction, name)
        self._draw(shown, time_s)
        rank = quality_rank(reading)
        if self._best is None or rank > self._best[0]:
            self._best = (rank, shown)

    def note(self, sentence: str) -> None:
        """Add a note that the user must know about these files."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def finish(self, analysis: AnalysisInfo, last_duration_s: float | None, *, stopped: bool = False) -> None:
        """Write the summary, the best frame and the plot, and move everything to its place.

        A run that was ``stopped`` early goes next to the results of an earlier run and does not replace them.
        """
        if self._clip is not None:
            self._clip.close(last_duration_s)
        self._rows.close()
        self._instances.close()
        self._stack.pop_all()
        self.document = summary_document(analysis, self.readings)
        write_json(self._part / "summary.json", self.document)
        if self._best is not None:
            write_png(self._best[1], self._part / "best-frame.png", self._wanted.keep_surroundings)
        if len(self.readings) > 1 and analysis.aggregate is not None:
            plots.write_diameter_plot(
                self.readings, self._part / "diameter.png", analysis.aggregate, analysis.model_label
            )
        if self._wanted.masks:
            write_json(self._part / "masks.json", masks.coco_document(self._coco, self._labels))
        if stopped and _earlier_run(self.folder) is not None:
            kept, self.folder = self.folder, free_name(self.folder.parent, f"{self.folder.name}-stopped")
            make_folder(self.folder)
            self._move()
            self.replaced = f"The results of an earlier run in {kept} stay; these are in {self.folder}"
        else:
            self._move()

    def _add_masks(self, prediction: Prediction, name: str) -> None:
        index = prediction.key.index
        target = make_folder(self._part / MASKS) / _mask_name(index)
        masks.write_label_png(prediction, target)
        self._coco.append((name or f"{index:06d}", prediction))

    def _draw(self, shown: AnnotatedFrame, time_s: float) -> None:
        if self._wanted.pictures:
            folder = make_folder(self._part / PICTURES)
            name = _free_picture(shown.frame.name, shown.frame.key.index, self._pictures)
            write_png(shown, folder / name, self._wanted.keep_surroundings)
        elif self._wanted.video:
            form = form_of(shown.frame)
            if self._clip is None:
                self._form = form
                path, lossless = self._part / "annotated.mp4", self._wanted.lossless
                clip = ClipWriter(path, form.size_px, pixel_aspect=form.pixel_aspect, lossless=lossless)
                self._clip = self._stack.enter_context(clip)
            if form != self._form:
                self.note(FITTED)
            self._clip.add(fit_to_form(picture_of(shown, self._wanted.keep_surroundings), form, self._form), time_s)

    def _move(self) -> None:
        new = self._unfinished.files()
        earlier = _earlier_run(self.folder)
        going = dict.fromkeys((*(earlier.files if earlier else ()), *new))
        old = [path for path in going if (self.folder / path).is_file()]
        aside = self._part / "earlier"
        steps = [(self.folder / path, aside / path) for path in old]
        try:
            _rename_all([*steps, *((self._part / path, self.folder / path) for path in new)])
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        if earlier is not None:
            _remove_empty([self.folder / MASKS, self.folder / PICTURES])
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
        return str(document["source"]["name"]) if str(document["program"]).startswith("usviewer ") else None
    except (OSError, ValueError, KeyError, TypeError):
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


def _rename_all(steps: Sequence[tuple[Path, Path]]) -> None:
    """Give every file its new name, or leave all of them where they were and raise ``OSError``."""
    done: list[tuple[Path, Path]] = []
    made: list[Path] = []
    try:
        for source, target in steps:
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True)
                made.append(target.parent)
            os.replace(source, target)
            done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            with suppress(OSError):  # the others still go back
                os.replace(target, source)
        _remove_empty(made)
        raise


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # it is not there, or somebody's own files are in it
            folder.rmdir()


def _replaced_words(folder: Path, earlier: _Earlier | None, old: Sequence[Path]) -> str:
    if not old:
        return ""
    if earlier is None:
        there = ", ".join(dict.fromkeys(path.parts[0] for path in old))
        return f"What was there under the same names in {folder} was replaced: {there}"
    return f"The results of an earlier run{f' ({earlier.source})' if earlier.source else ''} in {folder} were replaced"
