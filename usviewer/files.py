"""Files on the disk: read within bounds, written whole or not at all, and removed where a killed process left them.

Reading: a name may lead to a pipe, a socket or ``/dev/zero``, which waits for ever or never ends. Only regular files
are opened, and only so many bytes are read.

Writing: a file is written under another name in the same folder, then renamed. What lies in the program's own folders
is for its user alone (0600, 0700); in a folder that the user named, the user's own umask says who may read.

Folders of work that is not finished are locked, so that what killed processes left can be told apart and removed.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from usviewer.errors import UserError
from usviewer.own_folders import close_to_others, own_root
from usviewer.plain_text import encodable

# Here and not where they are used: the thread of the log must import nothing. The import of PySide6 goes through
# ``sys.modules``, and ends the process when another thread adds to it meanwhile.
if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NOT_REGULAR = "it is not a regular file"
# Reading, merging and writing the settings takes milliseconds; a program that hangs with the lock must not hold others.
LOCK_WAIT_S, LOCK_STEP_S = 2.0, 0.01

_log = logging.getLogger(__name__)
_ADVICE = {
    errno.ENOSPC: ("the disk is full", "Free some space and try again"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space and try again"),
    errno.EFBIG: ("the file is larger than this disk allows", "Choose another folder"),
    errno.EACCES: ("there is no permission to write there", "Choose another folder"),
    errno.EPERM: ("there is no permission to write there", "Choose another folder"),
    errno.EROFS: ("that disk is read-only", "Choose another folder"),
    errno.ENOENT: ("its folder does not exist", "Choose another folder"),
    errno.ENOTDIR: ("its folder is a file", "Choose another folder"),
    errno.EISDIR: ("a folder of that name is there", "Choose another name"),
    errno.EEXIST: ("a file of that name is there", "Choose another name"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter name"),
}
# A name may have 255 bytes; a letter takes up to 4 of them, and what is put round it 15.
_MOST_LETTERS = 60
_PART_FILE = re.compile(r"\..*\.[0-9a-f]{8}\.part", re.DOTALL)
# What is being written, and models that are being added or removed.
_PART_FOLDER = re.compile(r"\.(part|adding|removing)-\w{8}")
_LOCK = ".lock"
# Where a lock cannot tell whether the process lives (another computer's, an earlier version's): nothing that is being
# written rests for a day.
_SURELY_DEAD_S = 86_400.0


# --- reading ----------------------------------------------------------------------------------------------------------


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, without ever waiting.

    Raises ``OSError`` as ``open`` does, and for what is not a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    # O_NONBLOCK: a pipe without a writer would hold the program here. What it is can be asked safely only once it is
    # open, since a name may lead elsewhere a moment later.
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a name with a null character
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
        return open(path, "rb", opener=lambda _path, _flags: descriptor)  # keeps its name, which libraries ask for
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, at_most: int) -> bytes:
    """Read a regular file whole. Raises ``OSError`` as ``open_regular``, and for more than ``at_most`` bytes."""
    with open_regular(path) as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"it is larger than {at_most / 1e6:.3g} MB", str(path))
    return content


def _for_the_user_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keep other windows and commands from changing ``path`` inside the block; wait ``LOCK_WAIT_S`` for them at most.

    The lock is a file next to it, which everybody must ask for. Where none can be made or locked, the work is done
    without.
    """
    try:
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:
        yield
        return
    try:
        until_s = time.monotonic() + LOCK_WAIT_S
        while not _lock(descriptor) and time.monotonic() < until_s:
            time.sleep(LOCK_STEP_S)
        yield
    finally:
        os.close(descriptor)  # and with it the lock


def _lock(descriptor: int) -> bool:
    """Lock a file that is open, if nobody else has."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def keep_copy(path: Path) -> Path | None:
    """Copy a file that cannot be understood to a free name next to it, before it is written again; None if that fails.

    ``settings.json`` becomes ``settings.json.damaged``, then ``settings.json.damaged-2`` and so on.
    """
    number = 1
    while True:
        ending = ".damaged" if number == 1 else f".damaged-{number}"
        copy = path.with_name(path.name + ending)
        try:
            with open_regular(path) as source, open(copy, "xb", opener=_for_the_user_alone) as target:
                shutil.copyfileobj(source, target)
            return copy
        except FileExistsError:
            number += 1
        except OSError:
            return None


# --- writing ----------------------------------------------------------------------------------------------------------


class AtomicFile:
    """A new, empty file next to ``path`` that takes its place at ``commit``, and is gone after ``discard``.

    ``path`` stays as it was until then. Every failure to write is raised as ``UserError`` and leaves nothing behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name[:_MOST_LETTERS]}.{secrets.token_hex(4)}.part")
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            mode = 0o600 if own_root(path) else 0o666
            os.close(os.open(self.part, flags, mode))
        except OSError as error:
            raise cannot_write(path, error) from error

    def commit(self) -> None:
        """Flush the content to the disk, then give the file its name."""
        try:
            with self.part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(self.part, self.path)  # after the flush: else a power cut may leave the name without content
        except OSError as error:
            self.discard()
            raise cannot_write(self.path, error) from error

    def discard(self) -> None:
        """Remove what was written. A second call does nothing."""
        self.part.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` at the end of the block, or is removed if that fails."""
    file = AtomicFile(path)
    try:
        yield file.part
    except OSError as error:
        file.discard()
        raise cannot_write(path, error) from error
    except BaseException:
        file.discard()
        raise
    file.commit()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, or not at all."""
    with atomic_path(path) as part:
        part.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 text whole, or not at all. Line ends stay as given, on every system."""
    write_bytes(path, encodable(content).encode("utf-8"))


def make_folder(path: Path) -> Path:
    """Make a folder with its parents where it is missing; one of the program's own is closed to others."""
    own = own_root(path)
    try:
        path.mkdir(0o700 if own else 0o777, parents=True, exist_ok=True)
        if own:
            close_to_others(own, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def short_name(name: str, most_bytes: int) -> str:
    """Shorten a name to what fits: a disk counts bytes, of which a letter takes up to four."""
    return name.encode("utf-8", "replace")[:most_bytes].decode("utf-8", "ignore")


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the ``UserError`` for a failed write."""
    _log.warning("a file could not be written: %s", error)
    other = (error.strerror or "the disk refused it", "Try again or choose another folder")
    why, do = _ADVICE.get(error.errno or 0, other)
    return UserError(f"Could not write {path.name}: {why}", do)


# --- folders of unfinished work ---------------------------------------------------------------------------------------


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
    if sys.platform != "win32":  # Windows removes no file that is open: that is the lock
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
        if sys.platform == "win32":
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
