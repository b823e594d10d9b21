"""DICOM ultrasound regions: which parts of a picture have a scale, validated (PS3.3 C.8.5.5).

The tags are often wrong where a picture was shrunk or cropped and they were not. One inconsistent region therefore
costs the whole file its millimetres. The rules: ``docs/clinical.md``, "Ultrasound regions and times".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from usviewer.calibrate.plausible import implausible, implausible_on_screen
from usviewer.errors import UserError
from usviewer.frame import Region, Sector
from usviewer.units import Box, ScaleSource, Spacing

if TYPE_CHECKING:
    from usviewer.acquire.dicom_header import RawRegion

# Codes of Region Spatial Format (0018,6012), Region Data Type (0018,6014) and Physical Units (0018,6024).
NO_FORMAT, TWO_D = 0, 1
NO_DATA, TISSUE, COLOUR_FLOW = 0, 1, 2
CENTIMETRES = 3
# Physical Delta X and Y are in cm per pixel where the units say cm.
MM_PER_CM = 10.0
# Two statements about the same pixels may differ by what was rounded when they were written.
TOLERANCE = 0.01

INCONSISTENT = "Calibration inconsistent"
NO_REGION = "The file states no scale: lengths are in pixels"
SPACING_ONLY = "The file states a Pixel Spacing, which is not a scale of an ultrasound picture: lengths are in pixels"
_FORMATS = {0: "no image", 1: "2D", 2: "M-mode", 3: "spectral", 4: "waveform", 5: "graphics"}


@dataclass(frozen=True, slots=True)
class FileScale:
    """The scale that a file states: regions with and without one, and why there is none at all.

    ``size_px`` (width, height) is the size of the pictures that it holds for; None: of any size. ``known_aspect`` is a
    pixel's width over its height where that is known although the scale does not hold (a ruler that has changed).
    """

    regions: tuple[Region, ...] = ()
    no_scale_reason: str = NO_REGION
    size_px: tuple[int, int] | None = None
    known_aspect: float | None = None

    @property
    def pixel_aspect(self) -> float | None:
        """A pixel's width over its height by the largest region with a scale; None where it is not known."""
        scaled = [(_area(region.box_xyxy_px), region.spacing) for region in self.regions if region.spacing]
        largest = max(scaled, key=lambda pair: pair[0], default=None)
        if largest is None:
            return self.known_aspect
        return largest[1].pixel_aspect

    @property
    def spacings(self) -> tuple[Spacing, ...]:
        """The different spacings of the regions."""
        return tuple(dict.fromkeys(region.spacing for region in self.regions if region.spacing))


def regions_of(
    raw: Sequence[RawRegion], rows: int, columns: int, pixel_spacing: tuple[float, float] | None = None
) -> FileScale:
    """Validate the regions of a file whose picture has ``rows`` x ``columns`` pixels.

    ``pixel_spacing`` is DICOM's (between rows, between columns), in mm; it never gives the scale of an ultrasound
    picture, but it must not contradict the regions. Regions that are not a 2D image keep their place without a spacing,
    so that a length inside them is refused.
    """
    stated = [region for region in raw if not _says_nothing(region)]
    boxes = [_box(region, rows, columns) for region in stated]
    # One wrong region costs the file all its millimetres: the tags are of another picture.
    bad = next((reason for box in boxes if isinstance(reason := box, str)), "")
    if bad:
        return FileScale(no_scale_reason=bad)
    placed = [(region, box) for region, box in zip(stated, boxes, strict=True) if not isinstance(box, str)]
    bad = _impossible(placed)
    if bad:
        return FileScale(no_scale_reason=f"{INCONSISTENT}: {bad}")
    regions = tuple(_region(region, box) for region, box in placed)
    reason = _contradiction(regions, pixel_spacing)
    if reason:
        return FileScale(no_scale_reason=reason)
    if not any(region.spacing for region in regions):
        absent = NO_REGION
        if pixel_spacing:
            absent = SPACING_ONLY
        return FileScale(regions, next((region.reason for region in regions if region.reason), absent))
    return FileScale(regions, "", (columns, rows))


def _says_nothing(region: RawRegion) -> bool:
    """Some scanners describe the whole screen as a region without a kind; it neither gives a scale nor removes one."""
    return (region.spatial_format or NO_FORMAT) == NO_FORMAT and (region.data_type or NO_DATA) == NO_DATA


def _box(region: RawRegion, rows: int, columns: int) -> Box | str:
    """The rectangle of a region, or one sentence that says why it cannot be right.

    The maxima are inclusive, but some scanners (Philips, Sonoque) write the first column and row beyond: both are
    taken. Anything further out means that the picture was scaled or cropped and its tags were not.
    """
    limits = (region.min_x0, region.min_y0, region.max_x1, region.max_y1)
    if any(limit is None for limit in limits):
        return f"{INCONSISTENT}: a region does not say where it lies"
    x0, y0, x1, y1 = (int(limit) for limit in limits if limit is not None)
    # pydicom's own sample examples_ybr_color.dcm was made smaller, and its tags were not
    # (docs/clinical.md, "Ultrasound regions and times").
    if x0 < 0 or y0 < 0 or x1 > columns or y1 > rows:
        return (
            f"{INCONSISTENT}: a region reaches to ({x1}, {y1}) in a picture of {columns} x {rows} pixels, "
            "which was resized or cropped"
        )
    if x1 <= x0 or y1 <= y0:
        return f"{INCONSISTENT}: a region is empty"
    return (float(x0), float(y0), float(min(x1 + 1, columns)), float(min(y1 + 1, rows)))


