from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.drawing import ellipse_mask, fan, geometry, instance, predicted
from usviewer.frame import Sector
from usviewer.measure import read
from usviewer.measure.findings import nerve
from usviewer.measure.reading import Status

NERVE = ellipse_mask((320.0, 200.0), 40, 20)
VESSEL = ellipse_mask((420.0, 260.0), 25, 25)


def linear(top=30.0, certain=True) -> Sector:
    outline = np.array([(60.0, top), (580.0, top), (580.0, 460.0), (60.0, 460.0)])
    return Sector(outline, (60, round(top), 580, 460), None, None, certain)


def found(*pairs, known=None, edge_sd_px=None):
    instances = [instance(mask, score, label=label) for label, mask, score in pairs]
    return read(predicted(*instances, edge_sd_px=edge_sd_px), known, "nerve")


def test_size_and_depth_below_a_linear_probe():
    reading = found(("nerve", NERVE, 0.8), known=geometry(0.1, 0.1, linear()))
    assert reading.status is Status.MEASURED
    assert reading.measurements[0].name == "area"
    assert reading.get("area").value_mm == pytest.approx(math.pi * 4 * 2, abs=0.1)
    assert reading.get("depth").value_mm == pytest.approx(15.0, abs=0.1)
    assert reading.get("centroid_depth").value_mm == pytest.approx(17.0, abs=0.05)
    assert reading.get("long_axis").value_mm == pytest.approx(8.0, abs=0.05)
    assert reading.get("short_axis").value_mm == pytest.approx(4.0, abs=0.05)
    (x0, y0), (x1, y1) = reading.get("depth").ends_xy_px
    assert (y0, x0) == pytest.approx((30.0, x1))
    assert y1 == pytest.approx(180.0, abs=1.0)


def test_depth_below_a_curved_probe_runs_along_the_beam():
    sector = fan()  # apex (320, -60), face 80 px from it
    mask = ellipse_mask((440.0, 240.0), 20, 20)
    reading = found(("nerve", mask, 0.8), known=geometry(0.1, sector=sector))
    from_apex = math.hypot(120, 300)
    assert reading.get("centroid_depth").value_px == pytest.approx(from_apex - 80, abs=0.1)
    assert reading.get("depth").value_px == pytest.approx(from_apex - 80 - 20, abs=1.0)
    assert abs(reading.get("centroid_depth").value_px - 240) > 1  # not the row of the picture
    assert abs(reading.get("centroid_depth").value_px - 220) > 1  # not straight down from the face


def test_depth_is_in_mm_per_axis():
    known = replace(geometry(0.3, 0.1, linear()), pixel_aspect=3.0)
    reading = found(("nerve", NERVE, 0.8), known=known)
    assert reading.get("centroid_depth").value_mm == pytest.approx(17.0, abs=0.05)


@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_depth_below_a_curved_probe_on_oblong_pixels(aspect):
    """The same picture as above, its columns squashed: the same depth, in pixels as high as its own."""
    whole = fan()
    sector = replace(whole, outline_xy_px=whole.outline_xy_px / (aspect, 1.0), apex_xy_px=(320 / aspect, -60.0))
    mask = ellipse_mask((440.0 / aspect, 240.0), 20 / aspect, 20, size=(1400, 480))
    prediction = predicted(instance(mask, label="nerve"), size=(1400, 480))
    for scaled in (False, True):
        known = replace(geometry(0.1 * aspect, 0.1, sector, (1400, 480)), pixel_aspect=aspect)
        known = known if scaled else replace(known, regions=())
        depth = read(prediction, known, "nerve").get("centroid_depth")
        assert depth.value_px == pytest.approx(math.hypot(120, 300) - 80, abs=0.2)
        assert depth.value_mm == (pytest.approx(0.1 * (math.hypot(120, 300) - 80), abs=0.02) if scaled else None)


@pytest.mark.parametrize("sector", [None, linear(certain=False), linear(top=0.0)])
def test_where_the_probe_is_not_known_there_is_no_depth(sector):
    reading = found(("nerve", NERVE, 0.8), known=geometry(0.1, sector=sector))
    assert reading.status is Status.MEASURED
    assert reading.get("depth") is None
    assert reading.get("centroid_depth") is None
    assert nerve.NO_FACE in reading.warnings


def test_without_a_scale_there_is_no_mm2():
    reading = found(("nerve", NERVE, 0.8))
    assert reading.get("area").value_px == pytest.approx(math.pi * 40 * 20, rel=0.01)
    assert all(m.value_mm is None for m in reading.measurements)


def test_a_vessel_alone_is_no_nerve():
    reading = found(("vessel", VESSEL, 0.99), known=geometry(0.1, sector=linear()))
    assert (reading.status, reading.reason) == (Status.NOT_VISUALISED, "No nerve seen")
    assert reading.measurements == ()
    assert reading.outlines_xy_px == ()
    assert reading.labels == ("vessel",)
    assert found().reason == "No nerve seen"


def test_vessels_are_outlined_beside_the_nerve_but_not_measured():
    reading = found(("vessel", VESSEL, 0.99), ("nerve", NERVE, 0.6), known=geometry(0.1, sector=linear()))
    assert reading.labels == ("nerve", "vessel")
    assert len(reading.outlines_xy_px) == 2
    assert reading.score == 0.6
    assert reading.get("area").value_px == pytest.approx(math.pi * 40 * 20, rel=0.01)


def test_of_several_nerves_the_best_one_is_measured_and_it_says_so():
    small = ellipse_mask((200, 150), 15, 12)
    reading = found(("nerve", NERVE, 0.6), ("nerve", small, 0.9), known=geometry(0.1, sector=linear()))
    assert reading.get("area").value_px == pytest.approx(math.pi * 15 * 12, rel=0.02)
    assert nerve.SEVERAL in reading.warnings


def test_a_nerve_that_leaves_the_picture_is_refused():
    reading = found(("nerve", ellipse_mask((70, 200), 40, 20), 0.8), known=geometry(0.1, sector=linear()))
    assert (reading.status, reading.reason) == (Status.REFUSED, nerve.CLIPPED)


def test_a_speck_is_refused():
    assert found(("nerve", ellipse_mask((320, 200), 2, 2), 0.8)).reason == nerve.SMALL


def test_depth_and_area_say_how_sure_they_are():
    reading = found(("nerve", NERVE, 0.8), known=geometry(0.1, sector=linear()), edge_sd_px=2.0)
    assert reading.get("depth").sd_mm == pytest.approx(0.2)
    low, high = reading.get("area").interval_mm
    assert low < math.pi * 8 < high


@pytest.mark.parametrize("known", [geometry(0.1, 0.1, linear()), None])
def test_an_area_that_may_as_well_be_half_or_twice_as_large_is_not_shown(known):
    sure = found(("nerve", NERVE, 0.8), known=known, edge_sd_px=1.0)
    assert sure.get("area") is not None and not [w for w in sure.warnings if w.startswith("Not shown")]
    unsure = found(("nerve", NERVE, 0.8), known=known, edge_sd_px=12.0)
    assert unsure.status is Status.MEASURED and unsure.outlines_xy_px, "the outline is what the model is for"
    assert unsure.get("area") is None and unsure.get("short_axis") is None
    assert unsure.get("long_axis").sd * 1.96 < 0.5 * (unsure.get("long_axis").value_mm or 80.0)
    assert "Not shown, for the outline is too uncertain: area, short axis" in unsure.warnings
