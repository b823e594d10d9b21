"""What a DICOM file states about geometry, time and device, unjudged and without the patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

FRAME_TIME = 0x00181063


@dataclass(frozen=True, slots=True)
class RawRegion:
    """One item of Sequence of Ultrasound Regions (0018,6011), as stated; None where the file says nothing.

    The box is inclusive whole pixels, the deltas are in the units of the codes ``units_x`` and ``units_y`` (3: cm),
    the reference pixel is relative to the box.
    """

    spatial_format: int | None
    data_type: int | None
    flags: int | None
    min_x0: int | None
    min_y0: int | None
    max_x1: int | None
    max_y1: int | None
    units_x: int | None
    units_y: int | None
    delta_x: float | None
    delta_y: float | None
    reference_x: int | None = None
    reference_y: int | None = None


@dataclass(frozen=True, slots=True)
class DicomTags:
    """What the file states about geometry and device, unjudged. Spacings are (row, column) mm: y first, then x.

    ``frame_spacing_mm`` holds one entry a frame where the file has per-frame functional groups, else nothing.
    """

    rows: int
    columns: int
    regions: tuple[RawRegion, ...] = ()
    pixel_spacing_mm: tuple[float, float] | None = None
    frame_spacing_mm: tuple[tuple[float, float] | None, ...] = ()
    pixel_aspect_ratio: tuple[int, int] | None = None
    modality: str = ""
    sop_class: str = ""
    sop_class_uid: str = ""
    transfer_syntax: str = ""
    manufacturer: str = ""
    model: str = ""
    device_serial: str = ""
    software: str = ""


def declared_frames(dataset: Dataset) -> int:
    """Number of Frames, 1 where absent or senseless."""
    return max(1, _whole(dataset, "NumberOfFrames") or 1)


def frame_times(
    dataset: Dataset, count: int, clip_times_s: Sequence[float | None] = ()
) -> tuple[tuple[float | None, ...], str]:
    """Times of ``count`` frames and the clock they are from: ``acquisition``, ``display``, ``clip`` or nothing.

    Frame Time Vector, else Frame Time (the one that Frame Increment Pointer names first), else the clip inside, else
    the rate of display (PS3.3 C.7.6.5).
    """
    if count == 1:
        return (None,), ""
    pointer = dataset.get("FrameIncrementPointer")
    frame_time_first = pointer is not None and FRAME_TIME in (pointer if isinstance(pointer, MultiValue) else [pointer])
    clocks = (_by_frame_time, _by_vector) if frame_time_first else (_by_vector, _by_frame_time)
    for clock in clocks:
        times_s = clock(dataset, count)
        if times_s:
            return times_s, "acquisition"
    if clip_times_s and None not in clip_times_s:
        return tuple(clip_times_s), "clip"
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = _number(dataset, keyword)
        if rate and rate > 0:
            return tuple(index / rate for index in range(count)), "display"
    return (None,) * count, ""


def _by_vector(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    steps_ms = [float(step) for step in dataset.get("FrameTimeVector") or ()]
    if len(steps_ms) < count or any(step < 0 for step in steps_ms) or not any(steps_ms[1:count]):
        return None
    return tuple(time_ms / 1000 for time_ms in accumulate([0.0, *steps_ms[1:count]]))


def _by_frame_time(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    step_ms = _number(dataset, "FrameTime")
    return tuple(index * step_ms / 1000 for index in range(count)) if step_ms and step_ms > 0 else None


def read_tags(dataset: Dataset) -> DicomTags:
    """Geometry and device of a dataset; what is absent or unreadable is None or empty."""
    uid = UID(_text(dataset, "SOPClassUID"))
    aspect = _numbers(dataset, "PixelAspectRatio", 2)
    return DicomTags(
        rows=_whole(dataset, "Rows") or 0,
        columns=_whole(dataset, "Columns") or 0,
        regions=tuple(_region(item) for item in dataset.get("SequenceOfUltrasoundRegions") or ()),
        pixel_spacing_mm=_pair(_numbers(dataset, "PixelSpacing", 2)),
        frame_spacing_mm=_frame_spacings(dataset),
        pixel_aspect_ratio=(int(aspect[0]), int(aspect[1])) if aspect and min(aspect) > 0 else None,
        modality=_text(dataset, "Modality"),
        sop_class=uid.name,
        sop_class_uid=str(uid),
        transfer_syntax=dataset.file_meta.TransferSyntaxUID.name,
        manufacturer=_text(dataset, "Manufacturer"),
        model=_text(dataset, "ManufacturerModelName"),
        device_serial=_text(dataset, "DeviceSerialNumber"),
        software=_text(dataset, "SoftwareVersions"),
    )


def _region(item: Dataset) -> RawRegion:
    return RawRegion(
        spatial_format=_whole(item, "RegionSpatialFormat"),
        data_type=_whole(item, "RegionDataType"),
        flags=_whole(item, "RegionFlags"),
        min_x0=_whole(item, "RegionLocationMinX0"),
        min_y0=_whole(item, "RegionLocationMinY0"),
        max_x1=_whole(item, "RegionLocationMaxX1"),
        max_y1=_whole(item, "RegionLocationMaxY1"),
        units_x=_whole(item, "PhysicalUnitsXDirection"),
        units_y=_whole(item, "PhysicalUnitsYDirection"),
        delta_x=_number(item, "PhysicalDeltaX"),
        delta_y=_number(item, "PhysicalDeltaY"),
        reference_x=_whole(item, "ReferencePixelX0"),
        reference_y=_whole(item, "ReferencePixelY0"),
    )


def _frame_spacings(dataset: Dataset) -> tuple[tuple[float, float] | None, ...]:
    shared = [_measured(group) for group in dataset.get("SharedFunctionalGroupsSequence") or ()]
    common = shared[0] if shared else None
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    return tuple(_measured(group) or common for group in frames)


def _measured(group: Dataset) -> tuple[float, float] | None:
    for measures in group.get("PixelMeasuresSequence") or ():
        return _pair(_numbers(measures, "PixelSpacing", 2))
    return None


def _pair(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    return (values[0], values[1]) if values else None


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """All ``count`` values of an element, finite, or None."""
    try:
        value = dataset.get(keyword)
        values = tuple(float(part) for part in (value if isinstance(value, MultiValue | list) else [value]))
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and all(math.isfinite(part) for part in values) else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    values = _numbers(dataset, keyword, 1)
    return values[0] if values else None


def _whole(dataset: Dataset, keyword: str) -> int | None:
    value = _number(dataset, keyword)
    return None if value is None else int(value)


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return " ".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "").strip()
