"""The result of measuring one frame, and its aggregate over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from usviewer.frame import FrameKey, Points
from usviewer.infer.prediction import Edge
from usviewer.units import Point, Spacing


class Status(StrEnum):
    """Whether a frame was measured, and if not, in which way: a missing value is never zero."""

    # What files hold (docs/files.md), as with every enumeration here: people's scripts compare them.
    MEASURED = "measured"
    NOT_VISUALISED = "not visualised"
    REFUSED = "refused"


class Plane(StrEnum):
    """How the vessel is cut."""

    TRANSVERSE = "transverse"
    LONGITUDINAL = "longitudinal"
    UNDETERMINED = "undetermined"


class Site(StrEnum):
    """Where along the aorta the plane lies; only the operator knows, so it is set by hand."""

    # docs/clinical.md, "Plane, direction and site".

    NOT_SET = ""
    PROXIMAL = "proximal"
    MID = "mid"
    DISTAL = "distal"
    RIGHT_ILIAC = "right iliac"
    LEFT_ILIAC = "left iliac"


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
    PROMPTED = "pointed at"


# Half-width of the central 95 % of a normal distribution, in standard deviations: the one number for all intervals.
NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Errors:
    """Standard deviations by where they come from; None where a source cannot be judged.

    In the unit of the value they belong to: mm (mm2 for an area), or px (px2) where there is no scale.
    ``scale``: of the millimetres per pixel. ``edge``: of the outline's position. ``plane``: of how the structure is
    cut. ``frames``: of the median of several frames; a single frame has none. See ``measure.uncertainty``.
    """

    scale: float | None = None
    edge: float | None = None
    plane: float | None = None
    frames: float | None = None

    @property
    def total(self) -> float:
        """All together; they are independent, so their squares add."""
        return math.hypot(*(part for part in (self.scale, self.edge, self.plane, self.frames) if part is not None))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One named value. ``value_mm`` (mm, or mm2 for an area) exists only with a spacing; ``value_px`` always.

    For ``PERCENT`` and ``WEEKS`` the value stands in ``value`` and the other two are None. ``ends_xy_px`` is where the
    caliper lies. ``errors`` is what the standard error of this single value is made of, in the value's unit; None where
    the error of the outline is not known. ``sd_mm`` is all of it, where there are millimetres.
    """

    name: str
    dimension: Dimension
    value_px: float | None = None
    value_mm: float | None = None
    value: float | None = None
    ends_xy_px: tuple[Point, Point] | None = None
    sd_mm: float | None = None
    errors: Errors | None = None

    @property
    def unit_field(self) -> str:
        """The unit as files write it: that of the millimetres where there are any."""
        unit = "mm"
        if self.value_mm is None:
            unit = "px"
        if self.dimension is Dimension.AREA:
            unit += "2"
        return unit

    @property
    def unit_words(self) -> str:
        """The same for people: "mm²" of an area."""
        return self.unit_field.replace("2", "²")

    @property
    def size(self) -> float | None:
        """The length or area in the unit of ``unit_field``; None of what has no size."""
        if self.value_mm is None:
            return self.value_px
        return self.value_mm

    @property
    def sd(self) -> float | None:
        """Standard error in the unit of ``unit_field``; None where it is not known."""
        if self.value_mm is not None:
            return self.sd_mm
        if self.errors is None:
            return None
        return self.errors.total

    @property
    def interval_mm(self) -> tuple[float, float] | None:
        """95 % interval of this single value; None where there is no millimetre or no known error."""
        if self.value_mm is None:
            return None
        return self.interval

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of this single value in the unit of ``unit_field``; None where its error is not known."""
        value, sd = self.size, self.sd
        if value is None or sd is None:
            return None
        # A normal error may reach below zero, a size may not.
        return (max(0.0, value - NORMAL_95 * sd), value + NORMAL_95 * sd)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What was measured on one frame.

    ``outlines_xy_px``: closed contours in frame pixels. ``reason``: one sentence in the clinician's words, for every
    status but ``MEASURED``. ``quality`` is 0 to 1. ``spacing`` is None when lengths are in pixels, then
    ``no_scale_reason`` says why. ``plane_set`` is True where the plane is the operator's word and not the outline's.
    ``uncertain`` outlines are drawn dashed; why stands in ``warnings``. ``label`` is the one label of the model that is
    measured, on every frame; empty where there is no such choice. The outline of what is measured comes first.
    ``frame_size_px`` is the picture's width and height: pixels of pictures of two sizes are two units. ``carried_s`` is
    above 0 where nothing was found on this frame, and the outlines are those of a frame so long before, moved with the
    picture.
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
    site: Site = Site.NOT_SET
    plane_set: bool = False
    uncertain: bool = False
    label: str = ""
    frame_size_px: tuple[int, int] | None = None
    carried_s: float = 0.0

    def get(self, name: str) -> Measurement | None:
        """The measurement of that name, or None."""
        return next((m for m in self.measurements if m.name == name), None)


def quality_rank(reading: Reading) -> tuple[float, ...]:
    """How good a frame is to show: measured before refused before empty, then by quality and score."""
    # A refused frame shows an outline and its reason, an empty one nothing.
    order = {Status.MEASURED: 2.0, Status.REFUSED: 1.0, Status.NOT_VISUALISED: 0.0}
    return (order[reading.status], reading.quality or 0.0, reading.score or 0.0)


@dataclass(frozen=True, slots=True)
class Summary:
    """Aggregate of one measurement over a span of time.

    Values are in mm when ``unit`` is "mm", in px when it is "px" (an area's in their squares); never mixed.
    ``interval`` is the 95 % interval of the median. ``count`` is the number of readings that went in. ``whole`` is True
    for a whole recording, False for the time before one frame. ``maximum_interval`` is the 95 % interval of the
    maximum, ``errors`` what the interval of the median is made of (in the unit of the values). ``label`` as in
    ``Reading``. ``frame_size_px`` is the size of the pictures whose pixels are the unit; None for mm.
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
    whole: bool = False
    site: Site = Site.NOT_SET
    maximum_interval: tuple[float, float] | None = None
    errors: Errors | None = None
    dimension: Dimension = Dimension.LENGTH
    label: str = ""
    frame_size_px: tuple[int, int] | None = None

    def shares_unit(self, reading: Reading) -> bool:
        """Whether lengths of the reading in this summary's unit are comparable: px of another size of picture are not.

        Where neither says of which size it is, they are.
        """
        return self.unit != "px" or reading.frame_size_px == self.frame_size_px

    @property
    def known_interval(self) -> tuple[float, float] | None:
        """``interval``; None where nothing is known of the error, as of one frame with an edge of unknown error."""
        low, high = self.interval
        if high <= low:  # of one frame whose error is not known both ends are the value itself
            return None
        return self.interval

    @property
    def known_maximum_interval(self) -> tuple[float, float] | None:
        """``maximum_interval`` by the same rule."""
        if self.maximum_interval is None or self.maximum_interval[1] <= self.maximum_interval[0]:
            return None
        return self.maximum_interval

    @property
    def unit_words(self) -> str:
        """The unit of the values for people: "mm", or "mm²" of an area."""
        return self.unit_field.replace("2", "²")

    @property
    def unit_field(self) -> str:
        """The unit of the values as files write it: "mm", or "mm2" of an area."""
        if self.dimension is Dimension.AREA:
            return f"{self.unit}2"
        return self.unit
