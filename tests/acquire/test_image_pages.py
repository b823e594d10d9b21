from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.helpers.recordings import number_in, picture, write_tiff
from usviewer.acquire import open_source
from usviewer.acquire.images import ImageSource, open_image
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


def test_damage_costs_only_the_pages_it_hits(tmp_path: Path) -> None:
    pages = [picture(number)[..., 0] for number in range(5)]
    whole = write_tiff(tmp_path / "pages.tif", pages).read_bytes()
    (tmp_path / "half.tif").write_bytes(whole[: len(whole) * 7 // 10])
    with open_source(tmp_path / "half.tif") as source:
        assert [number_in(frame.pixels) for frame in source] == [0, 1, 2]
        what = "page 3 of half.tif and what follows could not be read: half.tif is damaged or cut off"
        assert source.info.notes == ("3 pages of one file", what)
    broken = bytearray(whole)  # page 2 packed in a way that there is not
    place = [found for found in range(len(whole)) if whole.startswith(b"\x03\x01\x04\0\x01\0\0\0\x01\0\0\0", found)][2]
    broken[place + 8] = 77
    (tmp_path / "broken.tif").write_bytes(bytes(broken))
    with open_source(tmp_path / "broken.tif") as source:
        assert [number_in(frame.pixels) for frame in source] == [0, 1, 3, 4]
        assert source.info.notes[1:] == ("page 2 of broken.tif could not be read: broken.tif is damaged or cut off",)


def test_a_damaged_page_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture(number)) for number in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(1)
        start = image.tag_v2[273][0]
    data[start : start + 60] = b"\xff" * 60
    (tmp_path / "a.tif").write_bytes(bytes(data))
    with open_source(tmp_path / "a.tif") as source:
        for _ in range(2):
            assert [frame.key.index for frame in source] == [0, 2]
        assert [name for name, _ in source.failed] == ["page 1 of a.tif"]
        with pytest.raises(UserError, match=r"a\.tif is damaged"):
            source.seek(1)
        assert number_in(source.seek(2).pixels) == 2


@pytest.mark.parametrize(
    "kind", ["png", "jpg", "tif", "lzw.tif", "webp", "moving.webp", "moving.png", "gif", "moving.gif"]
)
def test_a_picture_that_is_cut_anywhere_is_read_or_refused_in_a_sentence(tmp_path: Path, kind: str) -> None:
    pages = [Image.fromarray(picture(number)) for number in range(3)]
    path = tmp_path / f"a.{kind}"
    several = {"save_all": True, "append_images": pages[1:], "duration": 80} if "moving" in kind else {}
    pages[0].save(path, **several, **({"compression": "tiff_lzw"} if "lzw" in kind else {}))
    whole = path.read_bytes()
    chance = random.Random(7)
    lengths = [*range(1, 60, 7), *(chance.randrange(60, len(whole)) for _ in range(25))]
    for length in lengths:
        path.write_bytes(whole[:length])
        try:
            with open_source(path) as source:
                list(source)
        except UserError as error:
            assert "\n" not in str(error)
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(whole))] = chance.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            with open_source(path) as source:
                list(source)
        except UserError as error:
            assert "\n" not in str(error)


def test_small_copies_and_stand_ins_are_no_pages(tmp_path: Path) -> None:
    write_tiff(tmp_path / "thumb.tif", [picture(3)[..., 0]])
    stack = (tmp_path / "thumb.tif").read_bytes()
    small = write_tiff(tmp_path / "small.tif", [np.zeros((16, 16), np.uint8)], NewSubfileType=1).read_bytes()
    assert small
    pages = [Image.fromarray(picture(number)) for number in range(3)]
    pages[0].save(
        tmp_path / "a.png", save_all=True, append_images=pages[1:], duration=80, default_image=True
    )  # the first is shown only where animations are not known
    with open_source(tmp_path / "a.png") as source:
        assert [number_in(frame.pixels) for frame in source] == [1, 2]
        assert source.times_s() == pytest.approx((0, 0.08))
    joined = _with_second_page(stack, small)
    (tmp_path / "both.tif").write_bytes(joined)
    with open_source(tmp_path / "both.tif") as source:
        assert [number_in(frame.pixels) for frame in source] == [3] and source.info.notes == ()


def _with_second_page(first: bytes, second: bytes) -> bytes:
    """Two little-endian TIFFs of one page each as one of two: the places in the second are moved."""
    shift = len(first)
    content = bytearray(first + second)
    start = int.from_bytes(second[4:8], "little")
    count = int.from_bytes(second[start : start + 2], "little")
    for entry in range(count):
        at = shift + start + 2 + 12 * entry
        if int.from_bytes(content[at : at + 2], "little") == 273:
            place = int.from_bytes(content[at + 8 : at + 12], "little") + shift
            content[at + 8 : at + 12] = place.to_bytes(4, "little")
    content[len(first) - 4 : len(first)] = (shift + start).to_bytes(4, "little")
    return bytes(content)


def test_other_colours_and_containers_of_stills(tmp_path: Path) -> None:
    flat = Image.fromarray(np.full((48, 64, 3), (10, 200, 60), np.uint8))
    flat.convert("CMYK").save(tmp_path / "cmyk.tif")
    flat.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
    flat.convert("YCbCr").save(tmp_path / "ycbcr.tif")
    flat.save(tmp_path / "big.tif", big_tiff=True)
    flat.save(tmp_path / "two.mpo", save_all=True, append_images=[Image.new("RGB", (64, 48))], quality=100)
    exif = Image.Exif()
    exif[0x0112] = 6
    flat.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    for name in ("cmyk.tif", "cmyk.jpg", "ycbcr.tif", "big.tif", "two.mpo", "turned.jpg"):
        source = opened(tmp_path / name)
        pixels = source.seek(0).pixels
        assert np.abs(pixels.astype(int) - [10, 200, 60]).max() <= 6, name
        assert pixels.shape == ((64, 48, 3) if name == "turned.jpg" else (48, 64, 3))
        assert source.info.frame_count == 1
    holes = flat.quantize(4)
    holes.save(tmp_path / "holes.png", transparency=0)
    assert opened(tmp_path / "holes.png").seek(0).pixels.max() == 0
    bits = np.zeros((48, 64), bool)
    bits[:24] = True
    for name, tags in (("black.tif", {}), ("white.tif", {262: 0})):
        Image.fromarray(bits).save(tmp_path / name, tiffinfo=tags)
        assert opened(tmp_path / name).seek(0).pixels[[0, -1], 0, 0].tolist() == [255, 0], name
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(flat, lab).save(tmp_path / "lab.tif")
    assert np.abs(opened(tmp_path / "lab.tif").seek(0).pixels.astype(int) - [10, 200, 60]).max() <= 8
