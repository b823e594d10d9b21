"""What the rail says about a reading: words and figures only, decided here once and without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from usviewer.measure.findings import finding_of
from usviewer.measure.reading import NORMAL_95, Dimension, Measurement, Provenance, Reading, Status, Summary
from usviewer.overlay import words

DASH = "\N{EN DASH}"
BARS = 5
_GOOD_FROM, _FAIR_FROM = 0.6, 0.35


@dataclass(frozen=True, slots=True)
class StatusMark:
    """One line of a checklist: seen or not, and how sure the model is."""

    label: str
    seen: bool
    score: float | None = None


@dataclass(frozen=True, slots=True)
class ReadingText:
    """Everything the rail shows. ``number`` is a dash when there is none that holds; ``reason`` then says why.

    ``heading`` names the structure, ``quantity`` what is measured, ``aggregate`` over what; ``interval`` and
    ``convention`` stand under the number. ``quality`` (0 to 1) is None where it is not known.
    """

    heading: str = ""
    quantity: str = ""
    aggregate: str = ""
    number: str = DASH
    unit: str = ""
    interval: str = ""
    convention: str = ""
    quality: float | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    marks: tuple[StatusMark, ...] = ()
    reason: str = ""
    warnings: tuple[str, ...] = ()
    scale: str = ""
    has_scale: bool = False
    reference: str = ""
    checks: tuple[str, ...] = ()


def quality_words(quality: float) -> str:
    """A word for a quality, where colour and bars are not seen."""
    return "good" if quality >= _GOOD_FROM else "fair" if quality >= _FAIR_FROM else "poor"


def quality_bars(quality: float) -> int:
    """How many of the bars are filled; one at least, so that poor does not look like absent."""
    return min(BARS, max(1, round(quality * BARS)))


def reading_text(
    reading: Reading | None,
    summary: Summary | None,
    *,
    is_current: bool = True,
    over: str = "the last",
    labels: Sequence[str] = (),
    withdrawn: str = "",
    waiting: str = "Hold still for a heart beat",
    beyond: tuple[tuple[str, str], ...] = (),
    reference: str = "",
    current: bool = True,
) -> ReadingText:
    """What to say about a reading.

    ``over`` introduces the span of the summary ("the last", "the clip,"). ``is_current`` False withdraws the aggregate
    (the input is not live); ``withdrawn`` says why. ``waiting`` says what is missing where only a single frame of a
    pulsating vessel is known. ``labels`` is all that the model can find, for what is answered by a checklist.
    ``current`` False: not even this frame's own values are shown, since it is no more what the source sends.
    ``beyond`` is what more frames say together, ``reference`` what a table says that the user asked for.
    """
    if reading is None:
        return ReadingText(reason=withdrawn)
    heading = words.finding_name(reading)
    if not current:
        return ReadingText(heading, _quantity_of(reading, summary), reason=withdrawn)
    warnings = reading.warnings if reading.status is Status.MEASURED else ()
    marks = _marks(reading, labels)
    if reading.status is not Status.MEASURED:
        return ReadingText(heading, _quantity_of(reading, summary), marks=marks, reason=reading.reason or withdrawn)
    main = words.headline_of(reading)
    fitting = words.matches_summary(summary, reading) if is_current else None
    base = ReadingText(
        heading,
        words.title(main.name) if main else "",
        convention=_convention(reading, main),
        quality=reading.quality,
        marks=marks,
        warnings=warnings,
        scale=_scale(reading),
        has_scale=reading.spacing is not None,
        reason="" if is_current else withdrawn,
        reference=reference if is_current and finding_of(reading.finding).reference_tables else "",
        checks=words.plane_checks(reading),
    )
    if main is None:
        return base
    answer = _with_number(base, reading, main, fitting, over, waiting)
    return replace(answer, pairs=answer.pairs + beyond)


def _with_number(
    base: ReadingText, reading: Reading, main: Measurement, summary: Summary | None, over: str, waiting: str
) -> ReadingText:
    if summary is not None:
        number, unit = words.big_number(summary.median, summary.unit, reading.finding)
        span = f"median of {over} {summary.span_s:.1f} s"
        pairs = (("max", _short(summary.maximum, summary.unit, reading.finding)), ("now", _now(main, reading)))
        interval = _interval(summary, reading.finding)
        return replace(
            base, aggregate=span, number=number, unit=unit, interval=interval, pairs=pairs + _others(reading)
        )
    if main.dimension is Dimension.LENGTH and _aggregated(reading):
        now = ("now", _now(main, reading))
        return replace(base, reason=base.reason or waiting, pairs=(now, *_others(reading)))
    number, unit = _single(main, reading.finding)
    spread = f"± {NORMAL_95 * main.sd_mm:.1f} {main.unit_words}, 95 %" if main.sd_mm else ""
    return replace(base, aggregate="this frame", number=number, unit=unit, interval=spread, pairs=_others(reading))


def _aggregated(reading: Reading) -> bool:
    """A pulsating vessel is never quoted from a single automatic frame; a head, or the operator's own line, is."""
    return finding_of(reading.finding).needs_aggregate and reading.provenance is Provenance.AUTOMATIC


