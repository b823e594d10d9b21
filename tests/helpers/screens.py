"""Scanner screens with a depth ruler of a known pitch, in the manner of six vendors. Drawn here, copied from none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Style:
    side: str
    minor_px: int
    major_px: int
    period: int
    thickness_px: int
    colour: tuple[int, int, int]
    dots: bool = False
    axis: bool = False
    numbers: bool = True
    over_tissue: bool = False
    depth_text: bool = False


STYLES = {
    "sonosite": Style("right", 9, 15, 2, 1, (235, 235, 235), numbers=False, depth_text=True),
    "butterfly": Style("right", 8, 16, 5, 2, (255, 255, 255)),
    "clarius": Style("right", 5, 9, 5, 5, (255, 255, 255), dots=True, numbers=False, over_tissue=True, depth_text=True),
    "philips": Style("right", 3, 10, 5, 3, (214, 214, 214), numbers=False, depth_text=True),
    "ge": Style("right", 6, 10, 5, 2, (210, 205, 60), axis=True),
    "mindray": Style("left", 6, 12, 5, 2, (200, 200, 200), numbers=True),
}


def screen(
    style: str,
    pitch_px: float,
    size: tuple[int, int] = (1024, 768),
    *,
    top_px: float | None = None,
    smooth: bool = False,
    seed: int = 0,
    first_number: int = 0,
    depth: str = "",
    ruler: bool = True,
) -> Picture:
    """An RGB screen whose ticks are ``pitch_px`` apart, on whole rows or (``smooth``) exactly between them."""
    width, height = size
    picture = _tissue(width, height, seed % 8).copy()
    look = STYLES[style]
    top = 0.08 * height if top_px is None else top_px
    if ruler:
        _draw_ruler(picture, look, top, pitch_px, smooth, first_number, depth)
    for column, text in enumerate(("Abdomen", "MI 1.1", "Gn 55", "C60")):
        _text(picture, text, (140 + 90 * column, 24))
    return picture


def ticks_of(pitch_px: float, height: int, top_px: float | None = None) -> list[float]:
    """Where the centres of the ticks belong."""
    top = 0.08 * height if top_px is None else top_px
    return [top + k * pitch_px for k in range(int((0.92 * height - top) / pitch_px) + 1)]


def jpeg(picture: Picture, quality: int) -> Picture:
    """The same, compressed and read again."""
    packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])


def noisy(picture: Picture, seed: int, sd: float = 4.0, gain: float = 1.0) -> Picture:
    """The same with the noise of an analogue capture, and another brightness."""
    noise = np.random.default_rng(seed).normal(0.0, sd, picture.shape)
    return np.clip(picture * gain + noise, 0, 255).astype(np.uint8)


@cache
def _tissue(width: int, height: int, seed: int) -> Picture:
    rng = np.random.default_rng(seed)
    speckle = cv2.GaussianBlur(rng.gamma(1.5, 28.0, (height, width)).astype(np.float32), (0, 0), 1.6, sigmaY=1.0)
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.rectangle(mask, (int(0.2 * width), int(0.08 * height)), (int(0.8 * width), int(0.92 * height)), 1, -1)
    grey = np.clip(speckle * mask, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _draw_ruler(
    picture: Picture, look: Style, top: float, pitch: float, smooth: bool, first_number: int, depth: str
) -> None:
    height, width = picture.shape[:2]
    edge = {"left": 12, "right": width - 14}[look.side]
    if look.over_tissue:
        edge = int(0.78 * width)
    ticks = [top + k * pitch for k in range(int((0.92 * height - top) / pitch) + 1)]
    if look.axis:
        picture[round(ticks[0]) : round(ticks[-1]) + 1, edge : edge + 2] = look.colour
    for k, y in enumerate(ticks):
        major = k % look.period == 0
        length = look.major_px if major else look.minor_px
        _draw_tick(picture, look, edge, y, length, smooth)
        if major and look.numbers:
            x = edge + 20 if look.side == "left" else edge - look.major_px - 32
            _text(picture, str(first_number + k // look.period), (x, round(y) + 5), look.colour)
    if look.depth_text:
        x = edge + 10 if look.side == "left" else edge - 74
        _text(picture, depth or "9.0 cm", (x, min(height - 4, round(ticks[-1]) + 20)), look.colour)


def _draw_tick(picture: Picture, look: Style, edge: int, y: float, length: int, smooth: bool) -> None:
    thickness = length if look.dots else look.thickness_px
    start = y - thickness / 2.0 if smooth else float(round(y - thickness / 2.0))
    centre = start + thickness / 2.0
    x0 = edge - length // 2 if look.dots else edge if look.side == "left" else edge - length
    rows, columns = np.mgrid[int(start) - 1 : int(start) + thickness + 2, x0 : x0 + length]
    if look.dots:
        distance = np.hypot(rows + 0.5 - centre, columns + 0.5 - (x0 + length / 2.0))
        cover = np.clip(length / 2.0 + 0.5 - distance, 0.0, 1.0)
    else:
        cover = np.clip(np.minimum(rows + 1, start + thickness) - np.maximum(rows, start), 0.0, 1.0)
    old = picture[rows, columns].astype(np.float64)
    picture[rows, columns] = np.rint(old + cover[..., None] * (np.array(look.colour) - old)).astype(np.uint8)


def _text(picture: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int] = (230, 230, 230)) -> None:
    """Write with the baseline's left end at a position."""
    canvas = Image.fromarray(picture)
    ImageDraw.Draw(canvas).text(at, text, colour, ImageFont.load_default(15), anchor="ls")
    picture[:] = np.asarray(canvas)
