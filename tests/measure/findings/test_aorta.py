import math
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.drawing import SIZE, ellipse_mask, fan, geometry, prediction, tube_mask
from usviewer.frame import ImageGeometry, Region
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure import read
from usviewer.measure.findings import aorta
from usviewer.measure.geometry import border_distance_px
from usviewer.measure.reading import Plane, Status
from usviewer.measure.section import HOLD_S, PlaneTracker
from usviewer.units import ScaleSource, Spacing

ROUND = ellipse_mask((320, 240), 40, 38)


def test_a_round_vessel_is_measured_in_mm():
    reading = read(prediction(ellipse_mask((320.3, 240.7), 40, 50)), geometry(0.30, 0.25), "aorta")
    assert reading.status is Status.MEASURED
    assert reading.plane is Plane.TRANSVERSE
    assert reading.measurements[0].name == "ap_diameter"
    assert reading.get("ap_diameter").value_mm == pytest.approx(25.0, abs=0.05)
    assert reading.get("transverse_diameter").value_mm == pytest.approx(24.0, abs=0.05)
    assert reading.get("area").value_mm == pytest.approx(471.2, abs=1.5)
    assert reading.get("ap_diameter").value_px == pytest.approx(100.0, abs=0.2)
    assert reading.edge is Edge.INNER
    assert reading.warnings == ()
    assert (reading.model_id, reading.model_sha256, reading.score) == ("aorta", "abc", 0.9)


@pytest.mark.parametrize(("degrees", "expected"), [(0, 60.00), (20, 61.52), (45, 66.27)])
def test_vectors_of_the_turned_ellipse(degrees, expected):
    reading = read(prediction(ellipse_mask((320.3, 240.7), 36, 30, degrees)), None, "aorta")
    assert reading.get("ap_diameter").value_px == pytest.approx(expected, abs=0.1)


def test_without_a_scale_there_are_no_millimetres():
    for known in (None, ImageGeometry()):
        reading = read(prediction(ROUND), known, "aorta")
        assert reading.status is Status.MEASURED
        assert all(m.value_mm is None and m.value_px for m in reading.measurements)
        assert reading.spacing is None
        assert "pixels" in reading.no_scale_reason


def test_a_vessel_across_two_regions_has_no_millimetres():
    spacing = Spacing(0.25, 0.25, ScaleSource.DICOM)
    halves = (Region((0, 0, 320, 480), spacing), Region((320, 0, 640, 480), spacing))
    reading = read(prediction(ROUND), ImageGeometry(halves), "aorta")
    assert reading.spacing is None
    assert reading.get("ap_diameter").value_mm is None


def test_ap_runs_along_the_beam_of_a_curved_probe():
    sector = fan()
    centre = (440.0, 240.0)
    beam = math.degrees(math.atan2(240 + 60, 440 - 320))  # from +x
    mask = ellipse_mask(centre, 45, 35, beam)
    reading = read(prediction(mask), geometry(sector=sector), "aorta")
    assert reading.get("ap_diameter").value_px == pytest.approx(90, abs=0.3)
    assert reading.get("transverse_diameter").value_px == pytest.approx(70, abs=0.3)
    (x0, y0), (x1, y1) = reading.get("ap_diameter").ends_xy_px
    assert math.degrees(math.atan2(y1 - y0, x1 - x0)) == pytest.approx(beam, abs=0.5)
    upright = read(prediction(mask), geometry(), "aorta")
    assert abs(upright.get("ap_diameter").value_px - 90) > 1


@pytest.mark.parametrize("name", ["ap_diameter", "transverse_diameter", "major_diameter", "minor_diameter"])
def test_calipers_are_as_long_as_their_number(name):
    reading = read(prediction(ellipse_mask((330, 250), 45, 36, 30)), geometry(0.28, 0.24, fan()), "aorta")
    found = reading.get(name)
    assert reading.spacing.length_mm(*found.ends_xy_px) == pytest.approx(found.value_mm, abs=1e-9)
    middle = np.mean(found.ends_xy_px, axis=0)
    assert middle == pytest.approx((330, 250), abs=0.3)


