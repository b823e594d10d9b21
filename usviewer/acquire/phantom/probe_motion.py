"""How the simulated abdomen moves: heart, breath and hand, and which tissue is where at an instant."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from usviewer.acquire.phantom.anatomy import (
    Field,
    PhantomEllipse,
    PolarGrid,
    has_vein,
    ivc_at_rest,
    lumen_at_rest,
    outer_wall_at_rest,
)
from usviewer.acquire.phantom.spec import PhantomSpec

# 14 breaths a minute, as adults breathe at rest.
BREATH_S = 4.3


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of motion at one instant.

    ``shift_mm`` moves the vessel and what is around it; ``swell`` is the lumen's size over its mean; ``breath`` runs
    from 0 (expired) to 1; ``drift_rad`` is how far the plane has moved off: it turns one speckle into another.
    """

    shift_mm: tuple[float, float]
    swell: float
    breath: float
    drift_rad: tuple[float, float]


def pulse_wave(samples: int = 1000) -> Field:
    """Distension of a large artery over one beat: steep rise, dicrotic notch, slow fall; mean 0, peak to peak 1."""
    phase = np.arange(samples) / samples
    rise = np.where(phase < 0.17, 0.5 - 0.5 * np.cos(np.pi * phase / 0.17), 0.0)
    fall = np.where(phase >= 0.17, np.exp(-(phase - 0.17) / 0.30), 0.0)
    ending = (fall - math.exp(-0.83 / 0.30)) / (1 - math.exp(-0.83 / 0.30))
    wave = rise + np.where(phase >= 0.17, ending, 0.0) + 0.09 * np.exp(-0.5 * np.square((phase - 0.46) / 0.035))
    return np.asarray((wave - wave.mean()) / np.ptp(wave), np.float32)


class ProbeMotion:
    """All motion of one phantom as a function of time alone, so that any frame can be had without those before it."""

    def __init__(self, spec: PhantomSpec) -> None:
        self._spec = spec
        self._wave = pulse_wave()
        self._phases = np.random.default_rng([spec.seed, 23]).uniform(0, 2 * math.pi, (4, 3))

    def at(self, time_s: float) -> Moment:
        """The moment ``time_s`` after the start."""
        spec = self._spec
        beat = (time_s * spec.heart_rate_bpm / 60 + self._phases[3, 0] / (2 * math.pi)) % 1.0
        places = np.arange(self._wave.size + 1) / self._wave.size
        distension = float(np.interp(beat, places, np.append(self._wave, self._wave[0])))
        breath = (0.5 - 0.5 * math.cos(2 * math.pi * time_s / BREATH_S + self._phases[3, 1])) ** 1.4
        hand_x, hand_z, hand_y = (spec.probe_motion_mm * self._wander(row, time_s) for row in range(3))
        away_mm = hand_y + 0.5 * spec.respiration_mm * breath
        return Moment(
            (hand_x + 0.15 * spec.respiration_mm * breath, 0.4 * hand_z + 0.2 * spec.respiration_mm * breath),
            1 + distension * spec.pulsation_mm / spec.ap_mm,
            breath,
            (0.55 * away_mm, 0.35 * away_mm + 0.25 * math.sin(0.37 * time_s)),
        )

    def _wander(self, row: int, time_s: float) -> float:
        """Slow, smooth, aimless motion of a hand, -1 to 1."""
        angles = 2 * math.pi * np.array([0.09, 0.21, 0.43]) * time_s + self._phases[row]
        return float(np.sin(angles) @ np.array([0.5, 0.3, 0.2]))


def lumen_at(lumen: PhantomEllipse, moment: Moment) -> PhantomEllipse:
    """Move the lumen to a moment, exactly: ``Warp`` maps its outline onto that of the lumen at rest."""
    return PhantomEllipse(
        lumen.x_mm + moment.shift_mm[0],
        lumen.z_mm + moment.shift_mm[1],
        lumen.semi_x_mm * moment.swell,
        lumen.semi_z_mm * moment.swell,
        lumen.tilt_rad,
    )


def move_scatterers(points_mm: np.ndarray, lumen: PhantomEllipse, moment: Moment) -> np.ndarray:
    """Move material points (N, 2), in mm, from rest to a moment; they lie on or close outside the lumen's outline."""
    a, b, c = lumen.matrix()
    dx, dz = points_mm[:, 0] - lumen.x_mm, points_mm[:, 1] - lumen.z_mm
    rho2 = a * dx**2 + 2 * b * dx * dz + c * dz**2
    grow = np.sqrt(1 + (moment.swell**2 - 1) / rho2)[:, None]
    centre = np.array([lumen.x_mm, lumen.z_mm])
    if math.isinf(lumen.semi_x_mm):
        normal = np.array([-math.sin(lumen.tilt_rad), math.cos(lumen.tilt_rad)])
        across = ((points_mm - centre) @ normal)[:, None] * normal
        return np.asarray(points_mm + (grow - 1) * across + moment.shift_mm)
    return np.asarray(centre + grow * (points_mm - centre) + moment.shift_mm)


