"""What is said beside each clip of the list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt

from tests.helpers.recordings import write_clip
from tests.helpers.scenes import aorta_reading, flat_frame
from usviewer.measure.reading import Reading, Status
from usviewer.pipeline import folder
from usviewer.pipeline.curve import Curve, curve_of
from usviewer.save.cache import MadeBy
from usviewer.settings import Settings
from usviewer.view.app_state import AppState
from usviewer.view.review_clips import ClipBrowser, ClipList, result_words


def curve(
    count: int,
    measured: int,
    *,
    finding: str = "aorta",
    aggregated: bool = False,
    every: int = 1,
    step_s: float = 0.3,
) -> Curve:
    """A clip of ``count`` frames, of which ``measured`` were measured, each ``every``-th."""
    keys = [replace(flat_frame().key, index=index, media_time_s=index * step_s) for index in range(count)]
    readings = {key.index: Reading(key, finding, Status.NOT_VISUALISED) for key in keys}
    for key in keys[: measured * every : every]:
        readings[key.index] = replace(aorta_reading(key, radius=50.0), finding=finding)
    return curve_of(readings, count, aggregated=aggregated)


@pytest.mark.parametrize(
    ("found", "finding", "said"),
    [
        (curve(5, 5, aggregated=True), "aorta", ("max 2.1 cm", True)),
        (curve(5, 0, aggregated=True), "aorta", ("no number", False)),
        (curve(30, 3, aggregated=True), "aorta", ("3 of 30 measured", False)),  # less than a heart beat
        (curve(10, 10, aggregated=True, step_s=0.08), "aorta", ("10 of 10 measured", False)),  # a clip of 0.7 s
        (curve(60, 6, aggregated=True, every=9), "aorta", ("6 of 60 measured", False)),  # here and there: false alarms
        (
            curve(30, 3, aggregated=True, finding="fetal-head"),
            "fetal-head",
            ("max 21.3 mm", True),
        ),  # a head does not pulsate
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


def test_a_maximum_outside_the_stretch_that_was_measured_is_not_said() -> None:
    """An aorta over two seconds, and one frame elsewhere on which something larger was taken for it."""
    keys = [replace(flat_frame().key, index=index, media_time_s=index / 10) for index in range(60)]
    readings = {key.index: Reading(key, "aorta", Status.NOT_VISUALISED) for key in keys}
    readings |= {key.index: aorta_reading(key, radius=50.0) for key in keys[:20]}
    assert result_words(curve_of(readings, 60), "aorta") == ("max 2.1 cm", True)
    readings |= {key.index: aorta_reading(key, radius=90.0) for key in keys[50:53]}
    assert result_words(curve_of(readings, 60), "aorta") == ("23 of 60 measured", False)


@pytest.mark.parametrize("error", [ValueError("could not convert string to float"), MemoryError(), KeyError("x")])
def test_whatever_is_wrong_with_one_file_costs_only_its_thumbnail(
    themed: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_clip(tmp_path / name, count=2)
    real = folder.open_source

    def broken(path: Path) -> Any:
        if path.name == "b.mp4":
            raise error
        return real(path)

    monkeypatch.setattr(folder, "open_source", broken)
    app_state = AppState(Settings(), tmp_path / "settings.json")
    neighbours = ClipBrowser(app_state, lambda: None)
    qtbot.addWidget(neighbours.list)
    neighbours.show(tmp_path / "a.mp4")

    def glanced() -> bool:
        app_state.tick()
        return not app_state.loads.busy and len(neighbours.list.paths) == 3

    qtbot.waitUntil(glanced, timeout=10_000)
    assert [neighbours.list.said(path) for path in neighbours.list.paths] == ["", "cannot be opened", ""]
    icons = [neighbours.list.list.item(row).data(Qt.ItemDataRole.DecorationRole) for row in range(3)]
    assert [icon is not None for icon in icons] == [True, False, True]
    assert folder.result_of(tmp_path / "b.mp4", lambda _: MadeBy("ab", "cpu")) is None
    assert app_state.close()
