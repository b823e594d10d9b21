"""From tissue to picture: point-spread function, speckle, attenuation, noise, log compression, scan conversion."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.acquire.phantom.anatomy import Field, PolarGrid, build_tissue, decibel
from usviewer.acquire.phantom.probe_motion import Moment, Warp
from usviewer.acquire.phantom.spec import PhantomSpec
from usviewer.frame import Mask

BEAMS, SAMPLES = 224, 560
# Hand and breath move tissue by up to this much into the fan.
_MARGIN_RAD, _MARGIN_MM = 0.16, 12.0
_WHITE_DB = 25.0
_BAND_ROWS = 8
_REACH_SD = 5.5  # beyond it the kernel is below what the picture's 256 levels show


def beam_grid(spec: PhantomSpec) -> PolarGrid:
    """Make the grid where a frame is sampled: from the face to the picture's depth, over the fan."""
    half = math.radians(spec.fan_deg / 2)
    radius = spec.face_radius_mm
    ranges = np.linspace(radius, radius + spec.picture_depth_mm, SAMPLES, dtype=np.float32)
    return PolarGrid(ranges, np.linspace(-half, half, BEAMS, dtype=np.float32))


def _tissue_grid(spec: PhantomSpec) -> PolarGrid:
    """Where tissue at rest is kept: finer than the beams, and larger by what motion brings in from outside."""
    half = math.radians(spec.fan_deg / 2) + _MARGIN_RAD
    radius, depth = spec.face_radius_mm, spec.picture_depth_mm + _MARGIN_MM
    ranges = np.linspace(radius, radius + depth, round(SAMPLES * 1.3), dtype=np.float32)
    return PolarGrid(ranges, np.linspace(-half, half, round(BEAMS * 1.5), dtype=np.float32))


def _echo_texture(spec: PhantomSpec, grid: PolarGrid) -> Field:
    """What the scanner would receive from the tissue at rest: (ranges, beams, 4), ready to be moved about.

    Channels 0 to 2 are independent Gaussian fields: any two of them, or two orthogonal mixtures, are the real and
    imaginary part of fully developed speckle. Channel 3 holds the smooth interfaces. All are attenuated, and blurred by
    the point-spread function, which widens away from the focus at the vessel.
    """
    tissue = build_tissue(spec, grid)
    step_mm = float(grid.range_mm[1] - grid.range_mm[0])
    loss_db = np.cumsum(tissue.loss_db_per_cm, axis=0) * np.float32(step_mm / 10)
    passed = decibel(-np.clip(loss_db, -6.5, 60))
    rng = np.random.default_rng([spec.seed, 37])
    speckle = rng.standard_normal((*grid.shape, 3), dtype=np.float32) * np.float32(math.sqrt(0.5))
    speckle *= (tissue.echo * passed)[:, :, None]
    mirror = tissue.mirror * passed
    axial = 0.28 / step_mm
    parts = [_spread(speckle, grid, spec, axial, 2), _spread(mirror[:, :, None], grid, spec, axial, 1)]
    return np.asarray(np.concatenate(parts, axis=2), np.float32)


def _lateral_sd_mm(spec: PhantomSpec, depth_mm: Field) -> Field:
    """Half-width of the beam: a Gaussian beam focused at the vessel, wider before and behind."""
    focus_mm = spec.centre_depth_mm
    return np.asarray(0.56 * np.sqrt(1 + np.square((depth_mm - focus_mm) / 42.0)), np.float32)


