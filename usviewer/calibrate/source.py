"""What a source tells of its scale: what its file says, and pictures from all over it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from usviewer.acquire import Source, frame_count
from usviewer.calibrate.regions import FileScale, regions_of
from usviewer.calibrate.ruler.detect import GIVE_BOTH
from usviewer.errors import UserError
from usviewer.frame import Frame, SourceInfo
from usviewer.units import Spacing, is_square

# So many frames from all over a clip show every part of the sector bright at least once.
PRIMING_FRAMES = 8
# Two typed values of two digits each (0.21 and 0.25) give the shape of a pixel to some 4 %; X for Y is off by far more.
SHAPES_AGREE = 0.05
# What a file says of its pixels' shape in two places agrees to the rounding of its numbers.
SHAPES_EQUAL = 0.01
SHAPES_DIFFER = "Calibration inconsistent: the file and its ultrasound region state different shapes of a pixel"


def stills_in_words(info: SourceInfo) -> str:
    """Name frames that are not a clip, for a sentence."""
    return "The pictures of a folder" if info.kind == "images" else "The pages of a file without times"


def file_scale(source: Source) -> FileScale | None:
    """What a DICOM file says about its scale; None for every other source, also where its frames bring theirs."""
    tags = getattr(source, "tags", None)
    if tags is None:
        return None
    from usviewer.acquire.dicom_header import DicomTags  # pydicom is only loaded where a file needs it

    if not isinstance(tags, DicomTags):
        return None
    spacings = dict.fromkeys(spacing for spacing in (tags.pixel_spacing_mm, *tags.frame_spacing_mm) if spacing)
    scales = [regions_of(tags.regions, tags.rows, tags.columns, spacing) for spacing in spacings or (None,)]
    scale = next((scale for scale in scales if not scale.spacings), scales[0])
    stated = source.info.pixel_aspect
    shapes = () if is_square(stated) else tuple(spacing.pixel_aspect / stated for spacing in scale.spacings)
    if any(abs(shape - 1.0) > SHAPES_EQUAL for shape in shapes):
        return FileScale(no_scale_reason=SHAPES_DIFFER)
    return scale


def sample_frames(source: Source, start: int = 0) -> list[Frame]:
    """A few frames from all over the clip, of the size of the first: cheap ones, or exact ones where those coincide.

    From frame ``start`` on, exactly.
    """
    count = frame_count(source) or 0
    if start:
        indices = sorted({start + round(step * (count - 1 - start) / 5) for step in range(6)})
        frames = _readable(source.seek, indices)
        return [frame for frame in frames if frame.pixels.shape == frames[0].pixels.shape]
    first = _readable(source.seek_near, [0] if count else [])
    if not first or (first[0].geometry is not None and first[0].geometry.sector is not None):
        return first  # nothing to look at, or nothing to look for
    indices = sorted({round(step * (count - 1) / (PRIMING_FRAMES - 1)) for step in range(PRIMING_FRAMES)})
    frames = _readable(source.seek_near, indices)
    if len({frame.key.index for frame in frames}) < len(indices) / 2:
        frames = _readable(source.seek, indices)
    return [frame for frame in frames if frame.pixels.shape == frames[0].pixels.shape]


def _readable(seek: Callable[[int], Frame], indices: list[int]) -> list[Frame]:
    """The frames that can be read; the reader reports the others."""
    frames: list[Frame] = []
    for index in indices:
        with suppress(UserError):
            frames.append(seek(index))
    return frames


def check_shape(name: str, pixel_aspect: float, spacing: Spacing) -> None:
    """Refuse a user's scale that contradicts the shape of pixels that a recording states.

    One number for both axes of pixels that are not square would be a wrong millimetre, and so would X for Y.
    """
    if is_square(pixel_aspect):
        return
    if spacing.x_mm_per_px == spacing.y_mm_per_px:
        raise UserError(
            f"The pixels of {name} are not square (width : height = {pixel_aspect:.3f})",
            GIVE_BOTH,
        )
    if abs(spacing.pixel_aspect / pixel_aspect - 1.0) > SHAPES_AGREE:
        raise UserError(
            f"The pixels of {name} are {pixel_aspect:.3f} wide to 1 high, by your scale {spacing.pixel_aspect:.3f}",
            "Check both values: the one along x comes first",
        )
