"""What is said of a reading: which number is large, and the same sentence on the screen, in a file and in the terminal.

The rule: live quotes the aggregate and says why there is none; a frame that is held, reviewed or saved shows its own.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from usviewer.frame import FrameKey
from usviewer.infer.prediction import Edge
from usviewer.measure import clip_report
from usviewer.measure.findings import ClipReport, StatusMark, finding_of
from usviewer.measure.reading import Dimension, Measurement, Plane, Provenance, Reading, Site, Status, Summary
from usviewer.overlay.palette import Size
from usviewer.overlay.text import (
    DASH,
    WAITING,
    ReadingText,
    TextContext,
    clip_lines,
    interval_words,
    panel_lines,
    reading_lines,
    reading_text,
    report_sections,
)
from usviewer.units import ScaleSource, isotropic

KEY = FrameKey("s", 0, 0.0, 0.0, "d")
AP = Measurement("ap_diameter", Dimension.LENGTH, 100.0, 20.0, sd_mm=0.5)
ACROSS = Measurement("transverse_diameter", Dimension.LENGTH, 110.0, 26.0)
READING = Reading(
    KEY,
    "aorta",
    Status.MEASURED,
    measurements=(AP, ACROSS),
    plane=Plane.TRANSVERSE,
    edge=Edge.INNER,
    quality=0.8,
    spacing=isotropic(0.244, ScaleSource.RULER),
)
SUMMARY = Summary("ap_diameter", "mm", 23.6, 25.1, (21.8, 25.4), 2.0, 60, KEY, Plane.TRANSVERSE, Edge.INNER)
LIVE, SAVED_LIVE, FRAME = TextContext(is_live=True), TextContext(is_live=True, is_saved=True), TextContext()
ABSENT = Reading(KEY, "aorta", Status.NOT_VISUALISED, "No aorta is visible")


def drawn(text: ReadingText) -> list[str]:
    return [f"{line.text} {line.unit}".strip() for line in panel_lines(text, 8)]


def large(text: ReadingText) -> list[str]:
    return [f"{line.text} {line.unit}".strip() for line in panel_lines(text, 8) if line.size is Size.HEADLINE]


# --- which number is large (the rule) ---------------------------------------------------------------------------------


def test_live_the_aggregate_is_large_and_this_frame_beside_it() -> None:
    text = reading_text(READING, SUMMARY, LIVE)
    assert (text.number, text.unit, text.basis) == ("2.4", "cm", "median of the last 2.0 s")
    assert text.interval == "23.6 mm, 95 % 21.8 to 25.4"
    assert text.beside == (("max", "2.5 cm"), ("now", "2.0 cm"))


def test_live_one_frame_of_a_pulsating_vessel_is_no_headline_and_says_why() -> None:
    text = reading_text(READING, None, LIVE)
    assert (text.number, text.unit, text.reason) == (DASH, "", WAITING)
    assert text.beside == (("now", "2.0 cm"),)


def test_a_saved_live_picture_without_an_aggregate_says_what_the_screen_says() -> None:
    assert reading_text(READING, None, SAVED_LIVE) == reading_text(READING, None, LIVE)
    assert large(reading_text(READING, None, SAVED_LIVE)) == [DASH]


@pytest.mark.parametrize("context", [SAVED_LIVE, FRAME], ids=["saved from live", "held, reviewed or saved"])
def test_a_frame_that_is_looked_at_or_saved_shows_its_own_number_large(context: TextContext) -> None:
    text = reading_text(READING, SUMMARY, context)
    assert (text.number, text.unit, text.basis) == ("2.0", "cm", "this frame")
    assert text.interval == "20.0 ± 1.0 mm, 95 %"
    assert text.beside == (("median of the last 2.0 s", "2.4 cm"), ("max", "2.5 cm"))


def test_a_frame_without_an_aggregate_still_shows_its_own_number() -> None:
    text = reading_text(READING, None, FRAME)
    assert (text.number, text.basis, text.reason, text.beside) == ("2.0", "this frame", "", ())


def test_the_frame_with_the_maximum_shows_the_maximum_large() -> None:
    widest = replace(READING, measurements=(replace(AP, value_mm=25.1),))
    assert reading_text(widest, replace(SUMMARY, whole=True), FRAME).number == "2.5"


def test_in_review_the_median_is_of_the_clip_as_far_as_it_goes() -> None:
    whole = replace(SUMMARY, whole=True)
    assert reading_text(READING, whole, FRAME).beside[0] == ("median of the clip", "2.4 cm")
    assert reading_text(READING, whole, TextContext(is_complete=False)).beside[0] == ("median so far", "2.4 cm")


def test_a_head_is_quoted_from_its_frame_live_too() -> None:
    hc = Measurement("head_circumference", Dimension.LENGTH, 900.0, 175.2, sd_mm=1.0)
    index = Measurement("cephalic_index", Dimension.PERCENT, value=79.0)
    head = Reading(KEY, "fetal-head", Status.MEASURED, measurements=(hc, index), edge=Edge.OUTER)
    text = reading_text(head, None, LIVE)
    assert (text.number, text.unit, text.basis) == ("175.2", "mm", "this frame")
    assert text.others == (("Cephalic index", "79.0 %"),)


def test_the_operators_own_outline_is_quoted_live_too() -> None:
    assert reading_text(replace(READING, provenance=Provenance.EDITED), None, LIVE).number == "2.0"


def test_a_summary_of_another_plane_is_not_used() -> None:
    other = replace(SUMMARY, plane=Plane.LONGITUDINAL)
    assert reading_text(READING, other, LIVE).number == DASH
    assert reading_text(READING, other, FRAME).beside == ()


# --- what is withheld -------------------------------------------------------------------------------------------------


def test_an_input_that_is_not_live_has_no_number_and_says_why() -> None:
    frozen = replace(LIVE, is_current=False, withheld="Frozen input: this frame only, no current number")
    for context in (frozen, replace(frozen, is_saved=True)):
        text = reading_text(READING, SUMMARY, context)
        assert text.number == DASH and text.reason.startswith("Frozen input")
        assert text.beside == (("now", "2.0 cm"),), "the frame's own value stays, as such"


def test_of_a_picture_that_is_no_more_sent_nothing_is_said_but_why() -> None:
    text = reading_text(READING, SUMMARY, replace(LIVE, is_current=False, holds_frame=False, withheld="Stalled"))
    assert (text.number, text.reason, text.pairs, text.warnings) == (DASH, "Stalled", (), ())


def test_not_visualised_is_its_reason_and_never_zero() -> None:
    text = reading_text(ABSENT, SUMMARY, LIVE)
    assert (text.number, text.pairs, text.interval) == (DASH, (), "")
    assert drawn(text) == ["Aorta not visualised", "No aorta is visible"]


def test_no_reading_says_why() -> None:
    assert reading_text(None, None, TextContext(withheld="The model is loading")).reason == "The model is loading"


def test_without_a_scale_nothing_is_in_millimetres() -> None:
    bare = replace(
        READING,
        spacing=None,
        no_scale_reason="No scale: lengths are in pixels",
        measurements=(replace(AP, value_mm=None, sd_mm=None),),
    )
    in_px = replace(SUMMARY, unit="px", median=98.0, maximum=103.0, interval=(96.0, 104.0))
    for context, number in ((LIVE, "98"), (FRAME, "100")):
        text = reading_text(bare, in_px, context)
        assert (text.number, text.unit, text.scale) == (number, "px", "No scale: lengths are in pixels")
        assert not any(unit in line for line in drawn(text) for unit in ("mm", "cm"))


# --- the maximum is never hidden --------------------------------------------------------------------------------------


def at(index: int, value_mm: float, site: Site = Site.NOT_SET) -> Reading:
    key = FrameKey("s", index, index / 25.0, index / 25.0, f"{index}")
    return replace(READING, key=key, measurements=(replace(AP, value_mm=value_mm),), site=site)


def a_sweep(*sites: Site) -> ClipReport:
    return clip_report([at(30 * n + i, 20.0 + 5.0 * n, site) for n, site in enumerate(sites) for i in range(30)])


def test_the_maximum_of_a_sweep_stands_beside_every_frame_also_where_nothing_is_seen() -> None:
    report = a_sweep(Site.PROXIMAL, Site.DISTAL)
    for reading in (READING, ABSENT, replace(ABSENT, status=Status.REFUSED, reason="Cut off")):
        for context in (replace(LIVE, report=report), replace(FRAME, report=report)):
            text = reading_text(reading, None, context)
            assert ("max, distal", "2.5 cm") in text.beside
            assert "max, distal: 2.5 cm" in drawn(text) and "max, distal: 2.5 cm" in list(reading_lines(text))


def test_less_than_a_heart_beat_is_no_aggregate_and_no_maximum_of_a_clip() -> None:
    short = replace(SUMMARY, span_s=0.5, whole=True)
    assert reading_text(READING, short, LIVE).number == DASH
    assert reading_text(READING, short, FRAME).beside == ()
    few = clip_report([at(index, 20.0) for index in range(5)])
    assert reading_text(ABSENT, None, replace(FRAME, report=few)).beside == ()


def test_what_the_beats_say_stands_beside_measured_frames_alone() -> None:
    report = replace(a_sweep(Site.MID), pairs=(("pulsatility", "5 %"),))
    assert ("pulsatility", "5 %") in reading_text(READING, None, replace(FRAME, report=report)).beside
    assert reading_text(ABSENT, None, replace(FRAME, report=report)).beside == (("max, mid", "2.0 cm"),)


def test_a_clip_without_sites_has_its_maximum_beside_a_frame_that_its_summary_does_not_fit() -> None:
    report = a_sweep(Site.NOT_SET)
    assert ("max of all frames", "2.0 cm") in reading_text(ABSENT, None, replace(FRAME, report=report)).beside


def test_what_more_frames_say_belongs_to_their_finding_alone() -> None:
    nerve = replace(READING, finding="nerve")
    assert reading_text(nerve, None, replace(FRAME, report=a_sweep(Site.MID))).beside == ()


def test_the_sweep_says_the_largest_of_each_site_with_its_interval_and_frame() -> None:
    report = a_sweep(Site.DISTAL, Site.MID)
    rows = report_sections(report)[0].rows
    assert [row.name for row in rows] == ["Mid", "Distal"]
    assert rows[0].value == "2.5 cm" and "95 %" in rows[0].detail and rows[0].detail.endswith(f"frame {rows[0].frame}")
    live = report_sections(report, now_s=10.0)[0].rows
    assert live[0].frame is None and live[0].detail.endswith("s ago")


# --- the same on the screen, in the picture and in the terminal -------------------------------------------------------

HEAD = Reading(
    KEY,
    "fetal-head",
    Status.MEASURED,
    measurements=(
        Measurement("head_circumference", Dimension.LENGTH, 900.0, 175.2, sd_mm=1.0),
        Measurement("biparietal_diameter", Dimension.LENGTH, 250.0, 48.0),
        Measurement("gestational_age_hadlock", Dimension.WEEKS, value=20.018),
    ),
    edge=Edge.OUTER,
    warnings=("Oblique or not circular",),
)
BRAIN = Reading(KEY, "fetal-brain", Status.MEASURED, labels=("CSP", "falx"), scores=(0.81, 0.7))
NERVE = replace(
    READING,
    finding="nerve",
    measurements=(Measurement("area", Dimension.AREA, 5628.0, 36.7, sd_mm=4.0),),
    plane=Plane.UNDETERMINED,
)
READINGS = {
    "aorta": READING,
    "absent": ABSENT,
    "refused": replace(ABSENT, status=Status.REFUSED, reason="The vessel is cut off"),
    "head": HEAD,
    "brain": BRAIN,
    "nerve": NERVE,
    "in pixels": replace(READING, spacing=None, measurements=(replace(AP, value_mm=None, sd_mm=None),)),
}


@pytest.mark.parametrize("context", [LIVE, SAVED_LIVE, FRAME], ids=["live", "saved", "frame"])
@pytest.mark.parametrize("summary", [None, SUMMARY], ids=["alone", "with a summary"])
@pytest.mark.parametrize("name", READINGS)
def test_screen_picture_and_terminal_say_the_same(name: str, summary: Summary | None, context: TextContext) -> None:
    screen = reading_text(READINGS[name], summary, context)
    picture, terminal = drawn(screen), "\n".join(reading_lines(screen))
    sentences = [screen.status, screen.number_sentence, screen.convention, screen.reason, screen.scale_sentence]
    sentences += [*screen.warnings, *screen.checks, *(mark.sentence for mark in screen.marks)]
    sentences += [*screen.beside_sentences, *(f"{name} {value}" for name, value in screen.others)]
    for sentence in filter(None, sentences):
        assert sentence in picture and sentence in terminal
    if screen.convention:
        assert f"{screen.number} {screen.unit}".strip() in picture
        assert f"{screen.quantity}: {screen.number} {screen.unit}".strip() in terminal


def test_a_clip_is_said_in_the_terminal_as_on_the_screen() -> None:
    readings = [at(index, 20.0) for index in range(60)]
    whole = replace(SUMMARY, whole=True)
    screen, lines = reading_text(readings[0], whole, LIVE), list(clip_lines(clip_report(readings), SUMMARY))
    assert screen.number_sentence in lines[0] and lines[0].startswith("AP diameter, inner-inner · transverse: ")
    assert "max 25.1 mm at frame 0" in lines[0]
    for row in (row for section in report_sections(clip_report(readings)) for row in section.rows):
        assert any(line.startswith(f"{row.name}: {row.value}") for line in lines)


def test_an_interval_that_nothing_is_known_of_is_not_said_as_certain() -> None:
    assert interval_words(SUMMARY) == "23.6 mm, 95 % 21.8 to 25.4"
    assert interval_words(replace(SUMMARY, interval=(23.6, 23.6))) == "23.6 mm, its error is not known"


def test_a_head_over_a_clip_has_its_sizes_and_ages_in_the_panel_and_in_the_terminal() -> None:
    readings = [replace(HEAD, key=at(index, 0.0).key, spacing=READING.spacing) for index in range(3)]
    report = clip_report(readings)
    (section,) = report_sections(report)
    assert section.title == "Head over the clip"
    rows = {row.name: row.value for row in section.rows}
    assert rows["BPD"] == "48.0 mm" and rows["GA, Hadlock 1984"] is not None and "±" in rows["GA, Hadlock 1984"]
    assert "BPD: 48.0 mm" in list(clip_lines(report, None))


def test_the_error_of_an_area_is_in_square_units() -> None:
    text = reading_text(NERVE, None)
    assert (text.number, text.unit, text.interval) == ("36.7", "mm²", "36.7 ± 7.8 mm², 95 %")


def test_a_checklist_has_its_own_structures_first_and_then_what_else_the_model_knows() -> None:
    text = reading_text(BRAIN, None, TextContext(labels=("falx", "csp", "cerebellum")))
    assert text.marks == (
        StatusMark("CSP", True, 0.81),
        StatusMark("Choroid plexus", False),
        StatusMark("Midline falx", True, 0.7),
        StatusMark("Cerebellum", False),
    )
    assert text.number == DASH and len(text.checks) == 2


def test_several_labels_of_a_model_make_a_checklist_beside_the_number() -> None:
    text = reading_text(replace(NERVE, labels=("nerve",), scores=(0.9,)), None, TextContext(labels=("nerve", "vessel")))
    assert text.marks == (StatusMark("nerve", True, 0.9), StatusMark("vessel", False))


def test_no_more_of_the_other_measurements_are_drawn_than_asked_for() -> None:
    many = replace(READING, measurements=(AP, *(replace(ACROSS, name=f"other_{n}") for n in range(6))))
    text = reading_text(many, None)
    assert len(text.others) == 6
    assert sum("Other" in line.text for line in panel_lines(text, finding_of("aorta").most_lines)) == 3
