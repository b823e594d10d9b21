"""The scale of a whole source: the file's, the user's, a ruler's; and what is said where there is none."""

from __future__ import annotations

from fractions import Fraction

import cv2
import pytest
from pydicom.dataset import Dataset

from tests.helpers.fakes import picture as fake_picture
from tests.helpers.recordings import dicom_dataset, picture, write_clip
from tests.helpers.screens import screen
from usviewer.acquire import open_source
from usviewer.calibrate.calibration import (
    SHAPES_DIFFER,
    ScaleState,
    StatedScale,
    calibration_for,
    gather,
    live_calibration,
    sample_frames,
    spacing_from_numbers,
    spacing_from_points,
    spacing_from_text,
)
from usviewer.calibrate.calibrator import GIVEN_FOR_OTHER_SIZE
from usviewer.calibrate.ruler import layouts
from usviewer.calibrate.ruler.layouts import UNCONFIRMED, propose, remember
from usviewer.calibrate.ruler.watch import WITHDRAWALS
from usviewer.errors import UserError
from usviewer.frame import make_frame
from usviewer.units import ScaleSource, isotropic

SIZE = (800, 600)
PITCH = 36.3
COUNT = 16
# ruff: noqa: RUF001 - digits and signs that look alike are what is tested


def clip(path, change_at=COUNT, count=COUNT, **options):
    pictures = [screen("ge", PITCH if k < change_at else PITCH * 1.3, SIZE, seed=k, **options) for k in range(count)]
    return write_clip(path, count=count, size=SIZE, pictures=pictures, options={"crf": "18"})


@pytest.fixture(scope="module")
def ruled(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clips") / "ruled.mp4")


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clips") / "changed.mp4", change_at=9)


def geometries(path, *arguments, **options):
    with open_source(path) as source:
        calibrate = calibration_for(source, StatedScale(*arguments, **options))
        return [calibrate(frame).geometry for frame in source]


def scales(path, *arguments, **options):
    """The spacing along y of each frame; None where it has none."""
    return [
        geometry.regions[0].spacing.y_mm_per_px if geometry.regions else None
        for geometry in geometries(path, *arguments, **options)
    ]


def test_a_ruler_that_nobody_confirmed_gives_nothing_and_says_so(ruled):
    for known in geometries(ruled):
        assert known.regions == ()
        assert known.no_scale_reason == UNCONFIRMED


def test_a_confirmed_tick_gives_every_frame_the_rulers_scale(ruled):
    known = geometries(ruled, ruler_tick_mm=10.0)
    assert {each.regions[0].spacing.source for each in known} == {ScaleSource.RULER}
    assert scales(ruled, ruler_tick_mm=10.0) == pytest.approx([10.0 / PITCH] * COUNT, rel=0.002)


def test_a_remembered_screen_is_known_again(ruled, changed, tmp_path):
    with open_source(ruled) as source:
        proposal, _ = propose(sample_frames(source), source.info)
    remember(proposal, 10.0)
    assert scales(ruled) == pytest.approx([10.0 / PITCH] * COUNT, rel=0.002)
    assert scales(changed)[:9] == pytest.approx([10.0 / PITCH] * 9, rel=0.002)
    other = clip(tmp_path / "other.mp4", count=6, first_number=3)
    assert scales(other) == [None] * 6


def test_no_frame_from_the_depth_change_on_has_a_scale(changed):
    known = geometries(changed, ruler_tick_mm=10.0)
    assert [bool(each.regions) for each in known] == [True] * 9 + [False] * 7
    assert {each.no_scale_reason for each in known[9:]} <= set(WITHDRAWALS)
    assert geometries(changed)[0].no_scale_reason == UNCONFIRMED


def test_a_users_own_scale_is_watched_beside_a_ruler(changed):
    known = geometries(changed, spacing_from_text("0.25"))
    assert [bool(each.regions) for each in known] == [True] * 9 + [False] * 7
    assert known[0].regions[0].spacing.source is ScaleSource.USER


def test_frames_are_judged_alike_in_any_order(changed):
    """Review seeks: what is shown first must not change what is known of a frame once all were seen."""
    with open_source(changed) as source:
        calibrate = calibration_for(source, StatedScale(ruler_tick_mm=10.0))
        for index in (12, 3, 10, 8, 9, 15, 0):
            assert bool(calibrate(source.seek(index)).geometry.regions) == (index < 9)


def test_both_depths_confirmed_each_count_on_their_own_frames(changed):
    with open_source(changed) as source:
        frames = list(source)
        first, _ = propose(frames[:4], source.info)
        second, _ = propose(frames[9:13], source.info)
        assert second.from_index == 9
        both = (first.confirmed(10.0), second.confirmed(10.0))
    found = scales(changed, confirmed=both)
    assert found == pytest.approx([10.0 / PITCH] * 9 + [10.0 / (1.3 * PITCH)] * 7, rel=0.002)


def test_a_source_without_a_ruler_has_nothing_to_confirm(tmp_path):
    bare = clip(tmp_path / "bare.mp4", count=6, ruler=False)
    with pytest.raises(UserError, match="no ruler to confirm"):
        geometries(bare, ruler_tick_mm=10.0)
    assert geometries(bare)[0].no_scale_reason != UNCONFIRMED


def test_only_one_scale_can_count(ruled):
    with pytest.raises(UserError, match="only one can count"):
        geometries(ruled, spacing_from_text("0.25"), ruler_tick_mm=10.0)
    with pytest.raises(UserError, match="states its scale itself"):
        geometries("phantom:?frames=2", ruler_tick_mm=10.0)


def test_a_still_has_its_ruler_and_a_folder_has_none(tmp_path):
    for name in ("one.png", "two.png"):
        cv2.imwrite(str(tmp_path / name), screen("ge", PITCH, SIZE)[..., ::-1])
    assert scales(tmp_path / "one.png", ruler_tick_mm=10.0) == pytest.approx([10.0 / PITCH], rel=0.002)
    assert scales(tmp_path) == [None, None]
    with pytest.raises(UserError, match="different screens"):
        scales(tmp_path, ruler_tick_mm=10.0)


def test_a_dicom_file_without_a_region_may_have_its_ruler_confirmed(tmp_path):
    path = tmp_path / "ruled.dcm"
    dicom_dataset([screen("ge", PITCH, SIZE)]).save_as(path, enforce_file_format=True)
    assert geometries(path)[0].no_scale_reason == UNCONFIRMED
    assert scales(path, ruler_tick_mm=10.0) == pytest.approx([10.0 / PITCH], rel=0.002)


@pytest.mark.data
def test_a_file_whose_tags_were_not_shrunk_with_it_stays_without_millimetres(data):
    known = geometries(data / "dicom_ultrasound/mf30_ybr422_jpeg_sonosite_pydicom.dcm")
    assert all(each.regions == () for each in known)


@pytest.mark.data
def test_a_real_clip_keeps_its_scale_to_its_end(data):
    path = data / "clips_neck_sparq/20210816_131218_0003.MP4"
    found = scales(path, ruler_tick_mm=5.0)
    assert found == pytest.approx([0.0702905] * len(found), rel=0.01)


def two_sizes(path):
    """A bare stream whose picture changes its size after four frames, as tele-ultrasound recordings do."""
    parts = []
    for number, size in enumerate(((320, 240), (160, 120))):
        part = write_clip(path.with_name(f"{number}.h264"), count=4, size=size, options={"bf": "0"}, format="h264")
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def test_a_users_scale_does_not_outlive_the_size_it_was_given_for(tmp_path):
    path = two_sizes(tmp_path / "two.h264")
    assert scales(path, spacing_from_text("0.2")) == [0.2] * 4 + [None] * 4
    assert {known.no_scale_reason for known in geometries(path, spacing_from_text("0.2"))[4:]} == {GIVEN_FOR_OTHER_SIZE}
    second = scales(path, spacing_from_text("0.2"), size_px=(160, 120), from_start=False)
    assert second == [None] * 4 + [0.2] * 4


def test_pictures_of_a_folder_have_the_scale_only_in_the_size_of_the_first(tmp_path):
    for name, size in (("a", (320, 240)), ("b", (160, 120)), ("c", (320, 240))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), screen("ge", 12.0, size))
    assert scales(tmp_path, spacing_from_text("0.2")) == [0.2, None, 0.2]


