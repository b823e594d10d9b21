"""What every finding keeps to, and what adding one takes: one object, known everywhere.

The second half adds a bladder, which the program does not know, and takes it from the outline to the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from usviewer import finding_names
from usviewer.frame import FrameKey, ImageGeometry, Mask, Region, SourceInfo, make_frame
from usviewer.infer.manifest import Label, measured_label
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure import ExamContext, PlaneTracker, clip_report, read, summarize
from usviewer.measure.findings import (
    EMPTY_REPORT,
    ClipReport,
    Finding,
    Quantity,
    ReadState,
    ReportRow,
    ReportSection,
    base,
    finding_of,
    quantity_of,
    register,
    registered,
)
from usviewer.measure.manual import read_pointed
from usviewer.measure.reading import Dimension, Measurement, Reading, Status
from usviewer.overlay.items import TextPanel
from usviewer.overlay.scene import compose
from usviewer.overlay.text import TextContext, panel_lines, reading_lines, reading_text, report_sections
from usviewer.save.summary import AnalysisInfo, summary_document
from usviewer.save.tables import reading_columns, reading_row
from usviewer.units import ScaleSource, isotropic

SIZE = (320, 240)
MM_PER_PX = 0.4
WHOLE = ImageGeometry((Region((0.0, 0.0, float(SIZE[0]), float(SIZE[1])), isotropic(MM_PER_PX, ScaleSource.RULER)),))
FILES_PAGE = Path(__file__).resolve().parents[2] / "docs" / "files.md"
every_finding = pytest.mark.parametrize("finding", registered().values(), ids=registered().keys())


def ellipse(semi_x_px: float, semi_y_px: float, centre: tuple[float, float] = (160.0, 120.0)) -> Mask:
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    return np.asarray(((x - centre[0]) / semi_x_px) ** 2 + ((y - centre[1]) / semi_y_px) ** 2 <= 1.0)


def prediction(finding: Finding, mask: Mask | None, index: int = 0) -> Prediction:
    key = FrameKey("s", index, index / 25.0, index / 25.0, f"digest{index}")
    label = finding.labels[0] if finding.labels else "thing"
    instances = ()
    if mask is not None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        part = mask[y0:y1, x0:x1].copy()
        box = (float(x0), float(y0), float(x1), float(y1))
        instances = (Instance(label, 0, 0.9, box, part, (x0, y0), Edge.OUTER),)
    return Prediction(key, SIZE, instances, "model", "0" * 64, "cpu")


def disc(finding: Finding, index: int = 0) -> Reading:
    state = ReadState(PlaneTracker(), gestational_age_weeks=20.0)
    return finding.read(prediction(finding, ellipse(60.0, 50.0), index), WHOLE, state)


def info(finding: Finding, readings: Sequence[Reading]) -> AnalysisInfo:
    source = SourceInfo("clip.mp4", "clip", "video", *SIZE)
    return AnalysisInfo(source, finding.id, "model", "0" * 64, "Model 1", "cpu", aggregate=summarize(readings))


# --- what every finding keeps to --------------------------------------------------------------------------------------


@every_finding
def test_nothing_in_the_picture_is_a_reason_and_never_a_number(finding: Finding) -> None:
    reading = finding.read(prediction(finding, None), WHOLE, ReadState())
    assert reading.finding == finding.id and reading.status is Status.NOT_VISUALISED
    assert reading.reason and not reading.measurements


@every_finding
def test_a_plain_shape_is_read_without_any_state(finding: Finding) -> None:
    reading = finding.read(prediction(finding, ellipse(60.0, 50.0)), WHOLE, ReadState())
    assert reading.finding == finding.id and reading.status is Status.MEASURED, reading.reason
    assert reading.key == prediction(finding, None).key


@every_finding
def test_without_a_geometry_there_are_no_millimetres(finding: Finding) -> None:
    reading = finding.read(prediction(finding, ellipse(60.0, 50.0)), None, ReadState())
    assert all(measurement.value_mm is None for measurement in reading.measurements)


@every_finding
def test_its_readings_hold_what_its_columns_say_and_the_quoted_one_first(finding: Finding) -> None:
    reading = disc(finding)
    assert {m.name: m.dimension for m in reading.measurements}.items() <= {
        name: quantity.dimension for name, quantity in finding.quantities.items()
    }.items()
    if finding.quoted is not None:
        assert finding.quoted in finding.quantities and reading.measurements[0].name == finding.quoted


@every_finding
def test_its_row_has_every_column_once_and_its_extra_cells_are_announced(finding: Finding) -> None:
    columns = reading_columns(finding.id)
    assert len(set(columns)) == len(columns)
    for reading in (disc(finding), finding.read(prediction(finding, None), None, ReadState())):
        assert tuple(reading_row(reading)) == columns
        assert set(finding.extra_cells(reading)) <= set(finding.extra_columns)


def undocumented(finding: Finding) -> set[str]:
    """Its columns that ``docs/files.md`` has no row for."""
    page = FILES_PAGE.read_text(encoding="utf-8")
    return {column for column in reading_columns(finding.id) if f"| `{column}` |" not in page}


@every_finding
def test_its_columns_stand_in_the_document_on_files(finding: Finding) -> None:
    assert not undocumented(finding)


@every_finding
def test_a_measurement_is_called_the_same_whichever_finding_has_it(finding: Finding) -> None:
    for name, quantity in finding.quantities.items():
        known = quantity_of(name)
        assert known is not None and (known.title, known.dimension) == (quantity.title, quantity.dimension)


@every_finding
def test_it_uses_only_what_the_operator_can_say(finding: Finding) -> None:
    said = {field.name for field in fields(ExamContext)}
    assert finding.context <= said
    settings = ExamContext(gestational_age_weeks=20.0).settings(finding.id)
    assert bool(settings) is ("gestational_age_weeks" in finding.context)


@every_finding
def test_it_has_words_for_itself_and_for_its_absence(finding: Finding) -> None:
    assert finding.title[:1].isupper() and finding.absent and finding.absent_banner
    absent = finding.read(prediction(finding, None), None, ReadState())
    assert panel_lines(reading_text(absent, None), 3)[0].text == finding.absent


@every_finding
def test_its_labels_state_it_and_nothing_else(finding: Finding) -> None:
    for label in finding.labels:
        assert finding_names.stated_by(label.upper().replace(" ", "_")) == finding.id


@every_finding
@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_clip_of_any_length_has_a_report_and_a_summary(finding: Finding, count: int) -> None:
    readings = [disc(finding, index) for index in range(count)]
    report = finding.report(readings, None)
    assert report.frames == count and (report is EMPTY_REPORT or report.finding in ("", finding.id))
    document = summary_document(info(finding, readings), readings)
    assert {"sweep", "pulse", "reference", "biometry", "structures", "planes"} <= document.keys()
    assert document["frames"]["read"] == count


@every_finding
def test_a_clip_on_which_nothing_is_seen_says_so_without_numbers(finding: Finding) -> None:
    readings = [finding.read(prediction(finding, None, index), WHOLE, ReadState()) for index in range(5)]
    report = finding.report(readings, None)
    assert report.sweep == () and report.pairs == ()


def test_two_findings_cannot_share_a_name_or_a_label(only_here: None) -> None:
    aorta = finding_of("aorta")
    with pytest.raises(ValueError, match="aorta"):
        register(aorta)
    with pytest.raises(ValueError, match="states"):
        register(replace(aorta, id="another"))


def test_whatever_the_user_points_at_is_a_finding_without_measurements_of_its_own() -> None:
    vein = finding_of("left vein")
    assert vein.title == "Left vein" and vein.quoted is None and not vein.context and not vein.from_outline


# --- one more finding, in one place -----------------------------------------------------------------------------------

LENGTH, WIDTH, VOLUME = "bladder_length", "bladder_width", "bladder_volume_ml"


def read_bladder(found: Prediction, geometry: ImageGeometry | None, _state: ReadState) -> Reading:
    """Two diameters of the first outline."""
    reading = base.base_reading(found, "bladder", geometry)
    if not found.instances:
        return replace(reading, reason="No bladder is visible")
    x0, y0, x1, y1 = found.instances[0].box_xyxy_px
    spacing = (geometry or ImageGeometry()).regions[0].spacing if geometry else None
    sides = [
        Measurement(name, Dimension.LENGTH, side_px, side_px * spacing.x_mm_per_px if spacing else None)
        for name, side_px in ((LENGTH, x1 - x0), (WIDTH, y1 - y0))
    ]
    return replace(reading, status=Status.MEASURED, measurements=tuple(sides), spacing=spacing, labels=("bladder",))


def bladder_report(readings: Sequence[Reading], _recent_s: float | None) -> ClipReport:
    """The volume from the largest length of the first plane, and both diameters of the second: 0.52 L x W x H."""
    sides_mm = [tuple(m.value_mm or 0.0 for m in r.measurements) for r in readings if r.measurements]
    report = base.plain_report(readings)
    if len(sides_mm) < 2:
        return report
    volume_ml = 0.52 * sides_mm[0][0] * sides_mm[-1][0] * sides_mm[-1][1] / 1000.0
    rows = (ReportRow("Volume", f"{volume_ml:.0f} ml", "0.52 x length x width x height", readings[-1].key.index),)
    return replace(
        report,
        sections=(ReportSection("Bladder", rows),),
        pairs=(("volume", f"{volume_ml:.0f} ml"),),
        document={"bladder": {VOLUME: round(volume_ml, 1)}},
    )


def a_bladder() -> Finding:
    return Finding(
        "bladder",
        "Bladder",
        absent="Bladder empty or not visualised",
        absent_banner="Bladder not seen",
        read=read_bladder,
        labels=("bladder", "urinary bladder"),
        label_required=True,  # nothing else is ever measured in its place
        quoted=LENGTH,
        quantities={LENGTH: Quantity(Dimension.LENGTH, "Length"), WIDTH: Quantity(Dimension.LENGTH, "Width")},
        report=bladder_report,
    )


@pytest.fixture
def only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered by the test is forgotten after it."""
    finding_names.known_findings()
    monkeypatch.setattr(base, "_FINDINGS", dict(registered()))
    monkeypatch.setattr(finding_names, "_NAMES", dict(finding_names._NAMES))


