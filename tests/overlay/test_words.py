from __future__ import annotations

from dataclasses import replace

import pytest

from tests.scenes import aorta_reading, flat_frame, summary_of
from usviewer.infer.prediction import Edge
from usviewer.measure.reading import Dimension, Measurement, Plane, Provenance, Status
from usviewer.overlay import palette
from usviewer.overlay.palette import Size
from usviewer.overlay.words import fitting, panel_lines

KEY = flat_frame(8, 8).key


def said(reading, summary=None, model="Aorta 1.0"):
    return [f"{line.text} {line.unit}".strip() for line in panel_lines(reading, summary, model)]


def headline(reading, summary=None):
    (line,) = [line for line in panel_lines(reading, summary, "") if line.size is Size.HEADLINE]
    return f"{line.text} {line.unit}"


def test_the_headline_is_the_median_in_cm_and_labelled_so():
    reading = aorta_reading(KEY)
    lines = said(reading, summary_of(reading))
    assert lines[1] == "2.4 cm"
    assert "median of the last 2.0 s" in lines
    assert "24.0 mm, 95 % 23.4 to 24.5" in lines
    assert "this frame 23.9 mm · max 24.9" in lines


def test_without_a_summary_the_headline_is_this_frame():
    lines = said(aorta_reading(KEY))
    assert lines[1] == "2.4 cm"
    assert "this frame, 23.9 mm" in lines
    assert not any("median" in line for line in lines)


def test_the_error_of_a_single_frame_is_shown():
    reading = aorta_reading(KEY)
    main = replace(reading.measurements[0], sd_mm=0.5)
    assert "this frame, 23.9 ± 1.0 mm" in said(replace(reading, measurements=(main,)))


def test_without_a_scale_everything_is_in_pixels_and_says_so():
    reading = aorta_reading(KEY, spacing=None)
    lines = said(reading, summary_of(reading))
    assert headline(reading) == "112 px"
    assert "No scale: lengths are in pixels" in lines
    assert not any("mm" in line or "cm" in line for line in lines)


@pytest.mark.parametrize(
    ("edge", "words"),
    [(Edge.INNER, "inner-inner"), (Edge.OUTER, "outer-outer"), (Edge.NOT_STATED, "edge not stated")],
)
def test_the_convention_and_the_plane_travel_with_the_number(edge, words):
    assert said(replace(aorta_reading(KEY), edge=edge))[2] == f"{words} · transverse"


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "px"},
        {"plane": Plane.LONGITUDINAL},
        {"edge": Edge.OUTER},
        {"name": "transverse_diameter"},
        {"count": 1},
    ],
)
def test_a_summary_of_something_else_is_not_used(change):
    reading = aorta_reading(KEY)
    assert fitting(summary_of(reading), reading) is not None
    assert fitting(summary_of(reading, **change), reading) is None


def test_not_seen_is_no_number_even_with_a_summary():
    reading = replace(aorta_reading(KEY), status=Status.NOT_VISUALISED, measurements=(), reason="No aorta is visible")
    lines = said(reading, summary_of(aorta_reading(KEY)))
    assert lines[:2] == ["Aorta not visualised", "No aorta is visible"]
    assert not any(line[0].isdigit() for line in lines)
    assert not any("cm" in line for line in lines)


def test_a_refusal_gives_its_reason_as_a_warning():
    reading = replace(aorta_reading(KEY), status=Status.REFUSED, measurements=(), reason="The vessel is cut off")
    lines = panel_lines(reading, None, "")
    assert [line.text for line in lines[:2]] == ["Aorta not measured", "The vessel is cut off"]
    assert {line.colour for line in lines[:2]} == {palette.WARNING}


def test_warnings_scale_model_and_drawer_are_said():
    reading = replace(aorta_reading(KEY), warnings=("Oblique or not circular",), provenance=Provenance.EDITED)
    lines = said(reading)
    assert "Oblique or not circular" in lines
    assert "Scale 0.213 mm/px, given by the user" in lines
    assert "Aorta 1.0 · score 0.93" in lines
    assert "inner-inner · transverse · edited" in lines


def test_the_models_id_stands_in_for_a_missing_name():
    assert "aorta · score 0.93" in said(aorta_reading(KEY), model="")


def test_an_area_is_never_shown_as_a_length():
    area = Measurement("area", Dimension.AREA, 9000.0, 408.3)
    reading = replace(aorta_reading(KEY), finding="nerve", measurements=(area,))
    assert headline(reading, summary_of(reading)) == "408.3 mm²"


def test_a_measurement_without_a_value_is_a_dash_not_zero():
    empty = Measurement("ap_diameter", Dimension.LENGTH)
    assert headline(replace(aorta_reading(KEY), measurements=(empty,))) == "- "
