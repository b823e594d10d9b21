"""Pictures and masks side by side in one folder, told apart by a number: ``Test_Image_7.png`` and ``mask_7.png``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from usviewer.errors import UserError
from usviewer.evaluate.datasets.dataset import Dataset, DatasetKind, DatasetOptions, GroundTruth, pictures_of
from usviewer.evaluate.datasets.stills import Still, stills_dataset
from usviewer.frame import Frame

LABEL = "structure"
_MASK = re.compile(r"mask[_-]?(\d+)", re.IGNORECASE)
_PICTURE = re.compile(r".*?[_-]?(\d+)")
# Masks of this kind were compressed with loss: grey along their edges, and seldom exactly black and white.
_HALF = 127.5


def open_pairs(folder: Path, options: DatasetOptions) -> Dataset | None:
    """A folder of ``mask_N`` beside one picture each whose name ends in N; None when the folder is not like that.

    What a mask outlines is not said: the only label is "structure". Raises ``UserError`` where two pictures claim one
    mask.
    """
    files = pictures_of(folder)
    masks = {int(found[1]): path for path in files if (found := _MASK.fullmatch(path.stem))}
    pictures: dict[int, Path] = {}
    for path in files:
        found = _PICTURE.fullmatch(path.stem)
        if found is None or path in masks.values() or int(found[1]) not in masks:
            continue
        if int(found[1]) in pictures:
            raise UserError(
                f"{path.name} and {pictures[int(found[1])].name} both belong to one mask", "Keep one of the two"
            )
        pictures[int(found[1])] = path
    if not pictures:
        return None
    stills = [Still(pictures[number], pictures[number].stem, _truth(masks[number])) for number in sorted(pictures)]
    note = "Masks are brought to the size of their pictures by averaging, and cut at half."
    return stills_dataset(folder, DatasetKind.MASKS, (LABEL,), stills, options, "picture", (note,))


def _truth(path: Path) -> Callable[[Frame], GroundTruth]:
    def read(frame: Frame) -> GroundTruth:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise UserError(f"{path.name} is not a picture", "Give masks as PNG files")
        size = frame.size_px
        # Another size is brought to the picture's; another shape is a mask of something else.
        if abs(image.shape[1] / image.shape[0] / (size[0] / size[1]) - 1) > 0.02:
            raise UserError(f"The mask {path.name} has another shape than its picture", "Correct the mask")
        share = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return GroundTruth({LABEL: share > _HALF})

    return read
