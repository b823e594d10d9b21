"""Pointing: what was pointed at on the open source, the strip below the picture, and the hand that points.

Pointing, tracking and the presenter share the session; it also holds the worker that outlines.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPen, QTransform
from PySide6.QtWidgets import QComboBox, QFrame, QLineEdit, QProgressBar, QPushButton, QVBoxLayout

from usviewer.infer.prompt import Prompt
from usviewer.infer.prompt.prompt_model import PromptModel
from usviewer.overlay import palette
from usviewer.pipeline.annotations import AnnotationLayer, ClipAccess
from usviewer.pipeline.curve import Curve
from usviewer.pipeline.prompt_messages import LiveOutline, PromptState
from usviewer.pipeline.prompt_run import Prompting, load_prompt_model
from usviewer.units import Box, Point
from usviewer.view import theme
from usviewer.view.tools import distance_px
from usviewer.view.widgets import Flow, button, words

_HOW = "Click on a structure. Right click: not this. Drag: a box round it."
_AND_NOW = "Another click adds, a right click takes away; undo takes the last one back."
LABELS = ("structure", "cyst", "lesion", "lymph node", "vessel", "organ")
# Shorter work is over before it is read.
_WORTH_SAYING_S = 0.5
_DOT_PX = 6.0  # on the screen, whatever the zoom
# A hand that moves less than this part of its reach has clicked.
_STILL = 0.35


class PromptSession:
    """The annotations of one source. ``clip`` is None while its scale is not known, and for a live source."""

    def __init__(self, load: Callable[[], PromptModel] = load_prompt_model) -> None:
        self._load = load
        self._worker: Prompting | None = None
        self._layer = AnnotationLayer()
        self._clip: ClipAccess | None = None
        self._shown: LiveOutline | None = None

    @property
    def layer(self) -> AnnotationLayer:
        """All structures of the source, with undo."""
        return self._layer

    @property
    def clip(self) -> ClipAccess | None:
        """How the frames of the clip under review are got at."""
        return self._clip

    def set_clip(self, clip: ClipAccess | None) -> None:
        """The clip can be read with its scale; None: its scale is being looked for."""
        self._clip = clip

    def forget(self) -> None:
        """Another source is open: nothing was pointed at on it."""
        self._layer, self._clip, self._shown = AnnotationLayer(), None, None
        # The worker stays, with its models loaded; only following ends.
        if self._worker is not None:
            self._worker.cancel()
            self.rest()

    def curve(self) -> Curve | None:
        """The structure that is worked on over the clip; None where there is no clip or no outline."""
        if self._clip is None:
            return None
        return self._layer.curve(self._clip.count)

    # -- the worker

    @property
    def worker(self) -> Prompting | None:
        """Who runs the prompt model; None before pointing was first turned on, or where there is no model."""
        return self._worker

    def start(self) -> bool:
        """Start the worker; False where it runs already."""
        if self._worker is not None:
            return False
        self._worker = Prompting(self._load)
        self._worker.start()
        return True

    def rest(self) -> None:
        """Look at no picture and track nothing live; the worker stays."""
        if self._worker is not None:
            self._worker.end_live()
            self._worker.show(None)

    def stop(self) -> bool:
        """End the worker; False when it did not end in time."""
        worker, self._worker = self._worker, None
        return worker is None or worker.stop()

    # -- the picture that runs

    def live_outline(self) -> LiveOutline | None:
        """The newest live frame with its outline; None while nothing is tracked live."""
        if self._worker is None:
            return None
        return self._worker.live_outline()

    def note_shown(self, outline: LiveOutline) -> None:
        """This outline is on the screen: it stays with its picture when that is held."""
        self._shown = outline

    def take_shown(self) -> LiveOutline | None:
        """The outline that was on the screen last, once."""
        shown, self._shown = self._shown, None
        return shown


class PromptBar(QFrame):
    """The strip below the picture: what is done, the structure's name, and what can be done with it.

    Built once; ``show_state`` is called at the display's rate and touches only what has changed.
    """

    pressed = Signal(str)  # the name of a button: new, next, undo, brush, clear, back, both, on, stop, done
    named = Signal(str)  # what the structure is called

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("timeline")  # the same ground as the strip below
        self.setAccessibleName("Pointing")
        self._says = words(_HOW, bold=True)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        kept = self.progress.sizePolicy()
        kept.setRetainSizeWhenHidden(True)  # what lies below does not jump
        self.progress.setSizePolicy(kept)
        self.progress.setAccessibleName("Progress")
        self.progress.setToolTip("How far it is")
        self.label = QComboBox()
        self.label.setEditable(True)
        self.label.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.label.setMinimumHeight(theme.TOUCH_PX)
        self.label.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.label.setMinimumWidth(112)
        self.label.setMaximumWidth(240)
        self.label.setAccessibleName("Name of the structure")
        self.label.setToolTip("What this structure is called: it is measured as what it is")
        self.suggest(())
        self.label.activated.connect(lambda _: self._named())
        self._line().editingFinished.connect(self._typed)
        self._make_buttons()
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 6, 12, 8)
        column.setSpacing(4)
        column.addWidget(self._says)
        column.addWidget(self.progress)
        column.addLayout(Flow((self.label,), self._row, gap_px=6))
        self.setMinimumWidth(theme.PICTURE_LEAST_PX)
        self.hide()

    def _make_buttons(self) -> None:
        def made(text: str, tooltip: str, name: str) -> QPushButton:
            return button(text, tooltip, lambda: self.pressed.emit(name))

        self.new = made("New", "What is clicked on next is another structure (N)", "new")
        self.next = made("1 of 2", "Work on the next structure (Shift+N)", "next")
        self.undo = made("Undo", "Take the last step back (Ctrl+Z)", "undo")
        self.brush = made("Correct", "Reshape or paint the outline (X)", "brush")
        self.clear = made("Clear", "Take what was pointed at on this picture away", "clear")
        self.back = made("◀", "Follow to the start (Shift+F)", "back")
        self.both = made("◀ ▶", "Follow both ways (Ctrl+F)", "both")
        self.on = made("▶", "Follow to the end of the clip (F)", "on")
        self.stop = made("Stop", "Stop following; what was followed so far stays", "stop")
        self.done = made("Done", "Pointing off (P)", "done")
        for each, name in ((self.back, "Follow backwards"), (self.both, "Follow both ways"), (self.on, "Follow on")):
            each.setAccessibleName(name)
        self._row = (
            self.new, self.next, self.undo, self.brush, self.clear, self.back, self.both, self.on, self.stop, self.done,
        )  # fmt: skip
        for each in self._row:
            each.setStyleSheet("padding-left: 9px; padding-right: 9px;")

    def suggest(self, labels: tuple[str, ...]) -> None:
        """Names to choose from, beside what is typed."""
        now = self._line().text()
        self.label.blockSignals(True)
        self.label.clear()
        self.label.addItems(list(dict.fromkeys((*LABELS[:1], *labels, *LABELS[1:]))))
        self.label.setEditText(now or LABELS[0])
        self.label.blockSignals(False)

    @property
    def says(self) -> str:
        """What the strip says now."""
        return self._says.text()

    def show_state(self, state: PromptState | None, *, said: str, place: tuple[int, int], can: dict[str, bool]) -> None:
        """``said`` about what was outlined; ``place`` is which structure of how many; ``can`` greys the buttons."""
        text, share = _progress_of(state)
        said = text or said or (_AND_NOW if can["brush"] else _HOW)
        if self._says.text() != said:
            self._says.setText(said)
        if self.progress.isHidden() == bool(text):
            self.progress.setVisible(bool(text))
        wanted = (0, 1000)
        if share is None and text:  # Qt shows an empty range as work of unknown length
            wanted = (0, 0)
        if (self.progress.minimum(), self.progress.maximum()) != wanted:
            self.progress.setRange(*wanted)
        if share is not None or not text:
            self.progress.setValue(round(1000 * (share or 0.0)))
        for name, possible in can.items():
            widget = getattr(self, name, None)
            if widget is not None and widget.isEnabled() != possible:
                widget.setEnabled(possible)
        following = state is not None and state.followed is not None
        for widget, shown in (
            (self.stop, following),
            *((each, can["follows"] and not following) for each in (self.back, self.both, self.on)),
            (self.next, place[1] > 1),
        ):
            if widget.isHidden() == shown:
                widget.setVisible(shown)
        if self.next.text() != f"{place[0]} of {place[1]}":
            self.next.setText(f"{place[0]} of {place[1]}")

    def show_label(self, label: str) -> None:
        """The name of the structure in hand, unless it is being typed."""
        line = self._line()
        if not (line.hasFocus() and line.isModified()) and line.text() != label:
            self.label.setEditText(label)

    def _typed(self) -> None:
        if self._line().isModified():  # a focus that only passes through gives no name
            self._line().setModified(False)
            self._named()

    def _named(self) -> None:
        self.named.emit(self.label.currentText())

    def _line(self) -> QLineEdit:
        line = self.label.lineEdit()
        assert line is not None
        return line


def _progress_of(state: PromptState | None) -> tuple[str, float | None]:
    """What is being done and how much of it is done; None where that is not known."""
    if state is None:
        return "", None
    if state.loading:
        return "The model is loading", None
    if state.followed is not None:
        done, total = state.followed
        return f"Following: {done} of {total} frames", done / max(1, total)
    if state.encoding_s is None or state.encoding_s < _WORTH_SAYING_S:
        return "", None
    if state.encoder_s is None:
        return f"Looking at the picture: {state.encoding_s:.0f} s", None
    share = min(0.99, state.encoding_s / max(1e-3, state.encoder_s))
    return f"Looking at the picture: {state.encoding_s:.0f} s of about {state.encoder_s:.0f} s", share


class PointingTool:
    """The hand that points. A click is on the structure, a right click is not, a drag is a box round it.

    Tells what was pointed at, in image pixels; paints the clicks and the box of the structure in hand.
    """

    def __init__(
        self,
        point: Callable[[Point, bool], None],
        box: Callable[[Box], None],
        undo: Callable[[], bool],
        prompt: Callable[[], Prompt | None],
    ) -> None:
        self._point, self._box, self._undo, self._prompt = point, box, undo, prompt
        self._from: Point | None = None
        self._to: Point | None = None
        self._still_px = 0.0

    def press(self, at_xy_px: Point, button: Qt.MouseButton, reach_px: float) -> bool:
        if button is Qt.MouseButton.RightButton:
            self._from = None
            self._point(at_xy_px, False)
            return True
        if button is not Qt.MouseButton.LeftButton:
            return False
        # The reach is a fingertip on the screen: what is a drag does not depend on the zoom.
        self._from, self._to, self._still_px = at_xy_px, None, _STILL * reach_px
        return True

    def move(self, at_xy_px: Point) -> bool:
        if self._from is None:
            return False
        if self._to is not None or distance_px(self._from, at_xy_px) > self._still_px:
            self._to = at_xy_px
        return True

    def release(self, at_xy_px: Point, button: Qt.MouseButton) -> bool:
        start, self._from = self._from, None
        if start is None or button is not Qt.MouseButton.LeftButton:
            return False
        dragged = self._to is not None or distance_px(start, at_xy_px) > self._still_px
        self._to = None
        # A box without width or height holds nothing, and it was not a click either.
        if dragged and start[0] != at_xy_px[0] and start[1] != at_xy_px[1]:
            self._box((*start, *at_xy_px))
        elif not dragged:
            self._point(start, True)
        return True

    def key(self, key: int) -> bool:
        return False

    def undo(self) -> bool:
        """Take the last step back."""
        return self._undo()

    def paint(self, painter: QPainter, to_screen: QTransform) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._from is not None and self._to is not None:
            _paint_box(painter, to_screen, (*self._from, *self._to))
        prompt = self._prompt()
        if prompt is None:
            return
        if prompt.box_xyxy_px is not None:
            _paint_box(painter, to_screen, prompt.box_xyxy_px)
        for point, positive in zip(prompt.points_xy_px, prompt.positive, strict=True):
            _paint_click(painter, to_screen.map(QPointF(*point)), positive)


def _paint_box(painter: QPainter, to_screen: QTransform, box: Box) -> None:
    first, last = to_screen.map(QPointF(box[0], box[1])), to_screen.map(QPointF(box[2], box[3]))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for colour, width in ((QColor(*palette.HALO), 3.0), (QColor(*palette.MANUAL), 1.2)):
        painter.setPen(QPen(colour, width, Qt.PenStyle.DotLine))
        painter.drawRect(QRectF(first, last).normalized())


def _paint_click(painter: QPainter, at: QPointF, positive: bool) -> None:
    """A plus or a minus in a disc: told apart by their shape, not by the colour alone."""
    painter.setPen(QPen(QColor(*palette.HALO), 1.5))
    painter.setBrush(QColor(theme.GOOD if positive else theme.ERROR))
    painter.drawEllipse(at, _DOT_PX, _DOT_PX)
    painter.setPen(QPen(QColor(theme.TEXT), 1.8))
    arm = _DOT_PX - 2.5
    painter.drawLine(at - QPointF(arm, 0), at + QPointF(arm, 0))
    if positive:
        painter.drawLine(at - QPointF(0, arm), at + QPointF(0, arm))
