"""Everything that is known about one source's geometry, put together once: the file's scale, the user's, the sector."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from usviewer.acquire import Source, frame_count
from usviewer.calibrate.calibrator import Calibrator, with_user_spacing
from usviewer.calibrate.regions import FileScale, regions_of
from usviewer.errors import UserError
from usviewer.frame import Frame, SourceInfo
from usviewer.units import Spacing

# So many frames from all over a clip show every part of the sector bright at least once.
PRIMING_FRAMES = 8


def is_clip(info: SourceInfo) -> bool:
    """Frames that follow one another, and so share a sector, a plane and a trend.

    Pictures of a folder are each their own patient until somebody says otherwise: nothing is carried over.
    """
    return info.kind not in ("image", "images")


def for_source(source: Source, user_spacing: Spacing | None = None) -> Callable[[Frame], Frame]:
    """The calibration of every frame of a source, as a function of the frame.

    Seeks in a recording, so call it before iterating. Raises ``UserError`` where the user's spacing contradicts the
    file's own, or cannot hold because the recording's pixels are not square.
    """
    scale = file_scale(source)
    if user_spacing is not None:
        _check_square(source.info, user_spacing)
        with_user_spacing(scale or FileScale(), user_spacing, source.info.width_px, source.info.height_px)
    calibrator = Calibrator(user_spacing, scale)
    if not is_clip(source.info):
        return _afresh(calibrator)
    if not source.info.live:
        calibrator.prime(_spread(source))
    return calibrator


def file_scale(source: Source) -> FileScale | None:
    """What a DICOM file says about its scale; None for every other source."""
    tags = getattr(source, "tags", None)
    if tags is None:
        return None
    from usviewer.acquire.dicom_tags import DicomTags  # pydicom is only loaded where a file needs it

    if not isinstance(tags, DicomTags):
        return None
    return regions_of(tags.regions, tags.rows, tags.columns, tags.pixel_spacing_mm)


def _afresh(calibrator: Calibrator) -> Callable[[Frame], Frame]:
    def calibrate(frame: Frame) -> Frame:
        calibrator.reset()
        return calibrator(frame)

    return calibrate


def _spread(source: Source) -> list[Frame]:
    """A few frames from all over the clip, of the size of the first: cheap ones, or exact ones where those coincide."""
    count = frame_count(source) or 0
    first = _readable(source.seek_near, [0] if count else [])
    if not first or (first[0].geometry is not None and first[0].geometry.sector is not None):
        return []  # nothing to look at, or nothing to look for
    indices = sorted({round(step * (count - 1) / (PRIMING_FRAMES - 1)) for step in range(PRIMING_FRAMES)})
    frames = _readable(source.seek_near, indices)
    if len({frame.key.index for frame in frames}) < len(indices) / 2:
        frames = _readable(source.seek, indices)
    return [frame for frame in frames if frame.pixels.shape == frames[0].pixels.shape]


def _readable(seek: Callable[[int], Frame], indices: list[int]) -> list[Frame]:
    """The frames that can be read; the others are the reader's business, not ours."""
    frames: list[Frame] = []
    for index in indices:
        with suppress(UserError):
            frames.append(seek(index))
    return frames


def _check_square(info: SourceInfo, spacing: Spacing) -> None:
    """One number for both axes of pixels that are not square would be a wrong millimetre."""
    if info.pixel_aspect != 1.0 and spacing.x_mm_per_px == spacing.y_mm_per_px:
        raise UserError(
            f"The pixels of {info.name} are not square (width : height = {info.pixel_aspect:.3f})",
            "Give both scales: --mm-per-pixel X,Y",
        )
