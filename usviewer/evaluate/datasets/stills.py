"""Folders of still pictures with labels: label images, HC18 with its ellipses, masks with numbers, YOLO and COCO."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from usviewer.errors import UserError
from usviewer.evaluate.datasets.dataset import (
    Dataset,
    DatasetKind,
    DatasetOptions,
    EllipseTruth,
    GroundTruth,
    LabelledBox,
    LengthTruth,
    Still,
    class_name,
    hc18_exam,
    pictures_of,
    read_label_image,
    stills_dataset,
)
from usviewer.frame import Frame, Mask
from usviewer.units import ScaleSource, isotropic

# Public sets whose label images carry no names: what their values 1, 2, ... mean.
_KNOWN_LABELS = {"carotid_ccaui": ("carotid",), "nerve_usgra": ("nerve", "vessel")}
_HC18_COLUMNS = ("name", "pixel_size_mm", "ellipse_center_x_px", "ellipse_center_y_px")
_HC18_NOTE = (
    "Truth: the ellipse through the annotated line, and the table's circumference. HC18 calls the bias DF and the mean "
    "absolute error ADF. An exam is the number in the name."
)
# Pictures and masks side by side in one folder: ``Test_Image_7.png`` and ``mask_7.png``.
_PAIR_LABEL = "structure"
_PAIR_MASK = re.compile(r"mask[_-]?(\d+)", re.IGNORECASE)
_PAIR_PICTURE = re.compile(r".*?[_-]?(\d+)")
# Masks of this kind were compressed with loss: grey along their edges, and seldom exactly black and white.
_HALF = 127.5
# Exporters of YOLO data sets do not agree on one name for the validation part.
_SPLIT_FOLDERS = ("", "train", "valid", "val", "test")


# --- label images -----------------------------------------------------------------------------------------------------


def open_masks(folder: Path, options: DatasetOptions) -> Dataset | None:
    """``images/`` beside ``masks/`` with files of the same stem; None when the folder is not like that."""
    masks = {path.stem: path for path in pictures_of(folder / "masks")}
    pairs = [(path, masks[path.stem]) for path in pictures_of(folder / "images") if path.stem in masks]
    if not pairs:
        return None
    known = _KNOWN_LABELS.get(folder.name)
    labels = known or _unnamed(pairs)
    kind = {"carotid_ccaui": "carotid", "nerve_usgra": "nerve"}.get(folder.name, "")
    stills = [Still(image, _exam(kind, image.stem), _mask_truth(mask, labels), None, kind) for image, mask in pairs]
    word = "picture"
    if kind == "carotid":
        word = "exam"
    return stills_dataset(folder, DatasetKind.MASKS, labels, stills, options, word, named=known is not None)


def _exam(kind: str, stem: str) -> str:
    if kind != "carotid":
        return stem
    return stem.split("VAS")[0]  # CCAUI writes the exam before "VAS"


def _unnamed(pairs: Sequence[tuple[Path, Path]]) -> tuple[str, ...]:
    """As many nameless labels as the largest value that any mask holds."""
    highest = max(int(read_label_image(mask).max()) for _, mask in pairs)
    if not highest:
        raise UserError("All masks of this folder are empty", "Use --negatives if nothing is to be found in them")
    return tuple(class_name(number) for number in range(1, highest + 1))


def _mask_truth(path: Path, labels: Sequence[str]) -> Callable[[Frame], GroundTruth]:
    def read(frame: Frame) -> GroundTruth:
        image = read_label_image(path)
        if image.shape != (frame.height_px, frame.width_px):
            raise UserError(f"The mask {path.name} is not as large as its picture", "Give masks of the picture's size")
        if int(image.max(initial=0)) > len(labels):
            raise UserError(
                f"{path.name} holds the value {image.max()}, and there are {len(labels)} labels", "Correct the mask"
            )
        return GroundTruth({label: image == value for value, label in enumerate(labels, 1)})

    return read


# --- HC18 -------------------------------------------------------------------------------------------------------------


def open_hc18(folder: Path, options: DatasetOptions) -> Dataset | None:
    """HC18 with its ellipses in ``train.csv``; None when there is no such table."""
    table = folder / "train.csv"
    if not table.is_file():
        return None
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(_HC18_COLUMNS) <= set(rows[0]):
        return None
    files = {path.stem: path for path in (*pictures_of(folder / "train"), *pictures_of(folder))}
    stills = [_hc18_still(row, files[row["name"]], table) for row in rows if row["name"] in files]
    return stills_dataset(folder, DatasetKind.MASKS, ("fetal head",), stills, options, "exam", (_HC18_NOTE,))


def _hc18_still(row: dict[str, str], path: Path, table: Path) -> Still:
    try:
        # The table's positions are those of OpenCV and numpy: 0 is the middle of the first pixel.
        center = (float(row["ellipse_center_x_px"]) + 0.5, float(row["ellipse_center_y_px"]) + 0.5)
        axes = (float(row["ellipse_semi_axis_a_px"]), float(row["ellipse_semi_axis_b_px"]))
        ellipse = EllipseTruth(center, *axes, float(row["ellipse_angle_deg"]))
        circumference_mm = float(row["head_circumference_mm"])
        spacing = isotropic(float(row["pixel_size_mm"]), ScaleSource.USER, f"pixel size of {table.name}")
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{table.name} cannot be read at {path.stem}", "Restore the table") from error

    def truth(frame: Frame) -> GroundTruth:
        mask = ellipse.mask(*frame.size_px)
        lengths = {"head_circumference": LengthTruth(ellipse.circumference_px, circumference_mm)}
        return GroundTruth({"fetal head": mask}, lengths=lengths)

    return Still(path, hc18_exam(path.stem), truth, spacing, "fetal")


# --- pictures and masks with numbers ----------------------------------------------------------------------------------


def open_pairs(folder: Path, options: DatasetOptions) -> Dataset | None:
    """A folder of ``mask_N`` beside one picture each whose name ends in N; None when the folder is not like that.

    What a mask outlines is not said: the only label is "structure". Raises ``UserError`` where two pictures claim one
    mask.
    """
    files = pictures_of(folder)
    masks = {int(found[1]): path for path in files if (found := _PAIR_MASK.fullmatch(path.stem))}
    pictures: dict[int, Path] = {}
    for path in files:
        found = _PAIR_PICTURE.fullmatch(path.stem)
        if found is None or path in masks.values() or int(found[1]) not in masks:
            continue
        if int(found[1]) in pictures:
            raise UserError(
                f"{path.name} and {pictures[int(found[1])].name} both belong to one mask", "Keep one of the two"
            )
        pictures[int(found[1])] = path
    if not pictures:
        return None
    stills = [Still(pictures[number], pictures[number].stem, _pair_truth(masks[number])) for number in sorted(pictures)]
    note = "Masks are brought to the size of their pictures by averaging, and cut at half."
    return stills_dataset(folder, DatasetKind.MASKS, (_PAIR_LABEL,), stills, options, "picture", (note,))


def _pair_truth(path: Path) -> Callable[[Frame], GroundTruth]:
    def read(frame: Frame) -> GroundTruth:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise UserError(f"{path.name} is not a picture", "Give masks as PNG files")
        size = frame.size_px
        # Another size is brought to the picture's; another shape is a mask of something else.
        if abs(image.shape[1] / image.shape[0] / (size[0] / size[1]) - 1) > 0.02:
            raise UserError(f"The mask {path.name} has another shape than its picture", "Correct the mask")
        share = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return GroundTruth({_PAIR_LABEL: share > _HALF})

    return read


# --- YOLO boxes -------------------------------------------------------------------------------------------------------


def open_yolo(folder: Path, options: DatasetOptions) -> Dataset | None:
    """``images/`` beside ``labels/`` (or both below train, valid, test); None when the folder is not like that."""
    pairs = [pair for part in _SPLIT_FOLDERS for pair in _yolo_pairs(folder / part)]
    if not pairs:
        return None
    truths = [_yolo_boxes(path) for _, path in pairs]
    highest = max((row[0] for rows in truths for row in rows), default=-1)
    if highest < 0:
        raise UserError("No label file of this folder holds a box", "Use --negatives if nothing is to be found in them")
    exam_of: Callable[[str], str] = str
    kind, word = "", "picture"
    # Boxes that others drew on HC18 keep its names, so the exams are known: two pictures of one are not independent.
    if all("_HC" in image.stem or "HC_png" in image.stem for image, _ in pairs):
        exam_of, kind, word = hc18_exam, "fetal", "exam"
    stills = [
        Still(image, exam_of(image.stem), _box_truth(rows), None, kind)
        for (image, _), rows in zip(pairs, truths, strict=True)
    ]
    labels = tuple(class_name(number) for number in range(1, highest + 2))
    return stills_dataset(folder, DatasetKind.BOXES, labels, stills, options, word, named=False)


def _yolo_pairs(folder: Path) -> list[tuple[Path, Path]]:
    found = ((image, folder / "labels" / f"{image.stem}.txt") for image in pictures_of(folder / "images"))
    return [(image, label) for image, label in found if label.is_file()]


def _yolo_boxes(path: Path) -> list[tuple[int, float, float, float, float]]:
    """Rows of class, centre x, centre y, width, height as fractions of the picture."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        found = [(int(row[0]), *(float(value) for value in row[1:])) for row in rows]
        if any(len(row) != 5 or row[0] < 0 for row in found):
            raise ValueError
    except ValueError as error:
        raise UserError(
            f"{path.name} does not hold YOLO boxes", "A line is: class, centre x, centre y, width, height"
        ) from error
    return found  # type: ignore[return-value]  # the length was checked


