"""What a reading says in words: the clinician's, short, each number with its unit and convention."""

from __future__ import annotations

from dataclasses import dataclass

from usviewer.infer.prediction import Edge
from usviewer.measure.reading import Dimension, Measurement, Plane, Provenance, Reading, Status, Summary
from usviewer.overlay import palette
from usviewer.overlay.palette import Colour, Size

_TITLES = {
    "ap_diameter": "AP diameter",
    "transverse_diameter": "Transverse diameter",
    "longitudinal_diameter": "Longitudinal diameter",
    "major_diameter": "Long axis",
    "minor_diameter": "Short axis",
    "hc": "HC",
    "bpd": "BPD",
    "ofd": "OFD",
    "ci": "Cephalic index",
}
# Kept in the files, but neither drawn nor listed: beside the AP and transverse diameters they only confuse.
AUXILIARY = frozenset({"major_diameter", "minor_diameter"})
# Reported in cm to one decimal (clinical.md 1.2); everything else in mm.
_IN_CENTIMETRES = frozenset({"aorta"})
_CONVENTIONS = {Edge.INNER: "inner-inner", Edge.OUTER: "outer-outer", Edge.NOT_STATED: "edge not stated"}
_MAX_OTHER_LINES = 3
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of a panel; ``unit`` follows the text in smaller letters."""

    text: str
    size: Size = Size.BODY
    colour: Colour = palette.TEXT
    unit: str = ""


def title(name: str) -> str:
    """What a measurement is called on the screen."""
    return _TITLES.get(name, name.replace("_", " ").capitalize())


def convention(edge: Edge) -> str:
    """Which edges a diameter runs between."""
    return _CONVENTIONS[edge]


def plane_words(plane: Plane) -> str:
    """How the vessel is cut, to follow the convention; nothing for what has no plane."""
    return "" if plane is Plane.UNDETERMINED else f" · {plane}"


def headline_of(reading: Reading) -> Measurement | None:
    """The measurement that is the answer: the first that ``measure`` names."""
    return next(iter(reading.measurements), None) if reading.status is Status.MEASURED else None


def fitting(summary: Summary | None, reading: Reading) -> Summary | None:
    """The summary if it speaks of the same thing as the reading: quantity, unit, plane and edge; else None.

    A median over one frame is that frame, so it is not called a median. Only lengths are aggregated on the picture.
    """
    main = headline_of(reading)
    if summary is None or main is None or main.dimension is not Dimension.LENGTH or summary.count < 2:
        return None
    unit = "px" if main.value_mm is None else "mm"
    same = (summary.name, summary.unit, summary.plane, summary.edge) == (main.name, unit, reading.plane, reading.edge)
    return summary if same else None


def big_number(value: float, unit: str, finding: str) -> tuple[str, str]:
    """A length for the headline and its unit: cm with one decimal for vessels, mm with one, or whole pixels."""
    if unit == "px":
        return f"{value:.0f}", "px"
    return (f"{value / 10:.1f}", "cm") if finding in _IN_CENTIMETRES else (f"{value:.1f}", "mm")


def value_text(measurement: Measurement) -> str:
    """A measurement's value with its unit; pixels where there is no scale."""
    if measurement.dimension is Dimension.PERCENT:
        return "-" if measurement.value is None else f"{measurement.value:.1f} %"
    if measurement.dimension is Dimension.WEEKS:
        return "-" if measurement.value is None else f"{measurement.value:.1f} weeks"
    power = "²" if measurement.dimension is Dimension.AREA else ""
    if measurement.value_mm is not None:
        return f"{measurement.value_mm:.1f} mm{power}"
    return "-" if measurement.value_px is None else f"{measurement.value_px:.0f} px{power}"


def panel_lines(reading: Reading, summary: Summary | None, model_label: str) -> tuple[TextLine, ...]:
    """Everything said beside the picture, most important first."""
    answer = {
        Status.MEASURED: _measured,
        Status.NOT_VISUALISED: _not_visualised,
        Status.REFUSED: _refused,
    }[reading.status](reading, fitting(summary, reading))
    warnings = [TextLine(warning, Size.BODY, palette.WARNING) for warning in reading.warnings]
    return (*answer, *warnings, *_origins(reading, model_label), *_others(reading))


