"""The stages over a whole clip, overlapped, without dropping a frame."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar, cast

from usviewer.frame import Frame
from usviewer.pipeline.analyzer import FrameAnalyzer, FrameResult

# Frames that may wait between two stages. More would only hold memory: a 4K frame is 25 MB.
STAGE_DEPTH = 4
# A model that has read none of so many frames reads none of the clip: its error is the input's own.
MOST_FIRST_FAILURES = 10
# After a second Ctrl-C nothing is waited for any longer: what blocks is left behind.
INTERRUPTED_S = 1.0
_END = object()

T = TypeVar("T")


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
    except KeyboardInterrupt:
        stop.set()
        thread.join(INTERRUPTED_S)
        raise
    except BaseException:
        stop.set()
        thread.join()
        raise
    thread.join()


@contextmanager
def read_ahead(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
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
    except KeyboardInterrupt:
        thread.join(INTERRUPTED_S)
        raise
    except BaseException:
        thread.join()
        raise
    thread.join()


def analyze_clip(frames: Iterable[Frame], analyzer: FrameAnalyzer) -> Generator[FrameResult, None, None]:
    """Every frame of a clip, in order, through calibrate, infer and measure.

    Decoding (and calibration) runs in one thread, inference and measurement in a second, and the caller's own work on
    the results (drawing, encoding) in a third: both cores stay busy, no frame is dropped.

    A frame on which anything is raised is refused with that reason (``FrameResult.problem``), and the others go on.
    Where no frame can be read at all, the first error is raised.
    """

    def calibrated() -> Generator[tuple[Frame, Exception | None], None, None]:
        for frame in frames:  # what the source itself raises ends the clip
            yield analyzer.calibrated(frame)

    def analyzed() -> Generator[FrameResult, None, None]:
        first: Exception | None = None
        failed, read_any = 0, False
        with closing(prefetch(calibrated())) as waiting:
            for frame, problem in waiting:
                done = analyzer.analyze(frame, problem)
                read_any |= done.problem is None
                failed += done.problem is not None
                first = first or done.problem
                if first is not None and not read_any and failed >= MOST_FIRST_FAILURES:
                    raise first
                yield done
        if first is not None and not read_any:
            raise first

    return prefetch(analyzed())
