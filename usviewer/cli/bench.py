"""``usviewer bench``: how fast this computer is, stage by stage and live, and which engine it should use."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from usviewer.cli import bench_report
from usviewer.cli.bench_cases import HELD, Case, OwnCase, held_frames, measure, run_live
from usviewer.cli.command import DEFAULT_MODEL, MOST_SECONDS, number, require_least, whole
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer import choice
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.predictor import Predictor
from usviewer.infer.registry import load_spec
from usviewer.infer.session import ENGINES, engine_threads, usable_engines
from usviewer.terminal import Terminal, console
from usviewer.typed_number import SECONDS, parse_number, parse_whole

DEFAULT_FOLDER = Path("usviewer-bench")
CASE_OPTIONS = ("model", "source", "engines", "threads", "frames", "draw")


@dataclass(frozen=True, slots=True)
class BenchSetup:
    """What is timed: a model on these frames, with each engine and each number of threads."""

    spec: ModelSpec
    frames: Sequence[Frame]
    engines: Sequence[str]
    threads: Sequence[int]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``usviewer bench``."""
    add_case_options(parser)
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
        help="frames a second of that source; several as 30/60 (default: 30)",
    )
    parser.set_defaults(run=run)


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is timed: model, source, size, engines, threads, frames."""
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="ID", help="which model (default: %(default)s)")
    parser.add_argument("--source", default="phantom:", metavar="URI", help="a clip, or phantom: (default)")
    parser.add_argument(
        "--size", type=size, default="1920x1080", metavar="WxH", help="of the frames (default: 1920x1080)"
    )
    parser.add_argument("--engines", type=words, default=("auto",), metavar="A,B", help="auto, all, or names, in turns")
    parser.add_argument(
        "--threads", type=_thread_counts, default=(), metavar="N,M", help="engine threads (default: all cores)"
    )
    parser.add_argument(
        "--frames", type=whole(), default=200, metavar="N", help="of each case (default: %(default)s; 0: none)"
    )
    parser.add_argument("--draw", action="store_true", help="also draw each result onto its frame")
    parser.add_argument("--choose-again", action="store_true", help="choose the engine again, on these frames")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="default: %(default)s")


def size(text: str) -> tuple[int, int]:
    """``1920x1080`` as (width, height)."""
    width, _, height = text.lower().partition("x")
    try:
        return parse_whole(width, least=32, most=8192), parse_whole(height, least=32, most=8192)
    except UserError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size: give WIDTHxHEIGHT, like 1920x1080") from None


def words(text: str) -> tuple[str, ...]:
    """Words with commas between them."""
    found = tuple(word for word in text.split(",") if word)
    if not found:
        raise argparse.ArgumentTypeError(f"the list '{text}' is empty")
    return found


def _thread_counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(parse_whole(word, least=1, most=64) for word in words(text))
    except UserError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of 1 to 64 threads") from None


def _rates(text: str) -> tuple[float, ...]:
    """One rate, or several with ``/`` between them. A comma was that sign once and is a decimal sign elsewhere."""
    if "," in text:
        raise argparse.ArgumentTypeError(f"'{text}' may mean one number or two frames a second: write 29.97, or 30/60")
    try:
        return tuple(parse_number(word, least=1.0, most=1000.0) for word in text.split("/"))
    except UserError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of frames a second") from None


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write ``bench.json`` and ``bench.md``."""
    require_least("--live", args.live, 0)
    setup, screen = set_up(args), console()
    made = begin_report(command_line("usviewer bench", args, (*CASE_OPTIONS, "live", "rate")), args, setup)
    if args.frames > 0:
        with screen.status("measuring in turns"):
            time_cases(made, own_cases(setup, drawn=args.draw), args.frames)
    if args.live > 0:
        _run_live(made, setup, args, screen)
    finish_report(made, args.out, screen)
    return 0


