"""SAM's image encoder, prompt encoder and mask decoder (Kirillov et al. 2023, arXiv 2304.02643), and their ONNX files.

Written from the published architecture, for one picture at a time and for export: sizes are those of the tensors, and
what depends on sizes alone is computed once. Channels come last inside the encoder and the transformer. Each of the two
ONNX files is compared with the network that it was made from.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from usviewer.cli.sam.checkpoint import DECODER_HEADS, MASKS, EncoderShape
from usviewer.errors import UserError
from usviewer.infer.session import open_call

# Of ImageNet's pictures, in bytes: what the published encoders were trained with.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

# PyTorch's own value in the decoder, that of the vision transformer in the encoder and in the norms over channels.
DECODER_EPS, EPS = 1e-5, 1e-6
OPSET = 17
DECODER_INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")
DECODER_OUTPUTS = ("iou_predictions", "low_res_masks")
# The difference from the network's own values (root mean square) over their spread. Single precision itself gives 1e-6
# to 1e-4; a wrong axis or a lost term gives 0.1 and more.
TOLERANCE = 1e-3
# One file holds no more than 2 GiB: larger encoders (ViT-H) keep their matrices in half precision.
MOST_BYTES = 1_900_000_000


class _Named(nn.Module):
    """Holds tensors under their names in the checkpoint; half-precision ones are used in single precision."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str, *, half: bool = False) -> None:
        super().__init__()
        for name, value in tensors.items():
            if name.startswith(prefix):
                kept = value
                if half and value.dim() > 1:  # only matrices: they are what fills the file
                    kept = value.half()
                # PyTorch allows no dot in the name of a buffer.
                self.register_buffer(name.replace(".", "/"), kept, persistent=True)

    def get(self, name: str) -> Tensor:
        """The tensor of that name in the checkpoint, in single precision."""
        value: Tensor = getattr(self, name.replace(".", "/"))
        if value.dtype == torch.float16:
            return value.float()
        return value

    def linear(self, name: str, x: Tensor) -> Tensor:
        """A fully connected layer over the last axis."""
        return functional.linear(x, self.get(f"{name}.weight"), self.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        """Layer norm over the last axis."""
        weight = self.get(f"{name}.weight")
        return functional.layer_norm(x, weight.shape, weight, self.get(f"{name}.bias"), eps)

    def norm2d(self, name: str, x: Tensor) -> Tensor:
        """Layer norm over the channels of [1, C, h, w]."""
        return self.norm(name, x.permute(0, 2, 3, 1), EPS).permute(0, 3, 1, 2)


class Encoder(_Named):
    """Bytes [1, 3, side, side] to embeddings [1, C, h, w]: a vision transformer with windows and relative positions."""

    mean: Tensor
    std: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], shape: EncoderShape, *, half: bool = False) -> None:
        super().__init__(tensors, "image_encoder.", half=half)
        self.shape = shape
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.embed((image.float() - self.mean) / self.std)

    def embed(self, image: Tensor) -> Tensor:
        """From normalised pixels."""
        name = "image_encoder."
        weight, bias = self.get(name + "patch_embed.proj.weight"), self.get(name + "patch_embed.proj.bias")
        x = functional.conv2d(image, weight, bias, stride=self.shape.patch_px).permute(0, 2, 3, 1)
        x = x + self.get(name + "pos_embed")
        for number, window in enumerate(self.shape.windows):
            x = self._block(f"{name}blocks.{number}.", x, window)
        x = functional.conv2d(x.permute(0, 3, 1, 2), self.get(name + "neck.0.weight"))
        x = functional.conv2d(self.norm2d(name + "neck.1", x), self.get(name + "neck.2.weight"), padding=1)
        return self.norm2d(name + "neck.3", x)

    def _block(self, name: str, x: Tensor, window: int) -> Tensor:
        inner = self.norm(name + "norm1", x, EPS)
        side = self.shape.grid
        if window:
            seen = _windowed(inner, window, side, lambda y: self._attend(name, y))
        else:
            seen = self._attend(name, inner)
        x = x + seen
        y = functional.gelu(self.linear(name + "mlp.lin1", self.norm(name + "norm2", x, EPS)))
        return x + self.linear(name + "mlp.lin2", y)

    def _attend(self, name: str, x: Tensor) -> Tensor:
        """Attention within each [n, side, side, width], with a bias for the distance along each axis.

        The bias is taken apart into rows and columns as in MViTv2 (Li et al. 2022, arXiv 2112.01526).
        """
        n, side, heads, depth = x.shape[0], x.shape[1], self.shape.heads, self.shape.width // self.shape.heads
        qkv = self.linear(name + "attn.qkv", x).view(n, side * side, 3, heads, depth).permute(2, 0, 3, 1, 4)
        q, k, v = (part.reshape(n * heads, side * side, depth) for part in qkv.unbind(0))
        places = torch.arange(side)
        distance = places[:, None] - places[None, :] + side - 1
        down, across = (self.get(f"{name}attn.rel_pos_{axis}")[distance].transpose(1, 2)[None] for axis in "hw")
        grid = q.view(n * heads, side, side, depth)
        bias_y = grid @ down
        bias_x = (grid.transpose(1, 2) @ across).transpose(1, 2)
        scores = ((q * depth**-0.5) @ k.transpose(1, 2)).view(n * heads, side, side, side, side)
        scores = (scores + bias_y[:, :, :, :, None] + bias_x[:, :, :, None, :]).view(
            n * heads, side * side, side * side
        )
        seen = (scores.softmax(-1) @ v).view(n, heads, side, side, depth).permute(0, 2, 3, 1, 4)
        return self.linear(name + "attn.proj", seen.reshape(n, side, side, heads * depth))


