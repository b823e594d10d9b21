"""Encoder and decoder as public projects export them (SAM, MobileSAM, EdgeSAM): from two graphs to a manifest.

Names tell which tensor is which. No file says how pixels become the encoder's numbers, and the projects differ: SAM,
MobileSAM and EdgeSAM take them minus their mean over their deviation, MedSAM takes 0 to 1. With the wrong one something
is outlined, but not what was pointed at: so the user who adds the files is asked.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from usviewer.errors import UserError
from usviewer.infer import onnx_file
from usviewer.infer.manifest import MANIFEST, SCHEMA
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


def graphs_of(folder: Path) -> tuple[Path, ...]:
    """List the ONNX files of a folder, by name."""
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() == ".onnx"))


def copy(folder: Path, target: Path, model_id: str, pixels: str = "") -> None:
    """Copy the two graphs of a folder as a model's folder with a manifest.

    ``pixels`` is a key of ``PIXELS``, or empty where nobody has said what the encoder takes. Raises ``UserError`` where
    they are not an encoder and a decoder of the known layouts, or that must be said.
    """
    paths = graphs_of(folder)
    graphs = [onnx_file.inspect(path) for path in paths]
    takes_points = [_named(ROLES["coords"], graph.inputs) is not None for graph in graphs]
    if sorted(takes_points) != [False, True]:
        raise _unknown(folder, "are not an encoder and a decoder of SAM")
    (encoder, encoder_path), (decoder, decoder_path) = (
        (graphs[takes_points.index(which)], paths[takes_points.index(which)]) for which in (False, True)
    )
    manifest = manifest_for(encoder, decoder, model_id, folder, pixels)
    for role, path in (("encoder", encoder_path), ("decoder", decoder_path)):
        copied = target / f"{role}.onnx"
        shutil.copyfile(path, copied)
        manifest["files"][role] = {"path": copied.name, "sha256": onnx_file.sha256_of(copied)}
    (target / MANIFEST).write_text(tomli_w.dumps(manifest), encoding="utf-8")


def manifest_for(encoder: Graph, decoder: Graph, model_id: str, folder: Path, pixels: str = "") -> dict[str, Any]:
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
        raise _unknown(folder, "do not have the inputs and outputs of a known export of SAM")
    if embedding.name != names["embeddings"].name:  # type: ignore[union-attr]
        raise _unknown(folder, f"call the embeddings '{embedding.name}' and '{names['embeddings'].name}'")  # type: ignore[union-attr]
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
        "input": _input(encoder, folder, pixels),
        "output": {"name": masks.name, "min_score": 0.5},
        "prompt": {
            **{role: port.name if port else "" for role, port in names.items()},
            "scores": scores.name,
        },
        "labels": [{"name": "structure", "color": "#56b4e9", "edge": "not stated"}],
    }


def _input(graph: Graph, folder: Path, pixels: str) -> dict[str, Any]:
    port = graph.inputs[0]
    shape = port.shape
    if port.dtype != "float32":
        raise _unknown(folder, f"take {port.dtype}, not single precision")
    if shape[-1:] == (3,):
        raise UserError(
            f"The encoder of {folder.name} takes a picture of [height, width, 3], before any preparation",
            "Export it without preprocessing, as [1, 3, height, width]",
        )
    if len(shape) != 4 or shape[0] not in (1, None) or shape[1] not in (3, None):
        raise _unknown(folder, "do not take a picture of [1, 3, height, width]")
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
    } | PIXELS[_asked(graph, folder, pixels)]


def _asked(graph: Graph, folder: Path, pixels: str) -> str:
    """What the encoder takes: as it was said, or as its first steps show beyond doubt."""
    if graph.scales_bytes:
        return "0-255"
    if pixels not in PIXELS:
        raise UserError(
            f"The encoder of {folder.name} does not say what it takes: SAM, MobileSAM and EdgeSAM take pixels minus "
            "SAM's mean over its deviation, MedSAM takes 0 to 1",
            f"Say it: 'usviewer models add {folder.name} --pixels sam', or '--pixels 0-1'",
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


def _unknown(folder: Path, what: str) -> UserError:
    return UserError(f"The two files of {folder.name} {what}", f"Write a {MANIFEST} beside them (docs/models.md)")
