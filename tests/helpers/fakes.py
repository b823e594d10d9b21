"""A source and an engine under the test's control, for the pipeline and the window."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from usviewer.acquire.source import LiveSource, RecordedSource
from usviewer.frame import Frame, ImageGeometry, Pixels, SourceInfo, make_frame
from usviewer.infer.prediction import Edge, Prediction
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Status
from usviewer.pipeline.analyzer import LoadedModel


def picture(value: int, width: int = 64, height: int = 48) -> Pixels:
    """A textured picture that differs for every value."""
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 2 + 7 * value
    return np.repeat((ramp % 200 + 30).astype(np.uint8)[:, :, None], 3, axis=2)


class FakeClip(RecordedSource):
    """A recording of ``count`` different pictures."""

    def __init__(self, count: int, frames_per_second: float = 25.0, uri: str = "fake") -> None:
        self.count = count
        self._info = SourceInfo(uri, uri, "video", 64, 48, frames_per_second, count)
        self.sought: list[int] = []
        self._decoded: list[int] = []

    @property
    def info(self) -> SourceInfo:
        return self._info

    def _frame(self, index: int) -> Frame:
        return make_frame(picture(index), self._info.uri, index, index / (self._info.frames_per_second or 25.0))

    def count_decoded(self, decoded: list[int]) -> None:
        """Put the number of each frame that is decoded from now on here."""
        self._decoded = decoded

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count):
            self._decoded.append(index)
            yield self._frame(index)

    def seek(self, index: int) -> Frame:
        self.check_index(index)
        self.sought.append(index)
        return self._frame(index)

    def times_s(self) -> Sequence[float | None]:
        return [index / (self._info.frames_per_second or 25.0) for index in range(self.count)]


class FakeDevice(LiveSource):
    """A live source: frames come when the test puts them, errors too; None ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: queue.Queue[Pixels | Exception | None] = queue.Queue()
        self.opened = 0
        self._index = 0

    def open(self) -> FakeDevice:
        self.opened += 1
        return self

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("device:fake", "Fake grabber", "device", 64, 48, 30.0, None, live=True)

    def __iter__(self) -> Iterator[Frame]:
        while (item := self.frames.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield make_frame(item, "device:fake", self._index)
            self._index += 1

    def _release(self) -> None:
        return


class FakeEngine:
    """A model that always finds a 20 mm vessel. ``gate``, when given, holds each prediction until the test sets it."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.gate = gate
        self.seen: list[str] = []

    def predict(self, frame: Frame, state: TemporalGate | None = None) -> Prediction:
        if self.gate is not None:
            self.gate.wait(10)
        self.seen.append(frame.key.digest)
        return Prediction(frame.key, (frame.width_px, frame.height_px), (), "fake", "0" * 64, "none", {"infer": 1.0})

    def read(self, prediction: Prediction, geometry: ImageGeometry | None) -> Reading:
        square = np.array([(20.0, 14.0), (40.0, 14.0), (40.0, 34.0), (20.0, 34.0)])
        diameter = Measurement("ap_diameter", Dimension.LENGTH, 20.0, None, ends_xy_px=((30.0, 14.0), (30.0, 34.0)))
        return Reading(
            prediction.key,
            "aorta",
            Status.MEASURED,
            measurements=(diameter,),
            outlines_xy_px=(square,),
            plane=Plane.TRANSVERSE,
            edge=Edge.INNER,
            score=0.9,
            quality=0.9,
            model_id="fake",
            model_sha256="0" * 64,
        )

    def engine(self) -> LoadedModel:
        def read(prediction: Prediction, geometry: ImageGeometry | None, *_: object) -> Reading:
            return self.read(prediction, geometry)

        return LoadedModel(self.predict, "Fake 1.0", "auto", "none", read=read)


def wait_until(condition: object, timeout_s: float = 10.0) -> None:
    """Block until a condition holds; fails the test when it does not in time."""
    assert callable(condition)
    tick = threading.Event()
    for _ in range(int(timeout_s / 0.005)):
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError("the condition did not come true in time")
