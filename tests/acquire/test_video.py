from __future__ import annotations

import csv
import gc
import os
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from tests.helpers.recordings import number_in, picture, write_clip
from usviewer.acquire import open_source, video
from usviewer.acquire.video import VideoSource
from usviewer.errors import UserError

CONTAINERS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"codec": "libx264", "options": {"bf": "3"}},
    "h264.mkv": {"codec": "libx264", "options": {"bf": "3", "x264-params": "open-gop=1"}},
    "h264.avi": {"codec": "libx264", "options": {"bf": "3"}},
    "h264.ts": {"codec": "libx264", "options": {"bf": "2"}},
    "raw.h264": {"codec": "libx264", "options": {"bf": "2"}},
    "hevc.mov": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4b.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mjpeg.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "one.mpg": {"codec": "mpeg1video", "options": {"bf": "2"}},
    "two.mpeg": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "wmv2.wmv": {"codec": "wmv2"},
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"lag-in-frames": "16", "deadline": "realtime", "cpu-used": "8"}},
    "ffv1.mkv": {"codec": "ffv1"},
    "loop.gif": {"codec": "gif", "pixel_format": "rgb8"},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_frame_in_order_and_sought_exactly(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, **CONTAINERS[name])
    with VideoSource(path) as source, VideoSource(path) as sought:
        times = sought.times_s()
        frames = list(source)
        assert [number_in(frame.pixels) for frame in frames] == list(range(40))
        assert [frame.key.index for frame in frames] == list(range(40))
        assert [frame.key.media_time_s for frame in frames] == list(times) == list(source.times_s())
        assert times == pytest.approx([index / 25 for index in range(40)], abs=1e-3)
        assert source.info.frame_count == sought.info.frame_count == 40
        assert source.info.frames_per_second == pytest.approx(25)
        order = random.Random(1).sample(range(40), 40)
        for index in [39, 0, *order]:
            frame = sought.seek(index)
            assert (frame.key.digest, frame.key.index) == (frames[index].key.digest, index)
            assert frame.key.media_time_s == frames[index].key.media_time_s


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    ticks = [0, 1, 2, 7, 8, 20, 21, 40, 41, 42]
    for name in ("vfr.mkv", "vfr.mp4"):
        with VideoSource(write_clip(tmp_path / name, count=10, ticks=ticks)) as source:
            assert source.times_s() == pytest.approx([tick / 25 for tick in ticks], abs=1e-3)
            assert [number_in(frame.pixels) for frame in source] == list(range(10))
            assert source.seek(5).key.media_time_s == pytest.approx(0.8, abs=1e-3)
            assert source.info.frames_per_second == pytest.approx(9 / 1.68, rel=1e-3)


def _decoded_frames() -> int:
    return sum(type(each) is VideoFrame for each in gc.get_objects())  # isinstance wakes lazy proxies


def test_a_picture_that_was_given_is_let_go(tmp_path: Path) -> None:
    """A decoded 4K frame is 12 MB: none may wait for a garbage collection, which may be thousands of frames away."""
    clip = write_clip(tmp_path / "clip.mp4", count=30)
    gc.collect()
    gc.disable()
    try:
        before = _decoded_frames()  # a thread of an earlier test may still hold some
        with VideoSource(clip) as source:
            assert sum(1 for _ in source) == 30
        left = _decoded_frames() - before
    finally:
        gc.enable()
    assert left <= 2, "only the first frame of a pass is asked for its display matrix"


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ({"degrees": 90}, lambda p: np.rot90(p, 1)),
        ({"degrees": -90}, lambda p: np.rot90(p, -1)),
        ({"degrees": 180}, lambda p: np.rot90(p, 2)),
        ({"degrees": 0, "hflip": True}, lambda p: p[:, ::-1]),
        ({"degrees": 0, "vflip": True}, lambda p: p[::-1]),
    ],
)
def test_a_turned_recording_is_shown_upright(tmp_path: Path, matrix: dict[str, Any], turn: Any) -> None:
    plain = VideoSource(write_clip(tmp_path / "plain.mp4", count=2)).seek(1).pixels
    with VideoSource(write_clip(tmp_path / "turned.mp4", count=2, display_matrix=matrix)) as source:
        turned = source.seek(1).pixels
        assert np.array_equal(turned, turn(plain))
        assert (source.info.height_px, source.info.width_px) == turned.shape[:2]
        assert any("upright" in note for note in source.info.notes)


