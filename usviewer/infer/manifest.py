"""What a model's folder says about it: ``manifest.toml``, read strictly into a ``ModelSpec``.

The manifest is the contract between a model and this program. Whatever it does not know is an error, never a guess:
a key that is misspelt would otherwise be a default that nobody chose. The format is described in ``docs/models.md``.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from usviewer.errors import UserError
from usviewer.infer.prediction import Edge

SCHEMA = 1
MANIFEST = "manifest.toml"
TASK_OF_DECODER = {"unet": "segment", "yolov8-segment": "segment", "yolov8-detect": "detect"}
FINDINGS = ("aorta", "nerve", "fetal-head", "fetal-brain", "other")

# A side, class count or file beyond these is a mistake or an attack, not a model for a bedside computer.
MIN_SIDE_PX, MAX_SIDE_PX = 16, 4096
MAX_LABELS = 1000
MAX_INSTANCES = 300

_MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_REQUIRED = object()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of the model and the hash it must have."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Label:
    """What one class is called, how it is drawn (``#rrggbb``) and what its outline follows."""

    name: str
    color: str
    edge: Edge


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the graph takes.

    ``width_px`` and ``height_px`` are 0 together for a dynamic size: then the longer side becomes ``side_px`` and the
    shorter one the next multiple of ``stride_px``. A pixel of 0..255 becomes ``value_range[0]..value_range[1]``, then
    ``(value - mean) / std``. ``interpolation`` "area" averages when shrinking (and is linear when growing).
    """

    name: str
    width_px: int
    height_px: int
    channels: int
    layout: str = "NCHW"
    dtype: str = "float32"
    channel_order: str = "rgb"
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: str = "letterbox"
    interpolation: str = "linear"
    pad_value: int = 0
    crop: str = "whole"
    side_px: int = 640
    stride_px: int = 32


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What the graph gives, and what of it becomes an instance.

    ``masks`` is the output with the mask prototypes (yolov8-segment). ``min_score`` is the presence gate; an object
    that passed it stays over the next frames down to ``keep_score`` (``infer.presence``). For a U-Net,
    channel 0 is no label when ``background``, ``max_instances`` counts per label and blobs under ``min_area_px`` pixels
    *of the input* are noise. For YOLO ``max_instances`` counts all labels together, and ``iou_threshold`` is that of
    the suppression, across labels when ``agnostic``.
    """

    name: str
    masks: str = ""
    activation: str = "none"
    background: bool = False
    mask_threshold: float = 0.5
    min_score: float = 0.25
    keep_score: float = 0.25
    min_area_px: float = 12.0
    max_instances: int = MAX_INSTANCES
    iou_threshold: float = 0.7
    agnostic: bool = False


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """A small picture and what the model must say about it."""

    frame: Path
    expected: Path


@dataclass(frozen=True, slots=True, eq=False)
class ModelSpec:
    """One model: everything the program knows about it.

    ``folder`` holds its files; ``bundled`` ones came with the program and cannot be removed.
    """

    id: str
    name: str
    version: str
    task: str
    finding: str
    decoder: str
    licence: str
    folder: Path
    files: Mapping[str, ModelFile]
    input: InputSpec
    output: OutputSpec
    labels: tuple[Label, ...]
    training: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    golden: GoldenCase | None = None
    bundled: bool = False

    @property
    def sha256(self) -> str:
        """Hash of the ONNX file: the model's identity in every result."""
        return self.files["model"].sha256

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.files["model"].path

    @property
    def card(self) -> Path | None:
        """The model's card, where it has one."""
        card = self.folder / "CARD.md"
        return card if card.is_file() else None

    def file_named(self, name: str, key: str) -> Path:
        """A file of this model's folder. Raises ``UserError`` for a name that leads out of it."""
        return _inside(self.folder, name, key)


def read_manifest(folder: Path, *, bundled: bool = False) -> ModelSpec:
    """Read and check ``manifest.toml`` of a model's folder. Raises ``UserError`` for anything that is not right."""
    path = folder / MANIFEST
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no {MANIFEST} in {folder}", "Add the model with 'usviewer models add'") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}", "Correct it or remove the model") from None
    return parse_manifest(values, folder, bundled=bundled)


