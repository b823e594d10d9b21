"""Everything that is known about one source's geometry, put together once: the file's scale, the user's, the sector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from usviewer.acquire import Source, frame_count
from usviewer.calibrate.calibrator import Calibrator, with_user_spacing
from usviewer.calibrate.plausible import check_stated
from usviewer.calibrate.regions import NO_REGION, SPACING_ONLY, FileScale, regions_of
from usviewer.calibrate.ruler.confirm import UNCONFIRMED, propose
from usviewer.calibrate.ruler.detect import GIVE_BOTH, NO_RULER
from usviewer.calibrate.ruler.layouts import load
from usviewer.calibrate.ruler.watch import Confirmed, RulerScale
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
FOLDER = "The pictures of a folder may be of different screens"


def stills_in_words(info: SourceInfo) -> str:
    """Name frames that are not a clip, for a sentence."""
    return "The pictures of a folder" if info.kind == "images" else "The pages of a file without times"


def for_source(
    source: Source,
    user_spacing: Spacing | None = None,
    *,
    confirmed: Sequence[Confirmed] = (),
    ruler_tick_mm: float | None = None,
    from_start: bool = True,
    user_size_px: tuple[int, int] | None = None,
) -> Callable[[Frame], Frame]:
    """The calibration of every frame of a source, as a function of the frame.

    The scale is the file's own; else the user's; else that of the ruler on the pictures, where it was ``confirmed``, or
    is now (``ruler_tick_mm``: what one of its ticks is worth), or was for this very screen before
    (``calibrate.layouts``). A ruler, and a user's scale beside one, is watched frame by frame. A ruler that nobody has
    confirmed gives no scale, and ``no_scale_reason`` says so. ``from_start``: the user's spacing is that of the first
    frames; otherwise it is watched only where the whole clip shows one ruler. It holds for pictures of
    ``user_size_px`` (None: of the size of the first), and on no other.

    Seeks in a recording, so call it before iterating. Raises ``UserError`` where the user's spacing contradicts the
    file's own, or cannot hold because the recording's pixels are not square; and where there is no ruler to confirm.
    """
    info = source.info
    scale = file_scale(source)
    first_size_px = (info.width_px, info.height_px)
    user_size_px = user_size_px or first_size_px
    if user_spacing is not None:
        check_shape(info.name, info.pixel_aspect, user_spacing)
        with_user_spacing(scale or FileScale(), user_spacing, *user_size_px)
        check_stated(user_spacing, user_size_px)
    frames = [] if info.live or info.kind == "images" else sample_frames(source)
    own = _own_spacings(scale, frames)
    if ruler_tick_mm is not None:
        _check_ruler_wanted(info, own=bool(own), user=user_spacing is not None)
    asked = _Asked(info, scale, user_spacing, confirmed, ruler_tick_mm, from_start)
    elsewhere = user_spacing is not None and user_size_px != first_size_px  # the ruler of other pictures says nothing
    watched = None if own or elsewhere else _by_ruler(asked, frames)
    calibrator = (
        Calibrator(user_spacing, scale, user_size_px=user_size_px) if watched is None else Calibrator(None, watched)
    )
    if not info.is_sequence:
        return _afresh(calibrator)
    if frames:
        calibrator.prime(frames)
        if user_spacing is not None and user_size_px == first_size_px:
            check_stated(user_spacing, user_size_px, calibrator.sector)  # which is known only now
    return calibrator


def _own_spacings(scale: FileScale | None, frames: list[Frame]) -> tuple[Spacing, ...]:
    """What the file says itself, or its frames bring with them."""
    if scale is not None and scale.spacings:
        return scale.spacings
    geometry = frames[0].geometry if frames else None
    return FileScale(geometry.regions).spacings if geometry is not None else ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What ``for_source`` was told, and what the file says."""

    info: SourceInfo
    scale: FileScale | None
    user_spacing: Spacing | None
    confirmed: Sequence[Confirmed]
    tick_mm: float | None
    from_start: bool


def _by_ruler(asked: _Asked, frames: list[Frame]) -> FileScale | RulerScale | None:
    """The scale that the ruler on the pictures gives or guards; None where there is no ruler to use.

    Pictures of a folder may be of different screens: no ruler serves them all.
    """
    info, beside = asked.info, asked.scale.regions if asked.scale is not None else ()
    if asked.confirmed:
        return RulerScale(*asked.confirmed, live=info.live, beside=beside)
    proposal, reason = propose(frames, info) if frames else (None, FOLDER if info.kind == "images" else NO_RULER)
    if proposal is None:
        if asked.tick_mm is not None:
            raise UserError(f"There is no ruler to confirm: {reason[:1].lower()}{reason[1:]}", "Leave the option out")
        return None
    if asked.user_spacing is not None:
        whole = len(proposal.frames) == len(frames)
        watched = whole or asked.from_start
        return RulerScale(proposal.watching(asked.user_spacing), beside=beside) if watched else None
    known = proposal.remembered(load()[0]) if asked.tick_mm is None else None
    worth = known.tick_mm if known is not None else asked.tick_mm
    if worth is None:
        stated = asked.scale.no_scale_reason if asked.scale is not None else NO_REGION
        # What the file says against itself comes first: a recording in doubt must not be given a scale.
        return FileScale(beside, UNCONFIRMED if stated in ("", NO_REGION, SPACING_ONLY) else stated)
    return RulerScale(proposal.confirmed(worth), beside=beside)


def _check_ruler_wanted(info: SourceInfo, *, own: bool, user: bool) -> None:
    if own:
        raise UserError(f"{info.name} states its scale itself: no ruler is needed", "Leave the ruler's option out")
    if user:
        raise UserError("A scale and a ruler were given, and only one can count", "Leave one of the two out")


def file_scale(source: Source) -> FileScale | None:
    """What a DICOM file says about its scale; None for every other source."""
    tags = getattr(source, "tags", None)
    if tags is None:
        return None
    from usviewer.acquire.dicom_tags import DicomTags  # pydicom is only loaded where a file needs it

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


def _afresh(calibrator: Calibrator) -> Callable[[Frame], Frame]:
    def calibrate(frame: Frame) -> Frame:
        calibrator.reset()
        return calibrator(frame)

    return calibrate


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
