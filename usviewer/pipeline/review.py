"""A recorded clip under review: a playback thread, and an analysis thread with a source of its own.

The playback thread alone decodes what is shown. Analysis goes through the clip from its first frame to its last, drops
nothing, and stands back while the playback thread has work to do. ``ReviewRun.snapshot`` is what the window polls.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

from usviewer.acquire import Source
from usviewer.errors import UserError
from usviewer.frame import Frame, SourceInfo
from usviewer.measure.reading import Reading
from usviewer.pipeline.live import JOIN_DEADLINE_S, Calibrate, Engine

# While the hand moves, the nearest key frame is shown; after this rest the exact frame is decoded.
HAND_RESTS_S = 0.10
FALLBACK_RATE = 25.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked the playback for, last."""

    index: int = 0
    exact: bool = True
    asked_s: float = 0.0
    playing: bool = False
    rate: float = 1.0
    loop: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReviewSnapshot:
    """The frame that is shown, its own reading (None: not analysed yet), and how far everything is."""

    frame: Frame | None
    reading: Reading | None
    readings: Mapping[int, Reading]
    times_s: Sequence[float]
    source: SourceInfo | None
    playing: bool
    rate: float
    loop: tuple[int, int] | None
    analysed: int
    complete: bool
    message: str

    @property
    def count(self) -> int:
        """Frames of the clip; 0 until they are counted."""
        return len(self.times_s)


def media_times(times_s: Sequence[float | None], frames_per_second: float | None) -> tuple[float, ...]:
    """A time for every frame: the file's own, or evenly spaced at its rate (25 a second when it gives none)."""
    known = [time_s for time_s in times_s if time_s is not None]
    if len(known) == len(times_s) and all(a <= b for a, b in pairwise(known)):
        return tuple(known)
    step_s = 1.0 / (frames_per_second or FALLBACK_RATE)
    return tuple(index * step_s for index in range(len(times_s)))


