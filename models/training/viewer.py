"""What the viewer would find: its own decoder on the outputs of a network in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.training.data.pictures import PlacedPicture
from usviewer.infer.decode import decode
from usviewer.infer.manifest import ModelSpec, parse_manifest
from usviewer.infer.prediction import Instance
from usviewer.infer.preprocess import Placement

Gray = NDArray[np.uint8]
BATCH = 16


def spec_of(manifest: Mapping[str, object]) -> ModelSpec:
    """The viewer's view of a manifest whose file is not written yet: enough to decode with."""
    filled = {**manifest, "files": {"model": {"path": "model.onnx", "sha256": "0" * 64}}}
    return parse_manifest(filled, Path("."))


def find_in(
    model: nn.Module, pictures: Sequence[PlacedPicture], manifest: Mapping[str, object]
) -> Iterator[tuple[Instance, ...]]:
    """What the viewer would find in each picture, in pixels of the picture before it was placed."""
    spec = spec_of(manifest)
    outputs = raw_outputs(model, [picture.gray for picture in pictures])
    for picture, output in zip(pictures, outputs, strict=True):
        yield find(output, picture.placement, spec)


@torch.no_grad()
def raw_outputs(model: nn.Module, pictures: Sequence[Gray]) -> Iterator[NDArray[np.float32]]:
    """What the network gives for each of the placed pictures, float32; a batch at a time."""
    device = next(model.parameters()).device
    model.eval()
    for start in range(0, len(pictures), BATCH):
        block = torch.from_numpy(np.stack(pictures[start : start + BATCH])[:, None]).to(device)
        yield from model(block).float().cpu().numpy()  # in full precision, as the viewer computes


def find(output: NDArray[np.float32], placement: Placement, spec: ModelSpec) -> tuple[Instance, ...]:
    """What the viewer would find in one picture's output (without its batch axis)."""
    return decode((output[None],), placement, spec)
