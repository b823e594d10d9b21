"""A prompt model against outlined structures: a user who points by a rule, and how well the answers fit.

Each connected part of a truth mask is a structure of its own. It is asked for by its tight box, and by up to three
clicks, each where the answer before was most wrong (``next_click``). A corrective click is sent together with all
before it and with the former answer's logits, as in the window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table as ScreenTable

from usviewer import RESEARCH_USE, __version__
from usviewer.errors import UserError
from usviewer.evaluate import reports
from usviewer.evaluate.datasets import Dataset, DatasetKind, Sample
from usviewer.evaluate.scores import Score, ScoreSection
from usviewer.evaluate.statistics import bootstrap, mean_absolute, overlap
from usviewer.files import write_text
from usviewer.frame import Mask
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import full_mask
from usviewer.infer.prompt import Embedding, PromptOutline, at_point, in_box
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.save.tables import write_csv, write_json
from usviewer.terminal import Terminal
from usviewer.units import Box, Point

FORMAT = 1
CLICKS = 3
WAYS = {"box": "with a box", **{f"clicks_{n}": f"with {n} click{'s' * (n > 1)}" for n in range(1, CLICKS + 1)}}
JUDGED = ("box", "clicks_1", "clicks_3")
COLUMNS = ("name", "group", "label", "area_px", *(f"{what}_{way}" for way in WAYS for what in ("dice", "iou", "score")))
# A part of a mask that is smaller than both is a crumb of its drawing, not a structure.
_LEAST_PX = 25
_LEAST_SHARE = 0.02
Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _PromptScore:
    """What one way of asking gave: overlaps with the truth, and the overlap (IoU) that the model expected."""

    dice: float
    iou: float
    score: float


@dataclass(frozen=True, slots=True)
class _PromptCase:
    """One structure of one picture, with an answer for each of ``WAYS``."""

    name: str
    group: str
    label: str
    area_px: int
    answers: dict[str, _PromptScore]

    @property
    def worst_way(self) -> str:
        """The judged way that went worst."""
        return min(JUDGED, key=lambda way: self.answers[way].dice)


@dataclass(slots=True)
class PromptEvaluation:
    """Everything that was found out, structure by structure."""

    spec: ModelSpec
    engine: str
    dataset: Dataset
    cases: list[_PromptCase] = field(default_factory=list)
    pictures: list[reports.CasePicture] = field(default_factory=list)

    def section(self) -> ScoreSection:
        """The figures in sum."""
        groups = [case.group for case in self.cases]
        scores = [_score(f"dice_{way}", f"Dice {words}", self._dice(way), groups) for way, words in WAYS.items()]
        for way in JUDGED:
            off = [case.answers[way].score - case.answers[way].iou for case in self.cases]
            estimate = bootstrap(off, groups, mean_absolute)
            assert estimate is not None
            title = f"Expected overlap (IoU) off by, {WAYS[way]}"
            scores.append(Score(f"score_error_{way}", title, estimate, len(off)))
        return ScoreSection("structures", tuple(scores))

    def _dice(self, way: str) -> list[float]:
        return [case.answers[way].dice for case in self.cases]

    def notes(self) -> list[str]:
        """Sentences under the title."""
        groups, word = len({case.group for case in self.cases}), self.dataset.group_word
        counted = f"{len(self.cases)} structures; intervals: bootstrap by {word} ({groups} of them)."
        rule = "Box: the tight one. First click: the innermost pixel; further ones: the pixel deepest in what is wrong."
        return [counted, rule, *self.dataset.notes]

    def title(self) -> str:
        """What was judged on what."""
        return f"{self.spec.name} {self.spec.version} on {self.dataset.name}"


def _score(key: str, title: str, values: Sequence[float], groups: Sequence[str]) -> Score:
    estimate = bootstrap(values, groups)
    assert estimate is not None
    return Score(key, title, estimate, len(values))


# --- the work ---------------------------------------------------------------------------------------------------------


def check_dataset(dataset: Dataset) -> None:
    """Raise ``UserError`` where the data set has no outlines."""
    if dataset.kind is not DatasetKind.MASKS:
        raise UserError("A model that is pointed at needs outlines to point at", "Give a data set with masks")


def structures(mask: Mask) -> Iterator[Mask]:
    """The connected parts of a mask (bool, height x width), the largest first, without crumbs; each is as large."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    least = max(_LEAST_PX, _LEAST_SHARE * int(mask.sum()))
    for part in sorted(range(1, count), key=lambda index: -int(areas[index])):
        if areas[part] >= least:
            yield parts == part


def judge_sample(model: PromptModel, sample: Sample) -> Iterator[tuple[_PromptCase, reports.CasePicture]]:
    """Every structure of a picture, with its picture."""
    embedding: Embedding | None = None
    for label, mask in sample.truth.masks.items():
        for truth in structures(mask):
            # The slow half of a prompt model: once for all structures of a picture, and not at all without one.
            embedding = embedding or model.embed(sample.frame)
            yield _judge(model, embedding, sample, label, truth)


