"""The picture on the screen has its true shape, and the hand finds what it points at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPointF

from tests.helpers.scenes import aorta_reading, circle
from usviewer.frame import Frame, ImageGeometry, make_frame
from usviewer.overlay.items import AnnotatedFrame, Outline, Scene
from usviewer.overlay.scene import compose
from usviewer.view.canvas import Canvas


def oblong(aspect: float, width: int = 320, height: int = 480) -> Frame:
    return make_frame(np.full((height, width, 3), 200, np.uint8), "clip", 0, pixel_aspect=aspect)


@pytest.fixture
def canvas(themed: Any, qtbot: Any) -> Canvas:
    made = Canvas()
    qtbot.addWidget(made)
    made.resize(960, 720)
    return made


def extent(canvas: Canvas, width: int = 320, height: int = 480) -> tuple[float, float]:
    to_screen = canvas.image_to_screen()
    corner, opposite = to_screen.map(QPointF(0, 0)), to_screen.map(QPointF(width, height))
    return opposite.x() - corner.x(), opposite.y() - corner.y()


@pytest.mark.parametrize(("aspect", "size"), [(2.0, (960, 720)), (1.0, (480, 720)), (0.5, (240, 720))])
def test_the_picture_has_its_true_shape(canvas: Canvas, aspect: float, size: tuple[int, int]) -> None:
    canvas.show_bare(oblong(aspect))
    assert extent(canvas) == pytest.approx(size)
    painted = canvas.grab().toImage()
    row = [painted.pixelColor(x, 360).red() == 200 for x in range(960)]
    assert sum(row) == pytest.approx(size[0], abs=3)


def test_the_calibration_may_say_another_shape_of_the_same_picture(canvas: Canvas) -> None:
    frame = oblong(1.0)
    canvas.show_bare(frame)
    canvas.show_bare(frame.with_geometry(ImageGeometry(pixel_aspect=2.0)))
    assert extent(canvas) == pytest.approx((960, 720))


@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_places_are_found_again_through_zoom(canvas: Canvas, aspect: float) -> None:
    canvas.show_bare(oblong(aspect))
    about = QPointF(300.0, 200.0) if aspect > 1 else QPointF(420.0, 200.0)
    held = canvas.to_image(about)
    canvas.zoom_by(3.0, about)
    assert canvas.to_image(about) == pytest.approx(held)
    to_screen = canvas.image_to_screen()
    assert to_screen.m11() / to_screen.m22() == pytest.approx(aspect)
    mapped = to_screen.map(QPointF(100.0, 150.0))
    assert canvas.to_image(mapped) == pytest.approx((100.0, 150.0))


def test_a_round_outline_is_round_on_the_screen(canvas: Canvas) -> None:
    """Of pixels of 2 : 1 an ellipse of the frame's own pixels; the line is equally wide all round."""
    frame = oblong(2.0)
    points = circle((0.0, 0.0), 100.0) * (0.5, 1.0) + (160.0, 240.0)
    scene = Scene(frame.key, (320, 480), (Outline(points, width=4.0),), 1.0)
    canvas.show_pair(AnnotatedFrame(frame, scene))
    image = canvas.grab().toImage()
    marked = np.array([[image.pixelColor(x, y).red() < 150 for x in range(960)] for y in range(0, 720, 2)])
    rows, columns = np.nonzero(marked)
    across, down = columns.max() - columns.min() + 1, 2 * (rows.max() - rows.min() + 1)
    assert across == pytest.approx(300, abs=10) and down == pytest.approx(300, abs=10)


def test_a_scene_of_the_frames_own_size_goes_with_it(canvas: Canvas) -> None:
    frame = oblong(2.0)
    canvas.show_pair(AnnotatedFrame(frame, compose(frame, aorta_reading(frame.key, (160.0, 240.0)))))
    canvas.grab()
    assert canvas.scene is not None and canvas.scene.frame_size_px == (320, 480)
