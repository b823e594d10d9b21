"""Whether an engine says the same as the CPU in single precision, in what matters: the mask and its diameters.

And the pictures on which engines are compared: masks appear on them, and they came with the program.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from usviewer.acquire import open_source
from usviewer.calibrate.calibration import StatedScale, calibration_for
from usviewer.errors import UserError
from usviewer.frame import Frame, Mask, Pixels, make_frame
from usviewer.infer import golden
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Instance
from usviewer.own_folders import resource_path
from usviewer.units import ScaleSource, isotropic

# What an engine may add to a diameter: in millimetres where the frame has a scale, in pixels where it has none.
MIN_IOU = 0.99
MAX_DIAMETER_MM = 0.3
MAX_DIAMETER_PX = 1.0
# An instance whose score is this close to the gate may be there for one engine and not for the other.
GATE_MARGIN = 0.02

_SAMPLE = "sample.mp4"
_SAMPLE_FRAMES = (5, 33, 61, 89)
# Darker and brighter, as another gain would make it.
_GAMMAS = (1.0, 0.85, 1.2)

NOTHING_FOUND = "no mask appeared on the pictures of the check"


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far an engine is from the reference, over all instances that were compared.

    ``iou`` is the least overlap, ``diameter_px`` and ``diameter_mm`` the largest difference of a diameter (``_mm`` over
    the frames that have a scale, None where none has), ``problem`` says what cannot be put in numbers.
    """

    compared: int = 0
    iou: float = 1.0
    diameter_px: float = 0.0
    diameter_mm: float | None = None
    unscaled_px: float = 0.0
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is missing, masks and diameters are alike, and anything was compared at all."""
        within = (self.diameter_mm or 0.0) <= MAX_DIAMETER_MM and self.unscaled_px <= MAX_DIAMETER_PX
        return self.compared > 0 and not self.problem and self.iou >= MIN_IOU and within

    def describe(self) -> str:
        """Give the figures in one phrase."""
        if self.problem or not self.compared:
            return self.problem or NOTHING_FOUND
        millimetres = ""
        if self.diameter_mm is not None:
            millimetres = f" ({self.diameter_mm:.2f} mm)"
        return f"overlap {self.iou:.4f}, diameter {self.diameter_px:.2f} px{millimetres} off"


def compare_engines(reference: Sequence[Instance], found: Sequence[Instance], frame: Frame, gate: float) -> Deviation:
    """Compare what two engines find on one frame: every instance of the reference must be there, and no other.

    ``gate`` is the model's least score.
    """
    free = list(found)
    result = Deviation()
    for wanted in reference:
        best = max(free, key=lambda other: _overlap(wanted, other), default=None)
        if best is None or _overlap(wanted, best) <= 0.1:
            # Just above the gate it may be missing: rounding alone moves a score across it.
            if wanted.score > gate + GATE_MARGIN:
                return Deviation(problem=f"'{wanted.label}' is missing on a picture")
            continue
        free = [other for other in free if other is not best]
        result = join_masks((result, _difference(wanted, best, frame)))
    extra = [instance for instance in free if instance.score > gate + GATE_MARGIN]
    if extra:
        return Deviation(problem=f"'{extra[0].label}' appears where the CPU finds none")
    return result


def join_masks(parts: Iterable[Deviation]) -> Deviation:
    """Give the worst of several: the least overlap, the largest differences, the first problem."""
    worst = Deviation()
    for part in parts:
        millimetres = [mm for mm in (worst.diameter_mm, part.diameter_mm) if mm is not None]
        worst = Deviation(
            worst.compared + part.compared,
            min(worst.iou, part.iou),
            max(worst.diameter_px, part.diameter_px),
            max(millimetres, default=None),
            max(worst.unscaled_px, part.unscaled_px),
            worst.problem or part.problem,
        )
    return worst


def _difference(wanted: Instance, found: Instance, frame: Frame) -> Deviation:
    x0, y0, x1, y1 = wanted.box_xyxy_px
    corners = np.array([(x0, y0), (x1, y1)])
    shared, pixels = _overlap(wanted, found), _largest_difference(wanted, found, 1.0, 1.0)
    spacing = frame.geometry.spacing_for(corners)[0] if frame.geometry else None
    if spacing is None:
        return Deviation(1, shared, pixels, None, pixels)
    millimetres = _largest_difference(wanted, found, spacing.x_mm_per_px, spacing.y_mm_per_px)
    return Deviation(1, shared, pixels, millimetres, 0.0)


def _largest_difference(wanted: Instance, found: Instance, x_scale: float, y_scale: float) -> float:
    first, second = diameters(wanted, x_scale, y_scale), diameters(found, x_scale, y_scale)
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def diameters(instance: Instance, x_scale: float = 1.0, y_scale: float = 1.0) -> tuple[float, ...]:
    """Give the diameters across, down, major and minor of the ellipse with the mask's moments; of a box its own sides.

    In pixels, or in the unit of the scales (a length per pixel). The full extent of an ellipse along a direction is
    four times the standard deviation of its area along it.
    """
    if instance.mask is None:
        x0, y0, x1, y1 = instance.box_xyxy_px
        return ((x1 - x0) * x_scale, (y1 - y0) * y_scale)
    moments = cv2.moments(instance.mask.view(np.uint8), binaryImage=True)
    area = moments["m00"]
    if area == 0:
        return (0.0, 0.0, 0.0, 0.0)
    # A pixel is a square, not a point: its own variance is 1/12 along each axis.
    xx = (moments["mu20"] / area + 1 / 12) * x_scale**2
    yy = (moments["mu02"] / area + 1 / 12) * y_scale**2
    xy = moments["mu11"] / area * x_scale * y_scale
    middle, half = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    return tuple(4 * math.sqrt(max(0.0, variance)) for variance in (xx, yy, middle + half, middle - half))


def _overlap(first: Instance, second: Instance) -> float:
    """Intersection over union of the masks, or of the boxes where there are none; 0 for different labels."""
    if first.class_index != second.class_index:
        return 0.0
    if first.mask is None or second.mask is None:
        return _box_overlap(first, second)
    shared = _shared_pixels(first.mask, first.mask_origin_px, second.mask, second.mask_origin_px)
    return _ratio(shared, first.area_px + second.area_px - shared)


def _ratio(shared: float, union: float) -> float:
    """Their quotient; 0 where there is nothing at all."""
    if not union:
        return 0.0
    return shared / union


def _shared_pixels(first: Mask, first_at: tuple[int, int], second: Mask, second_at: tuple[int, int]) -> int:
    x0, y0 = max(first_at[0], second_at[0]), max(first_at[1], second_at[1])
    x1 = min(first_at[0] + first.shape[1], second_at[0] + second.shape[1])
    y1 = min(first_at[1] + first.shape[0], second_at[1] + second.shape[0])
    if x0 >= x1 or y0 >= y1:
        return 0
    a = first[y0 - first_at[1] : y1 - first_at[1], x0 - first_at[0] : x1 - first_at[0]]
    b = second[y0 - second_at[1] : y1 - second_at[1], x0 - second_at[0] : x1 - second_at[0]]
    return int(np.count_nonzero(a & b))


def _box_overlap(first: Instance, second: Instance) -> float:
    ax0, ay0, ax1, ay1 = first.box_xyxy_px
    bx0, by0, bx1, by1 = second.box_xyxy_px
    shared = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    return _ratio(shared, (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared)


# --- pictures to compare on -------------------------------------------------------------------------------------------


def bundled_frames(spec: ModelSpec) -> tuple[Frame, ...]:
    """Give frames on which a model finds something, each darker and brighter too.

    They are of the bundled clip where it shows the model's finding, else the golden picture; none where there
    is neither.
    """
    frames = _sample_frames(spec.finding)
    return tuple(_brighter(frame, gamma) for frame in (frames or _golden_frames(spec)) for gamma in _GAMMAS)


def choose_evenly(frames: Sequence[Frame], count: int) -> tuple[Frame, ...]:
    """Take so many frames from all over a sequence; all of them where there are no more."""
    # One alone is the first: there is no step to divide by.
    if len(frames) <= count or count == 1:
        return tuple(frames[:count])
    return tuple(frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count))


def _sample_frames(finding: str) -> tuple[Frame, ...]:
    path = resource_path("resources", _SAMPLE)
    try:
        facts = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
        if facts.get("finding") != finding:
            return ()
        with open_source(str(path)) as source:
            calibrate = calibration_for(source, StatedScale(isotropic(float(facts["mm_per_px"]), ScaleSource.PHANTOM)))
            return tuple(calibrate(source.seek(index)) for index in _SAMPLE_FRAMES)
    except (OSError, UserError):  # an installation without its clip: the golden picture serves
        return ()


def _golden_frames(spec: ModelSpec) -> tuple[Frame, ...]:
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
