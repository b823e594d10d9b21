"""Randomised B-mode scenes with and without an abdominal aorta.

A scene is drawn as a map of echo level in decibels on the probe's own polar grid (depth x beam), in
millimetres: tissue, fat, muscle, organs, bowel, vertebra, vessels. Shadows run along beams, speckle gets the
point-spread function of the grid, then the machine's gain, dynamic range and filters follow, and the
fan is scan-converted. The truth is the lumen, inner edge to inner edge, drawn analytically on the final pixels.

Every range is deliberately wider than life: the network has to meet real machines it never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Map = NDArray[np.float32]
Gray = NDArray[np.uint8]

DEPTH_SAMPLES = 288
BEAMS = 208
CANVAS_PX = 320
"""Scenes are kept a little larger than the network's 256 px, so that augmentation can turn and zoom them."""


# ------------------------------------------------------------------------------------------- random helpers


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


# ------------------------------------------------------------------------------------------------- geometry


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
        offset = (np.arange(CANVAS_PX, dtype=np.float32) - (CANVAS_PX - 1) / 2) * np.float32(self.mm_per_px)
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
    return View(0.0, (fan.depth_mm + top) / 2, extent / CANVAS_PX)


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


# --------------------------------------------------------------------------------------------------- tissue


class TextureBank:
    """Despeckled real images (CC BY) as level maps in dB, to be warped under a scene as its tissue."""

    def __init__(self, maps: Sequence[Map]) -> None:
        self.maps = list(maps)

    def sample(self, rng: Generator, x: Map, z: Map, extent_mm: float) -> Map:
        """A random picture, turned, scaled and mirrored, looked up at every point."""
        picture = self.maps[int(rng.integers(len(self.maps)))]
        height, width = picture.shape
        px_per_mm = min(height, width) / extent_mm * uniform(rng, 0.45, 1.1)
        turn = rng.normal(0, 0.3)
        flip = -1.0 if chance(rng, 0.5) else 1.0
        cos, sin = np.float32(np.cos(turn) * px_per_mm), np.float32(np.sin(turn) * px_per_mm)
        u = flip * (cos * x - sin * z) + np.float32(width * uniform(rng, 0.3, 0.7))
        v = sin * x + cos * z + np.float32(height * uniform(rng, 0.0, 0.35))
        return cv2.remap(picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)


@dataclass
class Canvas:
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


def new_canvas(fan: Fan) -> Canvas:
    """An empty canvas of that fan."""
    x, z, along, angle = fan.polar_grid()
    zero = np.zeros((DEPTH_SAMPLES, BEAMS), np.float32)
    return Canvas(fan, x, z, along, angle, zero, zero.copy())


def cells_of(canvas: Canvas, across_mm: float, along_mm: float) -> tuple[float, float]:
    """Noise cells (rows, columns) for blobs of that size at mid-depth."""
    fan = canvas.fan
    return fan.depth_mm / along_mm, 2 * fan.half_width_mm(fan.depth_mm / 2) / across_mm


def paint_tissue(rng: Generator, canvas: Canvas, bank: TextureBank | None) -> None:
    """Procedural tissue, real texture, or a mixture of both."""
    level = canvas.level
    share = 0.0
    if bank is not None and bank.maps and chance(rng, 0.68):
        share = uniform(rng, 0.5, 1.4)
        level += share * bank.sample(rng, canvas.x, canvas.z, canvas.fan.depth_mm)
    calm = 1.0 if share < 0.3 else 0.5
    level += calm * uniform(rng, 1, 6) * smooth_noise(rng, canvas.shape, cells_of(canvas, 70, 50))
    level += calm * uniform(rng, 0.5, 4) * smooth_noise(rng, canvas.shape, cells_of(canvas, 18, 9))
    level += calm * uniform(rng, 0, 3.5) * smooth_noise(rng, canvas.shape, cells_of(canvas, 6, 3))
    for _ in range(int(rng.integers(0, 4)) if calm == 1.0 else int(rng.integers(0, 2))):
        paint_patch(rng, canvas)
    if chance(rng, 0.6):
        paint_streaks(rng, canvas)


def paint_patch(rng: Generator, canvas: Canvas) -> None:
    """An organ-like patch with its own level, sometimes with a bright rim."""
    field = smooth_noise(rng, canvas.shape, cells_of(canvas, uniform(rng, 30, 90), uniform(rng, 25, 70)))
    field = field - np.float32(uniform(rng, -0.5, 1.0))
    inside = step(field, uniform(rng, 0.03, 0.3))
    canvas.level += inside * np.float32(rng.normal(0, 6))
    if chance(rng, 0.45):
        canvas.level += np.float32(uniform(rng, 3, 14)) * np.exp(-((field / np.float32(uniform(rng, 0.03, 0.1))) ** 2))


def paint_streaks(rng: Generator, canvas: Canvas) -> None:
    """Short bright lines across the beam: fat planes, bowel walls, fascia."""
    noise = smooth_noise(rng, canvas.shape, cells_of(canvas, uniform(rng, 8, 30), uniform(rng, 1.2, 3.5)))
    where = step(smooth_noise(rng, canvas.shape, cells_of(canvas, 40, 30)) - np.float32(uniform(rng, -0.8, 0.8)), 0.5)
    canvas.level += np.maximum(noise - np.float32(uniform(rng, 0.4, 1.3)), 0) * np.float32(uniform(rng, 3, 12)) * where


