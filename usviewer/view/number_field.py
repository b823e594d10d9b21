"""A field for a length in mm: what is typed means the same on every computer, and what cannot be understood stays."""

from __future__ import annotations

from PySide6.QtWidgets import QLineEdit

from usviewer.typed_number import LENGTH_IN_MM, parse_number, plain_number
from usviewer.view import theme


class LengthField(QLineEdit):
    """Shows ``52.5 mm``, takes ``52,5`` and ``5.25 cm`` as well (``typed_number``).

    Qt's own fields for numbers read a point or a comma by the language of the computer, and drop what does not fit it.
    """

    def __init__(self, value_mm: float, least_mm: float, most_mm: float, name: str) -> None:
        super().__init__()
        self._least_mm, self._most_mm = least_mm, most_mm
        self.setMinimumHeight(theme.TOUCH_PX)
        self.setAccessibleName(name)
        self.setToolTip(name)
        self.setValue(value_mm)

    def value(self) -> float:
        """The length in mm; ``UserError`` with the reason where what was typed is none."""
        return parse_number(self.text(), least=self._least_mm, most=self._most_mm, units=LENGTH_IN_MM)

    def setValue(self, value_mm: float) -> None:
        """Show a length, with a point."""
        self.setText(f"{plain_number(value_mm)} mm")
