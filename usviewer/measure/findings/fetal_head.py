"""The fetal head: circumference, diameters, gestational age, or a reason why there is none.

Formulas and their sources: ``docs/clinical.md``, "Fetal head".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Edge, Prediction
from usviewer.measure.findings import biometry
from usviewer.measure.findings.base import (
    ClipReport,
    FileValue,
    Finding,
    Quantity,
    ReadState,
    ReportRow,
    ReportSection,
    base_reading,
    plain_report,
    register,
    rounded_pair,
)
from usviewer.measure.geometry import border_distance_px, border_margin_px
from usviewer.measure.reading import NORMAL_95, Dimension, Measurement, Reading, Status, Summary
from usviewer.measure.section import (
    BORDER_PX,
    EDGE_GUESSED,
    InstanceShape,
    Section,
    add_warning,
    candidates,
    near_guess,
    not_visualised,
    share,
    too_small,
    with_outlines,
)
from usviewer.measure.trend import summarize

CIRCUMFERENCE = "head_circumference"
BIPARIETAL, OCCIPITOFRONTAL = "biparietal_diameter", "occipitofrontal_diameter"
CEPHALIC_INDEX, AREA = "cephalic_index", "area"
HADLOCK, INTERGROWTH = "gestational_age_hadlock", "gestational_age_intergrowth"
GIVEN_AGE, CENTILE = "gestational_age_given", "head_circumference_centile"

# The smallest head of HC18 has 150 mm2.
MIN_AREA_MM2 = 75.0
MIN_VISIBLE_SHARE = 0.005
MIN_OVERLAP = 0.90
CANDIDATES = 4

NONE = "No fetal head is visible"
CLIPPED = "The head is cut off by the edge of the picture: show it whole"
SMALL = "What was found is too small to be a head"
NO_ELLIPSE = "The outline is no ellipse: show the whole skull"

SEVERAL = "More than one head-like structure: the best one is measured"
NOT_OUTER = "Gestational age needs the outer edge of the skull, which this model does not claim to outline"
BEYOND_HADLOCK = "The circumference is outside what Hadlock 1984 covers: no gestational age by it"
BEYOND_INTERGROWTH = "The circumference is outside what INTERGROWTH-21st covers: no gestational age by it"
NO_CENTILE = "The INTERGROWTH-21st standard covers 14 to 40 weeks: no centile at the given age"


def read(prediction: Prediction, geometry: ImageGeometry | None, state: ReadState) -> Reading:
    """Measure the head of one frame.

    ``head_circumference`` (the answer; Ramanujan, of the ellipse with the mask's second moments),
    ``biparietal_diameter`` and ``occipitofrontal_diameter`` (its axes: **outer to outer** where the model outlines the
    outer edge), ``cephalic_index``, ``area``. With a scale and an outline of the outer edge also the gestational ages
    by Hadlock 1984 and INTERGROWTH-21st, each only within its range. The gestational age of ``state`` is what the
    operator typed: only against it there is a centile, and it is never replaced by an estimate.

    ``quality`` is the product of the model's score and the overlap of mask and ellipse.
    """
    geometry = geometry or ImageGeometry()
    reading = replace(base_reading(prediction, FETAL_HEAD.id, geometry), label=prediction.measured)
    able, others = candidates(prediction, CANDIDATES)
    found = max(able, key=lambda f: f.quality, default=None)
    if found is None:
        return not_visualised(reading, NONE, others)
    reading = with_outlines(reading, [found, *others], geometry)
    section = Section(found.shape, reading.spacing, prediction.edge_sd_px, geometry.pixel_aspect)
    if reason := _refusal(found, section, geometry, prediction.frame_size_px):
        return replace(reading, status=Status.REFUSED, reason=reason)
    if len(able) > 1:
        reading = add_warning(reading, SEVERAL)
    if near_guess(found.shape, geometry.sector):
        reading = add_warning(reading, EDGE_GUESSED)
    reading = replace(reading, status=Status.MEASURED, measurements=_sizes(section), quality=share(found.quality))
    return _with_age(reading, state.gestational_age_weeks)


def _refusal(found: InstanceShape, section: Section, geometry: ImageGeometry, frame_size_px: tuple[int, int]) -> str:
    if too_small(found.shape, section.spacing, geometry, frame_size_px, MIN_AREA_MM2, MIN_VISIBLE_SHARE):
        return SMALL
    margin = border_margin_px(found.shape, border_distance_px(geometry.sector, frame_size_px))
    if float(margin[found.shape.mask].min()) <= BORDER_PX:
        return CLIPPED
    if found.overlap < MIN_OVERLAP:
        return NO_ELLIPSE
    return ""


def _sizes(section: Section) -> tuple[Measurement, ...]:
    ellipse = section.ellipse
    index = Measurement(CEPHALIC_INDEX, Dimension.PERCENT, value=100.0 / ellipse.elongation)
    return (
        section.circumference(CIRCUMFERENCE),
        section.axis(BIPARIETAL, minor=True),
        section.axis(OCCIPITOFRONTAL, minor=False),
        index,
        section.area(AREA),
    )


def _with_age(reading: Reading, given_weeks: float | None) -> Reading:
    hc_mm = reading.measurements[0].value_mm
    if hc_mm is None:
        return reading
    if reading.edge is not Edge.OUTER:
        return add_warning(reading, NOT_OUTER)
    reading = _with(reading, HADLOCK, Dimension.WEEKS, biometry.age_by_hadlock(hc_mm), BEYOND_HADLOCK)
    reading = _with(reading, INTERGROWTH, Dimension.WEEKS, biometry.age_by_intergrowth(hc_mm), BEYOND_INTERGROWTH)
    if given_weeks is None:
        return reading
    reading = _with(reading, GIVEN_AGE, Dimension.WEEKS, given_weeks, "")
    return _with(reading, CENTILE, Dimension.PERCENT, biometry.circumference_centile(hc_mm, given_weeks), NO_CENTILE)


def _with(reading: Reading, name: str, dimension: Dimension, value: float | None, without: str) -> Reading:
    """One measurement more, or the warning that stands in its place."""
    if value is None:
        return add_warning(reading, without)
    return replace(reading, measurements=(*reading.measurements, Measurement(name, dimension, value=value)))


# --- over a clip ------------------------------------------------------------------------------------------------------


def report(readings: Sequence[Reading], _recent_s: float | None) -> ClipReport:
    """The head over a clip; nothing where it was not measured."""
    aggregate = summarize(readings)
    if aggregate is None:
        return plain_report(readings)
    head = biometry_over(readings, aggregate)
    section = ReportSection("Head", biometry_rows(head), over_frames=True)
    return replace(plain_report(readings), sections=(section,), document={"biometry": head})


def biometry_rows(head: Mapping[str, Any]) -> tuple[ReportRow, ...]:
    """The same for people; the circumference itself is the quoted number."""
    rows = [
        ReportRow(title, f"{head[name]:.1f} {unit}")
        for name, title, unit in (
            (BIPARIETAL, "BPD", head["unit"]),
            (OCCIPITOFRONTAL, "OFD", head["unit"]),
            (CEPHALIC_INDEX, "Cephalic index", "%"),
        )
        if head[name] is not None
    ]
    for name, title in ((HADLOCK, "GA, Hadlock 1984"), (INTERGROWTH, "GA, INTERGROWTH-21st")):
        if head[name] is not None:
            rows.append(ReportRow(title, f"{head[name]['words']} ± {NORMAL_95 * head[name]['sd_days']:.0f} days"))
    if head["head_circumference_centile_percent"] is not None:
        given = biometry.age_words(head["gestational_age_given_weeks"])
        centile = f"{head['head_circumference_centile_percent']:.1f}"
        rows.append(ReportRow("HC centile, INTERGROWTH-21st", centile, f"at the given age of {given}"))
    return tuple(rows)


def biometry_over(readings: Sequence[Reading], aggregate: Summary) -> dict[str, Any]:
    """The head over a clip, for a document: each value's median; ages and centile from the median circumference."""
    same = [
        r for r in readings if r.status is Status.MEASURED and r.edge is aggregate.edge and aggregate.shares_unit(r)
    ]
    values = {name: _median(same, name, aggregate.unit) for name in (BIPARIETAL, OCCIPITOFRONTAL, CEPHALIC_INDEX)}
    if aggregate.unit == "mm" and aggregate.edge is Edge.OUTER:
        outer_mm = aggregate.median
    else:
        outer_mm = None
    given = next((m.value for r in same if (m := r.get(GIVEN_AGE)) and m.value is not None), None)
    centile = None
    if outer_mm is not None and given is not None:
        centile = biometry.circumference_centile(outer_mm, given)
    return {
        "unit": aggregate.unit,
        "head_circumference": round(aggregate.median, 3),
        "interval_95": rounded_pair(aggregate.known_interval),
        **{name: None if value is None else round(value, 3) for name, value in values.items()},
        "gestational_age_hadlock": _age(biometry.age_by_hadlock(outer_mm) if outer_mm is not None else None),
        "gestational_age_intergrowth": _age(biometry.age_by_intergrowth(outer_mm) if outer_mm is not None else None),
        "gestational_age_given_weeks": None if given is None else round(given, 3),
        "head_circumference_centile_percent": None if centile is None else round(centile, 2),
    }


def _median(readings: Sequence[Reading], name: str, unit: str) -> float | None:
    found = [m for reading in readings if (m := reading.get(name)) is not None]
    known = [value for m in found if (value := _value_in(m, unit)) is not None]
    if known:
        return median(known)
    return None


def _value_in(measurement: Measurement, unit: str) -> float | None:
    if measurement.value is not None:
        return measurement.value
    if unit == "mm":
        return measurement.value_mm
    return measurement.value_px


def _age(weeks: float | None) -> dict[str, Any] | None:
    if weeks is None:
        return None
    return {"weeks": round(weeks, 3), "words": biometry.age_words(weeks), "sd_days": biometry.age_sd_days(weeks)}


def _cells(reading: Reading) -> dict[str, FileValue]:
    return {**_age_cells(reading, HADLOCK), **_age_cells(reading, INTERGROWTH)}


def _age_cells(reading: Reading, name: str) -> dict[str, FileValue]:
    found = reading.get(name)
    if found is None or found.value is None:
        return {}
    return {f"{name}_words": biometry.age_words(found.value), f"{name}_sd_days": biometry.age_sd_days(found.value)}


FETAL_HEAD = register(
    Finding(
        "fetal-head",
        "Fetal head",
        absent="Fetal head not visualised",
        absent_banner="Fetal head not seen",
        read=read,
        labels=("fetal head",),
        quoted=CIRCUMFERENCE,
        quantities={
            AREA: Quantity(Dimension.AREA),
            CIRCUMFERENCE: Quantity(Dimension.LENGTH, "HC"),
            BIPARIETAL: Quantity(Dimension.LENGTH, "BPD"),
            OCCIPITOFRONTAL: Quantity(Dimension.LENGTH, "OFD"),
            CEPHALIC_INDEX: Quantity(Dimension.PERCENT, "Cephalic index"),
            HADLOCK: Quantity(Dimension.WEEKS, "GA, Hadlock 1984", is_estimated_age=True),
            INTERGROWTH: Quantity(Dimension.WEEKS, "GA, INTERGROWTH-21st", is_estimated_age=True),
            GIVEN_AGE: Quantity(Dimension.WEEKS, "GA given"),
            CENTILE: Quantity(Dimension.PERCENT, "HC centile, INTERGROWTH-21st"),
        },
        extra_columns=tuple(f"{name}_{what}" for name in (HADLOCK, INTERGROWTH) for what in ("words", "sd_days")),
        extra_cells=_cells,
        most_lines=8,
        context=frozenset({"gestational_age_weeks"}),
        report=report,
    )
)
