from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers.drawing import ellipse_mask, geometry, instance, predicted, reading
from tests.helpers.scenes import GIVEN, aorta_reading, flat_frame, summary_of
from usviewer.calibrate.ruler.watch import TICKS
from usviewer.errors import UserError
from usviewer.frame import SourceInfo
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure import read, summarize
from usviewer.measure.findings import reference_tables
from usviewer.measure.reading import Dimension, Errors, Measurement, Site, Status
from usviewer.plain_text import printable
from usviewer.save.summary import AnalysisInfo, summary_document
from usviewer.save.tables import (
    INSTANCE_COLUMNS,
    CsvTable,
    instance_rows,
    reading_columns,
    reading_row,
    text_of_cell,
    write_csv,
    write_json,
    write_readings_json,
)

FRAME = flat_frame(64, 48)
READING = aorta_reading(FRAME.key)
UNSEEN = replace(READING, status=Status.NOT_VISUALISED, reason="No aorta is visible", measurements=(), spacing=None)
PREDICTION = Prediction(
    FRAME.key,
    (64, 48),
    (
        Instance("aorta", 0, 0.91234567, (1.0, 2.0, 11.5, 22.25), np.ones((4, 5), np.bool_), (1, 2)),
        Instance("falx", 1, 0.5, (0.0, 0.0, 10.0, 20.0)),
    ),
    "aorta",
    "ab" * 32,
    "cpu",
)


def documented(heading: str) -> list[list[str]]:
    """First columns of the tables below one heading of docs/files.md, table by table."""
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    (body,) = [part for part in section if part.startswith(heading + "\n")]
    tables: list[list[str]] = []
    for line in body.splitlines():
        name = re.match(r"\| `([^`]+)` \|", line)
        if re.match(r"\| (column|key) \|", line):
            tables.append([])
        elif name:
            tables[-1].append(name.group(1))
    return tables


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def analysis(**changes) -> AnalysisInfo:
    source = SourceInfo("/secret/place/a.mp4", "a.mp4", "video", 64, 48, 22.0, notes=("Variable frame rate",))
    made = AnalysisInfo(
        source, "aorta", "aorta", "ab" * 32, "Aorta 1.0", "onnxruntime cpu", aggregate=summary_of(READING)
    )
    return replace(made, **changes)


def test_the_columns_are_those_of_the_documentation():
    before, *findings, after = documented("readings.csv")
    assert len(findings) == 5
    for finding, columns in zip(("aorta", "fetal-head", "fetal-brain", "nerve", "other"), findings, strict=True):
        assert list(reading_columns(finding)) == [*before, *columns, *after]
    assert [list(INSTANCE_COLUMNS)] == documented("instances.csv")


def test_the_keys_are_those_of_the_documentation():
    document = summary_document(analysis(), [READING])
    top, aggregate = documented("summary.json")
    assert list(document) == top
    assert list(document["aggregate"]) == aggregate


def test_a_row_says_everything_of_one_frame():
    row = reading_row(READING, "b.png")
    assert tuple(row) == reading_columns("aorta")
    assert (row["frame"], row["file"], row["time_s"], row["status"]) == (7, "b.png", 1.25, "measured")
    assert (row["ap_diameter_px"], row["ap_diameter_mm"]) == (112.0, 23.86)
    assert (row["plane"], row["edge"], row["instances"], row["score"]) == ("transverse", "inner", 1, 0.93)
    assert (row["spacing_x_mm_per_px"], row["scale_source"]) == (0.213, "given by the user")
    assert (row["model_sha256"], row["frame_digest"]) == ("ab" * 32, FRAME.key.digest)
    assert row["longitudinal_diameter_mm"] is None


def test_what_was_not_measured_is_an_empty_cell_not_zero(tmp_path):
    write_csv(tmp_path / "r.csv", reading_columns("aorta"), [reading_row(UNSEEN)])
    (row,) = csv_rows(tmp_path / "r.csv")
    assert row["status"] == "not visualised"
    assert row["reason"] == "No aorta is visible"
    for name in ("ap_diameter_px", "ap_diameter_mm", "area_mm2", "spacing_x_mm_per_px", "scale_source"):
        assert row[name] == ""


