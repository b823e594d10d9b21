"""Opens the window: command line, settings, fonts, the last line of defence against errors."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from usviewer import settings as preferences
from usviewer.acquire import check_address, is_address
from usviewer.cli.command import MOST_SECONDS, Parser, logged, number
from usviewer.errors import UserError
from usviewer.typed_number import SECONDS, parse_whole

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from usviewer.view.main_window import MainWindow

DEMO = "phantom:?live=1"
_GIVE_UP_S = 60.0
_MOST_PROBLEMS = 4  # more would not fit into one message
_log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Open the window as the command line says, and give its exit code. ``UserError`` for bad options or without Qt."""
    options = _parse(argv)
    chosen = getattr(options, "log_level", preferences.load()[0].log_level)
    with logged(chosen, "window", argv):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    source = options.source
    if options.demo:
        source = DEMO
    # A script takes a picture without a user: nothing of the last session is opened then.
    application, window = open_window(source, options.size, restored=not options.screenshot)
    if options.screenshot:
        _shoot(window, options)
    return int(application.exec())


def open_window(
    source: str | None, size_px: tuple[int, int], *, restored: bool = False
) -> tuple[QApplication, MainWindow]:
    """Show a window with a source in it, its model loading in the background; the caller runs the application.

    ``restored`` takes place, size and, without a source, the source of the last session. Raises ``UserError`` for an
    address or a path that cannot be opened, and where there is no Qt or no screen.
    """
    from usviewer.view import check_display, keep_decimal_point, no_qt

    _check_source(source)
    try:
        from PySide6.QtWidgets import QApplication
    except ImportError as error:
        raise no_qt(error) from error

    from usviewer.calibrate.ruler import layouts
    from usviewer.view import theme
    from usviewer.view.actions import usable_keys
    from usviewer.view.main_window import MainWindow

    check_display(", or with QT_QPA_PLATFORM=offscreen for --screenshot")
    application = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(application, QApplication)
    keep_decimal_point()  # only now: creating the application sets the computer's language
    application.setApplicationName("usviewer")
    theme.apply(application)
    found, problems = preferences.load()
    problems += usable_keys(found.keys)[1] + layouts.load()[1]
    window = MainWindow(found)
    sys.excepthook = _hook(window)
    window.resize(*size_px)
    if restored:
        window.restore_geometry()
    window.show()  # before the model loads: something is seen at once
    if problems:
        window.notify.warn(_together(problems), key="settings")
    _begin(window, source, restored=restored)
    return application, window


def _together(problems: Sequence[str]) -> str:
    """One message: another one of its kind would take its place."""
    shown = [f"{problem.rstrip('.')}." for problem in problems[:_MOST_PROBLEMS]]
    more = len(problems) - len(shown)
    if more:
        shown.append(f"And {more} more.")
    return " ".join(shown)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="usviewer", description="Open the window.")
    parser.add_argument(
        "source", nargs="?", help="a clip, a still, a folder, a DICOM file, device:, screen: or phantom:"
    )
    parser.add_argument("--demo", action="store_true", help="play the simulated aorta")
    parser.add_argument("--screenshot", type=Path, metavar="OUT.png", help="save the window after the first reading")
    parser.add_argument("--size", type=_size, default=(1280, 800), metavar="WxH", help="size of the window")
    parser.add_argument(
        "--after-s",
        type=number(0.0, MOST_SECONDS, SECONDS),
        default=3.0,
        metavar="N",
        help="so long after the first reading",
    )
    parser.add_argument("--do", action="append", default=[], metavar="ACTION", help="an action to run for the picture")
    return parser.parse_args(list(argv))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return parse_whole(width, least=1, most=16384), parse_whole(height, least=1, most=16384)
    except UserError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size: give WIDTHxHEIGHT, for example 1280x800") from None


def _check_source(source: str | None) -> None:
    if source and is_address(source):
        check_address(source)
    elif source and not _exists(source):
        raise UserError(f"There is neither a file nor a command '{source}'", "'usviewer --help' lists the commands")


def _exists(path: str) -> bool:
    """Raise ``UserError`` for a text that cannot be a file's name, or that leads into a folder that cannot be read."""
    try:
        return Path(path).expanduser().exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"'{path[:40]}...' is too long for the name of a file", "Check the name") from error
        raise UserError(f"'{path}' cannot be looked at", "Check that you may read its folder") from error
    except (ValueError, RuntimeError) as error:  # a zero byte; the home folder of an unknown user
        raise UserError(f"'{path}' cannot be the name of a file", "Check the name") from error


def _begin(window: MainWindow, source: str | None, *, restored: bool) -> None:
    """Load the model in the background, and open what was asked for."""
    window.app_state.load_model(window.app_state.settings.model, window.app_state.settings.engine)
    if source and is_address(source):
        window.open_live(source)
    elif source:
        window.open_path(Path(source).expanduser())
    elif restored:
        window.sources.restore()


def _hook(window: MainWindow):  # type: ignore[no-untyped-def]
    """Tell the user of an error that was not caught; the window goes on."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):  # Ctrl-C in the terminal
            window.close()
            return
        _log.error("an error in the program; the window goes on", exc_info=error)
        sys.__excepthook__(kind, error, trace)
        window.notify.report(error, key="bug")

    return tell


def _shoot(window: MainWindow, options: argparse.Namespace) -> None:
    """Save the window's picture some time after the first reading (or after a minute without one), and quit."""
    from PySide6.QtCore import QTimer

    began_s = time.monotonic()
    first_s: list[float] = []
    timer = QTimer(window, interval=50)

    def look() -> None:
        now = time.monotonic()
        ready = window.app_state.on_screen.reading is not None or window.welcoming
        if ready and not first_s:
            first_s.append(now)
            for name in options.do:
                window.run(name)
        if (first_s and now - first_s[0] >= options.after_s) or now - began_s > _GIVE_UP_S:
            timer.stop()
            _save(window, options.screenshot)
            window.close()

    timer.timeout.connect(look)
    timer.start()


def _save(window: MainWindow, path: Path) -> None:
    from PySide6.QtCore import QBuffer, QIODevice

    from usviewer.files import write_bytes

    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    window.grab().save(buffer, "PNG")
    write_bytes(path, bytes(buffer.data().data()))