def _box_truth(rows: Sequence[tuple[int, float, float, float, float]]) -> Callable[[Frame], GroundTruth]:
    def read(frame: Frame) -> GroundTruth:
        width, height = frame.width_px, frame.height_px
        boxes = tuple(
            LabelledBox(kind, ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height))
            for kind, x, y, w, h in rows
        )
        return GroundTruth(boxes=boxes)

    return read


# --- COCO -------------------------------------------------------------------------------------------------------------


def open_coco(folder: Path, options: DatasetOptions) -> Dataset | None:
    """One COCO json beside its pictures (or one folder above them); None when there is no such file."""
    found = [(path, content) for path in sorted(folder.glob("*.json")) if (content := _coco_content(path))]
    if len(found) != 1:
        return None
    table, content = found[0]
    try:
        names = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        images = {int(i["id"]): str(i["file_name"]) for i in content["images"]}
        rows: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in images}
        for row in content["annotations"]:
            rows[int(row["image_id"])].append(row)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{table.name} is not a complete COCO file", "Write it again") from error
    files = {path.name: path for path in folder.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".bmp"}}
    stills = [
        Still(files[Path(name).name], Path(name).stem, _coco_truth(rows[image_id], names, table.name))
        for image_id, name in images.items()
        if Path(name).name in files
    ]
    if not stills:
        return None
    kind = DatasetKind.BOXES
    if any(row.get("segmentation") for image_rows in rows.values() for row in image_rows):
        kind = DatasetKind.MASKS
    labels = tuple(names[key] for key in sorted(names))
    return stills_dataset(folder, kind, labels, stills, options, "picture")


