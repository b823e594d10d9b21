"""Slow work in the background of the window: one thread, results delivered where they are polled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from usviewer.errors import UserError
from usviewer.pipeline.refusals import as_user_error, is_bug
from usviewer.pipeline.worker import SerialExecutor

T = TypeVar("T")
# What is being written gets its time; what is only being read may be left behind (``stop``).
FINISH_DEADLINE_S = 5.0


@dataclass(slots=True, eq=False)
class _Job(Generic[T]):
    """One piece of work, and who is told of its result."""

    future: Future[T]
    done: Callable[[T], None] | None
    failed: Callable[[UserError], None] | None
    cancelled: bool = False

    def deliver(self) -> None:
        if self.cancelled:
            return
        error = self.future.exception()
        if error is None:
            if self.done is not None:
                self.done(self.future.result())
            return
        if isinstance(error, Exception) and self.failed is not None:
            self.failed(as_user_error(error))
            if not is_bug(error):
                return
        raise error


class Jobs:
    """Runs work in the order it was submitted, in one thread that starts with the first job.

    ``poll`` calls the callbacks in the caller's thread: the window polls, so no worker ever touches a widget.
    """

    def __init__(self, name: str = "jobs") -> None:
        self._executor = SerialExecutor(name, f"the work on {name}")
        self._open: deque[_Job[Any]] = deque()

    @property
    def busy(self) -> bool:
        """True while something is submitted whose result was not yet delivered."""
        return bool(self._open)

    def submit(
        self,
        work: Callable[[], T],
        done: Callable[[T], None] | None = None,
        failed: Callable[[UserError], None] | None = None,
    ) -> None:
        """Do ``work`` in the thread. From ``poll``: ``done(result)``, or ``failed(error)`` for whatever was raised.

        A full memory and a bug are failures like any other, in a sentence; a bug is raised as well.
        """
        self._open.append(_Job(self._executor.submit(work), done, failed))

    def cancel(self) -> None:
        """Deliver no result of what was submitted so far; what has begun is not interrupted."""
        for job in self._open:
            job.cancelled = True
            job.future.cancel()

    def poll(self) -> None:
        """Deliver what is finished. A bug, or what nobody takes, is raised here once the job's owner knows of it."""
        while self._open and self._open[0].future.done():
            self._open.popleft().deliver()

    def request_stop(self) -> None:
        """Finish everything that was submitted, then end the thread; not waited for here. May be repeated."""
        self._executor.request_stop()

    def stop(self, deadline_s: float = FINISH_DEADLINE_S) -> bool:
        """Finish everything that was submitted, then end the thread; False when that took too long. May be repeated."""
        return self._executor.stop(deadline_s)
