"""What ``usviewer bench`` times: the cases in turns, and a live run; on frames in memory, and not the reading of them.

A case is all stages of a frame, on one engine, shape and number of threads. A live run goes from capture to overlay,
through the very threads that the window uses, from a source of a fixed rate.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
import psutil

from usviewer.acquire import frame_count, open_source
from usviewer.acquire.phantom import PhantomSource, parse_phantom_uri
from usviewer.acquire.source import RecordedSource
from usviewer.calibrate import calibration_for
from usviewer.errors import UserError
from usviewer.frame import Frame, SourceInfo, make_frame
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Prediction
from usviewer.infer.predictor import Predictor
from usviewer.infer.preprocess import make_square
from usviewer.infer.temporal_gate import TemporalGate
from usviewer.measure import read
from usviewer.measure.reading import Reading
from usviewer.overlay.raster import draw
from usviewer.overlay.scene import compose
from usviewer.pipeline.analyzer import FrameAnalyzer, loaded
from usviewer.pipeline.live_run import LiveRun

BLOCK = 20
# A block in which other processes used more than this of a core does not count as undisturbed.
CLEAN_CORES = 0.12
STAGES = ("preprocess", "infer", "decode", "measure", "total", "draw", "with drawing")

Stages = Mapping[str, float]
HELD = 12
WARM_UP_FRAMES = 10
POLL_S = 0.25


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


@dataclass(frozen=True, slots=True)
class _Moment:
    wall_s: float
    busy_s: float
    own_s: float


class OtherLoad:
    """How many cores other processes used since the last question; ``own`` names processes that belong to us."""

    def __init__(self, own: Sequence[int] = ()) -> None:
        self._own = [psutil.Process(pid) for pid in own]
        self._last = self._now()

    def cores(self) -> float:
        """Since the last call, or since the beginning."""
        now, last = self._now(), self._last
        self._last = now
        span = now.wall_s - last.wall_s
        return max(0.0, (now.busy_s - last.busy_s) - (now.own_s - last.own_s)) / span if span > 0 else 0.0

    def _now(self) -> _Moment:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        own = sum(os.times()[:2])
        for process in self._own:
            used = process.cpu_times()
            own += used.user + used.system
        return _Moment(time.monotonic(), sum(times) - idle - getattr(times, "guest", 0.0), own)


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


def held_frames(uri: str, size_px: tuple[int, int] | None, count: int = HELD) -> tuple[Frame, ...]:
    """So many calibrated frames from all over a source, scaled into (width, height) with black borders where given.

    A phantom is simulated at that size. Raises ``UserError`` for a live source: it cannot be measured twice.
    """
    if uri.lower().startswith("phantom:"):
        spec = parse_phantom_uri(uri)
        if size_px is not None:
            spec = replace(spec, width=size_px[0], height=size_px[1])
        phantom = PhantomSource(replace(spec, live=False), uri)
        return tuple(phantom.seek(index) for index in _indices(spec.frames, count))
    with open_source(uri) as source:
        total = frame_count(source)
        if not total:
            raise UserError(f"{source.info.name} cannot be measured with", "Give a recorded clip or phantom:")
        calibrate = calibration_for(source)
        frames = [calibrate(source.seek(index)) for index in _indices(total, count)]
    return tuple(frames if size_px is None else (_scaled(frame, size_px) for frame in frames))


def _indices(total: int, count: int) -> list[int]:
    return sorted({round(i * (total - 1) / max(1, count - 1)) for i in range(min(count, total))})


def _scaled(frame: Frame, size_px: tuple[int, int]) -> Frame:
    """The picture in the middle of another size; its geometry does not hold there and is left out."""
    if frame.size_px == size_px:
        return frame
    width, height = size_px
    ratio = min(width / frame.width_px, height / frame.height_px)
    inner = (max(1, round(frame.width_px * ratio)), max(1, round(frame.height_px * ratio)))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    cv2.resize(frame.pixels, inner, dst=canvas[top : top + inner[1], left : left + inner[0]])
    return make_frame(canvas, frame.key.source, frame.key.index, frame.key.media_time_s)


class LoopSource(RecordedSource):
    """Frames in memory, over and over, as a software source of a given rate. ``yielded`` counts them."""

    def __init__(self, frames: Sequence[Frame], frames_per_second: float) -> None:
        self._frames = tuple(frames)
        first = self._frames[0]
        self._info = SourceInfo(
            "bench", "Frames in memory", "phantom", first.width_px, first.height_px, frames_per_second, live=True
        )
        self.yielded = 0

    @property
    def info(self) -> SourceInfo:
        """A live source: the caller sets the pace."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        while True:
            frame = self._frames[self.yielded % len(self._frames)]
            key = replace(frame.key, index=self.yielded, capture_time_s=time.monotonic())
            yield replace(frame, key=key)
            self.yielded += 1

    def seek(self, index: int) -> Frame:
        """One of them."""
        return self._frames[index % len(self._frames)]

    def times_s(self) -> Sequence[float | None]:
        """It has no end."""
        return ()


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
