"""Gives every frame of one source its geometry: scale from the file or the user, sector from the pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from usviewer.calibrate.regions import FileScale, agree, without_implausible
from usviewer.calibrate.ruler.watch import RulerScale
from usviewer.calibrate.sector import SectorFinder
from usviewer.errors import UserError
from usviewer.frame import Frame, FrameKey, ImageGeometry, Region, Sector
from usviewer.logs import OwnText
from usviewer.units import Spacing, pixel_shape

_log = logging.getLogger(__name__)
# What gives each frame its own scale: a ruler under watch.
FrameScale = Callable[[Frame], FileScale]
SectorsFound = dict[tuple[tuple[int, int], float], Sector]

NO_SCALE = "No scale: lengths are in pixels"
OTHER_SIZE = "Calibration inconsistent: the picture has another size than the file states"
GIVEN_FOR_OTHER_SIZE = "The picture has another size than the scale was given for: lengths are in pixels"


def calibrate(frame: Frame, *, sector: Sector | None, scale: FileScale) -> Frame:
    """Return the same frame with its geometry; ``calibration_id`` is a short hash of the geometry."""
    reason = "" if scale.spacings else scale.no_scale_reason or NO_SCALE
    aspect = _aspect_of(frame, scale)
    identity = _identity(scale, sector, frame.size_px, aspect)
    return frame.with_geometry(ImageGeometry(scale.regions, sector, reason, identity, aspect))


def with_user_spacing(scale: FileScale, spacing: Spacing, width_px: int, height_px: int) -> FileScale:
    """Put one region over the whole frame, with the user's spacing.

    Where the file states a scale of its own that differs by more than 1 %, one of the two is wrong: raises
    ``UserError`` with both values. Where they agree, the file's regions stay.
    """
    for stated in scale.spacings:
        if not agree(stated, spacing):
            raise UserError(
                f"The file says {stated.words()} mm per pixel, you said {spacing.words()}", "Leave --mm-per-pixel out"
            )
    if scale.spacings:
        return scale
    return FileScale((Region((0.0, 0.0, float(width_px), float(height_px)), spacing),), "")


@dataclass(slots=True)
class _Seen:
    """What was found for one frame size and shape of pixel."""

    size_px: tuple[int, int]
    pixel_aspect: float
    finder: SectorFinder
    geometry: ImageGeometry | None = None
    sector: Sector | None = None


class Calibrator:
    """Callable on the frames of one source, in order. Frames that agree share one ``ImageGeometry`` object.

    The sector is looked for over the first frames and again when the frame size changes. A frame that brings its own
    sector (phantom) keeps it. Raises ``UserError`` when the user's spacing contradicts the file's own.

    ``scale`` is the same for all frames, or is asked about each of them, so that it can be withdrawn from a frame on.
    ``user_size_px`` (width, height) is the size of the pictures that the user's spacing was given for, that of the
    first frame where it is not told: on any other it does not hold.
    """

    def __init__(
        self,
        user_spacing: Spacing | None = None,
        scale: FileScale | FrameScale | None = None,
        *,
        user_size_px: tuple[int, int] | None = None,
    ) -> None:
        self._user_spacing = user_spacing
        self._user_size_px = user_size_px
        self._scale = scale
        self._seen: _Seen | None = None
        self._primed: _Seen | None = None
        self._logged = ""

    def prime(self, frames: Sequence[Frame], sectors: SectorsFound | None = None) -> None:
        """Look for the sector on these frames before the first one is calibrated, and then no more.

        ``sectors`` are those that were found on them before, by size and shape of pixel; what is new is added.
        """
        unknown = [frame for frame in frames if frame.geometry is None or frame.geometry.sector is None]
        if not unknown:
            return
        seen = self._primed = self._seen_at(unknown[0], _aspect_of(unknown[0], self._scale_of(unknown[0])))
        found = sectors if sectors is not None else {}
        key = (seen.size_px, seen.pixel_aspect)
        if key not in found:
            for frame in unknown:
                seen.finder.add(frame.pixels, always=True)
            found[key] = seen.finder.sector()
        seen.sector = found[key]
        seen.finder.finish()

    def __call__(self, frame: Frame) -> Frame:
        """Return the same picture, calibrated."""
        scale = self._scale_of(frame)
        seen = self._seen_at(frame, _aspect_of(frame, scale))
        return frame.with_geometry(self._geometry(frame, scale, seen, self._sector_of(frame, seen)))

    def without_pixels(self, key: FrameKey, size_px: tuple[int, int], stated_aspect: float) -> ImageGeometry | None:
        """Give the geometry of a frame that has none of its own; None where its pixels are needed for that.

        They are not where the sector was looked for before (``prime``), and the watch of a ruler knows the frame.
        """
        primed = self._primed
        if primed is None or primed.sector is None or primed.size_px != size_px:
            return None
        if isinstance(self._scale, RulerScale) and not self._scale.knows(key):
            return None
        width, height = size_px
        frame = Frame(key, np.broadcast_to(np.uint8(0), (height, width, 3)), None, "", stated_aspect)
        scale = self._scale_of(frame)
        if _aspect_of(frame, scale) != primed.pixel_aspect:
            return None
        return self._geometry(frame, scale, primed, primed.sector)

    def _geometry(self, frame: Frame, scale: FileScale, seen: _Seen, sector: Sector) -> ImageGeometry | None:
        """One object for all frames that agree."""
        scale = without_implausible(scale, seen.size_px, sector)
        identity = _identity(scale, sector, seen.size_px, seen.pixel_aspect)
        if seen.geometry is None or seen.geometry.calibration_id != identity:
            seen.geometry = calibrate(frame, sector=sector, scale=scale).geometry
            self._log_scale(frame, seen.geometry)
        return seen.geometry

    def _log_scale(self, frame: Frame, geometry: ImageGeometry | None) -> None:
        """Once for each scale: a sector that is seen better changes the geometry, too."""
        said = _scale_in_words(geometry)
        if said != self._logged:
            self._logged = said
            size = frame.size_px
            _log.info("scale from frame %d on, %d x %d px: %s", frame.key.index, *size, said)

    @property
    def sector(self) -> Sector | None:
        """The sector that was found on the frames so far."""
        return self._seen.sector if self._seen is not None else None

    def reset(self) -> None:
        """Forget the sector (another source or layout)."""
        self._seen = self._primed = None

    def _seen_at(self, frame: Frame, pixel_aspect: float) -> _Seen:
        wanted = frame.size_px, pixel_aspect
        if self._primed is not None and (self._primed.size_px, self._primed.pixel_aspect) == wanted:
            self._seen = self._primed  # the first size again: what all its frames show stays known
        if self._seen is None or (self._seen.size_px, self._seen.pixel_aspect) != wanted:
            self._seen = _Seen(*wanted, SectorFinder(pixel_aspect))
        return self._seen

    def _sector_of(self, frame: Frame, seen: _Seen) -> Sector:
        if frame.geometry is not None and frame.geometry.sector is not None:
            return frame.geometry.sector
        if seen.finder.add(frame.pixels) or seen.sector is None:
            seen.sector = seen.finder.sector()
        return seen.sector

    def _scale_of(self, frame: Frame) -> FileScale:
        return without_implausible(self._stated_scale_of(frame), frame.size_px)

    def _stated_scale_of(self, frame: Frame) -> FileScale:
        stated = self._scale(frame) if callable(self._scale) else self._scale
        scale = stated or _own_scale(frame)
        if scale.size_px is not None and scale.size_px != frame.size_px:
            scale = FileScale(no_scale_reason=OTHER_SIZE)
        if self._user_spacing is None:
            return scale
        self._user_size_px = self._user_size_px or frame.size_px
        if frame.size_px != self._user_size_px:
            return scale if scale.spacings else FileScale(scale.regions, GIVEN_FOR_OTHER_SIZE)
        return with_user_spacing(scale, self._user_spacing, frame.width_px, frame.height_px)


def _scale_in_words(geometry: ImageGeometry | None) -> OwnText:
    """Where the millimetres come from, or why there are none."""
    spacings = [region.spacing for region in geometry.regions if region.spacing] if geometry else []
    if geometry is None or not spacings:
        return OwnText(f"none ({geometry.no_scale_reason})" if geometry else "none")
    said = (f"{each.x_mm_per_px:.4g} x {each.y_mm_per_px:.4g} mm ({each.source.value})" for each in spacings)
    return OwnText(", ".join(said))


def _aspect_of(frame: Frame, scale: FileScale) -> float:
    """A pixel's width over its height: by the scale, which was measured, else as the recording states it."""
    return pixel_shape(scale.pixel_aspect or frame.stated_aspect)


def _own_scale(frame: Frame) -> FileScale:
    """The scale that came with the frame (a phantom's or a probe's own geometry)."""
    if frame.geometry is None:
        return FileScale(no_scale_reason=NO_SCALE)
    return FileScale(frame.geometry.regions, frame.geometry.no_scale_reason)


def _identity(scale: FileScale, sector: Sector | None, size_px: tuple[int, int], pixel_aspect: float) -> str:
    """Equal content, equal id: 12 hexadecimal digits."""
    hasher = xxhash.xxh3_64(repr((scale.regions, scale.no_scale_reason, size_px, pixel_aspect)).encode())
    if sector is not None:
        hasher.update(sector.outline_xy_px.round(2).tobytes())
        hasher.update(repr((sector.box_xyxy_px, sector.apex_xy_px, sector.face_radius_px, sector.certain)).encode())
    return str(hasher.hexdigest())[:12]
