"""``summary.json``: what a whole clip amounts to. Every key is described in ``docs/files.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from usviewer import RESEARCH_USE, __version__
from usviewer.calibrate.calibrator import GIVEN_FOR_OTHER_SIZE, OTHER_SIZE
from usviewer.calibrate.ruler.watch import WITHDRAWALS
from usviewer.frame import SourceInfo
from usviewer.infer.prediction import Edge
from usviewer.measure import bands, biometry, sweep
from usviewer.measure.fetal_brain import planes_over, structures_over
from usviewer.measure.pulse import Pulse, pulse_of
from usviewer.measure.reading import Reading, Status, Summary, quality_rank
from usviewer.overlay.words import convention
from usviewer.units import Spacing

FORMAT = 1
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
    reference: bands.ReferenceTable | None = None


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
    found: dict[str, Any] = dict.fromkeys(("sweep", "pulse", "reference", "biometry", "structures", "planes"))
    if not analysis.summed:
        return found
    aggregate = analysis.aggregate
    if analysis.finding == "aorta" and aggregate is not None:
        summaries = sweep(readings)
        found["sweep"] = [sweep_row(summary) for summary in summaries]
        found["pulse"] = pulse_row(pulse_of(readings, aggregate))
        found["reference"] = _reference(summaries, analysis.reference)
    if analysis.finding == "fetal-head" and aggregate is not None:
        found["biometry"] = biometry_over(readings, aggregate)
    if analysis.finding == "fetal-brain":
        found["structures"] = {name: _rounded_floats(asdict(s)) for name, s in structures_over(readings).items()}
        found["planes"] = {name: asdict(plane) for name, plane in planes_over(readings).items()}
    return found


def sweep_row(summary: Summary) -> dict[str, Any]:
    """One site of a sweep: its largest value, with its interval and where it was."""
    return {
        "site": str(summary.site) or None,
        "maximum": round(summary.maximum, 3),
        "interval_95": _rounded_pair(summary.known_maximum_interval),
        "unit": summary.unit,
        "frame": summary.maximum_key.index,
        "time_s": summary.maximum_key.media_time_s,
        "frames": summary.count,
    }


def pulse_row(pulse: Pulse) -> dict[str, Any]:
    """The heart beat, or the reason why there is none."""
    return _rounded_floats(asdict(pulse))


def _reference(summaries: Sequence[Summary], table: bands.ReferenceTable | None) -> dict[str, Any] | None:
    """What the table that was asked for says of the largest diameter, or why it says nothing."""
    if table is None or not summaries:
        return None
    verdict = bands.compare_with_table(summaries[0], table)
    return {"table": table.id, "title": table.title, "says": verdict.text or None, "reason": verdict.reason or None}


def biometry_over(readings: Sequence[Reading], aggregate: Summary) -> dict[str, Any]:
    """The head over a clip: the median of each value; ages and centile from the median circumference."""
    same = [
        r for r in readings if r.status is Status.MEASURED and r.edge is aggregate.edge and aggregate.shares_unit(r)
    ]
    values = {name: _median(same, name, aggregate.unit) for name in _HEAD}
    age = None
    if aggregate.unit == "mm" and aggregate.edge is Edge.OUTER:
        age = aggregate.median
    given = next((m.value for r in same if (m := r.get("gestational_age_given")) and m.value is not None), None)
    centile = biometry.circumference_centile(age, given) if age is not None and given is not None else None
    return {
        "unit": aggregate.unit,
        "head_circumference": round(aggregate.median, 3),
        "interval_95": _rounded_pair(aggregate.known_interval),
        **{name: None if value is None else round(value, 3) for name, value in values.items()},
        "gestational_age_hadlock": _age(biometry.age_by_hadlock(age) if age is not None else None),
        "gestational_age_intergrowth": _age(biometry.age_by_intergrowth(age) if age is not None else None),
        "gestational_age_given_weeks": None if given is None else round(given, 3),
        "head_circumference_centile_percent": None if centile is None else round(centile, 2),
    }


_HEAD = ("biparietal_diameter", "occipitofrontal_diameter", "cephalic_index")


def _median(readings: Sequence[Reading], name: str, unit: str) -> float | None:
    found = [m for reading in readings if (m := reading.get(name)) is not None]
    values = [m.value if m.value is not None else m.value_mm if unit == "mm" else m.value_px for m in found]
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _age(weeks: float | None) -> dict[str, Any] | None:
    if weeks is None:
        return None
    return {"weeks": round(weeks, 3), "words": biometry.age_words(weeks), "sd_days": biometry.age_sd_days(weeks)}


def _rounded_floats(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}


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
        "interval_95": _rounded_pair(summary.known_interval),
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
        "maximum_interval_95": _rounded_pair(summary.known_maximum_interval),
        "errors": None if summary.errors is None else _rounded_floats(asdict(summary.errors)),
        "frame_size_px": summary.frame_size_px and list(summary.frame_size_px),
    }


def _rounded_pair(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [round(edge, 3) for edge in interval]


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
    """Where the ruler, what is written beside it or the picture's size changed: from there on there are no mm."""
    found: list[dict[str, Any]] = []
    before = ""
    for reading in readings:
        reason = reading.no_scale_reason if reading.no_scale_reason in _WITHDRAWALS else ""
        if reason and reason != before:
            found.append({"frame": reading.key.index, "time_s": reading.key.media_time_s, "reason": reason})
        before = reason
    return found


def _best_frame(readings: Sequence[Reading]) -> dict[str, Any] | None:
    """The measured frame of the highest quality."""
    measured = [reading for reading in readings if reading.status is Status.MEASURED]
    best = max(measured, key=quality_rank, default=None)
    if best is None:
        return None
    quality = None if best.quality is None else round(best.quality, 4)
    return {"frame": best.key.index, "time_s": best.key.media_time_s, "quality": quality}


def _counted(sentences: Iterable[str]) -> dict[str, int]:
    return dict(Counter(sentence for sentence in sentences if sentence).most_common())
