"""ONNX graphs for the tests, built node by node without PyTorch.

YOLOv8n and YOLOv8n-seg follow the published architecture (channels 16-32-64-128-256, C2f, SPPF, decoupled head with
distribution focal loss over 16 bins, mask prototypes) with batch norm folded into the convolutions and boxes decoded in
the graph, as the published ONNX export gives them. Weights are random with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
BINS = 16
GAIN = 1.7
STRIDES = (8, 16, 32)


class Builder:
    """Collects nodes and weights; every method returns the name of its result."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._count = 0

    def name(self, prefix: str = "t") -> str:
        self._count += 1
        return f"{prefix}_{self._count}"

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        names = [self.name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = self.name("w")
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def conv2d(self, x: str, inputs: int, outputs: int, k: int = 1, stride: int = 1, bias: float = 0.0) -> str:
        """Convolution with bias, 'same' padding, variance kept."""
        weight = self.rng.normal(0, 1.0 / np.sqrt(inputs * k * k), (outputs, inputs, k, k))
        offset = self.rng.normal(bias, 0.1, outputs)
        return self.op(
            "Conv", x, self.constant(weight), self.constant(offset), kernel_shape=[k, k], strides=[stride] * 2,
            pads=[k // 2] * 4,
        )  # fmt: skip

    def conv(self, x: str, inputs: int, outputs: int, k: int = 1, stride: int = 1) -> str:
        """Convolution, folded batch norm, SiLU; the gain makes up for what SiLU takes from the variance."""
        y = self.op("Mul", self.conv2d(x, inputs, outputs, k, stride), self._shared("gain", GAIN))
        return self.op("Mul", y, self.op("Sigmoid", y))

    def _shared(self, name: str, values: Any) -> str:
        if not any(w.name == name for w in self.weights):
            self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def cat(self, *xs: str, axis: int = 1) -> str:
        return self.op("Concat", *xs, axis=axis)

    def c2f(self, x: str, inputs: int, outputs: int, repeats: int, *, shortcut: bool) -> str:
        half = outputs // 2
        y = self.conv(x, inputs, outputs)
        parts = self.ops("Split", [y, self.ints(half, half)], 2, axis=1)
        for _ in range(repeats):
            z = self.conv(self.conv(parts[-1], half, half, 3), half, half, 3)
            parts.append(self.op("Add", parts[-1], z) if shortcut else z)
        return self.conv(self.cat(*parts), (2 + repeats) * half, outputs)

    def sppf(self, x: str, channels: int) -> str:
        half = channels // 2
        pools = [self.conv(x, channels, half)]
        for _ in range(3):
            pools.append(self.op("MaxPool", pools[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
        return self.conv(self.cat(*pools), 4 * half, channels)

    def double(self, x: str) -> str:
        scales = self._shared("scales", [1, 1, 2, 2])
        return self.op("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                       nearest_mode="floor")  # fmt: skip

    def parameters(self) -> int:
        """Learnable numbers: all weights in single precision."""
        return sum(
            int(np.prod(w.dims))
            for w in self.weights
            if w.data_type == TensorProto.FLOAT and w.name not in ("gain", "scales")
        )


def yolov8n(
    path: Path,
    *,
    segment: bool = True,
    height: int = 640,
    width: int = 640,
    classes: int = 1,
    dynamic: bool = False,
    seed: int = 0,
    names: Sequence[str] | None = None,
    **metadata: str,
) -> int:
    """Write a YOLOv8n(-seg) graph as an Ultralytics export would look; gives the number of its parameters.

    Input ``images`` [1, 3, H, W], ``output0`` [1, 4 + classes (+ 32), anchors]: centre and size in input pixels, class
    probabilities, mask coefficients; ``output1`` [1, 32, H / 4, W / 4]: mask prototypes.
    """
    b = Builder(seed)
    features = _backbone_and_neck(b)
    rows = [_boxes(b, features, height, width, dynamic=dynamic), _scores(b, features, classes)]
    outputs = [("output0", [1, 4 + classes + 32 * segment, None if dynamic else anchors(height, width)])]
    if segment:
        rows.append(_coefficients(b, features))
        x = b.conv(features[0], 64, 64, 3)
        up = b.rng.normal(0, 1 / np.sqrt(64), (64, 64, 2, 2))
        x = b.op("ConvTranspose", x, b.constant(up), b.constant(np.zeros(64)), kernel_shape=[2, 2], strides=[2, 2])
        x = b.conv(b.conv(x, 64, 64, 3), 64, 32)
        b.nodes.append(helper.make_node("Identity", [x], ["output1"]))
        outputs.append(("output1", [1, 32, None if dynamic else height // 4, None if dynamic else width // 4]))
    b.nodes.append(helper.make_node("Concat", rows, ["output0"], axis=1))
    said = {
        "description": f"Ultralytics YOLOv8n{'-seg' if segment else ''} model",
        "author": "Ultralytics",
        "date": "2026-11-20T00:00:00",
        "version": "8.4.0",
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
        "stride": "32",
        "task": "segment" if segment else "detect",
        "batch": "1",
        "imgsz": str([height, width]),
        "names": str(dict(enumerate(names or [f"class {i}" for i in range(classes)]))),
        "args": str({"batch": 1, "half": False, "dynamic": dynamic, "simplify": True, "nms": False}),
        "channels": "3",
    }
    sides = [None, None] if dynamic else [height, width]
    _save(path, b, ("images", TensorProto.FLOAT, [None if dynamic else 1, 3, *sides]), outputs, said | metadata)
    return b.parameters()


def anchors(height: int, width: int) -> int:
    """Boxes that YOLOv8 proposes for an input of that size."""
    return sum((height // s) * (width // s) for s in STRIDES)


def _backbone_and_neck(b: Builder) -> list[str]:
    x = b.conv(b.conv("images", 3, 16, 3, 2), 16, 32, 3, 2)
    x = b.c2f(x, 32, 32, 1, shortcut=True)
    p3 = b.c2f(b.conv(x, 32, 64, 3, 2), 64, 64, 2, shortcut=True)
    p4 = b.c2f(b.conv(p3, 64, 128, 3, 2), 128, 128, 2, shortcut=True)
    p5 = b.sppf(b.c2f(b.conv(p4, 128, 256, 3, 2), 256, 256, 1, shortcut=True), 256)
    n4 = b.c2f(b.cat(b.double(p5), p4), 384, 128, 1, shortcut=False)
    n3 = b.c2f(b.cat(b.double(n4), p3), 192, 64, 1, shortcut=False)
    o4 = b.c2f(b.cat(b.conv(n3, 64, 64, 3, 2), n4), 192, 128, 1, shortcut=False)
    o5 = b.c2f(b.cat(b.conv(o4, 128, 128, 3, 2), p5), 384, 256, 1, shortcut=False)
    return [n3, o4, o5]


def _head(b: Builder, features: Sequence[str], middle: int, outputs: int, bias: float = 0.0) -> str:
    """Two 3x3 and one 1x1 convolution a level, flattened and joined: [1, outputs, anchors]."""
    levels = []
    for x, channels in zip(features, (64, 128, 256), strict=True):
        y = b.conv2d(b.conv(b.conv(x, channels, middle, 3), middle, middle, 3), middle, outputs, bias=bias)
        levels.append(b.op("Reshape", y, b.ints(1, outputs, -1)))
    return b.cat(*levels, axis=2)


def _boxes(b: Builder, features: Sequence[str], height: int, width: int, *, dynamic: bool) -> str:
    raw = _head(b, features, 64, 4 * BINS)
    bins = b.op("Reshape", raw, b.ints(1, 4, BINS, -1))
    bins = b.op("Softmax", b.op("Transpose", bins, perm=[0, 2, 1, 3]), axis=1)
    weight = b.constant(np.arange(BINS).reshape(1, BINS, 1, 1))
    distance = b.op("Reshape", b.op("Conv", bins, weight, kernel_shape=[1, 1]), b.ints(1, 4, -1))
    low, high = b.ops("Split", [distance, b.ints(2, 2)], 2, axis=1)
    centres, strides = (_dynamic_anchors if dynamic else _fixed_anchors)(b, features, height, width)
    start, end = b.op("Sub", centres, low), b.op("Add", centres, high)
    centre = b.op("Mul", b.op("Add", start, end), b.op("Reciprocal", _scalar(b, 2.0)))
    return b.op("Mul", b.cat(centre, b.op("Sub", end, start)), strides)


def _scalar(b: Builder, value: float) -> str:
    return b.op("Cast", b.constant(value, np.float64), to=TensorProto.FLOAT)  # float64: not counted as a weight


def _fixed_anchors(b: Builder, features: Sequence[str], height: int, width: int) -> tuple[str, str]:
    points, strides = [], []
    for s in STRIDES:
        y, x = np.mgrid[0 : height // s, 0 : width // s] + 0.5
        points.append(np.stack((x.ravel(), y.ravel())))
        strides.append(np.full(x.size, s))
    to_float = {"to": TensorProto.FLOAT}
    centres = b.op("Cast", b.constant(np.concatenate(points, axis=1)[None], np.float64), **to_float)
    return centres, b.op("Cast", b.constant(np.concatenate(strides)[None, None], np.float64), **to_float)


def _dynamic_anchors(b: Builder, features: Sequence[str], height: int, width: int) -> tuple[str, str]:
    points, strides = [], []
    zero, one, half = b.constant(0, np.int64), b.constant(1, np.int64), _scalar(b, 0.5)
    for feature, s in zip(features, STRIDES, strict=True):
        shape = b.op("Shape", feature)
        axes = []
        for axis, form in ((3, (1, 1, 1, -1)), (2, (1, 1, -1, 1))):
            count = b.op("Gather", shape, b.constant(axis, np.int64), axis=0)
            along = b.op("Cast", b.op("Range", zero, count, one), to=TensorProto.FLOAT)
            axes.append(b.op("Reshape", b.op("Add", along, half), b.ints(*form)))
        grid = b.op("Concat", b.ints(1, 1), b.op("Slice", shape, b.ints(2), b.ints(4)), axis=0)
        both = b.cat(*(b.op("Expand", axis, grid) for axis in axes))
        points.append(b.op("Reshape", both, b.ints(1, 2, -1)))
        size = b.op("Shape", b.op("Slice", points[-1], b.ints(0), b.ints(1), b.ints(1)))
        strides.append(b.op("Expand", _scalar(b, float(s)), size))
    return b.cat(*points, axis=2), b.cat(*strides, axis=2)


def _scores(b: Builder, features: Sequence[str], classes: int) -> str:
    # The bias makes a few boxes of a random network exceed 0.25, as a trained one on a picture with an object.
    return b.op("Sigmoid", _head(b, features, max(64, min(classes, 100)), classes, bias=-3.0))


def _coefficients(b: Builder, features: Sequence[str]) -> str:
    return _head(b, features, 32, 32)


def unet(
    path: Path,
    *,
    height: int | None = 96,
    width: int | None = 128,
    channels: int = 1,
    classes: int = 1,
    activation: str = "none",
    dtype: str = "float32",
    layout: str = "NCHW",
    seed: int = 0,
    blob: bool = False,
) -> None:
    """Write a two-level U-Net: input ``image``, output ``map`` with that activation in the graph (none: logits).

    ``blob=True`` replaces the random weights by a fixed rule: the logit of class 1 (and on) is how dark the picture is
    around a pixel, so that a dark disc gives a disc.
    """
    b = Builder(seed)
    image = "image"
    if dtype == "uint8":
        image = b.op("Mul", b.op("Cast", image, to=TensorProto.FLOAT), b.constant(1 / 255))
    if layout == "NHWC":
        image = b.op("Transpose", image, perm=[0, 3, 1, 2])
    logits = _dark(b, image, channels, classes) if blob else _two_levels(b, image, channels, classes)
    if activation != "none":
        logits = b.op("Sigmoid", logits) if activation == "sigmoid" else b.op("Softmax", logits, axis=1)
    if layout == "NHWC":
        logits = b.op("Transpose", logits, perm=[0, 2, 3, 1])
    b.nodes.append(helper.make_node("Identity", [logits], ["map"]))
    shape, out = ([None, c, height, width] for c in (channels, classes))
    if layout == "NHWC":
        shape, out = ([None, height, width, c] for c in (channels, classes))
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    _save(path, b, ("image", kind, shape), [("map", out)], {})


def _two_levels(b: Builder, image: str, channels: int, classes: int) -> str:
    top = b.conv(b.conv(image, channels, 8, 3), 8, 8, 3)
    deep = b.conv(b.op("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2]), 8, 16, 3)
    up = b.conv(b.cat(b.double(deep), top), 24, 8, 3)
    return b.op("Mul", b.conv2d(up, 8, classes), b.constant(3.0))


def _dark(b: Builder, image: str, channels: int, classes: int) -> str:
    weight = np.zeros((classes, channels, 3, 3))
    weight[:] = -20 / 9 / channels
    weight[1:] *= np.linspace(1, 0.8, max(classes - 1, 1))[: classes - 1, None, None, None]
    bias = np.full(classes, 8.0)
    if classes > 1:  # class 0 is the background of a softmax
        weight[0], bias[0] = 0, 0
    return b.op("Conv", image, b.constant(weight), b.constant(bias), kernel_shape=[3, 3], pads=[1] * 4)


def _save(path: Path, b: Builder, image: tuple[str, int, list[Any]], outputs: Any, said: dict[str, str]) -> None:
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, _named(shape)) for n, shape in outputs]
    name, kind, shape = image
    graph = helper.make_graph(
        b.nodes, "test", [helper.make_tensor_value_info(name, kind, _named(shape))], ports, b.weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    helper.set_model_props(model, said)
    onnx.save(model, path)


def _named(shape: Sequence[int | None]) -> list[int | str]:
    return [f"axis{i}" if side is None else side for i, side in enumerate(shape)]


def unet_manifest(path: Path, model_id: str = "test-unet", **changes: Any) -> dict[str, Any]:
    """The manifest's content for a graph of ``unet``; ``changes`` go to the tables that have such a key."""
    from usviewer.infer.onnx_file import sha256_of

    manifest: dict[str, Any] = {
        "schema": 1,
        "id": model_id,
        "name": "Test U-Net",
        "version": "1",
        "task": "segment",
        "finding": "other",
        "decoder": "unet",
        "licence": "Apache-2.0",
        "files": {"model": {"path": path.name, "sha256": sha256_of(path)}},
        "input": {
            "name": "image", "width": 128, "height": 96, "channels": 1, "layout": "NCHW", "dtype": "float32",
            "channel_order": "gray", "value_range": [0, 1], "resize": "letterbox", "crop": "whole",
        },
        "output": {"name": "map", "activation": "sigmoid"},
        "labels": [{"name": "disc", "color": "#56b4e9", "edge": "inner"}],
    }  # fmt: skip
    for key, value in changes.items():
        table = manifest["input"] if key in INPUT_KEYS else manifest["output"] if key in OUTPUT_KEYS else manifest
        table[key] = value
    return manifest


INPUT_KEYS = {
    "width", "height", "channels", "layout", "dtype", "channel_order", "value_range", "mean", "std", "resize",
    "interpolation", "pad_value", "crop", "side", "stride",
}  # fmt: skip
OUTPUT_KEYS = {"activation", "background", "mask_threshold", "min_score", "min_area", "max_instances"}
