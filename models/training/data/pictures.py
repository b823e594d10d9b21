"""Real pictures as the viewer would hand them to the network, and exams kept together in folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.data.sources import TrainImage, list_images, read_gray
from usviewer.calibrate.sector import find_sector
from usviewer.infer.manifest import InputSpec
from usviewer.infer.preprocess import PixelBox, Placement, prepare

Gray = NDArray[np.uint8]

OVERSAMPLING = 2
"""Pictures for training are kept at this many times the network's size, so that turning and zooming stay sharp."""


@dataclass(frozen=True)
class PlacedPicture:
    """A letterboxed gray picture, and where the original lies in it."""

    gray: Gray
    placement: Placement


def input_spec(width_px: int, height_px: int) -> InputSpec:
    """The input of all networks here: gray bytes, cropped to the sector, letterbox, averaged when shrinking."""
    return InputSpec(
        name="image",
        width_px=width_px,
        height_px=height_px,
        channels=1,
        dtype="uint8",
        channel_order="gray",
        value_range=(0.0, 255.0),
        interpolation="area",
        crop="sector",
    )


def input_table(spec: InputSpec) -> dict[str, object]:
    """The same as the manifest writes it."""
    return {
        "name": spec.name,
        "width": spec.width_px,
        "height": spec.height_px,
        "channels": spec.channels,
        "layout": spec.layout,
        "dtype": spec.dtype,
        "channel_order": spec.channel_order,
        "value_range": [0, 255],
        "resize": spec.resize,
        "interpolation": spec.interpolation,
        "pad_value": spec.pad_value,
        "crop": spec.crop,
    }


def oversampled(spec: InputSpec) -> InputSpec:
    """The same input, larger by ``OVERSAMPLING``."""
    return replace(spec, width_px=spec.width_px * OVERSAMPLING, height_px=spec.height_px * OVERSAMPLING)


def sector_box(gray: Gray) -> PixelBox:
    """The box that the viewer crops to."""
    x0, y0, x1, y1 = find_sector([_rgb(gray)]).box_xyxy_px
    return int(x0), int(y0), int(x1), int(y1)


def place_picture(gray: Gray, spec: InputSpec, box: PixelBox | None = None) -> PlacedPicture:
    """A gray picture, cropped and placed by the viewer's own code; its sector is looked for unless `box` is given."""
    tensor, placement = prepare(_rgb(gray), spec, box or sector_box(gray))
    return PlacedPicture(np.array(tensor[0, 0], np.uint8), placement)


def load_picture(path: Path, spec: InputSpec) -> PlacedPicture:
    """The same for a file."""
    return place_picture(read_gray(path), spec)


def _rgb(gray: Gray) -> NDArray[np.uint8]:
    return np.repeat(gray[..., None], 3, axis=2)


def fold_of_exams(exams: Sequence[str], folds: int, seed: int = 0) -> NDArray[np.int64]:
    """A fold for every picture: all pictures of one exam share it."""
    names = sorted(set(exams))
    order = np.random.default_rng(seed).permutation(len(names))
    fold = {names[name]: place % folds for place, name in enumerate(order)}
    return np.array([fold[exam] for exam in exams], np.int64)


def other_pictures(
    data_dir: Path, kinds: Sequence[str], spec: InputSpec, *, held_out: bool, most: int | None = None
) -> list[Gray]:
    """Letterboxed pictures of other anatomy, on one side of the fixed split of ``sources``; `most` for a trial run."""
    chosen: list[TrainImage] = [i for i in list_images(data_dir, held_out=held_out) if i.kind in kinds]
    return [load_picture(image.path, spec).gray for image in chosen[:most]]


def bootstrap_interval(
    values: Sequence[float], groups: Sequence[str], seed: int = 0, draws: int = 2000
) -> tuple[float, float]:
    """95 % interval of the mean; whole exams are drawn, since their pictures resemble one another."""
    table: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        table.setdefault(group, []).append(value)
    sums = np.array([sum(v) for v in table.values()])
    counts = np.array([len(v) for v in table.values()])
    picks = np.random.default_rng(seed).integers(0, len(sums), (draws, len(sums)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))
