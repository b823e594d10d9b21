"""``usviewer bench``: how fast this computer is, stage by stage, on which engine, and beside a peer."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer import choice
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.predictor import Predictor
from usviewer.infer.registry import load_spec
from usviewer.infer.session import ENGINES, engine_threads, usable_engines
from usviewer.terminal import Terminal, console
from usviewer.tools.benchmark import machine, report
from usviewer.tools.benchmark.cases import Case, OwnCase, measure
from usviewer.tools.benchmark.frames import HELD, held_frames
from usviewer.tools.benchmark.live import run_live
from usviewer.tools.benchmark.peer import PEERS, Peer, PeerCase
from usviewer.tools.benchmark.soak import soak
from usviewer.tools.command import DEFAULT_MODEL, MOST_SECONDS, number, require_least, whole
from usviewer.typed_number import SECONDS, parse_number, parse_whole

DEFAULT_FOLDER = Path("usviewer-bench")
SHAPES = ("rect", "square")


def add_parser(commands: Any) -> None:
    """The options of ``usviewer bench``."""
    parser = commands.add_parser("bench", help="measure speed: stages, engines, latency, memory, and a peer")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="ID", help="which model (default: %(default)s)")
    parser.add_argument("--source", default="phantom:", metavar="URI", help="a clip, or phantom: (default)")
    parser.add_argument(
        "--size", type=size, default="1920x1080", metavar="WxH", help="of the frames (default: 1920x1080)"
    )
    parser.add_argument(
        "--engines", type=_words, default=("auto",), metavar="A,B", help="auto, all, or names, in turns"
    )
    parser.add_argument(
        "--shapes", type=_words, default=("rect",), metavar="A,B", help="input: rect, square (default: rect)"
    )
    parser.add_argument(
        "--threads", type=_numbers, default=(), metavar="N,M", help="engine threads (default: all cores)"
    )
    parser.add_argument(
        "--frames", type=whole(), default=200, metavar="N", help="of each case (default: %(default)s; 0: none)"
    )
    parser.add_argument("--draw", action="store_true", help="also draw each result onto its frame")
    parser.add_argument("--anew", action="store_true", help="choose the engine again, on these frames")
    parser.add_argument(
        "--live",
        type=number(most=MOST_SECONDS, units=SECONDS),
        default=0.0,
        metavar="SECONDS",
        help="capture to overlay from a paced source",
    )
    parser.add_argument(
        "--rate",
        type=_rates,
        default=(30.0,),
        metavar="R/S",
        help="frames a second of it, several as 30/60 (default: 30)",
    )
    parser.add_argument(
        "--soak", type=whole(), default=0, metavar="N", help="run N frames: growth of memory, drift of latency"
    )
    parser.add_argument("--peer", choices=tuple(PEERS), help="also time this program, in its own process")
    parser.add_argument("--peer-python", metavar="PYTHON", help="the interpreter of an environment that has the peer")
    parser.add_argument(
        "--peer-weights",
        type=_words,
        default=(),
        metavar="A,B",
        help="beside the model's ONNX file: FILE.pt, FILE.onnx, or NAME.yaml, filled with the model's weights",
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="default: %(default)s")
    parser.set_defaults(run=run)


def size(text: str) -> tuple[int, int]:
    """``1920x1080`` as (width, height)."""
    width, _, height = text.lower().partition("x")
    try:
        return parse_whole(width, least=32, most=8192), parse_whole(height, least=32, most=8192)
    except UserError:
        raise argparse.ArgumentTypeError(f"'{text}' is no size like 1920x1080") from None


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word for word in text.split(",") if word)
    if not words:
        raise argparse.ArgumentTypeError(f"'{text}' names nothing")
    return words


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(parse_whole(word, least=1, most=64) for word in _words(text))
    except UserError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of 1 to 64 threads") from None


def _rates(text: str) -> tuple[float, ...]:
    """One rate, or several with ``/`` between them. A comma was that sign once and is a decimal sign elsewhere."""
    if "," in text:
        raise argparse.ArgumentTypeError(f"'{text}' may mean one number or two frames a second: write 29.97, or 30/60")
    try:
        return tuple(parse_number(word, least=1.0, most=1000.0) for word in text.split("/"))
    except UserError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of frames a second") from None


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write ``bench.json`` and ``bench.md``."""
    for name in ("frames", "live", "soak"):
        require_least(f"--{name}", getattr(args, name), 0)
    screen = console()
    spec = load_spec(args.model)
    engines = _engines(spec, args.engines)
    if unknown := [shape for shape in args.shapes if shape not in SHAPES]:
        raise UserError(f"There is no shape '{unknown[0]}'", "Choose of rect, square")
    if args.peer and not args.peer_python:
        raise UserError("The peer runs in an environment of yours", "Name its interpreter with --peer-python")
    frames = held_frames(args.source, args.size, HELD)
    made = report.Report(
        command=_command(args),
        machine=machine.facts(),
        model={"model": f"{spec.name} {spec.version}", "sha256": spec.sha256, "input": _input(spec)},
        source=f"{args.source}, {frames[0].width_px} x {frames[0].height_px}, {len(frames)} frames in memory",
    )
    threads = args.threads or (engine_threads(live=False),)
    _note_choices(spec, args, engines, threads, frames, made)
    if args.frames > 0:
        _measure(spec, args, engines, threads, frames, made, screen)
    if args.live > 0 or args.soak > 0:
        _long(spec, args, engines[0], threads[0], frames, made, screen)
    made.memory_mb = machine.memory_mb()
    paths = report.write(made, args.out)
    print(report.markdown(made), end="")
    screen.print(f"Written: {paths[0]} and {paths[1]}")
    return 0