@pytest.mark.parametrize("size", [(161, 121), (135, 77), (640, 33)])
def test_odd_sizes_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    with VideoSource(write_clip(tmp_path / "odd.webm", "libvpx-vp9", 3, size=size)) as source:
        frames = list(source)
        assert {frame.pixels.shape for frame in frames} == {(size[1], size[0], 3)}
        assert np.abs(frames[2].pixels.astype(int) - picture(2, *size)).mean() < 6


def test_pixels_that_are_not_square_are_stored_ones_and_said(tmp_path: Path) -> None:
    with VideoSource(write_clip(tmp_path / "wide.mp4", count=2, aspect=Fraction(64, 45))) as source:
        assert (source.info.width_px, source.info.height_px) == (160, 120)
        assert source.info.pixel_aspect == pytest.approx(64 / 45)
        assert any("not square" in note for note in source.info.notes)
    with VideoSource(write_clip(tmp_path / "square.mp4", count=2)) as source:
        assert source.info.pixel_aspect == 1 and source.info.notes == ()


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuvj420p"),
        ("libx264", "yuv444p"),
        ("libx264", "gray"),
        ("libx264", "yuv420p10le"),
        ("ffv1", "gray"),
        ("ffv1", "gray16le"),
        ("ffv1", "bgr0"),
        ("ffv1", "yuva420p"),
    ],
)
def test_grey_levels_come_back_whatever_the_range(tmp_path: Path, codec: str, pixel_format: str) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    options = {"qp": "0"} if codec == "libx264" else {}
    path = write_clip(
        tmp_path / "ramp.mkv", codec, 1, size=(256, 64), pixel_format=pixel_format, pictures=[ramp], options=options
    )
    with VideoSource(path) as source:
        pixels = source.seek(0).pixels.astype(int)
    assert np.abs(pixels - ramp).max() <= 2
    assert np.ptp(pixels, axis=2).max() <= 2


def test_colours_are_right(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [200, 120, 40]], dtype=np.uint8)
    flat = np.repeat(np.repeat(colours, 32, axis=0)[None], 64, axis=0)
    path = write_clip(tmp_path / "c.mp4", count=1, size=(160, 64), pictures=[flat], options={"qp": "0"})
    with VideoSource(path) as source:
        pixels = source.seek(0).pixels
    assert np.abs(pixels[32, 16::32].astype(int) - colours).max() <= 3


def test_transparent_pixels_lie_on_black(tmp_path: Path) -> None:
    first, second = Image.new("RGBA", (64, 48), (200, 30, 30, 255)), Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    first.paste((0, 0, 0, 0), (0, 0, 20, 20))
    path = tmp_path / "holes.gif"
    first.save(path, save_all=True, append_images=[second], duration=100, disposal=2)
    with VideoSource(path) as source:
        assert source.seek(0).pixels[5, 5].tolist() == [0, 0, 0]
        assert np.abs(source.seek(0).pixels[40, 40].astype(int) - [200, 30, 30]).max() < 8


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "hevc.mov"])
def test_a_far_seek_leaves_out_what_nothing_needs_and_is_exact_all_the_same(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, count=120, key_every=60, **CONTAINERS[name])
    with VideoSource(path) as source:
        digests = [frame.key.digest for frame in source]
    decoded: dict[int, int] = {}
    with VideoSource(path) as sought:
        for index in (55, 54, 47, 30, 119, 112, 100, 3, 59, 60, 61, 90, 31):
            sought._reader.close()
            assert sought.seek(index).key.digest == digests[index], index
            decoded[index] = len(sought._reader._cache)
        for index in (110, 109, 108, 101, 100, 99, 111, 112):  # back and on, with what was left out before
            assert sought.seek(index).key.digest == digests[index], index
    if "libx264" in CONTAINERS[name]["codec"]:
        assert decoded[55] < 45, "of 56 frames most that nothing is predicted from were not decoded"


def test_stepping_forward_does_not_start_again_and_scrubbing_takes_key_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "long.mp4", count=100, key_every=50, options={"sc_threshold": "0"})
    starts: list[int] = []
    original = video.ClipReader._restart

    def counted(self: Any, key_index: int, threads: int) -> Any:
        starts.append(key_index)
        return original(self, key_index, threads)

    monkeypatch.setattr(video.ClipReader, "_restart", counted)
    with VideoSource(path) as source:
        digests = [frame.key.digest for frame in source]
        for index in [*range(10, 30), *range(29, 10, -1)]:
            assert source.seek(index).key.digest == digests[index]
        assert starts == [0]
        near = source.seek_near(70)
        assert near.key.index == 50 and near.key.digest == digests[50]
        assert source.seek(70).key.digest == digests[70]
        assert starts == [0, 50]
        assert source.seek_near(70).key.index == 70


