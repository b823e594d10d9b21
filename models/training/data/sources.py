"""The real images that training may use, and the fixed fifth of them that it may not.

Only rows marked *train* in the data folder's README are listed here (all CC BY 4.0). An exam lands in
the hold-out by a hash of its own name, so the split never depends on order, platform or file count.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]

HOLD_OUT_FOLDS = 5
"""One exam in this many is kept out of all training."""


SAME_PATIENT = {"Patient00799": "Patient00786", "Patient00790": "Patient00778"}
"""Numbers of patients in the Spanish set that stand for another number's patient: they share pictures."""


@dataclass(frozen=True)
class TrainImage:
    """One real image with the exam it belongs to; `mask_path` where the set outlines vessels."""

    kind: str
    exam: str
    path: Path
    mask_path: Path | None = None


def is_held_out(kind: str, exam: str) -> bool:
    """True when this exam belongs to the fixed fifth that no aorta training may see."""
    digest = hashlib.sha1(f"{kind}/{exam}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % HOLD_OUT_FOLDS == 0


def exam_of(kind: str, stem: str) -> str:
    """The exam or patient id in a file's stem: what must never be split between train and test."""
    if kind == "carotid":
        return stem.split("VAS")[0]
    if kind in {"fetal_head", "fetal_brain", "fetal_plane"}:
        # HC18 repeats of one exam are written 010_HC, 010_2HC; both sets on HC18 hold the same patients. The planes
        # are written Patient00188_Plane5_1_of_1; the brains of that origin are of the same patients.
        exam = stem.split("_")[0]
        return SAME_PATIENT.get(exam, exam)
    if kind == "muscle":
        return muscle_of(stem)
    return stem


def muscle_of(stem: str) -> str:
    """Who or what a picture of the TimTrack examples shows: a subject of sets 1 and 3, a sample of set 4, all of set 2.

    Recordings of one subject hardly differ.
    """
    found = re.match(r"(dataset_1_S\d+|dataset_2|dataset_3)(?:.*_(p\d+)_)?|(dataset_4_Sample[AB])", stem)
    return "_".join(part for part in found.groups() if part) if found else stem


def hold_out_kind(kind: str) -> str:
    """The name under which a kind is hashed: two fetal sets are HC18, so they share one split."""
    return "fetal" if kind in {"fetal_head", "fetal_brain"} else kind


def list_images(data_dir: Path, *, held_out: bool) -> list[TrainImage]:
    """Every train-licence image on the asked side of the split, in a fixed order."""
    found = [image for image in _all_images(data_dir) if is_held_out(hold_out_kind(image.kind), image.exam) is held_out]
    return sorted(found, key=lambda image: (image.kind, image.path.name))


def _all_images(data_dir: Path) -> list[TrainImage]:
    images: list[TrainImage] = []
    for kind, folder, mask_folder in (
        ("carotid", "carotid_ccaui/images", "carotid_ccaui/masks"),
        ("nerve", "nerve_usgra/images", "nerve_usgra/masks"),
        ("fetal_head", "fetal_head_hc18/train", None),
        ("fetal_brain", "fetal_brain_boxes/train/images", None),
        ("fetal_brain", "fetal_brain_boxes/valid/images", None),
        ("fetal_plane", "fetal_planes_spain", None),
        ("muscle", "muscle_timtrack", None),
    ):
        for path in sorted((data_dir / folder).glob("*")):
            if path.suffix.lower() in {".png", ".jpg", ".jpeg"}:
                mask = data_dir / mask_folder / path.name if mask_folder else None
                images.append(TrainImage(kind, exam_of(kind, path.stem), path, mask))
    return images


def read_gray(path: Path) -> Gray:
    """A file as 8-bit gray."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise FileNotFoundError(f"cannot read the image {path}")
    return np.asarray(image, np.uint8)


def read_vessel_mask(image: TrainImage) -> Gray | None:
    """Vessel mask (0 or 1) of a carotid or nerve image; None where the set has none."""
    if image.mask_path is None or not image.mask_path.exists():
        return None
    mask = read_gray(image.mask_path)
    # Carotid masks are 0/1; nerve masks are 1 nerve, 2 vessel.
    return np.asarray(mask > 0 if image.kind == "carotid" else mask == 2, np.uint8)


def content_box(image: Gray, threshold: int = 6) -> tuple[int, int, int, int]:
    """Bounding box (x0, y0, x1, y1) of the largest bright part: what the sector crop will see."""
    closed = cv2.morphologyEx((image > threshold).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(closed)
    if count < 2:
        return 0, 0, image.shape[1], image.shape[0]
    x, y, w, h = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), :4]
    return int(x), int(y), int(x + w), int(y + h)


def letterbox(image: Gray, size_px: int) -> Gray:
    """Resize into a square with the aspect ratio kept and black, centred padding."""
    height, width = image.shape
    scale = size_px / max(height, width)
    new_w, new_h = max(1, round(width * scale)), max(1, round(height * scale))
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((size_px, size_px), np.uint8)
    x0, y0 = (size_px - new_w) // 2, (size_px - new_h) // 2
    canvas[y0 : y0 + new_h, x0 : x0 + new_w] = cv2.resize(image, (new_w, new_h), interpolation=mode)
    return canvas
