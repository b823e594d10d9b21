"""The simulated abdomen at rest: what lies where, how strongly it scatters, reflects and attenuates.

Coordinates are millimetres in the picture's plane: x to the right, z down from the middle of the probe face. The grid
is polar, (range, beam), about the apex of the curved probe, which lies ``face_radius_mm`` above the face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.acquire.phantom.spec import PhantomPlane, PhantomSpec

# Values are float32; numpy's own types lose that in every operation with a plain number.
Field = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class PolarGrid:
    """Sample positions along beams: ``range_mm`` (N) from the apex, ``angle_rad`` (M) from straight down."""

    range_mm: Field
    angle_rad: Field

    @property
    def shape(self) -> tuple[int, int]:
        """Ranges, beams."""
        return self.range_mm.size, self.angle_rad.size

    def positions_mm(self, face_radius_mm: float) -> tuple[Field, Field]:
        """X and z of every sample, each (N, M)."""
        x = self.range_mm[:, None] * np.sin(self.angle_rad)[None, :]
        z = self.range_mm[:, None] * np.cos(self.angle_rad)[None, :] - np.float32(face_radius_mm)
        return x.astype(np.float32), z.astype(np.float32)


@dataclass(frozen=True, slots=True)
class PhantomEllipse:
    """An ellipse or, with an infinite ``semi_x_mm``, a straight band. ``tilt_rad`` turns x towards z."""

    x_mm: float
    z_mm: float
    semi_x_mm: float
    semi_z_mm: float
    tilt_rad: float = 0.0

    def matrix(self) -> tuple[float, float, float]:
        """(a, b, c) of rho^2 = a dx^2 + 2 b dx dz + c dz^2, which is 1 on the outline."""
        along, across = self.semi_x_mm**-2, self.semi_z_mm**-2
        cos, sin = math.cos(self.tilt_rad), math.sin(self.tilt_rad)
        return (
            along * cos * cos + across * sin * sin,
            (along - across) * cos * sin,
            along * sin * sin + across * cos * cos,
        )

    def grown(self, by_mm: float) -> PhantomEllipse:
        """With both semi-axes longer by ``by_mm``."""
        return PhantomEllipse(self.x_mm, self.z_mm, self.semi_x_mm + by_mm, self.semi_z_mm + by_mm, self.tilt_rad)

    def extents_mm(self) -> tuple[float, float]:
        """Full extents along x and z (``docs/clinical.md``, "The diameter from a mask"); of a band, along a column."""
        if math.isinf(self.semi_x_mm):
            return math.inf, 2 * self.semi_z_mm / math.cos(self.tilt_rad)
        cos, sin = math.cos(self.tilt_rad), math.sin(self.tilt_rad)
        return (
            2 * math.hypot(self.semi_x_mm * cos, self.semi_z_mm * sin),
            2 * math.hypot(self.semi_x_mm * sin, self.semi_z_mm * cos),
        )


def lumen_at_rest(spec: PhantomSpec) -> PhantomEllipse:
    """Make the lumen at its mean size. In the longitudinal plane: an endless band along the vessel."""
    tilt = math.radians(spec.tilt_deg)
    if spec.plane is PhantomPlane.LONGITUDINAL:
        return PhantomEllipse(spec.lateral_mm, spec.centre_depth_mm, math.inf, spec.ap_mm / 2, tilt)
    stretch = spec.section_ap_mm / spec.ap_mm
    ratio = spec.axis_ratio / stretch
    semi_z = spec.section_ap_mm / (2 * math.hypot(ratio * math.sin(tilt), math.cos(tilt)))
    return PhantomEllipse(spec.lateral_mm, spec.centre_depth_mm, ratio * semi_z, semi_z, tilt)


def outer_wall_at_rest(spec: PhantomSpec) -> PhantomEllipse:
    """Make the outer edge of the wall; around a thrombus it lies off the lumen's centre, thickest in front."""
    lumen = lumen_at_rest(spec)
    wall = lumen.grown(spec.thrombus_mm * 0.6 + spec.wall_mm)
    shift = 0.35 * spec.thrombus_mm
    return PhantomEllipse(wall.x_mm + 0.5 * shift, wall.z_mm - shift, wall.semi_x_mm, wall.semi_z_mm, wall.tilt_rad)


