"""The imitated user: where it clicks, and what box it draws."""

from __future__ import annotations

import numpy as np
import pytest

from usviewer.evaluate.prompts import Click, box_of, depth_map, next_click, structures


def block(*rows_columns: tuple[int, int, int, int], shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    mask = np.zeros(shape, np.bool_)
    for top, bottom, left, right in rows_columns:
        mask[top:bottom, left:right] = True
    return mask


def test_first_click_is_the_innermost_pixel() -> None:
    # 7 x 9 pixels: three rows deep in the middle row, and of its equally deep pixels the first.
    assert next_click(block((4, 11, 10, 19))) == Click((13.5, 7.5), True)


def test_the_border_of_the_picture_counts_as_outside() -> None:
    assert depth_map(np.ones((5, 5), np.bool_))[2, 2] == pytest.approx(3.0)
    assert next_click(np.ones((5, 5), np.bool_)) == Click((2.5, 2.5), True)


def test_next_click_falls_where_most_is_wrong() -> None:
    truth = block((4, 11, 4, 11))
    assert next_click(truth, truth | block((12, 19, 18, 25))) == Click((21.5, 15.5), False)
    assert next_click(truth | block((4, 7, 20, 23)), truth) == Click((21.5, 5.5), True)
    assert next_click(truth, truth) is None


def test_missed_goes_before_too_much_of_the_same_depth() -> None:
    click = next_click(block((2, 5, 2, 5)), block((12, 15, 12, 15)))
    assert click is not None and click.positive


def test_box_is_tight_in_corner_convention() -> None:
    assert box_of(block((4, 11, 10, 19))) == (10.0, 4.0, 19.0, 11.0)


def test_connected_parts_are_structures_and_crumbs_are_not() -> None:
    parts = list(structures(block((0, 6, 0, 6), (10, 18, 10, 20), (0, 2, 25, 27))))
    assert [int(part.sum()) for part in parts] == [80, 36]
