"""How long a picture takes from a window to the program that films it, from the times of showing and of filming."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from usviewer.cli.timecode import read_pattern
from usviewer.errors import UserError
from usviewer.frame import Frame

SOURCES = ("screen:", "device:")
# The first patterns are shown while the window is still being opened.
SETTLING = 5
# Below this many changes a 95th percentile is the largest value under another name.
ENOUGH = 20


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """Milliseconds from painting a new pattern to the first picture that shows it, in the program.

    ``unreadable`` of the ``filmed`` pictures showed no pattern that is certain; ``counted`` changes were timed.
    """

    filmed: int
    unreadable: int
    counted: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    maximum_ms: float
    interval_ms: float

    def lines(self) -> tuple[str, ...]:
        """What was found, for people."""
        return (
            f"From the window to the picture in the program: p50 {self.p50_ms:.1f}, p95 {self.p95_ms:.1f}, "
            f"p99 {self.p99_ms:.1f}, max {self.maximum_ms:.1f} ms ({self.counted} changes of the pattern)",
            f"{self.filmed} pictures filmed, one every {self.interval_ms:.1f} ms; {self.unreadable} "
            f"({self.unreadable / self.filmed:.1%}) could not be read",
            "It holds the delays of window, screen, cable and grabber, and the wait for the next picture.",
        )


class Loopback:
    """Notes what is shown (one thread) and what is filmed (another), and puts them together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shown_s: dict[int, float] = {}
        self._delays_ms: list[float] = []
        self._times_s: list[float] = []
        self._before: int | None = None
        self._readable = 0

    @property
    def filmed_count(self) -> int:
        """Pictures so far."""
        return len(self._times_s)

    @property
    def counted(self) -> int:
        """Changes that were timed so far."""
        return len(self._delays_ms)

    def shown(self, number: int) -> None:
        """A new pattern was painted just now."""
        # A pattern may be painted more than once; the delay counts from the first time.
        self._shown_s.setdefault(number, self._clock())

    def filmed(self, frame: Frame) -> None:
        """A picture came; its time is that of its capture."""
        self._times_s.append(frame.key.capture_time_s)
        number = read_pattern(frame.pixels)
        if number is None or number not in self._shown_s:  # a number that was never shown was misread
            self._before = None
            return
        self._readable += 1
        # After a picture that could not be read it is not known whether this is the first to show the number.
        if self._before is not None and number > max(self._before, SETTLING):
            self._delays_ms.append((frame.key.capture_time_s - self._shown_s[number]) * 1e3)
        self._before = number

    def result(self, source: str) -> LatencyResult:
        """The figures. Raises ``UserError`` where too few changes were filmed, or none could be read."""
        filmed = len(self._times_s)
        if not filmed:
            raise UserError(f"No picture came from {source}", "Check that it is connected and not in use elsewhere")
        if not self._readable:
            raise UserError(
                f"The pattern could not be read on any of {filmed} pictures from {source}",
                "Let the grabber film the screen with the whole window, large and unobstructed",
            )
        if len(self._delays_ms) < ENOUGH:
            raise UserError(
                f"Only {len(self._delays_ms)} changes of the pattern were seen on {filmed} pictures from {source}",
                "Let it run longer with --seconds, or show each pattern longer with --hold-ms",
            )
        p50, p95, p99, most = (float(value) for value in np.percentile(self._delays_ms, (50, 95, 99, 100)))
        interval_ms = 1e3 * (self._times_s[-1] - self._times_s[0]) / max(1, filmed - 1)
        return LatencyResult(filmed, filmed - self._readable, len(self._delays_ms), p50, p95, p99, most, interval_ms)


def check_source(uri: str) -> None:
    """Raise ``UserError`` for a source that cannot film a window."""
    if not uri.startswith(SOURCES):
        raise UserError(
            f"'{uri}' cannot film a window", "Give screen: or the device: of a grabber ('usviewer devices')"
        )
