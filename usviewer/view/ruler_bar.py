"""The ruler that was found on the screen: drawn over the picture, confirmed by the operator in a strip below it.

Nothing here has millimetres before a person has said what a tick is worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QTransform
from PySide6.QtWidgets import QButtonGroup, QCheckBox, QFrame, QVBoxLayout

from usviewer.acquire import open_source
from usviewer.calibrate.calibration import sample_frames
from usviewer.calibrate.ruler.detect import MAX_TICK_MM, MIN_TICK_MM
from usviewer.calibrate.ruler.layouts import UNCONFIRMED, Proposal, load, propose, remember
from usviewer.calibrate.ruler.watch import WITHDRAWALS, Confirmed
from usviewer.errors import UserError
from usviewer.frame import Frame, SourceInfo
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Canvas
from usviewer.view.live_controller import LiveController
from usviewer.view.notify import Notify
from usviewer.view.presenter import Presenter
from usviewer.view.review_controller import ReviewController
from usviewer.view.widgets import Flow, LengthField, button, words

PRESETS_MM = (5.0, 10.0)
OTHER_MM = 2.0
VALUE_PX = 116
# So far beyond a tick its mark reaches, on the screen.
MARK_PX = 15.0
# A live source is looked at this often and this many times: tissue moves between pictures, a ruler does not.
LIVE_EVERY_S = 0.5
LIVE_FRAMES = 4
LIVE_SEARCHES = 5
ASK = "What is one tick worth? Look at the numbers beside it or the depth that the scanner shows."


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """What a search found: a ruler, what its tick is worth where that was confirmed before, and what held before it."""

    proposal: Proposal | None
    known_mm: float | None = None
    before: tuple[Confirmed, ...] = ()


class RulerController(QObject):
    """Looks for a ruler where there is no scale, offers it, and says when it no longer holds.

    ``tick`` is called at the display's rate; searching is done in the background.
    """

    def __init__(
        self,
        app_state: AppState,
        presenter: Presenter,
        canvas: Canvas,
        notify: Notify,
        live: LiveController,
        review: ReviewController,
    ) -> None:
        super().__init__()
        self._app_state, self._presenter, self._canvas, self._notify = app_state, presenter, canvas, notify
        self._live, self._review = live, review
        self.bar = RulerBar(self.confirm, self.dismiss)
        self._source: object = None
        self._asked: object = None
        self._searching = False
        self._found: _Search | None = None
        self._told = ""
        self._live_frames: list[Frame] = []
        self._live_due_s, self._live_searches = 0.0, 0
        canvas.add_marks(self._paint)

    @property
    def proposal(self) -> Proposal | None:
        """The ruler that is offered now."""
        return self._found.proposal if self._found is not None and self.bar.isVisible() else None

    # -- following

    def tick(self) -> None:
        """See whether the picture has a scale; where it has not, look for one or offer what was found."""
        self._follow_source()
        frame, reason = self._app_state.on_screen.frame, self._reason()
        self._tell(reason if reason in WITHDRAWALS else "")
        if frame is None or not reason or self._app_state.user_spacing() is not None:
            self._offer(None)
            return
        if self._live.active:
            self._look_at_live(frame)
        elif reason in (UNCONFIRMED, *WITHDRAWALS):
            self._look_at_clip(frame, reason)
        # While the operator points at something the question waits.
        self._offer(None if self._presenter.annotating else self._found)

    def _reason(self) -> str:
        """Why the picture on the screen has no scale; empty where it has one, or is not calibrated yet."""
        frame = self._app_state.on_screen.frame
        geometry = frame.geometry if frame is not None else None
        scaled = geometry is None or any(region.spacing for region in geometry.regions)
        return "" if scaled or geometry is None else geometry.no_scale_reason

    def _follow_source(self) -> None:
        review = self._review
        source: object = ("live", self._live.uri) if self._live.active else None
        if source is None and review.active:
            source = ("clip", review.path)
        if source != self._source:
            self._source, self._asked, self._found = source, None, None
            self._live_frames, self._live_searches, self._live_due_s = [], 0, 0.0
            self._tell("")

    def _tell(self, reason: str) -> None:
        if reason == self._told:
            return
        self._told = reason
        if reason:
            self._notify.warn(reason, key="ruler")
            if self._live.active:
                self._found, self._live_frames, self._live_searches = None, [], 0
        else:
            self._notify.withdraw("ruler")

    # -- looking

    def _look_at_clip(self, frame: Frame, reason: str) -> None:
        review = self._review
        if review.path is None or self._asked == (reason, self._app_state.confirmed()):
            return
        if review.snapshot is None or review.snapshot.frame is not frame:
            return  # the scale was just given: the picture with it is still to come
        self._asked, self._found = (reason, self._app_state.confirmed()), None
        first = _first_withdrawn(review, frame.key.index) if reason in WITHDRAWALS else 0
        search = partial(_search_clip, review.path, first, self._app_state.confirmed())
        self._search(search)

    def _look_at_live(self, frame: Frame) -> None:
        """A few pictures of the running source, then a search; again a few times where nothing was found."""
        now, status = time.monotonic(), self._live.status
        done = self._found is not None and self._found.proposal is not None
        if done or self._searching or now < self._live_due_s or self._live_searches >= LIVE_SEARCHES:
            return
        if status is None or status.source is None or not status.state.holds_numbers or self._live.frozen:
            return
        if self._live_frames and self._live_frames[0].pixels.shape != frame.pixels.shape:
            self._live_frames = []
        self._live_frames.append(frame)
        self._live_due_s = now + LIVE_EVERY_S
        if len(self._live_frames) >= LIVE_FRAMES:
            frames, self._live_frames = self._live_frames, []
            self._live_searches += 1
            self._live_due_s = now + LIVE_EVERY_S * 2**self._live_searches
            self._search(partial(_search_live, frames, status.source))

    def _search(self, work: Callable[[], _Search]) -> None:
        self._searching = True
        self._app_state.loads.submit(work, partial(self._take, self._source), self._not_found)

    def _not_found(self, _error: UserError) -> None:
        """The source itself cannot be read: its own mode says so."""
        self._searching = False

    def _take(self, source: object, found: _Search) -> None:
        self._searching = False
        if source != self._source:
            return
        self._found = found
        if found.proposal is None or found.known_mm is None or not self._reason():
            return
        try:
            now = found.proposal.confirmed(found.known_mm)
        except UserError:
            return
        self._notify.tell(f"This screen's ruler is known: {found.known_mm:g} mm a tick.", key="known ruler")
        self._use(found, now)

    # -- the operator's word

    def confirm(self, tick_mm: float, keep: bool) -> None:
        """Measure by the ruler that is offered: this much from tick to tick. Said where that cannot be."""
        found = self._found
        if found is None or found.proposal is None:
            return
        try:
            now = found.proposal.confirmed(tick_mm)
        except UserError as error:
            self._notify.report(error, key="known ruler")
            return
        if keep:
            write = partial(remember, found.proposal, tick_mm)
            self._app_state.jobs.submit(write, failed=partial(self._notify.report, key="known ruler"))
        self._use(found, now)

    def _use(self, found: _Search, now: Confirmed) -> None:
        self._found = None
        earlier = tuple(c for c in (self._app_state.confirmed() or found.before) if c.from_index < now.from_index)
        self._app_state.set_confirmed((*earlier, now) if not self._live.active else (now,))
        self.bar.hide()

    def dismiss(self) -> None:
        """Not now: the ruler is not offered again for this source, until it changes."""
        self._found = _Search(None)
        self._live_searches = LIVE_SEARCHES
        self._offer(None)

    # -- showing

    def _offer(self, found: _Search | None) -> None:
        proposal = found.proposal if found is not None else None
        if (proposal is not None) != self.bar.isVisible():
            self._canvas.update()
        if proposal is None:
            self.bar.hide()
        elif not self.bar.isVisible():
            self.bar.show_proposal(proposal, again=bool(self._told))

    def _paint(self, painter: QPainter, to_screen: QTransform) -> None:
        proposal, frame = self.proposal, self._app_state.on_screen.frame
        if proposal is None or frame is None or frame.size_px != proposal.ruler.size_px:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for ruler in (proposal.ruler, proposal.across):
            if ruler is None:
                continue
            near, far = ruler.across_px
            for tick in ruler.ticks_px:
                ends = ((near, tick), (far, tick)) if ruler.axis == "y" else ((tick, near), (tick, far))
                start, end = (to_screen.map(QPointF(*at)) for at in ends)
                outward = (end, start) if ruler.side in ("right", "bottom") else (start, end)
                _paint_tick(painter, *outward)


def _paint_tick(painter: QPainter, outer: QPointF, inner: QPointF) -> None:
    """A short line beyond the tick's outer end, so that the tick and its number stay in sight.

    Where the picture ends at the window's edge: beyond the inner end.
    """
    away = outer - inner
    step = away / max(1.0, (away.x() ** 2 + away.y() ** 2) ** 0.5)
    if not painter.viewport().contains((outer + step * MARK_PX).toPoint()):
        outer, step = inner, -step
    painter.setPen(QPen(QColor(theme.CALIPER), 2.0, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
    painter.drawLine(outer + step * 3.0, outer + step * MARK_PX)


# --- in the worker ----------------------------------------------------------------------------------------------------


def _first_withdrawn(review: ReviewController, index: int) -> int:
    """The first frame of the stretch without a scale that this frame lies in, as far as the clip is read."""
    while index > 0 and (before := review.automatic_of(index - 1)) is not None:
        if before.no_scale_reason not in WITHDRAWALS:
            break
        index -= 1
    return index


def _search_clip(path: Path, first: int, confirmed: tuple[Confirmed, ...]) -> _Search:
    """The ruler from one frame of a clip on, and what held before it without having been confirmed in this session."""
    known = load()[0]
    with open_source(path) as source:
        frames = sample_frames(source, first)
        proposal = propose(frames, source.info, read=True)[0] if frames else None
        before: tuple[Confirmed, ...] = ()
        if first and not confirmed:
            opening = propose(sample_frames(source), source.info)[0]
            layout = opening.remembered(known) if opening is not None else None
            before = (opening.confirmed(layout.tick_mm),) if opening is not None and layout is not None else ()
    layout = proposal.remembered(known) if proposal is not None else None
    return _Search(proposal, layout.tick_mm if layout is not None else None, before)


def _search_live(frames: list[Frame], info: SourceInfo) -> _Search:
    proposal, _ = propose(frames, info, read=True)
    layout = proposal.remembered(load()[0]) if proposal is not None else None
    return _Search(proposal, layout.tick_mm if layout is not None else None)


# --- the strip --------------------------------------------------------------------------------------------------------


class RulerBar(QFrame):
    """Says what was found and asks what a tick is worth; nothing is chosen beforehand unless it was read."""

    def __init__(self, confirm: Callable[[float, bool], None], dismiss: Callable[[], None]) -> None:
        super().__init__()
        self.setObjectName("timeline")  # the same ground as the strip below
        self.setAccessibleName("Ruler")
        self.setStyleSheet(
            f'QPushButton[role="primary"]:disabled {{ background: {theme.RAISED}; border-color: {theme.LINE}; '
            f"color: {theme.QUIET}; }}"
        )
        self._confirm = confirm
        self._steps = 0
        self._says, self._question = words(bold=True), words(ASK, quiet=True)
        self.presets = [button(f"{mm:g} mm", f"{mm:g} mm from tick to tick", self._chosen) for mm in PRESETS_MM]
        self.other = button("Other", "Another value: type it", self._chosen)
        self._group = QButtonGroup(self)
        for each in (*self.presets, self.other):
            each.setCheckable(True)
            self._group.addButton(each)
        self.value = LengthField(OTHER_MM, MIN_TICK_MM, MAX_TICK_MM, "Millimetres from tick to tick")
        self.value.setFixedWidth(VALUE_PX)
        self.value.textChanged.connect(self._typed)
        self.keep = QCheckBox("Remember")
        self.keep.setToolTip("Use this ruler again wherever the very same screen is seen")
        self.use = button("Confirm", "Measure in millimetres by this ruler", self._use)
        self.use.setProperty("role", "primary")
        self.later = button("Not now", "Go on in pixels", dismiss)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 8, 16, 8)
        column.setSpacing(4)
        column.addWidget(self._says)
        column.addWidget(self._question)
        column.addLayout(Flow((*self.presets, self.other, self.value, self.keep), (self.use, self.later)))
        self.setMinimumWidth(theme.PICTURE_LEAST_PX)
        self.hide()

    def show_proposal(self, proposal: Proposal, *, again: bool) -> None:
        """Offer a ruler; ``again`` where an earlier one no longer holds."""
        ruler = proposal.ruler
        said = f"Ruler found: {ruler.describe()}"
        self._says.setText(f"{said}." if not again else f"Found instead: {ruler.describe()}.")
        self._steps = ruler.sites[-1]
        self._group.setExclusive(False)
        for each in self._group.buttons():
            each.setChecked(False)
        self._group.setExclusive(True)
        self.keep.setChecked(False)
        if ruler.tick_mm is not None:
            self.choose(ruler.tick_mm)
        self._show_choice(f"Read beside it: {ruler.tick_mm:g} mm a tick. " if ruler.tick_mm is not None else "")
        self.show()

    def choose(self, tick_mm: float) -> None:
        """Choose what a tick is worth, without confirming it."""
        preset = next((b for mm, b in zip(PRESETS_MM, self.presets, strict=True) if mm == tick_mm), None)
        if preset is None:
            self.value.setValue(tick_mm)
        (preset or self.other).setChecked(True)
        self._show_choice()

    @property
    def tick_mm(self) -> float | None:
        """What was chosen; None while nothing is, or what was typed is not a length."""
        for mm, preset in zip(PRESETS_MM, self.presets, strict=True):
            if preset.isChecked():
                return mm
        with suppress(UserError):
            return self.value.value() if self.other.isChecked() else None
        return None

    @property
    def says(self) -> str:
        """Both lines of the strip."""
        return f"{self._says.text()} {self._question.text()}"

    def _chosen(self) -> None:
        self._show_choice()

    def _typed(self) -> None:
        self.other.setChecked(True)
        self._show_choice()

    def _show_choice(self, before: str = "") -> None:
        tick_mm = self.tick_mm
        self.use.setEnabled(tick_mm is not None)
        self.value.setVisible(self.other.isChecked())
        if tick_mm is None:
            self._question.setText(self._why_not() if self.other.isChecked() else ASK)
            return
        length_cm = self._steps * tick_mm / 10.0
        self._question.setText(f"{before}The marked ruler would be {length_cm:g} cm long: does the scanner say so?")

    def _why_not(self) -> str:
        """What is wrong with what was typed."""
        try:
            self.value.value()
        except UserError as error:
            return str(error)
        return ""

    def _use(self) -> None:
        if self.tick_mm is not None:
            self._confirm(self.tick_mm, self.keep.isChecked())
