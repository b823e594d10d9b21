"""The abdominal aorta: diameters with their plane and convention, or a reason why there is none.

Rules and their sources: ``docs/clinical.md``, "Abdominal aorta".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from usviewer.frame import ImageGeometry, Sector
from usviewer.infer.prediction import Prediction
from usviewer.measure import tube, uncertainty
from usviewer.measure.generic import base_reading
from usviewer.measure.geometry import Shape, border_distance_px, border_margin_px, solidity, touching_xy_px
from usviewer.measure.plane import Contact, PlaneTracker, contact_of, plane_of
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Status
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

FINDING = "aorta"
AP, TRANSVERSE = "ap_diameter", "transverse_diameter"
MAJOR, MINOR = "major_diameter", "minor_diameter"
AREA, LONGITUDINAL = "area", "longitudinal_diameter"

MIN_AREA_MM2 = 50.0
MIN_SECTOR_SHARE = 0.001
MIN_OVERLAP = 0.90
MIN_SOLIDITY = 0.80
OBLIQUE_ABOVE = 1.3
CANDIDATES = 4

NONE = "No aorta is visible"
CLIPPED = "The vessel is cut off by the edge of the picture: show it whole"
SMALL = "What was found is too small to be an aorta"
IRREGULAR = "The outline is too irregular to be measured"
PLANE_UNKNOWN = "Neither clearly across nor along the vessel: turn the probe, or set the plane"
PLANE_CHANGING = "The plane is changing: hold still"
TOO_SHORT = "Too little of the vessel's length is visible to measure across it"

OBLIQUE = "Oblique or not circular"
IRREGULAR_OUTLINE = "Irregular outline: extent of the mask, not of an ellipse"
MAY_UNDERESTIMATE = "Longitudinal: may underestimate"
SEVERAL = "More than one vessel-like structure: the best one is measured"
PIN_DIFFERS = "The outline does not look like the plane that was set"


def read(prediction: Prediction, geometry: ImageGeometry | None, tracker: PlaneTracker | None = None) -> Reading:
    """Measure the aorta of one frame.

    Transverse: ``ap_diameter`` (along the beam), ``transverse_diameter`` (across it), ``major_diameter`` and
    ``minor_diameter`` of the ellipse, ``area``. Longitudinal: ``longitudinal_diameter``, ``area``. The first is the
    answer. Refused or not visualised: no measurement at all. ``tracker`` steadies the plane over time and holds the
    operator's pin; without one each frame speaks for itself.

    Of a model with several labels only ``prediction.measured`` is measured; the others are outlined beside it.

    ``quality`` is the product of the model's score, the overlap of mask and ellipse (solidity when cut lengthwise), the
    roundness (minor over major axis, transverse only) and the distance from the border (1 at half a diameter or more).
    """
    geometry = geometry or ImageGeometry()
    reading = replace(base_reading(prediction, FINDING, geometry), label=prediction.measured)
    if tracker is not None:
        reading = replace(reading, site=tracker.site, plane_set=tracker.pinned is not None)
    # The best product of score and likeness to an ellipse; never the largest for its size.
    able, others = candidates(prediction, CANDIDATES)
    found = max(able, key=lambda f: f.quality, default=None)
    if found is None:
        return not_visualised(reading, NONE, others)
    reading = with_outlines(reading, [found, *others], geometry)
    section = Section(found.shape, reading.spacing, prediction.edge_sd_px, geometry.pixel_aspect)
    margin = border_margin_px(found.shape, border_distance_px(geometry.sector, prediction.frame_size_px))
    contact = contact_of(found.shape, touching_xy_px(found.shape, margin, BORDER_PX), section.scale_xy)
    seen = plane_of(section.ellipse.elongation, contact)
    plane = tracker.update(seen, prediction.key) if tracker else seen
    reason = (
        SMALL if _too_small(section, geometry, prediction) else _refusal(found.shape, plane, seen, contact, tracker)
    )
    if reason:
        return replace(reading, status=Status.REFUSED, reason=reason, plane=plane)
    if len(able) > 1:
        reading = add_warning(reading, SEVERAL)
    if tracker and tracker.pinned and seen not in (plane, Plane.UNDETERMINED):
        reading = add_warning(reading, PIN_DIFFERS)
    if plane is Plane.LONGITUDINAL:
        return _longitudinal(reading, found, section, margin)
    return _transverse(reading, found, section, geometry.sector, float(margin[found.shape.mask].min()))


def _too_small(section: Section, geometry: ImageGeometry, prediction: Prediction) -> bool:
    size_px = prediction.frame_size_px
    return too_small(section.shape, section.spacing, geometry, size_px, MIN_AREA_MM2, MIN_SECTOR_SHARE)


def _refusal(shape: Shape, plane: Plane, seen: Plane, contact: Contact, tracker: PlaneTracker | None) -> str:
    """Why this mask must not become a number; empty when it may."""
    pinned = tracker is not None and tracker.pinned is not None
    if not pinned and seen not in (plane, Plane.UNDETERMINED):
        return PLANE_CHANGING
    lengthwise = plane is Plane.LONGITUDINAL and (pinned or seen is plane)
    if contact.wall or (contact.any and not lengthwise):
        return CLIPPED
    if plane is Plane.UNDETERMINED:
        return PLANE_UNKNOWN
    if plane is Plane.TRANSVERSE and solidity(shape) < MIN_SOLIDITY:
        return IRREGULAR
    return ""


def _transverse(
    reading: Reading, found: InstanceShape, section: Section, sector: Sector | None, margin_px: float
) -> Reading:
    shape = found.shape
    beam = sector.beam_direction(shape.moments.centroid_xy) if sector else (0.0, 1.0)
    fits = found.overlap >= MIN_OVERLAP
    elongation = section.ellipse.elongation
    measurements = (
        section.extent(AP, beam, across=False, fits=fits),
        section.extent(TRANSVERSE, beam, across=True, fits=fits),
        section.axis(MAJOR, minor=False, plane=True),
        section.axis(MINOR, minor=True, plane=True),
        section.area(AREA),
    )
    if elongation > OBLIQUE_ABOVE:
        reading = add_warning(reading, OBLIQUE)
    if not fits:
        reading = add_warning(reading, IRREGULAR_OUTLINE)
    if near_guess(shape, sector):
        reading = add_warning(reading, EDGE_GUESSED)
    clearance = min(1.0, margin_px / max(1.0, shape.moments.ellipse().semi_minor))
    quality = share(found.quality / elongation * clearance)
    return replace(reading, status=Status.MEASURED, plane=Plane.TRANSVERSE, measurements=measurements, quality=quality)


def _longitudinal(reading: Reading, found: InstanceShape, section: Section, margin: NDArray[np.float32]) -> Reading:
    spacing, near = reading.spacing, margin <= tube.EDGE_PX
    in_px = tube.widest(found.shape, near, section.pixel_aspect)
    in_mm = tube.widest(found.shape, near, spacing.x_mm_per_px, spacing.y_mm_per_px) if spacing else None
    if in_px is None or (spacing and in_mm is None):
        return replace(reading, status=Status.REFUSED, reason=TOO_SHORT, plane=Plane.LONGITUDINAL)
    ends = (in_mm or in_px).ends_xy_px
    width = Measurement(LONGITUDINAL, Dimension.LENGTH, in_px.width, in_mm.width if in_mm else None, ends_xy_px=ends)
    plane_sd = uncertainty.longitudinal_plane_sd((in_mm or in_px).width)
    width = section.with_errors(width, plane_sd=plane_sd)
    return replace(
        add_warning(reading, MAY_UNDERESTIMATE),
        status=Status.MEASURED,
        plane=Plane.LONGITUDINAL,
        measurements=(width, section.area(AREA)),
        quality=share(found.instance.score * solidity(found.shape)),
    )