def paint_near_field(rng: Generator, canvas: Canvas) -> None:
    """Skin, fat and muscle: bright and dark layers that follow the probe's face, ended by a bright fascia."""
    thickness = uniform(rng, 6, 45) * min(1.0, canvas.fan.depth_mm / 130)
    border = thickness * (1 + 0.15 * wave(rng, BEAMS, uniform(rng, 2, 5)))
    inside = step(border[None, :] - canvas.along, 1.0)
    layers = smooth_noise(rng, canvas.shape, cells_of(canvas, uniform(rng, 40, 150), uniform(rng, 1.5, 5)))
    fine = smooth_noise(rng, canvas.shape, cells_of(canvas, uniform(rng, 10, 40), 1.2))
    mixed = (
        np.float32(uniform(rng, 2, 8)) * layers
        + np.float32(uniform(rng, 0, 4)) * fine
        + np.float32(uniform(rng, -4, 9))
    )
    canvas.level += inside * (mixed - canvas.level * np.float32(uniform(rng, 0.2, 1.0)))
    fascia = np.exp(-(((canvas.along - border[None, :]) / np.float32(uniform(rng, 0.6, 2))) ** 2))
    canvas.level += fascia * np.float32(uniform(rng, 0, 14))
    if chance(rng, 0.4):  # the dark or white-out band right under the face
        canvas.level += np.float32(rng.normal(2, 8)) * step(uniform(rng, 1, 6) - canvas.along, 1.0)


def paint_organ_border(rng: Generator, canvas: Canvas) -> None:
    """A long wavy interface with different tissue on either side, such as the lower edge of the liver."""
    tilt = rng.normal(0, 0.25)
    at_mm = uniform(rng, 0.2, 0.75) * canvas.fan.depth_mm + tilt * canvas.x
    at_mm = at_mm + uniform(rng, 1, 8) * wave(rng, BEAMS, uniform(rng, 2, 6))[None, :]
    distance = np.asarray(canvas.z - at_mm, np.float32)
    canvas.level += step(distance, uniform(rng, 0.5, 6)) * np.float32(rng.normal(0, 5))
    visible = np.clip(wave(rng, BEAMS, 4) + 0.4, 0, 1)[None, :]
    line = np.exp(-((distance / np.float32(uniform(rng, 0.5, 2.0))) ** 2))
    canvas.level += np.float32(uniform(rng, 0, 16)) * line * visible


