"""The one decision on where a source's scale comes from: its file, the operator, a ruler, or nowhere.

In this order (``docs/calibration.md``). What a source tells of itself is gathered once (``ScaleEvidence``); what the
operator says (``StatedScale``) may change while it is open, and then only ``decide`` runs again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from usviewer.acquire import Source, frame_count
from usviewer.calibrate.calibrator import Calibrator, with_user_spacing
from usviewer.calibrate.plausible import MAX_WIDTH_MM, check_stated
from usviewer.calibrate.regions import NO_REGION, SPACING_ONLY, FileScale, agree, regions_of
from usviewer.calibrate.ruler import layouts
from usviewer.calibrate.ruler.detect import GIVE_BOTH, NO_RULER
from usviewer.calibrate.ruler.layouts import UNCONFIRMED, Proposal, propose
from usviewer.calibrate.ruler.watch import Confirmed, Reference, RulerScale, Watch
from usviewer.errors import UserError
from usviewer.frame import Frame, FrameKey, ImageGeometry, Region, Sector, SourceInfo
from usviewer.typed_number import MOST_LETTERS, parse_number
from usviewer.units import MAX_MM_PER_PX, MIN_MM_PER_PX, Point, ScaleSource, Spacing, is_square, isotropic

FOLDER = "The pictures of a folder may be of different screens"
# Scales by the user's own word, which may be taken back by another.
USERS = (ScaleSource.MANUAL, ScaleSource.USER, ScaleSource.RULER)
# So many frames from all over a clip show every part of the sector bright at least once.
PRIMING_FRAMES = 8
# Two typed values of two digits each (0.21 and 0.25) give the shape of a pixel to some 4 %; X for Y is off by far more.
SHAPES_AGREE = 0.05
# What a file says of its pixels' shape in two places agrees to the rounding of its numbers.
SHAPES_EQUAL = 0.01
SHAPES_DIFFER = "Calibration inconsistent: the file and its ultrasound region state different shapes of a pixel"
MIN_LENGTH_PX = 20.0
# A click lands within about half a pixel of where it was meant at each end; 1 px for the length is on the safe side.
CLICK_SD_PX = 1.0
# Two marks of a picture; nothing that it shows is longer.
MIN_DISTANCE_MM, MAX_DISTANCE_MM = 1.0, MAX_WIDTH_MM
PER_PIXEL = {"mm": 1.0, "mm/px": 1.0, "mm/pixel": 1.0}
# What stands between two values can be no decimal sign; it is not the x of px or pixel.
BETWEEN = re.compile(r"(?<![pP])(?<![pP][iI])[xX×]")  # noqa: RUF001 - the sign for "times"
GIVE_SCALE = "Give one number such as 0.21, or those of x and y with an x between them: 0.21x0.25"
ISOTROPIC = "Assumes square pixels"


class ScaleState(StrEnum):
    """Where the scale of a source comes from."""

    STATED = "stated"  # by the file, or by what brings the frames
    GIVEN = "given"  # by the operator, in numbers
    CONFIRMED = "confirmed"  # a ruler, by the operator now
    REMEMBERED = "remembered"  # a ruler that was confirmed for this very screen before
    PROPOSAL = "proposal"  # a ruler that nobody has confirmed: no scale
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StatedScale:
    """What the operator says of one source's scale: a spacing, or rulers; never both.

    ``spacing`` holds for pictures of ``size_px`` (width, height; None: of the size of the first), and on no other.
    ``from_start``: it is that of the first frames; otherwise it is watched only where the whole clip shows one ruler.
    ``confirmed`` are rulers, each from one of the source's frames on. ``ruler_tick_mm`` and ``across_tick_mm`` confirm
    the ruler that is found now, and a second one along the other axis: what one of its ticks is worth.
    """

    spacing: Spacing | None = None
    size_px: tuple[int, int] | None = None
    confirmed: tuple[Confirmed, ...] = ()
    ruler_tick_mm: float | None = None
    across_tick_mm: float | None = None
    from_start: bool = True


NOTHING_STATED = StatedScale()


class ScaleEvidence:
    """What a source itself tells of its scale.

    ``frames`` are samples from all over it, of one size (none: no ruler is looked for). ``read``: the numbers beside a
    ruler, too. ``seen`` is what the watch of the found ruler said of frames that were shown to ``note``, by digest.
    """

    def __init__(
        self, info: SourceInfo, stated: FileScale | None = None, frames: Sequence[Frame] = (), *, read: bool = False
    ) -> None:
        self.info, self.stated, self.frames = info, stated, tuple(frames)
        self.seen: dict[str, str] = {}
        self.sectors: dict[tuple[tuple[int, int], float], Sector] = {}  # by picture size and shape of pixel
        self._read = read

    @cached_property
    def own(self) -> tuple[Spacing, ...]:
        """What the file says itself, or its frames bring with them."""
        if self.stated is not None and self.stated.spacings:
            return self.stated.spacings
        geometry = self.frames[0].geometry if self.frames else None
        return FileScale(geometry.regions).spacings if geometry is not None else ()

    @cached_property
    def ruler(self) -> tuple[Proposal | None, str]:
        """The ruler on the pictures, or why there is none to use. Slow: up to some seconds."""
        if not self.frames:
            return None, FOLDER if self.info.kind == "images" else NO_RULER
        return propose(self.frames, self.info, read=self._read)

    @cached_property
    def reference(self) -> Reference | None:
        """The pixels that must stay what they are as long as a scale by the found ruler holds."""
        proposal = None if self.own else self.ruler[0]
        return proposal.reference() if proposal is not None else None

    @cached_property
    def _watch(self) -> Watch | None:
        return Watch(self.reference) if self.reference is not None else None

    def note(self, frame: Frame) -> None:
        """Keep what the watch says of a frame, so that a ruler can be confirmed later without its pixels."""
        if self._watch is not None and frame.key.digest not in self.seen:
            self.seen[frame.key.digest] = self._watch.check(frame.pixels)

    def decide(self, said: StatedScale = NOTHING_STATED) -> Calibration:
        """The calibration of the source, by what it tells and what the operator says (``decide``)."""
        return decide(self, said)


# A live source is not looked at before it runs: its frames come with their scale, or the operator states one.
LIVE = ScaleEvidence(SourceInfo("", "The live source", "live", 0, 0, live=True))


class Calibration:
    """Callable on the frames of one source: each with its geometry, and how its scale was decided.

    ``spacing`` is the one scale of the whole source, where there is one. ``reason`` says why there is none.
    ``problems`` are sentences about remembered rulers that cannot be read.
    """

    def __init__(
        self,
        evidence: ScaleEvidence,
        calibrator: Calibrator,
        state: ScaleState,
        spacing: Spacing | None = None,
        reason: str = "",
        problems: Sequence[str] = (),
    ) -> None:
        self.state, self.spacing, self.reason, self.problems = state, spacing, reason, tuple(problems)
        self.evidence = evidence
        self._calibrator = calibrator
        self._alone = not evidence.info.is_sequence and not evidence.info.live

    def __call__(self, frame: Frame) -> Frame:
        """The same picture, calibrated. Pictures that do not follow one another share no sector."""
        if self._alone:
            self._calibrator.reset()
        return self._calibrator(frame)

    def note(self, frame: Frame) -> None:
        """See ``ScaleEvidence.note``."""
        self.evidence.note(frame)

    def noted(self) -> tuple[str, Mapping[str, str]]:
        """The ruler that was watched (empty: none), and what its watch said of each frame, to be kept."""
        reference = self.evidence.reference
        return (reference.digest if reference is not None else "", dict(self.evidence.seen))

    def recall(self, reference: str, seen: Mapping[str, str]) -> None:
        """Take what was noted in an earlier session, where it was the same ruler."""
        own = self.evidence.reference
        if own is not None and own.digest == reference:
            self.evidence.seen.update(seen)

    def without_pixels(self, key: FrameKey, size_px: tuple[int, int], stated_aspect: float) -> ImageGeometry | None:
        """The geometry of a frame that was looked at before; None where its pixels must be seen again."""
        if self._alone or self.state is ScaleState.STATED:
            return None
        return self._calibrator.without_pixels(key, size_px, stated_aspect)


def gather(source: Source, *, read: bool = False) -> ScaleEvidence:
    """Look at a source from all over it. Seeks in a recording, so call it before iterating."""
    looked_at = not source.info.live and source.info.kind != "images"
    return ScaleEvidence(source.info, file_scale(source), sample_frames(source) if looked_at else (), read=read)


def calibration_for(source: Source, said: StatedScale = NOTHING_STATED) -> Calibration:
    """The calibration of a recorded source, by what it tells and what the operator says: ``gather``, ``decide``."""
    return decide(gather(source), said)


def live_calibration(said: StatedScale = NOTHING_STATED) -> Calibration:
    """The calibration of a live source: what comes with its frames, or what the operator says."""
    return decide(LIVE, said)


def decide(evidence: ScaleEvidence, said: StatedScale) -> Calibration:
    """The scale is the file's own; else the operator's; else that of a ruler which was confirmed, now or before.

    A ruler, and a spacing beside one, is watched frame by frame. A ruler that nobody has confirmed gives no scale, and
    ``no_scale_reason`` says so. Raises ``UserError`` where the operator's spacing contradicts the file's own, cannot be
    right, or cannot hold because the recording's pixels are not square; and where there is no ruler to confirm.
    """
    _check_said(evidence, said)
    if evidence.own:
        return _unwatched(evidence, said, ScaleState.STATED, evidence.own)
    if said.spacing is not None and said.size_px not in (None, _first_size(evidence)):
        return _unwatched(evidence, said, ScaleState.GIVEN, (said.spacing,))  # the first frames' ruler says nothing
    if said.confirmed:
        return _watched(evidence, ScaleState.CONFIRMED, *said.confirmed)
    proposal, reason = evidence.ruler
    if proposal is None:
        if said.ruler_tick_mm is not None:
            raise UserError(f"There is no ruler to confirm: {reason[:1].lower()}{reason[1:]}", "Leave the option out")
        state = ScaleState.NONE if said.spacing is None else ScaleState.GIVEN
        return _unwatched(evidence, said, state, _given(said), reason)
    if said.spacing is not None:
        whole = len(proposal.frames) == len(evidence.frames)
        if whole or said.from_start:
            return _watched(evidence, ScaleState.GIVEN, _beside_ruler(evidence, proposal, said.spacing), said=said)
        return _unwatched(evidence, said, ScaleState.GIVEN, _given(said))
    return _by_ruler(evidence, said, proposal)


def _by_ruler(evidence: ScaleEvidence, said: StatedScale, proposal: Proposal) -> Calibration:
    """A ruler's scale, where what its ticks are worth is known."""
    if said.ruler_tick_mm is not None:
        scale = proposal.scale(said.ruler_tick_mm, said.across_tick_mm)
        return _watched(evidence, ScaleState.CONFIRMED, _beside_ruler(evidence, proposal, scale))
    known, problems = layouts.load()
    layout = proposal.remembered(known)
    if layout is not None:
        confirmed = _beside_ruler(evidence, proposal, proposal.scale(layout.tick_mm))
        return _watched(evidence, ScaleState.REMEMBERED, confirmed, problems=problems)
    stated = evidence.stated.no_scale_reason if evidence.stated is not None else NO_REGION
    # What the file says against itself comes first: a recording in doubt must not be given a scale.
    reason = UNCONFIRMED if stated in ("", NO_REGION, SPACING_ONLY) else stated
    calibrator = Calibrator(None, FileScale(_beside(evidence), reason))
    return _primed(Calibration(evidence, calibrator, ScaleState.PROPOSAL, None, reason, problems), calibrator)


