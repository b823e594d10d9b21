"""The picture of a recorded clip: one thread that alone decodes what is shown, exact or (while dragging) cheap."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from usviewer.acquire import Source
from usviewer.calibrate.calibration import NOTHING_STATED, Calibration, ScaleEvidence, StatedScale
from usviewer.errors import UserError
from usviewer.frame import FALLBACK_FRAMES_PER_SECOND, Frame, FrameKey, ImageGeometry, SourceInfo
from usviewer.pipeline.worker import Worker, as_user_error

# While the hand moves, the nearest key frame is shown; after this rest the exact frame is decoded.
HAND_RESTS_S = 0.10
_log = logging.getLogger(__name__)
SLOWEST, FASTEST = 0.25, 4.0


Gather = Callable[[Source], ScaleEvidence]


class SharedCalibration:
    """A clip's calibration for several threads; of a clip that has none, pictures stay as they come."""

    def __init__(self, calibration: Calibration | None) -> None:
        self._calibration = calibration
        self._lock = threading.Lock()

    def __call__(self, frame: Frame) -> Frame:
        """The same picture, calibrated."""
        if self._calibration is None:
            return frame
        with self._lock:
            return self._calibration(frame)

    def note(self, frame: Frame) -> None:
        """Keep what a later word of the operator's needs to know of the frame's pixels."""
        if self._calibration is not None:
            self._calibration.note(frame)

    def without_pixels(self, key: FrameKey, size_px: tuple[int, int], stated_aspect: float) -> ImageGeometry | None:
        """The geometry of a frame that was looked at before; None where its pixels must be seen again."""
        if self._calibration is None:
            return None
        with self._lock:
            return self._calibration.without_pixels(key, size_px, stated_aspect)

    def noted(self) -> tuple[str, Mapping[str, str]]:
        """What ``note`` has kept, to be kept between sessions."""
        return self._calibration.noted() if self._calibration is not None else ("", {})

    def recall(self, reference: str, seen: Mapping[str, str]) -> None:
        """Take what was kept in an earlier session."""
        if self._calibration is not None:
            self._calibration.recall(reference, seen)


@dataclass(frozen=True, slots=True)
class _PlaybackRequest:
    """What the user asked the playback for, last."""

    index: int = 0
    exact: bool = True
    asked_s: float = 0.0
    playing: bool = False
    rate: float = 1.0
    loop: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PlaybackState:
    """What the playback shows now. ``times_s`` is empty until the frames are counted."""

    frame: Frame | None
    times_s: Sequence[float]
    source: SourceInfo | None
    wanted: _PlaybackRequest
    message: str


def media_times(times_s: Sequence[float | None], frames_per_second: float | None) -> tuple[float, ...]:
    """A time for every frame: the file's own, or evenly spaced at its rate (25 a second when it gives none)."""
    known = [time_s for time_s in times_s if time_s is not None]
    if len(known) == len(times_s) and all(a <= b for a, b in pairwise(known)):
        return tuple(known)
    step_s = 1.0 / (frames_per_second or FALLBACK_FRAMES_PER_SECOND)
    return tuple(index * step_s for index in range(len(times_s)))


