"""Labelled data sets as types: samples, each a calibrated frame with the truth about it, and how they are read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from usviewer.acquire import open_source
from usviewer.calibrate.calibration import StatedScale, calibration_for
from usviewer.errors import UserError
from usviewer.frame import Frame, Mask
from usviewer.measure import geometry
from usviewer.units import Box, Point, Spacing

# One exam in so many was kept out of training. Another number would put trained pictures among those held out.
HOLD_OUT_FOLDS = 5
# How many phantoms are drawn where the user does not say.
PHANTOMS = 200
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


class DatasetKind(StrEnum):
    """What the truth of a data set is."""

    MASKS = "masks"
    BOXES = "boxes"
    NEGATIVES = "negatives"


@dataclass(frozen=True, slots=True)
class LengthTruth:
    """A true length; ``mm`` is None where the scale is not known."""

    px: float
    mm: float | None = None


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A box of a class; ``score`` is 1 for the truth."""

    class_index: int
    box_xyxy_px: Box
    score: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """What is known about one frame.

    ``masks`` has an entry (height x width, perhaps empty) for each label that was looked for. ``lengths`` has named
    lengths that are known better than from the mask (an ellipse, a phantom's build), by the names that readings use.
    """

    masks: Mapping[str, Mask] = field(default_factory=dict)
    boxes: tuple[LabelledBox, ...] = ()
    lengths: Mapping[str, LengthTruth] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One frame with its truth. ``group`` (patient, exam, clip) is what may not be counted as independent."""

    name: str
    group: str
    frame: Frame
    truth: GroundTruth


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set that was recognised.

    ``labels`` are the classes of the truth in order, the keys of ``GroundTruth.masks``; where the set does not say what
    they are called (``named`` is False), they are matched to the model's by their place. ``samples`` reads in a fixed
    order.
    ``group_word`` says what ``Sample.group`` is. ``notes`` are sentences for the results page. ``held_out``: only the
    pictures that no aorta training may see.
    """

    name: str
    kind: DatasetKind
    labels: tuple[str, ...]
    samples: Callable[[], Iterator[Sample]]
    count: int | None
    group_word: str
    notes: tuple[str, ...] = ()
    named: bool = True
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What the user asked for.

    ``spacing`` holds for every frame that has none of its own. ``every`` keeps one frame in so many, ``limit`` at
    most so many in all, ``held_out`` only those that no aorta training may see. ``count`` is for phantoms, and
    ``scale_sd`` how far their scales are off (relative); ``frames`` is the clip that a folder of label images belongs
    to.
    """

    spacing: Spacing | None = None
    every: int = 1
    limit: int | None = None
    held_out: bool = False
    negatives: bool = False
    count: int = PHANTOMS
    frames: str | None = None
    scale_sd: float = 0.0


@dataclass(frozen=True, slots=True)
class EllipseTruth:
    """An ellipse in frame pixels (corner convention); the angle turns semi-axis ``a`` from x towards y (down)."""

    center_xy_px: tuple[float, float]
    semi_a_px: float
    semi_b_px: float
    angle_deg: float

    def mask(self, width_px: int, height_px: int) -> Mask:
        """The pixels whose centre lies inside."""
        rows, columns = np.ogrid[:height_px, :width_px]
        dx, dy = columns + 0.5 - self.center_xy_px[0], rows + 0.5 - self.center_xy_px[1]
        cosine, sine = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
        inside: Mask = (along / self.semi_a_px) ** 2 + (across / self.semi_b_px) ** 2 <= 1.0
        return inside

    def extent_px(self, direction_xy: Point = (0.0, 1.0)) -> float:
        """Full extent along a unit vector; for the vertical this is 2 sqrt((a sin t)^2 + (b cos t)^2)."""
        angle = math.radians(self.angle_deg)
        along = direction_xy[0] * math.cos(angle) + direction_xy[1] * math.sin(angle)
        across = direction_xy[1] * math.cos(angle) - direction_xy[0] * math.sin(angle)
        return 2 * math.hypot(self.semi_a_px * along, self.semi_b_px * across)

    @property
    def circumference_px(self) -> float:
        """The circumference by the program's own formula."""
        return geometry.Ellipse(self.center_xy_px, self.semi_a_px, self.semi_b_px, 0.0).circumference


