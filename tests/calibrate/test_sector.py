import cv2
import numpy as np
import pytest

from usviewer.acquire import open_source
from usviewer.calibrate.sector import SectorFinder, find_sector
from usviewer.calibrate.sector_fit import draw_region


def overlap(first, second, shape):
    a, b = draw_region(first, shape), draw_region(second, shape)
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def screen(width=960, height=720):
    return np.zeros((height, width, 3), dtype=np.uint8)


def speckle(mask, seed=1, low=2, high=120):
    rng = np.random.default_rng(seed)
    noise = rng.integers(low, high, mask.shape, dtype=np.uint8)
    return np.where(mask[:, :, None], noise[:, :, None], 0).astype(np.uint8).repeat(3, axis=2)


def fan_outline(apex=(480.0, -60.0), face=120.0, far=740.0, half_deg=32.0):
    turn = np.radians(np.linspace(-half_deg, half_deg, 80))
    ring = np.column_stack([np.sin(turn), np.cos(turn)])
    return np.vstack([ring * face, ring[::-1] * far]) + apex


def with_furniture(pixels):
    """Text, a ruler, a grey bar and a logo, as scanners burn them in."""
    out = pixels.copy()
    cv2.putText(out, "DOE, JOHN 1970-01-01", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1)
    cv2.putText(out, "MI 0.8 TIS 0.2", (760, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 0), 1)
    for y in range(60, 700, 40):
        cv2.line(out, (940, y), (950, y), (255, 255, 255), 1)
    out[100:300, 20:32] = np.linspace(255, 0, 200, dtype=np.uint8)[:, None, None]
    cv2.circle(out, (60, 650), 14, (80, 160, 255), -1)
    return out


def test_a_fan_among_text_and_rulers():
    outline = fan_outline()
    pixels = with_furniture(speckle(draw_region(outline, (720, 960)) > 0))
    sector = find_sector([pixels])
    assert sector.certain
    assert overlap(sector.outline_xy_px, outline, (720, 960)) > 0.985
    assert sector.apex_xy_px == pytest.approx((480, -60), abs=5)
    assert sector.face_radius_px == pytest.approx(120, abs=5)


def test_a_rectangle_has_no_apex():
    mask = np.zeros((600, 800), dtype=bool)
    mask[80:520, 150:650] = True
    sector = find_sector([speckle(mask)])
    assert sector.certain
    assert sector.apex_xy_px is None
    assert sector.beam_direction((300, 300)) == (0.0, 1.0)
    assert np.allclose(sector.box_xyxy_px, (150, 80, 650, 520), atol=2)


def test_a_trapezoid():
    outline = np.array([[300.0, 60], [500, 60], [600, 560], [200, 560]])
    sector = find_sector([speckle(draw_region(outline, (600, 800)) > 0)])
    assert sector.certain
    assert overlap(sector.outline_xy_px, outline, (600, 800)) > 0.98
    assert sector.apex_xy_px[0] == pytest.approx(400, abs=6)


def test_a_fan_that_the_frame_cuts():
    outline = fan_outline(apex=(240.0, -150.0), face=120.0, far=600.0, half_deg=40.0)
    mask = draw_region(outline, (480, 480)) > 0
    sector = find_sector([speckle(mask)])
    assert sector.certain
    found = draw_region(sector.outline_xy_px, (480, 480)) > 0
    assert np.count_nonzero(found ^ mask) < 0.02 * np.count_nonzero(mask)
    assert sector.apex_xy_px == pytest.approx((240, -150), abs=6)


def test_a_dark_side_in_one_frame_is_bright_in_another():
    outline = fan_outline()
    mask = draw_region(outline, (720, 960)) > 0
    left, right = speckle(mask, 1), speckle(mask, 2)
    left[:, :480] = 0
    right[:, 480:] = 0
    both = find_sector([left, right])
    assert both.certain
    assert overlap(both.outline_xy_px, outline, (720, 960)) > 0.98
    one = find_sector([left])
    assert not one.certain


@pytest.mark.parametrize("value", [0, 7, 200])
def test_a_flat_picture_has_no_sector(value):
    sector = find_sector([np.full((480, 640, 3), value, dtype=np.uint8)])
    assert not sector.certain
    assert sector.box_xyxy_px == (0, 0, 640, 480)


def test_text_alone_is_no_sector():
    assert not find_sector([with_furniture(screen())]).certain


def test_a_picture_filled_with_tissue_is_whole_and_not_certain():
    sector = find_sector([np.random.default_rng(1).integers(30, 200, (300, 300, 3), dtype=np.uint8)])
    assert not sector.certain
    assert sector.box_xyxy_px == (0, 0, 300, 300)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (15, 15), (16, 16), (40, 30)])
def test_tiny_pictures_do_not_fail(size):
    pixels = np.random.default_rng(2).integers(0, 255, (*size, 3), dtype=np.uint8)
    sector = find_sector([pixels])
    assert sector.box_xyxy_px[2] <= size[1]
    assert sector.box_xyxy_px[3] <= size[0]


