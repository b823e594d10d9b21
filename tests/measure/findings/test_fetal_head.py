from __future__ import annotations

import csv
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.helpers.drawing import SIZE, ellipse_mask, fan, geometry, instance, predicted, prediction
from usviewer.infer.prediction import Edge
from usviewer.measure import read, summarize
from usviewer.measure.findings import fetal_head
from usviewer.measure.geometry import Ellipse, shape_of
from usviewer.measure.reading import Dimension, Status

BIG = (1000, 800)


def head(mask, known=None, *, edge=Edge.OUTER, given=None, edge_sd_px=None, size=SIZE):
    found = predicted(instance(mask, edge=edge, label="fetal head"), size=size, edge_sd_px=edge_sd_px)
    return read(found, known, "fetal-head", gestational_age_weeks=given)


HEAD = ellipse_mask((320.3, 240.7), 115, 90, 25)  # 57.5 x 45 mm at 0.5 mm


def test_a_head_is_measured_in_mm():
    reading = head(HEAD, geometry(0.5))
    assert reading.status is Status.MEASURED
    assert reading.measurements[0].name == "head_circumference"
    assert reading.get("head_circumference").value_mm == pytest.approx(323.212, abs=0.1)
    assert reading.get("biparietal_diameter").value_mm == pytest.approx(90.0, abs=0.1)
    assert reading.get("occipitofrontal_diameter").value_mm == pytest.approx(115.0, abs=0.1)
    assert reading.get("cephalic_index").value == pytest.approx(78.26, abs=0.1)
    assert reading.get("area").value_mm == pytest.approx(math.pi * 57.5 * 45, rel=0.002)
    assert reading.edge is Edge.OUTER


