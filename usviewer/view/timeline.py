"""The strip under the picture: the diameter over the clip, where we are in it, and the buttons to move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPointF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFontMetrics, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from usviewer.overlay import words
from usviewer.pipeline.curve import Curve
from usviewer.pipeline.review_run import ReviewSnapshot
from usviewer.view import theme
from usviewer.view.theme import icon
from usviewer.view.widgets import PlainLabel, tip

HEIGHT_PX = 150
ONE_LINE = "one line"
# What gives way first, from the last on, where there is little room: beside an open panel and the list of clips.
PARTS_BY_USE = (("bookmark",), ("rate",), ("maximum",), ("loop",), (ONE_LINE,), ("start", "end"))
_SPACING_PX = 4
_EDGE_PX = 8
# Narrow, the progress still has room for "100 %".
_PROGRESS_PX, _NARROW_PROGRESS_PX = 150, 44
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
# Around a steady vessel the axis still spans a quarter of its diameter: pulsation must not look like a storm.
MIN_SPAN_SHARE = 0.25
# Where marks stand that have no value of their own, as shares of the axis: clear of its ends, where they would be cut.
_FOOT, _HEAD, _BOOKMARK = 0.06, 0.96, 0.92
# Between the two parts of a place's words; where they have no room in one line, it breaks here.
_GAP = "   "
_NAME_ROOM = 16 * "0"


def clock(time_s: float) -> str:
    """Minutes, seconds and tenths: 0:07.3."""
    tenths = int(time_s * 10 + 1e-6)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def place_words(index: int, times_s: Sequence[float]) -> str:
    """Where in the clip a frame is: time of the whole time, and its number, which is that of every file."""
    if not times_s:
        return "Counting frames"
    count = len(times_s)
    at = f"{clock(times_s[min(index, count - 1)])} / {clock(times_s[-1])}"
    return f"{at}{_GAP}{_number_words('frame', index, count)}"


def still_words(index: int, count: int, name: str) -> str:
    """Which picture of a folder this is; such pictures have no times."""
    number = _number_words("picture", index, count)
    if not name:
        return number
    return f"{number}{_GAP}{name}"


def _number_words(kind: str, index: int, count: int) -> str:
    """Counted from 0, as in every table and file name; the range shows that."""
    if count == 1:
        return f"single {kind}"
    return f"{kind} {index} of 0\N{EN DASH}{count - 1}"


class Timeline(QFrame):
    """Shows a ``ReviewSnapshot``; ``sought`` is the frame under the hand and whether the hand rests."""

    sought = Signal(int, bool)
    pressed = Signal(str)  # the name of a button: start, step_back, play, step_on, end, loop, bookmark, maximum
    rate_chosen = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("timeline")
        self.setAccessibleName("Timeline")
        self.setFixedHeight(HEIGHT_PX)
        self.setMinimumWidth(theme.PICTURE_LEAST_PX)
        self._buttons: dict[str, QPushButton] = {}
        self._shown_place = self._widest_place = ""
        self._one_line = True
        self.plot = _CurvePlot()
        self.plot.sought.connect(self.sought)
        column = QVBoxLayout(self)
        column.setContentsMargins(_EDGE_PX, 4, _EDGE_PX, 4)
        column.setSpacing(2)
        column.addLayout(self._transport())
        column.addWidget(self.plot, 1)

    # -- building

    def _transport(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(_SPACING_PX)
        for name, picture, said in (
            ("start", "first", "First frame"),
            ("step_back", "step_back", "One frame back"),
            ("play", "play", "Play or pause"),
            ("step_on", "step_on", "One frame on"),
            ("end", "last", "Last frame"),
        ):
            row.addWidget(self._button(name, picture, said))
        self.rate = QComboBox()
        self.rate.setAccessibleName("Speed")
        self.rate.setToolTip("Speed of playing, of the clip's own")
        self.rate.setMinimumHeight(theme.TOUCH_PX - 4)
        self.rate.setFixedWidth(80)
        self.rate.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        for rate in RATES:
            self.rate.addItem(f"{rate:g}x", rate)
        self.rate.setCurrentIndex(RATES.index(1.0))
        self.rate.activated.connect(lambda index: self.rate_chosen.emit(RATES[index]))
        row.addWidget(self.rate)
        row.addWidget(self._button("loop", "loop", "Loop two seconds round this frame", checkable=True))
        row.addWidget(
            self._button("bookmark", "bookmark", "Bookmark this frame, or take its bookmark away", checkable=True)
        )
        row.addWidget(self._button("maximum", "maximum", "Go to the largest diameter"))
        row.addSpacing(_SPACING_PX)
        self.place = PlainLabel()
        self.place.setFont(theme.font(theme.TEXT_PX))
        self.place.setToolTip("Frames count from 0, as in all files")
        row.addWidget(self.place)
        row.addStretch(1)
        self.progress = _Progress()
        row.addWidget(self.progress)
        return row

    def _button(self, name: str, picture: str, said: str, *, checkable: bool = False) -> QPushButton:
        button = QPushButton(icon(picture), "")
        button.setIconSize(QSize(20, 20))
        button.setFixedWidth(theme.TOUCH_PX + 4)
        button.setStyleSheet("padding: 0;")
        button.setCheckable(checkable)
        button.setAccessibleName(said)
        button.setToolTip(said)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _checked=False: self.pressed.emit(name))
        self._buttons[name] = button
        return button

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Beside an open panel there is room for what is used most."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Show as much as there is room for. The place is never cut: it takes two lines, and buttons give way."""
        room_px = self.width() - 2 * _EDGE_PX - 2 * _SPACING_PX - self._place_px()[0] - _NARROW_PROGRESS_PX
        room_px -= sum(self._part_px(name) for name in ("step_back", "play", "step_on"))
        fits = True
        for names in PARTS_BY_USE:
            needed_px = sum(self._part_px(name) for name in names)
            # What is less used never takes the room of something more used that did not fit.
            fits = fits and needed_px <= room_px
            if fits:
                room_px -= needed_px
            for name in names:
                self._show_part(name, fits)
        self.place.setMinimumWidth(sum(self._place_px()[: 1 + self._one_line]))
        self.progress.setFixedWidth(min(_PROGRESS_PX, _NARROW_PROGRESS_PX + max(0, room_px)))

    def _place_px(self) -> tuple[int, int]:
        """Width of the widest place of this clip in two lines, and how much more it takes in one."""
        first, _, second = self._widest_place.partition(_GAP)
        metrics = self.place.fontMetrics()
        two_lines_px = max(metrics.horizontalAdvance(first), metrics.horizontalAdvance(second))
        return two_lines_px + 2, metrics.horizontalAdvance(self._widest_place) - two_lines_px  # advances are rounded

    def _part_px(self, name: str) -> int:
        if name == ONE_LINE:
            return self._place_px()[1]
        if name == "rate":
            return self.rate.width() + _SPACING_PX
        return theme.TOUCH_PX + 4 + _SPACING_PX

    def _show_part(self, name: str, shown: bool) -> None:
        if name == ONE_LINE:
            self._one_line = shown
        elif name == "rate":
            self.rate.setVisible(shown)
        else:
            self._buttons[name].setVisible(shown)

    # -- showing

    def show_snapshot(self, snapshot: ReviewSnapshot, bookmarks: Sequence[int]) -> None:
        """Follow the clip; costs little when nothing has changed."""
        frame, count = snapshot.frame, snapshot.count
        index = frame.key.index if frame is not None else 0
        stills = snapshot.source is not None and not snapshot.source.is_sequence
        if stills:
            name = self._shortened(frame.name) if frame is not None else ""
            said, widest = still_words(index, count, name), still_words(count - 1, count, _NAME_ROOM)
        else:
            said, widest = place_words(index, snapshot.times_s), place_words(count - 1, snapshot.times_s)
        if snapshot.message and frame is None:  # the clip could not be read: no place to speak of
            said = ""
        self._show_place(said, widest)
        self._show_playing(snapshot.playing)
        self._buttons["loop"].setChecked(snapshot.loop is not None)
        self._buttons["bookmark"].setChecked(index in bookmarks)
        self._buttons["maximum"].setEnabled(snapshot.maximum_index is not None)
        if self.rate.currentData() != snapshot.rate and snapshot.rate in RATES:
            self.rate.setCurrentIndex(RATES.index(snapshot.rate))
        self.progress.show_progress(snapshot.analysed, snapshot.count, snapshot.complete, snapshot.curve is not None)
        self.plot.show_curve(snapshot.curve, range(snapshot.count) if stills else snapshot.times_s, stills=stills)
        self.plot.show_marks(bookmarks, snapshot.loop)
        self.plot.show_playhead(index)

    def _show_place(self, said: str, widest: str) -> None:
        if widest != self._widest_place:
            self._widest_place = widest
            self._fit()
        if not self._one_line:
            said = said.replace(_GAP, "\n", 1)
        if said != self._shown_place:
            self._shown_place = said
            self.place.setText(said)

    def _shortened(self, name: str) -> str:
        """A picture's name in the room that there is for names."""
        metrics = self.place.fontMetrics()
        return metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, metrics.horizontalAdvance(_NAME_ROOM))

    def _show_playing(self, playing: bool) -> None:
        button = self._buttons["play"]
        if button.property("playing") != playing:
            button.setProperty("playing", playing)
            does = "Pause" if playing else "Play"
            button.setIcon(icon(does.lower()))
            button.setAccessibleName(does)


