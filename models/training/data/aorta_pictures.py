"""From raw folders to arrays on disk: textures, donors, rendered scenes, real negatives; and augmentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.training.data.simulate import physics, screen
from models.training.data.simulate.anatomy import TextureBank
from models.training.data.simulate.scenes import Donor, random_scene
from models.training.data.sources import TrainImage, content_box, letterbox, list_images, read_gray, read_vessel_mask

Gray = NDArray[np.uint8]
Map = NDArray[np.float32]

TEXTURE_PX = 300
TRIAL = 100
"""Up to this many scenes it is a trial of the recipe, which reads a handful of pictures only."""
BLOCK = 250
"""Scenes rendered by one job: small enough to share out evenly over the cores, and to resume after a stop."""


# ----------------------------------------------------------------------------------------- real pictures


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
    return TextureBank([load_texture(image) for image in _thinned(chosen, most)])


def load_donors(data_dir: Path, most: int | None = None) -> list[Donor]:
    """Every usable real vessel of the training exams."""
    images = [image for image in list_images(data_dir, held_out=False) if image.mask_path]
    donors = (load_donor(image) for image in _thinned(images, most))
    return [donor for donor in donors if donor is not None]


def _thinned(images: list[TrainImage], most: int | None) -> list[TrainImage]:
    """At most that many, evenly chosen: a short trial run must not read every picture."""
    return images if most is None else images[:: -(-len(images) // most)]


def real_negative(rng: Generator, gray: Gray) -> Gray:
    """A real picture without an aorta, cropped to its content with a jittered border, or a window of it."""
    x0, y0, x1, y1 = content_box(gray)
    width, height = x1 - x0, y1 - y0
    kind = rng.random()
    if kind < 0.1:
        return letterbox(gray, physics.SCENE_PX)
    if kind < 0.3:  # a window: what zoom leaves
        share = rng.uniform(0.55, 0.95)
        x0 += int(rng.uniform(0, 1 - share) * width)
        y0 += int(rng.uniform(0, 1 - share) * height)
        x1, y1 = x0 + max(32, int(share * width)), y0 + max(32, int(share * height))
    return letterbox(np.ascontiguousarray(gray[max(0, y0) : y1, max(0, x0) : x1]), physics.SCENE_PX)


def fan_warped_negative(rng: Generator, gray: Gray) -> Gray:
    """A linear-array picture bent into a shallow fan: shape of the field alone must not make an aorta."""
    fan = physics.random_fan(rng)
    canvas = physics.new_canvas(fan)
    x0, y0, x1, y1 = content_box(gray)
    polar = cv2.resize(gray[y0:y1, x0:x1], (physics.BEAMS, physics.DEPTH_SAMPLES), interpolation=cv2.INTER_AREA)
    picture, _ = screen.scan_convert(canvas, polar.astype(np.float32), physics.whole_view(rng, fan))
    return picture


# --------------------------------------------------------------------------------------------- rendering


@dataclass(frozen=True)
class SceneSet:
    """Rendered scenes: images and masks [N, CANVAS_PX, CANVAS_PX] uint8, lumen diameters in mm (0: none)."""

    images: Gray
    masks: Gray
    lumen_mm: Map
    mm_per_px: Map

    def __len__(self) -> int:
        return len(self.images)


_worker: tuple[TextureBank, list[Donor]] | None = None


def _start_worker(data_dir: Path, most: int | None) -> None:
    global _worker  # each process loads the textures once, not with every job
    cv2.setNumThreads(1)
    _worker = (load_bank(data_dir, most=most), load_donors(data_dir, most))


def _render_block(seed: int, block: int, count: int, folder: Path) -> Path:
    """Render one block of scenes to disk, unless it is there already."""
    path = folder / f"scenes-{seed}-{block:04d}.npz"
    if path.exists():
        return path
    assert _worker is not None
    bank, donors = _worker
    rng = np.random.default_rng((seed, block))
    scenes = [random_scene(rng, bank, donors) for _ in range(count)]
    aside = path.with_suffix(".tmp.npz")
    np.savez(
        aside,
        images=np.stack([s.image for s in scenes]),
        masks=np.packbits(np.stack([s.mask for s in scenes]), axis=-1),
        lumen_mm=np.array([s.lumen_mm for s in scenes], np.float32),
        mm_per_px=np.array([s.mm_per_px for s in scenes], np.float32),
    )
    aside.rename(path)
    return path


def render_scenes(data_dir: Path, folder: Path, count: int, seed: int, jobs: int | None = None) -> SceneSet:
    """`count` scenes of that seed, rendered on all cores and kept in `folder` for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [min(BLOCK, count - start) for start in range(0, count, BLOCK)]
    workers = min(jobs or os.cpu_count() or 1, len(sizes))
    most = None if count > TRIAL else 12
    with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(data_dir, most)) as pool:
        tasks = [pool.submit(_render_block, seed, block, size, folder) for block, size in enumerate(sizes)]
        paths = [task.result() for task in tasks]
    return load_scenes(paths)


