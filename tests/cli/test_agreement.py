from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.drawing import reading
from tests.save.test_tables import documented
from usviewer.__main__ import main
from usviewer.cli import agreement
from usviewer.cli.agreement import read_calipers
from usviewer.errors import UserError
from usviewer.measure.reading import Dimension, Measurement, Status
from usviewer.save.plots import write_bland_altman
from usviewer.save.tables import reading_columns, reading_row, write_csv, write_json


def make_clip(folder: Path, values, median=None) -> Path:
    folder.mkdir(parents=True)
    readings = [
        reading(v, i * 0.05) if v is not None else reading(0.0, i * 0.05, status=Status.REFUSED)
        for i, v in enumerate(values)
    ]
    write_csv(folder / "readings.csv", reading_columns("aorta"), [reading_row(r) for r in readings])
    if median is not None:
        aggregate = {"name": "ap_diameter", "unit": "mm", "median": median, "maximum": median + 2, "edge": "inner"}
        write_json(folder / "summary.json", {"aggregate": aggregate})
    return folder


def operator(path: Path, *lines: str, header="clip,frame,value") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(4)
    folders = [make_clip(tmp_path / f"clip{n}", [20.0 + n + rng.normal(0, 0.5) for _ in range(10)]) for n in range(4)]
    return [str(folder) for folder in folders]


def figures(out: Path) -> dict:
    return json.loads((out / "agreement.json").read_text(encoding="utf-8"))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "agreement.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_bias_and_limits_over_many_clips(tmp_path: Path, clips: list[str]) -> None:
    lines = [f"clip{n},{frame},{20.0 + n - 1.0}" for n in range(4) for frame in range(10)]
    reference, out = operator(tmp_path / "operator.csv", *lines), tmp_path / "out"
    assert main(["agreement", *clips, "--reference", str(reference), "--out", str(out)]) == 0
    found, table = figures(out), rows(out)
    differences = np.array([float(row["difference"]) for row in table])
    assert (found["pairs"], found["values"], found["clips"], found["edges"]) == (40, 40, 4, ["inner"])
    assert found["bias"] == pytest.approx(differences.mean(), abs=1e-3)
    assert found["bias"] == pytest.approx(1.0, abs=0.3)
    low, high = found["limits_of_agreement"]
    assert (low + high) / 2 == pytest.approx(found["bias"], abs=1e-3)
    assert high - low == pytest.approx(2 * 1.96 * differences.std(ddof=1), abs=1e-3)
    assert found["bias_95"][0] < found["bias"] < found["bias_95"][1]
    assert found["limits_of_agreement_95"][1][0] <= high <= found["limits_of_agreement_95"][1][1]
    assert (out / "bland-altman.png").read_bytes().startswith(b"\x89PNG")


def test_a_value_for_a_whole_clip_is_compared_with_its_summary(tmp_path: Path) -> None:
    folders = [str(make_clip(tmp_path / name, [20.0], median=m)) for name, m in (("a", 21.0), ("b", 24.0))]
    reference = operator(tmp_path / "operator.csv", "a,20.0", "b,22.0", header="clip,value")
    for of_clip, bias in (("median", 1.5), ("maximum", 3.5)):
        out = tmp_path / of_clip
        options = ["--reference", str(reference), "--out", str(out), "--of-clip", of_clip]
        assert main(["agreement", *folders, *options]) == 0
        assert figures(out)["bias"] == bias
        assert {row["status"] for row in rows(out)} == {of_clip}


@pytest.fixture
def nerves(tmp_path: Path) -> list[str]:
    """Two clips of a nerve of 12 mm2 (300 pixels), each with its summary."""
    folders = []
    for name in ("n1", "n2"):
        folder = tmp_path / name
        folder.mkdir()
        area = Measurement("area", Dimension.AREA, 300.0, 12.0)
        frames = [replace(reading(0.0, i * 0.05), finding="nerve", measurements=(area,)) for i in range(3)]
        write_csv(folder / "readings.csv", reading_columns("nerve"), [reading_row(r) for r in frames])
        aggregate = {"name": "area", "unit": "mm2", "median": 12.0, "maximum": 12.5, "edge": "inner"}
        write_json(folder / "summary.json", {"aggregate": aggregate})
        folders.append(str(folder))
    return folders


