"""What was pointed at in a clip as files: the same tables, masks and annotated clip as of every analysis.

It stands here and not in ``save``: it opens the clip once more, and all that it takes are types of this folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from usviewer.acquire import Source
from usviewer.errors import UserError
from usviewer.frame import FALLBACK_FRAMES_PER_SECOND, Frame
from usviewer.infer.prediction import Instance
from usviewer.measure import summarize
from usviewer.overlay.items import AnnotatedFrame
from usviewer.overlay.scene import compose
from usviewer.pipeline.annotations import AnnotatedStructure, Annotation, ClipAccess
from usviewer.pipeline.prompt_messages import PromptState
from usviewer.save.results import ExportOptions, ResultFolder
from usviewer.save.summary import AnalysisInfo


@dataclass(frozen=True, slots=True, eq=False)
class OutlineExport:
    """One structure of a clip: what is written."""

    clip: ClipAccess
    structure: AnnotatedStructure
    name: str
    model_id: str


def prompt_row(label: str, mark: Annotation) -> dict[str, Any]:
    """What was pointed at on one picture, for its JSON."""
    row: dict[str, Any] = {
        "label": label,
        "by": str(mark.by),
        "points_xy_px": [],
        "positive": [],
        "box_xyxy_px": None,
        "score": mark.instance and round(mark.instance.score, 4),
        "confidence": mark.confidence and round(mark.confidence, 4),
        "why": mark.why,
    }
    if mark.prompt is not None:  # nothing was clicked where an outline was drawn or followed
        row["points_xy_px"] = [list(point) for point in mark.prompt.points_xy_px]
        row["positive"] = list(mark.prompt.positive)
        row["box_xyxy_px"] = mark.prompt.box_xyxy_px and list(mark.prompt.box_xyxy_px)
    return row


def export_outlines(
    outlined: OutlineExport, parent: Path, state: PromptState, *, keep_surroundings: bool = False
) -> tuple[Path, int, str]:
    """Write ``readings.csv``, ``instances.csv``, ``summary.json``, ``masks.json`` (COCO) and an annotated clip.

    Into a new folder; of the frames that have an outline or where the structure was lost. Returns the folder, how many
    frames it speaks of, and what has to be said about its pictures. All of it or nothing: ``UserError``.
    """
    marks = outlined.structure.marks
    if not marks:
        raise UserError("Nothing was pointed at in this clip", "Click on a structure first")
    label = outlined.structure.label
    folder = parent / f"{outlined.name}-{_file_part(label)}"
    wanted = ExportOptions(
        video=len(marks) > 1, pictures=len(marks) == 1, masks=True, keep_surroundings=keep_surroundings
    )
    with (
        outlined.clip.open_source() as source,
        ResultFolder(folder, _finding(marks), (label,), wanted, new_folder=True) as results,
    ):
        for index in sorted(marks):
            frame = outlined.clip.calibrate(source.seek(index))
            if frame.key == marks[index].prediction.key:
                _add(results, frame, marks[index], label, state.model_label)
        results.finish(_analysis(source, outlined, results, state), None)
        return results.folder, len(results.readings), results.notice


def _add(results: ResultFolder, frame: Frame, mark: Annotation, label: str, model_label: str) -> None:
    instances: tuple[Instance, ...] = tuple(
        replace(instance, label=label, class_index=0) for instance in mark.prediction.instances[:1]
    )
    prediction = replace(mark.prediction, instances=instances)
    scene = compose(frame, mark.reading, model_label=model_label)
    time_s = frame.key.media_time_s
    if time_s is None:
        time_s = frame.key.index / FALLBACK_FRAMES_PER_SECOND
    results.add(AnnotatedFrame(frame, scene), prediction, mark.reading, time_s)


def _analysis(source: Source, outlined: OutlineExport, results: ResultFolder, state: PromptState) -> AnalysisInfo:
    by: dict[str, int] = {}
    for mark in outlined.structure.marks.values():
        by[str(mark.by)] = by.get(str(mark.by), 0) + 1
    how = ", ".join(f"{count} {name}" for name, count in sorted(by.items()))
    return AnalysisInfo(
        source=source.info,
        finding=_finding(outlined.structure.marks),
        model_id=outlined.model_id,
        model_sha256=state.model_sha256,
        model_label=state.model_label,
        engine=state.engine,
        aggregate=summarize(results.readings),
        notes=(f"Outlined by pointing, on {len(results.readings)} frames: {how}",),
    )


def _finding(marks: Mapping[int, Annotation]) -> str:
    return next(iter(marks.values())).reading.finding


def _file_part(label: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in label).strip("-") or "structure"
