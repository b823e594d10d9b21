"""How far an outline is off, fitted so that stated intervals hold the truth; and a diagram of how often they do.

An *edge error* is the error of a measured size, as the number of input pixels by which the outline would have to be off
to make it (the size's error over what one pixel of edge error gives it, ``usviewer.measure.uncertainty``). It must come
from pictures that the network has not learnt from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np

from usviewer.frame import FrameKey, Mask
from usviewer.infer.prediction import Instance, Prediction, instance_of
from usviewer.measure.findings import ReadState, finding_of
from usviewer.measure.reading import NORMAL_95, Measurement

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Nominal shares of the intervals in the card's table."""
FEWEST = 20
"""With fewer errors nothing is fitted."""


def measured_size(instance: Instance, finding: str, name: str, size_px: tuple[int, int]) -> Measurement | None:
    """The viewer's own measurement of one outline on a picture of (width, height), its edge off by one frame pixel.

    None where the viewer would not measure it.
    """
    key = FrameKey("training", 0, None, 0.0, "")
    prediction = Prediction(key, size_px, (instance,), "", "", "", edge_sd_px=1.0)
    return finding_of(finding).read(prediction, None, ReadState()).get(name)


def edge_error_px(
    instance: Instance, truth: Mask, finding: str, name: str, input_px_per_frame_px: float
) -> float | None:
    """The edge error of one outline against a mask of the whole picture; None where either would not be measured.

    Where the mask is empty the outline is of something else, and the true size is 0.
    """
    size_px = (truth.shape[1], truth.shape[0])
    found, true_size = measured_size(instance, finding, name, size_px), 0.0
    if truth.any():
        true = measured_size(instance_of(truth, instance, 1.0), finding, name, size_px)
        if true is None or true.size is None:
            return None
        true_size = true.size
    if found is None or found.size is None or not found.sd:
        return None
    return (found.size - true_size) / found.sd * input_px_per_frame_px


def fitted_edge_sd(errors_px: Sequence[float]) -> float:
    """The standard deviation with which 95 % of the sizes lie in their 95 % intervals; 0 of too few."""
    if len(errors_px) < FEWEST:
        return 0.0
    return float(np.percentile(np.abs(errors_px), 95)) / NORMAL_95


def share_held(errors_px: Sequence[float], edge_sd_px: float, level: float) -> float:
    """Share of the sizes that lie in their intervals of this nominal share."""
    reach = NormalDist().inv_cdf(0.5 + level / 2) * edge_sd_px
    return float(np.mean(np.abs(errors_px) <= reach))


def reliability_rows(errors_px: Sequence[float]) -> str:
    """The card's table: what the intervals of each nominal share hold; empty of too few."""
    edge_sd = fitted_edge_sd(errors_px)
    if not edge_sd:
        return "| | too few |"
    return "\n".join(f"| {level:.0%} | {share_held(errors_px, edge_sd, level):.1%} |" for level in LEVELS)


def write_reliability(path: Path, errors_px: Sequence[float]) -> None:
    """The diagram: nominal shares against those that were held. Above the diagonal intervals are wider than needed."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure  # only the recipes need it

    edge_sd, levels = fitted_edge_sd(errors_px), np.linspace(0.02, 0.98, 49)
    figure = Figure(figsize=(3.4, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="0.6", linewidth=1)
    axes.plot(levels, [share_held(errors_px, edge_sd, float(level)) for level in levels], color="#0072B2")
    axes.set(xlabel="nominal share of the interval", ylabel=f"share that holds the truth (n = {len(errors_px)})")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
