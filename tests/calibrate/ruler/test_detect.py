from __future__ import annotations

import time
from contextlib import suppress

import cv2
import numpy as np
import pytest

from tests.helpers.screens import STYLES, jpeg, noisy, screen, ticks_of
from usviewer.acquire import frame_count, open_source
from usviewer.calibrate.ruler import text
from usviewer.calibrate.ruler.detect import (
    CHANGES,
    IMPRECISE,
    NO_RULER,
    TOO_BUSY,
    TWO_PANES,
    TWO_RULERS,
    find_ruler,
    spacing,
)
from usviewer.calibrate.ruler.search import MOST_WORK, TooMuchWork, Work, find_columns
from usviewer.calibrate.ruler.text import RulerLabel, tick_value_mm
from usviewer.calibrate.ruler.ticks import allow_for_rounding, fit_lattice, measure_marks, perhaps_alone, runs_of
from usviewer.errors import UserError
from usviewer.units import ScaleSource

SIZES = {(640, 480): 0, (1024, 768): 70, (1280, 720): 90}


def found(*pictures, read=False):
    return find_ruler(pictures, read=read)


def frames_of(path, count=6):
    with open_source(path) as source:
        last = frame_count(source) - 1
        frames = []
        for step in range(count):
            with suppress(UserError):
                frames.append(source.seek(round(step * last / (count - 1))).pixels)
        return [pixels for pixels in frames if pixels.shape == frames[0].shape]


# --- the numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pitch", [8.37, 20.5, 63.21])
def test_ticks_on_whole_rows_give_the_pitch_between_them(pitch):
    ticks = np.floor(11.3 + pitch * np.arange(30)) + 0.5
    lattice = fit_lattice(ticks, round(pitch))
    assert lattice.sites == tuple(range(30))
    assert lattice.pitch_px == pytest.approx(pitch, rel=5e-4)
    assert abs(lattice.pitch_px / pitch - 1.0) < 4.0 * lattice.relative_sd
    assert lattice.residual_px < 0.4


def test_rounding_is_no_slope():
    """Ticks 22.99 px apart on whole rows make one step, which least squares alone takes for 0.3 %."""
    pitch = 22.989
    ticks = np.floor(40.1 + pitch * np.arange(18)) + 0.5
    plain = fit_lattice(ticks, 23.0)
    assert abs(plain.pitch_px / pitch - 1.0) > 0.002
    fair = allow_for_rounding(plain, ticks)
    assert abs(fair.pitch_px / pitch - 1.0) < 2.0 * fair.relative_sd
    assert fair.relative_sd > plain.relative_sd
    between = 40.4 + pitch * np.arange(18)
    assert allow_for_rounding(fit_lattice(between, 23.0), between).pitch_px == pytest.approx(pitch)


def test_missing_ticks_and_marks_between_them_do_not_matter():
    ticks = np.sort(np.append(np.delete(40.0 + 25.0 * np.arange(20), [4, 11, 12]), [77.0, 211.0]))
    lattice = fit_lattice(ticks, 24.0)
    assert lattice.pitch_px == pytest.approx(25.0)
    assert len(lattice.members) == 17
    assert lattice.sites[-1] == 19


def test_scattered_marks_are_no_lattice():
    rng = np.random.default_rng(5)
    for _ in range(50):
        marks = np.sort(rng.uniform(0, 700, 14))
        for pitch in (23.0, 50.0, 71.0):
            lattice = fit_lattice(marks, pitch)
            assert lattice is None or len(lattice.members) < 8


# --- rendered screens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("smooth", [False, True])
def test_six_vendors_in_three_sizes_and_qualities(style, size, smooth):
    pitch = size[1] * (0.0531 if smooth else 0.0317)
    picture = screen(style, pitch, size, smooth=smooth, seed=len(style))
    result = found(jpeg(picture, SIZES[size]) if SIZES[size] else picture)
    assert result.reason == ""
    ruler = result.vertical
    assert ruler.pitch_px == pytest.approx(pitch, rel=0.002)
    assert ruler.side == STYLES[style].side
    assert ruler.divisions == 1
    assert ruler.major_period == STYLES[style].period
    assert np.abs(np.subtract(ruler.ticks_px, np.array(ticks_of(pitch, size[1]))[list(ruler.sites)])).max() < 1.01


