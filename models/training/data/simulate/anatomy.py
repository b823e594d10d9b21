"""What is drawn into a scene: tissue, bowel, bone, vessels and the aorta with what lies around it.

Every range is deliberately wider than life: the network has to meet real machines it never saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from models.training.data.simulate.physics import (
    BEAMS,
    Blob,
    EchoCanvas,
    Fan,
    Map,
    add_shadow,
    cells_of,
    chance,
    random_blob,
    smooth_noise,
    step,
    u_along_beam,
    uniform,
    wave,
)


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


def paint_tissue(rng: Generator, canvas: EchoCanvas, bank: TextureBank | None) -> None:
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


def paint_patch(rng: Generator, canvas: EchoCanvas) -> None:
    """An organ-like patch with its own level, sometimes with a bright rim."""
    field = smooth_noise(rng, canvas.shape, cells_of(canvas, uniform(rng, 30, 90), uniform(rng, 25, 70)))
    field = field - np.float32(uniform(rng, -0.5, 1.0))
    inside = step(field, uniform(rng, 0.03, 0.3))
    canvas.level += inside * np.float32(rng.normal(0, 6))
    if chance(rng, 0.45):
        canvas.level += np.float32(uniform(rng, 3, 14)) * np.exp(-((field / np.float32(uniform(rng, 0.03, 0.1))) ** 2))


def paint_streaks(rng: Generator, canvas: EchoCanvas) -> None:
    """Short bright lines across the beam: fat planes, bowel walls, fascia."""
    noise = smooth_noise(rng, canvas.shape, cells_of(canvas, uniform(rng, 8, 30), uniform(rng, 1.2, 3.5)))
    where = step(smooth_noise(rng, canvas.shape, cells_of(canvas, 40, 30)) - np.float32(uniform(rng, -0.8, 0.8)), 0.5)
    canvas.level += np.maximum(noise - np.float32(uniform(rng, 0.4, 1.3)), 0) * np.float32(uniform(rng, 3, 12)) * where


def paint_near_field(rng: Generator, canvas: EchoCanvas) -> None:
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


def paint_organ_border(rng: Generator, canvas: EchoCanvas) -> None:
    """A long wavy interface with different tissue on either side, such as the lower edge of the liver."""
    tilt = rng.normal(0, 0.25)
    at_mm = uniform(rng, 0.2, 0.75) * canvas.fan.depth_mm + tilt * canvas.x
    at_mm = at_mm + uniform(rng, 1, 8) * wave(rng, BEAMS, uniform(rng, 2, 6))[None, :]
    distance = np.asarray(canvas.z - at_mm, np.float32)
    canvas.level += step(distance, uniform(rng, 0.5, 6)) * np.float32(rng.normal(0, 5))
    visible = np.clip(wave(rng, BEAMS, 4) + 0.4, 0, 1)[None, :]
    line = np.exp(-((distance / np.float32(uniform(rng, 0.5, 2.0))) ** 2))
    canvas.level += np.float32(uniform(rng, 0, 16)) * line * visible


def paint_hollow(
    rng: Generator,
    canvas: EchoCanvas,
    blob: Blob,
    contrast_db: float,
    *,
    soft_mm: float,
    wall_db: float,
    wall_mm: float,
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


def paint_vertebra(rng: Generator, canvas: EchoCanvas, x_mm: float, top_mm: float) -> None:
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


def paint_bowel(rng: Generator, canvas: EchoCanvas) -> None:
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


def paint_bowel_ring(rng: Generator, canvas: EchoCanvas) -> None:
    """A loop cut across: dark muscular wall around bright content, a near miss of a vessel."""
    d = random_position(rng, canvas, uniform(rng, 10, 26), stretch=1.6).distance(canvas.x, canvas.z)
    wall = uniform(rng, 2, 5)
    canvas.level -= np.float32(uniform(rng, 4, 14)) * step(-d, 0.8)
    canvas.level += np.float32(uniform(rng, 4, 20)) * step(-(d + wall), 1.0)


def paint_tube(rng: Generator, canvas: EchoCanvas, x_mm: float, z_mm: float, width_mm: float, length_mm: float) -> None:
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


def random_position(rng: Generator, canvas: EchoCanvas, diameter_mm: float, *, stretch: float = 1.3) -> Blob:
    """A blob of that size anywhere in the fan."""
    depth = uniform(rng, 0.15, 0.9) * canvas.fan.depth_mm
    half = canvas.fan.half_width_mm(depth) * 0.9
    return random_blob(rng, uniform(rng, -half, half), depth, diameter_mm, stretch=stretch, wobble=0.06)


def paint_effusion(rng: Generator, canvas: EchoCanvas) -> None:
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


def paint_surroundings(rng: Generator, canvas: EchoCanvas, lumen: Blob) -> None:
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


def paint_sma(rng: Generator, canvas: EchoCanvas, lumen: Blob) -> None:
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


def paint_vena_cava(rng: Generator, canvas: EchoCanvas, lumen: Blob) -> None:
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


def paint_aorta(rng: Generator, canvas: EchoCanvas, lumen: Blob) -> None:
    """The lumen with its wall; large ones get thrombus and calcification."""
    diameter = lumen.mean_mm
    large = diameter > 32
    contrast = lumen_contrast_db(rng, diameter)
    wall_db = 0.0
    if large:
        wall_db = uniform(rng, 4, 14)
    elif chance(rng, 0.65):
        wall_db = uniform(rng, 0, 10)
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
    calcified = 0.4 if large else 0.12
    if chance(rng, calcified):
        for _ in range(int(rng.integers(1, 4))):
            paint_calcification(rng, canvas, lumen)


def random_oval(rng: Generator, x_mm: float, z_mm: float, diameter_mm: float) -> Blob:
    """A lumen cut obliquely, 1.15 to 1.8 times longer than wide, turned anyhow."""
    ratio = uniform(rng, 1.15, 1.8)
    harmonics = tuple((float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03))) for _ in range(2))
    turn = uniform(rng, 0, np.pi)
    return Blob(x_mm, z_mm, diameter_mm / 2 * ratio**0.5, diameter_mm / 2 / ratio**0.5, turn, harmonics)


def paint_liver(rng: Generator, canvas: EchoCanvas, end_mm: float) -> None:
    """Even, fine-grained tissue from the near field down to about a depth, with a bright or faint lower border."""
    border = end_mm - uniform(rng, -2, 25) + uniform(rng, 1, 10) * wave(rng, BEAMS, uniform(rng, 1.5, 4))[None, :]
    distance = np.asarray(canvas.z - border - np.float32(rng.normal(0, 0.15)) * canvas.x, np.float32)
    inside = step(-distance, uniform(rng, 0.5, 3))
    even = np.float32(rng.normal(0, 4)) + np.float32(0.8) * smooth_noise(rng, canvas.shape, cells_of(canvas, 6, 3))
    canvas.level += inside * (even - canvas.level) * np.float32(uniform(rng, 0.6, 1.0))
    line = np.exp(-((distance / np.float32(uniform(rng, 0.5, 2))) ** 2))
    canvas.level += np.float32(uniform(rng, 0, 14)) * line


def paint_crus(rng: Generator, canvas: EchoCanvas, lumen: Blob) -> None:
    """The crura of the diaphragm: dark bands that hug the lumen on one side or both, with a bright border."""
    sides: tuple[int, ...] = (-1, 1)
    if not chance(rng, 0.4):
        sides = (-1,) if chance(rng, 0.6) else (1,)
    for side in sides:
        width = uniform(rng, 2.5, 8)
        gap = uniform(rng, 0.8, 3)
        around = lumen.distance(canvas.x, canvas.z)
        beside = step(np.float32(side) * (canvas.x - np.float32(lumen.x_mm)) - np.float32(rng.normal(0, 2)), 2.0)
        band = step(np.float32(width / 2) - np.abs(around - np.float32(gap + width / 2)), uniform(rng, 0.4, 1.2))
        canvas.level -= np.float32(uniform(rng, 2, 12)) * band * beside
        edge = np.exp(-(((around - np.float32(gap + width)) / np.float32(0.8)) ** 2))
        canvas.level += np.float32(uniform(rng, 1, 10)) * edge * beside


def paint_oesophagus(rng: Generator, canvas: EchoCanvas, lumen: Blob) -> None:
    """A target in front of the aorta, as a rule on the picture's right: dark muscle around a bright middle."""
    size = uniform(rng, 8, 16)
    x = lumen.x_mm + (1 if chance(rng, 0.75) else -1) * uniform(rng, 2, 14)
    z = lumen.z_mm - lumen.b_mm - size / 2 - uniform(rng, 2, 12)
    d = random_blob(rng, x, z, size, stretch=1.5).distance(canvas.x, canvas.z)
    canvas.level -= np.float32(uniform(rng, 3, 12)) * step(-d, 0.8)
    canvas.level += np.float32(uniform(rng, 5, 18)) * step(-(d + np.float32(uniform(rng, 0.25, 0.4) * size)), 0.8)


def paint_calcification(rng: Generator, canvas: EchoCanvas, lumen: Blob) -> None:
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


def spare_the_lumen(canvas: EchoCanvas, lumen: Blob, most_db: float) -> None:
    """Weaken what has been shadowed so far where it would hide the aorta: a label nobody can see teaches nonsense."""
    inside = lumen.distance(canvas.x, canvas.z) < 0.25 * lumen.mean_mm
    worst = float(np.quantile(np.abs(canvas.shadow[inside]), 0.8)) if inside.any() else 0.0
    if worst > most_db:
        # Only beams near the aorta are eased; darkness elsewhere stays.
        beams = u_along_beam(canvas, lumen.x_mm, lumen.z_mm, 1.3 * lumen.mean_mm)
        near = step(np.float32(1.5) - np.abs(beams), 0.5)
        canvas.shadow *= 1 - near * np.float32(1 - most_db / worst)
