"""``python -m benchmarks.stages``: what each live frame costs apart from the model, held at a limit.

``usviewer bench`` times the stages that depend on the model. These do not, and run on every frame of a live source.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.command import end_with
from usviewer.calibrate import find_sector
from usviewer.calibrate.ruler.detect import find_ruler
from usviewer.calibrate.ruler.watch import Watch, take_reference
from usviewer.cli import bench
from usviewer.cli.bench_cases import Spread, held_frames, spread
from usviewer.cli.command import Parser, whole
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.pipeline.signal import Stillness

HELD_FRAMES = 6
RULER_FRAMES = 3


@dataclass(frozen=True, slots=True)
class FrameCost:
    """Processor time of the thread, in ms, of one kind of work on a frame; the fastest run is held at ``limit_ms``.

    The fastest, because everything else on the computer only adds to a time.
    """

    name: str
    limit_ms: float
    fastest_ms: float
    spread_ms: Spread

    @property
    def within(self) -> bool:
        """It keeps to its limit."""
        return self.fastest_ms <= self.limit_ms

    def line(self) -> str:
        """The figures and the verdict."""
        p50, p99 = self.spread_ms.p50, self.spread_ms.p99
        figures = f"fastest {self.fastest_ms:.3f}, p50 {p50:.3f}, p99 {p99:.3f} ms of {self.spread_ms.count}"
        verdict = "PASSED"
        if self.within:
            verdict = "kept"
        return f"{self.name}: {figures}; limit {self.limit_ms:g} ms: {verdict}"


def main(argv: Sequence[str]) -> int:
    """Time each kind of work and print a line; give 1 where one passed its limit."""
    args = _parser().parse_args(list(argv))
    frames = held_frames("phantom:", args.size, HELD_FRAMES)
    costs = [
        time_work("ruler watch", 0.5, _watching(frames), args.count),
        time_work("stillness check", 0.5, _looking(frames), args.count),
    ]
    print(*(cost.line() for cost in costs), sep="\n")
    return int(not all(cost.within for cost in costs))


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.stages", description="Time what each live frame costs.")
    parser.add_argument("--size", type=bench.size, default="1920x1080", metavar="WxH", help="default: %(default)s")
    parser.add_argument("--count", type=whole(1), default=200, metavar="N", help="runs of each (default: %(default)s)")
    return parser


def time_work(name: str, limit_ms: float, work: Iterator[Callable[[], object]], count: int) -> FrameCost:
    """Run the next ``count`` pieces of work."""
    times_ms = []
    for run in itertools.islice(work, count):
        # The thread's own time: what others do meanwhile does not count.
        start_s = time.thread_time()
        run()
        times_ms.append((time.thread_time() - start_s) * 1e3)
    return FrameCost(name, limit_ms, float(np.min(times_ms)), spread(times_ms))


def _watching(frames: Sequence[Frame]) -> Iterator[Callable[[], object]]:
    pictures = [frame.pixels for frame in frames]
    ruler = find_ruler(pictures[:RULER_FRAMES], read=False).vertical
    if ruler is None:
        raise UserError("No ruler is found on frames of this size", "Give a larger --size")
    # Not timed: a ruler is looked for once, and watched on every frame.
    watch = Watch(take_reference(ruler, pictures[:RULER_FRAMES], find_sector(pictures)))
    return (partial(watch.check, pixels) for pixels in itertools.cycle(pictures))


def _looking(frames: Sequence[Frame]) -> Iterator[Callable[[], object]]:
    stillness = Stillness()
    return (partial(stillness.since_s, frame) for frame in itertools.cycle(frames))


if __name__ == "__main__":
    end_with(main)
