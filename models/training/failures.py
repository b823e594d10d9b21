"""Pictures of the worst results, for a model's card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Color = tuple[int, int, int]

TRUTH: Color = (90, 220, 90)
FOUND: Color = (80, 120, 255)
TILE_PX = 300


def tile(gray: Gray, caption: str, masks: Sequence[tuple[NDArray[np.generic], Color]] = ()) -> Gray:
    """A picture shrunk to ``TILE_PX`` wide with the outlines of masks of its size, and a caption. BGR."""
    scale = TILE_PX / gray.shape[1]
    small = cv2.resize(gray, (TILE_PX, round(gray.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    canvas = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    for mask, color in masks:
        shrunk = cv2.resize(mask.astype(np.float32), small.shape[::-1], interpolation=cv2.INTER_AREA)
        contours, _ = cv2.findContours((shrunk > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, color, 1, cv2.LINE_AA)
    return with_caption(canvas, caption)


def box_tile(gray: Gray, caption: str, boxes: Sequence[tuple[Sequence[float], Color]]) -> Gray:
    """The same with boxes x0, y0, x1, y1 in the picture's pixels."""
    scale = TILE_PX / gray.shape[1]
    small = cv2.resize(gray, (TILE_PX, round(gray.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    canvas = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    for box, color in boxes:
        x0, y0, x1, y1 = (round(float(side) * scale) for side in box)
        cv2.rectangle(canvas, (x0, y0), (x1, y1), color, 1, cv2.LINE_AA)
    return with_caption(canvas, caption)


def with_caption(canvas: Gray, caption: str) -> Gray:
    """A strip of text below."""
    strip = np.full((20, canvas.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, caption, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([canvas, strip]).astype(np.uint8)


def write_montage(path: Path, tiles: Sequence[Gray], columns: int = 3) -> None:
    """All tiles in rows, written as JPEG or PNG by the name."""
    height = max(t.shape[0] for t in tiles)
    padded = [
        cv2.copyMakeBorder(t, 0, height - t.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255)) for t in tiles
    ]
    padded += [np.full_like(padded[0], 255)] * (-len(padded) % columns)
    rows = [np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)]
    if not cv2.imwrite(str(path), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 85]):
        raise OSError(f"cannot write {path}")
