"""Measuring by hand: the same scale rules, the same geometry, and outlines that give the pixels they enclose."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.scenes import GIVEN, aorta_reading, circle, flat_frame, scaled_geometry
from usviewer.frame import FrameKey, ImageGeometry, Region
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure import manual
from usviewer.measure.geometry import shape_of
from usviewer.measure.manual import CUT_OFF, add_other_structures, read_pointed
from usviewer.measure.reading import Plane, Provenance, Status
from usviewer.units import ScaleSource, Spacing

KEY = flat_frame().key
SIZE = (640, 480)
OBLONG = Spacing(0.2, 0.3, ScaleSource.DICOM, relative_sd=0.01)
POINTED_SIZE = (320, 240)


def test_a_caliper_has_millimetres_by_the_scale_of_each_axis() -> None:
    reading = manual.caliper(KEY, (10.0, 10.0), (40.0, 50.0), scaled_geometry(640, 480, spacing=OBLONG))
    length = reading.get("length")
    assert length.value_px == pytest.approx(50.0)
    assert length.value_mm == pytest.approx(math.hypot(30 * 0.2, 40 * 0.3))
    assert length.sd_mm == pytest.approx(0.01 * length.value_mm)
    assert reading.provenance is Provenance.MANUAL and reading.key is KEY


@pytest.mark.parametrize("end", [(330.0, 100.0), (630.0, 100.0)])
def test_a_caliper_across_regions_is_silent_and_says_why(end: tuple[float, float]) -> None:
    left = Region((0.0, 0.0, 320.0, 480.0), GIVEN)
    right = Region((320.0, 0.0, 600.0, 480.0), OBLONG)
    reading = manual.caliper(KEY, (100.0, 100.0), end, ImageGeometry((left, right)))
    assert reading.get("length").value_mm is None
    assert reading.get("length").value_px == pytest.approx(end[0] - 100)
    assert reading.spacing is None and "in pixels" in reading.no_scale_reason


def test_without_a_scale_everything_is_in_pixels() -> None:
    for reading in (
        manual.caliper(KEY, (0.0, 0.0), (3.0, 4.0), None),
        manual.ellipse(KEY, ((0.0, 0.0), (8.0, 0.0)), 3.0, None),
    ):
        assert all(m.value_mm is None and m.value_px is not None for m in reading.measurements)


def test_an_ellipse_of_unequal_scales_has_the_axes_of_its_own_shape_in_mm() -> None:
    """A circle in pixels of 0.2 x 0.3 mm is an ellipse of 20 x 30 mm, whichever axis was drawn."""
    geometry = scaled_geometry(640, 480, spacing=OBLONG)
    for axis in (((250.0, 240.0), (350.0, 240.0)), ((300.0, 190.0), (300.0, 290.0))):
        reading = manual.ellipse(KEY, axis, 50.0, geometry)
        assert reading.get("long_axis").value_mm == pytest.approx(30.0)
        assert reading.get("short_axis").value_mm == pytest.approx(20.0)
        assert reading.get("long_axis").value_px == pytest.approx(100.0)
        assert reading.get("area").value_mm == pytest.approx(math.pi * 10 * 15)


def test_the_circumference_is_that_of_the_curve() -> None:
    reading = manual.ellipse(KEY, ((100.0, 100.0), (300.0, 200.0)), 40.0, None)
    outline = manual.ellipse_outline(((100.0, 100.0), (300.0, 200.0)), 40.0, 20_000)
    along = np.hypot(*np.diff(np.vstack([outline, outline[:1]]), axis=0).T).sum()
    assert reading.get("circumference").value_px == pytest.approx(along, rel=1e-5)


def test_an_ellipse_that_leaves_the_region_is_silent() -> None:
    geometry = ImageGeometry((Region((0.0, 0.0, 320.0, 480.0), GIVEN),))
    reading = manual.ellipse(KEY, ((250.0, 100.0), (310.0, 100.0)), 20.0, geometry)
    assert reading.spacing is GIVEN
    reading = manual.ellipse(KEY, ((250.0, 100.0), (330.0, 100.0)), 20.0, geometry)
    assert reading.spacing is None and reading.get("area").value_mm is None


def test_an_outline_takes_exactly_the_pixels_whose_centres_it_holds() -> None:
    mask = manual.fill_outline(np.array([(2.0, 3.0), (7.0, 3.0), (7.0, 5.0), (2.0, 5.0)]), (10, 8))
    assert mask.sum() == 10 and mask[3:5, 2:7].all()
    half = manual.fill_outline(np.array([(2.4, 3.4), (7.6, 3.4), (7.6, 5.4), (2.4, 5.4)]), (10, 8))
    assert half[3:5, 2:8].all() and half.sum() == 12


def test_outlines_beyond_the_picture_are_cut_at_its_border() -> None:
    mask = manual.fill_outline(circle((0.0, 0.0), 20.0), (64, 48))
    assert mask.sum() == pytest.approx(math.pi * 100, rel=0.05)
    assert not manual.fill_outline(circle((500.0, 500.0), 20.0), (64, 48)).any()
    assert not manual.fill_outline(np.empty((0, 2)), (64, 48)).any()


def test_a_models_outline_gives_its_mask_back() -> None:
    mask = manual.fill_outline(circle((100.3, 90.7), 37.2), (200, 180))
    shape = shape_of(mask)
    again = manual.fill_outline(shape.outline_xy_px, (200, 180))
    assert np.count_nonzero(again ^ mask) <= 0.01 * mask.sum()


def test_few_handles_keep_the_diameter() -> None:
    """Sixteen straight edges would take 0.6 % of the diameter; the curve keeps it within 0.2 %."""
    true = manual.ellipse_outline(((150.0, 200.0), (450.0, 240.0)), 90.0, 400)
    curve = manual.smooth_outline(manual.handles_on(true, 14))
    area = manual.fill_outline(curve, SIZE).sum()
    assert area == pytest.approx(math.pi * math.hypot(150, 20) * 90.0, rel=0.004)


# --- corrected


def edit(centre: tuple[float, float], radius: float, instance: int = 0) -> manual.Edit:
    return manual.edit_of(
        manual.fill_outline(circle(centre, radius), SIZE), KEY.digest, instance, "aorta", 0, Edge.INNER
    )


def test_a_corrected_outline_is_measured_by_the_same_rules_and_marked() -> None:
    automatic = aorta_reading(KEY)
    reading = manual.read_edited(automatic, edit((300.0, 200.0), 50.0), SIZE, scaled_geometry(*SIZE))
    assert reading.status is Status.MEASURED and reading.provenance is Provenance.EDITED
    assert reading.get("ap_diameter").value_px == pytest.approx(100.0, abs=0.3)
    assert reading.get("ap_diameter").value_mm == pytest.approx(21.3, abs=0.07)
    assert reading.score is None and reading.edge is Edge.INNER
    assert (reading.model_id, reading.model_sha256) == (automatic.model_id, automatic.model_sha256)


def test_a_corrected_outline_that_must_not_be_measured_is_refused_too() -> None:
    reading = manual.read_edited(aorta_reading(KEY), edit((10.0, 200.0), 50.0), SIZE, scaled_geometry(*SIZE))
    assert reading.status is Status.REFUSED and not reading.measurements
    assert reading.provenance is Provenance.EDITED


def test_erasing_everything_says_that_nothing_is_there() -> None:
    nothing = manual.edit_of(np.zeros((480, 640), np.bool_), KEY.digest, 0, "aorta", 0)
    reading = manual.read_edited(aorta_reading(KEY), nothing, SIZE, scaled_geometry(*SIZE))
    assert reading.status is Status.NOT_VISUALISED and not reading.outlines_xy_px


def test_what_the_model_missed_can_be_drawn() -> None:
    missed = replace(
        aorta_reading(KEY), status=Status.NOT_VISUALISED, outlines_xy_px=(), labels=(), scores=(), measurements=()
    )
    reading = manual.read_edited(missed, edit((300.0, 200.0), 50.0), SIZE, None)
    assert reading.get("ap_diameter").value_px == pytest.approx(100.0, abs=0.3)
    assert reading.get("ap_diameter").value_mm is None and reading.no_scale_reason


def test_where_the_outline_does_not_tell_the_plane_the_earlier_one_holds() -> None:
    axis = ((200.0, 240.0), (400.0, 240.0))
    whole = manual.fill_outline(manual.ellipse_outline(axis, 50.0), SIZE)  # twice as long as wide: either plane
    drawn = manual.edit_of(whole, KEY.digest, 0, "aorta", 0)
    automatic = aorta_reading(KEY)
    assert manual.read_edited(automatic, drawn, SIZE, None).plane is Plane.TRANSVERSE
    unknown = replace(automatic, plane=Plane.UNDETERMINED)
    assert manual.read_edited(unknown, drawn, SIZE, None).status is Status.REFUSED


def test_the_other_structures_of_a_picture_stay() -> None:
    outlines = (circle((200.0, 200.0), 30.0), circle((400.0, 200.0), 20.0))
    two = replace(
        aorta_reading(KEY),
        finding="structures",
        outlines_xy_px=outlines,
        labels=("nerve", "vessel"),
        scores=(0.9, 0.8),
        boxes_xyxy_px=((170.0, 170.0, 230.0, 230.0), (380.0, 180.0, 420.0, 220.0)),
    )
    drawn = manual.edit_of(manual.fill_outline(circle((200.0, 200.0), 40.0), SIZE), KEY.digest, 0, "nerve", 0)
    drawn = replace(drawn, classes=("nerve", "vessel"))
    prediction = manual.edited_prediction(two, drawn, SIZE)
    assert [(i.label, i.class_index) for i in prediction.instances] == [("nerve", 0), ("vessel", 1)]
    reading = manual.read_edited(two, drawn, SIZE, None)
    assert reading.get("area_1").value_px == pytest.approx(math.pi * 1600, rel=0.01)
    assert reading.get("area_2").value_px == pytest.approx(math.pi * 400, rel=0.02)


def test_in_pixels_a_length_by_hand_means_the_same_in_every_direction() -> None:
    oblong = ImageGeometry(pixel_aspect=2.0)
    across, down = ((10.0, 10.0), (60.0, 10.0)), ((10.0, 10.0), (10.0, 110.0))
    assert [manual.caliper(KEY, *ends, oblong).get("length").value_px for ends in (across, down)] == [100.0, 100.0]
    drawn = manual.ellipse(KEY, across, 50.0, oblong)
    assert drawn.get("long_axis").value_px == pytest.approx(100.0)
    assert drawn.get("area").value_px == pytest.approx(math.pi * 50**2)


def disc(radius: float, centre: tuple[float, float] = (160.0, 120.0), label: str = "structure") -> Instance:
    x, y = np.meshgrid(np.arange(POINTED_SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    mask = np.hypot(x - centre[0], (y - centre[1]) * 2) < radius  # an ellipse, half as high as wide
    return Instance(label, 0, 0.9, (0.0, 0.0, *map(float, POINTED_SIZE)), mask)


def prediction(*instances: Instance) -> Prediction:
    return Prediction(FrameKey("x", 0, 0.0, 0.0, "d"), POINTED_SIZE, instances, "m", "s", "none")


def test_axes_area_and_circumference_in_millimetres_only_with_a_scale() -> None:
    scaled = read_pointed(prediction(disc(60)), scaled_geometry(*POINTED_SIZE), "cyst")
    bare = read_pointed(prediction(disc(60)), None, "cyst")
    assert (scaled.finding, scaled.labels, scaled.provenance) == ("cyst", ("cyst",), Provenance.PROMPTED)
    mm_per_px = 0.213
    for reading, unit in ((scaled, mm_per_px), (bare, None)):
        assert reading.get("long_axis").value_px == pytest.approx(120, rel=0.01)
        assert reading.get("short_axis").value_px == pytest.approx(60, rel=0.02)
        assert reading.get("area").value_px == pytest.approx(np.pi * 60 * 30, rel=0.01)
        assert (reading.get("long_axis").value_mm is None) == (unit is None)
    assert scaled.get("long_axis").value_mm == pytest.approx(120 * mm_per_px, rel=0.01)
    assert bare.no_scale_reason


def test_a_known_name_is_measured_as_what_it_is() -> None:
    reading = read_pointed(prediction(disc(60)), None, "Nerve")
    assert reading.finding == "nerve" and reading.status is Status.MEASURED
    assert read_pointed(prediction(disc(60)), None, "fetal head").finding == "fetal-head"


def test_doubt_is_said_and_dashed_and_nothing_is_no_zero() -> None:
    reading = read_pointed(prediction(disc(60)), None, "cyst", "Not sure")
    assert reading.uncertain and reading.warnings[0] == "Not sure"
    empty = read_pointed(prediction(), None, "cyst", "Lost here")
    assert (empty.status, empty.reason, empty.measurements) == (Status.NOT_VISUALISED, "Lost here", ())


def test_what_reaches_the_edge_says_so() -> None:
    assert CUT_OFF in read_pointed(prediction(disc(60, (20.0, 120.0))), None, "cyst").warnings


def test_others_are_outlined_beside_it() -> None:
    first, other = disc(30), disc(20, (60.0, 60.0), "wall")
    reading = add_other_structures(read_pointed(prediction(first), None, "cyst"), prediction(first), (other,))
    assert reading.labels == ("cyst", "wall") and len(reading.outlines_xy_px) == 2
    assert reading.get("area").value_px == pytest.approx(first.area_px)
