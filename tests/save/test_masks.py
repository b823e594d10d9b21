"""Masks as training material come back as they were; corrections are a set that is whole and agrees with itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from tests.helpers.scenes import aorta_reading, circle, fan, flat_frame, scaled_geometry
from usviewer import RESEARCH_USE
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame
from usviewer.infer.prediction import Instance, Prediction, full_mask
from usviewer.measure.manual import edit_of, edited_prediction, fill_outline
from usviewer.save.masks import (
    coco_document,
    export_corrections,
    label_image,
    labels_overlap,
    polygons_of,
    write_label_png,
    write_yolo,
    yolo_lines,
)

SIZE = (90, 70)
FRAME = flat_frame(*SIZE)


def instance_of(mask, class_index=0, origin=(0, 0), score=0.9):
    x, y = origin
    box = (float(x), float(y), float(x + mask.shape[1]), float(y + mask.shape[0]))
    return Instance(f"class {class_index}", class_index, score, box, mask, origin)


def blob(seed: int, shape=(40, 50)) -> np.ndarray:
    """An irregular mask of one or several parts that reaches its rectangle's border."""
    noise = np.random.default_rng(seed).random(shape).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (0, 0), 4) > 0.5
    filled = np.zeros(shape, np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled.astype(np.bool_)


def prediction_of(*instances) -> Prediction:
    return Prediction(FRAME.key, SIZE, instances, "m", "00" * 32, "cpu")


def rasterised(rings) -> np.ndarray:
    """Which pixel centres lie inside, by an independent point-in-polygon test."""
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    centres = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    inside = np.zeros(len(centres), np.bool_)
    for ring in rings:
        inside |= Polygon(ring).contains_points(centres)
    return inside.reshape(SIZE[1], SIZE[0])


@pytest.mark.parametrize("seed", range(6))
def test_polygons_give_the_same_mask_back(seed):
    instance = instance_of(blob(seed), origin=(21, 13))
    assert np.array_equal(rasterised(polygons_of(instance)), full_mask(instance, SIZE))


def test_one_pixel_is_a_polygon_round_its_centre():
    (ring,) = polygons_of(instance_of(np.ones((1, 1), np.bool_), origin=(10, 20)))
    assert ring.mean(axis=0).tolist() == [10.5, 20.5]


def test_holes_are_filled():
    ring = np.ones((9, 9), np.bool_)
    ring[3:6, 3:6] = False
    instance = instance_of(ring, origin=(5, 5))
    assert rasterised(polygons_of(instance)).sum() == 81


def test_an_empty_mask_has_no_polygon():
    assert polygons_of(instance_of(np.zeros((5, 5), np.bool_))) == []


def test_label_images_come_back_exactly(tmp_path):
    best = instance_of(np.ones((10, 10), np.bool_), 0, (5, 5))
    second = instance_of(np.ones((10, 10), np.bool_), 2, (10, 10), 0.5)
    prediction = prediction_of(best, second, Instance("box", 1, 0.4, (0, 0, 90, 70)))
    write_label_png(prediction, tmp_path / "000000.png")
    back = cv2.imread(str(tmp_path / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert back.shape == (70, 90)
    assert np.array_equal(back, label_image(prediction))
    assert (back[5:15, 5:15] == 1).all()  # the surer one keeps the overlap
    assert back[19, 19] == 3
    assert set(np.unique(back)) == {0, 1, 3}


def test_what_a_label_image_loses_is_known_and_coco_has_each_outline_whole():
    square = np.ones((10, 10), np.bool_)
    sure, covered = instance_of(square, 0, (5, 5)), instance_of(square, 2, (10, 10), 0.5)
    both = prediction_of(sure, covered)
    assert labels_overlap(both)
    assert (label_image(both) == 3).sum() == 75  # of 100
    document = coco_document([("a.png", both)], ["x", "y", "z"])
    for annotation, instance in zip(document["annotations"], both.instances, strict=True):
        rings = [np.reshape(ring, (-1, 2)) for ring in annotation["segmentation"]]
        assert np.array_equal(rasterised(rings), full_mask(instance, SIZE))


def test_the_same_label_twice_and_labels_side_by_side_lose_nothing():
    square = np.ones((10, 10), np.bool_)
    twice = prediction_of(instance_of(square, 1, (5, 5)), instance_of(square, 1, (10, 10)))
    beside = prediction_of(instance_of(square, 0, (5, 5)), instance_of(square, 1, (15, 5)))
    boxes = prediction_of(instance_of(square), Instance("box", 1, 0.4, (0, 0, 90, 70)))
    assert not any(map(labels_overlap, (twice, beside, boxes, prediction_of())))


def test_too_many_classes_for_a_byte():
    with pytest.raises(UserError, match="255 classes"):
        label_image(prediction_of(instance_of(np.ones((2, 2), np.bool_), 255)))


def test_coco_comes_back():
    instance = instance_of(blob(1), 1, (21, 13))
    content = json.loads(
        json.dumps(coco_document([("a.png", prediction_of(instance)), ("b.png", prediction_of())], ["x", "y"]))
    )
    assert content["images"][0] == {"id": 1, "file_name": "a.png", "width": 90, "height": 70}
    assert content["categories"] == [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
    (annotation,) = content["annotations"]
    assert (annotation["image_id"], annotation["category_id"]) == (1, 2)
    rings = [np.reshape(ring, (-1, 2)) for ring in annotation["segmentation"]]
    mask = full_mask(instance, SIZE)
    assert np.array_equal(rasterised(rings), mask)
    assert annotation["area"] == mask.sum()
    rows, columns = np.nonzero(mask)
    x, y, width, height = annotation["bbox"]
    assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_yolo_comes_back(tmp_path):
    instance = instance_of(blob(2), 1, (21, 13))
    write_yolo(prediction_of(instance), tmp_path / "a.txt")
    rings = []
    for line in (tmp_path / "a.txt").read_text().splitlines():
        class_index, *numbers = line.split()
        assert class_index == "1"
        rings.append(np.reshape([float(number) for number in numbers], (-1, 2)) * SIZE)
    assert np.array_equal(rasterised(rings), full_mask(instance, SIZE))


def test_a_detectors_box_is_centre_and_size():
    lines = yolo_lines(prediction_of(Instance("falx", 2, 0.5, (9.0, 7.0, 45.0, 35.0))))
    assert lines == ["2 0.300000 0.300000 0.400000 0.400000"]


def test_a_picture_with_nothing_has_an_empty_file(tmp_path):
    write_yolo(prediction_of(), tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b""


# --- the corrections of a clip ----------------------------------------------------------------------------------------

CLIP_SIZE = (320, 240)


def pairs(count: int = 2, certain: bool = True) -> Iterator[tuple[Frame, Prediction]]:
    geometry = scaled_geometry(*CLIP_SIZE, sector=fan(*CLIP_SIZE, certain=certain))
    for index in range(count):
        pixels = np.full((240, 320, 3), 60 + index, np.uint8)
        frame = make_frame(pixels, "clip", index * 10, index * 0.4, geometry=geometry)
        mask = fill_outline(circle((160.0, 120.0), 20.0 + index), CLIP_SIZE)
        edit = edit_of(mask, frame.key.digest, 0, "aorta", 0)
        yield frame, edited_prediction(aorta_reading(frame.key), edit, CLIP_SIZE)


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
    assert coco["info"]["research_use"] == RESEARCH_USE
    assert coco["info"]["surroundings"] == "Blanked outside the ultrasound"


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    export_corrections(tmp_path, "x", pairs(1), ("aorta",))
    folder, _, _ = export_corrections(tmp_path, "x", pairs(1), ("aorta",))
    assert folder.name == "x-2"


def test_an_uncertain_sector_is_said(tmp_path: Path) -> None:
    folder, _, said = export_corrections(tmp_path, "x", pairs(1, certain=False), ("aorta",))
    assert "look for names" in said
    assert json.loads((folder / "coco.json").read_text())["info"]["surroundings"] == said


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[Frame, Prediction]]:
        yield next(pairs(1))
        raise UserError("Frame 11 of sweep is damaged", "Choose another frame")

    with pytest.raises(UserError, match="damaged"):
        export_corrections(tmp_path, "x", failing(), ("aorta",))
    with pytest.raises(UserError, match="Nothing was corrected"):
        export_corrections(tmp_path, "x", iter(()), ("aorta",))
    assert not list(tmp_path.iterdir())


def test_a_set_whose_labels_overlap_says_so(tmp_path: Path) -> None:
    ((frame, prediction),) = pairs(1)
    folder, _, _ = export_corrections(tmp_path, "one", [(frame, prediction)], ("aorta",))
    assert "note" not in json.loads((folder / "coco.json").read_text())["info"]
    (outline,) = prediction.instances
    both = replace(prediction, instances=(outline, replace(outline, label="wall", class_index=1)))
    folder, _, _ = export_corrections(tmp_path, "both", [(frame, both)], ("aorta", "wall"))
    coco = json.loads((folder / "coco.json").read_text())
    assert "coco.json has the outline of each whole" in coco["info"]["note"]
    assert [annotation["category_id"] for annotation in coco["annotations"]] == [1, 2]
