"""``summary.json``: what a whole clip amounts to. Every key is described in ``docs/files.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from usviewer import RESEARCH_USE, __version__
from usviewer.calibrate.calibrator import GIVEN_FOR_OTHER_SIZE, OTHER_SIZE
from usviewer.calibrate.ruler.watch import WITHDRAWALS
from usviewer.frame import FrameKey, SourceInfo
from usviewer.measure.findings import finding_of
from usviewer.measure.findings.base import rounded_floats, rounded_pair
from usviewer.measure.findings.reference_tables import ReferenceTable, compare_with_table
from usviewer.measure.reading import Reading, Status, Summary, quality_rank
from usviewer.overlay.words import convention
from usviewer.units import Spacing

FORMAT = 1
# Scripts find these keys in the summary of every finding.
_IN_EVERY_SUMMARY = ("sweep", "pulse", "reference", "biometry", "structures", "planes")
_WITHDRAWALS = (*WITHDRAWALS, OTHER_SIZE, GIVEN_FOR_OTHER_SIZE)


@dataclass(frozen=True, slots=True)
class AnalysisInfo:
    """What produced the readings of a clip.

    ``engine`` is the one that ran, ``engine_asked`` the one asked for (empty: the fastest). ``aggregate`` is the number
    to quote, None where nothing was measured. ``notes`` are sentences for the user. ``summed`` is False for pictures
    that may be of different patients: nothing is then said over all of them. ``reference`` is a table that the user
    asked for.
    """

    source: SourceInfo
    finding: str
    model_id: str
    model_sha256: str
    model_label: str
    engine: str
    engine_asked: str = ""
    aggregate: Summary | None = None
    notes: tuple[str, ...] = ()
    summed: bool = True
    reference: ReferenceTable | None = None


def summary_document(analysis: AnalysisInfo, readings: Sequence[Reading]) -> dict[str, Any]:
    """The content of ``summary.json``. It holds no date and no path: the same clip gives the same document."""
    return {
        "format": FORMAT,
        "program": f"usviewer {__version__}",
        "research_use": RESEARCH_USE,
        "source": _source(analysis.source),
        "finding": analysis.finding,
        "frames": _counts(readings),
        "aggregate": _aggregate(analysis.aggregate),
        "scales": _scales(readings),
        "no_scale_reasons": _counted(r.no_scale_reason for r in readings if r.spacing is None),
        "scale_withdrawn": _withdrawals(readings) if analysis.summed else [],
        "refusals": _counted(r.reason for r in readings if r.status is Status.REFUSED),
        "warnings": _counted(warning for r in readings for warning in r.warnings),
        "model": {"id": analysis.model_id, "label": analysis.model_label, "sha256": analysis.model_sha256},
        "engine": {"asked": analysis.engine_asked, "ran": analysis.engine},
        "notes": [*analysis.source.notes, *analysis.notes],
        "best_frame": _best_frame(readings) if analysis.summed else None,
        **_over_the_clip(analysis, readings),
    }


def _over_the_clip(analysis: AnalysisInfo, readings: Sequence[Reading]) -> dict[str, Any]:
    """Entries that only some findings have, over frames of one patient; null for the others."""
    found: dict[str, Any] = dict.fromkeys(_IN_EVERY_SUMMARY)
    if not analysis.summed:
        return found
    report = finding_of(analysis.finding).report(readings, None)
    return {**found, **report.document, "reference": _reference(report.sweep, analysis.reference)}


def _reference(summaries: Sequence[Summary], table: ReferenceTable | None) -> dict[str, Any] | None:
    """What the table that was asked for says of the largest diameter, or why it says nothing."""
    if table is None or not summaries:
        return None
    verdict = compare_with_table(summaries[0], table)
    return {"table": table.id, "title": table.title, "says": verdict.text or None, "reason": verdict.reason or None}


def _source(source: SourceInfo) -> dict[str, Any]:
    return {
        "name": source.name,
        "kind": source.kind,
        "width_px": source.width_px,
        "height_px": source.height_px,
        "frames_per_second": source.frames_per_second,
        "pixel_aspect": round(source.pixel_aspect, 6),
    }


def _counts(readings: Sequence[Reading]) -> dict[str, int]:
    found = Counter(reading.status for reading in readings)
    return {
        "read": len(readings),
        "measured": found[Status.MEASURED],
        "not_visualised": found[Status.NOT_VISUALISED],
        "refused": found[Status.REFUSED],
    }


def _aggregate(summary: Summary | None) -> dict[str, Any] | None:
    if summary is None:
        return None
    return {
        "name": summary.name,
        "unit": summary.unit_field,
        "median": round(summary.median, 3),
        "interval_95": rounded_pair(summary.known_interval),
        "maximum": round(summary.maximum, 3),
        "maximum_frame": summary.maximum_key.index,
        "maximum_time_s": summary.maximum_key.media_time_s,
        "count": summary.count,
        "span_s": round(summary.span_s, 3),
        "plane": str(summary.plane),
        "label": summary.label or None,
        "edge": str(summary.edge),
        "convention": convention(summary.edge),
        "site": str(summary.site) or None,
        "maximum_interval_95": rounded_pair(summary.known_maximum_interval),
        "errors": None if summary.errors is None else rounded_floats(asdict(summary.errors)),
        "frame_size_px": summary.frame_size_px and list(summary.frame_size_px),
    }


def _scales(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Every scale that was used, with the number of frames it was used on."""
    used: Counter[Spacing] = Counter(reading.spacing for reading in readings if reading.spacing is not None)
    return [
        {
            "x_mm_per_px": spacing.x_mm_per_px,
            "y_mm_per_px": spacing.y_mm_per_px,
            "source": str(spacing.source),
            "detail": spacing.detail,
            "relative_sd": spacing.relative_sd,
            "frames": count,
        }
        for spacing, count in used.most_common()
    ]


def _withdrawals(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    found = scale_withdrawals(readings)
    return [{"frame": key.index, "time_s": key.media_time_s, "reason": reason} for key, reason in found]


def scale_withdrawals(readings: Sequence[Reading]) -> list[tuple[FrameKey, str]]:
    """List the frames from which on there are no mm, and why: ruler, its words, or the picture's size changed."""
    found: list[tuple[FrameKey, str]] = []
    before = ""
    for reading in readings:
        reason = ""
        if reading.no_scale_reason in _WITHDRAWALS:
            reason = reading.no_scale_reason
        if reason and reason != before:
            found.append((reading.key, reason))
        before = reason
    return found


def _best_frame(readings: Sequence[Reading]) -> dict[str, Any] | None:
    """The measured frame of the highest quality."""
    measured = [reading for reading in readings if reading.status is Status.MEASURED]
    best = max(measured, key=quality_rank, default=None)
    if best is None:
        return None
    if best.quality is None:
        quality = None
    else:
        quality = round(best.quality, 4)
    return {"frame": best.key.index, "time_s": best.key.media_time_s, "quality": quality}


def _counted(sentences: Iterable[str]) -> dict[str, int]:
    return dict(Counter(sentence for sentence in sentences if sentence).most_common())