def _windowed(x: Tensor, window: int, side: int, attend: Callable[[Tensor], Tensor]) -> Tensor:
    """Attention in windows; where they do not fit, the last ones are filled up with zeros."""
    count = math.ceil(side / window)
    pad = count * window - side
    width = x.shape[3]
    x = functional.pad(x, (0, 0, 0, pad, 0, pad)).view(1, count, window, count, window, width)
    x = attend(x.permute(0, 1, 3, 2, 4, 5).reshape(count * count, window, window, width))
    x = x.view(1, count, count, window, window, width).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(1, count * window, count * window, width)[:, :side, :side]


class Decoder(_Named):
    """Embeddings and prompts to ``iou_predictions`` [1, 4] and ``low_res_masks`` [1, 4, 4h, 4w] (docs/models.md)."""

    places: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], shape: EncoderShape) -> None:
        rest = {name: value for name, value in tensors.items() if not name.startswith("image_encoder.")}
        super().__init__(rest, "")
        self.shape = shape
        kind = tensors["prompt_encoder.no_mask_embed.weight"].dtype
        middles = (torch.arange(shape.grid, dtype=kind) + 0.5) / shape.grid
        grid = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), dim=-1)
        self.register_buffer("places", self._encoded(grid).view(1, shape.grid**2, shape.channels))

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See the class; the inputs are those of the original export."""
        prompts = self._points(point_coords, point_labels)
        tokens = torch.cat((self.get("mask_decoder.iou_token.weight"), self.get("mask_decoder.mask_tokens.weight")))
        tokens = torch.cat((tokens[None], prompts), dim=1)
        source = image_embeddings + self._dense(mask_input, has_mask_input)
        keys = source.flatten(2).transpose(1, 2)
        tokens, keys = self._transform(tokens, keys)
        return self._answer(tokens, keys)

    def _encoded(self, places: Tensor) -> Tensor:
        """Positions in [0, 1] as sines and cosines of random frequencies (Tancik et al. 2020, arXiv 2006.10739)."""
        matrix = self.get("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")
        phase = 2 * math.pi * ((2 * places - 1) @ matrix)
        return torch.cat((phase.sin(), phase.cos()), dim=-1)

    def _points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """[1, N, C]: position and kind of every point; one of kind -1 fills a gap and has no position."""
        kind = labels[..., None]
        # Half a pixel more: SAM counts points from the middle of the first pixel.
        embedded = self._encoded((coords + 0.5) / self.shape.side_px) * (kind != -1).to(coords.dtype)
        embedded = embedded + (kind == -1).to(coords.dtype) * self.get("prompt_encoder.not_a_point_embed.weight")
        for number in range(4):
            row = self.get(f"prompt_encoder.point_embeddings.{number}.weight")
            embedded = embedded + (kind == number).to(coords.dtype) * row
        return embedded

    def _dense(self, mask: Tensor, given: Tensor) -> Tensor:
        """[1, C, h, w]: the mask made small, or the embedding that stands for none."""
        name = "prompt_encoder.mask_downscaling."
        x = mask
        for conv, norm in ((0, 1), (3, 4)):
            x = functional.conv2d(x, self.get(f"{name}{conv}.weight"), self.get(f"{name}{conv}.bias"), stride=2)
            x = functional.gelu(self.norm2d(f"{name}{norm}", x))
        x = functional.conv2d(x, self.get(name + "6.weight"), self.get(name + "6.bias"))
        none = self.get("prompt_encoder.no_mask_embed.weight").view(1, -1, 1, 1)
        return given * x + (1 - given) * none

    def _transform(self, tokens: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The two-way transformer: tokens look at themselves and the picture, the picture looks back."""
        queries = tokens
        for number in range(self.shape.decoder_layers):
            name = f"mask_decoder.transformer.layers.{number}."
            if number == 0:  # the tokens are nothing yet but their own positions
                queries = self._attend(name + "self_attn", queries, queries, queries)
            else:
                placed = queries + tokens
                queries = queries + self._attend(name + "self_attn", placed, placed, queries)
            queries = self.norm(name + "norm1", queries, DECODER_EPS)
            seen = self._attend(name + "cross_attn_token_to_image", queries + tokens, keys + self.places, keys)
            queries = self.norm(name + "norm2", queries + seen, DECODER_EPS)
            inner = functional.relu(self.linear(name + "mlp.lin1", queries))
            weight = 1.0
            if self.shape.mlp_twice:
                weight = 2.0
            queries = self.norm(name + "norm3", weight * queries + self.linear(name + "mlp.lin2", inner), DECODER_EPS)
            seen = self._attend(name + "cross_attn_image_to_token", keys + self.places, queries + tokens, queries)
            keys = self.norm(name + "norm4", keys + seen, DECODER_EPS)
        name = "mask_decoder.transformer."
        seen = self._attend(name + "final_attn_token_to_image", queries + tokens, keys + self.places, keys)
        return self.norm(name + "norm_final_attn", queries + seen, DECODER_EPS), keys

    def _attend(self, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self._heads(self.linear(f"{name}.{one}_proj", x)) for one, x in (("q", q), ("k", k), ("v", v)))
        scores = (q @ k.transpose(2, 3)) / math.sqrt(q.shape[3])
        seen = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.linear(f"{name}.out_proj", seen)

    @staticmethod
    def _heads(x: Tensor) -> Tensor:
        heads: Tensor = x.reshape(1, -1, DECODER_HEADS, x.shape[2] // DECODER_HEADS)
        return heads.transpose(1, 2)

    def _answer(self, tokens: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The masks as products of what the tokens and the enlarged picture say, and how good each may be."""
        grid, name = self.shape.grid, "mask_decoder.output_upscaling."
        x = keys.transpose(1, 2).reshape(1, self.shape.channels, grid, grid)
        x = functional.conv_transpose2d(x, self.get(name + "0.weight"), self.get(name + "0.bias"), stride=2)
        x = functional.gelu(self.norm2d(name + "1", x))
        x = functional.gelu(
            functional.conv_transpose2d(x, self.get(name + "3.weight"), self.get(name + "3.bias"), stride=2)
        )
        weights = [
            self._perceptron(f"mask_decoder.output_hypernetworks_mlps.{number}", tokens[:, 1 + number])
            for number in range(MASKS)
        ]
        masks = torch.stack(weights, dim=1) @ x.flatten(2)
        # The first token is for the scores, each of the next ones for a mask.
        scores = self._perceptron("mask_decoder.iou_prediction_head", tokens[:, 0])
        return scores, masks.view(1, MASKS, 4 * grid, 4 * grid)

    def _perceptron(self, name: str, x: Tensor) -> Tensor:
        for number in (0, 1):
            x = functional.relu(self.linear(f"{name}.layers.{number}", x))
        return self.linear(f"{name}.layers.2", x)


# --- the ONNX files ---------------------------------------------------------------------------------------------------


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
