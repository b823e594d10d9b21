"""``usviewer latency-test``: a window shows a changing pattern, the grabber films it, the program reads it back."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from usviewer.acquire import check_address, open_source
from usviewer.cli import latency
from usviewer.cli.command import number, whole
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.pipeline.live_run import LiveRun
from usviewer.typed_number import SECONDS
from usviewer.view import check_display, keep_decimal_point, no_qt

MOST_SECONDS = 1800.0
# Until the first picture: a device may take seconds to open, and the time of the test runs from there.
OPENING_S = 60.0
POLL_MS = 100


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``usviewer latency-test``."""
    parser.add_argument(
        "source",
        nargs="?",
        default="screen:",
        help="what films the window: a device:, or screen: (default: %(default)s)",
    )
    parser.add_argument(
        "--changes",
        type=whole(latency.ENOUGH, 10_000),
        default=300,
        metavar="N",
        help="how many to time (default: 300)",
    )
    parser.add_argument(
        "--seconds",
        type=number(1.0, MOST_SECONDS, SECONDS),
        default=60.0,
        metavar="N",
        help="no longer than this (default: 60)",
    )
    parser.add_argument(
        "--hold-ms",
        type=number(30.0, 1000.0, {"ms": 1.0}),
        default=50.0,
        metavar="N",
        help="each pattern's time (default: 50)",
    )
    parser.add_argument("--full-screen", action="store_true", help="for a grabber that films the whole screen")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show, film, and print the distribution. ``UserError`` where nothing could be read."""
    latency.check_source(args.source)
    check_address(args.source)
    try:
        from PySide6.QtWidgets import QApplication
    except ImportError as error:
        raise no_qt(error) from error
    check_display()
    application = QApplication.instance() or QApplication(sys.argv[:1])
    keep_decimal_point()
    loopback = latency.Loopback()

    def note(frame: Frame) -> Frame:
        loopback.filmed(frame)
        return frame

    film = LiveRun(lambda: open_source(args.source), note)
    film.start()
    try:
        _show(application, loopback, args, lambda: film.snapshot().status.message)
        said = film.snapshot().status.message
    finally:
        film.stop()
    film.raise_failure()
    try:
        result = loopback.result(args.source)
    except UserError:
        if said:  # why the source gave no picture explains more than that there was none
            raise UserError(said) from None
        raise
    print(*result.lines(), sep="\n")
    return 0


def _show(application: Any, loopback: latency.Loopback, args: argparse.Namespace, message: Callable[[], str]) -> None:
    """The window, until enough was seen, the time is over, or it is closed. The time runs from the first picture on."""
    from PySide6.QtCore import QTimer

    window = _window(loopback, args.hold_ms)
    began_s = time.monotonic()
    first_s: list[float] = []

    def look() -> None:
        now_s = time.monotonic()
        if loopback.filmed_count and not first_s:
            first_s.append(now_s)
        waited_too_long = not first_s and (message() or now_s - began_s > OPENING_S)
        if loopback.counted >= args.changes or waited_too_long or (first_s and now_s - first_s[0] > args.seconds):
            window.close()

    timer = QTimer(window, interval=POLL_MS)
    timer.timeout.connect(look)
    timer.start()
    if args.full_screen:
        window.showFullScreen()
    else:
        window.show()
    application.exec()


def _window(loopback: latency.Loopback, hold_ms: float) -> Any:
    from PySide6.QtCore import QRect, Qt, QTimer
    from PySide6.QtGui import QImage, QKeyEvent, QPainter, QPaintEvent
    from PySide6.QtWidgets import QWidget

    class _PatternWindow(QWidget):
        """Counts up; every new pattern is noted when it is painted. Escape closes it."""

        def __init__(self) -> None:
            super().__init__()
            self.setWindowTitle("usviewer latency-test")
            self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
            self.resize(960, 720)
            self._number = 0
            self._timer = QTimer(self, interval=round(hold_ms))
            # Qt's usual timers may be 5 % late, which would be counted as delay of the picture.
            self._timer.setTimerType(Qt.TimerType.PreciseTimer)
            self._timer.timeout.connect(self._next)
            self._timer.start()

        def _next(self) -> None:
            self._number = min(self._number + 1, latency.MOST_NUMBER)
            self.update()

        def paintEvent(self, event: QPaintEvent) -> None:
            columns, rows = latency.SIZE_UNITS
            unit = max(1, min(self.width() // columns, self.height() // rows))
            picture = latency.pattern(self._number, unit)
            height, width = picture.shape
            image = QImage(picture.data, width, height, width, QImage.Format.Format_Grayscale8)
            place = QRect((self.width() - width) // 2, (self.height() - height) // 2, width, height)
            with QPainter(self) as painter:
                painter.fillRect(self.rect(), Qt.GlobalColor.white)
                painter.drawImage(place, image)
            loopback.shown(self._number)  # after the painter has ended: then Qt hands the picture on

        def keyPressEvent(self, event: QKeyEvent) -> None:
            if event.key() == Qt.Key.Key_Escape:
                self.close()

    return _PatternWindow()
