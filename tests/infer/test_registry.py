from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import tomli_w

from tests.helpers import onnx_graphs
from tests.helpers.pictures import SpecFactory, cloudy
from usviewer.errors import UserError
from usviewer.frame import make_frame
from usviewer.infer import golden, registry
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.prediction import Edge
from usviewer.infer.predictor import Predictor
from usviewer.own_folders import resource_path


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "My Aorta.onnx", **arguments: Any) -> Path:
        path = tmp_path / "exports" / name
        path.parent.mkdir(exist_ok=True)
        onnx_graphs.yolov8n(path, **({"names": ["aorta"], "height": 192, "width": 192} | arguments))
        return path

    return make


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled models of this test's own."""
    package = tmp_path / "site" / "usviewer"
    folder = package / "_bundled" / "models"
    folder.mkdir(parents=True)
    monkeypatch.setattr("usviewer.own_folders._PACKAGE", package)
    return folder


def installed() -> list[str]:
    folder = registry.user_folder()
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_an_ultralytics_export_becomes_a_model(export: Callable[..., Path]) -> None:
    spec = registry.add_model(export(height=640, width=640))
    assert (spec.id, spec.task, spec.decoder, spec.finding) == ("my-aorta", "segment", "yolov8-segment", "aorta")
    assert spec.licence.startswith("AGPL-3.0") and not spec.bundled
    assert [(label.name, label.edge) for label in spec.labels] == [("aorta", Edge.NOT_STATED)]
    assert (spec.input.width_px, spec.input.pad_value, spec.input.crop) == (640, 114, "whole")
    assert (spec.output.min_score, spec.output.iou_threshold, spec.output.masks) == (0.25, 0.7, "output1")
    assert spec.golden is not None and golden.read_expected(spec.golden.expected).source == golden.RECORDED
    assert "my-aorta" in {model.id for model in registry.list_models()}
    assert registry.verify_model("my-aorta").id == "my-aorta"
    prediction = Predictor(registry.load_spec("my-aorta"), "cpu").predict(make_frame(cloudy(640, 360), "x", 0))
    assert prediction.model_sha256 == spec.sha256
    assert installed() == ["my-aorta"]


@pytest.mark.parametrize(
    ("arguments", "finding", "size"),
    [
        ({"classes": 3, "names": ["CSP", "choroid_plexus", "midline falx"], "segment": False}, "fetal-brain", 192),
        ({"classes": 3, "names": ["aorta", "vein", "nerve"]}, "other", 192),
        ({"names": ["thing"], "segment": False, "dynamic": True}, "other", 0),
        ({"names": ["Fetal Head"], "width": 320}, "fetal-head", 320),
    ],
)
def test_exports_of_every_kind(export: Callable[..., Path], arguments: dict[str, Any], finding: str, size: int) -> None:
    spec = registry.add_model(export(**arguments), "chosen")
    assert (spec.id, spec.finding, spec.input.width_px) == ("chosen", finding, size)
    assert [label.name for label in spec.labels] == arguments["names"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"task": "pose"}, "task 'pose'"),
        ({"task": "classify"}, "task 'classify'"),
        ({"names": "{0: 'a', 1: 'b'}"}, "2 label(s) need 38 rows"),
        ({"names": "__import__('os')"}, "names"),
        ({"names": "{0: 'a', 5: 'b'}"}, "label names"),
        ({"names": "[" * 100_000}, "cannot be read"),
        ({"imgsz": "'large'"}, "image size"),
        ({"stride": "0"}, "stride"),
        ({"task": "detect"}, "2 outputs instead of 1"),
    ],
)
def test_metadata_that_does_not_fit_installs_nothing(
    export: Callable[..., Path], arguments: dict[str, str], says: str
) -> None:
    path = export()
    model = onnx.load(path)
    for entry in model.metadata_props:
        entry.value = arguments.get(entry.key, entry.value)
    onnx.save(model, path)
    with pytest.raises(UserError) as error:
        registry.add_model(path)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert installed() == []


def _text(path: Path) -> None:
    path.write_text("hello")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100_000])


def _no_metadata(path: Path) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


def _batch(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, path)


def _lies_about_shape(path: Path) -> None:
    """Says one output shape and gives another: only running it can tell."""
    model = onnx.load(path)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    for _ in range(3):
        model.graph.output[0].type.tensor_type.shape.dim.add()
    split = next(i for i, node in enumerate(model.graph.node) if node.output[0] == "output0")
    model.graph.node[split].input.pop()
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_text, "not an ONNX model"),
        (_empty, "not an ONNX model"),
        (_half, "not an ONNX model"),
        (_no_metadata, "does not say what it takes"),
        (_batch, "batches of 4"),
        (_lies_about_shape, "shape"),
        (Path.unlink, "There is no file"),
    ],
)
def test_a_file_that_is_no_such_model_installs_nothing(
    export: Callable[..., Path], harm: Callable[[Path], None], says: str
) -> None:
    path = export()
    harm(path)
    with pytest.raises(UserError) as error:
        registry.add_model(path)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert installed() == []


