"""What a prompt model is asked for, and what it answers: the records between the window and its worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.infer.prediction import Instance
from usviewer.infer.prompt import LowResMask, Prompt, PromptOutline
from usviewer.measure.reading import Reading
from usviewer.pipeline.annotations import Annotation, ClipAccess


@dataclass(frozen=True, slots=True, eq=False)
class OutlineRequest:
    """Outline this. ``previous`` is the answer before (one more click), ``hint`` an outline that was there already."""

    frame: Frame
    prompt: Prompt
    label: str
    previous: LowResMask | None = None
    hint: Instance | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OutlineResult:
    """What was outlined."""

    ask: OutlineRequest
    outline: PromptOutline
    mark: Annotation


@dataclass(frozen=True, slots=True, eq=False)
class TrackRequest:
    """Follow an outline through a clip: each leg begins with the frame that ``first`` lies on."""

    clip: ClipAccess
    first: Instance
    label: str
    legs: tuple[Sequence[int], ...]

    @property
    def total(self) -> int:
        """Frames to go through."""
        return sum(max(0, len(leg) - 1) for leg in self.legs)


@dataclass(frozen=True, slots=True, eq=False)
class TrackProgress:
    """One frame further. ``lost`` is one sentence where the structure was lost there."""

    follow: TrackRequest
    index: int
    mark: Annotation
    lost: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TrackEnded:
    """Following came to its end, or was stopped."""

    follow: TrackRequest


@dataclass(frozen=True, slots=True, eq=False)
class TrackLost:
    """The structure was lost in the live picture, and why."""

    why: str


# What goes wrong is an event in words for the user.
Event = OutlineResult | TrackProgress | TrackEnded | TrackLost | UserError


@dataclass(frozen=True, slots=True, eq=False)
class LiveOutline:
    """A live frame with the outline that motion carried to it; no reading where there is none to be trusted."""

    frame: Frame
    reading: Reading | None
    instance: Instance | None = None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PromptState:
    """What is being done. ``encoding_s`` runs while a frame is encoded that somebody waits for; ``encoder_s`` is what
    the last one took (None: not known). ``followed`` is how many frames are done, and of how many.
    """

    loading: bool
    model_label: str
    model_sha256: str
    engine: str
    encoding_s: float | None
    encoder_s: float | None
    followed: tuple[int, int] | None
    live: bool
