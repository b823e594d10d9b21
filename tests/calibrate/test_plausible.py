"""No body is a metre deep, whoever says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.screens import screen
from usviewer.acquire.dicom_header import RawRegion
from usviewer.calibrate import Calibrator, FileScale, regions_of
from usviewer.calibrate.calibration import spacing_from_text
from usviewer.calibrate.plausible import check_stated, implausible
from usviewer.calibrate.ruler.detect import find_ruler, spacing
from usviewer.errors import UserError
from usviewer.frame import ImageGeometry, Region, Sector, make_frame
from usviewer.units import ScaleSource, isotropic

WHOLE = RawRegion(1, 1, 2, 0, 0, 479, 359, 3, 3, 0.05, 0.05)


@pytest.mark.parametrize(
    ("x_mm", "y_mm", "size_px", "what"),
    [
        (3.0, 3.0, (480, 360), "a picture 108 cm deep"),
        (4.9, 4.9, (480, 360), "a picture 176 cm deep"),
        (5.144, 5.144, (480, 360), "a picture 185 cm deep"),
        (0.005144, 0.005144, (480, 360), "a picture 0.185 cm deep"),
        (0.005, 0.005, (1920, 1440), "a pixel of 0.005 mm"),
        (1.4, 0.5, (480, 360), "a picture 67.2 cm wide"),
        (0.5144, 0.05, (480, 360), "pixels 10.3 times as wide as tall"),
        (0.05, 0.5, (480, 360), "pixels 10 times as tall as wide"),
    ],
)
def test_what_cannot_be_is_named(x_mm: float, y_mm: float, size_px: tuple[int, int], what: str) -> None:
    assert implausible(x_mm, y_mm, size_px) == what


@pytest.mark.parametrize(
    ("mm_per_px", "size_px", "what"),
    [
        (0.5, (1024, 768), "abdomen, 38 cm deep"),
        (0.0234, (512, 512), "inside a vessel, 12 mm across"),
        (0.01, (1024, 512), "eye at 50 MHz, 5 mm deep"),
        (0.0093, (1440, 1080), "70 MHz, 10 mm over a screen of 1080 rows"),
        (0.02, (1000, 750), "linear probe at 15 mm"),
        (0.0291, (2083, 1455), "a whole screen as one region"),
        (0.28, (2000, 500), "a panorama of 56 cm"),
        (3.1, (128, 96), "a thumbnail of a deep scan"),
    ],
)
def test_real_scanners_are_within_the_limits(mm_per_px: float, size_px: tuple[int, int], what: str) -> None:
    assert implausible(mm_per_px, mm_per_px, size_px) == "", what


@pytest.mark.parametrize("shape", [0.5, 2.0, 2.9, 1 / 2.9])
def test_pixels_of_interlaced_and_halved_recordings_are_within_the_limits(shape: float) -> None:
    assert implausible(0.3, 0.3 * shape, (480, 360)) == ""


def test_a_whole_screen_may_be_larger_than_the_scan_on_it() -> None:
    assert implausible(0.5, 0.5, (1920, 1080), screen=True) == ""
    assert implausible(1.0, 1.0, (1920, 1080), screen=True) == "a picture 108 cm deep"


@pytest.mark.parametrize(
    ("dx_cm", "dy_cm", "what"),
    [(0.3, 0.3, "108 cm deep"), (0.5144, 0.5144, "185 cm deep"), (0.0005144, 0.0005144, "deep"), (0.05, 0.5, "180 cm")],
)
def test_impossible_deltas_cost_a_file_its_millimetres(dx_cm: float, dy_cm: float, what: str) -> None:
    scale = regions_of([replace(WHOLE, delta_x=dx_cm, delta_y=dy_cm)], 360, 480)
    assert scale.regions == ()
    assert scale.no_scale_reason.startswith("Calibration inconsistent: ") and what in scale.no_scale_reason


def test_a_small_box_of_colour_inside_the_picture_is_judged_with_it() -> None:
    box = replace(WHOLE, data_type=2, min_x0=200, max_x1=205, min_y0=100, max_y1=104)
    assert len(regions_of([WHOLE, box], 360, 480).spacings) == 1
    assert regions_of([box], 360, 480).spacings == ()


def test_a_statement_is_refused_with_what_it_would_mean() -> None:
    with pytest.raises(UserError, match="A scale of 2 mm per pixel would mean a picture 144 cm deep"):
        check_stated(isotropic(2.0, ScaleSource.USER), (1280, 720))
    with pytest.raises(UserError, match="times as tall as wide"):
        check_stated(spacing_from_text("0.05x0.5"), (1280, 720))
    check_stated(isotropic(0.2, ScaleSource.USER), (1280, 720))


def _sector(certain: bool) -> Sector:
    outline = np.array([(100.0, 40.0), (500.0, 40.0), (500.0, 520.0), (100.0, 520.0)])
    return Sector(outline, (100.0, 40.0, 500.0, 520.0), None, None, certain)


def test_where_the_sector_is_certain_it_is_what_is_judged() -> None:
    spacing_1mm = isotropic(1.0, ScaleSource.USER)
    check_stated(spacing_1mm, (640, 576), _sector(certain=False))
    with pytest.raises(UserError, match="48 cm deep"):
        check_stated(spacing_1mm, (640, 576), _sector(certain=True))


@pytest.mark.parametrize("source", list(ScaleSource))
def test_no_source_of_a_scale_is_above_it(source: ScaleSource) -> None:
    pixels = np.zeros((360, 480, 3), dtype=np.uint8)
    region = Region((0.0, 0.0, 480.0, 360.0), isotropic(3.0, source))
    own = make_frame(pixels, "clip", 0, geometry=ImageGeometry((region,)))
    for known in (
        Calibrator(None, FileScale((region,), ""))(own).geometry,
        Calibrator(None, lambda _: FileScale((region,), ""))(own).geometry,
        Calibrator()(own).geometry,
        Calibrator(isotropic(3.0, source))(make_frame(pixels, "clip", 0)).geometry,
    ):
        assert known is not None and not [each for each in known.regions if each.spacing]
        assert known.no_scale_reason == "Calibration inconsistent: a picture 108 cm deep"


@pytest.mark.parametrize(("tick_mm", "what"), [(100.0, "a ruler"), (0.1, "a ruler"), (1000.0, "A tick of 1000 mm")])
def test_a_ruler_that_no_body_has_is_refused(tick_mm: float, what: str) -> None:
    ruler = find_ruler([screen("ge", 36.3)], read=False).vertical
    assert ruler is not None
    assert spacing(ruler, 10.0).y_mm_per_px == pytest.approx(10.0 / 36.3, rel=0.002)
    with pytest.raises(UserError, match=what):
        spacing(ruler, tick_mm)
