"""What the frames of one patient say together, as rows of words. No Qt, no numbers of its own."""

from __future__ import annotations

from dataclasses import dataclass

from usviewer.errors import UserError
from usviewer.measure import bands, biometry
from usviewer.measure.exam_context import ExamContext
from usviewer.measure.pulse import Pulse
from usviewer.measure.reading import Summary
from usviewer.overlay import words
from usviewer.pipeline.clip_report import ClipReport
from usviewer.view.reading_text import DASH

AORTA, HEAD, BRAIN = "aorta", "fetal-head", "fetal-brain"
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
    return tuple(_sweep_row(summary, now_s) for summary in findings.sweep)


def _sweep_row(summary: Summary, now_s: float | None) -> ExamRow:
    key = summary.maximum_key
    where = f"frame {key.index}" if now_s is None else f"{max(0.0, now_s - key.capture_time_s):.0f} s ago"
    interval = ""
    if summary.maximum_interval is not None:
        (low, unit), (high, _) = (words.big_number(value, summary.unit, AORTA) for value in summary.maximum_interval)
        interval = f"{low} to {high} {unit}, 95 % · "
    value = " ".join(words.big_number(summary.maximum, summary.unit, AORTA))
    name = str(summary.site).capitalize() or "Site not set"
    return ExamRow(name, value, f"{interval}{where}", key.index if now_s is None else None)


def pulse_rows(pulse: Pulse | None) -> tuple[ExamRow, ...]:
    """Systole, diastole, pulsatility and rate; or why there is none."""
    if pulse is None:
        return (ExamRow("Pulse", DASH, "Nothing was measured yet"),)
    if pulse.systolic is None or pulse.diastolic is None or pulse.heart_rate_per_min is None:
        return (ExamRow("Pulse", DASH, pulse.reason),)
    systolic, diastolic = (" ".join(_fine(value, pulse.unit)) for value in (pulse.systolic, pulse.diastolic))
    return (
        ExamRow("Systolic diameter", systolic),
        ExamRow("Diastolic diameter", diastolic),
        ExamRow(
            "Pulsatility", f"{pulse.pulsatility_percent:.1f} %", "systolic less diastolic, in percent of diastolic"
        ),
        ExamRow("Heart rate", f"{pulse.heart_rate_per_min:.0f} / min", f"{pulse.beats:.1f} beats seen"),
    )


def pulse_pairs(pulse: Pulse | None) -> tuple[tuple[str, str], ...]:
    """The same in two lines for the rail; nothing without a beat."""
    if pulse is None or pulse.systolic is None or pulse.diastolic is None or pulse.heart_rate_per_min is None:
        return ()
    systolic, unit = _fine(pulse.systolic, pulse.unit)
    diastolic, _ = _fine(pulse.diastolic, pulse.unit)
    return (
        ("systolic / diastolic", f"{systolic} / {diastolic} {unit}"),
        ("pulsatility · rate", f"{pulse.pulsatility_percent:.0f} % · {pulse.heart_rate_per_min:.0f} / min"),
    )


def _fine(value: float, unit: str) -> tuple[str, str]:
    """In mm: to a tenth of a cm systole and diastole are mostly the same."""
    return words.big_number(value, unit, "")


def sweep_pairs(findings: ClipReport) -> tuple[tuple[str, str], ...]:
    """The largest diameter of a live sweep through sites, for the rail; nothing where no site was set."""
    if not any(summary.site for summary in findings.sweep):
        return ()
    top = findings.sweep[0]
    return ((f"max, {top.site or 'site not set'}", " ".join(words.big_number(top.maximum, top.unit, AORTA))),)


def structure_rows(findings: ClipReport) -> tuple[ExamRow, ...]:
    """Every structure of the fetal brain over a clip: in how many frames, and where it was seen best."""
    return tuple(
        ExamRow(
            words.structure_name(name),
            f"{seen.frames} of {findings.frames} frames" if seen.frames else "not seen",
            "" if seen.best_score is None else f"best {seen.best_score:.2f} in frame {seen.best_frame}",
            seen.best_frame,
        )
        for name, seen in findings.structures.items()
    )


def plane_rows(findings: ClipReport) -> tuple[ExamRow, ...]:
    """Every standard plane over a clip: frames that show all it needs, or what was never seen."""
    return tuple(
        ExamRow(
            f"{name.capitalize()} plane",
            f"{plane.frames} frames" if plane.frames else DASH,
            f"never seen: {' and '.join(words.structure_name(each) for each in plane.missing)}"
            if plane.missing
            else "" if plane.best_frame is not None else "never all in one frame",
            plane.best_frame,
        )
        for name, plane in findings.planes.items()
    )  # fmt: skip


def reference_words(findings: ClipReport, table_id: str) -> str:
    """What the table that was asked for says of the largest diameter, or why nothing; empty when none was asked for."""
    if not table_id or findings.finding != AORTA:
        return ""
    try:
        table = bands.table_of(table_id)
    except UserError as error:
        return str(error)
    if not findings.sweep:
        return f"{table.title}: nothing was measured across the vessel yet"
    verdict = bands.compare_with_table(findings.sweep[0], table)
    return verdict.text or verdict.reason


def given_words(given: ExamContext) -> str:
    """What the operator has said, in one line; empty when nothing."""
    age = given.gestational_age_weeks
    said = (
        str(given.plane).capitalize() if given.plane else "",
        str(given.site),
        f"{biometry.age_words(age)} given" if age is not None else "",
    )
    return " · ".join(part for part in said if part)