def test_a_folder_with_a_manifest_is_added_whole(unet: SpecFactory) -> None:
    source = unet({"blob": True}, "disc")
    (source.folder / "CARD.md").write_text("# Disc")
    (source.folder / "secret.txt").write_text("not part of the model")
    spec = registry.add_model(source.path)  # the file with its manifest beside it
    assert spec.card is not None and spec.labels[0].edge == Edge.INNER
    assert sorted(os.listdir(spec.folder)) == ["CARD.md", "golden.json", "golden.png", "manifest.toml", "model.onnx"]
    registry.remove_model("disc")
    assert registry.add_model(source.folder).id == "disc"


def test_a_golden_case_that_comes_along_is_kept_and_must_hold(unet: SpecFactory) -> None:
    source = unet({"blob": True}, "disc")
    registry.record_golden(source.folder, "the author")
    spec = registry.add_model(source.folder)
    assert spec.golden is not None and golden.read_expected(spec.golden.expected).source == "the author"
    registry.remove_model("disc")
    other = unet({"seed": 5}, "other")
    for name in ("golden.json", "golden.png"):
        (other.folder / name).write_bytes((source.folder / name).read_bytes())
    with (other.folder / "manifest.toml").open("a") as manifest:
        manifest.write('\n[golden]\nframe = "golden.png"\n')
    with pytest.raises(UserError, match="does not reproduce"):
        registry.add_model(other.folder)
    assert installed() == []


def test_a_wrong_hash_installs_nothing(unet: SpecFactory) -> None:
    source = unet()
    source.path.write_bytes(source.path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="another sha256"):
        registry.add_model(source.folder)
    assert installed() == []


def test_ids_are_not_taken_twice(export: Callable[..., Path], bundled: Path, unet: SpecFactory) -> None:
    path = export("aorta.onnx", segment=False)
    put(unet({}, "aorta"), bundled)
    with pytest.raises(UserError, match="came with the program"):
        registry.add_model(path)
    registry.add_model(path, "aorta")
    assert not registry.load_spec("aorta").bundled  # the user's comes first
    with pytest.raises(UserError, match="already have"):
        registry.add_model(path, "aorta")
    registry.remove_model("aorta")
    assert registry.load_spec("aorta").bundled
    with pytest.raises(UserError, match="cannot be removed"):
        registry.remove_model("aorta")


@pytest.mark.parametrize("model_id", ["../x", "", "A", "a/b", ".hidden", "x" * 65])
def test_ids_that_lead_elsewhere_are_refused(export: Callable[..., Path], model_id: str) -> None:
    for call in (registry.load_spec, registry.remove_model, registry.verify_model):
        with pytest.raises(UserError, match="cannot be the name of a model"):
            call(model_id)


def put(spec: ModelSpec, parent: Path) -> None:
    spec.folder.rename(parent / spec.id)


def test_unknown_models_are_named_with_the_known(bundled: Path, unet: SpecFactory) -> None:
    with pytest.raises(UserError, match="there are: none"):
        registry.load_spec("aorta")
    put(unet({}, "nerve"), bundled)
    with pytest.raises(UserError, match="There is no model 'aorta'; there are: nerve"):
        registry.load_spec("aorta")
    with pytest.raises(UserError, match="There is no model 'aorta'"):
        registry.remove_model("aorta")


def test_one_broken_model_costs_only_itself(bundled: Path, unet: SpecFactory) -> None:
    put(unet({}, "good"), bundled)
    put(unet({}, "bad"), bundled)
    (bundled / "bad" / "manifest.toml").write_text("schema = 9\n")
    (bundled / "training").mkdir()
    assert [spec.id for spec in registry.list_models()] == ["good"]
    ((model_id, reason),) = registry.list_broken()
    assert model_id == "bad" and "schema" in reason
    (bundled / "good").rename(bundled / "renamed")
    with pytest.raises(UserError, match="of model 'good'"):
        registry.load_spec("renamed")


def test_bundled_folders_are_found_in_a_wheel_and_in_a_checkout(bundled: Path) -> None:
    assert resource_path("models") == bundled
    assert resource_path("resources") == bundled.parents[2] / "resources"


def test_recording_leaves_the_manifest_as_it_was(unet: SpecFactory) -> None:
    """A recipe writes the manifest with its picture; only the expected result is added."""
    spec = unet({"blob": True})
    path = spec.folder / "manifest.toml"
    registry.record_golden(spec.folder)
    completed = path.read_text()
    assert completed.endswith('\n[golden]\nframe = "golden.png"\nexpected = "golden.json"\n')
    registry.record_golden(spec.folder)
    assert path.read_text() == completed


def test_a_folder_that_cannot_be_written_is_said(export: Callable[..., Path], tmp_path: Path) -> None:
    blocked = registry.user_folder()
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"Could not write models: .* Check the permissions of"):
        registry.add_model(export(segment=False))


def test_a_manifest_of_another_file_is_not_used(export: Callable[..., Path]) -> None:
    path = export()
    (path.parent / "manifest.toml").write_text(tomli_w.dumps(onnx_graphs.unet_manifest(path) | {
        "files": {"model": {"path": "other.onnx", "sha256": "0" * 64}}
    }))  # fmt: skip
    with pytest.raises(UserError, match="belongs to another file"):
        registry.add_model(path)
