"""The estimators of docs/clinical.md, "The diameter from a mask": ours holds the tolerance, each wrong one fails."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from tests.helpers.drawing import ellipse_mask, fan, geometry, prediction, tube_mask
from usviewer.measure import read, summarize, sweep
from usviewer.measure.findings import aorta
from usviewer.measure.geometry import shape_of
from usviewer.measure.reading import Plane, Status
from usviewer.measure.section import PlaneTracker

RNG = np.random.default_rng(11)
CIRCLES = [(float(d), RNG.uniform(230, 250, 2)) for d in RNG.uniform(36, 120, 60)]


def contour_of(mask):
    return max(cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)


def by_moments(mask):
    ellipse = shape_of(mask).moments.ellipse()
    return ellipse.semi_major + ellipse.semi_minor


def without_pixel_term(mask):
    rows, _ = np.nonzero(mask)
    return 4.0 * float(rows.std())


def by_fit_ellipse(mask):
    return float(np.mean(cv2.fitEllipse(contour_of(mask))[1]))


def by_rectangle(mask):
    return float(np.mean(cv2.minAreaRect(contour_of(mask))[1]))


def by_distance(mask):
    return 2.0 * float(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())


def by_least_feret(mask):
    points = contour_of(mask)[:, 0, :].astype(np.float64)
    turn = np.radians(np.arange(0, 180))
    along = points @ np.array([np.cos(turn), np.sin(turn)])
    return float(np.ptp(along, axis=0).min())


def by_rows(mask):
    return float(np.count_nonzero(mask.any(axis=1)))


def holds(estimate, bias=0.03, worst=0.2):
    """Whether an estimator of a circle's diameter is as good as ours: mean and largest error in pixels."""
    errors = np.array([estimate(ellipse_mask(tuple(c), d / 2, d / 2)) - d for d, c in CIRCLES])
    return abs(float(errors.mean())) <= bias and float(np.abs(errors).max()) <= worst


def test_ours_holds():
    assert holds(by_moments)


@pytest.mark.parametrize("wrong", [by_fit_ellipse, by_rectangle, by_distance, by_least_feret, by_rows])
def test_the_others_do_not(wrong):
    assert not holds(wrong)


def test_small_shapes_need_the_pixel_term():
    mask = ellipse_mask((240.2, 240.4), 5.0, 5.0)
    assert by_moments(mask) == pytest.approx(10.0, abs=0.06)
    assert abs(without_pixel_term(mask) - 10.0) > 0.06


def test_the_ap_of_a_turned_ellipse_is_not_its_short_axis():
    reading = read(prediction(ellipse_mask((320.3, 240.7), 36, 30, 45)), None, "aorta")
    assert reading.get("ap_diameter").value_px == pytest.approx(66.27, abs=0.1)
    assert abs(reading.get("minor_diameter").value_px - 66.27) > 1


@pytest.mark.parametrize(("degrees", "column"), [(20, 63.9), (30, 69.3)])
def test_the_height_of_a_column_is_not_the_width(degrees, column):
    mask = tube_mask(60, degrees)
    height = float(np.median(mask.sum(axis=0)))
    assert height == pytest.approx(column, abs=1.0)
    found = read(prediction(mask), None, "aorta").measurements[0].value_px
    assert found == pytest.approx(60.0, abs=0.5)


def test_area_equivalent_is_not_the_ap_of_what_is_not_round():
    mask = ellipse_mask((320.3, 240.7), 50, 40)
    assert abs(2 * math.sqrt(np.count_nonzero(mask) / math.pi) - 80.0) > 5
    assert read(prediction(mask), None, "aorta").get("ap_diameter").value_px == pytest.approx(80.0, abs=0.2)


# --- what must hold in every single case ------------------------------------------------------------------------------

CASES = 200


def test_whatever_is_cut_off_by_the_sector_is_refused():
    rng, sector = np.random.default_rng(1), fan()
    for _ in range(CASES):
        radius, angle = rng.uniform(20, 60), rng.choice([-1, 1]) * math.radians(35)
        reach = rng.uniform(160, 440)
        off = rng.uniform(-0.8, 0.95) * radius  # the centre's distance from the side: always less than the radius
        edge = np.array([320 + reach * math.sin(angle), -60 + reach * math.cos(angle)])
        inward = np.array([-math.copysign(math.cos(angle), angle), abs(math.sin(angle))])
        mask = ellipse_mask(tuple(edge + off * inward), radius, radius)
        reading = read(prediction(mask), geometry(sector=sector), "aorta")
        assert (reading.status, reading.measurements) == (Status.REFUSED, ())


def test_whatever_is_absent_is_not_visualised():
    for index in range(CASES):
        reading = read(prediction(time_s=index * 0.1), geometry(), "aorta")
        assert (reading.status, reading.measurements) == (Status.NOT_VISUALISED, ())


def test_whatever_is_longer_than_1_3_is_warned_of():
    rng = np.random.default_rng(2)
    for _ in range(CASES):
        short, ratio = rng.uniform(20, 60), rng.uniform(1.32, 1.55)
        mask = ellipse_mask((320.3, 240.7), short * ratio, short, rng.uniform(0, 180))
        reading = read(prediction(mask), geometry(), "aorta")
        assert aorta.OBLIQUE in reading.warnings


def test_a_longitudinal_value_always_says_so_and_never_becomes_the_maximum():
    rng = np.random.default_rng(3)
    across = read(prediction(ellipse_mask((320, 240), 40, 40)), geometry(), "aorta")
    for _ in range(CASES // 4):
        mask = tube_mask(rng.uniform(90, 150), rng.uniform(-25, 25))
        tracker = PlaneTracker(Plane.LONGITUDINAL) if rng.random() < 0.5 else None
        along = read(prediction(mask, time_s=0.1), geometry(), "aorta", tracker)
        assert aorta.MAY_UNDERESTIMATE in along.warnings
        assert along.measurements[0].value_mm > across.measurements[0].value_mm
        (found,) = sweep([across, along, along])
        assert found.plane is summarize([across, along, along]).plane is Plane.TRANSVERSE
        assert found.maximum == across.measurements[0].value_mm