def add_shadow(
    canvas: Canvas,
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


# -------------------------------------------------------------------------------------- structures, by name


def paint_hollow(
    rng: Generator, canvas: Canvas, blob: Blob, contrast_db: float, *, soft_mm: float, wall_db: float, wall_mm: float
) -> None:
    """A fluid-filled space: set against the tissue around it, walls brightest where they face the beam."""
    d = blob.distance(canvas.x, canvas.z)
    ring = (d > soft_mm + 0.5) & (d < max(4.0, 0.35 * blob.mean_mm))
    around = float(canvas.level[ring].mean()) if ring.any() else float(canvas.level.mean())
    inside = step(-d, soft_mm)
    texture = canvas.level - around
    fill = np.float32(around - contrast_db) + np.float32(uniform(rng, 0.0, 0.25)) * texture
    if chance(rng, 0.5):  # haze of reverberation under the near wall, and other clutter
        top = blob.z_mm - blob.b_mm
        fill = fill + np.float32(uniform(rng, 0.5, 0.5 * contrast_db + 0.5)) * np.exp(
            -np.maximum(canvas.z - top, 0) / np.float32(uniform(rng, 0.15, 0.6) * blob.mean_mm)
        )
    if chance(rng, 0.35):
        fill = fill + np.float32(uniform(rng, 0.5, 2.5)) * smooth_noise(rng, canvas.shape, cells_of(canvas, 8, 5))
    canvas.level += inside * (np.minimum(fill, np.float32(around - 0.45 * contrast_db)) - canvas.level)
    if wall_db > 0:
        towards = np.abs(canvas.z - np.float32(blob.z_mm)) / np.float32(max(blob.b_mm, 1.0))
        facing = np.clip(towards, 0, 1) ** 2
        even = np.float32(uniform(rng, 0.1, 0.8))
        wall = np.exp(-(((d - np.float32(wall_mm)) / np.float32(wall_mm)) ** 2))
        canvas.level += np.float32(wall_db) * wall * (even + (1 - even) * facing)
    if contrast_db > 8 and chance(rng, 0.6):  # fluid attenuates less: brighter behind
        half = float(np.arctan2(0.8 * blob.a_mm, canvas.fan.apex_mm + blob.z_mm))
        centre = float(np.arctan2(blob.x_mm, canvas.fan.apex_mm + blob.z_mm))
        add_shadow(canvas, centre, half, blob.z_mm + blob.b_mm, -uniform(rng, 1, 6), half * 0.4, 1.0)
    if chance(rng, 0.35):  # refraction at the sides
        half = float(np.arctan2(blob.a_mm, canvas.fan.apex_mm + blob.z_mm))
        centre = float(np.arctan2(blob.x_mm, canvas.fan.apex_mm + blob.z_mm))
        for side in (-1, 1):
            add_shadow(canvas, centre + side * half, 0.02, blob.z_mm, uniform(rng, 1, 8), 0.02, 3.0)


def paint_vertebra(rng: Generator, canvas: Canvas, x_mm: float, top_mm: float) -> None:
    """The bright, rounded face of a vertebral body with its shadow."""
    half_mm = uniform(rng, 10, 28)
    u = (canvas.x - np.float32(x_mm)) / np.float32(half_mm)
    dome = uniform(rng, 2, 16)
    face = (
        np.float32(top_mm)
        + np.float32(dome) * np.minimum(u * u, 2.0)
        + np.float32(uniform(rng, 0, 2)) * wave(rng, BEAMS, 5)[None, :]
    )
    d = np.asarray(canvas.z - face, np.float32)
    lateral = np.exp(-((u / np.float32(uniform(rng, 0.7, 1.3))) ** 4))
    thick = np.where(d < 0, np.float32(uniform(rng, 0.8, 9)), np.float32(uniform(rng, 0.8, 5)))
    canvas.level += np.float32(uniform(rng, 0, 15)) * np.exp(-((d / thick) ** 2)) * lateral
    loss_db = uniform(rng, 6, 45)
    ragged = uniform(rng, 0, 0.25) * smooth_noise(rng, canvas.shape, cells_of(canvas, 10, 25))
    sides = step(1.0 - np.abs(u_along_beam(canvas, x_mm, top_mm, half_mm)) + ragged, uniform(rng, 0.05, 0.7))
    onset = uniform(rng, 0.8, 14)
    canvas.shadow += np.float32(loss_db) * sides * step(d - np.float32(onset), onset)


def vertebra_offset_mm(rng: Generator) -> float:
    """Where the vertebra's middle lies beside the lumen's: behind it as a rule, far aside where the probe is tilted."""
    return float(rng.normal(-8, 20) if chance(rng, 0.25) else rng.normal(-5, 9))


def u_along_beam(canvas: Canvas, x_mm: float, z_mm: float, half_mm: float) -> Map:
    """Beam position in units of half widths around a point: constant along a beam, as shadows are."""
    radius = canvas.fan.apex_mm + z_mm
    centre = float(np.arctan2(x_mm, radius))
    return np.asarray((canvas.angle - np.float32(centre)) * np.float32(radius / half_mm), np.float32)


def paint_bowel(rng: Generator, canvas: Canvas) -> None:
    """Gas: a bright curved line with a dirty or a clean shadow."""
    at = uniform(rng, 0.1, 0.5) * canvas.fan.depth_mm
    centre = uniform(rng, -1, 1) * canvas.fan.half_angle_rad
    half = uniform(rng, 0.05, 0.35) * canvas.fan.half_angle_rad
    surface = at + uniform(rng, 0, 6) * wave(rng, BEAMS, 6)[None, :]
    sides = step(half - np.abs(canvas.angle - centre), 0.3 * half)
    line = np.exp(-(((canvas.along - surface) / np.float32(uniform(rng, 0.8, 3))) ** 2))
    canvas.level += np.float32(uniform(rng, 2, 18)) * line * sides
    add_shadow(
        canvas,
        centre,
        half,
        np.asarray(surface, np.float32),
        uniform(rng, 4, 35),
        half * uniform(rng, 0.1, 0.6),
        uniform(rng, 1, 15),
    )


def paint_bowel_ring(rng: Generator, canvas: Canvas) -> None:
    """A loop cut across: dark muscular wall around bright content, a near miss of a vessel."""
    d = random_position(rng, canvas, uniform(rng, 10, 26), stretch=1.6).distance(canvas.x, canvas.z)
    wall = uniform(rng, 2, 5)
    canvas.level -= np.float32(uniform(rng, 4, 14)) * step(-d, 0.8)
    canvas.level += np.float32(uniform(rng, 4, 20)) * step(-(d + wall), 1.0)


def paint_tube(rng: Generator, canvas: Canvas, x_mm: float, z_mm: float, width_mm: float, length_mm: float) -> None:
    """A vessel in its length, such as the left renal or the splenic vein."""
    turn = rng.normal(0, 0.35)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    dx, dz = canvas.x - np.float32(x_mm), canvas.z - np.float32(z_mm)
    u, v = cos * dx + sin * dz, cos * dz - sin * dx
    v = v + np.float32(rng.normal(0, 1.0) / max(length_mm, 1)) * u * u
    d = np.maximum(np.abs(v) - np.float32(width_mm / 2), np.abs(u) - np.float32(length_mm / 2))
    canvas.level -= np.float32(uniform(rng, 3, 20)) * step(-np.asarray(d, np.float32), uniform(rng, 0.4, 1.5))
    if chance(rng, 0.5):
        canvas.level += np.float32(uniform(rng, 2, 8)) * np.exp(-((np.asarray(d, np.float32) / 1.0) ** 2))


def random_position(rng: Generator, canvas: Canvas, diameter_mm: float, *, stretch: float = 1.3) -> Blob:
    """A blob of that size anywhere in the fan."""
    depth = uniform(rng, 0.15, 0.9) * canvas.fan.depth_mm
    half = canvas.fan.half_width_mm(depth) * 0.9
    return random_blob(rng, uniform(rng, -half, half), depth, diameter_mm, stretch=stretch, wobble=0.06)


# ------------------------------------------------------------------------------------------------ the aorta


def random_diameter_mm(rng: Generator) -> float:
    """Mostly normal and ectatic calibres, with a long tail of aneurysms up to 95 mm."""
    kind = rng.random()
    if kind < 0.66:
        return uniform(rng, 11, 26)
    return uniform(rng, 22, 45) if kind < 0.86 else uniform(rng, 40, 95)


def place_aorta(rng: Generator, fan: Fan) -> Blob:
    """The lumen somewhere in the middle of the fan, at a depth where it fits."""
    diameter = min(random_diameter_mm(rng), 0.5 * fan.depth_mm, 1.1 * fan.half_width_mm(0.5 * fan.depth_mm))
    shallowest = max(0.18 * fan.depth_mm, 8.0) + diameter / 2
    deepest = max(shallowest + 1.0, 0.85 * fan.depth_mm - diameter / 2)
    share = float(rng.beta(1.6, 2.2))
    depth = shallowest + share * (deepest - shallowest)
    room = max(2.0, fan.half_width_mm(depth) - 0.55 * diameter)
    # A tilted or hurried probe leaves the vessel near the fan's edge, and cuts it to an oval.
    aside = uniform(rng, -1, 1) if chance(rng, 0.2) else float(np.clip(rng.normal(0, 0.4), -1, 1))
    return random_blob(rng, aside * room, depth, diameter, stretch=1.6 if chance(rng, 0.3) else 1.25)


def lumen_contrast_db(rng: Generator, diameter_mm: float) -> float:
    """How much darker than its surroundings: down to 4 dB, but never for a giant, which would teach plain blobs."""
    low = 4.0 if diameter_mm < 32 else 9.0
    return low + float(rng.gamma(1.6, 7.0)) if chance(rng, 0.85) else uniform(rng, 25, 45)


def paint_surroundings(rng: Generator, canvas: Canvas, lumen: Blob) -> None:
    """What lies around an aorta: bright retroperitoneal fat, the SMA in its collar, veins, the vena cava."""
    d = lumen.distance(canvas.x, canvas.z)
    if chance(rng, 0.75):
        reach = uniform(rng, 4, 25)
        canvas.level += np.float32(uniform(rng, 1, 12)) * np.exp(-((np.maximum(d, 0) / np.float32(reach)) ** 2))
    if chance(rng, 0.55):
        paint_sma(rng, canvas, lumen)
    if chance(rng, 0.55):
        paint_vena_cava(rng, canvas, lumen)
    if chance(rng, 0.35):
        above = lumen.z_mm - lumen.b_mm - uniform(rng, 4, 18)
        paint_tube(rng, canvas, lumen.x_mm + rng.normal(-8, 12), above, uniform(rng, 3, 9), uniform(rng, 15, 50))
    if chance(rng, 0.25):  # a renal vein that melts into the lumen's side
        side = -1 if chance(rng, 0.4) else 1
        reach = lumen.a_mm + uniform(rng, 5, 14)
        paint_tube(
            rng,
            canvas,
            lumen.x_mm + side * reach,
            lumen.z_mm + rng.normal(-2, 4),
            uniform(rng, 2, 6),
            uniform(rng, 8, 20),
        )


def paint_sma(rng: Generator, canvas: Canvas, lumen: Blob) -> None:
    """The superior mesenteric artery: small and dark in a bright collar, in front of the aorta."""
    size = uniform(rng, 4, 10)
    gap = uniform(rng, 3, 16)
    x = lumen.x_mm + rng.normal(-1, 6)
    z = lumen.z_mm - lumen.b_mm - gap - size / 2
    blob = random_blob(rng, x, z, size, stretch=1.3)
    d = blob.distance(canvas.x, canvas.z)
    canvas.level += np.float32(uniform(rng, 2, 14)) * np.exp(
        -((np.maximum(d, 0) / np.float32(uniform(rng, 2, 6))) ** 2)
    )
    paint_hollow(
        rng, canvas, blob, uniform(rng, 4, 22), soft_mm=uniform(rng, 0.4, 1.2), wall_db=uniform(rng, 0, 6), wall_mm=0.8
    )


def paint_vena_cava(rng: Generator, canvas: Canvas, lumen: Blob) -> None:
    """The inferior vena cava: beside the aorta (on the picture's left as a rule), often flattened, thin wall."""
    width = uniform(rng, 9, 30)
    flat = uniform(rng, 0.25, 1.0)
    side = 1 if chance(rng, 0.06) else -1
    x = lumen.x_mm + side * (lumen.a_mm + width / 2 + uniform(rng, 2, 22))
    z = lumen.z_mm + rng.normal(-2, 7)
    blob = Blob(
        x,
        z,
        width / 2,
        max(2.0, width / 2 * flat),
        float(rng.normal(0, 0.4)),
        (
            (float(rng.normal(0, 0.08)), float(rng.normal(0, 0.08))),
            (float(rng.normal(0, 0.06)), float(rng.normal(0, 0.06))),
        ),
    )
    paint_hollow(
        rng, canvas, blob, uniform(rng, 2, 20), soft_mm=uniform(rng, 0.5, 2), wall_db=uniform(rng, 0, 4), wall_mm=0.7
    )


def paint_aorta(rng: Generator, canvas: Canvas, lumen: Blob) -> None:
    """The lumen with its wall; large ones get thrombus and calcification."""
    diameter = lumen.mean_mm
    large = diameter > 32
    contrast = lumen_contrast_db(rng, diameter)
    wall_db = uniform(rng, 4, 14) if large else (uniform(rng, 0, 10) if chance(rng, 0.65) else 0.0)
    if large and chance(rng, 0.45):
        outer = Blob(
            lumen.x_mm + rng.normal(0, 0.06) * diameter,
            lumen.z_mm + rng.normal(0, 0.06) * diameter,
            lumen.a_mm * uniform(rng, 1.12, 1.45),
            lumen.b_mm * uniform(rng, 1.12, 1.45),
            lumen.turn_rad,
        )
        paint_hollow(
            rng,
            canvas,
            outer,
            uniform(rng, 1, 0.45 * contrast),
            soft_mm=uniform(rng, 0.4, 1.5),
            wall_db=wall_db,
            wall_mm=uniform(rng, 0.7, 1.6),
        )
        contrast = max(contrast * 0.7, 5.0)
        wall_db = uniform(rng, 0, 5)
    soft = min(uniform(rng, 0.3, 2.2), 0.11 * diameter)
    paint_hollow(rng, canvas, lumen, contrast, soft_mm=soft, wall_db=wall_db, wall_mm=uniform(rng, 0.6, 1.5))
    for _ in range(int(rng.integers(1, 4)) if chance(rng, 0.4 if large else 0.12) else 0):
        paint_calcification(rng, canvas, lumen)


def paint_calcification(rng: Generator, canvas: Canvas, lumen: Blob) -> None:
    """A bright plaque on the wall with a thin shadow."""
    around = uniform(rng, 0, 2 * np.pi)
    x = lumen.x_mm + np.cos(around) * (lumen.a_mm + 0.7)
    z = lumen.z_mm + np.sin(around) * (lumen.b_mm + 0.7)
    size = uniform(rng, 1, 4)
    spot = Blob(x, z, size, 0.9, around + np.pi / 2)
    canvas.level += np.float32(uniform(rng, 6, 18)) * step(-spot.distance(canvas.x, canvas.z), 0.5)
    if chance(rng, 0.6):
        radius = canvas.fan.apex_mm + z
        add_shadow(
            canvas, float(np.arctan2(x, radius)), size / radius, z, uniform(rng, 3, 14), 0.3 * size / radius, 2.0
        )


def spare_the_lumen(canvas: Canvas, lumen: Blob, most_db: float) -> None:
    """Weaken what has been shadowed so far where it would hide the aorta: a label nobody can see teaches nonsense."""
    inside = lumen.distance(canvas.x, canvas.z) < 0.25 * lumen.mean_mm
    worst = float(np.quantile(np.abs(canvas.shadow[inside]), 0.8)) if inside.any() else 0.0
    if worst > most_db:
        # Only beams near the aorta are eased; darkness elsewhere stays.
        beams = u_along_beam(canvas, lumen.x_mm, lumen.z_mm, 1.3 * lumen.mean_mm)
        near = step(np.float32(1.5) - np.abs(beams), 0.5)
        canvas.shadow *= 1 - near * np.float32(1 - most_db / worst)


# ------------------------------------------------------------------------------------------- the machine


@dataclass(frozen=True)
class Machine:
    """How levels become gray: speckle, filters, gain and dynamic range."""

    speckle: float
    looks: int
    psf_along: float
    psf_across: float
    range_db: float
    white: float
    gamma: float
    floor_db: float
    clutter_db: float


def random_machine(rng: Generator) -> Machine:
    """From raw speckle to the painted look of heavy compounding."""
    return Machine(
        speckle=uniform(rng, 0.1, 1.0),
        looks=int(rng.integers(1, 5)),
        psf_along=uniform(rng, 0.5, 1.4),
        psf_across=uniform(rng, 0.8, 3.5),
        range_db=uniform(rng, 34, 75),
        white=uniform(rng, 110, 265),
        gamma=uniform(rng, 0.75, 1.9),
        floor_db=uniform(rng, -60, -22),
        clutter_db=uniform(rng, -45, -20),
    )


def speckle_db(rng: Generator, shape: tuple[int, int], machine: Machine) -> Map:
    """Log of the mean of some looks of fully developed speckle, with the grid's point-spread function."""
    total = np.zeros(shape, np.float32)
    for _ in range(machine.looks):
        for _part in range(2):
            field = rng.standard_normal(shape, dtype=np.float32)
            field = cv2.GaussianBlur(field, (0, 0), sigmaX=machine.psf_across, sigmaY=machine.psf_along).astype(
                np.float32
            )
            total += field * field
    return np.asarray(10 * np.log10(total / total.mean() + 1e-3), np.float32)


def depth_gain_db(rng: Generator, canvas: Canvas) -> Map:
    """What is left of attenuation after time-gain compensation, and unevenness from beam to beam."""
    t = np.linspace(-0.5, 0.5, DEPTH_SAMPLES, dtype=np.float32)
    gain = rng.normal(-6, 9) * t + uniform(rng, 0, 4) * wave(rng, DEPTH_SAMPLES, 5)
    if chance(rng, 0.35):  # deep tissue sinks into the dark
        gain = gain - uniform(rng, 5, 35) * np.clip(t - uniform(rng, 0.0, 0.35), 0, 1) * 2
    side = uniform(rng, 0, 5) * wave(rng, BEAMS, uniform(rng, 3, 9))
    patches = uniform(rng, 0, 5) * smooth_noise(rng, canvas.shape, cells_of(canvas, 60, 50))
    if chance(rng, 0.3):  # the outer beams lack aperture
        edge = np.linspace(-1, 1, BEAMS, dtype=np.float32)
        side = side - uniform(rng, 2, 18) * np.clip(np.abs(edge) - uniform(rng, 0.4, 0.85), 0, 1) * 2
    return np.asarray(gain[:, None] + side[None, :] + patches, np.float32)


def to_gray(rng: Generator, canvas: Canvas, machine: Machine, gain_db: Map) -> Map:
    """The polar picture in gray levels 0..255 (float)."""
    level = cv2.GaussianBlur(
        canvas.level, (0, 0), sigmaX=max(0.6, 0.7 * machine.psf_across), sigmaY=max(0.4, 0.6 * machine.psf_along)
    )
    echo = np.power(np.float32(10), (np.clip(level, -60, 40) - canvas.shadow) / 10).astype(np.float32)
    echo = echo + np.float32(10 ** (machine.clutter_db / 10)) * cv2.GaussianBlur(echo, (0, 0), sigmaX=14, sigmaY=3)
    speckled = 10 * np.log10(echo + 1e-9) + np.float32(machine.speckle) * speckle_db(rng, canvas.shape, machine)
    noise = machine.floor_db + np.float32(machine.speckle) * 3 * rng.standard_normal(canvas.shape, dtype=np.float32)
    total = 10 * np.log10(np.power(10, speckled / 10) + np.power(10, noise / 10) + 1e-9) + gain_db
    # The brightest tissue, or only the near field, reaches white: many real pictures are mostly dark.
    reference = float(np.quantile(total[::4, ::4], uniform(rng, 0.93, 0.998)))
    gray = np.clip((total - reference + machine.range_db) / machine.range_db, 0, 1.4) ** machine.gamma
    return np.asarray(np.clip(gray * machine.white, 0, 255), np.float32)


def scan_convert(canvas: Canvas, polar: Map, view: View) -> tuple[Gray, Gray]:
    """The polar picture on the square's pixels, and where the fan is."""
    fan = canvas.fan
    x, z = view.grid()
    z = z + np.float32(fan.apex_mm)
    along = np.hypot(x, z) - np.float32(fan.apex_mm)
    angle = np.arctan2(x, z)
    row = along * np.float32((DEPTH_SAMPLES - 1) / fan.depth_mm)
    col = (angle / np.float32(2 * fan.half_angle_rad) + np.float32(0.5)) * np.float32(BEAMS - 1)
    inside = (row >= 0) & (row <= DEPTH_SAMPLES - 1) & (col >= 0) & (col <= BEAMS - 1)
    picture = cv2.remap(polar, col, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    picture = np.where(inside, picture, 0)
    return np.clip(picture, 0, 255).astype(np.uint8), inside.astype(np.uint8)


def machine_filter(rng: Generator, picture: Gray, inside: Gray) -> Gray:
    """Smoothing and edge enhancement as scanners do it, after the scan conversion."""
    kind = rng.random()
    if kind < 0.25:
        picture = cv2.medianBlur(picture, 3).astype(np.uint8)
    elif kind < 0.45:
        picture = cv2.bilateralFilter(picture, 5, uniform(rng, 15, 60), uniform(rng, 1, 3)).astype(np.uint8)
    elif kind < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), uniform(rng, 0.4, 1.3)).astype(np.uint8)
    if chance(rng, 0.3):
        soft = cv2.GaussianBlur(picture, (0, 0), uniform(rng, 1.0, 3.0))
        picture = cv2.addWeighted(picture, 1 + (k := uniform(rng, 0.2, 1.0)), soft, -k, 0).astype(np.uint8)
    return np.asarray(picture * inside, np.uint8)