def test_without_a_scale_there_are_pixels_and_the_reason():
    row = reading_row(aorta_reading(FRAME.key, spacing=None))
    assert (row["ap_diameter_px"], row["ap_diameter_mm"]) == (112.0, None)
    assert row["no_scale_reason"] == "No scale: lengths are in pixels"


def test_another_finding_has_the_best_ones_area():
    areas = (Measurement("area_1", Dimension.AREA, 90.0, 4.0), Measurement("area_2", Dimension.AREA, 10.0))
    row = reading_row(replace(READING, finding="other", measurements=areas))
    assert tuple(row) == reading_columns("other")
    assert (row["area_px2"], row["area_mm2"]) == (90.0, 4.0)


def test_instances_have_a_row_each():
    first, second = instance_rows(PREDICTION, "b.png")
    assert tuple(first) == INSTANCE_COLUMNS
    assert list(first.values()) == [7, "b.png", "aorta", 0.9123, 1.0, 2.0, 11.5, 22.25, 20.0]
    assert second["area_px"] == 200.0


def test_awkward_names_survive(tmp_path):
    name = 'a, "b" \N{EURO SIGN}ü.png'
    write_csv(tmp_path / "r.csv", reading_columns("aorta"), [reading_row(READING, name)])
    (row,) = csv_rows(tmp_path / "r.csv")
    assert row["file"] == name


@pytest.mark.parametrize(
    "name",
    [
        "=cmd|' /C calc'!A0.png",
        "+1.png",
        "-2+3.png",
        "@SUM(A1).png",
        " =1.png",
        "\t=1.png",
        "\r=1.png",
        "\n=1.png",
        "\uff1d1.png",
        "'=1.png",
        "''=1.png",
    ],
)
def test_no_cell_of_text_is_a_formula_for_a_spreadsheet(tmp_path, name):
    write_csv(tmp_path / "r.csv", reading_columns("aorta"), [reading_row(READING, name)])
    (row,) = csv_rows(tmp_path / "r.csv")
    assert row["file"][0] not in "=+-@\t\r\n \uff1d"
    assert text_of_cell(row["file"]) == printable(name)


@pytest.mark.parametrize("name", ["a=1.png", "'a'.png", "aorta [left].png", "1-2.png"])
def test_other_text_is_left_as_it_is(tmp_path, name):
    write_csv(tmp_path / "r.csv", reading_columns("aorta"), [reading_row(READING, name)])
    (row,) = csv_rows(tmp_path / "r.csv")
    assert row["file"] == text_of_cell(row["file"]) == name


def test_a_negative_number_stays_a_number(tmp_path):
    write_csv(tmp_path / "r.csv", ("a", "b", "c"), [{"a": -1.5, "b": -7, "c": "-1.5 mm"}])
    assert (tmp_path / "r.csv").read_text() == "a,b,c\n-1.5,-7,'-1.5 mm\n"


def test_a_name_that_is_no_text_becomes_an_escape_in_every_file(tmp_path):
    name = b"Untersuchung_\xfc \x1b[2J.png".decode("utf-8", "surrogateescape")
    write_csv(tmp_path / "r.csv", reading_columns("aorta"), [reading_row(READING, name)])
    (row,) = csv_rows(tmp_path / "r.csv")
    assert row["file"] == "Untersuchung_\\xfc \\x1b[2J.png"
    write_json(tmp_path / "r.json", {"file": name, name: ["\ud800", 1, "plain"]})
    kept = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    escaped = "Untersuchung_\\xfc \x1b[2J.png"  # JSON has an escape of its own for controls
    assert kept == {"file": escaped, escaped: ["\\ud800", 1, "plain"]}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_table_broken_off_leaves_nothing(tmp_path, error):
    with pytest.raises(error), CsvTable(tmp_path / "r.csv", INSTANCE_COLUMNS) as table:
        table.add({"frame": 1})
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_column_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="diametre"):
        write_csv(tmp_path / "r.csv", INSTANCE_COLUMNS, [{"diametre": 1}])
    assert list(tmp_path.iterdir()) == []


def test_a_table_in_no_folder(tmp_path):
    with pytest.raises(UserError):
        CsvTable(tmp_path / "no" / "r.csv", INSTANCE_COLUMNS)


def test_json_readings_are_the_same_rows(tmp_path):
    rows = [reading_row(READING), reading_row(UNSEEN)]
    write_readings_json(tmp_path / "r.json", rows)
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == {"format": 1, "readings": rows}


