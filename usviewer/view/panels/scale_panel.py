"""Where the millimetres come from; where there are none, how to get them."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QVBoxLayout

from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.units import Spacing
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.notify import Notify
from usviewer.view.panels import PanelBase
from usviewer.view.widgets import button, words

_HOW = (
    "A DICOM file brings its own scale. For a captured screen, mark two points a known distance apart on the picture: "
    "the whole length of the depth ruler at its edge is best. The scale holds for this source at this depth and zoom; "
    "after a change of depth give it again."
)


class ScalePanel(PanelBase):
    """The scale of the picture on the screen, and the user's own."""

    title = "Scale"

    def __init__(self, app_state: AppState, notify: Notify, two_points: Callable[[], None] | None) -> None:
        super().__init__()
        self._app_state, self._notify = app_state, notify
        self.value = words(size_px=28, bold=True)
        self._source = words()
        self._source.setProperty("role", "quiet")
        self._how = words(_HOW, quiet=True)
        self.typed = QLineEdit()
        self.typed.setPlaceholderText("mm per pixel, for example 0.213")
        self.typed.setAccessibleName("Millimetres per pixel")
        self.typed.setToolTip("The size of a pixel in mm; 0.21x0.25 where pixels are not square: x, then y")
        self.typed.returnPressed.connect(self.use_typed)
        use = button("Use", "Use this scale for the source that is open", self.use_typed)
        mark = button(
            "Mark two points on the picture", "Two points a known distance apart (K)", two_points or (lambda: None)
        )
        mark.setEnabled(two_points is not None)
        mark.setProperty("role", "primary")
        self.take_back = button("Take my scale back", "Forget the scale that you gave", lambda: self._set(None))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(12)
        column.addWidget(self.value)
        column.addWidget(self._source)
        column.addWidget(_rule())
        column.addWidget(self._how)
        column.addWidget(mark)
        row = QHBoxLayout()
        row.addWidget(self.typed, 1)
        row.addWidget(use)
        column.addLayout(row)
        column.addWidget(self.take_back)
        column.addStretch(1)
        app_state.shown_changed.connect(self._show)
        app_state.scale_changed.connect(self._show)

    def opened(self) -> None:
        self._show()

    def use_typed(self) -> None:
        """Take what was typed."""
        from usviewer.calibrate.calibration import spacing_from_text

        try:
            self._set(spacing_from_text(self.typed.text().strip()))
        except UserError as error:
            self._notify.report(error, key="scale")

    def _set(self, spacing: Spacing | None) -> None:
        try:
            self._app_state.set_user_spacing(spacing)
        except UserError as error:
            self._notify.report(error, key="scale")
        else:
            self._notify.withdraw("scale")

    def _show(self) -> None:
        if not self.isVisible():  # told with every picture, and a closed panel costs nothing
            return
        value, source, good = scale_words(self._app_state.on_screen.frame)
        self.value.setText(value)
        self._source.setText(source)
        self._source.setProperty("role", "quiet" if good else "warning")
        self._source.style().polish(self._source)  # Qt looks at a property again only when told to
        self.take_back.setEnabled(self._app_state.user_spacing() is not None)


def scale_words(frame: Frame | None) -> tuple[str, str, bool]:
    """The scale of a picture, where it comes from, and whether there is one."""
    if frame is None:
        return "No picture", "Open a source first", False
    geometry = frame.geometry
    if geometry is None:
        return "No scale", "No scale: lengths are in pixels", False
    spacings = {region.spacing for region in geometry.regions if region.spacing}
    if not spacings:
        return "No scale", geometry.no_scale_reason, False
    if len(spacings) > 1:  # which of them holds depends on where one measures
        return "Several scales", "The parts of this picture have scales of their own", True
    spacing = spacings.pop()
    value, _, source = spacing.describe().partition(", ")
    return value, " · ".join(part for part in (f"From: {source}", spacing.detail) if part), True


def _rule() -> QFrame:
    rule = QFrame()
    rule.setFixedHeight(1)
    rule.setStyleSheet(f"background: {theme.LINE};")
    return rule