def set_up(args: argparse.Namespace) -> BenchSetup:
    """Load the model's manifest and the frames. Raises ``UserError`` for options that cannot be right."""
    require_least("--frames", args.frames, 0)
    spec = load_spec(args.model)
    engines = _engines(spec, args.engines)
    frames = held_frames(args.source, args.size, HELD)
    return BenchSetup(spec, frames, engines, args.threads or (engine_threads(live=False),))


def begin_report(command: str, args: argparse.Namespace, setup: BenchSetup) -> bench_report.Report:
    """The report's head, with what the automatic choice says on these frames, before anything is timed."""
    spec, frames = setup.spec, setup.frames
    made = bench_report.Report(
        command=command,
        machine=bench_report.facts(),
        model={"model": f"{spec.name} {spec.version}", "sha256": spec.sha256, "input": _input(spec)},
        source=f"{args.source}, {frames[0].width_px} x {frames[0].height_px}, {len(frames)} frames in memory",
    )
    for count in setup.threads if "auto" in setup.engines else ():
        chosen = choice.choose_engine(spec, count, frames=lambda: frames, spinning=True, again=args.choose_again)
        made.choices += chosen.lines()
    return made


def command_line(program: str, args: argparse.Namespace, options: Sequence[str]) -> str:
    """What was asked, without the names of the user's own folders."""
    said = [program]
    for key in options:
        value = getattr(args, key)
        if value in (None, (), False, 0, 0.0):
            continue
        values = value if isinstance(value, tuple) else (value,)
        text = ",".join(Path(word).name if "/" in str(word) else str(word) for word in values)
        said.append(f"--{key}" if value is True else f"--{key} {text}")
    return " ".join([*said, f"--size {args.size[0]}x{args.size[1]}"])


def own_cases(setup: BenchSetup, shapes: Sequence[str] = ("rect",), *, drawn: bool) -> list[Case]:
    """A case for each engine, shape of the input ("rect", "square") and number of threads."""
    return [
        OwnCase(setup.spec, engine, shape, count, setup.frames, drawn=drawn)
        for count in setup.threads
        for shape in shapes
        for engine in setup.engines
    ]


def time_cases(
    made: bench_report.Report, cases: Sequence[Case], frames: int, own_processes: Sequence[int] = ()
) -> None:
    """Run the cases in turns and put their figures and notes into the report."""
    made.results = measure(cases, frames, own_processes)
    made.notes += [f"{result.name}: {note}" for result in made.results for note in result.notes]
    made.notes += [
        f"{case.name}: nothing was found on these frames; masks take time, so its figures are low"
        for case in cases
        if case.found == 0
    ]


def finish_report(made: bench_report.Report, folder: Path, screen: Terminal, sections: Sequence[str] = ()) -> None:
    """Write the report and print its page; ``sections`` of Markdown come last."""
    made.memory_mb = bench_report.memory_mb()
    paths = bench_report.write(made, folder, sections)
    print(bench_report.markdown(made, sections), end="")
    screen.print(f"Written: {paths[0]} and {paths[1]}")


def _input(spec: ModelSpec) -> str:
    return f"{spec.input.height_px}x{spec.input.width_px}" if spec.input.width_px else f"up to {spec.input.side_px}"


def _engines(spec: ModelSpec, asked: Sequence[str]) -> tuple[str, ...]:
    if tuple(asked) == ("all",):
        return ("auto", *usable_engines(spec))
    for engine in asked:
        if engine not in ENGINES:
            raise UserError(f"There is no engine '{engine}'", f"Choose one of all, {', '.join(ENGINES)}")
    return tuple(asked)


def _run_live(made: bench_report.Report, setup: BenchSetup, args: argparse.Namespace, screen: Terminal) -> None:
    """The first engine with the first number of threads, at each rate."""
    frames = setup.frames
    predictor = Predictor(setup.spec, setup.engines[0], setup.threads[0], spinning=False, frames=lambda: frames)
    for rate in args.rate:
        with screen.status(f"live at {rate:g} frames a second"):
            made.live.append(run_live(predictor, frames, rate, args.live))