def test_ap_and_transverse_are_perpendicular_in_mm():
    reading = read(prediction(ellipse_mask((420, 250), 45, 36, 30)), geometry(0.28, 0.24, fan()), "aorta")
    ap, across = (
        np.diff(reading.get(n).ends_xy_px, axis=0)[0] * (0.28, 0.24) for n in ("ap_diameter", "transverse_diameter")
    )
    assert abs(ap @ across) < 1e-9 * np.linalg.norm(ap) * np.linalg.norm(across) + 1e-9


def test_nothing_found_is_not_zero():
    reading = read(prediction(), geometry(), "aorta")
    assert reading.status is Status.NOT_VISUALISED
    assert reading.measurements == ()
    assert reading.reason


def test_an_empty_mask_is_nothing_found():
    empty = Instance("aorta", 0, 0.9, (10, 10, 20, 20), np.zeros((10, 10), dtype=bool), (10, 10))
    found = Prediction(prediction().key, SIZE, (empty,), "aorta", "abc", "test")
    assert read(found, geometry(), "aorta").status is Status.NOT_VISUALISED


def refused(mask, known, tracker=None):
    reading = read(prediction(mask), known, "aorta", tracker)
    assert reading.status is Status.REFUSED
    assert reading.measurements == ()
    assert len(reading.outlines_xy_px) == 1
    return reading.reason


@pytest.mark.parametrize("centre", [(30, 240), (610, 240), (320, 30), (320, 450)])
def test_clipped_by_the_frame(centre):
    assert refused(ellipse_mask(centre, 40, 40), geometry()) == aorta.CLIPPED


@pytest.mark.parametrize("x", [125, 515])
def test_clipped_by_the_sector(x):
    inside = ellipse_mask((x, 240), 40, 40)
    assert refused(inside, geometry(sector=fan())) == aorta.CLIPPED
    assert read(prediction(inside), geometry(), "aorta").status is Status.MEASURED


def test_an_uncertain_outline_warns_but_does_not_refuse():
    guess = fan(certain=False)
    reading = read(prediction(ellipse_mask((140, 240), 40, 40)), geometry(sector=guess), "aorta")
    assert reading.status is Status.MEASURED
    assert aorta.EDGE_GUESSED in reading.warnings


def test_clipped_by_the_box_of_an_uncertain_sector():
    guess = fan(certain=False)
    x0 = guess.box_xyxy_px[0]
    cut = ellipse_mask((x0 + 25, 300), 40, 40)
    cut[:, :x0] = False
    assert refused(cut, geometry(sector=guess)) == aorta.CLIPPED


def test_a_clipped_disc_is_refused_however_little_is_missing():
    for missing in range(1, 40, 3):
        mask = ellipse_mask((40 - missing, 240), 40, 40)
        assert refused(mask, geometry()) == aorta.CLIPPED


def test_too_small_in_mm2_and_in_share():
    tiny = ellipse_mask((320, 240), 7, 7)
    assert refused(tiny, None) == aorta.SMALL
    assert refused(ellipse_mask((320, 240), 15, 15), geometry(0.25)) == aorta.SMALL
    assert read(prediction(ellipse_mask((320, 240), 17, 17)), geometry(0.25), "aorta").status is Status.MEASURED


def test_never_too_large():
    reading = read(prediction(ellipse_mask((320, 240), 225, 225)), geometry(0.4), "aorta")
    assert reading.status is Status.MEASURED
    assert reading.get("ap_diameter").value_mm == pytest.approx(180, abs=0.2)


def test_irregular_is_refused():
    moon = ellipse_mask((320, 240), 60, 60) & ~ellipse_mask((345, 240), 45, 45)
    star = ellipse_mask((320, 240), 60, 10) | ellipse_mask((320, 240), 10, 60)
    assert refused(star, geometry()) == aorta.IRREGULAR
    assert refused(moon, geometry()) in (aorta.IRREGULAR, aorta.PLANE_UNKNOWN)


def test_an_outline_that_is_no_ellipse_is_measured_by_its_rows_and_says_so():
    rows = np.arange(480)[:, None] - 200
    triangle = (rows >= 0) & (rows < 80) & (np.abs(np.arange(640) + 0.5 - 320) <= 0.577 * (rows + 0.5))
    reading = read(prediction(triangle), None, "aorta")
    assert aorta.IRREGULAR_OUTLINE in reading.warnings
    found = reading.get("ap_diameter")
    assert found.value_px == 79  # the top row has no pixel
    assert sorted(y for _, y in found.ends_xy_px) == pytest.approx([201, 280])


