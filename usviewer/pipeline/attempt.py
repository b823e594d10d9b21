"""One frame through the model: whatever goes wrong there costs that frame, which is refused with its true reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry
from usviewer.infer.prediction import Prediction
from usviewer.measure.reading import Reading, Status
from usviewer.plain_text import printable

Predict = Callable[[Frame], Prediction]
Read = Callable[[Prediction, ImageGeometry | None], Reading]

NO_MEMORY = "There was not enough memory for this picture"
MOST_LETTERS = 160
MOST_NAMED = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class AnalyzedFrame:
    """One frame with everything that was computed from it.

    ``problem`` is what went wrong in the program or the model; then there is no instance, and the reading is refused
    for that reason. A frame that was read, and must not be measured, has none.
    """

    frame: Frame
    prediction: Prediction
    reading: Reading
    problem: Exception | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """Who refuses a frame: what is looked for, and the model with its engine."""

    finding: str = ""
    model_id: str = ""
    model_sha256: str = ""
    engine: str = ""


def attempt(frame: Frame, predict: Predict, read: Read, made: Made) -> AnalyzedFrame:
    """What the model says about a frame, measured; a refused reading with the reason where anything is raised."""
    try:
        prediction = predict(frame)
        return AnalyzedFrame(frame, prediction, read(prediction, frame.geometry))
    except Exception as error:  # also a full memory, and what an engine raises of its own
        return refused(frame, error, made)


def refused(frame: Frame, error: Exception, made: Made) -> AnalyzedFrame:
    """A frame without a number, and why: never taken for one on which nothing was seen."""
    if is_bug(error):
        _log.error("a frame is refused for an error in the program", exc_info=error)
    else:
        _log.warning("a frame is refused: %s", error)
    size_px = frame.size_px
    prediction = Prediction(frame.key, size_px, (), made.model_id, made.model_sha256, made.engine)
    reading = Reading(
        frame.key,
        made.finding,
        Status.REFUSED,
        reason=reason_of(error),
        model_id=made.model_id,
        model_sha256=made.model_sha256,
    )
    return AnalyzedFrame(frame, prediction, reading, error)


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
