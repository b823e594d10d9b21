"""Phantoms as a data set: the aorta's true outline and diameter are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qs

import numpy as np

from usviewer.acquire.phantom import PhantomPlane, PhantomSource, open_phantom, random_spec
from usviewer.errors import UserError
from usviewer.evaluate import coverage
from usviewer.evaluate.datasets.dataset import (
    Dataset,
    DatasetKind,
    DatasetOptions,
    GroundTruth,
    LengthTruth,
    Sample,
    chosen,
)
from usviewer.frame import Mask

POPULATION = ("phantom", "phantom:", "phantom:population")
MAX_COUNT = 100_000


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
        sample = _sample(source, coverage.moment_of(seed, source), f"phantom {seed}", str(seed))
        if scale_sd:
            # The generator of each member is its own, so that --every and --limit change no other's scale.
            geometry = coverage.with_wrong_scale(source.geometry, scale_sd, np.random.default_rng([seed, 95]))
            sample = replace(sample, frame=sample.frame.with_geometry(geometry))
        yield sample


def _sample(source: PhantomSource, index: int, name: str, group: str) -> Sample:
    truth, mask = source.truth(index), source.truth_mask(index)
    frame = source.seek(index)
    if mask is None:
        empty: Mask = np.zeros((frame.height_px, frame.width_px), np.bool_)
        return Sample(name, group, frame, GroundTruth({"aorta": empty}))
    lengths: dict[str, LengthTruth] = {}
    length_px = coverage.true_ap_px(source, index)
    # A section along the vessel is measured across its centreline, not along the beam.
    if length_px is not None and truth.plane is PhantomPlane.TRANSVERSE:
        lengths["ap_diameter"] = LengthTruth(length_px, length_px * truth.mm_per_px)
    return Sample(name, group, frame, GroundTruth({"aorta": mask}, lengths=lengths))
