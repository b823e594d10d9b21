"""``python -m usviewer.infer.build FOLDER ENGINE``: build a model's TensorRT engine and keep it.

A process of its own, because it takes minutes and must not hold up the program, which runs on CUDA meanwhile.
"""

from __future__ import annotations

import sys
from pathlib import Path

from usviewer.errors import UserError
from usviewer.infer import check_frames, session
from usviewer.infer.manifest import ModelSpec, read_manifest
from usviewer.infer.runner import Runner
from usviewer.infer.session import tensorrt


def build(spec: ModelSpec, engine: str) -> bool:
    """Build the engine for the shapes that the check's pictures give; False when it does not start here."""
    opened = session.open_session(spec, engine, 1)
    if opened.actual != engine:
        return False
    runner = Runner(spec, opened)
    for frame in check_frames.bundled_frames(spec)[:1]:
        runner.instances(frame)
    tensorrt.mark_built(spec, engine, session.versions()["onnxruntime"])
    return True


def main(folder: str, engine: str) -> int:
    """0 when the engine is built."""
    try:
        return 0 if build(read_manifest(Path(folder)), engine) else 1
    except UserError:
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
