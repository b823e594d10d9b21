"""From a checkpoint file to tensors under the names of the original SAM, and to the sizes of its network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from usviewer.errors import UserError

Tensors = Mapping[str, torch.Tensor]

# The decoder's heads leave no trace in its tensors; the publications say 8.
DECODER_HEADS = 8
MASKS = 4
# What a training framework keeps beside the weights. Its objects are read as empty shells: nothing of them is run.
_SHELLS = ("mmengine.", "mmcv.", "mmdet.", "mmpretrain.", "numpy.")

# Rows of UltraSam's one table of embeddings (arXiv 2411.16222, published configuration).
_NO_MASK, _POINTS, _NOT_A_POINT, _MASK_TOKENS, _IOU_TOKEN, _ROWS = 0, slice(1, 5), 5, slice(6, 10), 10, 11


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Sizes of a network. ``windows`` has a side for every layer of the encoder, 0 where attention is global.

    ``mlp_twice``: the decoder adds the input of its perceptron twice, as UltraSam's framework does.
    """

    side_px: int
    patch_px: int
    width: int
    heads: int
    windows: tuple[int, ...]
    channels: int
    decoder_layers: int
    mlp_twice: bool

    @property
    def grid(self) -> int:
        """Rows and columns of the embedding."""
        return self.side_px // self.patch_px


def read_checkpoint(path: Path, kind: str) -> tuple[Tensors, EncoderShape]:
    """Read the tensors of a checkpoint in single precision, and the sizes of its network.

    Raises ``UserError`` for a file that is not a checkpoint, that carries code, or that lacks tensors of that ``kind``
    ("sam" or "ultrasam"), which are then named.
    """
    tensors = _strip(_state(_load(path), path))
    if kind == "ultrasam":
        tensors = _from_ultrasam(tensors, path.name)
    shape = shape_of(tensors, path.name, mlp_twice=kind == "ultrasam")
    wanted = expected(shape)
    missing = sorted(name for name in wanted if name not in tensors)
    if missing:
        raise _incomplete(path.name, missing)
    wrong = sorted(name for name, size in wanted.items() if size and tuple(tensors[name].shape) != size)
    if wrong:
        raise UserError(f"{path.name} has tensors of another shape than SAM's: {_few(wrong)}", "Give another file")
    return {name: tensors[name].float() for name in wanted}, shape


class _Shell:
    """Takes the place of a framework's object that is not needed: it accepts any state and keeps none."""

    def __new__(cls, *_: object, **__: object) -> _Shell:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _load(path: Path) -> Any:
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check the name of the file") from None
    except Exception:  # anything may be wrong with a file that is not a checkpoint
        raise UserError(f"{path.name} is not a checkpoint of PyTorch, or cut short", "Download it again") from None
    strange = [name for name in unknown if not name.startswith(_SHELLS)]
    if strange:
        raise UserError(
            f"{path.name} carries more than weights ({_few(strange)})", "Give a file that holds weights only"
        )
    # A class of its own for each name: the loader keeps them apart by class.
    shells: list[Any] = [(type("Shell", (_Shell,), {}), name) for name in unknown]
    try:
        with torch.serialization.safe_globals(shells):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # as above
        raise UserError(f"{path.name} cannot be read as weights", "Give a file that holds weights only") from None


