"""Other forms of a model's file: the int8 variant that ``usviewer models quantize`` made for this computer's user."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import platformdirs

from usviewer.errors import UserError
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.onnx_file import sha256_of
from usviewer.infer.places import keep_json, kept_json

_RECORD = "int8.json"
_FILE = "int8.onnx"


def int8_folder(spec: ModelSpec) -> Path:
    """Where the int8 variant of exactly this file is kept: bundled models lie where nothing may be written."""
    return Path(platformdirs.user_data_dir("usviewer", appauthor=False)) / "variants" / spec.sha256[:32]


def int8_file(spec: ModelSpec) -> Path | None:
    """The int8 variant, or None where there is none or it is not the file that was checked."""
    folder = int8_folder(spec)
    record, made = kept_json(folder / _RECORD), folder / _FILE
    with suppress(OSError, UserError):
        if record.get("model_sha256") == spec.sha256 and record.get("sha256") == _known_hash(made):
            return made
    return None


def int8_sha256(spec: ModelSpec) -> str:
    """Hash of the int8 variant; empty where there is none."""
    made = int8_file(spec)
    return _known_hash(made) if made else ""


def keep_int8(spec: ModelSpec, made: Path) -> Path:
    """Put a finished file in its place; the record is written last, so that half a variant is none."""
    folder = int8_folder(spec)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _RECORD).unlink(missing_ok=True)
    target = folder / _FILE
    made.replace(target)
    record = {"model": spec.id, "model_sha256": spec.sha256, "sha256": sha256_of(target)}
    keep_json(folder / _RECORD, record)
    return target


def drop_int8(spec: ModelSpec) -> None:
    """Remove the variant."""
    for name in (_RECORD, _FILE):
        (int8_folder(spec) / name).unlink(missing_ok=True)


_hashes: dict[tuple[Path, int, int], str] = {}


def _known_hash(path: Path) -> str:
    """Hash of a file, computed once for as long as its time and size stay."""
    state = path.stat()
    key = (path, state.st_mtime_ns, state.st_size)
    if key not in _hashes:
        _hashes[key] = sha256_of(path)
    return _hashes[key]
