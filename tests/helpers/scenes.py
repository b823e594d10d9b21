"""Readings with known shapes, for the tests of overlay and save."""

from __future__ import annotations

import numpy as np

from usviewer.frame import Frame, FrameKey, ImageGeometry, Points, Region, Sector, make_frame
from usviewer.infer.prediction import Edge
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Status, Summary
from usviewer.units import ScaleSource, Spacing, isotropic

GIVEN = isotropic(0.213, ScaleSource.USER)


def circle(centre_xy_px: tuple[float, float], radius_px: float, count: int = 180) -> Points:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack([np.cos(angles), np.sin(angles)]) * radius_px + centre_xy_px


def flat_frame(width: int = 640, height: int = 480, level: int = 90, geometry: ImageGeometry | None = None) -> Frame:
    return make_frame(np.full((height, width, 3), level, np.uint8), "test", 7, 1.25, geometry=geometry)


def scaled_geometry(width: int, height: int, sector: Sector | None = None, spacing: Spacing = GIVEN) -> ImageGeometry:
    return ImageGeometry((Region((0.0, 0.0, float(width), float(height)), spacing),), sector)


def fan(width: int, height: int, certain: bool = True) -> Sector:
    """A triangle-like fan in the middle third at the top, as wide as the picture at the bottom."""
    outline = np.array([(0.4, 0.02), (0.6, 0.02), (0.85, 0.95), (0.15, 0.95)]) * (width, height)
    box = tuple(int(v) for v in (*outline.min(axis=0), *outline.max(axis=0)))
    return Sector(outline, (box[0], box[1], box[2], box[3]), certain=certain)


def length(name: str, start: tuple[float, float], end: tuple[float, float], spacing: Spacing | None) -> Measurement:
    value_px = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    value_mm = spacing.length_mm(start, end) if spacing else None
    return Measurement(name, Dimension.LENGTH, value_px, value_mm, ends_xy_px=(start, end))


def aorta_reading(
    key: FrameKey, centre: tuple[float, float] = (400.0, 260.0), radius: float = 56.0, spacing: Spacing | None = GIVEN
) -> Reading:
    x, y = centre
    return Reading(
        key,
        "aorta",
        Status.MEASURED,
        measurements=(
            length("ap_diameter", (x, y - radius), (x, y + radius), spacing),
            length("transverse_diameter", (x - radius, y), (x + radius, y), spacing),
        ),
        outlines_xy_px=(circle(centre, radius),),
        labels=("aorta",),
        boxes_xyxy_px=((x - radius, y - radius, x + radius, y + radius),),
        scores=(0.93,),
        plane=Plane.TRANSVERSE,
        edge=Edge.INNER,
        score=0.93,
        quality=0.9,
        spacing=spacing,
        no_scale_reason="" if spacing else "No scale: lengths are in pixels",
        model_id="aorta",
        model_sha256="ab" * 32,
    )


def summary_of(reading: Reading, **changes: object) -> Summary:
    main = reading.measurements[0]
    value = main.value_mm if main.value_mm is not None else main.value_px
    assert value is not None
    fields: dict[str, object] = {
        "name": main.name,
        "unit": "mm" if main.value_mm is not None else "px",
        "median": value + 0.1,
        "maximum": value + 1.0,
        "interval": (value - 0.5, value + 0.6),
        "span_s": 2.0,
        "count": 44,
        "maximum_key": reading.key,
        "plane": reading.plane,
        "edge": reading.edge,
        "dimension": main.dimension,
    }
    return Summary(**{**fields, **changes})  # type: ignore[arg-type]
