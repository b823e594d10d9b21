"""The results of an evaluation: text on the screen, a table, a summary, a plot and a results page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table as ScreenTable

from usviewer import RESEARCH_USE, __version__
from usviewer.evaluate import page
from usviewer.evaluate.average_precision import BoxSample
from usviewer.evaluate.datasets import Dataset, DatasetKind
from usviewer.evaluate.scores import Score, ScoreSection, box_sections, difference, mask_section, negative_section
from usviewer.evaluate.verdict import Outcome, Verdict, length_name
from usviewer.files import write_text
from usviewer.infer.manifest import ModelSpec
from usviewer.save.plots import write_bland_altman
from usviewer.save.tables import Cell, write_csv, write_json
from usviewer.terminal import Terminal

FORMAT = 1
_LENGTH_TITLES = {"ap_diameter": "AP diameter", "head_circumference": "Head circumference"}
# People's scripts read them: columns are added at the end, never renamed or removed.
COLUMNS = (
    "name",
    "frame",
    "group",
    "label",
    "outcome",
    "instances",
    "score",
    "dice",
    "iou",
    "precision",
    "recall",
    "hd95_px",
    "hd95_mm",
    "hausdorff_mm",
    "true_px",
    "true_mm",
    "measured_px",
    "measured_mm",
    "difference_px",
    "difference_mm",
    "geometry_px",
    "geometry_mm",
    "status",
    "reason",
    "boxes_wanted",
    "boxes_found",
    "worst_iou",
    "low_95_mm",
    "high_95_mm",
)


@dataclass(slots=True)
class Evaluation:
    """Everything that was found out, frame by frame."""

    spec: ModelSpec
    engine: str
    dataset: Dataset
    labels: Mapping[str, str]
    verdicts: list[Verdict] = field(default_factory=list)
    boxes: list[BoxSample] = field(default_factory=list)
    pictures: list[page.CasePicture] = field(default_factory=list)

    def sections(self) -> list[ScoreSection]:
        """The figures in sum."""
        if self.dataset.kind is DatasetKind.NEGATIVES:
            return [negative_section(self.verdicts, self.dataset.group_word)]
        if self.dataset.kind is DatasetKind.BOXES:
            return box_sections(self.box_names, self.boxes, self.verdicts)
        title = _LENGTH_TITLES.get(length_name(self.spec.finding) or "", "")
        names = dict.fromkeys(self.labels.values())
        return [mask_section(name, [v for v in self.verdicts if v.label == name], title) for name in names]

    @property
    def box_names(self) -> list[str]:
        """What the data set's classes are called here."""
        return [self.labels.get(label, label) for label in self.dataset.labels]


def report(sections: Sequence[ScoreSection], found: Evaluation, screen: Terminal) -> None:
    """The figures as text."""
    screen.print(_title(found))
    for note in _notes(found):
        screen.print(f"  {note}", style="dim")
    for section in sections:
        table = ScreenTable("", "value", "95 % interval", "n", title=section.title, title_justify="left", box=None)
        for score in section.scores:
            table.add_row(score.title, page.number(score), page.interval(score), str(score.count))
        screen.print(table)


def _title(found: Evaluation) -> str:
    return f"{found.spec.name} {found.spec.version} on {found.dataset.name}"


def _notes(found: Evaluation) -> list[str]:
    frames = len({(verdict.group, verdict.name, verdict.index) for verdict in found.verdicts})
    groups = len({verdict.group for verdict in found.verdicts})
    word = found.dataset.group_word
    counted = f"{frames} frames; intervals: bootstrap by {word} ({groups} of them)."
    if groups < 2:  # resampling one group gives the same sample each time
        counted = f"{frames} frames of one {word}: no interval can be given."
    refused: dict[str, int] = {}
    for verdict in found.verdicts:
        if verdict.status == "refused" and verdict.wanted:
            refused[verdict.reason] = refused.get(verdict.reason, 0) + 1
    reasons = [f"Refused {count} times: {reason}." for reason, count in refused.items()]
    return [counted, *found.dataset.notes, *reasons]


