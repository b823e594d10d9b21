"""What was pointed at is measured by the same rules as everything else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.scenes import scaled_geometry
from usviewer.frame import FrameKey
from usviewer.infer.prediction import Instance, Prediction
from usviewer.measure.pointed import CUT_OFF, add_other_structures, read_pointed
from usviewer.measure.reading import Provenance, Status

SIZE = (320, 240)


def disc(radius: float, centre: tuple[float, float] = (160.0, 120.0), label: str = "structure") -> Instance:
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    mask = np.hypot(x - centre[0], (y - centre[1]) * 2) < radius  # an ellipse, half as high as wide
    return Instance(label, 0, 0.9, (0.0, 0.0, *map(float, SIZE)), mask)


def prediction(*instances: Instance) -> Prediction:
    return Prediction(FrameKey("x", 0, 0.0, 0.0, "d"), SIZE, instances, "m", "s", "none")


def test_axes_area_and_circumference_in_millimetres_only_with_a_scale() -> None:
    scaled = read_pointed(prediction(disc(60)), scaled_geometry(*SIZE), "cyst")
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
