"""Pointing: what is clicked on is outlined, measured, named, corrected, followed through the clip or live.

The models work in ``pipeline.prompting``; this says what is asked of them and puts their answers on the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import full_mask
from usviewer.infer.prompt import Prompt, at_point, in_box
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.infer.tracking.track import prompt_of
from usviewer.measure.manual import Edit
from usviewer.measure.pointed import UNNAMED
from usviewer.measure.reading import Provenance, Status
from usviewer.pipeline.annotation_export import OutlineExport, export_outlines, prompt_row
from usviewer.pipeline.annotations import (
    AnnotatedStructure,
    Annotation,
    AnnotationLayer,
    ClipAccess,
    Origin,
    annotation_edit,
    draw_annotation,
    recalibrate_annotations,
    rename_annotations,
)
from usviewer.pipeline.prompt_messages import (
    Event,
    OutlineRequest,
    OutlineResult,
    TrackEnded,
    TrackLost,
    TrackProgress,
    TrackRequest,
    WorkerError,
)
from usviewer.pipeline.prompt_run import NoModel, Prompting, known_labels, load_prompt_model
from usviewer.pipeline.review_run import ReviewSnapshot
from usviewer.units import Box, Point
from usviewer.view.app_state import AppState, Displayed
from usviewer.view.live_tracking import LiveFollowing, confidence_words
from usviewer.view.prompt_bar import PromptBar
from usviewer.view.prompt_tool import PointingTool

if TYPE_CHECKING:
    from usviewer.view.live_controller import LiveController
    from usviewer.view.review_controller import ReviewController
    from usviewer.view.tool_controller import ToolController

FOLLOWING = "The outline follows the live picture. Freeze it to measure, to correct, or to point anew."


class PromptController(QObject):
    """Holds what was pointed at on the open source. ``tick`` is called at the display's rate, after live and review."""

    changed = Signal()

    def __init__(
        self,
        desk: AppState,
        live: LiveController,
        review: ReviewController,
        hand: ToolController,
        load: Callable[[], PromptModel] = load_prompt_model,
    ) -> None:
        super().__init__()
        self._desk, self._live, self._review, self._hand, self._load = desk, live, review, hand, load
        self.on = False
        self.layer = AnnotationLayer()
        self.worker: Prompting | None = None
        self._source: object = None
        self._clip: ClipAccess | None = None
        self._asked: OutlineRequest | None = None
        self._following: AnnotatedStructure | None = None
        self._following_live = LiveFollowing(desk, live)
        self._raised: Exception | None = None
        self._unscaled = False
        desk.scale_changed.connect(self._use_scale)
        self._tool = PointingTool(self.point, self.box, self.undo, self._prompt_here)
        self.bar = PromptBar(self)

    # -- on and off

    def toggle(self) -> None:
        """Pointing on (a running picture is held first), or off."""
        if self.on:
            self._put_away()
            return
        self.on = True
        self._hold_still()
        if self.worker is None:
            self.worker = Prompting(self._load)
            self.worker.start()
            self._desk.loads.submit(known_labels, self.bar.suggest)
        self._hand.cancel_tool()
        self._hand.set_default_tool(self._tool)
        self._desk.lens, self._review.beside = self._look, self._on_timeline
        self.bar.show()
        self.tick()
        self.changed.emit()

    def _put_away(self) -> None:
        self.on = False
        self.stop_following()
        if self.worker is not None:
            self.worker.end_live()
            self.worker.show(None)
        self._hand.set_default_tool(None)
        self._desk.lens, self._review.beside = None, None
        self._desk.refresh()
        self.bar.hide()
        self.changed.emit()

    def close(self) -> bool:
        """End for good; False when the worker did not end in time."""
        if self.on:
            self._put_away()
        worker, self.worker = self.worker, None
        return worker is None or worker.stop()

    def guarded(self, act: Callable[[], object]) -> None:
        """Do what a control says; what goes wrong is said in one place."""
        try:
            act()
        except UserError as error:
            self._desk.notify.report(error, key="prompt")
        self.changed.emit()

    def _hold_still(self) -> None:
        """What is pointed at belongs to one picture."""
        if self._live.active and not self._live.frozen:
            self._live.freeze()
        if self._review.playing:
            self._review.play_or_pause()

    # -- pointing

    def point(self, at: Point, positive: bool) -> None:
        """One click: the structure is here, or it is not here."""
        self.guarded(lambda: self._point(at, positive))

    def box(self, box: Box) -> None:
        """A box round the structure, from corner to corner."""
        frame = self._held()
        if frame is not None:
            width, height = frame.width_px, frame.height_px
            x0, y0, x1, y1 = (min(max(0.0, v), float(most)) for v, most in zip(box, (width, height) * 2, strict=True))
            self.guarded(lambda: self._ask(OutlineRequest(frame, in_box((x0, y0, x1, y1)), self.layer.structure.label)))

    def _point(self, at: Point, positive: bool) -> None:
        frame = self._held()
        if frame is None or not (0 <= at[0] < frame.width_px and 0 <= at[1] < frame.height_px):
            return
        label, waiting, mark = self.layer.structure.label, self._asked, self.layer.mark(frame)
        if waiting is not None and waiting.frame.key == frame.key:  # faster than the answer
            self._ask(replace(waiting, prompt=waiting.prompt.with_point(at, positive=positive)))
        elif mark is not None and mark.prompt is not None:
            self._ask(OutlineRequest(frame, mark.prompt.with_point(at, positive=positive), label, mark.low_res))
        elif mark is not None and mark.instance is not None:  # it was followed here, or drawn
            whole = prompt_of(full_mask(mark.instance, frame.size_px))
            self._ask(OutlineRequest(frame, whole.with_point(at, positive=positive), label, hint=mark.instance))
        elif positive:
            self._ask(OutlineRequest(frame, at_point(at), label))
        else:
            raise UserError(
                "Nothing is outlined here yet", "Click on the structure first, then on what is not part of it"
            )

    def _held(self) -> Frame | None:
        """The picture that is pointed at, held still."""
        if self.worker is None:
            return None
        self._hold_still()
        return self._desk.on_screen.frame

    def _ask(self, ask: OutlineRequest) -> None:
        if self.worker is not None:
            self._asked = ask
            self.worker.ask(ask)

    def _prompt_here(self) -> Prompt | None:
        """What was clicked on the picture on the screen, answered or not."""
        frame = self._desk.on_screen.frame
        if frame is None or (self._live.active and not self._live.frozen):
            return None
        if self._asked is not None and self._asked.frame.key == frame.key:
            return self._asked.prompt
        mark = self.layer.mark(frame)
        return mark.prompt if mark is not None else None

    def _answered(self, answer: OutlineResult) -> None:
        if answer.ask is not self._asked:
            return
        self._asked = None
        self._put(answer.ask.frame, replace(answer.mark))

    def _put(self, frame: Frame, mark: Annotation) -> None:
        """A person's word on a frame; what was followed from or to it is followed anew."""
        index, structure = frame.key.index, self.layer.structure
        onwards = (index + 1) in structure.marks and self.layer.was_followed(index + 1)
        backwards = (index - 1) in structure.marks and self.layer.was_followed(index - 1)
        self.layer.remember()
        if structure.label != mark.reading.finding:
            mark = mark.called(structure.label)
        self.layer.put(index, mark)
        self._unscaled |= frame.geometry is None and not self._live.active  # its scale is still being looked for
        if (onwards or backwards) and mark.instance is not None:
            self._follow(frame, forwards=onwards, backwards=backwards)

    # -- what the bar and the keys do

    def begin(self) -> None:
        """What is clicked on next is another structure."""
        self._put_down()
        self.layer.begin()

    def next_structure(self) -> None:
        """Work on the next of them."""
        self._put_down()
        self.layer.choose((self.layer.active + 1) % len(self.layer.structures))

    def _put_down(self) -> None:
        """A correction of one structure ends before another is worked on."""
        self._asked = None
        if self.on:
            self._hand.cancel_tool()

    def undo(self) -> bool:
        """Take the last step back: a click, a box, a stroke, what was followed, or what was cleared."""
        if self._asked is not None:
            self._asked = None
            return True
        self.stop_following()
        return self.layer.undo()

    def clear(self) -> None:
        """Take what was pointed at on this picture away."""
        frame = self._desk.on_screen.frame
        self._put_down()
        if frame is not None:
            self.layer.clear(frame.key.index)

    def clear_all(self) -> None:
        """Take everything away."""
        self._put_down()
        self.stop_following()
        self.layer.clear_all()

    def name(self, label: str) -> None:
        """Call the structure in hand something; all its outlines are measured as what that is, beside the window."""
        label = label.strip() or UNNAMED
        structure = self.layer.structure
        if label == structure.label:
            return
        structure.label = label
        marks = dict(structure.marks)
        self._desk.loads.submit(
            partial(rename_annotations, marks, label), partial(self._named, structure, label, marks)
        )

    def _named(
        self, structure: AnnotatedStructure, label: str, before: Mapping[int, Annotation], now: Mapping[int, Annotation]
    ) -> None:
        if structure.label == label:
            self.layer.measured_anew(structure, before, now)

    def _use_scale(self) -> None:
        """No length of the old scale stays; in a clip all are measured anew as soon as the new one is known."""
        if self._live.active:
            return  # the picture that is held keeps its own scale
        self.stop_following()
        self._asked, self._clip = None, None
        self.layer.withdraw_scale()
        self._unscaled = not self.layer.empty

    def _measure_anew(self, clip: ClipAccess) -> None:
        self._unscaled = False
        for structure in self.layer.structures:
            marks = dict(structure.marks)
            take = partial(self.layer.measured_anew, structure, marks)
            self._desk.loads.submit(partial(recalibrate_annotations, clip, marks), take, self._say)

    def correct(self) -> None:
        """Reshape or paint the outline on this picture; again to end it."""
        self._desk.refresh()  # what is corrected is the structure in hand, as it is now
        frame, reading = self._desk.on_screen.frame, self._desk.on_screen.reading
        mark = self.layer.mark(frame) if frame is not None else None
        if frame is None or mark is None or mark.instance is None or reading is None:
            self._desk.notify.tell("Point at a structure first: then its outline can be corrected.", key="prompt")
            return
        self.layer.remember()
        edge = mark.instance.edge
        self._hand.correct(reading, (self.layer.structure.label,), partial(self._drawn, mark), edge)

    def _drawn(self, before: Annotation, frame: Frame, edit: Edit | None) -> None:
        """A stroke of the brush or a moved handle; None takes the outline from before."""
        if edit is None:
            self.layer.put(frame.key.index, before)
            return
        self._put(frame, draw_annotation(before, frame, edit, self.layer.structure.label))

    # -- following through the clip

    def follow(self, *, forwards: bool, backwards: bool) -> None:
        """Follow the outline on this picture through the clip."""
        frame = self._desk.on_screen.frame
        mark = self.layer.mark(frame) if frame is not None and self.on else None
        if frame is None or mark is None or mark.instance is None:
            raise UserError("Nothing is outlined on this picture", "Point at a structure first")
        if self._clip is None:
            raise UserError("The clip is still being looked through for its scale", "Follow it in a moment")
        self._hold_still()
        self.layer.remember()
        if mark.by is Origin.FOLLOWED:  # from here on it is the user's word
            self.layer.put(frame.key.index, replace(mark, by=Origin.DRAWN))
        self._follow(frame, forwards=forwards, backwards=backwards)

    def _follow(self, frame: Frame, *, forwards: bool, backwards: bool) -> None:
        mark, clip = self.layer.mark(frame), self._clip
        if self.worker is None or clip is None or mark is None or mark.instance is None:
            return
        onwards, back = self.layer.legs(frame.key.index, clip.count)
        legs = tuple(leg for leg, wanted in ((onwards, forwards), (back, backwards)) if wanted and len(leg) > 1)
        if not legs:
            raise UserError("There is no frame to follow it to", "The clip ends here, or the next frame is outlined")
        self._desk.notify.withdraw("prompt")
        self._following = self.layer.structure
        self.worker.follow(TrackRequest(clip, mark.instance, self.layer.structure.label, legs))

    def stop_following(self) -> None:
        """Stop; what was followed so far stays."""
        self._following = None
        if self.worker is not None:
            self.worker.cancel()

    def _followed(self, step: TrackProgress) -> None:
        structure = self._following
        if structure is None:
            return
        mark = step.mark if step.follow.label == structure.label else step.mark.called(structure.label)
        self.layer.put(step.index, mark, structure)
        if step.lost:
            self._desk.notify.warn(f"Lost on frame {step.index}. {step.lost}.", key="prompt")

    # -- what becomes of it

    def prompts(self) -> tuple[Mapping[str, Any], ...]:
        """What was pointed at on the picture on the screen, for its JSON."""
        frame = self._desk.on_screen.frame
        if frame is None or not self.on:
            return ()
        return tuple(prompt_row(structure.label, mark) for structure, mark in self.layer.marks(frame))

    def export(self, folder: Path) -> None:
        """Write the structure in hand as tables, masks and an annotated clip."""
        clip, path, worker = self._clip, self._review.path, self.worker
        if not self.on or clip is None or path is None or worker is None or not self.layer.structure.marks:
            raise UserError("Nothing was pointed at in this clip", "Point at a structure first")
        model_id = next(iter(self.layer.structure.marks.values())).reading.model_id
        outlined = OutlineExport(clip, self.layer.structure.copy(), path.stem, model_id)
        surroundings = self._desk.settings.keep_surroundings
        write = partial(export_outlines, outlined, folder, worker.state(), keep_surroundings=surroundings)
        self._desk.jobs.submit(write, self._exported, partial(self._desk.notify.report, key="export"))

    def _exported(self, result: tuple[Path, int, str]) -> None:
        folder, count, said = result
        frames = "1 frame" if count == 1 else f"{count} frames"
        self._desk.notify.tell(
            f"Exported {frames}: {folder.name} in {folder.parent}.{f' {said}.' if said else ''}", key="export"
        )

    def take_as_corrections(self) -> None:
        """Put the outlines in the place of the loaded model's own, as if they were drawn by hand."""
        engine, structure = self._desk.engine(), self.layer.structure
        label = structure.label.casefold()
        classes = engine.labels if engine is not None else ()
        number = next((i for i, each in enumerate(classes) if each.casefold() == label), None)
        if number is None:
            known = ", ".join(classes) or "nothing"
            raise UserError(
                f"The loaded model outlines {known}, not '{structure.label}'", "Give it that name, or export"
            )
        edits = {
            index: (annotation_edit(mark, mark.instance, classes[number], number, classes), mark)
            for index, mark in structure.marks.items()
            if mark.instance is not None and not mark.why
        }
        self._review.keep_edits(
            {i: (edit, mark.prediction.frame_size_px, mark.geometry) for i, (edit, mark) in edits.items()}
        )
        self._desk.notify.tell(f"Taken as corrections of the model's outlines: {len(edits)} frames.", key="prompt")

    # -- the screen

    def _look(self, base: Displayed) -> Displayed:
        """What is shown in the place of the loaded model's reading."""
        frame = base.frame
        if frame is None:
            return base
        if self._live.active and not self._live.frozen:
            return self._following_live.look(base, self.worker)
        reading = self.layer.reading(frame)
        if reading is not None:
            curve = self.layer.curve(self._clip.count) if self._clip is not None else None
            summary = curve.summary if curve is not None else None
            mark, note = self.layer.mark(frame), base.note
            if mark is not None and mark.by is Origin.FOLLOWED:
                note = f"Followed{confidence_words(mark.confidence)}"
            return replace(base, reading=reading, summary=summary, note=note, pending=False)
        if self.layer.empty or (base.reading is not None and base.reading.provenance is Provenance.PROMPTED):
            return base
        return replace(base, reading=None, summary=None, note="", pending=False)

    def _on_timeline(self, now: ReviewSnapshot) -> ReviewSnapshot:
        """The structure in hand on the timeline, where there is one."""
        curve = self.layer.curve(now.count) if now.count else None
        return replace(now, curve=curve) if curve is not None else now

    # -- following what is open

    def tick(self) -> None:
        """Take the worker's answers, say what it is to look at, show what changed."""
        if not self.on or self.worker is None:
            return
        if self.worker.failure is not None and self.worker.failure is not self._raised:
            self._raised = self.worker.failure
            raise self._raised
        self._follow_source()
        for event in self.worker.poll():
            self._take(event)
        if not self.on:
            return
        self._following_live.tick(self.layer, self.worker)
        self._look_ahead()
        self._desk.refresh()
        self._show_state()

    def _take(self, event: Event) -> None:
        if isinstance(event, OutlineResult):
            self.guarded(lambda: self._answered(event))
        elif isinstance(event, TrackProgress):
            self._followed(event)
        elif isinstance(event, TrackEnded):
            self.changed.emit()
        elif isinstance(event, TrackLost):
            self._desk.notify.warn(f"{event.why}: freeze and point at it again.", key="prompt")
        elif isinstance(event, WorkerError):
            self._say(event.error)

    def _say(self, error: UserError) -> None:
        if isinstance(error, NoModel):
            self._desk.notify.tell(str(error), key="prompt")
            self._put_away()
            worker, self.worker = self.worker, None
            if worker is not None:
                worker.stop()
            return
        self._asked = None
        self._desk.notify.report(error, key="prompt")

    def _follow_source(self) -> None:
        source: object = ("live", self._live.uri) if self._live.active else ("clip", self._review.path)
        if source == self._source:
            return
        self._source, self._asked, self._clip, self._following = source, None, None, None
        self._unscaled = False
        self._following_live.forget()
        self.layer = AnnotationLayer()
        if self.worker is not None:
            self.worker.cancel()
            self.worker.end_live()
            self.worker.show(None)

    def _look_ahead(self) -> None:
        """The picture that stands is encoded at once, and then its neighbours in the clip."""
        frame, worker = self._desk.on_screen.frame, self.worker
        if worker is None or frame is None:
            return
        if self._live.active:
            if self._live.frozen:
                worker.show(frame)
            return
        now, path = self._review.snapshot, self._review.path
        if now is None or path is None or not now.count or frame.geometry is None:
            return
        if self._clip is None:
            self._clip = ClipAccess(partial(open_source, path), self._review.calibrate, now.count)
        if self._unscaled:
            self._measure_anew(self._clip)
        if not now.playing and frame.key.index == now.wanted_index:
            worker.show(frame, self._clip)

    # -- the strip

    def _show_state(self) -> None:
        frame, worker = self._desk.on_screen.frame, self.worker
        mark = self.layer.mark(frame) if frame is not None else None
        outlined = mark is not None and mark.instance is not None
        said = mark.why if mark is not None and mark.why else ""
        if not said and mark is not None and mark.reading.status is Status.REFUSED:
            said = mark.reading.reason
        if worker is not None and worker.live:
            said = FOLLOWING
        can = {
            "follows": self._review.active,
            "back": outlined, "both": outlined, "on": outlined, "brush": outlined,
            "undo": self.layer.can_undo or self._asked is not None,
            "clear": mark is not None,
            "new": bool(self.layer.structure.marks),
        }  # fmt: skip
        place = (self.layer.active + 1, len(self.layer.structures))
        self.bar.show_state(worker.state() if worker is not None else None, said=said, place=place, can=can)
        self.bar.show_label(self.layer.structure.label)
