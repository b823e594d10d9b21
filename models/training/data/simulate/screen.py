"""From echo levels to the picture on a screen: speckle, gain, gray, scan conversion, filters, and letters on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from models.training.data.simulate.physics import (
    BEAMS,
    DEPTH_SAMPLES,
    SCENE_PX,
    EchoCanvas,
    Gray,
    Map,
    View,
    cells_of,
    chance,
    smooth_noise,
    uniform,
    wave,
)


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


def depth_gain_db(rng: Generator, canvas: EchoCanvas) -> Map:
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


def to_gray(rng: Generator, canvas: EchoCanvas, machine: Machine, gain_db: Map) -> Map:
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


def scan_convert(canvas: EchoCanvas, polar: Map, view: View) -> tuple[Gray, Gray]:
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
            int(rng.integers(0, SCENE_PX - 20)),
            int(rng.choice([rng.integers(8, 60), rng.integers(250, SCENE_PX)])),
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
        x, length, gap = int(rng.integers(0, SCENE_PX)), int(rng.integers(2, 6)), uniform(rng, 8, 30)
        if abs(x - SCENE_PX / 2) > 90:
            for k in range(int(SCENE_PX / gap)):
                cv2.line(picture, (x, int(k * gap)), (x + length, int(k * gap)), int(rng.integers(80, 255)), 1)
    if chance(rng, 0.2):
        width = int(rng.integers(3, 8))
        picture[10 : 10 + 90, :width] = np.linspace(255, 0, 90).astype(np.uint8)[:, None]
