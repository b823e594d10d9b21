from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.scenes import GIVEN, aorta_reading, fan, flat_frame, scaled_geometry
from usviewer.frame import ImageGeometry, Region
from usviewer.measure.reading import Provenance, Status
from usviewer.overlay import palette
from usviewer.overlay.items import (
    Anchor,
    AnnotatedFrame,
    BoxMark,
    CaliperMark,
    Fill,
    LineStyle,
    Outline,
    ScaleBar,
    Scene,
    Text,
    TextPanel,
    square_pixels,
    square_scene,
    square_size_px,
)
from usviewer.overlay.scene import MaskStyle, Style, compose
from usviewer.units import ScaleSource, Spacing, isotropic

SIZE = (640, 480)
FRAME = flat_frame(*SIZE)


def items(kind, reading=None, style=None, geometry=None, size=SIZE):
    frame = flat_frame(*size, geometry=geometry)
    scene = compose(frame, reading or aorta_reading(FRAME.key), None, style)
    return [item for item in scene.items if isinstance(item, kind)]


def test_a_scene_belongs_to_its_frame():
    scene = compose(FRAME, aorta_reading(FRAME.key))
    assert scene.key == FRAME.key
    assert AnnotatedFrame(FRAME, scene).scene is scene


def test_an_overlay_of_another_frame_is_refused():
    other = flat_frame(*SIZE, level=91)
    with pytest.raises(ValueError, match="laid over"):
        AnnotatedFrame(FRAME, compose(FRAME, aorta_reading(other.key)))


def test_an_overlay_for_another_size_is_refused():
    with pytest.raises(ValueError, match="size"):
        AnnotatedFrame(FRAME, compose(flat_frame(320, 240), aorta_reading(FRAME.key)))


def test_pixels_that_are_not_the_keys_are_refused():
    swapped = replace(FRAME, pixels=np.zeros_like(FRAME.pixels))
    with pytest.raises(ValueError, match="changed"):
        AnnotatedFrame(swapped, compose(FRAME, aorta_reading(FRAME.key)))


def test_hidden_is_nothing_at_all():
    assert compose(FRAME, aorta_reading(FRAME.key), style=Style(hidden=True)).items == ()


def test_mask_styles():
    assert len(items(Outline)) == 1
    assert items(Fill) == []
    assert len(items(Fill, style=Style(mask=MaskStyle.FILL))) == 1
    assert items(Outline | Fill, style=Style(mask=MaskStyle.NONE)) == []


def test_automatic_and_manual_are_told_by_colour_and_by_line():
    (main, other) = items(CaliperMark)
    assert (main.colour, main.line) == (palette.CALIPER, LineStyle.SOLID)
    assert main.width > other.width
    manual = replace(aorta_reading(FRAME.key), provenance=Provenance.MANUAL)
    assert (items(CaliperMark, manual)[0].colour, items(CaliperMark, manual)[0].line) == (
        palette.MANUAL,
        LineStyle.DASHED,
    )
    assert items(Outline, manual)[0].line is LineStyle.DASHED


def test_a_refused_outline_is_marked_and_has_no_caliper():
    refused = replace(aorta_reading(FRAME.key), status=Status.REFUSED, reason="cut off")
    assert (items(Outline, refused)[0].colour, items(Outline, refused)[0].line) == (palette.WARNING, LineStyle.DOTTED)
    assert items(CaliperMark, refused) == []


def test_the_ellipses_axes_are_kept_out_of_the_picture():
    reading = aorta_reading(FRAME.key)
    axis = replace(reading.measurements[0], name="major_diameter")
    assert len(items(CaliperMark, replace(reading, measurements=(*reading.measurements, axis)))) == 2


def test_a_box_stands_in_only_where_there_is_no_outline():
    reading = aorta_reading(FRAME.key)
    assert items(BoxMark, reading) == []
    second = (10.0, 10.0, 50.0, 60.0)
    mixed = replace(
        reading,
        outlines_xy_px=(reading.outlines_xy_px[0], np.empty((0, 2))),
        boxes_xyxy_px=(*reading.boxes_xyxy_px, second),
        labels=("aorta", "falx"),
        scores=(0.93, 0.5),
    )
    assert items(BoxMark, mixed) == [BoxMark(second, "falx 0.50")]
    assert [outline.label for outline in items(Outline, mixed)] == ["aorta 0.93"]


def test_the_scale_bar_is_as_long_as_it_says():
    (bar,) = items(ScaleBar)
    assert bar.label == "2 cm"
    assert bar.end_xy_px[0] - bar.start_xy_px[0] == pytest.approx(20 / 0.213)
    assert bar.divisions == 2


def test_without_a_scale_there_is_no_bar():
    assert items(ScaleBar, aorta_reading(FRAME.key, spacing=None)) == []