def test_the_pitch_is_known_to_a_fraction_of_its_own_error():
    ruler = found(screen("butterfly", 33.333, (1920, 1080), smooth=True)).vertical
    assert ruler.pitch_px == pytest.approx(33.333, rel=3e-4)
    assert ruler.residual_px < 0.1


def test_analogue_noise_and_tissue_that_moves():
    frames = [noisy(screen("clarius", 31.7, seed=seed), seed) for seed in range(4)]
    assert found(*frames).vertical.pitch_px == pytest.approx(31.7, rel=0.002)


@pytest.mark.parametrize("seed", range(6))
def test_none_is_found_where_there_is_none(seed):
    assert found(screen(list(STYLES)[seed], 30.0, (800, 600), seed=seed, ruler=False)).reason == NO_RULER


def test_equally_spaced_lines_of_text_are_no_ruler():
    picture = np.zeros((600, 800, 3), dtype=np.uint8)
    for row in range(14):
        cv2.putText(picture, f"E{row:02d} Gain 5{row}", (20, 40 + 36 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,) * 3)
    assert found(picture).ruler is None


def test_too_few_ticks_are_refused():
    picture = screen("philips", 190.0, (1024, 768))
    assert found(picture).reason in (NO_RULER, IMPRECISE)


def test_minor_steps_that_are_uneven_do_not_count_and_it_says_so():
    """Some scanners draw minor steps of whole pixels between exact centimetres: ten of them are not one centimetre."""
    picture = np.zeros((870, 1357, 3), dtype=np.uint8)
    for major in range(6):
        picture[60 + 158 * major, 75:84] = 255
        for minor in range(1, 10):
            if major < 5:
                picture[60 + 158 * major + 16 * minor, 75:79] = 255
    ruler = found(picture).vertical
    assert ruler.pitch_px == pytest.approx(158.0, abs=0.01)
    assert ruler.divisions == 10
    assert "do not count" in ruler.describe()


def test_a_horizontal_ruler_gives_x():
    picture = np.ascontiguousarray(screen("butterfly", 41.3, (768, 1024)).transpose(1, 0, 2))
    result = found(picture)
    assert result.vertical is None
    assert (result.horizontal.side, result.horizontal.axis) == ("bottom", "x")
    scale = spacing(result.horizontal, 5.0)
    assert scale.x_mm_per_px == scale.y_mm_per_px == pytest.approx(5.0 / 41.3, rel=0.002)
    assert "y is taken to be equal" in scale.detail


# --- refusals ------------------------------------------------------------------------------------------------------


def test_two_rulers_of_different_pitch_are_refused():
    left, right = screen("mindray", 30.0), screen("butterfly", 45.0)
    both = right.copy()
    both[80:, :90] = left[80:, :90]
    assert found(both).reason == TWO_RULERS


def test_the_same_ruler_on_both_sides_is_one():
    left, right = screen("mindray", 36.5), screen("butterfly", 36.5)
    both = right.copy()
    both[:, :70] = left[:, :70]
    assert found(both).vertical.pitch_px == pytest.approx(36.5, rel=0.002)


def test_two_images_side_by_side_are_refused():
    picture = screen("ge", 36.3)
    picture[:, 480:540] = 0
    assert found(picture).reason == TWO_PANES


def test_a_depth_that_changes_within_the_frames_is_refused():
    """Every other tick of one depth lies on a tick of the other: what both have in common looks like a ruler."""
    frames = [screen("sonosite", pitch, top_px=60.0, seed=seed) for seed, pitch in enumerate((20.0, 20.0, 40.0, 40.0))]
    assert found(*frames).reason == CHANGES


# --- what a tick is worth ------------------------------------------------------------------------------------------


def label(text, y):
    return RulerLabel(text, (0.0, y - 6.0, 20.0, y + 6.0))


@pytest.mark.parametrize(
    ("labels", "worth"),
    [
        ([("0", 40), ("5", 140), ("10", 240), ("cm", 300)], 10.0),
        ([("1 cm", 90), ("2", 140)], None),
        ([("2", 240), ("3,0cm", 340)], 2.0),
        ([("4 cm", 352)], 2.0),
        ([("0", 40), ("10", 140), ("20", 240), ("mm", 300)], 2.0),
        ([("0", 40), ("5", 140), ("10", 240)], None),
        ([("0", 40), ("5", 140), ("11", 240), ("cm", 300)], None),
        ([("0", 40), ("5", 140), ("cm", 300), ("mm", 320)], None),
        ([("70 cm", 352)], None),
        ([("Gn 60", 140), ("P21", 240)], None),
    ],
)
def test_numbers_give_a_value_only_with_a_unit_and_without_contradiction(labels, worth):
    """20 px from tick to tick from y = 40 on; 20 steps."""
    words = tuple(label(*entry) for entry in labels)
    assert tick_value_mm(words, 40.0, 20.0, 20) == worth


