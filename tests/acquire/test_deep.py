"""Stills of more than 8 bits: one scale for a recording, the right sign, the right way up, white where white is."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.recordings import picture, write_tiff
from usviewer.acquire import deep, open_source
from usviewer.acquire.images import open_folder
from usviewer.errors import UserError
from usviewer.frame import Pixels

Deep = NDArray[np.uint16]
TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.T,
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].T,
    8: lambda p: np.rot90(p, 1),
}


def ramp(largest: int = 4000) -> Deep:
    """48 x 80 pixels from 0 up, each row brighter than the one above."""
    return np.linspace(0, largest, 48 * 80).reshape(48, 80).astype(np.uint16)


def shown(path: Path, index: int = 0) -> Pixels:
    with open_source(path) as source:
        pixels = source.seek(index).pixels
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def by_bits(values: NDArray[np.generic], bits: int) -> Pixels:
    return np.rint(values.astype(np.float64) * 255 / (2**bits - 1)).astype(np.uint8)


def test_one_bright_pixel_does_not_darken_its_picture(tmp_path: Path) -> None:
    """12 bits stored as 16. On page 2 one pixel is beyond 10 bits, which a scale of each page's own would follow."""
    pages = [ramp(900) for _ in range(4)]
    pages[2][3, 5] = 1100
    stills = [Image.fromarray(page) for page in pages]
    stills[0].save(tmp_path / "stack.tif", save_all=True, append_images=stills[1:])
    (tmp_path / "folder").mkdir()
    for number, still in enumerate(stills):
        still.save(tmp_path / "folder" / f"{number}.png")
    for path in (tmp_path / "stack.tif", tmp_path / "folder"):
        with open_source(path) as source:
            frames = [frame.pixels[..., 0] for frame in source]
            for frame, page in zip(frames, pages, strict=True):
                assert np.array_equal(frame, by_bits(page, 12))
        for index in (2, 0, 3):
            assert np.array_equal(shown(path, index), frames[index]), "sought first, before any other was read"


def test_a_picture_that_cannot_be_read_has_no_say_in_the_scale(tmp_path: Path) -> None:
    Image.fromarray(ramp(900)).save(tmp_path / "a.png")
    Image.fromarray(ramp(60_000)).save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(picture(1)).save(tmp_path / "c.png")
    with open_folder(tmp_path) as source:
        frames = list(source)
    assert np.array_equal(frames[0].pixels[..., 0], by_bits(ramp(900), 10))
    assert np.array_equal(frames[1].pixels, picture(1)), "8 bits are shown as they are"
    assert [name for name, _ in source.failed] == ["b.png"]


def test_of_very_many_deep_pictures_some_give_the_scale_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "MAX_LOOKED_AT_PX", 3 * 48 * 80)
    pages = [ramp(900) for _ in range(9)]
    pages[1][0, 0], pages[8][0, 0] = 9000, 2000
    write_tiff(tmp_path / "long.tif", pages)
    with open_source(tmp_path / "long.tif") as source:
        assert source.seek(0).pixels.max() == by_bits(ramp(900), 11 + 1).max()  # from pages 0, 4 and 8: 12 bits
        assert source.seek(1).pixels[0, 0].tolist() == [255, 255, 255]
        assert "Brightness follows 3 of 9 pictures; what is brighter is white" in source.info.notes


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "<f4"])
def test_turned_grey_tiffs_are_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    values = by_bits(ramp(), 12).astype(kind)
    write_tiff(tmp_path / "a.tif", [values, values], Orientation=orientation)
    upright = TURNS[orientation](by_bits(ramp(), 12))
    expected = by_bits(ramp(), 12) if kind != "<f4" else np.rint(values * (255.0 / values.max())).astype(np.uint8)
    expected = TURNS[orientation](expected)
    with open_source(tmp_path / "a.tif") as source:
        for index in (1, 0, 1, 1):
            assert np.array_equal(source.seek(index).pixels[..., 0], expected)
        assert (source.info.height_px, source.info.width_px) == upright.shape


def test_where_the_least_value_is_white(tmp_path: Path) -> None:
    write_tiff(tmp_path / "8.tif", [by_bits(ramp(), 12)], PhotometricInterpretation=0)
    write_tiff(tmp_path / "16.tif", [ramp()], PhotometricInterpretation=0)
    write_tiff(tmp_path / "f.tif", [(ramp() / 4000).astype("<f4")], PhotometricInterpretation=0)
    Image.fromarray(ramp()).save(tmp_path / "lzw.tif", compression="tiff_lzw", tiffinfo={262: 0})
    for name in ("8", "16", "lzw"):
        assert np.array_equal(shown(tmp_path / f"{name}.tif"), 255 - by_bits(ramp(), 12)), name
    assert shown(tmp_path / "f.tif")[[0, -1], [0, -1]].tolist() == [255, 0]


