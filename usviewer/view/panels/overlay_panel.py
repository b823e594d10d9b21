"""How the overlay is drawn."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QButtonGroup, QRadioButton, QSlider, QVBoxLayout

from usviewer.overlay.scene import MaskStyle
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.panels.side_panel import PanelBase
from usviewer.view.widgets import words

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
