"""``summary.json``: what a whole clip amounts to. Every key is described in ``docs/files.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from usviewer import RESEARCH_USE, __version__
from usviewer.frame import SourceInfo
from usviewer.measure.reading import Dimension, Reading, Status, Summary
from usviewer.overlay.words import convention
from usviewer.units import Spacing

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Analysis:
    """What produced the readings of a clip.

    ``engine`` is the one that ran, ``engine_asked`` the one asked for (empty: the fastest). ``aggregate`` is the number
    to quote, None where nothing was measured. ``notes`` are sentences for the user.
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


def summary_document(analysis: Analysis, readings: Sequence[Reading]) -> dict[str, Any]:
    """The content of ``summary.json``. It holds no date and no path: the same clip gives the same document."""
    return {
        "format": FORMAT,
        "program": f"usviewer {__version__}",
        "research_use": RESEARCH_USE,
        "source": _source(analysis.source),
        "finding": analysis.finding,
        "frames": _counts(readings),
        "aggregate": _aggregate(analysis.aggregate, readings),
        "scales": _scales(readings),
        "no_scale_reasons": _counted(r.no_scale_reason for r in readings if r.spacing is None),
        "refusals": _counted(r.reason for r in readings if r.status is Status.REFUSED),
        "warnings": _counted(warning for r in readings for warning in r.warnings),
        "model": {"id": analysis.model_id, "label": analysis.model_label, "sha256": analysis.model_sha256},
        "engine": {"asked": analysis.engine_asked, "ran": analysis.engine},
        "notes": [*analysis.source.notes, *analysis.notes],
    }


def _source(source: SourceInfo) -> dict[str, Any]:
    return {
        "name": source.name,
        "kind": source.kind,
        "width_px": source.width_px,
        "height_px": source.height_px,
        "frames_per_second": source.frames_per_second,
    }


def _counts(readings: Sequence[Reading]) -> dict[str, int]:
    found = Counter(reading.status for reading in readings)
    return {
        "read": len(readings),
        "measured": found[Status.MEASURED],
        "not_visualised": found[Status.NOT_VISUALISED],
        "refused": found[Status.REFUSED],
    }


def _aggregate(summary: Summary | None, readings: Sequence[Reading]) -> dict[str, Any] | None:
    if summary is None:
        return None
    return {
        "name": summary.name,
        "unit": f"{summary.unit}2" if _is_area(summary.name, readings) else summary.unit,
        "median": round(summary.median, 3),
        "interval_95": [round(edge, 3) for edge in summary.interval],
        "maximum": round(summary.maximum, 3),
        "maximum_frame": summary.maximum_key.index,
        "maximum_time_s": summary.maximum_key.media_time_s,
        "count": summary.count,
        "span_s": round(summary.span_s, 3),
        "plane": str(summary.plane),
        "edge": str(summary.edge),
        "convention": convention(summary.edge),
    }


def _is_area(name: str, readings: Sequence[Reading]) -> bool:
    measured = (reading.get(name) for reading in readings)
    return any(m is not None and m.dimension is Dimension.AREA for m in measured)


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


def _counted(sentences: Iterable[str]) -> dict[str, int]:
    return dict(Counter(sentence for sentence in sentences if sentence).most_common())