class Warp:
    """For each sample of a grid: where the tissue that is there at a moment was at rest.

    The lumen scales as a whole by ``swell``; around it tissue gives way so that no area is made or lost
    (rho_rest^2 = rho^2 - swell^2 + 1), hence the wall thins as it distends. Breath slides the organs in front of the
    vessel, never the vessel itself, and narrows the vein.
    """

    def __init__(self, spec: PhantomSpec, grid: PolarGrid) -> None:
        lumen = lumen_at_rest(spec)
        x, z = grid.positions_mm(spec.face_radius_mm)
        self._range = np.broadcast_to(grid.range_mm[:, None], grid.shape).astype(np.float32)
        self._sin, self._cos = np.sin(grid.angle_rad)[None, :], np.cos(grid.angle_rad)[None, :]
        self._dx, self._dz = x - np.float32(lumen.x_mm), z - np.float32(lumen.z_mm)
        self._matrix = lumen.matrix()
        a, b, c = self._matrix
        self._rho2 = a * self._dx**2 + 2 * b * self._dx * self._dz + c * self._dz**2
        self._slope_x, self._slope_z = 2 * (a * self._dx + b * self._dz), 2 * (b * self._dx + c * self._dz)
        self._band: tuple[float, float] | None = None
        if math.isinf(lumen.semi_x_mm):  # a vessel along the plane widens across its axis only
            self._band = (-math.sin(lumen.tilt_rad), math.cos(lumen.tilt_rad))
        front_mm = max(4.0, 0.8 * (spec.centre_depth_mm - spec.section_ap_mm / 2 - spec.thrombus_mm))
        # The skin stays on the probe: motion in depth fades in above the vessel and is whole before it.
        self._depth_share = _step((grid.range_mm[:, None] - spec.face_radius_mm) / front_mm)
        outside_mm = _beyond_mm(outer_wall_at_rest(spec), x, z)
        self._slide = (
            spec.respiration_mm
            * _step((outside_mm - 1.5) / 12)
            * _step((z - 0.5 * front_mm) / 10)
            * _step((lumen.z_mm + 14 - z) / 14)
        )
        self._narrow = _narrowing(ivc_at_rest(spec), x, z, outside_mm) if has_vein(spec) else None

    def rest_position(self, moment: Moment) -> tuple[Field, Field]:
        """(angle_rad, range_mm) at rest of the tissue at each sample."""
        shift_x, shift_z = (np.float32(value) for value in moment.shift_mm)
        excess = np.float32(moment.swell**2 - 1)
        rho2 = self._rho2 - shift_x * self._slope_x
        rho2 -= shift_z * self._slope_z
        a, b, c = self._matrix
        rho2 += np.float32(a * shift_x**2 + 2 * b * shift_x * shift_z + c * shift_z**2)
        np.maximum(rho2, 1e-6, out=rho2)
        shrink = 1 - excess / rho2
        bound = np.maximum if excess > 0 else np.minimum
        bound(shrink, np.float32(moment.swell**-2), out=shrink)  # the lumen itself scales as a whole
        np.sqrt(shrink, out=shrink)
        shrink -= 1
        move_x, move_z = self._dx - shift_x, self._dz - shift_z
        if self._band is not None:
            across = move_x * np.float32(self._band[0]) + move_z * np.float32(self._band[1])
            move_x, move_z = across * np.float32(self._band[0]), across * np.float32(self._band[1])
        move_x *= shrink
        move_z *= shrink
        move_x -= shift_x + np.float32(0.6 * moment.breath) * self._slide
        move_z -= shift_z * self._depth_share + np.float32(0.25 * moment.breath) * self._slide
        if self._narrow is not None:
            move_z += np.float32(0.55 * moment.breath) * self._narrow
        return self._to_polar(move_x, move_z)

    def _to_polar(self, move_x: Field, move_z: Field) -> tuple[Field, Field]:
        """Angle moved (radians, relative to the sample's own) and range, of sample + move."""
        outward = self._range + (move_x * self._sin + move_z * self._cos)
        turn = (move_x * self._cos - move_z * self._sin) / outward
        square = turn * turn
        # atan and sqrt as series: moves are at most a tenth of the range, which leaves errors below a micrometre.
        turn -= turn * square * np.float32(1 / 3)
        outward += outward * square * np.float32(0.5)
        return turn, outward


def _beyond_mm(shape: PhantomEllipse, x_mm: Field, z_mm: Field) -> Field:
    """About how far outside an outline each position lies; negative inside."""
    a, b, c = shape.matrix()
    dx, dz = x_mm - np.float32(shape.x_mm), z_mm - np.float32(shape.z_mm)
    slope_x, slope_z = a * dx + b * dz, b * dx + c * dz
    rho = np.sqrt(np.maximum(dx * slope_x + dz * slope_z, 1e-8))
    return np.asarray((rho - 1) * rho / (np.hypot(slope_x, slope_z) + 1e-9), np.float32)


def _narrowing(vein: PhantomEllipse, x_mm: Field, z_mm: Field, outside_mm: Field) -> Field:
    """Depth from the vein's middle, in and near the vein; it dies out before the aorta's own surroundings."""
    a, b, c = vein.matrix()
    dx, dz = x_mm - np.float32(vein.x_mm), z_mm - np.float32(vein.z_mm)
    nearness = 1 / np.maximum(a * dx**2 + 2 * b * dx * dz + c * dz**2, 1.0) ** 2
    return np.asarray(dz * nearness * _step((outside_mm - 1.0) / 4), np.float32)


def _step(value: Field) -> Field:
    """0 below 0, 1 above 1, smooth between."""
    part = np.clip(value, 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)