class ReviewRun:
    """One clip with one model. Every method returns at once; what it asked for shows in a later snapshot.

    ``cached`` readings (of the same content, model and settings) are taken over instead of being computed;
    ``on_complete`` is called once, in the analysis thread, with all readings.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        calibrate: Calibrate,
        engine: Engine | None,
        cached: Mapping[int, Reading] | None = None,
        on_complete: Callable[[Mapping[int, Reading]], None] | None = None,
    ) -> None:
        self._open_source = open_source
        self._calibrate = calibrate
        self._engine = engine
        self._on_complete = on_complete
        self._readings: dict[int, Reading] = dict(cached or {})
        self._complete = bool(cached)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._picture_waits = threading.Event()
        self._wanted = Wanted()
        self._frame: Frame | None = None
        self._times_s: tuple[float, ...] = ()
        self._info: SourceInfo | None = None
        self._message = ""
        self._threads = [threading.Thread(target=self._playback, name="usviewer-playback", daemon=True)]
        if engine is not None and not self._complete:
            self._threads.append(threading.Thread(target=self._analyse, name="usviewer-analysis", daemon=True))

    def start(self) -> None:
        """Open the clip (in the playback thread) and begin the analysis."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> bool:
        """Stop both threads; safe to call twice. False when one did not end within its deadline."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(JOIN_DEADLINE_S)
        return not any(thread.is_alive() for thread in self._threads)

    # -- what the user asks for

    def seek(self, index: int, *, exact: bool = True) -> None:
        """Show a frame: the exact one, or (while dragging) the nearest that is cheap, then the exact one."""
        self._ask(index=index, exact=exact, asked_s=time.monotonic(), playing=False)

    def step(self, frames: int) -> None:
        """Go some frames on or back, and stop there."""
        shown = self._frame.key.index if self._frame else 0
        self.seek(shown + frames)

    def play(self, rate: float | None = None) -> None:
        """Play from the shown frame, at the clip's own rate times ``rate``; from the start when at the end."""
        shown = self._frame.key.index if self._frame else 0
        at_end = bool(self._times_s) and shown >= len(self._times_s) - 1
        self._ask(index=0 if at_end else shown, exact=True, playing=True, rate=rate or self._wanted.rate)

    def pause(self) -> None:
        """Stay on the shown frame."""
        self._ask(playing=False, index=self._frame.key.index if self._frame else 0, exact=True)

    def set_loop(self, loop: tuple[int, int] | None) -> None:
        """Play a range of frames (both ends included) again and again; None ends it."""
        self._ask(loop=loop)

    def replace_reading(self, index: int, reading: Reading) -> None:
        """Put a corrected reading in the place of the automatic one."""
        with self._changed:
            self._readings[index] = reading

    def _ask(self, **changes: object) -> None:
        with self._changed:
            wanted = replace(self._wanted, **changes)  # type: ignore[arg-type]
            last = max(0, len(self._times_s) - 1) if self._times_s else wanted.index
            self._wanted = replace(wanted, index=min(max(0, wanted.index), last))
            self._picture_waits.set()
            self._changed.notify_all()

    def snapshot(self) -> ReviewSnapshot:
        """All that the window needs, taken under one lock."""
        with self._changed:
            frame = self._frame
            reading = self._readings.get(frame.key.index) if frame else None
            if frame and reading and reading.key.digest != frame.key.digest:
                reading = None  # of other pixels: never drawn on these
            return ReviewSnapshot(
                frame=frame,
                reading=reading,
                readings=MappingProxyType(self._readings),
                times_s=self._times_s,
                source=self._info,
                playing=self._wanted.playing,
                rate=self._wanted.rate,
                loop=self._wanted.loop,
                analysed=len(self._readings),
                complete=self._complete,
                message=self._message,
            )

    # -- playback thread

    def _playback(self) -> None:
        try:
            with self._open_source() as source:
                self._show(source.seek(0))
                times_s = media_times(source.times_s(), source.info.frames_per_second)
                with self._changed:
                    self._info, self._times_s = source.info, times_s
                self._serve(source)
        except UserError as error:
            with self._changed:
                self._message = str(error)

    def _serve(self, source: Source) -> None:
        while not self._stop.is_set():
            with self._changed:
                wanted = self._wanted
                if self._is_shown(wanted) and not wanted.playing:
                    self._picture_waits.clear()
                    self._changed.wait(0.5)
                    continue
            if wanted.playing:
                self._play(source, wanted)
            elif not wanted.exact and time.monotonic() - wanted.asked_s < HAND_RESTS_S:
                self._show(source.seek_near(wanted.index))
                with self._changed:
                    self._changed.wait_for(lambda asked=wanted: self._wanted != asked, HAND_RESTS_S)  # type: ignore[misc]
            else:
                self._show(source.seek(wanted.index))

    def _is_shown(self, wanted: Wanted) -> bool:
        return self._frame is not None and self._frame.key.index == wanted.index

    def _play(self, source: Source, wanted: Wanted) -> None:
        """Follow the clock of the clip; frames that are due no more are left out."""
        began_s, began_at_s = time.monotonic(), self._times_s[wanted.index]
        first, last = wanted.loop or (0, len(self._times_s) - 1)
        while not self._stop.is_set() and self._wanted == wanted:
            at_s = began_at_s + (time.monotonic() - began_s) * wanted.rate
            index = min(last, max(0, bisect_right(self._times_s, at_s) - 1))
            if self._frame is None or self._frame.key.index != index:
                self._show(source.seek(index))
            if index >= last:
                if wanted.loop is None:
                    self.pause()
                    return
                self._ask(index=first)
                return
            due_s = began_s + (self._times_s[index + 1] - began_at_s) / wanted.rate
            self._picture_waits.clear()
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stop.is_set() or self._wanted != wanted, max(0.0, due_s - time.monotonic())
                )
            self._picture_waits.set()

    def _show(self, frame: Frame) -> None:
        frame = self._calibrate(frame)
        with self._changed:
            self._frame = frame

    # -- analysis thread

    def _analyse(self) -> None:
        engine = self._engine
        assert engine is not None
        try:
            with self._open_source() as source:
                for frame in source:
                    while self._picture_waits.is_set() and not self._stop.wait(0.002):
                        pass
                    if self._stop.is_set():
                        return
                    calibrated = self._calibrate(frame)
                    reading = engine.read(engine.predict(calibrated), calibrated.geometry)
                    with self._changed:
                        self._readings.setdefault(frame.key.index, reading)
        except UserError as error:
            with self._changed:
                self._message = str(error)
            return
        with self._changed:
            self._complete = True
        if self._on_complete is not None:
            self._on_complete(dict(self._readings))
