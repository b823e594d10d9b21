"""Models as public projects export them, made into a manifest: SAM's encoder and decoder, and files of Ultralytics.

SAM, MobileSAM, EdgeSAM: names tell which tensor is which. No file says how pixels become the encoder's numbers, and the
projects differ: SAM, MobileSAM and EdgeSAM take them minus their mean over their deviation, MedSAM takes 0 to 1. With
the wrong one something is outlined, but not what was pointed at: so the user who adds the files is asked.

Ultralytics: the keys of the file's metadata (``task``, ``names``, ``imgsz``, ``stride``, ``license`` ...) are those of
the published export format. What they do not say is not guessed: the outlined edge is "not stated", the
finding is "other" unless the label names are exactly those of a finding.
"""

from __future__ import annotations

import ast
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from usviewer.errors import UserError
from usviewer.finding_names import stated_by
from usviewer.infer import onnx_file
from usviewer.infer.manifest import MANIFEST, MAX_LABELS, SCHEMA
from usviewer.infer.onnx_file import Graph, Port

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PAD_VALUE = tuple(round(value) for value in MEAN)  # nearly the zero that SAM pads with after it took the mean away

# What the user may say when adding the files: range, mean, deviation and what pads the picture.
PIXELS: Mapping[str, dict[str, Any]] = {
    "sam": {"value_range": [0, 255], "mean": list(MEAN), "std": list(STD), "pad_value": list(PAD_VALUE)},
    "0-1": {"value_range": [0, 1], "pad_value": 0},
    "0-255": {"value_range": [0, 255], "pad_value": list(PAD_VALUE)},
}

EMBEDDINGS = ("image_embeddings", "embeddings", "image_embedding")
ROLES: Mapping[str, tuple[str, ...]] = {
    "embeddings": EMBEDDINGS,
    "coords": ("point_coords", "input_points", "points"),
    "labels": ("point_labels", "input_labels", "labels"),
    "mask": ("mask_input", "input_masks"),
    "has_mask": ("has_mask_input",),
    "size": ("orig_im_size", "original_size"),
}
SCORES = ("iou_predictions", "scores", "iou_scores")
MASKS = ("low_res_masks", "pred_masks", "masks")
_OPTIONAL = ("mask", "has_mask", "size")
# Colours that the colour-blind can tell apart (Okabe and Ito, 2008).
PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
_DECODERS = {"segment": "yolov8-segment", "detect": "yolov8-detect"}


def sam_graphs(folder: Path) -> tuple[Path, ...]:
    """List the ONNX files of a folder, by name."""
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() == ".onnx"))


def copy_sam(folder: Path, target: Path, model_id: str, pixels: str = "") -> None:
    """Copy the two graphs of a folder as a model's folder with a manifest.

    ``pixels`` is a key of ``PIXELS``, or empty where nobody has said what the encoder takes. Raises ``UserError`` where
    they are not an encoder and a decoder of the known layouts, or that must be said.
    """
    paths = sam_graphs(folder)
    graphs = [onnx_file.inspect(path) for path in paths]
    takes_points = [_named(ROLES["coords"], graph.inputs) is not None for graph in graphs]
    if sorted(takes_points) != [False, True]:
        raise _unknown_sam(folder, "are not an encoder and a decoder of SAM")
    (encoder, encoder_path), (decoder, decoder_path) = (
        (graphs[takes_points.index(which)], paths[takes_points.index(which)]) for which in (False, True)
    )
    manifest = _sam_manifest(encoder, decoder, model_id, folder, pixels)
    for role, path in (("encoder", encoder_path), ("decoder", decoder_path)):
        copied = target / f"{role}.onnx"
        shutil.copyfile(path, copied)
        manifest["files"][role] = {"path": copied.name, "sha256": onnx_file.sha256_of(copied)}
    (target / MANIFEST).write_text(tomli_w.dumps(manifest), encoding="utf-8")


