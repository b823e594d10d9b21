"""A prompt model that does something, built node by node: it outlines what is as bright as the place pointed at.

The encoder halves the picture twice; the decoder takes what differs little from the brightness around the clicks (the
middle of a box's corners), within a reach of them, so that a dark disc or vessel is outlined from a click inside. Its
score is how much the surroundings differ from the place: near 0 in an even picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from onnx import TensorProto, helper, save

from tests.helpers.onnx_graphs import OPSET, Builder
from usviewer.infer.manifest import ModelSpec, read_manifest
from usviewer.infer.registry import record_golden

SIDE = 128
CELLS = SIDE // 4
MASK_CELLS = SIDE // 2
REACH = 30.0


def prompt_model(folder: Path, model_id: str = "test-prompt", masks: int = 1, **changes: Any) -> ModelSpec:
    """Write encoder, decoder and manifest; ``changes`` go into the manifest's tables by ``table_key``."""
    from usviewer.infer.onnx_file import sha256_of

    folder.mkdir(parents=True, exist_ok=True)
    encoder(folder / "encoder.onnx")
    decoder(folder / "decoder.onnx", masks)
    manifest: dict[str, Any] = {
        "schema": 1,
        "id": model_id,
        "name": "Test prompt model",
        "version": "1",
        "task": "prompt",
        "finding": "other",
        "decoder": "sam",
        "licence": "Apache-2.0",
        "files": {
            role: {"path": f"{role}.onnx", "sha256": sha256_of(folder / f"{role}.onnx")}
            for role in ("encoder", "decoder")
        },
        "input": {
            "name": "image", "width": SIDE, "height": SIDE, "channels": 1, "layout": "NCHW", "dtype": "uint8",
            "channel_order": "gray", "value_range": [0, 255], "resize": "letterbox", "pad": "corner",
            "interpolation": "area", "crop": "sector",
        },
        "output": {"min_score": 0.3},
        "prompt": {},
        "labels": [{"name": "structure", "color": "#56b4e9", "edge": "not stated"}],
    }  # fmt: skip
    for key, value in changes.items():
        table, _, name = key.partition("_")
        manifest[table][name] = value
    (folder / "manifest.toml").write_text(tomli_w.dumps(manifest))
    return read_manifest(folder)


def recorded_prompt_model(folder: Path, **changes: Any) -> ModelSpec:
    """The same with its golden case, as it is loaded."""
    prompt_model(folder, **changes)
    record_golden(folder, "test")
    return read_manifest(folder)


def encoder(path: Path) -> None:
    b = Builder(0)
    grey = b.op("Mul", b.op("Cast", "image", to=TensorProto.FLOAT), b.constant(1 / 255))
    cells = b.op("AveragePool", grey, kernel_shape=[4, 4], strides=[4, 4])
    b.nodes.append(helper.make_node("Identity", [cells], ["image_embeddings"]))
    _save(path, b, [("image", [1, 1, SIDE, SIDE], TensorProto.UINT8)], [("image_embeddings", [1, 1, CELLS, CELLS])])


def decoder(path: Path, masks: int = 1, *, mask: bool = True, names: tuple[str, str] = ("low_res_masks",) * 2) -> None:
    """``masks`` equal answers whose scores fall by a twentieth each, but for the first of four: it is the worst."""
    b = Builder(0)
    picture = b.op("Resize", "image_embeddings", "", b.constant([1, 1, 2, 2]), mode="linear",
                   coordinate_transformation_mode="half_pixel")  # fmt: skip
    centres = (np.arange(MASK_CELLS) + 0.5) * (SIDE / MASK_CELLS)
    grid_x, grid_y = np.meshgrid(centres, centres)
    points = b.op("Add", "point_coords", b.constant(0.5))
    wanted = b.op("Cast", b.op("Greater", "point_labels", b.constant(0.5)), to=TensorProto.FLOAT)
    share = b.op("Div", wanted, b.op("ReduceSum", wanted, b.ints(1), keepdims=1))
    place = b.op(
        "ReduceSum", b.op("Mul", points, b.op("Unsqueeze", share, b.ints(2))), b.ints(1), keepdims=1
    )  # [1,1,2]
    x, y = (b.op("Unsqueeze", part, b.ints(3)) for part in b.ops("Split", [place, b.ints(1, 1)], 2, axis=2))
    dx = b.op("Sub", b.constant(grid_x[None, None]), x)
    dy = b.op("Sub", b.constant(grid_y[None, None]), y)
    squared = b.op("Add", b.op("Mul", dx, dx), b.op("Mul", dy, dy))
    near = b.op("Exp", b.op("Mul", squared, b.constant(-1 / (2 * 2.0**2))))
    level = _mean(b, picture, near)
    around = b.op("Exp", b.op("Mul", squared, b.constant(-1 / (2 * REACH**2))))
    differs = b.op("Abs", b.op("Sub", picture, level))
    contrast = _mean(b, differs, around)
    alike = b.op("Mul", b.op("Sub", b.constant(0.35), differs), b.constant(30.0))
    distance = b.op("Sqrt", b.op("Add", squared, b.constant(1e-6)))
    beyond = b.op("Relu", b.op("Sub", distance, b.constant(REACH)))
    logits = b.op("Sub", alike, b.op("Mul", beyond, b.constant(3.0)))
    if mask:
        hinted = b.op("Mul", "mask_input", b.op("Reshape", "has_mask_input", b.ints(1, 1, 1, 1)))
        logits = b.op("Add", logits, b.op("Mul", hinted, b.constant(0.2)))
    score = b.op(
        "Clip", b.op("Mul", b.op("Reshape", contrast, b.ints(1, 1)), b.constant(4.0)), b.constant(0.0), b.constant(1.0)
    )
    fall = 1 - 0.05 * np.arange(masks)
    if masks == 4:
        fall[0] = 0.5
    scores = b.op("Mul", score, b.constant(fall[None]))
    shifts = b.constant(np.arange(masks)[None, :, None, None] * -1.0)
    b.nodes.append(helper.make_node("Add", [logits, shifts], [names[0]]))
    b.nodes.append(helper.make_node("Identity", [scores], ["iou_predictions"]))
    inputs = [
        ("image_embeddings", [1, 1, CELLS, CELLS], TensorProto.FLOAT),
        ("point_coords", [1, None, 2], TensorProto.FLOAT),
        ("point_labels", [1, None], TensorProto.FLOAT),
    ]
    if mask:
        inputs += [
            ("mask_input", [1, 1, MASK_CELLS, MASK_CELLS], TensorProto.FLOAT),
            ("has_mask_input", [1], TensorProto.FLOAT),
        ]
    _save(path, b, inputs, [("iou_predictions", [1, masks]), (names[0], [1, masks, MASK_CELLS, MASK_CELLS])])


def _mean(b: Builder, values: str, weights: str) -> str:
    axes = b.ints(2, 3)
    total = b.op("ReduceSum", b.op("Mul", values, weights), axes, keepdims=1)
    return b.op("Div", total, b.op("ReduceSum", weights, axes, keepdims=1))


def _save(
    path: Path, b: Builder, inputs: list[tuple[str, list[int | None], int]], outputs: list[tuple[str, list[int]]]
) -> None:
    ins = [helper.make_tensor_value_info(n, k, ["points" if s is None else s for s in shape]) for n, shape, k in inputs]
    outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in outputs]
    graph = helper.make_graph(b.nodes, "test", ins, outs, b.weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8), path)
