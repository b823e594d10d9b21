"""Randomised B-mode scenes with and without an abdominal aorta, and the truth that belongs to them.

Anatomy is painted as echo levels (``anatomy``) on the probe's polar grid (``physics``), then shown as a machine would
show it (``screen``). The truth is the lumen, inner edge to inner edge, drawn analytically on the final pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.random import Generator

from models.training.data.simulate.anatomy import (
    TextureBank,
    paint_aorta,
    paint_bowel,
    paint_bowel_ring,
    paint_crus,
    paint_effusion,
    paint_hollow,
    paint_liver,
    paint_near_field,
    paint_oesophagus,
    paint_organ_border,
    paint_sma,
    paint_surroundings,
    paint_tissue,
    paint_vertebra,
    place_aorta,
    random_oval,
    random_position,
    spare_the_lumen,
    vertebra_offset_mm,
)
from models.training.data.simulate.physics import (
    BEAMS,
    SCENE_PX,
    Blob,
    EchoCanvas,
    Fan,
    Gray,
    Map,
    View,
    add_shadow,
    cells_of,
    chance,
    new_canvas,
    random_blob,
    random_fan,
    smooth_noise,
    step,
    uniform,
    wave,
    whole_view,
)
from models.training.data.simulate.screen import (
    burn_in_text,
    depth_gain_db,
    machine_filter,
    random_machine,
    scan_convert,
    to_gray,
)


@dataclass(frozen=True)
class SimulatedScene:
    """A finished picture with its truth, both [SCENE_PX, SCENE_PX]; `lumen_mm` is 0 where there is no aorta."""

    image: Gray
    mask: Gray
    lumen_mm: float
    mm_per_px: float
    kind: str


class Lumen(Protocol):
    """What the truth is drawn from."""

    def distance(self, x: Map, z: Map) -> Map:
        """Signed distance to the edge in mm, about; negative inside."""

    @property
    def mean_mm(self) -> float:
        """Diameter."""


def finish(
    rng: Generator, canvas: EchoCanvas, view: View, lumen: Lumen | None, kind: str, *, calm_speckle: bool = False
) -> SimulatedScene:
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
    return SimulatedScene(picture, mask, lumen.mean_mm if lumen is not None else 0.0, view.mm_per_px, kind)


def is_apart(other: Blob, lumen: Blob) -> bool:
    """Clear of the aorta and not behind it: two like discs side by side would make the label a coin toss."""
    clear = np.hypot(other.x_mm - lumen.x_mm, other.z_mm - lumen.z_mm) > (other.mean_mm + lumen.mean_mm) / 2 + 6
    return bool(clear) and other.z_mm < lumen.z_mm


def abdomen(rng: Generator, bank: TextureBank | None, *, with_aorta: bool) -> SimulatedScene:
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


def upper_abdomen(rng: Generator, bank: TextureBank | None) -> SimulatedScene:
    """The aorta at the diaphragm: an oval lumen beside the crus, the liver in front, the oesophagus, no vena cava."""
    fan = random_fan(rng)
    canvas = new_canvas(fan)
    view = whole_view(rng, fan)
    paint_tissue(rng, canvas, bank if chance(rng, 0.5) else None)
    size_mm = min(uniform(rng, 12, 22), 0.35 * fan.depth_mm)
    depth_mm = uniform(rng, 0.35, 0.8) * fan.depth_mm
    room_mm = max(2.0, fan.half_width_mm(depth_mm) - size_mm)
    lumen = random_oval(rng, float(np.clip(rng.normal(0, 0.45), -1, 1)) * room_mm, depth_mm, size_mm)
    paint_liver(rng, canvas, lumen.z_mm - lumen.b_mm)
    for _ in range(int(rng.integers(0, 3))):  # veins of the liver
        other = random_position(rng, canvas, uniform(rng, 3, 12), stretch=2.0)
        if is_apart(other, lumen):
            paint_hollow(rng, canvas, other, uniform(rng, 3, 18), soft_mm=0.6, wall_db=uniform(rng, 0, 8), wall_mm=0.8)
    paint_near_field(rng, canvas)
    if chance(rng, 0.4):
        paint_bowel(rng, canvas)
    spare_the_lumen(canvas, lumen, uniform(rng, 0, 8))
    if chance(rng, 0.85):
        top_mm = lumen.z_mm + lumen.b_mm + max(-1.0, rng.normal(3, 3))
        paint_vertebra(rng, canvas, lumen.x_mm + vertebra_offset_mm(rng), top_mm)
    paint_crus(rng, canvas, lumen)
    if chance(rng, 0.6):
        paint_oesophagus(rng, canvas, lumen)
    if chance(rng, 0.3):
        paint_sma(rng, canvas, lumen)
    paint_aorta(rng, canvas, lumen)
    return finish(rng, canvas, view, lumen, "upper_abdomen")


def lung(rng: Generator, bank: TextureBank | None) -> SimulatedScene:
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


def fluid(rng: Generator, bank: TextureBank | None) -> SimulatedScene:
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


def phantom(rng: Generator) -> SimulatedScene:
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


def eye(rng: Generator, bank: TextureBank | None) -> SimulatedScene:
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


def transplant(rng: Generator, donors: Sequence[Donor]) -> SimulatedScene:
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
    return SimulatedScene(scene.image, mask.astype(np.uint8), donor.diameter_px / scale, view.mm_per_px, "transplant")


def no_scan(rng: Generator) -> SimulatedScene:
    """A black, gray, noisy or written-on screen."""
    picture = np.full((SCENE_PX, SCENE_PX), int(rng.integers(0, 60)) if chance(rng, 0.5) else 0, np.uint8)
    if chance(rng, 0.5):
        noise = 40 + uniform(rng, 5, 40) * smooth_noise(
            rng, picture.shape, (uniform(rng, 3, 150), uniform(rng, 3, 150))
        )
        picture = np.clip(noise, 0, 255).astype(np.uint8)
    burn_in_text(rng, picture)
    return SimulatedScene(picture, np.zeros_like(picture), 0.0, 1.0, "no_scan")


def _maybe_cut(rng: Generator, fan: Fan) -> View:
    """The whole fan, or a square cut out of it as clip collections often have it."""
    view = whole_view(rng, fan)
    if chance(rng, 0.35):
        return View(0.0, fan.depth_mm * uniform(rng, 0.35, 0.55), view.mm_per_px * uniform(rng, 0.4, 0.75))
    return view


def random_scene(rng: Generator, bank: TextureBank | None, donors: Sequence[Donor] = ()) -> SimulatedScene:
    """One scene of the training mixture: three in four hold an aorta that can be seen."""
    for _ in range(20):
        scene = _any_scene(rng, bank, donors)
        if not scene.mask.any() or is_visible(scene):
            break
    return scene


def gray_levels(image: Gray, mask: Gray) -> tuple[float, float]:
    """The mean inside what is outlined, and the median in a ring around it."""
    width = max(3, round(0.2 * float(np.sqrt(mask.sum()))))
    around = cv2.dilate(mask, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > mask
    return float(image[mask > 0].mean()), float(np.median(image[around]))


def is_visible(scene: SimulatedScene) -> bool:
    """The lumen is darker than its surroundings in the finished picture; large ones must be clearly so."""
    inside_gray, around_gray = gray_levels(scene.image, scene.mask)
    share = (around_gray - inside_gray) / (around_gray + 8)
    return share > (0.22 if scene.lumen_mm > 34 else 0.10) and around_gray - inside_gray > 4


def _any_scene(rng: Generator, bank: TextureBank | None, donors: Sequence[Donor]) -> SimulatedScene:
    kind = rng.random()
    if kind < 0.14 and donors:
        return transplant(rng, donors)
    if kind < 0.28:
        return upper_abdomen(rng, bank)
    if kind < 0.76:
        return abdomen(rng, bank, with_aorta=True)
    if kind < 0.83:
        return abdomen(rng, bank, with_aorta=False)
    if kind < 0.91:
        return lung(rng, bank)
    if kind < 0.94:
        return fluid(rng, bank)
    if kind < 0.97:
        return phantom(rng)
    return eye(rng, bank) if kind < 0.99 else no_scan(rng)
