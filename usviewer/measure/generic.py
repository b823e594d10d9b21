"""A reading for any finding that has no measurements of its own: what was found, where, how large."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from usviewer.frame import ImageGeometry, Points
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure.geometry import Shape, shape_of
from usviewer.measure.reading import Dimension, Measurement, Reading, Status

AREA = "area"
NOTHING_FOUND = "Nothing was found"


def base_reading(prediction: Prediction, finding: str, geometry: ImageGeometry | None = None) -> Reading:
    """A reading that so far only knows its frame, its model, and why there is no scale where there is none at all."""
    geometry = geometry or ImageGeometry()
    scaled = any(region.spacing for region in geometry.regions)
    return Reading(
        prediction.key,
        finding,
        Status.NOT_VISUALISED,
        model_id=prediction.model_id,
        model_sha256=prediction.model_sha256,
        no_scale_reason="" if scaled else geometry.no_scale_reason,
        frame_size_px=prediction.frame_size_px,
    )


def read(prediction: Prediction, geometry: ImageGeometry | None, finding: str) -> Reading:
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
    return shape_of(instance.mask, instance.mask_origin_px) if instance.mask is not None else None


def _outline(shape: Shape | None) -> Points:
    return shape.outline_xy_px if shape is not None else np.empty((0, 2))


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
            name = AREA if len(shapes) == 1 else f"{AREA}_{number}"
            areas.append(Measurement(name, Dimension.AREA, area_px, area_mm2))
    return tuple(areas)
