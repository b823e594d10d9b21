"""The curve of a clip speaks of one quantity in one unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.helpers.drawing import reading
from usviewer.measure.pulse import pulse_of
from usviewer.pipeline.curve import curve_of


def test_pixels_of_another_size_of_picture_are_not_on_the_curve() -> None:
    large = [replace(reading(40.0, i * 0.05, mm=None), frame_size_px=(640, 480)) for i in range(30)]
    small = [replace(reading(20.0, i * 0.05, mm=None), frame_size_px=(320, 240)) for i in range(30, 40)]
    curve = curve_of({each.key.index: each for each in (*large, *small)}, 40)
    assert curve.summary is not None and curve.summary.count == 30
    assert (curve.values[:30] == 160.0).all() and np.isnan(curve.values[30:]).all()
    assert not curve.other[:30].any() and curve.other[30:].all()


def test_a_change_of_size_is_no_heart_beat() -> None:
    """Two sizes in turn look like a beat where their pixels are put together."""
    times = np.arange(100) * 0.05
    sizes = [(640, 480) if round(t / 0.4) % 2 else (600, 450) for t in times]
    readings = [
        replace(reading(20.0 * size[0] / 640, t, mm=None), frame_size_px=size)
        for t, size in zip(times, sizes, strict=True)
    ]
    summary = curve_of(dict(enumerate(readings)), 100).summary
    assert summary is not None
    assert pulse_of(readings, summary).heart_rate_per_min is None