def test_an_oblique_section_is_warned_of_and_the_minor_axis_is_not_taken():
    longer = 60 / math.cos(math.radians(42)) / 2
    reading = read(prediction(ellipse_mask((320, 240), 30, longer)), geometry(), "aorta")
    assert aorta.OBLIQUE in reading.warnings
    assert reading.get("ap_diameter").value_px == pytest.approx(2 * longer, abs=0.2)
    near = read(prediction(ellipse_mask((320, 240), 30, 37)), geometry(), "aorta")
    assert near.warnings == ()


def test_the_axis_ratio_is_taken_in_mm():
    known = replace(geometry(0.4, 0.2), pixel_aspect=2.0)
    reading = read(prediction(ellipse_mask((320, 240), 30, 60)), known, "aorta")
    assert reading.plane is Plane.TRANSVERSE
    assert reading.warnings == ()


def test_between_the_planes_no_number():
    assert refused(ellipse_mask((320, 240), 80, 40), geometry()) == aorta.PLANE_UNKNOWN


@pytest.mark.parametrize("degrees", [0, 20, 30])
def test_a_longitudinal_vessel_that_crosses_both_borders_is_not_clipped(degrees):
    reading = read(prediction(tube_mask(60, degrees)), geometry(0.25), "aorta")
    assert reading.status is Status.MEASURED
    assert reading.plane is Plane.LONGITUDINAL
    assert reading.measurements[0].name == "longitudinal_diameter"
    assert reading.get("longitudinal_diameter").value_px == pytest.approx(60.0, abs=0.5)
    assert reading.get("longitudinal_diameter").value_mm == pytest.approx(15.0, abs=0.12)
    assert reading.get("ap_diameter") is None
    assert aorta.MAY_UNDERESTIMATE in reading.warnings


def test_a_longitudinal_vessel_whose_wall_leaves_the_picture_is_refused():
    mask = np.roll(tube_mask(60, 0), -215, axis=0)
    mask[-100:] = False
    assert refused(mask, geometry()) == aorta.CLIPPED


def test_a_longitudinal_vessel_inside_a_fan():
    sector = fan()
    free = border_distance_px(sector, SIZE) > 0
    reading = read(prediction(tube_mask(50, 5) & free), geometry(sector=sector), "aorta")
    assert reading.plane is Plane.LONGITUDINAL
    assert reading.get("longitudinal_diameter").value_px == pytest.approx(50, abs=0.8)


def test_too_little_length_is_refused():
    block = np.zeros((480, 640), dtype=bool)
    block[200:260, 300:363] = True
    assert refused(block, None, PlaneTracker(Plane.LONGITUDINAL)) == aorta.TOO_SHORT


def test_the_best_instance_is_chosen_by_score_and_shape_not_size():
    blob = ellipse_mask((150, 240), 90, 90) & ~ellipse_mask((190, 240), 80, 80)
    reading = read(prediction(blob, ROUND, scores=[0.9, 0.8]), geometry(), "aorta")
    assert reading.get("ap_diameter").value_px == pytest.approx(76, abs=0.3)
    assert aorta.SEVERAL in reading.warnings
    assert len(reading.outlines_xy_px) == len(reading.boxes_xyxy_px) == len(reading.labels) == len(reading.scores) == 1


def test_quality_falls_with_score_shape_and_distance_from_the_border():
    best = read(prediction(ROUND), geometry(), "aorta").quality
    assert 0.8 < best <= 0.9
    assert read(prediction(ROUND, scores=[0.5]), geometry(), "aorta").quality < best
    assert read(prediction(ellipse_mask((320, 240), 50, 36)), geometry(), "aorta").quality < best
    assert read(prediction(ellipse_mask((46, 240), 40, 38)), geometry(), "aorta").quality < best / 3


def at(time_s, mask, tracker):
    return read(prediction(mask, time_s=time_s), geometry(), "aorta", tracker)


def test_the_plane_changes_only_after_half_a_second():
    tracker = PlaneTracker()
    long = tube_mask(60, 0)
    assert at(0.0, ROUND, tracker).plane is Plane.TRANSVERSE
    changing = at(0.1, long, tracker)
    assert (changing.status, changing.reason, changing.plane) == (
        Status.REFUSED,
        aorta.PLANE_CHANGING,
        Plane.TRANSVERSE,
    )
    assert at(0.4, long, tracker).status is Status.REFUSED
    settled = at(0.1 + HOLD_S, long, tracker)
    assert (settled.status, settled.plane) == (Status.MEASURED, Plane.LONGITUDINAL)


