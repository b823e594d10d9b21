"""The operator's own measurements and outlines, by the geometry and the rules of scale of the automatic ones.

What the user pointed at is measured under the user's name for it: size, ellipse and depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from usviewer.frame import FrameKey, ImageGeometry, Mask, Points
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure import NO_CONTEXT, ExamContext, read
from usviewer.measure.findings import ReadState, finding_of
from usviewer.measure.findings.base import base_reading
from usviewer.measure.findings.nerve import depths
from usviewer.measure.geometry import Ellipse, Moments, border_distance_px, border_margin_px
from usviewer.measure.reading import Dimension, Measurement, Plane, Provenance, Reading, Status
from usviewer.measure.section import (
    BORDER_PX,
    EDGE_GUESSED,
    PlaneTracker,
    Section,
    near_guess,
    shapes_of,
    with_outlines,
)
from usviewer.units import Point, Spacing

CALIPER, ELLIPSE = "caliper", "ellipse"
LENGTH = "length"
LONG_AXIS, SHORT_AXIS = "long_axis", "short_axis"
CIRCUMFERENCE, AREA = "circumference", "area"
EVERYWHERE = ImageGeometry()
UNNAMED = "structure"
NOTHING = "Nothing was outlined here"
CUT_OFF = "It reaches the edge of the picture: it may be larger than measured"


def caliper(key: FrameKey, start_xy_px: Point, end_xy_px: Point, geometry: ImageGeometry | None) -> Reading:
    """A straight length. In mm only where one region with a scale holds both ends; else the reading says why not."""
    ends = (start_xy_px, end_xy_px)
    spacing, reason = (geometry or EVERYWHERE).spacing_for(np.array(ends, dtype=np.float64))
    aspect = (geometry or EVERYWHERE).pixel_aspect  # in pixels: of the picture with square pixels, as ``Section``
    length_px = math.hypot((end_xy_px[0] - start_xy_px[0]) * aspect, end_xy_px[1] - start_xy_px[1])
    length_mm = sd_mm = None
    if spacing:
        length_mm = spacing.length_mm(*ends)
        if spacing.relative_sd:  # 0 means that nobody stated an error, not that there is none
            sd_mm = spacing.relative_sd * length_mm
    length = Measurement(LENGTH, Dimension.LENGTH, length_px, length_mm, ends_xy_px=ends, sd_mm=sd_mm)
    return _manual(key, CALIPER, (length,), (), spacing, reason)


def ellipse_outline(axis_xy_px: tuple[Point, Point], half_width_px: float, count: int = 90) -> Points:
    """Points (count, 2) round the ellipse with this axis, from end to end, and this half width across it."""
    (x0, y0), (x1, y1) = axis_xy_px
    angle, half_length = math.atan2(y1 - y0, x1 - x0), math.hypot(x1 - x0, y1 - y0) / 2
    return Ellipse(((x0 + x1) / 2, (y0 + y1) / 2), half_length, half_width_px, angle).polygon(count)


def ellipse(
    key: FrameKey, axis_xy_px: tuple[Point, Point], half_width_px: float, geometry: ImageGeometry | None
) -> Reading:
    """Axes, circumference and area of an ellipse that was drawn by hand.

    In mm only where one region with a scale holds the whole of it. Circumference by Ramanujan's second approximation
    (1914), better than 0.01 % down to an axis ratio of 1 : 10.
    """
    outline = ellipse_outline(axis_xy_px, half_width_px)
    spacing, reason = (geometry or EVERYWHERE).spacing_for(outline)
    moments = _moments(axis_xy_px, half_width_px)
    in_px = moments.scaled((geometry or EVERYWHERE).pixel_aspect, 1.0).ellipse()
    # Scaled as moments: where pixels are not square the axes of an ellipse turn, and do not only stretch.
    in_mm = None
    if spacing:
        in_mm = moments.scaled(spacing.x_mm_per_px, spacing.y_mm_per_px).ellipse()
    values: tuple[tuple[str, Dimension, Callable[[Ellipse], float]], ...] = (
        (LONG_AXIS, Dimension.LENGTH, lambda e: 2 * e.semi_major),
        (SHORT_AXIS, Dimension.LENGTH, lambda e: 2 * e.semi_minor),
        (CIRCUMFERENCE, Dimension.LENGTH, lambda e: e.circumference),
        (AREA, Dimension.AREA, lambda e: math.pi * e.semi_major * e.semi_minor),
    )
    measurements = []
    for name, dimension, value in values:
        found = Measurement(name, dimension, value(in_px))
        if in_mm:
            found = replace(found, value_mm=value(in_mm))
        measurements.append(found)
    return _manual(key, ELLIPSE, tuple(measurements), (outline,), spacing, reason)


def _moments(axis_xy_px: tuple[Point, Point], half_width_px: float) -> Moments:
    """Exact moments of the filled ellipse: a quarter of the squared semi-axes along its own axes."""
    (x0, y0), (x1, y1) = axis_xy_px
    angle, half_length = math.atan2(y1 - y0, x1 - x0), math.hypot(x1 - x0, y1 - y0) / 2
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    covariance = (half_length**2 * np.outer(along, along) + half_width_px**2 * np.outer(across, across)) / 4
    return Moments(math.pi * half_length * half_width_px, ((x0 + x1) / 2, (y0 + y1) / 2), covariance)


def _manual(
    key: FrameKey,
    finding: str,
    measurements: tuple[Measurement, ...],
    outlines: tuple[Points, ...],
    spacing: Spacing | None,
    reason: str,
) -> Reading:
    if spacing:
        reason = ""
    return Reading(
        key,
        finding,
        Status.MEASURED,
        measurements=measurements,
        outlines_xy_px=outlines,
        spacing=spacing,
        no_scale_reason=reason,
        provenance=Provenance.MANUAL,
    )


# --- outlines by hand -------------------------------------------------------------------------------------------------


def handles_on(outline_xy_px: Points, count: int = 14) -> Points:
    """Points (count, 2) evenly spaced along a closed outline, for the hand to take."""
    closed = np.vstack([outline_xy_px, outline_xy_px[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0.0, along[-1], count, endpoint=False)
    return np.column_stack([np.interp(at, along, closed[:, axis]) for axis in (0, 1)])


def smooth_outline(handles_xy_px: Points, steps: int = 8) -> Points:
    """A closed curve through all handles (Catmull and Rom 1974), ``steps`` points from each to the next.

    Straight edges between so few points would cut a vessel's diameter by a percent; three handles stay a triangle.
    """
    points = np.asarray(handles_xy_px, dtype=np.float64).reshape(-1, 2)
    if len(points) < 4:
        return points
    before, after, beyond = (np.roll(points, shift, axis=0)[:, None, :] for shift in (1, -1, -2))
    here = points[:, None, :]
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * here
        + (after - before) * t
        + (2 * before - 5 * here + 4 * after - beyond) * t**2
        + (3 * here - before - 3 * after + beyond) * t**3
    )
    return np.asarray(curve.reshape(-1, 2))


# --- corrected outlines -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What a person drew in the place of one of the model's outlines on the picture with that digest.

    ``instance`` counts the outlines of the automatic reading; at their number the drawing is one more. ``mask``
    (read-only) covers the rectangle whose top-left pixel is ``mask_origin_px``; an empty one says: nothing is there.
    ``classes`` is everything the model can find, in the order of its classes.
    """

    digest: str
    instance: int
    label: str
    class_index: int
    mask: Mask
    mask_origin_px: tuple[int, int]
    edge: Edge = Edge.NOT_STATED
    classes: tuple[str, ...] = ()


