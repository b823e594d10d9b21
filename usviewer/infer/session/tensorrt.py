"""TensorRT builds an engine for one GPU, which takes minutes: in a process of its own, kept on disk, while CUDA serves.

A model's engines lie in one folder of the cache. A marker says that the build was finished by these versions; without
it TensorRT is not asked for, so that no load ever waits for a build.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from usviewer.infer.manifest import ModelSpec
from usviewer.infer.places import cache_folder, keep_json, kept_json

CACHE_VERSION = "1"
_READY = "ready.json"


def folder(spec: ModelSpec) -> Path:
    """Where this model's engines are kept."""
    return cache_folder() / "tensorrt" / spec.sha256[:32]


def provider_options(spec: ModelSpec, *, fp16: bool) -> dict[str, str]:
    """Options of the provider: engines and timings are kept; single precision unless half is asked for."""
    path = str(folder(spec))
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": path,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": path,
        "trt_fp16_enable": "1" if fp16 else "0",
    }


def is_built(spec: ModelSpec, engine: str, library: str) -> bool:
    """Whether this engine (``tensorrt`` or ``tensorrt-fp16``) was built by this version of the library."""
    return bool(kept_json(folder(spec) / _READY).get(engine) == f"{CACHE_VERSION} {library}")


def mark_built(spec: ModelSpec, engine: str, library: str) -> None:
    """Note that the build is complete."""
    path = folder(spec) / _READY
    keep_json(path, {**kept_json(path), engine: f"{CACHE_VERSION} {library}"})


def build_command(spec: ModelSpec, engine: str) -> list[str]:
    """The command that builds it, as a process of its own."""
    return [sys.executable, "-m", "usviewer.infer.build", str(spec.folder), engine]


def start_build(spec: ModelSpec, engine: str) -> subprocess.Popen[bytes]:
    """Start building; the process outlives nobody's patience and may be forgotten: its marker says when it is done."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(build_command(spec, engine), stdin=quiet, stdout=quiet, stderr=quiet)
