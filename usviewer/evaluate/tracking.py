"""An outline that is followed through a labelled clip from one click, against the labels of every frame.

Each run of consecutive labelled frames is followed separately: the click lies on the innermost point of the truth of
its first frame. Once the structure is lost every further frame counts as missed, with an overlap of 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from usviewer.errors import UserError
from usviewer.evaluate.datasets import Dataset, DatasetKind, Sample
from usviewer.frame import Frame, Mask
from usviewer.infer.prediction import Instance, full_mask
from usviewer.infer.prompt import at_point
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.infer.tracking.track import prompt_of, segmenter_of, track_outline
from usviewer.save.tables import write_csv, write_json
from usviewer.terminal import Terminal

COLUMNS = ("run", "name", "index", "dice", "confidence", "carried", "lost")


@dataclass(frozen=True, slots=True)
class _TrackingScore:
    """One frame: its overlap (Dice) with the truth, what the follower thought of it, and why it was lost there."""

    run: int
    name: str
    index: int
    dice: float
    confidence: float
    carried: bool = False
    lost: str = ""


def follow(model: PromptModel, dataset: Dataset) -> Iterator[_TrackingScore]:
    """Score every labelled frame of a clip, in order. Raises ``UserError`` for anything but one outlined structure."""
    if dataset.kind is not DatasetKind.MASKS or len(dataset.labels) != 1:
        raise UserError(f"{dataset.name} is not a clip with one outlined structure", "Give a labelled clip")
    for number, samples in enumerate(_runs(dataset.samples())):
        yield from _run(number, model, samples)


def report(rows: list[_TrackingScore], output: Terminal) -> None:
    """The figures, a line for each run."""
    for run in sorted({row.run for row in rows}):
        these = [row for row in rows if row.run == run]
        lost = next((f"; lost on {row.name}: {row.lost}" for row in these if row.lost), "")
        mean, least = np.mean([row.dice for row in these]), min(row.dice for row in these)
        where = f"From one click on {these[0].name}"
        output.print(f"{where}: mean Dice {mean:.3f} over {len(these)} frames, least {least:.3f}{lost}")


def write(folder: Path, rows: list[_TrackingScore], model: PromptModel, dataset: Dataset) -> None:
    """``propagation.csv`` with a row for each frame, ``propagation.json`` with the figures."""
    write_csv(folder / "propagation.csv", COLUMNS, [asdict(row) for row in rows])
    runs = sorted({row.run for row in rows})
    means = {f"run_{run}": float(np.mean([row.dice for row in rows if row.run == run])) for run in runs}
    facts = {"format": 1, "model": model.spec.id, "sha256": model.spec.sha256, "engine": model.engine}
    write_json(folder / "propagation.json", {**facts, "dataset": dataset.name, "mean_dice": means, "frames": len(rows)})


def _runs(samples: Iterable[Sample]) -> Iterator[Iterator[Sample]]:
    """Runs of consecutive frames, each to be used up before the next."""
    waiting = iter(samples)
    # One sample is read ahead: only the next index tells where a run ends.
    held = list(islice(waiting, 1))

    def run() -> Iterator[Sample]:
        last = held[0].frame.key.index - 1
        while held and held[0].frame.key.index == last + 1:
            sample = held.pop()
            last = sample.frame.key.index
            following = next(waiting, None)
            if following is not None:
                held.append(following)
            yield sample

    while held:
        yield run()


def _run(number: int, model: PromptModel, samples: Iterator[Sample]) -> Iterator[_TrackingScore]:
    start = next(samples)
    first = _clicked(model, start)
    if first is None:
        yield _TrackingScore(
            number, start.name, start.frame.key.index, 0.0, 0.0, lost="Nothing was outlined at the click"
        )
        yield from _missed(number, samples)
        return
    yield _TrackingScore(number, start.name, start.frame.key.index, _dice(first, start), first.score)
    # The tracker takes a frame and answers it before it takes the next: ``passed`` holds one sample at most.
    passed: list[Sample] = []

    def frames() -> Iterator[Frame]:
        yield start.frame
        for sample in samples:
            passed.append(sample)
            yield sample.frame

    for step in track_outline(frames(), first, segmenter_of(model)):
        sample = passed.pop()
        dice = 0.0
        if step.instance:
            dice = _dice(step.instance, sample)
        yield _TrackingScore(number, sample.name, step.key.index, dice, step.confidence, step.carried, step.lost)
    yield from _missed(number, samples)


def _clicked(model: PromptModel, sample: Sample) -> Instance | None:
    (point,) = prompt_of(_truth(sample)).points_xy_px
    return model.outline(model.embed(sample.frame), at_point(point)).instance


def _missed(number: int, samples: Iterable[Sample]) -> Iterator[_TrackingScore]:
    for sample in samples:
        yield _TrackingScore(number, sample.name, sample.frame.key.index, 0.0, 0.0)


def _truth(sample: Sample) -> Mask:
    (mask,) = sample.truth.masks.values()
    return mask


def _dice(instance: Instance, sample: Sample) -> float:
    truth = _truth(sample)
    mask = full_mask(instance, sample.frame.size_px)
    return float(2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth)))
