"""The corrections of a clip as a training set: pictures, label images and COCO, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from usviewer import __version__
from usviewer.atomic import write_bytes
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import Prediction
from usviewer.save.export import ExportFolder
from usviewer.save.masks import coco_document, labels_overlap, overlap_note, write_label_png
from usviewer.save.media import encode_png
from usviewer.save.tables import write_json


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
    coco: list[tuple[str, Prediction]] = []
    with ExportFolder(parent, name, keep_surroundings=keep_surroundings) as export:
        for frame, prediction in corrected:
            file = f"{frame.key.index:06d}.png"
            write_bytes(export.folder("images") / file, encode_png(export.bare_picture(frame)))
            write_label_png(prediction, export.folder("labels") / file)
            coco.append((file, prediction))
        if not coco:
            raise UserError("Nothing was corrected in this clip", "Correct a mask first")
        info = _origin(coco[0][1])
        if any(labels_overlap(prediction) for _, prediction in coco):
            info["note"] = overlap_note("coco.json")
        write_json(export.path / "coco.json", {"info": info, **coco_document(coco, labels)})
        return export.become_folder(), len(coco), export.notice


def _origin(prediction: Prediction) -> dict[str, str]:
    return {
        "description": "Outlines drawn or corrected by a person",
        "program": f"usviewer {__version__}",
        "model_id": prediction.model_id,
        "model_sha256": prediction.model_sha256,
    }