def test_pixels_that_a_scaler_has_rounded_are_square(tmp_path):
    path = write_clip(tmp_path / "rounded.mp4", count=2, aspect=Fraction(1279, 1280))
    assert scales(path, spacing_from_text("0.2")) == [0.2, 0.2]
    assert geometries(path)[0].pixel_aspect == 1.0


def test_pixels_that_are_not_square_need_both_values_in_their_order(tmp_path):
    path = write_clip(tmp_path / "oblong.mp4", count=2, aspect=Fraction(2))
    with pytest.raises(UserError, match="not square"):
        geometries(path, spacing_from_text("0.2"))
    with pytest.raises(UserError, match="x comes first"):
        geometries(path, spacing_from_text("0.2x0.4"))
    known = geometries(path, spacing_from_text("0.41x0.2"))[0]  # two typed digits: 2.05 for 2
    assert known.regions and known.pixel_aspect == pytest.approx(2.05)


def test_a_file_that_says_two_shapes_of_a_pixel_has_no_millimetres(tmp_path):
    region = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "RegionLocationMinX0": 0,
        "RegionLocationMinY0": 0,
        "RegionLocationMaxX1": 159,
        "RegionLocationMaxY1": 119,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
    }

    def known(x_cm, y_cm, ratio):
        item = Dataset()
        for keyword, value in {**region, "PhysicalDeltaX": x_cm, "PhysicalDeltaY": y_cm}.items():
            setattr(item, keyword, value)
        dataset = dicom_dataset([picture(0)], SequenceOfUltrasoundRegions=[item], PixelAspectRatio=ratio)
        dataset.save_as(tmp_path / "still.dcm", enforce_file_format=True)
        return geometries(tmp_path / "still.dcm")[0]

    assert known(0.03, 0.03, ["4", "5"]).no_scale_reason == SHAPES_DIFFER  # 5 wide to 4 high, says the ratio
    agreed = known(0.025, 0.02, ["4", "5"])
    assert agreed.regions[0].spacing and agreed.pixel_aspect == pytest.approx(1.25)
    assert known(0.025, 0.02, None).pixel_aspect == pytest.approx(1.25)


