"""A model with several labels of one vessel: one of them is measured, on every frame, whatever the scores are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.drawing import ellipse_mask, geometry, instance, predicted
from usviewer.infer.prediction import Edge, Prediction
from usviewer.measure import Trend, manual, read, summarize
from usviewer.measure.findings import aorta
from usviewer.measure.reading import Status
from usviewer.overlay import words

LUMEN, WALL = ellipse_mask((320, 240), 35, 35), ellipse_mask((320, 240), 50, 50)
NERVE = ellipse_mask((320, 240), 30, 20)


def both(lumen: float, wall: float, index: int = 0, measured: str = "lumen") -> Prediction:
    """Lumen and wall with these scores, the surer one first, as decoders give them."""
    found = [
        replace(instance(LUMEN, lumen, Edge.INNER, "lumen"), class_index=0),
        replace(instance(WALL, wall, Edge.OUTER, "wall"), class_index=1),
    ]
    found.sort(key=lambda one: -one.score)
    return replace(predicted(*found, time_s=index / 10, index=index), measured=measured)


def swapping(measured: str) -> list[Prediction]:
    return [both(*((0.95, 0.91) if index % 6 < 3 else (0.91, 0.95)), index, measured) for index in range(30)]


@pytest.mark.parametrize(("measured", "diameter", "edge"), [("lumen", 70.0, Edge.INNER), ("wall", 100.0, Edge.OUTER)])
def test_scores_that_swap_do_not_change_what_is_measured(measured: str, diameter: float, edge: Edge) -> None:
    readings = [read(prediction, None, "aorta") for prediction in swapping(measured)]
    for reading in readings:
        assert reading.status is Status.MEASURED and (reading.label, reading.edge) == (measured, edge)
        assert reading.measurements[0].value_px == pytest.approx(diameter, abs=0.2)
        assert reading.labels[0] == measured and len(reading.outlines_xy_px) == 2  # the other is drawn, too
        assert aorta.SEVERAL not in reading.warnings
    summary = summarize(readings)
    assert summary is not None and (summary.label, summary.edge, summary.count) == (measured, edge, 30)
    assert summary.median == pytest.approx(diameter, abs=0.2) and summary.maximum == pytest.approx(diameter, abs=0.2)
    trend = Trend()
    live = [trend.add(reading) for reading in readings]
    assert live[-1] is not None and live[-1].median == pytest.approx(diameter, abs=0.2)


def test_the_label_stands_before_the_convention_where_it_is_not_the_finding() -> None:
    assert words.label_words("lumen", "aorta") == "lumen, "
    assert words.label_words("Fetal_Head", "fetal-head") == words.label_words("aorta", "aorta") == ""


def test_where_only_another_label_is_seen_nothing_is_measured() -> None:
    wall = replace(predicted(instance(WALL, 0.9, Edge.OUTER, "wall")), measured="lumen")
    reading = read(wall, None, "aorta")
    assert reading.status is Status.NOT_VISUALISED and reading.measurements == ()
    assert reading.labels == ("wall",) and reading.outlines_xy_px == ()


def test_three_labels_and_many_others_do_not_hide_the_measured_one() -> None:
    others = [instance(ellipse_mask((60 + 50 * i, 60), 20, 20), 0.99, Edge.OUTER, "vein") for i in range(6)]
    seen = replace(predicted(*others, instance(WALL, 0.97, label="wall"), instance(LUMEN, 0.5, label="lumen")))
    reading = read(replace(seen, measured="lumen"), None, "aorta")
    assert reading.measurements[0].value_px == pytest.approx(70.0, abs=0.2)


def test_a_correction_of_one_label_stays_with_that_label() -> None:
    automatic = read(both(0.91, 0.95), geometry(), "aorta")
    larger = ellipse_mask((320, 240), 40, 40)
    edit = manual.edit_of(larger, "digest", 0, "lumen", 0, Edge.INNER, ("lumen", "wall"))
    edited = manual.read_edited(automatic, edit, (640, 480), geometry())
    assert (edited.label, edited.edge) == ("lumen", Edge.INNER)
    assert edited.measurements[0].value_px == pytest.approx(80.0, abs=0.2)


def test_skull_edges_of_a_head_are_not_mixed_either() -> None:
    inner, outer = ellipse_mask((320, 240), 90, 70), ellipse_mask((320, 240), 98, 78)
    for scores in ((0.9, 0.8), (0.8, 0.9)):
        found = [instance(inner, scores[0], Edge.INNER, "inner"), instance(outer, scores[1], Edge.OUTER, "outer")]
        reading = read(replace(predicted(*found), measured="outer"), geometry(), "fetal-head")
        assert (reading.label, reading.edge) == ("outer", Edge.OUTER)


def test_a_nerve_of_another_name_is_measured_where_the_model_says_so() -> None:
    plexus, vessel = instance(NERVE, 0.8, label="brachial plexus"), instance(LUMEN, 0.9, label="vessel")
    reading = read(replace(predicted(vessel, plexus), measured="brachial plexus"), None, "nerve")
    assert reading.status is Status.MEASURED and reading.labels[0] == "brachial plexus"
    unnamed = read(predicted(vessel), None, "nerve")
    assert unnamed.status is Status.NOT_VISUALISED


def test_areas_of_different_structures_are_never_put_together() -> None:
    """A model without measurements of its own names the surest instance first: another one on the next frame."""
    readings = []
    for index in range(30):
        scores = (0.9, 0.8) if index % 2 else (0.8, 0.9)
        pair = [instance(LUMEN, scores[0], label="cyst"), instance(WALL, scores[1], label="kidney")]
        pair.sort(key=lambda one: -one.score)
        readings.append(read(predicted(*pair, time_s=index / 10, index=index), None, "other"))
    summary = summarize(readings)
    assert summary is not None and summary.count == 15
    assert summary.median == pytest.approx(summary.maximum) and summary.median in (
        pytest.approx(float(np.count_nonzero(LUMEN))),
        pytest.approx(float(np.count_nonzero(WALL))),
    )
