"""An export is whole or not there, replaces nothing, and says once what must be said of its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.scenes import aorta_reading, fan, scaled_geometry
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame
from usviewer.overlay.items import AnnotatedFrame
from usviewer.overlay.scene import compose
from usviewer.own_folders import pictures_folder
from usviewer.save.capture import Snapshot, save_snapshot
from usviewer.save.deidentify import KEPT_AS_ASKED, KEPT_UNCERTAIN
from usviewer.save.export import ExportFolder, free_name

SIZE = (160, 120)


def frame(*, certain: bool = True) -> Frame:
    geometry = scaled_geometry(*SIZE, sector=fan(*SIZE, certain=certain))
    return make_frame(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8), "clip", 7, 0.28, geometry=geometry)


def snapshot() -> Snapshot:
    picture = frame()
    reading = aorta_reading(picture.key, (80.0, 60.0), 20.0)
    shown = AnnotatedFrame(picture, compose(picture, reading))
    return Snapshot(shown, reading, None, (), "clip", "Aorta 1.0", "cpu")


def write(export: ExportFolder, *names: str) -> None:
    for name in names:
        (export.path / name).parent.mkdir(exist_ok=True)
        (export.path / name).write_text(name)


def test_what_fails_leaves_nothing_not_even_the_folder_that_was_made_for_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ExportFolder(tmp_path / "new") as export:
        write(export, "a.txt")
        raise RuntimeError("the clip broke off")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_gets_a_free_name_and_holds_nothing_of_its_making(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    (tmp_path / "x-2").symlink_to(tmp_path / "nowhere")
    with ExportFolder(tmp_path, "x") as export:
        write(export, "a.txt", "b/c.txt")
        folder = export.become_folder()
    assert folder == tmp_path / "x-3"
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x-2", "x-3"]


def test_names_with_dots_keep_them(tmp_path: Path) -> None:
    (tmp_path / "aorta 1.5-corrections").mkdir()
    (tmp_path / "clip.a.json").touch()
    assert free_name(tmp_path, "aorta 1.5-corrections").name == "aorta 1.5-corrections-2"
    assert free_name(tmp_path, "clip.a", (".png", ".json")).name == "clip.a-2.png"
    assert free_name(tmp_path, "clip.b", (".png", ".json")).name == "clip.b.png"


def test_a_name_that_the_disk_refuses_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the name is too long"):
        ExportFolder(tmp_path, "n" * 300)
    assert list(tmp_path.iterdir()) == []


def test_files_that_would_replace_others_stay_out_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("mine")
    with pytest.raises(UserError, match="a file of that name is there"), ExportFolder(tmp_path) as export:
        write(export, "a.txt", "b.txt")
        export.move_out()
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]
    assert (tmp_path / "b.txt").read_text() == "mine"


def test_files_that_are_replaced_go_with_the_move_and_come_back_where_it_fails(tmp_path: Path) -> None:
    for name in ("old.txt", "b.txt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "c.txt").mkdir()
    with pytest.raises(UserError), ExportFolder(tmp_path) as export:
        write(export, "b.txt", "c.txt")
        export.move_out(replaced=[Path("old.txt"), Path("b.txt")])
    assert {path.name for path in tmp_path.iterdir()} == {"old.txt", "b.txt", "c.txt"}
    (tmp_path / "c.txt").rmdir()
    with ExportFolder(tmp_path) as export:
        write(export, "b.txt", "c.txt")
        export.move_out(replaced=[Path("old.txt"), Path("b.txt")])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b.txt": "b.txt", "c.txt": "c.txt"}


def test_a_folder_in_one_of_our_own_places_is_closed_to_others(tmp_path: Path) -> None:
    with ExportFolder(pictures_folder(), "x") as export:
        write(export, "a.txt")
        folder = export.become_folder()
    assert folder.stat().st_mode & 0o077 == 0 and folder.parent.stat().st_mode & 0o077 == 0


def test_every_picture_is_blanked_and_what_is_uncertain_is_said_once(tmp_path: Path) -> None:
    with ExportFolder(tmp_path) as export:
        assert not export.bare_picture(frame())[:60, :8].any()
        assert export.notice == ""
        for _ in range(2):
            assert export.bare_picture(frame(certain=False)).all()
        export.bare_picture(frame())
        assert export.notice == KEPT_UNCERTAIN
    with ExportFolder(tmp_path, keep_surroundings=True) as export:
        assert export.bare_picture(frame()).all()
        assert export.notice == KEPT_AS_ASKED


def test_a_saved_picture_and_its_numbers_replace_nothing_and_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "clip-f000007-0_280s.json").write_text("mine")
    picture, notice = save_snapshot(snapshot(), tmp_path)
    assert (picture.name, notice) == ("clip-f000007-0_280s-2.png", "")
    assert {path.name for path in tmp_path.iterdir()} == {
        "clip-f000007-0_280s.json",
        "clip-f000007-0_280s-2.png",
        "clip-f000007-0_280s-2.json",
    }
    assert (tmp_path / "clip-f000007-0_280s.json").read_text() == "mine"
