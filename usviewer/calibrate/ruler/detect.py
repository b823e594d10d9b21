"""The depth ruler of the scanner's screen, of any vendor: a proposal until the operator says what its ticks are worth.

Ticks or dots, left or right, numbered or not: what all rulers share is that they are small, alike, still and equally
spaced. What a tick is worth is never guessed: the numbers beside it are read where Tesseract is installed, and even
then the operator confirms the first time (``docs/clinical.md``, "Scale without metadata").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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

NO_RULER = "No depth ruler was found on the picture"
TWO_RULERS = "Two rulers with different spacings (zoom, or two images side by side): none of them is used"
TWO_PANES = "Two images side by side: the ruler may belong to either"
TOO_BUSY = "Too much on the picture looks like the ticks of a ruler: no ruler was looked for"
CHANGES = "The ruler changes within these frames (another depth or zoom)"
IMPRECISE = "A ruler was found, but its ticks are too few or too uneven to measure by"
ISOTROPIC = "x is taken to be equal"
GIVE_BOTH = "Give both scales, x and y with an x between them: --mm-per-pixel 0.21x0.25"
MIN_TICK_MM, MAX_TICK_MM = 0.1, 100.0
SAME_PITCH = 0.005
# Below this precision it may as well be tissue.
WORTH_SAYING = 0.005
# Numbers stand within so much of the picture's width beside the ticks (at most so far), and of its height beyond the
# last one.
BESIDE, BESIDE_PX = 0.075, 110
BEYOND = 0.0375
ABOVE = 0.015
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
        larger = f", one in {self.major_period} larger" if self.major_period else ""
        if self.divisions > 1:
            larger += f", with {self.divisions} smaller steps in each that do not count"
        return (
            f"{len(self.ticks_px)} ticks on the {self.side}, {self.pitch_px:.2f} px apart{larger}, "
            f"residual {self.residual_px:.2f} px"
        )


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
    """The depth ruler that frames of equal size (RGB) show; several frames of a clip tell it from tissue.

    ``read`` also reads what is written beside it (0.2 s with Tesseract). Two rulers that differ, two images side by
    side and a ruler that changes from frame to frame are refused, each with its reason; so is a picture (a page of
    text, noise) that would take too long.
    """
    steady = steady_picture(frames)
    each = [brightest_channel(pixels) for pixels in frames] if len(frames) > 1 else []
    work = Work()
    try:
        columns, rows = find_columns(steady, work), find_columns(np.ascontiguousarray(steady.T), work)
    except TooMuchWork:
        return RulerSearch(reason=TOO_BUSY)
    vertical, reason = _only(columns, each)
    across, reason_x = _only(rows, [grey.T for grey in each])
    if reason or (vertical is None and (across is None or reason_x)):
        return RulerSearch(reason=reason or reason_x or NO_RULER)
    if side_by_side(frames):
        return RulerSearch(reason=TWO_PANES)
    return RulerSearch(
        None if vertical is None else _ruler(vertical, "y", frames[0], read),
        None if across is None or reason_x else _ruler(across, "x", frames[0], read),
    )


def _only(columns: list[Column], each: Sequence[Grey]) -> tuple[Column | None, str]:
    """The one ruler of a direction, or why it cannot be used; neither where there is none."""
    precise = [column for column in columns if column.precise]
    if not precise:
        return None, IMPRECISE if any(c.lattice.relative_sd <= WORTH_SAYING for c in columns) else ""
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
    lattice = column.lattice
    box = _watch_box(column, (width, height) if axis == "y" else (height, width))
    if axis == "x":
        box = (box[1], box[0], box[3], box[2])
    labels = read_labels(pixels, box) if read else ()
    value = tick_value_mm(labels, lattice.origin_px, lattice.pitch_px, lattice.sites[-1], 1 if axis == "y" else 0)
    middle = sum(column.x_px) / 2.0 > (width if axis == "y" else height) / 2.0
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
    """The scale that a ruler gives when one of its ticks is worth ``tick_mm``, as the operator says.

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
        detail += f". {ISOTROPIC if ruler.axis == 'y' else ISOTROPIC.replace('x', 'y', 1)}"
    x_mm, y_mm = (other, along) if ruler.axis == "y" else (along, other)
    scale = Spacing(x_mm, y_mm, ScaleSource.RULER, detail, sd)
    check_stated(scale, ruler.size_px)
    return scale


def _mm_per_px(ruler: Ruler, tick_mm: float) -> float:
    possible = MIN_TICK_MM <= tick_mm <= MAX_TICK_MM  # false for nan, too
    found = implausible_ruler(ruler.sites[-1] * tick_mm) if possible else ""
    if found or not possible:
        why = f": it would mean {found}" if found else ""
        raise UserError(f"A tick of {tick_mm:g} mm cannot be right{why}", "Say how many mm lie between two ticks")
    return tick_mm / ruler.pitch_px


def side_by_side(frames: Sequence[Pixels]) -> bool:
    """True when the brightest of all frames shows two large pieces beside each other, about equally high."""
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