def _state(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    # Training frameworks wrap the weights, each under a key of its own.
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        loaded = {}
    state = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise UserError(f"{path.name} holds no weights", "Give the checkpoint of SAM or UltraSam")
    return state


def _strip(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the prefix that training on several computers leaves."""
    return {name.removeprefix("module."): value for name, value in tensors.items()}


# --- UltraSam: names of its framework ---------------------------------------------------------------------------------

_RENAMES = (
    (r"backbone\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"backbone\.pos_embed$", "image_encoder.pos_embed"),
    (r"backbone\.channel_reduction\.", "image_encoder.neck."),
    (r"backbone\.layers\.(\d+)\.ln(\d)\.", r"image_encoder.blocks.\1.norm\2."),
    (r"backbone\.layers\.(\d+)\.ffn\.layers\.0\.0\.", r"image_encoder.blocks.\1.mlp.lin1."),
    (r"backbone\.layers\.(\d+)\.ffn\.layers\.1\.", r"image_encoder.blocks.\1.mlp.lin2."),
    (r"backbone\.layers\.(\d+)\.attn\.", r"image_encoder.blocks.\1.attn."),
    (r"decoder\.post_norm\.", "mask_decoder.transformer.norm_final_attn."),
    (r"decoder\.layers\.(\d+)\.mlp\.layers\.0\.0\.", r"mask_decoder.transformer.layers.\1.mlp.lin1."),
    (r"decoder\.layers\.(\d+)\.mlp\.layers\.1\.", r"mask_decoder.transformer.layers.\1.mlp.lin2."),
    (r"decoder\.", "mask_decoder.transformer."),
    (r"bbox_head\.", "mask_decoder."),
)
_TABLE = "prompt_encoder.label_encoder.label_embedding.weight"


def _from_ultrasam(tensors: Tensors, name: str) -> dict[str, torch.Tensor]:
    """Give UltraSam's tensors SAM's names: projections split, the table of embeddings taken apart.

    Raises ``UserError`` where the table is missing or has other rows; ``name`` is the file's.
    """
    renamed: dict[str, torch.Tensor] = {}
    for key, value in tensors.items():
        new = key
        for pattern, replacement in _RENAMES:
            new, count = re.subn("^" + pattern, replacement, new)
            if count:
                break
        if "mask_decoder" in new:  # SAM's decoder has no such level; its encoder has
            new = new.replace(".attn.", ".")
        renamed |= _attention(new, value)
    table = renamed.pop(_TABLE, None)
    if table is None or table.shape[0] != _ROWS:
        raise _incomplete(name, [f"{_TABLE} with {_ROWS} rows"])
    prompt = "prompt_encoder."
    renamed[prompt + "no_mask_embed.weight"] = table[_NO_MASK : _NO_MASK + 1]
    renamed[prompt + "not_a_point_embed.weight"] = table[_NOT_A_POINT : _NOT_A_POINT + 1]
    for number, row in enumerate(table[_POINTS]):
        renamed[f"{prompt}point_embeddings.{number}.weight"] = row[None]
    renamed["mask_decoder.mask_tokens.weight"] = table[_MASK_TOKENS]
    renamed["mask_decoder.iou_token.weight"] = table[_IOU_TOKEN : _IOU_TOKEN + 1]
    return renamed


def _attention(key: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """``q_proj_weight`` becomes ``q_proj.weight``; ``in_proj_bias`` is the biases of q, k and v in this order."""
    stem, _, last = key.rpartition(".")
    if last == "in_proj_bias":
        return {f"{stem}.{one}_proj.bias": part for one, part in zip("qkv", value.chunk(3), strict=True)}
    if last in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        return {f"{stem}.{last.removesuffix('_weight')}.weight": value}
    return {key: value}


# --- what there must be -----------------------------------------------------------------------------------------------


def shape_of(tensors: Tensors, name: str, *, mlp_twice: bool = False) -> EncoderShape:
    """The sizes, read from the tensors. Raises ``UserError`` where those that tell are not there."""
    telling = ["image_encoder.patch_embed.proj.weight", "image_encoder.pos_embed", "image_encoder.neck.0.weight"]
    layers = _count(tensors, r"image_encoder\.blocks\.(\d+)\.")
    relative = [f"image_encoder.blocks.{number}.attn.rel_pos_h" for number in range(max(1, layers))]
    missing = [key for key in (*telling, *relative) if key not in tensors]
    if missing:
        raise _incomplete(name, missing)
    width, patch = tensors[telling[0]].shape[0], tensors[telling[0]].shape[2]
    grid = tensors[telling[1]].shape[1]
    # A table of relative positions has a row for each distance, -(n - 1) to n - 1, within a window of side n.
    spans = [(tensors[key].shape[0] + 1) // 2 for key in relative]
    return EncoderShape(
        side_px=grid * patch,
        patch_px=patch,
        width=width,
        heads=width // tensors[relative[0]].shape[1],
        windows=tuple(0 if span == grid else span for span in spans),
        channels=tensors[telling[2]].shape[0],
        decoder_layers=_count(tensors, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        mlp_twice=mlp_twice,
    )


def expected(shape: EncoderShape) -> dict[str, tuple[int, ...]]:
    """Every tensor that the network uses, with its size where that is not the tensor's own to say (empty)."""
    names: dict[str, tuple[int, ...]] = {}

    def add(*stems: str, bias: bool = True) -> None:
        for stem in stems:
            names[f"{stem}.weight"] = ()
            if bias:
                names[f"{stem}.bias"] = ()

    encoder, prompt, decoder = "image_encoder.", "prompt_encoder.", "mask_decoder."
    add(encoder + "patch_embed.proj")
    names[encoder + "pos_embed"] = (1, shape.grid, shape.grid, shape.width)
    for number in range(len(shape.windows)):
        block = f"{encoder}blocks.{number}."
        add(*(block + part for part in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")))
        span = 2 * (shape.windows[number] or shape.grid) - 1
        names[block + "attn.rel_pos_h"] = names[block + "attn.rel_pos_w"] = (span, shape.width // shape.heads)
    add(encoder + "neck.0", encoder + "neck.2", bias=False)
    add(encoder + "neck.1", encoder + "neck.3")
    names[prompt + "pe_layer.positional_encoding_gaussian_matrix"] = (2, shape.channels // 2)
    add(*(f"{prompt}point_embeddings.{number}" for number in range(4)), bias=False)
    add(prompt + "not_a_point_embed", prompt + "no_mask_embed", bias=False)
    add(*(f"{prompt}mask_downscaling.{number}" for number in (0, 1, 3, 4, 6)))
    for number in range(shape.decoder_layers):
        layer = f"{decoder}transformer.layers.{number}."
        add(*(f"{layer}norm{one}" for one in (1, 2, 3, 4)), layer + "mlp.lin1", layer + "mlp.lin2")
        for attention in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
            add(*(f"{layer}{attention}.{part}_proj" for part in ("q", "k", "v", "out")))
    add(*(f"{decoder}transformer.final_attn_token_to_image.{part}_proj" for part in ("q", "k", "v", "out")))
    add(decoder + "transformer.norm_final_attn", *(f"{decoder}output_upscaling.{number}" for number in (0, 1, 3)))
    names[decoder + "iou_token.weight"] = (1, shape.channels)
    names[decoder + "mask_tokens.weight"] = (MASKS, shape.channels)
    for number in range(MASKS):
        add(*(f"{decoder}output_hypernetworks_mlps.{number}.layers.{one}" for one in range(3)))
    add(*(f"{decoder}iou_prediction_head.layers.{one}" for one in range(3)))
    return names


def _count(tensors: Tensors, pattern: str) -> int:
    return max((int(found[1]) + 1 for key in tensors if (found := re.match(pattern, key))), default=0)


def _incomplete(name: str, missing: list[str]) -> UserError:
    return UserError(f"{name} lacks {len(missing)} tensor(s): {_few(missing)}", "Check the file and --kind")


def _few(names: list[str]) -> str:
    if len(names) <= 8:
        return ", ".join(names)
    return f"{', '.join(names[:8])} and {len(names) - 8} more"