def test_the_shape_of_a_pixel_outlives_a_scale_that_is_withdrawn(changed):
    with open_source(changed) as source:
        calibrate = calibration_for(source, StatedScale(spacing_from_text("0.2x0.25")))
        known = [calibrate(frame) for frame in source]
    assert known[0].geometry.regions and not known[-1].geometry.regions
    assert {frame.pixel_aspect for frame in known} == {0.8}


# --- one decision for recorded and live sources -----------------------------------------------------------------------


def scaled(calibrate, frame):
    return [region.spacing.y_mm_per_px for region in calibrate(frame).geometry.regions if region.spacing]


def test_on_a_live_source_a_spacing_holds_for_the_size_it_was_given_on_and_for_no_other():
    calibrate = live_calibration(StatedScale(isotropic(0.2, ScaleSource.USER), (64, 48)))
    assert calibrate.state is ScaleState.GIVEN
    assert scaled(calibrate, make_frame(fake_picture(0), "s", 0)) == [0.2]
    assert scaled(calibrate, make_frame(fake_picture(0, 80, 48), "s", 1)) == []


def test_on_a_live_source_a_withdrawn_ruler_stays_so_also_where_frames_are_numbered_again(changed):
    with open_source(changed) as source:
        frames = list(source)
        said = StatedScale(confirmed=(propose(frames[:4], source.info)[0].confirmed(10.0),))
    calibrate = live_calibration(said)
    assert calibrate.state is ScaleState.CONFIRMED
    assert scaled(calibrate, frames[3]) == pytest.approx([10.0 / PITCH], rel=0.002)
    assert scaled(calibrate, frames[12]) == [] and scaled(calibrate, frames[3]) == []


@pytest.mark.parametrize(
    ("said", "state", "mm"),
    [
        (StatedScale(), ScaleState.PROPOSAL, None),
        (StatedScale(ruler_tick_mm=10.0), ScaleState.CONFIRMED, 10.0 / PITCH),
        (StatedScale(isotropic(0.2, ScaleSource.USER)), ScaleState.GIVEN, 0.2),
    ],
)
def test_how_the_scale_was_decided_is_said(ruled, said, state, mm):
    with open_source(ruled) as source:
        found = calibration_for(source, said)
    assert found.state is state
    assert mm == (None if found.spacing is None else pytest.approx(found.spacing.y_mm_per_px, rel=0.002))
    assert found.reason == ("" if mm else UNCONFIRMED)


def test_what_a_source_tells_is_gathered_once_and_another_word_gives_the_same_as_from_the_start(changed):
    with open_source(changed) as source:
        evidence = gather(source)
        frames = list(source)
    for said in (StatedScale(ruler_tick_mm=10.0), StatedScale(spacing_from_text("0.25")), StatedScale()):
        with open_source(changed) as source:
            fresh = calibration_for(source, said)
        again = evidence.decide(said)
        assert [scaled(again, frame) for frame in frames] == [scaled(fresh, frame) for frame in frames]


def test_a_ruler_that_is_confirmed_later_is_judged_by_what_was_seen_of_the_frames_before(changed):
    with open_source(changed) as source:
        evidence = gather(source)
        frames = list(source)
    for frame in frames:
        evidence.note(frame)
    proposal = evidence.ruler[0]
    said = (StatedScale(confirmed=(proposal.confirmed(10.0),)), StatedScale(spacing_from_text("0.25")))
    for each in said:
        with_pixels, without = evidence.decide(each), evidence.decide(each)
        for frame in frames:
            known = without.without_pixels(frame.key, frame.size_px, frame.stated_aspect)
            expected = with_pixels(frame).geometry
            assert (known.regions, known.no_scale_reason) == (expected.regions, expected.no_scale_reason)
            assert known.calibration_id == expected.calibration_id


def test_without_its_pixels_nothing_is_said_of_a_frame_that_nobody_has_looked_at(ruled):
    with open_source(ruled) as source:
        evidence = gather(source)
        frame = source.seek(3)
    calibrate = evidence.decide(StatedScale(ruler_tick_mm=10.0))
    assert calibrate.without_pixels(frame.key, frame.size_px, 1.0) is None
    evidence.note(frame)
    assert calibrate.without_pixels(frame.key, frame.size_px, 1.0) is not None
    assert calibrate.without_pixels(frame.key, (400, 300), 1.0) is None, "the sector of another size is not known"


def test_remembered_rulers_that_cannot_be_read_are_named(ruled):
    path = layouts.layouts_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[[[[")
    with open_source(ruled) as source:
        found = calibration_for(source)
    assert found.state is ScaleState.PROPOSAL
    assert found.problems == tuple(layouts.load()[1]) != ()


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
