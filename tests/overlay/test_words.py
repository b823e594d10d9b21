from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.scenes import aorta_reading, flat_frame, scaled_geometry, summary_of
from usviewer.infer.prediction import Edge
from usviewer.measure import manual
from usviewer.measure.reading import Dimension, Measurement, Plane, Provenance, Site, Status
from usviewer.overlay import palette, words
from usviewer.overlay.palette import Size
from usviewer.overlay.text import panel_lines, reading_text
from usviewer.overlay.words import matches_summary

KEY = flat_frame(8, 8).key


def lines_of(reading, summary=None, model="Aorta 1.0 · score 0.93"):
    return panel_lines(reading_text(reading, summary), 8, model)


def said(reading, summary=None):
    return [f"{line.text} {line.unit}".strip() for line in lines_of(reading, summary)]


def headline(reading, summary=None):
    (line,) = [line for line in lines_of(reading, summary) if line.size is Size.HEADLINE]
    return f"{line.text} {line.unit}"


def test_the_headline_is_this_frame_with_the_aggregate_and_the_maximum_beside_it():
    reading = aorta_reading(KEY)
    lines = said(reading, summary_of(reading))
    assert lines[1] == "2.4 cm"
    assert "this frame, 23.9 mm" in lines
    assert "median of the last 2.0 s: 2.4 cm" in lines and "max: 2.5 cm" in lines


def test_without_a_summary_the_headline_is_this_frame_too():
    lines = said(aorta_reading(KEY))
    assert lines[1] == "2.4 cm"
    assert "this frame, 23.9 mm" in lines
    assert not any("median" in line for line in lines)


def test_the_error_of_a_single_frame_is_shown():
    reading = aorta_reading(KEY)
    main = replace(reading.measurements[0], sd_mm=0.5)
    assert "this frame, 23.9 ± 1.0 mm, 95 %" in said(replace(reading, measurements=(main,)))


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
    assert matches_summary(summary_of(reading), reading) is not None
    assert matches_summary(summary_of(reading, **change), reading) is None


def test_not_seen_is_no_number_even_with_a_summary():
    reading = replace(aorta_reading(KEY), status=Status.NOT_VISUALISED, measurements=(), reason="No aorta is visible")
    lines = said(reading, summary_of(aorta_reading(KEY)))
    assert lines[:2] == ["Aorta not visualised", "No aorta is visible"]
    assert not any(line[0].isdigit() for line in lines)
    assert not any("cm" in line for line in lines)


def test_a_refusal_gives_its_reason_as_a_warning():
    reading = replace(aorta_reading(KEY), status=Status.REFUSED, measurements=(), reason="The vessel is cut off")
    lines = lines_of(reading)
    assert [line.text for line in lines[:2]] == ["Aorta not measured", "The vessel is cut off"]
    assert {line.colour for line in lines[:2]} == {palette.WARNING}


def test_warnings_scale_model_and_drawer_are_said():
    reading = replace(aorta_reading(KEY), warnings=("Oblique or not circular",), provenance=Provenance.EDITED)
    lines = said(reading)
    assert "Oblique or not circular" in lines
    assert "Scale 0.213 mm/px, given by the user" in lines
    assert "Aorta 1.0 · score 0.93" in lines
    assert "inner-inner · transverse · edited" in lines


def test_an_area_is_never_shown_as_a_length():
    area = Measurement("area", Dimension.AREA, 9000.0, 408.3)
    reading = replace(aorta_reading(KEY), finding="nerve", measurements=(area,))
    assert headline(reading, summary_of(reading)) == "408.3 mm²"


def test_a_measurement_without_a_value_is_a_dash_not_zero():
    empty = Measurement("ap_diameter", Dimension.LENGTH)
    assert headline(replace(aorta_reading(KEY), measurements=(empty,))) == "- "


def test_an_age_is_said_in_weeks_and_days_with_its_error_and_the_given_one_without():
    hadlock = Measurement("gestational_age_hadlock", Dimension.WEEKS, value=20.018)
    given = Measurement("gestational_age_given", Dimension.WEEKS, value=20.0)
    centile = Measurement("head_circumference_centile", Dimension.PERCENT, value=43.21)
    index = Measurement("cephalic_index", Dimension.PERCENT, value=78.26)
    circumference = replace(aorta_reading(KEY).measurements[0], name="head_circumference", sd_mm=1.0)
    measured = (circumference, index, hadlock, given, centile)
    reading = replace(aorta_reading(KEY), finding="fetal-head", edge=Edge.OUTER, measurements=measured)
    lines = said(reading)
    assert lines[:3] == ["FETAL HEAD  HC", "23.9 mm", "outer-outer · transverse"]
    assert "this frame, 23.9 ± 2.0 mm, 95 %" in lines
    assert "GA, Hadlock 1984 20w0d ± 9 days" in lines
    assert "GA given 20w0d" in lines
    assert "HC centile, INTERGROWTH-21st 43.2" in lines
    assert "Cephalic index 78.3 %" in lines


def test_a_brain_is_a_checklist_without_a_number_or_a_scale():
    reading = replace(
        aorta_reading(KEY, spacing=None),
        finding="fetal-brain",
        measurements=(),
        labels=("CSP", "MIDLINE_FALX"),
        scores=(0.81, 0.93),
        no_scale_reason="",
    )
    lines = said(reading)
    assert lines[:4] == ["FETAL BRAIN", "CSP 0.81", "Choroid plexus not seen", "Midline falx 0.93"]
    assert "Transventricular plane: Choroid plexus missing" in lines
    assert "Transthalamic plane: all found; check by eye thalami, no cerebellum" in lines
    assert not any("scale" in line.lower() for line in lines)


def test_no_nerve_is_said_once():
    reading = replace(
        aorta_reading(KEY), finding="nerve", status=Status.NOT_VISUALISED, measurements=(), reason="No nerve seen"
    )
    assert said(reading)[0] == "No nerve seen"
    assert sum("nerve" in line.lower() for line in said(reading)) == 1


def test_the_site_follows_the_plane_and_a_summary_of_another_site_is_not_used():
    reading = replace(aorta_reading(KEY), site=Site.DISTAL)
    assert said(reading)[2] == "inner-inner · transverse · distal"
    assert matches_summary(summary_of(reading), reading) is None
    assert matches_summary(summary_of(reading, site=Site.DISTAL), reading) is not None


def test_what_stands_beside_a_shape_drawn_by_hand() -> None:
    key = flat_frame().key
    geometry = scaled_geometry(640, 480)
    assert words.beside_words(manual.caliper(key, (0.0, 0.0), (0.0, 100.0), geometry)) == "21.3 mm"
    assert words.beside_words(manual.caliper(key, (0.0, 0.0), (0.0, 100.0), None)) == "100 px"
    drawn = manual.ellipse(key, ((100.0, 100.0), (200.0, 100.0)), 30.0, None)
    assert words.beside_words(drawn) == "100 x 60 px\ncircumference 255 px, area 4712 px²"


def test_the_largest_value_of_a_clip_in_a_list() -> None:
    summary = summary_of(aorta_reading(flat_frame().key))
    assert words.maximum_words(summary, "aorta") == "max 2.5 cm"
    area = replace(summary, dimension=Dimension.AREA)
    assert words.maximum_words(area, "nerve") == "max 25 mm²"
