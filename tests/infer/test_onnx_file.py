from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers import onnx_graphs
from tests.helpers.pictures import SpecFactory
from usviewer.errors import UserError
from usviewer.infer.onnx_file import check_fits, check_hashes, inspect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx_graphs.unet(tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_published_parameter_counts(tmp_path: Path) -> None:
    """With 80 classes and folded batch norm the published models have so many parameters: same architecture."""
    assert onnx_graphs.yolov8n(tmp_path / "a.onnx", segment=False, classes=80) == 3_151_904
    assert onnx_graphs.yolov8n(tmp_path / "b.onnx", segment=True, classes=80) == 3_404_320


def test_a_graph_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    onnx_graphs.yolov8n(tmp_path / "x.onnx", classes=3, height=384)
    graph = inspect(tmp_path / "x.onnx")
    assert [(p.name, p.dtype, p.shape) for p in graph.inputs] == [("images", "float32", (1, 3, 384, 640))]
    assert [p.shape for p in graph.outputs] == [(1, 39, 5040), (1, 32, 96, 160)]
    assert graph.metadata["task"] == "segment"
    onnx_graphs.yolov8n(tmp_path / "y.onnx", dynamic=True, segment=False)
    graph = inspect(tmp_path / "y.onnx")
    assert graph.inputs[0].shape == (None, 3, None, None) and graph.outputs[0].shape == (1, 5, None)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 1000, b"\x89PNG\r\n\x1a\n", None])
def test_what_is_no_model_is_refused(path: Path, content: bytes | None) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(UserError, match=r"not an ONNX model"):
        inspect(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        inspect(tmp_path / "nothing.onnx")


def test_weights_outside_the_file_are_refused(path: Path) -> None:
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(UserError, match="in another file"):
        inspect(path)


def _nested(tensor: onnx.TensorProto) -> list[onnx.NodeProto]:
    """The tensor hidden as a constant in a branch of an If."""
    body = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=tensor)], "body", [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None])],
    )  # fmt: skip
    true = numpy_helper.from_array(np.array(True), "true")
    return [
        helper.make_node("Constant", [], ["true"], value=true),
        helper.make_node("If", ["true"], ["hidden"], then_branch=body, else_branch=body),
    ]


def test_a_path_hidden_in_a_branch_is_refused(path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    model = onnx.load(path)
    model.graph.node.extend(_nested(tensor))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="in another file"):
        inspect(path)


def test_operators_of_others_are_refused(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Shell", ["image"], ["x"], domain="evil"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"evil\.Shell"):
        inspect(path)


def test_absurd_weights_and_shapes_are_refused(path: Path) -> None:
    model = onnx.load(path)
    model.graph.initializer.append(TensorProto(name="huge", dims=[1 << 20, 1 << 20], data_type=TensorProto.FLOAT))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="impossible shape"):
        inspect(path)
    onnx_graphs.unet(path, height=100_000, width=100_000)
    with pytest.raises(UserError, match="impossible shape"):
        inspect(path)


@pytest.mark.parametrize(
    ("graph", "changes", "says"),
    [
        ({"classes": 2}, {}, "1 float32 channel"),
        ({"classes": 2}, {"activation": "softmax"}, ""),
        ({"channels": 3}, {}, "takes [?, 3, 96, 128], not [1, 1, 96, 128]"),
        ({"dtype": "uint8"}, {}, "takes uint8, not float32"),
        ({"height": 128}, {}, "takes"),
        ({"layout": "NHWC"}, {}, "takes"),
        ({"height": None, "width": None}, {"width": 0, "height": 0}, ""),
        ({"height": None, "width": None}, {}, ""),
    ],
)
def test_graph_and_manifest_must_agree(unet: SpecFactory, graph: dict, changes: dict, says: str) -> None:  # type: ignore[type-arg]
    spec = unet(graph, **changes)
    if not says:
        check_fits(spec, inspect(spec.path))
        return
    with pytest.raises(UserError) as error:
        check_fits(spec, inspect(spec.path))
    assert says in str(error.value)


def test_names_of_ports_must_agree(unet: SpecFactory) -> None:
    spec = unet()
    graph = inspect(spec.path)
    with pytest.raises(UserError, match="no output 'mask'"):
        check_fits(replace(spec, output=replace(spec.output, name="mask")), graph)
    with pytest.raises(UserError, match="input 'image', not 'x'"):
        check_fits(replace(spec, input=replace(spec.input, name="x")), graph)


def test_a_changed_file_is_refused(unet: SpecFactory) -> None:
    spec = unet()
    check_hashes(spec)
    spec.path.write_bytes(spec.path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="another sha256"):
        check_hashes(spec)


def test_functions_that_a_file_brings_along_are_allowed(path: Path) -> None:
    model = onnx.load(path)
    function = helper.make_function(
        "own", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    model.functions.append(function)
    model.graph.node.append(helper.make_node("Twice", ["image"], ["z"], domain="own"))
    path.write_bytes(model.SerializeToString())
    inspect(path)
    model.functions[0].node.append(helper.make_node("Shell", ["x"], ["q"], domain="evil"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"evil\.Shell"):
        inspect(path)
