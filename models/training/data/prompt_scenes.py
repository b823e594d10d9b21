"""Pictures full of nameless structures: what a model must have met that is to outline whatever it is shown.

Cysts, solid masses, rings, septate and mixed ones, with smooth, lobed, bent, ragged or spiky outlines, in layered
or organ-like surroundings made by ``simulate``; and the same structures set into real pictures, whose speckle no
simulation has. A picture's structures are bit planes of one map: bit k is structure k, so that one may lie in another.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.training.data.simulate import anatomy, physics, screen
from models.training.data.simulate.anatomy import TextureBank
from models.training.data.simulate.physics import (
    BEAMS,
    Blob,
    EchoCanvas,
    Fan,
    Gray,
    Map,
    View,
    cells_of,
    chance,
    smooth_noise,
    step,
    uniform,
    wave,
)

FAMILIES = ("round", "oval", "lobed", "ragged", "spiky")
HELD_OUT_FAMILY = "bent"
"""Never drawn for training: crescents and beans show how well unseen outlines are followed."""


@dataclass(frozen=True)
class StructureShape:
    """A union of blobs, bent and rippled; lengths in mm (or pixels, where a picture has no other unit)."""

    parts: tuple[Blob, ...]
    centre: tuple[float, float]
    size: float
    bend: float = 0.0
    ripples: tuple[tuple[float, float, float, float], ...] = ()

    def distance(self, x: Map, z: Map) -> Map:
        """Signed distance to the edge, about; negative inside."""
        dx, dz = x - np.float32(self.centre[0]), z - np.float32(self.centre[1])
        if self.bend:
            dz = dz + np.float32(self.bend / self.size) * (dx * dx - np.float32(self.size**2 / 12))
        for kx, kz, phase, height in self.ripples:
            push = np.float32(height) * np.sin(np.float32(kx) * dx + np.float32(kz) * dz + np.float32(phase))
            dx, dz = dx + np.float32(kz / np.hypot(kx, kz)) * push, dz - np.float32(kx / np.hypot(kx, kz)) * push
        found = self.parts[0].distance(dx, dz)
        for part in self.parts[1:]:
            found = np.minimum(found, part.distance(dx, dz))
        return np.asarray(found, np.float32)


def random_shape(rng: Generator, centre: tuple[float, float], size: float, family: str) -> StructureShape:
    """A shape of that mean diameter."""
    wobble, longest, bend, order = 0.03, 1.35, 0.0, 3
    if family == "oval":
        wobble, longest = 0.05, 3.0
    elif family == "ragged":
        wobble, longest, order = 0.09, 2.0, 5
    elif family == "spiky":
        wobble, longest, order = 0.07, 1.8, 9
    elif family == "bent":
        wobble, longest, bend = 0.03, 2.6, uniform(rng, 0.5, 1.1) * (1 if chance(rng, 0.5) else -1)
    parts = [_part(rng, (0.0, 0.0), size, longest, wobble, order, level=family == "bent")]
    if family == "lobed":
        for _ in range(int(rng.integers(1, 5))):
            angle, reach = uniform(rng, 0, 2 * np.pi), uniform(rng, 0.25, 0.55) * size
            at = (float(np.cos(angle)) * reach * 1.25, float(np.sin(angle)) * reach * 0.8)
            parts.append(_part(rng, at, size * uniform(rng, 0.35, 0.75), 1.4, 0.04, 3))
    ripples = []
    for _ in range(int(rng.integers(2, 5)) if family in {"ragged", "spiky"} else int(rng.integers(0, 2))):
        turn, waves = uniform(rng, 0, 2 * np.pi), uniform(rng, 1.0, 4.0) * 2 * np.pi / size
        height = uniform(rng, 0.01, 0.05) * size
        ripples.append((float(np.cos(turn)) * waves, float(np.sin(turn)) * waves, uniform(rng, 0, 6.3), height))
    return StructureShape(tuple(parts), centre, size, bend, tuple(ripples))


def _part(
    rng: Generator,
    at: tuple[float, float],
    size: float,
    longest: float,
    wobble: float,
    order: int,
    *,
    level: bool = False,
) -> Blob:
    ratio = float(np.exp(rng.random() * np.log(longest)))
    turn = 0.0
    if not level:  # more or less level as a rule, as layers and organs lie
        turn = float(rng.normal(0, 0.35)) if chance(rng, 0.65) else uniform(rng, 0, np.pi)
    harmonics = tuple(
        (float(rng.normal(0, wobble / (1 + 0.25 * k))), float(rng.normal(0, wobble / (1 + 0.25 * k))))
        for k in range(order)
    )
    return Blob(at[0], at[1], size / 2 * ratio**0.5, size / 2 / ratio**0.5, turn, harmonics)


def random_family(rng: Generator, *, held_out: bool) -> str:
    """A family for training, or the held-out one."""
    return HELD_OUT_FAMILY if held_out else str(rng.choice(FAMILIES, p=(0.15, 0.25, 0.25, 0.2, 0.15)))


# ------------------------------------------------------------------------------------------------ surroundings


def random_field(rng: Generator) -> tuple[Fan, View]:
    """A probe and what of its picture is shown: more linear arrays and more windows than an abdomen has."""
    fan = physics.random_fan(rng)
    if chance(rng, 0.5):
        depth_mm = uniform(rng, 25, 90)
        fan = Fan(2000.0, uniform(rng, 0.3, 0.75) * depth_mm / 2000.0, depth_mm)
    view = physics.whole_view(rng, fan)
    if chance(rng, 0.4):  # a window out of it
        share = uniform(rng, 0.4, 0.85)
        half = fan.half_width_mm(fan.depth_mm / 2)
        at = uniform(rng, 0.5 * share, 1 - 0.4 * share) * fan.depth_mm
        view = View(uniform(rng, -0.3, 0.3) * half, at, view.mm_per_px * share)
    return fan, view


def paint_layers(rng: Generator, canvas: EchoCanvas) -> None:
    """Skin, fat, gland and muscle through the whole depth: wavy bands with a texture and a bright border each."""
    border = np.zeros(BEAMS, np.float32)
    while border.mean() < canvas.fan.depth_mm:
        border = border + np.float32(uniform(rng, 0.05, 0.35) * canvas.fan.depth_mm)
        border = border + np.float32(uniform(rng, 0, 0.03) * canvas.fan.depth_mm) * wave(rng, BEAMS, uniform(rng, 1, 5))
        d = np.asarray(canvas.along - border[None, :], np.float32)
        below = step(d, uniform(rng, 0.2, 2.5))
        across, along = uniform(rng, 4, 60), uniform(rng, 1, 8)
        texture = np.float32(uniform(rng, 0, 5)) * smooth_noise(rng, canvas.shape, cells_of(canvas, across, along))
        canvas.level += below * (
            np.float32(rng.normal(0, 6)) + texture - canvas.level * np.float32(uniform(rng, 0, 0.9))
        )
        if chance(rng, 0.5):
            line = np.exp(-((d / np.float32(uniform(rng, 0.3, 1.5))) ** 2))
            canvas.level += np.float32(uniform(rng, 0, 13)) * line * np.clip(wave(rng, BEAMS, 4) + 0.6, 0, 1)[None, :]


def paint_lobules(rng: Generator, canvas: EchoCanvas) -> None:
    """Fat lobules or glandular islands, set apart by bright strands: many half-distinct blobs that are no structure."""
    width = uniform(rng, 0.08, 0.3) * canvas.fan.depth_mm
    field = np.abs(smooth_noise(rng, canvas.shape, cells_of(canvas, width * uniform(rng, 1, 2), width)))
    strands = np.exp(-((field / np.float32(uniform(rng, 0.1, 0.35))) ** 2))
    canvas.level += np.float32(uniform(rng, 1, 8)) * strands


def paint_surroundings(rng: Generator, canvas: EchoCanvas, bank: TextureBank | None) -> None:
    """Everything but the structures."""
    anatomy.paint_tissue(rng, canvas, bank)
    kind = rng.random()
    if kind < 0.45:
        paint_layers(rng, canvas)
    elif kind < 0.75:
        for _ in range(int(rng.integers(0, 3))):
            anatomy.paint_organ_border(rng, canvas)
    if chance(rng, 0.35):
        paint_lobules(rng, canvas)
    if kind >= 0.45 and chance(rng, 0.7):
        anatomy.paint_near_field(rng, canvas)
    if chance(rng, 0.2):
        anatomy.paint_bowel(rng, canvas)
    if chance(rng, 0.15):
        x = uniform(rng, -0.5, 0.5) * canvas.fan.half_width_mm(canvas.fan.depth_mm / 2)
        anatomy.paint_vertebra(rng, canvas, x, uniform(rng, 0.4, 0.9) * canvas.fan.depth_mm)


# --------------------------------------------------------------------------------------------------- structures

KINDS = ("fluid", "dark", "ring", "bright", "mixed", "septate")
KIND_SHARES = (0.2, 0.36, 0.1, 0.12, 0.12, 0.1)


def paint_structure(rng: Generator, canvas: EchoCanvas, shape: StructureShape, bank: TextureBank | None) -> None:
    """A structure of a random kind with rim, halo, and what it does to the beam behind it."""
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    d = shape.distance(canvas.x, canvas.z)
    around_px = (d > 0) & (d < 0.3 * shape.size)
    around = float(canvas.level[around_px].mean()) if around_px.any() else 0.0
    soft = float(np.exp(rng.uniform(np.log(0.01), np.log(0.12)))) * shape.size
    inside = step(-d, soft)
    fill = around + _fill(rng, canvas, shape, kind, bank)
    kept = uniform(rng, 0.0, 0.3) if kind in {"fluid", "septate"} else uniform(rng, 0.0, 0.8)
    fill = fill + np.float32(kept) * (canvas.level - np.float32(around))
    canvas.level += inside * (fill - canvas.level)
    if kind == "ring" or chance(rng, 0.4):
        width = uniform(rng, 0.015, 0.06) * shape.size
        height = uniform(rng, 6, 18) if kind == "ring" else uniform(rng, 1, 10)
        towards = np.clip(np.abs(canvas.z - np.float32(shape.centre[1])) / np.float32(shape.size / 2), 0, 1) ** 2
        even = np.float32(uniform(rng, 0.15, 1.0))
        canvas.level += np.float32(height) * np.exp(-((d / np.float32(width)) ** 2)) * (even + (1 - even) * towards)
    if kind != "fluid" and chance(rng, 0.25):  # a halo, bright or dark, outside or across the edge
        reach = uniform(rng, 0.04, 0.2) * shape.size
        canvas.level += (
            np.float32(rng.normal(0, 5)) * np.exp(-((np.maximum(d, 0) / np.float32(reach)) ** 2)) * (1 - inside)
        )
    _beam_behind(rng, canvas, shape, kind)


def _fill(rng: Generator, canvas: EchoCanvas, shape: StructureShape, kind: str, bank: TextureBank | None) -> Map:
    cells = cells_of(canvas, uniform(rng, 0.05, 0.4) * shape.size, uniform(rng, 0.05, 0.3) * shape.size)
    own = smooth_noise(rng, canvas.shape, cells)
    if kind in {"fluid", "septate"}:
        fill = np.float32(-uniform(rng, 7, 35)) + np.float32(uniform(rng, 0, 2)) * own
        if chance(rng, 0.4):  # haze below the near wall
            top = shape.centre[1] - shape.size / 2
            reach = np.float32(uniform(rng, 0.1, 0.6) * shape.size)
            fill = fill + np.float32(uniform(rng, 2, 12)) * np.exp(-np.maximum(canvas.z - np.float32(top), 0) / reach)
        if chance(rng, 0.15):  # sediment
            fill = fill + np.float32(uniform(rng, 3, 12)) * step(
                canvas.z - np.float32(shape.centre[1] + uniform(rng, -0.2, 0.3) * shape.size), 0.02 * shape.size
            )
        if kind == "septate":
            walls = np.abs(smooth_noise(rng, canvas.shape, cells_of(canvas, 0.6 * shape.size, 0.5 * shape.size)))
            fill = fill + np.float32(uniform(rng, 8, 25)) * np.exp(
                -((walls / np.float32(uniform(rng, 0.05, 0.15))) ** 2)
            )
        return np.asarray(fill, np.float32)
    level = {"dark": -uniform(rng, 2.5, 14), "ring": rng.normal(0, 3), "bright": uniform(rng, 3, 14)}.get(kind)
    if level is None:  # mixed: fluid and solid parts side by side
        coarse = smooth_noise(rng, canvas.shape, cells_of(canvas, 0.5 * shape.size, 0.4 * shape.size))
        share = step(np.asarray(coarse + np.float32(rng.normal(0, 0.5)), np.float32), uniform(rng, 0.05, 0.4))
        return np.asarray(-uniform(rng, 6, 25) * share + np.float32(rng.normal(-2, 5)) * (1 - share), np.float32)
    fill = np.float32(level) + np.float32(uniform(rng, 0, 4)) * own
    if bank is not None and bank.maps and chance(rng, 0.3):
        fill = fill + np.float32(uniform(rng, 0.3, 0.9)) * bank.sample(rng, canvas.x, canvas.z, canvas.fan.depth_mm)
    return np.asarray(fill, np.float32)


def _beam_behind(rng: Generator, canvas: EchoCanvas, shape: StructureShape, kind: str) -> None:
    radius = canvas.fan.apex_mm + shape.centre[1]
    centre = float(np.arctan2(shape.centre[0], radius))
    half = 0.5 * shape.size / radius
    behind = shape.centre[1] + 0.35 * shape.size
    if kind in {"fluid", "septate"} and chance(rng, 0.6):
        physics.add_shadow(canvas, centre, 0.8 * half, behind, -uniform(rng, 1, 8), 0.5 * half, 0.15 * shape.size)
    elif kind not in {"fluid", "septate"} and chance(rng, 0.4):
        loss = uniform(rng, 2, 22) if chance(rng, 0.75) else -uniform(rng, 1, 6)
        start = shape.centre[1] + uniform(rng, -0.1, 0.4) * shape.size
        physics.add_shadow(canvas, centre, uniform(rng, 0.5, 1) * half, start, loss, 0.5 * half, 0.2 * shape.size)
    if chance(rng, 0.2):  # at the flanks
        for side in (-1, 1):
            physics.add_shadow(
                canvas,
                centre + side * half,
                0.1 * half,
                shape.centre[1],
                uniform(rng, 1, 9),
                0.15 * half,
                0.1 * shape.size,
            )


@dataclass(frozen=True)
class StructurePicture:
    """A picture with its structures, both [H, W]: bit k of `planes` is structure k."""

    image: Gray
    planes: Gray


def render_scene(rng: Generator, bank: TextureBank | None, *, held_out: bool = False) -> StructurePicture:
    """A simulated picture with at least one structure that can be seen."""
    while True:
        scene = _render(rng, bank, held_out=held_out)
        if scene.planes.any():
            return scene


def _render(rng: Generator, bank: TextureBank | None, *, held_out: bool) -> StructurePicture:
    fan, view = random_field(rng)
    canvas = physics.new_canvas(fan)
    paint_surroundings(rng, canvas, bank)
    side_mm = view.mm_per_px * physics.SCENE_PX
    shapes: list[StructureShape] = []
    for _ in range(int(rng.choice([1, 2, 3, 4], p=(0.35, 0.3, 0.2, 0.15)))):
        size = float(np.exp(rng.uniform(np.log(0.07), np.log(0.55)))) * side_mm / (1 + 0.25 * len(shapes))
        depth = view.centre_z_mm + uniform(rng, -0.38, 0.38) * side_mm
        across = view.centre_x_mm + uniform(rng, -0.38, 0.38) * side_mm
        within = any(_near(s, (across, depth), 0.0, 0.3) and size < 0.45 * s.size for s in shapes)
        if within or not any(_near(s, (across, depth), size, 0.55) for s in shapes):
            shapes.append(random_shape(rng, (across, depth), size, random_family(rng, held_out=held_out)))
            paint_structure(rng, canvas, shapes[-1], bank)
    canvas.shadow = np.clip(canvas.shadow, -12, 30)
    gain = screen.depth_gain_db(rng, canvas)
    machine = screen.random_machine(rng)
    picture, field = screen.scan_convert(canvas, screen.to_gray(rng, canvas, machine, gain), view)
    picture = screen.machine_filter(rng, picture, field)
    x, z = view.grid()
    masks = [(shape.distance(x, z) < 0) & (field > 0) for shape in shapes]
    planes = pack([m for m in masks if is_visible(picture, m)])
    if chance(rng, 0.4):
        screen.burn_in_text(rng, picture)
    return StructurePicture(picture, planes)


def _near(shape: StructureShape, at: tuple[float, float], size: float, share: float) -> bool:
    gap = float(np.hypot(at[0] - shape.centre[0], at[1] - shape.centre[1]))
    return gap < share * (shape.size + size)


def pack(masks: list[NDArray[np.bool_]]) -> Gray:
    """Masks as bit planes."""
    planes = np.zeros(masks[0].shape if masks else (physics.SCENE_PX, physics.SCENE_PX), np.uint8)
    for bit, mask in enumerate(masks[:8]):
        planes |= mask.astype(np.uint8) << bit
    return planes


def is_visible(picture: Gray, mask: NDArray[np.bool_]) -> bool:
    """Large enough, and its edge or its inside differs from what lies around it."""
    area = int(mask.sum())
    if area < 150 or area > 0.5 * mask.size:
        return False
    width = max(3, round(0.12 * area**0.5))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    small = mask.astype(np.uint8)
    outer = (cv2.dilate(small, kernel) > 0) & ~mask
    inner = mask & ~(cv2.erode(small, kernel, borderValue=0) > 0)
    edge = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    soft = cv2.GaussianBlur(picture, (0, 0), 2.0).astype(np.float32)
    a, b, c = (float(soft[where].mean()) for where in (inner, outer, edge))
    floor = 6.0 + 0.12 * max(a, b, c)
    return max(a, b) > 14 and (abs(a - b) > floor or c - max(a, b) > floor)


# -------------------------------------------------------------------------------- structures in real pictures


def paste_structure(
    rng: Generator, picture: Gray, other: Gray, *, held_out: bool = False
) -> tuple[Gray, NDArray[np.bool_]]:
    """A structure set into a picture [H, W], filled with the speckle of another of that size; its mask."""
    height, width = picture.shape
    size = float(np.exp(rng.uniform(np.log(0.1), np.log(0.5)))) * min(height, width)
    centre = (uniform(rng, 0.2, 0.8) * width, uniform(rng, 0.2, 0.8) * height)
    shape = random_shape(rng, centre, size, random_family(rng, held_out=held_out))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5)
    d = shape.distance(x, y)
    here = picture.astype(np.float32)
    ring = (d > 0) & (d < 0.25 * size)
    around = float(here[ring].mean()) if ring.any() else 40.0
    ratio = float(np.exp(-uniform(rng, 0.25, 2.6) if chance(rng, 0.75) else uniform(rng, 0.3, 1.1)))
    texture = cv2.GaussianBlur(other, (0, 0), uniform(rng, 0.3, 2.0)).astype(np.float32)
    core = d < 0
    texture *= np.float32(1.0 / (float(texture[core].mean()) + 4.0)) if core.any() else np.float32(0.02)
    kept = np.float32(uniform(rng, 0, 1))
    fill = np.float32(around * ratio) * (kept * here / np.float32(around + 4) + (1 - kept) * np.minimum(texture, 4))
    inside = step(-d, float(np.exp(rng.uniform(np.log(0.015), np.log(0.12)))) * size)
    made = here + inside * (fill - here)
    if chance(rng, 0.35):
        rim = np.exp(-((d / np.float32(uniform(rng, 0.015, 0.05) * size)) ** 2))
        made = made + np.float32(uniform(rng, 5, 70)) * rim
    if chance(rng, 0.5):  # brighter or darker behind it
        sides = step(np.float32(uniform(rng, 0.3, 0.5) * size) - np.abs(x - np.float32(centre[0])), 0.15 * size)
        behind = step(y - np.float32(centre[1] + 0.4 * size), 0.2 * size) * (1 - inside)
        made = made * (1 + np.float32(uniform(rng, -0.7, 0.6)) * sides * behind)
    return np.clip(made, 0, 255).astype(np.uint8), core
