"""What a device is, and what a system must give: the types between the live source and each system's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from usviewer.acquire.device.formats import DeviceFormat, best_first
from usviewer.frame import Pixels

SCHEME = "device:"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What is known of a device that is plugged in; unknown is empty.

    ``uri`` names it for ``open_source`` and is the same after it was unplugged or the computer restarted. ``path`` is
    what the system opens at the moment; ``port`` where it is plugged in; ``bus`` "USB 2", "USB 3", "PCI" or "virtual".
    ``hindrance`` says in one sentence why it cannot be opened, where that is known already.
    """

    uri: str
    name: str
    path: str
    vendor_id: str = ""
    product_id: str = ""
    serial: str = ""
    port: str = ""
    bus: str = ""
    formats: tuple[DeviceFormat, ...] = ()
    hindrance: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before choosing it, one sentence each."""
        best = next(iter(best_first(self.formats)), None)
        found = []
        if self.hindrance:
            found.append(self.hindrance)
        if self.bus == "USB 2":
            # 1920 x 1080 in YUYV are 33 Mbit: USB 2 carries 14 a second at best, and cards offer 5.
            tight = best is None or best.compressed or best.slow
            slow = "compressed or slow pictures only" if tight else "little room"
            found.append(f"On a USB 2 connection: {slow}. Use a USB 3 port and cable if it is made for it")
        elif best is not None and best.slow:
            found.append(f"Gives only {best.rate:.3g} pictures a second")
        return tuple(found)

    @property
    def detail(self) -> str:
        """One line for a list: the format that would be opened, the bus, and the first warning."""
        best = map(str, best_first(self.formats)[:1])
        parts = [*best, self.bus, *self.warnings[:1]]
        return " · ".join(part for part in parts if part)


class DeviceReader(Protocol):
    """An open device. Failures are ``OSError``. One thread at a time."""

    @property
    def format(self) -> DeviceFormat:
        """What it really gives."""

    def grab(self, timeout_s: float) -> tuple[Any, float] | None:
        """The oldest picture that waits, still packed, and when it was captured (monotonic); None if none comes."""

    def unpack(self, packet: Any) -> Pixels | None:
        """RGB (height, width, 3); None where the packet is damaged."""

    def close(self) -> None:
        """Release the device."""


class DeviceBackend(Protocol):
    """How one system finds and opens devices."""

    def devices(self) -> Sequence[DeviceInfo]:
        """List what is plugged in now; ``uri`` without regard to others of the same name."""

    def open(self, device: DeviceInfo, wanted: DeviceFormat | None) -> DeviceReader:
        """Open exactly that device; None leaves the format to it. Raises ``OSError`` on failure."""
