"""The one place that decides which reading is shown for a picture: an annotation goes before the model's own.

Live and review say what the model found (``show``); pointing says what was annotated (``use_annotations``). What is
then on the screen is composed here, painted by the canvas, and told through ``AppState.shown_changed``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.measure.findings import EMPTY_REPORT, ClipReport
from usviewer.measure.reading import Provenance, Reading, Summary
from usviewer.overlay.items import AnnotatedFrame
from usviewer.overlay.scene import compose
from usviewer.overlay.text import OF_THE_FRAME, TextContext
from usviewer.pipeline.curve import Curve
from usviewer.pipeline.live_run import MAX_PAIR_AGE_S
from usviewer.view.app_state import AppState, Displayed
from usviewer.view.canvas import Banner, Canvas

if TYPE_CHECKING:  # brings the prompt models: not while the window starts
    from usviewer.view.pointing import PromptSession


class Presenter(QObject):
    """Decides what is on the screen, and has it painted. Everything here is called in the window's thread."""

    def __init__(self, app_state: AppState, canvas: Canvas, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app_state, self._canvas = app_state, canvas
        self._offered = Displayed()  # what the model says; the annotations may say something else
        self._annotations: PromptSession | None = None
        self._report = EMPTY_REPORT
        app_state.style_changed.connect(lambda: self._display(app_state.on_screen))

    # -- what there is to show

    def show(
        self,
        frame: Frame | None,
        reading: Reading | None = None,
        summary: Summary | None = None,
        note: str = "",
        *,
        is_current: bool = True,
        pending: bool = False,
        newest: Frame | None = None,
        context: TextContext = OF_THE_FRAME,
    ) -> None:
        """Show a picture with the model's reading of it (bare without), unless it was annotated.

        ``note`` is said in a corner of the picture. ``is_current`` False withdraws the numbers but keeps the overlay.
        ``pending``: the reading of this picture is being made. ``newest``: of a live source that runs. ``context``
        decides which number is large.
        """
        self._offered = Displayed(
            frame, reading, summary, None, note, is_current, pending and reading is None, newest, context
        )
        self.refresh()

    def clear(self) -> None:
        """Show nothing: no source is open."""
        self.show(None)

    def renew(self) -> None:
        """The picture's reading no longer holds, and another is being made: it stands bare from this moment on."""
        before = self._offered
        self._offered = replace(before, reading=None, summary=None, pending=before.frame is not None)
        self.refresh()

    def use_annotations(self, annotations: PromptSession | None) -> None:
        """Show what was pointed at, where it was, in the place of the model's reading; None: the model's alone."""
        self._annotations = annotations
        self.refresh()

    def set_banner(self, banner: Banner | None) -> None:
        """Say a state large over the picture, or stop saying it."""
        self._canvas.set_banner(banner)

    # -- what is shown

    def refresh(self) -> None:
        """Show the same again where something else is known of it now."""
        before, now = self._app_state.on_screen, self._chosen(self._offered)
        # By identity: frames and readings are never changed in place, and comparing their arrays takes time.
        same = (
            before.frame is now.frame
            and before.reading is now.reading
            and before.summary is now.summary
            and before.is_current == now.is_current
            and before.note == now.note
            and before.context == now.context
            and before.pending == now.pending
        )
        if not same:
            self._display(now)

    def to_keep(self) -> Displayed:
        """The pair on the screen at this moment, to be kept.

        Raises ``UserError`` where there is none, or where the outline that belongs to the picture is still to come.
        """
        self.refresh()
        now = self._app_state.on_screen
        if now.frame is None:
            raise UserError("There is no picture to save", "Open a source first")
        if now.pending:
            raise UserError("This picture is just being measured", "Save it in a moment, when its outline is there")
        return now

    @property
    def annotating(self) -> bool:
        """Whether pointing is on."""
        return self._annotations is not None

    @property
    def shows_annotation(self) -> bool:
        """Whether another reading than the loaded model's is shown: nothing that model says goes with it."""
        return self._is_annotation(self._app_state.on_screen.reading)

    def model_label(self) -> str:
        """What the model behind the reading on the screen is called; empty where that is not the loaded one."""
        return self._label_of(self._app_state.on_screen.reading)

    def _is_annotation(self, reading: Reading | None) -> bool:
        return reading is not None and reading is not self._offered.reading

    def _label_of(self, reading: Reading | None) -> str:
        engine = self._app_state.engine()
        if engine is None or self._is_annotation(reading):  # an annotation is another model's, or the user's own
            return ""
        return engine.model_label

    # -- what goes with it

    def set_report(self, report: ClipReport) -> None:
        """What the model's readings so far say together: of the live source, or of the clip under review."""
        self._report = report

    def text_context(self, now: Displayed, *, is_saved: bool = False) -> TextContext:
        """What decides how the reading of a picture is said, on the screen and where it is saved."""
        report = EMPTY_REPORT if self._is_annotation(now.reading) else self._report
        return replace(now.context, is_current=now.is_current, is_saved=is_saved, report=report)

    def report(self) -> ClipReport:
        """The same as far as it belongs to what is on the screen: nothing beside an annotation."""
        if self.shows_annotation:
            return EMPTY_REPORT
        return self._report

    def curve_of(self, model_curve: Curve | None, count: int) -> Curve | None:
        """What the timeline shows of a clip of so many frames: the annotated structure, or the model's curve."""
        if self._annotations is None or not count:
            return model_curve
        return self._annotations.layer.curve(count) or model_curve

    # -- the decision

    def _chosen(self, offered: Displayed) -> Displayed:
        """What is shown in the place of what the model says; the same where nothing was annotated."""
        if self._annotations is None or offered.frame is None:
            return offered
        if offered.newest is not None:
            return _tracked(offered, offered.newest, self._annotations)
        return _annotated(offered, offered.frame, self._annotations)

    def _display(self, now: Displayed) -> None:
        """Put this on the screen, with the scene that belongs to it."""
        shown = None
        if now.frame is None:
            self._canvas.clear()
        elif now.reading is None:
            self._canvas.show_bare(now.frame)
        else:
            scene = compose(
                now.frame, now.reading, now.summary, self._app_state.style, model_label=self._label_of(now.reading)
            )
            shown = AnnotatedFrame(now.frame, scene)
            self._canvas.show_pair(shown)
        self._canvas.set_corner_note(now.note)
        self._app_state.set_displayed(replace(now, shown=shown))


def _annotated(offered: Displayed, frame: Frame, session: PromptSession) -> Displayed:
    """A picture that is held: its annotation; bare where only other pictures have one."""
    reading = session.layer.reading(frame)
    if reading is not None:
        curve, summary = session.curve(), None
        if curve is not None:
            summary = curve.summary
        mark, note = session.layer.mark(frame), offered.note
        if mark is not None and session.layer.was_followed(frame.key.index):
            note = f"Followed{_confidence_words(mark.confidence)}"
        return replace(offered, reading=reading, summary=summary, note=note, pending=False)
    held_while_tracked = offered.reading is not None and offered.reading.provenance is Provenance.PROMPTED
    if session.layer.empty or held_while_tracked:
        return offered
    return replace(offered, reading=None, summary=None, note="", pending=False)


def _tracked(offered: Displayed, newest: Frame, session: PromptSession) -> Displayed:
    """A picture that runs: the newest frame that was looked at with an outline of its own, and the outline's age."""
    outline = session.live_outline()
    if outline is None or not offered.is_current:
        return offered
    too_old = newest.key.capture_time_s - outline.frame.key.capture_time_s > MAX_PAIR_AGE_S
    if too_old or outline.reading is None:
        # A slow tracker must not hold the picture back: then the newest one is shown, bare.
        frame = newest if too_old else outline.frame
        note = "Following · no outline for this picture"
        return replace(offered, frame=frame, reading=None, summary=None, note=note, pending=False)
    session.note_shown(outline)
    note = f"Following · outline {max(0.01, outline.age_s):.2f} s old{_confidence_words(outline.reading.quality)}"
    return replace(offered, frame=outline.frame, reading=outline.reading, summary=None, note=note, pending=False)


def _confidence_words(confidence: float | None) -> str:
    """How far following trusts the outline, to go on a note; nothing where that is not known."""
    if confidence is None:
        return ""
    return f" · confidence {confidence:.2f}"