def burn_in_text(rng: Generator, picture: Gray) -> None:
    """Letters, rulers, gray bars and markers, which lie beside the fan and now and then on it."""
    for _ in range(int(rng.integers(0, 5))):
        text = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWXabdefgnorstu0123456789.:/ "), int(rng.integers(2, 12))))
        at = (
            int(rng.integers(0, CANVAS_PX - 20)),
            int(rng.choice([rng.integers(8, 60), rng.integers(250, CANVAS_PX)])),
        )
        cv2.putText(
            picture,
            text,
            at,
            int(rng.integers(0, 4)),
            uniform(rng, 0.25, 0.5),
            int(rng.integers(90, 256)),
            1,
            cv2.LINE_AA,
        )
    if chance(rng, 0.4):
        x, length, gap = int(rng.integers(0, CANVAS_PX)), int(rng.integers(2, 6)), uniform(rng, 8, 30)
        if abs(x - CANVAS_PX / 2) > 90:
            for k in range(int(CANVAS_PX / gap)):
                cv2.line(picture, (x, int(k * gap)), (x + length, int(k * gap)), int(rng.integers(80, 255)), 1)
    if chance(rng, 0.2):
        width = int(rng.integers(3, 8))
        picture[10 : 10 + 90, :width] = np.linspace(255, 0, 90).astype(np.uint8)[:, None]


