"""What a device can give, and which of it is opened: native size first, then no compression, then a high rate."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from usviewer.errors import UserError
from usviewer.typed_number import parse_number

MJPEG = "mjpeg"
# Names of FFmpeg, the ones that lose least first.
UNCOMPRESSED = ("rgb24", "bgr24", "bgr0", "yuyv422", "uyvy422", "nv12", "yuv420p", "gray")
# Grabbers scale: a picture larger than any scanner's screen carries no more, and smaller ones have lost detail.
FULL_PIXELS = 1920 * 1080
# 25 pictures a second (PAL) are enough; beyond 60 a scanner's screen shows nothing new. Stated rates are not exact.
ENOUGH_RATE, MOST_RATE = 24.5, 61.0
MOST_ASKED_RATE = 999.0


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