def write(folder: Path, found: Evaluation, sections: Sequence[ScoreSection]) -> None:
    """``images.csv``, ``summary.json``, ``bland-altman.png`` (where a length was judged) and ``index.html``."""
    write_csv(folder / "images.csv", COLUMNS, [_row(verdict) for verdict in found.verdicts])
    write_json(folder / "summary.json", document(found, sections))
    plots = []
    for section in sections:
        if len(section.pairs) >= 2:  # a single pair has no limits of agreement to draw
            path = folder / "bland-altman.png"
            true, measured = np.array(section.pairs).T
            quantity = _LENGTH_TITLES.get(length_name(found.spec.finding) or "", section.title)
            write_bland_altman(
                true,
                measured,
                path,
                unit=section.pairs_unit,
                quantity=quantity,
                note=f"{found.spec.id} on {found.dataset.name}",
            )
            plots.append(path.read_bytes())
    write_text(folder / "index.html", page.render(_title(found), _notes(found), sections, plots, found.pictures))


def _row(verdict: Verdict) -> dict[str, Cell]:
    """A row of ``images.csv``; a figure that has no meaning stays empty, never 0."""
    own: dict[str, Cell] = {
        "name": verdict.name,
        "frame": verdict.index,
        "group": verdict.group,
        "label": verdict.label,
        "outcome": str(verdict.outcome),
        "instances": verdict.instances,
        "score": _rounded(verdict.score),
        "hd95_px": _rounded(verdict.hd95_px),
        "hd95_mm": _rounded(verdict.hd95_mm),
        "hausdorff_mm": _rounded(verdict.hausdorff_mm),
        "status": verdict.status,
        "reason": verdict.reason,
        "boxes_wanted": verdict.boxes_wanted,
        "boxes_found": verdict.boxes_found,
        "worst_iou": _rounded(verdict.worst_iou),
    }
    return {**dict.fromkeys(COLUMNS), **own, **_overlap_cells(verdict), **_length_cells(verdict)}


def _overlap_cells(verdict: Verdict) -> dict[str, Cell]:
    shared = verdict.overlap
    if shared is None:
        return {}
    cells: dict[str, Cell] = {"recall": _rounded(shared.recall)}
    if verdict.wanted:  # with nothing to find, a Dice of 0 would only repeat "false alarm"
        cells |= {
            "dice": _rounded(shared.dice),
            "iou": _rounded(shared.iou),
            "precision": _rounded(shared.precision),
        }
    return cells


def _length_cells(verdict: Verdict) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for name, length in (("true", verdict.true), ("measured", verdict.measured), ("geometry", verdict.geometry)):
        if length is not None:
            cells |= {f"{name}_px": _rounded(length.px), f"{name}_mm": _rounded(length.mm)}
    for unit in ("px", "mm"):
        cells[f"difference_{unit}"] = _rounded(difference(verdict.measured, verdict.true, unit))
    for end, value in zip(("low_95_mm", "high_95_mm"), verdict.interval_mm or (), strict=False):
        cells[end] = _rounded(value)
    return cells


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    return round(value, 4)


def document(found: Evaluation, sections: Sequence[ScoreSection]) -> dict[str, Any]:
    """The content of ``summary.json``: no date, no path, so that equal runs give equal files."""
    # Every outcome has its key, also where it never happened: 0 is a result.
    outcomes = {str(outcome): sum(v.outcome is outcome for v in found.verdicts) for outcome in Outcome}
    return {
        "format": FORMAT,
        "program": f"usviewer {__version__}",
        "research_use": RESEARCH_USE,
        "model": {"id": found.spec.id, "version": found.spec.version, "sha256": found.spec.sha256},
        "engine": found.engine,
        "dataset": {"name": found.dataset.name, "kind": str(found.dataset.kind), "group": found.dataset.group_word},
        "notes": _notes(found),
        "outcomes": outcomes,
        "scores": {section.title: {score.key: _score(score) for score in section.scores} for section in sections},
    }


def _score(score: Score) -> dict[str, Any]:
    interval, value = score.estimate.rounded_interval(), round(score.estimate.value, 5)
    return {"value": value, "interval_95": interval, "unit": score.unit, "count": score.count}