def _region(region: RawRegion, box: Box) -> Region:
    reason = _unusable(region)
    if reason:
        return Region(box, None, reason)
    return Region(box, Spacing(*_deltas_mm(region), ScaleSource.DICOM))


def _deltas_mm(region: RawRegion) -> tuple[float, float]:
    # The sign says which way the axis points; here only the size of a pixel counts.
    return abs(float(region.delta_x or 0.0)) * MM_PER_CM, abs(float(region.delta_y or 0.0)) * MM_PER_CM


def _impossible(placed: Sequence[tuple[RawRegion, Box]]) -> str:
    """Say what is impossible about the picture by the deltas of a region; empty where all may be right.

    Regions of one scale are judged together, by the largest width and height: a box of colour flow inside the picture
    may be smaller than any picture is.
    """
    sizes_px: dict[tuple[float, float], tuple[float, float]] = {}
    for region, (x0, y0, x1, y1) in placed:
        if not _unusable(region):
            width, height = sizes_px.get(_deltas_mm(region), (0.0, 0.0))
            sizes_px[_deltas_mm(region)] = (max(width, x1 - x0), max(height, y1 - y0))
    return next((bad for deltas, size_px in sizes_px.items() if (bad := implausible(*deltas, size_px))), "")


def without_implausible(scale: FileScale, size_px: tuple[int, int], sector: Sector | None = None) -> FileScale:
    """Remove a scale that holds for a whole picture of this size and cannot be right for it.

    It does not matter who states it: a person, a ruler, or what came with the frame. A part of a picture was judged by
    itself before. The shape of its pixels goes with it, unless only the ``sector`` shows what is wrong.
    """
    for region in scale.regions:
        spacing, box = region.spacing, region.box_xyxy_px
        if spacing is None or box != (0.0, 0.0, *map(float, size_px)):
            continue
        if bad := implausible_on_screen(spacing, size_px, sector):
            rest = tuple(replace(each, spacing=None) for each in scale.regions if each is not region)
            shape = None
            if sector is not None:
                shape = scale.pixel_aspect
            return FileScale(rest, f"{INCONSISTENT}: {bad}", known_aspect=shape)
    return scale


def _unusable(region: RawRegion) -> str:
    """Why lengths in this region have no millimetres; empty for a calibrated 2D image."""
    if region.spatial_format != TWO_D or region.data_type not in (TISSUE, COLOUR_FLOW):
        kind = _FORMATS.get(region.spatial_format or NO_FORMAT, "of an unknown kind")
        if region.spatial_format == TWO_D:
            kind = "neither tissue nor colour flow"
        return f"This part of the picture is {kind}: lengths are in pixels"
    if region.units_x != CENTIMETRES or region.units_y != CENTIMETRES:
        return "This part of the picture is not scaled in cm: lengths are in pixels"
    for delta in (region.delta_x, region.delta_y):
        if delta is None or not math.isfinite(delta) or delta == 0.0:
            return "The file does not state the size of a pixel here: lengths are in pixels"
    return ""


def _contradiction(regions: tuple[Region, ...], pixel_spacing: tuple[float, float] | None) -> str:
    """Name two statements about the same pixels that differ; empty where there are none."""
    scaled = [region for region in regions if region.spacing]
    for index, first in enumerate(scaled):
        for second in scaled[index + 1 :]:
            if _overlap(first.box_xyxy_px, second.box_xyxy_px) and _differ(first.spacing, second.spacing):
                return f"{INCONSISTENT}: two regions with different scales overlap"
    if pixel_spacing and any(_differ(region.spacing, _from_pixel_spacing(pixel_spacing)) for region in scaled):
        return f"{INCONSISTENT}: Pixel Spacing and the ultrasound region differ"
    return ""


def _from_pixel_spacing(pixel_spacing: tuple[float, float]) -> Spacing | None:
    """Pixel Spacing as a Spacing, to compare with; None where no picture has pixels of that size."""
    between_rows, between_columns = pixel_spacing  # DICOM gives the vertical one first
    try:
        return Spacing(between_columns, between_rows, ScaleSource.DICOM)
    except UserError:
        return None


def _differ(first: Spacing | None, second: Spacing | None) -> bool:
    """True when two scales differ by more than 1 % along either axis, or one of them is impossible."""
    if first is None or second is None:
        return True
    pairs = ((first.x_mm_per_px, second.x_mm_per_px), (first.y_mm_per_px, second.y_mm_per_px))
    return any(abs(a / b - 1.0) > TOLERANCE for a, b in pairs)


def agree(first: Spacing, second: Spacing) -> bool:
    """True when two scales are equal within 1 % along both axes."""
    return not _differ(first, second)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(first: Box, second: Box) -> bool:
    """True when two rectangles share more than a shared edge of one pixel (their maxima are inclusive or not)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return width > 1.0 and height > 1.0
