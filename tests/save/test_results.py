"""A folder of results: a new run replaces an earlier one's files whole, and touches nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.drawing import instance
from tests.helpers.scenes import aorta_reading, summary_of
from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.frame import SourceInfo, make_frame
from usviewer.infer.prediction import Prediction
from usviewer.measure import summarize
from usviewer.overlay.items import AnnotatedFrame
from usviewer.overlay.scene import compose
from usviewer.save.deidentify import KEPT_AS_ASKED, KEPT_UNCERTAIN
from usviewer.save.results import FITTED, ExportOptions, ResultFolder
from usviewer.save.summary import AnalysisInfo

EVERYTHING = ExportOptions(video=True, masks=True)
PICTURES = ExportOptions(video=False, pictures=True)
TABLES = ExportOptions(video=False)
WHOLE = {"annotated.mp4", "best-frame.png", "diameter.png", "instances.csv", "masks", "masks.json", "readings.csv"}


def write(
    folder: Path,
    wanted: ExportOptions,
    name: str = "a.mp4",
    count: int = 3,
    files: tuple[str, ...] = (),
    stopped: bool = False,
) -> str:
    """Analyse so many frames of a source of that name; gives what has to be said about an earlier run."""
    info = SourceInfo(f"/place/{name}", name, "video", 64, 48, 25.0)
    mask = np.zeros((48, 64), np.bool_)
    mask[10:30, 20:40] = True
    with ResultFolder(folder, "aorta", ("aorta",), wanted) as results:
        for index in range(count):
            made = make_frame(np.full((48, 64, 3), 90, np.uint8), name, index, index / 25.0)
            frame = replace(made, name=files[index]) if files else made
            reading = aorta_reading(frame.key, (30.0, 20.0), 10.0)
            prediction = Prediction(frame.key, (64, 48), (instance(mask),), "aorta", "ab" * 32, "cpu")
            scene = compose(frame, reading)
            results.add(AnnotatedFrame(frame, scene), prediction, reading, index / 25.0)
        analysis = AnalysisInfo(info, "aorta", "aorta", "ab" * 32, "Aorta 1.0", "cpu", aggregate=summary_of(reading))
        results.finish(analysis, 0.04, stopped=stopped)
    return results.replaced


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_first_run_replaces_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert write(tmp_path, EVERYTHING) == ""
    assert {path.name for path in tmp_path.iterdir()} == WHOLE | {"summary.json", "notes.txt"}
    assert len(list((tmp_path / "masks").iterdir())) == 3


def test_a_run_that_was_stopped_takes_nothing_from_a_whole_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write(target, EVERYTHING, "first.mp4")
    before = {name: (target / name).read_bytes() for name in names(target)}
    for beside in ("out-stopped", "out-stopped-2"):
        said = write(target, TABLES, "second.mp4", count=2, stopped=True)
        assert beside in said
        assert names(tmp_path / beside) == {
            "best-frame.png",
            "diameter.png",
            "instances.csv",
            "readings.csv",
            "summary.json",
        }
    assert {name: (target / name).read_bytes() for name in names(target)} == before


def test_a_first_run_that_was_stopped_stays_where_it_was_wanted(tmp_path: Path) -> None:
    assert write(tmp_path / "out", TABLES, stopped=True) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_this_run_does_not_write_goes_with_the_earlier_run(tmp_path: Path) -> None:
    write(tmp_path, EVERYTHING, "first.mp4")
    said = write(tmp_path, TABLES, "second.mp4", count=1)
    assert names(tmp_path) == {"best-frame.png", "instances.csv", "readings.csv", "summary.json"}
    assert not (tmp_path / "masks").exists()
    assert "first.mp4" in said and "replaced" in said and str(tmp_path) in said


def test_a_shorter_clip_leaves_no_mask_of_the_longer_one(tmp_path: Path) -> None:
    write(tmp_path, EVERYTHING, count=4)
    write(tmp_path, EVERYTHING, count=2)
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {"000000.png", "000001.png"}


def test_pictures_of_an_earlier_folder_go_by_the_names_they_were_given(tmp_path: Path) -> None:
    write(tmp_path, PICTURES, files=("a.jpg", "a.png", "b.tif"))
    assert {path.name for path in (tmp_path / "annotated").iterdir()} == {"a.png", "a.png.png", "b.png"}
    (tmp_path / "annotated" / "mine.png").write_text("mine")
    write(tmp_path, PICTURES, count=1, files=("c.png",))
    assert {path.name for path in (tmp_path / "annotated").iterdir()} == {"c.png", "mine.png"}


def test_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    write(tmp_path, EVERYTHING)
    kept = {"masks/by-hand.png", "masks/999999.png", "annotated/x.png", "notes/a.txt", "sweep-f000001.json", "a.mp4"}
    for name in kept:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    write(tmp_path, TABLES)
    assert kept <= names(tmp_path)
    assert all((tmp_path / name).read_text() == name for name in kept)


def test_masks_that_the_earlier_run_did_not_write_are_somebodys_own(tmp_path: Path) -> None:
    write(tmp_path, TABLES)
    for name in ("masks/000000.png", "annotated/x.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("mine")
    write(tmp_path, TABLES)
    assert {"masks/000000.png", "annotated/x.png"} <= names(tmp_path)


def test_files_that_no_run_has_left_stay_even_beside_new_masks(tmp_path: Path) -> None:
    """A folder of training data has ``masks/`` too: without an earlier run's tables nothing of it is the program's."""
    for name in ("masks/case-1.png", "masks.json", "diameter.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    said = write(tmp_path, ExportOptions(video=False, masks=True), count=1)
    assert (tmp_path / "masks" / "case-1.png").read_text() == "mine"
    assert (tmp_path / "diameter.png").read_text() == "mine"
    assert "masks.json" in said and "replaced" in said  # this one it had to


@pytest.mark.parametrize("summary", [None, "{", "[]", '{"program": "usviewer 1", "source": 3}'])
def test_an_earlier_run_without_a_readable_summary_is_replaced_all_the_same(
    tmp_path: Path, summary: str | None
) -> None:
    write(tmp_path, EVERYTHING)
    (tmp_path / "summary.json").unlink()
    if summary is not None:
        (tmp_path / "summary.json").write_text(summary)
    said = write(tmp_path, TABLES, count=1)
    assert names(tmp_path) == {"best-frame.png", "instances.csv", "readings.csv", "summary.json"}
    assert "earlier run" in said and "a.mp4" not in said


def test_a_run_that_fails_loses_nothing_of_the_earlier_one(tmp_path: Path) -> None:
    write(tmp_path, EVERYTHING)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(RuntimeError), ResultFolder(tmp_path, "aorta", ("aorta",), TABLES):
        raise RuntimeError("the clip broke off")
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_a_file_that_cannot_take_its_place_leaves_the_earlier_run_whole(tmp_path: Path) -> None:
    write(tmp_path, TABLES)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    (tmp_path / "masks.json").mkdir()  # the tables before it have their places by then
    with pytest.raises(UserError):
        write(tmp_path, EVERYTHING, "second.mp4", count=1)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    assert not list(tmp_path.glob(".part-*")) and not (tmp_path / "masks").exists()


def test_every_name_gives_a_picture_that_every_disk_takes_and_no_two_meet(tmp_path: Path) -> None:
    files = (
        b"Untersuchung_\xfc.png".decode("utf-8", "surrogateescape"),
        "aorta [left].png",
        "case.png",
        "CASE.png",
        "CASE.PNG",
        "ends with.  .png",
        'a:b*c?"<d>|\\.png',
        "...png",
        "n" * 251 + ".png",
        "n" * 251 + ".tif",
        "\N{HEAVY BLACK HEART}" * 83 + ".png",
        "=cmd.png",
        "../../out.png",
    )
    write(tmp_path, PICTURES, count=len(files), files=files)
    made = [path.name for path in (tmp_path / "annotated").iterdir()]
    assert len({name.casefold() for name in made}) == len(files) == len(made)
    assert {"Untersuchung__xfc.png", "aorta [left].png", "ends with.png", "=cmd.png", "out.png"} <= set(made)
    assert all(len(name.encode()) <= 255 and not set(name) & set('<>:"/\\|?*') for name in made)
    write(tmp_path, PICTURES, count=1, files=("only.png",))
    assert [path.name for path in (tmp_path / "annotated").iterdir()] == ["only.png"]


def test_what_a_killed_run_left_in_the_folder_goes(tmp_path: Path) -> None:
    part = tmp_path / ".part-0011aabb"
    part.mkdir()
    (part / "readings.csv").write_text("half")
    for path in (part / "readings.csv", part):
        os.utime(path, (0, 0))
    write(tmp_path, TABLES)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_clip_whose_picture_changes_its_size_is_written_whole(tmp_path: Path) -> None:
    sizes = [(64, 48), (64, 48), (32, 24), (48, 64), (64, 48)]
    mask = np.zeros((24, 32), np.bool_)
    mask[4:20, 4:20] = True
    with ResultFolder(tmp_path, "aorta", ("aorta",), EVERYTHING) as results:
        for index, (width, height) in enumerate(sizes):
            frame = make_frame(np.full((height, width, 3), 90, np.uint8), "a", index, index / 25.0)
            reading = replace(aorta_reading(frame.key, (12.0, 12.0), 8.0, None), frame_size_px=(width, height))
            prediction = Prediction(frame.key, (width, height), (instance(mask),), "aorta", "ab" * 32, "cpu")
            scene = compose(frame, reading)
            results.add(AnnotatedFrame(frame, scene), prediction, reading, index / 25.0)
        aggregate = summarize(results.readings)
        info = SourceInfo("/place/a.mp4", "a", "video", 64, 48, 25.0)
        analysis = AnalysisInfo(info, "aorta", "aorta", "ab" * 32, "Aorta 1.0", "cpu", aggregate=aggregate)
        results.finish(analysis, 0.04)
    assert results.notes == [KEPT_UNCERTAIN, FITTED]
    assert results.document["aggregate"]["frame_size_px"] == [64, 48] and results.document["aggregate"]["count"] == 3
    with open_source(str(tmp_path / "annotated.mp4")) as source:
        assert [(frame.width_px, frame.height_px) for frame in source] == [(64, 48)] * 5
    shapes = [cv2.imread(str(tmp_path / "masks" / f"{index:06d}.png"), 0).shape for index in range(5)]
    assert shapes == [(height, width) for width, height in sizes]  # masks keep the frame's own size


def test_labels_that_overlap_in_a_label_image_are_said_once(tmp_path: Path) -> None:
    mask = np.ones((12, 12), np.bool_)
    with ResultFolder(tmp_path, "aorta", ("a", "b"), ExportOptions(video=False, masks=True)) as results:
        for index in range(2):
            frame = make_frame(np.full((48, 64, 3), 90, np.uint8), "a", index, index / 25.0)
            reading = aorta_reading(frame.key, (12.0, 12.0), 8.0, None)
            instances = (instance(mask), replace(instance(mask), label="b", class_index=1, mask_origin_px=(6, 6)))
            prediction = Prediction(frame.key, (64, 48), instances, "m", "ab" * 32, "cpu")
            results.add(AnnotatedFrame(frame, compose(frame, reading)), prediction, reading, index / 25.0)
    assert len([note for note in results.notes if "masks.json has the outline of each whole" in note]) == 1


def test_what_lies_around_the_ultrasound_is_said_once_also_where_no_picture_is_drawn(tmp_path: Path) -> None:
    with ResultFolder(tmp_path / "out", "aorta", ("aorta",), replace(TABLES, keep_surroundings=True)) as results:
        for index in range(2):
            frame = make_frame(np.full((48, 64, 3), 90, np.uint8), "a", index, index / 25.0)
            reading = aorta_reading(frame.key, (12.0, 12.0), 8.0, None)
            prediction = Prediction(frame.key, (64, 48), (), "m", "ab" * 32, "cpu")
            results.add(AnnotatedFrame(frame, compose(frame, reading)), prediction, reading, index / 25.0)
    assert results.notes == [KEPT_AS_ASKED]
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_stands_under_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "cyst").mkdir()
    with ResultFolder(tmp_path / "cyst", "aorta", ("aorta",), TABLES, new_folder=True) as results:
        frame = make_frame(np.full((48, 64, 3), 90, np.uint8), "a", 0, 0.0)
        reading = aorta_reading(frame.key, (12.0, 12.0), 8.0, None)
        prediction = Prediction(frame.key, (64, 48), (), "m", "ab" * 32, "cpu")
        results.add(AnnotatedFrame(frame, compose(frame, reading)), prediction, reading, 0.0)
        assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["cyst"]
        info = SourceInfo("/place/a.mp4", "a", "video", 64, 48, 25.0)
        results.finish(AnalysisInfo(info, "aorta", "aorta", "ab" * 32, "Aorta 1.0", "cpu"), None)
    assert results.folder == tmp_path / "cyst-2" and results.replaced == ""
    assert names(tmp_path / "cyst-2") == {"best-frame.png", "instances.csv", "readings.csv", "summary.json"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cyst", "cyst-2"]


def test_a_disk_that_is_full_from_the_beginning_keeps_nothing(
    tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_after(0), pytest.raises(UserError):
        write(tmp_path / "out", TABLES)
    assert list(tmp_path.iterdir()) == []
