"""A scene on a picture whose pixels were made square: everything lies where it lay, and letters keep their shape."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.scenes import aorta_reading, flat_frame, scaled_geometry
from usviewer.overlay.items import BoxMark, CaliperMark, Fill, Outline, ScaleBar, Scene, Text, TextPanel
from usviewer.overlay.scene import MaskStyle, Style, compose
from usviewer.overlay.stretch import square_pixels, square_scene, square_size_px


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