def _sam_manifest(encoder: Graph, decoder: Graph, model_id: str, folder: Path, pixels: str = "") -> dict[str, Any]:
    """Make the manifest's content but for its files. Nothing is guessed: raises ``UserError`` for what is not known."""
    names = {role: _named(known, decoder.inputs) for role, known in ROLES.items()}
    missing = [role for role, port in names.items() if port is None and role not in _OPTIONAL]
    known = {port.name for port in names.values() if port}
    strange = [port.name for port in decoder.inputs if port.name not in known]
    # All that SAM's decoder takes, and more: that is how SAM 2's looks.
    if strange and not missing:
        more = ", ".join(strange)[:200]
        raise UserError(
            f"The decoder of {folder.name} takes {more}, which SAM's does not (SAM 2 is not supported)",
            "Use an export of SAM, MobileSAM, EdgeSAM or MedSAM",
        )
    scores, embedding = _named(SCORES, decoder.outputs), _named(EMBEDDINGS, encoder.outputs)
    masks = _low_res(decoder.outputs)
    if missing or scores is None or embedding is None or masks is None or len(encoder.inputs) != 1:
        raise _unknown_sam(folder, "do not have the inputs and outputs of a known export of SAM")
    if embedding.name != names["embeddings"].name:  # type: ignore[union-attr]
        raise _unknown_sam(folder, f"call the embeddings '{embedding.name}' and '{names['embeddings'].name}'")  # type: ignore[union-attr]
    return {
        "schema": SCHEMA,
        "id": model_id,
        "name": f"{model_id} (an export of SAM's layout)",
        "version": "1",
        "task": "prompt",
        "finding": "other",
        "decoder": "sam",
        "licence": "not stated",
        "files": {},
        "input": _sam_input(encoder, folder, pixels),
        "output": {"name": masks.name, "min_score": 0.5},
        "prompt": {
            **{role: port.name if port else "" for role, port in names.items()},
            "scores": scores.name,
        },
        "labels": [{"name": "structure", "color": "#56b4e9", "edge": "not stated"}],
    }


def _sam_input(graph: Graph, folder: Path, pixels: str) -> dict[str, Any]:
    port = graph.inputs[0]
    shape = port.shape
    if port.dtype != "float32":
        raise _unknown_sam(folder, f"take {port.dtype}, not single precision")
    if shape[-1:] == (3,):
        raise UserError(
            f"The encoder of {folder.name} takes a picture of [height, width, 3], before any preparation",
            "Export it without preprocessing, as [1, 3, height, width]",
        )
    if len(shape) != 4 or shape[0] not in (1, None) or shape[1] not in (3, None):
        raise _unknown_sam(folder, "do not take a picture of [1, 3, height, width]")
    if None in shape[2:]:
        raise UserError(
            f"The encoder of {folder.name} was exported for pictures of any size (dynamic axes)",
            "Export it with a fixed height and width, such as 1024 and 1024",
        )
    return {
        "name": port.name,
        "width": shape[3],
        "height": shape[2],
        "channels": 3,
        "layout": "NCHW",
        "dtype": "float32",
        "channel_order": "rgb",
        "resize": "letterbox",
        "pad": "corner",
        "crop": "sector",
    } | PIXELS[_asked_pixels(graph, folder, pixels)]


def _asked_pixels(graph: Graph, folder: Path, pixels: str) -> str:
    """What the encoder takes: as it was said, or as its first steps show beyond doubt."""
    if graph.scales_bytes:
        return "0-255"
    if pixels not in PIXELS:
        raise UserError(
            f"The encoder of {folder.name} does not say what it takes: SAM, MobileSAM and EdgeSAM take pixels minus "
            "SAM's mean over its deviation, MedSAM takes 0 to 1",
            f"Say which: 'usviewer models add {folder.name} --pixels sam', or '--pixels 0-1'",
        )
    return pixels


def _low_res(outputs: Sequence[Port]) -> Port | None:
    """The masks before they are enlarged: by name where both are there, as EdgeSAM has only those as "masks"."""
    found = _named(MASKS, outputs)
    if found is None or found.name != "masks":
        return found
    # "masks" of open size are SAM's, enlarged to the picture; only EdgeSAM, of two outputs, calls the small ones so.
    if math.prod(side or 0 for side in found.shape[2:]) == 0 and len(outputs) != 2:
        return None
    return found


def _named(known: Sequence[str], ports: Sequence[Port]) -> Port | None:
    by_name = {port.name: port for port in ports}
    return next((by_name[name] for name in known if name in by_name), None)


def _unknown_sam(folder: Path, what: str) -> UserError:
    return UserError(f"The two files of {folder.name} {what}", f"Write a {MANIFEST} beside them (docs/models.md)")


def is_ultralytics(graph: Graph) -> bool:
    """Say whether the file says of itself what an Ultralytics export says."""
    return {"task", "names", "stride", "imgsz"} <= graph.metadata.keys()