@pytest.fixture
def bladder(only_here: None) -> Finding:
    return register(a_bladder())


def two_planes(finding: Finding) -> list[Reading]:
    """Lengthwise 100 x 80 mm, then across 88 x 80 mm."""
    semi_axes_px = ((125.0, 100.0), (110.0, 100.0))
    masks = [ellipse(*size) for size in semi_axes_px]
    return [read(prediction(finding, mask, index), WHOLE, "bladder") for index, mask in enumerate(masks)]


def test_a_new_finding_is_read_by_its_name(bladder: Finding) -> None:
    first = two_planes(bladder)[0]
    assert first.status is Status.MEASURED
    assert [round(m.value_mm or 0.0) for m in first.measurements] == [100, 80]


def test_a_new_finding_has_its_columns_in_the_tables(bladder: Finding) -> None:
    row = reading_row(two_planes(bladder)[0])
    assert tuple(row) == reading_columns("bladder")
    assert row["bladder_length_mm"] == 100.0 and row["bladder_width_px"] == 200.0 and row["answer"] == LENGTH


def test_a_new_finding_still_lacks_only_its_own_columns_in_the_document_on_files(bladder: Finding) -> None:
    assert undocumented(bladder) == {f"{name}_{unit}" for name in (LENGTH, WIDTH) for unit in ("px", "mm")}


