"""A file is whole or it is not there: written under another name in the same folder, then renamed.

What lies in the program's own folders is for its user alone (0600, 0700); in a folder that the user named, the
user's own umask says who may read.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usviewer.errors import UserError
from usviewer.own_folders import close_to_others, own_root
from usviewer.plain_text import encodable

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
