"""Whether the stated interval keeps its word: on phantoms it must hold the true diameter 95 times in 100.

Outline and scale are disturbed by exactly the errors that the reading is told of (``uncertainty`` describes them).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.acquire.phantom import PhantomSource, random_spec
from usviewer.evaluate.statistics import Estimate, proportion
from usviewer.frame import FrameKey, ImageGeometry, Mask, Region
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure import read
from usviewer.measure.findings import aorta
from usviewer.measure.geometry import moments_of
from usviewer.measure.reading import Reading, Status
from usviewer.units import Spacing

# Terms of the series that are drawn: exp(-k^2 / 2) leaves nothing of the ninth.
HARMONICS = 8
# Frames of the first beats among which the members of a population are spread.
_MOMENTS = 90


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often the 95 % interval held the truth, of the phantoms that were measured; mean half-width in mm.

    ``refused`` and ``not_seen`` count the phantoms without a value, which neither hold nor miss.
    """

    count: int
    held: Estimate | None
    half_width_mm: float
    mean_error_mm: float
    refused: int = 0
    not_seen: int = 0


def phantom_coverage(seeds: Iterable[int], edge_sd_px: float = 1.5, scale_sd: float = 0.01) -> Coverage:
    """Coverage of the AP diameter on one frame of each random phantom, measured on its true mask.

    The mask is disturbed by ``edge_sd_px`` and the scale by ``scale_sd`` (relative), and both are stated. With the own
    masks of a model, which state their own error: ``usviewer evaluate MODEL phantom --scale-sd 0.01``.
    """
    errors, half_widths, statuses = [], [], []
    for seed in seeds:
        source = PhantomSource(random_spec(seed), f"phantom:seed={seed}")
        index = moment_of(seed, source)
        rng = np.random.default_rng([seed, 95])
        geometry = with_wrong_scale(source.geometry, scale_sd, rng)
        reading = read(_disturbed(source, index, edge_sd_px, rng), geometry, aorta.AORTA.id)
        statuses.append(reading.status)
        true_mm = _true_ap_mm(source, index)
        if true_mm is not None and (pair := _error(reading, true_mm)):
            errors.append(pair[0])
            half_widths.append(pair[1])
    held = proportion([abs(e) <= h for e, h in zip(errors, half_widths, strict=True)], range(len(errors)))
    return Coverage(
        len(errors),
        held,
        _mean(half_widths),
        _mean(errors),
        statuses.count(Status.REFUSED),
        statuses.count(Status.NOT_VISUALISED),
    )


def _mean(values: list[float]) -> float:
    """The mean; NaN without values, where numpy would warn."""
    if not values:
        return math.nan
    return float(np.mean(values))


def moment_of(seed: int, source: PhantomSource) -> int:
    """The frame that stands for this member of the population: each is looked at at another moment of its beat."""
    return seed * 7 % min(_MOMENTS, source.spec.frames)


def true_ap_px(source: PhantomSource, index: int) -> float | None:
    """Extent of the true lumen along the beam through its middle, in pixels; None without a whole vessel."""
    truth = source.truth(index)
    if truth.inner_outline_xy_px is None or truth.clipped:
        return None
    middle = truth.inner_outline_xy_px.mean(axis=0)
    sector = source.geometry.sector
    beam = (0.0, 1.0)
    if sector:
        beam = sector.beam_direction((float(middle[0]), float(middle[1])))
    return float(np.ptp(truth.inner_outline_xy_px @ np.asarray(beam)))


def _true_ap_mm(source: PhantomSource, index: int) -> float | None:
    """``true_ap_px`` in mm, by the scale that the phantom was built with."""
    length_px = true_ap_px(source, index)
    if length_px is None:
        return None
    return length_px * source.truth(index).mm_per_px


