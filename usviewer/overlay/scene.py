"""From a reading to what is drawn on its frame. No Qt, no pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np

from usviewer import RESEARCH_USE
from usviewer.frame import Frame, ImageGeometry, Region, Sector
from usviewer.measure.findings import finding_of
from usviewer.measure.reading import Provenance, Reading, Status, Summary
from usviewer.overlay import palette, words
from usviewer.overlay.items import (
    Anchor,
    BoxMark,
    CaliperMark,
    Fill,
    Item,
    LineStyle,
    Outline,
    ScaleBar,
    Scene,
    Text,
    TextPanel,
)
from usviewer.overlay.palette import Colour, Size
from usviewer.overlay.text import OF_THE_FRAME, TextContext, panel_lines, reading_text
from usviewer.overlay.words import TextLine
from usviewer.units import Box, Point, Spacing

__all__ = ["MaskStyle", "Scene", "Style", "compose", "research_line"]


class MaskStyle(StrEnum):
    """How the outlined area is shown."""

    OUTLINE = "outline"
    FILL = "fill"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Style:
    """What is shown. ``scale`` enlarges lines and letters; ``hidden`` shows nothing at all while a key is held."""

    mask: MaskStyle = MaskStyle.OUTLINE
    fill_alpha: float = 0.25
    calipers: bool = True
    numbers: bool = True
    scale_bar: bool = True
    research_line: bool = True
    scale: float = 1.0
    hidden: bool = False
    panel_corner: Anchor | None = None


def compose(
    frame: Frame,
    reading: Reading,
    summary: Summary | None = None,
    style: Style | None = None,
    *,
    model_label: str = "",
    context: TextContext = OF_THE_FRAME,
) -> Scene:
    """The display list of one reading of this frame.

    ``context`` decides which number is large (``overlay.text``); without it that is this frame's, with the ``summary``
    beside it where it is about the same. The frame's geometry places the scale bar, and the numbers where there is no
    ultrasound. ``model_label`` is the model's name and version for people.
    """
    style = style or Style()
    frame_size_px, geometry = frame.size_px, frame.geometry
    unit = palette.unit_px(frame_size_px, style.scale)
    if style.hidden:
        return Scene(reading.key, frame_size_px, (), unit)
    items: list[Item] = [*_areas(reading, style), *_boxes(reading, style)]
    if style.calipers:
        items += _calipers(reading)
    bars: list[ScaleBar] = []
    if style.scale_bar:
        bars = _scale_bars(reading, geometry, frame_size_px, unit)
    items += bars
    if style.research_line:
        items.append(research_line(frame_size_px, unit))
    if style.numbers:
        corner = style.panel_corner or _panel_corner(geometry, frame_size_px, bars)
        text = reading_text(reading, summary, context)
        lines = panel_lines(text, finding_of(reading.finding).most_lines, _model_words(reading, model_label))
        items.append(_panel(lines, corner, frame_size_px, unit))
    return Scene(reading.key, frame_size_px, tuple(items), unit)


def _model_words(reading: Reading, model_label: str) -> str:
    model = model_label or reading.model_id
    score = f" · score {reading.score:.2f}" if reading.score is not None else ""
    return f"{model}{score}".removeprefix(" · ")


def research_line(frame_size_px: tuple[int, int], unit: float) -> Text:
    """The sentence that stands on every picture that leaves the program."""
    width, height = frame_size_px
    edge = _margin(unit)
    room = max(1.0, width - 2 * edge)
    return Text((edge, height - edge / 2), RESEARCH_USE, Anchor.BOTTOM_LEFT, Size.SMALL, palette.TEXT, room)


def _margin(unit: float) -> float:
    return 12.0 * unit


def _footer_height(unit: float) -> float:
    """Room kept at the bottom for the research line."""
    return _margin(unit) + 1.4 * palette.font_px(Size.SMALL, unit)


def _areas(reading: Reading, style: Style) -> Iterator[Item]:
    if style.mask is MaskStyle.NONE:
        return
    colour, line = _outline_look(reading)
    # One alone needs no name: the numbers say what it is.
    several = len(reading.outlines_xy_px) > 1
    for index, points in enumerate(reading.outlines_xy_px):
        if len(points) == 0:
            continue
        if style.mask is MaskStyle.FILL:
            yield Fill(points, colour, style.fill_alpha)
        label = _label(reading, index) if several else ""
        yield Outline(points, colour, line, label=label)


def _label(reading: Reading, index: int) -> str:
    """Name and score of an outline or a box; only one of them where the reading has only that, as of a hand's own."""
    parts = [*reading.labels[index : index + 1], *(f"{score:.2f}" for score in reading.scores[index : index + 1])]
    return " ".join(parts).strip()


