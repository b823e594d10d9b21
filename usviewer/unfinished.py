"""Folders of work that is not finished, and the removal of what killed processes left of theirs."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from usviewer.atomic import cannot_write
from usviewer.own_folders import own_root

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed: that is the lock
    fcntl = None  # type: ignore[assignment]

_PART_FILE = re.compile(r"\..*\.[0-9a-f]{8}\.part", re.DOTALL)
# What is being written, and models that are being added or removed.
_PART_FOLDER = re.compile(r"\.(part|adding|removing)-\w{8}")
_LOCK = ".lock"
# Where a lock cannot tell whether the process lives (another computer's, an earlier version's): nothing that is being
# written rests for a day.
_SURELY_DEAD_S = 86_400.0


class PartFolder:
    """A new folder ``.part-...`` inside another for what is not finished yet; locked as long as this process lives.

    ``kind`` (part, adding, removing) says what goes on in it. Raises ``UserError`` where it cannot be made.
    """

    def __init__(self, parent: Path, kind: str = "part") -> None:
        self.path = parent / f".{kind}-{secrets.token_hex(4)}"
        try:
            # It may become the folder that stays, so it is closed from the beginning where that one has to be.
            self.path.mkdir(0o700 if own_root(parent) else 0o777)
            self._lock: IO[bytes] | None = _locked(self.path / _LOCK)
        except OSError as error:
            raise cannot_write(parent, error) from None

    def release(self) -> None:
        """Unlock the folder: it is finished and may get its name."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            (self.path / _LOCK).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder and its content. A second call does nothing."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        shutil.rmtree(self.path, ignore_errors=True)

    def files(self) -> list[Path]:
        """All that was written into it, relative to it."""
        found = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return sorted(path for path in found if path.parts != (_LOCK,))


def _locked(path: Path) -> IO[bytes]:
    """The name of this computer, in a file that is locked. The name comes after the lock, see ``_is_dead``."""
    file = path.open("xb", buffering=0)  # on a full disk nothing waits that closing the file could not write
    if fcntl is not None:
        with suppress(OSError):  # a disk without locks: only age tells then
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(socket.gethostname().encode())
    return file


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left unfinished in this folder: only what this program made and no process uses."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if _PART_FILE.fullmatch(path.name) and path.is_file() and _rests(path):
                with suppress(OSError):
                    path.unlink()
            elif _PART_FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and _is_dead(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    """Whether the process that made a part folder ended: its lock is free, or nothing in it moved for a day."""
    lock = folder / _LOCK
    try:
        if fcntl is None:
            lock.unlink(missing_ok=True)  # fails while it is open
            return _rests(folder)
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here = file.read(300) == socket.gethostname().encode()
    except FileNotFoundError:
        return _rests(folder)
    except OSError:
        return False
    return here or _rests(folder)


def _rests(path: Path) -> bool:
    """Whether a file, or all of a folder, was left alone for a day."""
    try:
        newest = max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    except OSError:
        return False
    return time.time() - newest > _SURELY_DEAD_S
