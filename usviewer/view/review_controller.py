"""Review mode: one clip of a folder, its timeline, its bookmarks and corrections."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from usviewer.acquire import open_source
from usviewer.calibrate.calibration import NOTHING_STATED, StatedScale, gather
from usviewer.calibrate.ruler.layouts import fingerprint
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Edge
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.findings import EMPTY_REPORT, finding_of
from usviewer.measure.manual import Edit, read_edited
from usviewer.measure.reading import Provenance, Reading, Status
from usviewer.overlay.text import TextContext
from usviewer.pipeline.analyzer import LoadedModel
from usviewer.pipeline.curve import Curve
from usviewer.pipeline.folder import MadeFor
from usviewer.pipeline.review_run import ReviewRun, ReviewSnapshot
from usviewer.save.cache import ClipResults, MadeBy
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Banner
from usviewer.view.notify import Notify
from usviewer.view.presenter import Presenter
from usviewer.view.review_clips import ClipBrowser, ClipWork
from usviewer.view.timeline import RATES, Timeline

LOOP_S = 1.0


class ReviewController(QObject):
    """Runs the clip under review and says what is on the screen. ``tick`` is called at the display's rate."""

    changed = Signal()

    def __init__(
        self, app_state: AppState, presenter: Presenter, notify: Notify, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._app_state, self._presenter, self._notify = app_state, presenter, notify
        self._path: Path | None = None
        self._work: ClipWork | None = None
        self._given: ExamContext | None = None  # None: what was said of this clip is not read yet
        self._scale = NOTHING_STATED  # what was said of its scale, as it is kept
        self._run: ReviewRun | None = None
        self._snapshot: ReviewSnapshot | None = None
        self._last_message = ""
        self._listed: Curve | None = None
        self._neighbours = ClipBrowser(app_state, self._made_for, self)
        self.clips = self._neighbours.list
        self.timeline = Timeline()
        self.timeline.hide()
        self._connect()

    def _connect(self) -> None:
        line = self.timeline
        line.sought.connect(self._seek)
        line.plot.looped.connect(lambda first, last: self.set_loop((first, last)))
        line.rate_chosen.connect(self.set_rate)
        pressed: dict[str, Callable[[], None]] = {
            "start": lambda: self.go(0),
            "step_back": lambda: self.step(-1),
            "play": self.play_or_pause,
            "step_on": lambda: self.step(1),
            "end": lambda: self.go(-1),
            "loop": self.loop_here,
            "bookmark": self.bookmark,
            "maximum": self.go_to_maximum,
        }
        line.pressed.connect(lambda name: pressed[name]())
        self._neighbours.chosen.connect(self._choose)
        self._neighbours.listed.connect(self._list)
        self._neighbours.not_listed.connect(self._not_listed)
        self._app_state.engine_changed.connect(self._use_engine)
        self._app_state.scale_changed.connect(self._use_scale)
        self._app_state.given_changed.connect(self._use_given)

    # -- what is open

    @property
    def active(self) -> bool:
        """True while a clip is under review."""
        return self._path is not None

    @property
    def path(self) -> Path | None:
        """The clip under review."""
        return self._path

    @property
    def snapshot(self) -> ReviewSnapshot | None:
        """The state that was shown last."""
        return self._snapshot

    def open(self, path: Path) -> None:
        """Review a clip, with its neighbours listed; or the first of a folder's clips."""
        self.close()
        self._show(path)
        self._neighbours.show(path)

    def close(self) -> None:
        """Let the clip go, in the background."""
        self._end_run()
        if self._path is not None:
            self._path = self._work = self._given = None
            self._presenter.set_banner(None)
            self._notify.withdraw("source")
        self._neighbours.cancel_tool()
        self.timeline.hide()
        self.changed.emit()

    def stop(self) -> bool:
        """Close for good, when the window closes."""
        self.close()
        return True

    def _end_run(self) -> None:
        run, self._run, self._snapshot = self._run, None, None
        self._presenter.set_report(EMPTY_REPORT)
        self._last_message, self._listed = "", None
        if run is not None:
            run.request_stop()
            self._app_state.loads.submit(run.stop, self._ended)

    def _ended(self, in_time: bool) -> None:
        if not in_time:
            self._notify.warn("The clip did not close in time.", key="source")

    def _choose(self, path: Path) -> None:
        if path != self._path:
            self._show(path)

    def _show(self, path: Path) -> None:
        """Open one clip; a folder waits for its list."""
        self._end_run()
        self._path, self._work, self._given = path, ClipWork(self._app_state, self._notify, path), None
        self._scale = NOTHING_STATED
        self._app_state.forget_scale()
        self._app_state.set_given(NO_CONTEXT)
        self._presenter.clear()
        self._presenter.set_banner(Banner("Opening", path.name))
        self.timeline.setVisible(self._app_state.settings.side_panels)
        self.clips.select(path)
        self.changed.emit()
        if not path.is_dir():
            self._start(0)

    def _start(self, index: int) -> None:
        assert self._path is not None and self._work is not None
        self._run = ReviewRun(partial(open_source, self._path), gather, index, self._app_state.stated_scale)
        self._run.start()
        self._work.read_bookmarks()
        self._work.read_said(partial(self._take_said, self._work))

    def _list(self, asked: Path, found: tuple[Path, ...]) -> None:
        """The clips of the folder are known: the first is shown where a folder was asked for."""
        if asked.is_dir() and asked == self._path:
            if found and found[0] != asked:
                self._show(found[0])
            else:
                self._start(0)
        if self._path is not None:
            self.clips.select(self._path)
        self.changed.emit()  # in a small window the list may have no room

    def _not_listed(self, error: UserError) -> None:
        self.close()
        self._presenter.set_banner(Banner("Nothing to show", str(error), theme.WARNING))
        self._notify.report(error, key="source")

    # -- the model, the scale, and what the operator says

    def _take_said(self, asked: ClipWork, given: ExamContext, scale: StatedScale) -> None:
        """What was said of this clip in an earlier session; with it the analysis begins."""
        if asked is not self._work or self._run is None:
            return
        if self._scale == NOTHING_STATED != scale:
            self._scale = scale
            self._app_state.set_stated_scale(scale)
        said_meanwhile = self._app_state.given != NO_CONTEXT
        self._given = self._app_state.given if said_meanwhile else given
        if said_meanwhile and self._given != given:
            asked.keep_given(self._given)
        self._app_state.set_given(self._given)
        self._use_engine()

    def _use_given(self) -> None:
        if self._work is None or self._given is None or self._given == self._app_state.given:
            return
        self._given = self._app_state.given
        self._work.keep_given(self._given)
        self._use_engine()

    def _made_for(self) -> MadeFor | None:
        """What results depend on, for each that may be said of a clip and its scale."""
        engine = self._app_state.engine()
        return partial(_made_by, engine) if engine is not None else None

    def _use_engine(self) -> None:
        if (
            self._run is None
            or self._work is None
            or self._path is None
            or self._given is None
            or self._app_state.loading
        ):
            return
        engine = self._app_state.engine()
        if engine is None:
            self._run.set_model(None)
            return
        made_by = _made_by(engine, self._given, self._app_state.stated_scale)
        known = self._work.known_edits(made_by.model_sha256)
        self._work.read_edits(made_by.model_sha256)
        self._run.set_model(engine, ClipResults(self._work.notes, made_by, str(self._path)), self._given, known)
        self._presenter.renew()
        self._neighbours.look_up(self._path)

    def _use_scale(self) -> None:
        """Another scale: what the model said is measured again; the picture stays where it is."""
        if self._run is None or self._work is None:
            return
        said = self._app_state.stated_scale
        if said != self._scale:
            self._scale = said
            self._work.keep_scale(said)
        self._run.set_scale(said)
        if self._app_state.engine() is not None:
            self._presenter.renew()
        self._use_engine()

    # -- following

    def tick(self) -> None:
        """Take what is newest and show it."""
        run = self._run
        if run is None:
            return
        run.raise_failure()
        now = self._snapshot = run.snapshot()
        self._presenter.set_report(now.findings)
        self._tell(now)
        if now.frame is not None:
            edited = now.reading is not None and now.reading.provenance is Provenance.EDITED
            summary = now.summary if now.reading is not None else None
            note, context = "Edited" if edited else "", TextContext(is_complete=now.complete)
            self._presenter.show(now.frame, now.reading, summary, note, pending=self._awaits(now), context=context)
        self._presenter.set_banner(_banner(now, self._app_state.on_screen.reading))
        self.timeline.show_snapshot(self._with_shown_curve() or now, self.bookmarks)
        if now.complete and now.curve is not None and now.curve is not self._listed and self._path is not None:
            self._listed = now.curve
            self._neighbours.show_result(self._path, now.curve)

    def _with_shown_curve(self) -> ReviewSnapshot | None:
        """The state that was shown last with the curve on the timeline: of what was pointed at, or the model's."""
        now = self._snapshot
        if now is None:
            return None
        return replace(now, curve=self._presenter.curve_of(now.curve, now.count))

    def _awaits(self, now: ReviewSnapshot) -> bool:
        """Whether the reading of the picture is to come: from the analysis, or from one that begins in a moment."""
        beginning = self._given is None and self._app_state.engine() is not None and not self._app_state.loading
        return now.awaited or beginning

    def _tell(self, now: ReviewSnapshot) -> None:
        if now.message != self._last_message:
            self._last_message = now.message
            if now.message:
                self._notify.report(UserError(now.message), key="source")
            else:
                self._notify.withdraw("source")

    # -- moving

    def _seek(self, index: int, rests: bool) -> None:
        if self._run is not None:
            self._run.seek(index, exact=rests)

    def go(self, index: int) -> None:
        """Show exactly this frame; -1 is the last."""
        if self._run is not None and self._snapshot is not None:
            self._run.seek(index if index >= 0 else max(0, self._snapshot.count - 1))

    def step(self, frames: int) -> None:
        """Some frames on or back."""
        if self._run is not None:
            self._run.step(frames)

    def skip(self, seconds: float) -> None:
        """Some seconds on or back, by the clip's own times."""
        now = self._snapshot
        if now is None or not now.times_s:
            return
        at_s = now.times_s[min(now.wanted_index, now.count - 1)] + seconds
        self.go(min(now.count - 1, bisect_left(now.times_s, at_s - 1e-6)))

    def play_or_pause(self) -> None:
        """Play from here, or stay here."""
        if self._run is not None and self._snapshot is not None:
            if self._snapshot.playing:
                self._run.pause()
            else:
                self._run.play()

    def set_rate(self, rate: float) -> None:
        """Play at this multiple of the clip's own rate."""
        if self._run is not None:
            self._run.set_rate(rate)

    def change_rate(self, steps: int) -> None:
        """The next faster (1) or slower (-1) of the rates."""
        if self._run is not None:
            rate = self._run.snapshot().rate
            at = min(range(len(RATES)), key=lambda index: abs(RATES[index] - rate))
            self.set_rate(RATES[min(len(RATES) - 1, max(0, at + steps))])

    def set_loop(self, loop: tuple[int, int] | None) -> None:
        """Play this range again and again; None ends it."""
        if self._run is not None:
            self._run.set_loop(loop)

    def loop_here(self) -> None:
        """Loop a second to each side of this frame, or end the loop."""
        now = self._snapshot
        if now is None or now.frame is None or now.count < 2:
            return
        if now.loop is not None:
            self.set_loop(None)
            return
        at_s = now.times_s[min(now.frame.key.index, now.count - 1)]
        first = bisect_left(now.times_s, at_s - LOOP_S)
        self.set_loop((first, min(now.count - 1, max(first + 1, bisect_left(now.times_s, at_s + LOOP_S)))))

    def loop_from_here(self, *, end: bool) -> None:
        """Begin (or end) the looped range at this frame."""
        now = self._snapshot
        if now is None or now.frame is None or now.count < 2:
            return
        first, last = now.loop or (0, now.count - 1)
        index = now.frame.key.index
        self.set_loop((min(first, index - 1), index) if end else (index, max(last, index + 1)))

    @property
    def looping(self) -> bool:
        """Whether a range is looped."""
        return self._snapshot is not None and self._snapshot.loop is not None

    @property
    def playing(self) -> bool:
        """Whether the clip plays."""
        return self._snapshot is not None and self._snapshot.playing

    def go_to_maximum(self) -> None:
        """Show the frame of the largest value on the timeline. Raises ``UserError`` where none may be said."""
        now = self._with_shown_curve()
        if now is None or now.summary is None:
            raise UserError("Nothing was measured in this clip yet", "Wait for the analysis")
        if now.maximum_index is None:
            what = "The largest value was measured over less than a heart beat, so it may be a false alarm"
            raise UserError(what, "Look through the frames yourself")
        self.go(now.maximum_index)

    # -- bookmarks

    def bookmark(self) -> None:
        """Mark this frame, or take its mark away."""
        if self._work is not None and self._snapshot is not None and self._snapshot.frame is not None:
            self._work.toggle_bookmark(self._snapshot.frame.key.index)

    def go_to_bookmark(self, direction: int) -> None:
        """The next bookmark (1) or the one before (-1)."""
        if self._snapshot is None:
            return
        here, marks = self._snapshot.wanted_index, self.bookmarks
        beyond = [mark for mark in marks if (mark > here if direction > 0 else mark < here)]
        if beyond:
            self.go(min(beyond) if direction > 0 else max(beyond))

    @property
    def bookmarks(self) -> tuple[int, ...]:
        """The marked frames."""
        return self._work.bookmarks if self._work is not None else ()

    # -- corrections

    def automatic(self) -> Reading | None:
        """What the model said of the frame on the screen."""
        now = self._snapshot
        return self._run.automatic(now.frame.key.index) if self._run and now and now.frame else None

    def usual_edge(self) -> Edge:
        """What the model's outlines follow, as far as this clip tells."""
        return self._snapshot.curve.edge if self._snapshot and self._snapshot.curve else Edge.NOT_STATED

    @property
    def edits(self) -> Mapping[int, Edit]:
        """The corrections of this clip, by frame."""
        return self._work.edits if self._work is not None else {}

    def keep_edit(self, frame: Frame, edit: Edit | None) -> None:
        """Measure a corrected outline, show it in the place of the automatic one, and keep it; None takes it back."""
        if self._run is None or self._work is None:
            return
        automatic, size_px = self._run.automatic(frame.key.index), frame.size_px
        if automatic is None:  # the frame is just being read again: what was drawn is measured then
            self._run.await_edit(frame.key.index, edit)
        else:
            context = self._given or NO_CONTEXT
            reading = read_edited(automatic, edit, size_px, frame.geometry, context) if edit is not None else None
            self._run.replace_reading(frame.key.index, reading)
        self._work.keep_edits({frame.key.index: edit})

    def keep_edits(self, edits: Mapping[int, tuple[Edit, tuple[int, int], ImageGeometry | None]]) -> None:
        """The same for many frames, with their sizes and geometries; measured in the background."""
        run, work = self._run, self._work
        if run is None or work is None:
            return
        context = self._given or NO_CONTEXT
        automatic = {index: reading for index in edits if (reading := run.automatic(index)) is not None}

        def measure() -> dict[int, Reading]:
            return {index: read_edited(reading, *edits[index], context) for index, reading in automatic.items()}

        def take(readings: dict[int, Reading]) -> None:
            for index, (edit, _, _) in edits.items():
                if index in readings:
                    run.replace_reading(index, readings[index])
                else:
                    run.await_edit(index, edit)
            work.keep_edits({index: edit for index, (edit, _, _) in edits.items()})

        self._app_state.loads.submit(measure, take)

    def calibrate(self, frame: Frame) -> Frame:
        """A frame of this clip with its geometry; for every thread."""
        return self._run.calibrate(frame) if self._run is not None else frame

    def automatic_of(self, index: int) -> Reading | None:
        """What the model said of one frame."""
        return self._run.automatic(index) if self._run is not None else None


def _made_by(engine: LoadedModel, given: ExamContext, said: StatedScale) -> MadeBy:
    settings = f"{given.settings(engine.finding)} {fingerprint()}"  # a remembered ruler gives clips a scale
    settings += "".join(f" {each.spacing} from {each.from_index}" for each in said.confirmed)
    if said.spacing is not None:
        settings += f" {said.size_px}"  # on pictures of another size the scale does not hold
    return MadeBy(engine.sha256, engine.running, said.spacing, settings)


def _banner(now: ReviewSnapshot, reading: Reading | None) -> Banner | None:
    """What is said over the picture: why there is none, or why there is no number."""
    if now.frame is None:
        return Banner("Nothing to show", now.message, theme.WARNING) if now.message else Banner("Opening")
    if reading is None or reading.status is Status.MEASURED or reading.carried_s:
        return None
    if reading.status is Status.REFUSED:
        return Banner("Not measured", reading.reason, at_top=True)
    return Banner(finding_of(reading.finding).absent_banner, at_top=True)
