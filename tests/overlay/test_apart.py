"""Words that would lie over one another."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from usviewer.overlay.layout import avoid_overlap

ROOM = (0.0, 0.0, 400.0, 300.0)


def moved(boxes, room=ROOM, taken=()):
    corners = avoid_overlap(boxes, room, taken)
    return [(x, y, x + b[2] - b[0], y + b[3] - b[1]) for b, (x, y) in zip(boxes, corners, strict=True)]


def over(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_what_lies_free_stays():
    assert avoid_overlap([(10, 10, 60, 30), (10, 30, 60, 50)], ROOM) == [(10, 10), (10, 30)]


def test_a_later_one_goes_to_the_nearer_side():
    assert avoid_overlap([(10, 100, 60, 120), (20, 105, 90, 125)], ROOM)[1] == (20, 120)
    assert avoid_overlap([(10, 100, 60, 120), (20, 95, 90, 115)], ROOM)[1] == (20, 80)


def test_what_is_taken_is_left_free_and_the_room_is_kept():
    assert avoid_overlap([(-20, -5, 30, 15)], ROOM, [(0, 0, 100, 12)]) == [(0, 12)]
    assert avoid_overlap([(380, 290, 430, 310)], ROOM) == [(350, 280)]


def test_without_a_free_place_it_stays():
    assert avoid_overlap([(0, 0, 400, 300), (5, 5, 50, 20)], ROOM)[1] == (5, 5)


sizes = st.tuples(st.floats(-50, 420), st.floats(-50, 320), st.floats(5, 120), st.just(20.0))


@given(st.lists(sizes, max_size=6))
def test_no_two_lie_over_one_another_and_all_are_whole(found):
    done = moved([(x, y, x + w, y + h) for x, y, w, h in found])
    assert not any(
        over((a[0] + 1e-6, a[1] + 1e-6, a[2] - 1e-6, a[3] - 1e-6), b) for a, b in itertools.combinations(done, 2)
    )
    assert all(x0 >= 0 and y0 >= 0 and x1 <= 400 + 1e-6 and y1 <= 300 + 1e-6 for x0, y0, x1, y1 in done)
