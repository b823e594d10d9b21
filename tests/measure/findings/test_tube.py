import math

import numpy as np
import pytest

from tests.helpers.drawing import ellipse_mask, tube_mask
from usviewer.measure.findings.tube import EDGE_PX, widest
from usviewer.measure.geometry import border_distance_px, border_margin_px, shape_of


def measure(mask, x_scale=1.0, y_scale=1.0, bordered=True):
    shape = shape_of(mask)
    margin = border_margin_px(shape, border_distance_px(None, (mask.shape[1], mask.shape[0])))
    near = margin <= EDGE_PX if bordered else np.zeros_like(shape.mask)
    return widest(shape, near, x_scale, y_scale)


@pytest.mark.parametrize("degrees", [0, 5, 10, 20, 30, -20, -30, 40])
def test_width_is_perpendicular_to_the_centreline(degrees):
    assert measure(tube_mask(60, degrees)).width == pytest.approx(60.0, abs=0.5)


@pytest.mark.parametrize(("degrees", "column"), [(20, 63.9), (30, 69.3)])
def test_the_height_of_a_column_would_be_too_much(degrees, column):
    mask = tube_mask(60, degrees)
    assert np.median(mask.sum(axis=0)[200:440]) == pytest.approx(column, abs=0.8)


@pytest.mark.parametrize("degrees", [60, 75, 90])
def test_a_vessel_that_runs_down_is_measured_along_rows(degrees):
    assert measure(tube_mask(60, degrees)).width == pytest.approx(60.0, abs=0.5)


def test_unequal_spacing():
    mask = tube_mask(15.0, 25, x_scale=0.30, y_scale=0.25)
    assert measure(mask, 0.30, 0.25).width == pytest.approx(15.0, abs=0.15)


def test_the_caliper_is_as_long_as_the_number_and_lies_on_the_walls():
    found = measure(tube_mask(60, 30))
    (x0, y0), (x1, y1) = found.ends_xy_px
    assert math.hypot(x1 - x0, y1 - y0) == pytest.approx(found.width, abs=1e-6)
    assert math.degrees(math.atan2(y1 - y0, x1 - x0)) == pytest.approx(120, abs=1.0)
    centre = np.array([320, 240])
    normal = np.array([-math.sin(math.radians(30)), math.cos(math.radians(30))])
    for end in found.ends_xy_px:
        assert abs(abs((np.array(end) - centre) @ normal) - 30) < 0.8


def test_a_bulge_is_the_maximum():
    mask = tube_mask(60, 0) | ellipse_mask((300, 240), 110, 45)
    assert measure(mask).width == pytest.approx(90, abs=1.5)


def test_a_spike_of_a_few_columns_is_not():
    mask = tube_mask(60, 0)
    mask[190:290, 300:303] = True
    assert measure(mask).width < 65


def test_the_half_diameter_at_each_end_does_not_count():
    mask = tube_mask(60, 0)
    mask[:, :100] = mask[:, 540:] = False
    mask[190:290, 100:118] = True
    assert measure(mask).width == pytest.approx(60, abs=1.5)


def test_too_short_a_vessel_has_no_width():
    mask = tube_mask(60, 0)
    mask[:, :290] = mask[:, 350:] = False
    assert measure(mask) is None


def test_moved_by_any_number_of_pixels_the_width_stays():
    mask = tube_mask(50, 12, size=(500, 400))
    mask[:, :80] = mask[:, 420:] = False
    shape, moved = shape_of(mask), shape_of(mask, (37, 11))
    near = np.zeros_like(shape.mask)
    first, second = widest(shape, near), widest(moved, near)
    assert first.width == pytest.approx(second.width)
    assert np.allclose(np.subtract(second.ends_xy_px, first.ends_xy_px), (37, 11))
