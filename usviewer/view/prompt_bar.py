"""The strip below the picture while pointing: what is done, the structure's name, and what can be done with it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QFrame, QLineEdit, QProgressBar, QPushButton, QVBoxLayout

from usviewer.pipeline.prompt_messages import PromptState
from usviewer.view import theme
from usviewer.view.widgets import Flow, button, words

HOW = "Click on a structure. Right click: not this. Drag: a box round it."
AND_NOW = "Another click adds, a right click takes away; undo takes the last one back."
LABELS = ("structure", "cyst", "lesion", "lymph node", "vessel", "organ")
# Shorter work is over before it is read.
WORTH_SAYING_S = 0.5


class PromptBar(QFrame):
    """Built once; ``show_state`` is called at the display's rate and touches only what has changed."""

    pressed = Signal(str)  # the name of a button: new, next, undo, brush, clear, back, both, on, stop, done
    named = Signal(str)  # what the structure is called

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("timeline")  # the same ground as the strip below
        self.setAccessibleName("Pointing")
        self._says = words(HOW, bold=True)
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
        said = text or said or (AND_NOW if can["brush"] else HOW)
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
        if self._line().isModified():  # a focus that only passes through names nothing
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
    if state.encoding_s is None or state.encoding_s < WORTH_SAYING_S:
        return "", None
    if state.encoder_s is None:
        return f"Looking at the picture: {state.encoding_s:.0f} s", None
    share = min(0.99, state.encoding_s / max(1e-3, state.encoder_s))
    return f"Looking at the picture: {state.encoding_s:.0f} s of about {state.encoder_s:.0f} s", share
