"""Reference bands for the aorta's diameter: shown only when asked for, only when they apply, never as a diagnosis.

A table's thresholds belong to one way of placing the calipers. A value that was measured otherwise, or whose interval
crosses a threshold, is compared with none: then a sentence says why. Tables whose text was not read, or that do not say
where their calipers go, are not here (ESC and ESVS 2024, ACC/AHA 2022, SVS from 50 mm on). Sources:
``docs/clinical.md``, "Reference thresholds".
"""

from __future__ import annotations

from dataclasses import dataclass

from usviewer.errors import UserError
from usviewer.infer.prediction import Edge
from usviewer.measure.reading import Plane, Site, Summary


@dataclass(frozen=True, slots=True)
class ReferenceBand:
    """From ``low_mm`` (included) to ``high_mm`` (excluded; None: without end) the table says ``text``."""

    low_mm: float
    high_mm: float | None
    text: str


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """A published table with its name and year; ``edge`` is how its calipers are placed."""

    id: str
    name: str
    year: int | None
    edge: Edge
    rows: tuple[ReferenceBand, ...]

    @property
    def title(self) -> str:
        """Name and year."""
        if self.year:
            return f"{self.name} {self.year}"
        return self.name


@dataclass(frozen=True, slots=True)
class BandVerdict:
    """What a table says of a value, or why it says nothing; one of the two is empty."""

    table: ReferenceTable
    text: str = ""
    reason: str = ""


_LINES = (
    ReferenceBand(0.0, 30.0, "below 3.0 cm"),
    ReferenceBand(30.0, 50.0, "3.0 cm or more, below 5.0 cm"),
    ReferenceBand(50.0, 55.0, "5.0 cm or more, below 5.5 cm"),
    ReferenceBand(55.0, None, "5.5 cm or more"),
)
TABLES = (
    ReferenceTable("lines-inner", "Lines at 3.0, 5.0 and 5.5 cm, inner to inner", None, Edge.INNER, _LINES),
    ReferenceTable("lines-outer", "Lines at 3.0, 5.0 and 5.5 cm, outer to outer", None, Edge.OUTER, _LINES),
    ReferenceTable(
        "nhs",
        "NHS AAA screening programme",
        2021,
        Edge.INNER,
        (
            ReferenceBand(0.0, 30.0, "no surveillance"),
            ReferenceBand(30.0, 45.0, "surveillance every 12 months"),
            ReferenceBand(45.0, 55.0, "surveillance every 3 months"),
            ReferenceBand(55.0, None, "referral"),
        ),
    ),
    ReferenceTable(
        "nice",
        "NICE NG156",
        2020,
        Edge.INNER,
        (
            ReferenceBand(30.0, 55.0, "referral within 12 weeks"),
            ReferenceBand(55.0, None, "referral within 2 weeks"),
        ),
    ),
    ReferenceTable(
        "svs",
        "SVS",
        2018,
        Edge.OUTER,
        (
            ReferenceBand(25.0, 30.0, "rescreening after 10 years"),
            ReferenceBand(30.0, 40.0, "surveillance every 3 years"),
            ReferenceBand(40.0, 50.0, "surveillance every 12 months"),
        ),
    ),
)
_EDGES = {Edge.INNER: "inner to inner", Edge.OUTER: "outer to outer", Edge.NOT_STATED: "between edges not stated"}
_ILIACS = (Site.RIGHT_ILIAC, Site.LEFT_ILIAC)


def table_of(name: str) -> ReferenceTable:
    """The table of that id. ``UserError`` for any other."""
    for table in TABLES:
        if table.id == name:
            return table
    raise UserError(f"There is no reference table '{name}'", f"Choose one of {', '.join(table.id for table in TABLES)}")


def compare_with_table(summary: Summary, table: ReferenceTable) -> BandVerdict:
    """The largest diameter of a clip or sweep, with its interval, against a table."""
    if summary.unit != "mm" or summary.maximum_interval is None:
        return BandVerdict(table, reason=f"{table.title}: not compared, there is no scale")
    if summary.site in _ILIACS:
        return BandVerdict(
            table, reason=f"{table.title}: not compared, it is for the aorta and not for the iliac arteries"
        )
    if summary.plane is not Plane.TRANSVERSE:
        return BandVerdict(table, reason=f"{table.title}: not compared, only a transverse diameter may be")
    if summary.edge is not table.edge:
        return BandVerdict(
            table,
            reason=f"{table.title}: not compared, convention differs "
            f"(measured {_EDGES[summary.edge]}, the table is {_EDGES[table.edge]})",
        )
    if summary.errors is None or summary.errors.edge is None:
        return BandVerdict(table, reason=f"{table.title}: not compared, the error of the measurement is not known")
    return _row_of(summary, summary.maximum_interval, table)


def _row_of(summary: Summary, interval_mm: tuple[float, float], table: ReferenceTable) -> BandVerdict:
    low, high = interval_mm
    said = f"{summary.maximum / 10:.1f} cm ({low / 10:.1f} to {high / 10:.1f})"
    thresholds = sorted({row.low_mm for row in table.rows} | {row.high_mm for row in table.rows if row.high_mm})
    crossed = [mm for mm in thresholds if low < mm <= high]
    if crossed:
        lines = " and ".join(f"{mm / 10:.1f} cm" for mm in crossed)
        return BandVerdict(table, reason=f"{table.title}: not compared, the interval of {said} crosses {lines}")
    for row in table.rows:
        if row.low_mm <= low and (row.high_mm is None or high < row.high_mm):
            return BandVerdict(table, text=f"{said}: {row.text} ({table.title})")
    return BandVerdict(table, reason=f"{table.title}: it says nothing about {said}")
