"""What was pointed at: no length of a scale that no longer holds comes back, by no way."""

from __future__ import annotations

import numpy as np

from usviewer.frame import Frame, ImageGeometry, Region, make_frame
from usviewer.infer.prediction import Instance, Prediction
from usviewer.measure.manual import read_pointed
from usviewer.pipeline.annotations import SCALE_CHANGED, Annotation, AnnotationLayer, Origin
from usviewer.units import ScaleSource, isotropic

SCALED = ImageGeometry((Region((0.0, 0.0, 160.0, 120.0), isotropic(0.2, ScaleSource.USER)),))


def frame(index: int = 0) -> Frame:
    y, x = np.mgrid[0:120, 0:160]
    grey = np.where(np.hypot(x - 80, y - 60) < 25, 20, 180 + index).astype(np.uint8)
    return make_frame(grey, "x", index, geometry=SCALED)


def mark(on: Frame, radius_px: int = 20) -> Annotation:
    y, x = np.mgrid[0 : 2 * radius_px, 0 : 2 * radius_px] + 0.5
    mask = np.hypot(x - radius_px, y - radius_px) < radius_px
    box = (80.0 - radius_px, 60.0 - radius_px, 80.0 + radius_px, 60.0 + radius_px)
    instance = Instance("cyst", 0, 0.9, box, mask, (80 - radius_px, 60 - radius_px))
    prediction = Prediction(on.key, (160, 120), (instance,), "m", "0" * 64, "none")
    return Annotation(prediction, on.geometry, read_pointed(prediction, on.geometry, "cyst"), Origin.POINTED)


def millimetres(layer: AnnotationLayer, on: Frame) -> list[float]:
    reading = layer.reading(on)
    return [m.value_mm for m in reading.measurements if m.value_mm is not None] if reading is not None else []


def test_undo_does_not_bring_a_length_of_the_old_scale_back() -> None:
    layer, on = AnnotationLayer(), frame()
    layer.remember()
    layer.put(0, mark(on))
    layer.remember()
    layer.put(0, mark(on, 15))
    assert millimetres(layer, on)
    layer.withdraw_scale()
    assert millimetres(layer, on) == []
    while layer.undo():
        assert millimetres(layer, on) == []
    assert not layer.can_undo


def test_a_changed_scale_leaves_the_outlines_in_pixels_and_says_why() -> None:
    layer, on = AnnotationLayer(), frame()
    layer.put(0, mark(on))
    layer.begin()  # a second structure, on the same picture
    layer.put(0, mark(on, 10))
    layer.withdraw_scale()
    assert len(layer.marks(on)) == 2
    for _, each in layer.marks(on):
        assert each.reading.spacing is None and each.geometry is None
        assert each.reading.no_scale_reason == SCALE_CHANGED
        assert all(m.value_mm is None and m.sd_mm is None and m.errors is None for m in each.reading.measurements)
    curve = layer.curve(1)
    assert curve is not None and curve.unit.startswith("px")


def test_what_is_measured_again_does_not_replace_what_was_changed_meanwhile() -> None:
    layer, on = AnnotationLayer(), frame()
    before = mark(on)
    layer.put(0, before)
    layer.withdraw_scale()
    marks = dict(layer.structure.marks)
    newer = mark(on, 12)
    layer.put(0, newer)
    layer.replace_measured(layer.structure, marks, {0: before})
    assert layer.structure.marks[0] is newer
