"""What is seen. Qt from here.

This file itself is read without Qt: it asks whether a window can be shown at all, where Qt would end the program.
"""

from __future__ import annotations

import ctypes
import locale
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from usviewer.errors import UserError

DESKTOP = "Start it in a desktop session"
# Libraries whose Debian package is called after them: libxcb-cursor.so.0 is in libxcb-cursor0.
_NAMED_ALIKE = re.compile(r"(libxcb[a-z-]*|libx11[a-z-]*|libxkbcommon[a-z0-9-]*|libe?gl|libfontconfig)\.so\.(\d+)")


def no_qt(error: ImportError) -> UserError:
    """Why Qt cannot be loaded: it is not there, or a library of the system is not."""
    library = re.match(r"(lib\S+\.so[.\d]*):", str(error))
    if library is not None:
        return _missing(library[1])
    return UserError("The window needs PySide6, which is not installed", "Run: pip install PySide6-Essentials")


def keep_decimal_point() -> None:
    """Numbers are read and written with a point, whatever the computer's language; after the application was made.

    Qt takes the language over for the whole process: C libraries, such as the video encoder reading its options, would
    from then on stop at the point of 16.5.
    """
    from PySide6.QtCore import QLocale

    locale.setlocale(locale.LC_NUMERIC, "C")
    QLocale.setDefault(QLocale.c())


def check_display(or_else: str = "", variables: Mapping[str, str] = os.environ) -> None:
    """``UserError`` where Qt would find no screen to show a window on; to be asked before the application is made.

    ``or_else`` is what can be done without a screen.
    """
    from PySide6.QtGui import QGuiApplication

    if not sys.platform.startswith("linux") or QGuiApplication.instance() is not None:
        return
    platform = variables.get("QT_QPA_PLATFORM", "").split(":")[0].split(";")[0]
    wayland = variables.get("WAYLAND_DISPLAY") or variables.get("WAYLAND_SOCKET")
    display = variables.get("DISPLAY", "")
    if not platform and not display and not wayland:
        raise UserError("There is no screen here for the window", DESKTOP + or_else)
    if platform == "xcb" or (not platform and not wayland):
        _check_x11(display, or_else)


def _check_x11(display: str, or_else: str = "") -> None:
    """Load what Qt would load, and connect where it would connect."""
    from PySide6.QtCore import QLibraryInfo

    plugin = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath)) / "platforms" / "libqxcb.so"
    try:
        if plugin.is_file():  # elsewhere Qt may have it built in
            ctypes.CDLL(str(plugin))
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError as error:
        raise _missing(str(error).partition(":")[0]) from error
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    failed = xcb.xcb_connection_has_error(connection)
    xcb.xcb_disconnect(connection)
    if failed:
        raise UserError(f"The screen '{display}' that DISPLAY names does not answer", DESKTOP + or_else)


def _missing(library: str) -> UserError:
    what = f"The window needs the library {library}, which is missing here"
    found = _NAMED_ALIKE.fullmatch(library.lower())
    if found is None:
        return UserError(what, "Install it with your system's packages")
    name, version = found[1], found[2]
    if name[-1].isdigit():  # two numbers in a row are kept apart: libx11-6
        name += "-"
    return UserError(what, f"On Debian and Ubuntu: sudo apt install {name}{version}")
