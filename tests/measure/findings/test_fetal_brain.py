from __future__ import annotations

import pytest

from tests.helpers.drawing import geometry, predicted
from usviewer.infer.prediction import Instance
from usviewer.infer.registry import load_spec
from usviewer.measure import read, summarize
from usviewer.measure.findings import fetal_brain
from usviewer.measure.reading import Status

CP, CSP, FALX = fetal_brain.STRUCTURES


def seen(index=0, **scores):
    boxes = [Instance(label, i, score, (10.0, 10.0, 60.0, 40.0)) for i, (label, score) in enumerate(scores.items())]
    return read(predicted(*boxes, index=index, time_s=index * 0.1), geometry(0.2), "fetal-brain")


def test_structures_with_their_scores_and_no_millimetres():
    reading = seen(CSP=0.8, MIDLINE_FALX=0.9)
    assert reading.status is Status.MEASURED
    assert reading.measurements == ()
    assert reading.spacing is None
    assert fetal_brain.scores_of(reading) == {"CSP": 0.8, "MIDLINE_FALX": 0.9}
    assert len(reading.boxes_xyxy_px) == len(reading.outlines_xy_px) == 2
    assert reading.quality == pytest.approx(1.7 / 3)


def test_nothing_seen():
    reading = seen()
    assert (reading.status, reading.reason) == (Status.NOT_VISUALISED, fetal_brain.NONE)


def test_the_best_of_two_boxes_counts_and_spellings_are_one():
    boxes = [Instance(name, 0, score, (0, 0, 9, 9)) for name, score in (("Midline falx", 0.4), ("MIDLINE_FALX", 0.7))]
    assert fetal_brain.scores_of(read(predicted(*boxes), None, "fetal-brain")) == {"MIDLINE_FALX": 0.7}


@pytest.mark.parametrize(
    ("found", "transventricular", "transthalamic"),
    [
        ((CP, CSP, FALX), (), ()),
        ((CSP, FALX), (CP,), ()),
        ((CP,), (CSP, FALX), (CSP, FALX)),
        ((), (CP, CSP, FALX), (CSP, FALX)),
    ],
)
def test_what_a_plane_still_needs(found, transventricular, transthalamic):
    assert [fetal_brain.missing(plane, found) for plane in fetal_brain.PLANES] == [transventricular, transthalamic]


def test_over_a_clip():
    clip = [
        seen(0),
        seen(1, CSP=0.5, MIDLINE_FALX=0.6),
        seen(2, CSP=0.9, MIDLINE_FALX=0.7),
        seen(3, MIDLINE_FALX=0.95),
    ]
    over = fetal_brain.structures_over(clip)
    assert list(over) == [CP, CSP, FALX]
    assert over[CP] == fetal_brain._StructureOver(0, 0.0, None, None)
    assert over[CSP] == fetal_brain._StructureOver(2, 0.5, 0.9, 2)
    assert over[FALX] == fetal_brain._StructureOver(3, 0.75, 0.95, 3)
    planes = fetal_brain.planes_over(clip)
    assert planes["transthalamic"] == fetal_brain._PlaneOver(2, 2, ())
    assert planes["transventricular"] == fetal_brain._PlaneOver(0, None, (CP,))
    assert summarize(clip) is None


def test_an_empty_clip():
    assert fetal_brain.structures_over([])[CSP] == fetal_brain._StructureOver(0, 0.0, None, None)


@pytest.mark.parametrize("model_id", ["fetal-brain"])
def test_every_label_of_the_bundled_detector_is_one_of_the_structures(model_id: str) -> None:
    """A detector whose label was not recognised had its structure drawn and listed as not seen."""
    names = {fetal_brain.structure(label.name) for label in load_spec(model_id).labels}
    assert names == set(fetal_brain.STRUCTURES)
