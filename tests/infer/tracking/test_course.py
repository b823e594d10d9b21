"""What an outline may do in half a second: a beat, a breath, a sweep; and what it may not: leak, jump, tear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from usviewer.frame import FrameKey, Mask
from usviewer.infer.tracking.course import ASIDE, DENTED, GREW, SHRANK, Course, solidity

KEY = FrameKey("x", 0, 0.0, 0.0, "")
Y, X = np.mgrid[0:240, 0:320] + 0.5
STEP_S = 0.04


def disc(radius: float, x: float = 160.0, y: float = 120.0) -> Mask:
    return np.asarray(np.hypot(X - x, Y - y) < radius)


def at(index: int) -> FrameKey:
    return replace(KEY, index=index, media_time_s=index * STEP_S)


def objections(shape: Callable[[int], Mask], carried: Callable[[int], Mask], count: int, sign: int = 1) -> list[str]:
    course, said = Course(at(0), shape(0)), []
    for index in range(1, count):
        key = at(sign * index)
        said.append(course.objection(key, shape(index), carried(index)))
        course.add(key, shape(index), carried(index))
    return said


@pytest.mark.parametrize("sign", [1, -1])
def test_a_leak_is_noticed_although_every_answer_is_near_the_one_before(sign: int) -> None:
    """The area doubles in half a second, 6 % from frame to frame, while nothing in the picture moves."""

    def leaking(index: int) -> Mask:
        return disc(40 * 1.03**index)

    said = objections(leaking, lambda index: leaking(index - 1), 13, sign)
    assert said[:3] == ["", "", ""] and GREW in said[:6]


def test_a_growth_that_motion_shows_is_taken_up_to_what_a_vessel_can_do() -> None:
    def filling(index: int) -> Mask:
        return disc(40 * 1.015**index)

    assert set(objections(filling, filling, 13)) == {""}  # 1.43 times the area in half a second

    def bursting(index: int) -> Mask:
        return disc(40 * 1.04**index)

    assert GREW in objections(bursting, bursting, 13)


def test_a_pulse_a_breath_and_a_sweep_are_no_objection() -> None:
    def radius(index: int) -> float:
        return 40 + 2 * float(np.sin(index / 3))

    def moved_to(index: int, size: float) -> Mask:
        return disc(size, 160 + 1.5 * index, 120 + 6 * np.sin(index / 20))

    # Motion tells the way, and nothing of the pulse.
    said = objections(lambda i: moved_to(i, radius(i)), lambda i: moved_to(i, radius(i - 1)), 60)
    assert set(said) == {""}


def test_an_outline_that_shrinks_jumps_or_tears_is_objected_to() -> None:
    still = disc(40)
    torn = still & ~((np.abs(Y - 120) < 12) & (X > 140))
    for wrong, why in ((disc(28), SHRANK), (disc(40, 203), ASIDE), (torn, DENTED)):
        course = Course(at(0), still)
        assert course.objection(at(1), still, still) == ""
        assert course.objection(at(1), wrong, still) == why


def test_what_is_older_than_half_a_second_no_longer_counts() -> None:
    course = Course(at(0), disc(40))
    for index in range(1, 60):
        course.add(at(index), disc(40 * 1.004**index), disc(40 * 1.004**index))
    assert course.objection(at(60), disc(40 * 1.004**60), disc(40 * 1.004**60)) == ""
    assert len(course._places) <= 14


def test_solidity_is_near_one_for_a_disc_and_low_for_a_ring_that_is_open() -> None:
    assert solidity(disc(40)) > 0.97
    assert solidity(disc(40) & ~disc(25) & ~((np.abs(Y - 120) < 10) & (X > 160))) < 0.7
    assert solidity(np.zeros((10, 10), np.bool_)) == 0.0
