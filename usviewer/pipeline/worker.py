"""Work in threads: how it is started, asked to stop and waited for, and how its failures reach who asks.

The only file that starts threads. Every thread is a daemon with a name that begins with ``usviewer``, so that one which
hangs in a driver or an engine can be left behind, and counted.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from usviewer.errors import UserError
from usviewer.logs import OwnText
from usviewer.plain_text import printable

T = TypeVar("T")
# Stopping what is only being read never takes longer. What blocks beyond that (a device that hangs in its driver, an
# engine that never ends) is left behind in a daemon thread, and the log says so.
JOIN_DEADLINE_S = 1.0
# After a second Ctrl-C nothing is waited for any longer: what blocks is left behind.
INTERRUPTED_S = 1.0
# The end of a script waits longer than a window that closes: it cannot leave a thread behind without a crash.
EXIT_DEADLINE_S = 5.0
PREFIX = "usviewer-"
_log = logging.getLogger(__name__)
_known: weakref.WeakSet[Worker] = weakref.WeakSet()  # a worker that runs is held by its threads
_known_lock = threading.Lock()
# Of an error in the program its first letters are shown, of the frames that were refused the first numbers.
MOST_LETTERS, MOST_NAMED = 160, 8
NO_MEMORY = "There was not enough memory for this picture"
# What is being written gets its time; what is only being read may be left behind (``stop``).
FINISH_DEADLINE_S = 5.0


def own_threads() -> int:
    """How many of the program's own threads run."""
    return sum(thread.name.startswith(PREFIX) for thread in threading.enumerate())


