"""Letters as stamps: rendered once, laid onto many frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from usviewer.frame import Pixels
from usviewer.overlay.palette import HALO, Colour
from usviewer.own_folders import resource_path

_FACES = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}


@dataclass(frozen=True, slots=True)
class Lettering:
    """How a line is set: size of the body, weight, and width of the dark halo round each letter."""

    size_px: int
    bold: bool
    halo_px: int


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """One coloured line of letters with its halo: the picture becomes ``picture * keep / 255 + add``.

    Both are uint8 (height, width, 3). The letters' own box starts ``pad_px`` inside; ``ascent_px`` below its top lies
    the line the letters stand on.
    """

    keep: Pixels
    add: Pixels
    pad_px: int
    ascent_px: int

    @property
    def width_px(self) -> int:
        """Width of the letters."""
        return int(self.keep.shape[1]) - 2 * self.pad_px

    @property
    def height_px(self) -> int:
        """Height of the line, the same for every text of one size."""
        return int(self.keep.shape[0]) - 2 * self.pad_px

    def press(self, picture: Pixels, left_px: int, top_px: int) -> None:
        """Lay the letters onto the picture in place; what reaches over its border is cut off."""
        x, y = left_px - self.pad_px, top_px - self.pad_px
        height, width = self.keep.shape[:2]
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + width, picture.shape[1]), min(y + height, picture.shape[0])
        if x0 >= x1 or y0 >= y1:
            return
        part = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
        ground = picture[y0:y1, x0:x1]
        ground[:] = cv2.add(cv2.multiply(ground, self.keep[part], scale=1 / 255), self.add[part])


@lru_cache(maxsize=32)
def _font(size_px: int, bold: bool) -> ImageFont.FreeTypeFont:
    path = resource_path("resources", "fonts", _FACES[bold])
    # BASIC sets letters alike wherever Pillow was built; its other engine is missing on some systems.
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


# A clip says the same few words on every frame: they are rendered once.
@lru_cache(maxsize=256)
def stamp(text: str, style: Lettering, colour: Colour) -> Stamp:
    """Render one line."""
    font, halo_px = _font(style.size_px, style.bold), style.halo_px
    ascent, descent = font.getmetrics()
    size = (int(np.ceil(font.getlength(text))) + 2 * halo_px, ascent + descent + 2 * halo_px)
    sheet = Image.new("L", size)
    ImageDraw.Draw(sheet).text((halo_px, halo_px), text, fill=255, font=font)
    letters = np.asarray(sheet)
    # Round: a square one would give thick corners.
    round_brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * halo_px + 1, 2 * halo_px + 1))
    halo: NDArray[np.uint8] = cv2.dilate(letters, round_brush).astype(np.uint8)
    keep, add = _blend(letters, halo, colour)
    return Stamp(keep, add, halo_px, ascent)


def _blend(letters: NDArray[np.uint8], halo: NDArray[np.uint8], colour: Colour) -> tuple[Pixels, Pixels]:
    """Halo first, letters over it, as one multiplication and one addition."""
    bare = 255 - letters
    keep = cv2.multiply(255 - halo, bare, scale=1 / 255)
    rim = cv2.multiply(halo, bare, scale=1 / 255)
    inks = zip(HALO, colour, strict=True)
    add = [cv2.addWeighted(rim, dark / 255, letters, ink / 255, 0) for dark, ink in inks]
    return _stacked([keep] * 3), _stacked(add)


def _stacked(channels: list[NDArray[Any]]) -> Pixels:
    return np.asarray(cv2.merge(channels), dtype=np.uint8)


@lru_cache(maxsize=256)
def wrap(text: str, style: Lettering, max_width_px: float) -> tuple[str, ...]:
    """Break a text into lines no wider than allowed; a word that is wider by itself is broken anywhere."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and _width(f"{lines[-1]} {word}", style) <= max_width_px:
            lines[-1] += f" {word}"
        else:
            lines += _pieces(word, style, max_width_px)
    return tuple(lines)


def _pieces(word: str, style: Lettering, max_width_px: float) -> list[str]:
    pieces, rest = [], word
    while len(rest) > 1 and _width(rest, style) > max_width_px:
        # At least one letter a line, or this would never end.
        fitting = (count for count in range(len(rest) - 1, 1, -1) if _width(rest[:count], style) <= max_width_px)
        count = next(fitting, 1)
        pieces.append(rest[:count])
        rest = rest[count:]
    return [*pieces, rest]


def _width(text: str, style: Lettering) -> float:
    return _font(style.size_px, style.bold).getlength(text)
