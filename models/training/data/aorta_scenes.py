"""Scenes for the aorta, rendered once and kept on disk; and real pictures without an aorta."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from models.training.data.simulate.anatomy import TextureBank
from models.training.data.simulate.physics import (
    BEAMS,
    DEPTH_SAMPLES,
    SCENE_PX,
    Map,
    new_canvas,
    random_fan,
    whole_view,
)
from models.training.data.simulate.scenes import Donor, random_scene
from models.training.data.simulate.screen import scan_convert
from models.training.data.sources import Gray, content_box, letterbox, list_images, read_gray
from models.training.data.textures import load_bank, load_donors

TRIAL = 100
"""Up to this many scenes it is a trial of the recipe, which reads a handful of pictures only."""
TRIAL_PICTURES = 12
NEGATIVES = {
    "carotid": 0.25,
    "nerve": 0.22,
    "fetal_head": 0.15,
    "fetal_brain": 0.05,
    "fetal_plane": 0.22,
    "muscle": 0.11,
}
"""Kinds of real pictures without an aorta, and their shares."""
BLOCK = 250
"""Scenes rendered by one job: small enough to share out evenly over the cores, and to resume after a stop."""


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

    def __iter__(self) -> Iterator[tuple[Gray, Gray, float, float]]:
        """Image, mask, diameter (mm) and mm per pixel of every scene."""
        yield from zip(self.images, self.masks, self.lumen_mm, self.mm_per_px, strict=True)


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
    most = None if count > TRIAL else TRIAL_PICTURES
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


# ------------------------------------------------------------------------------------------- real negatives


def real_negative(rng: Generator, gray: Gray) -> Gray:
    """A real picture without an aorta, cropped to its content with a jittered border, or a window of it."""
    x0, y0, x1, y1 = content_box(gray)
    width, height = x1 - x0, y1 - y0
    kind = rng.random()
    if kind < 0.1:
        return letterbox(gray, SCENE_PX)
    if kind < 0.3:  # a window: what zoom leaves
        share = rng.uniform(0.55, 0.95)
        x0 += int(rng.uniform(0, 1 - share) * width)
        y0 += int(rng.uniform(0, 1 - share) * height)
        x1, y1 = x0 + max(32, int(share * width)), y0 + max(32, int(share * height))
    return letterbox(np.ascontiguousarray(gray[max(0, y0) : y1, max(0, x0) : x1]), SCENE_PX)


def fan_warped_negative(rng: Generator, gray: Gray) -> Gray:
    """A linear-array picture bent into a shallow fan: shape of the field alone must not make an aorta."""
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    x0, y0, x1, y1 = content_box(gray)
    polar = cv2.resize(gray[y0:y1, x0:x1], (BEAMS, DEPTH_SAMPLES), interpolation=cv2.INTER_AREA)
    picture, _ = scan_convert(canvas, polar.astype(np.float32), whole_view(rng, fan))
    return picture


def real_negatives(data_dir: Path, count: int, seed: int) -> Gray:
    """Real pictures of training exams without an aorta [N, CANVAS_PX, CANVAS_PX], in fixed shares of the kinds."""
    images = list_images(data_dir, held_out=False)
    rng = np.random.default_rng(seed)
    pools = [[i for i in images if i.kind == kind] for kind in NEGATIVES]
    shares = np.array(list(NEGATIVES.values()))
    pictures = []
    for _ in range(count):
        pool = pools[int(rng.choice(len(pools), p=shares))]
        image = pool[int(rng.integers(len(pool)))]
        gray = read_gray(image.path)
        bend = image.kind in {"nerve", "muscle"} and rng.random() < 0.15
        pictures.append(fan_warped_negative(rng, gray) if bend else real_negative(rng, gray))
    return np.stack(pictures)


def with_negatives(scenes: SceneSet, negatives: Gray) -> SceneSet:
    """Scenes followed by pictures with empty masks."""
    zeros = np.zeros(len(negatives), np.float32)
    return SceneSet(
        np.concatenate([scenes.images, negatives]),
        np.concatenate([scenes.masks, np.zeros_like(negatives)]),
        np.concatenate([scenes.lumen_mm, zeros]),
        np.concatenate([scenes.mm_per_px, zeros + 1]),
    )
