"""The abdominal aorta: diameters with their plane and convention, or a reason why there is none (``clinical.md`` 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import ImageGeometry, Sector
from usviewer.infer.prediction import Instance, Prediction
from usviewer.measure import tube
from usviewer.measure.generic import base_reading
from usviewer.measure.geometry import (
    Ellipse,
    Moments,
    Shape,
    border_distance_px,
    border_margin_px,
    ellipse_overlap,
    projected_extent,
    shape_of,
    solidity,
    touching_xy_px,
)
from usviewer.measure.plane import Contact, PlaneTracker, contact_of, plane_of
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Status
from usviewer.units import Point, Spacing

FINDING = "aorta"
AP, TRANSVERSE = "ap_diameter", "transverse_diameter"
MAJOR, MINOR = "major_diameter", "minor_diameter"
AREA, LONGITUDINAL = "area", "longitudinal_diameter"

MIN_AREA_MM2 = 50.0
MIN_SECTOR_SHARE = 0.001
MIN_OVERLAP = 0.90
MIN_SOLIDITY = 0.80
OBLIQUE_ABOVE = 1.3
BORDER_PX = 2.0
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
EDGE_GUESSED = "Near the edge of what is visible"


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """One instance with everything the rules ask about."""

    instance: Instance
    shape: Shape
    overlap: float


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """The vessel in mm (with a spacing) or px (without), and the way back to pixels."""

    shape: Shape
    moments: Moments
    x_scale: float
    y_scale: float

    def direction(self, name: str, beam_px: Point) -> Point:
        """The beam, or its perpendicular; turned after scaling, so that it stays one where pixels are not square."""
        x, y = beam_px[0] * self.x_scale, beam_px[1] * self.y_scale
        return (y, -x) if name == TRANSVERSE else (x, y)

    def extent(self, direction: Point, fits: bool) -> float:
        """Full extent of the ellipse, or of the mask's own pixels where no ellipse fits."""
        if fits:
            return self.moments.extent(direction)
        return projected_extent(self.shape.outline_xy_px * (self.x_scale, self.y_scale), direction)

    def ends(self, direction: Point, length: float, fits: bool) -> tuple[Point, Point]:
        """Ends in pixels of a caliper exactly as long as the number, through the centroid along the direction.

        Of a mask that is no ellipse the extent need not be centred on the centroid: its own ends count.
        """
        unit = np.asarray(direction) / np.hypot(*direction)
        centre = np.asarray(self.moments.centroid_xy)
        if not fits:
            positions = (self.shape.outline_xy_px * (self.x_scale, self.y_scale) - centre) @ unit
            centre = centre + unit * 0.5 * (positions.max() + positions.min())
        first, last = centre - unit * 0.5 * length, centre + unit * 0.5 * length
        return self._to_px(first), self._to_px(last)

    def _to_px(self, point: NDArray[np.float64]) -> Point:
        return (float(point[0]) / self.x_scale, float(point[1]) / self.y_scale)


def read(prediction: Prediction, geometry: ImageGeometry | None, tracker: PlaneTracker | None = None) -> Reading:
    """Measure the aorta of one frame.

    Transverse: ``ap_diameter`` (along the beam), ``transverse_diameter`` (across it), ``major_diameter`` and
    ``minor_diameter`` of the ellipse, ``area``. Longitudinal: ``longitudinal_diameter``, ``area``. The first is the
    answer. Refused or not visualised: no measurement at all. ``tracker`` steadies the plane over time and holds the
    operator's pin; without one each frame speaks for itself.

    ``quality`` is the product of the model's score, the overlap of mask and ellipse (solidity when cut lengthwise), the
    roundness (minor over major axis, transverse only) and the distance from the border (1 at half a diameter or more).
    """
    geometry = geometry or ImageGeometry()
    reading = base_reading(prediction, FINDING, geometry)
    found = _best(prediction)
    if found is None:
        return replace(reading, status=Status.NOT_VISUALISED, reason=NONE)
    reading = _with_outline(reading, found, geometry)
    sector = geometry.sector
    margin = border_margin_px(found.shape, border_distance_px(sector, prediction.frame_size_px))
    contact = contact_of(found.shape, found.shape.moments.ellipse(), touching_xy_px(found.shape, margin, BORDER_PX))
    seen = plane_of(_scaled(found.shape, reading.spacing).moments.ellipse().elongation, contact)
    plane = tracker.update(seen, prediction.key) if tracker else seen
    reason = _refusal(found.shape, reading.spacing, sector, prediction.frame_size_px, plane, seen, contact, tracker)
    if reason:
        return replace(reading, status=Status.REFUSED, reason=reason, plane=plane)
    if len(prediction.instances) > 1:
        reading = _warned(reading, SEVERAL)
    if tracker and tracker.pinned and seen not in (plane, Plane.UNDETERMINED):
        reading = _warned(reading, PIN_DIFFERS)
    if plane is Plane.LONGITUDINAL:
        return _longitudinal(reading, found, margin)
    return _transverse(reading, found, sector, float(margin[found.shape.mask].min()))


