"""What must hold for every vessel, on 200 of each kind; and a caliper on the real pixels of a phantom."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.helpers.drawing import SIZE, ellipse_mask, geometry, predicted, prediction, tube_mask
from usviewer.acquire import open_source
from usviewer.calibrate import calibration_for
from usviewer.measure import manual, read, summarize, sweep
from usviewer.measure.findings import aorta
from usviewer.measure.reading import Plane, Status
from usviewer.units import ScaleSource

CASES = 200
RNG = np.random.default_rng(200)
MM = 0.25


def cut_off():
    """A section of 15 to 70 mm of which one side lies beyond a border of the picture."""
    across = RNG.uniform(15.0, 70.0) / MM / 2.0
    down = across * RNG.uniform(0.85, 1.0)
    side, share = RNG.integers(4), RNG.uniform(0.1, 0.98)  # so much of its semi-axis is inside
    x, y = RNG.uniform(150, SIZE[0] - 150), RNG.uniform(150, SIZE[1] - 150)
    centres = [(share * across, y), (SIZE[0] - share * across, y), (x, share * down), (x, SIZE[1] - share * down)]
    return ellipse_mask(centres[side], across, down)


@pytest.mark.parametrize("case", range(4))
def test_what_is_cut_off_is_always_refused(case):
    for _ in range(CASES // 4):
        reading = read(prediction(cut_off()), geometry(MM), "aorta")
        assert (reading.status, reading.measurements) == (Status.REFUSED, ())


def test_where_there_is_none_no_number_is_ever_given():
    nothing = np.zeros((SIZE[1], SIZE[0]), dtype=np.bool_)
    for case in range(CASES):
        specks = nothing.copy()
        for _ in range(case % 5):  # up to four specks of a few pixels
            row, column = RNG.integers(20, 440), RNG.integers(20, 600)
            specks[row : row + RNG.integers(1, 20), column : column + RNG.integers(1, 20)] = True
        found = prediction(specks) if specks.any() else predicted()
        reading = read(found, geometry(MM), "aorta")
        assert reading.measurements == ()
        assert reading.status is not Status.MEASURED


def test_a_section_longer_than_wide_is_always_warned_of():
    for _ in range(CASES):
        minor = RNG.uniform(25.0, 75.0)
        ratio = RNG.uniform(1.31, 1.55)
        mask = ellipse_mask((320.3, 240.7), minor * ratio, minor, RNG.uniform(0.0, 180.0))
        reading = read(prediction(mask), geometry(MM), "aorta")
        assert reading.plane is Plane.TRANSVERSE
        assert aorta.OBLIQUE in reading.warnings


def test_a_longitudinal_value_always_says_so_and_never_replaces_the_transverse_maximum():
    for _ in range(CASES):
        wide, narrow = RNG.uniform(45, 120), RNG.uniform(40, 44)
        along = read(prediction(tube_mask(wide, RNG.uniform(-20, 20)), time_s=0.0), geometry(MM), "aorta")
        across = read(prediction(ellipse_mask((320, 240), narrow, narrow), time_s=0.1), geometry(MM), "aorta")
        assert along.plane is Plane.LONGITUDINAL
        assert aorta.MAY_UNDERESTIMATE in along.warnings
        assert along.get("ap_diameter") is None
        whole = summarize([along, across, along])
        assert (whole.plane, whole.maximum) == (Plane.TRANSVERSE, across.measurements[0].value_mm)
        assert [each.plane for each in sweep([along, across])] == [Plane.TRANSVERSE]


def rims(profile, middle):
    """Where a dark stretch round ``middle`` ends on both sides: where the background's brightness is reached.

    The beam blurs the edge inwards; half way up the same cylinder is 2.6 mm wide.
    """
    background = np.median(np.r_[profile[:50], profile[-50:]])
    bright = np.flatnonzero(profile >= 0.9 * background)
    return bright[bright < middle][-1] + 1.0, float(bright[bright > middle][0])


@pytest.mark.data
def test_a_caliper_across_a_real_cylinder_of_3_mm(data):
    """The pixels of the file, its DICOM regions and the product's own caliper; nothing here knows the scale."""
    with open_source(data / "devices_itkpocus" / "sonoque_anechoic-3mm-3mm.dcm") as source:
        frame = calibration_for(source)(source.seek(0))
    x, y = 845, 632  # inside the middle cylinder
    grey = cv2.GaussianBlur(frame.pixels.max(axis=2).astype(np.float32), (0, 0), 3.0)
    left, right = rims(grey[y - 4 : y + 5, x - 130 : x + 131].mean(axis=0), 130)
    reading = manual.caliper(frame.key, (x - 130 + left, y), (x - 130 + right, y), frame.geometry)
    (length,) = reading.measurements
    assert length.value_mm == pytest.approx(3.0, abs=0.15)
    assert reading.spacing.source is ScaleSource.DICOM
