"""Pictures that a program has in memory already, as a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usviewer.acquire.source import RecordedSource, check_size
from usviewer.errors import UserError
from usviewer.frame import Frame, SourceInfo, digest_of, make_frame

Picture = NDArray[Any] | Frame
GIVE_RGB = "Give RGB pictures as uint8 arrays of height x width x 3, or grey ones of height x width"


class ArraySource(RecordedSource):
    """Pictures in order, each uint8, (height, width, 3) RGB or (height, width) grey, or a ``Frame`` as it is.

    Arrays with ``frames_per_second`` are a clip, and so are frames with times of one source. Otherwise nobody says that
    they follow one another: each is a picture of its own. What can only be read once is read into memory whole, because
    the sector and the ruler are looked for all over a clip. Arrays are copied when they are read, and stay writable.
    Raises ``UserError`` where there is no picture, the first is not one, or a rate is given to frames.
    """

    def __init__(self, pictures: Iterable[Picture], frames_per_second: float | None = None) -> None:
        self._pictures = _in_order(pictures)
        if not len(self._pictures):
            raise UserError("There is no picture to look at", GIVE_RGB)
        if frames_per_second is not None and not 0.0 < frames_per_second < np.inf:
            raise UserError(f"{frames_per_second:g} frames a second cannot be right", "Give a number above 0")
        self._frames_per_second = frames_per_second
        frames = [each for each in self._pictures if isinstance(each, Frame)]
        if frames and frames_per_second is not None:
            raise UserError("Frames have times of their own", "Leave frames_per_second out")
        # Nothing of one patient may be carried over to the next: frames of two sources are no clip.
        self._one_source = len({frame.key.source for frame in frames}) <= 1
        self._times_s = tuple(map(self._time_s, range(len(self._pictures))))
        # Two clips must not be taken for one: readings of different sources are never put together. The first picture
        # alone does not tell them apart, many clips begin in black.
        last = len(self._pictures) - 1
        digests = (self._digest(index)[:8] for index in (0, last // 2, last))
        self._name = f"arrays {last + 1} {'-'.join(digests)}"
        self._size_px = self.seek(0).size_px

    def _digest(self, index: int) -> str:
        picture = self._pictures[index]
        if isinstance(picture, Frame):
            return picture.key.digest
        return digest_of(_checked(picture, index))

    def _time_s(self, index: int) -> float | None:
        picture = self._pictures[index]
        if isinstance(picture, Frame):
            return picture.key.media_time_s
        if self._frames_per_second is None:
            return None
        return index / self._frames_per_second

    @property
    def info(self) -> SourceInfo:
        """Size of the first picture; the others may differ."""
        return SourceInfo(
            self._name,
            self._name,
            self._kind(),
            *self._size_px,
            frames_per_second=self._frames_per_second,
            frame_count=len(self._pictures),
        )

    def _kind(self) -> str:
        """As ``SourceInfo.is_sequence`` has it. On a single picture a ruler may be confirmed, as on a still's file."""
        if None not in self._times_s and self._one_source:
            return "arrays"
        if len(self._pictures) == 1:
            return "image"
        return "images"

    def __iter__(self) -> Iterator[Frame]:
        """Every picture in order."""
        return map(self.seek, range(len(self._pictures)))

    def seek(self, index: int) -> Frame:
        """Exactly picture ``index``; a frame that was given keeps the number and the time of its own source."""
        self.check_index(index)
        picture = self._pictures[index]
        if isinstance(picture, Frame):
            return picture
        return make_frame(_checked(picture, index), self._name, index, self._times_s[index])

    def times_s(self) -> Sequence[float | None]:
        """Evenly spaced times, or those of the frames; None for pictures that do not follow one another."""
        return self._times_s


def _in_order(pictures: Iterable[Picture]) -> Sequence[Picture] | NDArray[Any]:
    """The pictures by number. An array of three axes that ends in RGB is one picture, not many of one line."""
    if isinstance(pictures, np.ndarray):
        if pictures.ndim == 2 or (pictures.ndim == 3 and pictures.shape[2] == 3):
            return [pictures]
        return pictures
    if isinstance(pictures, Sequence):
        return pictures
    return list(pictures)


def _checked(picture: NDArray[Any], index: int) -> NDArray[np.uint8]:
    """A copy: the pixels of a frame are read-only, the caller's array stays writable."""
    pixels = np.array(picture)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        form = " x ".join(map(str, pixels.shape)) or "one value"
        raise UserError(f"Picture {index} is not an RGB picture: {pixels.dtype}, {form}", GIVE_RGB)
    check_size(f"Picture {index}", pixels.shape[1], pixels.shape[0])
    return pixels