def _best(prediction: Prediction) -> _Found | None:
    """The instance with the best product of score and likeness to an ellipse; never the largest for its size."""
    found = []
    for instance in prediction.instances[:CANDIDATES]:
        shape = shape_of(instance.mask, instance.mask_origin_px) if instance.mask is not None else None
        if shape is not None:
            found.append(_Found(instance, shape, ellipse_overlap(shape)))
    return max(found, key=lambda f: f.instance.score * f.overlap, default=None)


def _with_outline(reading: Reading, found: _Found, geometry: ImageGeometry) -> Reading:
    outline = found.shape.outline_xy_px
    spacing, reason = geometry.spacing_for(outline)
    return replace(
        reading,
        outlines_xy_px=(outline,),
        labels=(found.instance.label,),
        boxes_xyxy_px=(found.instance.box_xyxy_px,),
        scores=(found.instance.score,),
        score=found.instance.score,
        edge=found.instance.edge,
        spacing=spacing,
        no_scale_reason=reason,
    )


def _refusal(
    shape: Shape,
    spacing: Spacing | None,
    sector: Sector | None,
    frame_size_px: tuple[int, int],
    plane: Plane,
    seen: Plane,
    contact: Contact,
    tracker: PlaneTracker | None,
) -> str:
    """Why this mask must not become a number; empty when it may."""
    if _too_small(shape, spacing, sector, frame_size_px):
        return SMALL
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


def _too_small(shape: Shape, spacing: Spacing | None, sector: Sector | None, frame_size_px: tuple[int, int]) -> bool:
    if spacing is not None:
        return spacing.area_mm2(shape.moments.area) < MIN_AREA_MM2
    return shape.moments.area < MIN_SECTOR_SHARE * _visible_px(sector, frame_size_px)


def _visible_px(sector: Sector | None, frame_size_px: tuple[int, int]) -> float:
    """Area of the sector by the shoelace formula; of the frame where no sector is known."""
    if sector is None or len(sector.outline_xy_px) < 3:
        return float(frame_size_px[0] * frame_size_px[1])
    x, y = sector.outline_xy_px.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def _transverse(reading: Reading, found: _Found, sector: Sector | None, margin_px: float) -> Reading:
    shape = found.shape
    beam = sector.beam_direction(shape.moments.centroid_xy) if sector else (0.0, 1.0)
    fits = found.overlap >= MIN_OVERLAP
    ellipse = _scaled(shape, reading.spacing).moments.ellipse()
    measurements = (
        _across(AP, shape, reading.spacing, beam, fits),
        _across(TRANSVERSE, shape, reading.spacing, beam, fits),
        _axis(MAJOR, shape, reading.spacing),
        _axis(MINOR, shape, reading.spacing),
        _area(shape, reading.spacing),
    )
    if ellipse.elongation > OBLIQUE_ABOVE:
        reading = _warned(reading, OBLIQUE)
    if not fits:
        reading = _warned(reading, IRREGULAR_OUTLINE)
    if _near_guess(shape, sector):
        reading = _warned(reading, EDGE_GUESSED)
    clearance = min(1.0, margin_px / max(1.0, shape.moments.ellipse().semi_minor))
    quality = found.instance.score * found.overlap / ellipse.elongation * clearance
    return replace(
        reading, status=Status.MEASURED, plane=Plane.TRANSVERSE, measurements=measurements, quality=_unit(quality)
    )


