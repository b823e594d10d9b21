import numpy as np
import pytest

from tests.helpers.drawing import SIZE, ellipse_mask, geometry, instance, key, prediction
from usviewer.frame import ImageGeometry, Region
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure import read
from usviewer.measure.reading import Dimension, Status
from usviewer.units import ScaleSource, Spacing


def test_every_instance_is_listed_with_its_area():
    reading = read(
        prediction(ellipse_mask((200, 200), 40, 40), ellipse_mask((400, 300), 20, 20)), geometry(0.5), "other"
    )
    assert reading.status is Status.MEASURED
    assert [m.name for m in reading.measurements] == ["area_1", "area_2"]
    assert reading.get("area_1").dimension is Dimension.AREA
    assert reading.get("area_1").value_mm == pytest.approx(np.pi * 20**2, rel=0.01)
    assert len(reading.outlines_xy_px) == len(reading.labels) == len(reading.boxes_xyxy_px) == len(reading.scores) == 2


def test_one_area_has_a_plain_name_and_no_mm2_without_a_scale():
    reading = read(prediction(ellipse_mask((200, 200), 40, 40)), None, "other")
    assert reading.get("area").value_mm is None
    assert reading.get("area").value_px == pytest.approx(np.pi * 1600, rel=0.01)
    assert reading.no_scale_reason


def test_nothing_found():
    reading = read(prediction(), geometry(), "other")
    assert (reading.status, reading.measurements) == (Status.NOT_VISUALISED, ())
    assert reading.reason


def test_a_detector_has_boxes_and_no_area():
    box = Instance("CSP", 1, 0.7, (10.5, 20.0, 60.0, 80.0))
    reading = read(Prediction(key(), SIZE, (box,), "brain", "d", "test"), geometry(), "fetal brain")
    assert reading.status is Status.MEASURED
    assert reading.measurements == ()
    assert reading.outlines_xy_px[0].shape == (0, 2)
    assert reading.boxes_xyxy_px == ((10.5, 20.0, 60.0, 80.0),)
    assert reading.finding == "fetal brain"


def test_edges_that_differ_are_not_stated():
    a, b = instance(ellipse_mask((200, 200), 40, 40)), instance(ellipse_mask((400, 200), 40, 40), edge=Edge.OUTER)
    assert read(Prediction(key(), SIZE, (a,), "m", "d", "t"), None, "x").edge is Edge.INNER
    assert read(Prediction(key(), SIZE, (a, b), "m", "d", "t"), None, "x").edge is Edge.NOT_STATED


def test_an_object_outside_the_region_does_not_cost_the_other_its_scale():
    known = ImageGeometry((Region((0, 0, 300, 480), Spacing(0.5, 0.5, ScaleSource.DICOM)),))
    reading = read(prediction(ellipse_mask((200, 200), 40, 40), ellipse_mask((400, 300), 20, 20)), known, "other")
    assert reading.get("area_1").value_mm is not None
    assert reading.get("area_2").value_mm is None