class Worker:
    """Some threads that do one piece of work: one stop, one deadline and one failure for all of them.

    A subclass begins its threads in ``start`` (``_begin``) and looks at ``_stopping`` wherever it goes round. ``work``
    names it for the log and the user, for example "the playback"; ``remedy`` is what to do where a bug has ended it.
    ``release`` ends what blocks a thread, for example closes a device: it may block itself, so a thread calls it.
    """

    def __init__(self, work: str, *, remedy: str = "", release: Callable[[], None] | None = None) -> None:
        self._work_name, self._remedy, self._release = work, remedy, release
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._releasing: threading.Thread | None = None
        self._guarded = threading.Lock()  # of the threads and the failures
        self._untold: Exception | None = None
        self.failure: Exception | None = None  # the newest bug, also once it was raised

    def request_stop(self) -> None:
        """End soon, without waiting; may be called again. What a thread waits for is woken, what blocks is released."""
        self._stopping.set()
        self._wake()
        with self._guarded:
            released = self._releasing is not None and self._releasing.is_alive()
            if self._release is not None and self._threads and not released:
                self._releasing = self._started("let-go", self._release)

    def join(self, deadline_s: float | None = JOIN_DEADLINE_S) -> bool:
        """Wait for the end; False (and a line in the log) when it did not come in time. None waits without an end."""
        until_s = time.monotonic() + deadline_s if deadline_s is not None else None
        for thread in self._all():
            thread.join(max(0.0, until_s - time.monotonic()) if until_s is not None else None)
        if self.alive:
            _log.warning("a thread did not end in time: %s", OwnText(self._work_name))
        return not self.alive

    def stop(self, deadline_s: float = JOIN_DEADLINE_S) -> bool:
        """Ask for the end and wait for it; safe to call twice. False when it did not come in time."""
        self.request_stop()
        return self.join(deadline_s)

    @property
    def alive(self) -> bool:
        """Whether a thread still runs."""
        return any(thread.is_alive() for thread in self._all())

    def raise_failure(self) -> None:
        """Raise a bug that a thread met, once: the window does so where the user hears of it."""
        with self._guarded:
            error, self._untold = self._untold, None
        if error is not None:
            raise error

    # -- for the work itself

    def _begin(self, name: str, task: Callable[[], None]) -> None:
        """One more thread. Whatever the task raises ends this thread only, and is told by ``_ended``."""
        with self._guarded:
            self._threads.append(self._started(name, task))
        with _known_lock:
            _known.add(self)

    def _wake(self) -> None:
        """Wake every thread that waits, so that it sees the stop. Returns at once; called at each request."""

    def _ended(self, error: UserError) -> None:
        """Tell the user, in the run's own way, why a thread has ended. Called in that thread."""

    def _note_bug(self, error: Exception) -> None:
        """Keep a bug for who asks, once for all its repetitions: a live picture would tell it thirty times a second."""
        if not is_bug(error):
            return
        with self._guarded:
            before = self.failure
            if before is None or (type(before), str(before)) != (type(error), str(error)):
                self.failure = self._untold = error

    def _started(self, name: str, task: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guard, args=(task,), name=PREFIX + name, daemon=True)
        thread.start()
        return thread

    def _all(self) -> list[threading.Thread]:
        with self._guarded:
            releasing = [self._releasing] if self._releasing is not None else []
            return [*releasing, *self._threads]

    def _guard(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            self._note_bug(error)
            if is_bug(error):
                self._ended(UserError(f"An error in the program ended {self._work_name}", self._remedy))
                return
            _log.warning("%s ended: %s", OwnText(self._work_name), error)
            self._ended(as_user_error(error))


def join_all(workers: Iterable[Worker], deadline_s: float = JOIN_DEADLINE_S) -> bool:
    """Wait for all of them within one deadline; False when one did not end in time."""
    until_s = time.monotonic() + deadline_s
    ended = True
    for worker in workers:  # each of them, also after one that did not end
        ended = worker.join(max(0.0, until_s - time.monotonic())) and ended
    return ended


def stop_all(deadline_s: float = JOIN_DEADLINE_S) -> bool:
    """Stop every worker that still runs, before the program ends. False when one hangs.

    Python ends a thread that comes back from a library's code after the end of the interpreter, inside that code:
    through C++ this aborts the process (SIGABRT), and the exit code is lost.
    """
    with _known_lock:
        running = [worker for worker in _known if worker.alive]
    for worker in running:
        worker.request_stop()
    return join_all(running, deadline_s)


# For scripts that use the library. The program itself asks earlier, and leaves behind what hangs (``__main__``).
atexit.register(stop_all, EXIT_DEADLINE_S)


class Mailbox(Generic[T]):
    """A slot, not a queue: what is put replaces what waits."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.replaced = 0

    def put(self, item: T) -> None:
        """Never blocks. Counts the item that was replaced before anyone took it."""
        with self._condition:
            self.replaced += self._item is not None
            self._item = item
            self._condition.notify()

    def take(self, timeout_s: float) -> T | None:
        """The newest item, once; None after the time-out or when closed."""
        with self._condition:
            if self._item is None and not self._closed:
                self._condition.wait(timeout_s)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake whoever waits; nothing is handed out any more but what is there."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class SerialExecutor(Worker):
    """Calls what is submitted, one after the other, in one thread that starts with the first call.

    Unlike the executors of ``concurrent.futures`` its thread is a daemon: one that hangs does not keep the program from
    ending. Asked to stop, it still finishes what was submitted and not cancelled.
    """

    def __init__(self, name: str, work: str) -> None:
        super().__init__(work)
        self._name = name
        self._todo: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Call it in the thread; whatever it raises is raised by ``result`` of the future."""
        future: Future[T] = Future()
        self._todo.put((future, call))
        if not self._threads:
            self._begin(self._name, self._serve)
        return future

    def _wake(self) -> None:
        self._todo.put(None)

    def _serve(self) -> None:
        while self._call_next():
            pass

    def _call_next(self) -> bool:
        """In a function of its own, so that no frame is held while the next call is waited for."""
        todo = self._todo.get()
        if todo is None:
            return False
        future, call = todo
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:  # handed over, and raised by whoever asks for the result
                future.set_exception(error)
        return True


@contextmanager
def serial_executor(name: str, work: str) -> Iterator[SerialExecutor]:
    """An executor for a block. Its thread has ended when the block is left; after Ctrl-C it may be left behind."""
    executor = SerialExecutor(name, work)
    deadline_s: float | None = None
    try:
        yield executor
    except KeyboardInterrupt:
        deadline_s = INTERRUPTED_S
        raise
    finally:
        executor.request_stop()
        executor.join(deadline_s)


# --- why a frame or a piece of work failed ----------------------------------------------------------------------------


def reason_of(error: Exception) -> str:
    """The true reason in one clause."""
    if isinstance(error, UserError):
        return error.what
    if isinstance(error, MemoryError):
        return NO_MEMORY
    said = printable(next(iter(str(error).strip().splitlines()), ""))[:MOST_LETTERS]
    return f"An error in the program ({type(error).__name__}{f': {said}' if said else ''})"


def is_bug(error: Exception) -> bool:
    """Whether the error is a bug, whose traceback the developers want."""
    return not isinstance(error, UserError | MemoryError)


def as_user_error(error: Exception) -> UserError:
    """The same for whoever shows errors."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, MemoryError):
        return UserError(NO_MEMORY, "Close other programs and try again")
    return UserError(reason_of(error), "Please report it")


def refusals(frames_by_reason: Mapping[str, Sequence[int]], count: int) -> tuple[str, ...]:
    """A sentence for each reason, with the frames of ``count`` that were refused for it."""
    return tuple(
        f"{len(frames)} of {count} frames could not be read (frame {_named(frames)}): {reason}"
        for reason, frames in frames_by_reason.items()
    )


def _named(frames: Sequence[int]) -> str:
    named = ", ".join(map(str, frames[:MOST_NAMED]))
    return named if len(frames) <= MOST_NAMED else f"{named}, ..."


# --- jobs of the window -----------------------------------------------------------------------------------------------


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
