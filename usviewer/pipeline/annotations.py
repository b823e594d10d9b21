"""What was pointed at on one source: structures with a name each, their outlines by frame, and every step to undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from usviewer.acquire import Source
from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.infer.prompt import LowResMask, Prompt
from usviewer.infer.tracking.track import Track
from usviewer.measure.manual import UNNAMED, Edit, add_other_structures, limit_quality, read_pointed
from usviewer.measure.reading import Provenance, Reading
from usviewer.pipeline.analyzer import Calibrate
from usviewer.pipeline.curve import Curve, curve_of

MOST_UNDO = 50
SCALE_CHANGED = "The scale has changed: it is being measured again"


@dataclass(frozen=True, slots=True, eq=False)
class ClipAccess:
    """The recording that shown frames belong to: a worker opens it for itself. ``count`` frames."""

    open_source: Callable[[], Source]
    calibrate: Calibrate
    count: int


class Origin(StrEnum):
    """Who put an outline where it is."""

    POINTED = "pointed at"
    DRAWN = "drawn"
    FOLLOWED = "followed"


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """One structure on one frame: the outline, its measurements, and how it came there.

    ``prompt`` and ``low_res`` are what one more click goes on from. ``why`` is one sentence where the outline should
    not be trusted, or where there is none: the last frame that a structure was followed to. ``confidence`` (0 to 1) is
    how far following trusts the outline; None where it was not followed here.
    """

    prediction: Prediction
    geometry: ImageGeometry | None
    reading: Reading
    by: Origin
    prompt: Prompt | None = None
    low_res: LowResMask | None = None
    why: str = ""
    confidence: float | None = None

    @property
    def instance(self) -> Instance | None:
        """The outline; None where nothing was outlined."""
        return self.prediction.instances[0] if self.prediction.instances else None

    def called(self, label: str) -> Annotation:
        """The same outline under another name, measured as what that is."""
        reading = limit_quality(read_pointed(self.prediction, self.geometry, label, self.why), self.confidence)
        if self.by is Origin.DRAWN and reading.provenance is not self.reading.provenance:
            reading = replace(reading, provenance=self.reading.provenance, score=self.reading.score)
        return replace(self, reading=reading)

    def on(self, geometry: ImageGeometry | None) -> Annotation:
        """The same outline with another scale."""
        return replace(self, geometry=geometry).called(self.reading.finding)


@dataclass(slots=True, eq=False)
class AnnotatedStructure:
    """One thing that is pointed at, with its outlines by frame index."""

    label: str
    marks: dict[int, Annotation] = field(default_factory=dict)

    def rename(self, label: str) -> None:
        """Call it something else from now on; its marks are renamed by ``rename_annotations``."""
        self.label = label

    def copy(self) -> AnnotatedStructure:
        """As it is now; marks never change."""
        return AnnotatedStructure(self.label, dict(self.marks))


class AnnotationLayer:
    """All structures of one source; one of them is worked on. ``changed`` counts what was changed."""

    def __init__(self) -> None:
        self.structures = [AnnotatedStructure(UNNAMED)]
        self.active = 0
        self.changed = 0
        self._history: list[tuple[list[AnnotatedStructure], int]] = []
        self._shown: tuple[tuple[Any, ...], Reading | None] = ((), None)
        self._curve: tuple[tuple[Any, ...], Curve | None] = ((), None)

    @property
    def structure(self) -> AnnotatedStructure:
        """The one that is worked on."""
        return self.structures[self.active]

    @property
    def empty(self) -> bool:
        """Whether nothing was pointed at so far."""
        return not any(structure.marks for structure in self.structures)

    # -- changing

    def remember(self) -> None:
        """What follows is one step, to be taken back by ``undo``."""
        state = ([structure.copy() for structure in self.structures], self.active)
        self._history = [*self._history[-(MOST_UNDO - 1) :], state]

    @property
    def can_undo(self) -> bool:
        """Whether a step can be taken back."""
        return bool(self._history)

    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        if not self._history:
            return False
        self.structures, self.active = self._history.pop()
        self.changed += 1
        return True

    def begin(self) -> None:
        """Go on with another structure; one that has no outline yet is taken first."""
        if not self.structure.marks:
            return
        self.remember()
        free = next((i for i, structure in enumerate(self.structures) if not structure.marks), None)
        if free is None:
            self.structures.append(AnnotatedStructure(UNNAMED))
        self.active = len(self.structures) - 1 if free is None else free
        self.changed += 1

    def choose(self, number: int) -> None:
        """Work on this structure from now on."""
        self.active = number
        self.changed += 1

    def put(self, index: int, mark: Annotation, structure: AnnotatedStructure | None = None) -> None:
        """An outline on a frame, in the place of the one before it."""
        (structure or self.structure).marks[index] = mark
        self.changed += 1

    def clear(self, index: int) -> bool:
        """Take what was pointed at on one frame away; False where there is nothing."""
        if not any(index in structure.marks for structure in self.structures):
            return False
        self.remember()
        for structure in self.structures:
            structure.marks.pop(index, None)
        self.changed += 1
        return True

    def clear_all(self) -> bool:
        """Take everything away; False where there is nothing."""
        if self.empty:
            return False
        self.remember()
        self.structures, self.active = [AnnotatedStructure(UNNAMED)], 0
        self.changed += 1
        return True

    def withdraw_scale(self) -> None:
        """The scale has changed: every length is in pixels until it is measured again."""
        for structure in self.structures:
            structure.marks = {index: _in_pixels(mark) for index, mark in structure.marks.items()}
        self._history = []  # what was measured by the old scale must not come back
        self.changed += 1

    def replace_measured(
        self, structure: AnnotatedStructure, before: Mapping[int, Annotation], now: Mapping[int, Annotation]
    ) -> None:
        """Take the same outlines with other measurements, where they were not changed meanwhile."""
        structure.marks |= {i: mark for i, mark in now.items() if structure.marks.get(i) is before[i]}
        self.changed += 1

    # -- asking

    def mark(self, frame: Frame) -> Annotation | None:
        """The outline of the structure that is worked on, if it was made on exactly this picture."""
        return _of(self.structure, frame)

    def marks(self, frame: Frame) -> tuple[tuple[AnnotatedStructure, Annotation], ...]:
        """All outlines on this picture, the one that is worked on first."""
        others = [structure for structure in self.structures if structure is not self.structure]
        found = [(structure, _of(structure, frame)) for structure in (self.structure, *others)]
        return tuple((structure, mark) for structure, mark in found if mark is not None)

    def reading(self, frame: Frame) -> Reading | None:
        """What is shown of this picture, under its own key: one structure measured, the others beside it."""
        state = (frame, self.changed)
        if self._shown[0] != state:
            self._shown = (state, self._reading(frame))
        return self._shown[1]

    def _reading(self, frame: Frame) -> Reading | None:
        marks = self.marks(frame)
        if not marks:
            return None
        first = marks[0][1]
        others = tuple(
            replace(mark.instance, label=structure.label) for structure, mark in marks[1:] if mark.instance is not None
        )
        return add_other_structures(first.reading, first.prediction, others)

    def curve(self, count: int) -> Curve | None:
        """The structure that is worked on over the clip; None while it has no outline."""
        state = (self.active, self.changed, count)
        if self._curve[0] != state:
            readings = {index: mark.reading for index, mark in self.structure.marks.items()}
            self._curve = (state, curve_of(readings, count) if readings else None)
        return self._curve[1]

    def legs(self, index: int, count: int) -> tuple[range, range]:
        """The frames to follow from one on, forwards and backwards, as far as the next that a person has outlined."""
        by_hand = {
            i: mark.instance
            for i, mark in self.structure.marks.items()
            if mark.by is not Origin.FOLLOWED and mark.instance is not None and i != index
        }
        first = self.structure.marks[index].instance
        assert first is not None
        return Track(count, by_hand).correct(index, first)

    def was_followed(self, index: int) -> bool:
        """Whether the outline on a frame came there by following."""
        mark = self.structure.marks.get(index)
        return mark is not None and mark.by is Origin.FOLLOWED


def _in_pixels(mark: Annotation) -> Annotation:
    lengths = tuple(replace(m, value_mm=None, sd_mm=None, errors=None) for m in mark.reading.measurements)
    reading = replace(mark.reading, measurements=lengths, spacing=None, no_scale_reason=SCALE_CHANGED)
    return replace(mark, reading=reading, geometry=None)


def recalibrate_annotations(clip: ClipAccess, marks: Mapping[int, Annotation]) -> dict[int, Annotation]:
    """Every outline with its frame's present scale. Decodes the frames: not for the window's thread."""
    found = {}
    with clip.open_source() as source:
        for index in sorted(marks):
            frame = clip.calibrate(source.seek(index))
            if frame.key == marks[index].prediction.key:
                found[index] = marks[index].on(frame.geometry)
    return found


def _of(structure: AnnotatedStructure, frame: Frame) -> Annotation | None:
    mark = structure.marks.get(frame.key.index)
    return mark if mark is not None and mark.prediction.key == frame.key else None


def rename_annotations(
    marks: Mapping[int, Annotation], label: str, cancelled: Callable[[], bool] = lambda: False
) -> dict[int, Annotation]:
    """Every outline under another name. Slow for a long clip: not for the window's thread."""
    return {index: mark.called(label) for index, mark in marks.items() if not cancelled()}


def draw_annotation(before: Annotation, frame: Frame, edit: Edit, label: str) -> Annotation:
    """An outline that was drawn, measured like any other, and marked as a person's."""
    x, y = edit.mask_origin_px
    rows, columns = edit.mask.shape
    box = (float(x), float(y), float(x + columns), float(y + rows))
    outline = Instance(label, 0, 1.0, box, edit.mask, edit.mask_origin_px, edit.edge)
    instances = (outline,) if edit.mask.any() else ()
    prediction = replace(before.prediction, key=frame.key, instances=instances, engine="person")
    reading = read_pointed(prediction, frame.geometry, label)
    reading = replace(reading, provenance=Provenance.EDITED, score=None)
    return Annotation(prediction, frame.geometry, reading, Origin.DRAWN)


def annotation_edit(mark: Annotation, instance: Instance, label: str, number: int, classes: tuple[str, ...]) -> Edit:
    """A mark's outline as if it had been drawn by hand over what a model of ``classes`` outlines."""
    assert instance.mask is not None
    digest = mark.prediction.key.digest
    return Edit(digest, 0, label, number, instance.mask, instance.mask_origin_px, Edge.NOT_STATED, classes)
