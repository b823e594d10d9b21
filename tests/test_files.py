"""Only regular files are opened, and what cannot be read is kept."""

import os
import threading
from pathlib import Path

import pytest

from usviewer.files import keep_copy, one_at_a_time, open_regular, read_bytes


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
