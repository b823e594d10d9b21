from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.helpers import onnx_graphs
from usviewer.errors import UserError
from usviewer.infer.manifest import parse_manifest, read_manifest
from usviewer.infer.prediction import Edge


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    onnx_graphs.unet(tmp_path / "model.onnx")
    return onnx_graphs.unet_manifest(tmp_path / "model.onnx")


def test_a_manifest_survives_toml(good: dict[str, Any], tmp_path: Path) -> None:
    good |= {"training": {"data": "none"}, "accuracy": {"dice": {"mean": 0.9}}, "golden": {"frame": "golden.png"}}
    (tmp_path / "manifest.toml").write_text(tomli_w.dumps(good))
    spec = read_manifest(tmp_path, bundled=True)
    assert (spec.id, spec.task, spec.decoder, spec.bundled) == ("test-unet", "segment", "unet", True)
    assert spec.path == tmp_path / "model.onnx" and spec.sha256 == good["files"]["model"]["sha256"]
    assert (spec.input.width_px, spec.input.height_px, spec.input.value_range) == (128, 96, (0.0, 1.0))
    assert spec.labels[0].edge == Edge.INNER
    assert spec.golden is not None and spec.golden.expected == tmp_path / "golden.json"
    assert spec.accuracy["dice"]["mean"] == 0.9 and spec.card is None


def test_softmax_has_a_background_unless_it_says_otherwise(good: dict[str, Any], tmp_path: Path) -> None:
    assert not parse_manifest(good, tmp_path).output.background
    good["output"]["activation"] = "softmax"
    assert parse_manifest(good, tmp_path).output.background
    good["output"]["background"] = False
    assert not parse_manifest(good, tmp_path).output.background


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        table: Any = manifest
        for key in path[:-1]:
            table = table[key]
        if value is None:
            del table[path[-1]]
        else:
            table[path[-1]] = value

    return change


BAD = [
    (put("schema", value=2), "schema 2"),
    (put("schema", value=True), "schema"),
    (put("id", value="../up"), "cannot be the name"),
    (put("id", value="Upper"), "cannot be the name"),
    (put("id", value=None), "id is missing"),
    (put("colour", value=1), "Unknown key in the manifest: colour"),
    (put("task", value="prompt"), "task"),
    (put("task", value="detect"), "task"),
    (put("decoder", value="yolov5"), "decoder"),
    (put("finding", value="liver"), "finding"),
    (put("files", "model", "path", value="../model.onnx"), "plain name"),
    (put("files", "model", "path", value="/etc/passwd"), "plain name"),
    (put("files", "model", "path", value="C:x.onnx"), "plain name"),
    (put("files", "model", "path", value=".."), "plain name"),
    (put("files", "model", "sha256", value="abc"), "sha256"),
    (put("files", "encoder", value={"path": "x", "sha256": "y"}), "encoder"),
    (put("input", "width", value=0), "width"),
    (put("input", "width", value=100_000), "width"),
    (put("input", "width", value=-4), "width"),
    (put("input", "width", value=12.5), "width"),
    (put("input", "channels", value=4), "channels"),
    (put("input", "channel_order", value="rgb"), "channel_order"),
    (put("input", "value_range", value=[1, 0]), "value_range"),
    (put("input", "value_range", value=[0, float("inf")]), "finite"),
    (put("input", "value_range", value=["0", "1"]), "finite"),
    (put("input", "mean", value=[0.5]), "std"),
    (put("input", "std", value=[0.0]), "std"),
    (put("input", "dtype", value="uint8"), "value_range"),
    (put("input", "dtype", value="float16"), "dtype"),
    (put("input", "crop", value=None), "crop is missing"),
    (put("input", "pad_value", value=300), "pad_value"),
    (put("input", "resize", value="fit"), "resize"),
    (put("output", "activation", value=None), "activation is missing"),
    (put("output", "masks", value="x"), "masks"),
    (put("output", "mask_threshold", value=1.5), "mask_threshold"),
    (put("output", "min_score", value=-0.1), "min_score"),
    (put("output", "max_instances", value=0), "max_instances"),
    (put("labels", value=[]), "0 labels"),
    (put("labels", value="aorta"), "labels"),
    (put("labels", 0, "edge", value="outside"), "edge"),
    (put("labels", 0, "color", value="blue"), "color"),
    (put("labels", 0, "name", value="a\nb"), "name"),
    (put("labels", value=[{"name": "a", "color": "#000000", "edge": "inner"}] * 2), "same name"),
    (put("golden", value={"frame": "../x.png"}), "plain name"),
    (put("golden", value={"picture": "x.png"}), "frame is missing"),
    (put("training", value="none"), "training"),
]


@pytest.mark.parametrize(("change", "says"), BAD)
def test_anything_wrong_is_refused_by_name(
    good: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    bad = copy.deepcopy(good)
    change(bad)
    with pytest.raises(UserError) as error:
        parse_manifest(bad, tmp_path)
    assert says in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


@pytest.mark.parametrize("text", ["schema = ", "\x00", "[[labels]]\n[labels]"])
def test_broken_toml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.toml").write_text(text)
    with pytest.raises(UserError, match="not valid TOML"):
        read_manifest(tmp_path)


def test_no_manifest_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no manifest"):
        read_manifest(tmp_path)
