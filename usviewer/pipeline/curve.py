"""A clip's readings over its frames: the curve of the answer, and the aggregate of the whole clip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from usviewer.infer.prediction import Edge
from usviewer.measure import summarize
from usviewer.measure.findings import finding_of
from usviewer.measure.reading import Plane, Provenance, Reading, Status, Summary
from usviewer.measure.trend import MAX_GAP_S, MIN_SPAN_S


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One value for every frame of a clip, NaN where it was not measured.

    Only readings of one kind (quantity, unit, plane, edge; in pixels also of one size of picture) are on one curve;
    ``other`` marks frames that measured something else, ``refused`` those that must not be measured. ``summary`` is the
    aggregate of the whole clip, if any. ``is_quotable``: its maximum may be said. Of what pulsates it must stand among
    readings of at least one heart beat without a gap, as a headline must.
    """

    name: str
    unit: str
    plane: Plane
    edge: Edge
    values: NDArray[np.float64]
    analysed: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    edited: NDArray[np.bool_]
    other: NDArray[np.bool_]
    summary: Summary | None
    is_quotable: bool = False


def curve_of(readings: Mapping[int, Reading], count: int, *, aggregated: bool = True) -> Curve:
    """The curve of a clip of ``count`` frames, as far as it is analysed.

    ``aggregated`` is False for pictures that may be of different patients: then there is no summary of them all.
    """
    whole = summarize(readings.values())
    values = np.full(count, np.nan)
    flags = np.zeros((4, count), dtype=np.bool_)
    analysed, refused, edited, other = flags
    for index, reading in readings.items():
        if not 0 <= index < count:
            continue
        analysed[index] = True
        refused[index] = reading.status is Status.REFUSED
        edited[index] = reading.provenance is Provenance.EDITED
        value = value_of(reading, whole)
        other[index] = value is None and reading.status is Status.MEASURED
        values[index] = np.nan if value is None else value
    if whole is None:
        return Curve("", "", Plane.UNDETERMINED, Edge.NOT_STATED, values, analysed, refused, edited, other, None)
    unit, summary = whole.unit_words, replace(whole, whole=True) if aggregated else None
    is_quotable = _is_quotable(readings.values(), whole)
    return Curve(
        whole.name, unit, whole.plane, whole.edge, values, analysed, refused, edited, other, summary, is_quotable
    )


def _is_quotable(readings: Iterable[Reading], whole: Summary) -> bool:
    """Whether the maximum lies in a stretch that ``Trend`` would quote: a few frames alone may be a false alarm."""
    counted = [reading for reading in readings if value_of(reading, whole) is not None]
    if not any(finding_of(reading.finding).needs_aggregate for reading in counted):
        return True
    times_s = np.sort([reading.key.time_s for reading in counted])
    stretches = np.split(times_s, np.flatnonzero(np.diff(times_s) > MAX_GAP_S) + 1)
    at_s = whole.maximum_key.time_s
    return any(len(s) and s[0] <= at_s <= s[-1] and s[-1] - s[0] >= MIN_SPAN_S for s in stretches)


def value_of(reading: Reading, whole: Summary | None) -> float | None:
    """The reading's answer in the unit of the summary; None where it speaks of something else."""
    if whole is None or reading.status is not Status.MEASURED or not reading.measurements:
        return None
    answer = reading.measurements[0]
    same = (answer.name, reading.plane, reading.edge) == (whole.name, whole.plane, whole.edge)
    if not same or not whole.shares_unit(reading) or (whole.unit == "px") != (answer.value_mm is None):
        return None
    return answer.value_px if whole.unit == "px" else answer.value_mm
