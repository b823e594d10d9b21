"""The reference model of the speed figures: YOLOv8n-seg with one class, trained briefly on phantoms.

Speed does not depend on what a network has learnt, the check of an engine does: without masks there is nothing to
compare. A few hundred steps are enough for masks to appear; this is **not** a model for patients. The ONNX file
(13 MB) is not kept in the repository:

    python -m benchmarks.yolov8_reference --out reference.onnx
    usviewer models add reference.onnx --id yolov8n-seg-reference
    usviewer bench --model yolov8n-seg-reference

The file is laid out as an Ultralytics export of the same architecture is (dynamic height and width, names of the
weights included), so that `python -m benchmarks.peer` can run the very same weights.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.losses import DetectionLoss, assign
from models.training.networks.yolov8 import ConvUnit, YoloV8, anchor_points, boxes_xywh
from models.training.train import TrainingSettings, learning_rate_at
from usviewer.acquire.phantom import PhantomPlane, PhantomSource, random_spec

SIDE_PX = 320  # of a training window: a quarter of the input's pixels, for speed
FRAME_PX = (640, 360)
INPUT_PX = (640, 640)
PADDING = 114  # the grey with which the package fills a picture up
OPSET = 17
EVERY_ABSENT = 6

# Our names of the modules, and those of an Ultralytics export.
_NAMES = (
    (r"^backbone\.stem\.", "model.0."),
    (r"^backbone\.stages\.(\d+)\.0\.", lambda m: f"model.{1 + 2 * int(m[1])}."),
    (r"^backbone\.stages\.(\d+)\.1\.", lambda m: f"model.{2 + 2 * int(m[1])}."),
    (r"^backbone\.pool\.", "model.9."),
    (r"^neck\.up_middle\.", "model.12."),
    (r"^neck\.up_fine\.", "model.15."),
    (r"^neck\.down_fine\.", "model.16."),
    (r"^neck\.down_middle\.", "model.18."),
    (r"^neck\.down_coarse\.", "model.19."),
    (r"^neck\.last\.", "model.21."),
    (r"^head\.boxes\.", "model.22.cv2."),
    (r"^head\.scores\.", "model.22.cv3."),
    (r"^head\.masks\.", "model.22.cv4."),
    (r"^head\.mean\.conv\.", "model.22.dfl.conv."),
    (r"^prototypes\.enter\.", "model.22.proto.cv1."),
    (r"^prototypes\.raise_\.", "model.22.proto.upsample."),
    (r"^prototypes\.body\.(\d)\.", lambda m: f"model.22.proto.cv{2 + int(m[1])}."),
    (r"\.enter\.", ".cv1."),
    (r"\.leave\.", ".cv2."),
    (r"\.chain\.(\d+)\.body\.(\d)\.", lambda m: f".m.{m[1]}.cv{1 + int(m[2])}."),
)


def published_name(name: str) -> str:
    """The name that a weight of ours has in an Ultralytics export."""
    for pattern, substitute in _NAMES:
        name = re.sub(pattern, substitute, name)
    return name


def render(count: int) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Random phantoms as the network sees them, (640, 640, 3) with padding, and the lumen's mask; not all have one."""
    width, height = FRAME_PX
    top = (INPUT_PX[1] - height) // 2
    frames = []
    for seed in range(count):
        plane = PhantomPlane.TRANSVERSE
        if seed % EVERY_ABSENT == 0:  # so that it learns to find nothing
            plane = PhantomPlane.ABSENT
        spec = replace(random_spec(seed), width=width, height=height, plane=plane)
        source = PhantomSource(spec)
        index = seed * 7 % 90
        pixels, inside = np.full((*INPUT_PX[::-1], 3), PADDING, np.uint8), np.zeros(INPUT_PX[::-1], np.bool_)
        pixels[top : top + height] = source.seek(index).pixels
        if (mask := source.truth_mask(index)) is not None:
            inside[top : top + height] = mask
        frames.append((pixels, inside))
    return frames


