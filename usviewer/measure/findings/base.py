"""What a finding is: one anatomy, and all that the program needs to know of it, in one object.

Whoever needs to know something of a finding looks it up here; nothing outside this package compares its name. Each file
of the package registers its own (``register``), so that a finding is added by adding a file (adr/0010).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from usviewer.finding_names import register_name
from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure.findings.reference_tables import ReferenceTable
from usviewer.measure.reading import Dimension, Reading, Status, Summary
from usviewer.measure.section import PlaneTracker

FileValue = str | int | float | None


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measurement that a finding may have.

    ``title`` is what it is called for people; empty: its name. ``is_auxiliary``: kept in the files, but neither drawn
    nor listed, since beside the others it would only confuse. ``is_estimated_age``: weeks that a measurement gives, so
    that they are never shown without their error.
    """

    dimension: Dimension
    title: str = ""
    is_auxiliary: bool = False
    is_estimated_age: bool = False


@dataclass(frozen=True, slots=True)
class ReadState:
    """What is known beyond the frame: the tracker of its source's plane, and what the operator said.

    Without a ``tracker`` each frame speaks for itself; its ``pinned`` is the plane that the operator set.
    """

    tracker: PlaneTracker | None = None
    gestational_age_weeks: float | None = None


@dataclass(frozen=True, slots=True)
class StatusMark:
    """One line of a checklist: seen or not, and how sure the model is."""

    label: str
    seen: bool
    score: float | None = None

    @property
    def sentence(self) -> str:
        """The same in words: "CSP 0.81", "CSP not seen"."""
        if not self.seen:
            return f"{self.label} not seen"
        if self.score is None:
            return self.label
        return f"{self.label} {self.score:.2f}"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One line of what a clip says: a name, its value (None: there is none), what is said below it, and its frame."""

    name: str
    value: str | None
    detail: str = ""
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class ReportSection:
    """Lines under one title; with ``over_frames`` the title says over which frames."""

    title: str
    rows: tuple[ReportRow, ...]
    over_frames: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ClipReport:
    """What many readings of one patient say together.

    ``frames`` and ``span_s`` are what they cover. ``sweep`` is the aggregate of each site, largest maximum first.
    ``sections`` are for people, ``pairs`` (name, value) stand beside the number; ``document`` is for files: plain
    types, by the keys of ``summary.json``.
    """

    finding: str = ""
    frames: int = 0
    span_s: float = 0.0
    sweep: tuple[Summary, ...] = ()
    sections: tuple[ReportSection, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)


EMPTY_REPORT = ClipReport()

Reader = Callable[[Prediction, ImageGeometry | None, ReadState], Reading]
# The readings in the order of their frames, and how many of the last seconds what changes with each heart beat is taken
# from (None: from all).
Reporter = Callable[[Sequence[Reading], float | None], ClipReport]


def plain_report(readings: Sequence[Reading], _recent_s: float | None = None) -> ClipReport:
    """What every finding's report begins with: whose it is, and what it covers."""
    if not readings:
        return EMPTY_REPORT
    first, last = readings[0], readings[-1]
    return ClipReport(last.finding, frames=len(readings), span_s=last.key.time_s - first.key.time_s)


def _no_checks(_reading: Reading) -> tuple[str, ...]:
    return ()


def _no_cells(_reading: Reading) -> Mapping[str, FileValue]:
    return {}


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One anatomy.

    ``id``: its name in manifests and files. ``title``: at the start of a sentence. ``absent``: what is said where it is
    not there, and ``absent_banner`` over the picture. ``labels`` and ``label_required``: see ``register_name``.

    ``quoted``: the measurement that is the answer, the first one of a reading; None: nothing is quoted. ``quantities``:
    every measurement that its readings may have, in the order of the files' columns. ``extra_columns`` and
    ``extra_cells``: what else its readings say in the files.
    ``in_centimetres``: how lengths are shown; files always hold mm. ``needs_aggregate``: it moves with the pulse, so
    that one automatic frame is never quoted from a live picture. ``most_lines``: how many further measurements are
    listed in a picture.

    ``context``: fields of ``ExamContext`` that it uses; an option or a field on the screen for any other is refused or
    hidden. ``reference_tables``: what its largest value can be compared with. ``from_outline``: a single outline is
    enough to measure it, so that one that was pointed at is measured alike. ``checklist``: makes the answer of what is
    seen and not measured, given the labels that the model can find; None: it is measured. ``checks``: in words, what
    each standard plane still needs.

    ``read`` measures one frame, ``report`` says what the frames of a clip amount to.
    """

    id: str
    title: str
    absent: str
    absent_banner: str
    read: Reader
    labels: tuple[str, ...] = ()
    label_required: bool = False
    quoted: str | None = None
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    extra_columns: tuple[str, ...] = ()
    extra_cells: Callable[[Reading], Mapping[str, FileValue]] = _no_cells
    in_centimetres: bool = False
    needs_aggregate: bool = False
    most_lines: int = 3
    context: frozenset[str] = frozenset()
    reference_tables: tuple[ReferenceTable, ...] = ()
    from_outline: bool = True
    checklist: Callable[[Reading, Sequence[str]], tuple[StatusMark, ...]] | None = None
    checks: Callable[[Reading], tuple[str, ...]] = _no_checks
    report: Reporter = plain_report

    def number(self, value: float, unit: str) -> tuple[str, str]:
        """A length (px or mm) as it is shown, and its unit: whole pixels; mm or cm with one decimal."""
        if unit == "px":
            return f"{value:.0f}", "px"
        if self.in_centimetres:
            return f"{value / 10:.1f}", "cm"
        return f"{value:.1f}", "mm"

    def text(self, value: float, unit: str) -> str:
        """The same in one piece: "2.4 cm"."""
        return " ".join(self.number(value, unit))


_FINDINGS: dict[str, Finding] = {}


def register(finding: Finding) -> Finding:
    """Make a finding known everywhere. Raises ``ValueError`` where its id or one of its labels is taken."""
    register_name(finding.id, finding.labels, label_required=finding.label_required)
    _FINDINGS[finding.id] = finding
    return finding


def registered() -> Mapping[str, Finding]:
    """Every registered finding by its id."""
    return _FINDINGS


def base_reading(prediction: Prediction, finding: str, geometry: ImageGeometry | None = None) -> Reading:
    """A reading that so far only knows its frame, its model, and why there is no scale where there is none at all."""
    geometry = geometry or ImageGeometry()
    scaled = any(region.spacing for region in geometry.regions)
    return Reading(
        prediction.key,
        finding,
        Status.NOT_VISUALISED,
        model_id=prediction.model_id,
        model_sha256=prediction.model_sha256,
        no_scale_reason="" if scaled else geometry.no_scale_reason,
        frame_size_px=prediction.frame_size_px,
    )


def rounded_floats(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a document to four decimals; what is not a number stays as it is."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}


def rounded_pair(interval: tuple[float, float] | None) -> list[float] | None:
    """An interval of a document, to a thousandth."""
    if interval is None:
        return None
    return [round(edge, 3) for edge in interval]
