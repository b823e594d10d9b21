"""What is said of a reading, decided once: for the screen, for files and for the terminal.

A live picture quotes the aggregate, and says why where there is none. A frame that is held, looked at in review or
saved shows its own number large, and the aggregate and the maximum beside it. Where it was not held, a live picture of
a vessel that pulsates has no number without an aggregate, in a file either (adr/0010).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from usviewer.errors import UserError
from usviewer.measure.findings import EMPTY_REPORT, ClipReport, ReportRow, ReportSection, StatusMark, finding_of
from usviewer.measure.findings.reference_tables import compare_with_table, table_of
from usviewer.measure.reading import NORMAL_95, Dimension, Measurement, Provenance, Reading, Status, Summary
from usviewer.measure.trend import MIN_SPAN_S
from usviewer.overlay import palette, words
from usviewer.overlay.palette import Size
from usviewer.overlay.words import TextLine

DASH = "\N{EN DASH}"
WAITING = "Hold still for a heart beat"
NOTHING_YET = (
    "Nothing is said before the whole clip is analysed. Pictures of a folder and pages of a file may be of different "
    "patients: nothing is said over all of them."
)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TextContext:
    """What decides how a reading is said, beside the reading itself.

    ``is_live``: the picture goes on. ``is_saved``: it is written into a file. ``is_current`` False withdraws the
    aggregate, since the input is not live; ``holds_frame`` False also the frame's own values, since it is no more what
    the source sends; ``withheld`` says why. ``is_complete``: a summary of the whole clip is of all its frames.
    ``labels``: all that the model can find. ``report``: what more frames say together. ``reference``: the id of a table
    that the user asked for.
    """

    is_live: bool = False
    is_saved: bool = False
    is_current: bool = True
    holds_frame: bool = True
    withheld: str = ""
    is_complete: bool = True
    labels: tuple[str, ...] = ()
    report: ClipReport = EMPTY_REPORT
    reference: str = ""


OF_THE_FRAME = TextContext()


@dataclass(frozen=True, slots=True)
class ReadingText:
    """Everything that is said of a reading. ``number`` is a dash where there is none that holds; ``reason`` says why.

    ``heading`` names the structure, ``quantity`` what is measured, ``status`` what there is in the place of a
    measurement. ``basis`` says over what the number is ("this frame"), ``interval`` gives it exactly, with its error;
    ``convention`` is how it was measured. ``beside``: the other number of the same quantity, the maximum, and what more
    frames say. ``others``: the frame's other measurements. ``quality`` (0 to 1) is None where it is not known.
    """

    heading: str = ""
    quantity: str = ""
    status: str = ""
    is_refused: bool = False
    number: str = DASH
    unit: str = ""
    basis: str = ""
    interval: str = ""
    convention: str = ""
    quality: float | None = None
    beside: Pairs = ()
    others: Pairs = ()
    marks: tuple[StatusMark, ...] = ()
    checks: tuple[str, ...] = ()
    reason: str = ""
    warnings: tuple[str, ...] = ()
    scale: str = ""
    has_scale: bool = False
    reference: str = ""

    @property
    def pairs(self) -> Pairs:
        """Name and value of all that stands beside the number."""
        return self.beside + self.others

    @property
    def number_sentence(self) -> str:
        """Over what the number is, and exactly: "this frame, 23.9 ± 1.0 mm, 95 %"."""
        return ", ".join(part for part in (self.basis, self.interval) if part)

    @property
    def beside_sentences(self) -> tuple[str, ...]:
        """What stands beside the number: "median of the last 2.0 s: 2.4 cm"."""
        return tuple(f"{name}: {value}" for name, value in self.beside)

    @property
    def scale_sentence(self) -> str:
        """The scale with where it comes from, or why lengths are in pixels."""
        if self.has_scale:
            return f"Scale {self.scale}"
        return self.scale


def reading_text(reading: Reading | None, summary: Summary | None, context: TextContext = OF_THE_FRAME) -> ReadingText:
    """What to say of a reading; ``summary`` is used where it is about the same thing."""
    if reading is None:
        return ReadingText(reason=context.withheld)
    finding = finding_of(reading.finding)
    text = ReadingText(finding.title, _quantity(reading, summary))
    if not context.holds_frame:
        return replace(text, reason=context.withheld)
    text = replace(
        text, marks=_marks(reading, context.labels), warnings=reading.warnings, beside=_beyond(reading, None, context)
    )
    if reading.spacing is not None:
        text = replace(text, scale=reading.spacing.describe(), has_scale=True)
    if reading.status is not Status.MEASURED:
        return _unmeasured(text, reading, context)
    return _measured(text, reading, summary, context)


def _unmeasured(text: ReadingText, reading: Reading, context: TextContext) -> ReadingText:
    is_refused = reading.status is Status.REFUSED
    if is_refused:
        status = f"{text.heading} not measured"
    else:
        status = finding_of(reading.finding).absent
    reason = reading.reason or context.withheld
    if reason.rstrip(".").casefold() == status.casefold():  # "No nerve seen" is said once
        reason = ""
    return replace(text, status=status, is_refused=is_refused, reason=reason)


def _measured(text: ReadingText, reading: Reading, summary: Summary | None, context: TextContext) -> ReadingText:
    main, finding = words.headline_of(reading), finding_of(reading.finding)
    text = replace(text, quality=reading.quality, reason="" if context.is_current else context.withheld)
    if context.is_current and context.report.finding == reading.finding:
        text = replace(text, reference=reference_words(context.report, context.reference))
    if finding.checklist is not None:
        return replace(text, checks=finding.checks(reading))
    if not text.has_scale:
        text = replace(text, scale=reading.no_scale_reason or "No scale: lengths in pixels")
    if main is None:
        return replace(text, quantity="")
    text = replace(text, quantity=words.title(main.name), convention=_convention(reading, main))
    text = replace(text, others=_others(reading))
    return _with_number(text, reading, main, words.matches_summary(summary, reading), context)


def _with_number(
    text: ReadingText, reading: Reading, main: Measurement, summary: Summary | None, context: TextContext
) -> ReadingText:
    """The one place that decides which number is large."""
    if not context.is_current:
        summary = None
    beyond = _beyond(reading, summary, context)
    if summary is None and context.is_live and _pulsates(reading, main):
        return replace(text, reason=text.reason or WAITING, beside=(_now(reading, main), *beyond))
    if summary is not None and context.is_live and not context.is_saved:
        number, unit = words.big_number(summary.median, summary.unit, reading.finding)
        beside = (_maximum(summary, reading.finding), _now(reading, main), *beyond)
        basis, interval = span_words(summary, is_complete=context.is_complete), interval_words(summary)
        return replace(text, number=number, unit=unit, basis=basis, interval=interval, beside=beside)
    number, unit = _number(main, reading.finding)
    text = replace(text, number=number, unit=unit, basis="this frame", interval=_frame_interval(main))
    if summary is None:
        return replace(text, beside=beyond)
    return replace(text, beside=(_median(summary, reading, context), _maximum(summary, reading.finding), *beyond))


def _pulsates(reading: Reading, main: Measurement) -> bool:
    """Never quoted from one automatic frame of a live picture; a head, or the operator's own line, is."""
    needed = finding_of(reading.finding).needs_aggregate and reading.provenance is Provenance.AUTOMATIC
    return needed and main.dimension is Dimension.LENGTH


