"""A network's answers, kept in a file and given again: everything after the network then is the same everywhere.

The seam is ``Runner.instances``: what the network outlines on a frame, in the frame's pixels. The temporal gate, the
outline's uncertainty and all that follows are the program's own, and so is the loading of the model.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from usviewer.frame import Frame
from usviewer.infer.prediction import Edge, Instance
from usviewer.infer.runner import Runner

Answers = dict[str, list[dict[str, Any]]]


@contextmanager
def recording() -> Iterator[Answers]:
    """Let the network answer, and keep what it says of each frame, by the frame's index."""
    kept: Answers = {}
    ask = Runner.instances

    def instances(self: Runner, frame: Frame, *, faint: bool = False) -> tuple[tuple[Instance, ...], dict[str, float]]:
        found, timings = ask(self, frame, faint=faint)
        kept[_name(frame, faint)] = [_document(instance) for instance in found]
        return found, timings

    with _instead(instances):
        yield kept


@contextmanager
def replaying(path: Path) -> Iterator[None]:
    """Give the kept answers in place of the network's. A frame that nobody asked about before fails the test."""
    kept: Answers = json.loads(path.read_text(encoding="utf-8"))

    def instances(_self: Runner, frame: Frame, *, faint: bool = False) -> tuple[tuple[Instance, ...], dict[str, float]]:
        found = tuple(_instance(document) for document in kept[_name(frame, faint)])
        return found, {"preprocess": 1.0, "infer": 1.0, "decode": 1.0}

    with _instead(instances):
        yield


def write(kept: Answers, path: Path) -> None:
    """One line for each frame."""
    lines = (f"{json.dumps(name)}: {json.dumps(found)}" for name, found in kept.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


@contextmanager
def _instead(instances: Any) -> Iterator[None]:
    before = Runner.instances
    Runner.instances = instances  # type: ignore[method-assign]
    try:
        yield
    finally:
        Runner.instances = before  # type: ignore[method-assign]


def _name(frame: Frame, faint: bool) -> str:
    """With or without what only just reaches the lower gate of a clip: these are two questions."""
    return f"{frame.key.index}{' faint' if faint else ''}"


def _document(instance: Instance) -> dict[str, Any]:
    mask = instance.mask
    return {
        "label": instance.label,
        "class_index": instance.class_index,
        "score": float(instance.score),
        "box_xyxy_px": [float(edge) for edge in instance.box_xyxy_px],
        "edge": str(instance.edge),
        "mask_origin_px": list(map(int, instance.mask_origin_px)),
        "mask_shape": None if mask is None else list(mask.shape),
        "mask": None if mask is None else base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode(),
    }


def _instance(document: dict[str, Any]) -> Instance:
    mask = None
    if document["mask"] is not None:
        rows, columns = document["mask_shape"]
        bits = np.frombuffer(zlib.decompress(base64.b64decode(document["mask"])), np.uint8)
        mask = np.unpackbits(bits, count=rows * columns).reshape(rows, columns).astype(np.bool_)
        mask.setflags(write=False)
    x0, y0, x1, y1 = document["box_xyxy_px"]
    column, row = document["mask_origin_px"]
    return Instance(
        document["label"],
        document["class_index"],
        document["score"],
        (x0, y0, x1, y1),
        mask,
        (column, row),
        Edge(document["edge"]),
    )