class Playback(Worker):
    """Shows one clip. Every method returns at once; what it asked for shows in a later ``picture``.

    ``gather`` looks at frames from all over the clip for its scale, so it has a source and a thread of its own; until
    the calibration is known the pictures are shown without a geometry. Where there is a ``UserError`` they stay so,
    and the message says why. ``said`` is what the operator says of the scale; it may change (``set_scale``).
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        gather: Gather,
        start_index: int = 0,
        said: StatedScale = NOTHING_STATED,
    ) -> None:
        super().__init__("the playback")
        self._open_source = open_source
        self._gather, self._said = gather, said
        self._changed = threading.Condition()
        self._calibration: SharedCalibration | None = None  # None: not known yet
        self._ready = threading.Event()
        self._counted = threading.Event()
        self._unreadable: set[int] = set()
        self._wanted = _PlaybackRequest(start_index)
        self._raw: Frame | None = None  # the picture as it was decoded
        self._frame: Frame | None = None
        self._shown_by: SharedCalibration | None = None  # what gave it its geometry
        self._times_s: tuple[float, ...] = ()
        self._info: SourceInfo | None = None
        self._message = self._scale_message = self._problem = ""  # of the clip, its scale, the frame that was asked for
        self.busy = threading.Event()

    def start(self) -> None:
        """Open the clip, in the threads."""
        self._begin("playback", self._play_clip)
        self._begin("calibration", self._find_calibration)

    def _wake(self) -> None:
        self._ready.set()
        self._counted.set()
        with self._changed:
            self._changed.notify_all()

    def _ended(self, error: UserError) -> None:
        self._say(str(error))

    # -- what the user asks for

    def seek(self, index: int, *, exact: bool = True) -> None:
        """Show a frame: the exact one, or (while dragging) the nearest that is cheap, then the exact one."""
        self._ask(index=index, exact=exact, asked_s=time.monotonic(), playing=False)

    def step(self, frames: int) -> None:
        """Go some frames on or back from the one that was asked for last, and stop there."""
        with self._changed:
            start = self._shown_index() if self._wanted.playing else self._wanted.index
        self.seek(start + frames)

    def play(self, rate: float | None = None) -> None:
        """Play from the shown frame, at the clip's own rate times ``rate``; from the start when at the end."""
        with self._changed:
            shown = self._shown_index()
            loop = self._wanted.loop
            first, last = loop or (0, len(self._times_s) - 1)
            outside = bool(self._times_s) and not first <= shown < last
            speed = min(FASTEST, max(SLOWEST, rate if rate is not None else self._wanted.rate))
        self._ask(index=first if outside else shown, exact=True, playing=True, rate=speed)

    def pause(self) -> None:
        """Stay on the shown frame."""
        self._ask(playing=False, index=self._shown_index(), exact=True)

    def set_rate(self, rate: float) -> None:
        """Play faster or slower, now or when next played."""
        speed = min(FASTEST, max(SLOWEST, rate))
        self._ask(rate=speed, index=self._shown_index() if self._wanted.playing else self._wanted.index)

    def set_loop(self, loop: tuple[int, int] | None) -> None:
        """Play a range of frames (both ends included) again and again; None ends it."""
        self._ask(loop=loop, index=self._shown_index() if self._wanted.playing else self._wanted.index)

    def _ask(self, **changes: object) -> None:
        with self._changed:
            wanted = replace(self._wanted, **changes)  # type: ignore[arg-type]
            last = max(0, len(self._times_s) - 1) if self._times_s else wanted.index
            self._wanted = replace(wanted, index=min(max(0, wanted.index), last))
            self.busy.set()
            self._changed.notify_all()

    def _shown_index(self) -> int:
        return self._frame.key.index if self._frame else self._wanted.index

    # -- what there is

    def picture(self) -> PlaybackState:
        """The picture of this moment."""
        with self._changed:
            message = self._problem or self._message or self._scale_message
            # A picture with millimetres of a scale that no longer holds is shown without any.
            frame = self._frame if self._shown_by is self._calibration else self._raw
            return PlaybackState(frame, self._times_s, self._info, self._wanted, message)

    def calibration(self) -> SharedCalibration | None:
        """Wait until frames can be calibrated and are counted; None when the playback ended before that."""
        self._counted.wait()
        self._ready.wait()
        with self._changed:
            found = self._calibration if self._times_s else None
        return None if self._stopping.is_set() else found

    def calibrate(self, frame: Frame) -> Frame:
        """The frame with its geometry; for every thread."""
        return self._calibrated(frame)[0]

    def _calibrated(self, frame: Frame) -> tuple[Frame, SharedCalibration | None]:
        """The frame, and what it was calibrated by: another calibration may become known at any moment."""
        calibration = self._calibration
        return (frame, None) if calibration is None else (calibration(frame), calibration)

    def set_scale(self, said: StatedScale) -> None:
        """The operator says something else of the scale: nothing of the old one is shown from this moment on."""
        with self._changed:
            self._said = said
            self._ready.clear()
            self._calibration = None
            self._changed.notify_all()

    # -- the thread

    def _play_clip(self) -> None:
        try:
            with self._open_source() as source:
                _log.info("clip opened: %s", source.info.anonymous)
                self._show_first(source)
                self._serve(source)
        finally:
            self.busy.clear()
            self._counted.set()

    def _show_first(self, source: Source) -> None:
        """The first picture at once; then the frames are counted."""
        self.busy.set()
        if self._wanted.index == 0:
            first = next(iter(source), None)  # seeking would count the frames first
            if first is not None:
                self._set_frame(first, first, None)
        times_s = media_times(source.times_s(), source.info.frames_per_second)
        with self._changed:
            self._info, self._times_s = source.info, times_s
            self._wanted = replace(self._wanted, index=min(self._wanted.index, max(0, len(times_s) - 1)))
        self._counted.set()

    def _find_calibration(self) -> None:
        """Look at the clip once; then decide, again whenever the operator says something else."""
        evidence: ScaleEvidence | None = None
        try:
            with self._open_source() as source:
                evidence = self._gather(source)
        except UserError as error:
            _log.warning("the clip has no calibration: %s", error)
            self._say(str(error))
        except Exception as error:
            self._note_bug(error)
        while not self._stopping.is_set():
            said = self._said
            found, problem = self._decide(evidence, said)
            with self._changed:
                if said is self._said:
                    self._calibration, self._scale_message = SharedCalibration(found), problem
                    self._ready.set()
                    self._changed.notify_all()
                while said is self._said and not self._stopping.is_set():
                    self._changed.wait()

    def _decide(self, evidence: ScaleEvidence | None, said: StatedScale) -> tuple[Calibration | None, str]:
        """The calibration; that of none, and why, where the clip and the operator contradict each other."""
        if evidence is None:
            return None, ""
        try:
            return evidence.decide(said), ""
        except UserError as error:
            _log.warning("the clip has no calibration: %s", error)
            return None, str(error)
        except Exception as error:
            self._note_bug(error)
            return None, ""

    def _serve(self, source: Source) -> None:
        while not self._stopping.is_set():
            with self._changed:
                wanted = self._wanted
                if not wanted.playing and self._is_settled(wanted) and not self._lacks_geometry():
                    self.busy.clear()
                    self._changed.wait(0.5)
                    continue
            if self._lacks_geometry():
                self._calibrate_shown()
                continue
            if wanted.playing:
                self._play(source, wanted)
            elif not wanted.exact and time.monotonic() - wanted.asked_s < HAND_RESTS_S:
                self._show_near(source, wanted)
            else:
                self._show(source, wanted.index)

    def _lacks_geometry(self) -> bool:
        """Whether the picture was shown before the calibration was known."""
        return self._shown_by is not self._calibration and self._calibration is not None and self._raw is not None

    def _calibrate_shown(self) -> None:
        assert self._raw is not None
        self._set_frame(self._raw, *self._calibrated(self._raw))

    def _is_settled(self, wanted: _PlaybackRequest) -> bool:
        shown = self._frame is not None and self._frame.key.index == wanted.index
        return shown or wanted.index in self._unreadable

    def _show_near(self, source: Source, wanted: _PlaybackRequest) -> None:
        try:
            raw = source.seek_near(wanted.index)
            self._set_frame(raw, *self._calibrated(raw))
        except Exception:
            return  # the exact frame, a moment later, says why
        with self._changed:
            rests_s = HAND_RESTS_S - (time.monotonic() - wanted.asked_s)
            self._changed.wait_for(lambda: self._stopping.is_set() or self._wanted is not wanted, max(0.0, rests_s))

    def _play(self, source: Source, wanted: _PlaybackRequest) -> None:
        """Follow the clock of the clip; frames whose time has passed are left out."""
        times_s = self._times_s
        first, last = wanted.loop or (0, len(times_s) - 1)
        began_s, began_at_s = time.monotonic(), times_s[wanted.index]
        end_s = times_s[last] + (_step_s(times_s) if wanted.loop else 0.0)
        while not self._stopping.is_set() and self._wanted is wanted:
            at_s = began_at_s + (time.monotonic() - began_s) * wanted.rate
            if at_s >= end_s and wanted.loop is not None:
                lap_s = max(end_s - times_s[first], 1e-3)
                began_at_s -= lap_s * ((at_s - times_s[first]) // lap_s)
                continue
            index = min(last, max(first if wanted.loop else 0, bisect_right(times_s, at_s) - 1))
            if not self._is_settled(replace(wanted, index=index)):
                self._show(source, index)
            if index >= last and wanted.loop is None:
                self._finish(wanted, last)
                return
            following_s = end_s if index >= last else times_s[index + 1]
            self._rest_until(began_s + (following_s - began_at_s) / wanted.rate, wanted)

    def _rest_until(self, due_s: float, wanted: _PlaybackRequest) -> None:
        self.busy.clear()
        with self._changed:
            left_s = max(0.0, due_s - time.monotonic())
            self._changed.wait_for(lambda: self._stopping.is_set() or self._wanted is not wanted, left_s)
        self.busy.set()

    def _finish(self, wanted: _PlaybackRequest, last: int) -> None:
        """Stand on the last frame, unless something else was asked for meanwhile."""
        with self._changed:
            if self._wanted is wanted:
                self._wanted = replace(wanted, playing=False, index=last)

    def _show(self, source: Source, index: int) -> None:
        try:
            raw = source.seek(index)
            shown = self._calibrated(raw)
        except Exception as error:  # it costs this frame; a bug is raised by the window as well
            self._note_bug(error)
            with self._changed:
                self._unreadable.add(index)
                self._problem = str(as_user_error(error))
            return
        self._set_frame(raw, *shown)

    def _set_frame(self, raw: Frame, frame: Frame, calibrated_by: SharedCalibration | None) -> None:
        with self._changed:
            self._raw, self._frame, self._problem = raw, frame, ""
            self._shown_by = calibrated_by

    def _say(self, message: str) -> None:
        with self._changed:
            self._message = message


def _step_s(times_s: Sequence[float]) -> float:
    """How long the last frame of a range is shown: as long as a frame is on average."""
    return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 1.0 / FALLBACK_FRAMES_PER_SECOND
