"""Masks of known size, and predictions and readings made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from usviewer.frame import FrameKey, ImageGeometry, Mask, Region, Sector
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Site, Status
from usviewer.units import ScaleSource, Spacing

SIZE = (640, 480)


def ellipse_mask(centre, ra, rb, degrees=0.0, size=SIZE) -> Mask:
    """Pixels whose centre lies in the ellipse; ``ra`` is the semi-axis that is horizontal at 0 degrees."""
    x = np.arange(size[0]) + 0.5 - centre[0]
    y = (np.arange(size[1]) + 0.5 - centre[1])[:, None]
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return ((x * c + y * s) / ra) ** 2 + ((y * c - x * s) / rb) ** 2 <= 1.0


def tube_mask(diameter, degrees, size=SIZE, x_scale=1.0, y_scale=1.0) -> Mask:
    """A straight vessel of a diameter (in scaled units) across the whole frame, through its centre."""
    x = (np.arange(size[0]) + 0.5 - size[0] / 2) * x_scale
    y = (np.arange(size[1]) + 0.5 - size[1] / 2)[:, None] * y_scale
    return np.abs(y * math.cos(math.radians(degrees)) - x * math.sin(math.radians(degrees))) <= diameter / 2


def instance(mask: Mask, score=0.9, edge=Edge.INNER, label="aorta") -> Instance:
    rows, columns = np.nonzero(mask)
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    part = np.ascontiguousarray(mask[y0:y1, x0:x1])
    return Instance(label, 0, score, (float(x0), float(y0), float(x1), float(y1)), part, (int(x0), int(y0)), edge)


def key(time_s=0.0, source="clip", index=0) -> FrameKey:
    return FrameKey(source, index, time_s, 100.0 + time_s, "digest")


def prediction(*masks: Mask, time_s=0.0, size=SIZE, scores=None, edge_sd_px=None) -> Prediction:
    found = [instance(m, s) for m, s in zip(masks, scores or [0.9] * len(masks), strict=True)]
    return predicted(*found, time_s=time_s, size=size, edge_sd_px=edge_sd_px)


def predicted(*found: Instance, time_s=0.0, size=SIZE, edge_sd_px=None, index=0) -> Prediction:
    return Prediction(key(time_s, index=index), size, found, "aorta", "abc", "test", edge_sd_px=edge_sd_px)


def geometry(x_mm=0.25, y_mm=None, sector: Sector | None = None, size=SIZE) -> ImageGeometry:
    spacing = Spacing(x_mm, x_mm if y_mm is None else y_mm, ScaleSource.USER)
    return ImageGeometry((Region((0.0, 0.0, float(size[0]), float(size[1])), spacing),), sector)


def fan(apex=(320.0, -60.0), face=80.0, far=520.0, half_deg=35.0, certain=True) -> Sector:
    turn = np.radians(np.linspace(-half_deg, half_deg, 61))
    near = np.column_stack([apex[0] + face * np.sin(turn), apex[1] + face * np.cos(turn)])
    deep = np.column_stack([apex[0] + far * np.sin(turn), apex[1] + far * np.cos(turn)])[::-1]
    outline = np.vstack([near, deep])
    x0, y0 = np.floor(outline.min(axis=0)).astype(int)
    x1, y1 = np.ceil(outline.max(axis=0)).astype(int)
    return Sector(outline, (int(x0), int(y0), int(x1), int(y1)), apex, face, certain)


def reading(
    value_mm,
    time_s,
    *,
    value_px=None,
    status=Status.MEASURED,
    plane=Plane.TRANSVERSE,
    edge=Edge.INNER,
    mm=0.25,
    model="abc",
    source="clip",
    relative_sd=0.0,
    site=Site.NOT_SET,
    errors=None,
) -> Reading:
    spacing = Spacing(mm, mm, ScaleSource.USER, relative_sd=relative_sd) if mm else None
    name = "ap_diameter" if plane is Plane.TRANSVERSE else "longitudinal_diameter"
    value = Measurement(name, Dimension.LENGTH, value_px or value_mm * 4, value_mm if mm else None)
    if errors is not None:
        value = replace(value, sd_mm=errors.total, errors=errors)
    index = round(time_s * 20)
    return Reading(
        key(time_s, source, index),
        "aorta",
        status,
        measurements=(value,) if status is Status.MEASURED else (),
        plane=plane,
        edge=edge,
        spacing=spacing,
        model_id="aorta",
        model_sha256=model,
        site=site,
    )
