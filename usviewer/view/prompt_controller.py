"""Pointing: what is clicked on is outlined, measured, named, corrected; what becomes of it.

The models work in ``pipeline.prompt_run``; this says what is asked of them and puts their answers on the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from usviewer.acquire import open_source
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import full_mask
from usviewer.infer.prompt import Prompt, at_point, in_box
from usviewer.infer.tracking.track import prompt_of
from usviewer.measure.manual import UNNAMED, Edit
from usviewer.measure.reading import Status
from usviewer.pipeline.annotation_export import OutlineExport, export_outlines, prompt_row
from usviewer.pipeline.annotations import (
    AnnotatedStructure,
    Annotation,
    AnnotationLayer,
    ClipAccess,
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
)
from usviewer.pipeline.prompt_run import NoModel, known_labels
from usviewer.units import Box, Point
from usviewer.view.app_state import AppState
from usviewer.view.live_controller import LiveController
from usviewer.view.notify import Notify
from usviewer.view.pointing import PointingTool, PromptBar, PromptSession
from usviewer.view.presenter import Presenter
from usviewer.view.review_controller import ReviewController
from usviewer.view.tool_controller import ToolController
from usviewer.view.tracking_controller import TrackingController

FOLLOWING = "The outline follows the live picture. Freeze it to measure, to correct, or to point again."


class PromptController(QObject):
    """Works on what was pointed at. ``tick`` is called at the display's rate, after live and review."""

    changed = Signal()

    def __init__(
        self,
        app_state: AppState,
        presenter: Presenter,
        notify: Notify,
        live: LiveController,
        review: ReviewController,
        tools: ToolController,
        session: PromptSession,
        tracking: TrackingController,
    ) -> None:
        super().__init__()
        self._app_state, self._presenter, self._notify = app_state, presenter, notify
        self._live, self._review, self._tools = live, review, tools
        self._session, self._tracking = session, tracking
        self._source: object = None
        self._asked: OutlineRequest | None = None
        self._unscaled = False
        app_state.scale_changed.connect(self._use_scale)
        self._tool = PointingTool(self.point, self.box, self.undo, self._prompt_here)
        self.bar = PromptBar()
        self._connect()

    def _connect(self) -> None:
        pressed: dict[str, Callable[[], object]] = {
            "new": self.begin,
            "next": self.next_structure,
            "undo": self.undo,
            "brush": self.correct,
            "clear": self.clear,
            "back": lambda: self._tracking.follow(forwards=False, backwards=True),
            "both": lambda: self._tracking.follow(forwards=True, backwards=True),
            "on": lambda: self._tracking.follow(forwards=True, backwards=False),
            "stop": self._tracking.stop_following,
            "done": self.toggle,
        }
        self.bar.pressed.connect(lambda name: self.guarded(pressed[name]))
        self.bar.named.connect(lambda label: self.guarded(lambda: self.name(label)))

    @property
    def on(self) -> bool:
        """Whether pointing is on."""
        return self._presenter.annotating

    @property
    def waiting(self) -> bool:
        """Whether an answer of the prompt model is awaited."""
        return self._asked is not None

    @property
    def _layer(self) -> AnnotationLayer:
        return self._session.layer

    # -- on and off

    def toggle(self) -> None:
        """Pointing on (a running picture is held first), or off."""
        if self.on:
            self._put_away()
            return
        self._tracking.hold_still()
        if self._session.start():
            self._app_state.loads.submit(known_labels, self.bar.suggest)
        self._tools.cancel_tool()
        self._tools.set_default_tool(self._tool)
        self._follow_source()  # what was pointed at on an earlier source is not shown, not even for a moment
        self._presenter.use_annotations(self._session)
        self.bar.show()
        self.tick()
        self.changed.emit()

    def _put_away(self) -> None:
        self._tracking.stop_following()
        self._session.rest()
        self._tools.set_default_tool(None)
        self._presenter.use_annotations(None)
        self.bar.hide()
        self.changed.emit()

    def close(self) -> bool:
        """End for good; False when the worker did not end in time."""
        if self.on:
            self._put_away()
        return self._session.stop()

    def guarded(self, act: Callable[[], object]) -> None:
        """Do what a control says; what goes wrong is said in one place."""
        try:
            act()
        except UserError as error:
            self._notify.report(error, key="prompt")
        self.changed.emit()

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
            self.guarded(
                lambda: self._ask(OutlineRequest(frame, in_box((x0, y0, x1, y1)), self._layer.structure.label))
            )

    def _point(self, at: Point, positive: bool) -> None:
        frame = self._held()
        if frame is None or not (0 <= at[0] < frame.width_px and 0 <= at[1] < frame.height_px):
            return
        label, waiting, mark = self._layer.structure.label, self._asked, self._layer.mark(frame)
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
        if self._session.worker is None:
            return None
        self._tracking.hold_still()
        return self._app_state.on_screen.frame

    def _ask(self, ask: OutlineRequest) -> None:
        if (worker := self._session.worker) is not None:
            self._asked = ask
            worker.ask(ask)

    def _prompt_here(self) -> Prompt | None:
        """What was clicked on the picture on the screen, answered or not."""
        frame = self._app_state.on_screen.frame
        if frame is None or (self._live.active and not self._live.frozen):
            return None
        if self._asked is not None and self._asked.frame.key == frame.key:
            return self._asked.prompt
        mark = self._layer.mark(frame)
        if mark is None:
            return None
        return mark.prompt

    def _answered(self, answer: OutlineResult) -> None:
        if answer.ask is not self._asked:  # a newer click has been asked since, or it was undone
            return
        self._asked = None
        self._put(answer.ask.frame, replace(answer.mark))

    def _put(self, frame: Frame, mark: Annotation) -> None:
        """A person's word on a frame; what was followed from or to it is followed again."""
        index, structure = frame.key.index, self._layer.structure
        onwards = (index + 1) in structure.marks and self._layer.was_followed(index + 1)
        backwards = (index - 1) in structure.marks and self._layer.was_followed(index - 1)
        self._layer.remember()
        if structure.label != mark.reading.finding:
            mark = mark.called(structure.label)
        self._layer.put(index, mark)
        self._unscaled |= frame.geometry is None and not self._live.active  # its scale is still being looked for
        if (onwards or backwards) and mark.instance is not None:
            self._tracking.follow_from(frame, forwards=onwards, backwards=backwards)

    # -- what the bar and the keys do

    def begin(self) -> None:
        """What is clicked on next is another structure."""
        self._put_down()
        self._layer.begin()

    def next_structure(self) -> None:
        """Work on the next of them."""
        self._put_down()
        self._layer.choose((self._layer.active + 1) % len(self._layer.structures))

    def _put_down(self) -> None:
        """A correction of one structure ends before another is worked on."""
        self._asked = None
        if self.on:
            self._tools.cancel_tool()

    def undo(self) -> bool:
        """Take the last step back: a click, a box, a stroke, what was followed, or what was cleared."""
        if self._asked is not None:
            self._asked = None
            return True
        self._tracking.stop_following()
        return self._layer.undo()

    def clear(self) -> None:
        """Take what was pointed at on this picture away."""
        frame = self._app_state.on_screen.frame
        self._put_down()
        if frame is not None:
            self._layer.clear(frame.key.index)

    def clear_all(self) -> None:
        """Take everything away."""
        self._put_down()
        self._tracking.stop_following()
        self._layer.clear_all()

    def name(self, label: str) -> None:
        """Call the structure in hand something; all its outlines are measured as what that is, in the background."""
        label = label.strip() or UNNAMED
        structure = self._layer.structure
        if label == structure.label:
            return
        structure.rename(label)
        marks = dict(structure.marks)  # a copy: clicks go on changing the other
        self._app_state.loads.submit(
            partial(rename_annotations, marks, label), partial(self._named, structure, label, marks)
        )

    def _named(
        self, structure: AnnotatedStructure, label: str, before: Mapping[int, Annotation], now: Mapping[int, Annotation]
    ) -> None:
        if structure.label == label:  # not renamed again meanwhile
            self._layer.replace_measured(structure, before, now)

    def _use_scale(self) -> None:
        """No length of the old scale stays; in a clip all are measured again as soon as the new one is known."""
        if self._live.active:
            return  # the picture that is held keeps its own scale
        self._tracking.stop_following()
        self._asked = None
        self._session.set_clip(None)
        self._layer.withdraw_scale()
        self._unscaled = not self._layer.empty

    def _measure_again(self, clip: ClipAccess) -> None:
        self._unscaled = False
        for structure in self._layer.structures:
            marks = dict(structure.marks)
            take = partial(self._layer.replace_measured, structure, marks)
            self._app_state.loads.submit(partial(recalibrate_annotations, clip, marks), take, self._say)

    def correct(self) -> None:
        """Reshape or paint the outline on this picture; again to end it."""
        self._presenter.refresh()  # what is corrected is the structure in hand, as it is now
        frame, reading = self._app_state.on_screen.frame, self._app_state.on_screen.reading
        mark = self._mark_on(frame)
        if frame is None or mark is None or mark.instance is None or reading is None:
            self._notify.tell("Point at a structure first: then its outline can be corrected.", key="prompt")
            return
        self._layer.remember()
        edge = mark.instance.edge
        self._tools.correct(reading, (self._layer.structure.label,), partial(self._drawn, mark), edge)

    def _drawn(self, before: Annotation, frame: Frame, edit: Edit | None) -> None:
        """A stroke of the brush or a moved handle; None takes the outline from before."""
        if edit is None:
            self._layer.put(frame.key.index, before)
            return
        self._put(frame, draw_annotation(before, frame, edit, self._layer.structure.label))

    # -- what becomes of it

    def prompts(self) -> tuple[Mapping[str, object], ...]:
        """What was pointed at on the picture on the screen, for its JSON."""
        frame = self._app_state.on_screen.frame
        if frame is None or not self.on:
            return ()
        return tuple(prompt_row(structure.label, mark) for structure, mark in self._layer.marks(frame))

    def export(self, folder: Path) -> None:
        """Write the structure in hand as tables, masks and an annotated clip."""
        clip, path, worker = self._session.clip, self._review.path, self._session.worker
        if not self.on or clip is None or path is None or worker is None or not self._layer.structure.marks:
            raise UserError("Nothing was pointed at in this clip", "Point at a structure first")
        model_id = next(iter(self._layer.structure.marks.values())).reading.model_id
        outlined = OutlineExport(clip, self._layer.structure.copy(), path.stem, model_id)
        surroundings = self._app_state.settings.keep_surroundings
        write = partial(export_outlines, outlined, folder, worker.state(), keep_surroundings=surroundings)
        self._app_state.jobs.submit(write, self._exported, partial(self._notify.report, key="export"))

    def _exported(self, result: tuple[Path, int, str]) -> None:
        folder, count, said = result
        frames = "1 frame" if count == 1 else f"{count} frames"
        sentence = f"Exported {frames}: {folder.name} in {folder.parent}."
        if said:
            sentence += f" {said}."
        self._notify.tell(sentence, key="export")

    def take_as_corrections(self) -> None:
        """Put the outlines in the place of the loaded model's own, as if they were drawn by hand."""
        engine, structure = self._app_state.engine(), self._layer.structure
        label = structure.label.casefold()
        classes: tuple[str, ...] = ()
        if engine is not None:
            classes = engine.labels
        number = next((i for i, each in enumerate(classes) if each.casefold() == label), None)
        if number is None:
            known = ", ".join(classes) or "nothing"
            raise UserError(
                f"The loaded model outlines {known}, not '{structure.label}'", "Give it that name, or export"
            )
        edits = {
            index: (annotation_edit(mark, mark.instance, classes[number], number, classes), mark)
            for index, mark in structure.marks.items()
            if mark.instance is not None and not mark.why  # an outline that should not be trusted teaches nothing
        }
        self._review.keep_edits(
            {i: (edit, mark.prediction.frame_size_px, mark.geometry) for i, (edit, mark) in edits.items()}
        )
        self._notify.tell(f"Taken as corrections of the model's outlines: {len(edits)} frames.", key="prompt")

    # -- following what is open

    def tick(self) -> None:
        """Take the worker's answers, say what it is to look at, show what changed."""
        worker = self._session.worker
        if not self.on or worker is None:
            return
        worker.raise_failure()
        self._follow_source()
        for event in worker.poll():
            self._take(event)
        if not self.on:  # an answer may have put pointing away
            return
        self._tracking.tick()
        self._look_ahead()
        self._presenter.refresh()
        self._show_state()

    def _take(self, event: Event) -> None:
        if isinstance(event, OutlineResult):
            self.guarded(lambda: self._answered(event))
        elif isinstance(event, TrackProgress):
            self._tracking.take(event)
        elif isinstance(event, TrackEnded):
            self.changed.emit()
        elif isinstance(event, TrackLost):
            self._notify.warn(f"{event.why}: freeze and point at it again.", key="prompt")
        elif isinstance(event, UserError):
            self._say(event)

    def _say(self, error: UserError) -> None:
        if isinstance(error, NoModel):
            self._notify.tell(str(error), key="prompt")
            self._put_away()
            self._session.stop()
            return
        self._asked = None
        self._notify.report(error, key="prompt")

    def _follow_source(self) -> None:
        source: object = ("clip", self._review.path)
        if self._live.active:
            source = ("live", self._live.uri)
        if source == self._source:
            return
        self._source, self._asked, self._unscaled = source, None, False
        self._tracking.forget()
        self._session.forget()

    def _look_ahead(self) -> None:
        """The picture that stands is encoded at once, and then its neighbours in the clip."""
        frame, worker = self._app_state.on_screen.frame, self._session.worker
        if worker is None or frame is None:
            return
        if self._live.active:
            if self._live.frozen:
                worker.show(frame)
            return
        now, path = self._review.snapshot, self._review.path
        if now is None or path is None or not now.count or frame.geometry is None:
            return
        clip = self._session.clip
        if clip is None:
            clip = ClipAccess(partial(open_source, path), self._review.calibrate, now.count)
            self._session.set_clip(clip)
        if self._unscaled:
            self._measure_again(clip)
        # While frames go by the encoder would only ever be behind.
        if not now.playing and frame.key.index == now.wanted_index:
            worker.show(frame, clip)

    # -- the strip

    def _mark_on(self, frame: Frame | None) -> Annotation | None:
        if frame is None:
            return None
        return self._layer.mark(frame)

    def _show_state(self) -> None:
        frame, worker = self._app_state.on_screen.frame, self._session.worker
        mark = self._mark_on(frame)
        outlined = mark is not None and mark.instance is not None
        said, state = "", None
        if mark is not None:
            said = mark.why
        if mark is not None and not said and mark.reading.status is Status.REFUSED:
            said = mark.reading.reason
        if worker is not None:
            state = worker.state()
        if worker is not None and worker.live:
            said = FOLLOWING
        can = {
            "follows": self._review.active,
            "back": outlined, "both": outlined, "on": outlined, "brush": outlined,
            "undo": self._layer.can_undo or self._asked is not None,
            "clear": mark is not None,
            "new": bool(self._layer.structure.marks),
        }  # fmt: skip
        place = (self._layer.active + 1, len(self._layer.structures))
        self.bar.show_state(state, said=said, place=place, can=can)
        self.bar.show_label(self._layer.structure.label)
