"""The stages over a whole clip, overlapped, without dropping a frame."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure.reading import Reading

# Frames that may wait between two stages. More would only hold memory: a 4K frame is 25 MB.
STAGE_DEPTH = 4
_END = object()

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Analysed:
    """One frame with everything that was computed from it."""

    frame: Frame
    prediction: Prediction
    reading: Reading


def prefetch(items: Iterable[T], depth: int = STAGE_DEPTH) -> Generator[T, None, None]:
    """Iterate in a thread of its own, at most ``depth`` items ahead; same items, same order.

    An exception of ``items`` is raised here, at its place. Closing the iterator (or leaving its loop) stops and joins
    the thread.
    """
    slots: queue.Queue[object] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                slots.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as error:  # handed over, and raised by the consumer
            failure.append(error)
        finally:
            if isinstance(items, Generator):
                items.close()
            put(_END)

    thread = threading.Thread(target=work, name="usviewer-stage", daemon=True)
    thread.start()
    try:
        while (item := slots.get()) is not _END:
            yield cast("T", item)
        if failure:
            raise failure[0]
    finally:
        stop.set()
        thread.join()


@contextmanager
def ahead(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begin something slow in a thread of its own; what is given waits for its result.

    What ``work`` raises is raised there, each time it is asked. The thread has ended when the block is left.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # handed over, and raised by whoever asks
            failure.append(error)

    def give() -> T:
        thread.join()
        if failure:
            raise failure[0]
        return result[0]

    thread = threading.Thread(target=run, name="usviewer-ahead", daemon=True)
    thread.start()
    try:
        yield give
    finally:
        thread.join()


def analyse_clip(
    frames: Iterable[Frame],
    calibrate: Callable[[Frame], Frame],
    predict: Callable[[Frame], Prediction],
    read: Callable[[Prediction, ImageGeometry | None], Reading],
) -> Generator[Analysed, None, None]:
    """Every frame of a clip, in order, through calibrate, infer and measure.

    Decoding (and calibration) runs in one thread, inference and measurement in a second, and the caller's own work on
    the results (drawing, encoding) in a third: both cores stay busy, no frame is dropped.
    """

    def decoded() -> Generator[Frame, None, None]:
        for frame in frames:
            yield calibrate(frame)

    def analysed() -> Generator[Analysed, None, None]:
        with closing(prefetch(decoded())) as waiting:
            for frame in waiting:
                prediction = predict(frame)
                yield Analysed(frame, prediction, read(prediction, frame.geometry))

    return prefetch(analysed())