# -------------------------------------------------------------------------------------------------- scenes


@dataclass(frozen=True)
class Scene:
    """A finished picture with its truth, both [CANVAS_PX, CANVAS_PX]; `lumen_mm` is 0 where there is no aorta."""

    image: Gray
    mask: Gray
    lumen_mm: float
    mm_per_px: float
    kind: str


def finish(
    rng: Generator, canvas: Canvas, view: View, lumen: Blob | None, kind: str, *, calm_speckle: bool = False
) -> Scene:
    """Machine, scan conversion, filters, text; and the mask of the lumen."""
    gain = depth_gain_db(rng, canvas)
    machine = random_machine(rng)
    if calm_speckle:  # the picture brings its own
        machine = replace(machine, speckle=0.4 * machine.speckle)
    picture, inside = scan_convert(canvas, to_gray(rng, canvas, machine, gain), view)
    picture = machine_filter(rng, picture, inside)
    burn_in_text(rng, picture)
    mask = np.zeros_like(picture)
    if lumen is not None:
        x, z = view.grid()
        mask = ((lumen.distance(x, z) < 0) & (inside > 0)).astype(np.uint8)
    return Scene(picture, mask, lumen.mean_mm if lumen is not None else 0.0, view.mm_per_px, kind)


def is_apart(other: Blob, lumen: Blob) -> bool:
    """Clear of the aorta and not behind it: two like discs side by side would make the label a coin toss."""
    clear = np.hypot(other.x_mm - lumen.x_mm, other.z_mm - lumen.z_mm) > (other.mean_mm + lumen.mean_mm) / 2 + 6
    return bool(clear) and other.z_mm < lumen.z_mm


