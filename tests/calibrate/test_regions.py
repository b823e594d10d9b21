import math
from dataclasses import replace

import numpy as np
import pytest

from usviewer.acquire.dicom_header import RawRegion
from usviewer.calibrate.calibration import file_scale
from usviewer.calibrate.regions import regions_of
from usviewer.frame import ImageGeometry
from usviewer.units import ScaleSource

GOOD = RawRegion(1, 1, 2, 80, 40, 559, 439, 3, 3, 0.04, 0.03)
ECG = RawRegion(4, 10, 2, 80, 445, 559, 470, 4, 0, 0.01, 0.0)


def scale_of(*raw, rows=480, columns=640, spacing=None):
    return regions_of(raw, rows, columns, spacing)


def test_a_good_region_gives_mm_per_axis():
    scale = scale_of(GOOD)
    (region,) = scale.regions
    assert (region.spacing.x_mm_per_px, region.spacing.y_mm_per_px) == pytest.approx((0.4, 0.3))
    assert region.spacing.source is ScaleSource.DICOM
    assert region.box_xyxy_px == (80, 40, 560, 440)
    assert scale.no_scale_reason == ""


def test_colour_flow_is_a_picture_too():
    assert scale_of(replace(GOOD, data_type=2)).regions[0].spacing is not None


def test_negative_deltas_only_say_which_way_the_axis_points():
    assert scale_of(replace(GOOD, delta_y=-0.03)).regions[0].spacing.y_mm_per_px == pytest.approx(0.3)


@pytest.mark.parametrize(
    "change",
    [
        {"spatial_format": 2},
        {"spatial_format": 3},
        {"spatial_format": 5},
        {"data_type": 3},
        {"data_type": None},
        {"units_x": 4},
        {"units_y": 0},
        {"units_x": None},
        {"delta_x": 0.0},
        {"delta_y": None},
        {"delta_x": math.nan},
        {"delta_y": math.inf},
    ],
)
def test_a_region_that_is_no_scaled_2d_picture_has_a_reason_instead(change):
    scale = scale_of(replace(GOOD, **change))
    assert scale.regions[0].spacing is None
    assert scale.no_scale_reason == scale.regions[0].reason
    assert "pixels" in scale.no_scale_reason


@pytest.mark.parametrize(
    "change",
    [
        {"max_x1": 641},
        {"max_y1": 481},
        {"min_x0": -1},
        {"max_x1": 80},
        {"max_y1": 20},
        {"min_y0": None},
        {"delta_x": 20.0},
        {"delta_y": 1e-9},
    ],
)
def test_an_inconsistent_region_costs_the_whole_file_its_scale(change):
    scale = scale_of(replace(GOOD, max_x1=200), replace(GOOD, **{"min_x0": 300, **change}))
    assert scale.regions == ()
    assert scale.no_scale_reason.startswith("Calibration inconsistent")


def test_one_beyond_the_last_pixel_is_how_some_scanners_write_it():
    scale = scale_of(replace(GOOD, min_x0=0, min_y0=0, max_x1=640, max_y1=480))
    assert scale.regions[0].box_xyxy_px == (0, 0, 640, 480)
    assert scale.regions[0].spacing is not None


def test_overlapping_regions_with_different_scales():
    scale = scale_of(GOOD, replace(GOOD, min_x0=300, delta_x=0.05))
    assert scale.spacings == ()
    assert "overlap" in scale.no_scale_reason


def test_regions_side_by_side_keep_their_scales_and_a_length_across_is_refused():
    scale = scale_of(replace(GOOD, max_x1=319), replace(GOOD, min_x0=320, max_x1=639, delta_x=0.05))
    known = ImageGeometry(scale.regions, None, scale.no_scale_reason)
    assert len(scale.spacings) == 2
    assert known.spacing_for(np.array([[100.0, 100], [200, 200]]))[0].x_mm_per_px == pytest.approx(0.4)
    assert known.spacing_for(np.array([[400.0, 100], [500, 200]]))[0].x_mm_per_px == pytest.approx(0.5)
    assert known.spacing_for(np.array([[200.0, 100], [500, 200]]))[0] is None


def test_a_length_in_the_ecg_strip_is_refused():
    scale = scale_of(GOOD, ECG)
    known = ImageGeometry(scale.regions, None, scale.no_scale_reason)
    spacing, reason = known.spacing_for(np.array([[100.0, 450], [200, 460]]))
    assert spacing is None
    assert "waveform" in reason


def test_a_region_of_no_kind_over_the_whole_screen_takes_no_scale_away():
    whole = RawRegion(0, 0, 3, 0, 32, 639, 463, 0, 0, 1.0, 1.0)
    scale = scale_of(whole, GOOD)
    known = ImageGeometry(scale.regions, None, scale.no_scale_reason)
    assert known.spacing_for(np.array([[100.0, 100], [200, 200]]))[0] is not None


def test_pixel_spacing_that_contradicts_is_an_alarm():
    assert scale_of(GOOD, spacing=(0.3, 0.4)).spacings
    assert scale_of(GOOD, spacing=(0.302, 0.401)).spacings
    for wrong in ((0.4, 0.3), (0.3, 0.41), (0.0, 0.0)):
        scale = scale_of(GOOD, spacing=wrong)
        assert scale.regions == ()
        assert "Pixel Spacing" in scale.no_scale_reason


def test_pixel_spacing_alone_is_no_scale_of_an_ultrasound_picture():
    scale = scale_of(spacing=(0.3, 0.3))
    assert scale.regions == ()
    assert "is not a scale" in scale.no_scale_reason


@pytest.mark.parametrize(
    ("name", "mm_per_px"),
    [
        ("devices_itkpocus/sonoque_anechoic-3mm-3mm.dcm", 0.0291),
        ("dicom_ultrasound/mf2_palette_rle_cx50_regions_pydicom.dcm", 0.2622879),
        ("dicom_ultrasound/sf_palette_rle_cx50_regions_pydicom.dcm", 0.2622879),
        ("dicom_ultrasound/sf_ybrfull_rle_acuson_carotid_regions_dcm4che.dcm", 0.0953679),
        ("dicom_ultrasound/sparq_brachial_plexus/1208_202103_20210102.dcm", 0.0593853),
        ("dicom_ultrasound/mf30_ybr422_jpeg_sonosite_pydicom.dcm", None),
        ("dicom_ultrasound/mf10_palette_rle_echo_dcm4che.dcm", None),
        ("dicom_ultrasound/sf_rgb_raw_ge_noregion_pydicom.dcm", None),
        ("dicom_ultrasound/sf_j2k_lossless_ge_noregion_pydicom.dcm", None),
        ("dicom_ultrasound/sf_mono2_jpegls_philips_noregion_fodicom.dcm", None),
    ],
)
@pytest.mark.data
def test_real_files_are_right_or_refused(data, name, mm_per_px):
    from usviewer.acquire import open_source

    with open_source(data / name) as source:
        scale = file_scale(source)
    if mm_per_px is None:
        assert scale.spacings == ()
        assert scale.no_scale_reason
    else:
        (spacing,) = scale.spacings
        assert (spacing.x_mm_per_px, spacing.y_mm_per_px) == pytest.approx((mm_per_px, mm_per_px), rel=1e-3)


@pytest.mark.data
def test_the_shrunk_sonosite_cine_says_why_it_has_no_scale(data):
    from usviewer.acquire import open_source

    with open_source(data / "dicom_ultrasound/mf30_ybr422_jpeg_sonosite_pydicom.dcm") as source:
        reason = file_scale(source).no_scale_reason
    assert reason.startswith("Calibration inconsistent")
    assert "320 x 240" in reason
