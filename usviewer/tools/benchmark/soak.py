"""Many frames through all stages, to see whether memory grows or the speed falls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from usviewer.frame import Frame
from usviewer.infer.predictor import Predictor
from usviewer.measure import Trend
from usviewer.overlay.scene import compose
from usviewer.pipeline.analyzer import FrameAnalyzer, loaded
from usviewer.tools.benchmark.machine import FixedWork, memory_mb

SETTLED = 1000
WINDOW = 1000
MAX_GROWTH_MB = 20.0
MAX_DRIFT = 0.05


@dataclass(frozen=True, slots=True)
class SoakResult:
    """Latencies are medians of a window; ``drift`` compares them after dividing by the fixed work's own time."""

    engine: str
    frames: int
    growth_mb: float
    first_ms: float
    last_ms: float
    fixed_first_ms: float
    fixed_last_ms: float
    drift: float

    @property
    def steady(self) -> bool:
        """Within the limits."""
        return self.growth_mb <= MAX_GROWTH_MB and abs(self.drift) <= MAX_DRIFT


class _Window:
    """Times of some consecutive frames, and of the fixed work between them."""

    def __init__(self) -> None:
        self.frame_ms: list[float] = []
        self.fixed_ms: list[float] = []

    def medians(self) -> tuple[float, float]:
        return float(np.median(self.frame_ms)), float(np.median(self.fixed_ms))


def soak(
    predictor: Predictor, frames: Sequence[Frame], count: int, tick: Callable[[], None] = lambda: None
) -> SoakResult:
    """Run ``count`` frames through predict, measure, trend and composition; the first ``SETTLED`` do not count."""
    window, settled = min(WINDOW, max(1, count // 4)), min(SETTLED, count // 4)
    first, last, fixed = _Window(), _Window(), FixedWork()
    analyzer, trend = FrameAnalyzer(loaded(predictor), sequence=False), Trend()
    before_mb = memory_mb()
    for number in range(count):
        frame = frames[number % len(frames)]
        start = time.perf_counter()
        done = analyzer(frame)
        if done.problem is not None:
            raise done.problem
        compose(frame, done.reading, trend.add(done.reading))
        took_ms = (time.perf_counter() - start) * 1e3
        if number == settled:
            before_mb = memory_mb()
        for kept, begin in ((first, settled), (last, count - window)):
            if begin <= number < begin + window:
                kept.frame_ms.append(took_ms)
                kept.fixed_ms.append(fixed.ms())
        tick()
    growth_mb = memory_mb() - before_mb
    (first_ms, fixed_first), (last_ms, fixed_last) = first.medians(), last.medians()
    drift = (last_ms / fixed_last) / (first_ms / fixed_first) - 1
    return SoakResult(predictor.engine, count, growth_mb, first_ms, last_ms, fixed_first, fixed_last, drift)
