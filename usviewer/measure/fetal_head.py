"""The fetal head: circumference, diameters, gestational age, or a reason why there is none.

Formulas and their sources: ``docs/clinical.md``, "Fetal head".
"""

from __future__ import annotations

from dataclasses import replace

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Edge, Prediction
from usviewer.measure import biometry
from usviewer.measure.generic import base_reading
from usviewer.measure.geometry import border_distance_px, border_margin_px
from usviewer.measure.reading import Dimension, Measurement, Reading, Status
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

FINDING = "fetal-head"
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


def read(prediction: Prediction, geometry: ImageGeometry | None, gestational_age_weeks: float | None = None) -> Reading:
    """Measure the head of one frame.

    ``head_circumference`` (the answer; Ramanujan, of the ellipse with the mask's second moments),
    ``biparietal_diameter`` and ``occipitofrontal_diameter`` (its axes: **outer to outer** where the model outlines the
    outer edge), ``cephalic_index``, ``area``. With a scale and an outline of the outer edge also the gestational ages
    by Hadlock 1984 and INTERGROWTH-21st, each only within its range. ``gestational_age_weeks`` is what the operator
    typed: only against it there is a centile, and it is never replaced by an estimate.

    ``quality`` is the product of the model's score and the overlap of mask and ellipse.
    """
    geometry = geometry or ImageGeometry()
    reading = replace(base_reading(prediction, FINDING, geometry), label=prediction.measured)
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
    return _with_age(reading, gestational_age_weeks)


def _refusal(found: InstanceShape, section: Section, geometry: ImageGeometry, frame_size_px: tuple[int, int]) -> str:
    if too_small(found.shape, section.spacing, geometry, frame_size_px, MIN_AREA_MM2, MIN_VISIBLE_SHARE):
        return SMALL
    margin = border_margin_px(found.shape, border_distance_px(geometry.sector, frame_size_px))
    if float(margin[found.shape.mask].min()) <= BORDER_PX:
        return CLIPPED
    return NO_ELLIPSE if found.overlap < MIN_OVERLAP else ""


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
