"""The depth ruler of the scanner's screen, of any vendor: a proposal until the operator says what its ticks are worth.

Ticks or dots, left or right, numbered or not: what all rulers share is that they are small, alike, still and equally
spaced. What a tick is worth is never guessed: the numbers beside it are read where Tesseract is installed, and even
then the operator confirms the first time (``docs/clinical.md``, "Scale without metadata").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
import xxhash
from numpy.typing import NDArray

from usviewer.calibrate.plausible import check_stated, implausible_ruler
from usviewer.calibrate.ruler.search import Column, TooMuchWork, Work, find_columns, seen_in
from usviewer.calibrate.ruler.text import RulerLabel, read_labels, tick_value_mm
from usviewer.calibrate.ruler.ticks import Grey, brightest_channel, steady_picture
from usviewer.errors import UserError
from usviewer.frame import Pixels
from usviewer.units import ScaleSource, Spacing, is_square

T = TypeVar("T")

NO_RULER = "No depth ruler was found on the picture"
TWO_RULERS = "Two rulers with different spacings (zoom, or two images side by side): none of them is used"
TWO_PANES = "Two images side by side: the ruler may belong to either"
TOO_BUSY = "Too much on the picture looks like the ticks of a ruler: no ruler was looked for"
CHANGES = "The ruler changes within these frames (another depth or zoom)"
IMPRECISE = "A ruler was found, but its ticks are too few or too uneven to measure by"
GIVE_BOTH = "Give both scales, x and y with an x between them: --mm-per-pixel 0.21x0.25"
# The finest rulers; scanners use 2, 5 and 10 mm (docs/clinical.md, "Scale without metadata").
MIN_TICK_MM, MAX_TICK_MM = 0.1, 100.0
SAME_PITCH = 0.005
# Below this precision it may as well be tissue.
WORTH_SAYING = 0.005
# Numbers stand within so much of the picture's width beside the ticks (at most so far), and of its height beyond the
# last one.
BESIDE, BESIDE_PX = 0.075, 110
BEYOND = 0.0375
ABOVE = 0.015
# Two images side by side: pieces of a small copy that are brighter than this, hold this share of it, and are alike in
# height to this part.
WORK_PX = 320
ABOVE_BACKGROUND = 12
MIN_SHARE = 0.08
ALIKE = 0.6


@dataclass(frozen=True, slots=True)
class Ruler:
    """A ruler that was found, in frame pixels (corner convention).

    ``axis`` is "y" for a vertical ruler, "x" for a horizontal one; ``ticks_px`` are the centres of its ticks along it,
    ``sites`` their numbers (a missing one is left out), ``across_px`` how far the longest tick reaches across.
    ``residual_px`` is the root mean square distance of the ticks from equal spacing, ``relative_sd`` the standard error
    of the pitch. Every ``major_period``-th tick is larger, beginning with site ``major_phase`` (None: all are alike).
    ``divisions`` is how many steps smaller marks make of one step from tick to tick: where it is not 1, the smaller
    marks were too uneven to measure by and "tick" means the larger ones only.
    ``labels`` are the words read beside it and ``tick_mm`` what they say a tick is worth, None where they do not.
    ``watch_box_px`` holds the ticks and what is written beside them. ``evidence`` is a hash of where and what.
    """

    side: str
    axis: str
    size_px: tuple[int, int]
    ticks_px: tuple[float, ...]
    sites: tuple[int, ...]
    across_px: tuple[float, float]
    origin_px: float
    pitch_px: float
    residual_px: float
    relative_sd: float
    major_period: int | None
    major_phase: int
    divisions: int
    labels: tuple[RulerLabel, ...]
    tick_mm: float | None
    watch_box_px: tuple[int, int, int, int]
    evidence: str

    def describe(self) -> str:
        """What was found, in one sentence."""
        larger = ""
        if self.major_period:
            larger = f", one in {self.major_period} larger"
        if self.divisions > 1:
            larger += f", with {self.divisions} smaller steps in each that do not count"
        return (
            f"{len(self.ticks_px)} ticks on the {self.side}, {self.pitch_px:.2f} px apart{larger}, "
            f"residual {self.residual_px:.2f} px"
        )


def along_across(axis: str, x: T, y: T) -> tuple[T, T]:
    """Of two things that belong to x and y: the one along a ruler of this axis ("x" or "y"), then the one across it.

    It is its own inverse: given the one along and the one across it returns those of x and y.
    """
    if axis == "y":
        return y, x
    return x, y


@dataclass(frozen=True, slots=True)
class RulerSearch:
    """The rulers of a picture; ``reason`` says in one sentence why there is none that may be used."""

    vertical: Ruler | None = None
    horizontal: Ruler | None = None
    reason: str = ""

    @property
    def ruler(self) -> Ruler | None:
        """The vertical one, or else the horizontal one."""
        return self.vertical or self.horizontal


def find_ruler(frames: Sequence[Pixels], *, read: bool = True) -> RulerSearch:
    """Find the depth ruler that frames of equal size (RGB) show; several frames of a clip tell it from tissue.

    ``read`` also reads what is written beside it (0.2 s with Tesseract). Two rulers that differ, two images side by
    side and a ruler that changes from frame to frame are refused, each with its reason; so is a picture (a page of
    text, noise) that would take too long.
    """
    steady = steady_picture(frames)
    each: list[Grey] = []
    if len(frames) > 1:  # of one frame the steady picture is the frame itself
        each = [brightest_channel(pixels) for pixels in frames]
    work = Work()
    try:
        columns, rows = find_columns(steady, work), find_columns(np.ascontiguousarray(steady.T), work)
    except TooMuchWork:
        return RulerSearch(reason=TOO_BUSY)
    vertical, reason = _only(columns, each)
    across, reason_x = _only(rows, [grey.T for grey in each])
    if reason or (vertical is None and (across is None or reason_x)):
        return RulerSearch(reason=reason or reason_x or NO_RULER)
    # However well a ruler is drawn, it may belong to the other image.
    if _side_by_side(frames):
        return RulerSearch(reason=TWO_PANES)
    found = RulerSearch()
    if vertical is not None:
        found = replace(found, vertical=_ruler(vertical, "y", frames[0], read))
    if across is not None and not reason_x:
        found = replace(found, horizontal=_ruler(across, "x", frames[0], read))
    return found


def _only(columns: list[Column], each: Sequence[Grey]) -> tuple[Column | None, str]:
    """The one ruler of a direction, or why it cannot be used; neither where there is none."""
    precise = [column for column in columns if column.precise]
    if not precise:
        if any(column.lattice.relative_sd <= WORTH_SAYING for column in columns):
            return None, IMPRECISE
        return None, ""
    best = precise[0]
    if not all(_same(best, other) for other in precise[1:]):
        return None, TWO_RULERS
    if not all(seen_in(best, np.ascontiguousarray(grey)) for grey in each):
        return None, CHANGES
    return best, ""


def _same(first: Column, other: Column) -> bool:
    """The same ruler drawn a second time, on the other side of the picture."""
    pitch = first.lattice.pitch_px
    if abs(other.lattice.pitch_px / pitch - 1.0) > SAME_PITCH:
        return False
    shift = (other.lattice.origin_px - first.lattice.origin_px) / pitch
    return abs(shift - round(shift)) * pitch <= 2.0


def _ruler(column: Column, axis: str, pixels: Pixels, read: bool) -> Ruler:
    height, width = pixels.shape[:2]
    length, breadth = along_across(axis, width, height)
    lattice = column.lattice
    box = _watch_box(column, (breadth, length))
    if axis == "x":  # it was found on the transposed picture
        box = (box[1], box[0], box[3], box[2])
    labels: tuple[RulerLabel, ...] = ()
    if read:
        labels = read_labels(pixels, box)
    value = tick_value_mm(labels, lattice.origin_px, lattice.pitch_px, lattice.sites[-1], "xy".index(axis))
    middle = sum(column.x_px) / 2.0 > breadth / 2.0
    ticks = tuple(round(float(tick), 3) for tick in column.ticks_px)
    return Ruler(
        side={"y": ("left", "right"), "x": ("top", "bottom")}[axis][middle],
        axis=axis,
        size_px=(width, height),
        ticks_px=ticks,
        sites=lattice.sites,
        across_px=column.x_px,
        origin_px=lattice.origin_px,
        pitch_px=lattice.pitch_px,
        residual_px=lattice.residual_px,
        relative_sd=lattice.relative_sd,
        major_period=column.major_period,
        major_phase=column.major_phase,
        divisions=column.divisions,
        labels=labels,
        tick_mm=value,
        watch_box_px=box,
        evidence=xxhash.xxh3_64(repr((axis, (width, height), ticks, column.x_px)).encode()).hexdigest()[:12],
    )


def _watch_box(column: Column, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The ticks with what is written beside and just beyond them (as for a vertical ruler)."""
    width, height = size
    x0, x1 = column.x_px
    beside = min(BESIDE * width, BESIDE_PX)
    return (
        max(0, math.floor(x0 - beside)),
        max(0, math.floor(column.marks.y0[0] - ABOVE * height)),
        min(width, math.ceil(x1 + beside)),
        min(height, math.ceil(column.marks.y1[-1] + BEYOND * height)),
    )


