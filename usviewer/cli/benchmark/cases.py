"""The cases of a benchmark, run in turns: all stages of a frame, on each engine, shape and number of threads."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from usviewer.cli.benchmark.machine import OtherLoad
from usviewer.frame import Frame
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.predictor import Predictor
from usviewer.infer.preprocess import make_square
from usviewer.overlay.raster import draw
from usviewer.overlay.scene import compose
from usviewer.pipeline.analyzer import FrameAnalyzer, loaded

BLOCK = 20
# A block in which other processes used more than this of a core does not count as undisturbed.
CLEAN_CORES = 0.12
STAGES = ("preprocess", "infer", "decode", "measure", "total", "draw", "with drawing")

Stages = Mapping[str, float]


class Case(Protocol):
    """Something that is timed in turns with the others."""

    name: str
    engine: str
    notice: str
    found: int  # frames or objects; 0 shows that masks never appeared

    def run(self, count: int) -> list[Stages]:
        """Milliseconds of each stage for the next so many frames."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds."""

    p50: float
    p95: float
    p99: float
    maximum: float
    count: int


@dataclass(slots=True)
class Result:
    """One case's figures: all blocks, and those alone in which no other process disturbed."""

    name: str
    engine: str
    stages_ms: dict[str, Spread]
    clean_ms: dict[str, Spread]
    frames_per_second: float
    notes: list[str] = field(default_factory=list)


class OwnCase:
    """All stages of this program on one engine."""

    def __init__(self, spec: ModelSpec, engine: str, shape: str, threads: int, frames: Sequence[Frame], *, drawn: bool):
        """``shape`` is "rect" (as the manifest says) or "square"."""
        asked = replace(spec, input=make_square(spec.input), golden=None) if shape == "square" else spec
        self._predictor = Predictor(asked, engine, threads, frames=lambda: frames)
        self._frames, self._drawn, self._next = frames, drawn, 0
        self._analyzer = FrameAnalyzer(loaded(self._predictor), sequence=False)  # frames from all over a clip
        self.name = f"usviewer, {engine}, {self._shape_words(asked)}, {threads} thread{'s' if threads > 1 else ''}"
        self.engine = self._predictor.engine
        self.notice = self._predictor.notice
        self.found = 0

    def _shape_words(self, spec: ModelSpec) -> str:
        from usviewer.infer.preprocess import place

        frame = self._frames[0]
        box = frame.sector_box_px
        made = self._predictor.choice
        used = spec.input if made is None or made.rectangular else make_square(spec.input)
        width, height = place(frame.size_px, used, box, frame.pixel_aspect).input_size_px
        return f"{height}x{width}"

    @property
    def predictor(self) -> Predictor:
        """What runs."""
        return self._predictor

    def run(self, count: int) -> list[Stages]:
        """See ``Case``."""
        return [self._one() for _ in range(count)]

    def _one(self) -> Stages:
        frame = self._frames[self._next % len(self._frames)]
        self._next += 1
        start = time.perf_counter()
        prediction = self._analyzer.predict(frame)
        predicted = time.perf_counter()
        reading = self._analyzer.measure(prediction, frame.geometry)
        measured = time.perf_counter()
        self.found += bool(prediction.instances)
        times = {"measure": (measured - predicted) * 1e3, "total": (measured - start) * 1e3}
        if self._drawn:
            scene = compose(frame, reading)
            draw(frame.pixels, scene)
            drawn = time.perf_counter()
            times |= {"draw": (drawn - measured) * 1e3, "with drawing": (drawn - start) * 1e3}
        return {**prediction.timings_ms, **times}


def measure(
    cases: Sequence[Case], frames: int, own_processes: Sequence[int] = (), tick: Callable[[], None] = lambda: None
) -> list[Result]:
    """Run every case for so many frames, in blocks in turns; the first block of each warms it up and is left out."""
    load = OtherLoad(own_processes)
    for case in cases:
        case.run(BLOCK // 2)
    everything: dict[str, list[Stages]] = defaultdict(list)
    clean: dict[str, list[Stages]] = defaultdict(list)
    for _ in range(max(1, round(frames / BLOCK))):
        for case in cases:
            load.cores()
            block = case.run(BLOCK)
            everything[case.name] += block
            if load.cores() <= CLEAN_CORES:
                clean[case.name] += block
            tick()
    return [_result(case, everything[case.name], clean[case.name]) for case in cases]


def _result(case: Case, everything: Sequence[Stages], clean: Sequence[Stages]) -> Result:
    seconds = sum(stages["total"] for stages in everything) / 1e3
    return Result(
        case.name,
        case.engine,
        spreads(everything),
        spreads(clean),
        len(everything) / seconds if seconds else 0.0,
        [case.notice] if case.notice else [],
    )


def spreads(rows: Sequence[Stages]) -> dict[str, Spread]:
    """Percentiles of every stage."""
    return {
        stage: spread([row[stage] for row in rows if stage in row]) for stage in STAGES if rows and stage in rows[0]
    }


def spread(times_ms: Sequence[float]) -> Spread:
    """Percentiles of one list."""
    p50, p95, p99 = np.percentile(times_ms, (50, 95, 99))
    return Spread(float(p50), float(p95), float(p99), float(max(times_ms)), len(times_ms))
