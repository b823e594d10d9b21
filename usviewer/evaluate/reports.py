"""The results of an evaluation: text on the screen, a table, a summary, a plot and a results page.

The page is one HTML file that holds its figures and its pictures.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.table import Table as ScreenTable

from usviewer import RESEARCH_USE, __version__
from usviewer.evaluate.average_precision import BoxSample
from usviewer.evaluate.datasets import Dataset, DatasetKind
from usviewer.evaluate.scores import Score, ScoreSection, box_sections, difference, mask_section, negative_section
from usviewer.evaluate.verdict import Outcome, Verdict, length_name
from usviewer.files import write_text
from usviewer.frame import Frame, Mask, Pixels, Points
from usviewer.infer.manifest import ModelSpec
from usviewer.overlay.palette import HALO, MASK, Colour
from usviewer.save.deidentify import blank_outside_sector
from usviewer.save.plots import write_bland_altman
from usviewer.save.tables import Cell, write_csv, write_json
from usviewer.terminal import Terminal
from usviewer.units import Box

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
# So many pictures are on the page.
WORST = 10
PICTURE_WIDTH_PX = 720
JPEG_QUALITY = 85
TRUTH: Colour = (0xFF, 0xFF, 0xFF)
# Points of an outline that are drawn and left out in turn.
_DASH_PX = 7


@dataclass(slots=True)
class Evaluation:
    """Everything that was found out, frame by frame."""

    spec: ModelSpec
    engine: str
    dataset: Dataset
    labels: Mapping[str, str]
    verdicts: list[Verdict] = field(default_factory=list)
    boxes: list[BoxSample] = field(default_factory=list)
    pictures: list[CasePicture] = field(default_factory=list)

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
            table.add_row(score.title, number(score), interval(score), str(score.count))
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
    write_text(folder / "index.html", render(_title(found), _notes(found), sections, plots, found.pictures))


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


# --- the results page: pictures ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CasePicture:
    """A JPEG of one bad case with the sentence under it; ``badness`` sorts, the worst first."""

    badness: float
    caption: str
    jpeg: bytes


class WorstCases:
    """Keeps the pictures of the worst cases only: those of a whole data set would fill the memory."""

    def __init__(self) -> None:
        self._kept: list[CasePicture] = []

    def takes(self, badness: float) -> bool:
        """Whether a case that is so bad would be kept: only then it need be drawn."""
        return len(self._kept) < WORST or badness > self._kept[-1].badness

    def offer(self, picture: CasePicture) -> None:
        """Keep the picture if it is among the worst so far; of equal ones the first."""
        self._kept = sorted([*self._kept, picture], key=lambda one: -one.badness)[:WORST]

    def pictures(self) -> list[CasePicture]:
        """The worst first."""
        return self._kept


def badness(verdict: Verdict) -> float:
    """0 for perfect, 1 for missed; a confident false alarm is worse than a faint one."""
    if not verdict.wanted:
        if verdict.outcome is Outcome.RIGHTLY_NONE:
            return 0.0
        return 0.5 + 0.5 * (verdict.score or 0.0)
    if verdict.overlap is not None:
        return 1.0 - verdict.overlap.dice
    return 1.0 - (verdict.worst_iou or 0.0)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """A part of a frame, enlarged or reduced, that is drawn on in frame pixels."""

    pixels: Pixels
    origin_px: tuple[int, int]
    scale: float

    def line(self, points_xy_px: Points, colour: Colour, dashed: bool) -> None:
        """A closed line through points a pixel apart, with a dark seam."""
        # OpenCV counts from the middle of the first pixel, in sixteenths with ``shift`` 4.
        points = np.round(((points_xy_px - self.origin_px) * self.scale - 0.5) * 16).astype(np.int32)
        step = max(2, round(_DASH_PX / self.scale))
        parts = [points]
        if dashed:
            parts = [points[i : i + step + 1] for i in range(0, len(points), 2 * step)]
        for width, ink in ((3, HALO), (1, colour)):
            cv2.polylines(self.pixels, parts, not dashed, ink, width, cv2.LINE_AA, 4)

    def mask(self, mask: Mask, colour: Colour, dashed: bool) -> None:
        """The outlines of a mask of the whole frame."""
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            self.line(contour.reshape(-1, 2).astype(np.float64) + 0.5, colour, dashed)

    def box(self, box: Box, colour: Colour, dashed: bool) -> None:
        """The sides of a box."""
        x0, y0, x1, y1 = box
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], dtype=np.float64)
        sides = [np.linspace(a, b, max(2, int(np.abs(b - a).sum()))) for a, b in pairwise(corners)]
        self.line(np.concatenate(sides), colour, dashed)


def _canvas(frame: Frame) -> _Canvas:
    """The ultrasound of a frame, at the page's width.

    The surroundings are blanked: names stand there, and a results page is passed on.
    """
    x0, y0, x1, y1 = frame.sector_box_px or (0, 0, *frame.size_px)
    part = blank_outside_sector(frame.pixels, frame.geometry, False)[y0:y1, x0:x1]
    scale = min(4.0, PICTURE_WIDTH_PX / (x1 - x0))
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    mode = cv2.INTER_CUBIC
    if scale < 1:  # speckle aliases with anything but averaging
        mode = cv2.INTER_AREA
    return _Canvas(np.array(cv2.resize(part, size, interpolation=mode), np.uint8), (x0, y0), scale)


def draw_case(
    frame: Frame, truth: Sequence[Mask], predicted: Sequence[Mask], true_boxes: Sequence[Box], boxes: Sequence[Box]
) -> bytes:
    """The ultrasound as a JPEG: truth white and dashed over the model's outline in its colour."""
    canvas = _canvas(frame)
    for mask in predicted:
        canvas.mask(mask, MASK, False)
    for box in boxes:
        canvas.box(box, MASK, False)
    for mask in truth:
        canvas.mask(mask, TRUTH, True)
    for box in true_boxes:
        canvas.box(box, TRUTH, True)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(canvas.pixels, cv2.COLOR_RGB2BGR), options)[1])


