"""Notices that the ruler or what is written beside it has changed, frame by frame, and withdraws the scale.

A scale that was confirmed on one picture holds as long as the pixels of the ruler and of its numbers stay what they
were. They are compared before a frame is given millimetres. Brightness and compression do not matter, a tick that moved
by a pixel or a digit that became another does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import xxhash
from numpy.typing import NDArray

from usviewer.calibrate.regions import FileScale
from usviewer.calibrate.ruler.detect import Ruler, along_across
from usviewer.frame import Frame, FrameKey, Pixels, Region, Sector
from usviewer.units import Spacing

Grey = NDArray[np.uint8]

# Mean of 3 x 3 pixels, as a share of the ticks' contrast: half a row of a tick or of a digit's stroke.
CHANGED = 0.25
# A screen may be made darker or brighter by so much: the ruler is still the same.
MIN_GAIN, MAX_GAIN = 0.5, 2.0
LIT, DARK = 0.6, 0.25
MIN_CONTRAST = 30.0
SAMPLE = 2000
# Ticks of a finer ruler between the old ones, which all stay where they are: over tissue nothing else shows it.
FRACTIONS = (2, 3, 4, 5, 10)
MANY = 0.8
# So many lit pixels beside the ticks are writing.
WRITING_PX = 20

OTHER_SIZE = "The picture has another size than when the ruler was confirmed"
GONE = "The ruler has gone or faded: lengths are in pixels until a scale is confirmed"
TICKS = "The ruler has changed (depth or zoom): lengths are in pixels until the new one is confirmed"
NOT_YET = "The ruler was confirmed for a later part of this recording: lengths are in pixels before it"
WRITING = "What is written beside the ruler has changed: lengths are in pixels until the scale is confirmed again"
# Whatever the watch says when it withdraws a scale.
WITHDRAWALS = (OTHER_SIZE, GONE, TICKS, WRITING)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The pixels of a ruler as they were confirmed.

    ``grey`` is the picture inside ``box_px`` (luma), ``compared`` 255 where it must stay as it is and 0 where tissue
    shows. ``ticks_px`` are the columns (rows, for a horizontal ruler) of the box that the ticks cover, ``along_px`` the
    places of the ticks along it.
    """

    size_px: tuple[int, int]
    box_px: tuple[int, int, int, int]
    grey: Grey
    compared: Grey
    axis: str
    ticks_px: tuple[int, int]
    along_px: tuple[float, ...]

    @property
    def digest(self) -> str:
        """Equal for references that judge all frames alike."""
        said = (self.size_px, self.box_px, self.axis, self.ticks_px, self.along_px)
        hasher = xxhash.xxh3_128(repr(said).encode())
        hasher.update(self.grey.tobytes())
        hasher.update(self.compared.tobytes())
        return str(hasher.hexdigest())

    @property
    def has_writing(self) -> bool:
        """Whether anything beside the ticks would tell another depth with the same ticks."""
        lit = (self.grey >= _levels(self)[0]) & (self.compared > 0)
        return int(np.count_nonzero(lit)) - int(np.count_nonzero(lit & _tick_area(self))) >= WRITING_PX


def take_reference(ruler: Ruler, frames: Sequence[Pixels], sector: Sector | None = None) -> Reference:
    """What must stay as it is: the ruler and its surroundings on these frames (RGB), the first being the confirmed one.

    Inside the ``sector`` tissue moves: there only the ticks themselves count.
    """
    x0, y0, x1, y1 = ruler.watch_box_px
    strips = [_luma(pixels[y0:y1, x0:x1]) for pixels in frames]
    grey: Grey = strips[0]
    compared = np.full(grey.shape, 255, dtype=np.uint8)
    ticks = _tick_boxes(ruler)
    if sector is not None:
        # In sixteenths of a pixel (``shift=4``), half a pixel less: OpenCV counts from the middle of the first pixel.
        outline = np.rint((sector.outline_xy_px - (x0, y0)) * 16.0 - 8.0).astype(np.int32)
        cv2.fillPoly(compared, [outline], 0, shift=4)
        compared = np.asarray(cv2.erode(compared, np.ones((5, 5), dtype=np.uint8)), dtype=np.uint8)
        steady = np.minimum.reduce(strips)
        bright = float(np.median([steady[a:b, c:d].max() for a, b, c, d in ticks]))
        for top, bottom, left, right in ticks:
            one = steady[top:bottom, left:right]
            compared[top:bottom, left:right][one >= LIT * bright] = 255
    compared.setflags(write=False)
    along_start, start = along_across(ruler.axis, x0, y0)
    across = (int(ruler.across_px[0]) - start, int(ruler.across_px[1]) - start)
    along = tuple(tick - along_start for tick in ruler.ticks_px)
    return Reference(ruler.size_px, ruler.watch_box_px, grey, compared, ruler.axis, across, along)


