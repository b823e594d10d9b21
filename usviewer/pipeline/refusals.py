"""What is said where a frame could not be read: the true reason, for whoever shows, writes or prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from usviewer.errors import UserError
from usviewer.plain_text import printable

NO_MEMORY = "There was not enough memory for this picture"
MOST_LETTERS = 160
MOST_NAMED = 8


def reason_of(error: Exception) -> str:
    """The true reason in one clause."""
    if isinstance(error, UserError):
        return error.what
    if isinstance(error, MemoryError):
        return NO_MEMORY
    said = printable(next(iter(str(error).strip().splitlines()), ""))[:MOST_LETTERS]
    return f"An error in the program ({type(error).__name__}{f': {said}' if said else ''})"


def is_bug(error: Exception) -> bool:
    """Whether nobody could have foreseen it: then the developers want its traceback."""
    return not isinstance(error, UserError | MemoryError)


def as_user_error(error: Exception) -> UserError:
    """The same for whoever shows errors."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, MemoryError):
        return UserError(NO_MEMORY, "Close other programs and try again")
    return UserError(reason_of(error), "Please report it")


def refusals(frames_by_reason: Mapping[str, Sequence[int]], count: int) -> tuple[str, ...]:
    """A sentence for each reason, with the frames of ``count`` that were refused for it."""
    return tuple(
        f"{len(frames)} of {count} frames could not be read (frame {_named(frames)}): {reason}"
        for reason, frames in frames_by_reason.items()
    )


def _named(frames: Sequence[int]) -> str:
    named = ", ".join(map(str, frames[:MOST_NAMED]))
    return named if len(frames) <= MOST_NAMED else f"{named}, ..."
