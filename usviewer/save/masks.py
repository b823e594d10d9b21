"""Predictions as training material: label images, COCO and YOLO polygons, and the corrections of a clip as a set.

Label images are exact, but each of their pixels holds one label; polygons hold every outline whole. They run half way
between the last pixel inside and the first outside, so that every program that samples pixel centres gets the same mask
back; they cannot hold holes, which are filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import contourpy
import numpy as np

from usviewer import RESEARCH_USE, __version__
from usviewer.errors import UserError
from usviewer.files import write_bytes, write_text
from usviewer.frame import Frame, Points
from usviewer.frame import Pixels as LabelImage
from usviewer.infer.prediction import Instance, Prediction
from usviewer.save.export import ExportFolder
from usviewer.save.media import encode_png
from usviewer.save.tables import write_json

_MAX_CLASSES = 255  # in one byte; 0 is the background


def label_image(prediction: Prediction) -> LabelImage:
    """Class of every pixel (uint8, height x width): 0 background, 1 + class index.

    A pixel holds one class: where labels overlap, the surer one. ``labels_overlap`` tells whether that loses anything;
    ``coco_document`` holds the outline of each whole. A detector's boxes leave no mark. Raises ``UserError`` for a
    class index that one byte cannot hold.
    """
    return _painted(prediction)[0]


def labels_overlap(prediction: Prediction) -> bool:
    """Whether masks of two labels share pixels, of which a label image keeps one label only."""
    return _painted(prediction)[1]


def overlap_note(file: str) -> str:
    """What is said of label images where labels overlap; ``file`` is the COCO document in the same folder."""
    return f"Where two labels overlap, the label images show only the surer one; {file} has the outline of each whole"


def _painted(prediction: Prediction) -> tuple[LabelImage, bool]:
    """The label image, and whether a mask covered another label's."""
    width, height = prediction.frame_size_px
    labels = np.zeros((height, width), np.uint8)
    covered = False
    for instance in reversed(prediction.instances):  # the surest last, so that it stays
        if instance.mask is None:
            continue
        if instance.class_index >= _MAX_CLASSES:
            raise UserError(
                f"The model has more than {_MAX_CLASSES} classes, too many for a label image",
                "Write the masks as COCO instead",
            )
        x0, y0 = instance.mask_origin_px
        rows, columns = instance.mask.shape
        # A view: what is written into it stands in the label image.
        under = labels[y0 : y0 + rows, x0 : x0 + columns]
        value = 1 + instance.class_index
        hidden = under[instance.mask]
        covered = covered or bool(((hidden != 0) & (hidden != value)).any())
        under[instance.mask] = value
    return labels, covered


def write_label_png(prediction: Prediction, path: Path) -> None:
    """The label image as a grey PNG of the frame's own size."""
    write_bytes(path, encode_png(label_image(prediction)))


def polygons_of(instance: Instance) -> list[Points]:
    """Outer contours (N, 2) of the mask's parts in frame pixels, largest first; holes are filled."""
    if instance.mask is None or not instance.mask.any():
        return []
    # A margin, so that contours close where the mask touches the border of its rectangle.
    padded = np.pad(instance.mask, 1).astype(np.float32)
    generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    parts, offsets = cast("tuple[list[Points], list[list[int]]]", generator.filled(0.5, 1.5))
    # Index i of the padded mask is the pixel i - 1, whose centre lies at i - 0.5.
    shift = np.array(instance.mask_origin_px, dtype=np.float64) - 0.5
    rings = [np.asarray(part[: offset[1] - 1]) + shift for part, offset in zip(parts, offsets, strict=True)]
    return sorted(rings, key=_area, reverse=True)


def coco_document(predictions: Iterable[tuple[str, Prediction]], labels: Sequence[str]) -> dict[str, Any]:
    """COCO annotations of named pictures. Category ids are 1 + class index, as in the label images.

    https://cocodataset.org/#format-data; ``score`` is as in COCO's results format.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    # Numbers from 1: pycocotools takes the annotation 0 for "no match".
    for image_id, (file_name, prediction) in enumerate(predictions, 1):
        width, height = prediction.frame_size_px
        images.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        for instance in prediction.instances:
            annotations.append(_coco_annotation(len(annotations) + 1, image_id, instance))
    categories = [{"id": 1 + index, "name": label} for index, label in enumerate(labels)]
    return {"images": images, "annotations": annotations, "categories": categories}


def yolo_lines(prediction: Prediction) -> list[str]:
    """YOLO labels: class and polygon, a line a part of the mask; class and box (centre, size) where there is no mask.

    Positions are fractions of the picture's width and height.
    """
    size = np.array(prediction.frame_size_px, dtype=np.float64)
    lines = []
    for instance in prediction.instances:
        if instance.mask is None:
            lines.append(_yolo_line(instance.class_index, _centre_and_size(instance, size)))
        lines += [_yolo_line(instance.class_index, (ring / size).ravel()) for ring in polygons_of(instance)]
    return lines


def write_yolo(prediction: Prediction, path: Path) -> None:
    """The YOLO labels of one picture; an empty file says that nothing is on it."""
    write_text(path, "".join(f"{line}\n" for line in yolo_lines(prediction)))


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
        info = _origin(coco[0][1], export.surroundings)
        if any(labels_overlap(prediction) for _, prediction in coco):
            info["note"] = overlap_note("coco.json")
        write_json(export.path / "coco.json", {"info": info, **coco_document(coco, labels)})
        return export.become_folder(), len(coco), export.notice


def _origin(prediction: Prediction, surroundings: str) -> dict[str, str]:
    return {
        "description": "Outlines drawn or corrected by a person",
        "program": f"usviewer {__version__}",
        "research_use": RESEARCH_USE,
        "surroundings": surroundings,
        "model_id": prediction.model_id,
        "model_sha256": prediction.model_sha256,
    }


def _coco_annotation(annotation_id: int, image_id: int, instance: Instance) -> dict[str, Any]:
    x0, y0, x1, y1 = _box_of(instance)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1 + instance.class_index,
        "segmentation": [np.round(ring, 2).ravel().tolist() for ring in polygons_of(instance)],
        "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
        "area": instance.area_px,  # of the mask, without the holes that its polygons cannot hold
        "iscrowd": 0,
        "score": round(instance.score, 4),
    }


def _box_of(instance: Instance) -> tuple[float, float, float, float]:
    """Box of the mask where there is one, so that box and polygon agree."""
    if instance.mask is None or not instance.mask.any():
        return instance.box_xyxy_px
    rows, columns = np.flatnonzero(instance.mask.any(axis=1)), np.flatnonzero(instance.mask.any(axis=0))
    x, y = instance.mask_origin_px
    return (float(x + columns[0]), float(y + rows[0]), float(x + columns[-1] + 1), float(y + rows[-1] + 1))


def _centre_and_size(instance: Instance, size: Points) -> Points:
    start, end = np.array(instance.box_xyxy_px).reshape(2, 2) / size
    return np.concatenate([(start + end) / 2, end - start])


def _yolo_line(class_index: int, numbers: Points) -> str:
    return " ".join([str(class_index), *(f"{number:.6f}" for number in numbers)])


def _area(ring: Points) -> float:
    # The shoelace formula.
    x, y = ring.T
    return 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))
