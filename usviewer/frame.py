"""One picture on its way through the stages, and what is known about its geometry."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import xxhash
from numpy.typing import NDArray

from usviewer.logs import OwnText
from usviewer.plain_text import printable
from usviewer.units import Box, Point, Spacing, pixel_shape

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]


# The rate of a recording that states none: what most scanners export.
FALLBACK_FRAMES_PER_SECOND = 25.0
# Shown pixels of 1.5 : 1 as if they were square, the aorta model still read 33.2 mm of 33.9; of 1.8 : 1, 31.6.
MOST_OBLONG_SEEN = 1.5001
SEEN_OBLONG = "This part of the picture has pixels of another shape than the model was shown: lengths are in pixels"


@dataclass(frozen=True, slots=True)
class FrameKey:
    """Identity of a frame. Equal keys mean equal pixels: the digest is part of it.

    ``media_time_s`` is the position in the recording (None when the recording does not say), ``capture_time_s`` the
    monotonic clock when the pixels reached the program. The latter is not compared: a picture of a clip that is decoded
    twice is the same frame.
    """

    source: str
    index: int
    media_time_s: float | None
    capture_time_s: float = field(compare=False)
    digest: str

    @property
    def time_s(self) -> float:
        """When the frame was taken: by the recording's clock, or by the capture clock where a recording has none."""
        if self.media_time_s is None:
            return self.capture_time_s
        return self.media_time_s


