"""Readings and instances as tables. Every column and key is described in ``docs/files.md``.

From the first release on columns are added at the end of their group, never renamed or removed: people's scripts read
them. A value that does not exist is an empty cell (null in JSON), never 0.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from usviewer.files import AtomicFile, cannot_write, write_text
from usviewer.infer.prediction import Prediction
from usviewer.measure.findings import finding_of
from usviewer.measure.reading import Dimension, Measurement, Reading, Status
from usviewer.plain_text import encodable, printable
from usviewer.units import Spacing

Cell = str | int | float | None
Row = Mapping[str, Cell]

_BEFORE = ("frame", "file", "time_s", "finding", "status", "reason", "plane", "edge", "label")
_AFTER = (
    "instances",
    "score",
    "quality",
    "warnings",
    "provenance",
    "spacing_x_mm_per_px",
    "spacing_y_mm_per_px",
    "scale_source",
    "no_scale_reason",
    "model_id",
    "model_sha256",
    "frame_digest",
    "answer",
    "answer_unit",
    "answer_sd",
    "answer_low_95",
    "answer_high_95",
    "error_scale",
    "error_edge",
    "error_plane",
)
_UNITS = {
    Dimension.LENGTH: ("px", "mm"),
    Dimension.AREA: ("px2", "mm2"),
    Dimension.PERCENT: ("percent",),
    Dimension.WEEKS: ("weeks",),
}
# A spreadsheet takes a cell that begins so for a formula, and runs it. Some look behind spaces, some know wide signs.
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_DEFUSED = re.compile(r"'+" + _FORMULA.pattern)
_SURROGATE = re.compile("[\ud800-\udfff]")
INSTANCE_COLUMNS = ("frame", "file", "label", "score", "x0", "y0", "x1", "y1", "area_px")


def reading_columns(finding: str) -> tuple[str, ...]:
    """The columns of ``readings.csv`` for one finding, in order."""
    known = finding_of(finding)
    middle = [cell for name, quantity in known.quantities.items() for cell in _columns_of(name, quantity.dimension)]
    return (*_BEFORE, *middle, *known.extra_columns, *_AFTER)


def reading_row(reading: Reading, file: str = "") -> dict[str, Cell]:
    """One frame's reading, with every column of its finding. ``file`` is the picture's own name in a folder.

    Of several instances the columns hold the best one's (``instances.csv`` has all).
    """
    row: dict[str, Cell] = dict.fromkeys(reading_columns(reading.finding))
    row |= {
        "frame": reading.key.index,
        "file": file,
        "time_s": _rounded(reading.key.media_time_s, 6),
        "finding": reading.finding,
        "status": str(reading.status),
        "reason": reading.reason,
        "plane": str(reading.plane),
        "edge": str(reading.edge),
        "label": reading.label,
        "instances": len(reading.scores),
        "score": _rounded(reading.score, 4),
        "quality": _rounded(reading.quality, 4),
        "warnings": "; ".join(reading.warnings),
        "provenance": str(reading.provenance),
        "no_scale_reason": reading.no_scale_reason,
        "model_id": reading.model_id,
        "model_sha256": reading.model_sha256,
        "frame_digest": reading.key.digest,
    }
    extra = finding_of(reading.finding).extra_cells(reading)
    return row | _spacing_cells(reading.spacing) | _measured_cells(reading) | dict(extra) | _error_cells(reading)


def instance_rows(prediction: Prediction, file: str = "") -> Iterator[dict[str, Cell]]:
    """All that the model found on one frame, best first; boxes in the corner convention of ``usviewer.units``."""
    for instance in prediction.instances:
        x0, y0, x1, y1 = (round(float(edge), 2) for edge in instance.box_xyxy_px)
        yield {
            "frame": prediction.key.index,
            "file": file,
            "label": instance.label,
            "score": round(instance.score, 4),
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
            "area_px": round(instance.area_px, 1),
        }


class CsvTable:
    """A CSV file that grows row by row and takes its name when it is whole. A context manager, like ``ClipWriter``.

    UTF-8, comma, a header line, line feeds. A row with a column that the table does not have is a bug (``ValueError``).
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self._atomic = AtomicFile(path)
        self._text = self._atomic.part.open("w", encoding="utf-8", newline="")
        self._rows = csv.DictWriter(self._text, columns, restval="", extrasaction="raise", lineterminator="\n")
        self._rows.writeheader()

    def add(self, row: Row) -> None:
        """Append a row."""
        try:
            self._rows.writerow({column: _cell(value) for column, value in row.items()})
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Finish the file and give it its name."""
        try:
            self._text.close()
        except OSError as error:
            self._atomic.discard()
            raise cannot_write(self.path, error) from error
        self._atomic.commit()

    def abort(self) -> None:
        """Remove everything that was written."""
        try:
            self._text.close()
        except OSError:  # what could not be flushed is thrown away
            pass
        finally:
            self._atomic.discard()

    def __enter__(self) -> CsvTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a whole table at once."""
    with CsvTable(path, columns) as table:
        for row in rows:
            table.add(row)


