"""Refusals of models say what happened in the user's words, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers import onnx_graphs
from tests.helpers.pictures import SpecFactory
from usviewer.errors import UserError
from usviewer.infer import registry
from usviewer.infer.session.base import MAX_CAUSE, cause_of


def suppressed(path: Path, *, segment: bool, dynamic: bool, classes: int = 1, **said: str) -> None:
    """An export with suppression built in: 300 rows of box, score and class, and the coefficients of its mask."""
    columns = 6 + 32 * segment
    shape: list[Any] = ["batch", "found", "columns"] if dynamic else [1, 300, columns]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["table", "zero"], ["output0"]),
    ]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)]
    if segment:
        nodes.append(helper.make_node("Add", ["masks", "zero"], ["output1"]))
        outputs.append(helper.make_tensor_value_info("output1", TensorProto.FLOAT, [1, 32, 48, 48]))
    weights = {"table": np.zeros((1, 300, columns)), "masks": np.zeros((1, 32, 48, 48)), "nothing": np.array(0.0)}
    kept = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 192, 192])
    graph = helper.make_graph(nodes, "test", [image], outputs, kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    names = str({number: f"label {number}" for number in range(classes)})
    task = "segment" if segment else "detect"
    helper.set_model_props(model, {"task": task, "names": names, "imgsz": "[192, 192]", "stride": "32", **said})
    onnx.save(model, path)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        registry.add_model(path)
    said = str(error.value)
    assert "\n" not in said and len(said) < 500
    assert "manifest" not in said and "model.onnx" not in said and str(path.parent) not in said
    return said


@pytest.mark.parametrize("segment", [True, False])
@pytest.mark.parametrize("dynamic", [True, False])
def test_exports_with_suppression_built_in_name_the_options(tmp_path: Path, segment: bool, dynamic: bool) -> None:
    path = tmp_path / "best.onnx"
    suppressed(path, segment=segment, dynamic=dynamic, end2end="True")
    assert "Export it with end2end=False" in refusal(path)
    suppressed(path, segment=segment, dynamic=dynamic)
    assert "nms=False" in refusal(path) and "end2end=False" in refusal(path)


def test_as_many_classes_as_make_the_rows_fit_do_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    suppressed(path, segment=False, dynamic=False, classes=296)
    assert "nms=False" in refusal(path)
    suppressed(path, segment=False, dynamic=True, classes=296, args="{'nms': True}")
    assert "nms=False" in refusal(path)


def test_an_end2end_that_is_off_is_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    onnx_graphs.yolov8n(path, height=192, width=192, segment=False, names=["a"])
    model = onnx.load(path)
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | {"end2end": "False"})
    onnx.save(model, path)
    assert registry.add_model(path).task == "detect"


def _newer_format(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def _newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def _older_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 7


def _no_such_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Convolve"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_newer_format, r"best\.onnx has the ONNX format version 99 .*reads up to \d+\. Export it with an older"),
        (_newer_opset, r"best\.onnx has opset 99; .*runs up to opset \d+\. Export it with opset=17"),
        (_older_opset, r"best\.onnx cannot be loaded: "),
        (_no_such_operator, r"best\.onnx cannot be loaded: .*Convolve"),
    ],
)
def test_what_the_installed_library_does_not_read_is_said_in_full(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], says: str
) -> None:
    path = tmp_path / "best.onnx"
    onnx_graphs.yolov8n(path, height=192, width=192, segment=False, names=["a"])
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    said = refusal(path)
    assert re.search(says, said), said
    assert "onnxruntime_src" not in said and ".adding-" not in said


def test_an_engines_words_are_cut_to_what_they_say() -> None:
    said = (
        "[ONNXRuntimeError] : 1 : FAIL : Load model from /tmp/x y/.adding-1/model.onnx failed:/onnxruntime_src/core/"
        "graph/model.cc:256 onnxruntime::Model::Model(ModelProto&&, Logger&) Something is wrong in /home/me/a.bin.\n"
    )
    assert cause_of(RuntimeError(said)) == "Something is wrong in a.bin"
    assert cause_of(RuntimeError("")) == "RuntimeError"
    assert cause_of(RuntimeError("Node () Op (Mul) [ShapeInferenceError] No")) == "Node () Op (Mul) No"
    assert len(cause_of(RuntimeError("x" * 5000))) <= MAX_CAUSE + 2


def test_weights_in_another_file_name_the_option(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    onnx_graphs.yolov8n(path, height=192, width=192, segment=False, names=["a"])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert "external_data=False" in refusal(path)


@pytest.mark.parametrize("key", ["normalise", "normalization", "z_score", "transpose", "swap_axes"])
def test_what_a_manifest_cannot_say_is_told_where_it_belongs(unet: SpecFactory, key: str) -> None:
    source = unet()
    manifest = source.folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('crop = "whole"', f'crop = "whole"\n{key} = "picture"'))
    with pytest.raises(UserError, match=f"cannot say '{key}'.*Put it into the graph"):
        registry.add_model(source.folder)
