"""``usviewer calibrate``: what scale a source has, from where and by what evidence; confirms and remembers a ruler."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import islice
from typing import Any

from usviewer.acquire import Source, open_source
from usviewer.calibrate.calibration import (
    Calibration,
    ScaleEvidence,
    ScaleState,
    StatedScale,
    file_scale,
    sample_frames,
)
from usviewer.calibrate.ruler import layouts
from usviewer.calibrate.ruler.detect import MAX_TICK_MM, MIN_TICK_MM, NO_RULER, Ruler
from usviewer.calibrate.ruler.layouts import Proposal, remember
from usviewer.calibrate.ruler.text import can_read
from usviewer.cli.command import number
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.terminal import console
from usviewer.typed_number import LENGTH_IN_MM
from usviewer.units import Spacing

# So many frames of a live source: tissue has moved between them, a ruler has not.
FRAMES = 6
ASK = "Look at the ticks and say what one is worth: --tick-mm N"


@dataclass(frozen=True, slots=True)
class _ScaleReport:
    """What was found. ``spacing`` is None while it is only a proposal, and where there is nothing (``reason``)."""

    state: ScaleState
    spacing: Spacing | None = None
    ruler: Ruler | None = None
    across: Ruler | None = None
    reason: str = ""
    changed_at_frame: int | None = None
    remembered: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``usviewer calibrate``."""
    parser.add_argument("source", metavar="SOURCE", help="a clip, a still, a DICOM file")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    tick = number(MIN_TICK_MM, MAX_TICK_MM, LENGTH_IN_MM)
    parser.add_argument("--tick-mm", type=tick, metavar="N", help="confirm the ruler: N mm from tick to tick")
    parser.add_argument("--across-tick-mm", type=tick, metavar="N", help="the same for a second, horizontal ruler")
    parser.add_argument("--confirm", action="store_true", help="confirm the ruler with what was read beside it")
    parser.add_argument("--remember", action="store_true", help="use this ruler again where the same screen is seen")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what was found: 0, also where there is no scale; raises ``UserError`` for bad input."""
    with open_source(args.source) as source:
        answer = examine(source, args)
        if args.json:
            print(json.dumps(as_json(source, answer), indent=2, ensure_ascii=False))
        else:
            _print(source, answer)
    return 0


def examine(source: Source, args: argparse.Namespace) -> _ScaleReport:
    """The scale of a source: the file's own first, then a ruler on its pictures."""
    stated = file_scale(source)
    frames = _frames(source) if stated is None or not stated.spacings else ()
    evidence = ScaleEvidence(source.info, stated, frames, read=True)
    found = evidence.decide()
    for problem in found.problems:
        console().print(problem, style="yellow", markup=False)
    if found.state is ScaleState.STATED:
        return _by_file(source, found, args)
    proposal, reason = evidence.ruler
    if proposal is None:
        _refuse_confirmation(args, reason)
        refusal = stated.no_scale_reason if stated is not None and reason == NO_RULER else ""
        return _ScaleReport(ScaleState.NONE, reason=f"{refusal}. {reason}" if refusal else reason)
    return _by_ruler(source, found, proposal, args)


def _by_file(source: Source, found: Calibration, args: argparse.Namespace) -> _ScaleReport:
    _refuse_confirmation(args, f"{source.info.name} states its scale itself")
    several = "" if found.spacing else "Several regions with different scales: each is used in its own place"
    return _ScaleReport(ScaleState.STATED, found.spacing, reason=several)


def _refuse_confirmation(args: argparse.Namespace, why: str) -> None:
    if args.tick_mm is not None or args.across_tick_mm is not None or args.confirm or args.remember:
        raise UserError(f"There is no ruler to confirm: {why[:1].lower()}{why[1:]}", "Leave the options out")


def _by_ruler(source: Source, found: Calibration, proposal: Proposal, args: argparse.Namespace) -> _ScaleReport:
    """A ruler is a proposal until its ticks' worth is confirmed, now or in an earlier, remembered time."""
    ruler, across = proposal.ruler, proposal.across
    tick_mm = _read_value(ruler) if args.confirm and args.tick_mm is None else args.tick_mm
    _check_second(across, args, confirming=tick_mm is not None)
    if tick_mm is not None:
        said = StatedScale(ruler_tick_mm=tick_mm, across_tick_mm=args.across_tick_mm)
        found = found.evidence.decide(said)
    if found.state is ScaleState.PROPOSAL:
        if args.remember:
            raise UserError("Only a confirmed ruler is remembered", ASK)
        return _ScaleReport(found.state, None, ruler, across, _proposal(ruler))
    if args.remember:
        remember(proposal, tick_mm if tick_mm is not None else _remembered_mm(proposal))
    remembered = args.remember or found.state is ScaleState.REMEMBERED
    return _ScaleReport(found.state, found.spacing, ruler, across, "", _first_change(source, found), remembered)


