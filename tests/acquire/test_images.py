from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.recordings import number_in, picture, write_clip
from usviewer.acquire.images import ImageSource, open_folder, open_image
from usviewer.errors import UserError


def opened(path: Path) -> ImageSource:
    source = open_image(path)
    assert source is not None
    return source


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_lossless_pictures_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture(7)).save(path, **({"lossless": True} if suffix == "webp" else {}))
    source = opened(path)
    assert np.array_equal(source.seek(0).pixels, picture(7))
    assert source.info.frame_count == 1 and source.times_s() == (None,)
    assert source.info.name == "a" and source.seek(0).name == ""


def test_a_jpeg_looks_the_same(tmp_path: Path) -> None:
    Image.fromarray(picture(9)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(opened(tmp_path / "a.jpg").seek(0).pixels.astype(int) - picture(9)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    turns = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(3)).save(tmp_path / "a.png", exif=exif)
    source = opened(tmp_path / "a.png")
    expected = turns[orientation](picture(3))
    assert np.array_equal(source.seek(0).pixels, expected)
    assert (source.info.height_px, source.info.width_px) == expected.shape[:2]


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_deep_grey_is_scaled_by_its_range(tmp_path: Path, bits: int) -> None:
    deep = np.linspace(0, 2**bits - 1, 64 * 48).reshape(48, 64).astype(np.uint16)
    for suffix in ("png", "tif"):
        Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
        pixels = opened(tmp_path / f"a.{suffix}").seek(0).pixels
        assert np.abs(pixels[..., 0] - deep * (255 / (2**bits - 1))).max() <= 0.51
        assert (pixels == pixels[..., :1]).all()


def test_fractions_palettes_masks_and_transparency(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (40, 1))
    Image.fromarray(ramp).save(tmp_path / "f.tif")
    assert opened(tmp_path / "f.tif").seek(0).pixels[0, [0, 63], 0].tolist() == [0, 255]

    flat = Image.fromarray(np.full((40, 64, 3), (10, 200, 60), np.uint8))
    flat.quantize(4).save(tmp_path / "p.png")
    assert opened(tmp_path / "p.png").seek(0).pixels[5, 5].tolist() == [10, 200, 60]

    flat.convert("RGBA").save(tmp_path / "opaque.png")
    assert opened(tmp_path / "opaque.png").seek(0).pixels[5, 5].tolist() == [10, 200, 60]
    half = flat.convert("RGBA")
    half.putalpha(128)
    half.save(tmp_path / "half.png")
    assert opened(tmp_path / "half.png").seek(0).pixels[5, 5].tolist() == [5, 100, 30]
    Image.new("1", (64, 40), 1).save(tmp_path / "mask.png")
    assert opened(tmp_path / "mask.png").seek(0).pixels.min() == 255


def test_pages_are_frames_and_animations_have_times(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture(number)) for number in range(4)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    source = opened(tmp_path / "pages.tif")
    assert [number_in(frame.pixels) for frame in source] == [0, 1, 2, 3]
    assert number_in(source.seek(2).pixels) == 2 and source.times_s() == (None,) * 4
    assert source.info.notes == ("4 pages of one file",)

    pages[0].save(
        tmp_path / "a.webp", save_all=True, append_images=pages[1:], duration=[100, 50, 200, 80], lossless=True
    )
    animation = opened(tmp_path / "a.webp")
    assert animation.times_s() == pytest.approx((0, 0.1, 0.15, 0.35))
    assert [number_in(frame.pixels) for frame in animation] == [0, 1, 2, 3]


def test_a_single_gif_is_a_picture_and_an_animated_one_is_not(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture(number)).convert("L") for number in range(3)]
    pages[0].save(tmp_path / "one.gif")
    pages[0].save(tmp_path / "three.gif", save_all=True, append_images=pages[1:])
    assert number_in(opened(tmp_path / "one.gif").seek(0).pixels) == 0
    assert open_image(tmp_path / "three.gif") is None


def test_a_folder_is_read_in_natural_order_with_mixed_sizes(tmp_path: Path) -> None:
    for number in (10, 9, 1, 2, 100):
        Image.fromarray(picture(number, 128 + number, 96)).save(tmp_path / f"img{number}.png")
    (tmp_path / "readings.csv").write_text("index\n")
    (tmp_path / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "inside").mkdir()
    source = open_folder(tmp_path)
    frames = list(source)
    assert [number_in(frame.pixels) for frame in frames] == [1, 2, 9, 10, 100]
    assert [frame.name for frame in frames] == ["img1.png", "img2.png", "img9.png", "img10.png", "img100.png"]
    assert [frame.width_px for frame in frames] == [129, 130, 137, 138, 228]
    assert source.info.kind == "images" and source.info.notes == () and source.failed == ()


def test_nothing_in_a_folder_is_left_out_silently(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "3.png").write_text("not a picture at all")
    write_clip(tmp_path / "clip.mp4", count=2)
    pages = [Image.fromarray(picture(number)) for number in (7, 8)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    source = open_folder(tmp_path)
    assert [(frame.name, frame.key.index) for frame in source] == [("0.png", 0), ("2.png", 2), ("pages.tif", 3)]
    assert [file for file, _ in source.failed] == ["3.png", "1.png"]
    notes = " ".join(source.info.notes)
    assert "1 clips or DICOM files" in notes and "1 files hold several pages" in notes
    assert "1.png could not be read" in notes and "3.png could not be read" in notes
    with pytest.raises(UserError, match=r"1\.png is damaged or cut off"):
        source.seek(1)


def test_folders_without_pictures_say_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no pictures"):
        open_folder(tmp_path)
    write_clip(tmp_path / "clip.mkv", count=2)
    with pytest.raises(UserError, match="1 clips or DICOM files: give these by name"):
        open_folder(tmp_path)


def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "bmp", "tif", "webp"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        with pytest.raises(UserError):
            source = open_image(path)
            if source is None:
                raise UserError("not recognised")
            list(source)


@pytest.mark.parametrize("size", [(1, 1), (500, 20)])
def test_tiny_pictures_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "tiny.png")
    with pytest.raises(UserError, match="too small for an ultrasound picture"):
        open_image(tmp_path / "tiny.png")


@pytest.mark.parametrize("size", [(10_000, 10_000), (17_000, 100), (15_000, 15_000)])
def test_absurd_pictures_are_refused_before_they_are_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("1", size).save(tmp_path / "huge.png")
    with pytest.raises(UserError, match="too large to open"):
        open_image(tmp_path / "huge.png")


def test_real_folder_of_stills(data: Path) -> None:
    source = open_folder(data / "aorta_stills")
    assert source.info.frame_count == len(list(source)) >= 2 and source.failed == ()
