"""Measurements of one outlined structure: axes, extents and area, in pixels and (with a spacing) in millimetres.

Also how the plane cuts it: decided from one mask, then held steady over time (``PlaneTracker``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import FrameKey, ImageGeometry, Points, Sector
from usviewer.infer.prediction import Instance, Prediction
from usviewer.measure import uncertainty
from usviewer.measure.geometry import Ellipse, Moments, Shape, ellipse_overlap, projected_extent, shape_of
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Site, Status
from usviewer.units import Point, Spacing

# Nearer to the border of what is visible than this, more of the structure may lie beyond it.
BORDER_PX = 2.0
EDGE_GUESSED = "Near the edge of what is visible"
CARRIED = "Dashed: the outline of {age_s:.2f} s before, moved with the picture"
# docs/clinical.md, "The diameter from a mask": below the first the section runs across the vessel, above the second
# along it; between them it is undetermined.
TRANSVERSE_BELOW = 1.6
LONGITUDINAL_ABOVE = 2.5
# How long a new plane must last before it counts (same place): single frames flicker.
HOLD_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class InstanceShape:
    """One instance with its outline and how much it is like an ellipse (intersection over union)."""

    instance: Instance
    shape: Shape
    overlap: float

    @property
    def quality(self) -> float:
        """Score and likeness to an ellipse together, 0 to 1."""
        return self.instance.score * self.overlap


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A shape with its scale, if any, and how far its outline may be off (standard deviation in px, if known).

    Lengths in pixels are those of the picture with square pixels (``pixel_aspect`` is a frame pixel's width over its
    height): as high as its own, so that a length means the same in every direction.
    """

    shape: Shape
    spacing: Spacing | None
    edge_sd_px: float | None = None
    pixel_aspect: float = 1.0

    @property
    def ellipse(self) -> Ellipse:
        """The ellipse of the moments, in mm where there is a scale, else in square pixels."""
        return self._scaled(self.spacing).moments.ellipse()

    @property
    def scale_xy(self) -> Point:
        """What the sides of a frame pixel measure: mm where there is a scale, else square pixels."""
        if self.spacing is None:
            return (self.pixel_aspect, 1.0)
        return (self.spacing.x_mm_per_px, self.spacing.y_mm_per_px)

    def axis(self, name: str, *, minor: bool, plane: bool = False) -> Measurement:
        """The long or the short axis of the ellipse; ``plane`` adds the error of an oblique cut across a vessel."""
        # Which axis is the long one depends on the scale, so each unit has its own ellipse.
        length_px, _ = _axis_of(self._scaled(None).moments.ellipse(), minor)
        scaled = self._scaled(self.spacing)
        length, direction = _axis_of(scaled.moments.ellipse(), minor)
        return self._length(name, length_px, length, scaled.ends(direction, length, fits=True), plane)

    def extent(self, name: str, direction_px: Point, *, across: bool, fits: bool) -> Measurement:
        """Extent along a direction of the picture, or across it, of the ellipse; of the mask where none fits."""
        in_px, scaled = self._scaled(None), self._scaled(self.spacing)
        length_px = in_px.extent(in_px.direction(direction_px, across), fits)
        # An oblique cut makes every extent longer (docs/clinical.md, "What can go wrong"): ``plane`` is its error.
        direction = scaled.direction(direction_px, across)
        length = scaled.extent(direction, fits)
        return self._length(name, length_px, length, scaled.ends(direction, length, fits), plane=True)

    def circumference(self, name: str) -> Measurement:
        """Circumference of the ellipse (Ramanujan)."""
        length_px = self._scaled(None).moments.ellipse().circumference
        length_mm = None
        if self.spacing:
            length_mm = self.ellipse.circumference
        value = Measurement(name, Dimension.LENGTH, length_px, length_mm)
        return self.with_errors(value, uncertainty.CIRCUMFERENCE_GAIN)

    def area(self, name: str) -> Measurement:
        """Area of the mask."""
        count = self.shape.moments.area
        area_mm2 = None
        if self.spacing:
            area_mm2 = self.spacing.area_mm2(count)
        value = Measurement(name, Dimension.AREA, count * self.pixel_aspect, area_mm2)
        around = self.ellipse.circumference
        return uncertainty.area_with_errors(
            value, self.spacing, self.edge_sd_px, around, pixel_aspect=self.pixel_aspect
        )

    def with_errors(
        self, length: Measurement, gain: float = uncertainty.DIAMETER_GAIN, plane_sd: float | None = None
    ) -> Measurement:
        """A length on this outline with its errors."""
        return uncertainty.length_with_errors(
            length, self.spacing, self.edge_sd_px, gain, plane_sd, pixel_aspect=self.pixel_aspect
        )

    def _length(
        self, name: str, length_px: float, length: float, ends: tuple[Point, Point], plane: bool
    ) -> Measurement:
        length_mm = plane_sd = None
        if self.spacing:
            length_mm = length
        if plane:
            plane_sd = uncertainty.transverse_plane_sd(length, 2.0 * self.ellipse.semi_minor)
        value = Measurement(name, Dimension.LENGTH, length_px, length_mm, ends_xy_px=ends)
        return self.with_errors(value, plane_sd=plane_sd)

    def _scaled(self, spacing: Spacing | None) -> _Scaled:
        x_scale, y_scale = self.pixel_aspect, 1.0
        if spacing:
            x_scale, y_scale = spacing.x_mm_per_px, spacing.y_mm_per_px
        return _Scaled(self.shape, self.shape.moments.scaled(x_scale, y_scale), x_scale, y_scale)


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """The shape in mm (with a spacing) or square px (without), and the way back to the frame's pixels."""

    shape: Shape
    moments: Moments
    x_scale: float
    y_scale: float

    def direction(self, direction_px: Point, across: bool) -> Point:
        """A direction, or its perpendicular; turned after scaling, so that it stays one where pixels are not square."""
        x, y = direction_px[0] * self.x_scale, direction_px[1] * self.y_scale
        if across:
            return (y, -x)
        return (x, y)

    def extent(self, direction: Point, fits: bool) -> float:
        """Full extent of the ellipse, or of the mask's own pixels where no ellipse fits."""
        if fits:
            return self.moments.extent(direction)
        return projected_extent(self.shape.outline_xy_px * (self.x_scale, self.y_scale), direction)

    def ends(self, direction: Point, length: float, fits: bool) -> tuple[Point, Point]:
        """Ends in pixels of a caliper exactly as long as the number, through the centroid along the direction.

        Where the mask is not an ellipse its extent need not be centred on the centroid: its own ends count.
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


def _axis_of(ellipse: Ellipse, minor: bool) -> tuple[float, Point]:
    if minor:
        return 2.0 * ellipse.semi_minor, ellipse.minor_direction
    return 2.0 * ellipse.semi_major, ellipse.major_direction


# --- from a prediction to a section -----------------------------------------------------------------------------------


def shapes_of(prediction: Prediction, most: int) -> list[InstanceShape]:
    """The first instances that have a mask with something in it."""
    return _shaped(prediction.instances[:most])


def _shaped(instances: Sequence[Instance]) -> list[InstanceShape]:
    found = []
    for instance in instances:
        if instance.mask is None:
            continue
        shape = shape_of(instance.mask, instance.mask_origin_px)
        if shape is not None:
            found.append(InstanceShape(instance, shape, ellipse_overlap(shape)))
    return found


def candidates(prediction: Prediction, most: int) -> tuple[list[InstanceShape], list[InstanceShape]]:
    """The first instances with a mask that may be measured, and those of the model's other labels, best first.

    Where a model outlines lumen and wall only one of them is ever measured, whichever is the surer on a frame: their
    diameters differ by twice the wall.
    """
    wanted = prediction.measured
    measured = [one for one in prediction.instances if not wanted or one.label == wanted]
    others = [one for one in prediction.instances if wanted and one.label != wanted]
    return _shaped(measured[:most]), _shaped(others[:most])


def with_outlines(reading: Reading, found: list[InstanceShape], geometry: ImageGeometry) -> Reading:
    """Add what was found to a reading; the first is the one that is measured, and sets score, edge and scale.

    The scale is that of the region that holds its whole outline; where there is none the reading says why.
    """
    first = found[0]
    spacing, reason = geometry.spacing_of_outline(first.shape.outline_xy_px)
    return replace(
        reading,
        outlines_xy_px=tuple(f.shape.outline_xy_px for f in found),
        labels=tuple(f.instance.label for f in found),
        boxes_xyxy_px=tuple(f.instance.box_xyxy_px for f in found),
        scores=tuple(f.instance.score for f in found),
        score=first.instance.score,
        edge=first.instance.edge,
        spacing=spacing,
        no_scale_reason=reason,
    )


def not_visualised(reading: Reading, reason: str, others: list[InstanceShape]) -> Reading:
    """Make a reading of a frame on which there is nothing to measure.

    What else the model found (``others``) is named but not outlined: an outline would look like the structure's own.
    """
    labels, scores = tuple(f.instance.label for f in others), tuple(f.instance.score for f in others)
    return replace(reading, status=Status.NOT_VISUALISED, reason=reason, labels=labels, scores=scores)


def with_carried(reading: Reading, prediction: Prediction) -> Reading:
    """Outline, dashed, what was seen a moment ago, where nothing is seen now. It is never measured."""
    wanted = [one for one in prediction.carried if one.label == prediction.measured or not prediction.measured]
    found = _shaped(wanted)
    if reading.status is not Status.NOT_VISUALISED or not found:
        return reading
    return replace(
        reading,
        reason=CARRIED.format(age_s=prediction.carried_s),
        outlines_xy_px=tuple(f.shape.outline_xy_px for f in found),
        labels=tuple(f.instance.label for f in found),
        scores=(),
        edge=found[0].instance.edge,
        uncertain=True,
        carried_s=prediction.carried_s,
    )


def too_small(
    shape: Shape,
    spacing: Spacing | None,
    geometry: ImageGeometry,
    frame_size_px: tuple[int, int],
    least_mm2: float,
    least_share: float,
) -> bool:
    """True below an area of ``least_mm2``; without a scale, below ``least_share`` of what is visible."""
    # Why small masks are refused: docs/clinical.md, "The diameter from a mask". How small is for each finding to say.
    if spacing is not None:
        return spacing.area_mm2(shape.moments.area) < least_mm2
    return shape.moments.area < least_share * _visible_px(geometry.sector, frame_size_px)


def near_guess(shape: Shape, sector: Sector | None) -> bool:
    """True when the shape meets or crosses an outline that is only a guess: a warning, where a sure one refuses."""
    if sector is None or sector.certain or len(sector.outline_xy_px) < 3:
        return False
    outline = sector.outline_xy_px.astype(np.float32)
    around: Points = shape.moments.ellipse().polygon(24)
    return any(cv2.pointPolygonTest(outline, (float(x), float(y)), True) <= BORDER_PX for x, y in around)


def add_warning(reading: Reading, warning: str) -> Reading:
    """Add a warning to a reading."""
    return replace(reading, warnings=(*reading.warnings, warning))


def share(value: float) -> float:
    """The nearest value from 0 to 1."""
    return float(min(1.0, max(0.0, value)))


def _visible_px(sector: Sector | None, frame_size_px: tuple[int, int]) -> float:
    """Area of the sector by the shoelace formula; of the frame where no sector is known."""
    if sector is None or len(sector.outline_xy_px) < 3:
        return float(frame_size_px[0] * frame_size_px[1])
    x, y = sector.outline_xy_px.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a mask meets the border: at the two ends of its long axis, or along its walls."""

    first_end: bool = False
    second_end: bool = False
    wall: bool = False

    @property
    def any(self) -> bool:
        """True when the mask meets the border anywhere."""
        return self.first_end or self.second_end or self.wall


