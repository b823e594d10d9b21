"""The aorta cut along its length, and a vein that is: for the card, not learnt from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from models.training.data.simulate.anatomy import (
    TextureBank,
    lumen_contrast_db,
    paint_bowel,
    paint_liver,
    paint_near_field,
    paint_tissue,
    paint_tube,
    paint_vertebra,
    random_diameter_mm,
)
from models.training.data.simulate.physics import (
    EchoCanvas,
    Fan,
    Map,
    cells_of,
    chance,
    new_canvas,
    random_fan,
    smooth_noise,
    step,
    uniform,
    whole_view,
)
from models.training.data.simulate.scenes import SimulatedScene, finish


@dataclass(frozen=True)
class Tube:
    """A vessel along the picture, in mm: a point of its axis, its slope there, curvature (1/mm), diameter, how that
    grows along it (mm per mm), and where it ends on either side of the point.
    """

    x_mm: float
    z_mm: float
    turn_rad: float
    bend: float
    mean_mm: float
    taper: float
    from_mm: float
    to_mm: float

    def place(self, x: Map, z: Map) -> tuple[Map, Map]:
        """Along the axis, and across it (away from the probe); mm."""
        cos, sin = np.float32(np.cos(self.turn_rad)), np.float32(np.sin(self.turn_rad))
        dx, dz = x - np.float32(self.x_mm), z - np.float32(self.z_mm)
        u = cos * dx + sin * dz
        return u, np.asarray(cos * dz - sin * dx - np.float32(self.bend) * u * u, np.float32)

    def distance(self, x: Map, z: Map) -> Map:
        """Signed distance to the edge in mm, about; negative inside."""
        u, v = self.place(x, z)
        half = np.maximum(np.float32(self.mean_mm / 2) + np.float32(self.taper / 2) * u, np.float32(1.0))
        ends = np.maximum(np.float32(self.from_mm) - u, u - np.float32(self.to_mm))
        left = np.clip(-ends / np.float32(0.8 * self.mean_mm), 0, 1)  # where it leaves the plane it is cut to a tip
        return np.asarray(np.maximum(np.abs(v) - half * np.sqrt(1 - (1 - left) ** 2), ends), np.float32)


def random_tube(rng: Generator, fan: Fan, diameter_mm: float) -> Tube:
    """Across the fan from side to side as a rule, else it leaves the plane on one side."""
    diameter_mm = min(diameter_mm, 0.4 * fan.depth_mm)
    shallowest = 0.2 * fan.depth_mm + diameter_mm / 2
    depth = uniform(rng, shallowest, max(shallowest + 1.0, 0.8 * fan.depth_mm - diameter_mm / 2))
    reach = 2 * fan.half_width_mm(fan.depth_mm)
    ends = [-reach, reach]
    if chance(rng, 0.3):
        side = int(rng.integers(2))
        ends[side] = (-1, 1)[side] * uniform(rng, 0.1, 0.7) * fan.half_width_mm(depth)
    turn, bend = float(np.clip(rng.normal(0, 0.16), -0.4, 0.4)), float(rng.normal(0, 0.0006))
    return Tube(rng.normal(0, 5), depth, turn, bend, diameter_mm, float(rng.normal(0, 0.03)), ends[0], ends[1])


def paint_lumen(rng: Generator, canvas: EchoCanvas, tube: Tube, contrast_db: float, wall_db: float) -> None:
    """Dark between two walls that face the beam, with haze under the near one."""
    d, (_, v) = tube.distance(canvas.x, canvas.z), tube.place(canvas.x, canvas.z)
    ring = (d > 1.5) & (d < max(4.0, 0.35 * tube.mean_mm))
    around = float(canvas.level[ring].mean()) if ring.any() else float(canvas.level.mean())
    fill = np.float32(around - contrast_db) + np.float32(uniform(rng, 0.0, 0.25)) * (canvas.level - around)
    if chance(rng, 0.5):
        below_wall = np.maximum(v + np.float32(tube.mean_mm / 2), 0)
        haze = np.float32(uniform(rng, 0.5, 0.5 * contrast_db + 0.5))
        fill = fill + haze * np.exp(-below_wall / np.float32(uniform(rng, 0.15, 0.6) * tube.mean_mm))
    if chance(rng, 0.35):
        fill = fill + np.float32(uniform(rng, 0.5, 2.5)) * smooth_noise(rng, canvas.shape, cells_of(canvas, 8, 5))
    inside = step(-d, min(uniform(rng, 0.3, 2.2), 0.11 * tube.mean_mm))
    canvas.level += inside * (np.minimum(fill, np.float32(around - 0.45 * contrast_db)) - canvas.level)
    wall_mm = np.float32(uniform(rng, 0.6, 1.5))
    canvas.level += np.float32(wall_db) * np.exp(-(((d - wall_mm) / wall_mm) ** 2))


def paint_spine(rng: Generator, canvas: EchoCanvas, tube: Tube) -> None:
    """Vertebral bodies in a row behind the vessel."""
    gap, pitch = max(0.5, rng.normal(6, 4)), uniform(rng, 25, 38)
    start = uniform(rng, -0.5, 0.5) * pitch
    for k in range(-2, 3):
        u = start + k * pitch
        x = tube.x_mm + np.cos(tube.turn_rad) * u
        z = tube.z_mm + np.sin(tube.turn_rad) * u + tube.mean_mm / 2 + gap
        if z < canvas.fan.depth_mm and chance(rng, 0.8):
            paint_vertebra(rng, canvas, float(x), float(z))


def long_axis(rng: Generator, bank: TextureBank | None) -> SimulatedScene:
    """The aorta along its length: two walls before the spine, the liver in front, an artery that leaves it."""
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    tube = random_tube(rng, fan, random_diameter_mm(rng))
    paint_before(rng, canvas, bank, tube)
    if chance(rng, 0.75):
        paint_spine(rng, canvas, tube)
    if chance(rng, 0.4):  # the superior mesenteric artery, running before it
        above = tube.z_mm - tube.mean_mm / 2 - uniform(rng, 4, 14)
        paint_tube(rng, canvas, tube.x_mm + rng.normal(10, 15), above, uniform(rng, 3, 7), uniform(rng, 30, 80))
    contrast = lumen_contrast_db(rng, tube.mean_mm)
    paint_lumen(rng, canvas, tube, contrast, uniform(rng, 1, 12))
    ease_shadows(canvas, tube, uniform(rng, 0, 8))
    return finish(rng, canvas, whole_view(rng, fan), tube, "long_axis")


def long_vein(rng: Generator, bank: TextureBank | None) -> SimulatedScene:
    """The vena cava along its length, which is not to be outlined: in the liver, thin-walled, no spine at its back."""
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    tube = random_tube(rng, fan, uniform(rng, 6, 24))
    paint_liver(rng, canvas, tube.z_mm + tube.mean_mm / 2 + uniform(rng, 8, 30))
    paint_before(rng, canvas, bank, tube)
    paint_lumen(rng, canvas, tube, uniform(rng, 4, 20), 0.0)
    return finish(rng, canvas, whole_view(rng, fan), None, "long_vein")


def paint_before(rng: Generator, canvas: EchoCanvas, bank: TextureBank | None, tube: Tube) -> None:
    """Tissue, the liver, the near field and gas."""
    paint_tissue(rng, canvas, bank)
    if chance(rng, 0.5):
        paint_liver(rng, canvas, tube.z_mm - tube.mean_mm / 2)
    paint_near_field(rng, canvas)
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        paint_bowel(rng, canvas)


def ease_shadows(canvas: EchoCanvas, tube: Tube, most_db: float) -> None:
    """Weaken shadows that would hide half of the lumen: a label that nobody can see teaches nonsense."""
    inside = tube.distance(canvas.x, canvas.z) < 0
    worst = float(np.quantile(np.abs(canvas.shadow[inside]), 0.6)) if inside.any() else 0.0
    if worst > most_db:
        canvas.shadow *= np.float32(most_db / worst)
