from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers import onnx_graphs
from tests.helpers.pictures import disc_picture
from usviewer.errors import UserError
from usviewer.frame import Frame, make_frame
from usviewer.infer import choice, parity
from usviewer.infer.choice import quantize
from usviewer.infer.manifest import ModelSpec, parse_manifest
from usviewer.infer.predictor import Predictor
from usviewer.infer.session import int8, usable_engines
from usviewer.infer.session.int8 import exact_nodes


def convolution(name: str, inputs: str, output: str, weights: np.ndarray, bias: list[float]) -> list[onnx.NodeProto]:
    kernel = list(weights.shape[2:])
    pads = [side // 2 for side in kernel] * 2
    return [
        helper.make_node("Conv", [inputs, f"{name}.w", f"{name}.b"], [output], name, kernel_shape=kernel, pads=pads)
    ]


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    """Finds what is dark: eight channels that each smooth a little, and one that sums them up."""
    smooth = np.full((8, 1, 3, 3), 1 / 9, np.float32) * np.linspace(0.5, 2.0, 8, dtype=np.float32)[:, None, None, None]
    total = np.full((1, 8, 1, 1), -20 / smooth.sum(), np.float32)
    tensors = {"front.w": smooth, "front.b": np.zeros(8), "last.w": total, "last.b": np.array([8.0])}
    nodes = [
        *convolution("front", "image", "smoothed", smooth, []),
        helper.make_node("Relu", ["smoothed"], ["kept"], "kept"),
        *convolution("last", "kept", "map", total, []),
    ]
    graph = helper.make_graph(
        nodes,
        "dark",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 96, 128])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1, 96, 128])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in tensors.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return parse_manifest(onnx_graphs.unet_manifest(path, "dark"), tmp_path)


def discs() -> tuple[Frame, ...]:
    return tuple(make_frame(disc_picture(256, 192, (120 + 3 * i, 90), 40), "x", i) for i in range(4))


def test_a_variant_is_made_checked_and_kept(spec: ModelSpec) -> None:
    trials = {trial.engine: trial for trial in quantize(spec, discs())}
    assert {"cpu", "cpu-int8", "openvino-int8"} == set(trials)
    assert trials["cpu-int8"].passed and trials["cpu-int8"].deviation.iou > 0.99
    path = int8.int8_file(spec)
    assert path is not None and {"cpu-int8", "openvino-int8"} <= set(usable_engines(spec))
    graph = onnx.load(path).graph
    assert any(node.op_type == "QuantizeLinear" for node in graph.node)
    scales = {t.name: t for t in graph.initializer if t.name.startswith("front.w") and "scale" in t.name}
    assert [len(numpy_helper.to_array(t)) for t in scales.values()] == [8]  # a scale for every channel
    (last,) = [node for node in graph.node if node.name == "last"]
    assert last.input[1] == "last.w"  # not quantised


def test_the_variant_runs_and_agrees(spec: ModelSpec) -> None:
    quantize(spec, discs())
    reduced, plain = Predictor(spec, "cpu-int8", 1, frames=discs), Predictor(spec, "cpu", 1)
    assert (reduced.session.actual, reduced.notice) == ("cpu-int8", "")
    assert "int8" in reduced.engine
    for frame in discs():
        found, wanted = reduced.predict(frame).instances, plain.predict(frame).instances
        assert parity.compare_engines(wanted, found, frame, 0.5).passed


def test_one_that_does_not_agree_is_not_kept(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "MIN_IOU", 1.1)
    with pytest.raises(UserError, match=r"is not exact enough and was not kept .*overlap"):
        quantize(spec, discs())
    assert int8.int8_file(spec) is None and not set(usable_engines(spec)) & {"cpu-int8", "openvino-int8"}


def test_pictures_without_a_mask_prove_nothing(spec: ModelSpec) -> None:
    white = make_frame(np.full((96, 128, 3), 255, np.uint8), "x", 0)
    with pytest.raises(UserError, match=parity.NOTHING_FOUND):
        quantize(spec, (white,))
    assert int8.int8_file(spec) is None


def test_without_pictures_there_is_nothing_to_calibrate_on(spec: ModelSpec) -> None:
    with pytest.raises(UserError, match="no pictures to calibrate"):
        quantize(spec)


def test_a_changed_variant_is_no_variant(spec: ModelSpec) -> None:
    quantize(spec, discs())
    path = int8.int8_file(spec)
    assert path is not None
    path.write_bytes(path.read_bytes() + b"\0")
    assert int8.int8_file(spec) is None
    (int8.int8_folder(spec) / "int8.json").write_text("{")
    assert int8.int8_file(spec) is None


def test_a_choice_with_the_variant_is_another_choice(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choice.ENGINE_VARIABLE)
    before = choice.choose_engine(spec, 1, frames=discs, budget_s=1.0)
    quantize(spec, discs())
    after = choice.choose_engine(spec, 1, frames=discs, budget_s=1.0)
    assert before.trial("cpu-int8") is None and after.trial("cpu-int8") is not None


def test_the_last_layers_of_a_yolo_stay_exact(tmp_path: Path) -> None:
    path = tmp_path / "yolo.onnx"
    onnx_graphs.yolov8n(path, height=384)
    exact = set(exact_nodes(path))
    graph = onnx.load(path).graph
    named = [node for node in graph.node if node.name in exact]
    kept = [node for node in graph.node if node.op_type == "Conv" and node.name in exact]
    # Boxes, scores and coefficients at three strides, the mean of the bins, and the prototypes.
    assert len(kept) == 3 * 3 + 1 + 1
    assert any(node.op_type == "Softmax" for node in named)