def _judge(
    model: PromptModel, embedding: Embedding, sample: Sample, label: str, truth: Mask
) -> tuple[_PromptCase, reports.CasePicture]:
    box = box_of(truth)
    outlines = {"box": model.outline(embedding, in_box(box))}
    outlines |= {f"clicks_{n}": found for n, found in enumerate(_clicked(model, embedding, truth), 1)}
    size = sample.frame.size_px
    answers = {way: _answer(truth, found, size) for way, found in outlines.items()}
    case = _PromptCase(sample.name, sample.group, label, int(truth.sum()), answers)
    shown = outlines[case.worst_way]
    drawn: list[Box] = []
    if shown.prompt.box_xyxy_px:
        drawn.append(shown.prompt.box_xyxy_px)
    marks = [(x - 1.0, y - 1.0, x + 1.0, y + 1.0) for x, y in shown.prompt.points_xy_px]
    jpeg = reports.draw_case(sample.frame, [truth], [_mask(shown, size)], drawn, marks)
    return case, reports.CasePicture(1 - answers[case.worst_way].dice, _caption(case), jpeg)


def _clicked(model: PromptModel, embedding: Embedding, truth: Mask) -> Iterator[PromptOutline]:
    """The answers after one click, two, three; the same again where nothing is wrong any more."""
    first = next_click(truth)
    assert first is not None  # the structure has a pixel
    found = model.outline(embedding, at_point(first.xy_px))
    yield found
    for _ in range(CLICKS - 1):
        click = next_click(truth, _mask(found, embedding.frame_size_px))
        if click is not None:
            prompt = found.prompt.with_point(click.xy_px, positive=click.positive)
            found = model.outline(embedding, prompt, found.low_res)
        yield found


def _mask(found: PromptOutline, size_px: tuple[int, int]) -> Mask:
    if found.instance is None:
        return np.zeros(size_px[::-1], np.bool_)
    return full_mask(found.instance, size_px)


def _answer(truth: Mask, found: PromptOutline, size_px: tuple[int, int]) -> _PromptScore:
    shared = overlap(truth, _mask(found, size_px))
    return _PromptScore(shared.dice, shared.iou, found.score)


def _caption(case: _PromptCase) -> str:
    dices = ", ".join(f"{WAYS[way].removeprefix('with ')} {case.answers[way].dice:.2f}" for way in JUDGED)
    return f"{case.name}, {case.label}: Dice {dices}; shown: {WAYS[case.worst_way].removeprefix('with ')}"


# --- what it leaves ---------------------------------------------------------------------------------------------------


def report(found: PromptEvaluation, screen: Terminal) -> None:
    """The figures as text."""
    screen.print(found.title())
    for note in found.notes():
        screen.print(f"  {note}", style="dim")
    table = ScreenTable("", "value", "95 % interval", "n", box=None)
    for score in found.section().scores:
        table.add_row(score.title, reports.number(score), reports.interval(score), str(score.count))
    screen.print(table)


def write(folder: Path, found: PromptEvaluation) -> None:
    """``structures.csv``, ``summary.json`` and ``index.html``."""
    write_csv(folder / "structures.csv", COLUMNS, [_row(case) for case in found.cases])
    write_json(folder / "summary.json", document(found))
    write_text(
        folder / "index.html", reports.render(found.title(), found.notes(), [found.section()], [], found.pictures)
    )


def _row(case: _PromptCase) -> dict[str, str | int | float | None]:
    row: dict[str, str | int | float | None] = {
        "name": case.name,
        "group": case.group,
        "label": case.label,
        "area_px": case.area_px,
    }
    for way, answer in case.answers.items():
        row |= {f"dice_{way}": round(answer.dice, 4), f"iou_{way}": round(answer.iou, 4)}
        row[f"score_{way}"] = round(answer.score, 4)
    return row


def document(found: PromptEvaluation) -> dict[str, Any]:
    """The content of ``summary.json``: no date, no path, so that equal runs give equal files."""
    scores = {}
    for score in found.section().scores:
        interval, value = score.estimate.rounded_interval(), round(score.estimate.value, 5)
        scores[score.key] = {"value": value, "interval_95": interval, "count": score.count}
    return {
        "format": FORMAT,
        "program": f"usviewer {__version__}",
        "research_use": RESEARCH_USE,
        "model": {"id": found.spec.id, "version": found.spec.version, "sha256": found.spec.sha256},
        "engine": found.engine,
        "dataset": {"name": found.dataset.name, "group": found.dataset.group_word},
        "notes": found.notes(),
        "scores": scores,
    }


@dataclass(frozen=True)
class Click:
    """A click in pixels of the mask's picture (corner convention); positive: this belongs to it."""

    xy_px: Point
    positive: bool


def depth_map(region: Mask) -> Map:
    """Distance of every pixel [H, W] of a region to what lies outside it, in pixels; beyond the picture is outside."""
    # Without the frame of zeros OpenCV takes the picture's edge for inside, and the deepest pixel moves onto it.
    padded = cv2.copyMakeBorder(region.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1], np.float32)


def next_click(truth: Mask, found: Mask | None = None) -> Click | None:
    """Where the imitated user clicks next; None where nothing is wrong.

    The click falls on the pixel that lies deepest in a region that is wrong: missed (a positive click) or
    outlined although it does not belong (a negative one). Of equally deep pixels the first in reading order; missed
    goes before too much. Without an outline all of the structure is missed: the first click falls on its innermost
    pixel.
    """
    if found is None:
        found = np.zeros_like(truth)
    missed, extra = depth_map(truth & ~found), depth_map(found & ~truth)
    depth, positive = missed, True
    if extra.max() > missed.max():
        depth, positive = extra, False
    if depth.max() <= 0:
        return None
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Click((float(column) + 0.5, float(row) + 0.5), positive)


def box_of(mask: Mask) -> Box:
    """The tight box x0, y0, x1, y1 (corner convention) of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