def test_a_new_finding_has_its_volume_in_the_summary_and_in_the_report(bladder: Finding) -> None:
    readings = two_planes(bladder)
    document = summary_document(info(bladder, readings), readings)
    assert document["bladder"] == {VOLUME: round(0.52 * 10.0 * 8.8 * 8.0, 1)}
    rows = report_sections(clip_report(readings))[0].rows
    assert (rows[0].name, rows[0].value, rows[0].frame) == ("Volume", "366 ml", 1)


def test_a_new_finding_is_written_into_the_picture(bladder: Finding) -> None:
    reading = two_planes(bladder)[0]
    frame = make_frame(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), "s", 0, 0.0)
    reading = replace(reading, key=frame.key)
    panel = next(item for item in compose(frame, reading).items if isinstance(item, TextPanel))
    said = [line.text for line in panel.lines]
    assert said[0] == "BLADDER  Length" and "100.0" in said and "Width 80.0 mm" in said


def test_a_new_finding_is_said_on_the_screen(bladder: Finding) -> None:
    readings = two_planes(bladder)
    text = reading_text(readings[0], None, TextContext(report=clip_report(readings)))
    assert (text.heading, text.quantity, text.number, text.unit) == ("Bladder", "Length", "100.0", "mm")
    assert ("volume", "366 ml") in text.pairs
    assert "volume: 366 ml" in list(reading_lines(text)), "and in the terminal"


def test_a_new_finding_that_is_absent_says_so_in_its_own_words(bladder: Finding) -> None:
    reading = read(prediction(bladder, None), WHOLE, "bladder")
    assert next(reading_lines(reading_text(reading, None))) == "Bladder empty or not visualised"


def test_a_model_may_state_a_new_finding_and_its_labels_tell_it(bladder: Finding) -> None:
    assert "bladder" in finding_names.known_findings()
    assert finding_names.stated_by("Urinary_Bladder") == "bladder"
    labels = (Label("wall", "#000000", Edge.INNER), Label("bladder", "#000000", Edge.INNER))
    chosen = measured_label(labels, "bladder")
    assert chosen is not None and chosen.name == "bladder"


def test_what_is_pointed_at_and_called_so_is_measured_as_the_new_finding(bladder: Finding) -> None:
    found = prediction(bladder, ellipse(125.0, 100.0))
    reading = read_pointed(found, WHOLE, "Bladder")
    assert reading.finding == "bladder" and reading.measurements[0].name == LENGTH


def test_every_file_of_the_package_is_found_by_itself() -> None:
    assert set(registered()) == {"aorta", "fetal-brain", "fetal-head", "nerve", "other"}
