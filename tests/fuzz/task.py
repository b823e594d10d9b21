"""What a worker is asked and what it answers: plain data that goes from process to process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MAX_EXTRA_BYTES = 1_000_000_000
MAX_SECONDS = 20.0

Outcome = Literal["read", "refused", "exception", "time-out", "crash", "memory", "absent", "unexpected"]
GOOD: tuple[Outcome, ...] = ("read", "refused", "absent")


class Absent(Exception):
    """The case starts from a real file that is not on this computer."""


@dataclass(frozen=True)
class Read:
    """What a reader made of an input that it took.

    ``picture_bytes`` is the size of the largest decoded picture; ``sentences`` are what was said beside it;
    ``refused`` where all that came is what stands in for nothing (defaults, an empty list).
    """

    picture_bytes: int = 0
    sentences: tuple[str, ...] = ()
    refused: bool = False


@dataclass(frozen=True)
class Task:
    """One input and its reader.

    ``write`` puts the input into an empty folder, ``read`` takes that folder. ``again`` are the options that repeat it.
    ``must``: what has to come of it; empty where reading and refusing are both right.
    """

    kind: str
    again: str
    write: Callable[[Path], None]
    read: Callable[[Path], Read]
    must: Literal["", "read", "refused"] = ""
    max_seconds: float = MAX_SECONDS


@dataclass(frozen=True)
class Result:
    """What came of a task: what was said, the place of a fault, and what is wrong with the sentence (``poor``)."""

    task: Task
    outcome: Outcome
    said: str = ""
    where: str = ""
    poor: str = ""
    extra_bytes: int = 0
    picture_bytes: int = 0
    seconds: float = 0.0
    again: str = ""  # what came of it before it was tried again

    @property
    def good(self) -> bool:
        """Whether this is what a user may meet."""
        return self.outcome in GOOD
