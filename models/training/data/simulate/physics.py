"""The field of a probe and what sound does in it: geometry, echo levels, shadows; the random helpers of all scenes.

A scene is drawn as a map of echo level in decibels on the probe's own polar grid (depth x beam), in millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Map = NDArray[np.float32]
Gray = NDArray[np.uint8]

DEPTH_SAMPLES = 288
BEAMS = 208
SCENE_PX = 320
"""Side of a finished scene: a little larger than the network's 256 px, so that augmentation can turn and zoom it."""


def uniform(rng: Generator, low: float, high: float) -> float:
    """One float between two bounds."""
    return float(rng.uniform(low, high))


def chance(rng: Generator, probability: float) -> bool:
    """True with this probability."""
    return bool(rng.random() < probability)


def smooth_noise(rng: Generator, shape: tuple[int, int], cells: tuple[float, float]) -> Map:
    """Gaussian noise of unit size whose blobs are about shape/cells samples wide."""
    rows, cols = (max(2, round(c)) for c in cells)
    coarse = rng.standard_normal((rows + 3, cols + 3), dtype=np.float32)
    scale_r, scale_c = shape[0] / rows, shape[1] / cols
    full = cv2.resize(coarse, (round((cols + 3) * scale_c), round((rows + 3) * scale_r)), interpolation=cv2.INTER_CUBIC)
    r0, c0 = round(scale_r * 1.5), round(scale_c * 1.5)
    return np.asarray(full[r0 : r0 + shape[0], c0 : c0 + shape[1]], np.float32)


def wave(rng: Generator, count: int, bumps: float) -> Map:
    """A smooth random curve of unit size with about that many bumps."""
    return np.asarray(smooth_noise(rng, (2, count), (2, max(2.0, bumps)))[0], np.float32)


