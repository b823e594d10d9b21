"""What the rail says: the aggregate as such, a dash for what does not hold, convention and plane always."""

from __future__ import annotations

from dataclasses import replace

from usviewer.frame import FrameKey
from usviewer.infer.prediction import Edge
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Status, Summary
from usviewer.units import ScaleSource, isotropic
from usviewer.view.reading_text import BARS, DASH, StatusMark, quality_bars, quality_words, reading_text

KEY = FrameKey("s", 0, 0.0, 0.0, "d")
AP = Measurement("ap_diameter", Dimension.LENGTH, 100.0, 24.4, sd_mm=0.4)
READING = Reading(
    KEY,
    "aorta",
    Status.MEASURED,
    measurements=(AP, Measurement("transverse_diameter", Dimension.LENGTH, 110.0, 26.0)),
    plane=Plane.TRANSVERSE,
    edge=Edge.INNER,
    quality=0.8,
    spacing=isotropic(0.244, ScaleSource.RULER),
)
SUMMARY = Summary("ap_diameter", "mm", 23.6, 25.1, (21.8, 25.4), 2.0, 60, KEY, Plane.TRANSVERSE, Edge.INNER)


def test_the_headline_is_the_median_so_labelled() -> None:
    answer = reading_text(READING, SUMMARY)
    assert (answer.number, answer.unit) == ("2.4", "cm")
    assert answer.aggregate == "median of the last 2.0 s"
    assert answer.interval == "2.2 to 2.5 cm, 95 %"
    assert answer.convention == "inner-inner · transverse"
    assert answer.pairs[:2] == (("max", "2.5 cm"), ("now", "2.4 cm"))
    assert ("Transverse diameter", "2.6 cm") in answer.pairs
    assert answer.has_scale and "0.244 mm/px, on-screen ruler" in answer.scale


def test_in_review_the_median_is_of_the_clip() -> None:
    assert reading_text(READING, SUMMARY, over="the clip,").aggregate == "median of the clip, 2.0 s"


def test_a_single_frame_of_a_pulsating_vessel_is_no_headline() -> None:
    answer = reading_text(READING, None)
    assert (answer.number, answer.unit) == (DASH, "")
    assert answer.pairs[0] == ("now", "2.4 cm")
    assert answer.reason


def test_a_summary_of_another_plane_is_not_the_headline() -> None:
    answer = reading_text(READING, replace(SUMMARY, plane=Plane.LONGITUDINAL))
    assert answer.number == DASH


def test_numbers_are_withdrawn_when_the_input_is_not_live() -> None:
    answer = reading_text(
        READING, SUMMARY, is_current=False, withdrawn="Frozen input: this frame only, no current number"
    )
    assert answer.number == DASH
    assert answer.reason.startswith("Frozen input")
    assert answer.pairs[0] == ("now", "2.4 cm"), "the frame's own value stays, as such"


def test_not_visualised_is_a_dash_and_its_reason_and_never_zero() -> None:
    answer = reading_text(Reading(KEY, "aorta", Status.NOT_VISUALISED, "No aorta is visible"), SUMMARY)
    assert answer.number == DASH and answer.pairs == () and answer.interval == ""
    assert answer.reason == "No aorta is visible"


def test_without_a_scale_lengths_are_in_pixels_and_say_so() -> None:
    bare = replace(
        READING,
        spacing=None,
        no_scale_reason="No scale: lengths are in pixels",
        measurements=(replace(AP, value_mm=None, sd_mm=None),),
    )
    answer = reading_text(bare, replace(SUMMARY, unit="px", median=98.0, maximum=103.0, interval=(96.0, 104.0)))
    assert (answer.number, answer.unit) == ("98", "px")
    assert not answer.has_scale and answer.scale == "No scale: lengths are in pixels"
    assert "mm" not in repr(answer) and "cm" not in repr(answer)


def test_a_head_is_quoted_from_its_frame_with_its_other_values() -> None:
    hc = Measurement("head_circumference", Dimension.LENGTH, 900.0, 175.2, sd_mm=1.0)
    others = (
        Measurement("biparietal_diameter", Dimension.LENGTH, 250.0, 48.0),
        Measurement("cephalic_index", Dimension.PERCENT, value=79.0),
    )
    answer = reading_text(
        Reading(KEY, "fetal-head", Status.MEASURED, measurements=(hc, *others), edge=Edge.OUTER), None
    )
    assert (answer.number, answer.unit, answer.aggregate) == ("175.2", "mm", "this frame")
    assert answer.pairs == (("BPD", "48.0 mm"), ("Cephalic index", "79.0 %"))


def test_several_labels_make_a_checklist() -> None:
    brain = Reading(KEY, "fetal-brain", Status.MEASURED, labels=("cerebellum", "falx", "falx"), scores=(0.9, 0.4, 0.7))
    answer = reading_text(brain, None, labels=("falx", "csp", "cerebellum"))
    assert answer.marks == (
        StatusMark("falx", True, 0.7),
        StatusMark("csp", False, None),
        StatusMark("cerebellum", True, 0.9),
    )
    assert answer.number == DASH


def test_no_reading_says_why() -> None:
    assert reading_text(None, None, withdrawn="The model is loading").reason == "The model is loading"


def test_quality_in_words_and_bars() -> None:
    assert [quality_words(q) for q in (0.9, 0.5, 0.1)] == ["good", "fair", "poor"]
    assert [quality_bars(q) for q in (0.0, 0.5, 1.0)] == [1, 2, BARS]


def test_the_error_of_an_area_is_in_square_units() -> None:
    area = Measurement("area", Dimension.AREA, 5628.0, 36.7, sd_mm=4.0)
    answer = reading_text(replace(READING, finding="nerve", measurements=(area,), plane=Plane.UNDETERMINED), None)
    assert (answer.number, answer.unit) == ("36.7", "mm²")
    assert answer.interval == "± 7.8 mm², 95 %"