def _coco_content(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {"images", "annotations", "categories"}
    if not isinstance(content, dict) or not wanted <= set(content):
        return None
    return content


def _coco_truth(rows: Sequence[dict[str, Any]], names: dict[int, str], table: str) -> Callable[[Frame], GroundTruth]:
    order = {category: index for index, category in enumerate(sorted(names))}

    def read(frame: Frame) -> GroundTruth:
        masks: dict[str, Mask] = {
            name: np.zeros((frame.height_px, frame.width_px), np.bool_) for name in names.values()
        }
        boxes: list[LabelledBox] = []
        for row in rows:
            category = int(row["category_id"])
            masks[names[category]] |= _filled(row, frame.height_px, frame.width_px, table)
            if len(row.get("bbox", ())) == 4:
                x, y, width, height = (float(value) for value in row["bbox"])
                boxes.append(LabelledBox(order[category], (x, y, x + width, y + height)))
        return GroundTruth(masks, tuple(boxes))

    return read


def _filled(row: dict[str, Any], height_px: int, width_px: int, table: str) -> Mask:
    """The row's mask on the whole picture, from polygons or from run lengths."""
    parts = row.get("segmentation") or []
    if isinstance(parts, dict):
        return _from_run_lengths(parts, height_px, width_px, table)
    filled = np.zeros((height_px, width_px), np.uint8)
    for part in parts:
        # COCO counts from the corner of the first pixel, OpenCV from its centre.
        cv2.fillPoly(filled, [np.round(np.reshape(part, (-1, 2)) - 0.5).astype(np.int32)], 1)
    return filled.astype(np.bool_)


def _from_run_lengths(parts: dict[str, Any], height_px: int, width_px: int, table: str) -> Mask:
    """Runs of 0 and 1 in turn, down the columns one after the other."""
    counts = parts.get("counts", [])
    if isinstance(counts, str):
        runs = _unpacked(counts)
    else:
        runs = [int(run) for run in counts]
    if list(parts.get("size", ())) != [height_px, width_px] or sum(runs) != height_px * width_px:
        raise UserError(f"A mask of {table} is not as large as its picture", "Write the file again")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(values.reshape(width_px, height_px).T)


def _unpacked(packed: str) -> list[int]:
    """COCO's packed run lengths: five bits a character, from 48 up, lowest first.

    The sixth bit says that more follow, the fifth of the last is the sign; from the fourth run on what is kept is the
    difference to the run before last. (pycocotools does this too, but warns with NumPy 2 and is optional here.)
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in packed:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
        value, shift = 0, 0
    return runs