def test_the_finder_looks_at_fewer_and_fewer_frames():
    finder = SectorFinder()
    looked_at = [finder.add(screen(64, 48)) for _ in range(300)]
    assert looked_at[0]
    assert 5 <= sum(looked_at) <= 10
    finder.finish()
    assert not finder.add(screen(64, 48), always=True)


def test_a_finder_without_frames_has_no_answer():
    with pytest.raises(ValueError, match="no frame"):
        SectorFinder().sector()


def test_the_phantoms_own_sector_is_found_from_its_pixels():
    with open_source("phantom:") as source:
        frames = [source.seek(index) for index in (0, 7)]
    truth = frames[0].geometry.sector
    found = find_sector([frame.pixels for frame in frames])
    assert found.certain
    assert overlap(found.outline_xy_px, truth.outline_xy_px, frames[0].pixels.shape[:2]) > 0.985
    assert found.apex_xy_px == pytest.approx(truth.apex_xy_px, abs=4)
    assert found.face_radius_px == pytest.approx(truth.face_radius_px, abs=4)


def frames_of(path, count=4):
    with open_source(path) as source:
        total = len(source.times_s())
        indices = np.unique(np.linspace(0, min(total - 1, 40), count).astype(int))
        return [source.seek(int(index)).pixels for index in indices]


@pytest.mark.data
def test_the_aortic_sweep(data):
    sector = find_sector(frames_of(data / "aorta_sweep/sweep.mp4", 6))
    assert sector.certain
    assert sector.apex_xy_px == pytest.approx((768, -246), abs=15)
    assert sector.face_radius_px == pytest.approx(279, abs=12)
    x0, y0, x1, y1 = sector.box_xyxy_px
    assert (x0, y0, x1, y1) == pytest.approx((265, 0, 1275, 785), abs=14)
    assert not draw_region(sector.outline_xy_px, (796, 1536))[:, 1500:].any()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("clips_neck_sparq/20210816_131218_0003.MP4", (193, 76, 730, 506)),
        ("dicom_ultrasound/sparq_brachial_plexus/1208_202103_20210102.dcm", (142, 80, 776, 498)),
        ("dicom_ultrasound/sf_ybrfull_rle_acuson_carotid_regions_dcm4che.dcm", (84, 48, 484, 416)),
        ("dicom_ultrasound/sf_palette_rle_cx50_regions_pydicom.dcm", (120, 62, 800, 518)),
        ("devices_itkpocus/sonoque_anechoic-3mm-3mm.dcm", (371, 50, 1710, 1415)),
        ("clips_lung_pocovid/Reg_Image_181432_crop.mp4", (0, 0, 205, 242)),
        ("nerve_usgra/images/0034.png", (0, 112, 512, 363)),
    ],
)
def test_real_pictures(data, name, box):
    sector = find_sector(frames_of(data / name))
    assert sector.certain
    assert sector.box_xyxy_px == pytest.approx(box, abs=0.012 * max(box) + 4)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "aorta_stills/samples_1.jpeg",
        "dicom_ultrasound/mf30_ybr422_jpeg_sonosite_pydicom.dcm",
        "dicom_ultrasound/mf10_palette_rle_echo_dcm4che.dcm",
        "clips_lung_pocovid/Pneu_northumbria_0409_set1_vid1.avi",
        "clips_lung_pocovid/Reg_Image_182340_crop.mp4",
        "devices_itkpocus/sonosite-anon-eye1-video.mp4",
        "prompt_breast_stu/Test_Image_1.png",
        "prompt_ovary_mmotu/sample_images/test.MMOTU_2d__00002.png",
    ],
)
def test_real_pictures_that_cannot_be_told(data, name):
    assert not find_sector(frames_of(data / name)).certain


@pytest.mark.data
def test_no_carotid_is_cut_at_its_dark_end(data):
    for path in sorted((data / "carotid_ccaui/images").iterdir())[::30]:
        assert not find_sector(frames_of(path)).certain


@pytest.mark.data
def test_the_burnt_in_name_lies_outside(data):
    pixels = frames_of(data / "dicom_ultrasound/sf_ybrfull_rle_acuson_carotid_regions_dcm4che.dcm")[0]
    region = draw_region(find_sector([pixels]).outline_xy_px, pixels.shape[:2])
    assert not region[:40].any()
    assert pixels[:40].max() > 200


@pytest.mark.parametrize("aspect", [2.0, 0.5, 1.09])
def test_a_fan_of_pixels_that_are_not_square(aspect):
    outline = fan_outline()
    pixels = speckle(draw_region(outline, (720, 960)) > 0)
    size = (round(960 / max(1.0, aspect)), round(720 * min(1.0, aspect)))
    scale = (size[0] / 960, size[1] / 720)
    squashed = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    sector = find_sector([squashed], scale[1] / scale[0])
    assert sector.certain
    assert overlap(sector.outline_xy_px, outline * scale, (size[1], size[0])) > 0.98
    assert sector.apex_xy_px == pytest.approx((480 * scale[0], -60 * scale[1]), abs=5)
    assert sector.face_radius_px == pytest.approx(120 * scale[1], abs=5)
