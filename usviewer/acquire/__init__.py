"""Where frames come from: clips, DICOM, pictures and folders of them, capture cards, the screen, the phantom."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes
from urllib.request import url2pathname

from usviewer.acquire.source import RecordedSource, Source, frame_count, unreadable
from usviewer.errors import UserError
from usviewer.files import open_regular

if TYPE_CHECKING:
    from usviewer.acquire.device.backend import DeviceInfo

__all__ = [
    "RecordedSource",
    "Source",
    "check_address",
    "frame_count",
    "in_words",
    "is_address",
    "list_devices",
    "open_source",
]

# DICOM writes its mark "DICM" behind 128 bytes that may hold anything; all other marks stand earlier.
HEAD_BYTES = 132
_log = logging.getLogger(__name__)


def open_source(uri: str | Path) -> Source:
    """Open whatever ``uri`` names, by its content and not by the ending of its name.

    A path to a clip, a DICOM file, a picture or a folder of pictures, ``phantom:`` with options, the ``device:`` of
    ``list_devices``, or a part of the ``screen:``. Raises ``UserError`` with one sentence for everything that cannot be
    shown.
    """
    source = _open(str(uri))
    _log.debug("source opened: %s", source.info.anonymous)
    return source


def _open(text: str) -> Source:
    if not text:  # as a path it would mean the working folder
        raise UserError("The name of the source is empty", "Give a file, a folder, device:, screen: or phantom:")
    if text.startswith("phantom:"):
        from usviewer.acquire.phantom import open_phantom  # its simulation is only loaded when asked for

        return open_phantom(text)
    if text.startswith("device:"):
        from usviewer.acquire.device import open_device

        return open_device(text)
    if text.startswith("screen:"):
        from usviewer.acquire.screen import open_screen

        return open_screen(text)
    if scheme := re.match(r"([a-z][a-z0-9+.-]+)://", text, re.IGNORECASE):
        if scheme[1].lower() == "file":
            return open_path(_path_of(text[len(scheme[0]) :]))
        raise UserError(
            f"Sources of the kind {scheme[1]} cannot be opened", "Give a file, a folder, device:, screen: or phantom:"
        )
    return open_path(_at_home(Path(text)))


def _path_of(rest: str) -> Path:
    """The path in a ``file://`` address, without its ``file://``: what browsers and file managers hand over.

    They write ``%20`` for a space. What people type may be the plain name: it counts where the address as it is meant
    leads to no file.
    """
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise UserError(f"The address names another computer, {host}", "Give a file that this computer can open")
    typed = Path(slash + path)
    if os.name == "nt":
        decoded = Path(url2pathname(slash + path))
    else:
        # Bytes, not text: the name of a file may be in another encoding than UTF-8.
        decoded = Path(os.fsdecode(unquote_to_bytes(slash + path)))
    if os.path.lexists(typed) and not os.path.lexists(decoded):
        return typed
    return decoded


def _at_home(path: Path) -> Path:
    """Replace ``~`` by the home folder; leave it where the user does not exist."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_address(text: str) -> bool:
    """Tell the address of a live source or phantom from a path."""
    return text.startswith(("phantom:", "device:", "screen:"))


def check_address(uri: str) -> None:
    """Raise ``UserError`` for an address that can never be opened. Opens nothing: a device may come later."""
    if uri.startswith("phantom:"):
        from usviewer.acquire.phantom import parse_phantom_uri

        parse_phantom_uri(uri)
    elif uri.startswith("device:"):
        from usviewer.acquire.device import check_device_uri

        check_device_uri(uri)
    elif uri.startswith("screen:"):
        from usviewer.acquire.screen import parse_screen_uri

        parse_screen_uri(uri)


def list_devices() -> tuple[DeviceInfo, ...]:
    """Capture cards and cameras that are plugged in now; each says in ``uri`` how to open it."""
    from usviewer.acquire import device  # asks the system, so it is only loaded when asked for

    return device.list_devices()


def open_path(path: Path) -> Source:
    """Open a file or folder as a source. Raises ``UserError`` for what cannot be read."""
    if path.name in ("", ".."):  # "." and "..": results are named after the folder that is meant
        path = path.resolve()
    name = path.name or str(path)
    try:
        if path.is_dir():
            from usviewer.acquire.images import open_folder

            return open_folder(path)
        with open_regular(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise unreadable(name, error) from error
    if not head:
        raise UserError(f"{name} is empty", "Copy it again")
    return _open_file(path, head)


def _open_file(path: Path, head: bytes) -> Source:
    from usviewer.acquire.dicom import DicomSource, is_dicom  # decoders are only loaded once they are needed
    from usviewer.acquire.images import open_image
    from usviewer.acquire.video import VideoSource

    # FFmpeg comes last: it finds a clip in almost anything, and has no pages, no deep samples and no DICOM.
    if is_dicom(path, head):
        return DicomSource(path)
    return open_image(path) or VideoSource(path)
