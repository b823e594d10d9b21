from __future__ import annotations

import errno
import os

import pytest

from usviewer.atomic import AtomicFile, atomic_path, cannot_write, make_folder, write_bytes, write_text
from usviewer.errors import UserError


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