def _outline_look(reading: Reading) -> tuple[Colour, LineStyle]:
    """Each kind in a colour and a line of its own: who cannot tell the colours sees the line."""
    if reading.status is Status.REFUSED:
        return palette.WARNING, LineStyle.DOTTED
    if reading.provenance is Provenance.MANUAL:
        return palette.MANUAL, LineStyle.DASHED
    if reading.uncertain:
        return palette.MASK, LineStyle.DASHED
    return palette.MASK, LineStyle.SOLID


def _boxes(reading: Reading, style: Style) -> Iterator[BoxMark]:
    """A box stands in for the outline of an instance that has none (a detector's)."""
    if style.mask is MaskStyle.NONE:
        return
    for index, box in enumerate(reading.boxes_xyxy_px):
        if index >= len(reading.outlines_xy_px) or len(reading.outlines_xy_px[index]) == 0:
            yield BoxMark(box, _label(reading, index))


def _calipers(reading: Reading) -> Iterator[CaliperMark]:
    """The first measurement's caliper is drawn strong, the others thin."""
    if reading.status is not Status.MEASURED:
        return
    colour, line = palette.CALIPER, LineStyle.SOLID
    if reading.provenance is Provenance.MANUAL:
        colour, line = palette.MANUAL, LineStyle.DASHED
    for index, measurement in enumerate(reading.measurements):
        width = 1.0
        if index == 0:
            width = 2.0
        if measurement.ends_xy_px is not None and words.is_listed(measurement.name):
            yield CaliperMark(measurement.ends_xy_px, colour, line, width)


# --- the scale bar ----------------------------------------------------------------------------------------------------

# Lengths that are divided by eye; the first digit is the number of parts.
_NICE_MM = (1, 2, 5, 10, 20, 50, 100, 200)
_BAR_SHARE = 0.2  # at most, of the width of the picture's part
# Beyond this difference a level bar says nothing about upright lengths, so both are drawn.
_ANISOTROPY = 0.01


def _scale_bars(
    reading: Reading, geometry: ImageGeometry | None, frame_size_px: tuple[int, int], unit: float
) -> list[ScaleBar]:
    found = _bar_spacing(reading, geometry, frame_size_px)
    if found is None:
        return []
    spacing, (x0, _, x1, y1) = found
    corner = (x0 + _margin(unit), min(y1, frame_size_px[1]) - _footer_height(unit) - 8 * unit)
    level = _bar(corner, (1.0, 0.0), spacing.x_mm_per_px, x1 - x0)
    if abs(spacing.x_mm_per_px / spacing.y_mm_per_px - 1) <= _ANISOTROPY:
        return level
    return level + _bar(corner, (0.0, -1.0), spacing.y_mm_per_px, x1 - x0)


def _bar(corner: Point, direction: Point, mm_per_px: float, room_px: float) -> list[ScaleBar]:
    fitting = [mm for mm in _NICE_MM if mm / mm_per_px <= _BAR_SHARE * room_px]
    if not fitting:
        return []
    length_mm = fitting[-1]
    length_px = length_mm / mm_per_px
    end = (corner[0] + direction[0] * length_px, corner[1] + direction[1] * length_px)
    label = f"{length_mm} mm"
    if length_mm >= 10:
        label = f"{length_mm // 10} cm"
    divisions = int(str(length_mm)[0])
    return [ScaleBar(corner, end, label, divisions)]


