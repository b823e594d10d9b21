"""What a DICOM file states about geometry, time and device, unjudged and without the patient."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import UID

from usviewer.acquire.dicom_values import items, number, numbers, text, whole

# How much longer than wide a pixel can be, or the other way round: M-mode reaches some times. Beyond, it is a mistake.
MAX_ASPECT = 10.0


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

    ``pixel_spacing_mm`` is that of the dataset, else of the shared functional groups. ``frame_spacing_mm`` holds one
    entry a frame where the file has per-frame functional groups, else nothing.
    """

    rows: int
    columns: int
    regions: tuple[RawRegion, ...] = ()
    pixel_spacing_mm: tuple[float, float] | None = None
    frame_spacing_mm: tuple[tuple[float, float] | None, ...] = ()
    pixel_aspect_ratio: tuple[float, float] | None = None
    modality: str = ""
    sop_class: str = ""
    sop_class_uid: str = ""
    transfer_syntax: str = ""
    manufacturer: str = ""
    model: str = ""
    device_serial: str = ""
    software: str = ""


def read_tags(dataset: Dataset, syntax: UID) -> DicomTags:
    """Read geometry and device of a dataset; what is absent or unreadable is None or empty."""
    uid = UID(text(dataset, "SOPClassUID"))
    return DicomTags(
        rows=whole(dataset, "Rows") or 0,
        columns=whole(dataset, "Columns") or 0,
        regions=tuple(_region(item) for item in items(dataset, "SequenceOfUltrasoundRegions")),
        pixel_spacing_mm=_pair(numbers(dataset, "PixelSpacing", 2)) or _shared_spacing(dataset),
        frame_spacing_mm=_frame_spacings(dataset),
        pixel_aspect_ratio=_aspect(dataset),
        modality=text(dataset, "Modality"),
        sop_class=uid.name,
        sop_class_uid=str(uid),
        transfer_syntax=syntax.name,
        manufacturer=text(dataset, "Manufacturer"),
        model=text(dataset, "ManufacturerModelName"),
        device_serial=text(dataset, "DeviceSerialNumber"),
        software=text(dataset, "SoftwareVersions"),
    )


def _aspect(dataset: Dataset) -> tuple[float, float] | None:
    """Pixel Aspect Ratio, vertical : horizontal, if pixels can have it."""
    aspect = _pair(numbers(dataset, "PixelAspectRatio", 2))
    if aspect is None or min(aspect) <= 0 or not 1 / MAX_ASPECT <= aspect[0] / aspect[1] <= MAX_ASPECT:
        return None
    return aspect


def _region(item: Dataset) -> RawRegion:
    return RawRegion(
        spatial_format=whole(item, "RegionSpatialFormat"),
        data_type=whole(item, "RegionDataType"),
        flags=whole(item, "RegionFlags"),
        min_x0=whole(item, "RegionLocationMinX0"),
        min_y0=whole(item, "RegionLocationMinY0"),
        max_x1=whole(item, "RegionLocationMaxX1"),
        max_y1=whole(item, "RegionLocationMaxY1"),
        units_x=whole(item, "PhysicalUnitsXDirection"),
        units_y=whole(item, "PhysicalUnitsYDirection"),
        delta_x=number(item, "PhysicalDeltaX"),
        delta_y=number(item, "PhysicalDeltaY"),
        reference_x=whole(item, "ReferencePixelX0"),
        reference_y=whole(item, "ReferencePixelY0"),
    )


def _frame_spacings(dataset: Dataset) -> tuple[tuple[float, float] | None, ...]:
    common = _shared_spacing(dataset)  # a frame's own groups stand before those that all share (PS3.3 C.7.6.16)
    return tuple(_measured(group) or common for group in items(dataset, "PerFrameFunctionalGroupsSequence"))


def _shared_spacing(dataset: Dataset) -> tuple[float, float] | None:
    return next((_measured(group) for group in items(dataset, "SharedFunctionalGroupsSequence")[:1]), None)


def _measured(group: Dataset) -> tuple[float, float] | None:
    return next((_pair(numbers(part, "PixelSpacing", 2)) for part in items(group, "PixelMeasuresSequence")[:1]), None)


def _pair(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    if values is None:
        return None
    return values[0], values[1]
