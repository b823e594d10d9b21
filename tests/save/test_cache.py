"""What is kept about a clip: found again by its content, exact, and never mixed up."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.scenes import aorta_reading, circle, flat_frame
from usviewer.errors import UserError
from usviewer.measure.manual import edit_of, filled
from usviewer.measure.reading import Measurement, Provenance, Reading, Status
from usviewer.save import cache
from usviewer.save.cache import ClipNotes, ClipResults, MadeBy
from usviewer.units import ScaleSource, isotropic

MADE_BY = MadeBy("ab" * 32, "cpu")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"a clip" * 1000)
    return path


def readings() -> dict[int, Reading]:
    key = flat_frame().key
    first = aorta_reading(replace(key, index=0))
    area = Measurement("area", first.measurements[0].dimension, 10.5, 3.25, sd_mm=0.125)
    return {
        0: first,
        1: Reading(replace(key, index=1, media_time_s=None), "aorta", Status.NOT_VISUALISED, reason="No aorta"),
        2: replace(first, key=replace(key, index=2), outlines_xy_px=(), measurements=(area,), spacing=None),
        3: replace(first, key=replace(key, index=3), outlines_xy_px=(circle((9.0, 9.0), 4.1), circle((3.0, 3.0), 2.0))),
    }


def results(path: Path, made_by: MadeBy = MADE_BY) -> ClipResults:
    return ClipResults(ClipNotes(path), made_by, f"now:{path.name}")


def test_readings_come_back_exactly_under_the_sources_present_name(clip: Path) -> None:
    kept = readings()
    results(clip).store(kept)
    loaded = results(clip).load()
    assert loaded is not None and sorted(loaded) == [0, 1, 2, 3]
    for index, reading in kept.items():
        got = loaded[index]
        assert got.key == replace(reading.key, source="now:clip.mp4", capture_time_s=0.0)
        assert len(got.outlines_xy_px) == len(reading.outlines_xy_px)
        for a, b in zip(got.outlines_xy_px, reading.outlines_xy_px, strict=True):
            np.testing.assert_array_equal(a, b)
        plain = {"key": got.key, "outlines_xy_px": ()}
        assert repr(replace(got, **plain)) == repr(replace(reading, **plain))


def test_a_copy_of_the_clip_finds_them_and_other_content_does_not(clip: Path, tmp_path: Path) -> None:
    results(clip).store(readings())
    copy = tmp_path / "elsewhere.avi"
    copy.write_bytes(clip.read_bytes())
    assert results(copy).load() is not None
    copy.write_bytes(clip.read_bytes() + b"x")
    assert results(copy).load() is None


@pytest.mark.parametrize(
    "other",
    [
        MadeBy("cd" * 32, "cpu"),
        MadeBy("ab" * 32, "openvino bf16"),
        MadeBy("ab" * 32, "cpu", isotropic(0.2, ScaleSource.MANUAL)),
    ],
)
def test_another_model_engine_or_scale_does_not_find_them(clip: Path, other: MadeBy) -> None:
    results(clip).store(readings())
    assert results(clip, other).load() is None
    results(clip, other).store(readings())
    assert results(clip).load() is not None


def test_another_version_of_the_program_computes_anew(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results(clip).store(readings())
    monkeypatch.setattr(cache, "__version__", "99.0")
    assert results(clip).load() is None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", b"not a file"])
def test_damaged_readings_are_computed_again(clip: Path, damage: bytes) -> None:
    results(clip).store(readings())
    file = next(cache.clips_folder().glob("*/readings-*.npz"))
    file.write_bytes(damage)
    assert results(clip).load() is None


def test_bookmarks_are_kept_in_order(clip: Path) -> None:
    assert ClipNotes(clip).bookmarks() == ()
    ClipNotes(clip).keep_bookmarks((40, 7))
    assert ClipNotes(clip).bookmarks() == (7, 40)
    (ClipNotes(clip).folder / "bookmarks.json").write_text("{broken", encoding="utf-8")
    assert ClipNotes(clip).bookmarks() == ()


def test_corrections_come_back_to_the_pixel_and_belong_to_one_model(clip: Path) -> None:
    mask = filled(circle((100.0, 80.0), 33.3), (200, 160))
    empty = np.zeros((160, 200), np.bool_)
    ClipNotes(clip).keep_edits("ab" * 32, {5: edit_of(mask, "d5", 1, "vessel", 2), 9: edit_of(empty, "d9", 0, "x", 0)})
    edits = results(clip).edits()
    assert sorted(edits) == [5, 9]
    got = edits[5]
    assert (got.digest, got.instance, got.label, got.class_index) == ("d5", 1, "vessel", 2)
    x, y = got.mask_origin_px
    whole = np.zeros((160, 200), np.bool_)
    whole[y : y + got.mask.shape[0], x : x + got.mask.shape[1]] = got.mask
    np.testing.assert_array_equal(whole, mask)
    assert not edits[9].mask.any()
    assert ClipNotes(clip).edits("cd" * 32) == {}


def test_room_is_made_by_dropping_old_readings_but_never_the_users_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = []
    for number in range(3):
        clip = tmp_path / f"{number}.mp4"
        clip.write_bytes(bytes([number]) * 100)
        ClipNotes(clip).keep_bookmarks((number,))
        results(clip).store(readings())
        file = next(ClipNotes(clip).folder.glob("readings-*"))
        os.utime(file, (number, number))
        clips.append(clip)
    monkeypatch.setattr(cache, "MOST_BYTES", 1)
    results(clips[2]).store(readings())
    assert results(clips[0]).load() is None and results(clips[1]).load() is None
    assert [ClipNotes(clip).bookmarks() for clip in clips] == [(0,), (1,), (2,)]


def test_a_folder_is_known_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "stills"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    first = cache.content_hash(folder)
    (folder / "a.png").rename(folder / "b.png")
    assert cache.content_hash(folder) != first


def test_no_place_to_write_is_one_sentence(clip: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(UserError, match="folder is a file"):
        ClipNotes(clip, blocked).keep_bookmarks((1,))
    with pytest.raises(UserError, match="folder is a file"):
        ClipResults(ClipNotes(clip, blocked), MADE_BY, "x").store(readings())


def test_a_clip_that_is_gone_has_nothing_and_says_so(tmp_path: Path) -> None:
    gone = ClipNotes(tmp_path / "gone.mp4")
    assert gone.bookmarks() == () and gone.edits("ab") == {}
    with pytest.raises(UserError, match=r"gone\.mp4 cannot be read"):
        gone.keep_bookmarks((1,))


def test_edited_readings_keep_their_mark(clip: Path) -> None:
    edited = replace(readings()[0], provenance=Provenance.EDITED, score=None)
    results(clip).store({0: edited})
    loaded = results(clip).load()
    assert loaded[0].provenance is Provenance.EDITED and loaded[0].score is None