# --- the results page: text -------------------------------------------------------------------------------------------


def number(score: Score) -> str:
    """The figure with its unit, rounded to what it can bear."""
    return f"{_in_unit(score.estimate.value, score.unit)} {score.unit}".rstrip()


def interval(score: Score) -> str:
    """Its 95 % interval; empty when there is none."""
    low, high = score.estimate.low, score.estimate.high
    if low is None or high is None:
        return ""
    return f"{_in_unit(low, score.unit)} to {_in_unit(high, score.unit)}"


def _in_unit(value: float, unit: str) -> str:
    return f"{value:.{ {'%': 1, 'mm': 2, 'px': 2}.get(unit, 3) }f}"


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#e6eaed;background:#0e1113;
max-width:1100px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:0 0 1.5rem}td,th{padding:.25rem 1rem .25rem 0;text-align:left;
border-bottom:1px solid #2a3036}td+td{font-variant-numeric:tabular-nums}h1,h2{font-weight:600}p.note{color:#9aa4ad}
figure{margin:0 0 1.5rem}figcaption{color:#9aa4ad}img{max-width:100%;display:block}
.cases{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:1rem}
b.truth{color:#fff;border-bottom:2px dashed #fff}b.model{color:#56b4e9;border-bottom:2px solid #56b4e9}
"""


def render(
    title: str,
    notes: Sequence[str],
    sections: Sequence[ScoreSection],
    plots: Sequence[bytes],
    pictures: Sequence[CasePicture],
) -> str:
    """Write the page as one HTML text that refers to nothing outside itself, so that it can be sent as a file.

    ``plots`` are PNG files, as bytes.
    """
    # Names of files, models and labels are other people's text: every one is escaped.
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p><strong>{html.escape(RESEARCH_USE)}</strong></p>"]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    parts += [_table(section) for section in sections]
    parts += [f'<figure><img alt="Bland-Altman plot" src="{_data_uri(plot, "png")}"></figure>' for plot in plots]
    if pictures:
        parts.append('<h2>The worst</h2><p><b class="truth">truth</b> &nbsp; <b class="model">model</b></p>')
        parts.append('<div class="cases">' + "".join(_case(picture) for picture in pictures) + "</div>")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _table(section: ScoreSection) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(score.title)}</td><td>{number(score)}</td><td>{interval(score)}</td><td>{score.count}</td></tr>"
        for score in section.scores
    )
    head = "<tr><th></th><th>value</th><th>95 % interval</th><th>counted on</th></tr>"
    return f"<h2>{html.escape(section.title)}</h2><table>{head}{rows}</table>"


def _case(picture: CasePicture) -> str:
    image = f'<img alt="" src="{_data_uri(picture.jpeg, "jpeg")}">'
    return f"<figure>{image}<figcaption>{html.escape(picture.caption)}</figcaption></figure>"


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
