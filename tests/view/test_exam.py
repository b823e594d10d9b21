"""What the operator says: by key and in the panel, in live view and review, on the screen and in the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fakes import FakeClip, FakeEngine
from tests.helpers.recordings import write_clip
from tests.helpers.workbench import Workbench
from tests.measure.test_clip_report import beats, reading
from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Edge, Prediction
from usviewer.measure import NO_CONTEXT, ExamContext, PlaneTracker, clip_report
from usviewer.measure.findings import EMPTY_REPORT, ClipReport, ReportRow
from usviewer.measure.reading import Plane, Reading, Site, Summary
from usviewer.overlay.text import DASH, reference_words, report_sections
from usviewer.pipeline.analyzer import LoadedModel
from usviewer.settings import Settings
from usviewer.view.main_window import MainWindow


class SaidEngine(FakeEngine):
    """A model whose readings say what the operator has said, as the real one's do."""

    def engine(self) -> LoadedModel:
        def read(
            prediction: Prediction, geometry: ImageGeometry | None, _: str, tracker: PlaneTracker, *_age: object
        ) -> Reading:
            plane = tracker.pinned or Plane.TRANSVERSE
            return replace(
                self.read(prediction, geometry), site=tracker.site, plane=plane, plane_set=tracker.pinned is not None
            )

        return replace(super().engine(), read=read, finding="aorta", sha256="0" * 64)


@pytest.fixture
def playing(make_window: Callable[..., MainWindow], tmp_path: Path, qtbot: Any, monkeypatch: Any) -> MainWindow:
    window = make_window(Settings(save_folder=str(tmp_path / "kept")))
    monkeypatch.setattr("usviewer.view.live_controller.open_source", lambda _uri: FakeClip(500))
    window.app_state.set_engine(SaidEngine().engine())
    window.open_live("fake")
    qtbot.waitUntil(lambda: window.app_state.on_screen.reading is not None, timeout=20_000)
    return window


def convention(window: MainWindow) -> str:
    return window.readings.answer.convention if window.readings.answer is not None else ""


def test_a_key_names_the_site_and_again_takes_it_back(playing: MainWindow, qtbot: Any) -> None:
    playing.run("site_mid")
    qtbot.waitUntil(lambda: "mid" in convention(playing))
    playing.run("site_mid")
    qtbot.waitUntil(lambda: convention(playing).endswith("transverse"))


def test_the_plane_is_the_operators_and_says_so(playing: MainWindow, qtbot: Any) -> None:
    playing.run("plane")
    playing.run("plane")
    qtbot.waitUntil(lambda: convention(playing).endswith("longitudinal, set"))
    playing.run("plane")
    qtbot.waitUntil(lambda: convention(playing).endswith("transverse"))


def test_naming_a_frozen_picture_keeps_its_number(playing: MainWindow) -> None:
    playing.run("freeze")
    frame, read = playing.app_state.on_screen.frame, playing.app_state.on_screen.reading
    assert frame is not None and read is not None
    median = Summary("ap_diameter", "px", 20.0, 21.0, (19.0, 21.0), 1.2, 30, read.key, Plane.TRANSVERSE, Edge.INNER)
    playing.presenter.show(frame, read, median, "Frozen")
    before, number = playing.app_state.on_screen, playing.readings.answer
    assert number is not None and number.number == "20"
    playing.run("site_distal")
    now = playing.app_state.on_screen
    assert now.frame is before.frame and playing.readings.answer is not None
    assert playing.readings.answer.number == number.number and "distal" in playing.readings.answer.convention


def test_naming_a_frozen_picture_leaves_the_trend(playing: MainWindow) -> None:
    emptied: list[bool] = []
    playing.live.withdrawn.connect(lambda: emptied.append(True))
    playing.run("freeze")
    playing.run("site_distal")
    assert not emptied
    playing.run("plane")
    assert emptied, "with another plane what was measured before no longer holds"


def test_another_plane_measures_the_frozen_picture_anew(playing: MainWindow, qtbot: Any) -> None:
    playing.run("freeze")
    frame = playing.app_state.on_screen.frame
    playing.app_state.set_given(ExamContext(plane=Plane.LONGITUDINAL))
    qtbot.waitUntil(lambda: "longitudinal, set" in convention(playing))
    assert playing.app_state.on_screen.frame is frame and playing.app_state.on_screen.summary is None


def test_another_source_is_another_patient(playing: MainWindow) -> None:
    playing.run("site_mid")
    playing.open_live("another")
    assert playing.app_state.given == NO_CONTEXT


def test_a_saved_picture_says_what_was_said(playing: MainWindow, tmp_path: Path, qtbot: Any) -> None:
    playing.run("site_mid")
    playing.run("plane")
    qtbot.waitUntil(lambda: "mid" in convention(playing))
    playing.run("freeze")
    playing.run("save")
    qtbot.waitUntil(lambda: any((tmp_path / "kept").glob("*.json")) and not playing.app_state.jobs.busy)
    document = json.loads(next((tmp_path / "kept").glob("*.json")).read_text())
    assert document["given"] == {"plane": "transverse", "site": "mid", "gestational_age_weeks": None}
    assert document["reading"]["site"] == "mid" and document["reading"]["plane_set"] == 1


