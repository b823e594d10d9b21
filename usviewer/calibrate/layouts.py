"""Rulers that an operator has confirmed: which screen of which device, at which depth, and what a tick is worth there.

A remembered layout is used again only where the same ruler is found at the same place and the pixels of the ruler and
of what is written beside it are still those that were confirmed. Two depths of one scanner may draw the same ticks:
without any writing beside them a layout cannot be told from another, and is not remembered.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import platformdirs
import xxhash

from usviewer.calibrate.ruler import Ruler
from usviewer.calibrate.watch import Reference, Watch
from usviewer.errors import UserError
from usviewer.frame import Pixels, SourceInfo

VERSION = 1
SAME_PITCH = 0.002
SAME_PLACE_PX = 1.0
RECORDING = "recording"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A confirmed ruler: ``device`` names the screen it is on, ``tick_mm`` is the operator's word."""

    device: str
    tick_mm: float
    origin_px: float
    pitch_px: float
    confirmed: str
    reference: Reference


def device_of(info: SourceInfo) -> str:
    """What a layout is remembered under: the live device, or any recording (its pixels must agree anyway)."""
    return info.uri if info.live else RECORDING


def layout_of(device: str, ruler: Ruler, tick_mm: float, reference: Reference, confirmed: str) -> Layout:
    """A layout to remember; ``confirmed`` is the date. ``UserError`` where another depth could not be told from it."""
    if not reference.has_writing:
        raise UserError(
            "Nothing is written beside this ruler that would tell another depth from this one",
            "Confirm its ticks each time",
        )
    return Layout(device, tick_mm, ruler.origin_px, ruler.pitch_px, confirmed, reference)


def recognized(layouts: Sequence[Layout], device: str, ruler: Ruler, pixels: Pixels) -> Layout | None:
    """The remembered layout that this picture still shows, checked pixel by pixel; None where there is none."""
    for layout in reversed(layouts):
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


def with_layout(layouts: Sequence[Layout], layout: Layout) -> tuple[Layout, ...]:
    """The new one last, in place of the same ruler of the same device."""
    place = _place(layout)
    return (*(other for other in layouts if _place(other) != place), layout)


def _place(layout: Layout) -> tuple[object, ...]:
    reference = layout.reference
    return layout.device, reference.size_px, reference.axis, round(layout.pitch_px, 1), round(layout.origin_px)


def layouts_path() -> Path:
    """Where layouts are kept (the platform's own folder for settings)."""
    return Path(platformdirs.user_config_dir("usviewer", appauthor=False)) / "layouts.json"


def load(path: Path | None = None) -> tuple[tuple[Layout, ...], tuple[str, ...]]:
    """The remembered layouts and what was wrong with the file, a sentence each. A bad entry costs only itself."""
    try:
        document = json.loads((path or layouts_path()).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return (), ()
    except (OSError, ValueError):
        return (), ("The remembered rulers could not be read: confirm the scale again",)
    if not isinstance(document, dict) or document.get("version") != VERSION:
        return (), ("The remembered rulers are of another version: confirm the scale again",)
    entries = document.get("layouts")
    layouts = [_parsed(entry) for entry in entries] if isinstance(entries, list) else [None]
    bad = any(layout is None for layout in layouts)
    problems = ("A remembered ruler is damaged and was left out",) if bad else ()
    return tuple(layout for layout in layouts if layout is not None), problems


def fingerprint(path: Path | None = None) -> str:
    """Changes with every layout that is remembered or forgotten; empty where none is."""
    try:
        return str(xxhash.xxh3_64((path or layouts_path()).read_bytes()).hexdigest())
    except OSError:
        return ""


def to_text(layouts: Sequence[Layout]) -> str:
    """The file's content; write it with ``save.aside.write_text``, whole or not at all."""
    return json.dumps({"version": VERSION, "layouts": [_entry(layout) for layout in layouts]}, indent=1)


def _entry(layout: Layout) -> dict[str, Any]:
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


def _parsed(entry: object) -> Layout | None:
    if not isinstance(entry, Mapping):
        return None
    try:
        x0, y0, x1, y1 = (int(edge) for edge in entry["box_px"])
        grey, compared = _unpacked(entry["grey"]), _unpacked(entry["compared"])
        width, height = (int(side) for side in entry["size_px"])
        first, last = (int(edge) for edge in entry["ticks_px"])
        inside = 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        along = tuple(float(tick) for tick in entry["along_px"])
        length, depth = (y1 - y0, x1 - x0) if entry["axis"] == "y" else (x1 - x0, y1 - y0)
        inside = inside and len(along) > 1 and 0.0 <= min(along) <= max(along) < length and 0 <= first < last <= depth
        if grey.shape != (y1 - y0, x1 - x0) or compared.shape != grey.shape or not inside:
            return None
        if entry["axis"] not in ("x", "y"):
            return None
        reference = Reference((width, height), (x0, y0, x1, y1), grey, compared, entry["axis"], (first, last), along)
        tick, origin, pitch = (float(entry[key]) for key in ("tick_mm", "origin_px", "pitch_px"))
        if not all(np.isfinite((tick, origin, pitch))) or tick <= 0.0 or pitch <= 0.0:
            return None
        return Layout(str(entry["device"]), tick, origin, pitch, str(entry["confirmed"]), reference)
    except (KeyError, TypeError, ValueError, binascii.Error, cv2.error):
        return None


def _packed(picture: Pixels) -> str:
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode("ascii")


def _unpacked(text: str) -> Pixels:
    encoded = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    picture = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ValueError("no picture")
    grey: Pixels = np.asarray(picture, dtype=np.uint8)
    grey.setflags(write=False)
    return grey
