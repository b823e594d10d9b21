"""Review: the exact frame, its own reading, the clip's rate, and every frame analysed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from tests.fakes import FakeClip, FakeEngine, wait_until
from usviewer.frame import Frame
from usviewer.measure.reading import Provenance, Reading
from usviewer.pipeline.review import ReviewRun, ReviewSnapshot, media_times


def same(frame: Frame) -> Frame:
    return frame


@pytest.fixture
def run() -> Iterator[ReviewRun]:
    review = ReviewRun(lambda: FakeClip(50), same, FakeEngine().engine())
    review.start()
    yield review
    assert review.stop()
    assert review.stop()


def shown(run: ReviewRun) -> int:
    frame = run.snapshot().frame
    return -1 if frame is None else frame.key.index


def test_every_frame_is_analysed_and_has_its_own_reading(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    snapshot = run.snapshot()
    assert sorted(snapshot.readings) == list(range(50))
    for index in (7, 31, 0, 49):
        run.seek(index)
        wait_until(lambda at=index: shown(run) == at)
        now = run.snapshot()
        assert now.frame is not None and now.reading is not None
        assert now.reading.key.digest == now.frame.key.digest


def test_dragging_ends_on_the_exact_frame(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().count == 50)
    for index in range(5, 45, 3):
        run.seek(index, exact=False)
    wait_until(lambda: shown(run) == 44)


def test_steps_stop_at_the_ends(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().count == 50)
    run.seek(48)
    wait_until(lambda: shown(run) == 48)
    run.step(5)
    wait_until(lambda: shown(run) == 49)
    run.step(-100)
    wait_until(lambda: shown(run) == 0)


def test_playing_keeps_the_rate_and_stops_at_the_end(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    began = time.monotonic()
    run.play(4.0)
    wait_until(lambda: shown(run) == 49 and not run.snapshot().playing)
    assert 0.4 < time.monotonic() - began < 2.0  # 49 frames of 25 a second, at four times the rate: 0.49 s


def test_a_loop_stays_within_its_range(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    run.seek(10)
    wait_until(lambda: shown(run) == 10)
    run.set_loop((10, 14))
    run.play(4.0)
    seen: set[int] = set()
    began = time.monotonic()
    while time.monotonic() - began < 0.6:
        seen.add(shown(run))
    run.pause()
    assert max(seen) <= 14 and min(seen) >= 10
    assert seen >= {10, 14}


def test_a_corrected_reading_stays(run: ReviewRun) -> None:
    wait_until(lambda: run.snapshot().complete)
    edited = replace(run.snapshot().readings[3], provenance=Provenance.EDITED)
    run.replace_reading(3, edited)
    run.seek(3)
    wait_until(lambda: shown(run) == 3)
    reading = run.snapshot().reading
    assert reading is not None and reading.provenance is Provenance.EDITED


def test_cached_readings_are_taken_over_but_never_drawn_on_other_pixels() -> None:
    done: list[Mapping[int, Reading]] = []
    first = ReviewRun(lambda: FakeClip(5), same, FakeEngine().engine(), on_complete=done.append)
    first.start()
    wait_until(lambda: first.snapshot().complete and bool(done))
    assert first.stop()
    engine = FakeEngine()
    second = ReviewRun(lambda: FakeClip(5), same, engine.engine(), cached=done[0])
    second.start()
    wait_until(lambda: second.snapshot().reading is not None)
    assert not engine.seen
    assert second.stop()
    wrong = {0: replace(done[0][0], key=done[0][1].key)}
    third = ReviewRun(lambda: FakeClip(5), same, None, cached=wrong)
    third.start()
    wait_until(lambda: third.snapshot().frame is not None)
    snapshot: ReviewSnapshot = third.snapshot()
    assert snapshot.reading is None
    assert third.stop()


def test_times_are_the_files_own_or_even() -> None:
    assert media_times([0.0, 0.05, 0.2], 30.0) == (0.0, 0.05, 0.2)
    assert media_times([None, None, None], 10.0) == pytest.approx((0.0, 0.1, 0.2))
    assert media_times([0.0, 0.3, 0.1], 10.0) == pytest.approx((0.0, 0.1, 0.2))
