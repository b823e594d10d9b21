"""Encoder and decoder as public projects export them (SAM, MobileSAM, EdgeSAM): from two graphs to a manifest.

Names tell which tensor is which. What a file cannot say is taken from the projects' own code and written down here: a
floating-point encoder of SAM's family takes pixels minus their mean over their deviation, padded right and below.
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
    """The ONNX files of a folder."""
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() == ".onnx"))


def copy(folder: Path, target: Path, model_id: str) -> None:
    """Copy the two graphs of a folder as a model's folder with a manifest.

    Raises ``UserError`` where they are not an encoder and a decoder of the known layouts.
    """
    paths = graphs_of(folder)
    graphs = [onnx_file.inspect(path) for path in paths]
    takes_points = [_named(ROLES["coords"], graph.inputs) is not None for graph in graphs]
    if sorted(takes_points) != [False, True]:
        raise _unknown(folder, "are not an encoder and a decoder of SAM")
    (encoder, encoder_path), (decoder, decoder_path) = (
        (graphs[takes_points.index(which)], paths[takes_points.index(which)]) for which in (False, True)
    )
    manifest = manifest_for(encoder, decoder, model_id, folder)
    for role, path in (("encoder", encoder_path), ("decoder", decoder_path)):
        copied = target / f"{role}.onnx"
        shutil.copyfile(path, copied)
        manifest["files"][role] = {"path": copied.name, "sha256": onnx_file.sha256_of(copied)}
    (target / MANIFEST).write_text(tomli_w.dumps(manifest), encoding="utf-8")


def manifest_for(encoder: Graph, decoder: Graph, model_id: str, folder: Path) -> dict[str, Any]:
    """The manifest's content but for its files. Nothing is guessed: what is not known is refused."""
    names = {role: _named(known, decoder.inputs) for role, known in ROLES.items()}
    missing = [role for role, port in names.items() if port is None and role not in _OPTIONAL]
    known = {port.name for port in names.values() if port}
    strange = [port.name for port in decoder.inputs if port.name not in known]
    scores, embedding = _named(SCORES, decoder.outputs), _named(EMBEDDINGS, encoder.outputs)
    masks = _low_res(decoder.outputs)
    if missing or strange or scores is None or embedding is None or masks is None or len(encoder.inputs) != 1:
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
        "input": _input(encoder.inputs[0], folder),
        "output": {"name": masks.name, "min_score": 0.5},
        "prompt": {
            **{role: port.name if port else "" for role, port in names.items()},
            "scores": scores.name,
        },
        "labels": [{"name": "structure", "color": "#56b4e9", "edge": "not stated"}],
    }


def _input(port: Port, folder: Path) -> dict[str, Any]:
    shape = port.shape
    if port.dtype != "float32" or len(shape) != 4 or shape[0] not in (1, None) or shape[1] != 3 or None in shape[2:]:
        raise _unknown(folder, "do not take a picture of [1, 3, height, width] in single precision")
    return {
        "name": port.name,
        "width": shape[3],
        "height": shape[2],
        "channels": 3,
        "layout": "NCHW",
        "dtype": "float32",
        "channel_order": "rgb",
        "value_range": [0, 255],
        "mean": list(MEAN),
        "std": list(STD),
        "resize": "letterbox",
        "pad": "corner",
        "pad_value": list(PAD_VALUE),
        "crop": "sector",
    }


def _low_res(outputs: Sequence[Port]) -> Port | None:
    """The masks before they are enlarged: by name where both are there, as EdgeSAM has only those as "masks"."""
    found = _named(MASKS, outputs)
    if found is None or (found.name == "masks" and math.prod(side or 0 for side in found.shape[2:]) == 0):
        return found if found is not None and len(outputs) == 2 else None
    return found


def _named(known: Sequence[str], ports: Sequence[Port]) -> Port | None:
    by_name = {port.name: port for port in ports}
    return next((by_name[name] for name in known if name in by_name), None)


def _unknown(folder: Path, what: str) -> UserError:
    return UserError(f"The two files of {folder.name} {what}", f"Write a {MANIFEST} beside them (docs/models.md)")
