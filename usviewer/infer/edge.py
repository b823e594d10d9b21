"""How far a model's outlines are off, as a prediction states it."""

from __future__ import annotations

import math

from usviewer.frame import Frame
from usviewer.infer.manifest import ModelSpec
from usviewer.infer.preprocess import place

# Without a measured figure ([accuracy] edge_sd_input_px) an outline is as sure as half a pixel of the model's input.
EDGE_SD_INPUT_PX = 0.5


def edge_sd_px(spec: ModelSpec, frame: Frame) -> float | None:
    """Standard deviation of an outline's position in frame pixels; None for a model without outlines.

    Of pixels that are not square: in squares of the same area.

    As the manifest's accuracy states it in pixels of the input, which is how a model's sureness scales with the frame.
    For a prompt model, which outlines things that nobody trained it on, an unmeasured figure is not assumed: None.
    """
    if spec.task == "detect" or (spec.task == "prompt" and "edge_sd_input_px" not in spec.accuracy):
        return None
    scale_x, scale_y = place(frame.size_px, spec.input, frame.sector_box_px, frame.pixel_aspect).scale_xy
    stated = spec.accuracy.get("edge_sd_input_px")
    if not isinstance(stated, int | float) or not (math.isfinite(stated) and stated > 0):
        stated = EDGE_SD_INPUT_PX
    return float(stated) / math.sqrt(scale_x * scale_y)