def batches(
    frames: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]], size: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless windows of the frames as (images [N, 3, S, S] uint8, masks [N, S, S], truth [N, 1, 5])."""
    while True:
        chosen = [_window(*frames[int(i)], rng) for i in rng.integers(0, len(frames), size)]
        images = torch.from_numpy(np.stack([image for image, _ in chosen])).permute(0, 3, 1, 2)
        masks = torch.from_numpy(np.stack([mask for _, mask in chosen]))
        yield images, masks, torch.stack([_truth(mask) for mask in masks])


def _window(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A square cut-out that holds the vessel whole where there is one, mirrored or not, brighter or darker."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0 = _start(columns, width, rng)
    y0 = _start(rows, height, rng)
    cut = np.s_[y0 : y0 + SIDE_PX, x0 : x0 + SIDE_PX]
    image, inside = pixels[cut].astype(np.float32), mask[cut]
    if rng.random() < 0.5:
        image = np.where(image == PADDING, image, image * rng.uniform(0.7, 1.3))
    if rng.random() < 0.5:
        image, inside = image[:, ::-1], inside[:, ::-1]
    return np.ascontiguousarray(np.clip(image, 0, 255), np.uint8), np.ascontiguousarray(inside)


def _start(filled: NDArray[np.intp], length: int, rng: np.random.Generator) -> int:
    low, high = 0, length - SIDE_PX
    if filled.size and filled[-1] - filled[0] < SIDE_PX - 8:
        low, high = max(low, int(filled[-1]) + 4 - SIDE_PX), min(high, max(0, int(filled[0]) - 4))
    return int(rng.integers(min(low, high), high + 1))


def _truth(mask: Tensor) -> Tensor:
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if not len(rows):
        return torch.tensor([[-1.0, -1.0, -1.0, -1.0, -1.0]])
    return torch.tensor([[0.0, float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1]])


class Loss:
    """Boxes and scores as for a detector, and cross-entropy of the masks inside the boxes."""

    def __init__(self) -> None:
        self._boxes = DetectionLoss((SIDE_PX, SIDE_PX))
        self._points, self._strides = anchor_points((SIDE_PX, SIDE_PX))

    def __call__(self, model: YoloV8, images: Tensor, masks: Tensor, truth: Tensor) -> Tensor:
        """Of one batch."""
        maps = model.neck(model.backbone(images.float() / 255))
        bins, scores, coefficients = model.head(maps)
        assert coefficients is not None and model.prototypes is not None
        prototypes = model.prototypes(maps[0]).float()
        raw = torch.cat([bins, scores], dim=1).float()
        with torch.no_grad():
            centre_size = boxes_xywh(model.head.mean(bins.float()), self._points, self._strides)
            centre, half = centre_size[:, :2], centre_size[:, 2:] / 2
            boxes = torch.cat([centre - half, centre + half], dim=1).transpose(1, 2)
            given = assign(scores.float().sigmoid().transpose(1, 2), boxes, self._points.T, truth)
        return self._boxes(raw, truth) + 6.0 * _mask_loss(
            coefficients.float(), prototypes, given.positive, masks, truth
        )


def _mask_loss(coefficients: Tensor, prototypes: Tensor, positive: Tensor, masks: Tensor, truth: Tensor) -> Tensor:
    losses = []
    grid = torch.arange(prototypes.shape[-1]) * 4 + 2
    for image in torch.nonzero(positive.any(dim=1)).flatten():
        weights = coefficients[image][:, positive[image]]
        logits = torch.einsum("kp,khw->phw", weights, prototypes[image])
        wanted = nn.functional.avg_pool2d(masks[image][None, None].float(), 4)[0]
        x0, y0, x1, y1 = truth[image, 0, 1:]
        inside = ((grid > x0 - 8) & (grid < x1 + 8))[None, :] & ((grid > y0 - 8) & (grid < y1 + 8))[:, None]
        cross = nn.functional.binary_cross_entropy_with_logits(logits, wanted.expand_as(logits), reduction="none")
        losses.append((cross * inside).sum(dim=(1, 2)).mean() / inside.sum())
    if not losses:  # no picture of the batch has a vessel; a constant would have no gradient
        return prototypes.sum() * 0
    return torch.stack(losses).mean()


def train(steps: int, frames: int, batch: int, threads: int) -> YoloV8:
    """A network whose masks appear on phantoms."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    settings = TrainingSettings(steps, batch, learning_rate=2e-3, warm_up_steps=30)
    model = YoloV8(1, 32).train().to(memory_format=torch.channels_last)
    loss_of, stream = Loss(), batches(render(frames), batch, np.random.default_rng(1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=1e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, settings)
        images, masks, truth = next(stream)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, images, masks, truth)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    trained: YoloV8 = model.eval().to(memory_format=torch.contiguous_format)
    return trained


def fuse(model: nn.Module) -> nn.Module:
    """Batch norms folded into their convolutions, as an export has them."""
    units: list[Any] = [unit for unit in model.modules() if isinstance(unit, ConvUnit)]
    for unit in units:
        unit.conv = nn.utils.fuse_conv_bn_eval(unit.conv, unit.norm)
        unit.norm = nn.Identity()
    return model


def export(model: YoloV8, path: Path) -> None:
    """Write the graph in the published layout, with the metadata by which `usviewer models add` knows it.

    Next to it `NAME-batch.onnx`, the same with an open batch size: that is how the peer tells whether it may run a file
    at the picture's aspect ratio.
    """
    fuse(model)
    axes = {"images": {2: "height", 3: "width"}, "output0": {2: "anchors"}, "output1": {2: "rows", 3: "columns"}}
    aside = path.with_suffix(".tmp.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, and gives the smaller, plainer graph
        torch.onnx.export(
            model,
            (torch.rand(1, 3, 384, 640),),
            str(aside),
            input_names=["images"],
            output_names=["output0", "output1"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load(str(aside))
    _rename(graph)
    said = {
        "description": "YOLOv8n-seg, trained briefly on phantoms: for speed figures only",
        "author": "usviewer",
        "license": "Apache-2.0",
        "version": "1",
        "date": "2026-11-20",
        "stride": "32",
        "task": "segment",
        "batch": "1",
        "imgsz": "[640, 640]",
        "names": "{0: 'aorta'}",
        "args": "{'batch': 1, 'half': False, 'dynamic': True, 'nms': False}",
        "channels": "3",
    }
    onnx.helper.set_model_props(graph, said)
    for batch, target in ((None, path.with_stem(f"{path.stem}-batch")), (1, path)):
        _set_batch(graph, batch)
        onnx.checker.check_model(graph)
        onnx.save(graph, str(aside))
        aside.replace(target)


def _set_batch(model: onnx.ModelProto, batch: int | None) -> None:
    for value in (*model.graph.input, *model.graph.output):
        side = value.type.tensor_type.shape.dim[0]
        side.Clear()
        if batch is None:
            side.dim_param = "batch"
        else:
            side.dim_value = batch


def _rename(model: onnx.ModelProto) -> None:
    names = {weight.name: published_name(weight.name) for weight in model.graph.initializer}
    for weight in model.graph.initializer:
        weight.name = names[weight.name]
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    export(train(args.steps, args.frames, args.batch, args.threads), args.out)


if __name__ == "__main__":
    main()
