"""A frame's key belongs to its pixels; a spacing belongs to its region."""

from __future__ import annotations

import numpy as np
import pytest

from usviewer.frame import ImageGeometry, Region, Sector, make_frame
from usviewer.units import ScaleSource, isotropic


def test_digest_follows_pixels_and_shape() -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    first = make_frame(picture.copy(), "clip", 0)
    changed = picture.copy()
    changed[3, 3, 2] ^= 1
    assert first.key.digest == make_frame(picture.copy(), "clip", 7).key.digest
    assert first.key.digest != make_frame(changed, "clip", 0).key.digest
    assert first.key.digest != make_frame(picture.reshape(2, 8, 3).copy(), "clip", 0).key.digest


def test_pixels_are_read_only_and_grey_is_spread() -> None:
    frame = make_frame(np.full((4, 6), 9, np.uint8), "clip", 0)
    assert frame.pixels.shape == (4, 6, 3)
    assert (frame.width_px, frame.height_px) == (6, 4)
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0, 0] = 1


def test_a_length_across_two_regions_has_no_millimetres() -> None:
    left = Region((0, 0, 100, 100), isotropic(0.1, ScaleSource.DICOM))
    right = Region((100, 0, 200, 100), isotropic(0.2, ScaleSource.DICOM))
    geometry = ImageGeometry((left, right))
    assert geometry.spacing_for(np.array([[10.0, 10.0], [90.0, 10.0]]))[0] == left.spacing
    spacing, reason = geometry.spacing_for(np.array([[10.0, 10.0], [150.0, 10.0]]))
    assert spacing is None
    assert "one calibrated region" in reason


def test_regions_that_overlap_with_different_scales_are_refused() -> None:
    geometry = ImageGeometry(
        (
            Region((0, 0, 100, 100), isotropic(0.1, ScaleSource.DICOM)),
            Region((0, 0, 200, 100), isotropic(0.2, ScaleSource.DICOM)),
        )
    )
    spacing, reason = geometry.spacing_for(np.array([[10.0, 10.0], [20.0, 20.0]]))
    assert spacing is None
    assert "different scales" in reason


def test_without_any_scale_the_reason_is_given() -> None:
    spacing, reason = ImageGeometry(no_scale_reason="The file gives none").spacing_for(np.zeros((1, 2)))
    assert (spacing, reason) == (None, "The file gives none")


def test_beams_of_a_curved_probe_leave_the_apex() -> None:
    sector = Sector(np.zeros((3, 2)), (0, 0, 10, 10), apex_xy_px=(50.0, -30.0))
    x, y = sector.beam_direction((80.0, 10.0))
    assert (x, y) == pytest.approx((0.6, 0.8))
    assert Sector(np.zeros((3, 2)), (0, 0, 10, 10)).beam_direction((3.0, 4.0)) == (0.0, 1.0)
