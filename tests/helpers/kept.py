"""What the program keeps of a clip between sessions: a confirmed ruler, and what a model said."""

from __future__ import annotations

import numpy as np

from tests.helpers.fakes import FakeClip
from usviewer.calibrate.ruler.watch import Confirmed, Reference
from usviewer.infer.prediction import Edge, Instance, Prediction
from usviewer.save.kept_predictions import KeptPredictions
from usviewer.units import ScaleSource, Spacing


def confirmed_ruler(from_index: int = 0) -> Confirmed:
    """A ruler of six ticks at the left of a picture of 64x48."""
    grey = np.zeros((40, 12), np.uint8)
    grey[2::7, 3:9] = 220
    compared = np.full(grey.shape, 255, np.uint8)
    reference = Reference((64, 48), (2, 4, 14, 44), grey, compared, "y", (3, 9), (2.5, 9.5, 16.5, 23.5, 30.5, 37.5))
    spacing = Spacing(0.7, 0.7, ScaleSource.RULER, "6 ticks, 7.00 px apart", 0.001)
    return Confirmed(spacing, reference, from_index)


def kept_predictions(count: int = 3) -> KeptPredictions:
    """Of ``count`` frames, the second of which shows nothing and the third of which has a box without a mask."""
    kept = KeptPredictions(reference="ab", seen={"d0": "", "d1": "The ruler has gone"})
    mask = np.zeros((9, 11), np.bool_)
    mask[2:7, 3:9] = True
    found = (
        (Instance("vessel", 0, 0.9, (5.0, 6.0, 16.0, 15.0), mask, (5, 6), Edge.INNER),),
        (),
        (Instance("box", 1, 0.5, (1.0, 2.0, 3.5, 4.0)),),
    )
    for frame, instances in zip(FakeClip(count), found, strict=False):
        kept.add(
            frame, Prediction(frame.key, frame.size_px, instances, "m", "ab" * 32, "cpu", {"infer": 3.0}, 0.7, "x")
        )
    return kept
