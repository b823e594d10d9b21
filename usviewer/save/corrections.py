"""The corrections of a clip as a training set: pictures, label images and COCO, in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from usviewer import __version__
from usviewer.atomic import cannot_write, make_folder, write_bytes
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import Prediction
from usviewer.save.deidentify import blank_outside_sector, privacy_notice
from usviewer.save.masks import coco_document, write_label_png
from usviewer.save.media import encode_png
from usviewer.save.tables import write_json
from usviewer.save.unfinished import PartFolder, remove_leftovers


def free_name(parent: Path, name: str) -> Path:
    """``name`` in the folder, or ``name-2``, ``name-3`` ...: an existing file or folder is never replaced."""
    stem, dot, ending = name.partition(".")
    candidate, number = parent / name, 1
    while os.path.exists(candidate):  # a name that is too long is free, and writing it says what is wrong
        number += 1
        candidate = parent / f"{stem}-{number}{dot}{ending}"
    return candidate


def export_corrections(
    parent: Path,
    name: str,
    corrected: Iterable[tuple[Frame, Prediction]],
    labels: Sequence[str],
    *,
    keep_surroundings: bool = False,
) -> tuple[Path, int, str]:
    """Write ``images/``, ``labels/`` (0 background, 1 + class) and ``coco.json`` into a new folder of that name.

    The pictures are blanked outside the sector where it is certain, as in every export, unless ``keep_surroundings``.
    Returns the folder, the number of pictures, and what the user must know about them. Writes everything or nothing.
    Raises ``UserError``.
    """
    make_folder(parent)
    remove_leftovers(parent)
    coco: list[tuple[str, Prediction]] = []
    said = ""
    target = free_name(parent, name)
    with _new_folder(target) as folder:
        for frame, prediction in corrected:
            stem = f"{frame.key.index:06d}"
            pixels = blank_outside_sector(frame.pixels, frame.geometry, keep_surroundings)
            write_bytes(make_folder(folder / "images") / f"{stem}.png", encode_png(pixels))
            write_label_png(prediction, make_folder(folder / "labels") / f"{stem}.png")
            coco.append((f"{stem}.png", prediction))
            said = said or privacy_notice(frame.geometry, keep_surroundings)
        if not coco:
            raise UserError("Nothing was corrected in this clip", "Correct a mask first")
        write_json(folder / "coco.json", {"info": _origin(coco[0][1]), **coco_document(coco, labels)})
    return target, len(coco), said


def _origin(prediction: Prediction) -> dict[str, str]:
    return {
        "description": "Outlines drawn or corrected by a person",
        "program": f"usviewer {__version__}",
        "model_id": prediction.model_id,
        "model_sha256": prediction.model_sha256,
    }


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder that gets its name when everything in it is written, and is removed on failure."""
    unfinished = PartFolder(target.parent)
    try:
        yield unfinished.path
        unfinished.release()
        os.rename(unfinished.path, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        unfinished.remove()