def _quantity(reading: Reading, summary: Summary | None) -> str:
    if summary is None:
        quoted = finding_of(reading.finding).quoted
    else:
        quoted = summary.name
    if quoted is None:
        return ""
    return words.title(quoted)


def _convention(reading: Reading, main: Measurement) -> str:
    if reading.provenance is Provenance.AUTOMATIC:
        drawn = ""
    else:
        drawn = f" · {reading.provenance}"
    whose = words.label_words(reading.label, reading.finding)
    return f"{whose}{words.convention(reading.edge)}{words.how_words(reading)}{drawn}"


# --- numbers and their names ------------------------------------------------------------------------------------------


def span_words(summary: Summary, *, is_complete: bool = True) -> str:
    """Over what an aggregate is: "median of the last 2.0 s"."""
    if not summary.whole:
        return f"median of the last {summary.span_s:.1f} s"
    so_far = " so far"
    if is_complete:
        so_far = ""
    return f"median of the clip{so_far}, {summary.span_s:.1f} s"


def interval_words(summary: Summary) -> str:
    """An aggregate exactly, with its interval: "24.0 mm, 95 % 23.4 to 24.5"."""
    digits = 0
    if summary.unit == "mm":
        digits = 1
    value = f"{summary.median:.{digits}f} {summary.unit_words}"
    if summary.known_interval is None:
        return f"{value}, its error is not known"
    low, high = summary.known_interval
    return f"{value}, 95 % {low:.{digits}f} to {high:.{digits}f}"


def _frame_interval(main: Measurement) -> str:
    """One frame's value exactly, with its error where that is known."""
    value = main.size
    if value is None:
        return ""
    digits = 1
    if main.value_mm is None:
        digits = 0
    if main.sd:
        return f"{value:.{digits}f} ± {NORMAL_95 * main.sd:.{digits}f} {main.unit_words}, 95 %"
    is_shown_rounded = main.dimension is Dimension.LENGTH and main.value_mm is not None
    if is_shown_rounded:
        return f"{value:.1f} {main.unit_words}"
    return ""


