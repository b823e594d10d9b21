"""Corrections as a training set: pictures, labels and COCO that agree, in a folder that is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.scenes import aorta_reading, circle, fan, scaled_geometry
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame
from usviewer.infer.prediction import Prediction
from usviewer.measure.manual import edit_of, edited_prediction, fill_outline
from usviewer.save.corrections import export_corrections

SIZE = (320, 240)


def pairs(count: int = 2, certain: bool = True) -> Iterator[tuple[Frame, Prediction]]:
    geometry = scaled_geometry(*SIZE, sector=fan(*SIZE, certain=certain))
    for index in range(count):
        pixels = np.full((240, 320, 3), 60 + index, np.uint8)
        frame = make_frame(pixels, "clip", index * 10, index * 0.4, geometry=geometry)
        mask = fill_outline(circle((160.0, 120.0), 20.0 + index), SIZE)
        edit = edit_of(mask, frame.key.digest, 0, "aorta", 0)
        yield frame, edited_prediction(aorta_reading(frame.key), edit, SIZE)


def test_pictures_labels_and_coco_agree(tmp_path: Path) -> None:
    folder, count, said = export_corrections(tmp_path, "sweep-corrections", pairs(), ("aorta",))
    assert (folder.name, count, said) == ("sweep-corrections", 2, "")
    coco = json.loads((folder / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["000000.png", "000010.png"]
    for image, annotation in zip(coco["images"], coco["annotations"], strict=True):
        label = cv2.imread(str(folder / "labels" / image["file_name"]), cv2.IMREAD_UNCHANGED)
        assert label.shape == (240, 320) and set(np.unique(label)) == {0, 1}
        assert annotation["area"] == np.count_nonzero(label)
        picture = cv2.imread(str(folder / "images" / image["file_name"]))
        assert picture.shape == (240, 320, 3)
        assert not picture[:, :20].any()  # blanked outside the sector
        assert picture[120, 160, 0] in (60, 61)
    assert coco["categories"] == [{"id": 1, "name": "aorta"}]
    assert coco["info"]["model_sha256"] == "ab" * 32


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    export_corrections(tmp_path, "x", pairs(1), ("aorta",))
    folder, _, _ = export_corrections(tmp_path, "x", pairs(1), ("aorta",))
    assert folder.name == "x-2"


def test_an_uncertain_sector_is_said(tmp_path: Path) -> None:
    _, _, said = export_corrections(tmp_path, "x", pairs(1, certain=False), ("aorta",))
    assert "look for names" in said


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[Frame, Prediction]]:
        yield next(pairs(1))
        raise UserError("Frame 11 of sweep is damaged", "Choose another frame")

    with pytest.raises(UserError, match="damaged"):
        export_corrections(tmp_path, "x", failing(), ("aorta",))
    with pytest.raises(UserError, match="Nothing was corrected"):
        export_corrections(tmp_path, "x", iter(()), ("aorta",))
    assert not list(tmp_path.iterdir())