def has_vein(spec: PhantomSpec) -> bool:
    """Tell whether the picture shows the inferior vena cava; a plane along the aorta does not."""
    return spec.ivc and spec.plane is not PhantomPlane.LONGITUDINAL


def ivc_at_rest(spec: PhantomSpec) -> PhantomEllipse:
    """Make the inferior vena cava: flat, to the patient's right (the picture's left) of the aorta."""
    wall = outer_wall_at_rest(spec)
    width = 0.0
    if spec.plane is not PhantomPlane.ABSENT:
        width, _ = wall.extents_mm()
    z = wall.z_mm + min(0.18 * spec.ap_mm, 8.0)
    return PhantomEllipse(wall.x_mm - width / 2 - 15.0, z, 10.5, 6.0, math.radians(-8.0))


class Tissue:
    """The maps of one abdomen on a polar grid, painted from back to front.

    ``echo``: amplitude of the diffuse scatterers (1 is liver). ``mirror``: amplitude of smooth interfaces, which
    reflect without speckle. ``loss_db_per_cm``: what the way there and back loses beyond what the TGC restores.
    """

    def __init__(self, grid: PolarGrid, face_radius_mm: float, rng: np.random.Generator) -> None:
        self.grid = grid
        self.rng = rng
        self.x, self.z = grid.positions_mm(face_radius_mm)
        self.depth = np.broadcast_to(grid.range_mm[:, None] - np.float32(face_radius_mm), grid.shape)
        self.beam_x = np.sin(grid.angle_rad)[None, :]
        self.beam_z = np.cos(grid.angle_rad)[None, :]
        self.echo: Field = np.ones(grid.shape, np.float32)
        self.mirror: Field = np.zeros(grid.shape, np.float32)
        self.loss_db_per_cm: Field = np.zeros(grid.shape, np.float32)

    def noise(self, along_mm: float, across_rad: float) -> Field:
        """Smooth Gaussian noise, mean 0 and deviation 1, with these correlation lengths."""
        step_mm = float(self.grid.range_mm[1] - self.grid.range_mm[0])
        step_rad = float(self.grid.angle_rad[1] - self.grid.angle_rad[0])
        rows = max(4, round(self.grid.shape[0] * step_mm / along_mm))
        columns = max(4, round(self.grid.shape[1] * step_rad / across_rad))
        coarse = self.rng.standard_normal((rows, columns), dtype=np.float32)
        fine = cv2.resize(coarse, self.grid.shape[::-1], interpolation=cv2.INTER_CUBIC)
        return np.asarray((fine - fine.mean()) / fine.std(), np.float32)

    def wave(self, across_rad: float) -> Field:
        """Smooth noise over the beams alone, (1, M): how a layer's border undulates."""
        columns = max(4, round(float(np.ptp(self.grid.angle_rad)) / across_rad))
        coarse = self.rng.standard_normal((1, columns), dtype=np.float32)
        return cv2.resize(coarse, (self.grid.shape[1], 1), interpolation=cv2.INTER_CUBIC).astype(np.float32)

    def fill(self, cover: Field, echo_db: float | Field, loss_db_per_cm: float | Field, mirror: float = 0.0) -> None:
        """Replace what is there by a tissue, where ``cover`` (0..1) says; its interfaces vanish with it."""
        self.echo += cover * (decibel(echo_db) - self.echo)
        self.mirror += cover * (np.float32(mirror) - self.mirror)
        self.loss_db_per_cm += cover * (np.asarray(loss_db_per_cm, np.float32) - self.loss_db_per_cm)

    def interface(self, distance_mm: Field, level_db: float, thickness_mm: float, facing: Field | float = 1.0) -> None:
        """Add a smooth reflector along ``distance_mm`` = 0; ``facing`` (0..1) is how it faces the beam."""
        line = np.exp(-0.5 * np.square(distance_mm / np.float32(thickness_mm)))
        self.mirror += (decibel(level_db) * line * facing).astype(np.float32)

    def about(self, shape: PhantomEllipse) -> tuple[Field, Field, Field]:
        """(rho, signed distance in mm to the outline, cosine between its normal and the beam) everywhere."""
        a, b, c = shape.matrix()
        dx, dz = self.x - np.float32(shape.x_mm), self.z - np.float32(shape.z_mm)
        normal_x, normal_z = a * dx + b * dz, b * dx + c * dz
        rho = np.sqrt(np.maximum(dx * normal_x + dz * normal_z, 1e-8))
        steepness = np.hypot(normal_x, normal_z) + 1e-9
        cosine = np.abs(normal_x * self.beam_x + normal_z * self.beam_z) / steepness
        distance = (rho - 1) * rho / steepness
        return rho.astype(np.float32), distance.astype(np.float32), cosine.astype(np.float32)