def step(value: Map, softness: float) -> Map:
    """0 below zero, 1 above, with a smooth ramp of that total half-width."""
    t = np.clip(value / (2.0 * max(softness, 1e-3)) + 0.5, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


@dataclass(frozen=True)
class Fan:
    """The probe's field: radius of the face, half of the opening, depth. A large radius makes it a linear array."""

    apex_mm: float
    half_angle_rad: float
    depth_mm: float

    def half_width_mm(self, depth_mm: float) -> float:
        """Half of the field's width at that depth."""
        return (self.apex_mm + depth_mm) * float(np.sin(self.half_angle_rad))

    def polar_grid(self) -> tuple[Map, Map, Map, Map]:
        """Grids of x, z (mm), depth along the beam (mm) and angle (rad), each [DEPTH_SAMPLES, BEAMS]."""
        angle = np.linspace(-self.half_angle_rad, self.half_angle_rad, BEAMS, dtype=np.float32)[None, :]
        along = np.linspace(0.0, self.depth_mm, DEPTH_SAMPLES, dtype=np.float32)[:, None]
        radius = along + np.float32(self.apex_mm)
        x, z = radius * np.sin(angle), radius * np.cos(angle) - np.float32(self.apex_mm)
        shape = (DEPTH_SAMPLES, BEAMS)
        return x, z, np.broadcast_to(along, shape), np.broadcast_to(angle, shape)


@dataclass(frozen=True)
class View:
    """Where the final square picture lies: mm of its centre and mm per pixel."""

    centre_x_mm: float
    centre_z_mm: float
    mm_per_px: float

    def grid(self) -> tuple[Map, Map]:
        """Where every pixel centre lies: x and z in mm."""
        offset = (np.arange(SCENE_PX, dtype=np.float32) - (SCENE_PX - 1) / 2) * np.float32(self.mm_per_px)
        x, z = np.meshgrid(offset + np.float32(self.centre_x_mm), offset + np.float32(self.centre_z_mm))
        return np.asarray(x, np.float32), np.asarray(z, np.float32)


def random_fan(rng: Generator) -> Fan:
    """A curved array most of the time, otherwise a phased one or a nearly straight one."""
    kind = rng.random()
    depth_mm = uniform(rng, 75, 220)
    if kind < 0.80:
        return Fan(uniform(rng, 32, 68), np.deg2rad(uniform(rng, 22, 40)), depth_mm)
    if kind < 0.95:
        return Fan(uniform(rng, 2, 15), np.deg2rad(uniform(rng, 30, 46)), depth_mm)
    half_width_mm = uniform(rng, 0.3, 0.55) * depth_mm
    return Fan(2000.0, half_width_mm / 2000.0, depth_mm)


def whole_view(rng: Generator, fan: Fan) -> View:
    """The picture of the whole fan, as the crop to the sector leaves it, give or take a margin."""
    half_width = fan.half_width_mm(fan.depth_mm)
    top = fan.apex_mm * (float(np.cos(fan.half_angle_rad)) - 1.0)
    extent = max(2 * half_width, fan.depth_mm - top) * uniform(rng, 1.0, 1.06)
    return View(0.0, (fan.depth_mm + top) / 2, extent / SCENE_PX)


@dataclass(frozen=True)
class Blob:
    """A wobbly ellipse in mm: semi-axes, turn, and radius harmonics 2..4 as (cos, sin) pairs."""

    x_mm: float
    z_mm: float
    a_mm: float
    b_mm: float
    turn_rad: float
    harmonics: tuple[tuple[float, float], ...] = ()

    def distance(self, x: Map, z: Map) -> Map:
        """Signed distance to the edge in mm, about; negative inside."""
        dx, dz = x - np.float32(self.x_mm), z - np.float32(self.z_mm)
        cos, sin = np.float32(np.cos(self.turn_rad)), np.float32(np.sin(self.turn_rad))
        u, v = (cos * dx + sin * dz) / np.float32(self.a_mm), (cos * dz - sin * dx) / np.float32(self.b_mm)
        q = np.sqrt(u * u + v * v) + np.float32(1e-4)
        edge = np.ones_like(q)
        if self.harmonics:
            angle = np.arctan2(v, u)
            for order, (c, s) in enumerate(self.harmonics, start=2):
                edge = edge + np.float32(c) * np.cos(order * angle) + np.float32(s) * np.sin(order * angle)
        return np.asarray((q - edge) * np.sqrt(dx * dx + dz * dz) / q, np.float32)

    @property
    def mean_mm(self) -> float:
        """Mean diameter."""
        return self.a_mm + self.b_mm


def random_blob(
    rng: Generator, x_mm: float, z_mm: float, diameter_mm: float, *, stretch: float = 1.25, wobble: float = 0.03
) -> Blob:
    """A blob of that mean diameter, up to `stretch` longer than wide, with a slightly irregular edge."""
    ratio = float(np.exp(abs(rng.normal(0, 0.5)) * np.log(stretch)))
    # Most vessels flatten across the beam, some along it.
    turn = rng.normal(0, 0.35) if chance(rng, 0.75) else uniform(rng, 0, np.pi)
    harmonics = tuple((float(rng.normal(0, wobble / k)), float(rng.normal(0, wobble / k))) for k in (1, 1.5, 3))
    ratio = min(ratio, 1.8)
    return Blob(x_mm, z_mm, diameter_mm / 2 * ratio**0.5, diameter_mm / 2 / ratio**0.5, float(turn), harmonics)


@dataclass
class EchoCanvas:
    """A scene under construction: polar coordinates, the level map, and the loss by shadows (both dB)."""

    fan: Fan
    x: Map
    z: Map
    along: Map
    angle: Map
    level: Map
    shadow: Map

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the polar grid."""
        return DEPTH_SAMPLES, BEAMS


def new_canvas(fan: Fan) -> EchoCanvas:
    """An empty canvas of that fan."""
    x, z, along, angle = fan.polar_grid()
    zero = np.zeros((DEPTH_SAMPLES, BEAMS), np.float32)
    return EchoCanvas(fan, x, z, along, angle, zero, zero.copy())


def cells_of(canvas: EchoCanvas, across_mm: float, along_mm: float) -> tuple[float, float]:
    """Noise cells (rows, columns) for blobs of that size at mid-depth."""
    fan = canvas.fan
    return fan.depth_mm / along_mm, 2 * fan.half_width_mm(fan.depth_mm / 2) / across_mm


def add_shadow(
    canvas: EchoCanvas,
    centre_rad: float,
    half_rad: float,
    start_mm: Map | float,
    loss_db: float,
    edge_rad: float,
    onset_mm: float,
) -> None:
    """Loss behind something: between two beams, from a depth on, with soft sides and a soft start."""
    sides = step(np.float32(half_rad) - np.abs(canvas.angle - np.float32(centre_rad)), edge_rad)
    canvas.shadow += np.float32(loss_db) * sides * step(canvas.along - start_mm - np.float32(onset_mm), onset_mm)


def u_along_beam(canvas: EchoCanvas, x_mm: float, z_mm: float, half_mm: float) -> Map:
    """Beam position in units of half widths around a point: constant along a beam, as shadows are."""
    radius = canvas.fan.apex_mm + z_mm
    centre = float(np.arctan2(x_mm, radius))
    return np.asarray((canvas.angle - np.float32(centre)) * np.float32(radius / half_mm), np.float32)
