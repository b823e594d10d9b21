"""``python -m benchmarks.peer``: another program (a peer), in a process of its own, timed in turns with this one.

Both get the same frames. The peer is installed by the developer, in an environment of its own: it is never imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from benchmarks.command import end_with
from usviewer.cli import bench
from usviewer.cli.bench import BenchSetup
from usviewer.cli.bench_cases import Case, Result, Stages
from usviewer.cli.command import Parser, require_least
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.manifest import ModelSpec
from usviewer.plain_text import in_markdown
from usviewer.terminal import console

PEERS = {"ultralytics": Path(__file__).with_name("peer_ultralytics.py")}
SHAPES = ("rect", "square")
# What other people's packages take for "do not call anybody".
_AT_HOME = {"YOLO_OFFLINE": "true", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write ``bench.json`` and ``bench.md``. Raises ``UserError`` for bad options."""
    args = _parser().parse_args(list(argv))
    if unknown := [shape for shape in args.shapes if shape not in SHAPES]:
        raise UserError(f"There is no shape '{unknown[0]}'", f"Choose one of {', '.join(SHAPES)}")
    require_least("--frames", args.frames, 1)
    setup, screen = bench.set_up(args), console()
    said = bench.command_line("python -m benchmarks.peer", args, (*bench.CASE_OPTIONS, "shapes", "kind", "weights"))
    made = bench.begin_report(said, args, setup)
    shapes = args.shapes
    if setup.spec.input.width_px:  # a model of one size has no other shape
        shapes = ("rect",)
    with ExitStack() as stack:
        cases = bench.own_cases(setup, shapes, drawn=args.draw)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usviewer-bench-")))
        peer = stack.enter_context(Peer(args.kind, args.python, setup.frames, folder))
        cases += _peer_cases(peer, setup, args.weights, drawn=args.draw)
        with screen.status("measuring in turns"):
            bench.time_cases(made, cases, args.frames, [peer.pid])
    bench.finish_report(made, args.out, screen, [format_ratios(made.results)])
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="python -m benchmarks.peer", description="Time another program and this one in turns, on the same frames."
    )
    bench.add_case_options(parser)
    parser.add_argument(
        "--shapes", type=bench.words, default=("rect",), metavar="A,B", help="our input: rect, square (default: rect)"
    )
    parser.add_argument("--kind", choices=tuple(PEERS), default="ultralytics", help="which peer (default: %(default)s)")
    parser.add_argument(
        "--python", required=True, metavar="PYTHON", help="the interpreter of an environment that has the peer"
    )
    parser.add_argument(
        "--weights",
        type=bench.words,
        default=(),
        metavar="A,B",
        help="next to the model's ONNX file: FILE.pt, FILE.onnx, or NAME.yaml, filled with the model's weights",
    )
    return parser


def _peer_cases(peer: Peer, setup: BenchSetup, weights: Sequence[str], *, drawn: bool) -> list[Case]:
    """The model's own file and what else was named, with our number of threads; PyTorch also with the peer's own."""
    spec, threads = setup.spec, max(setup.threads)
    routes = [str(spec.path), *weights]
    cases: list[Case] = [PeerCase(peer, route, spec, threads, drawn=False) for route in routes]
    cases += [PeerCase(peer, route, spec, 0, drawn=False) for route in routes if not route.endswith(".onnx")]
    if drawn:
        cases += [PeerCase(peer, route, spec, threads, drawn=True) for route in routes]
    return cases


