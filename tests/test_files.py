"""Files are read within bounds, written whole or not at all, and what killed processes left is removed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from usviewer.errors import UserError
from usviewer.files import (
    AtomicFile,
    PartFolder,
    atomic_path,
    cannot_write,
    keep_copy,
    make_folder,
    one_at_a_time,
    open_regular,
    read_bytes,
    remove_leftovers,
    write_bytes,
    write_text,
)
from usviewer.own_folders import pictures_folder

A_DAY_AGO_S = 90_000
KILLED = """
import sys, time
from pathlib import Path
from usviewer.files import AtomicFile
from usviewer.files import PartFolder
part = PartFolder(Path(sys.argv[1]))
AtomicFile(part.path / "readings.csv").part.write_text("half")
print(part.path.name, flush=True)
time.sleep(60)
"""


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"content"
        assert str(file.name) == str(tmp_path / "a"), "libraries put it into what they say"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "pipe")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(OSError, match="not a regular file"):
        read_bytes(Path("/dev/zero"), 10)


def test_a_folder_a_missing_file_and_a_senseless_name_are_named_as_open_does(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    for name in ("none", "nul\0l"):
        with pytest.raises(FileNotFoundError):
            open_regular(tmp_path / name)


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))
    assert len(read_bytes(tmp_path / "a", 11)) == 11
    with pytest.raises(OSError, match="larger than"):
        read_bytes(tmp_path / "a", 10)


def test_each_damaged_file_is_kept_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    for text, name in (("one", "settings.json.damaged"), ("two", "settings.json.damaged-2")):
        path.write_text(text, encoding="utf-8")
        copy = keep_copy(path)
        assert copy == tmp_path / name and copy.read_text(encoding="utf-8") == text
    assert keep_copy(tmp_path / "none") is None


@pytest.mark.skipif(os.name == "nt", reason="a profile is closed to others by itself there")
def test_copies_and_locks_are_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("[", encoding="utf-8")
    keep_copy(path)
    with one_at_a_time(path):
        pass
    for name in ("settings.json.damaged", ".settings.json.lock"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_two_that_change_one_file_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0", encoding="utf-8")

    def add() -> None:
        for _ in range(25):
            with one_at_a_time(path):
                path.write_text(str(int(path.read_text(encoding="utf-8")) + 1), encoding="utf-8")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text(encoding="utf-8") == "100"


def test_a_lock_that_is_never_given_back_or_cannot_be_made_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usviewer.files.LOCK_WAIT_S", 0.05)
    with one_at_a_time(tmp_path / "a"), one_at_a_time(tmp_path / "a"):
        pass
    with one_at_a_time(tmp_path / "nowhere" / "a"):
        pass


def test_a_written_file_is_whole_and_alone(tmp_path):
    write_text(tmp_path / "a.txt", "Größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_midway_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as part:
        part.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_two_writers_of_one_name_do_not_mix(tmp_path):
    path = tmp_path / "a.txt"
    one, two = AtomicFile(path), AtomicFile(path)
    one.part.write_text("one")
    two.part.write_text("two")
    one.commit()
    two.commit()
    assert path.read_text() == "two"


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, full_after):
    with full_after(4096), pytest.raises(UserError, match=r"Could not write a\.bin"):
        write_bytes(tmp_path / "a.bin", os.urandom(100_000))
    assert list(tmp_path.iterdir()) == []


def test_the_sentence_names_the_cause_and_the_way_out(tmp_path):
    error = cannot_write(tmp_path / "annotated.mp4", OSError(errno.ENOSPC, "No space left on device"))
    assert str(error) == "Could not write annotated.mp4: the disk is full. Free some space and try again."


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="its folder does not exist"):
        write_bytes(tmp_path / "no" / "a.bin", b"x")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"is a file|name is there"):
        make_folder(tmp_path / "file" / "out")
    with pytest.raises(UserError):
        write_bytes(tmp_path / "file" / "a.bin", b"x")


def test_a_name_that_is_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="a folder of that name"):
        write_bytes(tmp_path / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_folders_are_made_with_their_parents(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("name", ["n" * 255, "\N{HEAVY BLACK HEART}" * 85, ".hidden", "ends with a dot."])
def test_every_name_that_a_disk_takes_can_be_written(tmp_path, name):
    write_bytes(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


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