def parse_manifest(values: Mapping[str, Any], folder: Path, *, bundled: bool = False) -> ModelSpec:
    """The checked content of a manifest; ``folder`` is where its files are."""
    top = _Table(values, "the manifest")
    schema = top.take("schema", int)
    if schema != SCHEMA:
        raise UserError(f"The manifest has schema {schema}, this program reads {SCHEMA}", "Update usviewer")
    model_id = check_id(top.take("id", str))
    decoder = top.choice("decoder", TASK_OF_DECODER)
    task = top.choice("task", ("segment", "detect"))
    if TASK_OF_DECODER[decoder] != task:
        raise top.wrong("task", f"'{TASK_OF_DECODER[decoder]}' with decoder '{decoder}'")
    files = _files(top.table("files"), folder)
    labels = _labels(top.take("labels", list))
    spec = ModelSpec(
        id=model_id,
        name=top.take("name", str, model_id),
        version=top.take("version", str),
        task=task,
        finding=top.choice("finding", FINDINGS),
        decoder=decoder,
        licence=top.take("licence", str),
        folder=folder,
        files=files,
        input=_input(top.table("input")),
        output=_output(top.table("output"), decoder),
        labels=labels,
        training=top.take("training", dict, {}),
        accuracy=top.take("accuracy", dict, {}),
        golden=_golden(top.take("golden", dict, {}), folder),
        bundled=bundled,
    )
    top.done()
    return spec


def check_id(model_id: str) -> str:
    """The id itself, when it is a safe name for a folder."""
    if not _MODEL_ID.fullmatch(model_id):
        raise UserError(
            f"'{model_id[:80]}' is no name for a model",
            "Use up to 64 lower-case letters, digits, dots, dashes and underscores",
        )
    return model_id


def _files(table: _Table, folder: Path) -> dict[str, ModelFile]:
    one = table.table("model")
    table.done()
    path = _inside(folder, one.take("path", str), "files.model.path")
    sha256 = one.take("sha256", str)
    one.done()
    if not _SHA256.fullmatch(sha256):
        raise one.wrong("sha256", "64 hexadecimal digits in lower case")
    return {"model": ModelFile(path, sha256)}


def _inside(folder: Path, name: str, key: str) -> Path:
    # A plain name: neither a path out of the folder nor, on Windows, a drive or a stream.
    if not name or name.startswith(".") or set(name) & set("/\\:\0"):
        raise UserError(f"{key} of the manifest must be the plain name of a file in the model's folder", "Correct it")
    return folder / name


def _input(table: _Table) -> InputSpec:
    width, height = table.take("width", int), table.take("height", int)
    if (width == 0) != (height == 0):
        raise table.wrong("width", "0 together with height, or neither (0 means dynamic)")
    for key, side in (("width", width), ("height", height)):
        if side != 0 and not MIN_SIDE_PX <= side <= MAX_SIDE_PX:
            raise table.wrong(key, f"0 or {MIN_SIDE_PX} to {MAX_SIDE_PX}")
    channels = table.take("channels", int)
    if channels not in (1, 3):
        raise table.wrong("channels", "1 or 3")
    spec = InputSpec(
        name=table.take("name", str),
        width_px=width,
        height_px=height,
        channels=channels,
        layout=table.choice("layout", ("NCHW", "NHWC")),
        dtype=table.choice("dtype", ("uint8", "float32")),
        channel_order=table.choice("channel_order", ("gray", "rgb", "bgr")),
        value_range=table.pair("value_range"),
        mean=table.numbers("mean", channels),
        std=table.numbers("std", channels),
        resize=table.choice("resize", ("letterbox", "stretch")),
        interpolation=table.choice("interpolation", ("linear", "area"), "linear"),
        pad_value=table.whole("pad_value", 0, 255, 0),
        crop=table.choice("crop", ("sector", "whole")),
        side_px=table.whole("side", MIN_SIDE_PX, MAX_SIDE_PX, 640),
        stride_px=table.whole("stride", 1, 256, 32),
    )
    table.done()
    _check_input(spec, table)
    return spec


def _check_input(spec: InputSpec, table: _Table) -> None:
    if (spec.channel_order == "gray") != (spec.channels == 1):
        raise table.wrong("channel_order", "'gray' with 1 channel, 'rgb' or 'bgr' with 3")
    if spec.value_range[0] >= spec.value_range[1]:
        raise table.wrong("value_range", "two rising numbers")
    if bool(spec.mean) != bool(spec.std) or any(value <= 0 for value in spec.std):
        raise table.wrong("std", "positive, and given together with mean")
    if spec.dtype == "uint8" and (spec.value_range != (0.0, 255.0) or spec.mean):
        raise table.wrong("value_range", "[0, 255] without mean and std for a graph that takes uint8")
    if spec.side_px % spec.stride_px and not spec.width_px:
        raise table.wrong("side", "a multiple of stride")


