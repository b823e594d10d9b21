"""Pictures with structures for the prompt model: rendered scenes kept on disk, real ones, and batches of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.training.data.aorta_scenes import TRIAL, TRIAL_PICTURES
from models.training.data.augment import Ranges, cut_holes, random_placement, vary_tone, warp
from models.training.data.heads import coverage, list_heads
from models.training.data.pictures import sector_box
from models.training.data.prompt_scenes import StructurePicture, pack, paste_structure, render_scene
from models.training.data.sources import Gray, hold_out_kind, is_held_out, list_images, read_gray
from models.training.data.textures import load_bank
from models.training.networks.prompt import LOGIT_PX, SIDE_PX

BLOCK = 100
"""Scenes rendered by one job."""
STORED_PX = 400
"""Longest side of a stored real picture: more than the network sees, so that turning and zooming stay sharp."""
SMALLEST_PX = 60
"""A structure of fewer input pixels than this is no target."""
RANGES = Ranges(turn_deg=16.0, zoom_log=0.24, squeeze_log=0.12, shift=0.14, flip_x=0.5, flip_y=0.12)
SHARES = {"simulated": 0.5, "carotid": 0.13, "nerve": 0.22, "head": 0.15}
"""What a batch is made of."""
PASTED = 0.45
"""How often a real picture is given one more structure."""


# ------------------------------------------------------------------------------------------- rendered scenes


def render(data_dir: Path, folder: Path, count: int, seed: int, *, held_out: bool = False) -> list[StructurePicture]:
    """`count` scenes of that seed, kept in `folder` for the next run; held-out ones over held-out textures."""
    folder.mkdir(parents=True, exist_ok=True)
    bank = None
    scenes: list[StructurePicture] = []
    for block, start in enumerate(range(0, count, BLOCK)):
        path = folder / f"{'held-out' if held_out else 'train'}-{seed}-{block:03d}.npz"
        if not path.exists():
            bank = bank or load_bank(data_dir, most=TRIAL_PICTURES if count <= TRIAL else None)
            _render_block(
                path, np.random.default_rng((seed, block, held_out)), min(BLOCK, count - start), bank, held_out
            )
        with np.load(path) as kept:
            scenes += [StructurePicture(i, p) for i, p in zip(kept["images"], kept["planes"], strict=True)]
    return scenes


def _render_block(path: Path, rng: Generator, count: int, bank: object, held_out: bool) -> None:
    scenes = [render_scene(rng, bank, held_out=held_out) for _ in range(count)]  # type: ignore[arg-type]
    aside = path.with_suffix(".tmp.npz")
    np.savez(aside, images=np.stack([s.image for s in scenes]), planes=np.stack([s.planes for s in scenes]))
    aside.rename(path)


# --------------------------------------------------------------------------------------------- real pictures


def real_pictures(data_dir: Path, *, held_out: bool, most: int | None = None) -> dict[str, list[StructurePicture]]:
    """Carotids, nerves (with the vessels beside them) and fetal heads on one side of the fixed split."""
    found: dict[str, list[StructurePicture]] = {"carotid": [], "nerve": [], "head": []}
    for image in list_images(data_dir, held_out=held_out):
        if image.mask_path is not None and (most is None or len(found[image.kind]) < most):
            classes = read_gray(image.mask_path)
            masks = [part for value in np.unique(classes[classes > 0]) for part in pieces(classes == value)]
            found[image.kind].append(stored(read_gray(image.path), masks))
    for head in list_heads(data_dir):
        kept_out = is_held_out(hold_out_kind("fetal_head"), head.exam)
        if kept_out is held_out and (most is None or len(found["head"]) < most):
            gray = read_gray(head.path)
            share = coverage(head.map_from_circle(), (gray.shape[1], gray.shape[0]))
            found["head"].append(stored(gray, [share > 0.5]))
    return found


def pieces(mask: NDArray[np.bool_], least_px: int = 80) -> list[NDArray[np.bool_]]:
    """Connected parts, the largest first; crumbs are left out."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    order = np.argsort(-stats[1:, cv2.CC_STAT_AREA])
    return [parts == 1 + i for i in order if stats[1 + i, cv2.CC_STAT_AREA] >= least_px] if count > 1 else []