class Peer:
    """The peer's process. A context: it ends with it."""

    def __init__(self, kind: str, python: str, frames: Sequence[Frame], folder: Path) -> None:
        """``python`` is the interpreter of an environment that has the peer. ``UserError`` where it does not start."""
        path = folder / "frames.npy"
        # BGR, as the peer wants its frames: turning them is not a part of what is timed.
        np.save(path, np.stack([cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR) for frame in frames]))
        # The package sets one thread unless it is told; what it gets is asked for with every model.
        environment = {**os.environ, **_AT_HOME, "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
        # A file, not a pipe: nobody reads along, and a full pipe would stop the peer.
        self._log = (folder / "peer.log").open("w+", encoding="utf-8", errors="replace")
        try:
            self._process = subprocess.Popen(
                [python, str(PEERS[kind]), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env=environment,
            )
        except OSError as error:
            self._log.close()
            raise UserError(
                f"{python} does not start: {error.strerror}", "Give the Python of an environment with the peer"
            ) from None
        self.kind = kind
        self.said: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, **question: Any) -> dict[str, Any]:
        """One question, one answer. Raises ``UserError`` with the peer's own words where it fails."""
        try:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise UserError(f"The peer {self.kind} ended: {self._last_words()}", "Check its environment")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UserError(f"The peer {self.kind} cannot do that: {answer['error'][:300]}", "Check its environment")
        return answer

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        if not lines:
            return "it said nothing"
        return lines[-1][:300]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:  # its input has ended, and then it ends by itself
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


class PeerCase:
    """One route of the peer: a file of weights, with or without drawing. Timed as the whole call."""

    def __init__(self, peer: Peer, weights: str, spec: ModelSpec, threads: int, *, drawn: bool) -> None:
        """See ``peer_ultralytics.py`` for what ``weights`` may be; ``threads`` 0 leaves the peer's own number.

        Input size, least score and suppression are those of the model's manifest, as for our own cases.
        """
        self._peer, self._drawn = peer, drawn
        route, given, call = "PyTorch", "as shipped", "predict"
        if weights.endswith(".onnx"):
            route = f"ONNX {Path(weights).name}"
        if threads:
            given = f"{threads} threads"
        if drawn:
            call = "predict + plot"
        self.name = f"{peer.kind} {call}, {route}, {given}"
        side = max(spec.input.width_px, spec.input.height_px) or spec.input.side_px
        options = {
            "imgsz": side,
            "conf": spec.output.min_score,
            "iou": spec.output.iou_threshold,
            "max_det": spec.output.max_instances,
            "agnostic_nms": spec.output.agnostic,
        }
        peer.said |= peer.ask(
            do="load", name=self.name, weights=weights, onnx=str(spec.path), options=options, threads=threads
        )
        self._frames = 0
        self.engine = ", ".join(f"{name} {version}" for name, version in peer.said.items())
        self.found = 0
        self.notice = ""

    def run(self, count: int) -> list[Stages]:
        """See ``cases.Case``."""
        answer = self._peer.ask(do="run", name=self.name, count=count, draw=self._drawn)
        self.found += int(answer["found"])
        self._frames += count
        masks = "no mask"
        if mask := answer["mask"]:
            masks = f"masks {mask[0]}x{mask[1]}"
        self.notice = f"{answer['threads']} torch threads, {masks}, {self.found / self._frames:.2f} found a frame"
        return [{"total": float(ms)} for ms in answer["ms"]]


def ratios_of(results: Sequence[Result]) -> list[tuple[str, str, float]]:
    """How many times longer a peer's route takes (median) than each of our cases; drawn ones against drawn ones."""
    own = [result for result in results if "infer" in result.stages_ms]
    found = []
    for peer in (result for result in results if "infer" not in result.stages_ms):
        stage = "total"
        if "plot" in peer.name:
            stage = "with drawing"
        for ours in own:
            # Clean: without the turns in which something else had the processor.
            mine, theirs = ours.clean_ms or ours.stages_ms, peer.clean_ms or peer.stages_ms
            if stage in mine:
                found.append((peer.name, ours.name, theirs["total"].p50 / mine[stage].p50))
    return found


def format_ratios(results: Sequence[Result]) -> str:
    """The ratios as a table; empty where there are none."""
    found = ratios_of(results)
    if not found:
        return ""
    rows = [
        "## Ratios of the medians (undisturbed blocks where there are any)",
        "",
        "| peer | against | times |",
        "|---|---|---|",
    ]
    return "\n".join(
        [*rows, *(f"| {in_markdown(peer)} | {in_markdown(ours)} | {times:.2f} |" for peer, ours, times in found)]
    )


if __name__ == "__main__":
    end_with(main)
