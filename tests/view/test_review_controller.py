"""Review in the window's parts: real clips, their list, seeking, bookmarks, corrections, and what is kept of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fakes import FakeEngine
from tests.helpers.recordings import number_in, write_clip
from tests.helpers.workbench import Workbench
from usviewer.calibrate.calibrator import GIVEN_FOR_OTHER_SIZE
from usviewer.errors import UserError
from usviewer.frame import Region
from usviewer.measure.reading import Provenance, Site
from usviewer.units import ScaleSource, isotropic

COUNT = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "clips"
    place.mkdir()
    write_clip(place / "clip 2.mp4", count=COUNT)
    write_clip(place / "clip 10.avi", "mjpeg", count=12, pixel_format="yuvj420p", size=(176, 120))
    (place / "notes.txt").write_text("not a clip")
    (place / "broken.mp4").write_bytes(b"nothing")
    return place


@pytest.fixture
def bench(themed: Any, qtbot: Any, tmp_path: Path) -> Iterator[Workbench]:
    engine = FakeEngine()
    workbench = Workbench(qtbot, tmp_path, engine)
    workbench.engine = engine  # type: ignore[attr-defined]
    yield workbench
    workbench.close()


def test_a_clip_is_shown_listed_and_analysed(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    assert bench.review.active
    assert [path.name for path in bench.review.clips.paths] == ["broken.mp4", "clip 2.mp4", "clip 10.avi"]
    bench.until(lambda: bench.review.clips.said(folder / "broken.mp4") == "cannot be opened")
    assert bench.review.clips.said(folder / "clip 2.mp4") == "max 20 px"
    assert bench.review.clips.said(folder / "clip 10.avi") == ""
    assert bench.app_state.on_screen.reading is not None and bench.app_state.on_screen.summary is not None


def test_every_picture_shown_is_the_one_that_was_asked_for_with_its_own_overlay(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    for index in (33, 7, 39, 0, 21):
        bench.review.go(index)
        bench.until(lambda at=index: bench.index == at and bench.app_state.on_screen.reading is not None)
        now = bench.app_state.on_screen
        frame, reading, shown = now.frame, now.reading, now.shown
        assert number_in(frame.pixels) == index
        assert reading.key == frame.key and shown.frame is frame


def test_moving_about(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    review = bench.review
    review.go(-1)
    bench.until(lambda: bench.index == COUNT - 1)
    review.skip(-1.0)
    bench.until(lambda: bench.index == COUNT - 1 - 25)
    review.step(1)
    bench.until(lambda: bench.index == COUNT - 25)
    review.skip(100.0)
    bench.until(lambda: bench.index == COUNT - 1)
    review.go_to_maximum()
    bench.until(lambda: bench.index == review.snapshot.summary.maximum_key.index)
    review.timeline.sought.emit(17, True)
    bench.until(lambda: bench.index == 17)


def test_the_maximum_of_less_than_a_heart_beat_is_not_gone_to(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 10.avi")
    assert bench.review.snapshot.summary is not None
    with pytest.raises(UserError, match="less than a heart beat"):
        bench.review.go_to_maximum()
    assert not bench.review.timeline._buttons["maximum"].isEnabled()
    assert not len(bench.review.timeline.plot._largest.getData()[0])


def test_playing_and_its_speed(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    review = bench.review
    review.change_rate(1)
    review.change_rate(1)
    bench.until(lambda: review.snapshot.rate == 4.0)
    review.change_rate(1)
    review.play_or_pause()
    bench.until(lambda: bench.index == COUNT - 1 and not review.playing)
    assert review.snapshot.rate == 4.0
    review.timeline._buttons["play"].click()
    bench.until(lambda: review.playing)
    review.play_or_pause()
    bench.until(lambda: not review.playing)


def test_a_loop_is_begun_moved_and_ended(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    review = bench.review
    review.loop_here()
    bench.until(lambda: review.snapshot.loop == (0, 25))
    review.go(10)
    bench.until(lambda: bench.index == 10)
    review.loop_from_here(end=False)
    bench.until(lambda: review.snapshot.loop == (10, 25))
    review.go(20)
    bench.until(lambda: bench.index == 20)
    review.loop_from_here(end=True)
    bench.until(lambda: review.snapshot.loop == (10, 20) and review.looping)
    review.loop_here()
    bench.until(lambda: not review.looping)


def test_bookmarks_are_found_again(bench: Workbench, folder: Path) -> None:
    clip = folder / "clip 2.mp4"
    bench.open(clip)
    for index in (30, 5):
        bench.review.go(index)
        bench.until(lambda at=index: bench.index == at)
        bench.review.bookmark()
    bench.review.go_to_bookmark(1)
    bench.until(lambda: bench.index == 30)
    bench.review.go_to_bookmark(-1)
    bench.until(lambda: bench.index == 5)
    bench.until(lambda: not bench.app_state.jobs.busy)
    bench.open(folder / "clip 10.avi")
    assert bench.review.bookmarks == ()
    bench.open(clip)
    bench.until(lambda: bench.review.bookmarks == (5, 30))


def test_a_clip_that_was_analysed_before_is_not_analysed_again(bench: Workbench, folder: Path) -> None:
    clip = folder / "clip 2.mp4"
    bench.open(clip)
    seen = len(bench.engine.seen)  # type: ignore[attr-defined]
    assert seen == COUNT
    bench.open(folder / "clip 10.avi")
    bench.open(clip)
    assert len(bench.engine.seen) == seen + 12  # type: ignore[attr-defined]
    bench.until(lambda: bench.app_state.on_screen.reading is not None)
    bench.until(lambda: bench.review.clips.said(folder / "clip 10.avi") == "12 of 12 measured")  # half a second


def test_a_scale_of_the_user_measures_again_without_the_network_and_stays_with_its_clip(
    bench: Workbench, folder: Path
) -> None:
    bench.open(folder / "clip 2.mp4")
    bench.review.go(12)
    bench.until(lambda: bench.index == 12)
    seen = len(bench.engine.seen)  # type: ignore[attr-defined]
    bench.app_state.set_user_spacing(isotropic(0.2, ScaleSource.MANUAL))
    bench.until(lambda: bench.is_done() and bench.app_state.on_screen.reading is not None and bool(_regions(bench)))
    assert bench.index == 12 and len(bench.engine.seen) == seen  # type: ignore[attr-defined]
    assert _regions(bench)[0].spacing.source is ScaleSource.MANUAL
    bench.open(folder / "clip 10.avi")
    assert bench.app_state.user_spacing() is None
    bench.until(lambda: bench.app_state.on_screen.frame.geometry is not None)
    assert not _regions(bench)
    seen = len(bench.engine.seen)  # type: ignore[attr-defined]
    bench.open(folder / "clip 2.mp4")
    bench.until(lambda: bool(_regions(bench)))
    assert bench.app_state.user_spacing() == isotropic(0.2, ScaleSource.MANUAL)
    bench.until(bench.is_done)
    bench.app_state.set_user_spacing(None)
    bench.until(lambda: bench.is_done() and bench.app_state.on_screen.reading is not None and not _regions(bench))
    assert len(bench.engine.seen) == seen, "also of another session the model is not asked again"  # type: ignore[attr-defined]
    bench.open(folder / "clip 10.avi")
    bench.open(folder / "clip 2.mp4")
    bench.until(lambda: bench.app_state.on_screen.frame.geometry is not None)
    assert bench.app_state.user_spacing() is None and not _regions(bench), "what was taken back stays so"


def _regions(bench: Workbench) -> tuple[Region, ...]:
    geometry = bench.app_state.on_screen.frame.geometry if bench.app_state.on_screen.frame is not None else None
    return geometry.regions if geometry is not None else ()


def test_a_scale_holds_for_pictures_of_the_size_it_was_given_on(bench: Workbench, tmp_path: Path) -> None:
    """Also where that is not the size of the first picture; what was read with it is not kept for another size."""
    parts = []
    for number, size in enumerate(((160, 120), (96, 64))):
        part = write_clip(tmp_path / f"{number}.h264", count=6, size=size, options={"bf": "0"}, format="h264")
        parts.append(part.read_bytes())
    path = tmp_path / "two.h264"
    path.write_bytes(b"".join(parts))

    def scaled(index: int) -> bool:
        bench.review.go(index)
        bench.until(lambda: bench.index == index and bench.app_state.on_screen.frame.geometry is not None)
        geometry = bench.app_state.on_screen.frame.geometry
        assert geometry.regions or not given or geometry.no_scale_reason == GIVEN_FOR_OTHER_SIZE
        return bool(geometry.regions)

    given = False
    bench.open(path)
    for at, wanted in ((8, [False, True]), (2, [True, False])):
        bench.review.go(at)
        bench.until(lambda at=at: bench.index == at)
        bench.app_state.set_user_spacing(isotropic(0.2, ScaleSource.USER))
        given = True
        bench.until(bench.is_done)
        assert [scaled(3), scaled(9)] == wanted


def test_without_a_model_the_clip_plays(themed: Any, qtbot: Any, tmp_path: Path, folder: Path) -> None:
    bench = Workbench(qtbot, tmp_path)
    bench.review.open(folder / "clip 2.mp4")
    bench.until(lambda: bench.index == 0 and bench.review.snapshot.count == COUNT)
    assert bench.app_state.on_screen.reading is None
    bench.app_state.set_engine(FakeEngine().engine())
    bench.until(bench.is_done)
    bench.close()


def test_a_folder_opens_its_first_clip(bench: Workbench, tmp_path: Path) -> None:
    place = tmp_path / "only"
    place.mkdir()
    write_clip(place / "b.mp4", count=5)
    bench.open(place)
    assert bench.review.path == place / "b.mp4"
    assert bench.review.clips.width() == 0  # one clip needs no list
    write_clip(place / "a.mp4", count=5)
    bench.open(place)
    assert bench.review.path == place / "a.mp4" and bench.review.clips.width() > 0


def test_what_cannot_be_opened_is_one_sentence(bench: Workbench, folder: Path, tmp_path: Path) -> None:
    bench.review.open(folder / "broken.mp4")
    bench.until(lambda: "broken.mp4" in bench.said)
    (tmp_path / "empty").mkdir()
    bench.review.open(tmp_path / "empty")
    bench.until(lambda: "nothing to review" in bench.said)
    assert not bench.review.active


def test_results_that_cannot_be_kept_are_said(
    bench: Workbench, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    monkeypatch.setattr("usviewer.save.cache.clips_folder", lambda: blocked)
    bench.open(folder / "clip 2.mp4")
    bench.until(lambda: "folder is a file" in bench.said)
    assert bench.app_state.on_screen.reading is not None


def test_correcting_a_mask_measures_it_anew_and_is_found_again(bench: Workbench, folder: Path) -> None:
    clip = folder / "clip 2.mp4"
    bench.open(clip)
    bench.review.go(8)
    bench.until(lambda: bench.index == 8 and bench.app_state.on_screen.reading is not None)
    review = bench.review
    bench.hand.correct(review.automatic(), ("aorta",), review.keep_edit, review.usual_edge())
    bench.drag((30.0, 24.0), (50.0, 44.0))  # from inside: all of it
    bench.until(lambda: bench.app_state.on_screen.reading.provenance is Provenance.EDITED)
    edited = bench.app_state.on_screen.reading
    centre = edited.outlines_xy_px[0].mean(axis=0)
    assert centre == pytest.approx((50.0, 44.0), abs=1.5)
    assert bench.app_state.on_screen.note == "Edited"
    bench.until(lambda: bench.review.snapshot.curve.edited[8])
    bench.until(lambda: not bench.app_state.jobs.busy)
    bench.open(folder / "clip 10.avi")
    bench.open(clip)
    bench.until(lambda: bench.review.snapshot.curve.edited[8] and list(bench.review.edits) == [8])
    bench.review.go(8)
    bench.until(lambda: bench.index == 8 and bench.app_state.on_screen.note == "Edited")
    again = bench.app_state.on_screen.reading
    assert again.measurements == edited.measurements


def test_undo_brings_the_automatic_outline_back(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    review = bench.review
    bench.hand.correct(review.automatic(), ("aorta",), review.keep_edit)
    bench.drag((30.0, 24.0), (50.0, 44.0))
    bench.until(lambda: bench.app_state.on_screen.note == "Edited")
    bench.hand.restore_automatic()
    bench.until(lambda: bench.app_state.on_screen.note == "")
    assert bench.app_state.on_screen.reading.provenance is Provenance.AUTOMATIC
    assert bench.hand.undo()  # the restoring itself can be taken back
    bench.until(lambda: bench.app_state.on_screen.note == "Edited")


# --- what is saved is what is shown -----------------------------------------------------------------------------------


def kept_pictures(bench: Workbench) -> list[dict[str, Any]]:
    bench.until(lambda: not bench.app_state.jobs.busy)
    return [json.loads(path.read_text()) for path in sorted(bench.kept.glob("*.json"))]


def say_site(bench: Workbench) -> None:
    bench.app_state.set_given(replace(bench.app_state.given, site=Site.MID))


def correct_here(bench: Workbench) -> None:
    review = bench.review
    bench.hand.correct(review.automatic(), ("aorta",), review.keep_edit, review.usual_edge())
    bench.drag((30.0, 24.0), (50.0, 44.0))
    bench.until(lambda: bench.app_state.on_screen.note == "Edited")


def test_save_right_after_a_site_key_is_refused_until_the_outline_is_there_again(
    bench: Workbench, folder: Path
) -> None:
    bench.open(folder / "clip 2.mp4")
    say_site(bench)
    assert bench.app_state.on_screen.reading is None, "the old outline is gone with the key, not with the next picture"
    with pytest.raises(UserError, match="just being measured"):
        bench.keep.save_picture()
    bench.turn()
    if bench.app_state.on_screen.reading is None:  # the picture stands bare on the screen now
        with pytest.raises(UserError, match="just being measured"):
            bench.keep.save_picture()
    bench.until(lambda: bench.app_state.on_screen.reading is not None)
    bench.keep.save_picture()
    (document,) = kept_pictures(bench)
    assert document["reading"]["status"] == "measured" and document["given"]["site"] == "mid"


def test_a_corrected_outline_is_never_replaced_by_the_automatic_one_while_it_is_measured_again(
    bench: Workbench, folder: Path
) -> None:
    bench.open(folder / "clip 2.mp4")
    correct_here(bench)
    edited = bench.app_state.on_screen.reading
    shown = []
    bench.app_state.shown_changed.connect(lambda: shown.append(bench.app_state.on_screen))
    say_site(bench)
    with pytest.raises(UserError, match="just being measured"):
        bench.keep.save_picture()
    bench.until(lambda: bench.app_state.on_screen.note == "Edited")
    bench.until(lambda: bench.is_done() and not bench.app_state.jobs.busy)
    for each in shown:
        assert each.reading is None or each.reading.provenance is Provenance.EDITED
        assert each.reading is not None or each.pending
    assert bench.app_state.on_screen.reading.measurements == edited.measurements
    bench.keep.save_picture()
    (document,) = kept_pictures(bench)
    assert document["reading"]["provenance"] == "edited"


def test_a_correction_that_ends_while_the_clip_is_read_anew_is_not_lost(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    review, frame = bench.review, bench.app_state.on_screen.frame
    taken: list[Any] = []
    bench.hand.correct(review.automatic(), ("aorta",), lambda _, edit: taken.append(edit), review.usual_edge())
    bench.drag((30.0, 24.0), (50.0, 44.0))
    assert taken
    say_site(bench)
    review.keep_edit(frame, taken[-1])
    bench.until(lambda: bench.app_state.on_screen.note == "Edited")
    assert list(review.edits) == [0]


def test_a_picture_of_the_old_scale_is_not_saved_once_the_new_one_is_set(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    bench.app_state.set_user_spacing(isotropic(0.2, ScaleSource.MANUAL))
    with pytest.raises(UserError, match="just being measured"):
        bench.keep.save_picture()
    bench.until(lambda: bench.app_state.on_screen.reading is not None)
    bench.keep.save_picture()
    (document,) = kept_pictures(bench)
    assert document["reading"]["status"] == "measured"
    geometry = bench.app_state.on_screen.frame.geometry
    assert geometry.regions[0].spacing.source is ScaleSource.MANUAL


def test_while_a_frame_is_sought_the_one_on_the_screen_is_saved(bench: Workbench, folder: Path) -> None:
    bench.open(folder / "clip 2.mp4")
    bench.review.go(33)
    assert bench.index == 0
    bench.keep.save_picture()
    bench.until(lambda: bench.index == 33)
    (document,) = kept_pictures(bench)
    assert document["reading"]["frame"] == 0
    assert document["frame_digest"] == document["reading"]["frame_digest"]


def test_a_frame_that_is_not_analysed_yet_is_not_saved_as_if_nothing_were_there(
    themed: Any, qtbot: Any, tmp_path: Path, folder: Path
) -> None:
    gate = threading.Event()
    bench = Workbench(qtbot, tmp_path, FakeEngine(gate))
    bench.review.open(folder / "clip 2.mp4")
    bench.until(lambda: bench.index == 0 and bench.review.snapshot.count == COUNT)
    with pytest.raises(UserError, match="just being measured"):
        bench.keep.save_picture()
    bench.review.play_or_pause()
    bench.until(lambda: bench.index > 3)
    with pytest.raises(UserError, match="just being measured"):
        bench.keep.save_picture()
    gate.set()
    bench.until(bench.is_done)
    bench.until(lambda: bench.app_state.on_screen.reading is not None)
    bench.keep.save_picture()
    assert len(kept_pictures(bench)) == 1
    bench.close()


def test_a_recording_that_begins_while_a_picture_is_read_anew_holds_it_with_its_outline(
    bench: Workbench, folder: Path
) -> None:
    bench.open(folder / "clip 2.mp4")
    say_site(bench)
    bench.keep.toggle_recording()
    bench.until(lambda: bench.app_state.on_screen.reading is not None)
    bench.review.go(5)
    bench.until(lambda: bench.index == 5 and bench.app_state.on_screen.reading is not None)
    bench.keep.toggle_recording()
    bench.qtbot.waitUntil(lambda: "Recorded 2 pictures" in bench.said, timeout=20_000)