def abdomen(rng: Generator, bank: TextureBank | None, *, with_aorta: bool) -> Scene:
    """An upper abdomen in transverse section, with its aorta or with everything but it."""
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    view = whole_view(rng, fan)
    paint_tissue(rng, canvas, bank)
    for _ in range(int(rng.integers(0, 3))):
        paint_organ_border(rng, canvas)
    lumen = place_aorta(rng, fan) if with_aorta else None
    for _ in range(int(rng.integers(0, 3))):
        size = float(np.clip(rng.gamma(2, 5), 3, 45))
        other = random_position(rng, canvas, size, stretch=2.0)
        if lumen is None or is_apart(other, lumen):
            soft_mm, wall_db = uniform(rng, 0.4, 3), uniform(rng, 0, 6)
            paint_hollow(rng, canvas, other, uniform(rng, 3, 25), soft_mm=soft_mm, wall_db=wall_db, wall_mm=0.8)
    paint_near_field(rng, canvas)
    if chance(rng, 0.25):
        paint_bowel_ring(rng, canvas)
    for _ in range(int(rng.choice([0, 0, 1, 1, 2, 3]))):
        paint_bowel(rng, canvas)
    if lumen is not None:
        spare_the_lumen(canvas, lumen, uniform(rng, 0, 8))
        if chance(rng, 0.92):
            top_mm = lumen.z_mm + lumen.b_mm + max(-1.0, rng.normal(4, 3.5))
            paint_vertebra(rng, canvas, lumen.x_mm + vertebra_offset_mm(rng), top_mm)
        paint_surroundings(rng, canvas, lumen)
        paint_aorta(rng, canvas, lumen)
    elif chance(rng, 0.4):
        paint_vertebra(
            rng,
            canvas,
            uniform(rng, -0.4, 0.4) * fan.half_width_mm(fan.depth_mm / 2),
            uniform(rng, 0.3, 0.8) * fan.depth_mm,
        )
    return finish(rng, canvas, view, lumen, "aorta" if with_aorta else "abdomen")