def test_a_clip_that_ends_early_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", count=100, container_options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    with VideoSource(cut) as source, VideoSource(cut) as sought:
        frames = list(source)
        assert 20 < len(frames) < 100
        assert len(sought.times_s()) == len(frames) == source.info.frame_count
        assert any("Ends early" in note and "of 100 frames" in note for note in source.info.notes)
        assert sought.seek(len(frames) // 2).key.digest == frames[len(frames) // 2].key.digest
        with pytest.raises(UserError, match=r"no frame -?\d+\. Ask for a frame from 0 to \d+\.$"):
            sought.seek(len(frames))


def test_a_clip_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UserError, match="is not a clip, picture or DICOM"):
        VideoSource(cut)


@pytest.mark.parametrize("name", ["h264.mp4", "two.mpeg", "mpeg4.avi", "h264.ts"])
def test_damage_is_noted_and_repeats_itself(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, count=80, **CONTAINERS[name])
    data = bytearray(path.read_bytes())
    chance = random.Random(5)
    for place in (0.35, 0.5, 0.62):
        start = int(len(data) * place)
        data[start : start + 120] = chance.randbytes(120)
    path.write_bytes(data)
    with VideoSource(path) as source:
        frames = list(source)
        assert any("damaged" in note for note in source.info.notes)
        assert 60 <= len(frames) <= 80 and [frame.key.index for frame in frames] == list(range(len(frames)))
        assert [frame.key.digest for frame in source] == [frame.key.digest for frame in frames]
        for index in chance.sample(range(len(frames)), 8):
            assert source.seek(index).key.digest == frames[index].key.digest


def test_real_clips_have_as_many_frames_as_were_counted(data: Path) -> None:
    folder = data / "clips_lung_pocovid"
    with (folder / "clips.csv").open(newline="") as table:
        expected = {row["file"]: int(row["decoded_frames"]) for row in csv.DictReader(table)}
    counted = {}
    for name in expected:
        with VideoSource(folder / name) as source:
            counted[name] = len(source.times_s())
    assert counted == expected and len(expected) == 32


@pytest.mark.parametrize(
    "file",
    [
        "clips_lung_pocovid/Cov-Atlas+(44).gif",
        "clips_lung_pocovid/Reg_Image_181432_crop.mp4",
        "clips_lung_pocovid/Pneu_northumbria_0409_set1_vid1.avi",
        "clips_lung_pocovid/Cov_recommendations_likebutterfly_mov5.mov",
        "clips_lung_pocovid/Reg_pat4Image_140238.mpeg",
        "clips_neck_sparq/20210816_131218_0003.MP4",
    ],
)
def test_real_clips_are_sought_to_the_pixel(data: Path, file: str) -> None:
    with VideoSource(data / file) as source, VideoSource(data / file) as sought:
        keys = [frame.key for frame in source]
        assert [key.media_time_s for key in keys] == list(sought.times_s())
        for index in [len(keys) - 1, *random.Random(2).sample(range(len(keys)), 6)]:
            assert sought.seek(index).key.digest == keys[index].digest


def test_the_sweep_has_444_frames_at_its_own_rate(data: Path) -> None:
    with VideoSource(data / "aorta_sweep" / "sweep.mp4") as source:
        times = source.times_s()
        assert len(times) == 444
        assert times[-1] == pytest.approx(443 * 839 / 18500)
        assert source.seek(300).pixels.shape == (796, 1536, 3)


