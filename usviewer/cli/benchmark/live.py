"""Capture to overlay: frames through the very threads that the window uses, from a source in memory at a fixed rate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from usviewer.cli.benchmark.cases import Spread, spread
from usviewer.cli.benchmark.frames import LoopSource
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import Prediction
from usviewer.infer.predictor import Predictor
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure import read
from usviewer.measure.reading import Reading
from usviewer.pipeline.analyzer import loaded
from usviewer.pipeline.live_run import LiveRun

WARM_UP_FRAMES = 10
POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class LiveResult:
    """``latency_ms``: from capture to the finished overlay. ``newest``: share of overlays of the newest frame.

    ``stale_frames`` counts overlays that were begun although a newer frame had been waiting.
    """

    engine: str
    rate: float
    seconds: float
    captured: int
    overlays: int
    dropped: int
    latency_ms: Spread
    newest: float
    stale_frames: int


def run_live(predictor: Predictor, frames: Sequence[Frame], rate: float, seconds: float) -> LiveResult:
    """Run so many seconds. Raises ``UserError`` when a thread failed."""
    source = LoopSource(frames, rate)
    latencies_ms: list[float] = []
    behind: list[int] = []
    accepted = [0]

    def calibrate(frame: Frame) -> Frame:
        accepted[0] = frame.key.index
        return frame

    def predict(frame: Frame, state: TemporalGate | None) -> Prediction:
        behind.append(accepted[0] - frame.key.index)
        return predictor.predict(frame, state)

    def measure(prediction: Prediction, *given: Any) -> Reading:
        reading = read(prediction, *given)
        latencies_ms.append((time.monotonic() - prediction.key.capture_time_s) * 1e3)
        return reading

    run = LiveRun(lambda: source, calibrate, replace(loaded(predictor), predict=predict, read=measure))
    run.start()
    try:
        _wait(run, seconds)
        overlays = len(latencies_ms)
        status = run.snapshot().status
    finally:
        run.stop()
    run.raise_failure()
    if overlays <= WARM_UP_FRAMES:
        raise UserError("The live run gave too few results to say anything", "Let it run longer with --live SECONDS")
    # A frame that is captured in the very moment of the taking counts as newer by one.
    stale = sum(count > 1 for count in behind[WARM_UP_FRAMES:])
    kept = latencies_ms[WARM_UP_FRAMES:]
    return LiveResult(
        predictor.engine,
        rate,
        seconds,
        status.captured,
        overlays,
        status.dropped,
        spread(kept),
        1.0 - stale / max(1, len(behind) - WARM_UP_FRAMES),
        stale,
    )


def _wait(run: LiveRun, seconds: float) -> None:
    """Poll as a window does, until the time is over or a thread has failed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and run.failure is None:
        run.snapshot()
        time.sleep(POLL_S)