def decibel(level_db: float | Field) -> Field:
    """Amplitude of a level."""
    return np.asarray(np.power(10.0, np.asarray(level_db, np.float32) / 20), np.float32)


def inside(distance_mm: Field, softness_mm: float = 0.4) -> Field:
    """1 where the signed distance is negative, 0 beyond, with a short ramp between."""
    return np.asarray(np.clip(0.5 - distance_mm / np.float32(softness_mm), 0, 1), np.float32)


def build_tissue(spec: PhantomSpec, grid: PolarGrid) -> Tissue:
    """Build the whole abdomen of a spec at rest."""
    tissue = Tissue(grid, spec.face_radius_mm, np.random.default_rng([spec.seed, 11]))
    wall = outer_wall_at_rest(spec)
    longitudinal = spec.plane is PhantomPlane.LONGITUDINAL
    front_mm = spec.centre_depth_mm - spec.section_ap_mm / 2 - spec.thrombus_mm
    _abdomen(tissue)
    if spec.liver:
        collar_mm = 7.0
        if spec.sma and not longitudinal:  # the mesenteric artery lies in front of the aorta
            collar_mm = 15.5
        _liver(tissue, front_mm - collar_mm, wall.x_mm)
    if spec.gas:
        _gas(tissue, spec)
    _body_wall(tissue, min(24.0, max(8.0, 0.42 * front_mm)))
    _fat_around(tissue, wall)
    if spec.vertebra and longitudinal:
        _spine_along(tissue, wall)
    elif spec.vertebra:
        _vertebra(tissue, wall)
    if has_vein(spec):
        _vein(tissue, ivc_at_rest(spec))
    if spec.sma and spec.plane is PhantomPlane.TRANSVERSE:
        _branch(tissue, wall)
    if spec.plane is not PhantomPlane.ABSENT:
        _aorta(tissue, spec, wall)
    return tissue


def _abdomen(tissue: Tissue) -> None:
    """Mesentery, bowel and retroperitoneum: patchy, streaked across the beams."""
    patches = 4.5 * tissue.noise(13.0, 0.17) + 2.6 * tissue.noise(4.0, 0.08) + 1.6 * tissue.noise(1.3, 0.06)
    # Some beams pass more fat and gas than others: soft dark bands down the picture.
    bands = np.maximum(tissue.wave(0.16) + 0.4, 0)
    tissue.fill(np.ones(tissue.grid.shape, np.float32), patches - 1.0, 0.0)
    tissue.loss_db_per_cm += (0.25 + 0.7 * bands) * inside(24 - tissue.depth, 20.0)
    streaks = np.maximum(tissue.noise(1.1, 0.07) - 1.6, 0) * np.clip(tissue.noise(14.0, 0.25) + 0.2, 0, 1)
    tissue.mirror += (2.4 * streaks).astype(np.float32)
    for _ in range(3):  # collapsed bowel: dark muscle around a bright core
        side = 1.0 if tissue.rng.random() < 0.6 else -1.0
        loop = PhantomEllipse(
            side * float(tissue.rng.uniform(28, 55)),
            float(tissue.rng.uniform(36, 66)),
            float(tissue.rng.uniform(6, 11)),
            float(tissue.rng.uniform(4, 7)),
            float(tissue.rng.uniform(-0.5, 0.5)),
        )
        rho, distance, cosine = tissue.about(loop)
        tissue.fill(inside(distance, 2.0), -12.0, 0.2)
        tissue.fill(inside((rho - 0.45) * 5, 3.0), 4.0, 0.8)
        tissue.interface(distance, 3.0, 0.5, cosine**6)


