"""The hand's tools: what is drawn is what is measured, belongs to its picture, and can be undone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter
from PySide6.QtTest import QTest

from tests.helpers.scenes import GIVEN, aorta_reading, circle, flat_frame, scaled_geometry
from tests.helpers.workbench import RIGHT, Workbench
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry, Region, make_frame
from usviewer.measure.manual import Edit, fill_outline
from usviewer.overlay.items import CaliperMark, Outline
from usviewer.units import ScaleSource
from usviewer.view import tools
from usviewer.view.mask_tool import MaskTool
from usviewer.view.painter import label_box
from usviewer.view.tool_controller import ManualTool

SIZE = (640, 480)


@pytest.fixture
def bench(themed: Any, qtbot: Any, tmp_path: Path) -> Iterator[Workbench]:
    workbench = Workbench(qtbot, tmp_path)
    yield workbench
    workbench.close()


def show(bench: Workbench, geometry: ImageGeometry | None = None, level: int = 90) -> Frame:
    frame = flat_frame(*SIZE, level=level, geometry=geometry)
    bench.presenter.show(frame, aorta_reading(frame.key), None)
    return frame


def test_a_caliper_is_drawn_dragged_and_measured(bench: Workbench) -> None:
    show(bench, scaled_geometry(*SIZE))
    bench.hand.choose(ManualTool.CALIPER)
    bench.drag((100.0, 100.0), (200.0, 100.0))
    (reading,) = bench.hand.readings()
    assert reading.get("length").value_px == pytest.approx(100.0, abs=1.0)
    assert reading.get("length").value_mm == pytest.approx(21.3, abs=0.25)
    bench.drag((200.0, 100.0), (200.0, 300.0))  # its end again
    (reading,) = bench.hand.readings()
    assert reading.get("length").value_px == pytest.approx(np.hypot(100, 200), abs=1.0)
    bench.drag((400.0, 100.0), (450.0, 100.0))  # free ground: another
    assert len(bench.hand.readings()) == 2


def test_without_a_scale_or_across_regions_a_caliper_is_in_pixels(bench: Workbench) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIPER)
    bench.drag((100.0, 100.0), (200.0, 100.0))
    assert bench.hand.readings()[0].get("length").value_mm is None
    half = ImageGeometry((Region((0.0, 0.0, 320.0, 480.0), GIVEN),))
    show(bench, half, level=91)
    bench.drag((100.0, 100.0), (500.0, 100.0))
    reading = bench.hand.readings()[0]
    assert reading.get("length").value_mm is None and reading.no_scale_reason


def test_a_click_alone_is_no_length(bench: Workbench) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIPER)
    bench.click((100.0, 100.0))
    assert not bench.hand.readings()


def test_an_ellipse_is_drawn_widened_and_moved(bench: Workbench) -> None:
    show(bench, scaled_geometry(*SIZE))
    bench.hand.choose(ManualTool.ELLIPSE)
    bench.drag((200.0, 200.0), (300.0, 200.0))
    bench.drag((250.0, 240.0), (250.0, 230.0))  # the handle of its width
    (reading,) = bench.hand.readings()
    assert reading.get("long_axis").value_px == pytest.approx(100.0, abs=1.5)
    assert reading.get("short_axis").value_px == pytest.approx(60.0, abs=1.5)
    assert reading.get("area").value_mm == pytest.approx(np.pi * 50 * 30 * 0.213**2, rel=0.04)
    bench.drag((250.0, 200.0), (350.0, 300.0))  # from inside
    (moved,) = bench.hand.readings()
    assert moved.outlines_xy_px[0].mean(axis=0) == pytest.approx((350.0, 300.0), abs=1.5)


def test_what_is_drawn_belongs_to_its_picture(bench: Workbench) -> None:
    first = show(bench, level=90)
    bench.hand.choose(ManualTool.CALIPER)
    bench.drag((100.0, 100.0), (200.0, 100.0))
    bench.hand.cancel_tool()
    show(bench, level=120)
    assert not bench.hand.readings() and bench.canvas.tool is None
    bench.presenter.show(first, None, None)
    assert len(bench.hand.readings()) == 1 and bench.canvas.tool is bench.hand
    bench.drag((200.0, 100.0), (250.0, 100.0))  # without the tool in hand its ends can still be dragged
    assert bench.hand.readings()[0].get("length").value_px == pytest.approx(150.0, abs=1.5)
    bench.drag((400.0, 400.0), (450.0, 400.0))  # but nothing new begins
    assert len(bench.hand.readings()) == 1


def test_what_is_kept_is_what_was_drawn(bench: Workbench) -> None:
    show(bench, scaled_geometry(*SIZE))
    bench.hand.choose(ManualTool.CALIPER)
    bench.drag((100.0, 100.0), (200.0, 100.0))
    bench.hand.choose(ManualTool.ELLIPSE)
    bench.drag((300.0, 300.0), (400.0, 300.0))
    items = bench.hand.items()
    assert [type(item) for item in items if isinstance(item, CaliperMark | Outline)] == [CaliperMark, Outline]
    assert any("mm" in getattr(item, "text", "") for item in items)


def test_delete_undo_and_clear_take_away(bench: Workbench) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIPER)
    for x in (50.0, 200.0, 350.0):
        bench.drag((x, 100.0), (x + 60.0, 100.0))
    QTest.keyClick(bench.canvas, Qt.Key.Key_Delete)
    assert len(bench.hand.readings()) == 2
    assert bench.hand.undo() and len(bench.hand.readings()) == 1
    bench.hand.clear()
    assert not bench.hand.readings() and not bench.hand.undo()


def test_the_tool_says_what_to_do_and_goes_away(bench: Workbench) -> None:
    show(bench)
    for tool in (ManualTool.CALIPER, ManualTool.ELLIPSE, ManualTool.CALIBRATE):
        bench.hand.choose(tool)
        assert bench.hand.chosen is tool and bench.tool_bar.isVisible()
        assert bench.canvas.rect().contains(bench.tool_bar.geometry())
        bench.canvas.grab()
    bench.hand.choose(ManualTool.CALIBRATE)
    assert bench.hand.chosen is ManualTool.NOTHING and not bench.tool_bar.isVisible()
    assert not bench.hand.cancel_tool()


def test_the_words_of_what_is_drawn_lie_over_no_other(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, QRectF] = {}
    honest = tools.label

    def note(painter: QPainter, text: str, at: QPointF, *rest: Any) -> None:
        written[text] = label_box(text, at)
        honest(painter, text, at, *rest)

    monkeypatch.setattr(tools, "label", note)
    show(bench, scaled_geometry(*SIZE))
    bench.hand.choose(ManualTool.ELLIPSE)
    bench.drag((200.0, 200.0), (300.0, 200.0))
    bench.hand.choose(ManualTool.CALIPER)
    bench.drag((240.0, 204.0), (304.0, 204.0))
    bench.drag((200.0, 260.0), (300.0, 230.0))
    written.clear()
    bench.canvas.grab()
    assert len(written) == 4  # the ellipse has two lines
    lines = [box.adjusted(0, 0, 0, -4) for box in written.values()]
    assert not any(a.intersects(b) for a, b in itertools.combinations(lines, 2))


def test_without_a_picture_no_tool_is_taken_up(bench: Workbench) -> None:
    bench.hand.choose(ManualTool.CALIPER)
    assert bench.hand.chosen is ManualTool.NOTHING and bench.canvas.tool is None


# --- the scale


def test_two_points_give_the_scale(bench: Workbench) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIBRATE)
    with pytest.raises(UserError, match="Two marks"):
        bench.hand.set_scale(50.0)
    assert not bench.tool_bar.use.isEnabled()
    bench.click((600.0, 40.0))
    bench.click((600.0, 290.0))
    bench.canvas.grab()  # the lens is painted, at the border too
    assert bench.tool_bar.use.isEnabled() and bench.tool_bar.distance.value() == 50.0
    bench.tool_bar.use.click()
    spacing = bench.app_state.user_spacing()
    assert spacing.source is ScaleSource.MANUAL and spacing.y_mm_per_px == pytest.approx(0.2, rel=0.01)
    assert bench.hand.chosen is ManualTool.NOTHING and "Scale set" in bench.said


@pytest.mark.parametrize(("text", "distance_mm"), [("52.5", 52.5), ("52,5", 52.5), ("5,25 cm", 52.5), ("52,500", 52.5)])
def test_a_distance_is_the_same_number_however_it_is_typed(bench: Workbench, text: str, distance_mm: float) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIBRATE)
    bench.click((600.0, 40.0))
    bench.click((600.0, 290.0))
    bench.tool_bar.distance.setText(text)
    bench.tool_bar.use.click()
    spacing = bench.app_state.user_spacing()
    assert spacing is not None and spacing.y_mm_per_px == pytest.approx(distance_mm / 250.0, rel=0.01)
    assert f"{distance_mm:g} mm" in bench.said


@pytest.mark.parametrize("text", ["", "52.5.", "1,000", "1 000", "fifty", "5e1", "2000", "52.5 in", "٥٢"])
def test_a_distance_that_is_not_understood_stays_and_is_said(bench: Workbench, text: str) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIBRATE)
    bench.click((600.0, 40.0))
    bench.click((600.0, 290.0))
    bench.tool_bar.distance.setText(text)
    bench.tool_bar.use.click()
    assert bench.app_state.user_spacing() is None and bench.tool_bar.distance.text() == text
    assert "Mark two points" not in bench.tool_bar.says and bench.tool_bar.says


def test_a_distance_that_makes_the_picture_too_deep_is_said_at_once(bench: Workbench) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIBRATE)
    bench.click((600.0, 40.0))
    bench.click((600.0, 290.0))
    bench.tool_bar.distance.setText("52 cm")
    bench.tool_bar.use.click()
    assert bench.app_state.user_spacing() is None
    assert "cm deep" in bench.tool_bar.says


def test_arrows_set_a_mark_finer_than_the_hand(bench: Workbench) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIBRATE)
    bench.click((600.0, 40.0))
    before = bench.hand.points[0]
    QTest.keyClick(bench.canvas, Qt.Key.Key_Down)
    assert bench.hand.points[0] == pytest.approx((before[0], before[1] + 0.2))


def test_marks_that_are_too_near_are_refused_in_the_bar(bench: Workbench) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIBRATE)
    bench.click((100.0, 100.0))
    bench.canvas.zoom_by(6.0, QPointF(bench.screen((100.0, 100.0))))
    bench.click((112.0, 100.0))
    bench.tool_bar.use.click()
    assert bench.app_state.user_spacing() is None and bench.hand.chosen is ManualTool.CALIBRATE
    assert "only 12 pixels apart" in bench.tool_bar.says


# --- correcting


class Kept:
    def __init__(self) -> None:
        self.edits: list[Edit | None] = []

    def __call__(self, _frame: Frame, edit: Edit | None) -> None:
        self.edits.append(edit)


def correcting(bench: Workbench) -> tuple[Kept, MaskTool]:
    frame = show(bench)
    kept = Kept()
    bench.hand.correct(aorta_reading(frame.key), ("aorta", "vein"), kept)
    assert bench.hand.mask is not None
    return kept, bench.hand.mask


def test_handles_are_dragged_added_and_removed(bench: Workbench) -> None:
    kept, mask = correcting(bench)
    count = len(mask.handles)
    x, y = mask.handles[0]
    bench.drag((x, y), (x + 0.5 * (x - 400.0), y + 0.5 * (y - 260.0)))  # away from the middle
    assert len(kept.edits) == 1 and kept.edits[0].mask.sum() > fill_outline(circle((400.0, 260.0), 56.0), SIZE).sum()
    x, y = mask.handles[3]
    bench.click((x, y), RIGHT)
    assert len(mask.handles) == count - 1 and len(kept.edits) == 2
    (ax, ay), (bx, by) = mask.handles[5], mask.handles[6]
    at = ((ax + bx) / 2, (ay + by) / 2)
    bench.drag(at, (at[0] + 5.0, at[1] + 5.0))
    assert len(mask.handles) in (count, count - 1) and len(kept.edits) == 3


def test_every_gesture_is_undone_one_by_one(bench: Workbench) -> None:
    kept, mask = correcting(bench)
    states = [mask.mask.copy()]
    for step in range(3):
        x, y = mask.handles[step]
        bench.drag((x, y), (x + 14.0, y + 10.0))
        states.append(mask.mask.copy())
    for state in reversed(states[:-1]):
        assert bench.hand.undo()
        np.testing.assert_array_equal(mask.mask, state)
    assert not bench.hand.undo()
    assert len(kept.edits) == 6  # what is undone is measured and kept too
    assert kept.edits[-2] is not None and kept.edits[-1] is None, "with all undone it is the model's own outline"


def test_the_brush_adds_and_takes_away(bench: Workbench) -> None:
    kept, mask = correcting(bench)
    bench.tool_bar.add.click()
    bench.tool_bar.brush_size.setValue(15)
    before = int(mask.mask.sum())
    bench.drag((100.0, 100.0), (200.0, 100.0))
    added = int(mask.mask.sum()) - before
    assert added == pytest.approx(100 * 30 + np.pi * 15**2, rel=0.05)
    bench.drag((100.0, 100.0), (200.0, 100.0), RIGHT)
    assert int(mask.mask.sum()) == pytest.approx(before, abs=0.01 * added)
    bench.tool_bar.erase.click()
    bench.drag((400.0, 220.0), (400.0, 300.0))
    assert int(mask.mask.sum()) < before - 1500
    bench.canvas.grab()
    assert bench.hand.undo() and len(kept.edits) == 4


def test_an_outline_is_drawn_anew_point_by_point(bench: Workbench) -> None:
    kept, mask = correcting(bench)
    bench.tool_bar.redraw.click()
    assert mask.drawing and not mask.mask.any() and not kept.edits[-1].mask.any()
    for at in ((100.0, 100.0), (200.0, 100.0), (200.0, 200.0), (100.0, 200.0)):
        bench.click(at)
    bench.click((100.0, 100.0))
    assert not mask.drawing and len(mask.handles) == 4
    assert mask.mask[150, 150] and not mask.mask[260, 400]
    assert kept.edits[-1].label == "aorta" and kept.edits[-1].classes == ("aorta", "vein")


def test_another_picture_ends_the_correction(bench: Workbench) -> None:
    correcting(bench)
    show(bench, level=130)
    assert bench.hand.chosen is ManualTool.NOTHING and bench.hand.mask is None


def test_a_picture_that_was_not_analysed_cannot_be_corrected(bench: Workbench) -> None:
    frame = make_frame(np.zeros((480, 640, 3), np.uint8), "x", 0, 0.0)
    bench.presenter.show(frame, None, None)
    with pytest.raises(UserError, match="not been analysed"):
        bench.hand.correct(None, ("aorta",), Kept())


def test_marks_on_a_picture_of_one_size_give_no_scale_to_another(bench: Workbench) -> None:
    show(bench)
    bench.hand.choose(ManualTool.CALIBRATE)
    bench.click((600.0, 40.0))
    bench.click((600.0, 290.0))
    assert len(bench.hand.points) == 2
    other = flat_frame(320, 240)
    bench.presenter.show(other, aorta_reading(other.key), None)
    assert bench.hand.points == ()
    with pytest.raises(UserError, match="Two marks"):
        bench.hand.set_scale(50.0)


def test_one_distance_gives_no_scale_to_pixels_that_are_not_square(bench: Workbench) -> None:
    frame = make_frame(np.full((480, 640, 3), 90, np.uint8), "test", 7, pixel_aspect=2.0)
    bench.presenter.show(frame, aorta_reading(frame.key), None)
    bench.hand.choose(ManualTool.CALIBRATE)
    bench.click((600.0, 40.0))
    bench.click((600.0, 290.0))
    with pytest.raises(UserError, match="not square"):
        bench.hand.set_scale(50.0)
    assert bench.app_state.user_spacing() is None