@pytest.mark.parametrize(
    ("name", "codec", "known", "unknown"),
    [
        ("a.avi", "mpeg4", b"FMP4", b"XYZ1"),
        ("spaces.avi", "mpeg4", b"FMP4", b"    "),
        ("bytes.avi", "mpeg4", b"FMP4", b"\xff\xfe\x01\x1b"),
        ("a.mp4", "libx264", b"avc1", b"zzz1"),
        ("a.mkv", "libx264", b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/AVC"),
    ],
)
def test_an_unknown_codec_is_said_in_a_sentence(
    tmp_path: Path, name: str, codec: str, known: bytes, unknown: bytes
) -> None:
    path = write_clip(tmp_path / name, codec, 4)
    path.write_bytes(path.read_bytes().replace(known, unknown))
    with pytest.raises(UserError, match=rf"{name} uses a codec that is not known here\. Convert it to H\.264"):
        VideoSource(path)


def test_a_title_that_is_not_utf8_is_no_reason_to_refuse_a_clip(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as output:
        output.metadata["title"] = "Uberschall"
        stream: Any = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(3):
            output.mux(stream.encode(VideoFrame.from_ndarray(picture(number), format="rgb24")))
        output.mux(stream.encode(None))
    data = (tmp_path / "a.avi").read_bytes()
    assert b"Uberschall" in data
    (tmp_path / "a.avi").write_bytes(data.replace(b"Uberschall", "Überschall".encode("latin-1")))
    with VideoSource(tmp_path / "a.avi") as source:
        assert [number_in(frame.pixels) for frame in source] == [0, 1, 2]


def test_a_clip_whose_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", count=3)
    try:
        odd = path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/Untersuchung_\xfc.mp4"))
    except OSError:
        pytest.skip("this file system takes no such names")
    with VideoSource(odd) as source:
        assert [number_in(frame.pixels) for frame in source] == [0, 1, 2]


def test_a_cut_gif_gives_the_pictures_before_the_cut(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.gif", "gif", 12, pixel_format="rgb8").read_bytes()
    (tmp_path / "a.gif").write_bytes(whole[: len(whole) // 2])
    with open_source(tmp_path / "a.gif") as source:
        numbers = [number_in(frame.pixels) for frame in source]
    assert numbers[:4] == [0, 1, 2, 3] and len(numbers) < 9


def test_gif_frames_are_put_together_as_they_say(tmp_path: Path) -> None:
    """Parts of the canvas, and what becomes of each: left, cleared, or put back as it was."""
    canvas = Image.new("RGBA", (64, 48), (200, 30, 30, 255))
    part = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    part.paste((30, 200, 30, 255), (40, 30, 60, 44))
    canvas.save(tmp_path / "a.gif", save_all=True, append_images=[part, part], duration=80, disposal=[1, 3, 1])
    with open_source(tmp_path / "a.gif") as source, Image.open(tmp_path / "a.gif") as image:
        for frame in source:
            image.seek(frame.key.index)
            assert np.abs(frame.pixels.astype(int) - np.asarray(image.convert("RGB"))).max() <= 2
            assert source.seek(frame.key.index).key.digest == frame.key.digest


def test_sound_before_the_first_picture_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        sound: Any = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        stream: Any = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(200):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
            samples.rate, samples.pts = 8000, number * 800
            output.mux(sound.encode(samples))
        for number in range(4):
            output.mux(stream.encode(VideoFrame.from_ndarray(picture(number), format="rgb24")))
        output.mux(stream.encode(None))
    with VideoSource(path) as source:
        assert [number_in(frame.pixels) for frame in source] == [0, 1, 2, 3]
        assert number_in(source.seek(2).pixels) == 2


def test_a_clip_that_grows_while_it_is_read_gives_what_is_there(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.ts", count=40, options={"bf": "2"}).read_bytes()
    path = tmp_path / "a.ts"
    path.write_bytes(whole[: len(whole) // 2])
    with VideoSource(path) as source:
        frames = iter(source)
        numbers = [number_in(next(frames).pixels)]
        path.write_bytes(whole)
        numbers += [number_in(frame.pixels) for frame in frames]
        assert numbers == list(range(len(numbers)))
        assert number_in(source.seek(3).pixels) == 3


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "mpeg4.avi", "two.mpeg", "loop.gif", "vp9.webm"])
def test_a_damaged_clip_is_read_or_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, count=8, **CONTAINERS[name])
    whole = path.read_bytes()
    chance = random.Random(11)
    for case in range(24):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 12)):  # half of them in the header
            damaged[chance.randrange(600 if case % 2 else len(whole)) % len(whole)] = chance.randrange(256)
        path.write_bytes(bytes(damaged if case % 3 else damaged[: chance.randrange(len(whole))]))
        try:
            with open_source(path) as source:
                count = len(list(source))
                source.seek(count - 1)
        except UserError as error:
            assert "\n" not in str(error)
