"""Pictures on which a model's masks appear, to time engines and to check them: what came with the program."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

import cv2
import numpy as np

from usviewer.acquire import open_source
from usviewer.calibrate import for_source
from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels, make_frame
from usviewer.infer import golden
from usviewer.infer.manifest import ModelSpec
from usviewer.resources import resource_path
from usviewer.units import ScaleSource, isotropic

SAMPLE = "sample.mp4"
SAMPLE_FRAMES = (5, 33, 61, 89)
# Darker and brighter, as another gain would make it.
GAMMAS = (1.0, 0.85, 1.2)


def bundled_frames(spec: ModelSpec) -> tuple[Frame, ...]:
    """Frames of the bundled clip if it shows the model's finding, else the golden picture; darker and brighter too."""
    frames = _sample(spec.finding)
    return tuple(_brighter(frame, gamma) for frame in (frames or _golden(spec)) for gamma in GAMMAS)


def choose_evenly(frames: Sequence[Frame], count: int) -> tuple[Frame, ...]:
    """So many frames from all over a sequence."""
    if len(frames) <= count or count == 1:
        return tuple(frames[:count])
    return tuple(frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count))


def _sample(finding: str) -> tuple[Frame, ...]:
    path = resource_path("resources", SAMPLE)
    try:
        facts = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
        if facts.get("finding") != finding:
            return ()
        with open_source(str(path)) as source:
            calibrate = for_source(source, isotropic(float(facts["mm_per_px"]), ScaleSource.PHANTOM))
            return tuple(calibrate(source.seek(index)) for index in SAMPLE_FRAMES)
    except (OSError, UserError):  # an installation without its clip: the golden picture serves
        return ()


def _golden(spec: ModelSpec) -> tuple[Frame, ...]:
    if spec.golden is None:
        return ()
    return (make_frame(golden.read_picture(spec.golden.frame), "golden picture", 0),)


def _brighter(frame: Frame, gamma: float) -> Frame:
    if gamma == 1.0:
        return frame
    table = np.clip(255.0 * (np.arange(256) / 255.0) ** gamma + 0.5, 0, 255).astype(np.uint8)
    pixels: Pixels = np.asarray(cv2.LUT(frame.pixels, table), np.uint8)
    key = frame.key
    return make_frame(pixels, key.source, key.index, key.media_time_s, geometry=frame.geometry)
