"""Finds columns of equally spaced marks that look like one drawn ruler, and nothing else does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from usviewer.calibrate.ruler.ticks import (
    LEVELS,
    MAX_LENGTH,
    MIN_TICKS,
    Grey,
    Lattice,
    Marks,
    Values,
    allow_for_rounding,
    fit_lattice,
    likely_pitches,
    measure_marks,
    perhaps_alone,
    runs_of,
    stand_out,
    thickest_px,
)

MAX_IN_COLUMN = 150
# A ruler is at least so long, as a share of the picture's height.
MIN_SPAN = 0.25
MAX_RESIDUAL_PX = 0.6
# What rounding to whole rows leaves open is even (width over the root of 12): never more than 0.2 % off.
MAX_RELATIVE_SD = 0.00115
# Marks of the same kind that lie between the ticks: a few are focus marks and digits, many are texture.
MAX_STRAYS = 0.25
MIN_SEEN = 0.8
SURROUND_PX = 8
MIN_ALONE = 0.6
# Every how many ticks one may be larger.
PERIODS = (10, 5, 4, 2)
# Work is counted, not timed: the same picture gives the same answer on every computer. One unit is a place that a
# lattice is fitted to, about 7 microseconds; the others are their cost by comparison. Of 336 real pictures and
# screens none takes more than 65,000, enlarged to 4K 230,000; a page of small print takes millions.
MOST_WORK = 400_000
COLUMN_WORK, MARK_WORK, DIVISIONS_WORK = 30, 8, 400
MAJOR_RATIO = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One ruler-like column: its ticks' marks, their lattice, and every how many a tick is larger.

    ``major_period`` is None where all ticks look alike; the larger ones are those whose site is ``major_phase`` modulo
    the period.
    """

    marks: Marks
    lattice: Lattice
    major_period: int | None
    major_phase: int
    divisions: int = 1
    x: int = 0
    level: int = 0

    @property
    def x_px(self) -> tuple[float, float]:
        """Left and right end of the longest tick."""
        return float(self.marks.x0.min()), float(self.marks.x1.max())

    @property
    def ticks_px(self) -> Values:
        """Centres of the ticks, ascending."""
        return self.marks.centre_y

    @property
    def precise(self) -> bool:
        """Whether the pitch may become millimetres."""
        return self.lattice.residual_px <= MAX_RESIDUAL_PX and self.lattice.relative_sd <= MAX_RELATIVE_SD


class TooMuchWork(Exception):
    """More of the picture looks like ticks than can be examined."""


class Work:
    """The work that is left for one picture, in both directions together."""

    def __init__(self, most: int = MOST_WORK) -> None:
        self.left = most

    def spend(self, units: int) -> None:
        """Take from the work that is left; raise ``TooMuchWork`` when it does not suffice."""
        self.left -= units
        if self.left < 0:
            raise TooMuchWork


def find_columns(grey: Grey, work: Work) -> list[Column]:
    """Every distinct vertical ruler of the picture, the one with the most ticks first.

    Finds all of them or raises ``TooMuchWork``: one that was not reached might contradict the others.
    """
    contrast = stand_out(grey, thickest_px(grey.shape))
    found: list[Column] = []
    for level in LEVELS:
        lit = contrast > level
        for x in _columns_to_try(lit):
            found += filter(None, [_column(contrast, lit, x, level, work)])
    return _distinct(found)


def seen_in(column: Column, grey: Grey) -> bool:
    """Whether another picture of the same size shows these ticks and no others: the depth was not changed."""
    x0, x1 = (int(x) for x in column.x_px)
    left, right = max(0, x0 - SURROUND_PX), min(grey.shape[1], x1 + SURROUND_PX)
    contrast = stand_out(np.ascontiguousarray(grey[:, left:right]), thickest_px(grey.shape))
    lit = contrast > column.level
    marks = measure_marks(contrast, lit, column.x - left, *runs_of(lit, column.x - left))
    off_px = np.abs(column.ticks_px[:, None] - marks.centre_y[None, :]) <= 1.0
    others = marks.take(np.flatnonzero(~off_px.any(axis=0)))
    return bool(off_px.any(axis=1).mean() >= MIN_SEEN and _strays(column.marks, others) <= MAX_STRAYS * len(off_px))


