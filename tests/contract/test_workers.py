"""One contract over everything that runs in threads: stop, deadline, failure, and no thread left."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest

import usviewer
from tests.helpers.fakes import FakeClip, FakeDevice, FakeEngine, wait_until
from tests.helpers.threads import no_thread_left
from usviewer.acquire import Source
from usviewer.pipeline.analyzer import unchanged
from usviewer.pipeline.clip_analysis import ClipAnalysis
from usviewer.pipeline.live_run import LiveRun
from usviewer.pipeline.playback import Playback
from usviewer.pipeline.prompt_run import Prompting
from usviewer.pipeline.review_run import ReviewRun
from usviewer.pipeline.worker import JOIN_DEADLINE_S, PREFIX, Jobs

Hook = Callable[[], object]  # called in a thread of the run, at the place where it may block or fail


class Run(Protocol):
    def start(self) -> None: ...

    def stop(self) -> bool: ...

    def raise_failure(self) -> None: ...


class _Flat:
    """A clip that has no scale."""

    def decide(self, _said: object) -> None:
        return None


def _gather(_source: Source) -> Any:
    return _Flat()


def _clip(hook: Hook) -> Callable[[], Source]:
    def open_clip() -> Source:
        hook()
        return FakeClip(3)

    return open_clip


class _Device(FakeDevice):
    """Its read blocks until it is closed from outside."""

    def _release(self) -> None:
        self.frames.put(None)


def _live(hook: Hook) -> LiveRun:
    def open_device() -> Source:
        hook()
        return _Device()

    return LiveRun(open_device, unchanged, FakeEngine().engine())


def _playback(hook: Hook) -> Playback:
    return Playback(_clip(hook), _gather)


class _AnalysisAlone(ClipAnalysis):
    """With the playback that it follows."""

    def __init__(self, hook: Hook) -> None:
        self._shown = Playback(_clip(lambda: None), _gather)
        super().__init__(_clip(hook), self._shown, FakeEngine().engine())

    def start(self) -> None:
        self._shown.start()
        super().start()

    def stop(self, deadline_s: float = JOIN_DEADLINE_S) -> bool:
        ended = super().stop(deadline_s)
        return self._shown.stop(deadline_s) and ended


class _Review(ReviewRun):
    """The model of the clip that it plays fails, or blocks."""

    def __init__(self, hook: Hook) -> None:
        super().__init__(_clip(lambda: None), _gather)
        engine = FakeEngine()
        answer = engine.predict

        def predict(*arguments: Any) -> Any:
            hook()
            return answer(*arguments)

        engine.predict = predict  # type: ignore[method-assign]
        self._engine = engine.engine()

    def start(self) -> None:
        super().start()
        self.set_model(self._engine)


def _prompting(hook: Hook) -> Prompting:
    def load() -> Any:
        hook()
        return SimpleNamespace(notice="")

    return Prompting(load)


class _OneJob(Jobs):
    def __init__(self, hook: Hook) -> None:
        super().__init__("files")
        self._hook = hook

    def start(self) -> None:
        self.submit(self._hook)

    def raise_failure(self) -> None:
        self.poll()


RUNS: dict[str, Callable[[Hook], Run]] = {
    "live": _live,
    "playback": _playback,
    "analysis": _AnalysisAlone,
    "review": _Review,
    "prompting": _prompting,
    "jobs": _OneJob,
}


@pytest.fixture(params=RUNS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[Hook], Run]]:
    """How each kind of run is made; no thread of it may be left after the test."""
    with no_thread_left():
        yield RUNS[request.param]


def test_a_run_that_never_began_is_stopped_at_once(make: Callable[[Hook], Run]) -> None:
    run = make(lambda: None)
    assert run.stop() and run.stop()


def test_a_run_is_stopped_in_time_and_may_be_stopped_again(make: Callable[[Hook], Run]) -> None:
    reached = threading.Event()
    run = make(reached.set)
    run.start()
    assert reached.wait(10)
    assert run.stop() and run.stop()
    run.raise_failure()  # nothing was wrong


def test_what_hangs_is_left_behind_at_the_deadline_and_said_in_the_log(
    make: Callable[[Hook], Run], caplog: pytest.LogCaptureFixture
) -> None:
    reached, gate = threading.Event(), threading.Event()

    def hang() -> None:
        reached.set()
        assert gate.wait(30)

    run = make(hang)
    run.start()
    assert reached.wait(10)
    began_s = time.monotonic()
    ended = run.stop() if not isinstance(run, Jobs) else run.stop(JOIN_DEADLINE_S)
    assert not ended and time.monotonic() - began_s < JOIN_DEADLINE_S + 0.5
    assert "did not end in time" in caplog.text
    ours = [thread for thread in threading.enumerate() if thread.name.startswith(PREFIX)]
    assert ours and all(thread.daemon for thread in ours), "what is left behind never keeps the program alive"
    gate.set()
    wait_until(run.stop)


def test_a_bug_in_a_thread_reaches_who_asks_once(make: Callable[[Hook], Run]) -> None:
    def fail() -> None:
        raise ZeroDivisionError("in a thread")

    run, told = make(fail), list[str]()
    run.start()

    def asked() -> bool:
        try:
            run.raise_failure()
        except ZeroDivisionError as error:
            told.append(str(error))
        return bool(told)

    wait_until(asked)
    assert run.stop()
    asked()
    assert told == ["in a thread"]


def test_one_file_starts_all_threads() -> None:
    root = Path(usviewer.__file__).parent
    sources = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    starting = [path for path, text in sources.items() if "Thread(" in text or "ThreadPool" in text]
    assert starting == ["pipeline/worker.py"]


BEGUN = """
import sys, time
from usviewer.__main__ import _leave
from usviewer.pipeline.worker import SerialExecutor
worker = SerialExecutor("files", "a test")
worker.submit(lambda: (time.sleep(float(sys.argv[1])), print("finished", flush=True)))
"""


def _end_of(script: str, seconds: float) -> tuple[int, str, float]:
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", BEGUN + script, str(seconds)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout, time.monotonic() - began_s


def test_the_end_of_a_script_waits_for_what_is_being_done() -> None:
    assert _end_of("sys.exit(3)", 0.3)[:2] == (3, "finished\n")


def test_the_program_leaves_what_hangs_behind_with_its_own_exit_code() -> None:
    code, said, took_s = _end_of("_leave(3); sys.exit(4)", 60.0)
    assert (code, said) == (3, "") and took_s < 30
