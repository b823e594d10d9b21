"""A saved picture: the annotated PNG, and beside it everything that is known of it as JSON."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usviewer import RESEARCH_USE, __version__
from usviewer.atomic import make_folder, short_name
from usviewer.frame import Frame
from usviewer.measure.exam_context import NO_CONTEXT, ExamContext
from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.measure.reading import Dimension, Measurement, Reading, Summary
from usviewer.overlay.annotated_frame import AnnotatedFrame
from usviewer.overlay.words import convention
from usviewer.save.corrections import free_name
from usviewer.save.deidentify import privacy_notice
from usviewer.save.media import write_png
from usviewer.save.tables import reading_row, write_json
from usviewer.save.unfinished import remove_leftovers

FORMAT = 1
_FORBIDDEN = re.compile(r"[^\w.-]+")
_MOST_NAME_BYTES = 80


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One picture with what is known of it.

    ``manual`` are the operator's own measurements on it, ``given`` what the operator said of the source; ``report`` is
    what the frames up to it (or the whole clip) amount to. ``prompts`` is what was pointed at on it.
    """

    shown: AnnotatedFrame
    reading: Reading | None
    summary: Summary | None
    manual: tuple[Reading, ...]
    source_name: str
    model_label: str
    engine: str
    given: ExamContext = NO_CONTEXT
    report: ClipReport = EMPTY_REPORT
    prompts: tuple[Mapping[str, Any], ...] = ()


def snapshot_name(source_name: str, frame: Frame, wall_clock_s: float | None = None) -> str:
    """Source, frame and time, fit for every file system: ``sweep-f000162-7_318s``; live, the time of the clock."""
    stem = short_name(_FORBIDDEN.sub("-", source_name).strip("-."), _MOST_NAME_BYTES) or "picture"
    if frame.key.media_time_s is not None:
        when = f"{frame.key.media_time_s:.3f}s".replace(".", "_")
    else:
        when = time.strftime("%Y%m%d-%H%M%S", time.localtime(wall_clock_s))
    return f"{stem}-f{frame.key.index:06d}-{when}"


def save_snapshot(kept: Snapshot, folder: Path, *, keep_surroundings: bool = False) -> tuple[Path, str]:
    """Write the PNG and its JSON under a free name; both or neither.

    Returns the path of the PNG and what the user must know about its surroundings. Raises ``UserError``.
    """
    make_folder(folder)
    remove_leftovers(folder)
    frame = kept.shown.frame
    picture = free_name(folder, f"{snapshot_name(kept.source_name, frame)}.png")
    said = privacy_notice(frame.geometry, keep_surroundings)
    document = picture.with_suffix(".json")
    write_json(document, snapshot_document(kept, picture.name, said))
    try:
        write_png(kept.shown, picture, keep_surroundings)
    except BaseException:
        document.unlink(missing_ok=True)
        raise
    return picture, said


def snapshot_document(kept: Snapshot, file: str, surroundings: str) -> dict[str, Any]:
    """The content of the JSON; its keys are described in ``docs/files.md``."""
    frame, reading = kept.shown.frame, kept.reading
    return {
        "format": FORMAT,
        "program": f"usviewer {__version__}",
        "research_use": RESEARCH_USE,
        "picture": file,
        "source": kept.source_name,
        "frame": frame.key.index,
        "time_s": frame.key.media_time_s,
        "frame_digest": frame.key.digest,
        "reading": None if reading is None else reading_row(reading, frame.name),
        "measurements": [] if reading is None else [_measurement(m) for m in reading.measurements],
        "summary": None if kept.summary is None else _summary(kept.summary),
        "given": {
            "plane": kept.given.plane and str(kept.given.plane),
            "site": str(kept.given.site) or None,
            "gestational_age_weeks": kept.given.gestational_age_weeks,
        },
        "sweep": kept.report.document.get("sweep", []),
        "pulse": kept.report.document.get("pulse"),
        "manual": [_manual(each) for each in kept.manual],
        "prompts": [dict(prompt) for prompt in kept.prompts],
        "model": None
        if reading is None
        else {"id": reading.model_id, "sha256": reading.model_sha256, "label": kept.model_label, "engine": kept.engine},
        "scale": _scale(reading),
        "surroundings": surroundings or "Blanked outside the ultrasound",
        "frame_size_px": [frame.width_px, frame.height_px],
        "pixel_aspect": frame.pixel_aspect,
    }


def _measurement(m: Measurement) -> dict[str, Any]:
    power = "2" if m.dimension is Dimension.AREA else ""
    return {
        "name": m.name,
        "dimension": str(m.dimension),
        f"value_px{power}": m.value_px,
        f"value_mm{power}": m.value_mm,
        "value": m.value,
        "ends_xy_px": m.ends_xy_px,
        f"sd_mm{power}": m.sd_mm,
    }


def _manual(reading: Reading) -> dict[str, Any]:
    return {
        "kind": reading.finding,
        "measurements": [_measurement(m) for m in reading.measurements],
        "outline_xy_px": [outline.round(2).tolist() for outline in reading.outlines_xy_px],
        "scale": _scale(reading),
        "no_scale_reason": reading.no_scale_reason,
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "unit": summary.unit_field,
        "median": summary.median,
        "interval_95": _pair(summary.known_interval),
        "maximum": summary.maximum,
        "span_s": summary.span_s,
        "count": summary.count,
        "plane": str(summary.plane),
        "site": str(summary.site) or None,
        "convention": convention(summary.edge),
    }


def _pair(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _scale(reading: Reading | None) -> dict[str, Any] | None:
    if reading is None or reading.spacing is None:
        return None
    spacing = reading.spacing
    return {
        "x_mm_per_px": spacing.x_mm_per_px,
        "y_mm_per_px": spacing.y_mm_per_px,
        "source": str(spacing.source),
        "detail": spacing.detail,
        "relative_sd": spacing.relative_sd,
    }
