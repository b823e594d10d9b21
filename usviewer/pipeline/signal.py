"""What state the input is in, judged from its frames and from their absence."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from usviewer.frame import Frame, Pixels

# A screen that runs at 60 Hz repeats a 20 Hz scan three times; half a second of the same picture is a freeze.
FROZEN_AFTER_S = 0.5
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


class SignalWatch:
    """Follows one source. Feed every frame; ask for the state at any moment."""

    def __init__(self) -> None:
        self._state = SignalState.CONNECTING
        self._since_s: float | None = None
        self._last_s: float | None = None
        self._digest = ""
        self._digest_since_s = 0.0
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
        if frame.key.digest != self._digest:
            self._digest, self._digest_since_s = frame.key.digest, now
        self._enter(self._judge(frame, changed, returned), now)
        return changed or returned

    def _judge(self, frame: Frame, changed: bool, returned: bool) -> SignalState:
        if changed:
            return SignalState.FORMAT_CHANGED
        picture = picture_state(frame.pixels)
        if picture is not SignalState.LIVE:
            return picture
        if frame.key.capture_time_s - self._digest_since_s >= FROZEN_AFTER_S:
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