def test_a_moment_between_the_planes_is_bridged():
    tracker = PlaneTracker()
    at(0.0, ROUND, tracker)
    between = at(0.2, ellipse_mask((320, 240), 68, 40), tracker)
    assert (between.status, between.plane) == (Status.MEASURED, Plane.TRANSVERSE)
    assert aorta.OBLIQUE in between.warnings
    at(0.4, ellipse_mask((320, 240), 68, 40), tracker)
    assert at(0.75, ellipse_mask((320, 240), 68, 40), tracker).status is Status.REFUSED


@pytest.mark.parametrize("later", [0.9, -1.0])
def test_a_gap_or_a_jump_back_forgets_the_plane(later):
    tracker = PlaneTracker()
    at(0.0, ROUND, tracker)
    assert at(later, tube_mask(60, 0), tracker).plane is Plane.LONGITUDINAL


def test_the_operators_pin_decides_between_the_planes():
    ellipse = ellipse_mask((320, 240), 80, 40)
    reading = at(0.0, ellipse, PlaneTracker(Plane.TRANSVERSE))
    assert reading.status is Status.MEASURED
    assert reading.get("ap_diameter").value_px == pytest.approx(80, abs=0.2)
    contradicted = at(
        0.0, tube_mask(60, 0)[:, ::-1] & ellipse_mask((320, 240), 250, 220), PlaneTracker(Plane.TRANSVERSE)
    )
    assert aorta.PIN_DIFFERS in contradicted.warnings


def test_a_pin_does_not_make_a_clipped_vessel_measurable():
    assert refused(ellipse_mask((30, 240), 40, 40), geometry(), PlaneTracker(Plane.TRANSVERSE)) == aorta.CLIPPED


def test_geometry_on_the_true_mask_is_within_a_sixth_of_a_millimetre():
    rng = np.random.default_rng(7)
    errors = []
    for diameter in np.linspace(15, 70, 60):
        mm = rng.uniform(0.18, 0.3)
        centre = (320 + rng.uniform(-20, 20), 240 + rng.uniform(-20, 20))
        mask = ellipse_mask(centre, diameter / mm / 2, diameter / mm / 2)
        errors.append(read(prediction(mask), geometry(mm), "aorta").get("ap_diameter").value_mm - diameter)
    assert np.mean(np.abs(errors)) < 0.05


@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_a_round_vessel_of_oblong_pixels_is_round(aspect):
    """Without a scale lengths are those of the picture with square pixels, as high as its own."""
    mask = ellipse_mask((320.3, 240.7), 50 / aspect, 50)
    reading = read(prediction(mask, edge_sd_px=1.0), ImageGeometry(pixel_aspect=aspect), "aorta")
    assert (reading.status, reading.plane) == (Status.MEASURED, Plane.TRANSVERSE)
    for name in ("ap_diameter", "transverse_diameter", "major_diameter"):
        assert reading.get(name).value_px == pytest.approx(100.0, abs=0.4)
    assert reading.get("area").value_px == pytest.approx(math.pi * 50**2, rel=0.01)
    (x0, _), (x1, _) = reading.get("transverse_diameter").ends_xy_px
    assert abs(x1 - x0) == pytest.approx(100 / aspect, abs=0.4)  # the caliper lies in the frame's own pixels
    known = read(prediction(mask, edge_sd_px=1.0), replace(geometry(0.2 * aspect, 0.2), pixel_aspect=aspect), "aorta")
    for name in ("ap_diameter", "transverse_diameter"):
        in_px, in_mm = reading.get(name), known.get(name)
        assert in_mm.value_mm == pytest.approx(20.0, abs=0.1)
        assert in_mm.errors.edge == pytest.approx(0.2 * in_px.errors.edge)  # alike in all directions, in both units


@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_a_vessel_cut_lengthwise_on_oblong_pixels(aspect):
    reading = read(prediction(tube_mask(60, 20, x_scale=aspect)), ImageGeometry(pixel_aspect=aspect), "aorta")
    assert reading.plane is Plane.LONGITUDINAL
    assert reading.get("longitudinal_diameter").value_px == pytest.approx(60.0, abs=1.5)
