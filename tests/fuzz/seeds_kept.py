"""Healthy models, settings, remembered rulers, and what review keeps of a clip: written by the product itself."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import tomli_w
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz import mutate_text
from tests.helpers import onnx_graphs
from tests.helpers.kept import confirmed_ruler, kept_predictions
from tests.helpers.prompt_graphs import recorded_prompt_model
from tests.helpers.scenes import aorta_reading, circle, flat_frame
from tests.helpers.screens import screen
from usviewer import settings
from usviewer.calibrate.calibration import StatedScale
from usviewer.calibrate.ruler import layouts
from usviewer.calibrate.ruler.detect import find_ruler
from usviewer.calibrate.ruler.watch import take_reference
from usviewer.infer import registry
from usviewer.measure import ExamContext
from usviewer.measure.manual import edit_of, fill_outline
from usviewer.measure.reading import Reading, Status
from usviewer.save.cache import ClipNotes, ClipResults, MadeBy

Files = Mapping[str, bytes]

CLIP = b"a clip" * 1000
MADE_BY = MadeBy("ab" * 32, "cpu")
MODEL_FILE = "model.onnx"


def _files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- models ----------------------------------------------------------------------------------------------------------


def _unet() -> Files:
    """A U-Net with its manifest and golden case."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        onnx_graphs.unet(folder / MODEL_FILE, blob=True)
        manifest = onnx_graphs.unet_manifest(folder / MODEL_FILE)
        (folder / "manifest.toml").write_text(tomli_w.dumps(manifest), encoding="utf-8")
        registry.record_golden(folder, "fuzz")
        return _files(folder)


def _prompt() -> Files:
    """Encoder and decoder with their manifest and golden case."""
    with tempfile.TemporaryDirectory() as place:
        recorded_prompt_model(Path(place))
        return _files(Path(place))


def _export() -> Files:
    """One ONNX file that says of itself what an Ultralytics export says; it answers the same to every picture."""
    boxes = np.array([[48, 48, 20, 20, 0.9], [20, 20, 8, 8, 0.1]], np.float32).T[None]
    constants = [numpy_helper.from_array(boxes, "boxes"), numpy_helper.from_array(np.array(0, np.float32), "nothing")]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["boxes", "zero"], ["output0"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 96, 96])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, 2])
    graph = helper.make_graph(nodes, "boxes", [image], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    said = {"task": "detect", "names": "{0: 'aorta'}", "imgsz": "[96, 96]", "stride": "32", "author": "Ultralytics"}
    helper.set_model_props(model, said | {"description": "boxes", "date": "2026-01-01", "license": "none"})
    return {MODEL_FILE: model.SerializeToString()}


MODELS: Mapping[str, Callable[[], Files]] = {"unet": _unet, "prompt": _prompt, "export": _export}


def with_hashes(files: Files) -> Files:
    """The same model whose manifest names the hashes of its present files, where it can be understood."""
    import hashlib
    import tomllib

    try:
        manifest: dict[str, Any] = tomllib.loads(files["manifest.toml"].decode())
        for file in manifest["files"].values():
            file["sha256"] = hashlib.sha256(files[file["path"]]).hexdigest()
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return files
    return {**files, "manifest.toml": tomli_w.dumps(manifest).encode()}


def read_graph(content: bytes) -> Any:
    """The graph of an ONNX file."""
    return onnx.load_model_from_string(content)


# --- preferences and rulers ------------------------------------------------------------------------------------------


def settings_file() -> Files:
    """Preferences of which no key has its default."""
    with tempfile.TemporaryDirectory() as place:
        kept = settings.Settings(
            "nerve", "cpu", "fill", 0.5, True, "x", {"freeze": "F"}, "phantom:", "pictures", "live"
        )
        settings.save(kept, Path(place) / "settings.json")
        return _files(Path(place))


def ruled_screen() -> Any:
    """The screen whose ruler ``layouts_file`` remembers."""
    return screen("ge", 36.3, (640, 480))


def layouts_file() -> Files:
    """One remembered ruler, twice, for two devices."""
    picture = ruled_screen()
    ruler = find_ruler([picture], read=False).vertical
    assert ruler is not None
    reference = take_reference(ruler, [picture])
    known = [layouts.layout_of(device, ruler, 10.0, reference, "2026-01-01") for device in ("card-1", "card-2")]
    return {"layouts.json": layouts.to_text(known).encode()}


# --- what review keeps -----------------------------------------------------------------------------------------------


def readings() -> dict[int, Reading]:
    """Readings of a clip of three frames: measured, not seen, without a scale."""
    key = replace(flat_frame().key, capture_time_s=0.0)
    first = aorta_reading(replace(key, index=0))
    return {
        0: first,
        1: Reading(replace(key, index=1, media_time_s=None), "aorta", Status.NOT_VISUALISED, reason="No aorta"),
        2: replace(first, key=replace(key, index=2), spacing=None, outlines_xy_px=(circle((30.0, 30.0), 9.5),)),
    }


def cache_files() -> Files:
    """Everything that is kept of one clip."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clip = folder / "clip.bin"
        clip.write_bytes(CLIP)
        notes = ClipNotes(clip, folder / "clips")
        notes.keep_bookmarks((1, 2))
        notes.keep_given(ExamContext())
        mask = fill_outline(circle((30.0, 28.0), 12.0), (64, 60))
        notes.keep_edits(MADE_BY.model_sha256, {1: edit_of(mask, "d1", 0, "vessel", 0)})
        notes.keep_scale(StatedScale(confirmed=(confirmed_ruler(),)))
        ClipResults(notes, MADE_BY, "clip").store(readings())
        ClipResults(notes, MADE_BY, "clip").store_predictions(kept_predictions())
        return _files(notes.folder)


def damaged_document(content: bytes, other: bytes, random: Random) -> bytes:
    """What is kept of a clip as arrays: the archive is whole, but the JSON or an array in it says something else."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    name = random.choice(sorted(arrays))
    if name == "document":
        text = mutate_text.damaged_json(arrays[name].tobytes(), b"", random)
        arrays[name] = np.frombuffer(text, np.uint8)
    else:
        arrays[name] = random.choice(ARRAY_DAMAGES)(arrays[name])
    if random.random() < 0.1:
        del arrays[name]
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


ARRAY_DAMAGES: tuple[Callable[[Any], Any], ...] = (
    lambda array: array[:-1],
    lambda array: array[::-1],
    lambda array: array * 0,
    lambda array: array.astype(np.float64) * np.nan,
    lambda array: array.astype(np.float64) * 1e300,
    lambda array: array.astype(np.complex64),
    lambda array: array.astype(str),
    lambda array: array.reshape(-1),
    lambda array: array[None, None],
    lambda array: np.repeat(array, 1000, axis=0),
    lambda array: np.zeros(0),
    lambda array: np.array(7),
)