def test_the_panel_says_and_shows(playing: MainWindow, qtbot: Any) -> None:
    playing.run("exam")
    panel: Any = playing.side_panel.panel("exam")
    assert panel.planes[None].isChecked() and panel.sites[Site.NOT_SET].isChecked()
    panel.sites[Site.LEFT_ILIAC].click()
    panel.planes[Plane.TRANSVERSE].click()
    assert playing.app_state.given == ExamContext(Plane.TRANSVERSE, Site.LEFT_ILIAC)
    playing.run("site_left_iliac")
    assert panel.sites[Site.NOT_SET].isChecked(), "the panel follows the keys"
    playing.run("site_left_iliac")
    qtbot.waitUntil(
        lambda: any(row.name == "Left iliac" for rows in panel.found.shown.values() for row in rows), timeout=10_000
    )


def test_an_age_is_taken_as_it_is_typed_and_nothing_else(playing: MainWindow) -> None:
    engine = replace(SaidEngine().engine(), finding="fetal-head")
    playing.app_state.set_engine(engine)
    playing.run("exam")
    panel: Any = playing.side_panel.panel("exam")
    assert panel.age.isVisibleTo(panel) and not panel.reference.isVisibleTo(panel)
    panel.age.setText("soon")
    panel.use_age()
    assert playing.app_state.given.gestational_age_weeks is None
    assert playing.notify.current is not None and "soon" in playing.notify.current.text
    panel.age.setText("28+3")
    panel.use_age()
    assert playing.app_state.given.gestational_age_weeks == pytest.approx(28 + 3 / 7)
    assert panel.age.text() == "28+3"


def test_a_table_is_compared_only_when_it_was_chosen(playing: MainWindow) -> None:
    assert playing.readings.answer is not None and playing.readings.answer.reference == ""
    found = clip_report(beats(100))
    assert reference_words(found, "") == ""
    assert "NHS" in reference_words(found, "nhs")
    assert reference_words(EMPTY_REPORT, "nhs") == ""


# -- review


@pytest.fixture
def bench(themed: Any, qtbot: Any, tmp_path: Path) -> Iterator[Workbench]:
    workbench = Workbench(qtbot, tmp_path)
    workbench.app_state.set_engine(SaidEngine().engine())
    yield workbench
    workbench.close()


def said(bench: Workbench) -> Reading:
    reading = bench.app_state.on_screen.reading
    assert reading is not None
    return reading


def test_a_clip_remembers_what_was_said_of_it(bench: Workbench, tmp_path: Path) -> None:
    clip, other = write_clip(tmp_path / "a.mp4", count=30), write_clip(tmp_path / "b.mp4", count=12)
    bench.open(clip)
    bench.app_state.set_given(ExamContext(Plane.TRANSVERSE, Site.MID))
    bench.until(
        lambda: bench.is_done() and bench.app_state.on_screen.reading is not None and said(bench).site is Site.MID
    )
    assert said(bench).plane_set
    bench.open(other)
    assert bench.app_state.given == NO_CONTEXT and said(bench).site is Site.NOT_SET
    bench.open(clip)
    assert bench.app_state.given == ExamContext(Plane.TRANSVERSE, Site.MID)
    bench.until(lambda: bench.app_state.on_screen.reading is not None and said(bench).site is Site.MID)


def test_results_under_one_plane_are_not_taken_for_those_of_another(bench: Workbench, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", count=20)
    bench.open(clip)
    assert said(bench).plane is Plane.TRANSVERSE and not said(bench).plane_set
    bench.app_state.set_given(ExamContext(plane=Plane.LONGITUDINAL))
    bench.until(lambda: bench.is_done() and bench.app_state.on_screen.reading is not None)
    bench.until(lambda: said(bench).plane is Plane.LONGITUDINAL)
    bench.app_state.set_given(NO_CONTEXT)
    bench.until(lambda: bench.app_state.on_screen.reading is not None and not said(bench).plane_set)
    assert said(bench).plane is Plane.TRANSVERSE


def test_a_whole_clip_has_its_findings(bench: Workbench, tmp_path: Path) -> None:
    bench.open(write_clip(tmp_path / "a.mp4", count=30))
    bench.until(lambda: bench.review.snapshot is not None and bench.review.snapshot.findings.frames == 30)
    rows = rows_of(bench.review.snapshot.findings, "Largest")
    assert len(rows) == 1 and rows[0].value == "20 px" and rows[0].frame is not None


# -- words


def rows_of(found: ClipReport, title: str, now_s: float | None = None) -> tuple[ReportRow, ...]:
    return next(section.rows for section in report_sections(found, now_s=now_s) if section.title.startswith(title))


def test_no_pulse_says_why() -> None:
    still = clip_report([reading(0)] * 3)
    assert rows_of(still, "Pulse")[0].value == DASH and rows_of(still, "Pulse")[0].detail
    assert still.pairs == ()
    names = [row.name for row in rows_of(clip_report(beats(200)), "Pulse")]
    assert names == ["Systolic diameter", "Diastolic diameter", "Pulsatility", "Heart rate"]


def test_structures_over_a_clip_say_where_they_are_best() -> None:
    base = reading(0)
    seen = [
        replace(base, key=replace(base.key, index=i), finding="fetal-brain", labels=("CSP",), scores=(0.1 * i,))
        for i in range(1, 5)
    ]
    found = clip_report(seen)
    rows = {row.name: row for row in rows_of(found, "Structures")}
    assert rows["CSP"].value == "4 of 4 frames" and rows["CSP"].frame == 4
    assert rows["CSP"].detail == "best 0.40 in frame 4"
    assert rows["Midline falx"].value == "not seen" and rows["Midline falx"].frame is None
    planes = rows_of(found, "Standard planes")
    assert all(row.value == DASH and "Midline falx" in row.detail for row in planes)
    assert all(row.frame is None for row in rows_of(found, "Structures", 1.0)), "live there is none to show"
