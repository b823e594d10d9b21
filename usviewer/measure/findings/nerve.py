"""A nerve for regional anaesthesia: outline, size, and depth from the probe; or "no nerve seen".

What is shown, and why: ``docs/clinical.md``, "Nerve".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from usviewer.frame import ImageGeometry, Points, Sector
from usviewer.infer.prediction import Prediction
from usviewer.measure import uncertainty
from usviewer.measure.findings.base import Finding, Quantity, ReadState, base_reading, register
from usviewer.measure.geometry import border_distance_px, border_margin_px
from usviewer.measure.reading import Dimension, Measurement, Reading, Status
from usviewer.measure.section import (
    BORDER_PX,
    EDGE_GUESSED,
    InstanceShape,
    Section,
    near_guess,
    not_visualised,
    shapes_of,
    share,
    with_outlines,
)

Values = NDArray[np.float64]

NAME = "nerve"
AREA, DEPTH, CENTROID_DEPTH = "area", "depth", "centroid_depth"
LONG_AXIS, SHORT_AXIS = "long_axis", "short_axis"
MIN_AREA_PX = 25.0
# An upper edge on the picture's own border may be where the picture was cut, with the probe face beyond it.
FACE_MARGIN_PX = 1.0

NONE = "No nerve seen"
CLIPPED = "The nerve is cut off by the edge of the picture: show it whole"
SMALL = "What was found is too small to be a nerve"
SEVERAL = "More than one nerve: the best one is measured"
NO_FACE = "No depth: where the probe lies in the picture is not known"


def read(prediction: Prediction, geometry: ImageGeometry | None, _state: ReadState) -> Reading:
    """Measure the best nerve of one frame: ``area``, ``depth``, ``centroid_depth``, ``long_axis``, ``short_axis``.

    ``depth`` runs from the probe face along the beam to the nearest point of the outline, ``centroid_depth`` to its
    middle; both only where the probe face is known (a sector that is certain). Other nerves and vessels are outlined
    beside it. Vessels alone are no nerve: then nothing is outlined and the status is not visualised.
    """
    geometry = geometry or ImageGeometry()
    reading = replace(base_reading(prediction, NERVE.id, geometry), label=prediction.measured)
    found = shapes_of(prediction, len(prediction.instances))
    wanted = prediction.measured or NAME
    nerves = [f for f in found if f.instance.label.casefold() == wanted.casefold()]
    if not nerves:
        return not_visualised(reading, NONE, found)
    best = max(nerves, key=lambda f: f.instance.score)
    reading = with_outlines(reading, [best, *(f for f in found if f is not best)], geometry)
    if reason := _refusal(best, geometry, prediction.frame_size_px):
        return replace(reading, status=Status.REFUSED, reason=reason)
    section = Section(best.shape, reading.spacing, prediction.edge_sd_px, geometry.pixel_aspect)
    lengths = depths(section, geometry.sector)
    guessed = near_guess(best.shape, geometry.sector)
    sizes = (section.axis(LONG_AXIS, minor=False), section.axis(SHORT_AXIS, minor=True))
    reading = replace(
        reading,
        status=Status.MEASURED,
        measurements=(section.area(AREA), *lengths, *sizes),
        quality=share(best.instance.score),
    )
    notes = ((SEVERAL, len(nerves) > 1), (EDGE_GUESSED, guessed), (NO_FACE, not lengths))
    return replace(reading, warnings=(*reading.warnings, *(note for note, true in notes if true)))


def _refusal(found: InstanceShape, geometry: ImageGeometry, frame_size_px: tuple[int, int]) -> str:
    if found.shape.moments.area < MIN_AREA_PX:
        return SMALL
    margin = border_margin_px(found.shape, border_distance_px(geometry.sector, frame_size_px))
    if float(margin[found.shape.mask].min()) <= BORDER_PX:
        return CLIPPED
    return ""


def depths(section: Section, sector: Sector | None) -> tuple[Measurement, ...]:
    """Depth of the nearest edge and of the middle; nothing where the probe face is not known."""
    if sector is None or not sector.certain:
        return ()
    points = np.vstack([section.shape.outline_xy_px, section.shape.moments.centroid_xy])
    faces = _faces(sector, points, section.pixel_aspect)
    if faces is None or faces[:, 1].min() < FACE_MARGIN_PX:
        return ()
    lengths = np.hypot(*((points - faces) * section.scale_xy).T)
    nearest = int(np.argmin(lengths[:-1]))
    return (
        _depth(DEPTH, faces[nearest], points[nearest], section, uncertainty.DEPTH_GAIN),
        _depth(CENTROID_DEPTH, faces[-1], points[-1], section, uncertainty.CENTRE_GAIN),
    )


def _faces(sector: Sector, points_xy_px: Points, pixel_aspect: float) -> Points | None:
    """Where the beam to each point leaves the probe (N, 2); None where one does not, or lies before it."""
    if sector.apex_xy_px is None:
        tops = _upper_edge(sector.outline_xy_px, points_xy_px[:, 0])
        if (tops > points_xy_px[:, 1]).any():
            return None
        return np.column_stack([points_xy_px[:, 0], tops])
    if sector.face_radius_px is None:
        return None
    rays = points_xy_px - np.asarray(sector.apex_xy_px)
    reach = np.hypot(*(rays * (pixel_aspect, 1.0)).T)[:, None]
    if (reach < sector.face_radius_px).any() or not reach.all():
        return None
    return np.asarray(sector.apex_xy_px + rays / reach * sector.face_radius_px)


def _upper_edge(outline_xy_px: Points, x_px: Values) -> Values:
    """The highest place (smallest y) where vertical lines (N) meet a closed polygon; infinite where they miss it."""
    (ax, ay), (bx, by) = outline_xy_px.T, np.roll(outline_xy_px, -1, axis=0).T
    slanted = ax != bx
    ax, ay, bx, by = ax[slanted], ay[slanted], bx[slanted], by[slanted]
    x = x_px[:, None]
    y = ay + (x - ax) * (by - ay) / (bx - ax)
    met = (np.minimum(ax, bx) <= x) & (x <= np.maximum(ax, bx))
    return np.asarray(np.where(met, y, np.inf).min(axis=1, initial=np.inf))


def _depth(name: str, face: Values, point: Values, section: Section, gain: float) -> Measurement:
    start, end = (float(face[0]), float(face[1])), (float(point[0]), float(point[1]))
    length_px = float(np.hypot(*((point - face) * (section.pixel_aspect, 1.0))))
    if section.spacing:
        length_mm = section.spacing.length_mm(start, end)
    else:
        length_mm = None
    value = Measurement(name, Dimension.LENGTH, length_px, length_mm, ends_xy_px=(start, end))
    return section.with_errors(value, gain)


NERVE = register(
    Finding(
        NAME,
        "Nerve",
        absent=NONE,
        absent_banner="Nerve not seen",
        read=read,
        labels=(NAME,),
        label_required=True,  # vessels and muscles are labelled beside it
        quoted=AREA,
        quantities={
            AREA: Quantity(Dimension.AREA),
            DEPTH: Quantity(Dimension.LENGTH, "Depth of the nearest edge"),
            CENTROID_DEPTH: Quantity(Dimension.LENGTH, "Depth of the middle"),
            LONG_AXIS: Quantity(Dimension.LENGTH),
            SHORT_AXIS: Quantity(Dimension.LENGTH),
        },
    )
)