def lung(rng: Generator, bank: TextureBank | None) -> Scene:
    """Ribs, a pleural line, A-lines or B-lines, sometimes fluid or consolidation below it."""
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    paint_tissue(rng, canvas, bank if chance(rng, 0.3) else None)
    paint_near_field(rng, canvas)
    at = uniform(rng, 8, 40) * min(1.0, fan.depth_mm / 130)
    pleura = at + uniform(rng, 0, 3) * wave(rng, BEAMS, 3)[None, :]
    below = step(np.asarray(canvas.along - pleura, np.float32), 1.5)
    canvas.level -= below * (canvas.level * np.float32(uniform(rng, 0.5, 1)) + np.float32(uniform(rng, 0, 12)))
    strength = uniform(rng, 6, 20)
    for k in range(1, 7):  # the line, then its reverberations
        fade = np.float32(strength * uniform(rng, 0.3, 0.9) ** (k - 1)) if k > 1 else np.float32(strength)
        canvas.level += fade * np.exp(-(((canvas.along - k * pleura) / np.float32(uniform(rng, 0.6, 1.8))) ** 2))
        if k == 1 and chance(rng, 0.35):
            break
    for _ in range(int(rng.integers(0, 7))):  # B-lines: bright to the bottom
        centre, half = uniform(rng, -1, 1) * fan.half_angle_rad, uniform(rng, 0.01, 0.2) * fan.half_angle_rad
        add_shadow(canvas, centre, half, np.asarray(pleura, np.float32), -uniform(rng, 2, 14), 0.5 * half, 1.0)
    for _ in range(int(rng.choice([0, 1, 2]))):  # ribs
        centre, half = uniform(rng, -1, 1) * fan.half_angle_rad, uniform(rng, 0.1, 0.35) * fan.half_angle_rad
        rib = np.asarray(0.8 * pleura, np.float32)
        canvas.level += (
            np.float32(uniform(rng, 2, 12))
            * np.exp(-(((canvas.along - rib) / 1.5) ** 2))
            * step(half - np.abs(canvas.angle - centre), 0.2 * half)
        )
        add_shadow(canvas, centre, half, rib, uniform(rng, 10, 40), 0.3 * half, 2.0)
    if chance(rng, 0.4):
        paint_effusion(rng, canvas)
    return finish(rng, canvas, _maybe_cut(rng, fan), None, "lung")


def paint_effusion(rng: Generator, canvas: Canvas) -> None:
    """A large, irregular, dark space with a bright far border: fluid, a heart chamber, a bladder."""
    field = smooth_noise(rng, canvas.shape, cells_of(canvas, uniform(rng, 50, 110), uniform(rng, 40, 90))) + np.float32(
        uniform(rng, -0.3, 0.8)
    )
    inside = step(field, 0.08) * step(canvas.along - np.float32(uniform(rng, 0.15, 0.35) * canvas.fan.depth_mm), 3.0)
    canvas.level += inside * (np.float32(-uniform(rng, 15, 40)) - canvas.level)
    canvas.level += (
        np.float32(uniform(rng, 0, 18))
        * np.exp(-((field / 0.08) ** 2))
        * step(canvas.along - np.float32(0.2 * canvas.fan.depth_mm), 5.0)
    )


def fluid(rng: Generator, bank: TextureBank | None) -> Scene:
    """Large fluid spaces without an aorta: effusion, heart, bladder."""
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    paint_tissue(rng, canvas, bank)
    paint_near_field(rng, canvas)
    for _ in range(int(rng.integers(1, 3))):
        paint_effusion(rng, canvas)
    if chance(rng, 0.5):
        paint_bowel(rng, canvas)
    return finish(rng, canvas, _maybe_cut(rng, fan), None, "fluid")


def test_phantom(rng: Generator) -> Scene:
    """Plain speckle with wires and small cylinders: what comes with a new probe."""
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    canvas.level += np.float32(uniform(rng, 0, 2)) * smooth_noise(rng, canvas.shape, (4, 4))
    pitch = uniform(rng, 8, 30)
    for row in range(1, int(fan.depth_mm / pitch)):
        if chance(rng, 0.7):
            x = uniform(rng, -0.5, 0.5) * fan.half_width_mm(row * pitch) if chance(rng, 0.5) else 0.0
            d = np.hypot(canvas.x - np.float32(x), (canvas.z - np.float32(row * pitch)) * 2)
            canvas.level += np.float32(uniform(rng, 8, 25)) * np.exp(-((d / np.float32(uniform(rng, 0.7, 2.5))) ** 2))
    largest_mm = 14 if chance(rng, 0.5) else 26
    for _ in range(int(rng.integers(0, 6))):
        blob = random_position(rng, canvas, uniform(rng, 2, largest_mm), stretch=1.02)
        paint_hollow(rng, canvas, blob, uniform(rng, 3, 30), soft_mm=0.5, wall_db=0, wall_mm=1)
    return finish(rng, canvas, _maybe_cut(rng, fan), None, "phantom")


def eye(rng: Generator, bank: TextureBank | None) -> Scene:
    """An eyeball right under the probe: round and dark as an aneurysm is, but with nothing in front of it.

    No belly lets a vessel of that size touch the near field, so it is the scene that tells them apart.
    """
    depth_mm = uniform(rng, 34, 60)
    straight = Fan(2000.0, uniform(rng, 0.25, 0.5) * depth_mm / 2000.0, depth_mm)
    fan = straight if chance(rng, 0.85) else replace(random_fan(rng), depth_mm=depth_mm)
    canvas = new_canvas(fan)
    if chance(rng, 0.7):
        paint_tissue(rng, canvas, bank if chance(rng, 0.5) else None)
    size = uniform(rng, 18, 27)
    top = uniform(rng, 0.5, 7)
    globe = random_blob(
        rng, rng.normal(0, 0.15) * fan.half_width_mm(top + size / 2), top + size / 2, size, stretch=1.15
    )
    soft_mm, wall_db, contrast_db = uniform(rng, 0.3, 1.2), uniform(rng, 0, 10), uniform(rng, 8, 40)
    paint_hollow(rng, canvas, globe, contrast_db, soft_mm=soft_mm, wall_db=wall_db, wall_mm=uniform(rng, 0.5, 1.2))
    if chance(rng, 0.6):  # the lens: a bright arc in its near half
        depth = top + uniform(rng, 0.1, 0.4) * size
        lens = Blob(globe.x_mm, depth, uniform(rng, 3, 6), uniform(rng, 0.5, 2.5), 0.0)
        canvas.level += np.float32(uniform(rng, 4, 18)) * np.exp(-((lens.distance(canvas.x, canvas.z) / 0.7) ** 2))
    if chance(rng, 0.7):  # the optic nerve: a dark band behind it
        angle = float(np.arctan2(globe.x_mm + rng.normal(0, 4), fan.apex_mm + top + size))
        half = uniform(rng, 1.5, 4) / (fan.apex_mm + top + size)
        add_shadow(canvas, angle, half, top + size, uniform(rng, 5, 30), 0.4 * half, 1.0)
    return finish(rng, canvas, whole_view(rng, fan), None, "eye")