def _command(args: argparse.Namespace) -> str:
    """What was asked, without the names of the user's own folders."""
    words = ["usviewer bench"]
    for key in (
        "model",
        "source",
        "engines",
        "shapes",
        "threads",
        "frames",
        "draw",
        "live",
        "rate",
        "soak",
        "peer",
        "peer_weights",
    ):
        value = getattr(args, key)
        if value not in (None, (), False, 0, 0.0):
            words_of = value if isinstance(value, tuple) else (value,)
            paths = key in ("source", "peer_weights")
            text = ",".join(Path(word).name if paths and "/" in str(word) else str(word) for word in words_of)
            words.append(f"--{key.replace('_', '-')}" + ("" if value is True else f" {text}"))
    return " ".join([*words, f"--size {args.size[0]}x{args.size[1]}"])


def _input(spec: ModelSpec) -> str:
    return f"{spec.input.height_px}x{spec.input.width_px}" if spec.input.width_px else f"up to {spec.input.side_px}"


def _engines(spec: ModelSpec, asked: Sequence[str]) -> tuple[str, ...]:
    if tuple(asked) == ("all",):
        return ("auto", *usable_engines(spec))
    for engine in asked:
        if engine not in ENGINES:
            raise UserError(f"There is no engine '{engine}'", f"Choose of all, {', '.join(ENGINES)}")
    return tuple(asked) or ("auto",)


def _note_choices(
    spec: ModelSpec,
    args: argparse.Namespace,
    engines: Sequence[str],
    threads: Sequence[int],
    frames: Sequence[Frame],
    made: report.Report,
) -> None:
    """What the automatic choice says on these frames, before anything is timed."""
    if "auto" not in engines:
        return
    for count in threads:
        chosen = choice.choose_engine(spec, count, frames=lambda: frames, spinning=True, anew=args.anew)
        made.choices += chosen.lines()


def _measure(
    spec: ModelSpec,
    args: argparse.Namespace,
    engines: Sequence[str],
    threads: Sequence[int],
    frames: Sequence[Frame],
    made: report.Report,
    screen: Terminal,
) -> None:
    shapes = args.shapes if not spec.input.width_px else ("rect",)
    with ExitStack() as stack:
        cases: list[Case] = [
            OwnCase(spec, engine, shape, count, frames, drawn=args.draw)
            for count in threads
            for shape in shapes
            for engine in engines
        ]
        own: list[int] = []
        if args.peer:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usviewer-bench-")))
            peer = stack.enter_context(Peer(args.peer, args.peer_python, frames, folder))
            own.append(peer.pid)
            cases += _peer_cases(spec, args, peer, max(threads))
        with screen.status("measuring in turns"):
            made.results = measure(cases, args.frames, own)
    made.notes += [f"{result.name}: {note}" for result in made.results for note in result.notes]
    for case in cases:
        if getattr(case, "found", None) == 0:
            made.notes.append(
                f"{case.name}: nothing was found on these frames; masks take time, so its figures are low"
            )


def _peer_cases(spec: ModelSpec, args: argparse.Namespace, peer: Peer, threads: int) -> list[Case]:
    """The model's own file and what else was named, with our number of threads; PyTorch also with the peer's own."""
    routes = [str(spec.path), *args.peer_weights]
    cases: list[Case] = [PeerCase(peer, route, spec, threads, drawn=False) for route in routes]
    cases += [PeerCase(peer, route, spec, 0, drawn=False) for route in routes if not route.endswith(".onnx")]
    if args.draw:
        cases += [PeerCase(peer, route, spec, threads, drawn=True) for route in routes]
    return cases


def _long(
    spec: ModelSpec,
    args: argparse.Namespace,
    engine: str,
    threads: int,
    frames: Sequence[Frame],
    made: report.Report,
    screen: Terminal,
) -> None:
    predictor = Predictor(spec, engine, threads, spinning=False, frames=lambda: frames)
    if args.live > 0:
        for rate in args.rate:
            with screen.status(f"live at {rate:g} frames a second"):
                made.live.append(run_live(predictor, frames, rate, args.live))
    if args.soak > 0:
        with screen.status(f"{args.soak} frames"):
            made.soak.append(soak(predictor, frames, args.soak))
