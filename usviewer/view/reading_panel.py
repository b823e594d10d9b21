"""The column beside the picture: the answer in figures that are read from two metres, and the large buttons."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QSizePolicy, QVBoxLayout, QWidget

from usviewer.measure.findings import StatusMark
from usviewer.overlay.text import DASH, ReadingText
from usviewer.view import theme
from usviewer.view.trend_view import TrendView
from usviewer.view.widgets import PlainLabel

_QUALITY_COLOUR = {"good": theme.GOOD, "fair": theme.WARNING, "poor": theme.ERROR}
_MAX_PAIRS = 10
# What is too long for a line with its value.
_SHORT = ("INTERGROWTH-21st", "IG-21st")
BARS = 5
_GOOD_FROM, _FAIR_FROM = 0.6, 0.35
# Height of the number's line over the size of its letters; and the share of them that it may give up.
_LEADING, _MOST_GIVEN = 1.06, 0.45


class _BigNumber(QWidget):
    """The number, as large as its place allows, with a smaller unit on the same baseline."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._number, self._unit = DASH, ""
        self._given_px = 0

    @property
    def given_px(self) -> int:
        """How much of its height it has given up."""
        return self._given_px

    def give(self, height_px: int) -> None:
        """Give up some height in a low window; the number stays the largest thing."""
        given_px = max(0, min(height_px, round(_MOST_GIVEN * theme.HUGE_PX)))
        if given_px != self._given_px:
            self._given_px = given_px
            self.updateGeometry()
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(240, round(self._size_px() * _LEADING))

    def set_value(self, number: str, unit: str) -> None:
        if (number, unit) != (self._number, self._unit):
            self._number, self._unit = number, unit
            self.setAccessibleName(f"Measured value {number} {unit}")
            self.update()

    def _size_px(self) -> int:
        return round(theme.HUGE_PX * max(1.0, self.width() / (theme.RAIL_WIDTH_PX - 32)) - self._given_px / _LEADING)

    def resizeEvent(self, event: object) -> None:
        self.updateGeometry()

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
        size = self._size_px()
        unit_font = theme.font(round(size * 0.32), bold=True)
        unit_width = QFontMetricsF(unit_font).horizontalAdvance(self._unit)
        while size > 24 and QFontMetricsF(theme.font(size, bold=True)).horizontalAdvance(self._number) > (
            self.width() - unit_width - 10
        ):
            size -= 2
        number_font = theme.font(size, bold=True)
        baseline = self.height() - 0.14 * self._size_px()
        if self._number == DASH:  # a quiet stroke: the letter itself is a block at this size
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(theme.QUIET))
            painter.drawRoundedRect(QRectF(2, baseline - 0.36 * size, 0.4 * size, 0.055 * size), 2, 2)
            painter.end()
            return
        painter.setFont(number_font)
        painter.setPen(QColor(theme.TEXT))
        painter.drawText(QPointF(-0.04 * size, baseline), self._number)
        painter.setFont(unit_font)
        painter.setPen(QColor(theme.QUIET))
        advance = QFontMetricsF(number_font).horizontalAdvance(self._number)
        painter.drawText(QPointF(advance + 0.06 * size, baseline), self._unit)
        painter.end()


