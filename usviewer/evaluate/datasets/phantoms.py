"""Phantoms, of whose aorta the true outline and diameter are known: as a data set, and as a test of the interval.

The stated interval must hold the true diameter 95 times in 100. Outline and scale are disturbed by exactly the errors
that the reading is told of (``measure.uncertainty`` describes them).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import parse_qs

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.acquire.phantom import PhantomPlane, PhantomSource, open_phantom, random_spec
from usviewer.errors import UserError
from usviewer.evaluate.datasets.dataset import (
    Dataset,
    DatasetKind,
    DatasetOptions,
    GroundTruth,
    LengthTruth,
    Sample,
    chosen,
)
from usviewer.evaluate.statistics import Estimate, proportion
from usviewer.frame import FrameKey, ImageGeometry, Mask, Region
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.measure import read
from usviewer.measure.findings import aorta
from usviewer.measure.geometry import moments_of
from usviewer.measure.reading import Reading, Status
from usviewer.units import Spacing

POPULATION = ("phantom", "phantom:", "phantom:population")
MAX_COUNT = 100_000
# Terms of the series that are drawn: exp(-k^2 / 2) leaves nothing of the ninth.
HARMONICS = 8
# Frames of the first beats among which the members of a population are spread.
_MOMENTS = 90


def open_phantoms(uri: str, options: DatasetOptions) -> Dataset | None:
    """``phantom`` or ``phantom:population?count=200``: one frame of each member of a random population.

    Any other ``phantom:`` address is one phantom, frame by frame. None for any other address.
    """
    address, _, query = uri.partition("?")
    if is_population(uri):
        return _population(_count(uri, query, options), options)
    if not address.lower().startswith("phantom:"):
        return None
    source = open_phantom(uri)
    indices = [i for i in range(source.spec.frames) if chosen(options, i)][: options.limit]
    return Dataset(
        "phantom",
        DatasetKind.MASKS,
        ("aorta",),
        lambda: (_sample(source, index, f"frame {index}", "phantom") for index in indices),
        len(indices),
        "phantom",
        ("One phantom: its frames say nothing about other patients.",),
    )


def is_population(uri: str) -> bool:
    """Whether an address means phantoms drawn at random, and not one phantom or a folder."""
    address, _, query = uri.partition("?")
    return address.lower() in POPULATION and (not query or address.lower() == POPULATION[2])


def _count(uri: str, query: str, options: DatasetOptions) -> int:
    values = parse_qs(query)
    if set(values) - {"count"}:
        raise UserError(f"'{uri}' cannot be read", "Write phantom:population?count=200")
    text = values.get("count", [str(options.count)])[-1]
    if not (text.isdecimal() and 1 <= int(text) <= MAX_COUNT):
        raise UserError(f"There cannot be {text} phantoms", f"Give a count from 1 to {MAX_COUNT}")
    return int(text)


def _population(count: int, options: DatasetOptions) -> Dataset:
    seeds = [seed for seed in range(count) if chosen(options, seed)][: options.limit]
    notes = ["Random phantoms, aortas of 15 to 70 mm, one frame of each. Truth: extent of the lumen along the beam."]
    if options.scale_sd:
        notes.append(
            f"Each scale is off by a random error with the stated standard deviation of {options.scale_sd:.2%}."
        )
    members = partial(_members, seeds, options.scale_sd)
    return Dataset("phantom", DatasetKind.MASKS, ("aorta",), members, len(seeds), "phantom", tuple(notes))


def _members(seeds: Iterable[int], scale_sd: float) -> Iterator[Sample]:
    for seed in seeds:
        source = PhantomSource(random_spec(seed), f"phantom:seed={seed}")
        sample = _sample(source, moment_of(seed, source), f"phantom {seed}", str(seed))
        if scale_sd:
            # The generator of each member is its own, so that --every and --limit change no other's scale.
            geometry = with_wrong_scale(source.geometry, scale_sd, np.random.default_rng([seed, 95]))
            sample = replace(sample, frame=sample.frame.with_geometry(geometry))
        yield sample


def _sample(source: PhantomSource, index: int, name: str, group: str) -> Sample:
    truth, mask = source.truth(index), source.truth_mask(index)
    frame = source.seek(index)
    if mask is None:
        empty: Mask = np.zeros((frame.height_px, frame.width_px), np.bool_)
        return Sample(name, group, frame, GroundTruth({"aorta": empty}))
    lengths: dict[str, LengthTruth] = {}
    length_px = true_ap_px(source, index)
    # A section along the vessel is measured across its centreline, not along the beam.
    if length_px is not None and truth.plane is PhantomPlane.TRANSVERSE:
        lengths["ap_diameter"] = LengthTruth(length_px, length_px * truth.mm_per_px)
    return Sample(name, group, frame, GroundTruth({"aorta": mask}, lengths=lengths))


# --- the stated interval ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Coverage:
    """How often the 95 % interval held the truth, of the phantoms that were measured; mean half-width in mm.

    ``refused`` and ``not_seen`` count the phantoms without a value, which neither hold nor miss.
    """

    count: int
    held: Estimate | None
    half_width_mm: float
    mean_error_mm: float
    refused: int = 0
    not_seen: int = 0


def phantom_coverage(seeds: Iterable[int], edge_sd_px: float = 1.5, scale_sd: float = 0.01) -> _Coverage:
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
    return _Coverage(
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