@pytest.mark.parametrize(
    ("options", "lines", "written", "said"),
    [
        ((), ("n1,0,11", "n2,1,10"), "mm2", "mm²"),
        ((), ("n1,,11", "n2,,10"), "mm2", "mm²"),
        (("--unit", "px"), ("n1,0,290", "n2,1,280"), "px2", "px²"),
    ],
)
def test_an_area_is_stated_in_square_units(
    tmp_path: Path,
    nerves: list[str],
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    lines: tuple[str, ...],
    written: str,
    said: str,
) -> None:
    reference, out = operator(tmp_path / "operator.csv", *lines), tmp_path / "out"
    assert main(["agreement", *nerves, "--reference", str(reference), "--out", str(out), *options]) == 0
    printed = capsys.readouterr().err
    unit = said[:2]
    assert printed.count(f" {said}") == 3 and printed.count(f" {unit}") == 3
    assert figures(out)["unit"] == written
    assert {row["unit"] for row in rows(out)} == {written}
    theirs, ours = (np.array([float(row[key]) for row in rows(out)]) for key in ("reference", "measured"))
    write_bland_altman(theirs, ours, tmp_path / "expected.png", unit=said, quantity="Area", note="2 clips; edge: inner")
    assert (out / "bland-altman.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_values_without_a_partner_are_listed_with_the_reason(tmp_path: Path) -> None:
    folder = make_clip(tmp_path / "a", [20.0, None, 21.0])
    lines = ("a,0,20", "a,1,20", "a,2,20", "a,9,20", "z,0,20")
    out, reference = tmp_path / "out", operator(tmp_path / "operator.csv", *lines)
    assert main(["agreement", str(folder), "--reference", str(reference), "--out", str(out)]) == 0
    found = figures(out)
    assert (found["pairs"], found["values"], sum(found["unpaired"].values())) == (2, 5, 3)
    assert found["bias_95"] is None  # one clip
    assert [row["status"] for row in rows(out)] == ["measured", "refused", "measured", "not read", "not read"]


def test_the_columns_and_keys_are_those_of_the_documentation(tmp_path: Path, clips: list[str]) -> None:
    given, table, keys = documented("Agreement sheet")
    assert given == ["clip", "frame", "file", "value"]
    assert list(agreement.COLUMNS) == table
    reference = operator(tmp_path / "operator.csv", "clip0,0,20", "clip1,0,21")
    out = tmp_path / "out"
    assert main(["agreement", *clips, "--reference", str(reference), "--out", str(out)]) == 0
    assert list(figures(out)) == keys


@pytest.mark.parametrize(
    ("header", "line"),
    [("clip,frame,value", "clip0,0,wide"), ("clip,frame,value", "clip0,x,20"), ("clip,frame", "clip0,0"),
     ("clip,frame,value", "clip0,0,-3"), ("clip,frame,value", "clip0,0,nan"), ("clip,frame,value", "clip0,0,20")],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_sentence_and_no_file(
    tmp_path: Path, clips: list[str], capsys: pytest.CaptureFixture[str], header: str, line: str
) -> None:
    reference, out = operator(tmp_path / "operator.csv", line, header=header), tmp_path / "out"
    assert main(["agreement", *clips, "--reference", str(reference), "--out", str(out)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("clip0,0,20",), "one pair is too few"),
        (("clip0,0,20", "clip0,99,20"), "one pair is too few"),
        (("clip0,99,20", "nobody,0,20"), "None of the 2 values could be paired"),
    ],
)
def test_too_few_pairs_are_counted_truly(
    tmp_path: Path, clips: list[str], capsys: pytest.CaptureFixture[str], lines: tuple[str, ...], says: str
) -> None:
    reference, out = operator(tmp_path / "operator.csv", *lines), tmp_path / "out"
    assert main(["agreement", *clips, "--reference", str(reference), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert ("has no such frame" in said) == any(",99," in line for line in lines)


def test_a_missing_reference_is_not_asked_for_as_readings(
    tmp_path: Path, clips: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["agreement", *clips, "--reference", str(tmp_path / "nothere.csv"), *out]) == 2
    said = capsys.readouterr().err
    assert "nothere.csv" in said and "clip" in said and "value" in said and "readings.csv" not in said
    reference = operator(tmp_path / "operator.csv", "clip0,0,20")
    assert main(["agreement", str(tmp_path / "nowhere.csv"), "--reference", str(reference), *out]) == 2
    assert "Give the readings.csv that analyze wrote" in capsys.readouterr().err


def test_a_name_that_is_too_long_is_one_sentence(
    tmp_path: Path, clips: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    reference, long = operator(tmp_path / "operator.csv", "clip0,0,20", "clip1,0,20"), str(tmp_path / ("a" * 300))
    for readings, values, out in (
        ([long], str(reference), str(tmp_path / "out")),
        (clips, long, str(tmp_path / "out")),
        (clips, str(reference), long),
    ):
        assert main(["agreement", *readings, "--reference", values, "--out", out]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_two_clips_of_one_name_or_two_findings_are_refused(
    tmp_path: Path, clips: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    reference = operator(tmp_path / "operator.csv", "clip0,0,20")
    for more in (make_clip(tmp_path / "other" / "clip0", [20.0]), tmp_path / "nowhere"):
        assert main(["agreement", *clips, str(more), "--reference", str(reference), "--out", str(tmp_path / "o")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2


def test_values_may_be_typed_with_a_comma_and_programs_may_write_three_digits(tmp_path: Path) -> None:
    given = operator(tmp_path / "operator.csv", 'a,0,"20,5"', "a,1,3.125", "a,2,20.5")
    assert [caliper.value for caliper in read_calipers(given)] == [20.5, 3.125, 20.5]


@pytest.mark.parametrize("value", ['"1,234"', "1_0", "1e1", "\uff12", '"1.234,5"', "0"])
def test_a_value_that_may_be_another_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match="Line 2 of"):
        read_calipers(operator(tmp_path / "operator.csv", f"a,0,{value}"))