@pytest.mark.skipif(not text.can_read(), reason="Tesseract is not installed")
def test_a_written_depth_is_read():
    # 0.92 of the height less 0.08 of it, in 18 steps of 5 mm: 9 cm
    ruler = found(screen("sonosite", 0.84 * 768 / 18.01, depth="9.0 cm"), read=True).vertical
    assert len(ruler.ticks_px) == 19
    assert ruler.tick_mm == 5.0


def test_without_tesseract_nothing_is_read(monkeypatch):
    monkeypatch.setenv("PATH", "")
    ruler = found(screen("sonosite", 35.0), read=True).vertical
    assert ruler.labels == ()
    assert ruler.tick_mm is None


def test_the_spacing_carries_its_evidence():
    ruler = found(screen("ge", 47.0, (1536, 796))).vertical
    scale = spacing(ruler, 10.0)
    assert scale.source is ScaleSource.RULER
    assert scale.y_mm_per_px == pytest.approx(10.0 / 47.0, rel=0.002)
    assert 0.0 < scale.relative_sd < 0.002
    for word in ("10 mm a tick", "residual", ruler.evidence, "x is taken to be equal"):
        assert word in scale.detail


def test_pixels_that_are_not_square_need_both_axes():
    ruler = found(screen("ge", 36.3)).vertical
    with pytest.raises(UserError, match="not square"):
        spacing(ruler, 10.0, pixel_aspect=1.07)
    across = found(np.ascontiguousarray(screen("butterfly", 41.3, (768, 1024)).transpose(1, 0, 2))).horizontal
    scale = spacing(ruler, 10.0, across, 5.0, pixel_aspect=1.07)
    assert scale.y_mm_per_px == pytest.approx(10.0 / 36.3, rel=0.002)
    assert scale.x_mm_per_px == pytest.approx(5.0 / 41.3, rel=0.002)


@pytest.mark.parametrize("tick_mm", [0.0, -5.0, float("nan"), 1000.0])
def test_a_tick_of_no_size_is_refused(tick_mm):
    ruler = found(screen("ge", 36.3)).vertical
    with pytest.raises(UserError, match="tick"):
        spacing(ruler, tick_mm)


# --- too much to look at --------------------------------------------------------------------------------------------


def small_print(width=1920, height=1080):
    page = np.zeros((height, width), dtype=np.uint8)
    for row, y in enumerate(range(22, height - 10, 12)):
        cv2.putText(
            page, f"{row} the quick brown fox " * 20, (20, y), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 255, 1, cv2.LINE_AA
        )
    return np.repeat(page[..., None], 3, axis=2)


def test_a_page_of_text_ends_after_a_bounded_search_and_says_so():
    began_s = time.process_time()
    assert found(small_print()).reason == TOO_BUSY
    assert time.process_time() - began_s < 12.0  # 3 s; without the bound half a minute


def test_the_bound_is_counted_so_the_same_picture_has_the_same_answer_everywhere():
    picture = screen("ge", 36.3).max(axis=2)
    spent = []
    for _ in range(2):
        work = Work(10**9)
        find_columns(picture, work)
        spent.append(10**9 - work.left)
    assert spent[0] == spent[1] > 1000
    find_columns(picture, Work(spent[0]))
    with pytest.raises(TooMuchWork):
        find_columns(picture, Work(spent[0] - 1))