def _quantity_of(reading: Reading, summary: Summary | None) -> str:
    if summary is not None:
        return words.title(summary.name)
    quoted = finding_of(reading.finding).quoted
    return "" if quoted is None else words.title(quoted)


def _convention(reading: Reading, main: Measurement | None) -> str:
    if main is None or main.dimension is not Dimension.LENGTH:
        return ""
    drawn = "" if reading.provenance is Provenance.AUTOMATIC else f" · {reading.provenance}"
    whose = words.label_words(reading.label, reading.finding)
    return f"{whose}{words.convention(reading.edge)}{words.how_words(reading)}{drawn}"


def _interval(summary: Summary, finding: str) -> str:
    (low, unit), (high, _) = (words.big_number(value, summary.unit, finding) for value in summary.interval)
    return f"{low} to {high} {unit}, 95 %"


def _short(value: float, unit: str, finding: str) -> str:
    return " ".join(words.big_number(value, unit, finding))


def _now(main: Measurement, reading: Reading) -> str:
    return _value(main, reading.finding)


def _single(main: Measurement, finding: str) -> tuple[str, str]:
    if main.dimension is Dimension.LENGTH and main.value_mm is not None:
        return words.big_number(main.value_mm, "mm", finding)
    number, _, unit = words.value_text(main).partition(" ")
    return number, unit


def _others(reading: Reading) -> tuple[tuple[str, str], ...]:
    rest = (m for m in reading.measurements[1:] if words.is_listed(m.name))
    return tuple((_short_title(m.name), _value(m, reading.finding)) for m in rest)


def _short_title(name: str) -> str:
    """What fits beside its value."""
    return words.title(name).replace("INTERGROWTH-21st", "IG-21st")


def _value(measurement: Measurement, finding: str) -> str:
    """In the unit of the headline, so that the two compare at a glance."""
    if measurement.dimension is Dimension.LENGTH and measurement.value_mm is not None:
        return _short(measurement.value_mm, "mm", finding)
    return words.value_text(measurement)


def _marks(reading: Reading, labels: Sequence[str]) -> tuple[StatusMark, ...]:
    """A checklist for models that look for several structures."""
    if len(labels) < 2:
        return ()
    best: dict[str, float] = {}
    for label, score in zip(reading.labels, reading.scores, strict=False):
        best[label] = max(score, best.get(label, 0.0))
    return tuple(StatusMark(label, label in best, best.get(label)) for label in labels)


def _scale(reading: Reading) -> str:
    if reading.spacing is not None:
        return reading.spacing.describe()
    return reading.no_scale_reason or "No scale: lengths are in pixels"
