"""Measures what the user pointed at, under the user's name for it: size, ellipse and depth, by the rules of all."""

from __future__ import annotations

from dataclasses import replace

from usviewer.frame import ImageGeometry
from usviewer.infer.prediction import Instance, Prediction
from usviewer.measure.findings import ReadState, finding_of
from usviewer.measure.findings.base import base_reading
from usviewer.measure.findings.nerve import depths
from usviewer.measure.geometry import border_distance_px, border_margin_px
from usviewer.measure.reading import Provenance, Reading, Status
from usviewer.measure.section import BORDER_PX, EDGE_GUESSED, Section, near_guess, shapes_of, with_outlines

LONG_AXIS, SHORT_AXIS, AREA, CIRCUMFERENCE = "long_axis", "short_axis", "area", "circumference"
UNNAMED = "structure"
NOTHING = "Nothing was outlined here"
CUT_OFF = "It reaches the edge of the picture: it may be larger than measured"


def read_pointed(prediction: Prediction, geometry: ImageGeometry | None, label: str, why: str = "") -> Reading:
    """Measure the best instance as what ``label`` calls it.

    ``long_axis``, ``short_axis``, ``area`` and ``circumference`` (of the ellipse of the moments), ``depth`` and
    ``centroid_depth`` where the probe face is known; where a finding is called so that one outline is enough for, that
    finding's own measurements: the name is the user's word for what it is. In mm only where one region with a scale
    holds the outline. ``why`` says why the outline should not be trusted.
    """
    label = label.strip() or UNNAMED
    prediction = replace(prediction, instances=tuple(replace(i, label=label) for i in prediction.instances[:1]))
    finding = finding_of(label.casefold().replace(" ", "-"))
    if finding.from_outline:
        reading = finding.read(prediction, geometry, ReadState())
    else:
        reading = _read(prediction, geometry, label)
    if reading.status is Status.NOT_VISUALISED and why:
        reading = replace(reading, reason=why)
    warnings = reading.warnings
    if why:
        warnings = (why, *warnings)
    return replace(reading, provenance=Provenance.PROMPTED, uncertain=bool(why), warnings=warnings)


def limit_quality(reading: Reading, confidence: float | None) -> Reading:
    """The reading of an outline that was tracked to this frame: its quality is at most the tracker's ``confidence``.

    It is unchanged where the outline was not tracked (None).
    """
    if confidence is None or reading.status is not Status.MEASURED:
        return reading
    if reading.quality is not None:
        confidence = min(confidence, reading.quality)
    return replace(reading, quality=confidence)


def add_other_structures(reading: Reading, prediction: Prediction, others: tuple[Instance, ...]) -> Reading:
    """Add the outlines of what else was pointed at on the same picture; these are not measured."""
    rest = shapes_of(replace(prediction, instances=others), len(others))
    if not rest:
        return reading
    return replace(
        reading,
        outlines_xy_px=(*reading.outlines_xy_px, *(f.shape.outline_xy_px for f in rest)),
        labels=(*reading.labels, *(f.instance.label for f in rest)),
        boxes_xyxy_px=(*reading.boxes_xyxy_px, *(f.instance.box_xyxy_px for f in rest)),
        scores=(*reading.scores, *(f.instance.score for f in rest)),
    )


def _read(prediction: Prediction, geometry: ImageGeometry | None, label: str) -> Reading:
    geometry = geometry or ImageGeometry()
    reading = base_reading(prediction, label, geometry)
    found = shapes_of(prediction, 1)
    if not found:
        return replace(reading, reason=NOTHING)
    reading = with_outlines(reading, found, geometry)
    shape = found[0].shape
    section = Section(shape, reading.spacing, prediction.edge_sd_px, geometry.pixel_aspect)
    margin = border_margin_px(shape, border_distance_px(geometry.sector, prediction.frame_size_px))
    cut = float(margin[shape.mask].min()) <= BORDER_PX
    notes = ((CUT_OFF, cut), (EDGE_GUESSED, near_guess(shape, geometry.sector) and not cut))
    found_depths = depths(section, geometry.sector)
    # One line on the picture is enough: the other depths have their number only.
    drawn = (*found_depths[:1], *(replace(depth, ends_xy_px=None) for depth in found_depths[1:]))
    sizes = (section.axis(LONG_AXIS, minor=False), section.axis(SHORT_AXIS, minor=True), section.area(AREA))
    return replace(
        reading,
        status=Status.MEASURED,
        measurements=(*sizes, section.circumference(CIRCUMFERENCE), *drawn),
        warnings=(*reading.warnings, *(note for note, true in notes if true)),
    )
