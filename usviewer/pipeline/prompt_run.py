"""A prompt model in the background of the window: one thread encodes and outlines, one carries a live outline on.

Nothing queues but what was asked for on purpose. A click that comes while another waits takes its place; frames are
encoded in the order of need: the one that was clicked on, the one that is shown, a live one, one to follow a structure
to, and, when nothing else is to be done, the neighbours of what is shown.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from usviewer.acquire import Source
from usviewer.errors import UserError
from usviewer.frame import Frame, FrameKey, Mask
from usviewer.infer.prediction import Instance, Prediction, full_mask
from usviewer.infer.prompt import Embedding, Prompt, PromptOutline
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.infer.tracking.motion_tracker import MAX_AGE_S, MotionTracker
from usviewer.infer.tracking.track import Segmenter, TrackStep, segmenter_of, track_outline
from usviewer.measure.findings import finding_of
from usviewer.measure.manual import limit_quality, read_pointed
from usviewer.measure.reading import Reading
from usviewer.pipeline.annotations import Annotation, ClipAccess, Origin
from usviewer.pipeline.prompt_messages import (
    Event,
    LiveOutline,
    OutlineRequest,
    OutlineResult,
    PromptState,
    TrackEnded,
    TrackLost,
    TrackProgress,
    TrackRequest,
)
from usviewer.pipeline.worker import Mailbox, Worker, as_user_error

# The neighbours of the shown frame are encoded ahead: so many at most, and no more than this takes altogether.
MOST_AHEAD, AHEAD_S = 6, 3.0
CARRIED = "Carried here by motion: the model is not sure on this frame"
TOO_SLOW = "This model is too slow to follow a live picture"


class _LiveTracking:
    """The live outline between the thread that encodes and the one that carries it on. ``lock`` guards all of it."""

    def __init__(self, lock: threading.Condition) -> None:
        self._lock = lock
        self._carrier = MotionTracker()
        self._carrying = threading.Lock()
        self._newest: Frame | None = None
        self._label = ""
        self.waiting: Mailbox[Frame] = Mailbox()
        self.first: tuple[Frame, Instance] | None = None
        self.steps: Iterator[TrackStep] | None = None
        self.shown: LiveOutline | None = None

    def begin(self, frame: Frame, first: Instance, label: str) -> None:
        """Follow this from now on; with the lock."""
        self.first, self._label, self.steps, self.shown, self._newest = (frame, first), label, None, None, None
        with self._carrying:
            self._carrier = MotionTracker()

    def end(self) -> None:
        """Follow nothing; with the lock."""
        self.first = self.steps = self.shown = self._newest = None

    @property
    def ready(self) -> bool:
        """Whether there is a frame to encode; with the lock."""
        return self.first is not None and self._newest is not None

    def begun(self, follower: Segmenter) -> Iterator[TrackStep] | None:
        """The steps of what is followed; None where that ended meanwhile."""
        with self._lock:
            if self.steps is None and self.first is not None:
                self.steps = track_outline(self._frames(), self.first[1], follower)
            return self.steps

    def _frames(self) -> Iterator[Frame]:
        """The frame that following began with, then each time the newest."""
        with self._lock:
            frame = self.first[0] if self.first is not None else None
        while frame is not None:
            yield frame
            with self._lock:
                frame, self._newest = self._newest, None

    def take(self, step: TrackStep) -> None:
        """The model's answer on a frame that was carried to before; with the lock."""
        if step.instance is not None and not step.carried:
            with self._carrying:
                self._carrier.encoded(step.key, step.instance, step.prediction.frame_size_px)

    def carry(self, frame: Frame) -> None:
        """Bring the outline to this frame, measure it there, and offer the frame for encoding."""
        with self._carrying:
            carrier = self._carrier
            carried = carrier.carry(frame)
        reading = None
        with self._lock:
            first, label = self.first, self._label
        if carried is not None and first is not None:
            reading = limit_quality(_live_reading(frame, carried.instance, label), carried.confidence)
        with self._lock:
            if self.first is first is not None and carrier is self._carrier:
                instance = carried.instance if carried is not None else None
                self.shown = LiveOutline(frame, reading, instance, carried.age_s if carried is not None else 0.0)
                self._newest = frame
                self._lock.notify_all()


