from __future__ import annotations

from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from tests.helpers.scenes import aorta_reading, fan, flat_frame, scaled_geometry
from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.frame import make_frame
from usviewer.overlay.items import AnnotatedFrame
from usviewer.overlay.scene import MaskStyle, Style, compose
from usviewer.save.media import ClipWriter, Form, fit_to_form, picture_of, write_png

VARIABLE_S = (0.0, 0.033, 0.1, 0.12, 0.3, 0.35, 0.4, 0.409, 0.5, 0.633)


def shown(style: Style | None = None, certain: bool = True, width: int = 640, height: int = 480) -> AnnotatedFrame:
    geometry = scaled_geometry(width, height, fan(width, height, certain))
    frame = flat_frame(width, height, 120, geometry)
    reading = aorta_reading(frame.key, (width / 2, height / 2), 40)
    return AnnotatedFrame(frame, compose(frame, reading, None, style))


def pictures(count: int, width: int, height: int) -> list[np.ndarray]:
    """Smooth pictures that differ from one another by a moving bright bar."""
    rows, columns = np.mgrid[:height, :width]
    ground = (40 + 60 * rows / max(1, height)).astype(np.uint8)
    out = []
    for index in range(count):
        picture = np.repeat(ground[:, :, None], 3, axis=2)
        picture[:, (columns[0] // 8) % count == index] = (200, 180, 40)
        out.append(picture)
    return out


def write(path, frames, times_s, last_duration_s=None, **options):
    writer = ClipWriter(path, (frames[0].shape[1], frames[0].shape[0]), **options)
    for picture, time_s in zip(frames, times_s, strict=True):
        writer.add(picture, time_s)
    writer.close(last_duration_s)


def read(path):
    with av.open(str(path)) as file:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
        stream = file.streams.video[0]
        end_s = float((stream.start_time + stream.duration) * stream.time_base)
    return [time for time, _ in frames], [picture for _, picture in frames], end_s


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_png_has_the_frames_size_and_what_was_seen(tmp_path):
    write_png(shown(), tmp_path / "a.png", keep_surroundings=True)
    back = cv2.cvtColor(cv2.imread(str(tmp_path / "a.png")), cv2.COLOR_BGR2RGB)
    assert np.array_equal(back, picture_of(shown(), keep_surroundings=True))
    assert back.shape == (480, 640, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_outside_the_sector_only_the_redrawn_scale_and_the_research_line_remain():
    bare = Style(mask=MaskStyle.NONE, calipers=False, numbers=False, research_line=False)
    picture = picture_of(shown(bare))
    inside = np.zeros((480, 640), np.uint8)
    cv2.fillPoly(inside, [np.round(fan(640, 480).outline_xy_px).astype(np.int32)], 1)
    outside = cv2.dilate(inside, np.ones((5, 5), np.uint8)) == 0
    lit = outside & (picture.max(axis=2) > 0)
    rows, columns = np.nonzero(lit)
    assert len(rows) > 100  # the scale bar is there
    assert rows.min() > 400  # and nothing but the foot of the picture
    assert columns.max() < 280
    assert (picture[:400][outside[:400]] == 0).all()


def test_surroundings_are_kept_on_demand_or_while_the_sector_is_uncertain():
    bare = Style(mask=MaskStyle.NONE, calipers=False, numbers=False, scale_bar=False)
    for picture in (picture_of(shown(bare), keep_surroundings=True), picture_of(shown(bare, certain=False))):
        assert (picture[:400] == 120).all()


def test_no_style_takes_the_research_line_off_a_saved_picture():
    hidden, plain = shown(Style(hidden=True)), shown()
    without = replace(plain.scene, items=())
    assert not np.array_equal(picture_of(hidden, True), hidden.frame.pixels)
    assert np.array_equal(picture_of(hidden, True), picture_of(AnnotatedFrame(plain.frame, without), True))


# --- clips ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(96, 64), (97, 64), (96, 63), (97, 63), (2, 2), (1, 1)])
def test_size_and_times_come_back(tmp_path, size):
    frames = pictures(len(VARIABLE_S), *size)
    write(tmp_path / "a.mp4", frames, VARIABLE_S, 0.25)
    times, back, end_s = read(tmp_path / "a.mp4")
    assert times == pytest.approx(VARIABLE_S, abs=0.001)
    assert {picture.shape for picture in back} == {(size[1], size[0], 3)}
    assert end_s == pytest.approx(VARIABLE_S[-1] + 0.25, abs=0.001)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_clip_that_does_not_start_at_zero_keeps_its_start(tmp_path):
    times = [12.5 + time for time in VARIABLE_S]
    write(tmp_path / "a.mp4", pictures(len(times), 64, 48), times)
    assert read(tmp_path / "a.mp4")[0] == pytest.approx(times, abs=0.001)


@pytest.mark.parametrize("size", [(96, 64), (97, 63)])
def test_colours_and_order_come_back(tmp_path, size):
    frames = pictures(6, *size)
    write(tmp_path / "a.mp4", frames, [index / 22 for index in range(6)])
    for picture, original in zip(read(tmp_path / "a.mp4")[1], frames, strict=True):
        assert np.abs(picture.astype(int) - original).mean() < 4.0


def test_lossless_is_lossless(tmp_path):
    noise = list(np.random.default_rng(2).integers(0, 256, (5, 63, 97, 3), dtype=np.uint8))
    write(tmp_path / "a.mp4", noise, VARIABLE_S[:5], lossless=True)
    times, back, _ = read(tmp_path / "a.mp4")
    assert np.array_equal(back, noise)
    assert times == pytest.approx(VARIABLE_S[:5], abs=0.001)


def test_players_get_what_they_need(tmp_path):
    write(tmp_path / "a.mp4", pictures(3, 96, 64), (0.0, 0.1, 0.2))
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is wholly there
    with av.open(str(tmp_path / "a.mp4")) as file:
        coder = file.streams.video[0].codec_context
        assert (coder.name, coder.pix_fmt) == ("h264", "yuv420p")
        assert (int(coder.colorspace), int(coder.color_range)) == (1, 1)


def test_equal_times_are_set_apart_and_backward_ones_refused(tmp_path):
    frames = pictures(200, 16, 16)
    write(tmp_path / "a.mp4", frames, [0.0] * 200)
    times = read(tmp_path / "a.mp4")[0]
    assert len(times) == 200
    assert (np.diff(times) > 0).all()
    with pytest.raises(ValueError, match="backwards"), ClipWriter(tmp_path / "b.mp4", (16, 16)) as writer:
        writer.add(frames[0], 1.0)
        writer.add(frames[1], 0.5)
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_clip_broken_off_leaves_nothing_and_keeps_the_old_one(tmp_path, error):
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(error), ClipWriter(tmp_path / "a.mp4", (96, 64)) as writer:
        for picture, time_s in zip(pictures(6, 96, 64), VARIABLE_S[:6], strict=True):
            writer.add(picture, time_s)
        raise error
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_picture_of_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a picture of"), ClipWriter(tmp_path / "a.mp4", (96, 64)) as writer:
        writer.add(pictures(1, 64, 96)[0], 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_without_pictures_is_no_clip(tmp_path):
    with pytest.raises(UserError, match="no picture"), ClipWriter(tmp_path / "a.mp4", (96, 64)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, full_after):
    noise = np.random.default_rng(3).integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    with full_after(20_000), pytest.raises(UserError, match=r"Could not write a\.mp4"):
        write(tmp_path / "a.mp4", list(noise), [index / 30 for index in range(30)], lossless=True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_finished_stays_whatever_follows(tmp_path):
    writer = ClipWriter(tmp_path / "a.mp4", (16, 16))
    writer.add(pictures(1, 16, 16)[0], 0.0)
    writer.close()
    writer.abort()
    assert len(read(tmp_path / "a.mp4")[0]) == 1


def test_a_size_that_cannot_be_coded_is_one_sentence_and_leaves_nothing(tmp_path):
    with (
        pytest.raises(UserError, match=r"Could not write a\.mp4"),
        ClipWriter(tmp_path / "a.mp4", (70_000, 2)) as writer,
    ):
        writer.add(np.zeros((2, 70_000, 3), np.uint8), 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="folder"):
        ClipWriter(tmp_path / "no" / "a.mp4", (96, 64))


@pytest.mark.data
def test_a_real_sweep_comes_back_with_its_times(data, tmp_path):
    with av.open(str(data / "aorta_sweep" / "sweep.mp4")) as file:
        source = []
        for frame in file.decode(video=0):
            source.append((float(frame.time), frame.to_ndarray(format="rgb24")))
            if len(source) == 12:
                break
    with ClipWriter(tmp_path / "a.mp4", (1536, 796)) as writer:
        for time_s, pixels in source:
            frame = make_frame(pixels, "sweep", 0, time_s)
            scene = compose(frame, aorta_reading(frame.key))
            writer.add(picture_of(AnnotatedFrame(frame, scene)), time_s)
    times, back, _ = read(tmp_path / "a.mp4")
    assert times == pytest.approx([time for time, _ in source], abs=0.001)
    assert {picture.shape for picture in back} == {(796, 1536, 3)}


def oblong_shown(aspect: float, width: int = 320, height: int = 480) -> AnnotatedFrame:
    geometry = replace(scaled_geometry(width, height), pixel_aspect=aspect)
    frame = flat_frame(width, height, 120, geometry)
    reading = aorta_reading(frame.key, (width / 2, height / 2), 40)
    return AnnotatedFrame(frame, compose(frame, reading))


@pytest.mark.parametrize("lossless", [False, True])
def test_a_clip_says_the_shape_of_its_pixels(tmp_path, lossless):
    path = tmp_path / "oblong.mp4"
    write(path, pictures(3, 64, 48), (0.0, 0.04, 0.08), pixel_aspect=64 / 45, lossless=lossless)
    with open_source(str(path)) as source:
        assert source.info.pixel_aspect == pytest.approx(64 / 45, abs=1e-6)
    write(path, pictures(3, 64, 48), (0.0, 0.04, 0.08))
    with open_source(str(path)) as source:
        assert source.info.pixel_aspect == 1.0


@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_a_picture_has_square_pixels_and_an_overlay_of_the_true_shape(tmp_path, aspect):
    oblong = oblong_shown(aspect)
    write_png(oblong, tmp_path / "oblong.png")
    size = (round(320 * max(1.0, aspect)), round(480 / min(1.0, aspect)))
    assert cv2.imread(str(tmp_path / "oblong.png")).shape == (size[1], size[0], 3)
    own = picture_of(oblong)
    assert own.shape == oblong.frame.pixels.shape
    touched = (own != oblong.frame.pixels).any(axis=2)
    assert touched.any()
    np.testing.assert_array_equal(own[~touched], oblong.frame.pixels[~touched])
    assert not touched[100:140, 140:180].any()  # away from outline, numbers and bar nothing is resampled


def test_a_picture_of_another_size_is_fitted_into_the_clip():
    room, wide = Form((160, 120)), Form((320, 80))
    white = np.full((80, 320, 3), 255, np.uint8)
    made = fit_to_form(white, wide, room)
    assert made.shape == (120, 160, 3)
    assert (made[40:80] == 255).all() and not made[:39].any() and not made[81:].any()
    square = fit_to_form(white, Form((320, 80), 0.5), room)  # as wide as 160 square pixels
    assert (square[20:100] == 255).all() and not square[:19].any()
    assert fit_to_form(white, wide, wide) is white
