"""The result of measuring one frame, and its aggregate over time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from usviewer.frame import FrameKey, Points
from usviewer.infer.prediction import Edge
from usviewer.units import Point, Spacing


class Status(StrEnum):
    """No mask is not zero: a reading without a value says which kind of nothing it is."""

    MEASURED = "measured"
    NOT_VISUALISED = "not visualised"
    REFUSED = "refused"


class Plane(StrEnum):
    """How the vessel is cut."""

    TRANSVERSE = "transverse"
    LONGITUDINAL = "longitudinal"
    UNDETERMINED = "undetermined"


class Dimension(StrEnum):
    """What kind of quantity a value is; sets the unit: px or mm, px2 or mm2, percent, weeks, none."""

    LENGTH = "length"
    AREA = "area"
    PERCENT = "percent"
    WEEKS = "weeks"


class Provenance(StrEnum):
    """Who drew the outline."""

    AUTOMATIC = "automatic"
    EDITED = "edited"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One named value. ``value_mm`` (mm, or mm2 for an area) exists only with a spacing; ``value_px`` always.

    For ``PERCENT`` and ``WEEKS`` the value stands in ``value`` and the other two are None. ``ends_xy_px`` is where the
    caliper lies. ``sd_mm`` is the standard error of this single value.
    """

    name: str
    dimension: Dimension
    value_px: float | None = None
    value_mm: float | None = None
    value: float | None = None
    ends_xy_px: tuple[Point, Point] | None = None
    sd_mm: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What was measured on one frame.

    ``outlines_xy_px``: closed contours in frame pixels. ``reason``: one sentence in the clinician's words, for every
    status but ``MEASURED``. ``quality`` is 0 to 1. ``spacing`` is None when lengths are in pixels, then
    ``no_scale_reason`` says why.
    """

    key: FrameKey
    finding: str
    status: Status
    reason: str = ""
    measurements: tuple[Measurement, ...] = ()
    outlines_xy_px: tuple[Points, ...] = ()
    labels: tuple[str, ...] = ()
    boxes_xyxy_px: tuple[tuple[float, float, float, float], ...] = ()
    scores: tuple[float, ...] = ()
    plane: Plane = Plane.UNDETERMINED
    edge: Edge = Edge.NOT_STATED
    score: float | None = None
    quality: float | None = None
    warnings: tuple[str, ...] = ()
    spacing: Spacing | None = None
    no_scale_reason: str = ""
    model_id: str = ""
    model_sha256: str = ""
    provenance: Provenance = Provenance.AUTOMATIC

    def get(self, name: str) -> Measurement | None:
        """The measurement of that name, or None."""
        return next((m for m in self.measurements if m.name == name), None)


@dataclass(frozen=True, slots=True)
class Summary:
    """Aggregate of one measurement over a span of time.

    Values are in mm when ``unit`` is "mm", in px when it is "px"; never mixed. ``interval`` is the 95 % interval of the
    median. ``count`` is the number of readings that went in.
    """

    name: str
    unit: str
    median: float
    maximum: float
    interval: tuple[float, float]
    span_s: float
    count: int
    maximum_key: FrameKey
    plane: Plane = Plane.UNDETERMINED
    edge: Edge = Edge.NOT_STATED
