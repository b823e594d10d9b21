"""The vocabulary of readings: what measurements, edges and planes are called, and how a value is written."""

from __future__ import annotations

from dataclasses import dataclass

from usviewer.infer.prediction import Edge
from usviewer.measure.findings import finding_of, quantity_of
from usviewer.measure.findings.biometry import age_sd_days, age_words
from usviewer.measure.reading import NORMAL_95, Dimension, Measurement, Plane, Reading, Status, Summary
from usviewer.measure.trend import MIN_SPAN_S
from usviewer.overlay import palette
from usviewer.overlay.palette import Colour, Size

_CONVENTIONS = {Edge.INNER: "inner-inner", Edge.OUTER: "outer-outer", Edge.NOT_STATED: "edge not stated"}


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of a panel; ``unit`` follows the text in smaller letters."""

    text: str
    size: Size = Size.BODY
    colour: Colour = palette.TEXT
    unit: str = ""


def title(name: str) -> str:
    """What a measurement is called on the screen."""
    quantity = quantity_of(name)
    return (quantity.title if quantity is not None else "") or name.replace("_", " ").capitalize()


def is_listed(name: str) -> bool:
    """Whether a measurement is drawn and listed; some are only kept in the files."""
    quantity = quantity_of(name)
    return quantity is None or not quantity.is_auxiliary


def convention(edge: Edge) -> str:
    """Which edges a diameter runs between."""
    return _CONVENTIONS[edge]


def label_words(label: str, finding: str) -> str:
    """Which of the model's labels is measured, to stand before the convention; nothing where it is the finding itself.

    A model may outline lumen and wall: whose diameter it is, is part of the number.
    """
    plain = " ".join(label.casefold().replace("_", " ").replace("-", " ").split())
    if plain and plain != finding.replace("-", " "):
        return f"{label}, "
    return ""


def plane_words(plane: Plane) -> str:
    """How the vessel is cut, to follow the convention; nothing for what has no plane."""
    if plane is Plane.UNDETERMINED:
        return ""
    return f" · {plane}"


def headline_of(reading: Reading) -> Measurement | None:
    """The measurement that is the answer: the first that ``measure`` names."""
    if reading.status is Status.MEASURED:
        return next(iter(reading.measurements), None)
    return None


def matches_summary(summary: Summary | None, reading: Reading) -> Summary | None:
    """The summary if it is about the same thing as the reading: quantity, unit, plane, edge, site, label; or None.

    A median over one frame is that frame, so it is not called a median, and what pulsates has none of less than a heart
    beat. Only lengths are aggregated on the picture.
    """
    main = headline_of(reading)
    if summary is None or main is None or main.dimension is not Dimension.LENGTH or summary.count < 2:
        return None
    if summary.span_s < MIN_SPAN_S and finding_of(reading.finding).needs_aggregate:
        return None
    unit = "mm"
    if main.value_mm is None:
        unit = "px"
    theirs = (summary.name, summary.unit, summary.plane, summary.edge, summary.site, summary.label)
    same = theirs == (main.name, unit, reading.plane, reading.edge, reading.site, reading.label)
    if same and summary.shares_unit(reading):
        return summary
    return None


def big_number(value: float, unit: str, finding: str) -> tuple[str, str]:
    """A length for the headline and its unit: cm with one decimal for vessels, mm with one, or whole pixels."""
    return finding_of(finding).number(value, unit)


def value_text(measurement: Measurement) -> str:
    """A measurement's value with its unit; pixels where there is no scale."""
    if measurement.dimension is Dimension.PERCENT:
        if measurement.value is None:
            return "-"
        return f"{measurement.value:.1f}{_percent(measurement.name)}"
    if measurement.dimension is Dimension.WEEKS:
        if measurement.value is None:
            return "-"
        return _age_text(measurement.name, measurement.value)
    power = ""
    if measurement.dimension is Dimension.AREA:
        power = "²"
    if measurement.value_mm is not None:
        return f"{measurement.value_mm:.1f} mm{power}"
    if measurement.value_px is None:
        return "-"
    return f"{measurement.value_px:.0f} px{power}"


def maximum_words(summary: Summary, finding: str) -> str:
    """The largest value of a clip, for a list of clips."""
    if summary.dimension is Dimension.AREA:
        return f"max {summary.maximum:.0f} {summary.unit_words}"
    return "max " + " ".join(big_number(summary.maximum, summary.unit, finding))


def _percent(name: str) -> str:
    """A centile is a rank, not a share."""
    if name.endswith("_centile"):
        return ""
    return " %"


def _age_text(name: str, weeks: float) -> str:
    quantity = quantity_of(name)
    if quantity is None or not quantity.is_estimated_age:
        return age_words(weeks)
    return f"{age_words(weeks)} ± {NORMAL_95 * age_sd_days(weeks):.0f} days"


def beside_words(reading: Reading) -> str:
    """What stands beside a shape that was drawn by hand: its length, or (two lines) the numbers of an ellipse.

    Calibrated or silent: in pixels where there is no scale.
    """
    values = {measurement.name: value_text(measurement) for measurement in reading.measurements}
    if "length" in values:
        return values["length"]
    axes = f"{values['long_axis'].rpartition(' ')[0]} x {values['short_axis']}"
    return f"{axes}\ncircumference {values['circumference']}, area {values['area']}"


def how_words(reading: Reading) -> str:
    """How and where the vessel is cut, to follow the convention; and whether the operator said how."""
    plane = plane_words(reading.plane)
    said = ""
    if plane and reading.plane_set:
        said = ", set"
    return f"{plane}{said}{f' · {reading.site}' if reading.site else ''}"
