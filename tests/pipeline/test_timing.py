"""Percentiles and rates."""

from __future__ import annotations

import pytest

from usviewer.pipeline.timing import KEPT, Percentiles, Timings


def test_percentiles_of_known_durations() -> None:
    timings = Timings()
    for milliseconds in range(101):
        timings.add("infer", 0.0, milliseconds / 1000)
    found = timings.percentiles("infer")
    assert (found.p50, found.p95, found.p99, found.maximum) == pytest.approx((50.0, 95.0, 99.0, 100.0))
    assert timings.percentiles("decode") == Percentiles()


def test_only_the_last_are_kept() -> None:
    timings = Timings()
    for _ in range(KEPT):
        timings.add_ms("infer", 1000.0)
    for _ in range(KEPT):
        timings.add_ms("infer", 1.0)
    assert timings.percentiles("infer").maximum == 1.0


def test_a_rate_fades_when_events_stop() -> None:
    timings = Timings()
    for index in range(61):
        timings.tick("capture", index / 30)
    assert timings.rate("capture", 2.0) == pytest.approx(30.0)
    assert timings.rate("capture", 9.0) == 0.0
