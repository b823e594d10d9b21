"""Folders of outlined still pictures: label images, HC18 with its ellipses, and masks that numbers tell apart."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from usviewer.errors import UserError
from usviewer.evaluate.datasets.dataset import (
    Dataset,
    DatasetKind,
    DatasetOptions,
    EllipseTruth,
    GroundTruth,
    LengthTruth,
    class_name,
    hc18_exam,
    pictures_of,
    read_label_image,
)
from usviewer.evaluate.datasets.stills import Still, stills_dataset
from usviewer.frame import Frame
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
            raise UserError(f"{path.name} holds the value {image.max()}, which means nothing here", "Correct the mask")
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