def _liver(tissue: Tissue, under_mm: float, towards_x_mm: float) -> None:
    """Left lobe: even, with a few portal branches; it ends above the vessel and thins out to the picture's right."""
    fall = np.maximum(tissue.x - np.float32(towards_x_mm + 12), 0)
    hang = np.maximum(-tissue.x + np.float32(towards_x_mm - 26), 0)
    edge = under_mm - 0.011 * fall**2 + 0.55 * hang + 1.1 * tissue.wave(0.2)
    distance = (tissue.z - edge).astype(np.float32)
    even = 0.8 * tissue.noise(6.0, 0.1) + 0.6 * tissue.noise(1.5, 0.03) - 5.0
    tissue.fill(inside(distance, 1.0), even, 0.1)
    slope = np.clip(1 - 0.0009 * (fall**2 + hang**2), 0.15, 1)
    tissue.interface(distance, 8.0, 0.45, slope * (0.75 + 0.25 * tissue.wave(0.12)))
    for side in (-34.0, -12.0, 8.0):
        x = towards_x_mm + side + float(tissue.rng.uniform(-6, 6))
        z = float(tissue.rng.uniform(29, max(30.0, under_mm - 6)))
        size = float(tissue.rng.uniform(1.2, 2.6))
        _, away, cosine = tissue.about(PhantomEllipse(x, z, size * 1.8, size, float(tissue.rng.uniform(-0.6, 0.6))))
        shown = inside((distance + 5).astype(np.float32), 3.0)
        tissue.fill(inside(away, 0.8) * shown, -22.0, 0.0)
        tissue.interface(away - 0.3, 7.0, 0.4, cosine**3 * shown)


def _gas(tissue: Tissue, spec: PhantomSpec) -> None:
    """A loop of bowel with gas at the side: a bright, ragged front, and a dirty shadow behind it."""
    away_rad = math.asin(min(0.9, (spec.section_ap_mm * 0.6 + 14 + abs(spec.lateral_mm)) / (spec.face_radius_mm + 60)))
    middle = min(spec.fan_deg * math.pi / 360 - 0.13, away_rad + 0.12)
    across = (tissue.grid.angle_rad[None, :] - np.float32(middle)) / 0.11
    front = 34 + 4 * across**2 + 1.3 * tissue.wave(0.035)
    distance = (tissue.depth - front).astype(np.float32)
    within = np.clip((1.15 - np.abs(across)) * 5, 0, 1)
    behind = (inside(-distance, 0.8) * within).astype(np.float32)
    ring = 6.0 * np.exp(-np.maximum(distance, 0) / 12) * np.cos(distance * 2.1) + 4 * tissue.noise(3.0, 0.05)
    tissue.fill(behind, (-4 + ring).astype(np.float32), 7.0)
    tissue.interface(distance, 22.0, 0.9, within * (0.7 + 0.3 * tissue.wave(0.05)))


def _body_wall(tissue: Tissue, thickness_mm: float) -> None:
    """Skin, fat with septa, fascia, muscle, fascia, fat: layers along the face, compressed by the probe."""
    layers = (  # share of the thickness, level, septa, front interface, all in dB
        (0.10, 2.0, 1.0, 8.0),
        (0.34, -8.0, 3.0, 5.0),
        (0.36, -5.0, 4.0, 13.0),
        (0.20, 3.0, 3.5, 14.0),
    )
    striae = 0.8 * tissue.noise(0.8, 0.20) + 0.6 * tissue.noise(1.8, 0.5)
    top = np.zeros((1, tissue.grid.shape[1]), np.float32)
    tissue.fill(inside(tissue.depth - thickness_mm, 0.5), 0.0, 0.0)
    for share, level, septa, front_db in layers:
        even = 1 if share > 0.1 else 0.2  # skin keeps its thickness, what lies below does not
        bottom = top + share * thickness_mm + 0.5 * tissue.wave(0.2) * even
        cover = inside(top - tissue.depth) * inside(tissue.depth - bottom)
        tissue.fill(cover, level + septa * striae, 0.0)
        tissue.mirror += (np.maximum(striae - 1.1, 0) * cover * septa * 1.1).astype(np.float32)
        _sheet(tissue, top, front_db)
        top = bottom
    _sheet(tissue, top, 19.0)


