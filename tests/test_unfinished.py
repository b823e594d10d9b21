"""What a killed process left is removed by a later one; what lives is not touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT
from usviewer.atomic import AtomicFile, make_folder
from usviewer.own_folders import pictures_folder
from usviewer.unfinished import PartFolder, remove_leftovers

A_DAY_AGO_S = 90_000
KILLED = """
import sys, time
from pathlib import Path
from usviewer.atomic import AtomicFile
from usviewer.unfinished import PartFolder
part = PartFolder(Path(sys.argv[1]))
AtomicFile(part.path / "readings.csv").part.write_text("half")
print(part.path.name, flush=True)
time.sleep(60)
"""


def started(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    return process, folder / process.stdout.readline().strip()


def umask() -> int:
    """What new files and folders are closed to."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def old(path: Path) -> Path:
    """As if nothing had moved in it for a day."""
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - A_DAY_AGO_S,) * 2)
    return path


def test_the_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    process, part = started(tmp_path)
    try:
        old(part)
        remove_leftovers(tmp_path)
        assert part.is_dir()
    finally:
        process.kill()
        process.communicate()
    remove_leftovers(tmp_path)
    assert not part.exists()


def test_our_own_folder_stays_until_it_is_finished(tmp_path: Path) -> None:
    part = PartFolder(tmp_path)
    (part.path / "a.txt").write_text("a")
    remove_leftovers(tmp_path)
    assert part.files() == [Path("a.txt")]
    part.remove()
    part.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_keeps_nothing_of_its_making(tmp_path: Path) -> None:
    part = PartFolder(tmp_path)
    (part.path / "a.txt").write_text("a")
    part.release()
    assert [path.name for path in part.path.iterdir()] == ["a.txt"]


def test_without_a_lock_of_this_computer_only_a_day_of_rest_tells(tmp_path: Path) -> None:
    earlier_version, elsewhere = tmp_path / ".part-a1b2c3d_", tmp_path / ".part-0011aabb"
    earlier_version.mkdir()
    elsewhere.mkdir()
    (elsewhere / ".lock").write_text("another-computer")
    (earlier_version / ".readings.csv.0123abcd.part").write_text("half")
    remove_leftovers(tmp_path)
    assert earlier_version.is_dir() and elsewhere.is_dir()
    old(earlier_version)
    old(elsewhere)
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_one_of_our_own_places_is_closed_to_others(tmp_path: Path) -> None:
    for parent, closed in ((make_folder(pictures_folder()), True), (tmp_path, False)):
        part = PartFolder(parent)
        assert (part.path.stat().st_mode & 0o077 == 0) is (closed or umask() & 0o077 == 0o077)
        part.remove()


def test_single_files_go_after_a_day_and_nothing_that_is_somebody_elses(tmp_path: Path) -> None:
    atomic = AtomicFile(tmp_path / "a picture.png")
    young = AtomicFile(tmp_path / "b.png")
    others = [tmp_path / name for name in ("film.part", ".film.part", ".part-of-mine.txt", ".a.0123abcd.part.txt")]
    folders = [tmp_path / name for name in (".part-", ".part-ab", ".party")]
    for path in others:
        path.write_text("mine")
    for path in folders:
        path.mkdir()
    for path in (atomic.part, *others, *folders):
        old(path)
    link = tmp_path / ".part-0123abcd"
    link.symlink_to(folders[0])
    remove_leftovers(tmp_path)
    assert not atomic.part.exists()
    assert all(path.exists() for path in (young.part, *others, *folders, link))


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "nowhere")