def _spread(field: Field, grid: PolarGrid, spec: PhantomSpec, axial_px: float, norm: int) -> Field:
    """Blur along range, and along beams by a width that follows depth. ``norm`` 2 keeps power, 1 keeps amplitude."""
    reach = math.ceil(4 * axial_px)
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / axial_px))
    kernel /= np.linalg.norm(kernel, norm)
    blurred = cv2.filter2D(field, -1, kernel[:, None].astype(np.float32), borderType=cv2.BORDER_REFLECT)
    along = np.asarray(blurred.reshape(field.shape), np.float32)
    step_rad = float(grid.angle_rad[1] - grid.angle_rad[0])
    sd_px = _lateral_sd_mm(spec, grid.range_mm - spec.face_radius_mm) / (grid.range_mm * step_rad)
    out: Field = np.empty(along.shape, np.float32)
    for start in range(0, grid.shape[0], _BAND_ROWS):
        rows = slice(start, start + _BAND_ROWS)
        out[rows] = _across(along[rows], float(np.mean(sd_px[rows])), norm)
    return out


def _across(rows: Field, sd_px: float, norm: int) -> Field:
    """Blur (ranges, beams, channels) along beams; at the sides the part of the kernel that is left keeps the norm."""
    reach = math.ceil(_REACH_SD * sd_px)
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sd_px))
    kept = np.convolve(np.ones(rows.shape[1]), kernel**norm)[reach : reach + rows.shape[1]] ** (1 / norm)
    blurred = cv2.sepFilter2D(
        rows, -1, kernel.astype(np.float32), np.ones(1, np.float32), borderType=cv2.BORDER_CONSTANT
    )
    return np.asarray(blurred.reshape(rows.shape) / kept.astype(np.float32)[None, :, None], np.float32)