def _columns_to_try(lit: NDArray[np.bool_]) -> list[int]:
    """Columns that cross a fair number of marks, enough of them alone, one of each set of equal neighbours."""
    begins, alone = _begins(lit), _begins(perhaps_alone(lit))
    changes = np.append(True, (lit[:, 1:] != lit[:, :-1]).any(axis=0))
    enough = (begins >= MIN_TICKS) & (begins <= MAX_IN_COLUMN) & (alone >= math.ceil(MIN_ALONE * MIN_TICKS))
    return [int(x) for x in np.flatnonzero(enough & changes)]


def _begins(lit: NDArray[np.bool_]) -> NDArray[np.intp]:
    """How many lit stretches each column has, one at the very top not counted."""
    return np.asarray(np.count_nonzero(lit[1:] & ~lit[:-1], axis=0), dtype=np.intp)


def _column(contrast: Grey, lit: NDArray[np.bool_], x: int, level: int, work: Work) -> Column | None:
    """The ruler whose ticks column ``x`` crosses, if there is one."""
    work.spend(COLUMN_WORK)
    starts, ends = runs_of(lit, x)
    centres = (starts + ends) / 2.0
    profile = _impulses(centres, lit.shape[0])
    for pitch in likely_pitches(profile):
        work.spend(len(centres))
        lattice = fit_lattice(centres, pitch)
        if lattice is None or lattice.sites[-1] * lattice.pitch_px < MIN_SPAN * lit.shape[0]:
            continue
        work.spend((MARK_WORK + 1) * len(centres))
        column = _checked(measure_marks(contrast, lit, x, starts, ends), lattice, contrast.shape)
        if column is not None:
            work.spend(DIVISIONS_WORK)
            return replace(column, x=x, level=level, divisions=_divisions(column, lit))
    return None


def _impulses(centres: Values, height: int) -> Values:
    """1.0 where a mark's centre lies, and in the rows beside it."""
    profile = np.zeros(height)
    for shift in (-1, 0, 1):
        profile[np.clip(centres.astype(np.intp) + shift, 0, height - 1)] = 1.0
    return profile


def _checked(marks: Marks, rough: Lattice, shape: tuple[int, ...]) -> Column | None:
    """The ruler of these marks, if its ticks are precise, drawn alike and by themselves."""
    lattice = fit_lattice(marks.centre_y, rough.pitch_px)
    if lattice is None or lattice.sites[-1] * lattice.pitch_px < MIN_SPAN * shape[0]:
        return None
    lattice = allow_for_rounding(lattice, marks.centre_y)
    chosen = np.asarray(lattice.members)
    ticks, others = marks.take(chosen), marks.take(np.setdiff1d(np.arange(len(marks)), chosen))
    period, phase = _hierarchy(ticks, lattice)
    if ticks.length.max() > MAX_LENGTH * max(shape) or np.mean(ticks.alone) < MIN_ALONE:
        return None
    if not _alike(ticks, lattice, period, phase) or _strays(ticks, others) > MAX_STRAYS * len(ticks):
        return None
    return Column(ticks, lattice, period, phase)


def _hierarchy(ticks: Marks, lattice: Lattice) -> tuple[int | None, int]:
    """Every how many ticks one is larger (longer, or a bigger dot), and the first of them."""
    size = ticks.length
    sites = np.asarray(lattice.sites)
    best: tuple[int | None, int] = (None, 0)
    fewest = len(size) // 8 + 1
    for period in PERIODS:
        for phase in range(min(period, len(sites))):
            wrong = _misplaced(size, sites % period == phase)
            if wrong < fewest:
                best, fewest = (period, phase), wrong
    return best