def _watched(
    evidence: ScaleEvidence,
    state: ScaleState,
    *confirmed: Confirmed,
    problems: Sequence[str] = (),
    said: StatedScale = NOTHING_STATED,
) -> Calibration:
    """A scale that holds as long as a ruler stays what it is."""
    known = (evidence.reference, evidence.seen) if evidence.frames else None
    scale = RulerScale(*confirmed, live=evidence.info.live, beside=_beside(evidence), known=known)
    calibrator = Calibrator(None, scale)
    made = Calibration(evidence, calibrator, state, confirmed[0].spacing, "", problems)
    return _primed(made, calibrator, said)


def _unwatched(
    evidence: ScaleEvidence, said: StatedScale, state: ScaleState, spacings: Sequence[Spacing], reason: str = ""
) -> Calibration:
    """A scale that nothing on the picture contradicts, or none."""
    size_px = said.size_px or (None if evidence.info.live else _first_size(evidence))
    calibrator = Calibrator(said.spacing, evidence.stated, user_size_px=size_px)
    spacing = spacings[0] if len(spacings) == 1 else None
    return _primed(Calibration(evidence, calibrator, state, spacing, reason), calibrator, said)


def _primed(made: Calibration, calibrator: Calibrator, said: StatedScale = NOTHING_STATED) -> Calibration:
    """With the sector that the samples show; a spacing that the sector contradicts is refused only now."""
    evidence = made.evidence
    if not evidence.frames or not evidence.info.is_sequence:
        return made
    calibrator.prime(evidence.frames, evidence.sectors)
    if said.spacing is not None and said.size_px in (None, _first_size(evidence)):
        check_stated(said.spacing, _first_size(evidence), calibrator.sector)
    return made


