"""What the user sets for good: how the overlay is drawn, and every key.

A foot pedal that types a key is set up here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QKeySequenceEdit,
    QRadioButton,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from usviewer.overlay.scene import MaskStyle
from usviewer.view import theme
from usviewer.view.actions import ACTIONS, GROUPS, Action, clash
from usviewer.view.app_state import AppState
from usviewer.view.notify import Notify
from usviewer.view.panels import PanelBase
from usviewer.view.widgets import PlainLabel, button, words

_NAMES = {MaskStyle.OUTLINE: "Outline", MaskStyle.FILL: "Outline and fill", MaskStyle.NONE: "Nothing"}


class OverlayPanel(PanelBase):
    """Outline, fill or nothing; the strength of the fill."""

    title = "Overlay"

    def __init__(self, app_state: AppState) -> None:
        super().__init__()
        self._app_state = app_state
        self.choices: dict[MaskStyle, QRadioButton] = {}
        group = QButtonGroup(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(theme.GRID_PX)
        column.addWidget(words("The outlined area is shown as", quiet=True))
        for style, name in _NAMES.items():
            choice = QRadioButton(name)
            choice.setMinimumHeight(theme.TOUCH_PX)
            choice.setToolTip(f"Show the outlined area as: {name.lower()} (T changes)")
            choice.setAccessibleName(name)
            choice.clicked.connect(lambda _=False, style=style: app_state.set_setting("mask", str(style)))
            group.addButton(choice)
            column.addWidget(choice)
            self.choices[style] = choice
        self.strength = QSlider(Qt.Orientation.Horizontal)
        self.strength.setRange(5, 80)
        self.strength.setMinimumHeight(theme.TOUCH_PX)
        self.strength.setAccessibleName("Strength of the fill")
        self.strength.setToolTip("How strongly the area is filled")
        self.strength.sliderReleased.connect(self._set_strength)
        column.addSpacing(8)
        column.addWidget(words("Strength of the fill", quiet=True))
        column.addWidget(self.strength)
        column.addWidget(words("Hold H to see the untouched picture.", quiet=True))
        column.addStretch(1)
        app_state.style_changed.connect(self._show)

    def opened(self) -> None:
        self._show()

    def _set_strength(self) -> None:
        self._app_state.set_setting("mask_opacity", self.strength.value() / 100)

    def _show(self) -> None:
        style = self._app_state.style
        mask = style.mask
        if style.hidden:  # only while a key is held
            mask = MaskStyle.OUTLINE
        self.choices[mask].setChecked(True)
        self.strength.setValue(round(self._app_state.settings.mask_opacity * 100))
        self.strength.setEnabled(style.mask is MaskStyle.FILL)


class _KeyEdit(QKeySequenceEdit):
    """One key; Backspace takes it away."""

    def __init__(self, key: str) -> None:
        super().__init__(QKeySequence(key))
        self.setMaximumSequenceLength(1)  # a pedal sends one key
        self.setClearButtonEnabled(False)
        self.setFixedWidth(132)


class KeysPanel(PanelBase):
    """The key map, by group; each key is a field that takes the next key pressed."""

    title = "Keys"

    def __init__(
        self,
        app_state: AppState,
        notify: Notify,
        actions: Callable[[], Mapping[str, Action]],
        rebuild: Callable[[], None],
    ) -> None:
        super().__init__()
        self._app_state, self._notify, self._actions, self._rebuild = app_state, notify, actions, rebuild
        self.fields: dict[str, _KeyEdit] = {}
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(self._sheet())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.GRID_PX)
        column.addWidget(words("Click a key and press another to change it. A foot pedal counts as a key.", quiet=True))
        column.addWidget(area, 1)
        column.addWidget(button("Usual keys again", "Forget all changed keys", self.reset))

    def _sheet(self) -> QWidget:
        sheet = QWidget()
        grid = QGridLayout(sheet)
        grid.setContentsMargins(0, 0, 12, 0)
        grid.setColumnStretch(0, 1)
        group = ""
        for action in sorted(self._actions().values(), key=lambda each: GROUPS.index(each.group)):
            if action.group != group:
                group = action.group
                title = PlainLabel(group)
                title.setFont(theme.font(theme.TEXT_PX, bold=True))
                grid.addWidget(title, grid.rowCount(), 0, 1, 2)
            row = grid.rowCount()
            name = words(action.text, quiet=True)
            name.setToolTip(action.tooltip)
            field = _KeyEdit(action.key)
            field.setAccessibleName(f"Key of: {action.text}")
            field.setToolTip(f"{action.tooltip}. Press the new key")
            field.editingFinished.connect(lambda name=action.id: self._changed(name))
            grid.addWidget(name, row, 0)
            grid.addWidget(field, row, 1)
            self.fields[action.id] = field
        return sheet

    def _changed(self, name: str) -> None:
        key = self.fields[name].keySequence().toString()
        actions = self._actions()
        if key == actions[name].key:
            return
        other = clash(actions, name, key)
        if other is not None:
            self._notify.warn(f"{key} is already the key of '{other.text}': change that one first.", key="keys")
            self.fields[name].setKeySequence(QKeySequence(actions[name].key))
            return
        keys = {**self._app_state.settings.keys, name: key}
        # Only what differs from the usual is kept: a key that a later version changes then changes here too.
        self._keep({each: value for each, value in keys.items() if each in ACTIONS and value != ACTIONS[each].key})

    def reset(self) -> None:
        """The usual keys."""
        self._keep({})
        for name, field in self.fields.items():
            field.setKeySequence(QKeySequence(ACTIONS[name].key))

    def _keep(self, keys: dict[str, str]) -> None:
        self._app_state.set_setting("keys", keys)
        self._rebuild()