def spacing(
    ruler: Ruler,
    tick_mm: float,
    across: Ruler | None = None,
    across_tick_mm: float | None = None,
    *,
    pixel_aspect: float = 1.0,
) -> Spacing:
    """The scale that a ruler gives when one of its ticks is worth ``tick_mm`` by the operator's word.

    One ruler measures one axis: the other is taken to be equal and ``detail`` says so, unless a second ruler ``across``
    comes with the worth of its ticks. ``relative_sd`` is the standard error of the pitch (the larger of the two).
    Raises ``UserError`` for a value that no tick has, and where the recording says that its pixels are not square
    (``pixel_aspect``, width over height) and only one axis was measured.
    """
    along = _mm_per_px(ruler, tick_mm)
    detail = f"{tick_mm:g} mm a tick; {ruler.describe()}; ruler {ruler.evidence}"
    if across is not None and across_tick_mm is not None:
        other = _mm_per_px(across, across_tick_mm)
        detail += f". {across.axis}: {across_tick_mm:g} mm a tick; {across.describe()}; ruler {across.evidence}"
        sd = max(ruler.relative_sd, across.relative_sd)
    elif not is_square(pixel_aspect):
        raise UserError(
            f"The pixels are not square (width : height = {pixel_aspect:.3f}) and the ruler measures one axis only",
            GIVE_BOTH,
        )
    else:
        other, sd = along, ruler.relative_sd
        detail += f". {along_across(ruler.axis, 'x', 'y')[1]} is taken to be equal"
    x_mm, y_mm = along_across(ruler.axis, along, other)
    scale = Spacing(x_mm, y_mm, ScaleSource.RULER, detail, sd)
    check_stated(scale, ruler.size_px)
    return scale