def _sheet(tissue: Tissue, depth_mm: Field, level_db: float) -> None:
    """A fascia: two or three leaves, bright where they face the beam, each fading along its way."""
    for below_mm, weaker_db in ((0.0, 0.0), (0.9, 5.0), (1.7, 8.0)):
        facing = np.clip(0.62 + 0.42 * tissue.wave(0.14), 0.05, 1.2)
        undulating = tissue.depth - depth_mm - below_mm - 0.25 * tissue.wave(0.12)
        tissue.interface(undulating.astype(np.float32), level_db - weaker_db, 0.24, facing)


def _fat_around(tissue: Tissue, wall: PhantomEllipse) -> None:
    """Bright, patchy retroperitoneal fat about the vessel."""
    _, distance, _ = tissue.about(wall)
    reach = 7 + 2.5 * tissue.noise(8.0, 0.12)
    cover = inside((distance - reach).astype(np.float32), 7.0)
    tissue.fill(cover, 5.0 + 2.6 * tissue.noise(3.0, 0.07), 0.2)


def _vertebra(tissue: Tissue, wall: PhantomEllipse) -> None:
    """Body of the vertebra behind the vessel, a little to the picture's left, psoas on both sides."""
    depth = wall.z_mm + wall.extents_mm()[1] / 2 + 4.5
    x = 0.55 * wall.x_mm - 8.0
    for side in (-1.0, 1.0):
        _, away, cosine = tissue.about(PhantomEllipse(x + side * 38, depth + 16, 15.0, 17.0, side * 0.35))
        tissue.fill(inside(away, 3.0), -7.0 + 2.5 * tissue.noise(1.2, 0.12), 0.3)
        tissue.interface(away, 5.0, 0.6, cosine**4)
    body = PhantomEllipse(x, depth + 17, 21.0, 17.0)
    _, distance, cosine = tissue.about(body)
    front = np.clip((body.z_mm - tissue.z) / 4, 0, 1).astype(np.float32)
    _bone(tissue, (distance + 0.6 * tissue.wave(0.05)).astype(np.float32), cosine * front)


def _spine_along(tissue: Tissue, wall: PhantomEllipse) -> None:
    """Vertebrae in a row behind a vessel that is cut along its length, with discs between."""
    cos, sin = math.cos(wall.tilt_rad), math.sin(wall.tilt_rad)
    along = (tissue.x - wall.x_mm) * cos + (tissue.z - wall.z_mm) * sin
    behind = -(tissue.x - wall.x_mm) * sin + (tissue.z - wall.z_mm) * cos - wall.semi_z_mm - 5.0
    phase = np.mod(along + 9.0, 36.0) - 18.0
    scallop = 1.8 * (1 - np.square(phase / 18.0))
    distance = (scallop - behind + 0.4 * tissue.wave(0.05)).astype(np.float32)
    disc = np.clip((np.abs(phase) - 15.0) / 1.5, 0, 1).astype(np.float32)
    cosine = np.abs(-sin * tissue.beam_x + cos * tissue.beam_z).astype(np.float32)
    tissue.fill(inside(-behind.astype(np.float32)) * disc, -10.0, 0.9)
    _bone(tissue, distance, cosine * (1 - 0.8 * disc), 1 - disc)


