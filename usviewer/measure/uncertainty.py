"""How sure a value is: the sources of its error, each as a standard deviation, added in quadrature.

**Scale.** ``Spacing.relative_sd``; twice that for an area. Without a scale values and errors are in pixels.

**Edge.** The outline is off by a random displacement along its normal, with the standard deviation that the prediction
states (``edge_sd_px``), alike at neighbouring places: for two places an angle ``t`` apart as seen from the middle the
correlation is ``exp(-t^2 / 2)`` (``t`` in radians, so about one radian of outline moves together). As a Fourier
series around the outline its mean has the variance ``c0`` and its k-th harmonic ``2 c_k`` (in units of the edge's
variance) with ``c_k = exp(-k^2 / 2) / sqrt(2 pi)``. A diameter by second moments answers to the mean and the second
harmonic, a circumference and an area to the mean, one side's depth to the displacement itself, the middle to the first
harmonic.

**Plane.** Nobody holds a probe exactly across a vessel: up to 10 degrees go unnoticed and lengthen the section by up to
1.5 % (``docs/clinical.md``, "What can go wrong"). What the section is longer than its short axis may all be obliquity,
or none of it. Cut lengthwise beside the middle, up to a quarter of the diameter off, a vessel looks up to 13 % too
narrow. For heads and nerves one picture does not tell.

**Frames.** The scatter of the median over several frames, from ``trend``.

A value whose interval reaches further than half of it to either side says nothing of a size: it is not shown at all.
"""

from __future__ import annotations

import math
from dataclasses import replace

from usviewer.measure.reading import NORMAL_95, Dimension, Errors, Measurement, Reading
from usviewer.units import Spacing

# Of the value, to either side. A nerve's area was stated with 119 % at the median: nobody can act on that.
MOST_SHARE = 0.5


def is_guess(measurement: Measurement) -> bool:
    """Whether a value's 95 % interval is so wide that the value must not be shown."""
    size, sd = measurement.size, measurement.sd
    return bool(size and sd is not None and NORMAL_95 * sd > MOST_SHARE * size)


def without_guesses(reading: Reading) -> Reading:
    """The reading without the values that are guesses, and a warning that names them.

    The first measurement is the answer. Where it is a guess, nothing is left that could be taken for it (of the same
    dimension) or was computed from it (without a size of its own: weeks, percent).
    """
    if not any(is_guess(measurement) for measurement in reading.measurements):
        return reading
    answer = reading.measurements[0]
    guesses = [each for each in reading.measurements if is_guess(each)]
    if is_guess(answer):
        guesses = [each for each in reading.measurements if each in guesses or _falls_with(each, answer)]
    names = ", ".join(measurement.name.replace("_", " ") for measurement in guesses)
    warning = f"Not shown, for the outline is too uncertain: {names}"
    kept = tuple(measurement for measurement in reading.measurements if measurement not in guesses)
    return replace(reading, measurements=kept, warnings=(*reading.warnings, warning))


def _falls_with(measurement: Measurement, answer: Measurement) -> bool:
    return measurement.size is None or measurement.dimension is answer.dimension


def _harmonic(k: int) -> float:
    """Variance of a harmonic's amplitude (half of it for the mean), for an edge of variance 1."""
    return math.exp(-0.5 * k * k) / math.sqrt(2.0 * math.pi)


# Standard deviations for an edge that is off by 1 (same unit), from the series above.
MEAN_GAIN: float = math.sqrt(_harmonic(0))
DIAMETER_GAIN: float = 2.0 * math.sqrt(_harmonic(0) + 2.0 * _harmonic(2))
CIRCUMFERENCE_GAIN: float = 2.0 * math.pi * MEAN_GAIN
DEPTH_GAIN: float = 1.0
CENTRE_GAIN: float = math.sqrt(2.0 * _harmonic(1))

# Root mean square of 1 / cos(phi) - 1 for phi even over 0 to 10 degrees.
UNNOTICED_TILT = 0.0069
# Root mean square of 1 - sqrt(1 - (2 o)^2) for an offset o even over 0 to a quarter of the diameter.
UNNOTICED_OFFSET = 0.059


def length_with_errors(
    length: Measurement,
    spacing: Spacing | None,
    edge_sd_px: float | None,
    gain: float = DIAMETER_GAIN,
    plane_sd: float | None = None,
    *,
    pixel_aspect: float = 1.0,
) -> Measurement:
    """The same length with its errors; unchanged where the outline's error is not known.

    ``plane_sd`` is in the length's unit: mm with a scale, else px. The edge's pixels are turned into mm along the
    length itself, where it says how it lies: a network that was shown square pixels (``pixel_aspect`` is a frame
    pixel's width over its height as it was made up for) is off alike in all directions, another is not.
    """
    if edge_sd_px is None:
        return length
    if spacing is None or length.value_mm is None:
        return replace(length, errors=Errors(edge=gain * edge_sd_px * math.sqrt(pixel_aspect), plane=plane_sd))
    edge_mm = gain * edge_sd_px * _mm_per_px_along(length, spacing, pixel_aspect)
    return _with_mm(length, Errors(spacing.relative_sd * length.value_mm, edge_mm, plane_sd))


def area_with_errors(
    area: Measurement,
    spacing: Spacing | None,
    edge_sd_px: float | None,
    circumference: float,
    *,
    pixel_aspect: float = 1.0,
) -> Measurement:
    """The same area with its errors: the outline's length (mm with a scale, else px) times its mean displacement."""
    if edge_sd_px is None or area.dimension is not Dimension.AREA:
        return area
    edge = circumference * MEAN_GAIN * edge_sd_px
    if spacing is None or area.value_mm is None:
        return replace(area, errors=Errors(edge=edge * math.sqrt(pixel_aspect)))
    return _with_mm(area, Errors(2.0 * spacing.relative_sd * area.value_mm, edge * _mm_per_px(spacing)))


def transverse_plane_sd(length: float, short_axis: float) -> float:
    """Standard deviation that an oblique plane adds to an extent of a section with this short axis, all in one unit."""
    # Anything from 0 to all of it may be obliquity: an even distribution, whose sd is its width over the root of 12.
    longer = max(0.0, length - short_axis)
    return math.hypot(UNNOTICED_TILT * length, longer / math.sqrt(12.0))


def longitudinal_plane_sd(width: float) -> float:
    """Standard deviation for a plane that runs beside the vessel's middle; the true width is rather larger."""
    return UNNOTICED_OFFSET * width


def _mm_per_px(spacing: Spacing) -> float:
    return math.sqrt(spacing.x_mm_per_px * spacing.y_mm_per_px)


def _mm_per_px_along(length: Measurement, spacing: Spacing, pixel_aspect: float) -> float:
    """The scale in the direction in which a length lies; of one that runs round, the mean of both axes.

    In mm per square of a frame pixel's area, as the network saw them.
    """
    if length.ends_xy_px is None:
        return _mm_per_px(spacing)
    (x0, y0), (x1, y1) = length.ends_xy_px
    px = math.hypot((x1 - x0) * math.sqrt(pixel_aspect), (y1 - y0) / math.sqrt(pixel_aspect))
    if px > 0.0:
        return spacing.length_mm(*length.ends_xy_px) / px
    return _mm_per_px(spacing)


def _with_mm(measurement: Measurement, errors: Errors) -> Measurement:
    return replace(measurement, sd_mm=errors.total, errors=errors)
