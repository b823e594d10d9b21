"""How long a picture takes from a window to the program that films it, from the times of showing and of filming.

What is shown is a number as a pattern that a camera or grabber can film, and that is read back from the film. Four
markers, one in each corner, say where the pattern lies: in a part of the picture, scaled, turned, seen at an angle.
Between them lie 24 large blocks: the number in Gray code, and eight check bits, so that a picture that was taken while
the pattern changed, or is too poor, gives no number rather than a wrong one.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels, Points

SOURCES = ("screen:", "device:")
# The first patterns are shown while the window is still being opened.
SETTLING = 5
# Below this many changes a 95th percentile is the largest value under another name.
ENOUGH = 20
BITS, CHECK_BITS = 16, 8
MOST_NUMBER = (1 << BITS) - 1
# The pattern, in units: its size, the markers' corners and side, and where the blocks lie.
SIZE_UNITS = (32, 24)
MARKERS_UNITS = ((2, 2), (24, 2), (24, 16), (2, 16))
MARKER_UNITS = 6
BLOCKS_AT_UNITS = (9.0, 1.5)
BLOCK_UNITS = 3.5
COLUMNS, ROWS = 4, 6

_DICTIONARY = cv2.aruco.DICT_4X4_50
_SAMPLES = 8  # of each block along each side, of which the inner half counts
# A block that lies nearer to the middle grey than this part of the distance from black to white is not read.
_UNSURE = 0.15
_LEAST_CONTRAST = 24.0
# Larger pictures are reduced first: markers are found faster, and the blocks are large.
_LONGEST_SIDE_PX = 1280


@dataclass(frozen=True, slots=True)
class _LatencyResult:
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

    def result(self, source: str) -> _LatencyResult:
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
        return _LatencyResult(filmed, filmed - self._readable, len(self._delays_ms), p50, p95, p99, most, interval_ms)


def check_source(uri: str) -> None:
    """Raise ``UserError`` for a source that cannot film a window."""
    if not uri.startswith(SOURCES):
        raise UserError(
            f"'{uri}' cannot film a window", "Give screen: or the device: of a grabber ('usviewer devices')"
        )


# --- the pattern -----------------------------------------------------------------------------------------------------


def pattern(number: int, unit_px: int) -> Pixels:
    """Draw the pattern of a number (0 to ``MOST_NUMBER``): uint8, grey, 24 x 32 units of ``unit_px`` pixels each."""
    width, height = (side * unit_px for side in SIZE_UNITS)
    picture = np.full((height, width), 255, np.uint8)
    side = MARKER_UNITS * unit_px
    for index, (x, y) in enumerate(MARKERS_UNITS):
        marker = cv2.aruco.generateImageMarker(_markers(), index, side)
        picture[y * unit_px : y * unit_px + side, x * unit_px : x * unit_px + side] = marker
    for place, bit in enumerate(_bits(number)):
        left, top = _block_at(place)
        x0, y0 = round(left * unit_px), round(top * unit_px)
        x1, y1 = round((left + BLOCK_UNITS) * unit_px), round((top + BLOCK_UNITS) * unit_px)
        picture[y0:y1, x0:x1] = 255 * bit
    return picture


def read_pattern(pixels: Pixels) -> int | None:
    """Read the number on a picture (uint8, height x width, grey or RGB); None where it is not certain."""
    grey: Pixels = pixels
    if pixels.ndim == 3:
        grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    shrink = min(1.0, _LONGEST_SIDE_PX / max(grey.shape))
    if shrink < 1.0:
        grey = np.asarray(cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
    found = _find(grey)
    if found is None:
        return None
    bits = _read_bits(grey, found)
    if bits is None:
        return None
    return _number(bits)


@functools.cache
def _markers() -> cv2.aruco.Dictionary:
    return cv2.aruco.getPredefinedDictionary(_DICTIONARY)


@functools.cache
def _detector() -> cv2.aruco.ArucoDetector:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    return cv2.aruco.ArucoDetector(_markers(), parameters)


def _find(grey: Pixels) -> NDArray[np.float64] | None:
    """The map from units to pixels (3 x 3); None where fewer than three of the markers are seen."""
    corners, ids, _ = _detector().detectMarkers(grey)
    if ids is None:
        return None
    seen = [int(one) for one in ids.ravel()]
    known = [(corner.reshape(4, 2), one) for corner, one in zip(corners, seen, strict=True) if one < len(MARKERS_UNITS)]
    if len({one for _, one in known}) < 3 or len(known) > len(MARKERS_UNITS):
        return None
    units = np.concatenate([_marker_corners(one) for _, one in known])
    # OpenCV gives corners by pixel centres; here positions are counted from the corner of the first pixel.
    pixels = np.concatenate([corner for corner, _ in known]).astype(np.float64) + 0.5
    found, _ = cv2.findHomography(units, pixels)
    if found is None:
        return None
    return np.asarray(found, np.float64)


def _marker_corners(index: int) -> Points:
    x, y = MARKERS_UNITS[index]
    corners = [(x, y), (x + MARKER_UNITS, y), (x + MARKER_UNITS, y + MARKER_UNITS), (x, y + MARKER_UNITS)]
    return np.array(corners, np.float64)


def _read_bits(grey: Pixels, to_pixels: NDArray[np.float64]) -> list[int] | None:
    """The blocks as bits; None where one of them is neither black nor white."""
    middle = np.arange(_SAMPLES // 4, _SAMPLES - _SAMPLES // 4) + 0.5
    offsets = np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2) * (BLOCK_UNITS / _SAMPLES)
    blocks = np.array([_block_at(place) for place in range(COLUMNS * ROWS)])
    levels = _sample(grey, (blocks[:, None] + offsets).reshape(-1, 2), to_pixels).reshape(len(blocks), -1).mean(axis=1)
    dark, bright = _references(grey, to_pixels)
    if bright - dark < _LEAST_CONTRAST:
        return None
    shares = (levels - dark) / (bright - dark)
    if (np.abs(shares - 0.5) < _UNSURE).any():
        return None
    return [int(share > 0.5) for share in shares]


def _references(grey: Pixels, to_pixels: NDArray[np.float64]) -> tuple[float, float]:
    """How black (the markers' frames) and white (what lies next to them) come out on this picture."""
    frames, around = [], []
    middle = MARKER_UNITS / 2
    for x, y in MARKERS_UNITS:
        frames += [(x + 0.5, y + middle), (x + MARKER_UNITS - 0.5, y + middle), (x + middle, y + 0.5)]
        around += [(x - 1.0, y + middle), (x + middle, y - 1.0), (x + middle, y + MARKER_UNITS + 1.0)]
    dark, bright = (np.median(_sample(grey, np.array(points), to_pixels)) for points in (frames, around))
    return float(dark), float(bright)


def _sample(grey: Pixels, points_units: Points, to_pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grey values at positions (N, 2) of the pattern."""
    at = cv2.perspectiveTransform(points_units[None], to_pixels)[0] - 0.5
    x, y = (np.ascontiguousarray(axis, np.float32)[None] for axis in at.T)
    levels = cv2.remap(grey, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(levels, np.float64).ravel()


def _block_at(place: int) -> tuple[float, float]:
    """Top-left corner of a block, in units."""
    row, column = divmod(place, COLUMNS)
    return BLOCKS_AT_UNITS[0] + column * BLOCK_UNITS, BLOCKS_AT_UNITS[1] + row * BLOCK_UNITS


def _bits(number: int) -> list[int]:
    if not 0 <= number <= MOST_NUMBER:
        raise ValueError(f"{number} does not fit into {BITS} bits")
    gray = number ^ (number >> 1)  # neighbours differ in one block: less to go wrong between two patterns
    whole = gray << CHECK_BITS | _check(gray)
    return [whole >> place & 1 for place in reversed(range(BITS + CHECK_BITS))]


def _number(bits: Sequence[int]) -> int | None:
    whole = functools.reduce(lambda value, bit: value << 1 | bit, bits, 0)
    gray, check = divmod(whole, 1 << CHECK_BITS)
    if _check(gray) != check:
        return None
    number = 0
    while gray:
        number ^= gray
        gray >>= 1
    return number


def _check(gray: int) -> int:
    """CRC-8 (polynomial 0x07) of the two bytes; begun with ones, so that all black is not a number."""
    value = 0xFF
    for byte in gray.to_bytes(BITS // 8, "big"):
        value ^= byte
        for _ in range(8):
            value <<= 1
            if value & 0x100:  # the bit that was shifted out
                value = (value ^ 0x07) & 0xFF
    return value