def test_pixels_that_are_not_square_get_two_bars():
    stretched = Spacing(0.2, 0.3, ScaleSource.DICOM)
    level, upright = items(ScaleBar, aorta_reading(FRAME.key, spacing=stretched))
    assert level.end_xy_px[0] - level.start_xy_px[0] == pytest.approx(20 / 0.2)
    assert upright.start_xy_px[1] - upright.end_xy_px[1] == pytest.approx(20 / 0.3)
    assert upright.end_xy_px[0] == upright.start_xy_px[0]


def test_two_scales_and_no_choice_give_no_bar():
    regions = (Region((0, 0, 320, 480), GIVEN), Region((320, 0, 640, 480), isotropic(0.1, ScaleSource.DICOM)))
    unseen = replace(aorta_reading(FRAME.key, spacing=None), status=Status.NOT_VISUALISED, measurements=())
    assert items(ScaleBar, unseen, geometry=ImageGeometry(regions)) == []


def test_the_bar_lies_in_the_region_of_its_scale():
    right = isotropic(0.1, ScaleSource.DICOM)
    regions = (Region((0, 0, 320, 400), GIVEN), Region((320, 0, 640, 400), right))
    (bar,) = items(ScaleBar, aorta_reading(FRAME.key, spacing=right), geometry=ImageGeometry(regions))
    assert 320 < bar.start_xy_px[0] < bar.end_xy_px[0] < 640
    assert bar.start_xy_px[1] < 400


def test_the_research_line_is_there_unless_the_window_shows_it():
    assert [text.text for text in items(Text)] == ["Research use only - not for diagnosis"]
    assert items(Text, style=Style(research_line=False)) == []


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_numbers_go_where_there_is_no_ultrasound(mirrored):
    sector = fan(640, 480)
    outline = sector.outline_xy_px * (0.55, 1.0)  # leans to the left, so the right is free
    outline = outline if not mirrored else (640, 0) + outline * (-1, 1)
    geometry = scaled_geometry(640, 480, replace(sector, outline_xy_px=outline))
    (panel,) = items(TextPanel, geometry=geometry)
    assert panel.anchor is (Anchor.TOP_LEFT if mirrored else Anchor.TOP_RIGHT)


def test_the_corner_can_be_pinned():
    (panel,) = items(TextPanel, style=Style(panel_corner=Anchor.BOTTOM_RIGHT))
    assert panel.anchor is Anchor.BOTTOM_RIGHT


def test_units_grow_with_the_picture_and_with_the_setting():
    small, large = (palette.unit_px((16 * n, 9 * n)) for n in (80, 240))
    assert large > 2 * small
    assert palette.unit_px((1600, 900), 2.0) == 2 * palette.unit_px((1600, 900))


def test_the_models_id_stands_in_for_a_missing_name() -> None:
    for label, said in (("", "aorta · score 0.93"), ("Aorta 1.0", "Aorta 1.0 · score 0.93")):
        scene = compose(FRAME, aorta_reading(FRAME.key), model_label=label)
        panel = next(item for item in scene.items if isinstance(item, TextPanel))
        assert said in [line.text for line in panel.lines]


@pytest.mark.parametrize(("aspect", "size"), [(2.0, (1280, 480)), (0.5, (640, 960)), (64 / 45, (910, 480))])
def test_no_side_becomes_shorter(aspect: float, size: tuple[int, int]) -> None:
    assert square_size_px((640, 480), aspect) == size
    assert square_pixels(flat_frame().pixels, aspect).shape == (size[1], size[0], 3)


def test_every_item_keeps_its_place_in_the_picture() -> None:
    frame = flat_frame(geometry=scaled_geometry(640, 480))
    style = Style(mask=MaskStyle.FILL)
    scene = compose(frame, aorta_reading(frame.key), style=style)
    scene = Scene(scene.key, scene.frame_size_px, (*scene.items, BoxMark((10, 20, 30, 40), "b")), scene.unit_px)
    made = square_scene(scene, 2.0)
    assert made.frame_size_px == (1280, 480)
    kinds = {type(item) for item in scene.items}
    assert kinds == {Outline, Fill, CaliperMark, BoxMark, ScaleBar, Text, TextPanel}
    for before, after in zip(scene.items, made.items, strict=True):
        np.testing.assert_allclose(places(after), places(before) * (2.0, 1.0))


def places(item: object) -> np.ndarray:
    match item:
        case Outline() | Fill():
            return np.asarray(item.points_xy_px)
        case CaliperMark():
            return np.array(item.ends_xy_px)
        case BoxMark():
            return np.reshape(item.box_xyxy_px, (2, 2))
        case ScaleBar():
            return np.array((item.start_xy_px, item.end_xy_px))
        case Text() | TextPanel():
            return np.array((item.at_xy_px, (item.max_width_px, 0.0)))
    raise AssertionError(item)
