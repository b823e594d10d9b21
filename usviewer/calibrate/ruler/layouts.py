"""Rulers and the operator's word: proposals that wait for it, and layouts that were confirmed and are remembered.

A ruler that was found on the pictures of one source is a proposal until the operator says what its ticks are worth. A
layout says which screen of which device, at which depth, and what a tick is worth there. It is used again only where
the same ruler is found at the same place and the pixels of the ruler and of what is written beside it are still those
that were confirmed. Two depths of one scanner may draw the same ticks: without any writing beside them a layout cannot
be told from another, and is not remembered.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import platformdirs
import xxhash

from usviewer.calibrate.ruler.detect import (
    CHANGES,
    MAX_TICK_MM,
    MIN_TICK_MM,
    NO_RULER,
    Ruler,
    RulerSearch,
    along_across,
    find_ruler,
    spacing,
)
from usviewer.calibrate.ruler.watch import Confirmed, Reference, Watch, take_reference
from usviewer.calibrate.sector import find_sector
from usviewer.errors import UserError, foreign_parser
from usviewer.files import keep_copy, make_folder, one_at_a_time, read_bytes, write_text
from usviewer.frame import Frame, Pixels, SourceInfo
from usviewer.units import Spacing, pixel_shape

UNCONFIRMED = "A ruler was found but not confirmed: lengths are in pixels until you say what one of its ticks is worth"
VERSION = 1
# A strip of a screen takes up to 0.5 MB; hundreds are remembered at most.
MOST_BYTES = 100_000_000
MOST_LETTERS = 4096
# Larger than any screen; and what its picture would take to decode.
MOST_SIDE_PX, MOST_AREA_PX = 32_768, 50_000_000
UNREADABLE = "The remembered rulers could not be read: confirm the scale again."
SAME_PITCH = 0.002
SAME_PLACE_PX = 1.0
RECORDING = "recording"


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A ruler that waits for the operator to say what its ticks are worth. Nothing here has millimetres.

    ``frames`` are the pictures (RGB) that show it, the first of them number ``from_index`` of its source. ``across`` is
    a second ruler along the other axis.
    """

    ruler: Ruler
    across: Ruler | None
    frames: tuple[Pixels, ...]
    device: str
    pixel_aspect: float = 1.0
    from_index: int = 0

    def confirmed(self, tick_mm: float, across_tick_mm: float | None = None) -> Confirmed:
        """The scale that the operator confirms. Raises ``UserError`` for a value that cannot be right."""
        return self.watching(self.scale(tick_mm, across_tick_mm))

    def scale(self, tick_mm: float, across_tick_mm: float | None = None) -> Spacing:
        """What its ticks make of a pixel. Raises ``UserError`` for a value that cannot be right."""
        return spacing(self.ruler, tick_mm, self.across, across_tick_mm, pixel_aspect=self.pixel_aspect)

    def watching(self, scale: Spacing) -> Confirmed:
        """A scale of any origin that holds as long as this ruler stays what it is."""
        return Confirmed(scale, self.reference(), self.from_index)

    def layout(self, tick_mm: float, confirmed: str) -> RulerLayout:
        """What to remember; ``confirmed`` is the date. ``UserError`` where another depth could not be told from it."""
        return layout_of(self.device, self.ruler, tick_mm, self.reference(), confirmed)

    def remembered(self, known: Sequence[RulerLayout]) -> RulerLayout | None:
        """The layout that was confirmed for this very screen before, and that can be right for it."""
        layout = recognized(known, self.device, self.ruler, self.frames[0])
        try:
            if layout is not None:
                spacing(self.ruler, layout.tick_mm, pixel_aspect=self.pixel_aspect)
        except UserError:
            return None
        return layout

    def reference(self) -> Reference:
        """The pixels that must not change."""
        sector = find_sector(self.frames, pixel_shape(self.pixel_aspect))
        if not sector.certain:  # its outline is a guess: what lies inside it must stay as it is, too
            return take_reference(self.ruler, self.frames)
        return take_reference(self.ruler, self.frames, sector)


def propose(frames: Sequence[Frame], info: SourceInfo, *, read: bool = False) -> tuple[Proposal | None, str]:
    """Find the ruler that these frames of one source (in order, of equal size) show, or say why none can be used.

    Where the depth changes on the way, it is the ruler of the first frames. ``read`` also reads what is written beside
    it (0.2 s where Tesseract is installed).
    """
    shown, found = _shown_on_most(list(frames), read)
    if found.ruler is None:
        return None, found.reason
    across = None
    if found.ruler is found.vertical:
        across = found.horizontal
    pixels = tuple(frame.pixels for frame in shown)
    device = device_of(info)
    return Proposal(found.ruler, across, pixels, device, info.pixel_aspect, shown[0].key.index), ""