def test_32_bits_without_a_sign_and_smaller_ones_with_it(tmp_path: Path) -> None:
    large = ramp().astype("<u4") << 20
    write_tiff(tmp_path / "u32.tif", [large])
    assert np.array_equal(shown(tmp_path / "u32.tif"), by_bits(large, 32))
    small = ramp().astype("<u4")
    write_tiff(tmp_path / "small.tif", [small])
    assert np.array_equal(shown(tmp_path / "small.tif"), by_bits(small, 12))
    signed = ramp().astype("<i2") - 2000
    write_tiff(tmp_path / "i16.tif", [signed])
    write_tiff(tmp_path / "i8.tif", [(ramp() // 16 - 125.0).astype("i1")])
    for name in ("i16", "i8"):
        values = shown(tmp_path / f"{name}.tif").astype(int)
        assert values[[0, -1], [0, -1]].tolist() == [0, 255] and (np.diff(values, axis=0) >= 0).all()


def test_fractions_share_a_scale_and_what_is_no_number_is_black(tmp_path: Path) -> None:
    dim, bright = (ramp() / 8000).astype("<f4"), (ramp() / 2000).astype("<f4")
    dim[0, 0], bright[0, 0], bright[0, 1] = np.nan, np.nan, np.inf
    write_tiff(tmp_path / "f.tif", [dim, bright, np.full_like(dim, np.nan)])
    assert shown(tmp_path / "f.tif", 0).max() == round(0.5 / 2 * 255)
    assert shown(tmp_path / "f.tif", 1)[0, :2].tolist() == [0, 255]
    assert shown(tmp_path / "f.tif", 2).max() == 0
    dim.view("<u4")[3, 3] = 0x7F800001  # a "signalling" one
    write_tiff(tmp_path / "s.tif", [dim])
    assert shown(tmp_path / "s.tif")[3, 3] == 0


def test_pages_of_different_samples_have_a_scale_each(tmp_path: Path) -> None:
    pages = [
        Image.fromarray(ramp(900)),
        Image.fromarray(picture(3)[:48, :80]),
        Image.fromarray(ramp() / np.float32(4000)),
    ]
    pages[0].save(tmp_path / "mixed.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(shown(tmp_path / "mixed.tif", 0), by_bits(ramp(900), 10))
    assert shown(tmp_path / "mixed.tif", 2).max() == 255
    with open_source(tmp_path / "mixed.tif") as source:
        assert np.array_equal(source.seek(1).pixels, picture(3)[:48, :80])


def test_a_pgm_states_what_is_white(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 80 48 4095\n" + ramp(1000).astype(">u2").tobytes())
    assert np.abs(shown(tmp_path / "a.pgm").astype(int) - by_bits(ramp(1000), 12)).max() <= 1
    (tmp_path / "b.pgm").write_bytes(b"P5 80 48 65535\n" + ramp(1000).astype(">u2").tobytes())
    assert np.array_equal(shown(tmp_path / "b.pgm"), by_bits(ramp(1000), 10)), "65535 is all that 16 bits hold"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colours_of_16_bits_are_scaled_like_grey(tmp_path: Path, suffix: str) -> None:
    """Of 12 bits stored as 16 the upper 8, which is all that Pillow gives, are almost black."""
    colours = np.stack([ramp(), ramp() // 2, ramp() // 3], axis=2)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), colours[..., ::-1])
    with open_source(tmp_path / f"a.{suffix}") as source:
        assert np.array_equal(source.seek(0).pixels, by_bits(colours, 12))


def test_16_bits_with_transparency_lie_on_black(tmp_path: Path) -> None:
    opaque = np.full((48, 80), 65_535, np.uint16)
    opaque[:, :40] = 0
    cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([ramp(), ramp(), ramp(), opaque]))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.dstack([ramp(), opaque]))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 80, 48, 16, 4, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    packed = [struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks]
    (tmp_path / "grey.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    expected = by_bits(ramp(), 12)
    expected[:, :40] = 0
    for name in ("colour", "grey"):
        assert np.array_equal(shown(tmp_path / f"{name}.png"), expected), name


def test_a_cut_picture_of_16_bit_colours_is_refused_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(2).integers(0, 4000, (64, 64, 3), np.uint16)
    for suffix in ("png", "tif"):
        path = tmp_path / f"a.{suffix}"
        cv2.imwrite(str(path), noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        with pytest.raises(UserError, match="damaged"):
            open_source(path)
    assert capfd.readouterr() == ("", "")