def _check_said(evidence: ScaleEvidence, said: StatedScale) -> None:
    info = evidence.info
    if said.spacing is not None and not info.live:
        size_px = said.size_px or _first_size(evidence)
        _check_shape(info.name, info.pixel_aspect, said.spacing)
        with_user_spacing(evidence.stated or FileScale(), said.spacing, *size_px)
        check_stated(said.spacing, size_px)
    if said.ruler_tick_mm is None:
        return
    if evidence.own:
        raise UserError(f"{info.name} states its scale itself: no ruler is needed", "Leave the ruler's option out")
    if said.spacing is not None:
        raise UserError("A scale and a ruler were given, and only one can count", "Leave one of the two out")


def state_scale(frame: Frame, spacing: Spacing) -> StatedScale:
    """A spacing that the operator states for pictures like this one.

    Raises ``UserError`` where the picture brings a scale of its own that contradicts it, or where it cannot be right.
    """
    own = [region.spacing for region in frame.geometry.regions if region.spacing] if frame.geometry else []
    for stated in own:
        if stated.source not in USERS and not agree(stated, spacing):
            raise UserError(
                f"The picture brings its own scale ({stated.describe()}), which differs from yours",
                "Measure the distance of the two points again",
            )
    _check_shape("this picture", frame.stated_aspect, spacing)
    check_stated(spacing, frame.size_px, frame.geometry.sector if frame.geometry is not None else None)
    return StatedScale(spacing, frame.size_px, from_start=False)