def _shown_on_most(frames: list[Frame], read: bool) -> tuple[list[Frame], RulerSearch]:
    """All frames with their ruler; where they do not share one, the first of them that do (two at least)."""
    found = find_ruler([frame.pixels for frame in frames], read=read)
    if found.reason not in (CHANGES, NO_RULER) or len(frames) < 3:
        return frames, found
    # Where the first frame has no ruler to offer, no beginning of the clip has.
    if find_ruler([frames[0].pixels], read=False).ruler is None:
        return frames, found
    # Halves: where the depth changes late, one look is enough, and never more than a few are needed.
    first = frames
    while len(first) > 2:
        first = first[: (len(first) + 1) // 2]
        shorter = find_ruler([frame.pixels for frame in first], read=read)
        if shorter.ruler is not None:
            return first, shorter
    return frames, found


def remember(proposal: Proposal, tick_mm: float, path: Path | None = None) -> None:
    """Remember a ruler, for use wherever the same screen is seen.

    Raises ``UserError`` where another depth could not be told from this one, or the file cannot be written.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    layout = proposal.layout(tick_mm, today)
    target = path or layouts_path()
    make_folder(target.parent)
    with one_at_a_time(target):  # two windows may remember at once, and neither may lose what the other wrote
        known, problems = load(target)
        if problems and keep_copy(target) is None:
            raise UserError(
                f"{target.name} cannot be understood, and no copy of it can be made before it is written again",
                "Move it away, then confirm the ruler again",
            )
        write_text(target, to_text(with_layout(known, layout)))


@dataclass(frozen=True, slots=True, eq=False)
class RulerLayout:
    """A confirmed ruler: ``device`` names the screen it is on, ``tick_mm`` is what the operator said."""

    device: str
    tick_mm: float
    origin_px: float
    pitch_px: float
    confirmed: str
    reference: Reference


def device_of(info: SourceInfo) -> str:
    """The key of a remembered layout: the live device, or any recording (its pixels must agree anyway)."""
    if not info.live:
        return RECORDING
    return info.uri


def layout_of(device: str, ruler: Ruler, tick_mm: float, reference: Reference, confirmed: str) -> RulerLayout:
    """Make a layout to remember; ``confirmed`` is the date.

    Raises ``UserError`` where another depth could not be told from it.
    """
    if not reference.has_writing:
        raise UserError(
            "There is no text beside this ruler by which another depth would be noticed",
            "Confirm its ticks each time",
        )
    return RulerLayout(device, tick_mm, ruler.origin_px, ruler.pitch_px, confirmed, reference)


def recognized(layouts: Sequence[RulerLayout], device: str, ruler: Ruler, pixels: Pixels) -> RulerLayout | None:
    """The remembered layout that this picture still shows, checked pixel by pixel; None where there is none."""
    for layout in reversed(layouts):  # the one confirmed last wins
        if layout.device != device or layout.reference.axis != ruler.axis:
            continue
        same = (
            layout.reference.size_px == ruler.size_px
            and abs(layout.pitch_px / ruler.pitch_px - 1.0) <= SAME_PITCH
            and abs(layout.origin_px - ruler.origin_px) <= SAME_PLACE_PX
        )
        if same and not Watch(layout.reference).check(pixels):
            return layout
    return None


def with_layout(layouts: Sequence[RulerLayout], layout: RulerLayout) -> tuple[RulerLayout, ...]:
    """Append a layout; it replaces the same ruler of the same device."""
    place = _place(layout)
    return (*(other for other in layouts if _place(other) != place), layout)


def _place(layout: RulerLayout) -> tuple[object, ...]:
    # Rounded, since the same ruler is measured a little differently on other frames.
    reference = layout.reference
    return layout.device, reference.size_px, reference.axis, round(layout.pitch_px, 1), round(layout.origin_px)


def layouts_path() -> Path:
    """Where layouts are kept (the platform's own folder for settings)."""
    return Path(platformdirs.user_config_dir("usviewer", appauthor=False)) / "layouts.json"


def load(path: Path | None = None) -> tuple[tuple[RulerLayout, ...], tuple[str, ...]]:
    """Load the remembered layouts, and one sentence for each fault of the file. A bad entry costs only itself."""
    try:
        content = read_bytes(path or layouts_path(), MOST_BYTES)
        with foreign_parser(UNREADABLE):
            document = json.loads(content)
    except FileNotFoundError:
        return (), ()
    except (OSError, UserError):
        return (), (UNREADABLE,)
    if not isinstance(document, dict) or document.get("version") != VERSION:
        return (), ("The remembered rulers are of another version: confirm the scale again.",)
    entries = document.get("layouts")
    if not isinstance(entries, list):
        return (), (UNREADABLE,)
    layouts = [_parsed(entry) for entry in entries]
    problems = [
        f"Remembered ruler {number} of {len(layouts)} is damaged and was left out."
        for number, layout in enumerate(layouts, 1)
        if layout is None
    ]
    return tuple(layout for layout in layouts if layout is not None), tuple(problems)


def fingerprint(path: Path | None = None) -> str:
    """Changes with every layout that is remembered or forgotten; empty where none is."""
    try:
        return str(xxhash.xxh3_64(read_bytes(path or layouts_path(), MOST_BYTES)).hexdigest())
    except OSError:
        return ""


def to_text(layouts: Sequence[RulerLayout]) -> str:
    """The file's content; write it with ``files.write_text``, whole or not at all."""
    return json.dumps({"version": VERSION, "layouts": [_entry(layout) for layout in layouts]}, indent=1)


def _entry(layout: RulerLayout) -> dict[str, Any]:
    reference = layout.reference
    return {
        "device": layout.device,
        "tick_mm": layout.tick_mm,
        "origin_px": round(layout.origin_px, 4),
        "pitch_px": round(layout.pitch_px, 5),
        "confirmed": layout.confirmed,
        "axis": reference.axis,
        "size_px": reference.size_px,
        "box_px": reference.box_px,
        "ticks_px": reference.ticks_px,
        "along_px": [round(tick, 3) for tick in reference.along_px],
        "grey": _packed(reference.grey),
        "compared": _packed(reference.compared),
    }


def _parsed(entry: object) -> RulerLayout | None:
    """Read the layout of an entry, whatever it holds; None where it cannot be right.

    A wrong tick would be a wrong millimetre, so every value is checked.
    """
    if not isinstance(entry, Mapping):
        return None
    axis, device, confirmed = (entry.get(key) for key in ("axis", "device", "confirmed"))
    size, box = _whole_numbers(entry.get("size_px"), 2), _whole_numbers(entry.get("box_px"), 4)
    ticks, along = _whole_numbers(entry.get("ticks_px"), 2), _real_numbers(entry.get("along_px"))
    values = _real_numbers([entry.get(key) for key in ("tick_mm", "origin_px", "pitch_px")])
    if axis not in ("x", "y") or not size or not box or not ticks or len(along) < 2 or len(values) != 3:
        return None
    if not all(isinstance(text, str) and len(text) <= MOST_LETTERS for text in (device, confirmed)):
        return None
    (width, height), (x0, y0, x1, y1), (first, last) = size, box, ticks
    length, depth = along_across(str(axis), x1 - x0, y1 - y0)
    inside = 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height and length * depth <= MOST_AREA_PX
    if not (inside and 0.0 <= min(along) <= max(along) < length and 0 <= first < last <= depth):
        return None
    tick_mm, origin_px, pitch_px = values
    if not MIN_TICK_MM <= tick_mm <= MAX_TICK_MM or pitch_px <= 0.0:
        return None
    grey, compared = (_unpacked(entry.get(key), (y1 - y0, x1 - x0)) for key in ("grey", "compared"))
    if grey is None or compared is None:
        return None
    reference = Reference((width, height), (x0, y0, x1, y1), grey, compared, str(axis), (first, last), along)
    return RulerLayout(str(device), tick_mm, origin_px, pitch_px, str(confirmed), reference)


def _whole_numbers(value: object, count: int) -> tuple[int, ...]:
    """That many whole numbers; empty where the entry holds anything else."""
    numbers = _real_numbers(value)
    if len(numbers) != count or not all(each == int(each) and abs(each) <= MOST_SIDE_PX for each in numbers):
        return ()
    return tuple(int(each) for each in numbers)


def _real_numbers(value: object) -> tuple[float, ...]:
    """Finite numbers, each at most a million; empty where the entry holds anything else."""
    if not isinstance(value, list | tuple) or not all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) <= 1e6 for each in value
    ):
        return ()
    return tuple(float(each) for each in value if math.isfinite(each))


def _packed(picture: Pixels) -> str:
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode("ascii")


def _unpacked(text: object, shape: tuple[int, int]) -> Pixels | None:
    """Decode a PNG of that height and width, read-only; None where it is not one."""
    try:
        with foreign_parser("A picture of a remembered ruler is damaged"):
            encoded = base64.b64decode(text, validate=True)  # type: ignore[arg-type]  # whatever stands there
            # The header tells the size before anything is unpacked.
            if encoded[16:24] != shape[1].to_bytes(4, "big") + shape[0].to_bytes(4, "big"):
                return None
            picture = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    except UserError:
        return None
    if picture is None or picture.shape != shape:
        return None
    grey: Pixels = np.asarray(picture, dtype=np.uint8)
    grey.setflags(write=False)
    return grey
