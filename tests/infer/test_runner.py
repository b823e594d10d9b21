from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.pictures import SpecFactory
from usviewer.frame import ImageGeometry, Sector, make_frame
from usviewer.infer.predictor import Predictor
from usviewer.infer.runner import edge_sd_px


def frame(width, height, sector=None):
    return make_frame(np.full((height, width, 3), 255, np.uint8), "x", 0, geometry=ImageGeometry(sector=sector))


@pytest.mark.parametrize(
    ("stated", "used"), [({}, 0.5), ({"edge_sd_input_px": 1.2}, 1.2), ({"edge_sd_input_px": "?"}, 0.5)]
)
def test_how_far_outlines_are_off_is_said_in_frame_pixels(unet: SpecFactory, stated: dict, used: float) -> None:
    spec = replace(unet({"blob": True}), accuracy=stated)
    large = frame(3 * spec.input.width_px, 3 * spec.input.height_px)
    assert edge_sd_px(spec, large) == pytest.approx(3 * used)


def test_a_smaller_sector_is_seen_more_finely(unet: SpecFactory) -> None:
    spec = unet({"blob": True}, crop="sector")
    width, height = spec.input.width_px, spec.input.height_px
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    sector = Sector(corners, (0, 0, width, height))
    assert edge_sd_px(spec, frame(3 * width, 3 * height, sector)) == pytest.approx(0.5)


def test_boxes_have_no_outline(unet: SpecFactory) -> None:
    assert edge_sd_px(replace(unet({"blob": True}), task="detect"), frame(64, 64)) is None


def test_every_prediction_carries_it(unet: SpecFactory) -> None:
    spec = unet({"blob": True})
    picture = frame(2 * spec.input.width_px, 2 * spec.input.height_px)
    assert Predictor(spec, "cpu", threads=1).predict(picture).edge_sd_px == pytest.approx(1.0)


def test_the_edge_of_oblong_pixels_is_said_in_squares_of_their_area(unet: SpecFactory) -> None:
    spec = unet({"blob": True})
    width, height = spec.input.width_px, spec.input.height_px
    oblong = replace(frame(2 * width, 4 * height), geometry=ImageGeometry(pixel_aspect=2.0))
    assert edge_sd_px(spec, oblong) == pytest.approx(0.5 * math.sqrt(2 * 4))
