"""What is said beside each clip of the list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.scenes import aorta_reading, flat_frame
from usviewer.measure.reading import Reading, Status
from usviewer.pipeline.curve import Curve, curve_of
from usviewer.view.clips import ClipList
from usviewer.view.neighbours import result_words


def curve(count: int, measured: int, *, aggregated: bool = False) -> Curve:
    key = flat_frame().key
    readings = {index: aorta_reading(replace(key, index=index), radius=50.0) for index in range(measured)}
    readings |= {index: Reading(key, "aorta", Status.NOT_VISUALISED) for index in range(measured, count)}
    return curve_of(readings, count, aggregated=aggregated)


@pytest.mark.parametrize(
    ("found", "finding", "said"),
    [
        (curve(5, 5, aggregated=True), "aorta", ("max 2.1 cm", True)),
        (curve(5, 0, aggregated=True), "aorta", ("no number", False)),
        (curve(1, 1), "fetal-head", ("21.3 mm", True)),
        (replace(curve(1, 1), unit="px\N{SUPERSCRIPT TWO}", values=np.array([5628.2])), "nerve", ("5628 px²", True)),
        (curve(1, 1), "aorta", ("measured", False)),  # a vessel is not quoted from one frame
        (curve(12, 3), "fetal-head", ("3 of 12 measured", False)),  # they may be of different patients
        (curve(12, 0), "fetal-head", ("no number", False)),
    ],
)
def test_what_a_clip_amounts_to(found: Curve, finding: str, said: tuple[str, bool]) -> None:
    assert result_words(found, finding) == said


def test_no_word_beside_a_clip_is_cut(themed: Any, qtbot: Any, tmp_path: Any) -> None:
    """Its last letters are painted nowhere but at their place: a wider list shows as many light pixels."""
    clips = ClipList()
    qtbot.addWidget(clips)
    path = tmp_path / "a.mp4"
    clips.set_clips("folder", (path, tmp_path / "b.mp4"))
    clips.show_thumbnail(path, None)
    clips.show()
    assert _light(clips, 216) == _light(clips, 400) > 100


def _light(clips: ClipList, width_px: int) -> int:
    clips.setFixedWidth(width_px)
    clips.resize(width_px, 200)
    clips.layout().activate()
    picture = clips.grab().toImage()
    pixels = np.asarray(picture.convertToFormat(picture.Format.Format_RGB32).constBits()).reshape(200, -1, 4)
    return int((pixels[..., :3].astype(int).sum(axis=2) > 330).sum())
