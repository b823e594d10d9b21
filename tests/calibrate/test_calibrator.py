import numpy as np
import pytest

from usviewer.acquire import open_source
from usviewer.calibrate import Calibrator, FileScale, calibrate, for_source
from usviewer.calibrate.manual import spacing_from_text
from usviewer.errors import UserError
from usviewer.frame import Region, make_frame
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
        known = for_source(source)(source.seek(0)).geometry
        own = source.seek(0).geometry
    assert known.sector is own.sector
    assert known.regions == own.regions
    assert known.spacing_for(own.sector.outline_xy_px[:2])[0].source is ScaleSource.PHANTOM


def test_a_wrong_spacing_for_the_phantom_is_refused_before_the_first_frame_is_shown():
    with open_source("phantom:") as source, pytest.raises(UserError, match=r"you said 0\.5"):
        for_source(source, spacing_from_text("0.5"))(source.seek(0))


@pytest.mark.data
def test_a_dicom_file_brings_its_own_scale(data):
    with open_source(data / "devices_itkpocus/sonoque_anechoic-3mm-3mm.dcm") as source:
        known = for_source(source)(next(iter(source))).geometry
        spacing, _ = known.spacing_for(np.array([[900.0, 580], [1000, 580]]))
        assert spacing.x_mm_per_px == pytest.approx(0.0291)
        with pytest.raises(UserError, match=r"0\.0291"):
            for_source(source, spacing_from_text("0.05"))


@pytest.mark.data
def test_the_first_frame_of_a_clip_has_the_outline_of_the_last(data):
    with open_source(data / "clips_lung_pocovid/Vir_whitelung_h1n1.mp4") as source:
        calibrated = for_source(source)
        known = [calibrated(frame).geometry for frame in source]
    assert len({id(geometry) for geometry in known}) == 1
    assert known[0].sector.certain