def load_scenes(paths: Sequence[Path]) -> SceneSet:
    """Rendered blocks, joined."""
    blocks = [np.load(path) for path in paths]
    return SceneSet(
        np.concatenate([b["images"] for b in blocks]),
        np.concatenate([np.unpackbits(b["masks"], axis=-1) for b in blocks]),
        np.concatenate([b["lumen_mm"] for b in blocks]),
        np.concatenate([b["mm_per_px"] for b in blocks]),
    )


def held_out_negatives(data_dir: Path, most: int | None = None) -> Gray:
    """The held-out real pictures [N, CANVAS_PX, CANVAS_PX], each once, letterboxed as the viewer would do it."""
    images = _thinned(list_images(data_dir, held_out=True), most)
    return np.stack([letterbox(_cropped(read_gray(image.path)), physics.SCENE_PX) for image in images])


def real_negatives(data_dir: Path, count: int, seed: int) -> Gray:
    """Real pictures of training exams without an aorta [N, CANVAS_PX, CANVAS_PX], in fixed shares of the kinds."""
    images = list_images(data_dir, held_out=False)
    rng = np.random.default_rng(seed)
    pools = [[i for i in images if i.kind == kind] for kind in ("carotid", "nerve", "fetal_head", "fetal_brain")]
    shares = np.array([0.35, 0.3, 0.28, 0.07])
    pictures = []
    for _ in range(count):
        pool = pools[int(rng.choice(len(pools), p=shares))]
        image = pool[int(rng.integers(len(pool)))]
        gray = read_gray(image.path)
        bend = image.kind == "nerve" and rng.random() < 0.15
        pictures.append(fan_warped_negative(rng, gray) if bend else real_negative(rng, gray))
    return np.stack(pictures)


def _cropped(gray: Gray) -> Gray:
    x0, y0, x1, y1 = content_box(gray)
    return np.ascontiguousarray(gray[y0:y1, x0:x1])


def with_negatives(scenes: SceneSet, negatives: Gray) -> SceneSet:
    """Scenes followed by pictures with empty masks."""
    zeros = np.zeros(len(negatives), np.float32)
    return SceneSet(
        np.concatenate([scenes.images, negatives]),
        np.concatenate([scenes.masks, np.zeros_like(negatives)]),
        np.concatenate([scenes.lumen_mm, zeros]),
        np.concatenate([scenes.mm_per_px, zeros + 1]),
    )


# ------------------------------------------------------------------------------------------ augmentation

FADE_SHARE = 0.5
"""How often a vessel of ordinary size is made fainter than it was rendered."""


def augment(rng: Generator, image: Gray, mask: Gray, size_px: int) -> tuple[Gray, Gray]:
    """One varied copy at the network's size: place, scale, turn; then tone, blur, noise and compression."""
    image, mask = _move(rng, image, mask, size_px)
    if mask.any() and rng.random() < FADE_SHARE:
        image = fade_lumen(rng, image, mask)
    return _tone(rng, image), mask


def fade_lumen(rng: Generator, image: Gray, mask: Gray) -> Gray:
    """Raise a lumen towards the gray around it, with a soft border: faint vessels are the ones that get missed.

    Large lumens are left alone: a giant that hardly differs from its surroundings teaches plain blobs.
    """
    size_px = float(np.sqrt(mask.sum()))
    if size_px > 0.17 * image.shape[0]:
        return image
    width = max(2, round(0.3 * size_px))
    ring = cv2.dilate(mask, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > mask
    inside, around = float(np.median(image[mask > 0])), float(np.median(image[ring]))
    # What stays visible: a tenth of the brightness around it, and a few gray levels.
    most = 1 - max(0.10 * (around + 8), 4.0) / max(around - inside, 1e-3)
    if most <= 0:
        return image
    weight = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(0.03, 0.12) * size_px + 0.5)
    lift = rng.uniform(0.3, 1.0) * most * (around - inside) * weight
    if rng.random() < 0.5:  # haze fills one side more than the other
        rows, cols = np.indices(mask.shape, np.float32)
        turn = rng.uniform(0, 2 * np.pi)
        ramp = (
            np.cos(turn) * (cols - np.nonzero(mask)[1].mean()) + np.sin(turn) * (rows - np.nonzero(mask)[0].mean())
        ) / size_px
        lift = lift * np.clip(1 + rng.uniform(0, 0.8) * ramp, 0, 1)
    return np.clip(image + lift, 0, 255).astype(np.uint8)