def _mm_per_px(ruler: Ruler, tick_mm: float) -> float:
    wrong, advice = f"A tick of {tick_mm:g} mm cannot be right", "Say how many mm lie between two ticks"
    if not MIN_TICK_MM <= tick_mm <= MAX_TICK_MM:  # true for nan, too
        raise UserError(wrong, advice)
    if found := implausible_ruler(ruler.sites[-1] * tick_mm):
        raise UserError(f"{wrong}: it would mean {found}", advice)
    return tick_mm / ruler.pitch_px


def _side_by_side(frames: Sequence[Pixels]) -> bool:
    """True when the brightest of all frames (RGB) shows two large pieces beside each other, about equally high."""
    lit = np.maximum.reduce([_small(pixels) for pixels in frames]) > ABOVE_BACKGROUND
    opened = cv2.morphologyEx(lit.view(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9), dtype=np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    large = [piece for piece in stats[1:] if piece[cv2.CC_STAT_AREA] >= MIN_SHARE * lit.size]
    return any(_beside(first, other) for i, first in enumerate(large) for other in large[i + 1 :])


def _small(pixels: Pixels) -> Pixels:
    factor = WORK_PX / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(small.max(axis=2), dtype=np.uint8)


def _beside(first: NDArray[np.int32], other: NDArray[np.int32]) -> bool:
    x, y, width, height = first[:4]
    other_x, other_y, other_width, other_height = other[:4]
    apart = x + width <= other_x + 2 or other_x + other_width <= x + 2
    shared = min(y + height, other_y + other_height) - max(y, other_y)
    return bool(
        apart
        and shared >= ALIKE * max(height, other_height)
        and min(width, other_width) >= 0.5 * max(width, other_width)
    )
