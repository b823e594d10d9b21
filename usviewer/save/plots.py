"""Figures for files: diameter over time, and the agreement of two methods. Matplotlib without its global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from usviewer import RESEARCH_USE
from usviewer.errors import UserError
from usviewer.files import write_bytes
from usviewer.measure.reading import NORMAL_95, Reading, Status, Summary
from usviewer.overlay.words import convention, plane_words, title
from usviewer.plain_text import printable

Series = NDArray[np.float64]  # of shape (n,)

# Okabe-Ito, dark on white.
_BLUE, _ORANGE, _VERMILION, _GREY = "#0072B2", "#E69F00", "#D55E00", "#9AA4AD"


def write_diameter_plot(
    readings: Sequence[Reading], path: Path, summary: Summary | None, model_label: str = ""
) -> None:
    """The clip's answer over time: gaps where it was not measured, the median with its interval, the maximum marked.

    ``summary`` names the quantity and its unit, plane and edge; only readings of that kind are drawn. Without one the
    figure says that nothing was measured.
    """
    figure = Figure(figsize=(9, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    times, label = _times(readings)
    values = _values(readings, summary)
    _shade(axes, times, [r.status for r in readings])
    if summary is not None:
        _curve(axes, times, values, summary, readings)
    else:
        axes.text(0.5, 0.5, "Nothing was measured", transform=axes.transAxes, ha="center", va="center", fontsize=14)
        axes.set_yticks([])
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", frameon=False, ncols=4, fontsize=9)
    axes.set_xlabel(label)
    if len(times) > 1:
        axes.set_xlim(float(times[0]), float(times[-1]))
    _footnote(figure, model_label, readings)
    write_bytes(path, _png(figure))


def write_bland_altman(
    reference: Series, measured: Series, path: Path, *, unit: str, quantity: str, note: str = ""
) -> None:
    """Difference against mean of two methods, with the bias and the 95 % limits of agreement (Bland and Altman 1986).

    ``reference`` and ``measured`` are pairs, (N,). Raises ``UserError`` for fewer than two pairs.
    """
    if len(reference) != len(measured) or len(reference) < 2:
        raise UserError("Agreement needs at least two measured pairs")
    difference = np.asarray(measured, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    mean = (np.asarray(measured, dtype=np.float64) + np.asarray(reference, dtype=np.float64)) / 2
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(mean, difference, s=18, color=_BLUE, alpha=0.7, linewidths=0)
    _level(axes, bias, f"bias {bias:+.2f}", "-")
    _level(axes, bias + NORMAL_95 * spread, f"+1.96 SD {bias + NORMAL_95 * spread:+.2f}", "--")
    _level(axes, bias - NORMAL_95 * spread, f"-1.96 SD {bias - NORMAL_95 * spread:+.2f}", "--")
    axes.axhline(0.0, color=_GREY, linewidth=0.8)
    axes.set_xlabel(_text(f"Mean of model and reference ({unit})"))
    axes.set_ylabel(_text(f"Model - reference ({unit})"))
    axes.set_title(_text(f"{quantity}, n = {len(difference)}"), loc="left")
    axes.margins(x=0.12, y=0.15)
    _bare(axes)
    figure.supxlabel(_text("   ".join(part for part in (RESEARCH_USE, note) if part)), fontsize=8, color="#555555")
    write_bytes(path, _png(figure))


def _times(readings: Sequence[Reading]) -> tuple[Series, str]:
    times = [reading.key.media_time_s for reading in readings]
    if any(time is None for time in times):
        return np.array([float(reading.key.index) for reading in readings]), "Frame"
    return np.array(times, dtype=np.float64), "Time (s)"


def _values(readings: Sequence[Reading], summary: Summary | None) -> Series:
    """The quantity on every frame; NaN where it was not measured or is of another kind."""
    if summary is None:
        return np.full(len(readings), np.nan)
    return np.array([_value(reading, summary) for reading in readings], dtype=np.float64)


def _value(reading: Reading, summary: Summary) -> float:
    found = reading.get(summary.name)
    if found is None or (reading.plane, reading.edge) != (summary.plane, summary.edge):
        return float("nan")
    if not summary.shares_unit(reading):
        return float("nan")
    value: float | None = found.value_px
    if summary.unit == "mm":
        value = found.value_mm
    if value is None:
        return float("nan")
    return value


def _curve(axes: Any, times: Series, values: Series, summary: Summary, readings: Sequence[Reading]) -> None:
    unit = summary.unit_words
    axes.plot(times, values, color=_BLUE, linewidth=1.2, marker=".", markersize=3)
    axes.axhspan(*summary.interval, color=_BLUE, alpha=0.12, linewidth=0)
    axes.axhline(summary.median, color=_BLUE, linewidth=1, linestyle="--", label=f"median {summary.median:.1f} {unit}")
    top = [index for index, reading in enumerate(readings) if reading.key == summary.maximum_key]
    for index in top[:1]:
        axes.plot(
            times[index],
            summary.maximum,
            "^",
            color=_VERMILION,
            markersize=8,
            label=f"maximum {summary.maximum:.1f} {unit}",
        )
    axes.set_ylabel(_text(f"{title(summary.name)} ({unit})"))
    said = f"{title(summary.name)}, {convention(summary.edge)}{plane_words(summary.plane)}"
    axes.set_title(_text(said), loc="left")
    axes.margins(y=0.15)
    _bare(axes)


def _shade(axes: Any, times: Series, statuses: Sequence[Status]) -> None:
    """Grey where nothing was seen, orange where a measurement was refused."""
    colours = {Status.NOT_VISUALISED: (_GREY, "not visualised"), Status.REFUSED: (_ORANGE, "refused")}
    half = 0.5
    if len(times) > 1:
        half = 0.5 * float(np.median(np.diff(times)))
    for status, (colour, label) in colours.items():
        for number, (first, last) in enumerate(_runs([s is status for s in statuses])):
            told = {}
            if number == 0:  # once in the legend, however often it happened
                told = {"label": label}
            axes.axvspan(times[first] - half, times[last] + half, color=colour, alpha=0.2, linewidth=0, **told)


def _runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """First and last index of every unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, dtype=np.int8), [0]])))
    return [(int(start), int(stop) - 1) for start, stop in edges.reshape(-1, 2)]


def _footnote(figure: Figure, model_label: str, readings: Sequence[Reading]) -> None:
    scales = {reading.spacing.describe() for reading in readings if reading.spacing is not None}
    scale = ""
    if len(scales) == 1:
        scale = f"scale {scales.pop()}"
    text = "   ".join(part for part in (RESEARCH_USE, model_label, scale) if part)
    figure.supxlabel(_text(text), fontsize=8, color="#555555")


def _level(axes: Any, value: float, text: str, line: str) -> None:
    axes.axhline(value, color=_VERMILION, linewidth=1.2, linestyle=line)
    axes.annotate(
        text, (1.0, value), xycoords=("axes fraction", "data"), xytext=(-4, 3), textcoords="offset points", ha="right"
    )


def _bare(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _text(words: str) -> str:
    """Escape text so that it is drawn as it is: Matplotlib reads a formula between dollar signs."""
    return printable(words).replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box stands for a letter that the font has not
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
