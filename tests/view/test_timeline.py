"""The timeline: what it draws, and that a place on it is a frame."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

from tests.helpers.scenes import aorta_reading, flat_frame
from usviewer.frame import SourceInfo
from usviewer.measure.reading import Plane, Provenance, Reading, Status
from usviewer.pipeline.curve import Curve, curve_of
from usviewer.pipeline.review_run import ReviewSnapshot
from usviewer.view.timeline import (
    Timeline,
    axis_span,
    clock,
    curve_words,
    gaps_of,
    number_words,
    place_words,
    still_words,
    tick_words,
)

COUNT = 100
TIMES = tuple(index / 25 for index in range(COUNT))


def readings() -> dict[int, Reading]:
    """Forty measured (one edited), ten not seen, ten refused, one cut lengthwise; the rest not analysed yet."""
    found = {}
    for index in range(61):
        key = replace(flat_frame().key, index=index, media_time_s=TIMES[index])
        reading = aorta_reading(key, radius=50.0 + index % 7)
        if 40 <= index < 50:
            reading = Reading(key, "aorta", Status.NOT_VISUALISED)
        elif 50 <= index < 60:
            reading = Reading(key, "aorta", Status.REFUSED, reason="Cut off")
        elif index == 60:
            reading = replace(reading, plane=Plane.LONGITUDINAL)
        found[index] = reading
    found[5] = replace(found[5], provenance=Provenance.EDITED)
    return found


def snapshot(curve: Curve | None, index: int = 0, **changes: Any) -> ReviewSnapshot:
    frame = flat_frame()
    frame = replace(frame, key=replace(frame.key, index=index))
    fields = {
        "frame": frame, "reading": None, "curve": curve, "times_s": TIMES, "source": None, "wanted_index": index,
        "playing": False, "rate": 1.0, "loop": None, "analysed": 61, "complete": False, "message": "",
    }  # fmt: skip
    return ReviewSnapshot(**{**fields, **changes})


@pytest.fixture
def timeline(themed: Any, qtbot: Any) -> Timeline:
    widget = Timeline()
    qtbot.addWidget(widget)
    widget.resize(960, 150)
    widget.show()
    qtbot.waitExposed(widget)
    return widget


def test_a_curve_holds_one_kind_and_marks_the_rest() -> None:
    curve = curve_of(readings(), COUNT)
    assert np.isfinite(curve.values).sum() == 40 and not np.isfinite(curve.values[40:]).any()
    assert curve.values[3] == pytest.approx(2 * 53 * 0.213)
    assert (curve.analysed.sum(), curve.refused.sum(), curve.other.sum(), curve.edited.sum()) == (61, 10, 1, 1)
    assert (curve.name, curve.unit, curve.plane) == ("ap_diameter", "mm", Plane.TRANSVERSE)
    assert curve.summary is not None and curve.summary.whole
    assert curve_words(curve) == "AP diameter inner-inner · transverse · mm"


def test_pictures_of_a_folder_have_values_but_no_aggregate() -> None:
    curve = curve_of(readings(), COUNT, aggregated=False)
    assert curve.summary is None and np.isfinite(curve.values).sum() == 40


def test_gaps_are_where_nothing_was_seen_and_not_where_nothing_was_read() -> None:
    starts, ends = gaps_of(curve_of(readings(), COUNT), np.asarray(TIMES))
    assert starts == pytest.approx([40 / 25 - 0.02]) and ends == pytest.approx([49 / 25 + 0.02])


def test_the_axis_does_not_turn_a_steady_vessel_into_a_storm() -> None:
    low, high = axis_span(np.array([20.0, 20.2, np.nan]))
    assert high - low > 5.0 and low < 20.0 < high
    assert axis_span(np.array([np.nan])) == (0.0, 1.0)


@pytest.mark.parametrize(("at_s", "words"), [(7.3, "0:07.3"), (0.04, "0:00.0"), (83.96, "1:23.9"), (600.0, "10:00.0")])
def test_times_read_like_a_clock(at_s: float, words: str) -> None:
    assert clock(at_s) == words


def test_places_are_said_in_time_and_frames() -> None:
    assert place_words(61, TIMES) == "0:02.4 / 0:03.9   frame 61 of 0\N{EN DASH}99"  # as in every table and file name
    assert place_words(0, TIMES[:1]) == "0:00.0 / 0:00.0   single frame"
    assert place_words(0, ()) == "Counting frames"
    assert still_words(2, 12, "c.png") == "picture 2 of 0\N{EN DASH}11   c.png"
    assert number_words([-1.0, 0.0, 0.5, 3.0], 1.0, 1.0) == ["", "0", "", "3"]
    assert tick_words([0.5, 1.0], 1.0, 0.5) == ["0:00.5", "0:01.0"]
    assert tick_words([5.0, 10.0], 1.0, 5.0) == ["0:05", "0:10"]


def test_clicking_and_dragging_seek_and_letting_go_is_exact(timeline: Timeline, qtbot: Any) -> None:
    timeline.show_snapshot(snapshot(curve_of(readings(), COUNT)), ())
    qtbot.waitUntil(lambda: timeline.plot.frame_at(timeline.plot.width() - 4) == COUNT - 1)
    sought: list[tuple[int, bool]] = []
    timeline.sought.connect(lambda index, rests: sought.append((index, rests)))
    viewport, half = timeline.plot.viewport(), timeline.plot.width() // 2
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(half, 30))
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(half + 80, 30))
    (pressed, first_rests), (released, last_rests) = sought
    assert 40 < pressed < 56 and released > pressed and (first_rests, last_rests) == (False, True)
    assert timeline.plot.frame_at(-50) == 0


def test_shift_and_drag_choose_the_range_to_loop(timeline: Timeline, qtbot: Any) -> None:
    timeline.show_snapshot(snapshot(curve_of(readings(), COUNT)), ())
    qtbot.waitUntil(lambda: timeline.plot.frame_at(timeline.plot.width() - 4) == COUNT - 1)
    loops: list[tuple[int, int]] = []
    sought: list[int] = []
    timeline.plot.looped.connect(lambda a, b: loops.append((a, b)))
    timeline.sought.connect(lambda index, _rests: sought.append(index))
    viewport, shift = timeline.plot.viewport(), Qt.KeyboardModifier.ShiftModifier
    QTest.mousePress(viewport, Qt.MouseButton.LeftButton, shift, QPoint(600, 30))
    QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, shift, QPoint(300, 30))
    assert len(loops) == 1 and loops[0][0] < loops[0][1] and not sought


def test_everything_is_drawn_and_nothing_is_cut_off(timeline: Timeline, qtbot: Any) -> None:
    curve = curve_of(readings(), COUNT)
    timeline.show_snapshot(snapshot(curve, 5, loop=(10, 30), playing=True), (5, 20))
    assert timeline.place.sizeHint().width() <= timeline.place.width()
    assert timeline._buttons["bookmark"].isChecked() and timeline._buttons["loop"].isChecked()
    assert timeline._buttons["play"].accessibleName() == "Pause"
    for button in timeline._buttons.values():
        assert button.height() >= 44 and button.width() >= 44 and button.toolTip()
    without = timeline.grab().toImage()
    timeline.show_snapshot(snapshot(None, 5), ())
    assert timeline.grab().toImage() != without
    assert timeline.height() == 150


@pytest.mark.parametrize("width_px", [402, 440, 618, 760, 976, 1500])
def test_the_place_is_whole_at_every_width_and_nothing_lies_over_it(timeline: Timeline, width_px: int) -> None:
    """402: at 1280 x 800 between the list of clips and an open panel."""
    long = tuple(index / 25 for index in range(18_000))
    timeline.resize(width_px, 150)
    timeline.show_snapshot(snapshot(None, 17_999, times_s=long), ())
    timeline.layout().activate()
    said = timeline.place.text()
    assert said.split() == place_words(17_999, long).split() and "frame 17999 of" in said
    assert timeline.place.sizeHint().width() <= timeline.place.width()
    assert timeline.place.sizeHint().height() <= timeline.place.height()
    shown = [part for part in (*timeline._buttons.values(), timeline.rate, timeline.place) if not part.isHidden()]
    shown.sort(key=lambda part: part.x())
    assert all(a.geometry().right() < b.x() for a, b in itertools.pairwise(shown))
    assert shown[-1].geometry().right() < timeline.progress.x()
    assert timeline.progress.geometry().right() < width_px
    assert not timeline._buttons["step_on"].isHidden() and not timeline._buttons["play"].isHidden()


def test_a_picture_s_name_is_shortened_and_its_number_is_not(timeline: Timeline, themed: Any) -> None:
    info = SourceInfo("folder", "folder", "images", 640, 480, None, frame_count=3)
    now = snapshot(None, 1, times_s=(None,) * 3, source=info)
    frame = replace(now.frame, name=f"{'long' * 30}.png")
    timeline.show_snapshot(replace(now, frame=frame), ())
    assert timeline.place.text().startswith("picture 1 of 0\N{EN DASH}2   long") and "…" in timeline.place.text()
    assert timeline.place.sizeHint().width() <= timeline.place.width()


def test_a_file_that_cannot_be_opened_counts_no_frames(timeline: Timeline) -> None:
    timeline.show_snapshot(snapshot(None, frame=None, times_s=()), ())
    assert timeline.place.text() == "Counting frames"
    timeline.show_snapshot(snapshot(None, frame=None, times_s=(), message="a.mp4 is empty. Copy it again."), ())
    assert timeline.place.text() == ""


def test_showing_the_same_again_draws_nothing(timeline: Timeline) -> None:
    curve = curve_of(readings(), COUNT)
    timeline.show_snapshot(snapshot(curve), ())
    assert not timeline.plot.show_curve(curve, TIMES)
