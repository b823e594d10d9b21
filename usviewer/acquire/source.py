"""What every source of frames offers, recorded or live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from usviewer.errors import UserError
from usviewer.files import NOT_REGULAR
from usviewer.frame import Frame, SourceInfo

# No scanner makes pictures beyond these limits (``docs/inputs.md``).
MIN_SIDE_PX = 32
MAX_SIDE_PX = 16_384
MAX_PIXELS = 64_000_000
# What reading one picture may take on top of its own height x width x 3 bytes. With the program itself and its
# libraries that stays below 1 GB over the picture, measured for every format (``tests/acquire/test_memory.py``).
MAX_WORK_BYTES = 750_000_000


@runtime_checkable
class Source(Protocol):
    """Frames in order, from the start, each time it is iterated.

    A recording drops nothing and can be sought. A live source (``info.live``) yields the newest frame until it is
    closed, has no times, and refuses ``seek`` with a ``UserError``. One source serves one thread at a time: playback
    and analysis of the same file open it twice.
    """

    @property
    def info(self) -> SourceInfo:
        """What is known so far; ``frame_count`` and ``notes`` may grow as the recording is read."""

    def __iter__(self) -> Iterator[Frame]:
        """Every frame in order; may be called again."""

    def seek(self, index: int) -> Frame:
        """Exactly frame ``index`` (0-based). ``UserError`` beyond the ends."""

    def seek_near(self, index: int) -> Frame:
        """A frame near ``index`` that costs little, for scrubbing; its own index is in its key."""

    def times_s(self) -> Sequence[float | None]:
        """Media time of every frame, counted from the first; None where the recording does not say."""

    def close(self) -> None:
        """Release files and devices. May be called twice."""

    def __enter__(self) -> Self:
        """The source itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""


class _Closing(ABC):
    """Closed at the end of its ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Release everything."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RecordedSource(_Closing):
    """What all sources with an end share. ``times_s`` gives the number of frames."""

    @property
    @abstractmethod
    def info(self) -> SourceInfo:
        """What is known so far."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Every frame in order."""

    @abstractmethod
    def seek(self, index: int) -> Frame:
        """Exactly frame ``index``."""

    @abstractmethod
    def times_s(self) -> Sequence[float | None]:
        """Media time of every frame."""

    def seek_near(self, index: int) -> Frame:
        """The frame itself, where every frame costs the same."""
        return self.seek(index)

    def close(self) -> None:
        """Nothing is held open by default."""

    def check_index(self, index: int) -> None:
        """Raise ``UserError`` unless there is a frame ``index``."""
        count = len(self.times_s())
        if 0 <= index < count:
            return
        what = f"{self.info.name} has no frame {index}"
        if count == 0:
            raise UserError(what, "Choose another file: it has no frames")
        if count == 1:
            raise UserError(what, "Ask for frame 0, its only one")
        raise UserError(what, f"Ask for a frame from 0 to {count - 1}")


class LiveSource(_Closing):
    """What sources without an end share: only the newest frame, and ``close`` from any thread.

    What is read from must not be released during a read: reads stand within ``_in_hand``, and a ``close`` that comes
    during one is carried out at its end.
    """

    def __init__(self) -> None:
        self._closed = self._in_use = False

    @abstractmethod
    def _release(self) -> None:
        """Release what is read from. May be called twice."""

    def seek(self, index: int) -> Frame:
        """Raise ``UserError``: a live source has only its newest frame."""
        raise UserError("You cannot seek in a live source", "Record it first")

    seek_near = seek

    def times_s(self) -> Sequence[float | None]:
        """Give nothing: a live source has no times."""
        return ()

    def close(self) -> None:
        """End the iteration and release the source, at once or when the reading thread is done with it."""
        self._closed = True
        if not self._in_use:
            self._release()

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False
            if self._closed:  # closed by another thread during the read
                self._release()


def frame_count(source: Source) -> int | None:
    """Count the frames of a source, rather than believe a header; None where there is no end."""
    if source.info.live:
        return None
    return len(source.times_s())


def unreadable(name: str, error: OSError, *, was_there: bool = False) -> UserError:
    """Make the error for a file or folder that cannot be opened; ``was_there``: it could be opened a moment ago."""
    if isinstance(error, FileNotFoundError) and was_there:
        return UserError(f"{name} is gone", "It was moved, renamed or deleted, or its drive was taken out")
    if isinstance(error, FileNotFoundError):
        return UserError(f"There is no file {name}", "Check the name and the folder")
    if error.strerror == NOT_REGULAR:
        return UserError(f"{name} cannot be opened: it is a pipe or device", "Give a file that is on a disk")
    return UserError(f"{name} cannot be opened", "Check that it is a file and that you may read it")


def check_size(name: str, width_px: int, height_px: int) -> None:
    """Raise ``UserError`` for sizes that no scanner makes, before memory is spent on them."""
    size = f"{width_px} x {height_px} pixels"
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise UserError(
            f"{name} is {size}: too small for an ultrasound picture",
            f"Give one with sides of at least {MIN_SIDE_PX} pixels",
        )
    if max(width_px, height_px) > MAX_SIDE_PX or width_px * height_px > MAX_PIXELS:
        raise UserError(
            f"{name} is {size}: too large to open",
            f"Give one of at most {MAX_PIXELS // 1_000_000} megapixels, with sides of at most {MAX_SIDE_PX} pixels",
        )
