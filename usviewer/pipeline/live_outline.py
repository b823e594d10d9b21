"""An outline followed through live frames: one thread encodes the newest, another carries it on to every frame."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

from usviewer.frame import Frame
from usviewer.infer.prediction import Instance, Prediction
from usviewer.infer.tracking.live import MotionTracker
from usviewer.infer.tracking.track import Segmenter, TrackStep, track_outline
from usviewer.measure.pointed import limit_quality, read_pointed
from usviewer.measure.reading import Reading
from usviewer.pipeline.prompt_messages import LiveOutline
from usviewer.pipeline.worker import Mailbox


class Live:
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
