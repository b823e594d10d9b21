"""Small bright marks that may be the ticks of a vertical ruler (transpose the picture for a horizontal one)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Pixels

Grey = NDArray[np.uint8]
Values = NDArray[np.float64]

# How far a mark must stand out from what is above and below it. Over tissue only the higher levels separate them.
LEVELS = (40, 80, 140)
MAX_THICKNESS = 0.016
MAX_LENGTH = 0.06
# A letter or tissue has a neighbour this near.
ALONE_PX = 8


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What one column of a picture crosses, an entry each, downwards.

    Box (``x0 <= x < x1``, likewise ``y``), ``centre_y`` to a fraction of a pixel (corner convention), ``peak``
    contrast, and whether nothing else stands right beside it.
    """

    x0: Values
    x1: Values
    y0: Values
    y1: Values
    centre_y: Values
    peak: Values
    alone: NDArray[np.bool_]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Marks:
        """Select some of the marks."""
        return Marks(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.x0)

    @property
    def length(self) -> Values:
        """Extent along the row, in pixels."""
        return self.x1 - self.x0

    @property
    def thickness(self) -> Values:
        """Extent along the column, in pixels."""
        return self.y1 - self.y0


def brightest_channel(pixels: Pixels) -> Grey:
    """The brightest of red, green and blue (ten times as fast as numpy's own maximum)."""
    red, green, blue = cv2.split(pixels)
    return np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.uint8)


def steady_picture(frames: Sequence[Pixels]) -> Grey:
    """Brightest channel, darkest value over the frames: a ruler stays, tissue that moves fades."""
    return np.asarray(np.minimum.reduce([brightest_channel(pixels) for pixels in frames]), dtype=np.uint8)


def thickest_px(shape: tuple[int, ...]) -> int:
    """The most rows that a tick can have in a picture of this shape."""
    return max(9, round(MAX_THICKNESS * max(shape)))


def stand_out(grey: Grey, reach: int) -> Grey:
    """What is brighter than its surroundings above and below, and thin: an axis line or a grey bar vanishes."""
    # The border is dark, or ticks at the very edge would count as thick.
    padded = cv2.copyMakeBorder(grey, reach, reach, 0, 0, cv2.BORDER_CONSTANT, value=0)
    thick = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((reach, 1), dtype=np.uint8))
    return np.asarray(cv2.subtract(padded, thick)[reach:-reach], dtype=np.uint8)


def perhaps_alone(lit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Lit pixels of marks that may have nothing beside them; every mark that ``measure_marks`` calls alone is kept.

    Whole pictures at once: strokes of letters and speckle drop out before any column of them is looked at. A gap below
    ``ALONE_PX`` is closed, and whatever lies as near to what was filled in is beside something itself.
    """
    near = ALONE_PX - 1
    padded = cv2.copyMakeBorder(lit.view(np.uint8), 0, 0, near, near, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((1, near), dtype=np.uint8))
    filled = cv2.dilate(cv2.subtract(closed, padded), np.ones((1, 2 * near + 1), dtype=np.uint8))
    return np.asarray(lit & (filled[:, near:-near] == 0), dtype=np.bool_)


def runs_of(lit: NDArray[np.bool_], x: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and one-past-last rows of the lit stretches of a column, without those that the border cuts."""
    steps = np.diff(lit[:, x].astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    whole = (starts > 0) & (ends < lit.shape[0])
    return starts[whole], ends[whole]


def measure_marks(
    contrast: Grey, lit: NDArray[np.bool_], x: int, starts: NDArray[np.intp], ends: NDArray[np.intp]
) -> Marks:
    """The marks of column ``x`` whose rows are given, each as far as it reaches to the left and to the right."""
    rows = [_measure(contrast, lit, x, int(y0), int(y1)) for y0, y1 in zip(starts, ends, strict=True)]
    x0, x1, y0, y1, centre, peak, alone = np.array(rows, dtype=np.float64).reshape(-1, 7).T
    return Marks(x0, x1, y0, y1, centre, peak, alone.astype(bool))


def _measure(contrast: Grey, lit: NDArray[np.bool_], x: int, y0: int, y1: int) -> tuple[float, ...]:
    brightest = y0 + int(np.argmax(contrast[y0:y1, x]))
    dark = np.flatnonzero(~lit[brightest])
    after = int(np.searchsorted(dark, x))
    x0 = int(dark[after - 1]) + 1 if after > 0 else 0
    x1 = int(dark[after]) if after < len(dark) else lit.shape[1]
    # The faint rim that lies below the level counts for the centre as well.
    top, bottom = max(0, y0 - 1), min(lit.shape[0], y1 + 1)
    weight = contrast[top:bottom, x0:x1].sum(axis=1, dtype=np.float64)
    centre = float(weight @ (np.arange(top, bottom) + 0.5) / weight.sum())
    beside = lit[y0:y1, max(0, x0 - ALONE_PX) : max(0, x0 - 1)].any() or lit[y0:y1, x1 + 1 : x1 + ALONE_PX].any()
    return x0, x1, y0, y1, centre, float(contrast[y0:y1, x0:x1].max()), not beside
