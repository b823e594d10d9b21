"""Adapters: what they read from folders made here, and from the real ones."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as run_lengths

from models.training.data import sources
from usviewer.errors import UserError
from usviewer.evaluate.datasets import DatasetKind, DatasetOptions, open_dataset
from usviewer.evaluate.datasets.dataset import EllipseTruth, hc18_exam, is_held_out, read_label_image
from usviewer.units import ScaleSource, isotropic


def noise(width: int = 128, height: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (height, width), dtype=np.uint8)


def write_pair(folder: Path, stem: str, mask: np.ndarray) -> None:
    for part, picture in (("images", noise(mask.shape[1], mask.shape[0])), ("masks", mask)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / part / f"{stem}.png"), picture)


def square(value: int = 1) -> np.ndarray:
    mask = np.zeros((96, 128), np.uint8)
    mask[20:50, 30:70] = value
    return mask


# --- the ellipse ------------------------------------------------------------------------------------------------------


def test_ellipse_extents_match_the_checked_vectors() -> None:
    # docs/clinical.md, "The diameter from a mask": semi-axes 36 and 30 turned by 0, 20 and 45 degrees.
    for angle, expected in ((0, 60.00), (20, 61.52), (45, 66.27)):
        assert EllipseTruth((100, 100), 36, 30, angle).extent_px() == pytest.approx(expected, abs=0.005)
    assert EllipseTruth((100, 100), 36, 30, 0).extent_px((1.0, 0.0)) == pytest.approx(72)


def test_ellipse_mask_has_its_area_centre_and_extent() -> None:
    ellipse = EllipseTruth((60.3, 51.7), 30, 20, 30)
    mask = ellipse.mask(128, 96)
    rows, columns = np.nonzero(mask)
    assert mask.sum() == pytest.approx(math.pi * 30 * 20, rel=0.005)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((60.3, 51.7), abs=0.05)
    assert 4 * math.sqrt(rows.var() + 1 / 12) == pytest.approx(ellipse.extent_px(), abs=0.15)
    assert rows.min() > 0 and np.corrcoef(rows, columns)[0, 1] > 0  # turned from x towards y, which points down


def test_circumference_matches_the_checked_vectors() -> None:
    for a, b, expected in ((50, 50, 314.1593), (60, 45, 331.5524), (57.5, 45, 323.2116)):
        assert EllipseTruth((0, 0), a, b, 0).circumference_px == pytest.approx(expected, abs=1e-3)


# --- held out ---------------------------------------------------------------------------------------------------------


def test_held_out_rule_is_that_of_the_training() -> None:
    exams = [f"{number:03d}" for number in range(400)]
    for kind in ("carotid", "nerve", "fetal"):
        ours = [is_held_out(kind, exam) for exam in exams]
        assert ours == [sources.is_held_out(kind, exam) for exam in exams]
        assert 50 < sum(ours) < 110
    assert hc18_exam("010_2HC") == sources.exam_of("fetal_head", "010_2HC") == "010"


def test_held_out_pictures_are_those_that_training_leaves_out(data: Path) -> None:
    for folder, kind in (("carotid_ccaui", "carotid"), ("nerve_usgra", "nerve"), ("fetal_brain_boxes", "fetal_brain")):
        dataset = open_dataset(str(data / folder), DatasetOptions(held_out=True))
        kept = [image for image in sources.list_images(data, held_out=True) if image.kind == kind]
        assert dataset.count == len(kept) > 0


# --- label images -----------------------------------------------------------------------------------------------------


def test_masks_of_a_users_folder(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", square(255))
    write_pair(tmp_path, "b", np.zeros((96, 128), np.uint8))
    (tmp_path / "images" / "no-mask.png").write_bytes((tmp_path / "images" / "a.png").read_bytes())
    dataset = open_dataset(str(tmp_path), DatasetOptions())
    assert (dataset.kind, dataset.labels, dataset.named, dataset.count) == (DatasetKind.MASKS, ("class 1",), False, 2)
    first, second = dataset.samples()
    assert first.truth.masks["class 1"].sum() == 30 * 40 and not second.truth.masks["class 1"].any()
    assert first.frame.pixels.shape == (96, 128, 3) and first.name == "a.png"


def test_several_classes_are_separate_masks(tmp_path: Path) -> None:
    mask = square(1)
    mask[60:70, 30:70] = 2
    write_pair(tmp_path, "a", mask)
    (sample,) = open_dataset(str(tmp_path), DatasetOptions()).samples()
    assert {name: int(m.sum()) for name, m in sample.truth.masks.items()} == {"class 1": 1200, "class 2": 400}


@pytest.mark.parametrize("every, limit, expected", [(1, None, "abcdef"), (2, None, "ace"), (1, 2, "ab"), (4, 1, "a")])
def test_every_and_limit(tmp_path: Path, every: int, limit: int | None, expected: str) -> None:
    for stem in "abcdef":
        write_pair(tmp_path, stem, square())
    dataset = open_dataset(str(tmp_path), DatasetOptions(every=every, limit=limit))
    assert "".join(sample.name[0] for sample in dataset.samples()) == expected
    assert dataset.count == len(expected)


def test_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", square())
    cv2.imwrite(str(tmp_path / "images" / "a.png"), noise(64, 64))
    with pytest.raises(UserError, match="not as large as its picture"):
        list(open_dataset(str(tmp_path), DatasetOptions()).samples())


def test_colour_or_deep_masks_are_refused(tmp_path: Path) -> None:
    colour, deep = tmp_path / "colour.png", tmp_path / "deep.png"
    cv2.imwrite(str(colour), np.dstack([square(10), square(20), square(30)]))
    cv2.imwrite(str(deep), square().astype(np.uint16))
    for path in (colour, deep):
        with pytest.raises(UserError, match="label image"):
            read_label_image(path)


def test_negatives_empty_the_truth(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", square())
    dataset = open_dataset(str(tmp_path), DatasetOptions(negatives=True))
    assert dataset.kind is DatasetKind.NEGATIVES
    assert [dict(sample.truth.masks) for sample in dataset.samples()] == [{}]


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_yolo_boxes_in_pixels(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / "train" / part).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train" / "images" / "x.png"), noise())
    (tmp_path / "train" / "labels" / "x.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    dataset = open_dataset(str(tmp_path), DatasetOptions())
    assert (dataset.kind, dataset.labels, dataset.named) == (DatasetKind.BOXES, ("class 1", "class 2"), False)
    (sample,) = dataset.samples()
    (box,) = sample.truth.boxes
    assert (box.class_index, box.box_xyxy_px) == (1, (48.0, 24.0, 80.0, 72.0))


@pytest.mark.parametrize("text", ["0 0.5 0.5 0.1", "a b c d e", "-1 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1 0.1 0.9"])
def test_broken_yolo_labels_are_refused(tmp_path: Path, text: str) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "x.png"), noise())
    (tmp_path / "labels" / "x.txt").write_text(text)
    with pytest.raises(UserError, match="does not hold YOLO boxes"):
        open_dataset(str(tmp_path), DatasetOptions())


def test_coco_polygons(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "x.png"), noise())
    polygon = [30, 20, 70, 20, 70, 50, 30, 50]
    table = {
        "images": [{"id": 7, "file_name": "x.png"}],
        "categories": [{"id": 3, "name": "ovary"}],
        "annotations": [{"image_id": 7, "category_id": 3, "segmentation": [polygon], "bbox": [30, 20, 40, 30]}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(table))
    dataset = open_dataset(str(tmp_path), DatasetOptions())
    (sample,) = dataset.samples()
    assert (dataset.kind, dataset.labels) == (DatasetKind.MASKS, ("ovary",))
    assert (sample.truth.masks["ovary"] == (square() > 0)).mean() > 0.99
    assert sample.truth.boxes[0].box_xyxy_px == (30.0, 20.0, 70.0, 50.0)


@pytest.mark.parametrize("counts", ["compressed", "list"])
def test_coco_run_lengths(tmp_path: Path, counts: str) -> None:
    mask = square()
    packed = run_lengths.encode(np.asfortranarray(mask))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel(order="F"), [0]])))
    plain = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    said = {"size": [96, 128], "counts": packed["counts"].decode() if counts == "compressed" else plain}
    cv2.imwrite(str(tmp_path / "x.png"), noise())
    table = {
        "images": [{"id": 1, "file_name": "x.png"}],
        "categories": [{"id": 1, "name": "ovary"}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": said, "bbox": [30, 20, 40, 30]}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(table))
    (sample,) = open_dataset(str(tmp_path), DatasetOptions()).samples()
    assert np.array_equal(sample.truth.masks["ovary"], mask > 0)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a labelled data set"):
        open_dataset(str(tmp_path), DatasetOptions())
    with pytest.raises(UserError, match="There is no"):
        open_dataset(str(tmp_path / "nowhere"), DatasetOptions())
    write_pair(tmp_path / "empty", "a", np.zeros((96, 128), np.uint8))
    with pytest.raises(UserError, match="All masks of this folder are empty"):
        open_dataset(str(tmp_path / "empty"), DatasetOptions())
    write_pair(tmp_path / "own", "a", square())
    with pytest.raises(UserError, match="took no part in training"):
        open_dataset(str(tmp_path / "own"), DatasetOptions(held_out=True))


@pytest.mark.parametrize(
    "uri", ["phantom:population?count=0", "phantom:population?size=3", "phantom:population?count=x"]
)
def test_bad_populations_are_refused(uri: str) -> None:
    with pytest.raises(UserError):
        open_dataset(uri, DatasetOptions())


# --- phantom ----------------------------------------------------------------------------------------------------------


def test_phantom_population_is_the_same_each_time_and_knows_its_diameter() -> None:
    dataset = open_dataset("phantom:population?count=1", DatasetOptions())
    first, again = list(dataset.samples()), list(dataset.samples())
    assert dataset.count == 1 and [s.frame.key.digest for s in first] == [s.frame.key.digest for s in again]
    for sample in first:
        length = sample.truth.lengths["ap_diameter"]
        rows = np.nonzero(sample.truth.masks["aorta"].any(axis=1))[0]
        assert length.mm is not None and 12 < length.mm < 75
        assert length.px == pytest.approx(len(rows), abs=0.03 * len(rows) + 1)


# --- the real sets ----------------------------------------------------------------------------------------------------


def test_sweep_is_in_pixels_until_somebody_gives_its_scale(data: Path) -> None:
    sweep = str(data / "aorta_sweep")
    samples = list(open_dataset(sweep, DatasetOptions(limit=3)).samples())
    assert [sample.frame.key.index for sample in samples] == [0, 1, 2]
    for sample in samples:
        length = sample.truth.lengths["ap_diameter"]
        assert length.mm is None
        assert 83 < length.px < 86  # ellipse of 49.8 x 41.6 at 9 degrees, nearly upright beam
    spacing = isotropic(0.21277, ScaleSource.USER)
    (given,) = open_dataset(sweep, DatasetOptions(limit=1, spacing=spacing)).samples()
    assert given.truth.lengths["ap_diameter"].mm == pytest.approx(given.truth.lengths["ap_diameter"].px * 0.21277)


def test_sweep_ellipses_lie_on_the_dark_lumen(data: Path) -> None:
    for sample in open_dataset(str(data / "aorta_sweep"), DatasetOptions(every=45, limit=3)).samples():
        mask = sample.truth.masks["aorta"]
        ring = cv2.dilate(mask.astype(np.uint8), np.ones((41, 41), np.uint8)).astype(bool) & ~mask
        grey = sample.frame.pixels[..., 0]
        assert grey[mask].mean() < grey[ring].mean()


def test_sweep_has_every_labelled_frame(data: Path) -> None:
    with (data / "aorta_sweep" / "ellipses.csv").open() as file:
        assert open_dataset(str(data / "aorta_sweep"), DatasetOptions()).count == len(list(csv.DictReader(file)))


def test_hc18_circumference_of_the_mask_is_that_of_the_table(data: Path) -> None:
    dataset = open_dataset(str(data / "fetal_head_hc18"), DatasetOptions(every=100))
    for sample in dataset.samples():
        length = sample.truth.lengths["head_circumference"]
        assert length.mm is not None and sample.frame.geometry is not None
        spacing = sample.frame.geometry.regions[0].spacing
        assert spacing is not None and length.px * spacing.x_mm_per_px == pytest.approx(length.mm, abs=0.3)
        assert sample.group == sample.name[:3]


def test_real_folders_are_recognised(data: Path) -> None:
    expected = {
        "carotid_ccaui": (DatasetKind.MASKS, ("carotid",), 177),
        "nerve_usgra": (DatasetKind.MASKS, ("nerve", "vessel"), 204),
        "fetal_head_hc18": (DatasetKind.MASKS, ("fetal head",), 799),
        "fetal_brain_boxes": (DatasetKind.BOXES, ("class 1", "class 2", "class 3"), 161),
    }
    for name, wanted in expected.items():
        dataset = open_dataset(str(data / name), DatasetOptions())
        assert (dataset.kind, dataset.labels, dataset.count) == wanted
        sample = next(dataset.samples())
        for mask in sample.truth.masks.values():
            assert mask.shape == (sample.frame.height_px, sample.frame.width_px)


def test_repeated_exams_share_a_group(data: Path) -> None:
    dataset = open_dataset(str(data / "fetal_brain_boxes"), DatasetOptions(limit=6))
    assert [sample.group for sample in dataset.samples()] == ["003"] * 3 + ["005"] * 3
