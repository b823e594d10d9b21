"""What a script uses: a source in, its frames with their predictions and readings out.

``import usviewer`` is enough: every name of ``__all__`` is there, and this module is imported with its first use.
``usviewer analyze`` is built on ``recording`` and ``analyze_recording`` as well, so both give the same numbers.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from usviewer.acquire import Source, open_source
from usviewer.acquire.arrays import ArraySource, Picture
from usviewer.calibrate.calibration import StatedScale, calibration_for, spacing_from_numbers, spacing_from_text
from usviewer.calibrate.ruler.detect import MAX_TICK_MM, MIN_TICK_MM
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import Prediction
from usviewer.measure import ExamContext, clip_report, summarize
from usviewer.measure.findings import ClipReport, Finding, biometry, finding_of, registered
from usviewer.measure.reading import Plane, Reading, Site, Status, Summary
from usviewer.pipeline.analyzer import Calibrate, FrameAnalyzer, FrameResult, LoadedModel, analyze_clip, load_model
from usviewer.save.tables import reading_row
from usviewer.units import Spacing

__all__ = [
    "ClipReport",
    "Frame",
    "FrameResult",
    "LoadedModel",
    "Plane",
    "Prediction",
    "Reading",
    "Site",
    "Source",
    "Status",
    "Summary",
    "UserError",
    "analyze",
    "clip_report",
    "load_model",
    "open_source",
    "reading_row",
    "summarize",
]

Choice = TypeVar("Choice", Plane, Site)

PLANES = (Plane.TRANSVERSE, Plane.LONGITUDINAL)
SITES = tuple(site for site in Site if site)
# What the operator may say, and not every finding uses.
SAID = ("reference", "site", "plane", "gestational_age_weeks")


def analyze(
    source: str | os.PathLike[str] | Source | Iterable[Picture],
    model: str | Path | LoadedModel = "aorta",
    *,
    mm_per_pixel: float | tuple[float, float] | str | None = None,
    ruler_tick_mm: float | None = None,
    plane: Plane | str | None = None,
    site: Site | str | None = None,
    gestational_age_weeks: float | str | None = None,
    engine: str = "auto",
    frames_per_second: float | None = None,
) -> Generator[FrameResult, None, None]:
    """Segment and measure every frame of a source that can be read, in order. Gives them one by one, as they are ready.

    ``source`` is one of:

    - a path: a clip, a picture, a folder of pictures, a DICOM file; or an address such as ``phantom:?frames=50``;
    - a source that is open (``open_source``); it stays open;
    - pictures: RGB, uint8, (height, width, 3), grey ones without the last axis, or frames. With ``frames_per_second``
      they are a clip; without, each is measured by itself. What can only be read once is read into memory whole.

    ``model`` is the id of an installed model, the folder of one that is not (a ``Path``), or what ``load_model`` gave:
    with that it is loaded only once for many sources. ``engine`` says what runs it.

    ``mm_per_pixel`` is the size of a pixel, one number for square ones or (x, y), or text as for ``--mm-per-pixel``. It
    holds for pictures of the size of the first. ``ruler_tick_mm`` confirms the ruler on the pictures instead: mm from
    tick to tick. Without either there are millimetres only where the file states its scale; else lengths are in pixels,
    and ``reading.no_scale_reason`` says why.

    ``plane`` ("transverse", "longitudinal") and ``site`` ("proximal", "mid", "distal", "right iliac", "left iliac") are
    for the aorta, ``gestational_age_weeks`` (28.43, or "28+3") for the fetal head.

    A frame on which something goes wrong is refused with its reason (``reading.status``, ``problem``), and the others
    go on. What must be said of the source or the model as a whole comes as a ``UserWarning``. What was opened here is
    closed at the end, also where the loop is left early.

    Raises ``UserError``: at once for arguments that cannot be right; with the first frame for a source or a model that
    cannot be opened, a live source, a scale that contradicts the file's own, and where no frame can be read.
    """
    if isinstance(model, LoadedModel) and engine != "auto":
        raise UserError("A loaded model has its engine already", "Give the engine to load_model")
    if frames_per_second is not None and (isinstance(source, str | os.PathLike | Source)):
        raise UserError("Only pictures in memory are given their rate", "Leave frames_per_second out")
    context = ExamContext(
        _chosen("plane", plane, PLANES), _chosen("site", site, SITES) or Site.NOT_SET, _weeks(gestational_age_weeks)
    )
    said = StatedScale(_spacing(mm_per_pixel), ruler_tick_mm=_tick(ruler_tick_mm))
    return _analyzed(source, model, engine, said, context, frames_per_second)


def _analyzed(
    source: str | os.PathLike[str] | Source | Iterable[Picture],
    model: str | Path | LoadedModel,
    engine: str,
    said: StatedScale,
    context: ExamContext,
    frames_per_second: float | None,
) -> Generator[FrameResult, None, None]:
    with recording(source, frames_per_second) as opened:
        if not isinstance(model, LoadedModel):
            # Only now: a source that cannot be opened is said at once, and loading takes seconds.
            model = load_model(model, engine)
        refuse_unused(model.model_id, model.finding, _said(context))
        calibrate = calibration_for(opened, said)
        for sentence in (*calibrate.problems, *filter(None, [model.notice])):
            warnings.warn(sentence, stacklevel=2)
        with closing(analyze_recording(opened, model, calibrate, context)) as frames:
            yield from frames
        for sentence in opened.info.notes:  # what could not be read is known at the end
            warnings.warn(sentence, stacklevel=2)


@contextmanager
def recording(
    source: str | os.PathLike[str] | Source | Iterable[Picture], frames_per_second: float | None = None
) -> Iterator[Source]:
    """A source with an end, open inside the block; one that was given open stays open after it.

    Raises ``UserError`` where it cannot be opened, or is live.
    """
    own = not isinstance(source, Source)
    opened = _opened(source, frames_per_second)
    try:
        if opened.info.live:
            raise UserError(
                f"{opened.info.name} is live and has no end", "Record it in the window, then analyse the recording"
            )
        yield opened
    finally:
        if own:
            opened.close()


def _opened(source: str | os.PathLike[str] | Source | Iterable[Picture], frames_per_second: float | None) -> Source:
    if isinstance(source, Source):
        return source
    if isinstance(source, str | os.PathLike):
        return open_source(os.fspath(source))
    return ArraySource(source, frames_per_second)


def analyze_recording(
    source: Source, model: LoadedModel, calibrate: Calibrate, context: ExamContext
) -> Generator[FrameResult, None, None]:
    """Every frame of an open source through calibrate, infer and measure, overlapped (``pipeline.analyze_clip``).

    Raises ``UserError`` where no frame could be read.
    """
    # One analyzer for one source: what it carries from frame to frame must never reach another patient's.
    analyzer = FrameAnalyzer(model, calibrate, context, sequence=source.info.is_sequence)
    read_any = False
    with closing(analyze_clip(source, analyzer)) as frames:
        for result in frames:
            read_any = True
            yield result
    if not read_any:
        raise UserError(f"{source.info.name} has no frame that could be read", "Give another file")


def refuse_unused(model_id: str, finding: str, said: Mapping[str, object], prefix: str = "") -> None:
    """Raise ``UserError`` for what was said and the model's finding does not use (None: not said).

    It must not be dropped without a word. ``prefix`` stands before an option's name where people type one: "--".
    """
    for name in SAID:
        if said.get(name) is None or _uses(finding_of(finding), name):
            continue
        option = name
        if prefix:  # an argument of Python has underscores, an option of the command line dashes
            option = f"{prefix}{name.replace('_', '-')}"
        users = " and ".join(each.id for each in registered().values() if _uses(each, name))
        raise UserError(
            f"{option} is for the finding {users}, the model '{model_id}' is of {finding}",
            f"Leave it out, or name another model with {prefix}model",
        )


def _uses(finding: Finding, option: str) -> bool:
    return option in finding.context or (option == "reference" and bool(finding.reference_tables))


def _said(context: ExamContext) -> dict[str, object]:
    site = context.site or None
    return {"plane": context.plane, "site": site, "gestational_age_weeks": context.gestational_age_weeks}


def _spacing(mm_per_pixel: float | tuple[float, float] | str | None) -> Spacing | None:
    """By the rules of ``--mm-per-pixel``. A number that a program gives was not typed: 1.234 has one meaning."""
    if mm_per_pixel is None:
        return None
    if isinstance(mm_per_pixel, str):
        return spacing_from_text(mm_per_pixel)
    try:
        if isinstance(mm_per_pixel, tuple | list):
            x, y = mm_per_pixel
        else:
            x = y = mm_per_pixel
        return spacing_from_numbers(float(x), float(y))
    except (TypeError, ValueError):
        raise UserError(
            f"{mm_per_pixel!r} is not a scale in mm per pixel", "Give one number such as 0.21, or (x, y)"
        ) from None


def _tick(ruler_tick_mm: float | None) -> float | None:
    if ruler_tick_mm is None:
        return None
    return _number("ruler_tick_mm", ruler_tick_mm, MIN_TICK_MM, MAX_TICK_MM)


def _weeks(gestational_age_weeks: float | str | None) -> float | None:
    if gestational_age_weeks is None:
        return None
    if isinstance(gestational_age_weeks, str):
        return biometry.weeks_from_text(gestational_age_weeks)
    name = "gestational_age_weeks"
    return _number(name, gestational_age_weeks, biometry.LEAST_WEEKS, biometry.MOST_WEEKS)


def _number(name: str, value: float, least: float, most: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not least <= number <= most:  # false for nan, too
        raise UserError(f"{name} {value!r} cannot be right", f"Give a number from {least:g} to {most:g}")
    return number


def _chosen(name: str, value: Choice | str | None, choices: tuple[Choice, ...]) -> Choice | None:
    if value is None:
        return None
    if value not in choices:
        raise UserError(f"There is no {name} '{value}'", f"Choose one of {', '.join(choices)}")
    return type(choices[0])(value)
