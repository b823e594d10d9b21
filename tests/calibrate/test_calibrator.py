from dataclasses import replace

import numpy as np
import pytest

from usviewer.acquire import open_source
from usviewer.calibrate import Calibrator, FileScale, calibrate, calibration_for
from usviewer.calibrate.calibration import StatedScale, spacing_from_text
from usviewer.calibrate.calibrator import GIVEN_FOR_OTHER_SIZE
from usviewer.errors import UserError
from usviewer.frame import SEEN_OBLONG, Region, make_frame
from usviewer.units import ScaleSource, Spacing


def frame(width=320, height=240, index=0, geometry=None):
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[40:-40, 60:-60] = np.random.default_rng(index).integers(3, 200, (height - 80, width - 120, 1))
    return make_frame(pixels, "clip", index, index * 0.04, geometry=geometry)


def test_without_a_scale_lengths_stay_in_pixels():
    known = Calibrator()(frame()).geometry
    assert known.regions == ()
    assert "pixels" in known.no_scale_reason
    assert known.sector.certain
    assert len(known.calibration_id) == 12


def test_the_users_spacing_covers_the_whole_frame():
    known = Calibrator(spacing_from_text("0.2x0.25"))(frame()).geometry
    (region,) = known.regions
    assert region.box_xyxy_px == (0, 0, 320, 240)
    assert (region.spacing.x_mm_per_px, region.spacing.y_mm_per_px) == (0.2, 0.25)
    assert known.no_scale_reason == ""


def file_scale(mm=0.3):
    return FileScale((Region((60, 40, 260, 200), Spacing(mm, mm, ScaleSource.DICOM)),), "")


def test_a_user_who_contradicts_the_file_is_told_both_values():
    with pytest.raises(UserError, match=r"0\.3 mm.*0\.2"):
        Calibrator(spacing_from_text("0.2"), file_scale())(frame())


def test_a_user_who_agrees_with_the_file_keeps_its_regions():
    known = Calibrator(spacing_from_text("0.301"), file_scale())(frame()).geometry
    assert known.regions == file_scale().regions


def test_a_user_may_scale_a_file_whose_own_scale_was_refused():
    refused = FileScale(no_scale_reason="Calibration inconsistent: ...")
    assert Calibrator(spacing_from_text("0.2"), refused)(frame()).geometry.regions[0].spacing is not None
    assert Calibrator(None, refused)(frame()).geometry.no_scale_reason == refused.no_scale_reason


def test_a_scale_for_pictures_of_another_size_is_not_used():
    scale = FileScale(file_scale().regions, "", (640, 480))
    known = Calibrator(None, scale)(frame()).geometry
    assert known.regions == ()
    assert "another size" in known.no_scale_reason


def test_a_scale_that_is_judged_per_frame_is_withdrawn_from_a_frame_on():
    def scale(frame):
        return FileScale(file_scale().regions, "") if frame.key.index < 2 else FileScale(no_scale_reason="Changed")

    calibrator = Calibrator(None, scale)
    known = [calibrator(frame(index=index)).geometry for index in range(4)]
    assert [bool(each.regions) for each in known] == [True, True, False, False]
    assert [each.no_scale_reason for each in known] == ["", "", "Changed", "Changed"]
    assert known[0] is known[1]
    assert known[1].calibration_id != known[2].calibration_id


def test_equal_frames_share_one_geometry_and_another_scale_has_another_id():
    calibrator = Calibrator()
    calibrator.prime([frame(index=1), frame(index=2)])
    first, second = calibrator(frame(index=1)), calibrator(frame(index=2))
    assert first.geometry is second.geometry
    ids = {
        calibrate(frame(), sector=first.geometry.sector, scale=s).geometry.calibration_id
        for s in (FileScale(), file_scale(), file_scale(0.31))
    }
    assert len(ids) == 3


def test_another_frame_size_is_looked_at_anew():
    calibrator = Calibrator()
    assert calibrator(frame()).geometry.sector.box_xyxy_px == pytest.approx((60, 40, 260, 200), abs=2)
    assert calibrator(frame(640, 480)).geometry.sector.box_xyxy_px == pytest.approx((60, 40, 580, 440), abs=2)


def test_the_phantom_keeps_its_own_exact_geometry():
    with open_source("phantom:") as source:
        known = calibration_for(source)(source.seek(0)).geometry
        own = source.seek(0).geometry
    assert known.sector is own.sector
    assert known.regions == own.regions
    assert known.spacing_for(own.sector.outline_xy_px[:2])[0].source is ScaleSource.PHANTOM


def test_a_wrong_spacing_for_the_phantom_is_refused_before_the_first_frame_is_shown():
    with open_source("phantom:") as source, pytest.raises(UserError, match=r"you said 0\.5"):
        calibration_for(source, StatedScale(spacing_from_text("0.5")))(source.seek(0))


