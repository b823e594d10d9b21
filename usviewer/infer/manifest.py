"""What a model's folder says about it: ``manifest.toml``, read strictly into a ``ModelSpec``.

The manifest is the contract between a model and this program. Whatever it does not know is an error, never a guess:
a key that is misspelt would otherwise be a default that nobody chose. The format is described in ``docs/models.md``.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from usviewer.errors import UserError, foreign_parser
from usviewer.files import read_bytes
from usviewer.finding_names import known_findings, requires_label, stated_by
from usviewer.infer.manifest_table import ManifestTable
from usviewer.infer.prediction import Edge
from usviewer.units import Box, Point

SCHEMA = 1
MANIFEST = "manifest.toml"
TASK_OF_DECODER = {"unet": "segment", "yolov8-segment": "segment", "yolov8-detect": "detect", "sam": "prompt"}
TASKS = ("segment", "detect", "prompt")
# The files of a model, by its task.
_ROLES = {"segment": ("model",), "detect": ("model",), "prompt": ("encoder", "decoder")}

# A side, class count or file beyond these is a mistake or an attack, not a model for a bedside computer.
MIN_SIDE_PX, MAX_SIDE_PX = 16, 4096
MAX_LABELS = 1000
MAX_INSTANCES = 300
# The bundled manifests have 2 kB; 1,000 labels of 100 letters are 200 kB. They nest three deep.
MAX_MANIFEST_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_TEXT = 200

_DO = "Put it into the graph when you export it (docs/models.md, 'What a manifest cannot say')"
# Words of keys that people write for what depends on the single picture, or turns it (nnU-Net, MONAI).
INTO_THE_GRAPH = dict.fromkeys(("norm", "score", "standardi", "percentile", "transpose", "axes", "swap", "rotate"), _DO)

_MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of the model and the hash it must have."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Label:
    """What one class is called, how it is drawn (``#rrggbb``) and what its outline follows.

    ``measured`` marks the one that is measured where several could be (``infer.finding``).
    """

    name: str
    color: str
    edge: Edge
    measured: bool = False


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the graph takes.

    ``width_px`` and ``height_px`` are 0 together for a dynamic size: then the longer side becomes ``side_px`` and the
    shorter one the next multiple of ``stride_px``. A pixel of 0..255 becomes ``value_range[0]..value_range[1]``, then
    ``(value - mean) / std``. ``interpolation`` "area" averages when shrinking (and is linear when growing). ``pad`` is
    where a letterboxed picture lies: in the "centre", or in the top-left "corner" with all padding right and below.
    ``pad_value`` is one byte for all channels, or one for each.
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
    pad: str = "centre"
    pad_value: int | tuple[int, ...] = 0
    crop: str = "whole"
    side_px: int = 640
    stride_px: int = 32


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What the graph gives, and what of it becomes an instance.

    ``masks`` is the output with the mask prototypes (yolov8-segment). ``min_score`` is the presence gate; an object
    that passed it stays over the next frames down to ``keep_score`` (``infer.temporal_gate``). For a U-Net, channel 0
    is not a label when ``background`` (``background_said``: the manifest has said it), ``max_instances`` counts per
    label and blobs under ``min_area_px`` pixels *of the input* are noise. For YOLO ``max_instances`` counts all labels
    together, and ``iou_threshold`` is that of the suppression, across labels when ``agnostic``.
    """

    name: str
    masks: str = ""
    activation: str = "none"
    background: bool = False
    background_said: bool = False
    mask_threshold: float = 0.5
    min_score: float = 0.25
    keep_score: float = 0.25
    min_area_px: float = 12.0
    max_instances: int = MAX_INSTANCES
    iou_threshold: float = 0.7
    agnostic: bool = False


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """How the decoder of a prompt model is called: names of its inputs and outputs, empty where it has none.

    ``embeddings`` is the encoder's output and the decoder's input. ``prompts`` is "any" for a decoder that takes
    positive and negative points and a box together, "one" for one point or one box at a time. ``pad_point``: where
    there is no box a point is added that stands for none. ``passes`` 2: the decoder is run again with the box and the
    logits of its first answer, as the model was trained.
    """

    embeddings: str = "image_embeddings"
    coords: str = "point_coords"
    labels: str = "point_labels"
    mask: str = "mask_input"
    has_mask: str = "has_mask_input"
    size: str = ""
    scores: str = "iou_predictions"
    prompts: str = "any"
    pad_point: bool = True
    passes: int = 1


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """A small picture and what the model must say about it; with the clicks and the box for a prompt model."""

    frame: Path
    expected: Path
    points_xy_px: tuple[Point, ...] = ()
    positive: tuple[bool, ...] = ()
    box_xyxy_px: Box | None = None


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
    prompt: PromptSpec | None = None

    @property
    def sha256(self) -> str:
        """Hash of the ONNX file, or of the hashes of several: the model's identity in every result."""
        if len(self.files) == 1:
            return next(iter(self.files.values())).sha256
        together = "".join(f"{role} {file.sha256}\n" for role, file in sorted(self.files.items()))
        return hashlib.sha256(together.encode()).hexdigest()

    @property
    def path(self) -> Path:
        """The ONNX file that takes the picture."""
        return self.files["encoder" if self.task == "prompt" else "model"].path

    @property
    def graph_outputs(self) -> tuple[str, ...]:
        """What an engine is asked for: the outputs of the file at ``path``, in the order in which they are decoded."""
        if self.prompt is not None:
            return (self.prompt.embeddings,)
        return tuple(filter(None, (self.output.name, self.output.masks)))

    @property
    def measured(self) -> Label | None:
        """The label that is measured, on every frame, where the finding has measurements of its own."""
        return measured_label(self.labels, self.finding)

    @property
    def card(self) -> Path | None:
        """The model's card, where it has one."""
        card = self.folder / "CARD.md"
        if os.path.isfile(card):  # Path.is_file raises for a folder that may not be looked into, this says no
            return card
        return None


def read_manifest(folder: Path, *, bundled: bool = False) -> ModelSpec:
    """Read and check ``manifest.toml`` of a model's folder. Raises ``UserError`` for anything that is not right."""
    path = folder / MANIFEST
    try:
        content = read_bytes(path, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise UserError(f"There is no {MANIFEST} in {folder}", "Add the model with 'usviewer models add'") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Correct it or remove the model") from None
    return parse_manifest(_toml(content, path), folder, bundled=bundled)


def _toml(content: bytes, path: Path) -> dict[str, Any]:
    """The file's values; with the mark at its beginning that Windows editors write, and lines that end in their way."""
    with foreign_parser(f"{path} is not valid TOML", "Correct it or remove the model"):
        try:
            values = tomllib.loads(content.decode("utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not valid TOML: {error}", "Correct it or remove the model") from None
    _refuse_absurd(values, path)
    return values


def _refuse_absurd(values: object, path: Path) -> None:
    """Raise ``UserError`` for tables in tables without end, and for numbers beyond the 64 bits that TOML has."""
    # With a list of what waits, not by recursion: the depth of the file must not become the depth of the program.
    waiting: list[tuple[object, int]] = [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise UserError(f"{path} has tables within tables beyond {MAX_DEPTH}", "Correct it or remove the model")
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise UserError(f"{path} has a whole number of more than 64 bits", "Correct it or remove the model")
        inner: Iterable[object] = ()
        if isinstance(value, dict):
            inner = value.values()
        elif isinstance(value, list):
            inner = value
        waiting.extend((one, depth + 1) for one in inner)


def parse_manifest(values: Mapping[str, Any], folder: Path, *, bundled: bool = False) -> ModelSpec:
    """Check the content of a manifest, and give it as a ``ModelSpec``; ``folder`` is where its files are.

    Raises ``UserError`` for the first key that is missing, wrong or unknown.
    """
    top = ManifestTable(values, "the manifest")
    schema = top.take("schema", int)
    if schema != SCHEMA:
        raise UserError(f"The manifest has schema {schema}, this program reads {SCHEMA}", "Update usviewer")
    model_id = check_id(top.take("id", str))
    decoder = top.choice("decoder", TASK_OF_DECODER)
    task = top.choice("task", TASKS)
    if TASK_OF_DECODER[decoder] != task:
        raise top.wrong("task", f"'{TASK_OF_DECODER[decoder]}' with decoder '{decoder}'")
    files = _files(top.table("files"), folder, _ROLES[task])
    labels = _labels(top.take("labels", list))
    spec = ModelSpec(
        id=model_id,
        name=top.words("name", MAX_TEXT, model_id),
        version=top.words("version", MAX_TEXT),
        task=task,
        finding=top.choice("finding", known_findings()),
        decoder=decoder,
        licence=top.words("licence", MAX_TEXT),
        folder=folder,
        files=files,
        input=_input(top.table("input")),
        output=_output(top.table("output"), decoder),
        labels=labels,
        training=top.take("training", dict, {}),
        accuracy=top.take("accuracy", dict, {}),
        golden=_golden(top.take("golden", dict, {}), folder, task),
        bundled=bundled,
        prompt=_prompt(top, task),
    )
    top.done()
    return spec


def check_id(model_id: str) -> str:
    """Give the id itself when it is a safe name for a folder. Raises ``UserError`` for any other."""
    if not _MODEL_ID.fullmatch(model_id):
        raise UserError(
            f"'{model_id[:80]}' cannot be the name of a model",
            "Use up to 64 lower-case letters, digits, dots, dashes and underscores",
        )
    return model_id


def _files(table: ManifestTable, folder: Path, roles: tuple[str, ...]) -> dict[str, ModelFile]:
    files = {role: _file(table.table(role), folder, role) for role in roles}
    table.done()
    return files


def _file(table: ManifestTable, folder: Path, role: str) -> ModelFile:
    path = _inside(folder, table.take("path", str), f"files.{role}.path")
    sha256 = table.take("sha256", str)
    table.done()
    if not _SHA256.fullmatch(sha256):
        raise table.wrong("sha256", "64 hexadecimal digits in lower case")
    return ModelFile(path, sha256)


def _inside(folder: Path, name: str, key: str) -> Path:
    # A plain name: neither a path out of the folder nor, on Windows, a drive or a stream.
    if not name or name.startswith(".") or set(name) & set("/\\:\0"):
        raise UserError(f"{key} of the manifest must be the plain name of a file in the model's folder", "Correct it")
    return folder / name


def _input(table: ManifestTable) -> InputSpec:
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
        pad=table.choice("pad", ("centre", "corner"), "centre"),
        pad_value=_pad_value(table, channels),
        crop=table.choice("crop", ("sector", "whole")),
        side_px=table.whole("side", MIN_SIDE_PX, MAX_SIDE_PX, 640),
        stride_px=table.whole("stride", 1, 256, 32),
    )
    table.done(INTO_THE_GRAPH)
    _check_input(spec, table)
    return spec


def _pad_value(table: ManifestTable, channels: int) -> int | tuple[int, ...]:
    value: object = table.take("pad_value", object, 0)
    values: list[Any] = value if isinstance(value, list) else [value]
    if any(not isinstance(one, int) or isinstance(one, bool) or not 0 <= one <= 255 for one in values):
        raise table.wrong("pad_value", "0 to 255")
    if isinstance(value, list):
        if len(values) != channels:
            raise table.wrong("pad_value", f"one number, or {channels}")
        return tuple(values)
    return int(values[0])


def _check_input(spec: InputSpec, table: ManifestTable) -> None:
    if (spec.channel_order == "gray") != (spec.channels == 1):
        raise table.wrong("channel_order", "'gray' with 1 channel, 'rgb' or 'bgr' with 3")
    if spec.value_range[0] >= spec.value_range[1]:
        raise table.wrong("value_range", "two rising numbers")
    if bool(spec.mean) != bool(spec.std) or any(value <= 0 for value in spec.std):
        raise table.wrong("std", "positive, and given together with mean")
    # A graph that takes bytes brings them to its range itself: what the manifest said would never be done.
    if spec.dtype == "uint8" and (spec.value_range != (0.0, 255.0) or spec.mean):
        raise table.wrong("value_range", "[0, 255] without mean and std for a graph that takes uint8")
    if spec.side_px % spec.stride_px and not spec.width_px:
        raise table.wrong("side", "a multiple of stride")


def _output(table: ManifestTable, decoder: str) -> OutputSpec:
    if decoder == "sam":
        return _prompt_output(table)
    if decoder == "unet":
        return _unet_output(table)
    return _yolo_output(table, masks=decoder == "yolov8-segment")


def _unet_output(table: ManifestTable) -> OutputSpec:
    activation = table.choice("activation", ("sigmoid", "softmax", "none"))
    min_score, keep_score = _gates(table, 0.5)
    spec = OutputSpec(
        name=table.take("name", str),
        activation=activation,
        background_said=table.has("background"),
        # A softmax shares one whole among its channels: without one for "nothing" everything would be something.
        background=table.take("background", bool, activation == "softmax"),
        mask_threshold=table.fraction("mask_threshold", 0.5),
        min_score=min_score,
        keep_score=keep_score,
        min_area_px=table.number("min_area", 12.0),
        max_instances=table.whole("max_instances", 1, MAX_INSTANCES, 1),
    )
    table.done()
    return spec


def _yolo_output(table: ManifestTable, *, masks: bool) -> OutputSpec:
    min_score, keep_score = _gates(table, 0.25)
    spec = OutputSpec(
        name=table.take("name", str),
        masks=table.take("masks", str) if masks else "",
        min_score=min_score,
        keep_score=keep_score,
        min_area_px=0.0,
        max_instances=table.whole("max_instances", 1, MAX_INSTANCES, MAX_INSTANCES),
        iou_threshold=table.fraction("iou_threshold", 0.7),
        agnostic=table.take("agnostic", bool, False),
    )
    table.done()
    return spec


def _gates(table: ManifestTable, usual: float) -> tuple[float, float]:
    """The score from which an object is there, and the one down to which it stays."""
    min_score = table.fraction("min_score", usual)
    keep_score = table.fraction("keep_score", min_score)
    if keep_score > min_score:
        raise table.wrong("keep_score", "no more than min_score")
    return min_score, keep_score


def _prompt_output(table: ManifestTable) -> OutputSpec:
    """``min_score``: below this predicted overlap an outline is called uncertain."""
    min_score = table.fraction("min_score", 0.5)
    threshold = table.fraction("mask_threshold", 0.5)
    if not 0 < threshold < 1:  # what is compared is its logit, and 0 and 1 have none
        raise table.wrong("mask_threshold", "between 0 and 1")
    spec = OutputSpec(
        name=table.take("name", str, "low_res_masks"),
        mask_threshold=threshold,
        min_score=min_score,
        keep_score=min_score,
        min_area_px=0.0,
        max_instances=1,
    )
    table.done()
    return spec


def _prompt(top: ManifestTable, task: str) -> PromptSpec | None:
    if task != "prompt":
        return None
    table = ManifestTable(top.take("prompt", dict, {}), "prompt")
    usual = PromptSpec()
    spec = PromptSpec(
        embeddings=table.take("embeddings", str, usual.embeddings),
        coords=table.take("coords", str, usual.coords),
        labels=table.take("labels", str, usual.labels),
        mask=table.take("mask", str, usual.mask),
        has_mask=table.take("has_mask", str, usual.has_mask),
        size=table.take("size", str, usual.size),
        scores=table.take("scores", str, usual.scores),
        prompts=table.choice("prompts", ("any", "one"), usual.prompts),
        pad_point=table.take("pad_point", bool, usual.pad_point),
        passes=table.whole("passes", 1, 2, usual.passes),
    )
    table.done()
    for key in ("embeddings", "coords", "labels", "scores"):
        if not getattr(spec, key):
            raise table.wrong(key, "the name of a tensor")
    if spec.has_mask and not spec.mask:
        raise table.wrong("has_mask", "empty where mask is empty")
    if spec.passes > 1 and not spec.mask:  # the second pass gives the decoder its own mask
        raise table.wrong("passes", "1 for a decoder that takes no mask")
    return spec


def _labels(rows: list[Any]) -> tuple[Label, ...]:
    if not 1 <= len(rows) <= MAX_LABELS:
        raise UserError(f"The manifest lists {len(rows)} labels", f"Give 1 to {MAX_LABELS}")
    labels = tuple(_label(ManifestTable(row, f"labels {number}")) for number, row in enumerate(rows, 1))
    # An instance is known by its label's name: in files, golden cases and the window.
    if len({label.name for label in labels}) != len(labels):
        raise UserError("Two labels of the model have the same name", "Give each its own")
    if sum(label.measured for label in labels) > 1:
        raise UserError("More than one label of the manifest is marked as measured", "Mark only one")
    return labels


def _label(table: ManifestTable) -> Label:
    name, color = table.take("name", str), table.take("color", str)
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise table.wrong("name", "1 to 100 printable characters")
    if not _COLOR.fullmatch(color):
        raise table.wrong("color", "like #56b4e9")
    label = Label(name, color, Edge(table.choice("edge", tuple(Edge))), table.take("measured", bool, False))
    table.done()
    return label


def _golden(values: dict[str, Any], folder: Path, task: str) -> GoldenCase | None:
    if not values:
        return None
    table = ManifestTable(values, "golden")
    frame = _inside(folder, table.take("frame", str), "golden.frame")
    expected = _inside(folder, table.take("expected", str, "golden.json"), "golden.expected")
    case = GoldenCase(frame, expected)
    if task == "prompt":
        case = _golden_prompt(case, table)
    table.done()
    return case


def _golden_prompt(case: GoldenCase, table: ManifestTable) -> GoldenCase:
    points = tuple(table.pair_of("points_xy_px", pair) for pair in table.take("points_xy_px", list, []))
    positive = table.take("positive", list, [True] * len(points))
    if len(positive) != len(points) or any(not isinstance(value, bool) for value in positive):
        raise table.wrong("positive", "true or false for every point")
    box = table.numbers("box_xyxy_px", 4)
    if not box and not any(positive):
        raise table.wrong("points_xy_px", "at least one positive point, or give box_xyxy_px")
    if box and not (box[0] < box[2] and box[1] < box[3]):
        raise table.wrong("box_xyxy_px", "left, top, right and bottom")
    case = replace(case, points_xy_px=points, positive=tuple(positive))
    if not box:
        return case
    return replace(case, box_xyxy_px=(box[0], box[1], box[2], box[3]))


def measured_label(labels: Sequence[Label], finding: str) -> Label | None:
    """The label that stands for a finding: one for the whole model, whatever the scores of a frame are.

    The one that the manifest marks ``measured``; else the first whose name is that of the finding; else the first.
    Lumen and wall are two diameters of one vessel: a median over both would be neither. Of a finding beside which other
    structures are labelled (a nerve), the first may be a vessel: None where no label is called or marked as one.
    """
    marked = (label for label in labels if label.measured)
    named = (label for label in labels if stated_by(label.name) == finding)
    found = next(marked, None) or next(named, None)
    if found is None and not requires_label(finding):
        return labels[0]
    return found
