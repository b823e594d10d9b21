"""Slow work in the background of the window: in order, delivered where it is polled, nothing lost at the end."""

from __future__ import annotations

import threading

import pytest

from tests.helpers.fakes import wait_until
from usviewer.errors import UserError
from usviewer.pipeline.worker import Jobs


def drain(jobs: Jobs) -> None:
    def delivered() -> bool:
        jobs.poll()
        return not jobs.busy

    wait_until(delivered)


def test_results_come_in_order_in_the_thread_that_polls() -> None:
    jobs, got = Jobs(), []
    for number in range(5):
        jobs.submit(lambda n=number: n * n, lambda result: got.append((result, threading.current_thread())))
    drain(jobs)
    assert got == [(n * n, threading.main_thread()) for n in range(5)]
    assert jobs.stop()


def test_a_user_error_is_delivered_and_the_worker_goes_on() -> None:
    jobs, failures, got = Jobs(), [], []

    def fail() -> None:
        raise UserError("The disk is full", "Free some space")

    jobs.submit(fail, failed=failures.append)
    jobs.submit(lambda: 1, got.append)
    drain(jobs)
    assert [str(error) for error in failures] == ["The disk is full. Free some space."]
    assert got == [1]
    assert jobs.stop()


def test_a_bug_is_raised_where_it_is_polled() -> None:
    jobs = Jobs()
    jobs.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drain(jobs)
    assert jobs.stop()


def test_a_cancelled_job_delivers_nothing() -> None:
    jobs, got, gate = Jobs(), [], threading.Event()
    jobs.submit(lambda: gate.wait(10), got.append)
    jobs.submit(lambda: 1, got.append)
    jobs.cancel()
    jobs.submit(lambda: 2, got.append)
    gate.set()
    drain(jobs)
    assert got == [2], "what was submitted since is delivered"
    assert jobs.stop()


def test_stopping_finishes_what_was_submitted() -> None:
    jobs, written = Jobs(), []
    for number in range(20):
        jobs.submit(lambda n=number: written.append(n))
    assert jobs.stop()
    assert written == list(range(20))
    assert jobs.stop(), "stopping twice is allowed"


def test_stopping_what_never_began_is_allowed() -> None:
    assert Jobs().stop()


def test_a_bug_reaches_the_owner_of_the_job_before_it_is_raised() -> None:
    """Without, a recording would wait for ever for the pictures that a bug has taken."""
    jobs, failures, got = Jobs(), [], []
    jobs.submit(lambda: 1 / 0, failed=failures.append)
    jobs.submit(lambda: 1, got.append)
    with pytest.raises(ZeroDivisionError):
        drain(jobs)
    assert [error.what for error in failures] == ["An error in the program (ZeroDivisionError: division by zero)"]
    drain(jobs)
    assert got == [1] and not jobs.busy
    assert jobs.stop()


def test_a_full_memory_is_said_to_the_owner_of_the_job_and_is_no_bug() -> None:
    jobs, failures = Jobs(), []

    def fill() -> None:
        raise MemoryError

    jobs.submit(fill, failed=failures.append)
    drain(jobs)
    assert "not enough memory" in failures[0].what
    assert jobs.stop()