def _bar_spacing(
    reading: Reading, geometry: ImageGeometry | None, frame_size_px: tuple[int, int]
) -> tuple[Spacing, Box] | None:
    """One scale and where it holds; none where the picture has several and the reading does not choose."""
    whole: Box = (0.0, 0.0, float(frame_size_px[0]), float(frame_size_px[1]))
    regions: list[Region] = []
    if geometry is not None:
        regions = [region for region in geometry.regions if region.spacing is not None]
    wanted = {region.spacing for region in regions}
    if reading.spacing is not None:
        wanted = {reading.spacing}
    if len(wanted) != 1:  # a bar of another part's scale would be wrong: rather none
        return None
    spacing = wanted.pop()
    if spacing is None:
        return None
    box = next((region.box_xyxy_px for region in regions if region.spacing == spacing), whole)
    return spacing, box


# --- the numbers ------------------------------------------------------------------------------------------------------

_PANEL_SHARE = (0.44, 0.8)  # at most, of the picture's width and height
_TYPICAL_PANEL_UNITS = (300.0, 240.0)
_CORNERS = (Anchor.TOP_LEFT, Anchor.TOP_RIGHT, Anchor.BOTTOM_RIGHT)


def _panel(lines: tuple[TextLine, ...], corner: Anchor, frame_size_px: tuple[int, int], unit: float) -> TextPanel:
    width, height = frame_size_px
    edge = _margin(unit)
    x, y = width - edge, edge
    if corner is Anchor.TOP_LEFT:
        x = edge
    if corner is Anchor.BOTTOM_RIGHT:  # over the research line
        y = height - _footer_height(unit)
    return TextPanel((x, y), corner, lines, width * _PANEL_SHARE[0], height * _PANEL_SHARE[1] - edge)


def _panel_corner(geometry: ImageGeometry | None, frame_size_px: tuple[int, int], bars: Sequence[ScaleBar]) -> Anchor:
    """The corner that hides the least ultrasound. It depends on no measurement, so it holds still over a clip."""
    if geometry is None or geometry.sector is None:
        return Anchor.TOP_LEFT
    hidden = _hidden_shares(geometry.sector, frame_size_px)
    free = list(_CORNERS)
    if any(bar.end_xy_px[0] >= frame_size_px[0] / 2 for bar in bars):  # the scale bar lies at the foot
        free.remove(Anchor.BOTTOM_RIGHT)
    # Rounded: a thousandth of the panel is not worth another corner than the usual one.
    return min(free, key=lambda corner: round(hidden[corner], 2))


@lru_cache(maxsize=8)
def _hidden_shares(sector: Sector, frame_size_px: tuple[int, int]) -> dict[Anchor, float]:
    """Share of a typical panel that would lie on ultrasound, for each corner."""
    width, height = frame_size_px
    grid = 100.0 / max(width, height)  # a hundred cells along the longer side are enough for shares
    inside = np.zeros((max(1, round(height * grid)), max(1, round(width * grid))), np.uint8)
    cv2.fillPoly(inside, [np.round(sector.outline_xy_px * grid - 0.5).astype(np.int32)], 1)
    unit = palette.unit_px(frame_size_px)
    w = max(1, min(round(width * _PANEL_SHARE[0] * grid), round(_TYPICAL_PANEL_UNITS[0] * unit * grid)))
    h = max(1, min(inside.shape[0], round(_TYPICAL_PANEL_UNITS[1] * unit * grid)))
    return {
        Anchor.TOP_LEFT: float(inside[:h, :w].mean()),
        Anchor.TOP_RIGHT: float(inside[:h, -w:].mean()),
        Anchor.BOTTOM_RIGHT: float(inside[-h:, -w:].mean()),
    }
