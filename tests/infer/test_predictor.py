from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.pictures import SpecFactory, disc_picture
from usviewer.errors import UserError
from usviewer.frame import ImageGeometry, Sector, make_frame
from usviewer.infer import registry
from usviewer.infer.manifest import ModelSpec, read_manifest
from usviewer.infer.predictor import Predictor


@pytest.fixture
def spec(unet: SpecFactory) -> ModelSpec:
    made = unet({"blob": True}, crop="sector")
    registry.record_golden(made.folder)
    return read_manifest(made.folder)


def test_a_prediction_says_everything_about_itself(spec: ModelSpec) -> None:
    frame = make_frame(disc_picture(320, 240, (130, 120), 50), "clip.mp4", 7, 0.25)
    prediction = Predictor(spec, "cpu", threads=1).predict(frame)
    assert prediction.key == frame.key and prediction.frame_size_px == (320, 240)
    assert (prediction.model_id, prediction.model_sha256, prediction.engine) == (spec.id, spec.sha256, "cpu")
    assert set(prediction.timings_ms) == {"preprocess", "infer", "decode"}
    assert all(ms > 0 for ms in prediction.timings_ms.values())
    (disc,) = prediction.instances
    assert disc.area_px == pytest.approx(np.pi * 50**2, rel=0.1)


def test_only_the_sector_is_looked_at(spec: ModelSpec) -> None:
    picture = disc_picture(640, 240, (130, 120), 50)
    picture[:, 320:] = disc_picture(320, 240, (130, 120), 50)
    box = (320, 0, 640, 240)
    corners = np.array([(320, 0), (640, 0), (640, 240), (320, 240)], np.float64)
    frame = make_frame(picture, "x", 0, geometry=ImageGeometry(sector=Sector(corners, box)))
    (disc,) = Predictor(spec, "cpu", threads=1).predict(frame).instances
    x0, _, x1, _ = disc.box_xyxy_px
    assert (x0 + x1) / 2 == pytest.approx(450, abs=1)


def test_nothing_is_an_empty_prediction_not_an_error(spec: ModelSpec) -> None:
    frame = make_frame(np.full((240, 320, 3), 255, np.uint8), "x", 0)
    assert Predictor(spec, "cpu", threads=1).predict(frame).instances == ()


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (16, 16)])
def test_any_frame_size_passes(spec: ModelSpec, size: tuple[int, int]) -> None:
    frame = make_frame(np.zeros((size[1], size[0], 3), np.uint8), "x", 0)
    prediction = Predictor(spec, "cpu", threads=1).predict(frame)
    for instance in prediction.instances:
        x0, y0, x1, y1 = instance.box_xyxy_px
        assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]


def test_frames_of_changing_size_do_not_disturb_each_other(spec: ModelSpec) -> None:
    predictor = Predictor(spec, "cpu", threads=1)
    first = make_frame(disc_picture(320, 240, (130, 120), 50), "x", 0)
    before = predictor.predict(first).instances[0]
    predictor.predict(make_frame(disc_picture(200, 333, (90, 120), 30), "x", 1))
    after = predictor.predict(first).instances[0]
    assert before.box_xyxy_px == after.box_xyxy_px and before.score == after.score
    np.testing.assert_array_equal(before.mask, after.mask)


def test_a_model_that_does_not_reproduce_its_golden_case_is_refused(spec: ModelSpec) -> None:
    wrong = replace(spec, input=replace(spec.input, value_range=(0.0, 1.2)))
    with pytest.raises(UserError, match="does not reproduce its golden case on the CPU"):
        Predictor(wrong, "cpu")


def test_a_golden_case_that_was_changed_is_refused(spec: ModelSpec) -> None:
    assert spec.golden is not None
    values = json.loads(spec.golden.expected.read_text())
    values["samples"][0][0] = [value + 1 for value in values["samples"][0][0]]
    spec.golden.expected.write_text(json.dumps(values))
    with pytest.raises(UserError, match="golden case"):
        Predictor(spec, "cpu")


def test_a_missing_golden_picture_is_refused(spec: ModelSpec) -> None:
    assert spec.golden is not None
    spec.golden.frame.unlink()
    with pytest.raises(UserError, match=r"golden picture .* cannot be read"):
        Predictor(spec, "cpu")


def test_the_file_must_be_the_one_of_the_manifest(spec: ModelSpec) -> None:
    spec.path.write_bytes(spec.path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="another sha256"):
        Predictor(spec, "cpu")
    spec.path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        Predictor(spec, "cpu")


@pytest.mark.parametrize("aspect", [2.0, 0.5])
def test_a_disc_of_oblong_pixels_is_found_in_the_frames_own_pixels(spec: ModelSpec, aspect: float) -> None:
    """Squashed as a recorder does it; the mask is that of the whole picture, squashed alike."""
    width, height = round(320 / aspect), 240
    y, x = np.mgrid[0:height, 0:width] + 0.5
    inside = np.hypot((x - 130 / aspect) * aspect, y - 120) < 50
    pixels = np.repeat(np.where(inside, 20, 200).astype(np.uint8)[:, :, None], 3, axis=2)
    (disc,) = Predictor(spec, "cpu", threads=1).predict(make_frame(pixels, "x", 0, pixel_aspect=aspect)).instances
    assert disc.area_px == pytest.approx(np.pi * 50**2 / aspect, rel=0.1)
    x0, y0, x1, y1 = disc.box_xyxy_px
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((130 / aspect, 120), abs=3)
    assert (x1 - x0) * aspect == pytest.approx(y1 - y0, rel=0.1)
