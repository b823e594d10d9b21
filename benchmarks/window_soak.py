"""``python -m benchmarks.window_soak``: a long run of the real window, watched from outside.

How late its timer fires, how soon it showed something, and whether memory, latency, threads, timers or handles grow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from PySide6.QtCore import QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication

from benchmarks.command import end_with
from usviewer import app
from usviewer.cli.command import MOST_SECONDS, Parser, number
from usviewer.files import make_folder, write_text
from usviewer.pipeline.worker import own_threads
from usviewer.plain_text import in_markdown, printable

if TYPE_CHECKING:
    from usviewer.view.main_window import MainWindow

DEFAULT_FOLDER = Path("usviewer-soak")
SIZE_PX = (1280, 800)
TIMER_MS = 16  # as the window's own, at the rate of most displays
SAMPLE_EVERY_S = 5.0
# What loads, warms up and fills its buffers does so in this time: growth counts from here.
SETTLED_S = 60.0
MAX_DELAY_P99_MS = 25.0
MAX_GROWTH_MB = 30.0
MAX_LATENCY_GROWTH = 0.2


def main(argv: Sequence[str]) -> int:
    """Run the window with a source in it; give 1 where a limit was passed. Raises ``UserError`` for bad options."""
    args = _parser().parse_args(list(argv))
    application, window = app.open_window(args.source, SIZE_PX)
    soak = WindowSoak(window, args.minutes, args.out, " ".join(["python -m benchmarks.window_soak", *argv]))
    code = int(application.exec())
    if soak.result is None:  # the window was closed by hand
        return code
    print(markdown(soak.result))
    if soak.result.failures():
        return 1
    return code


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.window_soak", description="Watch the window for some minutes.")
    parser.add_argument("source", help="a clip, a still, a folder, a DICOM file, device:, screen: or phantom:?live=1")
    parser.add_argument(
        "--minutes",
        type=number(0.0, MOST_SECONDS / 60.0, {"min": 1.0}),
        default=60.0,
        metavar="N",
        help="how long (default: %(default)g)",
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="where the figures go (default: %(default)s)"
    )
    return parser


@dataclass(frozen=True, slots=True)
class WindowSample:
    """The state of the process at one moment; ``latency_ms`` is the median from capture to overlay (None: no live)."""

    at_s: float
    memory_mb: float
    threads: int
    own_threads: int
    handles: int
    timers: int
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    source_rate: float = 0.0
    result_rate: float = 0.0
    dropped: int = 0


@dataclass(slots=True)
class WindowSoakResult:
    """Everything of one run. Times since the start of the process in ``started``; ``delay_ms`` is of the timer.

    ``busy_ms`` is the processor time that the window's own thread used from one turn to the next.
    """

    command: str
    machine: Mapping[str, Any]
    source: str
    model: str
    engine: str
    minutes: float
    started: dict[str, float] = field(default_factory=dict)
    delay_ms: dict[str, float] = field(default_factory=dict)
    busy_ms: dict[str, float] = field(default_factory=dict)
    timer_count: int = 0
    samples: list[WindowSample] = field(default_factory=list)

    def growth(self) -> dict[str, float]:
        """Last minute against the first one after settling: medians of what must not grow."""
        first, last = _ends(self.samples)
        grown = {
            name: float(np.median([getattr(s, name) for s in last]) - np.median([getattr(s, name) for s in first]))
            for name in ("memory_mb", "threads", "own_threads", "handles", "timers")
        }
        before, after = (_latency(part) for part in (first, last))
        grown["latency_share"] = 0.0
        if before and after:  # a clip has none
            grown["latency_share"] = after / before - 1.0
        return grown

    def failures(self) -> list[str]:
        """Sentences on what is beyond its limit; none where all is well."""
        grown = self.growth()
        found = []
        if self.delay_ms.get("p99", 0.0) > MAX_DELAY_P99_MS:
            found.append(f"The timer was late: p99 {self.delay_ms['p99']:.1f} ms, at most {MAX_DELAY_P99_MS:g} allowed")
        if grown["memory_mb"] > MAX_GROWTH_MB:
            found.append(f"Memory grew by {grown['memory_mb']:.1f} MB, at most {MAX_GROWTH_MB:g} allowed")
        if grown["latency_share"] > MAX_LATENCY_GROWTH:
            found.append(f"Latency grew by {grown['latency_share']:.0%}, at most {MAX_LATENCY_GROWTH:.0%} allowed")
        # These are counts: in a window that stands still any growth is a leak.
        growing = [name for name in ("own_threads", "timers", "handles") if grown[name] > 0]
        found += [f"{name.replace('_', ' ').capitalize()} grew by {grown[name]:g}" for name in growing]
        return found


class WindowSoak(QObject):
    """Watch a window for some minutes, write ``window.json`` and ``window.md``, and close it."""

    def __init__(self, window: MainWindow, minutes: float, folder: Path, command: str) -> None:
        super().__init__(window)
        self._window, self._minutes, self._folder, self._command = window, minutes, folder, command
        self._process = psutil.Process()
        # The start of a process is told by the clock on the wall, all else here by the one that never jumps.
        self._shifted_s = time.time() - time.monotonic()
        self._delays_ms: list[float] = []
        self._busy_ms: list[float] = []
        self._last_busy_s = time.thread_time()
        self._samples: list[WindowSample] = []
        self._started: dict[str, float] = {}
        self._last_s = self._began_s = self._due_s = time.monotonic()
        self.result: WindowSoakResult | None = None
        self._timer = QTimer(self, interval=TIMER_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _since_start_s(self, monotonic_s: float) -> float:
        return monotonic_s + self._shifted_s - float(self._process.create_time())

    def _tick(self) -> None:
        now = time.monotonic()
        if "overlay" in self._started:  # before, everything is still being loaded
            self._delays_ms.append(max(0.0, (now - self._last_s) * 1e3 - TIMER_MS))
            self._busy_ms.append((time.thread_time() - self._last_busy_s) * 1e3)
        self._last_s, self._last_busy_s = now, time.thread_time()
        self._look_for_firsts(now)
        if now >= self._due_s:
            self._due_s = now + SAMPLE_EVERY_S
            self._samples.append(self._sample(now))
        if now - self._began_s >= 60.0 * self._minutes:
            self._finish()

    def _look_for_firsts(self, now: float) -> None:
        on_screen = self._window.app_state.on_screen
        for name, there in (
            ("window", self._window.isVisible()),
            ("picture", on_screen.frame is not None),
            ("overlay", on_screen.reading is not None),
        ):
            if there and name not in self._started:
                self._started[name] = round(self._since_start_s(now), 3)

    def _sample(self, now: float) -> WindowSample:
        sample = WindowSample(
            at_s=round(now - self._began_s, 2),
            memory_mb=round(self._process.memory_info().rss / 1e6, 1),
            threads=self._process.num_threads(),
            own_threads=own_threads(),
            handles=_handles(self._process),
            timers=_timers(),
        )
        status = self._window.live.status
        if status is None:
            return sample
        rates = round(status.source_rate, 2), round(status.result_rate, 2)
        sample = replace(sample, source_rate=rates[0], result_rate=rates[1], dropped=status.dropped)
        if not status.latency_ms.count:
            return sample
        return replace(sample, latency_ms=status.latency_ms.p50, latency_p95_ms=status.latency_ms.p95)

    def _finish(self) -> None:
        from usviewer.cli.bench_report import facts  # brings the engines: not while the window starts

        self._timer.stop()
        engine, status = self._window.app_state.engine(), self._window.live.status
        source, model, running = "none", "none", "none"
        if status is not None and status.source is not None:
            source = f"{status.source.name}, {status.source.width_px} x {status.source.height_px}"
        if engine is not None:
            model, running = engine.model_label, engine.running
        self.result = WindowSoakResult(
            self._command,
            facts(),
            source,
            model,
            running,
            self._minutes,
            self._started,
            _spread(self._delays_ms),
            _spread(self._busy_ms),
            len(self._delays_ms),
            self._samples,
        )
        write(self.result, self._folder)
        self._window.close()


def write(result: WindowSoakResult, folder: Path) -> None:
    """``window.json`` and ``window.md``, each whole or not at all."""
    make_folder(folder)
    document = {**asdict(result), "growth": result.growth(), "failures": result.failures()}
    write_text(folder / "window.json", json.dumps(document, indent=1) + "\n")
    write_text(folder / "window.md", markdown(result))


def markdown(result: WindowSoakResult) -> str:
    """The page."""
    grown, first, last = result.growth(), *_ends(result.samples)
    facts = ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in result.machine.items())
    started = ", ".join(f"{name} after {at_s:.2f} s" for name, at_s in result.started.items()) or "nothing was shown"
    delay, busy = (
        ", ".join(f"{name} {ms:.1f}" for name, ms in spread.items()) for spread in (result.delay_ms, result.busy_ms)
    )
    rows = ["| | first minute | last minute |", "|---|---|---|"]
    for name in ("memory_mb", "threads", "own_threads", "handles", "timers", "source_rate", "result_rate"):
        pair = [float(np.median([getattr(s, name) for s in part])) for part in (first, last)]
        rows.append(f"| {name.replace('_', ' ')} | {pair[0]:g} | {pair[1]:g} |")
    rows.append(f"| latency p50, ms | {_latency(first):.1f} | {_latency(last):.1f} |")
    verdict = "\n".join(f"- {sentence}" for sentence in result.failures()) or "Within all limits."
    parts = (
        "# The window over time",
        f"`{printable(result.command).replace('`', chr(39))}`",
        facts,
        f"{in_markdown(result.source)}; {in_markdown(result.model)} on {result.engine}; {result.minutes:g} minutes. "
        f"From the start of the program: {started}.",
        f"Delay of a {TIMER_MS} ms timer in the window's own event loop, ms: {delay} ({result.timer_count} times). "
        f"Processor time of its thread from one turn to the next, ms: {busy}.",
        "\n".join(rows),
        f"Memory grew by {grown['memory_mb']:.1f} MB, latency by {grown['latency_share']:+.1%}.",
        verdict,
    )
    return "\n\n".join(parts) + "\n"


def _ends(samples: Sequence[WindowSample]) -> tuple[Sequence[WindowSample], Sequence[WindowSample]]:
    """The first minute after settling, and the last; of a short run its two halves."""
    # A minute each: single samples jump.
    settled = [sample for sample in samples if sample.at_s >= SETTLED_S]
    if len(settled) < 2:
        middle = max(1, len(samples) // 2)
        return samples[:middle], samples[middle:] or samples[-1:]
    first = [sample for sample in settled if sample.at_s < settled[0].at_s + 60.0]
    last = [sample for sample in settled if sample.at_s > settled[-1].at_s - 60.0]
    return first, last


def _latency(samples: Sequence[WindowSample]) -> float:
    known = [sample.latency_ms for sample in samples if sample.latency_ms is not None]
    if not known:
        return 0.0
    return float(np.median(known))


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(max(values))}


def _handles(process: psutil.Process) -> int:
    count: Callable[[], int]
    if hasattr(process, "num_handles"):  # Windows
        count = process.num_handles
    else:
        count = process.num_fds
    return count()


def _timers() -> int:
    """Qt's timers, wherever they hang."""
    roots: list[QObject] = [*QApplication.topLevelWidgets()]
    return sum(len(root.findChildren(QTimer)) for root in roots)


if __name__ == "__main__":
    end_with(main)
