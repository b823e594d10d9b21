"""Models for the tests of ``infer``: built once a session, in folders that nobody changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.helpers import onnx_graphs
from tests.helpers.pictures import SpecFactory
from usviewer.infer import exports, onnx_file
from usviewer.infer.manifest import ModelSpec, parse_manifest, read_manifest


@pytest.fixture(scope="session")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> SpecFactory:
    """Specs of YOLOv8n graphs, made once for every set of arguments."""
    made: dict[str, ModelSpec] = {}

    def make(**arguments: Any) -> ModelSpec:
        key = repr(sorted(arguments.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("yolo")
            path = folder / "model.onnx"
            onnx_graphs.yolov8n(path, **arguments)
            manifest = exports.ultralytics_manifest(
                onnx_file.inspect(path), "test-yolo", path.name, onnx_file.sha256_of(path)
            )
            made[key] = parse_manifest(manifest, folder)
        return made[key]

    return make


@pytest.fixture
def unet(tmp_path: Path) -> SpecFactory:
    """A U-Net's folder with manifest: ``graph`` goes to the graph, the rest to the manifest."""

    def make(graph: dict[str, Any] | None = None, name: str = "unet", **changes: Any) -> ModelSpec:
        folder = tmp_path / name
        folder.mkdir()
        onnx_graphs.unet(folder / "model.onnx", **(graph or {}))
        manifest = onnx_graphs.unet_manifest(folder / "model.onnx", name, **changes)
        (folder / "manifest.toml").write_text(tomli_w.dumps(manifest))
        return read_manifest(folder)

    return make
