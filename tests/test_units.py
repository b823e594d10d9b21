"""Millimetres exist only through a plausible, isotropy-aware spacing."""

from __future__ import annotations

import pytest

from usviewer.errors import UserError
from usviewer.units import ScaleSource, Spacing, isotropic


def test_length_uses_each_axis_with_its_own_scale() -> None:
    spacing = Spacing(0.3, 0.25, ScaleSource.DICOM)
    assert spacing.length_mm((10, 10), (90, 10)) == pytest.approx(24.0)
    assert spacing.length_mm((10, 10), (10, 110)) == pytest.approx(25.0)
    assert spacing.length_mm((0, 0), (10, 12)) == pytest.approx((3.0**2 + 3.0**2) ** 0.5)
    assert spacing.area_mm2(100) == pytest.approx(7.5)


@pytest.mark.parametrize("value", [0.0, -0.2, float("nan"), float("inf"), 1e-6, 12.0])
def test_a_scale_that_no_scanner_has_is_refused(value: float) -> None:
    with pytest.raises(UserError, match="cannot be right"):
        isotropic(value, ScaleSource.USER)


def test_description_names_the_source_and_both_axes_when_they_differ() -> None:
    assert isotropic(0.21277, ScaleSource.USER).describe() == "0.2128 mm/px, given by the user"
    assert Spacing(0.3, 0.25, ScaleSource.DICOM).describe() == "0.3 x 0.25 mm/px, DICOM region"