def _live_reading(frame: Frame, instance: Instance, label: str) -> Reading:
    """The outline that was carried here, dashed: it is as old as is said beside it."""
    size_px = frame.size_px
    prediction = Prediction(frame.key, size_px, (instance,), "motion", "", "motion")
    return replace(read_pointed(prediction, frame.geometry, label), uncertain=True)


class Prompting(Worker):
    """Owns one prompt model. Every method returns at once; ``poll`` brings what was done since."""

    def __init__(self, load: Callable[[], PromptModel]) -> None:
        super().__init__("the outlining", remedy="Switch pointing off and on")
        self._load = load
        self._changed = threading.Condition()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._model: PromptModel | None = None
        self._loading = True
        self._ask: OutlineRequest | None = None
        self._shown: Frame | None = None
        self._unreadable: Frame | None = None  # the last shown frame on which something was raised
        self._ahead: list[int] = []
        self._clip: ClipAccess | None = None
        self._follow: TrackRequest | None = None
        self._walking: tuple[TrackRequest, Iterator[tuple[int, TrackStep, Frame]]] | None = None
        self._done = 0
        self._encoding_since_s: float | None = None
        self._encoder_s: float | None = None
        self._files = ExitStack()
        self._open: tuple[ClipAccess, Source] | None = None
        self._live = _LiveTracking(self._changed)
        self._carries = False  # whether the thread that carries a live outline on was begun

    def start(self) -> None:
        """Load the model, in the thread."""
        self._begin("prompt", self._serve)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._live.waiting.close()

    def _ended(self, error: UserError) -> None:
        self._events.put(error)

    # -- for the window

    def show(self, frame: Frame | None, clip: ClipAccess | None = None) -> None:
        """This frame is looked at: encode it at once, its neighbours in the clip when there is nothing else to do."""
        with self._changed:
            if frame is self._shown and clip is self._clip:
                return
            self._shown, self._clip, self._ahead = frame, clip, []
            if frame is not None and clip is not None:
                self._ahead = _around(frame.key.index, clip.count)
            self._changed.notify_all()

    def ask(self, ask: OutlineRequest) -> None:
        """Outline something; what was asked before and is not begun is forgotten."""
        with self._changed:
            self._ask = ask
            self._changed.notify_all()

    def follow(self, follow: TrackRequest) -> None:
        """Follow an outline through its clip; what was followed before is stopped."""
        self.cancel()
        with self._changed:
            self._follow, self._done = follow, 0
            self._changed.notify_all()

    def cancel(self) -> None:
        """Stop following, between two frames."""
        with self._changed:
            follow, self._follow = self._follow, None
        if follow is not None:
            self._events.put(TrackEnded(follow))

    def follow_live(self, frame: Frame, first: Instance, label: str) -> None:
        """Follow an outline from this frame on through what ``live_frame`` brings."""
        with self._changed:
            self._live.begin(frame, first, label)
        if not self._carries:
            self._carries = True
            self._begin("carry", self._carry)

    def live_frame(self, frame: Frame) -> None:
        """The newest live frame."""
        self._live.waiting.put(frame)

    def live_outline(self) -> LiveOutline | None:
        """The newest live frame that was looked at, with its outline; None while nothing is followed live."""
        with self._changed:
            return self._live.shown if self._live.first is not None else None

    @property
    def live(self) -> bool:
        """Whether something is followed live."""
        return self._live.first is not None

    def end_live(self) -> None:
        """Follow nothing live any more."""
        with self._changed:
            self._live.end()

    def poll(self) -> list[Event]:
        """What was done since the last time."""
        found = []
        while not self._events.empty():
            found.append(self._events.get_nowait())
        return found

    def state(self) -> PromptState:
        """What is being done now."""
        with self._changed:
            model, since_s, follow = self._model, self._encoding_since_s, self._follow
            return PromptState(
                loading=self._loading,
                model_label=f"{model.spec.name} {model.spec.version}" if model else "",
                model_sha256=model.spec.sha256 if model else "",
                engine=model.engine if model else "",
                encoding_s=time.monotonic() - since_s if since_s is not None else None,
                encoder_s=self._encoder_s,
                followed=(self._done, follow.total) if follow is not None else None,
                live=self._live.first is not None,
            )

    # -- the thread of the model

    def _serve(self) -> None:
        try:
            model = self._load()
            if model.notice:
                self._events.put(UserError(model.notice))
            with self._changed:
                self._model = model
        finally:
            self._loading = False
        with self._files:
            while (work := self._next(model)) is not None:
                try:
                    work()
                except Exception as error:  # it costs what was asked for, and not the pointing itself
                    self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Say what went wrong, and do not try the same again by itself: the shown frame would fail for ever."""
        self._note_bug(error)
        self._events.put(as_user_error(error))
        self.cancel()
        with self._changed:
            self._ahead = []
            if self._shown is not None:
                self._unreadable = self._shown
            self._live.end()

    def _next(self, model: PromptModel) -> Callable[[], None] | None:
        """What is most needed; waits while nothing is. None at the end."""
        with self._changed:
            while not self._stopping.is_set():
                if (ask := self._ask) is not None:
                    self._ask = None
                    return partial(self._answer, model, ask)
                unread = self._shown is not None and self._shown is not self._unreadable
                if self._shown is not None and unread and model.embedding(self._shown) is None:
                    return partial(self._encode_shown, model, self._shown)
                if self._live.ready:
                    return partial(self._live_step, model)
                if (follow := self._follow) is not None:
                    return partial(self._follow_step, model, follow)
                if self._ahead and self._clip is not None and self._affordable():
                    return partial(self._encode_ahead, model, self._clip, self._ahead.pop(0))
                self._changed.wait()
            return None

    def _affordable(self) -> bool:
        """Whether one more neighbour can be encoded without the next click having to wait for it for long."""
        done = MOST_AHEAD - len(self._ahead)
        return self._encoder_s is not None and self._encoder_s * (done + 1) <= AHEAD_S

    def _encode(self, model: PromptModel, frame: Frame) -> Embedding:
        found = model.embedding(frame)
        if found is not None:
            return found
        self._encoding_since_s = time.monotonic()
        try:
            found = model.embed(frame)
        finally:
            self._encoding_since_s = None
        self._encoder_s = found.milliseconds / 1e3
        return found

    def _encode_shown(self, model: PromptModel, frame: Frame) -> None:
        self._encode(model, frame)

    def _encode_ahead(self, model: PromptModel, clip: ClipAccess, index: int) -> None:
        frame = self._frame(clip, index)
        if model.embedding(frame) is None:
            self._encoder_s = model.embed(frame).milliseconds / 1e3

    def _answer(self, model: PromptModel, ask: OutlineRequest) -> None:
        embedding = self._encode(model, ask.frame)
        previous = ask.previous
        if previous is None and ask.hint is not None:
            previous = model.hint(embedding, full_mask(ask.hint, embedding.frame_size_px))
        outline = model.outline(embedding, ask.prompt, previous)
        prediction = replace(model.prediction(embedding, [outline]), key=ask.frame.key)
        reading = read_pointed(prediction, ask.frame.geometry, ask.label, outline.reason)
        mark = Annotation(
            prediction, ask.frame.geometry, reading, Origin.POINTED, ask.prompt, outline.low_res, outline.reason
        )
        self._events.put(OutlineResult(ask, outline, mark))

    # -- following through a clip

    def _follow_step(self, model: PromptModel, follow: TrackRequest) -> None:
        if self._walking is None or self._walking[0] is not follow:
            self._walking = (follow, self._walk(model, follow))
        found = next(self._walking[1], None)
        with self._changed:
            if self._follow is not follow:  # stopped, or replaced, meanwhile
                return
            self._done += found is not None
        if found is None:
            self.cancel()
            return
        index, step, frame = found
        why = step.lost or step.objection or (CARRIED if step.carried else "")
        reading = limit_quality(read_pointed(step.prediction, frame.geometry, follow.label, why), step.confidence)
        confidence = step.confidence if not step.lost else None
        mark = Annotation(step.prediction, frame.geometry, reading, Origin.FOLLOWED, why=why, confidence=confidence)
        self._events.put(TrackProgress(follow, index, mark, step.lost))

    def _walk(self, model: PromptModel, follow: TrackRequest) -> Iterator[tuple[int, TrackStep, Frame]]:
        """Leg after leg, each from the same outline."""
        frames: dict[FrameKey, Frame] = {}

        def along(leg: Sequence[int]) -> Iterator[Frame]:
            for index in leg:
                frame = self._frame(follow.clip, index)
                frames.clear()
                frames[frame.key] = frame
                yield frame

        for leg in follow.legs:
            for step in track_outline(along(leg), follow.first, self._follower(model)):
                yield step.key.index, step, frames[step.key]

    def _follower(self, model: PromptModel) -> Segmenter:
        """The model, which says how long it is at it."""
        plain = segmenter_of(model)
        answer = plain.ask
        assert answer is not None

        def ask(frame: Frame, prompt: Prompt, carried: Mask) -> PromptOutline:
            self._encode(model, frame)
            return answer(frame, prompt, carried)

        return replace(plain, ask=ask)

    def _frame(self, clip: ClipAccess, index: int) -> Frame:
        if self._open is None or self._open[0] is not clip:
            self._files.close()
            self._open = None
            self._open = (clip, self._files.enter_context(clip.open_source()))
        return clip.calibrate(self._open[1].seek(index))

    # -- live

    def _live_step(self, model: PromptModel) -> None:
        live = self._live
        if self._encoder_s is not None and self._encoder_s > MAX_AGE_S:
            self.end_live()
            self._events.put(TrackLost(TOO_SLOW))
            return
        steps = live.begun(self._follower(model))
        step = next(steps, None) if steps is not None else None
        with self._changed:
            if step is None or live.steps is not steps:
                return
            live.take(step)
        if step.lost:
            self.end_live()
            self._events.put(TrackLost(step.lost))

    def _carry(self) -> None:
        while not self._stopping.is_set():
            frame = self._live.waiting.take(0.2)
            if frame is None:
                continue
            with self._changed:
                if self._live.first is None:
                    continue
            try:
                self._live.carry(frame)
            except Exception as error:
                self._failed(error)


def _around(index: int, count: int) -> list[int]:
    """The neighbours of a frame, the nearest first, the next before the last."""
    near = [index + step * side for step in range(1, MOST_AHEAD) for side in (1, -1)]
    return [at for at in near if 0 <= at < count][:MOST_AHEAD]


class NoModel(UserError):
    """There is no prompt model: none that outlines what it is pointed at."""


def load_prompt_model(model_id: str = "") -> PromptModel:
    """The model of that id, or else the one that comes with the program, or else the first. Slow; ``UserError``."""
    from usviewer.infer.registry import list_models
    from usviewer.infer.session import engine_threads

    found = {spec.id: spec for spec in list_models() if spec.task == "prompt"}
    if not found:
        raise NoModel("No model here outlines what it is pointed at", "Add one with 'usviewer models add'")
    bundled = next((spec for spec in found.values() if spec.bundled), None)
    spec = found.get(model_id) or bundled or next(iter(found.values()))
    return PromptModel(spec, threads=engine_threads(live=True), spinning=False)


def known_labels() -> tuple[str, ...]:
    """What the other models call what they outline: the names that are measured as what they are."""
    from usviewer.infer.registry import list_models

    specs = [spec for spec in list_models() if spec.task == "segment" and finding_of(spec.finding).from_outline]
    return tuple(dict.fromkeys(spec.finding.replace("-", " ") for spec in specs))