def _given(said: StatedScale) -> tuple[Spacing, ...]:
    return () if said.spacing is None else (said.spacing,)


def _beside_ruler(evidence: ScaleEvidence, proposal: Proposal, scale: Spacing) -> Confirmed:
    """A scale that holds as long as the ruler that was found stays what it is."""
    assert evidence.reference is not None
    return Confirmed(scale, evidence.reference, proposal.from_index)


def _first_size(evidence: ScaleEvidence) -> tuple[int, int]:
    return evidence.info.width_px, evidence.info.height_px


def _beside(evidence: ScaleEvidence) -> tuple[Region, ...]:
    """Regions that the file says have no scale."""
    return evidence.stated.regions if evidence.stated is not None else ()


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


def _check_shape(name: str, pixel_aspect: float, spacing: Spacing) -> None:
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


# --- a scale that a person states: as a number, or by two points a known distance apart -------------------------------


def spacing_from_text(text: str) -> Spacing:
    """The spacing of ``--mm-per-pixel``: ``0.2`` for square pixels, ``0.2x0.25`` for x and y.

    A comma is a decimal sign, as everywhere. Raises ``UserError`` for anything else.
    """
    parts = BETWEEN.split(text.strip())
    try:
        values = [parse_number(part, least=MIN_MM_PER_PX, most=MAX_MM_PER_PX, units=PER_PIXEL) for part in parts]
    except UserError as error:
        raise _no_scale(text, f"{error.what[:1].lower()}{error.what[1:]}") from None
    if len(values) > 2:
        raise _no_scale(text, f"it has {len(values)} values")
    return Spacing(values[0], values[-1], ScaleSource.USER)


def spacing_from_numbers(x_mm_per_px: float, y_mm_per_px: float) -> Spacing:
    """The spacing of two numbers, by the limits of ``spacing_from_text``. Raises ``UserError`` beyond them."""
    for value in (x_mm_per_px, y_mm_per_px):
        if not MIN_MM_PER_PX <= value <= MAX_MM_PER_PX:  # false for nan, too
            raise UserError(
                f"{value:g} mm per pixel cannot be right",
                f"Give a number from {MIN_MM_PER_PX:g} to {MAX_MM_PER_PX:g}",
            )
    return Spacing(x_mm_per_px, y_mm_per_px, ScaleSource.USER)


def _no_scale(text: str, why: str) -> UserError:
    return UserError(f"'{text[:MOST_LETTERS]}' is not a scale in mm per pixel: {why}", GIVE_SCALE)


def spacing_from_points(start_xy_px: Point, end_xy_px: Point, distance_mm: float) -> Spacing:
    """The spacing from two marks of the picture, a known distance apart.

    One distance gives one number: pixels are taken to be square, and ``detail`` says so. ``relative_sd`` is the error
    of the two clicks, one pixel over the length. Raises ``UserError`` when the marks are too close to be trusted.
    """
    if not MIN_DISTANCE_MM <= distance_mm <= MAX_DISTANCE_MM:  # false for nan, too
        raise UserError(
            f"A distance of {distance_mm:g} mm cannot be right", "Give the distance of the two points in mm"
        )
    length_px = math.hypot(end_xy_px[0] - start_xy_px[0], end_xy_px[1] - start_xy_px[1])
    if not length_px >= MIN_LENGTH_PX:
        raise UserError(
            f"The two points are only {length_px:.0f} pixels apart",
            f"Choose marks that are at least {MIN_LENGTH_PX:.0f} pixels apart, better the whole length of the ruler",
        )
    sd = CLICK_SD_PX / length_px
    detail = f"{distance_mm:g} mm over {length_px:.1f} px, +-{100.0 * sd:.2g} %. {ISOTROPIC}"
    return isotropic(distance_mm / length_px, ScaleSource.MANUAL, detail, sd)
