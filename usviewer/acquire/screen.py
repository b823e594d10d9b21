"""A part of the screen as a live source: the scanner's own program on the same computer."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import cv2
import numpy as np

from usviewer.acquire.source import LiveSource, Source, check_size
from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels, SourceInfo, make_frame
from usviewer.typed_number import parse_number

SCHEME = "screen:"
EXAMPLE = "Write screen:, screen:2 or screen:?region=100,50,1280x720&rate=30"
# Faster than a screen draws, the same picture would come twice.
RATE, MOST_RATE = 30.0, 240.0

# Left, top, width, height on the desktop that all monitors share.
Area = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ScreenAddress:
    """What ``screen:N?region=X,Y,WxH&rate=R`` says.

    ``monitor`` counts from 1; 0 means the desktop that all share. ``region`` is left, top, width and height in pixels
    of that monitor; None takes all of it.
    """

    monitor: int = 1
    region: Area | None = None
    rate: float = RATE


def parse_screen_uri(uri: str) -> ScreenAddress:
    """Read an address. Raises ``UserError`` for one that is not valid."""
    where, _, query = uri.removeprefix(SCHEME).partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    region = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5})[x,](\d{1,5})", asked.get("region", "0,0,1x1"), re.ASCII)
    if region is None or (query and not asked) or asked.keys() - {"region", "rate"}:
        raise UserError(f"The address '{uri}' of a screen cannot be read", EXAMPLE)
    if not re.fullmatch(r"\d{0,2}", where, re.ASCII):
        raise UserError(f"The address '{uri}' of a screen cannot be read", EXAMPLE)
    try:
        rate = parse_number(asked.get("rate", str(RATE)), least=0.0, most=1000.0)
    except UserError as error:
        raise UserError(f"The address '{uri}' of a screen cannot be read: {error.what}", EXAMPLE) from None
    if not 0 < rate <= MOST_RATE:
        raise UserError(f"A screen cannot be captured {rate:g} times a second", f"Give a rate up to {MOST_RATE:.0f}")
    left, top, width, height = (int(number) for number in region.groups())
    if "region" not in asked:
        return ScreenAddress(int(where or 1), None, rate)
    return ScreenAddress(int(where or 1), (left, top, width, height), rate)


def open_screen(uri: str) -> Source:
    """Open the screen or a region of it. Raises ``UserError`` where it is missing or may not be captured."""
    return _ScreenSource(uri)


class _ScreenSource(LiveSource):
    """A live source: pictures of a region of the screen, at a steady rate, until it is closed.

    Each step of the iteration waits until the next picture is due and takes what the screen shows then; a consumer that
    is late gets the screen of that moment, never an older one. ``close`` may come from another thread.
    """

    def __init__(self, uri: str) -> None:
        super().__init__()
        address = parse_screen_uri(uri)
        self._uri, self._period_s = uri, 1.0 / address.rate
        self._screen: Any = _connect()
        self._index = 0
        try:
            self._area = _area(address, self._screen.monitors)
            name = f"Screen {address.monitor}" if address.monitor else "Screens"
            check_size(name, *self._area[2:])
            self._grab()  # a screen that may not be seen is refused here
        except BaseException:
            self.close()
            raise
        width, height = self._area[2:]
        self._info = SourceInfo(uri, name, "screen", width, height, address.rate, live=True)

    @property
    def info(self) -> SourceInfo:
        """Size of the region and the rate that was asked for."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        due_s = time.monotonic()
        while not self._closed:
            time.sleep(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s + self._period_s, time.monotonic())  # what was missed is not made up for
            picture = self._newest()
            if picture is None:
                return
            yield make_frame(picture, self._uri, self._index)
            self._index += 1

    def _newest(self) -> Pixels | None:
        """The picture that the region shows now; None once closed."""
        with self._in_hand():
            if self._closed:
                return None
            return self._grab()

    def _release(self) -> None:
        self._screen.close()

    def _grab(self) -> Pixels:
        import mss

        left, top, width, height = self._area
        try:
            shot = self._screen.grab({"left": left, "top": top, "width": width, "height": height})
        except (mss.ScreenShotError, OSError) as error:
            raise UserError("The screen can no longer be captured", _hint()) from error
        picture: Pixels = np.frombuffer(shot.raw, np.uint8).reshape(shot.height, shot.width, 4)
        if (shot.height, shot.width) != (height, width):  # more pixels than points: screens of high density
            picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB), np.uint8)


def _connect() -> Any:
    import mss

    try:
        return mss.MSS()
    except (mss.ScreenShotError, OSError, ValueError) as error:
        raise UserError("No screen can be captured here", _hint()) from error


def _hint() -> str:
    if sys.platform == "darwin":
        return "Allow it under System Settings, Privacy & Security, Screen Recording"
    if os.environ.get("WAYLAND_DISPLAY"):
        return "Wayland hides the windows of other programs: log in to an X11 session"
    return "Start usviewer on the desktop that shows the picture"


def _area(address: ScreenAddress, monitors: Sequence[dict[str, Any]]) -> Area:
    """The region on the desktop that all monitors share; the first entry of ``monitors`` is that desktop."""
    if address.monitor >= len(monitors):
        count = len(monitors) - 1
        known = "Give screen:1, the only one" if count == 1 else f"Choose one of screen:1 to screen:{count}"
        raise UserError(f"There is no screen {address.monitor}", known)
    whole = monitors[address.monitor]
    if address.region is None:
        return int(whole["left"]), int(whole["top"]), int(whole["width"]), int(whole["height"])
    left, top, width, height = address.region
    if left + width > whole["width"] or top + height > whole["height"]:
        raise UserError(
            f"The region reaches beyond the screen of {whole['width']} x {whole['height']} pixels",
            "Give a region inside it",
        )
    return int(whole["left"]) + left, int(whole["top"]) + top, width, height