@dataclass(frozen=True)
class Donor:
    """A real vessel in its surroundings: level map in dB, lumen mask (0..1), centre and diameter in its pixels."""

    level: Map
    mask: Map
    centre_xy: tuple[float, float]
    diameter_px: float


def transplant(rng: Generator, donors: Sequence[Donor]) -> Scene:
    """A real artery with its surroundings, scaled to an aorta and bent into an abdominal fan over a vertebra."""
    donor = donors[int(rng.integers(len(donors)))]
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    lumen = place_aorta(rng, fan)
    turn, flip = rng.normal(0, 0.35), -1.0 if chance(rng, 0.5) else 1.0
    scale = donor.diameter_px / min(lumen.mean_mm, 45.0)
    stretch = uniform(rng, 0.85, 1.15)

    def lookup(x: Map, z: Map) -> tuple[Map, Map]:
        dx, dz = (
            (x - np.float32(lumen.x_mm)) * np.float32(flip * scale * stretch),
            (z - np.float32(lumen.z_mm)) * np.float32(scale),
        )
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        return cos * dx - sin * dz + np.float32(donor.centre_xy[0]), sin * dx + cos * dz + np.float32(
            donor.centre_xy[1]
        )

    u, v = lookup(canvas.x, canvas.z)
    strength = uniform(rng, 0.35, 1.0)
    canvas.level += np.float32(strength) * cv2.remap(
        donor.level, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    canvas.level += uniform(rng, 0, 5) * smooth_noise(rng, canvas.shape, cells_of(canvas, 60, 40))
    if chance(rng, 0.6):
        paint_near_field(rng, canvas)
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        paint_bowel(rng, canvas)
    spare_the_lumen(canvas, lumen, uniform(rng, 0, 8))
    if chance(rng, 0.8):
        paint_vertebra(
            rng,
            canvas,
            lumen.x_mm + vertebra_offset_mm(rng),
            lumen.z_mm + 0.55 * lumen.mean_mm + max(0.0, rng.normal(5, 3.5)),
        )
    if chance(rng, 0.4):
        paint_sma(rng, canvas, lumen)
    view = whole_view(rng, fan)
    scene = finish(rng, canvas, view, None, "transplant", calm_speckle=True)
    x, z = view.grid()
    u, v = lookup(x, z)
    mask = cv2.remap(donor.mask, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0) > 0.5
    return Scene(scene.image, mask.astype(np.uint8), donor.diameter_px / scale, view.mm_per_px, "transplant")


def no_scan(rng: Generator) -> Scene:
    """A black, gray, noisy or written-on screen."""
    picture = np.full((CANVAS_PX, CANVAS_PX), int(rng.integers(0, 60)) if chance(rng, 0.5) else 0, np.uint8)
    if chance(rng, 0.5):
        noise = 40 + uniform(rng, 5, 40) * smooth_noise(
            rng, picture.shape, (uniform(rng, 3, 150), uniform(rng, 3, 150))
        )
        picture = np.clip(noise, 0, 255).astype(np.uint8)
    burn_in_text(rng, picture)
    return Scene(picture, np.zeros_like(picture), 0.0, 1.0, "no_scan")


def _maybe_cut(rng: Generator, fan: Fan) -> View:
    """The whole fan, or a square cut out of it as clip collections often have it."""
    view = whole_view(rng, fan)
    if chance(rng, 0.35):
        return View(0.0, fan.depth_mm * uniform(rng, 0.35, 0.55), view.mm_per_px * uniform(rng, 0.4, 0.75))
    return view


def random_scene(rng: Generator, bank: TextureBank | None, donors: Sequence[Donor] = ()) -> Scene:
    """One scene of the training mixture: three in four hold an aorta that can be seen."""
    for _ in range(20):
        scene = _any_scene(rng, bank, donors)
        if not scene.mask.any() or is_visible(scene):
            break
    return scene


def is_visible(scene: Scene) -> bool:
    """The lumen is darker than its surroundings in the finished picture; large ones must be clearly so."""
    width = max(3, round(0.2 * float(np.sqrt(scene.mask.sum()))))
    around = cv2.dilate(scene.mask, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > scene.mask
    inside_gray, around_gray = float(scene.image[scene.mask > 0].mean()), float(np.median(scene.image[around]))
    share = (around_gray - inside_gray) / (around_gray + 8)
    return share > (0.22 if scene.lumen_mm > 34 else 0.10) and around_gray - inside_gray > 4


def _any_scene(rng: Generator, bank: TextureBank | None, donors: Sequence[Donor]) -> Scene:
    kind = rng.random()
    if kind < 0.14 and donors:
        return transplant(rng, donors)
    if kind < 0.76:
        return abdomen(rng, bank, with_aorta=True)
    if kind < 0.83:
        return abdomen(rng, bank, with_aorta=False)
    if kind < 0.91:
        return lung(rng, bank)
    if kind < 0.94:
        return fluid(rng, bank)
    if kind < 0.97:
        return test_phantom(rng)
    return eye(rng, bank) if kind < 0.99 else no_scan(rng)
