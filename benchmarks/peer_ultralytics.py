"""Runs in an environment of the user's that has the ``ultralytics`` package; this program never imports it, nor this.

``python peer_ultralytics.py FRAMES.npy`` loads what standard input asks for and answers on standard output, one JSON
object a line:

    {"do": "load", "name": "pt", "weights": "best.pt", "onnx": "model.onnx", "threads": 2,
     "options": {"imgsz": 640, "conf": 0.25}}
    {"do": "run", "name": "pt", "count": 20, "draw": false}

``weights`` is an ONNX file, a ``.pt`` file, or the ``.yaml`` name of an architecture (``yolov8n-seg.yaml``), which is
then filled with the weights of ``onnx`` by their names: the same network by the package's own PyTorch route.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def main(frames_path: str) -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the package prints goes elsewhere
    import numpy as np

    frames = list(np.load(frames_path, mmap_mode="r"))
    frames = [np.ascontiguousarray(frame) for frame in frames]  # BGR, as the package wants them
    models: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "load":
                said = load(models, asked)
            else:
                said = run(models[asked["name"]], asked, frames)
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def load(models: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Load a model; says the package's version and the threads."""
    import torch
    import ultralytics

    weights = asked["weights"]
    if weights.endswith(".yaml"):
        network = filled(weights, asked["onnx"])
    else:
        network = ultralytics.YOLO(weights, task="segment")
    models[asked["name"]] = {"network": network, "next": 0, **asked}
    return {"ultralytics": ultralytics.__version__, "torch": torch.__version__}


def filled(architecture: str, onnx_path: str) -> Any:
    """The package's own network with the weights of an ONNX file."""
    import ast

    import numpy as np
    import onnx
    import torch
    from onnx import numpy_helper
    from ultralytics import YOLO
    from ultralytics.nn.tasks import SegmentationModel

    graph = onnx.load(onnx_path)
    said = {entry.key: entry.value for entry in graph.metadata_props}
    names = ast.literal_eval(said["names"])
    network = SegmentationModel(architecture, nc=len(names), verbose=False).eval().fuse(verbose=False)
    network.names = names
    weights = {w.name: np.array(numpy_helper.to_array(w)) for w in graph.graph.initializer}
    missing = [key for key in network.state_dict() if key not in weights]
    if missing:
        raise KeyError(f"the ONNX file has no weight {missing[0]}")
    state = {key: torch.from_numpy(weights[key]).reshape(value.shape) for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    wrapper = YOLO(architecture, task="segment", verbose=False)
    wrapper.model = network
    wrapper.overrides["model"] = architecture
    return wrapper


def run(model: dict[str, Any], asked: dict[str, Any], frames: list[Any]) -> dict[str, Any]:
    """Milliseconds of the whole call for the next frames, and how much was found."""
    import torch

    times: list[float] = []
    areas: list[float] = []
    found, size = 0, None
    for _ in range(asked["count"]):
        frame = frames[model["next"] % len(frames)]
        model["next"] += 1
        # The package lowers the number of threads by itself.
        if model["threads"] and torch.get_num_threads() != model["threads"]:
            torch.set_num_threads(model["threads"])
        start = time.perf_counter()
        result = model["network"].predict(frame, verbose=False, device="cpu", **model["options"])[0]
        if asked["draw"]:
            result.plot()
        times.append((time.perf_counter() - start) * 1e3)
        found += len(result.boxes)
        if result.masks is not None:
            size = list(result.masks.data.shape[1:])
            areas.append(float(result.masks.data[0].sum()) / (size[0] * size[1]))
    return {"ms": times, "found": found, "threads": torch.get_num_threads(), "mask": size, "areas": areas}


if __name__ == "__main__":
    main(sys.argv[1])
