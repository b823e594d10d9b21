"""Makes a model's folder from a checkpoint: graphs, manifest, card and golden case, all of them or none."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from usviewer.errors import UserError
from usviewer.infer import registry
from usviewer.infer.exports import PAD_VALUE
from usviewer.infer.manifest import MANIFEST, SCHEMA, ModelSpec, check_id, read_manifest
from usviewer.infer.onnx_file import sha256_of

KINDS = ("sam", "ultrasam")
TITLES = {"sam": "SAM", "ultrasam": "UltraSam"}
LICENCE = "not stated: the weights were brought by the user, their own licence applies"
VERIFIED = "converted from the checkpoint, compared with its network"


@dataclass(frozen=True, slots=True)
class _Converted:
    """The model that was made, and how far each graph is from the network it was made from."""

    spec: ModelSpec
    encoder_difference: float
    decoder_difference: float


def convert(checkpoint: Path, kind: str, out: Path | None = None, model_id: str | None = None) -> _Converted:
    """Convert a checkpoint to a model's folder ``out``, or install it among the user's models.

    Raises ``UserError`` and leaves nothing behind where PyTorch is not here, the checkpoint is not of that ``kind``, or
    a graph does not agree with its network.
    """
    if importlib.util.find_spec("torch") is None:
        raise UserError("Converting needs PyTorch, which is not installed", "pip install 'usviewer[train]'")
    if not os.path.isfile(checkpoint):  # the methods of Path raise for a name that is too long
        raise UserError(f"There is no file {checkpoint}", "Check the name")
    if out is not None and os.path.exists(out):
        raise UserError(f"{out} is there already", "Give another folder with --out")
    parent, name = None, kind
    if out is not None:
        parent, name = out.parent, out.name.lower()
    name = check_id(model_id or name)
    with ExitStack() as stack:
        if parent is not None and not os.path.isdir(parent):
            raise UserError(f"There is no folder {parent}", "Make it first, or give another with --out")
        try:
            # Beside the goal, so that moving it there at the end is one step on one disk.
            aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".converting-", dir=parent)))
            folder = aside / name
            folder.mkdir()
            far = _write(checkpoint, kind, folder, name)
            if out is None:
                return _Converted(registry.add_model(folder, model_id), *far)
            shutil.move(folder, out)
        except OSError as error:
            raise UserError(f"The model cannot be written: {error.strerror}", "Check space and permissions") from None
        return _Converted(read_manifest(out), *far)


def _write(checkpoint: Path, kind: str, folder: Path, name: str) -> tuple[float, float]:
    from usviewer.cli.sam.checkpoint import read_checkpoint  # imports PyTorch: only here
    from usviewer.cli.sam.network import write_graphs

    tensors, shape = read_checkpoint(checkpoint, kind)
    far = write_graphs(tensors, shape, folder)
    facts = f"{len(shape.windows)} layers of {shape.width}, {shape.side_px} px"
    (folder / MANIFEST).write_text(tomli_w.dumps(_manifest(checkpoint, kind, folder, name, shape.side_px, facts)))
    (folder / "CARD.md").write_text(_card(checkpoint, kind, facts, far))
    # Last: the golden case is what the finished model answers.
    registry.record_golden(folder, VERIFIED)
    return far


def _manifest(checkpoint: Path, kind: str, folder: Path, name: str, side_px: int, facts: str) -> dict[str, Any]:
    interpolation, prompt = "area", dict[str, Any](prompts="any")
    if kind == "ultrasam":  # SAM's own resizing averages, that of UltraSam's framework does not
        interpolation, prompt = "linear", {"prompts": "one", "passes": 2}
    return {
        "schema": SCHEMA,
        "id": name,
        "name": f"{TITLES[kind]} ({facts})",
        "version": "1",
        "task": "prompt",
        "finding": "other",
        "decoder": "sam",
        "licence": LICENCE,
        "files": {
            role: {"path": f"{role}.onnx", "sha256": sha256_of(folder / f"{role}.onnx")}
            for role in ("encoder", "decoder")
        },
        "input": {
            "name": "image",
            "width": side_px,
            "height": side_px,
            "channels": 3,
            "layout": "NCHW",
            "dtype": "uint8",
            "channel_order": "rgb",
            "value_range": [0, 255],
            "resize": "letterbox",
            "pad": "corner",
            "pad_value": list(PAD_VALUE),
            "interpolation": interpolation,
            "crop": "sector",
        },
        "output": {"name": "low_res_masks", "min_score": 0.5},
        "prompt": prompt,
        "labels": [{"name": "structure", "color": "#56b4e9", "edge": "not stated"}],
        "training": {"checkpoint": checkpoint.name, "checkpoint_sha256": sha256_of(checkpoint)},
    }


def _card(checkpoint: Path, kind: str, facts: str, far: tuple[float, float]) -> str:
    return f"""# {TITLES[kind]}, converted by the user

Made by `usviewer models convert-sam {checkpoint.name} --kind {kind}`: {facts}.

- **Weights**: brought by the user. The licence of the weights applies, whatever this program's own is (UltraSam's
  allows non-commercial use only). They are not part of this program and must not be passed on with it.
- **Graphs**: difference from the network in PyTorch (root mean square over the spread): encoder {far[0]:.1e},
  decoder {far[1]:.1e}.
- **Accuracy**: not measured. Outlines are of unknown error; check each one.
"""
