"""Slow work beside the window: one worker thread, results delivered where they are polled."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from usviewer.errors import UserError
from usviewer.logs import OwnText
from usviewer.pipeline.refusals import as_user_error, is_bug

T = TypeVar("T")
# What is being written gets its time; what is only being read may be left behind (``stop``).
JOIN_DEADLINE_S = 5.0
_log = logging.getLogger(__name__)


def own_threads() -> int:
    """How many of the program's own threads run."""
    return sum(thread.name.startswith("usviewer") for thread in threading.enumerate())


def ended_in_time(ended: bool, work: str) -> bool:
    """Whether threads have ended before their deadline, as it was found; it is logged where they have not."""
    if not ended:
        _log.warning("a thread did not end in time: %s", OwnText(work))
    return ended


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One piece of work. ``cancel`` keeps its result from being delivered; work that has begun is not interrupted."""

    work: Callable[[], T]
    done: Callable[[T], None] | None
    failed: Callable[[UserError], None] | None
    cancelled: bool = False

    def cancel(self) -> None:
        """Its result is no longer wanted."""
        self.cancelled = True


class Jobs:
    """Runs work in the order it was submitted, in one thread that starts with the first job.

    ``poll`` calls the callbacks in the caller's thread: the window polls, so no worker ever touches a widget.
    """

    def __init__(self, name: str = "usviewer-jobs") -> None:
        self._name = name
        self._todo: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[tuple[Job[Any], Any, BaseException | None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open = 0

    @property
    def busy(self) -> bool:
        """True while something is submitted whose result was not yet delivered."""
        return self._open > 0

    def submit(
        self,
        work: Callable[[], T],
        done: Callable[[T], None] | None = None,
        failed: Callable[[UserError], None] | None = None,
    ) -> Job[T]:
        """Do ``work`` in the worker. From ``poll``: ``done(result)``, or ``failed(error)`` for whatever was raised.

        A full memory and a bug are failures like any other, in a sentence; a bug is raised besides.
        """
        job = Job(work, done, failed)
        self._open += 1
        self._todo.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return job

    def poll(self) -> None:
        """Deliver what is finished. A bug, or what nobody takes, is raised here once the job's owner knows of it."""
        while True:
            try:
                job, result, error = self._finished.get_nowait()
            except queue.Empty:
                return
            self._open -= 1
            if job.cancelled:
                continue
            if error is None:
                if job.done is not None:
                    job.done(result)
                continue
            if isinstance(error, Exception) and job.failed is not None:
                job.failed(as_user_error(error))
                if not is_bug(error):
                    continue
            raise error

    def stop(self, deadline_s: float = JOIN_DEADLINE_S) -> bool:
        """Finish everything that was submitted, then end the thread; False when that took too long. May be repeated."""
        if self._thread is None:
            return True
        self._todo.put(None)
        self._thread.join(deadline_s)
        return ended_in_time(not self._thread.is_alive(), "jobs")

    def _work(self) -> None:
        while (job := self._todo.get()) is not None:
            result, failure = None, None
            try:
                if not job.cancelled:
                    result = job.work()
            except BaseException as error:  # delivered to, and raised by, whoever polls
                failure = error
            self._finished.put((job, result, failure))
