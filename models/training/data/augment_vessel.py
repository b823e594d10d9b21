"""Varied copies of pictures with a vessel: zooming follows it, and it is made fainter.

The general copies of ``augment`` know nothing of what is outlined.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.training.data.simulate.physics import smooth_noise
from models.training.data.sources import Gray

FADE_SHARE = 0.5
"""How often a vessel of ordinary size is made fainter than it was rendered."""
LOOK_SHARE, DEPTH_GAIN_SHARE, SHARPEN_SHARE = 0.12, 0.12, 0.08
"""How often a picture takes the gray levels of a real one, another gain with depth, an edge enhancement."""
LEVELS = 256
DARK = 8
"""Gray levels up to this are background, shadow or fluid: they say nothing of a machine's look."""

Looks = NDArray[np.float32]
"""Gray levels at even shares of the pixels that are not dark, of several real pictures [N, LEVELS]."""


def looks_of(pictures: Gray, most: int = 400) -> Looks:
    """The looks of real pictures [N, H, W], of an even choice of them."""
    shares = np.linspace(0, 1, LEVELS)
    chosen = pictures[:: max(1, len(pictures) // most)]
    bright = (picture[picture > DARK] for picture in chosen)
    return np.array([np.quantile(levels, shares) for levels in bright if levels.size > LEVELS], np.float32)


def vary_vessel(rng: Generator, image: Gray, mask: Gray, size_px: int, looks: Looks | None = None) -> tuple[Gray, Gray]:
    """One varied copy at the network's size: place, scale, turn; look, where any are given; tone, blur, noise."""
    image, mask = _move(rng, image, mask, size_px)
    if mask.any() and rng.random() < FADE_SHARE:
        image = fade_lumen(rng, image, mask)
    if looks is not None and len(looks):
        image = change_look(rng, image, looks)
    return _tone(rng, image), mask


def change_look(rng: Generator, image: Gray, looks: Looks) -> Gray:
    """As another machine might have shown it."""
    if rng.random() < LOOK_SHARE:
        image = take_look(rng, image, looks)
    if rng.random() < DEPTH_GAIN_SHARE:
        image = change_depth_gain(rng, image)
    if rng.random() < SHARPEN_SHARE:
        image = sharpen(rng, image)
    return image


def take_look(rng: Generator, image: Gray, looks: Looks) -> Gray:
    """Map the gray levels so that their distribution moves towards that of a real picture."""
    bright = image[image > DARK]
    if bright.size < LEVELS:
        return image
    ranks = np.searchsorted(np.sort(bright), np.arange(LEVELS), side="right") / bright.size
    look = looks[int(rng.integers(len(looks)))]
    wanted = np.interp(ranks, np.linspace(0, 1, LEVELS), look)
    share = rng.uniform(0.3, 1.0)
    curve = (1 - share) * np.arange(LEVELS) + share * wanted
    curve[: DARK + 1] = np.arange(DARK + 1) * min(1.0, curve[DARK + 1] / (DARK + 1))
    return np.asarray(cv2.LUT(image, np.clip(curve, 0, 255).astype(np.uint8)), np.uint8)


def change_depth_gain(rng: Generator, image: Gray) -> Gray:
    """Brighter or darker with depth, as the sliders of a machine make it: a smooth curve of a few points."""
    points = np.exp(rng.normal(0, 0.25, 6))
    gain = np.interp(np.linspace(0, 5, image.shape[0]), np.arange(6), points).astype(np.float32)
    return np.clip(image * gain[:, None], 0, 255).astype(np.uint8)


def sharpen(rng: Generator, image: Gray) -> Gray:
    """Edge enhancement of a machine: an unsharp mask."""
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.5))
    amount = rng.uniform(0.3, 1.5)
    return np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), np.uint8)


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
        field = np.exp(rng.uniform(0.05, 0.3) * smooth_noise(rng, (size, size), (4, 4)))
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
