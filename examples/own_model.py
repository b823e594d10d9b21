"""Bring a model of your own: an ONNX file and a manifest in a folder. Nothing is installed.

``python examples/own_model.py FOLDER`` makes a very small one there, and measures a drawn vessel with it. The fields of
the manifest are described in docs/models.md. ``usviewer models add FOLDER`` would install the model for the window.
"""

import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import usviewer

MANIFEST = """
schema = 1
id = "dark-vessel"
name = "What is dark is the vessel"
version = "1.0"
task = "segment"
finding = "aorta"
decoder = "unet"
licence = "Apache-2.0"

[files.model]
path = "model.onnx"
sha256 = "{sha256}"

[input]
name = "image"
width = 128
height = 96
channels = 1
layout = "NCHW"
dtype = "float32"
channel_order = "gray"
value_range = [0, 1]
resize = "letterbox"
crop = "whole"

[output]
name = "logits"
activation = "sigmoid"

[[labels]]
name = "aorta"
color = "#56b4e9"
edge = "inner"
"""


def write_model(folder: Path) -> None:
    """Write the model: a picture (1, 1, 96, 128) of 0 to 1 in, the logit of "vessel" of every pixel out."""
    gain, threshold = (
        numpy_helper.from_array(np.array(value, np.float32), name) for value, name in ((40, "gain"), (0.25, "at"))
    )
    nodes = [
        helper.make_node("Sub", ["at", "image"], ["darker"]),
        helper.make_node("Mul", ["darker", "gain"], ["logits"]),
    ]
    image, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 96, 128]) for name in ("image", "logits")
    )
    graph = helper.make_graph(nodes, "dark", [image], [logits], [gain, threshold])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.toml").write_text(MANIFEST.format(sha256=sha256), encoding="utf-8")


def draw_clip(frames: int = 30) -> list[np.ndarray]:
    """A dark disc, 40 pixels wide, on grey: RGB, uint8, (96, 128, 3) each."""
    picture = np.full((96, 128, 3), 130, np.uint8)
    cv2.circle(picture, (64, 48), 20, (0, 0, 0), thickness=-1)
    return [picture] * frames


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
write_model(folder)
# Pictures in memory are a clip once it is said how fast they follow one another.
results = usviewer.analyze(draw_clip(), model=folder, mm_per_pixel=0.5, frames_per_second=25)
summary = usviewer.summarize(result.reading for result in results)
assert summary is not None
print(f"{summary.name}: median {summary.median:.1f} {summary.unit_field} over {summary.count} frames")
