"""Samples of more than 8 bits as 8: what a picture's samples are, and one scale for all pictures of a recording.

A scale of each picture's own would make the recording darker on the frame on which one bright pixel appears.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.acquire.decoding import bands
from usviewer.errors import UserError, foreign_parser
from usviewer.frame import Pixels

# Scanners digitise with 8 to 16 bits, and most files that say 16 hold 12. 24 and 32 for what was computed since.
BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
# All pictures are looked at for their scale while they have no more pixels than this together: 600 pages of
# 1024 x 768, about 2 s where they are not packed and 8 s for PNG. Beyond, so many from all over the recording.
MAX_LOOKED_AT_PX = 500_000_000

ALL_OF_16_BITS = np.arange(2**16, dtype=np.uint16)

PHOTOMETRIC, BITS_PER_SAMPLE, SAMPLE_FORMAT = 262, 258, 339  # TIFF's tags
WHITE_IS_ZERO, SIGNED = 0, 2

Values = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """What is shown as black (0) and as white (255)."""

    black: float
    white: float

    @property
    def per_level(self) -> float:
        """Levels of 8 bits for one step of the samples."""
        return 255.0 / max(self.white - self.black, 1e-12)


@dataclass(frozen=True, slots=True)
class Samples:
    """How the deep samples of a picture are to be understood. Pictures of one ``kind`` share a scale.

    ``kind``: ``unsigned 16``, ``unsigned 32``, ``signed 8``, ``signed``, ``fraction``, or ``stated``, where the file
    says what white is. ``inverted``: the least value is white. ``coloured``: Pillow has no such pictures, OpenCV does.
    """

    kind: str
    inverted: bool = False
    coloured: bool = False


def samples_of(image: Any) -> Samples | None:
    """Describe the samples of Pillow's image before its pixels are decoded; None for 8 bits and fewer.

    Pillow takes 32 bits without a sign for signed, and does not turn 16 bits of which 0 is white.
    """
    tags = getattr(image, "tag_v2", {})
    inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    signed = SIGNED in _several(tags.get(SAMPLE_FORMAT, (1,)))
    if image.mode == "F":
        return Samples("fraction", inverted)
    if image.mode.startswith("I;16"):
        return Samples("unsigned 16", inverted)
    if image.mode == "I":
        if image.format == "PPM":  # Pillow scales to 16 bits where the header says what white is
            return Samples("unsigned 16" if image.tile[0][0] == "raw" else "stated")
        if image.format == "TIFF" and not signed:
            return Samples("unsigned 32", inverted)
        return Samples("signed", inverted)
    if image.mode == "L" and signed:
        return Samples("signed 8", inverted)
    if image.mode in ("RGB", "RGBA", "LA") and _is_16_bit_colour(image):
        return Samples("unsigned 16", coloured=True)
    return None


def _several(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    return (value,)


def _is_16_bit_colour(image: Any) -> bool:
    if image.format == "TIFF":
        return 16 in _several(image.tag_v2.get(BITS_PER_SAMPLE, (8,)))
    return image.format == "PNG" and any(";16" in str(tile[3]) for tile in image.tile)


def grey_values(band: Any, samples: Samples) -> Values:
    """Give the samples (rows, width) of some rows of Pillow's image, with the sign that they have."""
    values: Values = np.asarray(band)
    if samples.kind == "unsigned 32":
        return values.view(np.uint32)
    if samples.kind == "signed 8":
        return values.view(np.int8)
    return values


def coloured_values(content: bytes, page: int, upper: Pixels, name: str) -> Values:
    """Read colours (and opacity) of 16 bits (height, width, 3 or 4) of one page.

    ``upper`` holds their upper 8 bits in the same shape, which is all that Pillow gives.
    Raises ``UserError`` where OpenCV reads anything else than Pillow: then one of the two is wrong.
    """
    with foreign_parser(f"{name} is damaged or cut off", "Copy it again"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # else its remarks reach the terminal
        encoded = np.frombuffer(content, np.uint8)
        found: Any = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, range=(page, page + 1))[1]
    values: Values = np.empty(0)
    if len(found) == 1:
        values = found[0]
    if values.ndim == 3 and values.shape == upper.shape and values.dtype == np.uint16:
        values = values[..., (2, 1, 0, 3)[: values.shape[2]]]  # OpenCV gives blue, green, red
        height, width = upper.shape[:2]
        if all(np.array_equal(values[top:bottom] >> 8, upper[top:bottom]) for top, bottom in bands(height, width)):
            return values
    raise UserError(f"{name} is damaged, or its colours are of a kind that cannot be read", "Save it with 8 bits")


def extremes(parts: Iterable[Values]) -> tuple[float, float] | None:
    """Find the smallest and largest value of arrays of any shape; None without any number."""
    low, high = np.inf, -np.inf
    for part in parts:
        values = part
        if np.issubdtype(part.dtype, np.floating):  # only these can hold what is not a number
            values = part[np.isfinite(part)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        return None
    return low, high


def scale_for(kind: str, found: Iterable[tuple[float, float] | None]) -> Scale:
    """Choose the one scale of all pictures of a kind, by the least and largest value of each.

    Whole numbers: the smallest of 8, 10, 12, 14, 16, 24 or 32 bits that holds the largest. Fractions: 0 to 1 where all
    lie there. Anything else from its least to its largest value.
    """
    known = [each for each in found if each is not None]
    low = min((least for least, _ in known), default=0.0)
    high = max((most for _, most in known), default=1.0)
    if kind == "stated":
        return Scale(0.0, 65_535.0)
    if low >= 0 and kind == "fraction" and high <= 1:
        return Scale(0.0, 1.0)
    if low >= 0 and kind != "fraction":
        return Scale(0.0, next(2.0**bits - 1 for bits in BIT_DEPTHS if high < 2**bits))
    return Scale(low, high)


def to_8_bit(values: Values, scale: Scale, *, inverted: bool = False) -> Pixels:
    """Bring samples of any shape to 0 to 255 (uint8) by a scale.

    Values beyond its ends become its ends, and what is not a number becomes black.
    """
    # A table of all values costs less than arithmetic on each pixel once there are more pixels than values.
    if values.dtype.kind == "u" and values.dtype.itemsize == 2 and values.size > ALL_OF_16_BITS.size:
        return to_8_bit(ALL_OF_16_BITS, scale, inverted=inverted)[values]
    with np.errstate(invalid="ignore"):  # some kinds of "no number" are remarked on when they are converted
        known = np.nan_to_num(values.astype(np.float64), nan=scale.black, posinf=scale.white, neginf=scale.black)
    pixels: Pixels = np.clip(np.rint((known - scale.black) * scale.per_level), 0, 255).astype(np.uint8)
    if inverted:
        return 255 - pixels
    return pixels


def spread_over(sizes_px: list[int]) -> list[int]:
    """Choose which of so many pictures are looked at for their scale: all, or evenly as many as the limit allows."""
    if sum(sizes_px) <= MAX_LOOKED_AT_PX:
        return list(range(len(sizes_px)))
    wanted = max(2, MAX_LOOKED_AT_PX * len(sizes_px) // sum(sizes_px))
    return sorted({round(step * (len(sizes_px) - 1) / (wanted - 1)) for step in range(wanted)})
