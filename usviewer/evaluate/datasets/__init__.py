"""Labelled data sets, recognised by what their folder holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from usviewer.errors import UserError
from usviewer.evaluate.datasets.clips import NOTHING, open_anything, open_label_images, open_negative_clips, open_sweep
from usviewer.evaluate.datasets.dataset import Dataset, DatasetKind, DatasetOptions, GroundTruth, LengthTruth, Sample
from usviewer.evaluate.datasets.phantoms import open_phantoms
from usviewer.evaluate.datasets.stills import open_coco, open_hc18, open_masks, open_pairs, open_yolo

__all__ = ["Dataset", "DatasetKind", "DatasetOptions", "GroundTruth", "LengthTruth", "Sample", "open_dataset"]

# The first that recognises a folder reads it: the order decides where a folder fits two.
_READERS: tuple[Callable[[Path, DatasetOptions], Dataset | None], ...] = (
    open_sweep,
    open_negative_clips,
    open_hc18,
    open_masks,
    open_yolo,
    open_label_images,
    open_pairs,
    open_coco,
)
_KNOWN = (
    "a clip with ellipses.csv, images/ and masks/, images/ and labels/, HC18 with train.csv, a COCO file, or phantom"
)


def open_dataset(uri: str, options: DatasetOptions) -> Dataset:
    """Open the data set at a path or address. ``UserError`` when there is none, or nothing in it is labelled.

    With ``options.negatives`` its labels are ignored and nothing is to be found in it; anything that can be opened as
    a source is a data set then.
    """
    if found := open_phantoms(uri, options):
        _refuse_frames(uri, options)
    else:
        found = _open_folder(uri, options)
    if found is None and options.negatives:
        _refuse_frames(uri, options)
        found = open_anything(uri, options)
    if found is None:
        raise UserError(
            f"{uri} is not a labelled data set",
            f"Give {_KNOWN}; or add --negatives if nothing is to be found in it",
        )
    if options.held_out and not found.held_out:
        raise UserError("This data set took no part in training, so nothing of it was held out", "Leave out --held-out")
    if options.negatives:
        return _emptied(found)
    return found


def _open_folder(uri: str, options: DatasetOptions) -> Dataset | None:
    folder = Path(uri).resolve()  # so that "." has a name too
    if not os.path.isdir(folder):  # the methods of Path raise for a name that is too long
        if not os.path.exists(folder) and not options.negatives:
            raise UserError(f"There is no {uri}", f"Give {_KNOWN}")
        return None
    for reader in _READERS:
        if (found := reader(folder, options)) is not None:
            if reader is not open_label_images:
                _refuse_frames(uri, options)
            return found
    return None


def _refuse_frames(uri: str, options: DatasetOptions) -> None:
    if options.frames is not None:
        raise UserError(
            f"--frames is for a folder that holds masks alone, {uri} brings its own frames", "Leave --frames out"
        )


def _emptied(dataset: Dataset) -> Dataset:
    """The same pictures with nothing to be found in them."""

    def samples() -> Iterator[Sample]:
        return (replace(sample, truth=GroundTruth()) for sample in dataset.samples())

    notes = dataset.notes
    if NOTHING not in notes:
        notes = (*notes, NOTHING)
    return replace(dataset, kind=DatasetKind.NEGATIVES, labels=(), samples=samples, notes=notes)
