"""What the header of a DICOM file states about geometry, device, pixels and times, unjudged and without the patient.

The description of the pixels is checked before anything is decoded. Times of a cine follow what its file says, as far
as they can be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from math import ceil

from pydicom import Dataset
from pydicom.uid import UID

from usviewer.acquire.dicom_values import is_stated, items, number, numbers, text, whole
from usviewer.errors import UserError

# How much longer than wide a pixel can be, or the other way round: M-mode reaches some times. Beyond, it is a mistake.
MAX_ASPECT = 10.0
GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
YBR = ("YBR_FULL", "YBR_FULL_422")
COLOURS = ("RGB", *YBR, "YBR_ICT", "YBR_RCT")
# Two pixels share their colour difference: 2 samples a pixel on average instead of 3 (PS3.3 C.7.6.3.1.2).
HALF_WIDTH = "YBR_FULL_422"
BITS = (8, 16, 32)
# One decoded frame as it is stored; decoders need some times of it for a moment. 64 megapixels of 8-bit colour fit.
FRAME_BYTES = 200_000_000
FRAME_TIME = 0x00181063
# Frames a second that a recording can have. Below: one frame in 10 s is a time lapse, no cine. Above: shear-wave
# imaging acquires some 10,000 a second, but what is exported as a cine is not above some hundred.
SLOWEST, FASTEST = 0.1, 1000.0
# Acquisition and display differ by up to about 100 (fast cines are shown slowly, slow ones fast). The mistakes that are
# made are times in s or microseconds for ms: 1000.
CONTRADICTION = 300.0
DISPLAY_RATES = ("CineRate", "RecommendedDisplayFrameRate")
# Seconds since the first frame (None: not known), and what is to be said about where they are from.
TimesAndNote = tuple[tuple[float | None, ...], str]
_DATE_TIME = re.compile(r"(\d{14})(\.\d{1,6})?(?:([+-])(\d\d)(\d\d))?")


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


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where the samples of a frame lie and what they mean.

    ``frames`` is what the file states, None where that is not a usable number.
    ``high_bit`` is the bit of a sample's container that its highest bit lies at.
    """

    rows: int
    columns: int
    samples: int
    planar: int
    colour: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    frames: int | None

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.rows * self.columns

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame without packing."""
        samples = 2 if self.colour == HALF_WIDTH else self.samples
        return self.pixels * samples * ceil(self.bits_allocated / 8)


def declared_frames(dataset: Dataset) -> int | None:
    """Number of Frames: 1 where absent; None where it is stated but is not a number above 0."""
    if not is_stated(dataset, "NumberOfFrames"):
        return 1
    count = number(dataset, "NumberOfFrames")
    if count is not None and 1 <= count < 2**31:
        return int(count)
    return None


def read_pixel_layout(dataset: Dataset, name: str) -> PixelLayout:
    """Read the description of the pixels. Raises ``UserError`` for one that makes no sense."""
    samples = whole(dataset, "SamplesPerPixel")
    colour = text(dataset, "PhotometricInterpretation").upper()
    # Both are required, but a file that lacks one of them can be understood by the other.
    if not samples:
        samples = 3 if colour in COLOURS else 1
    if not colour:
        colour = "RGB" if samples == 3 else GREY[1]
    bits, stored = whole(dataset, "BitsAllocated"), whole(dataset, "BitsStored")
    if bits is None or stored is None or not 1 <= stored <= bits:
        raise _damaged(name, f"Bits Allocated {_said(bits)}, Bits Stored {_said(stored)}")
    if bits not in BITS or (samples == 1 and bits == 32):
        raise UserError(f"Pictures of {bits} bits a pixel are not supported", "Export it with 8 or 16 bits")
    if samples not in (1, 3):
        raise _damaged(name, f"{samples} samples a pixel")
    planar = whole(dataset, "PlanarConfiguration") or 0
    if planar not in (0, 1):
        raise _damaged(name, f"Planar Configuration {planar}")
    layout = PixelLayout(
        rows=whole(dataset, "Rows") or 0,
        columns=whole(dataset, "Columns") or 0,
        samples=samples,
        planar=planar,
        colour=colour,
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=_high_bit(whole(dataset, "HighBit"), bits, stored),
        signed=samples == 1 and whole(dataset, "PixelRepresentation") == 1,
        frames=declared_frames(dataset),
    )
    if layout.frame_bytes > FRAME_BYTES:
        raise UserError(
            f"A frame of {name} takes {layout.frame_bytes / 1e6:.0f} MB: too large to open", "Export it smaller"
        )
    return layout


def check_colour(layout: PixelLayout, name: str) -> None:
    """Raise ``UserError`` for colours that do not fit the number of samples."""
    known = {1: (*GREY, PALETTE), 3: COLOURS}
    if layout.colour not in known[layout.samples]:
        raise _damaged(name, f"{layout.samples} samples a pixel, but {layout.colour}")


def _high_bit(stated: int | None, bits: int, stored: int) -> int:
    """Samples lie at the low end of their container (PS3.5 8.1.1); in old files they may lie above it."""
    if stated is not None and stored <= stated < bits:
        return stated
    return stored - 1


def _damaged(name: str, what: str) -> UserError:
    return UserError(f"The description of the pixels in {name} is damaged ({what})", "Copy or export it again")


def _said(value: int | None) -> str:
    if value is None:
        return "missing"
    return str(value)


class _Refused(Exception):
    """What a file says about its times is impossible; the text says why."""


def frame_times(dataset: Dataset, count: int, clip_times_s: Sequence[float | None] = ()) -> TimesAndNote:
    """Times of ``count`` frames: of the acquisition, else of the clip inside, else of the rate of display.

    Of the acquisition: Frame Time Vector, else Frame Time (the one that Frame Increment Pointer names first), else the
    time stamps of the frames (PS3.3 C.7.6.5, C.7.6.16.2.2). A clock that cannot be right is passed over and named.
    """
    if count == 1:
        return (None,), ""
    refused: list[str] = []
    shown = _display_rate(dataset)
    inside = tuple(time_s for time_s in clip_times_s if time_s is not None)
    whole_clip = inside if len(inside) == count else None
    for what, clock in (*_clocks(dataset), ("the video inside", lambda dataset, count: whole_clip)):
        try:
            times_s = _checked(clock(dataset, count), what, shown)
        except _Refused as error:
            refused.append(str(error))
            continue
        if times_s and refused:
            return times_s, f"Times follow {what}: {'; '.join(refused)}"
        if times_s:
            return times_s, ""
    why = "; ".join(refused) or "the file does not say that of acquisition"
    # The rate of display may be another than that of acquisition: it comes last, and the note says so.
    if shown:
        return tuple(index / shown for index in range(count)), f"Times follow the rate of display: {why}"
    note = "The file does not say the frame rate"
    if refused:
        note = f"The frame rate is not known: {why}"
    return (None,) * count, note


Clock = Callable[[Dataset, int], "tuple[float, ...] | None"]


def _clocks(dataset: Dataset) -> Iterable[tuple[str, Clock]]:
    vector: tuple[str, Clock] = ("Frame Time Vector", _by_vector)
    step: tuple[str, Clock] = ("Frame Time", _by_frame_time)
    pointer = numbers(dataset, "FrameIncrementPointer") or ()
    first = (vector, step)
    if FRAME_TIME in pointer:
        first = (step, vector)
    return (*first, ("the time stamps of the frames", _by_stamps))


def _checked(times_s: tuple[float, ...] | None, what: str, shown: float | None) -> tuple[float, ...] | None:
    """Return the times if a recording can have them; raise ``_Refused`` if not."""
    if times_s is None:
        return None
    if times_s[-1] <= 0:
        raise _Refused(f"{what} cannot be right (no time passes)")
    rate = (len(times_s) - 1) / times_s[-1]
    if not SLOWEST <= rate <= FASTEST:
        raise _Refused(f"{what} cannot be right ({_rate_text(rate)})")
    if shown and not 1 / CONTRADICTION < rate / shown < CONTRADICTION:
        raise _Refused(f"{what} ({_rate_text(rate)}) contradicts the rate of display ({shown:.4g})")
    return times_s


def _rate_text(rate: float) -> str:
    if rate < 1:
        return f"{rate:.2g} frames a second"
    return f"{rate:.0f} frames a second"


def _by_vector(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    if not is_stated(dataset, "FrameTimeVector"):
        return None
    steps_ms = numbers(dataset, "FrameTimeVector")
    if steps_ms is None:
        raise _Refused("Frame Time Vector has values that are not numbers")
    # Its first value is that of the first frame and counts for nothing (PS3.3 C.7.6.5).
    if len(steps_ms) < count:
        raise _Refused(f"Frame Time Vector has {len(steps_ms)} values for {count} frames")
    if any(step < 0 for step in steps_ms[1:count]):
        raise _Refused("Frame Time Vector goes back in time")
    return tuple(time_ms / 1000 for time_ms in accumulate([0.0, *steps_ms[1:count]]))


def _by_frame_time(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    if not is_stated(dataset, "FrameTime"):
        return None
    step_ms = number(dataset, "FrameTime")
    if step_ms is None:
        raise _Refused("Frame Time is not a number")
    return tuple(index * step_ms / 1000 for index in range(count))


def _by_stamps(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    """Frame Acquisition Date Time of the per-frame functional groups, where every frame has its own."""
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")[:count]
    stamps = [_stamp(content) for group in groups for content in items(group, "FrameContentSequence")[:1]]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < count:
        return None
    times_s = tuple((stamp - known[0]).total_seconds() for stamp in known)
    if any(later < earlier for earlier, later in pairwise(times_s)):
        raise _Refused("the time stamps of the frames go back in time")
    return times_s


def _stamp(content: Dataset) -> datetime | None:
    match = _DATE_TIME.fullmatch(text(content, "FrameAcquisitionDateTime"))
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[1], "%Y%m%d%H%M%S")
    except ValueError:
        return None
    offset = timedelta()
    if match[3]:  # from UTC, as DT of PS3.5 6.2 writes it
        offset = timedelta(hours=int(match[4]), minutes=int(match[5]))
    if match[3] == "-":
        offset = -offset
    return moment + timedelta(seconds=float(match[2] or 0)) - offset


def _display_rate(dataset: Dataset) -> float | None:
    for keyword in DISPLAY_RATES:
        rates = set(numbers(dataset, keyword) or ())
        if len(rates) == 1 and SLOWEST <= (rate := rates.pop()) <= FASTEST:
            return rate
    return None