def _number(main: Measurement, finding: str) -> tuple[str, str]:
    if main.dimension is Dimension.LENGTH and main.value_mm is not None:
        return words.big_number(main.value_mm, "mm", finding)
    number, _, unit = words.value_text(main).partition(" ")
    return number, unit


def _value(measurement: Measurement, finding: str) -> str:
    """In the unit of the large number, so that the two compare at a glance."""
    return " ".join(_number(measurement, finding)).strip()


def _now(reading: Reading, main: Measurement) -> tuple[str, str]:
    return ("now", _value(main, reading.finding))


def _median(summary: Summary, reading: Reading, context: TextContext) -> tuple[str, str]:
    """A short name: it stands in one line with its value."""
    name = span_words(summary)
    if summary.whole:
        name = "median so far"
        if context.is_complete:
            name = "median of the clip"
    return (name, finding_of(reading.finding).text(summary.median, summary.unit))


def _maximum(summary: Summary, finding: str) -> tuple[str, str]:
    return ("max", finding_of(finding).text(summary.maximum, summary.unit))


def _beyond(reading: Reading, summary: Summary | None, context: TextContext) -> Pairs:
    """What more frames say than the reading and its summary; nothing of another finding, or of an input that stopped.

    The maximum of a sweep by site is never hidden, and of a clip not either where the frame has no summary to bring it.
    """
    report = context.report
    if not context.is_current or report.finding != reading.finding:
        return ()
    maximum = _sweep_pairs(report, is_needed=summary is None and not context.is_live)
    if reading.status is Status.MEASURED:
        return maximum + report.pairs
    return maximum


def _sweep_pairs(report: ClipReport, *, is_needed: bool) -> Pairs:
    if not report.sweep or report.frames < 2:
        return ()
    top = report.sweep[0]
    by_site = any(summary.site for summary in report.sweep)
    # A few frames of a clip may be a false alarm: their maximum is not called the clip's.
    if not by_site and (not is_needed or top.span_s < MIN_SPAN_S):
        return ()
    name = "max of all frames"
    if by_site:
        name = f"max, {top.site or 'site not set'}"
    return ((name, finding_of(report.finding).text(top.maximum, top.unit)),)


def _others(reading: Reading) -> Pairs:
    rest = (m for m in reading.measurements[1:] if words.is_listed(m.name))
    return tuple((words.title(m.name), _value(m, reading.finding)) for m in rest)


def _marks(reading: Reading, labels: Sequence[str]) -> tuple[StatusMark, ...]:
    """A checklist: of a finding that has one, and of models that look for several structures."""
    checklist = finding_of(reading.finding).checklist
    if checklist is not None:
        if reading.status is Status.MEASURED or labels:
            return checklist(reading, labels)
        return ()
    if len(labels) < 2:
        return ()
    best: dict[str, float] = {}
    for label, score in zip(reading.labels, reading.scores, strict=False):
        best[label] = max(score, best.get(label, 0.0))
    return tuple(StatusMark(label, label in best, best.get(label)) for label in labels)


# --- over a clip ------------------------------------------------------------------------------------------------------


def reference_words(report: ClipReport, table_id: str) -> str:
    """What the table that was asked for says of the largest value, or why nothing; empty when none was asked for."""
    if not table_id or not finding_of(report.finding).reference_tables:
        return ""
    try:
        table = table_of(table_id)
    except UserError as error:
        return str(error)
    if not report.sweep:
        return f"{table.title}: nothing was measured across the vessel yet"
    verdict = compare_with_table(report.sweep[0], table)
    return verdict.text or verdict.reason


def report_sections(report: ClipReport, table_id: str = "", now_s: float | None = None) -> tuple[ReportSection, ...]:
    """What a clip amounts to, in titled rows; a row without a value has a dash.

    ``now_s`` is the time of a live source: it has no frame to go back to, and its largest values were so long ago.
    """
    over = "over the last two minutes"
    if now_s is None:
        over = "over the clip"
    sections = list(_sweep_sections(report, over, now_s))
    if said := reference_words(report, table_id):
        sections.append(ReportSection("Reference", (ReportRow("", "", said),)))
    for section in report.sections:
        if section.over_frames:
            title = f"{section.title} {over}"
        else:
            title = section.title
        rows = tuple(
            replace(row, value=DASH if row.value is None else row.value, frame=row.frame if now_s is None else None)
            for row in section.rows
        )
        sections.append(ReportSection(title, rows))
    return tuple(sections)


