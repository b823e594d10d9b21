"""What state the input is in, judged from its frames and from their absence."""

from __future__ import annotations

from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Frame, Mask, Pixels, Sector

# A screen that runs at 60 Hz repeats a 20 Hz scan three times; half a second of the same picture is a freeze.
FROZEN_AFTER_S = 0.5
# Whether a picture stands still is told by the brightness of blocks, some 45 along its shorter side. Noise of a grabber
# (+-3 grey levels) moves the mean of a block by less than STEP; a running clock, a blinking cursor or a caliper that is
# being placed touches less than STILL_SHARE of the blocks. Of 37 real clips (lung, heart, eye, neck; 10 to 39 a second)
# at least 0.27 of the lit blocks, half of them mostly 0.5 to 0.9, had moved by more within every half second.
BLOCKS_ALONG = 45
STEP = 2.0
STILL_SHARE = 0.02
# Darker blocks say nothing: beside a vessel or below a bone a live picture is black, too.
LIT_ABOVE = 12.0
LEAST_LIT = 20
# Where no sector is certain the outer eighths are left out: clocks, names and menus stand there.
MARGIN = 8
STALLED_AFTER_S = 0.5
BLACK_BELOW = 6
UNIFORM_SPREAD_BELOW = 2.0


class SignalState(StrEnum):
    """In every state but ``LIVE`` the trend stops and numbers are withdrawn."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    FROZEN = "frozen input"
    BLACK = "black picture"
    NO_SIGNAL = "no signal"
    FORMAT_CHANGED = "format changed"
    GONE = "source gone"
    BACK = "source back"

    @property
    def holds_numbers(self) -> bool:
        """Whether a number that is read now may be shown as current."""
        return self in (SignalState.LIVE, SignalState.BACK)


def picture_state(pixels: Pixels) -> SignalState:
    """LIVE for a picture, BLACK for an all but black one, NO_SIGNAL for one colour (a grabber's blue screen).

    Every sixteenth row and column is looked at: 0.1 ms for 1080p.
    """
    sample = pixels[::16, ::16].reshape(-1, 3)
    if int(np.percentile(sample, 99.5)) < BLACK_BELOW:
        return SignalState.BLACK
    if float(sample.std(axis=0).max()) < UNIFORM_SPREAD_BELOW:
        return SignalState.NO_SIGNAL
    return SignalState.LIVE


Grid = NDArray[np.float32]


def grid_of(pixels: Pixels) -> Grid:
    """The mean brightness of blocks, each from some 36 of its pixels: with all else here 0.2 ms for 1080p.

    Green stands for the brightness: ultrasound is grey, and under a coloured flow the grey picture moves as well.
    """
    height, width = pixels.shape[:2]
    side = max(1, min(height, width) // BLOCKS_ALONG)
    step = max(1, side // 6)
    sparse = pixels[::step, ::step, 1].astype(np.float32)
    return np.asarray(cv2.resize(sparse, (width // side, height // side), interpolation=cv2.INTER_AREA), np.float32)


def _looked_at(sector: Sector | None, shape: tuple[int, ...], frame_size_px: tuple[int, int]) -> Mask:
    """The blocks inside the sector; inside the middle of the picture where no sector is certain."""
    rows, columns = shape
    inside = np.zeros((rows, columns), np.uint8)
    if sector is None or not sector.certain:
        inside[rows // MARGIN : rows - rows // MARGIN, columns // MARGIN : columns - columns // MARGIN] = 1
        return inside.astype(np.bool_)
    corners = sector.outline_xy_px * (columns / frame_size_px[0], rows / frame_size_px[1]) - 0.5
    cv2.fillPoly(inside, [np.round(corners * 16).astype(np.int32)], 1, shift=4)
    # A block that the outline cuts holds something of what stands outside.
    return cv2.erode(inside, np.ones((3, 3), np.uint8)).astype(np.bool_)


class Stillness:
    """Since when the ultrasound of a source has not moved, whatever stands around it."""

    def __init__(self) -> None:
        self._grid: Grid | None = None
        self._digest = ""
        self._since_s = 0.0
        self._inside: tuple[Sector | None, tuple[int, ...], Mask] | None = None

    def since_s(self, frame: Frame) -> float:
        """The capture time of the first frame that looked like this one, up to what a grabber adds.

        Every frame is held against that first one, not against the one before: what moves slowly moves, too.
        """
        if frame.key.digest == self._digest:
            return self._since_s
        self._digest = frame.key.digest
        now = grid_of(frame.pixels)
        if self._grid is None or self._grid.shape != now.shape or self._moved(self._grid, now, frame):
            self._grid, self._since_s = now, frame.key.capture_time_s
        return self._since_s

    def _moved(self, before: Grid, now: Grid, frame: Frame) -> bool:
        inside = self._inside_of(frame, now.shape)
        lit = inside & (np.maximum(before, now) > LIT_ABOVE)
        judged = lit if np.count_nonzero(lit) >= LEAST_LIT else inside
        moved = judged & (np.abs(now - before) > STEP)
        return int(np.count_nonzero(moved)) > STILL_SHARE * int(np.count_nonzero(judged))

    def _inside_of(self, frame: Frame, shape: tuple[int, ...]) -> Mask:
        sector = frame.geometry.sector if frame.geometry is not None else None
        if self._inside is None or self._inside[0] is not sector or self._inside[1] != shape:
            inside = _looked_at(sector, shape, frame.size_px)
            if not inside.any():  # a sector of a few pixels
                inside = _looked_at(None, shape, frame.size_px)
            self._inside = (sector, shape, inside)
        return self._inside[2]


class SignalWatch:
    """Follows one source. Feed every frame; ask for the state at any moment."""

    def __init__(self) -> None:
        self._state = SignalState.CONNECTING
        self._since_s: float | None = None
        self._last_s: float | None = None
        self._stillness = Stillness()
        self._still_since_s = 0.0
        self._shape: tuple[int, ...] | None = None
        self._was_gone = False

    def see(self, frame: Frame) -> bool:
        """Take one frame in. True when what was measured before no longer holds (format changed, source back)."""
        now = frame.key.capture_time_s
        changed = self._shape is not None and self._shape != frame.pixels.shape
        returned = self._was_gone
        self._shape = frame.pixels.shape
        self._last_s = now
        self._was_gone = False
        self._still_since_s = self._stillness.since_s(frame)
        self._enter(self._judge(frame, changed, returned), now)
        return changed or returned

    def _judge(self, frame: Frame, changed: bool, returned: bool) -> SignalState:
        if changed:
            return SignalState.FORMAT_CHANGED
        picture = picture_state(frame.pixels)
        if picture is not SignalState.LIVE:
            return picture
        if frame.key.capture_time_s - self._still_since_s >= FROZEN_AFTER_S:
            return SignalState.FROZEN
        return SignalState.BACK if returned else SignalState.LIVE

    def gone(self, now_s: float) -> None:
        """The source could not be opened or has ended."""
        self._was_gone = True
        self._enter(SignalState.GONE, now_s)

    def state_at(self, now_s: float) -> SignalState:
        """The state at a moment: STALLED when frames have stopped coming."""
        if self._state is SignalState.GONE or self._last_s is None:
            return self._state
        return SignalState.STALLED if now_s - self._last_s > STALLED_AFTER_S else self._state

    def age_s(self, now_s: float) -> float:
        """How long it has been so; for STALLED, since the last frame."""
        if self.state_at(now_s) is SignalState.STALLED and self._last_s is not None:
            return now_s - self._last_s
        return 0.0 if self._since_s is None else now_s - self._since_s

    def _enter(self, state: SignalState, now_s: float) -> None:
        if state is not self._state:
            self._state, self._since_s = state, now_s
