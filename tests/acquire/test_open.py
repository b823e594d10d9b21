from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from tests.helpers.recordings import dicom_dataset, picture, write_clip
from usviewer.acquire import frame_count, open_source
from usviewer.errors import UserError


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "picture.png")
    write_clip(tmp_path / "clip.mp4", count=3)
    dicom_dataset([picture(1)]).save_as(tmp_path / "still.dcm")
    Image.fromarray(picture(1)).save(
        tmp_path / "loop.gif", save_all=True, append_images=[Image.fromarray(picture(2))], duration=80
    )
    for name, kind in [("picture.png", "image"), ("clip.mp4", "video"), ("still.dcm", "dicom"), ("loop.gif", "video")]:
        for ending in ("txt", "dcm", "mp4", "png", ""):
            renamed = tmp_path / "renamed" / f"file.{ending}"
            renamed.parent.mkdir(exist_ok=True)
            shutil.copy(tmp_path / name, renamed)
            with open_source(renamed) as source:
                assert source.info.kind == kind


def test_addresses_may_be_text_paths_file_urls_and_the_phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a name with: signs #1 (%d).png"
    Image.fromarray(picture(1)).save(path)
    for uri in (path, str(path), f"file://{path}"):
        assert open_source(uri).info.frame_count == 1
    monkeypatch.chdir(tmp_path)
    assert open_source(path.name).info.frame_count == 1
    with open_source("phantom:?frames=2&width=320&height=240") as source:
        assert source.info.kind == "phantom" and frame_count(source) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"This is only text.\n" * 200),
        ("text.txt", b"\x1b[31mred\x1b[0m\n" * 50),
        ("subtitles.mp4", b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n"),
        ("noise.mp4", np.random.default_rng(3).bytes(40_000)),
        ("zeros.dcm", bytes(5000)),
        ("preamble.dcm", bytes(128) + b"DICM"),
        ("junk.dcm", bytes(128) + b"DICM" + np.random.default_rng(4).bytes(4000)),
        ("group8.dcm", b"\x08\x00" + np.random.default_rng(5).bytes(4000)),
        ("scan.nrrd", b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 64 64\nencoding: raw\n\n" + bytes(4096)),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nclip.mp4\n#EXT-X-ENDLIST\n"),
        ("script.mp4", b"ffconcat version 1.0\nfile clip.mp4\n"),
        (
            "sound.mp4",
            b"RIFF\x24\x08\x00\x00WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\x08\0\0"
            + bytes(2048),
        ),
    ],
)
def test_what_is_no_recording_gives_one_sentence_and_no_noise(
    tmp_path: Path, name: str, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    write_clip(tmp_path / "clip.mp4", count=2)
    capfd.readouterr()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(open_source(tmp_path / name))
    assert name in str(caught.value) and len(str(caught.value)) < 200 and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_missing_files_odd_places_and_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no file gone\.mp4"):
        open_source(tmp_path / "gone.mp4")
    with pytest.raises(UserError, match="holds no pictures"):
        open_source(tmp_path)
    with pytest.raises(UserError, match="cannot be opened"):
        open_source("/dev/null/inside")
    with pytest.raises(UserError, match="kind igtl cannot be opened"):
        open_source("igtl://localhost:18944")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(UserError, match="may read"):
        open_source(tmp_path / "a.png")
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(UserError, match="may read"):
        open_source(tmp_path / "closed")


def test_file_addresses_are_decoded(tmp_path: Path) -> None:
    """What a browser or file manager hands over when a file is dragged or its address is copied."""
    names = ["with space.png", "Müller 100%.png", "plain.png", "a#b?c.png"]
    for number, name in enumerate(names):
        Image.fromarray(picture(number)).save(tmp_path / name)
    folder = str(tmp_path)
    for name in names:
        for start in ("file://", "file://localhost", "FILE://"):
            with open_source(start + quote(f"{folder}/{name}")) as source:
                assert source.info.uri == f"{folder}/{name}"
    with pytest.raises(UserError, match=r"names another computer, server\."):
        open_source("file://server/share/a.png")
    with pytest.raises(UserError, match=r"There is no file no such\.png"):
        open_source(f"file://{folder}/no%20such.png")


def test_an_encoded_address_means_the_decoded_name_where_both_exist(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a b.png")
    Image.fromarray(picture(2)).save(tmp_path / "a%20b.png")
    with open_source(f"file://{tmp_path}/a%20b.png") as source:
        assert source.info.uri.endswith("a b.png")
    with open_source(f"file://{tmp_path}/a%2520b.png") as source:
        assert source.info.uri.endswith("a%20b.png")


@pytest.mark.skipif(os.name == "nt", reason="no such files here")
def test_pipes_devices_and_odd_links_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket.dcm"))
    listener.close()
    for name in ("pipe.mp4", "zero.mp4"):
        with pytest.raises(UserError, match=rf"{name} cannot be opened: it is a pipe or device"):
            open_source(tmp_path / name)
    for name in ("loop.mp4", "socket.dcm"):
        with pytest.raises(UserError, match=rf"{name} cannot be opened"):
            open_source(tmp_path / name)
    for name in ("null\0character.mp4", "file:///null%00character.mp4", "~nobody-of-this-name/a.mp4"):
        with pytest.raises(UserError, match="There is no file"):
            open_source(name)


@pytest.mark.parametrize("kind", ["clip", "cine", "still", "pages", "folder"])
def test_what_is_deleted_while_it_is_open_is_said_to_be_gone(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    still, clip, pages = folder / "still.png", folder / "clip.mp4", tmp_path / "pages.tif"
    Image.fromarray(picture(1)).save(still)
    write_clip(clip, count=3)
    Image.fromarray(picture(1)).save(pages, save_all=True, append_images=[Image.fromarray(picture(2))])
    dicom_dataset([picture(1)]).save_as(tmp_path / "cine.dcm")
    path = {"clip": clip, "cine": tmp_path / "cine.dcm", "still": still, "pages": pages, "folder": folder}[kind]
    gone = still if kind == "folder" else path
    with open_source(path) as source:
        gone.unlink()
        if kind == "cine":  # stays open: nothing is lost
            assert np.array_equal(source.seek(0).pixels, picture(1))
            return
        with pytest.raises(UserError, match=rf"{gone.name} is gone"):
            source.seek(0)
    if kind != "folder":
        with pytest.raises(UserError, match=rf"There is no file {gone.name}"):
            open_source(path)


def test_a_picture_that_is_shortened_while_it_is_open_ends_nothing(tmp_path: Path) -> None:
    """A file that is mapped into memory would end the whole program here."""
    path = tmp_path / "a.tif"
    Image.fromarray(picture(1)[..., 0]).save(path)
    with open_source(path) as source:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(UserError, match="damaged or cut off"):
            source.seek(0)