def write_readings_json(path: Path, rows: Iterable[Row]) -> None:
    """The rows of ``readings.csv`` as a list of objects with the same keys; null where a cell is empty."""
    write_json(path, {"format": 1, "readings": [dict(row) for row in rows]})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON document for people and scripts. Not-a-numbers are a bug (``ValueError``)."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    # Parts of a name that are not text cannot stand in a text file: as in tables, an escape takes their place.
    write_text(path, _SURROGATE.sub(lambda found: json.dumps(encodable(found[0]))[1:-1], text) + "\n")


def text_of_cell(text: str) -> str:
    """The text from which a cell of our tables was made: without the apostrophe before a formula."""
    if _DEFUSED.match(text):
        return text[1:]
    return text


def _cell(value: Cell) -> Cell:
    """Text as plain text in one line, which no spreadsheet takes for a formula. A number stays a number."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    if _FORMULA.match(text) or _DEFUSED.match(text):
        return f"'{text}"
    return text


def _columns_of(name: str, dimension: Dimension) -> list[str]:
    return [f"{name}_{unit}" for unit in _UNITS[dimension]]


def _measured_cells(reading: Reading) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for name, quantity in finding_of(reading.finding).quantities.items():
        found = reading.get(name) or reading.get(f"{name}_1")
        if found is not None:
            cells |= zip(_columns_of(name, quantity.dimension), _values(found), strict=True)
    return cells


def _error_cells(reading: Reading) -> dict[str, Cell]:
    """How sure the answer is, in its own unit: its standard deviation, interval and sources, where they are known."""
    answer = next(iter(reading.measurements), None)
    if answer is None or reading.status is not Status.MEASURED:
        return {}
    unit, sd = answer.unit_field, answer.sd
    cells: dict[str, Cell] = {"answer": answer.name, "answer_unit": unit, "answer_sd": _rounded(sd, 3)}
    if answer.interval is not None:
        low, high = answer.interval
        cells |= {"answer_low_95": round(low, 2), "answer_high_95": round(high, 2)}
    if answer.errors is not None:
        sources = ("scale", "edge", "plane")
        cells |= {f"error_{source}": _rounded(getattr(answer.errors, source), 3) for source in sources}
    return cells


def _values(measurement: Measurement) -> list[Cell]:
    if measurement.dimension in (Dimension.PERCENT, Dimension.WEEKS):
        return [_rounded(measurement.value, 3)]
    return [_rounded(measurement.value_px, 2), _rounded(measurement.value_mm, 2)]


def _spacing_cells(spacing: Spacing | None) -> dict[str, Cell]:
    if spacing is None:
        return {}
    return {
        "spacing_x_mm_per_px": float(f"{spacing.x_mm_per_px:.7g}"),
        "spacing_y_mm_per_px": float(f"{spacing.y_mm_per_px:.7g}"),
        "scale_source": str(spacing.source),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    if value is None:
        return None
    return round(float(value), digits)