class _QualityBars(QWidget):
    """Quality in bars and in a word."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scale = 1.0
        self._quality: float | None = None
        self.set_scale(1.0)

    def set_scale(self, scale: float) -> None:
        self._scale = scale
        self.setFixedHeight(round(22 * scale))

    def set_quality(self, quality: float | None) -> None:
        if quality is None:
            shown = None
        else:
            shown = round(quality, 2)
        if shown != self._quality:
            self._quality = shown
            if shown is None:
                words = "unknown"
            else:
                words = quality_words(shown)
            self.setAccessibleName(f"Quality {words}")
            self.setToolTip(
                "" if shown is None else f"Quality {shown:.2f} of 1: model score, fit, shape, distance from the edge"
            )
            self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        if self._quality is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        scale = self._scale
        word = quality_words(self._quality)
        for bar in range(BARS):
            filled = bar < quality_bars(self._quality)
            painter.setBrush(QColor(_QUALITY_COLOUR[word] if filled else theme.LINE))
            painter.drawRoundedRect(QRectF(bar * 14 * scale, 4 * scale, 10 * scale, 14 * scale), 2, 2)
        painter.setFont(theme.font(round(theme.TEXT_PX * scale)))
        painter.setPen(QColor(theme.TEXT))
        left = (BARS * 14 + 8) * scale
        place = QRectF(left, 0, self.width() - left, self.height())
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, f"{word} quality")
        painter.end()


class ReadingPanel(QFrame):
    """Shows an ``ReadingText``; the trend and the buttons stand below it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("rail")
        self.setAccessibleName("Readings")
        self._answer: ReadingText | None = None
        self._trend_wanted = self._trend_fits = True
        self._heading = _label(theme.TEXT_PX + 1, bold=True)
        self._basis = _label(theme.TEXT_PX, role="quiet")
        self._number = _BigNumber()
        self._interval = _label(theme.TEXT_PX + 1)
        self._convention = _label(theme.TEXT_PX, role="quiet")
        self._quality = _QualityBars()
        self._reason = _label(theme.TEXT_PX + 1, role="warning")
        self._warnings = _label(theme.TEXT_PX, role="warning")
        self._reference = _label(theme.LABEL_PX)
        self._checks = _label(theme.TEXT_PX, role="quiet")
        self._scale = _label(theme.LABEL_PX, role="quiet")
        self._pairs = _Pairs()
        self._marks = _Marks()
        self.trend = TrendView()
        self._feet = QWidget()
        self._feet.setObjectName("feet")
        self.buttons = QGridLayout(self._feet)
        self.buttons.setContentsMargins(0, 0, 0, 0)
        self.buttons.setSpacing(theme.GRID_PX)
        self.buttons.setColumnStretch(0, 1)
        self.buttons.setColumnStretch(1, 1)
        self._build()
        self.show_answer(ReadingText())

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 14, 16, 12)
        column.setSpacing(4)
        for widget in (self._heading, self._basis, self._number, self._interval, self._convention):
            column.addWidget(widget)
        column.addSpacing(4)
        for part in (self._quality, self._reason, self._warnings, self._marks, self._checks):
            column.addWidget(part)
        column.addSpacing(6)
        column.addWidget(_rule())
        column.addSpacing(2)
        column.addWidget(self._pairs)
        column.addWidget(self._reference)
        column.addWidget(self._scale)
        column.addSpacing(4)
        column.addWidget(self.trend, 2)
        column.addStretch(1)
        column.addSpacing(4)
        column.addWidget(self._feet)

    def show_answer(self, answer: ReadingText) -> None:
        """Show this answer and nothing of the one before."""
        if answer == self._answer:
            return
        self._answer = answer
        heading = "No reading"
        if answer.heading:
            heading = f"{answer.heading.upper()}   {answer.quantity}"
        _say(self._heading, heading.strip())
        checklist = _is_checklist(answer)
        self._number.setVisible(not checklist)
        self._number.set_value(answer.number, answer.unit)
        _say(self._basis, answer.status or answer.basis, keep=not checklist)
        _say(self._interval, answer.interval, keep=not checklist)
        _say(self._convention, answer.convention, keep=not checklist)
        self._quality.set_quality(answer.quality)
        _say(self._reason, answer.reason)
        _say(self._warnings, "\n".join(answer.warnings))
        _set_role(self._scale, "quiet" if answer.has_scale else "warning")
        _say(self._scale, "" if checklist else answer.scale_sentence)
        _say(self._reference, answer.reference)
        _say(self._checks, "\n".join(answer.checks))
        self._pairs.set_pairs(answer.pairs[:_MAX_PAIRS])
        self._marks.set_marks(answer.marks)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """In a low window the trend gives way, and then the number is smaller: no row is squashed, no button cut."""
        layout = self.layout()
        if layout is None:
            return
        trend_px = self.trend.minimumHeight() + layout.spacing()
        needed_px = layout.minimumHeightForWidth(self.width()) + self._number.given_px
        needed_px -= 0 if self.trend.isHidden() else trend_px
        self._trend_fits = needed_px + trend_px <= self.height()
        self._arrange_trend()
        self._number.give(needed_px - self.height())

    def _arrange_trend(self) -> None:
        checklist = self._answer is not None and _is_checklist(self._answer)
        self.trend.setVisible(self._trend_wanted and self._trend_fits and not checklist)

    def set_width(self, width_px: int) -> None:
        """A wider rail (a larger screen, farther away) has larger letters throughout."""
        if width_px == self.maximumWidth():
            return
        self.setFixedWidth(width_px)
        scale = width_px / theme.RAIL_WIDTH_PX
        for label in self.findChildren(PlainLabel):
            size = label.property("size_px")
            if size:
                label.setFont(theme.font(round(size * scale), bold=bool(label.property("bold"))))
        for part in (self._quality, self._marks, self.trend, self._pairs):
            part.set_scale(scale)
        for holder in (self._pairs, self):  # at once, from the inside out: else rows stand too narrow for a while
            if (layout := holder.layout()) is not None:
                layout.activate()

    def show_trend(self, wanted: bool) -> None:
        """The last seconds as a curve; a checklist has none in any case."""
        if wanted != self._trend_wanted:
            self._trend_wanted = wanted
            self._fit()

    def set_buttons_visible(self, visible: bool) -> None:
        """The number alone, or with its buttons."""
        self._feet.setVisible(visible)
        self._fit()

    @property
    def answer(self) -> ReadingText | None:
        """What is shown."""
        return self._answer


