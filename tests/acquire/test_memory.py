"""No input takes more than 1 GB beside the picture itself: what would is refused by its header."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.helpers.memory import read_alone
from tests.helpers.recordings import TIFF_TAGS, write_clip
from usviewer.acquire import open_source
from usviewer.acquire.source import MAX_PIXELS, MAX_WORK_BYTES
from usviewer.errors import UserError

SIDE = 2000  # large enough to stand out from what the libraries take, small enough to be quick
PICTURE_BYTES = SIDE * SIDE * 3
LIBRARIES_BYTES = 30_000_000


def _still(suffix: str, **options: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        grey = Image.new("L", (SIDE, SIDE), 40)
        grey.paste(200, (100, 100, 400, 400))
        mode = options.pop("mode", "RGB")
        grey.convert("RGB").convert(mode).save(folder / f"a.{suffix}", **options)
        return folder / f"a.{suffix}"

    return save


def _moving(suffix: str, **options: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        pages = [Image.new("RGB", (SIDE, SIDE), (shade, 0, 0)) for shade in (30, 90)]
        pages[0].save(folder / f"a.{suffix}", save_all=True, append_images=pages[1:], duration=80, **options)
        return folder / f"a.{suffix}"

    return save


def _deep(suffix: str, channels: int) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        values = np.zeros((SIDE, SIDE, channels), np.uint16)
        values[100:400] = 4000
        cv2.imwrite(str(folder / f"a.{suffix}"), values)
        return folder / f"a.{suffix}"

    return save


@pytest.mark.parametrize(
    ("make", "bytes_per_px"),
    [
        pytest.param(_still("png", compress_level=1), 8, id="png"),
        pytest.param(_still("jpg", progressive=True, subsampling=0), 8, id="progressive jpeg"),
        pytest.param(_still("tif", mode="RGBA", compression="tiff_lzw"), 8, id="transparent tiff"),
        pytest.param(_still("webp", lossless=True, method=0), 14, id="webp"),
        pytest.param(_moving("webp", lossless=True, method=0), 26, id="animated webp"),
        pytest.param(_moving("png", compress_level=1), 13, id="animated png"),
        pytest.param(_deep("png", 1), 8, id="grey of 16 bits"),
        pytest.param(_deep("png", 3), 26, id="colour of 16 bits"),
    ],
)
def test_reading_takes_no_more_than_is_reckoned_with(
    tmp_path: Path, make: Callable[[Path], Path], bytes_per_px: int
) -> None:
    reading = read_alone(make(tmp_path))
    assert reading.said == f"read {PICTURE_BYTES}"
    assert reading.peak_bytes < SIDE * SIDE * (3 + bytes_per_px) + LIBRARIES_BYTES


def test_a_large_clip_takes_no_more_than_is_reckoned_with(tmp_path: Path) -> None:
    path = tmp_path / "5k.mkv"
    options = {"preset": "ultrafast", "x264-params": "ref=16:threads=1:rc-lookahead=0:sync-lookahead=0"}
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 5120, 2880, "yuv420p"
        frame = av.VideoFrame(5120, 2880, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(10):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    reading = read_alone(path)
    assert reading.said == f"read {5120 * 2880 * 3}"
    assert reading.peak_bytes < MAX_WORK_BYTES


def test_a_small_gif_with_a_huge_canvas_is_refused(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (30, 200)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=80)
    data = bytearray((tmp_path / "a.gif").read_bytes())
    data[6:10] = struct.pack("<HH", 8000, 8000)
    (tmp_path / "a.gif").write_bytes(data)
    reading = read_alone(tmp_path / "a.gif")
    assert "a.gif are damaged, or larger than 16 megapixels" in reading.said
    assert reading.peak_bytes < LIBRARIES_BYTES


@pytest.mark.parametrize("suffix", ["h264", "small.mp4"])
def test_a_clip_of_huge_frames_is_refused_whatever_its_header_says(tmp_path: Path, suffix: str) -> None:
    """FFmpeg decodes several frames while it opens a clip, and sizes them by the stream, not by the container."""
    path = tmp_path / f"a.{suffix}"
    side = 4800
    options = {"preset": "ultrafast", "x264-params": "threads=1:rc-lookahead=0:sync-lookahead=0:keyint=1"}
    grey = np.full((side, side), 80, np.uint8)
    write_clip(path, count=2, size=(side, side), pictures=[grey] * 2, options=options)
    if suffix == "small.mp4":
        data = bytearray(path.read_bytes())
        entry = data.index(b"avc1", data.index(b"stsd"))
        data[entry + 28 : entry + 32] = struct.pack(">HH", 160, 120)
        path.write_bytes(data)
    reading = read_alone(path)
    assert reading.said.startswith("refused") and "too large" in reading.said
    assert reading.peak_bytes < 150_000_000, "not even two of its frames"


def test_a_clip_whose_frames_become_huge_goes_on_after_them(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.h264", count=6, format="h264").read_bytes()
    options = {"preset": "ultrafast", "x264-params": "threads=1:rc-lookahead=0:sync-lookahead=0"}
    grey = np.full((5000, 5000), 80, np.uint8)
    huge = write_clip(tmp_path / "huge.h264", count=1, size=(5000, 5000), pictures=[grey], options=options).read_bytes()
    (tmp_path / "a.h264").write_bytes(small + huge + small)
    reading = read_alone(tmp_path / "a.h264")
    assert reading.said == f"read {160 * 120 * 3}"
    assert reading.peak_bytes < 150_000_000


def test_a_tiff_whose_tile_is_far_larger_than_its_picture_is_refused(tmp_path: Path) -> None:
    """560 kB in which a tile of 576 MB is packed for a picture of 100 x 100."""
    side = 30_000
    packer = zlib.compressobj(1)
    data = packer.compress(bytes(side)) + packer.flush()
    fields = {"ImageWidth": 100, "ImageLength": 100, "BitsPerSample": 8, "Compression": 8, "SamplesPerPixel": 1}
    fields |= {"PhotometricInterpretation": 1, "TileWidth": side, "TileLength": side, "TileByteCounts": len(data)}
    fields["TileOffsets"] = 8 + 2 + 12 * 10 + 4
    entries = sorted((TIFF_TAGS[name], value) for name, value in fields.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    (tmp_path / "a.tif").write_bytes(head + packed + bytes(4) + data)
    with pytest.raises(UserError, match="takes too much memory to open"):
        open_source(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["webp", "gif", "png"])
def test_what_states_more_than_can_be_opened_is_refused_by_its_header(tmp_path: Path, suffix: str) -> None:
    heads = {
        "webp": b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + (16_000 - 1).to_bytes(3, "little") * 2 + bytes(34),
        "gif": b"GIF89a" + struct.pack("<HHBBB", 16_000, 16_000, 0, 0, 0) + b";",
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">IIBBBBB", 16_000, 16_000, 8, 2, 0, 0, 0) + bytes(40),
    }
    assert 16_000**2 > MAX_PIXELS
    (tmp_path / f"a.{suffix}").write_bytes(heads[suffix])
    reading = read_alone(tmp_path / f"a.{suffix}")
    assert reading.said.startswith("refused") and reading.peak_bytes < LIBRARIES_BYTES
