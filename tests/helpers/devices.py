"""Capture cards under the test's control, behind the interface of the device layer's backend."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from usviewer.acquire.device.backend import DeviceFormat, DeviceInfo
from usviewer.frame import Pixels

FULL = DeviceFormat("yuyv422", 1920, 1080, 60.0)


@dataclass
class FakeCard:
    """One card. ``put`` fills its driver (None: a damaged picture); ``error`` is raised once that is empty."""

    info: DeviceInfo
    takes: tuple[DeviceFormat | None, ...] | None = None
    open_error: int = 0
    error: int = 0
    plugged: bool = True
    asked: list[DeviceFormat | None] = field(default_factory=list)
    closed: int = 0
    grabs: int = 0
    reading: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._waiting: deque[tuple[Pixels | None, float]] = deque()
        self._came = threading.Condition()

    def put(self, *pictures: Pixels | None, captured_s: float | None = None) -> None:
        with self._came:
            self._waiting.extend((each, captured_s or time.monotonic()) for each in pictures)
            self._came.notify_all()

    def take(self, timeout_s: float) -> tuple[Pixels | None, float] | None:
        with self._came:
            self.reading.set()
            self._came.wait_for(lambda: self._waiting or self.error, timeout_s)
            if self.error and not self._waiting:
                raise OSError(self.error, "as the test says")
            return self._waiting.popleft() if self._waiting else None


class FakeReader:
    """What ``FakeBackend.open`` gives."""

    def __init__(self, card: FakeCard, running: DeviceFormat) -> None:
        self.format, self._card = running, card

    def grab(self, timeout_s: float) -> tuple[Pixels | None, float] | None:
        self._card.grabs += 1
        return self._card.take(timeout_s)

    def unpack(self, packet: Pixels | None) -> Pixels | None:
        return packet

    def close(self) -> None:
        self._card.closed += 1


class FakeBackend:
    """A computer with these cards."""

    def __init__(self, *cards: FakeCard) -> None:
        self.cards = list(cards)

    def devices(self) -> Sequence[DeviceInfo]:
        return [card.info for card in self.cards if card.plugged]

    def open(self, device: DeviceInfo, wanted: DeviceFormat | None) -> FakeReader:
        card = next(card for card in self.cards if card.info.path == device.path and card.plugged)
        card.asked.append(wanted)
        if card.open_error:
            raise OSError(card.open_error, "as the test says")
        if card.takes is not None and wanted not in card.takes:
            raise OSError(errno.EINVAL, "not this format")
        return FakeReader(card, wanted or FULL)


def card(number: int = 0, serial: str = "A1", **more: object) -> FakeCard:
    """A USB grabber of 1920 x 1080; its path follows the order of plugging in, as in real systems."""
    values = {
        "uri": f"device:usb-534d:2109-{serial}" if serial else f"device:usb-534d:2109@2-{number}",
        "name": "USB Video",
        "path": f"/dev/video{number}",
        "vendor_id": "534d",
        "product_id": "2109",
        "serial": serial,
        "port": f"2-{number}",
        "bus": "USB 3",
        "formats": (FULL,),
    }
    return FakeCard(DeviceInfo(**(values | more)))  # type: ignore[arg-type]
