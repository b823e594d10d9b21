"""What was seen a moment ago and not on this frame is outlined, dashed, and never measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from usviewer.frame import Frame, FrameKey, ImageGeometry, Mask, Region
from usviewer.infer.prediction import Edge, Instance, Prediction, instance_of
from usviewer.measure import Trend, clip_report, read
from usviewer.measure.manual import edit_of, edited_prediction
from usviewer.measure.reading import Status
from usviewer.overlay.items import LineStyle, Outline
from usviewer.overlay.scene import compose
from usviewer.overlay.text import reading_text
from usviewer.save.kept_predictions import pack
from usviewer.units import ScaleSource, Spacing

SIZE_PX = (320, 240)
GEOMETRY = ImageGeometry((Region((0.0, 0.0, 320.0, 240.0), Spacing(0.5, 0.5, ScaleSource.PHANTOM)),))


def disc(label: str = "aorta", x_px: float = 150.0) -> Instance:
    rows, columns = np.indices((240, 320))
    mask: Mask = np.hypot(columns - x_px, rows - 120) <= 20
    return instance_of(mask, Instance(label, 0, 1.0, (0, 0, 0, 0), edge=Edge.INNER), 0.8)


def prediction(*, found: tuple[Instance, ...] = (), carried: tuple[Instance, ...] = ()) -> Prediction:
    key = FrameKey("clip", 3, 0.12, 0.0, "d")
    carried_s = 0.08 if carried else 0.0
    return Prediction(key, SIZE_PX, found, "m", "0", "cpu", edge_sd_px=0.5, carried=carried, carried_s=carried_s)


def test_it_has_an_outline_and_its_age_and_no_number() -> None:
    reading = read(prediction(carried=(disc(),)), GEOMETRY, "aorta")
    assert reading.status is Status.NOT_VISUALISED and reading.measurements == ()
    assert (reading.carried_s, reading.edge, reading.score) == (0.08, Edge.INNER, None)
    assert len(reading.outlines_xy_px) == 1 and "0.08 s before" in reading.reason
    text = reading_text(reading, None)
    assert text.number == reading_text(read(prediction(), GEOMETRY, "aorta"), None).number
    assert "0.08 s before" in text.reason
    marks = [item for item in compose(frame(), reading).items if isinstance(item, Outline)]
    assert [mark.line for mark in marks] == [LineStyle.DASHED]


def test_what_is_found_is_measured_as_if_nothing_had_been_carried() -> None:
    seen = prediction(found=(disc(),))
    reading = read(replace(seen, carried=(disc(x_px=200.0),), carried_s=0.08), GEOMETRY, "aorta")
    plain = read(seen, GEOMETRY, "aorta")
    assert reading.status is Status.MEASURED and reading.carried_s == 0.0
    assert reading.measurements == plain.measurements and len(reading.outlines_xy_px) == len(plain.outlines_xy_px)


def test_it_counts_in_no_aggregate() -> None:
    reading, trend = read(prediction(carried=(disc(),)), GEOMETRY, "aorta"), Trend()
    assert trend.add(reading) is None and clip_report([reading]).sweep == ()


def test_of_a_model_with_several_labels_only_what_is_measured_is_carried() -> None:
    both = replace(prediction(carried=(disc("wall"), disc("aorta", 200.0))), measured="aorta")
    reading = read(both, GEOMETRY, "aorta")
    assert reading.labels == ("aorta",) and reading.outlines_xy_px[0].mean(axis=0)[0] == pytest.approx(200.5, abs=1)


def test_a_correction_of_such_a_frame_holds_what_the_person_drew_and_nothing_else() -> None:
    reading = read(prediction(carried=(disc(), disc(x_px=250.0))), GEOMETRY, "aorta")
    whole = np.zeros((240, 320), np.bool_)
    whole[100:140, 100:140] = True
    made = edited_prediction(reading, edit_of(whole, "d", 0, "aorta", 0), SIZE_PX)
    assert [one.box_xyxy_px for one in made.instances] == [(100.0, 100.0, 140.0, 140.0)]


def test_it_is_kept_with_the_prediction() -> None:
    one = prediction(found=(disc("wall"),), carried=(disc(),))
    again = pack(frame(), one).prediction("clip")
    assert again.carried_s == one.carried_s and [i.label for i in again.instances] == ["wall"]
    assert again.carried[0].mask is not None and (again.carried[0].mask == one.carried[0].mask).all()


def frame() -> Frame:
    return Frame(FrameKey("clip", 3, 0.12, 0.0, "d"), np.zeros((240, 320, 3), np.uint8), GEOMETRY)
