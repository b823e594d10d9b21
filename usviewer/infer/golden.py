"""The golden case: a small picture, and what the model must say about it on any engine.

It is run whenever a model is loaded. The raw outputs, sampled row by row, betray a swapped channel, a wrong range or a
picture placed half a pixel off; the instances betray the same in decoding. A model that does not reproduce its golden
case is refused, not drawn.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from usviewer.errors import UserError, foreign_parser
from usviewer.files import read_bytes
from usviewer.frame import Pixels
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Instance
from usviewer.plain_text import printable

RECORDED = "recorded from the file itself"

# Two engines in single precision differ by 1e-6 to 1e-3 (TF32); half an input pixel gave 0.02 to 0.1 and swapped
# channels 0.5 to 0.8 on random networks.
OUTPUT_TOLERANCE = 0.005
SCORE_TOLERANCE = 0.02
POSITION_TOLERANCE_PX = 0.25
AREA_TOLERANCE = 0.02

# The middle of a disc of the synthetic picture: where a prompt model is asked what is there.
DISC_XY_PX = (205.5, 140.5)

OTHER_SHAPE = "its outputs have another shape"
SAMPLES = 32
MAX_EXPECTED = 10
# 4K is 8.3 million pixels; the bundled pictures have 0.07 to 0.5 million.
MAX_PICTURE_PX = 16_000_000
MAX_PICTURE_BYTES = 3 * MAX_PICTURE_PX
# The largest of the bundled ones has 34 kB; 1,000 labels and 32 prototypes come to 1 MB.
MAX_EXPECTED_BYTES = 8_000_000
MAX_SOURCE = 200

# Single precision leaves a probability this far outside 0 to 1, and a softmax's sum this far from 1.
ROUNDING = 1e-5

Outputs = Sequence[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class GoldenInstance:
    """One instance of the golden picture, in its pixels."""

    label: str
    score: float
    box_xyxy_px: tuple[float, float, float, float]
    area_px: float
    centroid_xy_px: tuple[float, float]


@dataclass(frozen=True, slots=True)
class GoldenOutput:
    """What the model said when the case was made.

    ``source`` says who vouches for it: the model's author, or nobody (``RECORDED``). ``samples`` has, for each output,
    ``SAMPLES`` values of every channel.
    """

    source: str
    samples: tuple[tuple[tuple[float, ...], ...], ...]
    instances: tuple[GoldenInstance, ...]


def read_picture(path: Path) -> Pixels:
    """Read the golden picture as RGB (height, width, 3), uint8. Raises ``UserError`` where it cannot be read."""
    do = "Add the model again"
    try:
        content = read_bytes(path, MAX_PICTURE_BYTES)
    except OSError as error:
        raise UserError(f"The golden picture {path.name} cannot be read: {error.strerror}", do) from None
    with foreign_parser(f"The golden picture {path.name} is not a picture", do):
        # Pillow looks at the header only, where OpenCV would take the memory for a picture of any size first.
        width, height = Image.open(io.BytesIO(content)).size
    if width * height > MAX_PICTURE_PX:
        raise UserError(f"The golden picture {path.name} is too large ({width} x {height})", "Use a small one")
    with foreign_parser(f"The golden picture {path.name} is damaged", do):
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError("OpenCV gives nothing")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def synthetic_picture() -> Pixels:
    """Make a fixed RGB picture (223, 301, 3), uint8: gradients, discs and fine texture, each channel its own."""
    # Odd sides show a placement that is half a pixel off; channels that differ show red and blue in the wrong order.
    y, x = np.mgrid[0:223, 0:301].astype(np.int64)
    texture = (x * 7919 + y * 104729 + x * y * 31) % 61
    red = 40 + x * 150 // 300 + texture // 2
    green = 60 + y * 100 // 222 + (texture * 5) % 47
    blue = 30 + (x + y) * 60 // 522 + (texture * 3) % 29
    picture = np.stack((red, green, blue), axis=2)
    for (cx, cy, radius), color in zip(
        ((90, 80, 41), (205, 140, 57), (160, 35, 19)), ((12, 9, 20), (35, 90, 30), (230, 210, 120)), strict=True
    ):
        picture[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = color
    result: Pixels = np.clip(picture, 0, 255).astype(np.uint8)
    return result


def observe(outputs: Outputs, instances: Sequence[Instance], channel_axis: int, source: str = RECORDED) -> GoldenOutput:
    """Bring what the model says now into the form in which it is compared and kept.

    ``outputs`` are the raw ones, float32 with a batch axis of one; ``channel_axis`` counts that axis too.
    """
    samples = tuple(_sample(output, channel_axis) for output in outputs)
    return GoldenOutput(source, samples, tuple(_found(instance) for instance in instances))


def deviation(expected: GoldenOutput, observed: GoldenOutput) -> str:
    """The first thing that differs by more than its tolerance, in words; empty when the case is reproduced."""
    if not alike(expected, observed):
        return OTHER_SHAPE
    worst = output_deviation(expected, observed)
    if not worst <= OUTPUT_TOLERANCE:  # written so that NaN counts as different
        return f"its raw outputs differ by {worst:.1%} of their spread"
    for wanted in expected.instances:
        if problem := _missing(wanted, observed.instances):
            return problem
    if not expected.instances and observed.instances:
        return f"it finds '{observed.instances[0].label}' where nothing is expected"
    return ""


def alike(expected: GoldenOutput, observed: GoldenOutput) -> bool:
    """Whether both have the same outputs, with as many channels."""
    shapes = [[[len(row) for row in rows] for rows in case.samples] for case in (expected, observed)]
    return shapes[0] == shapes[1]


def output_deviation(expected: GoldenOutput, observed: GoldenOutput) -> float:
    """Largest over the outputs of: difference of the samples over their spread, mean over all channels.

    Both must be ``alike``.
    """
    return max((_spread_deviation(a, b) for a, b in zip(expected.samples, observed.samples, strict=True)), default=0.0)


def write_expected(path: Path, expected: GoldenOutput) -> None:
    """Keep the case as JSON; only the best instances, those at the end of a long list are a matter of rounding.

    Raises ``UserError`` for outputs that are not numbers: no later run could be compared with them.
    """
    if not all(math.isfinite(value) for rows in expected.samples for row in rows for value in row):
        raise UserError("The model gives values that are not numbers on its golden picture", "Export the model again")
    values = asdict(expected)
    values["instances"] = values["instances"][:MAX_EXPECTED]
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_expected(path: Path) -> GoldenOutput:
    """Read what ``write_expected`` wrote. Raises ``UserError`` for a file that is missing, damaged or too large."""
    do = "Add the model again"
    try:
        content = read_bytes(path, MAX_EXPECTED_BYTES)
    except OSError as error:
        raise UserError(f"The golden case {path.name} cannot be read: {error.strerror}", do) from None
    # What it holds is as foreign as its form: a text for a number, a number of 400 digits, a list for a table.
    with foreign_parser(f"The golden case {path.name} is damaged", do):
        return _parse(json.loads(content))


def _parse(values: Any) -> GoldenOutput:
    instances = tuple(
        GoldenInstance(
            str(row["label"]),
            _number(row["score"]),
            _numbers(row["box_xyxy_px"], 4),  # type: ignore[arg-type]
            _number(row["area_px"]),
            _numbers(row["centroid_xy_px"], 2),  # type: ignore[arg-type]
        )
        for row in values["instances"]
    )
    samples = tuple(tuple(_numbers(row) for row in rows) for rows in values["samples"])
    return GoldenOutput(printable(str(values["source"])[:MAX_SOURCE]), samples, instances)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a number")
    return float(value)


def _numbers(values: Any, count: int | None = None) -> tuple[float, ...]:
    if not isinstance(values, list) or count not in (None, len(values)):
        raise ValueError("not so many numbers")
    return tuple(map(_number, values))


def _sample(output: NDArray[np.float32], channel_axis: int) -> tuple[tuple[float, ...], ...]:
    """``SAMPLES`` values of every channel, evenly spread, to 7 digits."""
    without_batch = channel_axis - (channel_axis > 0)
    rows = np.moveaxis(output[0], without_batch, 0)
    rows = rows.reshape(rows.shape[0], -1)
    picked = rows[:, np.linspace(0, rows.shape[1] - 1, SAMPLES).round().astype(np.intp)]
    return tuple(tuple(float(f"{value:.7g}") for value in row) for row in picked.tolist())


def _spread_deviation(expected: Sequence[Sequence[float]], observed: Sequence[Sequence[float]]) -> float:
    wanted, got = np.asarray(expected, np.float64), np.asarray(observed, np.float64)
    # The two small terms keep a channel that is even all over, or zero, from turning rounding into a large share.
    spread = wanted.std(axis=1) + 1e-3 * np.abs(wanted).mean(axis=1) + 1e-9
    return float((np.abs(wanted - got).mean(axis=1) / spread).mean())


def _missing(wanted: GoldenInstance, found: Sequence[GoldenInstance]) -> str:
    same = [other for other in found if other.label == wanted.label]
    if not same:
        return f"it does not find '{wanted.label}'"
    shift, nearest = min(((_shift(wanted, other), other) for other in same), key=lambda pair: pair[0])
    if shift > POSITION_TOLERANCE_PX:
        return f"it finds '{wanted.label}' {shift:.2f} px from where it should be"
    if abs(nearest.score - wanted.score) > SCORE_TOLERANCE:
        return f"it gives '{wanted.label}' the score {nearest.score:.3f} instead of {wanted.score:.3f}"
    if abs(nearest.area_px - wanted.area_px) > AREA_TOLERANCE * wanted.area_px:
        return f"it gives '{wanted.label}' {nearest.area_px:.0f} px instead of {wanted.area_px:.0f}"
    return ""


def _shift(first: GoldenInstance, second: GoldenInstance) -> float:
    """Largest difference of the centroids and box sides."""
    one, two = (*first.box_xyxy_px, *first.centroid_xy_px), (*second.box_xyxy_px, *second.centroid_xy_px)
    return float(np.abs(np.subtract(one, two)).max())


def _found(instance: Instance) -> GoldenInstance:
    x0, y0, x1, y1 = (round(side, 4) for side in instance.box_xyxy_px)
    centroid = ((x0 + x1) / 2, (y0 + y1) / 2)
    if instance.mask is not None:
        rows, columns = np.nonzero(instance.mask)
        left, top = instance.mask_origin_px
        centroid = (left + float(columns.mean()) + 0.5, top + float(rows.mean()) + 0.5)
    return GoldenInstance(
        instance.label,
        round(instance.score, 6),
        (x0, y0, x1, y1),
        instance.area_px,
        (round(centroid[0], 4), round(centroid[1], 4)),
    )


# --- the activation ---------------------------------------------------------------------------------------------------


def check_activation(outputs: Outputs, spec: ModelSpec) -> None:
    """Raise ``UserError`` where raw outputs on one picture contradict the activation that the manifest gives.

    A sigmoid or softmax that is applied twice brings every value near one half: the whole picture is outlined, and
    nothing else looks wrong. The file does not say whether its last step is in the graph, but its outputs do: logits
    that all lie within 0 to 1 do not occur, as probabilities they would be 0.5 to 0.73 in every place.
    """
    if spec.decoder == "sam":
        if _within_0_to_1(outputs[-1]):
            raise UserError(
                f"Model '{spec.id}' gives masks of 0 to 1, where logits are expected",
                "Export its decoder without the sigmoid or the threshold at its end",
            )
    elif spec.decoder == "unet":
        _check_unet_activation(outputs[0], spec)


def _check_unet_activation(output: NDArray[np.float32], spec: ModelSpec) -> None:
    activation, channels = spec.output.activation, len(spec.labels) + spec.output.background
    if activation != "none":
        if _within_0_to_1(output):
            raise UserError(
                f"Model '{spec.id}' gives values of 0 to 1 already: a {activation} would be applied twice",
                'Say activation = "none" in its manifest, with background = true where channel 0 is not a label',
            )
    elif channels > 1 and not spec.output.background_said and _add_up_to_1(output, spec):
        raise UserError(
            f"The {channels} channels of model '{spec.id}' are shares of one whole, so one may be the background",
            "Say background = true in its manifest and leave out the label of channel 0, or background = false",
        )


def _within_0_to_1(values: NDArray[np.float32]) -> bool:
    return bool(values.size) and -ROUNDING <= float(values.min()) and float(values.max()) <= 1 + ROUNDING


def _add_up_to_1(output: NDArray[np.float32], spec: ModelSpec) -> bool:
    """Whether the channels add up to 1 in every place, as a softmax leaves them."""
    channel_axis = 1 if spec.input.layout == "NCHW" else -1
    total = output.sum(axis=channel_axis, dtype=np.float64)
    return bool(np.abs(total - 1).max(initial=0.0) < 100 * ROUNDING)
