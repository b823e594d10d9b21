"""``usviewer agreement``: compares readings of many clips with the operator's calipers (bias, limits, a plot)."""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from usviewer import RESEARCH_USE, __version__
from usviewer.cli.command import MOST_COUNT
from usviewer.errors import UserError
from usviewer.evaluate.statistics import Agreement, Values, agreement, bootstrap, interval, mean, resampled
from usviewer.files import make_folder
from usviewer.measure.findings import finding_of
from usviewer.overlay.words import title
from usviewer.save.plots import write_bland_altman
from usviewer.save.tables import Cell, text_of_cell, write_csv, write_json
from usviewer.terminal import console
from usviewer.typed_number import parse_number, parse_whole

FORMAT = 1
# People's scripts read them: columns are added at the end, never renamed or removed.
COLUMNS = (
    "clip",
    "frame",
    "file",
    "measurement",
    "unit",
    "reference",
    "measured",
    "mean",
    "difference",
    "edge",
    "plane",
    "status",
    "reason",
)
_NEEDED = ("clip", "value")
_REFERENCE_ADVICE = "Give the operator's values: columns clip, value and, for a single picture, frame or file"
NOT_READ = "not read"
# More than any diameter in mm, and any area in square pixels.
MOST_VALUE = 1e8


@dataclass(frozen=True, slots=True)
class _OperatorCaliper:
    """One of the operator's own values; without frame and file it belongs to the whole clip."""

    clip: str
    frame: int | None
    file: str
    value: float


@dataclass(frozen=True, slots=True)
class _CaliperPair:
    """An operator's value and what was measured in its place; without a measured value there is a ``reason``."""

    caliper: _OperatorCaliper
    measured: float | None
    status: str
    reason: str = ""
    edge: str = ""
    plane: str = ""


@dataclass(frozen=True, slots=True)
class _AnalyzedClip:
    """What ``analyze`` wrote about one clip."""

    rows: Sequence[Mapping[str, str]]
    aggregate: Mapping[str, Any] | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``usviewer agreement``."""
    parser.add_argument(
        "readings", nargs="+", type=Path, metavar="READINGS", help="readings.csv of analyze, or the folder it lies in"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        required=True,
        metavar="CSV",
        help="the operator's values: clip, frame (numbered from 0) or file, value",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the sheet goes")
    parser.add_argument("--measurement", metavar="NAME", help="which measurement (default: the finding's answer)")
    parser.add_argument(
        "--unit",
        choices=("mm", "px"),
        default="mm",
        help="unit of the values, squared for an area (default: %(default)s)",
    )
    parser.add_argument(
        "--of-clip",
        choices=("median", "maximum"),
        default="median",
        help="what a value for a whole clip is compared with (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the sheet and print its figures."""
    screen = console()
    clips, finding = _read_clips(args.readings)
    calipers = read_calipers(args.reference)
    name = args.measurement or _answer_of(finding)
    unit = _unit_of(clips, name, args.unit)
    pairs = _pair_up(clips, calipers, name, unit, args.of_clip)
    measured = [pair for pair in pairs if pair.measured is not None]
    _refuse_too_few(pairs, len(measured))
    folder = make_folder(args.out)
    document = _sheet(pairs, name, unit)
    write_csv(folder / "agreement.csv", COLUMNS, [_row(pair, name, unit) for pair in pairs])
    write_json(folder / "agreement.json", document)
    _plot(folder, measured, name, unit, document)
    for line in _lines(document):
        screen.print(line)
    screen.print(f"Results in {folder}", soft_wrap=True)
    return 0


def _refuse_too_few(pairs: Sequence[_CaliperPair], measured: int) -> None:
    """One pair has a difference, but no spread of differences."""
    if measured >= 2:
        return
    found = "; ".join(sorted({pair.reason for pair in pairs if pair.reason})[:3])
    reasons = ""
    if found:
        reasons = f" ({found})"
    if measured == 0:
        raise UserError(
            f"None of the {len(pairs)} values could be paired{reasons}",
            "Check the names of clips and the frames (numbered from 0) in the reference",
        )
    raise UserError(
        f"1 of {len(pairs)} values could be paired{reasons}, and one pair is too few for limits of agreement",
        "Give two values or more that have a reading",
    )


# --- what is read -----------------------------------------------------------------------------------------------------


def _read_clips(paths: Sequence[Path]) -> tuple[dict[str, _AnalyzedClip], str]:
    """Every clip by the name of its folder, and the one finding of them all. ``UserError`` for anything else."""
    clips: dict[str, _AnalyzedClip] = {}
    findings = set()
    for given in paths:
        path = given
        if os.path.isdir(given):  # Path.is_dir raises for a name that is too long
            path = given / "readings.csv"
        rows = _rows(path, ("frame", "finding", "status"), "Give the readings.csv that analyze wrote")
        name = path.resolve().parent.name
        if name in clips:
            raise UserError(f"Two of the readings are of a clip named {name}", "Rename one of their folders")
        findings |= {row["finding"] for row in rows}
        clips[name] = _AnalyzedClip(rows, _aggregate_beside(path))
    if len(findings) != 1:
        raise UserError("The readings are of different findings", "Give readings of one model")
    return clips, findings.pop()


