"""Phantoms as a data set: the aorta's true outline and diameter are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs

import numpy as np

from usviewer.acquire.phantom import PhantomPlane, PhantomSource, open_phantom, random_spec
from usviewer.errors import UserError
from usviewer.frame import Mask, Points, Sector
from usviewer.tools.datasets.base import Dataset, Kind, Length, Options, Sample, Truth, chosen

POPULATION = ("phantom", "phantom:", "phantom:population")
MAX_COUNT = 100_000
# Each member is looked at at another moment of its beat and breath.
_MOMENTS = 90


def open_phantoms(uri: str, options: Options) -> Dataset | None:
    """``phantom`` or ``phantom:population?count=200``: one frame of each member of a random population.

    Any other ``phantom:`` address is one phantom, frame by frame. None for what is no phantom.
    """
    address, _, query = uri.partition("?")
    if address.lower() in POPULATION and (not query or address.lower() == POPULATION[2]):
        return _population(_count(uri, query, options), options)
    if not address.lower().startswith("phantom:"):
        return None
    source = open_phantom(uri)
    indices = [i for i in range(source.spec.frames) if chosen(options, i)][: options.limit]
    return Dataset(
        "phantom",
        Kind.MASKS,
        ("aorta",),
        lambda: (_sample(source, index, f"frame {index}", "phantom") for index in indices),
        len(indices),
        "phantom",
        ("One phantom: its frames say nothing about other patients.",),
    )


def _count(uri: str, query: str, options: Options) -> int:
    values = parse_qs(query)
    if set(values) - {"count"}:
        raise UserError(f"'{uri}' cannot be read", "Write phantom:population?count=200")
    text = values.get("count", [str(options.count)])[-1]
    if not (text.isdecimal() and 1 <= int(text) <= MAX_COUNT):
        raise UserError(f"There cannot be {text} phantoms", f"Give a count from 1 to {MAX_COUNT}")
    return int(text)


def _population(count: int, options: Options) -> Dataset:
    seeds = [seed for seed in range(count) if chosen(options, seed)][: options.limit]
    note = "Random phantoms, aortas of 15 to 70 mm, one frame of each. Truth: extent of the lumen along the beam."
    return Dataset("phantom", Kind.MASKS, ("aorta",), lambda: _members(seeds), len(seeds), "phantom", (note,))


def _members(seeds: Iterable[int]) -> Iterator[Sample]:
    for seed in seeds:
        source = PhantomSource(random_spec(seed), f"phantom:seed={seed}")
        yield _sample(source, seed * 7 % min(_MOMENTS, source.spec.frames), f"phantom {seed}", str(seed))


def _sample(source: PhantomSource, index: int, name: str, group: str) -> Sample:
    truth, mask = source.truth(index), source.truth_mask(index)
    frame = source.seek(index)
    if mask is None:
        empty: Mask = np.zeros((frame.height_px, frame.width_px), np.bool_)
        return Sample(name, group, frame, Truth({"aorta": empty}))
    lengths: dict[str, Length] = {}
    if truth.inner_outline_xy_px is not None and truth.plane is PhantomPlane.TRANSVERSE and not truth.clipped:
        length_px = _along_beam_px(truth.inner_outline_xy_px, frame.geometry.sector if frame.geometry else None)
        lengths["ap_diameter"] = Length(length_px, length_px * truth.mm_per_px)
    return Sample(name, group, frame, Truth({"aorta": mask}, lengths=lengths))


def _along_beam_px(outline_xy_px: Points, sector: Sector | None) -> float:
    """Extent of the true outline along the beam through its middle: what an AP caliper measures."""
    middle = outline_xy_px.mean(axis=0)
    beam = sector.beam_direction((float(middle[0]), float(middle[1]))) if sector else (0.0, 1.0)
    return float(np.ptp(outline_xy_px @ np.asarray(beam)))