def ultralytics_manifest(graph: Graph, model_id: str, file_name: str, sha256: str) -> dict[str, Any]:
    """Make the manifest's content. Raises ``UserError`` for another task, a batch, or metadata without sense."""
    said = graph.metadata
    task = said["task"]
    if task not in _DECODERS:
        raise UserError(f"{file_name} is a model for the task '{task[:40]}'", "Use one for 'segment' or 'detect'")
    names = _names(said)
    _refuse_suppressed(graph, file_name)
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        raise UserError(f"{file_name} does not take one picture", "Export the model again")
    if graph.inputs[0].shape[0] not in (None, 1):
        raise UserError(f"{file_name} was exported for batches of {graph.inputs[0].shape[0]}", "Export it with batch=1")
    return {
        "schema": SCHEMA,
        "id": model_id,
        "name": _text(said, "description", model_id),
        "version": _text(said, "date", "not stated"),
        "task": task,
        "finding": _finding_of(names),
        "decoder": _DECODERS[task],
        "licence": _text(said, "license", "not stated"),
        "files": {"model": {"path": file_name, "sha256": sha256}},
        "input": _ultralytics_input(graph, file_name),
        "output": _ultralytics_output(graph, task),
        "labels": [
            {"name": name, "color": PALETTE[i % len(PALETTE)], "edge": "not stated"} for i, name in enumerate(names)
        ],
        "training": {"exported_by": f"{_text(said, 'author', 'not stated')} {_text(said, 'version', '')}".strip()},
    }


def _refuse_suppressed(graph: Graph, file_name: str) -> None:
    """Exports that leave out overlapping boxes themselves give another table: [1, 300, 6] and coefficients of masks."""
    options = _literal(graph.metadata, "args", {})
    if _literal(graph.metadata, "end2end", False) is True:
        raise UserError(f"{file_name} was exported with suppression built in (end2end)", "Export it with end2end=False")
    coefficients = next((port.shape[1] or 0 for port in graph.outputs if len(port.shape) == 4), 0)
    table = graph.outputs[0].shape
    # A table of 300 columns or fewer has never so few rows: a picture of 640 x 640 has 8,400 places for boxes.
    columns = len(table) == 3 and table[2] in (6, 6 + coefficients)
    if columns or (isinstance(options, dict) and options.get("nms") is True):
        raise UserError(
            f"{file_name} was exported with suppression built in",
            "Export it with nms=False, and of YOLO26 and YOLOv10 with end2end=False",
        )


def _finding_of(names: list[str]) -> str:
    """The finding that all label names state, else "other"."""
    said = {stated_by(name) for name in names}
    only = said.pop() if len(said) == 1 else None
    return only or "other"


def _ultralytics_input(graph: Graph, file_name: str) -> dict[str, Any]:
    port, said = graph.inputs[0], graph.metadata
    _, channels, height, width = port.shape
    sides, stride = _literal(said, "imgsz", None), _literal(said, "stride", None)
    if isinstance(sides, int):
        sides = [sides, sides]
    if not (isinstance(sides, list | tuple) and len(sides) == 2 and all(isinstance(side, int) for side in sides)):
        raise UserError(f"{file_name} does not say its image size in a way this program knows", "Export it again")
    if not (width and height):
        width = height = 0  # one side that is open makes both dynamic
    dtype, value_range = "float32", [0, 1]
    if port.dtype == "uint8":
        dtype, value_range = "uint8", [0, 255]
    return {
        "name": port.name,
        "width": width,
        "height": height,
        "channels": channels or 3,
        "layout": "NCHW",
        "dtype": dtype,
        "channel_order": "gray" if channels == 1 else "rgb",
        "value_range": value_range,
        "resize": "letterbox",
        "interpolation": "linear",
        "pad_value": 114,  # the grey that the published letterbox pads with
        "crop": "whole",
        "side": max(sides),
        "stride": stride,
    }


def _ultralytics_output(graph: Graph, task: str) -> dict[str, Any]:
    names = [port.name for port in graph.outputs]
    wanted = 1 + (task == "segment")  # the table of boxes, and the mask prototypes
    if len(names) != wanted:
        raise UserError(f"The graph gives {len(names)} outputs instead of {wanted}", "Export it with format=onnx alone")
    # 0.25 and 0.7 are the defaults of the published prediction.
    output: dict[str, Any] = {"name": names[0], "min_score": 0.25, "iou_threshold": 0.7}
    if task == "segment":
        output["masks"] = names[1]
    return output


def _names(said: Any) -> list[str]:
    names = _literal(said, "names", None)
    # {0: "cat", 1: "dog"}: a gap in the numbers would put every label behind it on another channel.
    numbered = isinstance(names, dict) and all(isinstance(key, int) for key in names)
    if numbered and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_LABELS or not all(isinstance(n, str) for n in names):
        raise UserError("The file's list of label names cannot be read", "Export the model again")
    return names


def _literal(said: Any, key: str, default: Any) -> Any:
    """A value that the exporter wrote as a Python literal; only literals are read, nothing is run."""
    text = said.get(key)
    if text is None:
        return default
    try:
        if len(text) > 200_000:
            raise ValueError
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise UserError(f"What the file says about '{key}' cannot be read", "Export the model again") from None


def _text(said: Any, key: str, default: str) -> str:
    text = "".join(letter for letter in said.get(key, default) if letter.isprintable()).strip()
    return text[:200] or default
