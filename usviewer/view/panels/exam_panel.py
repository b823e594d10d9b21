"""What the operator says of the picture, and what the frames so far say together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from usviewer.errors import UserError
from usviewer.measure.findings import ClipReport, ReportRow, biometry, finding_of
from usviewer.measure.findings.reference_tables import TABLES
from usviewer.measure.reading import Plane, Site
from usviewer.overlay.text import NOTHING_YET, report_sections
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.notify import Notify
from usviewer.view.panels import PanelBase
from usviewer.view.widgets import button, words

_EVERY_S = 0.5
_PLANES = ((None, "As seen"), (Plane.TRANSVERSE, "Transverse"), (Plane.LONGITUDINAL, "Longitudinal"))
_SITES = (
    (Site.NOT_SET, "Not set", 6),
    (Site.PROXIMAL, "Proximal", 2),
    (Site.MID, "Mid", 2),
    (Site.DISTAL, "Distal", 2),
    (Site.RIGHT_ILIAC, "Right iliac", 3),
    (Site.LEFT_ILIAC, "Left iliac", 3),
)


class ExamPanel(PanelBase):
    """What the finding on show needs to be told: plane, site, reference, age; below, what was found over all frames.

    ``findings`` gives what the frames say together, ``go`` how a frame of the clip under review is shown (None: live).
    """

    title = "Exam"

    def __init__(
        self,
        app_state: AppState,
        notify: Notify,
        findings: Callable[[], ClipReport],
        go: Callable[[], Callable[[int], None] | None],
    ) -> None:
        super().__init__()
        self._app_state, self._notify, self._findings, self._go = app_state, notify, findings, go
        self.planes: dict[Plane | None, QPushButton] = {}
        self.sites: dict[Site, QPushButton] = {}
        self._shown_s = 0.0
        self._parts = {
            "plane": self._plane_part(),
            "site": self._site_part(),
            "reference": self._reference_part(),
            "gestational_age_weeks": self._age_part(),
        }
        self._nothing = words("This model needs nothing to be said.", quiet=True)
        self.found = _Rows(self._show_frame)
        sheet = QWidget()
        column = QVBoxLayout(sheet)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(theme.GRID_PX)
        for part in (*self._parts.values(), self._nothing, self.found):
            column.addWidget(part)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(sheet)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(area)
        app_state.given_changed.connect(self._show_given)
        app_state.engine_changed.connect(self._show_given)

    # -- what is said

    def _plane_part(self) -> QWidget:
        part, column = _part()
        column.addWidget(words("Plane", bold=True))
        row = QHBoxLayout()
        row.setSpacing(4)
        group = QButtonGroup(part)
        for plane, text in _PLANES:
            if plane is None:
                said = "The outline tells the plane"
            else:
                said = f"It is {plane}, whatever the outline looks like"
            self.planes[plane] = _choice(group, text, f"{said} (A changes)", partial(self._say_plane, plane))
            row.addWidget(self.planes[plane], 1)
        column.addLayout(row)
        return part

    def _site_part(self) -> QWidget:
        part, column = _part()
        column.addWidget(words("Site", bold=True))
        grid = QGridLayout()
        grid.setSpacing(4)
        group, at = QButtonGroup(part), 0
        for number, (site, text, wide) in enumerate(_SITES):
            key, shown = "", text
            if number:
                key, shown = f" ({number})", f"{text}   {number}"
            self.sites[site] = _choice(group, shown, f"Site: {text.lower()}{key}", partial(self._say_site, site))
            grid.addWidget(self.sites[site], at // 6, at % 6, 1, wide)
            at += wide
        column.addLayout(grid)
        return part

    def _reference_part(self) -> QWidget:
        part, column = _part()
        column.addWidget(words("Compare the largest diameter with", bold=True))
        self.reference = QComboBox()
        self.reference.setAccessibleName("Reference table")
        self.reference.setToolTip("A published table to compare the largest diameter with, where conventions match")
        self.reference.setMinimumHeight(theme.TOUCH_PX)
        self.reference.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.reference.setMinimumContentsLength(12)
        self.reference.addItem("Nothing", "")
        for table in TABLES:
            self.reference.addItem(table.title, table.id)
        self.reference.activated.connect(
            lambda _index: self._app_state.set_setting("reference", self.reference.currentData())
        )
        column.addWidget(self.reference)
        return part

    def _age_part(self) -> QWidget:
        part, column = _part()
        column.addWidget(words("Gestational age that is known otherwise", bold=True))
        self.age = QLineEdit()
        self.age.setPlaceholderText("weeks+days, for example 28+3")
        self.age.setAccessibleName("Gestational age")
        self.age.setToolTip(
            "From the last period or the first scan, never from this head: the centile is read against it"
        )
        self.age.returnPressed.connect(self.use_age)
        row = QHBoxLayout()
        row.addWidget(self.age, 1)
        row.addWidget(button("Use", "Read the centile against this age", self.use_age))
        row.addWidget(button("Forget", "No age, no centile", self._forget_age))
        column.addLayout(row)
        column.addWidget(
            words(
                "Without it there is no centile: an age that is estimated from the head says nothing of it.", quiet=True
            )
        )
        return part

    def _say_plane(self, plane: Plane | None) -> None:
        self._app_state.set_given(replace(self._app_state.given, plane=plane))

    def _say_site(self, site: Site) -> None:
        self._app_state.set_given(replace(self._app_state.given, site=site))

    def use_age(self) -> None:
        """Take the age that was typed; one sentence where it is none."""
        try:
            weeks = biometry.weeks_from_text(self.age.text())
        except UserError as error:
            self._notify.report(error, key="age")
            return
        self._notify.withdraw("age")
        self._app_state.set_given(replace(self._app_state.given, gestational_age_weeks=weeks))

    def _forget_age(self) -> None:
        self.age.clear()
        self._app_state.set_given(replace(self._app_state.given, gestational_age_weeks=None))

    # -- showing

    def opened(self) -> None:
        self._show_given()
        self._shown_s = 0.0
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._shown_s >= _EVERY_S:
            self._shown_s = now
            self.found.show_sections(self._sections(now))

    def _show_given(self) -> None:
        engine, given = self._app_state.engine(), self._app_state.given
        finding = finding_of(engine.finding if engine is not None else "")
        wanted = finding.context | ({"reference"} if finding.reference_tables else set())
        for name, part in self._parts.items():
            part.setVisible(name in wanted)
        self._nothing.setVisible(not wanted and finding.checklist is None)
        self.planes[given.plane].setChecked(True)
        self.sites[given.site].setChecked(True)
        self.reference.setCurrentIndex(max(0, self.reference.findData(self._app_state.settings.reference)))
        if given.gestational_age_weeks is None and not self.age.hasFocus():
            self.age.clear()
        elif given.gestational_age_weeks is not None:
            weeks, days = biometry.weeks_and_days(given.gestational_age_weeks)
            self.age.setText(f"{weeks}+{days}")

    def _sections(self, now_s: float) -> dict[str, tuple[ReportRow, ...]]:
        """Titles with their rows, of what was found over the frames so far."""
        findings, live = self._findings(), self._go() is None
        if findings.finding == "" and not live:
            return {"Over the clip": (ReportRow("", "", NOTHING_YET),)}
        sections = report_sections(findings, self._app_state.settings.reference, now_s if live else None)
        return {section.title: section.rows for section in sections}

    def _show_frame(self, index: int) -> None:
        go = self._go()
        if go is not None:
            go(index)


class _Rows(QWidget):
    """Titles with rows of name and value; a row with a frame has a button that shows it."""

    def __init__(self, go: Callable[[int], None]) -> None:
        super().__init__()
        self._act = go
        self.shown: dict[str, tuple[ReportRow, ...]] = {}
        self._lines: list[_Line] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 8, 0, 0)
        self._column.setSpacing(4)

    def show_sections(self, sections: dict[str, tuple[ReportRow, ...]]) -> None:
        """Show these. Where only words and figures have changed, only they change."""
        if sections == self.shown:
            return
        if _shape(sections) != _shape(self.shown):
            self._build(sections)
        self.shown = sections
        rows = [row for rows in sections.values() for row in rows]
        for line, row in zip(self._lines, rows, strict=True):
            line.show_row(row)

    def _build(self, sections: dict[str, tuple[ReportRow, ...]]) -> None:
        while (item := self._column.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self._lines = []
        for title, rows in sections.items():
            if rows:
                self._column.addWidget(words(title, bold=True))
            for row in rows:
                self._lines.append(_Line(self._act, with_button=row.frame is not None))
                self._column.addWidget(self._lines[-1])


class _Line(QWidget):
    """One row: name and value, a quiet line below, a button where there is a frame to show."""

    def __init__(self, go: Callable[[int], None], *, with_button: bool) -> None:
        super().__init__()
        self._frame = 0
        self._name, self._value, self._detail = words(), words(size_px=theme.TEXT_PX + 2, bold=True), words(quiet=True)
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._value.setWordWrap(False)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(0)
        grid.setColumnStretch(0, 1)
        grid.addWidget(self._name, 0, 0)
        grid.addWidget(self._value, 0, 1)
        grid.addWidget(self._detail, 1, 0, 1, 2)
        if with_button:
            grid.addWidget(button("Show", "Show this frame", lambda: go(self._frame)), 0, 2, 2, 1)

    def show_row(self, row: ReportRow) -> None:
        self._frame = row.frame or 0
        for label, text in ((self._name, row.name), (self._value, row.value or ""), (self._detail, row.detail)):
            label.setText(text)
            label.setVisible(bool(text))


def _shape(sections: dict[str, tuple[ReportRow, ...]]) -> list[tuple[str, tuple[bool, ...]]]:
    return [(title, tuple(row.frame is not None for row in rows)) for title, rows in sections.items()]


def _part() -> tuple[QWidget, QVBoxLayout]:
    part = QWidget()
    column = QVBoxLayout(part)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(theme.GRID_PX)
    return part, column


def _choice(group: QButtonGroup, text: str, tooltip: str, act: Callable[[], None]) -> QPushButton:
    """One of several, of which one is on."""
    made = button(text, tooltip, act)
    made.setCheckable(True)
    made.setStyleSheet("padding: 0 4px;")
    group.addButton(made)
    return made
