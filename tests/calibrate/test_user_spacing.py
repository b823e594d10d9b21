# ruff: noqa: RUF001 - digits and signs that look alike are what is tested
import pytest

from usviewer.calibrate.user_spacing import spacing_from_numbers, spacing_from_points, spacing_from_text
from usviewer.errors import UserError
from usviewer.units import ScaleSource


def test_one_number_is_for_both_axes():
    spacing = spacing_from_text("0.21277")
    assert (spacing.x_mm_per_px, spacing.y_mm_per_px, spacing.source) == (0.21277, 0.21277, ScaleSource.USER)


@pytest.mark.parametrize(
    "text", ["0.2x0.25", "0,2x0,25", " 0.2 x 0.25 ", "0.2X0.25", "0.2×0.25", "0.2 mm x 0.25 mm/px"]
)
def test_two_numbers_with_an_x_between_them_are_x_and_y(text):
    spacing = spacing_from_text(text)
    assert (spacing.x_mm_per_px, spacing.y_mm_per_px) == (0.2, 0.25)


@pytest.mark.parametrize(("text", "mm"), [("1,05", 1.05), ("0,213", 0.213), ("1,234", 1.234), ("1.234", 1.234)])
def test_a_comma_is_a_decimal_sign_and_never_stands_between_two_values(text, mm):
    spacing = spacing_from_text(text)
    assert (spacing.x_mm_per_px, spacing.y_mm_per_px) == (mm, mm)


@pytest.mark.parametrize("text", ["0.2,0.25", "0,2,0,25", "0.2, 0.25", "0.2;0.25"])
def test_two_values_without_an_x_are_refused_with_how_to_write_them(text):
    with pytest.raises(UserError, match=r"0\.21x0\.25"):
        spacing_from_text(text)


@pytest.mark.parametrize(
    "text", ["", "x", "0.2,", "0.2x", "1x2x3", "1,2,3", "0", "-0.2", "nan", "inf", "12", "2e-1", "0.02 cm", "9" * 9999]
)
def test_anything_else_is_refused(text):
    with pytest.raises(UserError):
        spacing_from_text(text)


def test_two_points():
    spacing = spacing_from_points((100.0, 50.0), (100.0, 285.0), 50.0)
    assert spacing.y_mm_per_px == pytest.approx(50 / 235)
    assert spacing.x_mm_per_px == spacing.y_mm_per_px
    assert spacing.relative_sd == pytest.approx(1 / 235)
    assert spacing.source is ScaleSource.MANUAL
    assert "square" in spacing.detail


def test_points_too_close_are_refused():
    with pytest.raises(UserError, match="only 19 pixels"):
        spacing_from_points((0.0, 0.0), (0.0, 19.4), 10.0)
    assert spacing_from_points((0.0, 0.0), (0.0, 20.0), 10.0).relative_sd == pytest.approx(0.05)


@pytest.mark.parametrize("distance_mm", [0.0, -1.0, float("nan"), float("inf"), 5000.0])
def test_an_impossible_distance_is_refused(distance_mm):
    with pytest.raises(UserError):
        spacing_from_points((0.0, 0.0), (0.0, 200.0), distance_mm)


def test_an_impossible_scale_is_refused():
    with pytest.raises(UserError):
        spacing_from_points((0.0, 0.0), (0.0, 25.0), 999.0)


def test_numbers_of_a_program_are_x_and_y_with_one_meaning():
    spacing = spacing_from_numbers(1.234, 0.25)
    assert (spacing.x_mm_per_px, spacing.y_mm_per_px, spacing.source) == (1.234, 0.25, ScaleSource.USER)


@pytest.mark.parametrize("mm", [0.0, -0.2, float("nan"), float("inf"), 12.0, 0.0001])
def test_numbers_beyond_the_limits_are_refused_on_either_axis(mm):
    for pair in ((mm, 0.2), (0.2, mm)):
        with pytest.raises(UserError, match="mm per pixel cannot be right"):
            spacing_from_numbers(*pair)
