"""The documents hold together: what the code cites is there, and the figures of formulas are what the code computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from usviewer.measure.findings import biometry
from usviewer.measure.geometry import Ellipse

CLINICAL = (ROOT / "docs" / "clinical.md").read_text("utf-8")
CITED = re.compile(r'docs/clinical\.md`*,?\s+"([^"]+)"')
FOLDERS = ("usviewer", "models", "tests")


def _citing_files() -> list[Path]:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in files if path != Path(__file__) and "clinical.md" in path.read_text("utf-8"))


def _rows(first_cell: str) -> list[list[float]]:
    """The numbers of the table whose header begins with this cell, row by row."""
    _, _, after = CLINICAL.partition(f"| {first_cell} |")
    assert after, f"there is no table that begins with {first_cell}"
    body = after.partition("\n\n")[0].splitlines()[2:]
    return [[float(number) for number in re.findall(r"\d+(?:\.\d+)?", row)] for row in body]


@pytest.mark.parametrize("path", _citing_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_clinical_fact_is_cited_by_a_heading_that_exists(path: Path) -> None:
    text = re.sub(r"\n[ #]*", " ", path.read_text("utf-8"))  # a citation may run over the end of a line
    headings = {found.strip() for found in re.findall(r"^#{2,3} (.+)$", CLINICAL, re.MULTILINE)}
    cited = CITED.findall(text)
    assert len(cited) == text.count("clinical.md"), "cite docs/clinical.md with the heading in quotation marks"
    assert set(cited) <= headings


@pytest.mark.parametrize("row", _rows("a, b (mm)"))
def test_the_documented_circumferences_are_those_of_the_code(row: list[float]) -> None:
    a, b, exact, _, index = row
    ellipse = Ellipse((0.0, 0.0), a, b, 0.0)
    assert ellipse.circumference == pytest.approx(exact, abs=1.1e-4)
    assert 100 / ellipse.elongation == pytest.approx(index, abs=0.006)


@pytest.mark.parametrize("row", _rows("HC (mm)"))
def test_the_documented_ages_are_those_of_the_code(row: list[float]) -> None:
    hc_mm, hadlock, days, weeks = row
    assert biometry.hadlock_weeks(hc_mm) == pytest.approx(hadlock, abs=6e-4)
    assert biometry.intergrowth_days(hc_mm) == pytest.approx(days, abs=6e-3)
    assert biometry.intergrowth_days(hc_mm) / 7 == pytest.approx(weeks, abs=6e-4)


@pytest.mark.parametrize("row", _rows("g (weeks)"))
def test_the_documented_standard_is_that_of_the_code(row: list[float]) -> None:
    weeks, mean, sd, *centiles = row
    assert biometry.circumference_standard(weeks) == pytest.approx((mean, sd), abs=6e-4)
    for hc_mm, centile in zip(centiles, (3, 50, 97), strict=True):
        assert biometry.circumference_centile(hc_mm, weeks) == pytest.approx(centile, abs=0.3)