class Scanner:
    """Makes the picture of a moment; holds the tissue at rest and everything that never changes.

    ``to_grey`` is the scan converter: positions of each pixel in the beam grid, and which pixels lie in the fan.
    """

    def __init__(self, spec: PhantomSpec) -> None:
        self._spec = spec
        self._grid = beam_grid(spec)
        rest = _tissue_grid(spec)
        self._texture = _echo_texture(spec, rest)
        self._warp = Warp(spec, self._grid)
        self._first = (float(rest.angle_rad[0]), float(rest.range_mm[0]))
        self._per_rad = 1 / float(rest.angle_rad[1] - rest.angle_rad[0])
        self._per_mm = 1 / float(rest.range_mm[1] - rest.range_mm[0])
        self._own_angle = ((self._grid.angle_rad - rest.angle_rad[0]) * np.float32(self._per_rad))[None, :]
        rng = np.random.default_rng([spec.seed, 41])
        noise = rng.standard_normal((SAMPLES + 96, BEAMS + 64, 3), dtype=np.float32) * np.float32(math.sqrt(0.5))
        self._noise = cv2.GaussianBlur(noise, (1, 0), sigmaX=0.3, sigmaY=0.8) * np.float32(1.68)
        depth_cm = (self._grid.range_mm - spec.face_radius_mm) / 10
        # Electronics are equally loud everywhere; the gain that restores the depths lifts their noise with them.
        self._noise_level = decibel(-58.0 + 2.5 * depth_cm)[:, None, None]
        self._contact_db = _contact_db(spec, self._grid)
        self._tones = _tone_curve()

    def envelope_power(self, moment: Moment, index: int) -> Field:
        """Detected power (ranges, beams) in the beam grid; liver has mean 1. ``index`` chooses the noise."""
        turn, outward = self._warp.rest_position(moment)
        turn *= np.float32(self._per_rad)
        turn += self._own_angle
        outward -= np.float32(self._first[1])
        outward *= np.float32(self._per_mm)
        echo = cv2.remap(self._texture, turn, outward, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        looks: Field = np.asarray(cv2.transform(echo, _mixture(moment.drift_rad)), np.float32)
        row, column = np.random.default_rng([self._spec.seed, 43, index]).integers((0, 0), (96, 64))
        looks += self._noise[row : row + SAMPLES, column : column + BEAMS] * self._noise_level
        np.square(looks, out=looks)
        third = self._spec.speckle_smoothing**2
        weights = np.array([[1.0, 1.0, third]]) / (1 + third / 2)
        return np.asarray(cv2.transform(looks, weights.astype(np.float32)), np.float32)

    def render(self, moment: Moment, index: int) -> NDArray[np.uint8]:
        """Grey levels (ranges, beams) in the beam grid."""
        power = self.envelope_power(moment, index)
        smooth = self._spec.speckle_smoothing
        if smooth:
            blurred = cv2.GaussianBlur(power, (5, 5), sigmaX=0.2 + 0.9 * smooth, sigmaY=0.2 + 0.6 * smooth)
            power = np.asarray(blurred, np.float32)
        power += np.float32(1e-7)
        level: Field = np.asarray(cv2.log(power), np.float32)
        per_db = 255 / self._spec.dynamic_range_db
        level *= np.float32(10 / math.log(10) * per_db)
        level += self._contact_db * np.float32(per_db)
        level += np.float32((self._spec.gain_db + self._spec.dynamic_range_db - _WHITE_DB) * per_db)
        np.clip(level, 0, 255, out=level)
        return np.asarray(cv2.LUT(level.astype(np.uint8), self._tones), np.uint8)


def _mixture(drift_rad: tuple[float, float]) -> NDArray[np.float32]:
    """(3, 4): turns the three speckle fields about two axes, and adds the interfaces to the real part.

    Turned fields stay Gaussian, independent and of equal power, so that speckle changes without changing its kind.
    """
    (cos1, sin1), (cos2, sin2) = ((math.cos(angle), math.sin(angle)) for angle in drift_rad)
    about_y = np.array([[cos1, 0, sin1], [0, 1, 0], [-sin1, 0, cos1]])
    about_x = np.array([[1, 0, 0], [0, cos2, -sin2], [0, sin2, cos2]])
    return np.column_stack([about_x @ about_y, [1.0, 0.0, 0.0]]).astype(np.float32)


def _contact_db(spec: PhantomSpec, grid: PolarGrid) -> Field:
    """Level of each beam: the fan's sides lose some contact with the skin, and elements differ a little."""
    rng = np.random.default_rng([spec.seed, 47])
    side = np.abs(np.linspace(-1, 1, grid.shape[1], dtype=np.float32))
    sides_db = rng.uniform(4, 14, 2).astype(np.float32)
    chosen = np.where(np.linspace(-1, 1, grid.shape[1]) < 0, sides_db[0], sides_db[1])
    coarse = rng.standard_normal((1, 14)).astype(np.float32)
    ripple = cv2.resize(coarse, (grid.shape[1], 1), interpolation=cv2.INTER_CUBIC)[0]
    return np.asarray((-chosen * side**4 + 0.8 * ripple)[None, :], np.float32)


def _tone_curve() -> NDArray[np.uint8]:
    """The grey map after log compression: soft in the blacks, a little steeper in the middle."""
    level = np.arange(256) / 255
    return np.round(255 * np.clip(level**1.55, 0, 1)).astype(np.uint8)


def scan_maps(
    spec: PhantomSpec, x_mm: NDArray[np.float64], z_mm: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.uint16], Mask]:
    """Fixed-point maps for ``cv2.remap`` from the beam grid, and which positions lie in the fan."""
    grid = beam_grid(spec)
    below_apex_mm = z_mm + spec.face_radius_mm
    ranges, angles = np.hypot(x_mm, below_apex_mm), np.arctan2(x_mm, below_apex_mm)
    last_mm, half = float(grid.range_mm[-1]), math.radians(spec.fan_deg / 2)
    within = (np.abs(angles) <= half) & (ranges >= spec.face_radius_mm) & (ranges <= last_mm)
    column = np.clip((angles + half) / (2 * half) * (BEAMS - 1), 0, BEAMS - 1)
    row = np.clip((ranges - spec.face_radius_mm) / spec.picture_depth_mm * (SAMPLES - 1), 0, SAMPLES - 1)
    outside = np.float32(-100)
    columns, rows = (np.where(within, place, outside).astype(np.float32) for place in (column, row))
    positions, weights = cv2.convertMaps(columns, rows, cv2.CV_16SC2)
    return np.asarray(positions, np.int16), np.asarray(weights, np.uint16), within
