"""Finds the part of the picture that is ultrasound, from the pixels of a few frames.

Tissue fills a fan, a trapezoid or a rectangle; around it the screen is dark, with text, rulers, bars and logos. The
brightest value of each place over a few frames shows tissue that is dark in one of them. Several thresholds just
above the background are tried, the largest piece that survives the removal of thin things is fitted with straight sides
and arcs, and the fit that explains its own border best is taken (both in ``sector_fit``).

``certain`` is claimed only when the border is seen nearly all around, nothing of note lies outside and the picture just
outside is background: it decides about blanking, so it must neither cut tissue away nor leave a name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.calibrate.sector_fit import Fit, corridor, fit_outline
from usviewer.frame import Pixels, Points, Sector

Grey = NDArray[np.uint8]

# The longest side that is looked at: borders are found to a pixel of it.
WORK_PX = 640
LEVELS = (0, 2, 5, 10)
# What is brighter than this is not the dark screen around the ultrasound.
MAX_BACKGROUND = 16
MIN_SHARE = 0.02
MIN_PIECE = 0.002
MAX_PIECES = 6
OPENING = 0.012
SURE_SUPPORT = 0.98
# Below this much of its border seen, an outline is not even a guess.
MIN_GUESS = 0.65
# Frames that are looked at, fewer and fewer: neighbours show the same tissue.
FRAMES_AT = (0, 2, 5, 10, 20, 40, 80, 160)
MIN_SIDE_PX = 16


class SectorFinder:
    """Accumulates the frames of one source (of one size) and gives the sector that they show so far.

    ``pixel_aspect`` is a pixel's width over its height: arcs are arcs, and beams meet, only on square pixels.
    """

    def __init__(self, pixel_aspect: float = 1.0) -> None:
        self._pixel_aspect = pixel_aspect
        self._count = 0
        self._finished = False
        self._brightest: Grey | None = None
        self._size_px = (0, 0)

    def add(self, pixels: Pixels, always: bool = False) -> bool:
        """Add a frame. Returns True when it was used: fewer and fewer are over time, unless ``always``."""
        looked_at = not self._finished and (always or self._count in FRAMES_AT)
        self._count += 1
        if looked_at:
            self._size_px = (pixels.shape[1], pixels.shape[0])
            small = _small(pixels, self._pixel_aspect)
            if self._brightest is not None:
                small = np.maximum(self._brightest, small)
            self._brightest = small
        return looked_at

    def finish(self) -> None:
        """Look at no more frames."""
        self._finished = True

    def sector(self) -> Sector:
        """The sector; the whole picture, not certain, where none is found."""
        if self._brightest is None:
            raise ValueError("no frame was added")
        return _sector_of(self._brightest, self._size_px)


def find_sector(frames: Sequence[Pixels], pixel_aspect: float = 1.0) -> Sector:
    """The sector that a few frames of equal size (RGB) show together."""
    finder = SectorFinder(pixel_aspect)
    for pixels in frames:
        finder.add(pixels, always=True)
    return finder.sector()


def _small(pixels: Pixels, pixel_aspect: float) -> Grey:
    """Brightest channel at the working size, on square pixels. Large pictures are shrunk a whole number of times."""
    if pixel_aspect != 1.0:
        pixels = _squared(pixels, pixel_aspect)
    height, width = pixels.shape[:2]
    factor = max(1.0, max(height, width) / WORK_PX)
    if factor >= 2.0:
        factor = math.ceil(factor)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = pixels
    if factor > 1.0:
        small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    red, green, blue = cv2.split(small)
    return np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.uint8)


def _squared(pixels: Pixels, pixel_aspect: float) -> Pixels:
    """The picture at the working size, its pixels made square."""
    height, width = pixels.shape[:2]
    true_width = width * pixel_aspect
    factor = max(1.0, max(height, true_width) / WORK_PX)
    size = (max(1, round(true_width / factor)), max(1, round(height / factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _sector_of(brightest: Grey, size_px: tuple[int, int]) -> Sector:
    height, width = brightest.shape
    if min(height, width) < MIN_SIDE_PX:
        return _whole(size_px)
    best: Fit | None = None
    for level in _levels(brightest):
        found = max(_fits(brightest, level), key=lambda fit: fit.score, default=None)
        if found is not None and (best is None or found.score > best.score):
            best = found
        elif best is not None and best.certain and best.facts["support"] >= SURE_SUPPORT:
            break  # a higher threshold only eats into it
    if best is None or not (best.certain or best.facts["support"] >= MIN_GUESS):
        return _whole(size_px)
    return _scaled(best, (size_px[0] / width, size_px[1] / height), size_px)


def _fits(brightest: Grey, level: int) -> list[Fit]:
    """Fits to the largest piece above a level, and to it with the pieces between its sides (tissue behind a shadow)."""
    lit = brightest > level
    pieces = _pieces(lit)
    if not pieces:
        return []
    first = fit_outline(pieces[0], lit)
    if first is None:
        return []
    room = corridor(first, brightest.shape)
    more = [piece for piece in pieces[1:] if np.count_nonzero(piece & room) >= 0.95 * np.count_nonzero(piece)]
    if not more:
        return [first]
    joined = fit_outline(np.bitwise_or.reduce([pieces[0], *more]), lit)
    if joined is None:
        return [first]
    return [first, joined]


def _levels(brightest: Grey) -> list[int]:
    """Thresholds to try, just above the darkest level that covers much of the picture; none if that is not dark."""
    counts = np.bincount(brightest.ravel(), minlength=256)
    common = np.flatnonzero(counts[: MAX_BACKGROUND + 1] >= MIN_SHARE * brightest.size)
    if not len(common):
        return []
    return [int(common[0]) + level for level in LEVELS]


def _pieces(lit: NDArray[np.bool_]) -> list[Grey]:
    """Connected pieces, largest first, after thin things (text, rulers, lines) are gone; none without a large one."""
    longest = max(lit.shape)
    steady = cv2.medianBlur(lit.view(np.uint8), 3)
    reach = max(3, round(OPENING * longest)) | 1
    opened = cv2.morphologyEx(steady, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = np.argsort(-areas)
    if not len(order) or areas[order[0]] < MIN_SHARE * lit.size:
        return []
    large = [index for index in order[:MAX_PIECES] if areas[index] >= MIN_PIECE * lit.size]
    return [np.asarray(labels == index + 1, dtype=np.uint8) for index in large or order[:1]]


def _whole(size_px: tuple[int, int]) -> Sector:
    width, height = size_px
    outline = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    outline.setflags(write=False)
    return Sector(outline, (0, 0, width, height))


def _scaled(fit: Fit, scale: tuple[float, float], size_px: tuple[int, int]) -> Sector:
    """From the working size to frame pixels."""
    factor = np.asarray(scale)
    outline: Points = np.clip(fit.outline_xy * factor, 0.0, size_px)
    outline.setflags(write=False)
    # The box holds the outline; what is off by a rounding error must not make it a pixel larger.
    x0, y0 = np.floor(outline.min(axis=0) + 1e-6)
    x1, y1 = np.ceil(outline.max(axis=0) - 1e-6)
    apex, radius = fit.apex_xy, fit.face_radius
    if apex is not None:
        apex = (apex[0] * scale[0], apex[1] * scale[1])
    if radius is not None:
        radius *= scale[1]
    return Sector(outline, (int(x0), int(y0), int(x1), int(y1)), apex, radius, fit.certain)