def is_held_out(kind: str, exam: str) -> bool:
    """True when this exam belongs to the fixed fifth that no aorta training may see.

    ``kind`` is "carotid", "nerve" or "fetal" (both fetal sets are HC18). A hash of the exam's own name: the split
    depends neither on order nor on how many files there are.
    """
    digest = hashlib.sha1(f"{kind}/{exam}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % HOLD_OUT_FOLDS == 0


def hc18_exam(stem: str) -> str:
    """The exam in an HC18 name: 010_HC and 010_2HC are the same mother on the same day."""
    return stem.split("_")[0]


def pictures_of(folder: Path) -> list[Path]:
    """The pictures directly in a folder, by name; none for a folder that is not there."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)


def read_label_image(path: Path) -> NDArray[np.uint8]:
    """Read a label image (uint8, height x width): each value is a class, 0 is none; 0 and 255 alone mean one class.

    Raises ``UserError`` where it is not an 8-bit grey picture.
    """
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        raise UserError(f"{path.name} is not an 8-bit label image", "Give masks as 8-bit PNG files")
    if image.ndim == 3:  # many programs save a grey picture with three equal channels
        if not (image[..., :1] == image[..., :3]).all():
            raise UserError(f"{path.name} is a colour picture, not a label image", "Give masks as grey PNG files")
        image = image[..., 0]
    if set(np.unique(image).tolist()) <= {0, 255}:  # painted as black and white
        return np.asarray(image > 0, dtype=np.uint8)
    return np.asarray(image, dtype=np.uint8)


def chosen(options: DatasetOptions, number: int) -> bool:
    """Whether the n-th frame or picture (from 0) is to be looked at, by ``every``."""
    return number % options.every == 0


def class_name(number: int) -> str:
    """Name a class (from 1) that has no name of its own."""
    return f"class {number}"


def calibrated_clip(
    uri: str, spacing: Spacing | None, wanted: Callable[[int], bool], last: int | None = None
) -> Iterator[Frame]:
    """The wanted frames (by index) of a clip or a folder of stills, up to ``last``, with their scale and sector.

    ``spacing`` holds where the source states none. Raises ``UserError`` for a source that cannot be opened.
    """
    with open_source(uri) as source:
        calibrate = calibration_for(source, StatedScale(spacing))
        for frame in source:
            # Of a long clip the labelled frames may be the first few: the rest is not decoded.
            if last is not None and frame.key.index > last:
                return
            if wanted(frame.key.index):
                yield calibrate(frame)


def calibrated_still(path: Path, spacing: Spacing | None) -> Frame:
    """The one picture of a file."""
    return next(calibrated_clip(str(path), spacing, lambda _: True))


def can_open(path: Path) -> bool:
    """Whether a file is a clip or picture at all."""
    try:
        with open_source(str(path)):
            return True
    except UserError:
        return False


# --- still pictures ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Still:
    """One picture of a data set: its file, the exam it belongs to, and how its truth is read once it is open."""

    path: Path
    group: str
    truth: Callable[[Frame], GroundTruth]
    spacing: Spacing | None = None
    split_kind: str = ""


def _read_stills(stills: Sequence[Still], options: DatasetOptions) -> Iterator[Sample]:
    """The pictures one by one, each with its own sector."""
    for still in stills:
        # A picture's own scale (HC18's table) goes before the one that was given for all.
        frame = calibrated_still(still.path, still.spacing or options.spacing)
        truth = GroundTruth()
        if not options.negatives:
            truth = still.truth(frame)
        yield Sample(still.path.name, still.group, frame, truth)


def _selected_stills(stills: Sequence[Still], options: DatasetOptions) -> list[Still]:
    """Those that the options ask for; ``UserError`` when none are left."""
    kept = list(stills)
    if options.held_out:
        if not all(still.split_kind for still in kept):
            raise UserError(
                "This data set took no part in training, so nothing of it was held out", "Leave out --held-out"
            )
        kept = [still for still in kept if is_held_out(still.split_kind, still.group)]
    # --every and --limit count what the fold left, so that a third of the fold can be asked for.
    kept = [still for number, still in enumerate(kept) if chosen(options, number)][: options.limit]
    if not kept:
        raise UserError("No picture of this data set is left to look at", "Ask for more with --every and --limit")
    return kept


def stills_dataset(
    folder: Path,
    kind: DatasetKind,
    labels: tuple[str, ...],
    stills: Sequence[Still],
    options: DatasetOptions,
    group_word: str,
    notes: tuple[str, ...] = (),
    named: bool = True,
) -> Dataset:
    """The data set of those pictures that the options ask for. ``UserError`` when none are left."""
    kept = _selected_stills(stills, options)
    if options.held_out:
        notes = (*notes, "Only the fixed fifth of the exams that no aorta training may see.")
    return Dataset(
        folder.name,
        kind,
        labels,
        lambda: _read_stills(kept, options),
        len(kept),
        group_word,
        notes,
        named,
        options.held_out,
    )
