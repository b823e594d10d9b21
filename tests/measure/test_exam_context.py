"""The operator's word: what depends on it, and what is only named by it."""

from __future__ import annotations

from dataclasses import replace

from usviewer.frame import FrameKey
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.reading import Plane, Reading, Site, Status

READING = Reading(FrameKey("s", 0, 0.0, 0.0, "d"), "aorta", Status.MEASURED)


def test_readings_depend_on_the_plane_of_an_aorta_and_the_age_of_a_head_and_on_nothing_else() -> None:
    given = ExamContext(Plane.TRANSVERSE, Site.MID, 28.5)
    assert given.settings("aorta") == "plane=transverse"
    assert given.settings("fetal-head") == "gestational_age_weeks=28.5000"
    assert given.settings("nerve") == given.settings("fetal-brain") == ""
    assert NO_CONTEXT.settings("aorta") == NO_CONTEXT.settings("fetal-head") == ""
    assert replace(given, site=Site.DISTAL).settings("aorta") == given.settings("aorta"), "a site is only a name"


def test_a_site_names_an_aorta_and_nothing_else() -> None:
    given = ExamContext(site=Site.DISTAL)
    assert given.named(READING).site is Site.DISTAL
    nerve = replace(READING, finding="nerve")
    assert given.named(nerve) is nerve
    assert given.named_summary(None, "aorta") is None


def test_the_tracker_holds_what_was_said() -> None:
    tracker = ExamContext(Plane.LONGITUDINAL, Site.PROXIMAL).tracker()
    assert (tracker.pinned, tracker.site) == (Plane.LONGITUDINAL, Site.PROXIMAL)