def edit_of(
    whole: Mask,
    digest: str,
    instance: int,
    label: str,
    class_index: int,
    edge: Edge = Edge.NOT_STATED,
    classes: tuple[str, ...] = (),
) -> Edit:
    """An edit from a mask over the whole frame (height, width)."""
    x, y, width, height = cv2.boundingRect(whole.view(np.uint8))
    # A copy of the rectangle alone: a view would keep the whole frame's mask in memory.
    mask = whole[y : y + height, x : x + width].copy()
    mask.setflags(write=False)
    return Edit(digest, instance, label, class_index, mask, (x, y), edge, classes)


def fill_outline(outline_xy_px: Points, frame_size_px: tuple[int, int]) -> Mask:
    """The pixels (height, width) whose centres lie within a closed outline (even-odd rule).

    OpenCV's polygons also take the pixels that the line passes through, which makes every shape a pixel too wide.
    """
    width, height = frame_size_px
    whole = np.zeros((height, width), dtype=np.uint8)
    starts = np.asarray(outline_xy_px, dtype=np.float64).reshape(-1, 2)
    if len(starts) < 3:
        return whole.view(np.bool_)
    ends = np.roll(starts, -1, axis=0)
    (left, top), (right, bottom) = starts.min(axis=0), starts.max(axis=0)
    x0, x1 = (int(np.clip(side, 0, width)) for side in (math.floor(left), math.ceil(right) + 1))
    y0, y1 = (int(np.clip(side, 0, height)) for side in (math.floor(top), math.ceil(bottom) + 1))
    centres_y = np.arange(y0, y1) + 0.5
    # Half-open, so that a corner at the height of a row of centres is crossed once and not twice.
    edges, rows = np.nonzero((starts[:, 1, None] <= centres_y) != (ends[:, 1, None] <= centres_y))
    (ax, ay), (bx, by) = starts[edges].T, ends[edges].T
    x = ax + (centres_y[rows] - ay) * (bx - ax) / (by - ay)
    columns = np.clip(np.ceil(x - 0.5), x0, x1).astype(np.intp) - x0
    flips = np.zeros((y1 - y0, x1 - x0 + 1), dtype=np.uint8)
    np.bitwise_xor.at(flips, (rows, columns), 1)
    whole[y0:y1, x0:x1] = np.bitwise_xor.accumulate(flips, axis=1)[:, :-1]
    return whole.view(np.bool_)


