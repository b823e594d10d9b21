"""Where the words of a scene go, in whole pixels: nothing is cut off by the picture's border.

Letters are stamps: rendered once, laid onto many frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from usviewer.frame import Pixels
from usviewer.overlay.items import Anchor, BoxMark, Item, Outline, ScaleBar, Scene, Text, TextPanel
from usviewer.overlay.palette import HALO, Colour, Size, font_px
from usviewer.overlay.words import TextLine
from usviewer.own_folders import resource_path
from usviewer.units import Box, Point

Corners = tuple[int, int, int, int]

TICK_UNITS = 6.0  # as in view.painter
_LINE_HEIGHT = 1.12
_PANEL_PAD_UNITS = 8.0
_UNIT_GAP_EM = 0.3
_FACES = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}


@dataclass(frozen=True, slots=True)
class _Placed:
    """One stamp and its top-left corner."""

    letters: _Stamp
    left_px: int
    top_px: int


@dataclass(frozen=True, slots=True)
class Block:
    """Laid-out words; ``box_xyxy_px`` holds them all and is darkened first where ``ground`` is set."""

    lines: tuple[_Placed, ...]
    box_xyxy_px: Corners
    ground: bool = False


def lay_out(scene: Scene) -> list[Block]:
    """All words of the scene, in its order; names and what the hand has written stand over no other words."""
    blocks = [(item, block) for item in scene.items if (block := _block(item, scene)) is not None]
    order = sorted(range(len(blocks)), key=lambda index: _rank(blocks[index][0]))
    fixed = [index for index in order if _rank(blocks[index][0]) == 0]
    movable = order[len(fixed) :]
    width, height = scene.frame_size_px
    taken = [blocks[index][1].box_xyxy_px for index in fixed]
    corners = avoid_overlap([blocks[index][1].box_xyxy_px for index in movable], (0, 0, width, height), taken)
    moved = dict(zip(movable, corners, strict=True))
    return [_at(block, moved.get(index, block.box_xyxy_px[:2])) for index, (_, block) in enumerate(blocks)]


def _block(item: Item, scene: Scene) -> Block | None:
    match item:
        case TextPanel():
            return _panel(item, scene)
        case Text():
            return _paragraph(item, scene)
        case BoxMark():
            return _paragraph(_label_above(item.box_xyxy_px[:2], item.label, item.colour, scene.unit_px), scene)
        case Outline() if item.label:
            corner = item.points_xy_px.min(axis=0)
            return _paragraph(_label_above(tuple(corner), item.label, item.colour, scene.unit_px), scene)
        case ScaleBar():
            return _paragraph(_scale_label(item, scene.unit_px), scene)
    return None


def _rank(item: Item) -> int:
    """What keeps its place before what: the numbers and the scale, then texts, then the names of structures."""
    match item:
        case TextPanel() | ScaleBar():
            return 0
        case Text():
            return 1
    return 2


def _at(block: Block, corner: tuple[float, float]) -> Block:
    """The block with its top left corner there."""
    left, top = (round(place) for place in corner)
    dx, dy = left - block.box_xyxy_px[0], top - block.box_xyxy_px[1]
    if not dx and not dy:
        return block
    x0, y0, x1, y1 = block.box_xyxy_px
    lines = tuple(replace(line, left_px=line.left_px + dx, top_px=line.top_px + dy) for line in block.lines)
    return replace(block, lines=lines, box_xyxy_px=(x0 + dx, y0 + dy, x1 + dx, y1 + dy))


def halo_px(unit: float) -> int:
    """Width of the dark rim round every line and letter."""
    return max(1, round(unit))


def _lettering(size: Size, unit: float) -> _Lettering:
    return _Lettering(font_px(size, unit), size in (Size.HEADLINE, Size.TITLE), halo_px(unit))


def _label_above(corner_xy_px: Point, label: str, colour: Colour, unit: float) -> Text:
    at = (corner_xy_px[0], corner_xy_px[1] - 3 * unit)
    return Text(at, label, Anchor.BOTTOM_LEFT, Size.BODY, colour)


def _scale_label(item: ScaleBar, unit: float) -> Text:
    (x0, y0), (x1, y1) = item.start_xy_px, item.end_xy_px
    away = (TICK_UNITS + 3) * unit
    if abs(x1 - x0) >= abs(y1 - y0):
        return Text(((x0 + x1) / 2, min(y0, y1) - away), item.label, Anchor.BOTTOM, Size.BODY, item.colour)
    return Text(
        (min(x0, x1) - TICK_UNITS * unit, min(y0, y1) - away), item.label, Anchor.BOTTOM_LEFT, Size.BODY, item.colour
    )


def _paragraph(item: Text, scene: Scene) -> Block | None:
    if not item.text:
        return None
    style = _lettering(item.size, scene.unit_px)
    room = min(item.max_width_px, scene.frame_size_px[0])
    stamps = [_stamp(line, style, item.colour) for line in _wrap(item.text, style, room)]
    step = stamps[0].height_px
    size = (max(letters.width_px for letters in stamps), step * len(stamps))
    left, top = _inside(_top_left(item.at_xy_px, item.anchor, size), size, scene)
    lines = tuple(_Placed(letters, left, top + index * step) for index, letters in enumerate(stamps))
    return Block(lines, (left, top, left + size[0], top + size[1]))


def _panel(item: TextPanel, scene: Scene) -> Block | None:
    rows = _rows(item, scene)
    if not rows:
        return None
    pad = max(4, round(_PANEL_PAD_UNITS * scene.unit_px))
    size = (max(_row_width(row) for row in rows) + 2 * pad, sum(_row_height(row) for row in rows) + 2 * pad)
    left, top = _inside(_top_left(item.at_xy_px, item.anchor, size), size, scene)
    lines: list[_Placed] = []
    y = top + pad
    for row in rows:
        lines += [_Placed(part.letters, left + pad + part.left_px, y + part.top_px) for part in row]
        y += _row_height(row)
    return Block(tuple(lines), (left, top, left + size[0], top + size[1]), ground=True)


_Row = list[_Placed]


def _rows(item: TextPanel, scene: Scene) -> list[_Row]:
    """Wrapped lines from the top, as many as there is room for: the first are the most important."""
    rows: list[_Row] = []
    for line in item.lines:
        new = _line_rows(line, item.max_width_px, scene.unit_px)
        if sum(_row_height(row) for row in (*rows, *new)) > item.max_height_px:
            break  # a line is shown whole or not at all
        rows += new
    return rows


def _line_rows(line: TextLine, max_width_px: float, unit: float) -> list[_Row]:
    style = _lettering(line.size, unit)
    rows = [[_Placed(_stamp(text, style, line.colour), 0, 0)] for text in _wrap(line.text, style, max_width_px)]
    if line.unit:
        figures = rows[-1][0].letters
        small = _stamp(line.unit, _lettering(Size.TITLE, unit), line.colour)
        gap = round(_UNIT_GAP_EM * small.height_px)
        # On one line with the figures, though smaller.
        rows[-1].append(_Placed(small, figures.width_px + gap, figures.ascent_px - small.ascent_px))
    return rows


def _row_width(row: _Row) -> int:
    return max(part.left_px + part.letters.width_px for part in row)


def _row_height(row: _Row) -> int:
    return math.ceil(row[0].letters.height_px * _LINE_HEIGHT)


def _top_left(at_xy_px: Point, anchor: Anchor, size: tuple[int, int]) -> Point:
    """Top-left corner of a block that hangs from ``anchor``."""
    upright, _, level = str(anchor).partition(" ")
    share_x = {"left": 0.0, "right": 1.0}.get(level, 0.5)
    share_y = {"bottom": 1.0}.get(upright, 0.0)
    return at_xy_px[0] - share_x * size[0], at_xy_px[1] - share_y * size[1]


def _inside(corner: Point, size: tuple[int, int], scene: Scene) -> tuple[int, int]:
    """Moved so far that it lies within the picture, if it can."""
    limits = (scene.frame_size_px[0] - size[0], scene.frame_size_px[1] - size[1])
    left, top = (round(min(max(0.0, place), max(0, limit))) for place, limit in zip(corner, limits, strict=True))
    return left, top


def avoid_overlap(boxes: Sequence[Box], room: Box, taken: Sequence[Box] = ()) -> list[Point]:
    """Top-left corners at which boxes lie within ``room`` and over neither ``taken`` nor one another.

    The first keep their places; a later one goes up or down, whichever is nearer. Without any free place it stays.
    """
    held, corners = list(taken), []
    for box in boxes:
        left, top, right, bottom = _within(box, room)
        height = bottom - top
        beside = [other for other in held if other[0] < right and left < other[2]]
        # The nearest free place touches something that is there: no others need to be tried.
        tops = [top, *(other[1] - height for other in beside), *(other[3] for other in beside)]
        free = [
            each
            for each in tops
            if room[1] <= each <= room[3] - height
            and not any(each < other[3] and other[1] < each + height for other in beside)
        ]
        chosen = min(free, key=lambda each: abs(each - top), default=top)
        held.append((left, chosen, right, chosen + height))
        corners.append((left, chosen))
    return corners


def _within(box: Box, room: Box) -> Box:
    """Moved into the room; what is larger keeps its top left corner there."""
    dx = max(room[0] - box[0], min(0.0, room[2] - box[2]))
    dy = max(room[1] - box[1], min(0.0, room[3] - box[3]))
    return box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy


@dataclass(frozen=True, slots=True)
class _Lettering:
    """How a line is set: size of the body, weight, and width of the dark halo round each letter."""

    size_px: int
    bold: bool
    halo_px: int


@dataclass(frozen=True, slots=True, eq=False)
class _Stamp:
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
def _stamp(text: str, style: _Lettering, colour: Colour) -> _Stamp:
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
    return _Stamp(keep, add, halo_px, ascent)


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
def _wrap(text: str, style: _Lettering, max_width_px: float) -> tuple[str, ...]:
    """Break a text into lines no wider than allowed; a word that is wider by itself is broken anywhere."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and _width(f"{lines[-1]} {word}", style) <= max_width_px:
            lines[-1] += f" {word}"
        else:
            lines += _pieces(word, style, max_width_px)
    return tuple(lines)


def _pieces(word: str, style: _Lettering, max_width_px: float) -> list[str]:
    pieces, rest = [], word
    while len(rest) > 1 and _width(rest, style) > max_width_px:
        # At least one letter a line, or this would never end.
        fitting = (count for count in range(len(rest) - 1, 1, -1) if _width(rest[:count], style) <= max_width_px)
        count = next(fitting, 1)
        pieces.append(rest[:count])
        rest = rest[count:]
    return [*pieces, rest]


def _width(text: str, style: _Lettering) -> float:
    return _font(style.size_px, style.bold).getlength(text)