def _bone(tissue: Tissue, distance_mm: Field, cosine: Field, cover: Field | float = 1.0) -> None:
    """Dark within and almost opaque; the cortex shines where it faces the beam."""
    solid = (inside(distance_mm, 1.2) * cover).astype(np.float32)
    behind = np.maximum.accumulate(solid, axis=0)
    tissue.fill(behind, -9.0 + 2.5 * tissue.noise(3.0, 0.08), 8.0 + 1.5 * tissue.wave(0.06))
    rough = np.clip(0.8 + 0.3 * tissue.wave(0.04), 0.2, 1.3)
    facing = np.clip((cosine - 0.35) / 0.65, 0, 1) ** 1.5 * rough
    tissue.echo += (decibel(10.0) * np.exp(-0.5 * np.square((distance_mm - 0.5) / 1.3)) * facing).astype(np.float32)
    tissue.interface(distance_mm, 19.0, 0.7, facing)


def _vein(tissue: Tissue, vein: PhantomEllipse) -> None:
    """Thin wall, almost empty."""
    _, distance, cosine = tissue.about(vein)
    tissue.fill(inside(distance, 0.7), -24.0, -1.1)
    tissue.interface(distance - 0.4, 5.0, 0.4, cosine**2)


def _branch(tissue: Tissue, wall: PhantomEllipse) -> None:
    """The superior mesenteric artery in its collar of fat, in front of the aorta."""
    front = wall.z_mm - wall.extents_mm()[1] / 2
    artery = PhantomEllipse(wall.x_mm + 1.5, front - 9.0, 3.3, 3.1)
    rho, distance, cosine = tissue.about(artery)
    tissue.fill(inside((rho - 2.3).astype(np.float32) * 3, 2.5), 5.0 + 1.5 * tissue.noise(3.0, 0.06), 0.1)
    tissue.fill(inside(distance, 0.6), -22.0, -1.1)
    tissue.interface(distance - 0.4, 9.0, 0.4, 0.25 + 0.75 * cosine**2)


def _aorta(tissue: Tissue, spec: PhantomSpec, wall: PhantomEllipse) -> None:
    """Wall, thrombus, lumen with clutter behind its front wall, plaques."""
    lumen = lumen_at_rest(spec)
    _, outer_mm, outer_cos = tissue.about(wall)
    _, inner_mm, inner_cos = tissue.about(lumen)
    tissue.fill(inside(outer_mm), 0.0, 0.3)
    tissue.interface(outer_mm + 0.3, 11.0, 0.45, 0.15 + 0.85 * outer_cos**3)
    if spec.thrombus_mm:
        tissue.fill(inside(outer_mm + np.float32(spec.wall_mm)), -11.0 + 1.8 * tissue.noise(2.5, 0.06), 0.1)
    # Reverberation of the layers in front hangs over the near part of the lumen.
    near_mm = np.maximum(tissue.z - np.float32(lumen.z_mm - lumen.extents_mm()[1] / 2), 0)
    haze_db = -21.0 - 0.55 * np.minimum(near_mm, 16.0)
    tissue.fill(inside(inner_mm), haze_db.astype(np.float32), -1.1)
    intima_db = 3.0 if spec.thrombus_mm else 10.0  # the edge towards a thrombus is weak
    # The media is brighter than the intima: the echo peaks within the wall, and its blur reaches the lumen's edge.
    tissue.interface(inner_mm - np.float32(min(1.0, 0.6 * spec.wall_mm)), intima_db, 0.4, 0.10 + 0.90 * inner_cos**3)
    if spec.calcification:
        _plaques(tissue, lumen, inner_mm)


def _plaques(tissue: Tissue, lumen: PhantomEllipse, inner_mm: Field) -> None:
    """Two bright plaques in the wall that cast shadows."""
    around = np.arctan2(tissue.z - lumen.z_mm, tissue.x - lumen.x_mm)
    for low, high in ((-2.4, -1.7), (0.6, 1.5)):
        middle, half = float(tissue.rng.uniform(low, high)), float(tissue.rng.uniform(0.10, 0.22))
        within = np.clip((half - np.abs(around - middle)) * 12, 0, 1)
        plaque = (inside(np.abs(inner_mm - 0.9) - 0.8, 0.5) * within).astype(np.float32)
        tissue.fill(plaque, 15.0, 55.0, 4.0)