class _Progress(QWidget):
    """How far the analysis is; nothing once it is complete."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(150, 36)
        self.setAccessibleName("Analysis")
        self._done = self._all = 0
        self._words = ""

    def _fitting_words(self) -> str:
        """All of it, or the number alone."""
        if QFontMetrics(theme.font(theme.LABEL_PX)).horizontalAdvance(self._words) <= self.width():
            return self._words
        return self._words.rpartition("  ")[2]

    def show_progress(self, done: int, count: int, complete: bool, begun: bool) -> None:
        """``done`` of ``count`` frames; says nothing while there is no model."""
        said, percent = "", 0
        if count:
            percent = round(100 * done / count)
        if not complete and (done or begun):
            said = f"analysing  {percent} %"
        if said != self._words or (done, count) != (self._done, self._all):
            self._done, self._all, self._words = done, max(1, count), said
            self.setVisible(bool(said))
            self.setToolTip("Analysed whole" if complete else tip(said))
            self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        if not self._words:
            return
        painter = QPainter(self)
        painter.setFont(theme.font(theme.LABEL_PX))
        painter.setPen(QColor(theme.QUIET))
        painter.drawText(self.rect().adjusted(0, 2, 0, -12), Qt.AlignmentFlag.AlignRight, self._fitting_words())
        painter.fillRect(0, 26, self.width(), 4, QColor(theme.LINE))
        painter.fillRect(0, 26, round(self.width() * self._done / self._all), 4, QColor(theme.ACCENT))
        painter.end()


class _CurvePlot(pg.PlotWidget):  # type: ignore[misc]
    """The curve with its marks; click or drag to seek."""

    sought = Signal(int, bool)
    looped = Signal(int, int)

    def __init__(self) -> None:
        super().__init__(background=theme.SURFACE)
        self._loop_from: int | None = None
        self.setAccessibleName("Diameter over the clip")
        self.setToolTip("Click or drag to go to a frame; with Shift, drag over a range to loop it")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMouseTracking(False)
        self._times = np.zeros(0)
        self._stills = False
        self._curve: Curve | None = None
        self._marks: tuple[tuple[int, ...], tuple[int, int] | None] | None = None
        self._index = -1
        self._span = (0.0, 1.0)
        item = self.getPlotItem()
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setMouseEnabled(False, False)
        item.setContentsMargins(0, 2, 4, 0)
        self._dress(item)
        self._line = pg.PlotDataItem(pen=pg.mkPen(theme.CALIPER, width=1.5), connect="finite", antialias=True)
        self._refused = pg.ScatterPlotItem(size=5, pen=None, brush=theme.WARNING, symbol="x", pxMode=True)
        self._other = pg.ScatterPlotItem(size=4, pen=None, brush=theme.QUIET, symbol="o", pxMode=True)
        self._edited = pg.ScatterPlotItem(size=9, pen=pg.mkPen("w", width=1.5), brush=None, symbol="o", pxMode=True)
        self._largest = pg.ScatterPlotItem(size=11, pen=None, brush=theme.CALIPER, symbol="t", pxMode=True)
        self._bookmarks = pg.ScatterPlotItem(size=11, pen=None, brush=theme.ACCENT, symbol="s", pxMode=True)
        self._gaps = pg.BarGraphItem(x0=[], x1=[], y0=0, y1=0, pen=None, brush=QColor(theme.RAISED))
        self._loop = pg.LinearRegionItem(movable=False, brush=QColor(86, 180, 233, 46), pen=pg.mkPen(theme.ACCENT))
        self._head = pg.InfiniteLine(angle=90, pen=pg.mkPen(theme.TEXT, width=2))
        self._loop.hide()
        for each in (
            self._gaps, self._loop, self._line, self._refused, self._other, self._edited, self._largest,
            self._bookmarks, self._head,
        ):  # fmt: skip
            item.addItem(each, ignoreBounds=True)
        self._says = PlainLabel(parent=self)
        self._says.setFont(theme.font(theme.LABEL_PX - 1))
        self._says.setStyleSheet(f"color: {theme.QUIET}; background: {theme.SURFACE}; padding: 0 4px;")
        self._says.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.viewport().installEventFilter(self)

    def _dress(self, item: pg.PlotItem) -> None:
        for side in ("left", "bottom"):
            axis = item.getAxis(side)
            axis.setPen(pg.mkPen(theme.LINE))
            axis.setTextPen(pg.mkPen(theme.QUIET))
            axis.setStyle(tickFont=theme.font(theme.LABEL_PX - 1), tickLength=-4)
        item.getAxis("left").setWidth(36)
        item.getAxis("left").setStyle(maxTickLevel=0)
        item.getAxis("bottom").setHeight(18)
        item.getAxis("bottom").setStyle(showValues=True)
        item.getAxis("bottom").tickStrings = tick_words

    # -- showing

    def show_curve(self, curve: Curve | None, times_s: Sequence[float], *, stills: bool = False) -> bool:
        """Draw a curve; False when it is drawn already.

        ``stills`` are pictures of their own, each its own patient: points by number, which no line joins.
        """
        same = stills == self._stills and len(times_s) == len(self._times)
        if curve is self._curve and same:
            return False
        self._curve = curve
        if not same:
            self._set_axis(times_s, stills=stills)
        self._draw()
        return True

    def _set_axis(self, times_s: Sequence[float], *, stills: bool) -> None:
        """Take the places of the frames: seconds of a clip, numbers of pictures."""
        self._stills = stills
        axis = self.getPlotItem().getAxis("bottom")
        axis.tickStrings = tick_words
        if stills:
            axis.tickStrings = number_words
        self._times = np.asarray(times_s, dtype=np.float64)
        # What was drawn at the old places is drawn again.
        self._marks, self._index = None, -1
        end = 1.0
        if len(self._times) > 1:
            end = max(self._times[-1], 1e-3)
        self.getPlotItem().setXRange(0.0, end, padding=0.004)

    def _draw(self) -> None:
        curve, values = self._curve, np.full(len(self._times), np.nan)
        # A curve of more or fewer frames than the axis has places for would be drawn at wrong times.
        if curve is not None and len(curve.values) != len(self._times):
            curve = None
        if curve is not None:
            values = curve.values
        self._says.setText(curve_words(self._curve))
        self._place_words()
        self._span, self._marks = axis_span(values), None
        self.getPlotItem().setYRange(*self._span, padding=0)
        self.getPlotItem().getAxis("left").setStyle(showValues=bool(np.isfinite(values).any()))
        low, high = self._span
        # A line would pass a frame without neighbours by: it gets a dot.
        lone = np.isfinite(values) & (self._stills | ~_neighboured(np.isfinite(values)))
        # Pictures may be of different patients: no line joins them.
        self._line.setData(self._times, np.where(self._stills, np.nan, values))
        self._other.setData(self._times[lone], values[lone])
        if curve is None:
            self._clear_marks_of_curve()
        else:
            self._draw_marks_of_curve(curve, low, high)

    def _clear_marks_of_curve(self) -> None:
        for each in (self._refused, self._edited, self._largest):
            each.setData([], [])
        self._gaps.setOpts(x0=[], x1=[], y0=0, y1=0)

    def _draw_marks_of_curve(self, curve: Curve, low: float, high: float) -> None:
        """Frames that were refused, corrected, largest, or without the structure; ``low``, ``high``: the axis."""
        values = curve.values
        foot, head = low + _FOOT * (high - low), low + _HEAD * (high - low)
        # Refused frames have no value to stand at. They are shown: a gap would say that nothing was there.
        refused = curve.refused | curve.other
        self._refused.setData(self._times[refused], np.full(int(refused.sum()), foot))
        edited = curve.edited
        self._edited.setData(self._times[edited], np.where(np.isfinite(values[edited]), values[edited], foot))
        starts, ends = gaps_of(curve, self._times)
        self._gaps.setOpts(x0=starts, x1=ends, y0=np.full(len(starts), low), y1=np.full(len(starts), high))
        self._largest.setData([], [])
        if curve.summary is None or not curve.is_quotable:
            return
        top = curve.summary.maximum_key.index
        if top < len(values) and np.isfinite(values[top]):
            # A little above the curve, which it would hide.
            self._largest.setData([self._times[top]], [min(head, values[top] + 0.1 * (high - low))])

    def show_marks(self, bookmarks: Sequence[int], loop: tuple[int, int] | None) -> None:
        """Bookmarks and the range that is looped."""
        marks = (tuple(bookmarks), loop)
        if marks == self._marks or not len(self._times):
            return
        self._marks = marks
        low, high = self._span
        known = [index for index in bookmarks if index < len(self._times)]
        self._bookmarks.setData(self._times[known], np.full(len(known), low + _BOOKMARK * (high - low)))
        self._loop.setVisible(loop is not None)
        if loop is not None:
            self._loop.setRegion((self._times[loop[0]], self._times[min(loop[1], len(self._times) - 1)]))

    def show_playhead(self, index: int) -> None:
        """Where the picture is."""
        if index != self._index and 0 <= index < len(self._times):
            self._index = index
            self._head.setValue(self._times[index])

    # -- the hand

    def frame_at(self, x_px: float) -> int:
        """The frame under a place of the plot."""
        if not len(self._times):
            return 0
        at_s = self.getPlotItem().vb.mapSceneToView(QPointF(x_px, 0)).x()
        return int(np.abs(self._times - at_s).argmin())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kinds = (QEvent.Type.MouseButtonPress, QEvent.Type.MouseMove, QEvent.Type.MouseButtonRelease)
        if watched is not self.viewport() or event.type() not in kinds or not isinstance(event, QMouseEvent):
            return False
        held = event.buttons() | event.button()
        if held & Qt.MouseButton.LeftButton and len(self._times):
            self._follow_hand(event)
        return True

    def _follow_hand(self, event: QMouseEvent) -> None:
        """Dragging seeks; with Shift it chooses the range to loop."""
        index, kind = self.frame_at(event.position().x()), event.type()
        if kind is QEvent.Type.MouseButtonPress and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._loop_from = index
        elif self._loop_from is None:
            self.sought.emit(index, kind is QEvent.Type.MouseButtonRelease)
        elif index != self._loop_from:
            self.looped.emit(min(index, self._loop_from), max(index, self._loop_from))
        if kind is QEvent.Type.MouseButtonRelease:
            self._loop_from = None

    def _place_words(self) -> None:
        self._says.adjustSize()
        self._says.move(self.width() - self._says.width() - 12, 2)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if hasattr(self, "_says"):  # Qt may tell of a size before the label is made
            self._place_words()

    def wheelEvent(self, event: QEvent) -> None:
        event.ignore()


def curve_words(curve: Curve | None) -> str:
    """What the curve shows: quantity, convention, plane and unit."""
    if curve is None or not curve.name:
        return ""
    said = words.title(curve.name)
    if "²" not in curve.unit:  # an area has no walls that a caliper is set on
        said += f" {words.convention(curve.edge)}"
    return f"{said}{words.plane_words(curve.plane)} · {curve.unit}"


def tick_words(values: Sequence[float], _scale: float, spacing: float) -> list[str]:
    """Times on the axis; with tenths only where the ticks are that near."""
    times = [clock(max(0.0, value)) for value in values]
    if spacing < 1:
        return times
    return [time.partition(".")[0] for time in times]


def number_words(values: Sequence[float], _scale: float, _spacing: float) -> list[str]:
    """Numbers of pictures on the axis, counted from 0 as in every table."""
    return [_number_word(value) for value in values]


def _number_word(value: float) -> str:
    # pyqtgraph puts ticks between whole numbers too, and left of 0.
    if abs(value - round(value)) < 1e-6 and value > -0.5:
        return str(round(value))
    return ""


def axis_span(values: np.ndarray) -> tuple[float, float]:
    """Least and greatest value of the axis for ``values``, float64 of shape (frames,), NaN where there is none.

    A little more than the values span, and not too little about a steady one.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    room = max(0.12 * (high - low), (MIN_SPAN_SHARE * high - (high - low)) / 2, 1e-6)
    return max(0.0, low - room), high + 1.6 * room


def gaps_of(curve: Curve, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stretches that were analysed and where nothing was seen: their starts and ends, float64 of shape (n,), seconds.

    ``times_s`` has one time per frame, float64 of shape (frames,).
    """
    nothing = curve.analysed & ~np.isfinite(curve.values) & ~curve.refused & ~curve.other
    edges = np.diff(np.concatenate([[False], nothing, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    half = 0.5
    if len(times_s) > 1:  # a median: one long pause between frames must not widen every gap
        half *= float(np.median(np.diff(times_s)))
    return times_s[starts] - half, times_s[ends - 1] + half


def _neighboured(known: np.ndarray) -> np.ndarray:
    """Frames whose neighbour is known too: the line shows them. Boolean of shape (frames,), as ``known``."""
    padded = np.concatenate([[False], known, [False]])
    return np.asarray(padded[:-2] | padded[2:])