@pytest.mark.parametrize(("ra", "rb", "mm", "true"), [(230, 180, 0.25, 323.212), (120, 95, 0.15, 101.659)])
def test_moments_give_the_circumference_that_a_contour_is_short_of(ra, rb, mm, true):
    mask = ellipse_mask((500.3, 400.7), ra, rb, size=BIG)
    found = head(mask, geometry(mm, size=BIG), size=BIG).measurements[0].value_mm
    assert found == pytest.approx(true, abs=0.05)
    contour = max(cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
    _, axes, _ = cv2.fitEllipse(contour)
    short = Ellipse((0.0, 0.0), max(axes) / 2, min(axes) / 2, 0.0).circumference * mm
    assert true - short > 0.3


def test_unequal_pixels_are_used_per_axis_and_not_swapped():
    mask = ellipse_mask((320.3, 240.7), 200, 90)
    for (x_mm, y_mm), wanted_mm in {(0.3, 0.5): 90.0, (0.5, 0.3): 54.0}.items():
        known = replace(geometry(x_mm, y_mm), pixel_aspect=x_mm / y_mm)  # as the calibration gives it
        reading = head(mask, known)
        assert reading.get("biparietal_diameter").value_mm == pytest.approx(wanted_mm, abs=0.1)
        axes = np.array([400 * x_mm, 180 * y_mm]) / 2
        around_mm = Ellipse((0, 0), float(axes.max()), float(axes.min()), 0.0).circumference
        assert reading.get("head_circumference").value_mm == pytest.approx(around_mm, rel=0.002)


@pytest.mark.parametrize("name", ["biparietal_diameter", "occipitofrontal_diameter"])
def test_calipers_lie_along_the_axes_and_are_as_long_as_their_number(name):
    reading = head(ellipse_mask((320, 240), 150, 90, 30), geometry(0.30, 0.26))
    found = reading.get(name)
    assert reading.spacing.length_mm(*found.ends_xy_px) == pytest.approx(found.value_mm, abs=1e-9)
    assert np.mean(found.ends_xy_px, axis=0) == pytest.approx((320, 240), abs=0.3)


def test_gestational_age_is_by_both_formulas():
    reading = head(HEAD, geometry(175.0 / 323.212 * 0.5))
    assert reading.get("gestational_age_hadlock").value == pytest.approx(20.018, abs=0.02)
    assert reading.get("gestational_age_intergrowth").value == pytest.approx(20.221, abs=0.02)
    assert reading.get("gestational_age_hadlock").dimension is Dimension.WEEKS
    assert reading.get("head_circumference_centile") is None


def test_without_a_scale_there_are_pixels_and_no_age():
    reading = head(HEAD, None, given=28.0)
    assert reading.measurements[0].value_px == pytest.approx(646.4, abs=0.3)
    assert all(m.value_mm is None for m in reading.measurements)
    assert {m.name for m in reading.measurements if m.dimension is Dimension.WEEKS} == set()
    assert reading.get("head_circumference_centile") is None
    assert "pixels" in reading.no_scale_reason


def test_a_centile_is_read_against_the_given_age_only_and_never_changes_it():
    known = geometry(245.0 / 323.212 * 0.5)
    reading = head(HEAD, known, given=28.0)
    assert reading.get("head_circumference_centile").value == pytest.approx(4.28, abs=0.2)
    assert reading.get("gestational_age_given").value == 28.0
    assert reading.get("gestational_age_hadlock").value == head(HEAD, known).get("gestational_age_hadlock").value
    late = head(HEAD, known, given=41.0)
    assert late.get("head_circumference_centile") is None
    assert fetal_head.NO_CENTILE in late.warnings


def test_outside_their_ranges_the_ages_are_refused():
    small = head(ellipse_mask((320, 240), 115, 90), geometry(60 / 646.4))
    assert small.get("gestational_age_hadlock") is None
    assert small.get("gestational_age_intergrowth") is None
    assert small.warnings == (fetal_head.BEYOND_HADLOCK, fetal_head.BEYOND_INTERGROWTH)


@pytest.mark.parametrize("edge", [Edge.INNER, Edge.NOT_STATED])
def test_an_outline_that_is_not_the_outer_edge_gives_no_age(edge):
    reading = head(HEAD, geometry(0.5), edge=edge, given=30.0)
    assert reading.get("head_circumference").value_mm
    assert reading.get("gestational_age_hadlock") is None
    assert reading.get("head_circumference_centile") is None
    assert reading.warnings == (fetal_head.NOT_OUTER,)


@pytest.mark.parametrize("centre", [(100, 240), (540, 240), (320, 80), (320, 400)])
def test_a_head_cut_off_by_the_frame_is_refused(centre):
    reading = head(ellipse_mask(centre, 115, 90), geometry(0.5))
    assert (reading.status, reading.reason, reading.measurements) == (Status.REFUSED, fetal_head.CLIPPED, ())


def test_a_head_cut_off_by_the_sector_is_refused():
    reading = head(ellipse_mask((140, 240), 60, 50), geometry(0.5, sector=fan()))
    assert reading.reason == fetal_head.CLIPPED
    guessed = head(ellipse_mask((150, 240), 40, 35), geometry(0.5, sector=fan(certain=False)))
    assert guessed.status is Status.MEASURED
    assert fetal_head.EDGE_GUESSED in guessed.warnings


def test_what_is_no_ellipse_is_refused():
    notched = HEAD & ~ellipse_mask((320, 150), 60, 60)
    assert head(notched, geometry(0.5)).reason == fetal_head.NO_ELLIPSE


def test_too_small_is_refused_in_mm2_and_in_share():
    assert head(ellipse_mask((320, 240), 9, 9), geometry(0.5)).reason == fetal_head.SMALL
    assert head(ellipse_mask((320, 240), 11, 11), geometry(0.5)).status is Status.MEASURED
    assert head(ellipse_mask((320, 240), 20, 20), None).reason == fetal_head.SMALL


def test_nothing_is_not_visualised():
    reading = read(prediction(), geometry(), "fetal-head")
    assert (reading.status, reading.reason, reading.measurements) == (Status.NOT_VISUALISED, fetal_head.NONE, ())


def test_a_clip_is_summed_up_by_its_circumference():
    known = geometry(0.5)
    masks = [ellipse_mask((320.3, 240.7), 115 + i % 3, 90, 25) for i in range(12)]
    found = [
        read(predicted(instance(m, edge=Edge.OUTER), time_s=i * 0.1, edge_sd_px=1.0), known, "fetal-head")
        for i, m in enumerate(masks)
    ]
    summary = summarize(found)
    assert (summary.name, summary.unit, summary.count, summary.edge) == ("head_circumference", "mm", 12, Edge.OUTER)
    low, high = summary.interval
    assert low < found[1].measurements[0].value_mm < high
    assert summary.errors.edge == pytest.approx(2 * math.pi * 0.6316 * 0.5, rel=0.01)


def test_circumferences_of_hc18(data):
    """From the ellipse to the table 0.2 mm, from masks drawn of it 0.5 mm, on average."""
    folder = data / "fetal_head_hc18"
    with (folder / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_ellipse, by_mask = [], []
    for number, row in enumerate(rows):
        mm, table = float(row["pixel_size_mm"]), float(row["head_circumference_mm"])
        axes = float(row["ellipse_semi_axis_a_px"]), float(row["ellipse_semi_axis_b_px"])
        by_ellipse.append(abs(Ellipse((0.0, 0.0), *axes, 0.0).circumference * mm - table))
        if number % 20 == 0:
            centre = float(row["ellipse_center_x_px"]) + 0.5, float(row["ellipse_center_y_px"]) + 0.5
            mask = ellipse_mask(centre, *axes, float(row["ellipse_angle_deg"]), size=(800, 540))
            ellipse = shape_of(np.ascontiguousarray(mask)).moments.scaled(mm, mm).ellipse()
            by_mask.append(abs(ellipse.circumference - table))
    assert len(by_ellipse) == 799
    assert np.mean(by_ellipse) <= 0.2
    assert np.mean(by_mask) <= 0.5
