"""``python -m benchmarks.measure_again CLIP``: how long a clip under review takes to be measured again.

A ruler is confirmed, a number stated, the scale taken back, a site set. Prints the seconds of the first analysis, of
each time after it, and the memory of what is kept for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.command import end_with
from usviewer.acquire import open_source
from usviewer.calibrate.calibration import StatedScale, gather
from usviewer.calibrate.ruler.detect import MAX_TICK_MM, MIN_TICK_MM
from usviewer.cli.command import DEFAULT_MODEL, Parser, number
from usviewer.errors import UserError
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.reading import Site
from usviewer.pipeline.analyzer import LoadedModel, load_model
from usviewer.pipeline.review_run import ReviewRun
from usviewer.typed_number import LENGTH_IN_MM
from usviewer.units import ScaleSource, isotropic

POLL_S = 0.005
DEADLINE_S = 1800.0


def main(argv: Sequence[str]) -> int:
    """Measure and print. Raises ``UserError`` where the clip cannot be analysed."""
    args = _parser().parse_args(list(argv))
    model = load_model(args.model, args.engine)
    scales = _scales(args.clip, args.tick_mm)
    run = ReviewRun(partial(open_source, args.clip), gather)
    run.start()
    try:
        _report(run, model, scales)
    finally:
        run.stop()
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.measure_again", description="Measure a clip again, without the network.")
    parser.add_argument("clip", metavar="CLIP", help="a recorded clip")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="ID", help="which model (default: %(default)s)")
    parser.add_argument("--engine", default="cpu", help="default: %(default)s")
    tick = number(MIN_TICK_MM, MAX_TICK_MM, LENGTH_IN_MM)
    parser.add_argument("--tick-mm", type=tick, default=10.0, metavar="N", help="what a tick of its ruler is worth")
    return parser


def _scales(clip: str, tick_mm: float) -> dict[str, StatedScale]:
    """Rulers are confirmed as the window does it: found in a second look at the clip."""
    with open_source(clip) as source:
        proposal, _ = gather(source).ruler
        size_px = source.info.width_px, source.info.height_px
    number = StatedScale(isotropic(0.2, ScaleSource.USER), size_px, from_start=False)
    if proposal is None:
        return {"a number stated": number}
    ruler = StatedScale(confirmed=(proposal.confirmed(tick_mm),), from_start=False)
    return {"a ruler confirmed": ruler, "a number stated": number, "the scale taken back": StatedScale()}


def _report(run: ReviewRun, model: LoadedModel, scales: dict[str, StatedScale]) -> None:
    took_s, worked_s = _timed(run, lambda: run.set_model(model))
    count = run.snapshot().analysed
    print(f"{count} frames; first analysis {took_s:.1f} s, {worked_s:.1f} s of processor time")
    acts: dict[str, Callable[[], None]] = {name: partial(_restate, run, model, said) for name, said in scales.items()}
    acts["a site set"] = partial(run.set_model, model, None, ExamContext(site=Site.MID))
    for name, act in acts.items():
        took_s, worked_s = _timed(run, act)
        print(f"{name}: {took_s:.2f} s, {worked_s:.2f} s of processor time; {_of(run, count)}")
    print(f"kept predictions: {run.kept_bytes / 1e6:.2f} MB of masks")


def _restate(run: ReviewRun, model: LoadedModel, said: StatedScale) -> None:
    run.set_scale(said)
    run.set_model(model, None, NO_CONTEXT)


def _of(run: ReviewRun, count: int) -> str:
    readings = [reading for index in range(count) if (reading := run.automatic(index)) is not None]
    return f"{sum(reading.spacing is not None for reading in readings)} frames in mm"


def _timed(run: ReviewRun, act: Callable[[], None]) -> tuple[float, float]:
    """Seconds until all is read again and the curve is drawn: by the clock, and of the processor.

    On a computer that does other things beside, the latter is what it would take without them, or less.
    """
    began_s, began_work_s = time.monotonic(), time.process_time()
    act()
    while time.monotonic() - began_s < DEADLINE_S:
        now = run.snapshot()
        run.raise_failure()
        if now.message and not now.complete:
            raise UserError(now.message, "Choose another clip or model")
        if now.complete and now.curve is not None and bool(now.curve.analysed.all()):
            return time.monotonic() - began_s, time.process_time() - began_work_s
        time.sleep(POLL_S)
    raise UserError("The analysis did not end in time", "Try a shorter clip")


if __name__ == "__main__":
    end_with(main)