def contact_of(shape: Shape, touching_xy_px: Points, scale_xy: Point = (1.0, 1.0)) -> Contact:
    """Sort the touching pixels (N, 2, frame px): an end is the last diameter along the long axis, the rest is wall.

    ``scale_xy`` is what the sides of a pixel measure: which axis is the long one depends on it.
    """
    if not len(touching_xy_px):
        return Contact()
    ellipse = shape.moments.scaled(*scale_xy).ellipse()
    axis = np.asarray(ellipse.major_direction)
    centre = np.asarray(ellipse.center_xy)
    reach = (shape.outline_xy_px * scale_xy - centre) @ axis
    along = (touching_xy_px * scale_xy - centre) @ axis
    diameter = min(2.0 * ellipse.semi_minor, 0.35 * float(reach.max() - reach.min()))
    first, second = along <= reach.min() + diameter, along >= reach.max() - diameter
    return Contact(bool(first.any()), bool(second.any()), bool((~first & ~second).any()))


def plane_of(elongation: float, contact: Contact) -> Plane:
    """The plane that one mask shows (``docs/clinical.md``, "The diameter from a mask").

    A round mask that meets the border is undetermined: it may be the part of a larger one.
    """
    if elongation < TRANSVERSE_BELOW and contact.any:
        return Plane.UNDETERMINED
    if elongation < TRANSVERSE_BELOW:
        return Plane.TRANSVERSE
    if elongation > LONGITUDINAL_ABOVE or (contact.first_end and contact.second_end):
        return Plane.LONGITUDINAL
    return Plane.UNDETERMINED


