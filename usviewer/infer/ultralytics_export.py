"""The manifest of an ONNX file that Ultralytics exported, from what the file says about itself.

The keys (``task``, ``names``, ``imgsz``, ``stride``, ``batch``, ``license`` ...) are those of the published export
format. What they do not say is not guessed: the outlined edge is "not stated", the finding is "other" unless the label
names are exactly those of a finding.
"""

from __future__ import annotations

import ast
from typing import Any

from usviewer.errors import UserError
from usviewer.finding_names import stated_by
from usviewer.infer.manifest import MAX_LABELS, SCHEMA
from usviewer.infer.onnx_file import Graph

# Colours that the colour-blind can tell apart (Okabe and Ito, 2008).
PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
_DECODERS = {"segment": "yolov8-segment", "detect": "yolov8-detect"}


def is_ultralytics(graph: Graph) -> bool:
    """Say whether the file says of itself what an Ultralytics export says."""
    return {"task", "names", "stride", "imgsz"} <= graph.metadata.keys()


def manifest_for(graph: Graph, model_id: str, file_name: str, sha256: str) -> dict[str, Any]:
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
        "finding": finding_of(names),
        "decoder": _DECODERS[task],
        "licence": _text(said, "license", "not stated"),
        "files": {"model": {"path": file_name, "sha256": sha256}},
        "input": _input(graph, file_name),
        "output": _output(graph, task),
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


def finding_of(names: list[str]) -> str:
    """The finding that all label names state, else "other"."""
    said = {stated_by(name) for name in names}
    only = said.pop() if len(said) == 1 else None
    return only or "other"


def _input(graph: Graph, file_name: str) -> dict[str, Any]:
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


def _output(graph: Graph, task: str) -> dict[str, Any]:
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
