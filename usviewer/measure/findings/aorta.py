"""The abdominal aorta: diameters with their plane and convention, or a reason why there is none.

Rules and their sources: ``docs/clinical.md``, "Abdominal aorta".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usviewer.frame import ImageGeometry, Sector
from usviewer.infer.prediction import Prediction
from usviewer.measure import uncertainty
from usviewer.measure.findings.base import (
    ClipReport,
    FileValue,
    Finding,
    Quantity,
    ReadState,
    ReportRow,
    ReportSection,
    base_reading,
    plain_report,
    register,
    rounded_floats,
    rounded_pair,
)
from usviewer.measure.findings.reference_tables import TABLES
from usviewer.measure.geometry import (
    TUBE_EDGE_PX,
    Shape,
    border_distance_px,
    border_margin_px,
    solidity,
    touching_xy_px,
    widest_tube,
)
from usviewer.measure.pulse import Pulse, pulse_of
from usviewer.measure.reading import Dimension, Measurement, Plane, Reading, Status, Summary
from usviewer.measure.section import (
    BORDER_PX,
    EDGE_GUESSED,
    Contact,
    InstanceShape,
    PlaneTracker,
    Section,
    add_warning,
    candidates,
    contact_of,
    near_guess,
    not_visualised,
    plane_of,
    share,
    too_small,
    with_outlines,
)
from usviewer.measure.trend import summarize, sweep

AP, TRANSVERSE = "ap_diameter", "transverse_diameter"
MAJOR, MINOR = "major_diameter", "minor_diameter"
AREA, LONGITUDINAL = "area", "longitudinal_diameter"

MIN_AREA_MM2 = 50.0
MIN_SECTOR_SHARE = 0.001
MIN_OVERLAP = 0.90
MIN_SOLIDITY = 0.80
OBLIQUE_ABOVE = 1.3
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


def read(prediction: Prediction, geometry: ImageGeometry | None, state: ReadState) -> Reading:
    """Measure the aorta of one frame.

    Transverse: ``ap_diameter`` (along the beam), ``transverse_diameter`` (across it), ``major_diameter`` and
    ``minor_diameter`` of the ellipse, ``area``. Longitudinal: ``longitudinal_diameter``, ``area``. The first is the
    answer. Refused or not visualised: no measurement at all. The tracker of ``state`` steadies the plane over time and
    holds the operator's pin; without one each frame speaks for itself.

    Of a model with several labels only ``prediction.measured`` is measured; the others are outlined beside it.

    ``quality`` is the product of the model's score, the overlap of mask and ellipse (solidity when cut lengthwise), the
    roundness (minor over major axis, transverse only) and the distance from the border (1 at half a diameter or more).
    """
    geometry, tracker = geometry or ImageGeometry(), state.tracker
    reading = replace(base_reading(prediction, AORTA.id, geometry), label=prediction.measured)
    if tracker is not None:
        reading = replace(reading, site=tracker.site, plane_set=tracker.pinned is not None)
    # The best product of score and likeness to an ellipse; never the largest for its size.
    able, others = candidates(prediction, CANDIDATES)
    found = max(able, key=lambda f: f.quality, default=None)
    if found is None:
        return not_visualised(reading, NONE, others)
    reading = with_outlines(reading, [found, *others], geometry)
    section = Section(found.shape, reading.spacing, prediction.edge_sd_px, geometry.pixel_aspect)
    margin = border_margin_px(found.shape, border_distance_px(geometry.sector, prediction.frame_size_px))
    contact = contact_of(found.shape, touching_xy_px(found.shape, margin, BORDER_PX), section.scale_xy)
    seen = plane_of(section.ellipse.elongation, contact)
    if tracker:
        plane = tracker.update(seen, prediction.key)
    else:
        plane = seen
    if _too_small(section, geometry, prediction):
        reason = SMALL
    else:
        reason = _refusal(found.shape, plane, seen, contact, tracker)
    if reason:
        return replace(reading, status=Status.REFUSED, reason=reason, plane=plane)
    if len(able) > 1:
        reading = add_warning(reading, SEVERAL)
    if tracker and tracker.pinned and seen not in (plane, Plane.UNDETERMINED):
        reading = add_warning(reading, PIN_DIFFERS)
    if plane is Plane.LONGITUDINAL:
        return _longitudinal(reading, found, section, margin)
    return _transverse(reading, found, section, geometry.sector, float(margin[found.shape.mask].min()))


def _too_small(section: Section, geometry: ImageGeometry, prediction: Prediction) -> bool:
    size_px = prediction.frame_size_px
    return too_small(section.shape, section.spacing, geometry, size_px, MIN_AREA_MM2, MIN_SECTOR_SHARE)


def _refusal(shape: Shape, plane: Plane, seen: Plane, contact: Contact, tracker: PlaneTracker | None) -> str:
    """Why this mask must not become a number; empty when it may."""
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


def _transverse(
    reading: Reading, found: InstanceShape, section: Section, sector: Sector | None, margin_px: float
) -> Reading:
    shape = found.shape
    beam = (0.0, 1.0)
    if sector:
        beam = sector.beam_direction(shape.moments.centroid_xy)
    fits = found.overlap >= MIN_OVERLAP
    elongation = section.ellipse.elongation
    measurements = (
        section.extent(AP, beam, across=False, fits=fits),
        section.extent(TRANSVERSE, beam, across=True, fits=fits),
        section.axis(MAJOR, minor=False, plane=True),
        section.axis(MINOR, minor=True, plane=True),
        section.area(AREA),
    )
    if elongation > OBLIQUE_ABOVE:
        reading = add_warning(reading, OBLIQUE)
    if not fits:
        reading = add_warning(reading, IRREGULAR_OUTLINE)
    if near_guess(shape, sector):
        reading = add_warning(reading, EDGE_GUESSED)
    clearance = min(1.0, margin_px / max(1.0, shape.moments.ellipse().semi_minor))
    quality = share(found.quality / elongation * clearance)
    return replace(reading, status=Status.MEASURED, plane=Plane.TRANSVERSE, measurements=measurements, quality=quality)


def _longitudinal(reading: Reading, found: InstanceShape, section: Section, margin: NDArray[np.float32]) -> Reading:
    spacing, near = reading.spacing, margin <= TUBE_EDGE_PX
    in_px = widest_tube(found.shape, near, section.pixel_aspect)
    if spacing:
        in_mm = widest_tube(found.shape, near, spacing.x_mm_per_px, spacing.y_mm_per_px)
    else:
        in_mm = None
    if in_px is None or (spacing and in_mm is None):
        return replace(reading, status=Status.REFUSED, reason=TOO_SHORT, plane=Plane.LONGITUDINAL)
    ends = (in_mm or in_px).ends_xy_px
    width = Measurement(LONGITUDINAL, Dimension.LENGTH, in_px.width, in_mm.width if in_mm else None, ends_xy_px=ends)
    plane_sd = uncertainty.longitudinal_plane_sd((in_mm or in_px).width)
    width = section.with_errors(width, plane_sd=plane_sd)
    return replace(
        add_warning(reading, MAY_UNDERESTIMATE),
        status=Status.MEASURED,
        plane=Plane.LONGITUDINAL,
        measurements=(width, section.area(AREA)),
        quality=share(found.instance.score * solidity(found.shape)),
    )


# --- over a clip ------------------------------------------------------------------------------------------------------


def report(readings: Sequence[Reading], recent_s: float | None) -> ClipReport:
    """The sweep by site, and the heart beat of the last ``recent_s`` seconds (None: of the whole clip)."""
    summaries, pulse = sweep(readings), _pulse(readings, recent_s)
    document: dict[str, Any] = {}
    if summaries or summarize(readings) is not None:
        document["sweep"] = [sweep_row(summary) for summary in summaries]
    if pulse is not None:
        document["pulse"] = rounded_floats(asdict(pulse))
    return replace(
        plain_report(readings),
        sweep=summaries,
        sections=(ReportSection("Pulse", pulse_rows(pulse)),),
        pairs=pulse_pairs(pulse),
        document=document,
    )


def _pulse(readings: Sequence[Reading], recent_s: float | None) -> Pulse | None:
    """None where nothing was measured that could have one."""
    if not readings:
        return None
    until_s = readings[-1].key.time_s
    if recent_s is None:
        recent = readings
    else:
        recent = [r for r in readings if until_s - r.key.time_s <= recent_s]
    like = summarize(recent)
    if like is not None:
        return pulse_of(recent, like)
    return None


def sweep_row(summary: Summary) -> dict[str, Any]:
    """One site of a sweep for a document: its largest value, with its interval and where it was."""
    return {
        "site": str(summary.site) or None,
        "maximum": round(summary.maximum, 3),
        "interval_95": rounded_pair(summary.known_maximum_interval),
        "unit": summary.unit,
        "frame": summary.maximum_key.index,
        "time_s": summary.maximum_key.media_time_s,
        "frames": summary.count,
    }


def pulse_rows(pulse: Pulse | None) -> tuple[ReportRow, ...]:
    """Systole, diastole, pulsatility and rate; or why there is none."""
    if pulse is None:
        return (ReportRow("Pulse", None, "Nothing was measured yet"),)
    if pulse.systolic is None or pulse.diastolic is None or pulse.heart_rate_per_min is None:
        return (ReportRow("Pulse", None, pulse.reason),)
    return (
        ReportRow("Systolic diameter", " ".join(_fine(pulse.systolic, pulse.unit))),
        ReportRow("Diastolic diameter", " ".join(_fine(pulse.diastolic, pulse.unit))),
        ReportRow(
            "Pulsatility", f"{pulse.pulsatility_percent:.1f} %", "systolic less diastolic, in percent of diastolic"
        ),
        ReportRow("Heart rate", f"{pulse.heart_rate_per_min:.0f} / min", f"{pulse.beats:.1f} beats seen"),
    )


def pulse_pairs(pulse: Pulse | None) -> tuple[tuple[str, str], ...]:
    """The same in two lines, to stand beside the number; nothing without a beat."""
    if pulse is None or pulse.systolic is None or pulse.diastolic is None or pulse.heart_rate_per_min is None:
        return ()
    systolic, unit = _fine(pulse.systolic, pulse.unit)
    diastolic, _ = _fine(pulse.diastolic, pulse.unit)
    return (
        ("systolic / diastolic", f"{systolic} / {diastolic} {unit}"),
        ("pulsatility · rate", f"{pulse.pulsatility_percent:.0f} % · {pulse.heart_rate_per_min:.0f} / min"),
    )


def _fine(value: float, unit: str) -> tuple[str, str]:
    """In mm: to a tenth of a cm systole and diastole are mostly the same."""
    return replace(AORTA, in_centimetres=False).number(value, unit)


def _cells(reading: Reading) -> dict[str, FileValue]:
    return {"site": str(reading.site), "plane_set": int(reading.plane_set)}


AORTA = register(
    Finding(
        "aorta",
        "Aorta",
        absent="Aorta not visualised",
        absent_banner="Vessel not seen",
        read=read,
        labels=("aorta", "abdominal aorta"),
        quoted=AP,
        quantities={
            AP: Quantity(Dimension.LENGTH, "AP diameter"),
            TRANSVERSE: Quantity(Dimension.LENGTH, "Transverse diameter"),
            LONGITUDINAL: Quantity(Dimension.LENGTH, "Longitudinal diameter"),
            # Beside the AP and transverse diameters they only confuse.
            MAJOR: Quantity(Dimension.LENGTH, "Long axis", is_auxiliary=True),
            MINOR: Quantity(Dimension.LENGTH, "Short axis", is_auxiliary=True),
            AREA: Quantity(Dimension.AREA),
        },
        extra_columns=("site", "plane_set"),
        extra_cells=_cells,
        # To one decimal, as it is reported (docs/clinical.md, "Plane, direction and site").
        in_centimetres=True,
        needs_aggregate=True,
        context=frozenset({"plane", "site"}),
        reference_tables=TABLES,
        report=report,
    )
)