def edited_prediction(automatic: Reading, edit: Edit, frame_size_px: tuple[int, int]) -> Prediction:
    """The model's outlines with the person's in the place of one: what is measured, and what is trained on.

    A drawn instance has the score 1.
    """
    instances = []
    for number, outline in enumerate(automatic.outlines_xy_px):
        if number != edit.instance and len(outline) and not automatic.carried_s:
            label, class_index, score = automatic.finding, edit.class_index, 0.0
            if number < len(automatic.labels):
                label = automatic.labels[number]
            if label in edit.classes:
                class_index = edit.classes.index(label)
            if number < len(automatic.scores):
                score = automatic.scores[number]
            whole = fill_outline(outline, frame_size_px)
            rest = edit_of(whole, edit.digest, number, label, class_index)
            instances.append(_instance(rest, score, automatic.edge))
    if edit.mask.any():  # first, since the first instance of the measured label is measured
        instances.insert(0, _instance(edit, 1.0, edit.edge))
    return Prediction(
        automatic.key,
        frame_size_px,
        tuple(instances),
        automatic.model_id,
        automatic.model_sha256,
        "person",
        measured=automatic.label,
    )


def read_edited(
    automatic: Reading,
    edit: Edit,
    frame_size_px: tuple[int, int],
    geometry: ImageGeometry | None,
    context: ExamContext = NO_CONTEXT,
) -> Reading:
    """The corrected frame measured by the same rules, marked as edited, with what the operator said of the exam.

    Each frame speaks for itself; where its outline alone does not tell the plane, the plane that the automatic reading
    had holds. The score is the model's word on its own outline, so an edited reading has none.
    """
    prediction, age = edited_prediction(automatic, edit, frame_size_px), context.gestational_age_weeks
    reading = read(prediction, geometry, automatic.finding, context.tracker(), age)
    if reading.status is Status.REFUSED and reading.plane is Plane.UNDETERMINED is not automatic.plane:
        tracker = PlaneTracker(automatic.plane, context.site)
        reading = read(prediction, geometry, automatic.finding, tracker, age)
    return replace(reading, provenance=Provenance.EDITED, score=None)


def _instance(edit: Edit, score: float, edge: Edge) -> Instance:
    x, y = edit.mask_origin_px
    rows, columns = edit.mask.shape
    box = (float(x), float(y), float(x + columns), float(y + rows))
    return Instance(edit.label, edit.class_index, score, box, edit.mask, edit.mask_origin_px, edge)


# --- what was pointed at: outlined by a model, named by the user ------------------------------------------------------


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
        reading = _read_plain(prediction, geometry, label)
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


def _read_plain(prediction: Prediction, geometry: ImageGeometry | None, label: str) -> Reading:
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
