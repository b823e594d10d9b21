"""Real pictures as material of simulated scenes: tissue to be warped under them, and vessels to be transplanted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from models.training.data.simulate.anatomy import TextureBank
from models.training.data.simulate.physics import Map
from models.training.data.simulate.scenes import Donor
from models.training.data.sources import Gray, TrainImage, content_box, list_images, read_gray, read_vessel_mask

TEXTURE_PX = 300


def to_level_db(gray: Gray, range_db: float = 48.0) -> Map:
    """Gray levels as echo levels around zero; black is cut so that a shadow leaves room for a darker lumen."""
    middle = float(np.median(gray[gray > 12])) if (gray > 12).any() else 60.0
    return np.clip((gray.astype(np.float32) - middle) / 255 * range_db, -14, 24).astype(np.float32)


def despeckle(gray: Gray) -> Gray:
    """Structure without speckle: the simulation adds its own."""
    return np.asarray(cv2.bilateralFilter(cv2.medianBlur(gray, 5), 7, 35, 3), np.uint8)


def load_texture(image: TrainImage) -> Map:
    """A real picture as tissue, its vessels painted over: an unlabelled vessel would contradict the labels."""
    gray, vessels = read_gray(image.path), read_vessel_mask(image)
    x0, y0, x1, y1 = content_box(gray)
    scale = TEXTURE_PX / max(1, min(x1 - x0, y1 - y0))
    small = cv2.resize(gray[y0:y1, x0:x1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if vessels is not None and vessels.any():
        hole = cv2.resize(vessels[y0:y1, x0:x1], (small.shape[1], small.shape[0]), interpolation=cv2.INTER_NEAREST)
        small = cv2.inpaint(small, cv2.dilate(hole, np.ones((9, 9), np.uint8)), 5, cv2.INPAINT_TELEA)
    return to_level_db(despeckle(np.asarray(small, np.uint8)))


def load_donor(image: TrainImage) -> Donor | None:
    """The one round vessel of a picture with its surroundings, or None where there is no such vessel."""
    mask = read_vessel_mask(image)
    if mask is None:
        return None
    count, _, stats, centres = cv2.connectedComponentsWithStats(mask)
    if count != 2:
        return None
    _, _, width, height, area = stats[1]
    if area < 900 or not 0.55 < width / height < 1.8 or area < 0.68 * width * height:
        return None
    if image.kind == "carotid":  # these outlines lie slightly outside the lumen
        mask = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))).astype(np.uint8)
    gray = np.asarray(cv2.medianBlur(read_gray(image.path), 3), np.uint8)
    level = np.clip(to_level_db(gray, 55.0), -30, 26).astype(np.float32)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2.0).astype(np.float32)
    return Donor(level, soft, (float(centres[1][0]), float(centres[1][1])), 2 * float(np.sqrt(area / np.pi)))


def load_bank(data_dir: Path, fetal_images: int = 160, most: int | None = None) -> TextureBank:
    """Textures of every training exam; of the many fetal ones an even choice, so that skulls do not dominate."""
    images = list_images(data_dir, held_out=False)
    chosen = [image for image in images if image.kind in {"carotid", "nerve"}]
    fetal = [image for image in images if image.kind == "fetal_head"]
    chosen += fetal[:: max(1, len(fetal) // max(1, fetal_images))]
    return TextureBank([load_texture(image) for image in thinned(chosen, most)])


def load_donors(data_dir: Path, most: int | None = None) -> list[Donor]:
    """Every usable real vessel of the training exams."""
    images = [image for image in list_images(data_dir, held_out=False) if image.mask_path]
    donors = (load_donor(image) for image in thinned(images, most))
    return [donor for donor in donors if donor is not None]


def thinned(images: list[TrainImage], most: int | None) -> list[TrainImage]:
    """At most that many, evenly chosen: a short trial run must not read every picture."""
    return images if most is None else images[:: -(-len(images) // most)]