def _misplaced(size: Values, major: NDArray[np.bool_]) -> int:
    """How many ticks contradict that these are the larger ones; all of them when these are not larger."""
    if min(np.count_nonzero(major), np.count_nonzero(~major)) < 2:
        return len(size)
    large, small = float(np.median(size[major])), float(np.median(size[~major]))
    if large < MAJOR_RATIO * small:
        return len(size)
    middle = np.sqrt(large * small)  # what counts is the ratio, so the middle is the geometric one
    return int(np.count_nonzero(size[major] <= middle) + np.count_nonzero(size[~major] >= middle))


def _alike(ticks: Marks, lattice: Lattice, period: int | None, phase: int) -> bool:
    """Ticks of one kind are drawn alike: equal length, thickness and brightness, but for a few."""
    sites = np.asarray(lattice.sites)
    major = np.zeros(len(sites), dtype=bool)
    if period:
        major = sites % period == phase
    good = 0
    for kind in (major, ~major):
        if not kind.any():
            continue
        one = ticks.take(kind)
        good += int(
            np.count_nonzero(
                (np.abs(one.length - np.median(one.length)) <= 1.0 + 0.15 * np.median(one.length))
                & (np.abs(one.thickness - np.median(one.thickness)) <= 1.0)
                & (one.peak >= 0.6 * np.median(one.peak))
                & (one.peak <= 1.5 * np.median(one.peak))
            )
        )
    return good >= 0.75 * len(sites)


def _strays(ticks: Marks, others: Marks) -> int:
    """How many other marks of the column, between the first and the last tick, look like ticks."""
    within = (others.centre_y > ticks.centre_y[0]) & (others.centre_y < ticks.centre_y[-1])
    alike = (
        (others.length <= 1.5 * ticks.length.max())
        & (others.length >= 0.5 * ticks.length.min())
        & (others.thickness <= 1.5 * ticks.thickness.max())
        & (others.peak >= 0.6 * np.median(ticks.peak))
    )
    return int(np.count_nonzero(within & alike))


def _divisions(column: Column, lit: NDArray[np.bool_]) -> int:
    """Into how many steps smaller marks divide the step from tick to tick (1: there are none)."""
    ticks, pitch = column.ticks_px, column.lattice.pitch_px
    x0, x1 = (int(x) for x in column.x_px)
    centres = [np.add(*runs_of(lit, x)) / 2.0 for x in range(x0, x1)]
    for steps in PERIODS:
        parts = pitch * np.arange(1, steps) / steps
        places = (ticks[:-1, None] + parts[None, :]).ravel()
        reach = max(2.0, 0.15 * pitch / steps)
        if any(len(c) >= len(places) and _held(places, c, reach) >= MIN_SEEN for c in centres):
            return steps
    return 1


def _held(places: Values, centres: Values, reach: float) -> float:
    """Share of the places that have a mark within reach."""
    return float(np.mean(np.abs(places[:, None] - centres[None, :]).min(axis=1) <= reach))


def _distinct(found: list[Column]) -> list[Column]:
    """Drop the columns that are part of a better one: the same ticks, every fifth of them, or their numbers."""
    kept: list[Column] = []
    # The best first: precise before imprecise, then the most ticks, so that every later one is compared with it.
    for column in sorted(found, key=lambda c: (not c.precise, -len(c.marks), c.lattice.residual_px)):
        if not any(_part_of(column, better) for better in kept):
            kept.append(column)
    return kept


def _part_of(column: Column, better: Column) -> bool:
    near = 4.0 * (better.x_px[1] - better.x_px[0]) + 12.0
    if column.x_px[0] > better.x_px[1] + near or column.x_px[1] < better.x_px[0] - near:
        return False
    sites = (column.ticks_px - better.lattice.origin_px) / better.lattice.pitch_px
    off_px = np.abs(sites - np.round(sites)) * better.lattice.pitch_px
    return bool(np.mean(off_px <= 2.0) >= 0.8)