@pytest.mark.parametrize("period_px", [8, 16])
def test_a_pattern_of_thousands_of_rulers_gives_none(period_px):
    y, x = np.mgrid[:720, :1280]
    board = np.where((x // period_px + y // period_px) % 2, 255, 0).astype(np.uint8)
    result = found(np.repeat(board[..., None], 3, axis=2))
    assert result.ruler is None and result.reason in (TOO_BUSY, TWO_RULERS)


def test_a_busy_screen_keeps_most_of_the_bound():
    picture = screen("ge", 36.3, (1280, 720))
    picture[100:400, 20:300] = small_print(280, 300)  # settings beside the scan, denser than any scanner's
    work = Work()
    for grey in (picture.max(axis=2), np.ascontiguousarray(picture.max(axis=2).T)):
        find_columns(grey, work)
    assert work.left > 0.5 * MOST_WORK


@pytest.mark.parametrize("seed", range(4))
def test_no_mark_that_is_alone_is_left_out_beforehand(seed):
    """What is dropped before the search would not have passed it."""
    rng = np.random.default_rng(seed)
    contrast = np.where(rng.random((120, 160)) < 0.02 * (seed + 1), 200, 0).astype(np.uint8)
    contrast = cv2.dilate(contrast, np.ones((1, 1 + 2 * seed), dtype=np.uint8))
    lit = contrast > 80
    kept = perhaps_alone(lit)
    found_alone = 0
    for x in range(lit.shape[1]):
        starts, ends = runs_of(lit, x)
        marks = measure_marks(contrast, lit, x, starts, ends)
        for y0, y1 in zip(starts[marks.alone], ends[marks.alone], strict=True):
            found_alone += 1
            assert kept[y0:y1, x].any()
    assert found_alone > 20


# --- real recordings -----------------------------------------------------------------------------------------------

# File, mm per tick as seen on the screen, mm per pixel, tolerance.
REAL = [
    ("aorta_sweep/sweep.mp4", 10.0, 10.0 / 47.0, 0.005),
    ("clips_neck_sparq/20210816_131218_0003.MP4", 5.0, 0.0702905, 0.01),
    ("devices_itkpocus/butterfly_axial-lateral-resolution-2020.png", 2.0, 0.047619, 0.02),
    ("devices_itkpocus/butterfly-ocular-phantom.mp4", 2.0, 10.0 / 173.3, 0.005),
    ("devices_itkpocus/clarius-ocular-image.png", 2.0, 40.0 / 787.5, 0.005),
    ("devices_itkpocus/clarius-ocular-short.mp4", 2.0, 40.0 / 787.5, 0.005),
    ("devices_itkpocus/sonosite-anon-eye1-video.mp4", 5.0, 45.0 / 593.0, 0.005),
    ("devices_itkpocus/interson-image.jpg", 10.0, 50.0 / 790.0, 0.005),
    ("devices_itkpocus/sonoque_anechoic-3mm-3mm.dcm", 5.0, 0.0291, 0.005),
    ("dicom_ultrasound/sf_palette_rle_cx50_regions_pydicom.dcm", 10.0, 0.2622879, 0.005),
    ("dicom_ultrasound/sf_ybrfull_rle_acuson_carotid_regions_dcm4che.dcm", 5.0, 0.0953679, 0.005),
    ("dicom_ultrasound/sparq_brachial_plexus/1208_20210Q_20210102.dcm", 5.0, 0.0820056, 0.005),
]


@pytest.mark.data
@pytest.mark.parametrize(("name", "tick_mm", "mm_per_px", "tolerance"), REAL, ids=[name for name, *_ in REAL])
def test_real_screens(data, name, tick_mm, mm_per_px, tolerance):
    frames = frames_of(data / name)
    result = find_ruler(frames, read=False)
    assert result.reason == ""
    assert spacing(result.vertical, tick_mm).y_mm_per_px == pytest.approx(mm_per_px, rel=tolerance)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "step"),
    [
        ("fetal_head_hc18/train", 80),
        ("carotid_ccaui/images", 15),
        ("nerve_usgra/images", 17),
        ("prompt_breast_stu", 11),
    ],
)
def test_none_on_real_pictures_without_one(data, folder, step):
    paths = sorted(path for path in (data / folder).iterdir() if path.suffix in (".png", ".jpg"))[::step]
    assert len(paths) >= 7
    wrong = [path.name for path in paths if find_ruler(frames_of(path, 2), read=False).ruler]
    assert wrong == []


@pytest.mark.data
def test_none_on_lung_clips(data):
    """Dots along the slanted sides of the fan (volpecelli) are no depth ruler, and most have nothing at all."""
    paths = sorted(path for path in (data / "clips_lung_pocovid").iterdir() if path.suffix != ".csv")
    wrong = [path.name for path in paths[3::4] if find_ruler(frames_of(path, 3), read=False).ruler]
    assert wrong == []