def _output(table: _Table, decoder: str) -> OutputSpec:
    unet = decoder == "unet"
    activation = table.choice("activation", ("sigmoid", "softmax", "none")) if unet else "none"
    min_score = table.fraction("min_score", 0.5 if unet else 0.25)
    keep_score = table.fraction("keep_score", min_score)
    if keep_score > min_score:
        raise table.wrong("keep_score", "no more than min_score")
    spec = OutputSpec(
        name=table.take("name", str),
        masks=table.take("masks", str) if decoder == "yolov8-segment" else "",
        activation=activation,
        background=table.take("background", bool, activation == "softmax") if unet else False,
        mask_threshold=table.fraction("mask_threshold", 0.5) if unet else 0.5,
        min_score=min_score,
        keep_score=keep_score,
        min_area_px=table.number("min_area", 12.0) if unet else 0.0,
        max_instances=table.whole("max_instances", 1, MAX_INSTANCES, 1 if unet else MAX_INSTANCES),
        iou_threshold=0.7 if unet else table.fraction("iou_threshold", 0.7),
        agnostic=False if unet else table.take("agnostic", bool, False),
    )
    table.done()
    return spec


def _labels(rows: list[Any]) -> tuple[Label, ...]:
    if not 1 <= len(rows) <= MAX_LABELS:
        raise UserError(f"The manifest lists {len(rows)} labels", f"Give 1 to {MAX_LABELS}")
    labels = tuple(_label(_Table(row, f"labels {number}")) for number, row in enumerate(rows, 1))
    if len({label.name for label in labels}) != len(labels):
        raise UserError("Two labels of the manifest have the same name", "Give each its own")
    return labels


def _label(table: _Table) -> Label:
    name, color = table.take("name", str), table.take("color", str)
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise table.wrong("name", "1 to 100 printable characters")
    if not _COLOR.fullmatch(color):
        raise table.wrong("color", "like #56b4e9")
    label = Label(name, color, Edge(table.choice("edge", tuple(Edge))))
    table.done()
    return label


def _golden(values: dict[str, Any], folder: Path) -> GoldenCase | None:
    if not values:
        return None
    table = _Table(values, "golden")
    frame = _inside(folder, table.take("frame", str), "golden.frame")
    expected = _inside(folder, table.take("expected", str, "golden.json"), "golden.expected")
    table.done()
    return GoldenCase(frame, expected)


class _Table:
    """A TOML table that gives up its values one by one, typed, and refuses what is left over."""

    def __init__(self, values: object, where: str) -> None:
        self._where = where
        if not isinstance(values, Mapping):
            raise UserError(f"{where} of the manifest must be a table", "Correct it")
        self._values = dict(values)

    def wrong(self, key: str, wanted: str) -> UserError:
        """The error for a value of this table."""
        return UserError(f"{key} in {self._where} must be {wanted}", "Correct manifest.toml")

    def take(self, key: str, kind: type[T], default: object = _REQUIRED) -> T:
        """The value of that type; True is no number."""
        value = self._values.pop(key, default)
        if value is _REQUIRED:
            raise UserError(f"{key} is missing in {self._where}", "Complete manifest.toml")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, _KINDS[kind])
        return value

    def table(self, key: str) -> _Table:
        """A sub-table."""
        return _Table(self.take(key, dict), key)

    def choice(self, key: str, allowed: Mapping[str, str] | tuple[str, ...], default: object = _REQUIRED) -> str:
        """One of the allowed words."""
        value = self.take(key, str, default)
        if value not in allowed:
            raise self.wrong(key, "one of " + ", ".join(allowed))
        return value

    def whole(self, key: str, least: int, most: int, default: int) -> int:
        """A whole number within bounds."""
        value = self.take(key, int, default)
        if not least <= value <= most:
            raise self.wrong(key, f"{least} to {most}")
        return value

    def number(self, key: str, default: float) -> float:
        """A finite number that is not negative."""
        (value,) = self._finite(key, [self._values.pop(key, default)])
        if value < 0:
            raise self.wrong(key, "zero or more")
        return value

    def fraction(self, key: str, default: float) -> float:
        """A number between 0 and 1."""
        value = self.number(key, default)
        if value > 1:
            raise self.wrong(key, "between 0 and 1")
        return value

    def pair(self, key: str) -> tuple[float, float]:
        """Two finite numbers."""
        values = self._finite(key, self.take(key, list))
        if len(values) != 2:
            raise self.wrong(key, "two numbers")
        return values[0], values[1]

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """So many finite numbers, or none when the key is absent."""
        values = self._finite(key, self.take(key, list, []))
        if len(values) not in (0, count):
            raise self.wrong(key, f"{count} number(s)")
        return values

    def _finite(self, key: str, values: list[Any]) -> tuple[float, ...]:
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise self.wrong(key, "a finite number")
        return tuple(float(value) for value in values)

    def done(self) -> None:
        """Refuse what nobody took."""
        if self._values:
            unknown = ", ".join(sorted(map(str, self._values)))
            raise UserError(f"Unknown key in {self._where}: {unknown}", "Correct the spelling in manifest.toml")


_KINDS: dict[type, str] = {int: "a whole number", str: "text", bool: "true or false", list: "a list", dict: "a table"}
