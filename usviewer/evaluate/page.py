"""The results page of an evaluation: one HTML file that holds its figures and pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from usviewer import RESEARCH_USE
from usviewer.evaluate.scores import Score, ScoreSection
from usviewer.evaluate.verdict import Outcome, Verdict
from usviewer.frame import Frame, Mask, Pixels, Points
from usviewer.overlay.palette import HALO, MASK, Colour
from usviewer.save.deidentify import blank_outside_sector
from usviewer.units import Box

PICTURE_WIDTH_PX = 720
JPEG_QUALITY = 85
TRUTH: Colour = (0xFF, 0xFF, 0xFF)
# Points of an outline that are drawn and left out in turn.
_DASH_PX = 7


@dataclass(frozen=True, slots=True)
class CasePicture:
    """A JPEG of one bad case with the sentence under it; ``badness`` sorts, the worst first."""

    badness: float
    caption: str
    jpeg: bytes


def badness(verdict: Verdict) -> float:
    """0 for perfect, 1 for missed; a confident false alarm is worse than a faint one."""
    if not verdict.wanted:
        if verdict.outcome is Outcome.RIGHTLY_NONE:
            return 0.0
        return 0.5 + 0.5 * (verdict.score or 0.0)
    if verdict.overlap is not None:
        return 1.0 - verdict.overlap.dice
    return 1.0 - (verdict.worst_iou or 0.0)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """A part of a frame, enlarged or reduced, that is drawn on in frame pixels."""

    pixels: Pixels
    origin_px: tuple[int, int]
    scale: float

    def line(self, points_xy_px: Points, colour: Colour, dashed: bool) -> None:
        """A closed line through points a pixel apart, with a dark seam."""
        # OpenCV counts from the middle of the first pixel, in sixteenths with ``shift`` 4.
        points = np.round(((points_xy_px - self.origin_px) * self.scale - 0.5) * 16).astype(np.int32)
        step = max(2, round(_DASH_PX / self.scale))
        parts = [points]
        if dashed:
            parts = [points[i : i + step + 1] for i in range(0, len(points), 2 * step)]
        for width, ink in ((3, HALO), (1, colour)):
            cv2.polylines(self.pixels, parts, not dashed, ink, width, cv2.LINE_AA, 4)

    def mask(self, mask: Mask, colour: Colour, dashed: bool) -> None:
        """The outlines of a mask of the whole frame."""
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            self.line(contour.reshape(-1, 2).astype(np.float64) + 0.5, colour, dashed)

    def box(self, box: Box, colour: Colour, dashed: bool) -> None:
        """The sides of a box."""
        x0, y0, x1, y1 = box
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], dtype=np.float64)
        sides = [np.linspace(a, b, max(2, int(np.abs(b - a).sum()))) for a, b in pairwise(corners)]
        self.line(np.concatenate(sides), colour, dashed)


def _canvas(frame: Frame) -> _Canvas:
    """The ultrasound of a frame, at the page's width.

    The surroundings are blanked: names stand there, and a results page is passed on.
    """
    x0, y0, x1, y1 = frame.sector_box_px or (0, 0, *frame.size_px)
    part = blank_outside_sector(frame.pixels, frame.geometry, False)[y0:y1, x0:x1]
    scale = min(4.0, PICTURE_WIDTH_PX / (x1 - x0))
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    mode = cv2.INTER_CUBIC
    if scale < 1:  # speckle aliases with anything but averaging
        mode = cv2.INTER_AREA
    return _Canvas(np.array(cv2.resize(part, size, interpolation=mode), np.uint8), (x0, y0), scale)


def draw_case(
    frame: Frame, truth: Sequence[Mask], predicted: Sequence[Mask], true_boxes: Sequence[Box], boxes: Sequence[Box]
) -> bytes:
    """The ultrasound as a JPEG: truth white and dashed over the model's outline in its colour."""
    canvas = _canvas(frame)
    for mask in predicted:
        canvas.mask(mask, MASK, False)
    for box in boxes:
        canvas.box(box, MASK, False)
    for mask in truth:
        canvas.mask(mask, TRUTH, True)
    for box in true_boxes:
        canvas.box(box, TRUTH, True)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(canvas.pixels, cv2.COLOR_RGB2BGR), options)[1])


# --- text -------------------------------------------------------------------------------------------------------------


def number(score: Score) -> str:
    """The figure with its unit, rounded to what it can bear."""
    return f"{_rounded(score.estimate.value, score.unit)} {score.unit}".rstrip()


def interval(score: Score) -> str:
    """Its 95 % interval; empty when there is none."""
    low, high = score.estimate.low, score.estimate.high
    if low is None or high is None:
        return ""
    return f"{_rounded(low, score.unit)} to {_rounded(high, score.unit)}"


def _rounded(value: float, unit: str) -> str:
    return f"{value:.{ {'%': 1, 'mm': 2, 'px': 2}.get(unit, 3) }f}"


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#e6eaed;background:#0e1113;
max-width:1100px;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:0 0 1.5rem}td,th{padding:.25rem 1rem .25rem 0;text-align:left;
border-bottom:1px solid #2a3036}td+td{font-variant-numeric:tabular-nums}h1,h2{font-weight:600}p.note{color:#9aa4ad}
figure{margin:0 0 1.5rem}figcaption{color:#9aa4ad}img{max-width:100%;display:block}
.cases{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:1rem}
b.truth{color:#fff;border-bottom:2px dashed #fff}b.model{color:#56b4e9;border-bottom:2px solid #56b4e9}
"""


def render(
    title: str,
    notes: Sequence[str],
    sections: Sequence[ScoreSection],
    plots: Sequence[bytes],
    pictures: Sequence[CasePicture],
) -> str:
    """Write the page as one HTML text that refers to nothing outside itself, so that it can be sent as a file.

    ``plots`` are PNG files, as bytes.
    """
    # Names of files, models and labels are other people's text: every one is escaped.
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p><strong>{html.escape(RESEARCH_USE)}</strong></p>"]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    parts += [_table(section) for section in sections]
    parts += [f'<figure><img alt="Bland-Altman plot" src="{_data_uri(plot, "png")}"></figure>' for plot in plots]
    if pictures:
        parts.append('<h2>The worst</h2><p><b class="truth">truth</b> &nbsp; <b class="model">model</b></p>')
        parts.append('<div class="cases">' + "".join(_case(picture) for picture in pictures) + "</div>")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _table(section: ScoreSection) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(score.title)}</td><td>{number(score)}</td><td>{interval(score)}</td><td>{score.count}</td></tr>"
        for score in section.scores
    )
    head = "<tr><th></th><th>value</th><th>95 % interval</th><th>counted on</th></tr>"
    return f"<h2>{html.escape(section.title)}</h2><table>{head}{rows}</table>"


def _case(picture: CasePicture) -> str:
    image = f'<img alt="" src="{_data_uri(picture.jpeg, "jpeg")}">'
    return f"<figure>{image}<figcaption>{html.escape(picture.caption)}</figcaption></figure>"


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