class _Pairs(QWidget):
    """Name and value, two to a row; figures keep their places."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self._cells: list[tuple[PlainLabel, PlainLabel]] = []
        self._scale = 1.0

    def set_scale(self, scale: float) -> None:
        """For the rows that are still to come; those that are there get their letters from the rail."""
        self._scale = scale

    def set_pairs(self, pairs: tuple[tuple[str, str], ...]) -> None:
        while len(self._cells) < len(pairs):
            row = len(self._cells)
            name, value = _label(theme.TEXT_PX, role="quiet"), _label(theme.TEXT_PX + 1)
            for label, size in ((name, theme.TEXT_PX), (value, theme.TEXT_PX + 1)):
                label.setFont(theme.font(round(size * self._scale)))
            name.setWordWrap(False)
            value.setWordWrap(False)
            value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._grid.addWidget(name, row, 0)
            self._grid.addWidget(value, row, 1)
            self._cells.append((name, value))
        for index, (name, value) in enumerate(self._cells):
            used = index < len(pairs)
            name.setVisible(used)
            value.setVisible(used)
            if used:
                name.setText(pairs[index][0].replace(*_SHORT))
                value.setText(pairs[index][1])
        self.setVisible(bool(pairs))


class _Marks(QWidget):
    """A checklist: each structure with a tick or an open ring, and how sure the model is."""

    def __init__(self) -> None:
        super().__init__()
        self._marks: tuple[StatusMark, ...] = ()
        self._row = 28
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(200, self._row * len(self._marks))

    def set_scale(self, scale: float) -> None:
        self._row = round(28 * scale)
        self.updateGeometry()

    def set_marks(self, marks: tuple[StatusMark, ...]) -> None:
        if marks != self._marks:
            self._marks = marks
            self.setAccessibleName(", ".join(f"{m.label} {'seen' if m.seen else 'not seen'}" for m in marks))
            self.updateGeometry()
            self.update()
        self.setVisible(bool(marks))

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for row, mark in enumerate(self._marks):
            self._paint_mark(painter, mark, row * self._row)
        painter.end()

    def _paint_mark(self, painter: QPainter, mark: StatusMark, top: int) -> None:
        scale, high = self._row / 28, self._row
        painter.setPen(QColor(theme.GOOD if mark.seen else theme.QUIET))
        painter.setBrush(QColor(theme.GOOD) if mark.seen else Qt.BrushStyle.NoBrush)
        painter.drawEllipse(QRectF(1, top + 7 * scale, 14 * scale, 14 * scale))
        painter.setFont(theme.font(round((theme.TEXT_PX + 1) * scale), bold=mark.seen))
        painter.setPen(QColor(theme.TEXT if mark.seen else theme.QUIET))
        name = QRectF(26 * scale, top, self.width() - 80 * scale, high)
        painter.drawText(name, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, mark.label)
        painter.setFont(theme.font(round((theme.LABEL_PX + 1) * scale)))
        painter.setPen(QColor(theme.QUIET))
        said = ""
        if not mark.seen:
            said = "not seen"
        elif mark.score is not None:
            said = f"{mark.score:.2f}"
        place = QRectF(0, top, self.width(), high)
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, said)


def quality_words(quality: float) -> str:
    """A word for a quality, where colour and bars are not seen."""
    if quality >= _GOOD_FROM:
        return "good"
    if quality >= _FAIR_FROM:
        return "fair"
    return "poor"


def quality_bars(quality: float) -> int:
    """How many of the bars are filled; one at least, so that poor does not look like absent."""
    return min(BARS, max(1, round(quality * BARS)))


def _is_checklist(answer: ReadingText) -> bool:
    return bool(answer.marks) and answer.number == DASH


def _label(size_px: int, *, bold: bool = False, role: str = "") -> PlainLabel:
    label = PlainLabel()
    label.setFont(theme.font(size_px, bold=bold))
    label.setProperty("size_px", size_px)
    label.setProperty("bold", bold)
    label.setWordWrap(True)
    if role:
        label.setProperty("role", role)
    return label


def _rule() -> QFrame:
    rule = QFrame()
    rule.setFixedHeight(1)
    rule.setStyleSheet(f"background: {theme.LINE};")
    return rule


def _say(label: PlainLabel, text: str, *, keep: bool = False) -> None:
    """A line without words gives its place up, unless what stands below it must not jump."""
    if label.text() != text:
        label.setText(text)
    label.setVisible(bool(text) or keep)


def _set_role(label: PlainLabel, role: str) -> None:
    if label.property("role") != role:
        font = label.font()
        label.setProperty("role", role)
        label.style().unpolish(label)
        label.style().polish(label)
        label.setFont(font)