def finding_name(reading: Reading) -> str:
    """The structure's name at the start of a sentence."""
    return reading.finding.replace("_", " ").capitalize() or "Structure"


def _measured(reading: Reading, summary: Summary | None) -> list[TextLine]:
    main = headline_of(reading)
    if main is None:
        return [TextLine(finding_name(reading), Size.TITLE)]
    heading = TextLine(f"{finding_name(reading).upper()}  {title(main.name)}")
    drawn = "" if reading.provenance is Provenance.AUTOMATIC else f" · {reading.provenance}"
    how = TextLine(f"{convention(reading.edge)}{plane_words(reading.plane)}{drawn}")
    number, *details = _aggregate(reading, main, summary) if summary else _single(reading, main)
    return [heading, number, how, *details]


def _aggregate(reading: Reading, main: Measurement, summary: Summary) -> list[TextLine]:
    low, high = summary.interval
    digits = 1 if summary.unit == "mm" else 0
    number, unit = big_number(summary.median, summary.unit, reading.finding)
    return [
        TextLine(number, Size.HEADLINE, unit=unit),
        TextLine(f"median of the last {summary.span_s:.1f} s"),
        TextLine(f"{summary.median:.{digits}f} {summary.unit}, 95 % {low:.{digits}f} to {high:.{digits}f}"),
        TextLine(f"this frame {value_text(main)} · max {summary.maximum:.{digits}f}", Size.SMALL, palette.QUIET),
    ]


def _single(reading: Reading, main: Measurement) -> list[TextLine]:
    if main.dimension is not Dimension.LENGTH or main.value_mm is None:
        number, _, unit = value_text(main).partition(" ")
        return [TextLine(number, Size.HEADLINE, unit=unit), TextLine("this frame")]
    number, unit = big_number(main.value_mm, "mm", reading.finding)
    spread = f" ± {_NORMAL_95 * main.sd_mm:.1f}" if main.sd_mm else ""
    return [TextLine(number, Size.HEADLINE, unit=unit), TextLine(f"this frame, {main.value_mm:.1f}{spread} mm")]


def _others(reading: Reading) -> list[TextLine]:
    rest = [m for m in reading.measurements[1:] if m.name not in AUXILIARY][:_MAX_OTHER_LINES]
    return [TextLine(f"{title(m.name)} {value_text(m)}", Size.SMALL, palette.QUIET) for m in rest]


def _not_visualised(reading: Reading, _summary: Summary | None) -> list[TextLine]:
    lines = [TextLine(f"{finding_name(reading)} not visualised", Size.TITLE)]
    return lines + ([TextLine(reading.reason)] if _adds_something(reading.reason, lines[0].text) else [])


def _refused(reading: Reading, _summary: Summary | None) -> list[TextLine]:
    lines = [TextLine(f"{finding_name(reading)} not measured", Size.TITLE, palette.WARNING)]
    return lines + ([TextLine(reading.reason, Size.BODY, palette.WARNING)] if reading.reason else [])


def _adds_something(reason: str, said: str) -> bool:
    return bool(reason) and reason.rstrip(".").casefold() != said.casefold()


def _origins(reading: Reading, model_label: str) -> list[TextLine]:
    lines = []
    if reading.spacing is not None:
        lines.append(TextLine(f"Scale {reading.spacing.describe()}", Size.SMALL, palette.QUIET))
    elif reading.status is Status.MEASURED:
        reason = reading.no_scale_reason or "No scale: lengths in pixels"
        lines.append(TextLine(reason, Size.SMALL, palette.WARNING))
    model = model_label or reading.model_id
    score = f" · score {reading.score:.2f}" if reading.score is not None else ""
    if model or score:
        lines.append(TextLine(f"{model}{score}".removeprefix(" · "), Size.SMALL, palette.QUIET))
    return lines
