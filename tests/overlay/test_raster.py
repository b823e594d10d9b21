from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.scenes import aorta_reading, circle, flat_frame, scaled_geometry, summary_of
from usviewer.measure.reading import Status
from usviewer.overlay import palette
from usviewer.overlay.items import BoxMark, CaliperMark, Fill, LineStyle, Outline, Scene, Text
from usviewer.overlay.layout import lay_out
from usviewer.overlay.raster import dashes, draw
from usviewer.overlay.scene import Style, compose

LONG = "Neither clearly across nor along the vessel: turn the probe, or set the plane, and hold still for two seconds"


def painted(*items, width=200, height=160, level=90, unit=1.0):
    frame = flat_frame(width, height, level)
    return frame.pixels, draw(frame.pixels, Scene(frame.key, (width, height), items, unit))


def whole_scene(width, height, level=90, **changes):
    frame = flat_frame(width, height, level, scaled_geometry(width, height))
    radius = 0.1 * min(width, height)
    reading = replace(aorta_reading(frame.key, (width * 0.6, height * 0.5), radius), **changes)
    summary = summary_of(reading) if reading.measurements else None
    return frame, compose(frame, reading, summary, model_label="Aorta 1.0")


def near(picture, colour, tolerance=30):
    return (np.abs(picture.astype(int) - colour) <= tolerance).all(axis=2)


def test_the_outline_lies_where_the_contour_is():
    """Corner convention: the circle's pixels have centres half a pixel off their index."""
    centre, radius = (100.3, 80.6), 50.0
    _, picture = painted(Outline(circle(centre, radius), width=1.0))
    rows, columns = np.nonzero(near(picture, palette.MASK, 75))
    distance = np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1])
    assert len(distance) > 200
    assert np.abs(distance - radius).max() <= 1.0
    assert abs(distance.mean() - radius) < 0.15
    assert abs(columns.mean() + 0.5 - centre[0]) < 0.25
    assert abs(rows.mean() + 0.5 - centre[1]) < 0.25


@pytest.mark.parametrize("level", [0, 90, 255])
def test_every_line_has_a_dark_halo(level):
    _, picture = painted(Outline(circle((100, 80), 50)), level=level)
    row = picture[80, 45:56].astype(int)  # crosses the line at x = 50
    bright = np.flatnonzero(row[:, 2] > 180) if level == 0 else np.flatnonzero(near(row[None], palette.MASK, 40)[0])
    before, after = row[bright[0] - 1], row[bright[-1] + 1]
    assert before.max() < 75
    assert after.max() < 75


def test_the_source_is_not_touched():
    original, picture = painted(Outline(circle((100, 80), 50)))
    assert (original == 90).all()
    assert (picture != 90).any()


def test_an_empty_scene_changes_nothing():
    frame = flat_frame()
    hidden = compose(frame, aorta_reading(frame.key), style=Style(hidden=True))
    assert np.array_equal(draw(frame.pixels, hidden), frame.pixels)


def test_caliper_ends_have_bars_square_to_it():
    _, picture = painted(CaliperMark(((100.5, 30.5), (100.5, 120.5)), width=1.0))
    yellow = near(picture, palette.CALIPER)
    assert yellow[30:121, 100].all()
    for row in (30, 120):
        assert yellow[row, 95:107].all()
        assert not yellow[row, 80:90].any()
    assert not yellow[75, 95:99].any()
    assert not yellow[20:28].any()


def test_a_caliper_without_length_is_still_drawn():
    _, picture = painted(CaliperMark(((100, 80), (100, 80))))
    assert near(picture, palette.CALIPER).any()


def test_a_fill_tints_inside_only():
    _, picture = painted(Fill(circle((100, 80), 40), alpha=0.5))
    assert picture[80, 100].tolist() == pytest.approx([(90 + c) / 2 for c in palette.MASK], abs=1)
    assert (picture[80, 145:] == 90).all()


def test_dashes_keep_to_the_line_and_leave_gaps():
    points = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    parts = dashes(points, 4.0, 2.0)
    lengths = [float(np.hypot(*np.diff(part, axis=0).T).sum()) for part in parts]
    assert lengths == pytest.approx([4.0, 4.0, 4.0, 2.0])
    assert all(part[:, 0].max() <= 10 and part[:, 1].max() <= 10 for part in parts)


