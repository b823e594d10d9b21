"""Every key, and how to change it: a foot pedal that types a key is set up here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QGridLayout, QKeySequenceEdit, QScrollArea, QVBoxLayout, QWidget

from usviewer.view import theme
from usviewer.view.actions import ACTIONS, GROUPS, Action, clash
from usviewer.view.app_state import AppState
from usviewer.view.notify import Notify
from usviewer.view.panels.side_panel import PanelBase
from usviewer.view.widgets import PlainLabel, button, words


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