class PlaneTracker:
    """Holds the plane over the frames of one source: a new one counts after half a second.

    ``pinned`` is the operator's own word and wins over what the masks show; ``site``, too, is the operator's and goes
    into every reading. Both may be set at any time.
    """

    def __init__(self, pinned: Plane | None = None, site: Site = Site.NOT_SET) -> None:
        self.pinned = pinned
        self.site = site
        self.reset()

    def reset(self) -> None:
        """Forget what was seen (a seek, another source or model); pin and site stay."""
        self._held = Plane.UNDETERMINED
        self._challenger: tuple[Plane, float] | None = None
        self._last: tuple[str, float] | None = None

    def update(self, seen: Plane, key: FrameKey) -> Plane:
        """The plane to believe at this frame, by media time."""
        now = key.time_s
        if self._last is None or self._last[0] != key.source or not 0.0 <= now - self._last[1] <= HOLD_S:
            self.reset()
        self._last = (key.source, now)
        if self.pinned is not None:
            return self.pinned
        if seen is self._held or self._held is Plane.UNDETERMINED:
            self._held, self._challenger = seen, None
        elif self._challenger is None or self._challenger[0] is not seen:
            self._challenger = (seen, now)
        elif now - self._challenger[1] >= HOLD_S:
            self._held, self._challenger = seen, None
        return self._held