@dataclass(frozen=True, slots=True, eq=False)
class Sector:
    """The part of the picture that is ultrasound.

    ``outline_xy_px`` is a closed polygon (N, 2); ``box_xyxy_px`` its half-open bounding box in whole pixels.
    ``apex_xy_px`` is where the beams of a curved or phased probe meet (None: parallel beams, straight down), and
    ``face_radius_px`` the distance from the apex to the probe face, in pixels as high as the picture's (which need not
    be square). ``certain`` is False where the outline is a guess: then nothing outside may be blanked on its strength.
    """

    outline_xy_px: Points
    box_xyxy_px: tuple[int, int, int, int]
    apex_xy_px: Point | None = None
    face_radius_px: float | None = None
    certain: bool = False

    def beam_direction(self, at_xy_px: Point) -> Point:
        """Unit vector of the beam through a position, pointing away from the probe."""
        if self.apex_xy_px is None:
            return (0.0, 1.0)
        vector = np.subtract(at_xy_px, self.apex_xy_px)
        length = float(np.hypot(*vector))
        if length == 0:  # at the apex itself every direction is as good
            return (0.0, 1.0)
        return (float(vector[0]) / length, float(vector[1]) / length)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the picture with one scale; ``spacing`` is None with the ``reason`` when it has none."""

    box_xyxy_px: Box
    spacing: Spacing | None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ImageGeometry:
    """What is known about where ultrasound is and how large a pixel is.

    ``no_scale_reason`` says in one sentence why lengths stay in pixels when no region has a spacing. ``pixel_aspect``
    is a pixel's width over its height: networks, lengths in pixels, files and the window go by it. Exactly 1 for square
    pixels; known also where no scale is.
    """

    regions: tuple[Region, ...] = ()
    sector: Sector | None = None
    no_scale_reason: str = "No scale: lengths are in pixels"
    calibration_id: str = ""
    pixel_aspect: float = 1.0

    def spacing_for(self, points_xy_px: Points) -> tuple[Spacing | None, str]:
        """Find the spacing of the one region that holds all points (N, 2), or None and the reason.

        A length whose ends lie in two regions, or in none, has no millimetres (``docs/clinical.md``,
        "Ultrasound regions and times").
        """
        if not any(region.spacing for region in self.regions):
            return None, self.no_scale_reason
        holding = [region for region in self.regions if _holds(region.box_xyxy_px, points_xy_px)]
        if not holding:
            return None, "Not inside one calibrated region: lengths are in pixels"
        # Regions may lie over one another. With one scale it does not matter which holds the points.
        spacings = {region.spacing for region in holding}
        if len(spacings) > 1:
            return None, "Two regions with different scales hold this place: lengths are in pixels"
        region = holding[0]
        if region.spacing is None:
            return None, region.reason
        return region.spacing, ""

    def spacing_of_outline(self, points_xy_px: Points) -> tuple[Spacing | None, str]:
        """As ``spacing_for``, for what a network outlined: nothing where it was shown pixels of a false shape there.

        The picture is made up for one shape of pixel; a region may have another.
        """
        spacing, reason = self.spacing_for(points_xy_px)
        if spacing is None:
            return None, reason
        off = spacing.pixel_aspect / self.pixel_aspect
        if max(off, 1.0 / off) > MOST_OBLONG_SEEN:
            return None, SEEN_OBLONG
        return spacing, reason


def _holds(box: Box, points_xy_px: Points) -> bool:
    x, y = np.asarray(points_xy_px, dtype=np.float64).reshape(-1, 2).T
    return bool((x >= box[0]).all() and (x <= box[2]).all() and (y >= box[1]).all() and (y <= box[3]).all())


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Pixels (uint8, height x width x 3, RGB, read-only) with their key.

    ``name`` is the file a frame of a folder came from, empty elsewhere. ``stated_aspect`` is a pixel's width over its
    height as the recording states it. ``regions`` of ``geometry`` come with the file (DICOM, phantom); ``calibrate``
    adds the sector and user scales.
    """

    key: FrameKey
    pixels: Pixels
    geometry: ImageGeometry | None = None
    name: str = ""
    stated_aspect: float = 1.0

    @property
    def pixel_aspect(self) -> float:
        """Width over height of a pixel: as calibrated, before that as stated; exactly 1 where it counts as square."""
        if self.geometry is None:
            return pixel_shape(self.stated_aspect)
        return self.geometry.pixel_aspect

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.width_px, self.height_px

    @property
    def sector_box_px(self) -> tuple[int, int, int, int] | None:
        """The sector's half-open bounding box (x0, y0, x1, y1) in whole pixels; None while no sector is known."""
        if self.geometry is None or self.geometry.sector is None:
            return None
        return self.geometry.sector.box_xyxy_px

    def with_geometry(self, geometry: ImageGeometry | None) -> Frame:
        """The same picture, calibrated."""
        return replace(self, geometry=geometry)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source says about itself. Unknown is None, never invented.

    ``frame_count`` is None until it has been counted (headers lie) or where there is no end (live). ``pixel_aspect`` is
    a pixel's width over its height as the recording states it; where it is not 1, one scale cannot serve both axes.
    ``name`` and ``notes`` are shown, printed and written: they become plain text. ``uri`` stays as it was given.
    """

    uri: str
    name: str
    kind: str
    width_px: int
    height_px: int
    frames_per_second: float | None = None
    frame_count: int | None = None
    live: bool = False
    notes: tuple[str, ...] = field(default=())
    pixel_aspect: float = 1.0

    @property
    def is_sequence(self) -> bool:
        """Whether frames follow one another, and so share a sector, a plane and a trend.

        Pictures of a folder, and pages of one file that carry no times, are each their own patient until the user says
        otherwise: nothing is carried over.
        """
        return self.kind not in ("image", "images")

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))
        object.__setattr__(self, "notes", tuple(map(printable, self.notes)))

    @property
    def anonymous(self) -> OwnText:
        """Kind, size and rate in one line, for the log: not what it is called."""
        rate, count = "rate not stated", "frames not counted"
        if self.frames_per_second:
            rate = f"{self.frames_per_second:.4g} frames a second"
        if self.live:
            count = "live"
        elif self.frame_count is not None:
            count = f"{self.frame_count} frames"
        size = f"{self.width_px} x {self.height_px} px of {self.pixel_aspect:.4g} : 1"
        return OwnText(f"{self.kind}, {size}, {rate}, {count}")


def digest_of(pixels: Pixels) -> str:
    """Hash pixels (uint8, height x width x 3) and their shape to 128 bits (xxh3: about 0.5 ms for 1080p)."""
    # The shape as well: the same bytes are another picture with another width.
    hasher = xxhash.xxh3_128(np.ascontiguousarray(pixels).data)
    hasher.update(repr(pixels.shape).encode())
    return hasher.hexdigest()


def make_frame(
    pixels: Pixels,
    source: str,
    index: int,
    media_time_s: float | None = None,
    *,
    capture_time_s: float | None = None,
    geometry: ImageGeometry | None = None,
    name: str = "",
    pixel_aspect: float = 1.0,
) -> Frame:
    """Wrap an RGB picture (uint8, height x width x 3) with its key; the array becomes read-only.

    A grey picture (height x width) is spread over three channels. Without ``capture_time_s`` the time is now.
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
    pixels.setflags(write=False)
    if capture_time_s is None:
        capture_time_s = time.monotonic()
    key = FrameKey(source, index, media_time_s, capture_time_s, digest_of(pixels))
    return Frame(key, pixels, geometry, name, pixel_aspect)