def _move(rng: Generator, image: Gray, mask: Gray, size_px: int) -> tuple[Gray, Gray]:
    side = image.shape[0]
    zoom = size_px / side * float(np.exp(rng.normal(0.0, 0.14)))
    if rng.random() < 0.1:  # a whole screen: the fan is a part of it
        zoom *= rng.uniform(0.6, 0.9)
    elif mask.any() and rng.random() < 0.25:  # a zoomed view
        zoom *= rng.uniform(1.1, 1.8)
    turn = rng.normal(0, 0.10)
    squeeze = float(np.exp(rng.normal(0, 0.06)))
    # Mirrored probes exist, but the vena cava's side is a cue worth keeping.
    flip = -1.0 if rng.random() < 0.12 else 1.0
    a, b = zoom * np.cos(turn), zoom * np.sin(turn)
    matrix = np.array([[flip * a * squeeze, -b, 0], [flip * b * squeeze, a, 0]], np.float64)
    focus = np.array([side / 2, side / 2])
    if mask.any() and zoom > size_px / side * 1.15:  # zooming follows the vessel
        rows, cols = np.nonzero(mask)
        pull = rng.uniform(0.4, 1.0)
        focus = (1 - pull) * focus + pull * np.array([cols.mean(), rows.mean()])
    # A vessel may lie anywhere: without the larger shifts the network looks for it in the middle only.
    jitter = rng.normal(0, 0.03 if rng.random() < 0.7 else 0.12, 2) * size_px
    matrix[:, 2] = size_px / 2 - matrix[:, :2] @ focus + jitter
    mode = cv2.INTER_AREA if zoom < 0.7 else cv2.INTER_LINEAR
    moved = cv2.warpAffine(
        image, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR if mode == cv2.INTER_LINEAR else mode
    )
    truth = cv2.warpAffine(mask * 255, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR) > 127
    return np.asarray(moved, np.uint8), truth.astype(np.uint8)


def _tone(rng: Generator, image: Gray) -> Gray:
    if rng.random() < 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4)), np.uint8)
    curve = np.linspace(0, 1, 256) ** float(np.exp(rng.normal(0.05, 0.33)))
    curve = curve * float(np.exp(rng.normal(-0.22, 0.28))) + rng.normal(0, 0.02)
    if rng.random() < 0.04:
        curve = curve * 0.35
    black = float(np.clip(curve[0], 0, 0.1)) if rng.random() < 0.1 else 0.0
    curve[0] = black
    image = np.asarray(cv2.LUT(image, np.clip(curve * 255, 0, 255).astype(np.uint8)), np.uint8)
    size = image.shape[0]
    if rng.random() < 0.35:  # uneven gain
        field = np.exp(rng.uniform(0.05, 0.3) * physics.smooth_noise(rng, (size, size), (4, 4)))
        image = np.clip(image * field, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:  # speckle-like noise, only where there is signal
        grain = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), rng.uniform(0.3, 1.0))
        image = np.clip(image * (1 + rng.uniform(0.05, 0.35) * grain), 0, 255).astype(np.uint8)
    if rng.random() < 0.15:  # small video
        small = cv2.resize(image, None, fx=(k := rng.uniform(0.4, 0.8)), fy=k, interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.2:
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)
    return image


def batches(
    scenes: SceneSet, batch: int, size_at: Callable[[int], int], seed: int, first_step: int
) -> Iterator[tuple[Gray, Gray]]:
    """Endless augmented batches ([B, 1, S, S] each). Step n is the same whatever ran before: training can resume."""
    step = first_step
    per_epoch = max(1, len(scenes) // batch)
    while True:
        epoch, within = divmod(step, per_epoch)
        order = np.random.default_rng((seed, epoch)).permutation(len(scenes))
        rng = np.random.default_rng((seed, 7, step))
        chosen = [int(order[(within * batch + k) % len(scenes)]) for k in range(batch)]
        pairs = [augment(rng, scenes.images[i], scenes.masks[i], size_at(step)) for i in chosen]
        yield np.stack([p[0] for p in pairs])[:, None], np.stack([p[1] for p in pairs])[:, None]
        step += 1
