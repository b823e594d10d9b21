"""What a device is, what formats it gives, and what a system must offer: the types between the live source and each
system's file.

Of the formats of a device the native size comes first, then no compression, then a high rate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl

from usviewer.errors import UserError
from usviewer.frame import Pixels
from usviewer.typed_number import parse_number

SCHEME = "device:"
MJPEG = "mjpeg"
# Names of FFmpeg, the ones that lose least first.
UNCOMPRESSED = ("rgb24", "bgr24", "bgr0", "yuyv422", "uyvy422", "nv12", "yuv420p", "gray")
# Grabbers scale: a picture larger than any scanner's screen carries no more, and smaller ones have lost detail.
FULL_PIXELS = 1920 * 1080
# 25 pictures a second (PAL) are enough; beyond 60 a scanner's screen shows nothing new. Stated rates are not exact.
ENOUGH_RATE, MOST_RATE = 24.5, 61.0
MOST_ASKED_RATE = 999.0


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


@dataclass(frozen=True, slots=True)
class DeviceFormat:
    """One combination. ``pixel_format`` is FFmpeg's name, empty where the device decides; ``rate`` is a second's."""

    pixel_format: str
    width_px: int
    height_px: int
    rate: float | None = None

    @property
    def compressed(self) -> bool:
        """Whether each picture is a JPEG."""
        return self.pixel_format == MJPEG

    @property
    def slow(self) -> bool:
        """Whether a beating vessel would stutter."""
        return self.rate is not None and self.rate < ENOUGH_RATE

    def __str__(self) -> str:
        text = f"{self.width_px} x {self.height_px}"
        if self.rate:
            text += f" at {self.rate:.3g}"
        if self.compressed:
            return f"{text}, compressed"
        if self.pixel_format in UNCOMPRESSED:
            return f"{text}, uncompressed"
        return text


def best_first(formats: Iterable[DeviceFormat]) -> tuple[DeviceFormat, ...]:
    """Sort the formats that are understood into the order in which they are tried.

    Slow ones come last: a USB 2 card offers its full size uncompressed at 5 a second, and then compression is the
    lesser evil. Among the others: full size, uncompressed, fast.
    """
    understood = {form for form in formats if form.compressed or form.pixel_format in UNCOMPRESSED}
    return tuple(sorted(understood, key=_order))


def _order(form: DeviceFormat) -> tuple[float, ...]:
    pixels = form.width_px * form.height_px
    rate = form.rate or 30.0
    loss = 0 if form.compressed else UNCOMPRESSED.index(form.pixel_format)
    return (form.slow, *_up_to(FULL_PIXELS, pixels), form.compressed, *_up_to(MOST_RATE, rate), loss)


def _up_to(most: float, value: float) -> tuple[bool, float]:
    """Sort the largest value up to ``most`` first; beyond, the smallest first."""
    beyond = value > most
    return beyond, value if beyond else -value


def asked_formats(uri: str) -> tuple[DeviceFormat, ...]:
    """Read the format that an address asks for with ``?size=1280x720&rate=30&format=mjpeg``; empty if it asks for none.

    Raises ``UserError`` for one that cannot be read.
    """
    query = uri.partition("?")[2]
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if not asked:
        return ()
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", asked.get("size", ""), re.ASCII)
    rate = _rate(asked.get("rate", "30"))
    pixel_format = asked.get("format", "")
    known = pixel_format in ("", MJPEG, *UNCOMPRESSED)
    if size is None or not rate or not known or asked.keys() - {"size", "rate", "format"}:
        raise UserError(
            f"The format '{query}' of a device cannot be read", "Write for example ?size=1280x720&rate=30&format=mjpeg"
        )
    return (DeviceFormat(pixel_format, int(size[1]), int(size[2]), rate),)


def _rate(text: str) -> float:
    """Pictures per second; 0 where the text is not a rate."""
    try:
        return parse_number(text, least=0.0, most=MOST_ASKED_RATE)
    except UserError:
        return 0.0
