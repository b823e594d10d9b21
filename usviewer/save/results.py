"""Everything that is written about one analysed input, as one folder: all of it, or nothing.

The files grow in a folder of their own inside the target and move to their places at the end, so that an earlier
analysis stays whole until the new one is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from usviewer.infer.prediction import Prediction
from usviewer.measure.reading import Reading, quality_rank
from usviewer.overlay.shown import Shown
from usviewer.save import masks, plots
from usviewer.save.aside import cannot_write, make_folder
from usviewer.save.media import ClipWriter, picture_of, write_png
from usviewer.save.summary import Analysis, summary_document
from usviewer.save.tables import INSTANCE_COLUMNS, Table, instance_rows, reading_columns, reading_row, write_json


@dataclass(frozen=True, slots=True)
class Wanted:
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

    ``finish`` writes what needs all frames and moves everything to its place.
    """

    def __init__(self, folder: Path, finding: str, labels: tuple[str, ...], wanted: Wanted) -> None:
        self.folder = folder
        self.readings: list[Reading] = []
        self.notes: list[str] = []
        self._labels = labels
        self._wanted = wanted
        self._existed = folder.is_dir()
        make_folder(folder)
        try:
            self._part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
        except OSError as error:
            raise cannot_write(folder, error) from None
        self._stack = ExitStack()
        self._rows = self._stack.enter_context(Table(self._part / "readings.csv", reading_columns(finding)))
        self._instances = self._stack.enter_context(Table(self._part / "instances.csv", INSTANCE_COLUMNS))
        self._clip: ClipWriter | None = None
        self._best: tuple[tuple[float, ...], Shown] | None = None
        self._coco: list[tuple[str, Prediction]] = []

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Throw away what was not finished."""
        self._stack.__exit__(kind or RuntimeError, error or RuntimeError("not finished"), trace)
        shutil.rmtree(self._part, ignore_errors=True)
        if not self._existed and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def add(self, shown: Shown, prediction: Prediction, reading: Reading, time_s: float) -> None:
        """One more frame. ``time_s`` is when it is shown in the annotated clip."""
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
        """Something the user has to know about these files."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def finish(self, analysis: Analysis, last_duration_s: float | None) -> None:
        """Write the summary, the best frame and the plot, and move everything to its place."""
        if self._clip is not None:
            self._clip.close(last_duration_s)
        self._rows.close()
        self._instances.close()
        self._stack.pop_all()
        write_json(self._part / "summary.json", summary_document(analysis, self.readings))
        if self._best is not None:
            write_png(self._best[1], self._part / "best-frame.png", self._wanted.keep_surroundings)
        if len(self.readings) > 1 and analysis.aggregate is not None:
            plots.write_diameter_plot(
                self.readings, self._part / "diameter.png", analysis.aggregate, analysis.model_label
            )
        if self._wanted.masks:
            write_json(self._part / "masks.json", masks.coco_document(self._coco, self._labels))
        self._move()

    def _add_masks(self, prediction: Prediction, name: str) -> None:
        index = prediction.key.index
        target = make_folder(self._part / "masks") / f"{index:06d}.png"
        masks.write_label_png(prediction, target)
        self._coco.append((name or f"{index:06d}", prediction))

    def _draw(self, shown: Shown, time_s: float) -> None:
        if self._wanted.pictures:
            stem = Path(shown.frame.name).stem or f"{shown.frame.key.index:06d}"
            target = make_folder(self._part / "annotated") / f"{stem}.png"
            if target.exists():  # two files of a folder may differ in their ending only
                target = target.with_name(f"{shown.frame.name}.png")
            write_png(shown, target, self._wanted.keep_surroundings)
        elif self._wanted.video:
            if self._clip is None:
                size_px = (shown.frame.width_px, shown.frame.height_px)
                self._clip = self._stack.enter_context(
                    ClipWriter(self._part / "annotated.mp4", size_px, lossless=self._wanted.lossless)
                )
            self._clip.add(picture_of(shown, self._wanted.keep_surroundings), time_s)

    def _move(self) -> None:
        try:
            for new in sorted(self._part.iterdir()):
                target = self.folder / new.name
                if target.is_dir():
                    shutil.rmtree(target)
                os.replace(new, target)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