def test_not_a_number_never_reaches_a_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "r.json", {"median": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_summary_counts_and_quotes():
    refused = replace(UNSEEN, status=Status.REFUSED, reason="The vessel is cut off")
    warned = replace(READING, warnings=("Oblique or not circular",))
    document = summary_document(analysis(notes=("Sector uncertain",)), [warned, READING, UNSEEN, refused, refused])
    assert document["frames"] == {"read": 5, "measured": 2, "not_visualised": 1, "refused": 2}
    assert document["refusals"] == {"The vessel is cut off": 2}
    assert document["warnings"] == {"Oblique or not circular": 1}
    assert document["aggregate"]["unit"] == "mm"
    assert document["aggregate"]["maximum_frame"] == 7
    assert document["scales"] == [
        {
            "x_mm_per_px": GIVEN.x_mm_per_px,
            "y_mm_per_px": GIVEN.y_mm_per_px,
            "source": "given by the user",
            "detail": "",
            "relative_sd": 0.0,
            "frames": 2,
        }
    ]
    assert document["notes"] == ["Variable frame rate", "Sector uncertain"]


def test_the_summary_leaks_no_path_and_quotes_nothing_that_was_not_measured():
    document = summary_document(analysis(aggregate=None), [UNSEEN])
    assert document["aggregate"] is None
    assert "secret" not in json.dumps(document)


def test_the_summary_says_from_where_on_the_scale_was_withdrawn_and_which_frame_is_best():
    def at(index, value, quality, reason=""):
        one = reading(value, index * 0.05)
        return replace(one, quality=quality, no_scale_reason=reason, spacing=None if reason else one.spacing)

    clip = [at(0, 40.0, 0.5), at(1, 41.0, 0.9), at(2, 40.0, 0.7, TICKS), at(3, 40.0, 0.8, TICKS)]
    document = summary_document(analysis(), clip)
    (withdrawn,) = document["scale_withdrawn"]
    assert (withdrawn["frame"], withdrawn["reason"]) == (2, TICKS)
    assert (document["best_frame"]["frame"], document["best_frame"]["quality"]) == (1, 0.9)
    assert summary_document(analysis(summed=False), clip)["best_frame"] is None
    other = [replace(one, no_scale_reason="Not inside one calibrated region") for one in clip]
    assert summary_document(analysis(), other)["scale_withdrawn"] == []


def test_an_aggregated_area_is_not_called_a_length():
    area = replace(READING, finding="nerve", measurements=(Measurement("area", Dimension.AREA, 90.0, 4.0),))
    document = summary_document(analysis(aggregate=summary_of(area)), [area])
    assert document["aggregate"]["unit"] == "mm2"


def test_a_row_says_how_sure_its_answer_is():
    errors = Errors(scale=0.3, edge=0.4)
    first = replace(READING.measurements[0], sd_mm=0.5, errors=errors)
    row = reading_row(replace(READING, measurements=(first, *READING.measurements[1:]), site=Site.MID))
    assert (row["answer"], row["answer_unit"], row["answer_sd"], row["site"]) == ("ap_diameter", "mm", 0.5, "mid")
    assert (row["answer_low_95"], row["answer_high_95"]) == (22.88, 24.84)
    assert (row["error_scale"], row["error_edge"], row["error_plane"]) == (0.3, 0.4, None)
    silent = reading_row(READING)
    assert (silent["answer"], silent["answer_sd"], silent["answer_low_95"]) == ("ap_diameter", None, None)
    assert reading_row(UNSEEN)["answer"] is None


def brain(index, **scores):
    boxes = [Instance(name, i, score, (10.0, 10.0, 60.0, 40.0)) for i, (name, score) in enumerate(scores.items())]
    return read(predicted(*boxes, index=index), None, "fetal-brain")


def head(index=0, given=28.0, mm=0.5):
    mask = ellipse_mask((320.3, 240.7), 115, 90)
    found = predicted(instance(mask, edge=Edge.OUTER), index=index, time_s=index * 0.1, edge_sd_px=1.0)
    return read(found, geometry(mm) if mm else None, "fetal-head", gestational_age_weeks=given)


def test_a_head_has_its_biometry_in_the_row():
    row = reading_row(head())
    assert tuple(row) == reading_columns("fetal-head")
    assert row["head_circumference_mm"] == pytest.approx(323.2, abs=0.1)
    assert row["cephalic_index_percent"] == pytest.approx(78.3, abs=0.1)
    assert row["gestational_age_hadlock_words"].startswith("36w")
    assert row["gestational_age_hadlock_sd_days"] == 12.4
    assert row["gestational_age_given_weeks"] == 28.0
    assert row["head_circumference_centile_percent"] > 99
    bare = reading_row(head(mm=None))
    assert all(value is None for name, value in bare.items() if name.endswith(("_mm", "_mm2", "_weeks", "_days")))


def test_a_brain_has_a_score_for_each_structure():
    row = reading_row(brain(3, CSP=0.8, MIDLINE_FALX=0.91234567))
    assert tuple(row) == reading_columns("fetal-brain")
    assert (row["choroid_plexus_score"], row["csp_score"], row["midline_falx_score"]) == (None, 0.8, 0.9123)
    assert (row["transventricular_missing"], row["transthalamic_missing"]) == ("CHOROID_PLEXUS", "")


def test_a_clip_of_a_brain_says_what_was_seen_how_often():
    clip = [brain(0), brain(1, CSP=0.5), brain(2, CSP=0.9, MIDLINE_FALX=0.7)]
    document = summary_document(analysis(finding="fetal-brain", aggregate=None), clip)
    assert document["structures"]["CSP"] == {"frames": 2, "share": 0.6667, "best_score": 0.9, "best_frame": 2}
    assert document["structures"]["CHOROID_PLEXUS"]["frames"] == 0
    assert document["planes"]["transthalamic"] == {"frames": 1, "best_frame": 2, "missing": ()}
    assert document["planes"]["transventricular"]["missing"] == ("CHOROID_PLEXUS",)
    apart = summary_document(analysis(finding="fetal-brain", aggregate=None, summed=False), clip)
    assert (apart["structures"], apart["planes"]) == (None, None)


def test_a_clip_of_a_head_is_dated_by_its_median():
    clip = [head(i) for i in range(12)]
    found = summary_document(analysis(finding="fetal-head", aggregate=summarize(clip)), clip)["biometry"]
    assert found["head_circumference"] == pytest.approx(323.2, abs=0.1)
    assert found["biparietal_diameter"] == pytest.approx(90.0, abs=0.1)
    assert found["gestational_age_hadlock"]["words"].startswith("36w")
    assert (found["gestational_age_given_weeks"], found["head_circumference_centile_percent"]) == (28.0, 100.0)
    unscaled = [head(i, mm=None) for i in range(12)]
    bare = summary_document(analysis(finding="fetal-head", aggregate=summarize(unscaled)), unscaled)["biometry"]
    assert (bare["unit"], bare["gestational_age_hadlock"], bare["head_circumference_centile_percent"]) == (
        "px",
        None,
        None,
    )


def test_a_clip_of_an_aorta_has_its_sweep_its_pulse_and_only_the_table_that_was_asked_for():
    errors = Errors(0.2, 0.3)
    values = [40.0 + np.sin(i * 0.05 * 2 * np.pi * 1.2) for i in range(80)]
    clip = [reading(value, i * 0.05, site=Site.DISTAL, errors=errors) for i, value in enumerate(values)]
    asked = analysis(aggregate=summarize(clip), reference=reference_tables.table_of("nhs"))
    document = summary_document(asked, clip)
    (sweep,) = document["sweep"]
    assert (sweep["site"], sweep["unit"], sweep["frames"]) == ("distal", "mm", 80)
    assert sweep["interval_95"][0] < sweep["maximum"] < sweep["interval_95"][1]
    assert document["pulse"]["heart_rate_per_min"] == pytest.approx(72, rel=0.05)
    assert "12 months" in document["reference"]["says"]
    assert document["aggregate"]["site"] == "distal"
    assert document["aggregate"]["errors"]["edge"] == 0.3
    assert summary_document(analysis(aggregate=summarize(clip)), clip)["reference"] is None


def test_a_still_of_an_aorta_has_no_pulse_but_says_why():
    still = [reading(40.0, 0.0)]
    found = summary_document(analysis(aggregate=summarize(still)), still)["pulse"]
    assert (found["systolic"], bool(found["reason"])) == (None, True)
