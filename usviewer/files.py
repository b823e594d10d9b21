"""Files of other people: only regular ones are opened, only so many bytes are read, and nothing is overwritten unseen.

A name may lead to a pipe, a socket or ``/dev/zero``: reading these waits for ever or never ends.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# Here and not where they are used: the thread of the log must import nothing. The import of PySide6 goes through
# ``sys.modules``, and ends the process when another thread adds to it meanwhile.
if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NOT_REGULAR = "it is not a regular file"
# Reading, merging and writing the settings takes milliseconds; a program that hangs with the lock must not hold others.
LOCK_WAIT_S, LOCK_STEP_S = 2.0, 0.01


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