def _longitudinal(reading: Reading, found: _Found, margin: NDArray[np.float32]) -> Reading:
    spacing, near = reading.spacing, margin <= tube.EDGE_PX
    in_px = tube.widest(found.shape, near)
    in_mm = tube.widest(found.shape, near, spacing.x_mm_per_px, spacing.y_mm_per_px) if spacing else None
    if in_px is None or (spacing and in_mm is None):
        return replace(reading, status=Status.REFUSED, reason=TOO_SHORT, plane=Plane.LONGITUDINAL)
    ends = (in_mm or in_px).ends_xy_px
    width = Measurement(LONGITUDINAL, Dimension.LENGTH, in_px.width, in_mm.width if in_mm else None, ends_xy_px=ends)
    return replace(
        _warned(reading, MAY_UNDERESTIMATE),
        status=Status.MEASURED,
        plane=Plane.LONGITUDINAL,
        measurements=(width, _area(found.shape, spacing)),
        quality=_unit(found.instance.score * solidity(found.shape)),
    )


def _scaled(shape: Shape, spacing: Spacing | None) -> _Scaled:
    x_scale, y_scale = (spacing.x_mm_per_px, spacing.y_mm_per_px) if spacing else (1.0, 1.0)
    return _Scaled(shape, shape.moments.scaled(x_scale, y_scale), x_scale, y_scale)


def _across(name: str, shape: Shape, spacing: Spacing | None, beam_px: Point, fits: bool) -> Measurement:
    """Extent along or across the beam, of the ellipse or (when none fits) of the mask itself."""
    in_px, in_mm = _scaled(shape, None), _scaled(shape, spacing)
    length_px = in_px.extent(in_px.direction(name, beam_px), fits)
    direction = in_mm.direction(name, beam_px)
    length = in_mm.extent(direction, fits)
    ends = in_mm.ends(direction, length, fits)
    return Measurement(name, Dimension.LENGTH, length_px, length if spacing else None, ends_xy_px=ends)


def _axis(name: str, shape: Shape, spacing: Spacing | None) -> Measurement:
    in_px, in_mm = _scaled(shape, None), _scaled(shape, spacing)
    length_px, _ = _axis_of(name, in_px.moments.ellipse())
    length, direction = _axis_of(name, in_mm.moments.ellipse())
    ends = in_mm.ends(direction, length, fits=True)
    return Measurement(name, Dimension.LENGTH, length_px, length if spacing else None, ends_xy_px=ends)


def _axis_of(name: str, ellipse: Ellipse) -> tuple[float, Point]:
    if name == MINOR:
        return 2.0 * ellipse.semi_minor, ellipse.minor_direction
    return 2.0 * ellipse.semi_major, ellipse.major_direction


def _area(shape: Shape, spacing: Spacing | None) -> Measurement:
    area_px = shape.moments.area
    return Measurement(AREA, Dimension.AREA, area_px, spacing.area_mm2(area_px) if spacing else None)


def _near_guess(shape: Shape, sector: Sector | None) -> bool:
    """True when the vessel meets or crosses an outline that is only a guess: a warning, where a sure one refuses."""
    if sector is None or sector.certain or len(sector.outline_xy_px) < 3:
        return False
    outline = sector.outline_xy_px.astype(np.float32)
    around = shape.moments.ellipse().polygon(24)
    return any(cv2.pointPolygonTest(outline, (float(x), float(y)), True) <= BORDER_PX for x, y in around)


def _warned(reading: Reading, warning: str) -> Reading:
    return replace(reading, warnings=(*reading.warnings, warning))


def _unit(value: float) -> float:
    return float(min(1.0, max(0.0, value)))
