"""Runs tasks in workers: what hangs, crashes or takes all memory is ended, named, and the others go on.

A worker is watched from outside, with all processes that it started: a library that never returns cannot be asked.
"""

from __future__ import annotations

import multiprocessing
import queue
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz.clock import Clock
from tests.fuzz.task import MAX_EXTRA_BYTES, Outcome, Result, Task
from tests.fuzz.worker import READY, WRITTEN, serve

LOOK_S = 0.05
START_S = 120.0
WRITE_S = 120.0  # a seed may have to be encoded first
# Ended from outside beyond this, before the computer suffers: the largest picture that is opened may take half of it.
MOST_BYTES = 2_500_000_000
# A worker that has grown so much is replaced: the next input's share could not be told.
GROWN_BYTES = 300_000_000
LOG_LINES = 12
INNERMOST_FIRST = "most recent call first"  # so begins a stack of faulthandler


class Worker:
    """One process, started when it is needed, and the folder it works in."""

    def __init__(self, folder: Path, keep: Path | None = None) -> None:
        self._folder = folder
        self._keep = keep
        self._log = folder / "said.txt"
        self._process: Any = None
        self._connection: Any = None
        self._at_rest = 0

    def run(self, task: Task) -> Result:
        """The outcome of a task. Time and memory may be the fault of inputs before it: tried again in a fresh process.

        A crash is not tried again: one that needs the inputs before it is a fault all the same.
        """
        fresh = self._process is None
        result = self._tried(task)
        if not fresh and result.outcome in ("time-out", "memory"):
            self.close()
            result = replace(self._tried(task), again=result.outcome)
        return result

    def close(self) -> None:
        """End the process and all that it started."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._process = None

    def _tried(self, task: Task) -> Result:
        place = Path(tempfile.mkdtemp(prefix="case-", dir=self._folder))
        try:
            self._start()
            self._connection.send((task, place))
            self._await(WRITTEN, WRITE_S)
            result = self._watched(task)
            if not result.good:
                self._put_by(result, place / "input")
            return result
        finally:
            shutil.rmtree(place, ignore_errors=True)
            self._rest()

    def _start(self) -> None:
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")  # nothing of this process in there
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, self._log), daemon=False)
        self._process.start()
        other.close()
        self._await(READY, START_S)
        self._at_rest = self._memory()

    def _await(self, word: str, seconds: float) -> None:
        """Wait for a word that does not depend on the product: where it does not come, the suite itself is broken."""
        try:
            came = self._connection.recv() if self._connection.poll(seconds) else None
        except EOFError:
            came = None
        if came != word:
            self.close()
            raise RuntimeError(f"a worker did not say '{word}' but '{came}':\n{self._printed()}")

    def _watched(self, task: Task) -> Result:
        clock, most = Clock(self._process.pid), 0
        while not self._connection.poll(LOOK_S):
            most = max(most, self._memory())
            over = most - self._at_rest > MOST_BYTES
            if over or clock.seconds() > task.max_seconds:
                return self._ended(task, "memory" if over else "time-out", most, clock.seconds())
        try:
            result: Result = self._connection.recv()
        except (EOFError, ConnectionResetError):
            return self._ended(task, "crash", most, clock.seconds())
        # The worker tells the whole peak of its memory; what it held at rest is not this input's.
        extra = max(0, max(most, result.extra_bytes) - self._at_rest)
        too_much = result.good and extra > MAX_EXTRA_BYTES + result.picture_bytes
        return replace(result, outcome="memory" if too_much else result.outcome, extra_bytes=extra)

    def _memory(self) -> int:
        """The memory of the largest process of the worker."""
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            return max(_resident(each) for each in (process, *process.children(recursive=True)))
        return 0

    def _ended(self, task: Task, outcome: Outcome, most: int, seconds: float) -> Result:
        self._process.join(0 if outcome != "crash" else 5)
        code = self._process.exitcode
        self.close()
        where = self._printed()
        return Result(task, outcome, f"exit code {code}" if outcome == "crash" else "", where,
                      extra_bytes=max(0, most - self._at_rest), seconds=seconds)  # fmt: skip

    def _rest(self) -> None:
        if self._process is not None and self._memory() > self._at_rest + GROWN_BYTES:
            self.close()

    def _printed(self) -> str:
        """What the worker printed last: of the stack of a crash or an endless loop, the innermost calls."""
        with suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            stacks = [at for at, line in enumerate(lines) if INNERMOST_FIRST in line]
            return "\n".join(lines[stacks[-1] :][:LOG_LINES] if stacks else lines[-LOG_LINES:])
        return ""

    def _put_by(self, result: Result, inputs: Path) -> None:
        if self._keep is None:
            return
        name = "".join(letter if letter.isalnum() else "-" for letter in result.task.again).strip("-")
        target = self._keep / name
        shutil.rmtree(target, ignore_errors=True)
        with suppress(OSError, shutil.Error):  # a pipe is not copied
            shutil.copytree(inputs, target, symlinks=True)
        with suppress(OSError):
            target.mkdir(parents=True, exist_ok=True)
            repeat = f"python -m tests.fuzz {result.task.again}"
            (target / "repeat.txt").write_text(f"{repeat}\n{result.outcome}\n{result.said}\n{result.where}\n", "utf-8")


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def run(tasks: Iterable[Task], folder: Path, jobs: int = 1, keep: Path | None = None) -> Iterator[Result]:
    """The results of tasks, in their order."""
    with _workers(folder, jobs, keep) as idle, ThreadPoolExecutor(jobs) as pool:

        def one(task: Task) -> Result:
            worker = idle.get()
            try:
                return worker.run(task)
            finally:
                idle.put(worker)

        yield from pool.map(one, tasks)


@contextmanager
def _workers(folder: Path, jobs: int, keep: Path | None) -> Iterator[queue.Queue[Worker]]:
    idle: queue.Queue[Worker] = queue.Queue()
    workers = []
    for number in range(jobs):
        own = Path(tempfile.mkdtemp(prefix=f"worker-{number}-", dir=folder))
        workers.append(Worker(own, keep))
        idle.put(workers[-1])
    try:
        yield idle
    finally:
        for worker in workers:
            worker.close()