def _sweep_sections(report: ClipReport, over: str, now_s: float | None) -> Iterator[ReportSection]:
    if report.sweep:
        rows = tuple(_sweep_row(report.finding, summary, now_s) for summary in report.sweep)
        yield ReportSection(f"Largest diameter {over}", rows)


def _sweep_row(finding_id: str, summary: Summary, now_s: float | None) -> ReportRow:
    key, finding = summary.maximum_key, finding_of(finding_id)
    if now_s is None:
        where = f"frame {key.index}"
    else:
        where = f"{max(0.0, now_s - key.capture_time_s):.0f} s ago"
    interval = ""
    if summary.maximum_interval is not None:
        (low, unit), (high, _) = (finding.number(value, summary.unit) for value in summary.maximum_interval)
        interval = f"{low} to {high} {unit}, 95 % · "
    name = str(summary.site).capitalize() or "Site not set"
    if now_s is None:
        frame = key.index
    else:
        frame = None
    return ReportRow(name, finding.text(summary.maximum, summary.unit), f"{interval}{where}", frame)


# --- in lines ---------------------------------------------------------------------------------------------------------


def panel_lines(text: ReadingText, most_others: int, model: str = "") -> tuple[TextLine, ...]:
    """What is drawn into a picture, the most important first; of the other measurements at most ``most_others``.

    ``model`` is what is said of the model that made the outline.
    """
    small, warning = (Size.SMALL, palette.QUIET), (Size.BODY, palette.WARNING)
    lines = [*_head_lines(text), *(TextLine(mark.sentence) for mark in text.marks), *map(TextLine, text.checks)]
    lines += [TextLine(sentence, *small) for sentence in text.beside_sentences]
    lines += [TextLine(sentence, *warning) for sentence in text.warnings]
    if text.scale:
        lines.append(TextLine(text.scale_sentence, Size.SMALL, palette.QUIET if text.has_scale else palette.WARNING))
    if model:
        lines.append(TextLine(model, *small))
    return (*lines, *(TextLine(f"{name} {value}", *small) for name, value in text.others[:most_others]))


def _head_lines(text: ReadingText) -> Iterator[TextLine]:
    if text.status:
        if text.is_refused:
            colour = palette.WARNING
        else:
            colour = palette.TEXT
        yield TextLine(text.status, Size.TITLE, colour)
        if text.reason:
            yield TextLine(text.reason, Size.BODY, colour)
        return
    if text.heading:
        yield TextLine(f"{text.heading.upper()}  {text.quantity}".strip())
    if text.convention:
        yield TextLine(text.number, Size.HEADLINE, unit=text.unit)
        yield TextLine(text.convention)
    if text.number_sentence:
        yield TextLine(text.number_sentence)
    if text.reason:
        yield TextLine(text.reason, Size.BODY, palette.WARNING)


def reading_lines(text: ReadingText) -> Iterator[str]:
    """One reading for the terminal: the sentences that stand in the picture."""
    if text.status:
        yield text.status
    else:
        quantity = ""
        if text.quantity:
            quantity = f", {text.quantity}"
        number = ""
        if text.convention:
            number = f": {text.number} {text.unit}".rstrip()
        said = ""
        if text.number_sentence:
            said = f", {text.number_sentence}"
        yield f"{text.heading}{quantity}{number}{said}"
    yield from filter(None, (text.convention, text.reason))
    yield from (mark.sentence for mark in text.marks)
    yield from (*text.checks, *text.beside_sentences, *text.warnings)
    yield from (f"{name} {value}" for name, value in text.others)
    if text.scale:
        yield text.scale_sentence
    if text.reference:
        yield text.reference


def clip_lines(report: ClipReport, aggregate: Summary | None, table_id: str = "") -> Iterator[str]:
    """A whole clip for the terminal: its aggregate, then what the exam panel shows of it."""
    if aggregate is not None:
        yield _aggregate_line(aggregate, report.finding)
    for section in report_sections(report, table_id):
        for row in section.rows:
            if row.name:
                said = f"{row.name}: {row.value}"
            else:
                said = row.detail
            yield f"{said} ({row.detail})" if row.name and row.detail else said


def _aggregate_line(aggregate: Summary, finding: str) -> str:
    """The median as the screen says it, and the maximum exactly, with its frame."""
    digits = 0
    if aggregate.unit == "mm":
        digits = 1
    convention = f"{words.convention(aggregate.edge)}{words.plane_words(aggregate.plane)}"
    median = f"{span_words(replace(aggregate, whole=True))}, {interval_words(aggregate)}"
    return (
        f"{words.title(aggregate.name)}, {words.label_words(aggregate.label, finding)}{convention}: {median}; "
        f"max {aggregate.maximum:.{digits}f} {aggregate.unit_words} at frame {aggregate.maximum_key.index}"
    )