def read_calipers(path: Path) -> list[_OperatorCaliper]:
    """The operator's values: columns ``clip``, ``value`` and, for a single picture, ``frame`` or ``file``."""
    found = []
    for number, row in enumerate(_rows(path, _NEEDED, _REFERENCE_ADVICE), 2):
        try:
            frame = None
            if row.get("frame"):
                frame = parse_whole(row["frame"], least=0, most=MOST_COUNT)
            # A point is written by programs, too, and then groups nothing; a comma is written by people.
            value = parse_number(row["value"], least=0.0, most=MOST_VALUE, grouping="," in row["value"])
            if value == 0.0:  # no caliper reads 0: somebody meant "not measured"
                raise UserError("It is 0")
        except UserError as error:
            raise UserError(
                f"Line {number} of {path.name} has no number: {error.what}", "Give value (and frame) as plain numbers"
            ) from None
        found.append(_OperatorCaliper(row["clip"], frame, row.get("file") or "", value))
    if not found:
        raise UserError(f"{path.name} holds no values", "Give a line for each caliper")
    return found


def _rows(path: Path, needed: Sequence[str], advice: str) -> list[dict[str, str]]:
    """A table as rows; ``advice`` is what to give where there is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path.name} has no column '{missing[0]}'", "docs/files.md lists the columns")
            return [{key: text_of_cell(value or "") for key, value in row.items() if key is not None} for row in reader]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", advice) from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path.name} is not a table", "Give a CSV file in UTF-8") from None


def _aggregate_beside(path: Path) -> Mapping[str, Any] | None:
    """The clip's own summary; None where it is not there or says nothing."""
    try:
        document = json.loads(path.with_name("summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("aggregate"), dict):
        return None
    return dict(document["aggregate"])


def _answer_of(finding: str) -> str:
    quoted = finding_of(finding).quoted
    if quoted is None:
        raise UserError(f"'{finding}' has no measurement of its own", "Say which with --measurement")
    return quoted


def _unit_of(clips: Mapping[str, _AnalyzedClip], name: str, unit: str) -> str:
    """The unit as files write it: that of an area is squared. ``UserError`` where nothing has this measurement."""
    columns = {column for clip in clips.values() for row in clip.rows[:1] for column in row}
    for written in (unit, f"{unit}2"):
        if f"{name}_{written}" in columns:
            return written
    raise UserError(f"The readings have no '{name}' in {unit}", "docs/files.md lists the measurements")


# --- pairs ------------------------------------------------------------------------------------------------------------


def _pair_up(
    clips: Mapping[str, _AnalyzedClip],
    calipers: Sequence[_OperatorCaliper],
    name: str,
    unit: str,
    of_clip: str = "median",
) -> list[_CaliperPair]:
    """Each of the operator's values with what was measured there; ``unit`` is that of ``_unit_of``."""
    return [_pair(clips.get(caliper.clip), caliper, name, unit, of_clip) for caliper in calipers]


def _pair(clip: _AnalyzedClip | None, caliper: _OperatorCaliper, name: str, unit: str, of_clip: str) -> _CaliperPair:
    if clip is None:
        return _CaliperPair(caliper, None, NOT_READ, f"there are no readings of {caliper.clip}")
    if caliper.frame is None and not caliper.file:
        return _pair_clip(clip, caliper, name, unit, of_clip)
    row = next((row for row in clip.rows if _is_frame(row, caliper)), None)
    if row is None:  # the sheet lists it with its reason: values that vanish would make the agreement look better
        return _CaliperPair(caliper, None, NOT_READ, f"{caliper.clip} has no such frame")
    column = f"{name}_{unit}"
    edge, plane = row.get("edge", ""), row.get("plane", "")
    if not row.get(column):
        reason = row.get("reason") or row.get("no_scale_reason") or f"{name} is not measured in this plane"
        return _CaliperPair(caliper, None, row["status"], reason, edge, plane)
    return _CaliperPair(caliper, float(row[column]), row["status"], "", edge, plane)


def _is_frame(row: Mapping[str, str], caliper: _OperatorCaliper) -> bool:
    if caliper.file:
        return row.get("file") == caliper.file
    return row["frame"] == str(caliper.frame)


def _pair_clip(clip: _AnalyzedClip, caliper: _OperatorCaliper, name: str, unit: str, of_clip: str) -> _CaliperPair:
    found = clip.aggregate
    if found is None or found.get("name") != name or found.get("unit") != unit:
        return _CaliperPair(
            caliper, None, NOT_READ, f"{caliper.clip} has no summary of this measurement in {_words(unit)}"
        )
    return _CaliperPair(
        caliper, float(found[of_clip]), of_clip, "", str(found.get("edge", "")), str(found.get("plane", ""))
    )


# --- figures ----------------------------------------------------------------------------------------------------------


def _sheet(pairs: Sequence[_CaliperPair], name: str, unit: str) -> dict[str, Any]:
    """The content of ``agreement.json``; intervals by drawing whole clips.

    It holds no date and no path, so that equal runs give equal files.
    """
    measured = [pair for pair in pairs if pair.measured is not None]
    differences = np.array([_difference(pair) for pair in measured])
    groups = [pair.caliper.clip for pair in measured]
    figures = agreement(differences)
    assert figures is not None  # run refuses fewer than two pairs
    bias = bootstrap(differences, groups, mean)
    reasons = [pair.reason for pair in pairs if pair.measured is None]
    return {
        "format": FORMAT,
        "program": f"usviewer {__version__}",
        "research_use": RESEARCH_USE,
        "measurement": name,
        "unit": unit,
        "edges": sorted({pair.edge for pair in measured if pair.edge}),
        "values": len(pairs),
        "pairs": len(measured),
        "clips": len(set(groups)),
        "unpaired": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        "bias": round(figures.bias, 4),
        "bias_95": bias and bias.rounded_interval(4),
        "sd": _rounded(figures.sd),
        "limits_of_agreement": _limits(figures),
        "limits_of_agreement_95": _limit_intervals(differences, groups),
        "mean_absolute_error": round(figures.mean_absolute_error, 4),
    }


def _limits(figures: Agreement) -> list[float] | None:
    if figures.lower_limit is None or figures.upper_limit is None:
        return None
    return [round(figures.lower_limit, 4), round(figures.upper_limit, 4)]


def _limit_intervals(differences: Values, groups: Sequence[str]) -> list[list[float]] | None:
    """95 % interval of the lower and of the upper limit; None with fewer than three clips."""
    names = list(dict.fromkeys(groups))
    if len(names) < 3:
        return None
    members = [np.array([d for d, g in zip(differences, groups, strict=True) if g == name]) for name in names]
    lowers, uppers = [], []
    for draw in resampled(len(names)):
        found = agreement(np.concatenate([members[i] for i in draw]))
        # A draw of one clip with one value has no spread, and so no limits.
        if found is not None and found.lower_limit is not None and found.upper_limit is not None:
            lowers.append(found.lower_limit)
            uppers.append(found.upper_limit)
    if not lowers:
        return None
    return [[round(edge, 4) for edge in interval(limits)] for limits in (lowers, uppers)]


def _difference(pair: _CaliperPair) -> float:
    assert pair.measured is not None
    return pair.measured - pair.caliper.value


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    return round(value, 4)


def _row(pair: _CaliperPair, name: str, unit: str) -> dict[str, Cell]:
    caliper, measured = pair.caliper, pair.measured
    compared: dict[str, Cell] = {"mean": None, "difference": None}
    if measured is not None:
        middle, off = (measured + caliper.value) / 2, measured - caliper.value
        compared = {"mean": _rounded(middle), "difference": _rounded(off)}
    return {
        "clip": caliper.clip,
        "frame": caliper.frame,
        "file": caliper.file,
        "measurement": name,
        "unit": unit,
        "reference": caliper.value,
        "measured": _rounded(measured),
        **compared,
        "edge": pair.edge,
        "plane": pair.plane,
        "status": pair.status,
        "reason": pair.reason,
    }


def _plot(folder: Path, measured: Sequence[_CaliperPair], name: str, unit: str, document: Mapping[str, Any]) -> None:
    reference = np.array([pair.caliper.value for pair in measured])
    values = np.array([pair.measured for pair in measured], dtype=np.float64)
    note, edges = f"{document['clips']} clips", ", ".join(document["edges"])
    if edges:  # inner and outer diameters differ by two walls: the plot says which were compared
        note += f"; edge: {edges}"
    write_bland_altman(
        reference,
        values,
        folder / "bland-altman.png",
        unit=_words(unit),
        quantity=title(name),
        note=note,
    )


def _words(unit: str) -> str:
    """A unit as people read it."""
    return unit.replace("2", "²")


def _lines(document: Mapping[str, Any]) -> list[str]:
    unit = _words(document["unit"])
    lines = [
        f"{title(document['measurement'])}: {document['pairs']} pairs of {document['values']} values, "
        f"{document['clips']} clips",
        f"  bias {document['bias']:+.2f} {unit}, mean absolute error {document['mean_absolute_error']:.2f} {unit}",
    ]
    if limits := document["limits_of_agreement"]:
        lines.append(f"  95 % limits of agreement {limits[0]:+.2f} to {limits[1]:+.2f} {unit}")
    return [*lines, *(f"  not paired ({count}): {reason}" for reason, count in document["unpaired"].items())]
