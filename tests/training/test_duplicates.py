"""Nothing that is in a test is in training: compared by perceptual hash over all sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.training.data.duplicates import SAME_PICTURE_BITS, hash_distances, picture_hash
from models.training.data.sources import Gray, exam_of, hold_out_kind, list_images
from usviewer.acquire import open_source
from usviewer.errors import UserError

TEST_ONLY = (
    "aorta_sweep",
    "aorta_stills",
    "clips_lung_pocovid",
    "clips_neck_sparq",
    "devices_itkpocus",
    "dicom_ultrasound",
    "prompt_breast_stu",
    "prompt_ovary_mmotu",
)
FRAMES_EACH = 3


def reduced(path: Path) -> Gray:
    """A quarter of the size: the hash looks at 64 x 64."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_4), np.uint8)


def frames_of(path: Path) -> Iterator[Gray]:
    """The first, the middle and the last frame of a file; nothing of one that is no ultrasound."""
    try:
        with open_source(str(path)) as source:
            count = source.info.frame_count or 1
            for index in sorted({0, count // 2, count - 1}):
                yield cv2.cvtColor(source.seek(index).pixels, cv2.COLOR_RGB2GRAY)
    except UserError:
        return


def test_a_copy_is_known_when_resized_and_encoded_again_and_another_picture_is_not() -> None:
    rng = np.random.default_rng(0)
    first, other = (cv2.GaussianBlur(rng.random((300, 400)).astype(np.float32), (0, 0), 9) for _ in range(2))
    pictures = [np.asarray((p - p.min()) / np.ptp(p) * 200 + 20, np.uint8) for p in (first, other)]
    packed = cv2.imencode(".jpg", cv2.resize(pictures[0], (320, 240)), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    copy = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)
    distances = hash_distances([picture_hash(copy)], [picture_hash(p) for p in pictures])[0]
    assert distances[0] < SAME_PICTURE_BITS < 60 < distances[1]


@pytest.fixture(scope="module")
def trained(data: Path) -> list[tuple[str, str, Gray]]:
    """Kind, exam and hash of every picture that any training may see, with the brains of the Spanish set."""
    images = [(i.kind, i.exam, i.path) for side in (False, True) for i in list_images(data, held_out=side)]
    brains = sorted((data / "fetal_brain_spain" / "images").glob("*.jpg"))
    images += [("fetal_plane", exam_of("fetal_plane", path.stem), path) for path in brains]
    return [(hold_out_kind(kind), exam, picture_hash(reduced(path))) for kind, exam, path in images]


@pytest.mark.data
def test_no_picture_of_a_test_set_is_in_training(data: Path, trained: list[tuple[str, str, Gray]]) -> None:
    files = [path for name in TEST_ONLY for path in sorted((data / name).rglob("*")) if path.is_file()]
    tested = [(path.name, picture_hash(gray)) for path in files for gray in frames_of(path)]
    assert len(tested) > 100
    distances = hash_distances([one for _, one in tested], [one for _, _, one in trained])
    assert [tested[k][0] for k in np.nonzero(distances.min(axis=1) <= SAME_PICTURE_BITS)[0]] == []


@pytest.mark.data
def test_copies_within_training_are_of_one_exam(trained: list[tuple[str, str, Gray]]) -> None:
    """Else a picture could be learnt from and, as its copy, be held out."""
    apart = [one for one in trained if one[0] != "nerve"]  # grouped by ``scene_groups``: a quarter is stored twice
    hashes = [one for _, _, one in apart]
    distances = hash_distances(hashes, hashes)
    pairs = zip(*np.nonzero(np.triu(distances <= SAME_PICTURE_BITS, 1)), strict=True)
    alike = [(apart[i][:2], apart[k][:2]) for i, k in pairs]
    assert alike, "the copies of HC18 in the set of boxes must be found"
    assert {pair for pair in alike if pair[0] != pair[1]} == set()