class Watch:
    """Compares frame after frame with a reference; about 0.3 ms for a 1080p screen."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        lit, dark = _levels(reference)
        compared = reference.compared > 0
        self._lit = _sample((reference.grey >= lit) & compared)
        self._dark = _sample((reference.grey <= dark) & compared)
        self._bright_level = _mean(reference.grey, self._lit)
        self._dark_level = _mean(reference.grey, self._dark)
        self._ticks = _tick_area(reference)
        self._between = _places_between(reference, lit)
        self._share = (lit - self._dark_level) / max(1.0, self._bright_level - self._dark_level)

    def check(self, pixels: Pixels) -> str:
        """Return an empty text where ruler and writing are unchanged, else one sentence that says what changed."""
        reference = self._reference
        if (pixels.shape[1], pixels.shape[0]) != reference.size_px:
            return OTHER_SIZE
        x0, y0, x1, y1 = reference.box_px
        strip = _luma(pixels[y0:y1, x0:x1])
        bright, dark = _mean(strip, self._lit), _mean(strip, self._dark)
        contrast = self._bright_level - self._dark_level
        gain = 0.0
        if contrast >= MIN_CONTRAST:
            gain = (bright - dark) / contrast
        if not MIN_GAIN <= gain <= MAX_GAIN:
            # Something bright is left in the strip: the ticks went elsewhere, and did not fade.
            if cv2.minMaxLoc(strip)[1] - dark >= MIN_GAIN * max(contrast, MIN_CONTRAST):
                return TICKS
            return GONE
        level = dark + gain * contrast * self._share
        if any(np.mean(strip[places] >= level) >= MANY for places in self._between):
            return TICKS
        expected = cv2.convertScaleAbs(reference.grey, alpha=gain, beta=dark - gain * self._dark_level)
        left = cv2.bitwise_and(cv2.absdiff(strip, expected), reference.compared)
        left = cv2.blur(left, (3, 3), borderType=cv2.BORDER_REPLICATE)
        _, worst, _, (x, y) = cv2.minMaxLoc(left)
        if worst <= CHANGED * gain * contrast:
            return ""
        if self._ticks[y, x]:
            return TICKS
        return WRITING


@dataclass(frozen=True, slots=True, eq=False)
class Confirmed:
    """A scale that the operator confirmed beside a ruler, for the frames of a source from ``from_index`` on."""

    spacing: Spacing
    reference: Reference
    from_index: int = 0


class RulerScale:
    """Confirmed scales under watch: the scale of each frame of one source.

    Each holds from its own frame to where the next one begins. From the first frame on whose ruler differs none of them
    has a scale, even if the old ruler comes back, until the operator confirms one again. Frames before it are judged by
    their own pixels. With ``live`` frames come in order but their numbers begin again when the source comes back: only
    the last confirmed scale counts, and what is withdrawn stays so.

    ``beside`` are regions that the file says have no scale: a length inside them stays refused. ``known`` is a
    reference, and what its watch said of frames before, by their digest: those are not looked at again.
    """

    def __init__(
        self,
        *confirmed: Confirmed,
        live: bool = False,
        beside: Sequence[Region] = (),
        known: tuple[Reference | None, Mapping[str, str]] | None = None,
    ) -> None:
        if not confirmed:
            raise ValueError("nothing was confirmed")
        ordered = sorted(confirmed, key=lambda each: each.from_index)
        reference, seen = known or (None, {})
        same = reference.digest if reference is not None else ""
        self._stretches = [
            _Stretch(each, seen if each.reference.digest == same else {})
            for each in (confirmed[-1:] if live else ordered)
        ]
        self._live = live
        self._beside = tuple(beside)

    @property
    def withdrawn(self) -> tuple[int, str] | None:
        """The last frame that the scale was withdrawn from, and why; None while it holds."""
        return next((each.withdrawn for each in reversed(self._stretches) if each.withdrawn is not None), None)

    def knows(self, key: FrameKey) -> bool:
        """Whether the scale of this frame can be told without its pixels."""
        stretch = self._stretch_at(key.index)
        return stretch is None or stretch.knows(key)

    def __call__(self, frame: Frame) -> FileScale:
        """The whole frame with the spacing, or no region and the reason."""
        stretch = self._stretch_at(frame.key.index)
        aspect = self._aspect_of(frame)
        if stretch is None:
            return FileScale(self._beside, NOT_YET, known_aspect=aspect)
        reason = stretch.judge(frame, latched=self._live)
        if reason:
            return FileScale(self._beside, reason, known_aspect=aspect)
        box = (0.0, 0.0, float(frame.width_px), float(frame.height_px))
        return FileScale((Region(box, stretch.confirmed.spacing), *self._beside), "")

    def _aspect_of(self, frame: Frame) -> float | None:
        """The shape of a pixel, which stays known while the scale does not hold: another depth does not change it."""
        confirmed = self._stretches[0].confirmed
        if confirmed.reference.size_px != frame.size_px:
            return None
        return confirmed.spacing.pixel_aspect

    def _stretch_at(self, index: int) -> _Stretch | None:
        if self._live:
            return self._stretches[0]
        return next((each for each in reversed(self._stretches) if each.confirmed.from_index <= index), None)


class _Stretch:
    """The frames of one confirmed scale."""

    def __init__(self, confirmed: Confirmed, seen: Mapping[str, str]) -> None:
        self.confirmed = confirmed
        self._seen = seen
        self.withdrawn: tuple[int, str] | None = None
        self._watch = Watch(confirmed.reference)

    def knows(self, key: FrameKey) -> bool:
        """Whether the frame was judged before, or comes after one on which the ruler differed."""
        return key.digest in self._seen or (self.withdrawn is not None and key.index >= self.withdrawn[0])

    def judge(self, frame: Frame, *, latched: bool) -> str:
        """Return an empty text where the scale holds for this frame, else why it does not."""
        index = frame.key.index
        if self.withdrawn is not None and (latched or index >= self.withdrawn[0]):
            return self.withdrawn[1]
        reason = self._seen.get(frame.key.digest)
        if reason is None:
            reason = self._watch.check(frame.pixels)
        if reason:
            self.withdrawn = (index, reason)
        return reason


def _luma(pixels: Pixels) -> Grey:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _sample(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Flat indices of some of the pixels, all over the mask: enough for a mean."""
    chosen = np.flatnonzero(mask)
    return chosen[:: max(1, len(chosen) // SAMPLE)]


def _mean(grey: Grey, places: NDArray[np.intp]) -> float:
    if not len(places):
        return 0.0
    return float(grey.ravel()[places].mean())


def _levels(reference: Reference) -> tuple[float, float]:
    """Luma above which something is lit, and below which it is dark: by the ticks' own brightness."""
    values = reference.grey[(reference.compared > 0) & _tick_area(reference)]
    dark, bright = 0.0, 0.0
    if values.size:
        dark, bright = (float(value) for value in np.percentile(values, (20.0, 99.5)))
    return dark + LIT * (bright - dark), dark + DARK * (bright - dark)


def _tick_area(reference: Reference) -> NDArray[np.bool_]:
    area = np.zeros(reference.grey.shape, dtype=bool)
    first, last = max(0, reference.ticks_px[0] - 2), reference.ticks_px[1] + 2
    if reference.axis == "y":
        area[:, first:last] = True
    else:
        area[first:last] = True
    return area


def _places_between(reference: Reference, lit: float) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pixels a half, a third, ... of the way from tick to tick, for each fraction at which there is nothing yet."""
    along = np.asarray(reference.along_px)
    middle = np.full(len(along) - 1, sum(reference.ticks_px) // 2, dtype=np.intp)
    places = []
    for part in FRACTIONS:
        between = np.floor(along[:-1] + np.diff(along) / part).astype(np.intp)
        columns, rows = along_across(reference.axis, between, middle)
        # Where the confirmed ruler itself has marks, marks say nothing of another depth.
        if np.mean(reference.grey[rows, columns] >= lit) < 0.5:
            places.append((rows, columns))
    return places


def _tick_boxes(ruler: Ruler) -> list[tuple[int, int, int, int]]:
    """Top, bottom, left and right of each tick inside the watched box."""
    x0, y0, _, _ = ruler.watch_box_px
    start, across_start = along_across(ruler.axis, x0, y0)
    across = (int(ruler.across_px[0]) - across_start, int(ruler.across_px[1]) - across_start)
    boxes = []
    for tick in ruler.ticks_px:
        along = (max(0, round(tick) - 3 - start), round(tick) + 3 - start)
        columns, rows = along_across(ruler.axis, along, across)
        boxes.append((*rows, *columns))
    return boxes