def stored(gray: Gray, masks: Sequence[NDArray[np.bool_]]) -> StructurePicture:
    """A picture cropped to its sector, as the viewer crops it, and shrunk."""
    x0, y0, x1, y1 = sector_box(gray)
    scale = min(1.0, STORED_PX / max(x1 - x0, y1 - y0))
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    small = cv2.resize(gray[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
    planes = [
        cv2.resize(m[y0:y1, x0:x1].astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5 for m in masks[:7]
    ]
    return StructurePicture(np.asarray(small, np.uint8), pack(planes) if planes else np.zeros(size[::-1], np.uint8))


# -------------------------------------------------------------------------------------------------- examples


def fitted(sample: StructurePicture) -> StructurePicture:
    """A picture as the viewer places it: longest side to the input's, padding right and below."""
    height, width = sample.image.shape
    scale = SIDE_PX / max(height, width)
    size = (round(width * scale), round(height * scale))
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image, planes = np.zeros((SIDE_PX, SIDE_PX), np.uint8), np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    image[: size[1], : size[0]] = cv2.resize(sample.image, size, interpolation=mode)
    planes[: size[1], : size[0]] = cv2.resize(sample.planes, size, interpolation=cv2.INTER_NEAREST)
    return StructurePicture(image, planes)


def varied(rng: Generator, sample: StructurePicture) -> StructurePicture:
    """A copy of varied place, size and turn at the network's size."""
    height, width = sample.image.shape
    scale = SIDE_PX / max(height, width)
    size = (round(width * scale), round(height * scale))
    matrix = random_placement(rng, (width, height), size, RANGES)
    matrix[:, 2] += (SIDE_PX - np.array(size)) * rng.uniform(0, 1, 2)
    whole = (SIDE_PX, SIDE_PX)
    return StructurePicture(warp(sample.image, matrix, whole), warp(sample.planes, matrix, whole, nearest=True))


def one_example(rng: Generator, pools: Mapping[str, list[StructurePicture]], prompts: int) -> tuple[Gray, Gray]:
    """A picture (256, 256) and the masks (prompts, 128, 128), 0..255 by coverage, of structures chosen in it."""
    kinds = [kind for kind in SHARES if pools[kind]]
    shares = np.array([SHARES[kind] for kind in kinds])
    while True:
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
        sample = varied(rng, pools[kind][int(rng.integers(len(pools[kind])))])
        image, planes = sample.image, sample.planes
        if kind != "simulated" and rng.random() < PASTED:
            others = pools["nerve" if rng.random() < 0.6 else "carotid"] or pools[kind]
            other = varied(rng, others[int(rng.integers(len(others)))]).image
            image, mask = paste_structure(rng, image, other)
            planes = _covered(planes, mask) | (mask.astype(np.uint8) << 7)
        if kind != "head" and rng.random() < 0.15:
            image = cut_holes(rng, image, 1)
        masks = targets(planes)
        if masks:
            chosen = [masks[int(i)] for i in _spread(rng, len(masks), prompts)]
            return vary_tone(rng, image), np.stack(chosen)


def _covered(planes: Gray, mask: NDArray[np.bool_]) -> Gray:
    """The planes without structures that a pasted one has largely hidden; the others keep what is left of them."""
    for bit in range(7):
        plane = (planes >> bit) & 1
        area = int(plane.sum())
        if area and int((plane & mask).sum()) > 0.25 * area:
            planes = planes & ~np.uint8(1 << bit)
    return planes


def targets(planes: Gray) -> list[Gray]:
    """Masks at the logits' size, 0..255 by coverage, of all structures large enough and not cut to a corner."""
    found = []
    for bit in range(8):
        plane = ((planes >> bit) & 1) * np.uint8(255)
        if np.count_nonzero(plane) >= SMALLEST_PX:
            found.append(np.asarray(cv2.resize(plane, (LOGIT_PX, LOGIT_PX), interpolation=cv2.INTER_AREA), np.uint8))
    return found


def _spread(rng: Generator, count: int, prompts: int) -> NDArray[np.int64]:
    """Every structure before any comes twice."""
    return np.concatenate([rng.permutation(count) for _ in range(-(-prompts // count))])[:prompts]
