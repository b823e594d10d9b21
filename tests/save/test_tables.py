from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.scenes import GIVEN, aorta_reading, flat_frame, summary_of
from usviewer.errors import UserError
from usviewer.frame import SourceInfo
from usviewer.infer.prediction import Instance, Prediction
from usviewer.measure.reading import Dimension, Measurement, Status
from usviewer.save.summary import Analysis, summary_document
from usviewer.save.tables import (
    INSTANCE_COLUMNS,
    Table,
    instance_rows,
    reading_columns,
    reading_row,
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


def analysis(**changes) -> Analysis:
    source = SourceInfo("/secret/place/a.mp4", "a.mp4", "video", 64, 48, 22.0, notes=("Variable frame rate",))
    made = Analysis(source, "aorta", "aorta", "ab" * 32, "Aorta 1.0", "onnxruntime cpu", aggregate=summary_of(READING))
    return replace(made, **changes)


def test_the_columns_are_those_of_the_documentation():
    before, aorta, other, after = documented("readings.csv")
    assert list(reading_columns("aorta")) == [*before, *aorta, *after]
    assert list(reading_columns("nerve")) == [*before, *other, *after]
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
    row = reading_row(replace(READING, finding="nerve", measurements=areas))
    assert tuple(row) == reading_columns("nerve")
    assert (row["area_px2"], row["area_mm2"]) == (90.0, 4.0)


def test_instances_have_a_row_each():
    first, second = instance_rows(PREDICTION, "b.png")
    assert tuple(first) == INSTANCE_COLUMNS
    assert list(first.values()) == [7, "b.png", "aorta", 0.9123, 1.0, 2.0, 11.5, 22.25, 20.0]
    assert second["area_px"] == 200.0


def test_awkward_names_survive(tmp_path):
    name = 'a, "b"\nü.png'
    write_csv(tmp_path / "r.csv", reading_columns("aorta"), [reading_row(READING, name)])
    (row,) = csv_rows(tmp_path / "r.csv")
    assert row["file"] == name


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_table_broken_off_leaves_nothing(tmp_path, error):
    with pytest.raises(error), Table(tmp_path / "r.csv", INSTANCE_COLUMNS) as table:
        table.add({"frame": 1})
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_column_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="diametre"):
        write_csv(tmp_path / "r.csv", INSTANCE_COLUMNS, [{"diametre": 1}])
    assert list(tmp_path.iterdir()) == []


def test_a_table_in_no_folder(tmp_path):
    with pytest.raises(UserError):
        Table(tmp_path / "no" / "r.csv", INSTANCE_COLUMNS)


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


def test_an_aggregated_area_is_not_called_a_length():
    area = replace(READING, finding="nerve", measurements=(Measurement("area", Dimension.AREA, 90.0, 4.0),))
    document = summary_document(analysis(aggregate=summary_of(area)), [area])
    assert document["aggregate"]["unit"] == "mm2"
