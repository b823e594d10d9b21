"""Still pictures with labels: reading and choosing them, as all such folders do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from usviewer.errors import UserError
from usviewer.evaluate.datasets.dataset import (
    Dataset,
    DatasetKind,
    DatasetOptions,
    GroundTruth,
    Sample,
    calibrated_still,
    chosen,
    is_held_out,
)
from usviewer.frame import Frame
from usviewer.units import Spacing


@dataclass(frozen=True, slots=True)
class Still:
    """One picture of a data set: its file, the exam it belongs to, and how its truth is read once it is open."""

    path: Path
    group: str
    truth: Callable[[Frame], GroundTruth]
    spacing: Spacing | None = None
    split_kind: str = ""


def _read(stills: Sequence[Still], options: DatasetOptions) -> Iterator[Sample]:
    """The pictures one by one, each with its own sector."""
    for still in stills:
        # A picture's own scale (HC18's table) goes before the one that was given for all.
        frame = calibrated_still(still.path, still.spacing or options.spacing)
        truth = GroundTruth()
        if not options.negatives:
            truth = still.truth(frame)
        yield Sample(still.path.name, still.group, frame, truth)


def _selected(stills: Sequence[Still], options: DatasetOptions) -> list[Still]:
    """Those that the options ask for; ``UserError`` when none are left."""
    kept = list(stills)
    if options.held_out:
        if not all(still.split_kind for still in kept):
            raise UserError(
                "This data set took no part in training, so nothing of it was held out", "Leave out --held-out"
            )
        kept = [still for still in kept if is_held_out(still.split_kind, still.group)]
    # --every and --limit count what the fold left, so that a third of the fold can be asked for.
    kept = [still for number, still in enumerate(kept) if chosen(options, number)][: options.limit]
    if not kept:
        raise UserError("No picture of this data set is left to look at", "Ask for more with --every and --limit")
    return kept


def stills_dataset(
    folder: Path,
    kind: DatasetKind,
    labels: tuple[str, ...],
    stills: Sequence[Still],
    options: DatasetOptions,
    group_word: str,
    notes: tuple[str, ...] = (),
    named: bool = True,
) -> Dataset:
    """The data set of those pictures that the options ask for. ``UserError`` when none are left."""
    kept = _selected(stills, options)
    if options.held_out:
        notes = (*notes, "Only the fixed fifth of the exams that no aorta training may see.")
    return Dataset(
        folder.name,
        kind,
        labels,
        lambda: _read(kept, options),
        len(kept),
        group_word,
        notes,
        named,
        options.held_out,
    )
