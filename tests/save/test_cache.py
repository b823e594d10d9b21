"""What is kept about a clip: found again by its content, exact, and never mixed up."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

try:
    import resource
except ImportError:  # Windows
    resource = None

from tests.helpers.kept import confirmed_ruler, kept_predictions
from tests.helpers.scenes import aorta_reading, circle, flat_frame
from usviewer.calibrate.calibration import NOTHING_STATED, StatedScale
from usviewer.calibrate.ruler.watch import Watch
from usviewer.errors import UserError
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.manual import edit_of, fill_outline
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
    mask = fill_outline(circle((100.0, 80.0), 33.3), (200, 160))
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


def kept_file(pattern: str) -> Path:
    return next(cache.clips_folder().glob(f"*/{pattern}"))


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def as_array(document: object) -> np.ndarray:
    return np.frombuffer(json.dumps(document).encode(), np.uint8)


NO_POINTS = {"points": np.empty((0, 2)), "ends": np.empty(0, np.int64)}
DEEP = np.frombuffer(b'{"readings": ' + b"[" * 200_000, np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        archive(document=DEEP, **NO_POINTS),
        archive(document=as_array({"readings": [{"outlines_xy_px": 10**12, "key": 5}]}), **NO_POINTS),
        archive(document=as_array({"readings": [3, "x", None]}), **NO_POINTS),
        archive(document=as_array([]), **NO_POINTS),
        archive(document=as_array({"readings": []}), points=np.full((4, 2), np.nan), ends=np.array([4])),
        archive(document=as_array({"readings": []}), points=np.zeros((4, 2)), ends=np.array([-3, 4])),
        archive(document=as_array({"readings": []}), points=np.zeros((4, 2)), ends=np.array([10**15])),
        archive(points=np.zeros((4, 2))),
        archive(document=np.array(1.5), **NO_POINTS),
        b"PK\x05\x06" + b"\0" * 18,
    ],
)
def test_readings_of_the_wrong_kind_are_computed_again(clip: Path, content: bytes) -> None:
    results(clip).store(readings())
    kept_file("readings-*.npz").write_bytes(content)
    assert results(clip).load() is None
    results(clip).store(readings())
    assert sorted(results(clip).load() or ()) == [0, 1, 2, 3]


@pytest.mark.parametrize("value", ["24.0", True, [24.0], None, 1e400, {"a": 1}])
def test_a_value_of_another_type_is_not_taken_for_a_reading(clip: Path, value: object) -> None:
    results(clip).store(readings())
    file = kept_file("readings-*.npz")
    with np.load(file) as kept:
        arrays = {name: kept[name] for name in kept.files}
    document = json.loads(arrays["document"].tobytes())
    document["readings"][2]["key"]["index"] = value
    file.write_bytes(archive(**{**arrays, "document": as_array(document)}))
    assert results(clip).load() is None


def test_a_pickle_is_never_opened(clip: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "opened"),)

    results(clip).store(readings())
    kept_file("readings-*.npz").write_bytes(archive(document=np.array([Bomb()], dtype=object), **NO_POINTS))
    assert results(clip).load() is None
    assert not (tmp_path / "opened").exists()


@pytest.mark.skipif(resource is None, reason="memory is measured on POSIX systems")
def test_a_file_that_would_unpack_to_more_than_the_bound_is_not_unpacked(clip: Path) -> None:
    results(clip).store(readings())
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        with made.open("document.npy", "w", force_zip64=True) as member:
            for _ in range(cache.MOST_UNPACKED_BYTES // 10**7 + 1):
                member.write(bytes(10**7))
    kept_file("readings-*.npz").write_bytes(bomb.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert results(clip).load() is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_a_pipe_in_place_of_a_kept_file_does_not_wait_for_ever(clip: Path) -> None:
    ClipNotes(clip).keep_bookmarks((1,))
    file = ClipNotes(clip).folder / "bookmarks.json"
    file.unlink()
    os.mkfifo(file)
    assert ClipNotes(clip).bookmarks() == ()


@pytest.mark.parametrize(
    "content", ["{broken", "[" * 100_000, '{"bookmarks": [1e400]}', '{"bookmarks": 7}', "null", '{"bookmarks": [-1]}']
)
def test_damaged_bookmarks_are_told_and_not_written_over_without_a_copy(clip: Path, content: str) -> None:
    ClipNotes(clip).keep_bookmarks((1,))
    file = ClipNotes(clip).folder / "bookmarks.json"
    file.write_text(content, encoding="utf-8")
    notes = ClipNotes(clip)
    assert notes.bookmarks() == ()
    assert notes.problems == ["Your bookmarks of this clip cannot be read: the file is kept"]
    notes.keep_bookmarks((5,))
    assert ClipNotes(clip).bookmarks() == (5,)
    assert file.with_name("bookmarks.json.damaged").read_text(encoding="utf-8") == content


def test_damaged_corrections_and_given_words_keep_a_copy_too(clip: Path) -> None:
    mask = fill_outline(circle((100.0, 80.0), 33.3), (200, 160))
    notes = ClipNotes(clip)
    notes.keep_edits("ab" * 32, {5: edit_of(mask, "d5", 1, "vessel", 2)})
    notes.keep_given(ExamContext(gestational_age_weeks=20.0))
    assert notes.given().gestational_age_weeks == 20.0 and notes.problems == []
    edits, given = kept_file("corrections-*.npz"), kept_file("given.json")
    huge = {"5": {"size": [10**6, 10**6], "origin": [0, 0], "digest": "", "instance": 0, "label": "", "class_index": 0}}
    for content in (b"", b"PK\x03\x04", archive(document=as_array(huge), mask_5=np.zeros(10, np.uint8))):
        edits.write_bytes(content)
        assert notes.edits("ab" * 32) == {}
    given.write_text('{"given": {"plane": "sideways"}}', encoding="utf-8")
    assert notes.given() == NO_CONTEXT
    assert len(notes.problems) == 2
    notes.keep_edits("ab" * 32, {})
    notes.keep_given(NO_CONTEXT)
    copies = [f"{edits.name}.damaged", "given.json.damaged"]
    assert sorted(path.name for path in notes.folder.glob("*.damaged")) == copies


def test_neither_name_nor_path_of_the_clip_is_kept(tmp_path: Path) -> None:
    clip = tmp_path / "Muster Anna 1970" / "aorta-of-anna.mp4"
    clip.parent.mkdir()
    clip.write_bytes(b"a clip" * 100)
    mask = fill_outline(circle((100.0, 80.0), 33.3), (200, 160))
    named = {i: replace(r, key=replace(r.key, source=str(clip))) for i, r in readings().items()}
    ClipResults(ClipNotes(clip), MADE_BY, str(clip)).store(named)
    ClipNotes(clip).keep_bookmarks((1,))
    ClipNotes(clip).keep_given(ExamContext(gestational_age_weeks=20.0))
    ClipNotes(clip).keep_edits("ab" * 32, {0: edit_of(mask, "d5", 1, "vessel", 2)})
    ClipNotes(clip).keep_scale(StatedScale(confirmed=(confirmed_ruler(),)))
    kept = kept_predictions()
    for one in kept.frames.values():
        object.__setattr__(one, "bare", replace(one.bare, key=replace(one.key, source=str(clip))))
    ClipResults(ClipNotes(clip), MADE_BY, str(clip)).store_predictions(kept)
    files = [path for path in cache.clips_folder().rglob("*") if path.is_file()]
    assert len(files) == 6
    for file in files:
        content = file.read_bytes()
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                content = b"".join(arrays[name].tobytes() for name in arrays.files)
        for part in (b"nna", b"1970", b".mp4", os.fsencode(tmp_path.name)):
            assert part not in content and part not in os.fsencode(file.relative_to(cache.clips_folder()))
    loaded = ClipResults(ClipNotes(clip), MADE_BY, str(clip)).load()
    assert loaded is not None and loaded[0].key.source == str(clip)


def test_readings_that_were_kept_with_a_path_are_dropped(clip: Path) -> None:
    results(clip).store(readings())
    old = ClipNotes(clip).folder.parent / ("0" * 32) / "readings-0123456789abcdef.npz"
    old.parent.mkdir()
    old.write_bytes(b"/home/somebody/Muster_Anna.mp4")
    cache._forget_paths.cache_clear()
    assert results(clip).load() is not None
    assert not old.exists()


@pytest.mark.skipif(os.name != "posix", reason="rights of others are of POSIX systems")
def test_only_the_user_may_read_what_is_kept_of_a_clip(clip: Path) -> None:
    folder = cache.clips_folder()
    folder.mkdir(parents=True, mode=0o755)  # as an earlier version left it
    before = os.umask(0o022)
    try:
        results(clip).store(readings())
        ClipNotes(clip).keep_bookmarks((1,))
    finally:
        os.umask(before)
    for path in [folder.parent, folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_folder_with_names_that_are_not_text_is_known_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "stills"
    folder.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/Untersuchung_\xfc.png")).write_bytes(b"a")
    except OSError:
        pytest.skip("this disk takes only names that are text")
    assert len(cache.content_hash(folder)) == 32
    ClipNotes(folder).keep_bookmarks((1,))
    assert ClipNotes(folder).bookmarks() == (1,)


# --- the scale, and what the model said -------------------------------------------------------------------------------


def test_what_was_said_of_the_scale_comes_back_exactly(clip: Path) -> None:
    assert ClipNotes(clip).scale() == NOTHING_STATED
    number = StatedScale(isotropic(0.21, ScaleSource.MANUAL, "10 mm over 47.6 px", 0.02), (64, 48), from_start=False)
    ClipNotes(clip).keep_scale(number)
    assert ClipNotes(clip).scale() == number
    rulers = StatedScale(confirmed=(confirmed_ruler(), confirmed_ruler(7)), from_start=False)
    ClipNotes(clip).keep_scale(rulers)
    back = ClipNotes(clip).scale()
    assert back.spacing is None and [each.from_index for each in back.confirmed] == [0, 7]
    for got, kept in zip(back.confirmed, rulers.confirmed, strict=True):
        assert got.spacing == kept.spacing and got.reference.digest == kept.reference.digest
        Watch(got.reference)
    ClipNotes(clip).keep_scale(NOTHING_STATED)
    assert ClipNotes(clip).scale() == NOTHING_STATED


def test_a_damaged_scale_is_told_and_gives_none(clip: Path) -> None:
    notes = ClipNotes(clip)
    notes.keep_scale(StatedScale(confirmed=(confirmed_ruler(),)))
    path = kept_file("scale.npz")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for damage in ({"grey_0": arrays["grey_0"][:-1]}, {"compared_0": arrays["compared_0"].astype(np.int64)}):
        path.write_bytes(archive(**{**arrays, **damage}))
        assert notes.scale() == NOTHING_STATED
    assert notes.problems == ["Your notes on the scale of this clip cannot be read: the file is kept"]
    notes.keep_scale(NOTHING_STATED)
    assert [copy.name for copy in notes.folder.glob("*.damaged")] == ["scale.npz.damaged"]


def test_what_the_model_said_comes_back_to_the_pixel_whatever_the_scale(clip: Path) -> None:
    kept = kept_predictions()
    results(clip).store_predictions(kept)
    scaled = replace(MADE_BY, spacing=isotropic(0.2, ScaleSource.USER), settings="plane")
    back = results(clip, scaled).load_predictions()
    assert back is not None and (back.reference, back.seen) == (kept.reference, kept.seen)
    assert results(clip, replace(MADE_BY, engine="other")).load_predictions() is None
    for index, one in kept.frames.items():
        got, expected = back.frames[index].prediction("now"), one.prediction("now")
        assert got.key == expected.key and got.edge_sd_px == 0.7 and got.measured == "x" and not got.timings_ms
        assert (back.frames[index].sector_box_px, back.frames[index].pixel_aspect) == (None, 1.0)
        for a, b in zip(got.instances, expected.instances, strict=True):
            assert replace(a, mask=None).box_xyxy_px == b.box_xyxy_px
            assert (a.label, a.class_index, a.score, a.mask_origin_px, a.edge) == (
                b.label,
                b.class_index,
                b.score,
                b.mask_origin_px,
                b.edge,
            )
            assert (a.mask is None) == (b.mask is None)
            if a.mask is not None and b.mask is not None:
                np.testing.assert_array_equal(a.mask, b.mask)
                assert not a.mask.flags.writeable


def test_damaged_predictions_are_computed_again(clip: Path) -> None:
    results(clip).store_predictions(kept_predictions())
    path = kept_file("predictions-*.npz")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for content in (
        b"",
        b"PK\x03\x04",
        archive(document=arrays["document"], bits=arrays["bits"][:-2]),
        archive(document=arrays["document"], bits=arrays["bits"].astype(np.float64)),
        archive(document=as_array({"frames": [{}], "reference": "", "seen": {}}), bits=arrays["bits"]),
    ):
        path.write_bytes(content)
        assert results(clip).load_predictions() is None
