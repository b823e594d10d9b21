"""Make the bundled sample: four seconds of a phantom as H.264, and what is true about it.

Run from the repository's root: ``python resources/make_sample.py [FOLDER]``. Writes ``sample.mp4`` and ``sample.toml``.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from usviewer.acquire.phantom import PhantomSource, PhantomSpec

SAMPLE = PhantomSpec(ap_mm=34.0, axis_ratio=1.08, seed=7, frames=120, vessel_depth_mm=76.0)
CRF = 15


def render_clip(source: PhantomSource, path: Path) -> None:
    """Encode every frame of a phantom: H.264 in MP4, yuv420p, with the phantom's own frame times."""
    part = path.with_name(path.name + ".part")
    spec = source.spec
    with av.open(part, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(spec.fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "yuv420p"
        stream.options = {"crf": str(CRF), "preset": "slow", "threads": "1"}
        for frame in source:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")))
        container.mux(stream.encode(None))
    part.replace(path)


def describe(source: PhantomSource) -> str:
    """TOML: scale, diameters of the lumen over the clip (inner edge to inner edge), and how to make it again."""
    spec = source.spec
    truths = [source.truth(index) for index in range(spec.frames)]
    ap_mm = np.array([truth.ap_mm for truth in truths], dtype=np.float64)
    transverse_mm = np.array([truth.transverse_mm for truth in truths], dtype=np.float64)
    lines = [
        "# What is true about sample.mp4, a simulated aorta. Made by make_sample.py.",
        'finding = "aorta"',
        'plane = "transverse"',
        'edge = "inner"',
        f"seed = {spec.seed}",
        f"frames = {spec.frames}",
        f"frames_per_second = {spec.fps}",
        f"mm_per_px = {source.layout.mm_per_px:.9f}",
        f"ap_median_mm = {np.median(ap_mm):.3f}",
        f"ap_max_mm = {ap_mm.max():.3f}",
        f"transverse_median_mm = {np.median(transverse_mm):.3f}",
        f"transverse_max_mm = {transverse_mm.max():.3f}",
    ]
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    """Write both files."""
    with PhantomSource(SAMPLE) as source:
        render_clip(source, folder / "sample.mp4")
        (folder / "sample.toml").write_text(describe(source), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
