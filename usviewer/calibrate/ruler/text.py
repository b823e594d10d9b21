"""The numbers beside a ruler, read by Tesseract where it is installed: only to say what a tick is worth."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.frame import Pixels
from usviewer.units import Box

Grey = NDArray[np.uint8]

PROGRAM = "tesseract"
TIMEOUT_S = 10.0
ENLARGE = 3
# Tesseract is unsure of single digits that it reads well (2 of 100); what it misreads fails the tests below.
MIN_CONFIDENCE = 0.0
UNIT_MM = {"cm": 10.0, "mm": 1.0}
# What one tick of a scanner's ruler is worth, in mm; a value that is none of these was misread.
USUAL_TICKS_MM = (0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 20.0)
TOLERANCE = 0.02
MAX_DEPTH_MM = 300.0
NUMBER = re.compile(r"^(\d{1,3}(?:[.,]\d{1,2})?)\s*(cm|mm)?$", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class RulerLabel:
    """A word as it was read, and where (frame pixels, corner convention)."""

    text: str
    box_xyxy_px: Box

    @property
    def number(self) -> float | None:
        """Its value; None where it is not a plain number (a unit may follow)."""
        match = NUMBER.match(self.text)
        if not match:
            return None
        return float(match[1].replace(",", "."))

    @property
    def unit_mm(self) -> float | None:
        """The unit in the word, in mm."""
        match = re.search(r"(?:^|\d|\s)(cm|mm)$", self.text, re.IGNORECASE)
        if not match:
            return None
        return UNIT_MM[match[1].lower()]


def can_read() -> bool:
    """Whether Tesseract is installed."""
    return shutil.which(PROGRAM) is not None


def read_labels(pixels: Pixels, box: tuple[int, int, int, int]) -> tuple[RulerLabel, ...]:
    """The words inside a rectangle of an RGB picture; none where Tesseract is missing or fails."""
    x0, y0, x1, y1 = box
    grey = pixels[y0:y1, x0:x1].max(axis=2)
    if not can_read() or min(grey.shape) < 8:
        return ()
    # Tesseract reads dark print on white, in letters larger than those of a scanner's screen.
    large = cv2.resize(255 - grey, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    margin = 10 * ENLARGE
    large = cv2.copyMakeBorder(large, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=255)
    encoded = cv2.imencode(".png", large)[1].tobytes()
    words = _words(encoded)
    return tuple(
        RulerLabel(text, tuple((edge - margin) / ENLARGE + (x0, y0)[axis % 2] for axis, edge in enumerate(edges)))  # type: ignore[arg-type]
        for text, edges in words
    )


def _words(picture: bytes) -> list[tuple[str, Box]]:
    # Page segmentation 11 is for words that stand alone, in no order; "tsv" gives their places.
    command = [PROGRAM, "stdin", "stdout", "--psm", "11", "-l", "eng", "tsv"]
    try:
        done = subprocess.run(command, input=picture, capture_output=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = csv.DictReader(io.StringIO(done.stdout.decode("utf-8", "replace")), delimiter="\t", quoting=csv.QUOTE_NONE)
    words: list[tuple[str, Box]] = []
    for row in rows:
        text = (row.get("text") or "").strip(" -_—–|'`\"=~")  # noqa: RUF001 - a tick beside a number reads as a dash
        if text and float(row["conf"]) >= MIN_CONFIDENCE:
            x, y, width, height = (float(row[key]) for key in ("left", "top", "width", "height"))
            words.append((text, (x, y, x + width, y + height)))
    return _joined(words)


def _joined(words: list[tuple[str, Box]]) -> list[tuple[str, Box]]:
    """A number and the unit behind it as one word."""
    joined: list[tuple[str, Box]] = []
    for text, box in words:
        last = None
        if joined:
            last = joined[-1]
        if last and text.lower() in UNIT_MM and NUMBER.match(last[0]) and _beside(last[1], box):
            joined[-1] = (f"{last[0]} {text}", (last[1][0], min(last[1][1], box[1]), box[2], max(last[1][3], box[3])))
        else:
            joined.append((text, box))
    return joined


def _beside(left: Box, right: Box) -> bool:
    height = left[3] - left[1]
    return abs(right[3] - left[3]) <= 0.5 * height and 0.0 <= right[0] - left[2] <= 1.5 * height


def tick_value_mm(
    labels: tuple[RulerLabel, ...], origin_px: float, pitch_px: float, intervals: int, along: int = 1
) -> float | None:
    """Read what one tick is worth from the words beside it; None unless they say so without contradiction.

    Two numbers or more beside ticks give the step, a unit that is written there makes it millimetres. With a single
    depth ("4.5 cm") and no other number the whole ruler of so many intervals is that deep. ``along`` is 1 for a
    vertical ruler, 0 for a horizontal one. A value that no scanner uses is a misreading: None.
    """
    units = {label.unit_mm for label in labels if label.unit_mm}
    if len(units) != 1:  # no unit, or cm and mm: nothing says which one the numbers have
        return None
    unit = units.pop()
    step = _step(labels, origin_px, pitch_px, along)
    numbers = {label.number: label.unit_mm for label in labels if label.number is not None}
    if step is None and len(numbers) == 1 and all(numbers.values()):
        step = next(iter(numbers)) / intervals
    if not step:
        return None
    return _usual(step * unit, intervals)


def _step(labels: tuple[RulerLabel, ...], origin_px: float, pitch_px: float, along: int) -> float | None:
    """Difference of the numbers from tick to tick; None below two numbers, or where one does not fit the others."""
    sites: dict[int, float] = {}
    for label in labels:
        centre = (label.box_xyxy_px[along] + label.box_xyxy_px[along + 2]) / 2.0
        at = (centre - origin_px) / pitch_px
        if label.number is not None and abs(at - round(at)) * pitch_px <= max(0.2 * pitch_px, 4.0):
            sites[round(at)] = label.number
    if len(sites) < 2:
        return None
    k, values = np.array(list(sites)), np.array(list(sites.values()))
    slope, offset = np.polyfit(k, values, 1)
    if not np.allclose(values, slope * k + offset, atol=0.01 * max(1.0, abs(float(slope)))):
        return None
    return float(slope)


def _usual(value_mm: float, intervals: int) -> float | None:
    if value_mm * intervals > MAX_DEPTH_MM:
        return None
    return next((usual for usual in USUAL_TICKS_MM if abs(value_mm / usual - 1.0) <= TOLERANCE), None)
