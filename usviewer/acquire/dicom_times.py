"""The times of a cine by what its file says, as far as they can be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

from pydicom import Dataset

from usviewer.acquire.dicom_values import is_stated, items, number, numbers, text

FRAME_TIME = 0x00181063
# Frames a second that a recording can have. Below: one frame in 10 s is a time lapse, no cine. Above: shear-wave
# imaging acquires some 10,000 a second, but what is exported as a cine is not above some hundred.
SLOWEST, FASTEST = 0.1, 1000.0
# Acquisition and display differ by up to about 100 (fast cines are shown slowly, slow ones fast). The mistakes that are
# made are times in s or microseconds for ms: 1000.
CONTRADICTION = 300.0
DISPLAY_RATES = ("CineRate", "RecommendedDisplayFrameRate")
_DATE_TIME = re.compile(r"(\d{14})(\.\d{1,6})?(?:([+-])(\d\d)(\d\d))?")


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Seconds since the first frame (None: not known), and what is to be said about where they are from."""

    times_s: tuple[float | None, ...]
    note: str = ""


class _Refused(Exception):
    """What a file says about its times is impossible; the text says why."""


def frame_times(dataset: Dataset, count: int, clip_times_s: Sequence[float | None] = ()) -> FrameTimes:
    """Times of ``count`` frames: of the acquisition, else of the clip inside, else of the rate of display.

    Of the acquisition: Frame Time Vector, else Frame Time (the one that Frame Increment Pointer names first), else the
    time stamps of the frames (PS3.3 C.7.6.5, C.7.6.16.2.2). A clock that cannot be right is passed over and named.
    """
    if count == 1:
        return FrameTimes((None,))
    refused: list[str] = []
    shown = _display_rate(dataset)
    inside = tuple(time_s for time_s in clip_times_s if time_s is not None)
    whole_clip = inside if len(inside) == count else None
    for what, clock in (*_clocks(dataset), ("the video inside", lambda dataset, count: whole_clip)):
        try:
            times_s = _checked(clock(dataset, count), what, shown)
        except _Refused as error:
            refused.append(str(error))
            continue
        if times_s and refused:
            return FrameTimes(times_s, f"Times follow {what}: {'; '.join(refused)}")
        if times_s:
            return FrameTimes(times_s)
    why = "; ".join(refused) or "the file does not say that of acquisition"
    # The rate of display may be another than that of acquisition: it comes last, and the note says so.
    if shown:
        return FrameTimes(tuple(index / shown for index in range(count)), f"Times follow the rate of display: {why}")
    note = "The file does not say the frame rate"
    if refused:
        note = f"The frame rate is not known: {why}"
    return FrameTimes((None,) * count, note)


Clock = Callable[[Dataset, int], "tuple[float, ...] | None"]


def _clocks(dataset: Dataset) -> Iterable[tuple[str, Clock]]:
    vector: tuple[str, Clock] = ("Frame Time Vector", _by_vector)
    step: tuple[str, Clock] = ("Frame Time", _by_frame_time)
    pointer = numbers(dataset, "FrameIncrementPointer") or ()
    first = (vector, step)
    if FRAME_TIME in pointer:
        first = (step, vector)
    return (*first, ("the time stamps of the frames", _by_stamps))


def _checked(times_s: tuple[float, ...] | None, what: str, shown: float | None) -> tuple[float, ...] | None:
    """Return the times if a recording can have them; raise ``_Refused`` if not."""
    if times_s is None:
        return None
    if times_s[-1] <= 0:
        raise _Refused(f"{what} cannot be right (no time passes)")
    rate = (len(times_s) - 1) / times_s[-1]
    if not SLOWEST <= rate <= FASTEST:
        raise _Refused(f"{what} cannot be right ({_rate_text(rate)})")
    if shown and not 1 / CONTRADICTION < rate / shown < CONTRADICTION:
        raise _Refused(f"{what} ({_rate_text(rate)}) contradicts the rate of display ({shown:.4g})")
    return times_s


def _rate_text(rate: float) -> str:
    if rate < 1:
        return f"{rate:.2g} frames a second"
    return f"{rate:.0f} frames a second"


def _by_vector(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    if not is_stated(dataset, "FrameTimeVector"):
        return None
    steps_ms = numbers(dataset, "FrameTimeVector")
    if steps_ms is None:
        raise _Refused("Frame Time Vector has values that are not numbers")
    # Its first value is that of the first frame and counts for nothing (PS3.3 C.7.6.5).
    if len(steps_ms) < count:
        raise _Refused(f"Frame Time Vector has {len(steps_ms)} values for {count} frames")
    if any(step < 0 for step in steps_ms[1:count]):
        raise _Refused("Frame Time Vector goes back in time")
    return tuple(time_ms / 1000 for time_ms in accumulate([0.0, *steps_ms[1:count]]))


def _by_frame_time(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    if not is_stated(dataset, "FrameTime"):
        return None
    step_ms = number(dataset, "FrameTime")
    if step_ms is None:
        raise _Refused("Frame Time is not a number")
    return tuple(index * step_ms / 1000 for index in range(count))


def _by_stamps(dataset: Dataset, count: int) -> tuple[float, ...] | None:
    """Frame Acquisition Date Time of the per-frame functional groups, where every frame has its own."""
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")[:count]
    stamps = [_stamp(content) for group in groups for content in items(group, "FrameContentSequence")[:1]]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < count:
        return None
    times_s = tuple((stamp - known[0]).total_seconds() for stamp in known)
    if any(later < earlier for earlier, later in pairwise(times_s)):
        raise _Refused("the time stamps of the frames go back in time")
    return times_s


def _stamp(content: Dataset) -> datetime | None:
    match = _DATE_TIME.fullmatch(text(content, "FrameAcquisitionDateTime"))
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[1], "%Y%m%d%H%M%S")
    except ValueError:
        return None
    offset = timedelta()
    if match[3]:  # from UTC, as DT of PS3.5 6.2 writes it
        offset = timedelta(hours=int(match[4]), minutes=int(match[5]))
    if match[3] == "-":
        offset = -offset
    return moment + timedelta(seconds=float(match[2] or 0)) - offset


def _display_rate(dataset: Dataset) -> float | None:
    for keyword in DISPLAY_RATES:
        rates = set(numbers(dataset, keyword) or ())
        if len(rates) == 1 and SLOWEST <= (rate := rates.pop()) <= FASTEST:
            return rate
    return None
