"""Any finding that has no measurements of its own: what was found, where, how large."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from usviewer.frame import ImageGeometry, Points
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure.findings.base import Finding, Quantity, ReadState, base_reading, register
from usviewer.measure.geometry import Shape, shape_of
from usviewer.measure.reading import Dimension, Measurement, Reading, Status

AREA = "area"
OTHER = "other"
NOTHING_FOUND = "Nothing was found"
# Lengths and depths are of what was pointed at; a model's own instances have the area alone.
QUANTITIES = {
    "area": Quantity(Dimension.AREA),
    "long_axis": Quantity(Dimension.LENGTH),
    "short_axis": Quantity(Dimension.LENGTH),
    "circumference": Quantity(Dimension.LENGTH),
    "depth": Quantity(Dimension.LENGTH, "Depth of the nearest edge"),
    "centroid_depth": Quantity(Dimension.LENGTH, "Depth of the middle"),
}


def read(prediction: Prediction, geometry: ImageGeometry | None, _state: ReadState, *, finding: str) -> Reading:
    """Outline, label, box and score of every instance (index-aligned), and the area of every one with a mask.

    The areas are named ``area`` for one instance and ``area_1``, ``area_2`` ... (best first) for several. A detector's
    instance has an empty outline (0, 2). Not visualised when there is no instance.
    """
    reading = base_reading(prediction, finding, geometry)
    instances = prediction.instances
    if not instances:
        return replace(reading, reason=NOTHING_FOUND)
    shapes = [_shape(instance) for instance in instances]
    geometry = geometry or ImageGeometry()
    spacing, reason = geometry.spacing_of_outline(_corners(instances))
    edges = {instance.edge for instance in instances}
    return replace(
        reading,
        status=Status.MEASURED,
        measurements=_areas(shapes, geometry),
        outlines_xy_px=tuple(_outline(shape) for shape in shapes),
        labels=tuple(instance.label for instance in instances),
        boxes_xyxy_px=tuple(instance.box_xyxy_px for instance in instances),
        scores=tuple(instance.score for instance in instances),
        score=max(instance.score for instance in instances),
        edge=edges.pop() if len(edges) == 1 else Edge.NOT_STATED,
        spacing=spacing,
        no_scale_reason=reason,
    )


def _shape(instance: Instance) -> Shape | None:
    if instance.mask is not None:
        return shape_of(instance.mask, instance.mask_origin_px)
    return None


def _outline(shape: Shape | None) -> Points:
    if shape is not None:
        return shape.outline_xy_px
    return np.empty((0, 2))


def _corners(instances: tuple[Instance, ...]) -> Points:
    """Two opposite corners of every box: they lie in one region exactly when the boxes do."""
    return np.array([instance.box_xyxy_px for instance in instances], dtype=np.float64).reshape(-1, 2)


def _areas(shapes: list[Shape | None], geometry: ImageGeometry) -> tuple[Measurement, ...]:
    """Every area in its own region's scale, so that one object outside a region does not cost the others theirs."""
    areas = []
    for number, shape in enumerate(shapes, 1):
        if shape is not None:
            spacing, _ = geometry.spacing_of_outline(shape.outline_xy_px)
            count = shape.moments.area
            area_px, area_mm2 = count * geometry.pixel_aspect, spacing.area_mm2(count) if spacing else None
            if len(shapes) == 1:
                name = AREA
            else:
                name = f"{AREA}_{number}"
            areas.append(Measurement(name, Dimension.AREA, area_px, area_mm2))
    return tuple(areas)


def generic_finding(finding_id: str) -> Finding:
    """A finding of any name: of a model that states none of ours, or the user's word for what was pointed at."""
    title = finding_id.replace("_", " ").replace("-", " ").capitalize() or "Structure"
    return Finding(
        finding_id,
        title,
        absent=f"{title} not visualised",
        absent_banner="Nothing found" if finding_id in (OTHER, "") else f"{title} not seen",
        read=partial(read, finding=finding_id),
        quantities=QUANTITIES,
        from_outline=False,
    )


register(generic_finding(OTHER))