def _remembered_mm(proposal: Proposal) -> float:
    layout = proposal.remembered(layouts.load()[0])
    assert layout is not None  # it was just recognized
    return layout.tick_mm


def _check_second(across: Ruler | None, args: argparse.Namespace, *, confirming: bool) -> None:
    """The worth of a second ruler's ticks must not fall under the table."""
    if args.across_tick_mm is None:
        return
    if across is None:
        raise UserError("There is no second ruler to confirm", "Leave --across-tick-mm out")
    if not confirming:
        raise UserError("--across-tick-mm confirms the second ruler only", "Confirm the first one too: --tick-mm N")


def _read_value(ruler: Ruler) -> float:
    if ruler.tick_mm is None:
        raise UserError("The numbers beside the ruler do not say what a tick is worth", ASK)
    return ruler.tick_mm


def _proposal(ruler: Ruler) -> str:
    if ruler.tick_mm is not None:
        return f"Read beside the ruler: {ruler.tick_mm:g} mm a tick. Confirm with --confirm, or --tick-mm N"
    unread = "" if can_read() else " Tesseract, which reads the numbers, is not installed."
    return f"What a tick is worth is not known.{unread} {ASK}"


def _first_change(source: Source, calibrate: Calibration) -> int | None:
    """The first frame of a clip from which on the confirmed scale does not hold."""
    if source.info.live or not source.info.is_sequence:
        return None
    return next((frame.key.index for frame in source if not _is_scaled(calibrate(frame))), None)


def _is_scaled(frame: Frame) -> bool:
    return frame.geometry is not None and any(region.spacing for region in frame.geometry.regions)


def _frames(source: Source) -> list[Frame]:
    """The first frame, and for a clip a few others from all over it, all of one size."""
    live = [frame for frame, _ in zip(source, range(FRAMES), strict=False)] if source.info.live else []
    frames = live or sample_frames(source) if source.info.is_sequence else list(islice(source, 1))
    if not frames:
        raise UserError(f"{source.info.name} has no frame that could be read", "Give another file")
    return [frame for frame in frames if frame.pixels.shape == frames[0].pixels.shape]


def as_json(source: Source, answer: _ScaleReport) -> dict[str, Any]:
    """The findings with stable keys (``docs/calibration.md``); what is not known is null."""
    scale, ruler = answer.spacing, answer.ruler
    return {
        "name": source.info.name,
        "size_px": [source.info.width_px, source.info.height_px],
        "state": str(answer.state),
        "mm_per_pixel": None if scale is None else [scale.x_mm_per_px, scale.y_mm_per_px],
        "source": None if scale is None else str(scale.source),
        "detail": None if scale is None else scale.detail,
        "relative_sd": None if scale is None else scale.relative_sd,
        "reason": answer.reason or None,
        "changed_at_frame": answer.changed_at_frame,
        "remembered": answer.remembered,
        "ruler": None if ruler is None else _ruler_json(ruler),
        "across": None if answer.across is None else _ruler_json(answer.across),
    }


def _ruler_json(ruler: Ruler) -> dict[str, Any]:
    return {
        "side": ruler.side,
        "axis": ruler.axis,
        "ticks_px": list(ruler.ticks_px),
        "across_px": list(ruler.across_px),
        "pitch_px": ruler.pitch_px,
        "residual_px": ruler.residual_px,
        "relative_sd": ruler.relative_sd,
        "major_period": ruler.major_period,
        "divisions": ruler.divisions,
        "labels": [{"text": label.text, "box_xyxy_px": list(label.box_xyxy_px)} for label in ruler.labels],
        "read_tick_mm": ruler.tick_mm,
        "evidence": ruler.evidence,
    }


def _print(source: Source, answer: _ScaleReport) -> None:
    screen = console()
    screen.print(f"{source.info.name}: {answer.state}")
    if answer.spacing is not None:
        print(answer.spacing.describe())
        if answer.spacing.detail:
            screen.print(f"  {answer.spacing.detail}")
    elif answer.ruler is not None:
        print(answer.ruler.describe())
    if answer.across is not None:
        screen.print(f"  Also {answer.across.describe()}")
    if answer.reason:
        screen.print(f"  {answer.reason}")
    if answer.changed_at_frame is not None:
        said = f"  The ruler changes at frame {answer.changed_at_frame}: no millimetres from there on"
        screen.print(said, style="yellow")
    if answer.remembered and answer.state is ScaleState.CONFIRMED:
        screen.print("  Remembered")