def test_a_dotted_outline_shows_the_tissue_between_its_dots():
    _, solid = painted(Outline(circle((100, 80), 50)))
    _, dotted = painted(Outline(circle((100, 80), 50), line=LineStyle.DOTTED))
    ratio = near(dotted, palette.MASK).sum() / near(solid, palette.MASK).sum()
    assert 0.1 < ratio < 0.7


SIZES = [(640, 332), (640, 480), (1536, 796), (3840, 2160)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "changes", [{}, {"status": Status.REFUSED, "measurements": (), "reason": LONG}], ids=["measured", "refused"]
)
def test_no_word_is_cut_off_or_over_another(size, changes):
    _, scene = whole_scene(*size, **changes)
    boxes = [block.box_xyxy_px for block in lay_out(scene)]
    assert len(boxes) == 3  # numbers, scale bar, research line
    for x0, y0, x1, y1 in boxes:
        assert x0 >= 0 and y0 >= 0 and x1 <= size[0] and y1 <= size[1]
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        for u0, v0, u1, v1 in boxes[index + 1 :]:
            assert x1 <= u0 or u1 <= x0 or y1 <= v0 or v1 <= y0


@pytest.mark.parametrize("size", SIZES)
def test_everything_said_fits_at_usual_sizes(size):
    _, scene = whole_scene(*size, warnings=("Oblique or not circular",))
    (panel,) = [block for block in lay_out(scene) if block.ground]
    assert len(panel.lines) >= 11  # ten lines, and the headline's unit


@pytest.mark.parametrize("level", [0, 90, 255])
def test_letters_stand_out_from_any_tissue(level):
    frame, scene = whole_scene(640, 480, level)
    picture = draw(frame.pixels, scene)
    for block in lay_out(scene):
        for line in block.lines:
            part = picture[
                line.top_px : line.top_px + line.letters.height_px, line.left_px : line.left_px + line.letters.width_px
            ]
            grey = part.astype(float).mean(axis=2)
            assert np.percentile(grey, 99.5) - np.percentile(grey, 2) > 60


def test_letters_grow_with_the_picture():
    heights = []
    for size in ((640, 480), (3840, 2160)):
        _, scene = whole_scene(*size)
        heights.append(max(line.letters.height_px for block in lay_out(scene) for line in block.lines))
    assert heights[1] > 2.5 * heights[0]


def test_a_long_word_is_broken_rather_than_cut():
    frame = flat_frame(120, 200)
    text = Text((4, 4), "x" * 60, max_width_px=100)
    (block,) = lay_out(Scene(frame.key, (120, 200), (text,)))
    assert len(block.lines) > 2
    assert block.box_xyxy_px[2] - block.box_xyxy_px[0] <= 100


def test_a_label_at_the_border_is_moved_inside():
    frame = flat_frame(200, 160)
    (block,) = lay_out(Scene(frame.key, (200, 160), (BoxMark((150, 0, 199, 40), "MIDLINE_FALX 0.93"),)))
    x0, y0, x1, y1 = block.box_xyxy_px
    assert x0 >= 0 and y0 >= 0 and x1 <= 200 and y1 <= 160


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_any_size_can_be_drawn(width, height):
    frame, scene = whole_scene(width, height)
    assert draw(frame.pixels, scene).shape == (height, width, 3)


def test_shapes_far_outside_are_harmless():
    original, picture = painted(
        Outline(np.array([[-1e9, -1e9], [1e9, -1e9], [np.nan, 1e9]])),
        Fill(circle((-500, -500), 20)),
        width=60,
        height=40,
    )
    assert picture.shape == original.shape


def test_names_of_several_lie_over_no_other_words():
    items = (
        BoxMark((300, 200, 400, 300), "CSP 0.93"),
        BoxMark((304, 204, 380, 290), "MIDLINE_FALX 0.88"),
        Outline(circle((340, 250), 42), label="CHOROID_PLEXUS 0.71"),
        Text((310, 196), "12.3 mm"),
    )
    frame = flat_frame(640, 480)
    boxes = [block.box_xyxy_px for block in lay_out(Scene(frame.key, (640, 480), items, 1.0))]
    assert len(boxes) == 4
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert boxes[3][1] <= 196  # what the hand has written stands where it was put