def with_wrong_scale(geometry: ImageGeometry, scale_sd: float, rng: np.random.Generator) -> ImageGeometry:
    """The geometry with a scale that is off by a random factor, and says by how much it may be."""
    factor = 1.0
    if scale_sd:  # without it nothing is drawn: the outline's error that follows comes from the same generator
        factor += float(rng.normal(0.0, scale_sd))
    regions = tuple(_off(region, factor, scale_sd) for region in geometry.regions)
    return replace(geometry, regions=regions)


def displace(mask: Mask, edge_sd_px: float, rng: np.random.Generator) -> Mask:
    """Move the outline of a mask (bool, height x width) along its normal by a random, smooth displacement.

    ``edge_sd_px`` is the standard deviation of the displacement, in pixels.
    """
    # Nothing moves beyond the rectangle of the mask and a margin: the rest of the frame is left alone.
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    reach = math.ceil(6.0 * edge_sd_px) + 2
    rows = slice(max(0, y - reach), y + height + reach)
    columns = slice(max(0, x - reach), x + width + reach)
    whole = np.zeros_like(mask)
    whole[rows, columns] = _displaced(np.ascontiguousarray(mask[rows, columns]), edge_sd_px, rng)
    return whole


def _displaced(mask: Mask, edge_sd_px: float, rng: np.random.Generator) -> Mask:
    filled = mask.view(np.uint8)
    outside = cv2.distanceTransform(1 - filled, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(filled, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = np.where(mask, inside - 0.5, 0.5 - outside)
    center_x, center_y = moments_of(mask).centroid_xy
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    angle_rad = np.arctan2(y + 0.5 - center_y, x + 0.5 - center_x)
    return np.asarray(depth + displacement(angle_rad, edge_sd_px, rng) > 0.0)


def displacement(angle_rad: NDArray[np.float64], edge_sd_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """One draw of the edge's error at each angle: the series that ``uncertainty`` states, drawn term by term."""
    k = np.arange(HARMONICS + 1)
    variances = np.exp(-0.5 * k**2) / math.sqrt(2.0 * math.pi) * np.where(k == 0, 1.0, 2.0)
    cosines, sines = rng.normal(size=(2, HARMONICS + 1)) * np.sqrt(variances) * edge_sd_px
    moved = np.zeros_like(angle_rad, dtype=np.float64)
    for order, cosine, sine in zip(k, cosines, sines, strict=True):
        moved += cosine * np.cos(order * angle_rad) + sine * np.sin(order * angle_rad)
    return moved


def _disturbed(source: PhantomSource, index: int, edge_sd_px: float, rng: np.random.Generator) -> Prediction:
    mask = source.truth_mask(index)
    instances: tuple[Instance, ...] = ()
    if mask is not None and mask.any():
        moved = displace(mask, edge_sd_px, rng)
        x, y, width, height = cv2.boundingRect(moved.view(np.uint8))
        part = np.ascontiguousarray(moved[y : y + height, x : x + width])
        box = (float(x), float(y), float(x + width), float(y + height))
        instances = (Instance("aorta", 0, 1.0, box, part, (x, y), Edge.INNER),)
    key = FrameKey(source.info.uri, index, index / source.spec.fps, 0.0, "")
    size = (source.spec.width, source.spec.height)
    return Prediction(key, size, instances, "phantom", "", "", edge_sd_px=edge_sd_px)


def _error(reading: Reading, true_mm: float) -> tuple[float, float] | None:
    """Measured minus true, and the half-width of the interval."""
    found = reading.get(aorta.AP)
    if found is None or found.value_mm is None or found.sd_mm is None or found.interval_mm is None:
        return None
    low, high = found.interval_mm
    return found.value_mm - true_mm, 0.5 * (high - low)


def _off(region: Region, factor: float, scale_sd: float) -> Region:
    spacing = region.spacing
    if spacing is None:
        return region
    x, y = spacing.x_mm_per_px * factor, spacing.y_mm_per_px * factor
    return replace(region, spacing=Spacing(x, y, spacing.source, spacing.detail, scale_sd))
