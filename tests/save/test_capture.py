"""A recording: both streams, every picture, whole or not there."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.scenes import aorta_reading, fan, scaled_geometry
from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry, make_frame
from usviewer.overlay.scene import compose
from usviewer.save.capture import RecordedFrame, Recorder

SIZE = (160, 120)


def frame(index: int, geometry: ImageGeometry | None = None, size: tuple[int, int] = SIZE) -> Frame:
    rng = np.random.default_rng(index)
    pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return make_frame(pixels, "device:fake", index, capture_time_s=100.0 + index * 0.05, geometry=geometry)


def taken(index: int, geometry: ImageGeometry | None = None, finding: str = "aorta") -> RecordedFrame:
    picture = frame(index, geometry)
    reading = replace(aorta_reading(picture.key, (80.0, 60.0), 20.0), finding=finding)
    scene = compose(picture, reading)
    return RecordedFrame(picture, scene, reading)


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as file:
        return [(float(f.time), f.to_ndarray(format="rgb24")) for f in file.decode(video=0)]


def test_raw_is_untouched_and_annotated_is_what_was_seen(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "exam", keep_surroundings=True)
    for index in range(4):
        recorder.add(taken(index))
    (folder,) = recorder.close()
    raw, annotated = pictures(folder / "raw.mp4"), pictures(folder / "annotated.mp4")
    assert len(raw) == len(annotated) == 4
    for index, (time_s, pixels) in enumerate(raw):
        assert time_s == pytest.approx(index * 0.05, abs=1e-4)
        np.testing.assert_array_equal(pixels, frame(index).pixels)
    with (folder / "readings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame_digest"] for row in rows] == [frame(index).key.digest for index in range(4)]
    centre = annotated[0][1][40:80, 60:100].astype(int)
    assert np.abs(centre - frame(0).pixels[40:80, 60:100]).mean() > 10  # the outline and its caliper are on it


def test_what_surrounds_the_ultrasound_is_blanked_in_both_streams(tmp_path: Path) -> None:
    geometry = scaled_geometry(*SIZE, sector=fan(*SIZE))
    recorder = Recorder(tmp_path, "exam")
    recorder.add(taken(0, geometry))
    recorder.add(RecordedFrame(frame(1, geometry), None, None))
    (folder,) = recorder.close()
    for _, pixels in pictures(folder / "raw.mp4"):
        assert not pixels[:, :8].any()
    assert pictures(folder / "annotated.mp4")[1][1][:60, :8].max() < 12
    assert recorder.notice == ""


def test_where_the_sector_is_a_guess_nothing_is_blanked_and_it_is_said(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "exam")
    recorder.add(taken(0, scaled_geometry(*SIZE, sector=fan(*SIZE, certain=False))))
    recorder.close()
    assert "not certain" in recorder.notice


def test_another_size_or_model_begins_another_part(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "exam")
    recorder.add(taken(0))
    recorder.add(taken(1, finding="nerve"))
    recorder.add(RecordedFrame(frame(2, size=(200, 100)), None, None))
    folders = recorder.close()
    assert [folder.name for folder in folders] == ["exam", "exam-2", "exam-3"]
    assert not (folders[2] / "readings.csv").exists()


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    for _ in range(2):
        recorder = Recorder(tmp_path, "exam")
        recorder.add(taken(0))
        recorder.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exam", "exam-2"]


def test_a_recording_without_a_picture_leaves_nothing(tmp_path: Path) -> None:
    assert Recorder(tmp_path, "exam").close() == ()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    recorder = Recorder(tmp_path, "exam", keep_surroundings=True)
    recorder.add(taken(0))
    with full_after(4096), pytest.raises(UserError, match="Could not write"):
        for index in range(1, 60):
            recorder.add(taken(index))
        recorder.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_while_it_runs_nothing_stands_under_its_name(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "exam", keep_surroundings=True)
    recorder.add(taken(0))
    assert not (tmp_path / "exam").exists()
    assert recorder.close() == (tmp_path / "exam",)


def test_a_recording_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    """Its table was whole already: without the clips it would be taken for one."""
    recorder = Recorder(tmp_path, "exam", keep_surroundings=True)
    for index in range(3):
        recorder.add(taken(index))
    with full_after(1024), pytest.raises(UserError, match="Could not write"):
        recorder.close()
    assert not list(tmp_path.iterdir())


def test_a_name_that_the_disk_refuses_is_said_at_the_first_picture(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "e" * 300)
    with pytest.raises(UserError, match="the name is too long"):
        recorder.add(taken(0))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(UserError, match="Could not write"):
        Recorder(blocked, "exam").add(taken(0))


def test_both_streams_say_the_shape_of_pixels_and_another_shape_begins_another_part(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "exam", keep_surroundings=True)
    recorder.add(taken(0, ImageGeometry(pixel_aspect=2.0)))
    recorder.add(taken(1, ImageGeometry(pixel_aspect=2.0)))
    recorder.add(taken(2, ImageGeometry()))
    oblong, square = recorder.close()
    for folder, aspect in ((oblong, 2.0), (square, 1.0)):
        for name in ("raw.mp4", "annotated.mp4"):
            with open_source(str(folder / name)) as source:
                assert source.info.pixel_aspect == aspect
    np.testing.assert_array_equal(pictures(oblong / "raw.mp4")[1][1], frame(1).pixels)
