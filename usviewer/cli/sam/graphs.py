"""The two ONNX files of a converted model, each compared with the network that it was made from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from usviewer.cli.sam.checkpoint import EncoderShape
from usviewer.cli.sam.network import Decoder, Encoder
from usviewer.errors import UserError
from usviewer.infer.session import open_call

OPSET = 17
DECODER_INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")
DECODER_OUTPUTS = ("iou_predictions", "low_res_masks")
# The difference from the network's own values (root mean square) over their spread. Single precision itself gives 1e-6
# to 1e-4; a wrong axis or a lost term gives 0.1 and more.
TOLERANCE = 1e-3
# One file holds no more than 2 GiB: larger encoders (ViT-H) keep their matrices in half precision.
MOST_BYTES = 1_900_000_000


def write_graphs(tensors: Mapping[str, Tensor], shape: EncoderShape, folder: Path) -> tuple[float, float]:
    """Write ``encoder.onnx`` and ``decoder.onnx``; return how far each is from its network.

    Raises ``UserError`` when one differs by more than ``TOLERANCE``.
    """
    encoder = Encoder(tensors, shape, half=_encoder_bytes(tensors) > MOST_BYTES).eval()
    decoder = Decoder(tensors, shape).eval()
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (1, 3, shape.side_px, shape.side_px), np.uint8)
    _export(encoder, [picture], ("image",), ("image_embeddings",), folder / "encoder.onnx")
    far = _difference(encoder, [picture], ("image",), ("image_embeddings",), folder / "encoder.onnx")
    embeddings = rng.normal(0, 1, (1, shape.channels, shape.grid, shape.grid))
    feeds = [embeddings, *_prompt(rng, shape, points=3)]
    _export(decoder, feeds, DECODER_INPUTS, DECODER_OUTPUTS, folder / "decoder.onnx")
    wide = [embeddings, *_prompt(rng, shape, points=2)]  # another number of points than it was exported with
    return far, _difference(decoder, wide, DECODER_INPUTS, DECODER_OUTPUTS, folder / "decoder.onnx")


def _encoder_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(4 * value.numel() for name, value in tensors.items() if name.startswith("image_encoder."))


def _prompt(rng: np.random.Generator, shape: EncoderShape, points: int) -> list[NDArray[np.generic]]:
    cells = 4 * shape.grid
    return [
        rng.uniform(0, shape.side_px, (1, points, 2)),
        np.array([[1, *([0] * (points - 2)), -1]]),
        rng.normal(0, 5, (1, 1, cells, cells)),
        np.ones(1),
    ]


def _tensors(values: Sequence[NDArray[np.generic]]) -> tuple[Tensor, ...]:
    """Bytes stay bytes, everything else is single precision."""
    return tuple(torch.from_numpy(v if v.dtype == np.uint8 else v.astype(np.float32)) for v in values)


def _export(
    network: nn.Module, feeds: Sequence[NDArray[np.generic]], inputs: Sequence[str], outputs: Sequence[str], path: Path
) -> None:
    points = {name: {1: "points"} for name in ("point_coords", "point_labels") if name in inputs}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, and gives the smaller, plainer graph
        torch.onnx.export(
            network,
            _tensors(feeds),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=points,
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )


def _difference(
    network: nn.Module, feeds: Sequence[NDArray[np.generic]], inputs: Sequence[str], outputs: Sequence[str], path: Path
) -> float:
    values = _tensors(feeds)
    with torch.no_grad():
        given = network(*values)
    if isinstance(given, Tensor):
        given = [given]
    call = open_call(path, outputs)
    made = call({name: value.numpy() for name, value in zip(inputs, values, strict=True)})
    worst = 0.0
    for ours, theirs in zip(given, made, strict=True):
        off = ours - torch.from_numpy(theirs)
        worst = max(worst, float(off.square().mean().sqrt()) / (float(ours.std()) + 1e-6))
    if not worst <= TOLERANCE:
        raise UserError(f"{path.name} differs from the checkpoint's network by {worst:.2%}", "Report this as a mistake")
    return worst
