from __future__ import annotations

import numpy as np
import pytest

from usviewer.frame import Frame, ImageGeometry, Region, make_frame
from usviewer.infer.parity import NOTHING_FOUND, Deviation, compare_engines, diameters, join_masks
from usviewer.infer.prediction import Instance
from usviewer.units import ScaleSource, Spacing

GATE = 0.5


def ellipse(
    a: float, b: float, centre: tuple[float, float] = (100.0, 80.0), tilt: float = 0.0, score: float = 0.9, **more: int
) -> Instance:
    """A filled ellipse with those semi-axes, its mask cut to its box."""
    y, x = np.mgrid[0:160, 0:200] + 0.5
    dx, dy = x - centre[0], y - centre[1]
    along, across = dx * np.cos(tilt) + dy * np.sin(tilt), dy * np.cos(tilt) - dx * np.sin(tilt)
    mask = (along / a) ** 2 + (across / b) ** 2 <= 1
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return Instance("disc", more.get("class_index", 0), score, (x0, y0, x1, y1), mask[y0:y1, x0:x1], (x0, y0))


def frame(spacing: Spacing | None = None) -> Frame:
    geometry = ImageGeometry((Region((0, 0, 200, 160), spacing),)) if spacing else None
    return make_frame(np.zeros((160, 200, 3), np.uint8), "x", 0, geometry=geometry)


def test_diameters_of_a_turned_ellipse() -> None:
    a, b, tilt = 40.0, 24.0, np.radians(30)
    across, down, major, minor = diameters(ellipse(a, b, tilt=tilt))
    assert (major, minor) == (pytest.approx(80, abs=0.15), pytest.approx(48, abs=0.15))
    assert across == pytest.approx(2 * np.hypot(a * np.cos(tilt), b * np.sin(tilt)), abs=0.15)
    assert down == pytest.approx(2 * np.hypot(a * np.sin(tilt), b * np.cos(tilt)), abs=0.15)


def test_diameters_in_millimetres_follow_each_axis() -> None:
    across, down, _, _ = diameters(ellipse(40, 24), 0.5, 0.25)
    assert (across, down) == (pytest.approx(40, abs=0.1), pytest.approx(12, abs=0.1))


def test_the_same_passes_and_says_so() -> None:
    same = compare_engines((ellipse(40, 24),), (ellipse(40, 24),), frame(), GATE)
    assert same.passed and (same.compared, same.iou, same.diameter_px) == (1, 1.0, 0.0)
    assert same.describe() == "overlap 1.0000, diameter 0.00 px off"


def test_a_thinner_mask_fails_by_its_overlap() -> None:
    thin = compare_engines((ellipse(40, 24),), (ellipse(40, 23.5),), frame(), GATE)
    assert not thin.passed and 0.97 < thin.iou < 0.99


def test_a_large_mask_fails_by_its_diameter_though_the_overlap_is_good() -> None:
    long = compare_engines((ellipse(90, 70),), (ellipse(90.7, 70),), frame(), GATE)
    assert long.iou > 0.99 and long.diameter_px > 1.0 and not long.passed


@pytest.mark.parametrize(("mm_per_px", "passes"), [(0.1, True), (0.6, False)])
def test_with_a_scale_millimetres_decide(mm_per_px: float, passes: bool) -> None:
    spacing = Spacing(mm_per_px, mm_per_px, ScaleSource.MANUAL)
    off = compare_engines((ellipse(90, 70),), (ellipse(90.6, 70.1),), frame(spacing), GATE)
    assert off.iou > 0.99 and off.diameter_mm == pytest.approx(off.diameter_px * mm_per_px)
    assert off.passed is passes


def test_what_is_missing_or_new_is_named() -> None:
    disc = ellipse(40, 24)
    assert compare_engines((disc,), (), frame(), GATE).problem == "'disc' is missing on a picture"
    assert compare_engines((), (disc,), frame(), GATE).problem == "'disc' appears where the CPU finds none"
    assert not compare_engines((disc,), (ellipse(40, 24, class_index=1),), frame(), GATE).passed


def test_at_the_gate_an_instance_may_come_and_go() -> None:
    faint = ellipse(40, 24, score=GATE + 0.01)
    assert compare_engines((faint,), (), frame(), GATE).problem == ""
    assert compare_engines((), (faint,), frame(), GATE).problem == ""


def test_comparing_nothing_proves_nothing() -> None:
    nothing = join_masks(compare_engines((), (), frame(), GATE) for _ in range(3))
    assert not nothing.passed and nothing.describe() == NOTHING_FOUND


def test_the_worst_counts() -> None:
    worst = join_masks((Deviation(1, 0.999, 0.1, None, 0.1), Deviation(2, 0.98, 0.5, 0.2), Deviation(1, 1.0, 0.0)))
    assert worst == Deviation(4, 0.98, 0.5, 0.2, 0.1)
    assert join_masks((worst, Deviation(problem="gone"))).problem == "gone"


def test_boxes_without_masks_are_compared_by_their_sides() -> None:
    box, near, far = (Instance("b", 0, 0.9, (10.0, 10.0, x1, 60.0)) for x1 in (110.0, 110.4, 112.0))
    assert compare_engines((box,), (near,), frame(), GATE).passed
    assert not compare_engines((box,), (far,), frame(), GATE).passed


def test_each_instance_is_matched_with_its_own() -> None:
    left, right = ellipse(20, 20, (50.0, 80.0)), ellipse(24, 24, (140.0, 80.0))
    assert compare_engines((left, right), (right, left), frame(), GATE).iou == 1.0
