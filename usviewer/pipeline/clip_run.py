"""The stages over a whole clip, overlapped, without dropping a frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TypeVar, cast

from usviewer.frame import Frame
from usviewer.pipeline.analyzer import FrameAnalyzer, FrameResult
from usviewer.pipeline.worker import serial_executor

# Frames that may wait between two stages. More would only hold memory: a 4K frame is 25 MB.
STAGE_DEPTH = 4
# A model that has read none of so many frames reads none of the clip: its error is the input's own.
MOST_FIRST_FAILURES = 10
_END = object()

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = STAGE_DEPTH) -> Generator[T, None, None]:
    """Iterate in a thread of its own, at most ``depth`` items ahead; same items, same order.

    An exception of ``items`` is raised here, at its place. Closing the iterator (or leaving its loop) closes ``items``
    in the thread, and ends the thread.
    """
    iterator = iter(items)
    with serial_executor("stage", "a stage of the clip") as stage:
        # one more than may wait: while the consumer has its item, the thread works on that one
        ahead = deque(stage.submit(partial(next, iterator, _END)) for _ in range(depth + 1))
        try:
            while (item := ahead.popleft().result()) is not _END:
                ahead.append(stage.submit(partial(next, iterator, _END)))
                yield cast("T", item)
        finally:
            for future in ahead:
                future.cancel()
            if isinstance(items, Generator):
                stage.submit(items.close)


@contextmanager
def read_ahead(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begin something slow in a thread of its own; what is given waits for its result.

    What ``work`` raises is raised there, each time it is asked. The thread has ended when the block is left.
    """
    with serial_executor("ahead", "what was begun ahead") as thread:
        yield thread.submit(work).result


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
