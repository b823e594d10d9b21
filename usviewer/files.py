"""Files of other people: only regular ones are opened, only so many bytes are read, and nothing is overwritten unseen.

A name may lead to a pipe, a socket or ``/dev/zero``: reading these waits for ever or never ends.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

NOT_REGULAR = "it is not a regular file"


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. ``OSError`` as ``open`` raises it, and for what is no regular file; it never waits."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
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
    """The content of a regular file. ``OSError`` as ``open_regular``, and for more than ``at_most`` bytes."""
    with open_regular(path) as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"it is larger than {at_most / 1e6:.3g} MB", str(path))
    return content


def keep_copy(path: Path) -> Path | None:
    """Copy a file that cannot be understood, before it is written anew, to a free name beside it; None if it cannot be.

    ``settings.json`` becomes ``settings.json.damaged``, then ``settings.json.damaged-2`` and so on.
    """
    number = 1
    while True:
        copy = path.with_name(f"{path.name}.damaged{f'-{number}' if number > 1 else ''}")
        try:
            with open_regular(path) as source, copy.open("xb") as target:
                shutil.copyfileobj(source, target)
            return copy
        except FileExistsError:
            number += 1
        except OSError:
            return None