@pytest.mark.data
def test_a_dicom_file_brings_its_own_scale(data):
    with open_source(data / "devices_itkpocus/sonoque_anechoic-3mm-3mm.dcm") as source:
        known = calibration_for(source)(next(iter(source))).geometry
        spacing, _ = known.spacing_for(np.array([[900.0, 580], [1000, 580]]))
        assert spacing.x_mm_per_px == pytest.approx(0.0291)
        with pytest.raises(UserError, match=r"0\.0291"):
            calibration_for(source, StatedScale(spacing_from_text("0.05")))


@pytest.mark.data
def test_the_first_frame_of_a_clip_has_the_outline_of_the_last(data):
    with open_source(data / "clips_lung_pocovid/Vir_whitelung_h1n1.mp4") as source:
        calibrated = calibration_for(source)
        known = [calibrated(frame).geometry for frame in source]
    assert len({id(geometry) for geometry in known}) == 1
    assert known[0].sector.certain


def test_the_users_scale_holds_for_the_size_it_was_given_for_and_for_no_other():
    calibrator = Calibrator(spacing_from_text("0.2"))
    first, other, back = (calibrator(each).geometry for each in (frame(), frame(160, 120, 1), frame(index=2)))
    assert first.regions[0].spacing.y_mm_per_px == back.regions[0].spacing.y_mm_per_px == 0.2
    assert other.regions == () and other.no_scale_reason == GIVEN_FOR_OTHER_SIZE


def test_the_users_scale_may_be_for_another_size_than_the_first_pictures():
    calibrator = Calibrator(spacing_from_text("0.2"), user_size_px=(160, 120))
    assert calibrator(frame()).geometry.no_scale_reason == GIVEN_FOR_OTHER_SIZE
    assert calibrator(frame(160, 120, 1)).geometry.regions[0].spacing.y_mm_per_px == 0.2


def test_a_picture_turned_on_its_side_is_of_another_size():
    calibrator = Calibrator(spacing_from_text("0.2"))
    assert calibrator(frame(320, 240)).geometry.regions and not calibrator(frame(240, 320, 1)).geometry.regions


def test_the_first_size_again_has_the_sector_of_all_its_frames():
    calibrator = Calibrator()
    calibrator.prime([frame(), frame(index=5)])
    known = calibrator(frame()).geometry
    calibrator(frame(160, 120, 1))
    dark = make_frame(np.zeros((240, 320, 3), np.uint8), "clip", 2, 0.08)
    assert calibrator(dark).geometry.sector is known.sector and known.sector.certain


def oblong(aspect, index=0, geometry=None):
    return replace(frame(index=index, geometry=geometry), stated_aspect=aspect)


def test_the_shape_of_a_pixel_is_what_was_measured_before_what_is_stated():
    assert Calibrator()(oblong(2.0)).pixel_aspect == 2.0
    assert Calibrator(spacing_from_text("0.4x0.25"))(oblong(1.6)).pixel_aspect == pytest.approx(1.6)
    assert Calibrator(spacing_from_text("0.2x0.25"))(frame()).pixel_aspect == pytest.approx(0.8)
    assert Calibrator(spacing_from_text("0.2"))(frame()).pixel_aspect == 1.0


@pytest.mark.parametrize("stated", [1279 / 1280, 1.004, 0.0001, 900.0])
def test_what_counts_as_square_or_cannot_be_right_is_exactly_square(stated):
    assert Calibrator()(oblong(stated)).pixel_aspect == oblong(stated).pixel_aspect == 1.0


def test_of_two_regions_the_larger_says_the_shape_and_the_other_gives_a_network_no_millimetres():
    upper = Region((0, 0, 320, 160), Spacing(0.4, 0.2, ScaleSource.DICOM))
    lower = Region((0, 160, 320, 240), Spacing(0.2, 0.2, ScaleSource.DICOM))
    beside = Region((0, 0, 320, 240), None, "M-mode")  # what has no scale says nothing of a shape
    assert Calibrator(None, FileScale((beside, lower), ""))(frame()).pixel_aspect == 1.0
    known = Calibrator(None, FileScale((upper, lower), ""))(frame()).geometry
    assert known.pixel_aspect == 2.0
    box = np.array([[10.0, 10.0], [60.0, 60.0]])
    assert known.spacing_of_outline(box)[0] == upper.spacing
    assert known.spacing_of_outline(box + np.array((0.0, 165.0))) == (None, SEEN_OBLONG)
    assert known.spacing_for(box + np.array((0.0, 165.0)))[0] == lower.spacing  # a length by hand is right there


def test_a_picture_of_another_size_has_the_shape_that_is_stated():
    calibrator = Calibrator(spacing_from_text("0.2x0.4"))
    assert calibrator(frame()).pixel_aspect == 0.5
    assert calibrator(frame(160, 120, 1)).pixel_aspect == 1.0
