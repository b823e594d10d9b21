from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.helpers.scenes import fan
from usviewer.frame import ImageGeometry
from usviewer.save.deidentify import KEPT_AS_ASKED, KEPT_UNCERTAIN, blank_outside, blank_outside_sector, privacy_notice

PIXELS = np.random.default_rng(5).integers(1, 256, (120, 160, 3), dtype=np.uint8)
SECTOR = fan(160, 120)


def signed_distance(sector) -> np.ndarray:
    """Of every pixel's centre to the outline in px, positive inside: an independent reckoning."""
    outline = sector.outline_xy_px.astype(np.float32)
    rows, columns = np.mgrid[:120, :160]
    return np.array(
        [
            cv2.pointPolygonTest(outline, (float(x) + 0.5, float(y) + 0.5), True)
            for x, y in zip(columns.ravel(), rows.ravel(), strict=True)
        ]
    ).reshape(120, 160)


def test_every_pixel_outside_is_black_and_none_inside_changes():
    blanked = blank_outside(PIXELS, SECTOR)
    distance = signed_distance(SECTOR)
    assert (blanked[distance < -1.0] == 0).all()
    assert np.array_equal(blanked[distance >= 0.2], PIXELS[distance >= 0.2])


def test_the_source_stays_as_it_is():
    before = PIXELS.copy()
    blank_outside(PIXELS, SECTOR)
    assert np.array_equal(PIXELS, before)


@pytest.mark.parametrize(
    ("geometry", "keep", "said"),
    [
        (ImageGeometry(sector=SECTOR), False, ""),
        (ImageGeometry(sector=SECTOR), True, KEPT_AS_ASKED),
        (ImageGeometry(sector=replace(SECTOR, certain=False)), False, KEPT_UNCERTAIN),
        (ImageGeometry(), False, KEPT_UNCERTAIN),
        (None, False, KEPT_UNCERTAIN),
    ],
)
def test_what_is_kept_is_said(geometry, keep, said):
    assert privacy_notice(geometry, keep) == said
    assert np.array_equal(blank_outside_sector(PIXELS, geometry, keep), PIXELS) == bool(said)
