from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.recordings import number_in, picture, write_clip, write_tiff
from usviewer.acquire import open_source
from usviewer.acquire.images import open_folder, open_image
from usviewer.errors import UserError


def test_a_single_gif_is_a_picture_and_an_animated_one_is_not(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture(number)).convert("L") for number in range(3)]
    pages[0].save(tmp_path / "one.gif")
    pages[0].save(tmp_path / "three.gif", save_all=True, append_images=pages[1:])
    still = open_image(tmp_path / "one.gif")
    assert still is not None
    assert number_in(still.seek(0).pixels) == 0
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
    with pytest.raises(UserError, match="Give the clip or DICOM file in it by name"):
        open_folder(tmp_path)


def test_real_folder_of_stills(data: Path) -> None:
    source = open_folder(data / "aorta_stills")
    assert source.info.frame_count == len(list(source)) >= 2 and source.failed == ()


def test_one_bad_file_of_a_folder_costs_only_itself_and_is_named(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    whole = write_tiff(tmp_path / "a.tif", [picture(7)[..., 0]]).read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.tif").write_bytes(whole[:60])
    (tmp_path / "c.tif").write_bytes(whole[:-40])
    (tmp_path / "d.webp").write_bytes(b"RIFF\x40\0\0\0WEBPVP8L" + bytes(40))
    Image.new("RGB", (10, 10)).save(tmp_path / "e.png")
    (tmp_path / "f.png").symlink_to(tmp_path / "nowhere.png")
    bad = ["a.tif", "b.tif", "c.tif", "d.webp", "e.png", "f.png"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "g.png")
        bad.append("g.png")
    source = open_folder(tmp_path)
    assert [number_in(frame.pixels) for frame in source] == [0, 1, 2, 3]
    assert sorted(name for name, _ in source.failed) == bad
    for name in bad:
        assert sum(note.startswith(f"{name} could not be read: it ") for note in source.info.notes) == 1
    assert "b.tif could not be read: it is damaged or of a kind that cannot be read" in source.info.notes
    assert dict(source.failed)["f.png"] == "f.png is gone"


def test_an_animation_is_a_clip_and_pages_are_not(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture(number)) for number in range(3)]
    for suffix in ("webp", "png"):
        path = tmp_path / f"a.{suffix}"
        pages[0].save(path, save_all=True, append_images=pages[1:], duration=[80, 40, 80], lossless=True)
        with open_source(path) as source:
            assert source.info.kind == "video" and source.info.notes == ()
            assert source.times_s() == pytest.approx((0, 0.08, 0.12))
            assert source.info.frames_per_second == pytest.approx(2 / 0.12)
            assert [number_in(source.seek(index).pixels) for index in (2, 0, 1, 1)] == [2, 0, 1, 1]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with open_source(tmp_path / "a.tif") as source:
        assert source.info.kind == "image" and source.info.frames_per_second is None
