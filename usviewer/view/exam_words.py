"""What the frames of one patient say together, as rows of words. No Qt, no numbers of its own."""

from __future__ import annotations

from dataclasses import dataclass

from usviewer.errors import UserError
from usviewer.measure.findings import ClipReport, ReportSection, finding_of
from usviewer.measure.findings.reference_tables import compare_with_table, table_of
from usviewer.measure.reading import Summary
from usviewer.view.reading_text import DASH

NOTHING_YET = (
    "Nothing is said before the whole clip is analysed. Pictures of a folder and pages of a file may be of different "
    "patients: nothing is said over all of them."
)


@dataclass(frozen=True, slots=True)
class ExamRow:
    """A name, its value, what is said quietly below it, and the frame to go to (None: none)."""

    name: str
    value: str
    detail: str = ""
    frame: int | None = None


def sweep_rows(findings: ClipReport, now_s: float | None) -> tuple[ExamRow, ...]:
    """The largest diameter of each site; where it was: its frame, or of a live source (``now_s``) how long ago."""
    return tuple(_sweep_row(findings.finding, summary, now_s) for summary in findings.sweep)


def _sweep_row(finding: str, summary: Summary, now_s: float | None) -> ExamRow:
    key, known = summary.maximum_key, finding_of(finding)
    where = f"frame {key.index}" if now_s is None else f"{max(0.0, now_s - key.capture_time_s):.0f} s ago"
    interval = ""
    if summary.maximum_interval is not None:
        (low, unit), (high, _) = (known.number(value, summary.unit) for value in summary.maximum_interval)
        interval = f"{low} to {high} {unit}, 95 % · "
    value = known.text(summary.maximum, summary.unit)
    name = str(summary.site).capitalize() or "Site not set"
    return ExamRow(name, value, f"{interval}{where}", key.index if now_s is None else None)


def section_rows(section: ReportSection, *, live: bool) -> tuple[ExamRow, ...]:
    """The rows of one section; a live source has no frames to go to."""
    return tuple(
        ExamRow(row.name, DASH if row.value is None else row.value, row.detail, None if live else row.frame)
        for row in section.rows
    )


def sweep_pairs(findings: ClipReport) -> tuple[tuple[str, str], ...]:
    """The largest diameter of a live sweep through sites, for the rail; nothing where no site was set."""
    if not any(summary.site for summary in findings.sweep):
        return ()
    top = findings.sweep[0]
    return ((f"max, {top.site or 'site not set'}", finding_of(findings.finding).text(top.maximum, top.unit)),)


def reference_words(findings: ClipReport, table_id: str) -> str:
    """What the table that was asked for says of the largest diameter, or why nothing; empty when none was asked for."""
    if not table_id or not finding_of(findings.finding).reference_tables:
        return ""
    try:
        table = table_of(table_id)
    except UserError as error:
        return str(error)
    if not findings.sweep:
        return f"{table.title}: nothing was measured across the vessel yet"
    verdict = compare_with_table(findings.sweep[0], table)
    return verdict.text or verdict.reason
