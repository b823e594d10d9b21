from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.drawing import key
from usviewer.errors import UserError
from usviewer.infer.prediction import Edge
from usviewer.measure.findings.reference_tables import TABLES, compare_with_table, table_of
from usviewer.measure.reading import Errors, Plane, Site, Summary


def measured(maximum_mm, half_mm=1.0, edge=Edge.INNER, plane=Plane.TRANSVERSE, **changes):
    around = (maximum_mm - half_mm, maximum_mm + half_mm)
    summary = Summary("ap_diameter", "mm", maximum_mm, maximum_mm, around, 2.0, 40, key(), plane, edge)
    return replace(summary, **{"maximum_interval": around, "errors": Errors(0.1, 0.4), **changes})


@pytest.mark.parametrize(
    ("table", "mm", "edge", "says"),
    [
        ("nhs", 20.0, Edge.INNER, "no surveillance"),
        ("nhs", 35.0, Edge.INNER, "every 12 months"),
        ("nhs", 50.0, Edge.INNER, "every 3 months"),
        ("nhs", 70.0, Edge.INNER, "referral"),
        ("nice", 42.0, Edge.INNER, "12 weeks"),
        ("nice", 60.0, Edge.INNER, "2 weeks"),
        ("svs", 27.5, Edge.OUTER, "10 years"),
        ("svs", 35.0, Edge.OUTER, "every 3 years"),
        ("svs", 45.0, Edge.OUTER, "every 12 months"),
        ("lines-inner", 52.0, Edge.INNER, "5.0 cm or more, below 5.5 cm"),
        ("lines-outer", 90.0, Edge.OUTER, "5.5 cm or more"),
    ],
)
def test_a_value_that_clears_the_thresholds(table, mm, edge, says):
    verdict = compare_with_table(measured(mm, edge=edge), table_of(table))
    assert says in verdict.text
    assert table_of(table).title in verdict.text
    assert verdict.reason == ""


@pytest.mark.parametrize(("mm", "half_mm"), [(29.0, 4.0), (30.0, 0.4), (29.6, 0.4), (54.5, 0.5), (31.0, 1.5)])
def test_an_interval_across_a_threshold_says_so_instead(mm, half_mm):
    verdict = compare_with_table(measured(mm, half_mm), table_of("nhs"))
    assert verdict.text == ""
    assert "crosses" in verdict.reason


def test_the_thresholds_themselves_belong_above():
    assert "12 months" in compare_with_table(measured(31.0, 1.0), table_of("nhs")).text
    assert "no surveillance" in compare_with_table(measured(29.0, 0.999), table_of("nhs")).text


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"edge": Edge.OUTER}, "convention differs"),
        ({"edge": Edge.NOT_STATED}, "convention differs"),
        ({"unit": "px"}, "no scale"),
        ({"plane": Plane.LONGITUDINAL}, "transverse"),
        ({"plane": Plane.UNDETERMINED}, "transverse"),
        ({"site": Site.LEFT_ILIAC}, "iliac"),
        ({"errors": None}, "error of the measurement is not known"),
        ({"errors": Errors(scale=0.1)}, "error of the measurement is not known"),
        ({"maximum_interval": None}, "no scale"),
    ],
)
def test_what_does_not_match_is_not_compared(changes, why):
    verdict = compare_with_table(measured(40.0, **changes), table_of("nhs"))
    assert verdict.text == ""
    assert why in verdict.reason


def test_where_a_table_says_nothing_neither_do_we():
    for mm in (20.0, 53.0):
        assert "says nothing" in compare_with_table(measured(mm, edge=Edge.OUTER), table_of("svs")).reason


def test_only_tables_that_were_read_are_there():
    names = " ".join(table.title for table in TABLES)
    assert "ESC" not in names
    assert "ESVS" not in names
    with pytest.raises(UserError, match="nhs"):
        table_of("esvs")
