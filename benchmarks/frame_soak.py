"""``python -m benchmarks.frame_soak``: many frames through all stages: whether memory or time grows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.command import end_with
from usviewer.cli import bench
from usviewer.cli.bench_cases import held_frames
from usviewer.cli.bench_report import facts, format_facts, memory_mb
from usviewer.cli.command import DEFAULT_MODEL, Parser, whole
from usviewer.files import make_folder, write_text
from usviewer.frame import Frame
from usviewer.infer.predictor import Predictor
from usviewer.infer.registry import load_spec
from usviewer.infer.session import engine_threads
from usviewer.measure import Trend
from usviewer.overlay.scene import compose
from usviewer.pipeline.analyzer import FrameAnalyzer, loaded
from usviewer.terminal import console

# Buffers and caches are filled by then: memory and latency count from here.
SETTLED = 1000
# Frames whose median is compared, at the beginning and at the end.
WINDOW = 1000
MAX_GROWTH_MB = 20.0
MAX_DRIFT = 0.05  # of the latency, after the computer's own drift is taken out


def main(argv: Sequence[str]) -> int:
    """Run the frames and print the figures; give 1 where a limit was passed. Raises ``UserError`` for bad options."""
    args = _parser().parse_args(list(argv))
    spec, frames = load_spec(args.model), held_frames(args.source, args.size)
    threads = args.threads or engine_threads(live=False)
    predictor = Predictor(spec, args.engine, threads, spinning=False, frames=lambda: frames)
    with console().status(f"{args.count} frames"):
        result = soak(predictor, frames, args.count)
    print(format_facts(facts()), format_result(result), sep="\n\n")
    if args.out is not None:
        write_text(make_folder(args.out) / "frame_soak.json", json.dumps(asdict(result), indent=1) + "\n")
    return int(not result.steady)


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.frame_soak", description="Run many frames through all stages.")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="ID", help="which model (default: %(default)s)")
    parser.add_argument("--source", default="phantom:", metavar="URI", help="a clip, or phantom: (default)")
    parser.add_argument("--size", type=bench.size, default="640x480", metavar="WxH", help="default: %(default)s")
    parser.add_argument("--engine", default="auto", help="default: %(default)s")
    parser.add_argument("--threads", type=whole(1, 64), default=0, metavar="N", help="default: all cores")
    parser.add_argument("--count", type=whole(4), default=70_000, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write frame_soak.json there")
    return parser


@dataclass(frozen=True, slots=True)
class FrameSoakResult:
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


class FixedWork:
    """Always the same computation on one core: what it takes shows how fast the computer's clock runs just now."""

    def __init__(self) -> None:
        self._values: NDArray[np.float64] = np.random.default_rng(0).random(40_000)

    def ms(self) -> float:
        """Milliseconds that it took this time."""
        start = time.perf_counter()
        np.sin(self._values).sum()
        return (time.perf_counter() - start) * 1e3


class _Span:
    """Times of some consecutive frames, and of the fixed work between them."""

    def __init__(self) -> None:
        self.frame_ms: list[float] = []
        self.fixed_ms: list[float] = []

    def medians(self) -> tuple[float, float]:
        return float(np.median(self.frame_ms)), float(np.median(self.fixed_ms))


def soak(
    predictor: Predictor, frames: Sequence[Frame], count: int, tick: Callable[[], None] = lambda: None
) -> FrameSoakResult:
    """Run ``count`` frames through predict, measure, trend and composition; the first ``SETTLED`` do not count."""
    window, settled = min(WINDOW, max(1, count // 4)), min(SETTLED, count // 4)
    first, last, fixed = _Span(), _Span(), FixedWork()
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
        if number == settled:  # what is filled once has been filled
            before_mb = memory_mb()
        for kept, begin in ((first, settled), (last, count - window)):
            if begin <= number < begin + window:
                kept.frame_ms.append(took_ms)
                kept.fixed_ms.append(fixed.ms())
        tick()
    growth_mb = memory_mb() - before_mb
    (first_ms, fixed_first), (last_ms, fixed_last) = first.medians(), last.medians()
    # Laptops get hot and slow: what the fixed work lost too is not ours.
    drift = (last_ms / fixed_last) / (first_ms / fixed_first) - 1
    return FrameSoakResult(predictor.engine, count, growth_mb, first_ms, last_ms, fixed_first, fixed_last, drift)


def format_result(result: FrameSoakResult) -> str:
    """What was found, and whether it is within the limits."""
    verdict = "Not steady."
    if result.steady:
        verdict = "Steady."
    return (
        f"{result.frames} frames on {result.engine}: memory grew by {result.growth_mb:.1f} MB. Median of the first "
        f"{result.first_ms:.2f} ms, of the last {result.last_ms:.2f} ms; the fixed work between them "
        f"{result.fixed_first_ms:.3f} and {result.fixed_last_ms:.3f} ms: drift {result.drift:+.1%}. " + verdict
    )


if __name__ == "__main__":
    end_with(main)
