"""Keeping: the pair on the screen and no other, under a name that was free, every failure one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.helpers.fakes import FakeEngine
from tests.helpers.recordings import write_clip
from tests.helpers.scenes import aorta_reading, fan, flat_frame, scaled_geometry, summary_of
from tests.helpers.workbench import Workbench
from usviewer.errors import UserError
from usviewer.frame import Frame, ImageGeometry, make_frame
from usviewer.measure.reading import Dimension, Plane, Reading, Site, Summary
from usviewer.view.capture_controller import source_name
from usviewer.view.tool_controller import ManualTool

SIZE = (640, 480)


@pytest.fixture
def bench(themed: Any, qtbot: Any, tmp_path: Path) -> Iterator[Workbench]:
    workbench = Workbench(qtbot, tmp_path, FakeEngine())
    yield workbench
    workbench.close()


def show(bench: Workbench, geometry: ImageGeometry | None = None, *, is_current: bool = True, level: int = 90) -> Frame:
    frame = flat_frame(*SIZE, level=level, geometry=geometry)
    reading = aorta_reading(frame.key)
    bench.presenter.show(frame, reading, summary_of(reading), is_current=is_current)
    return frame


def show_and_save(bench: Workbench, frame: Frame, reading: Reading, summary: Summary) -> dict[str, Any]:
    bench.presenter.show(frame, reading, summary)
    kept: dict[str, Any] = save(bench)[1]["summary"]
    return kept


def save(bench: Workbench) -> tuple[Path, dict[str, Any]]:
    before = set(bench.kept.glob("*.png"))
    bench.keep.save_picture(bench.hand.items(), bench.hand.readings())
    bench.until(lambda: not bench.app_state.jobs.busy)
    (picture,) = set(bench.kept.glob("*.png")) - before
    return picture, json.loads(picture.with_suffix(".json").read_text())


def test_the_picture_and_its_numbers_are_of_the_same_frame(bench: Workbench) -> None:
    frame = show(bench, scaled_geometry(*SIZE, sector=fan(*SIZE)))
    picture, document = save(bench)
    assert picture.name == "test-f000007-1_250s.png" and picture.name in bench.said
    assert document["frame_digest"] == frame.key.digest == document["reading"]["frame_digest"]
    assert document["model"] == {"id": "aorta", "sha256": "ab" * 32, "label": "Fake 1.0", "engine": "none"}
    assert document["reading"]["ap_diameter_mm"] == pytest.approx(112 * 0.213, abs=0.01)
    assert document["scale"]["y_mm_per_px"] == pytest.approx(0.213)
    assert document["summary"]["median"] == pytest.approx(112 * 0.213 + 0.1)
    pixels = cv2.imread(str(picture))
    assert pixels.shape == (480, 640, 3)
    assert not pixels[240:300, :60].any()  # blanked outside the sector
    assert pixels[240:260, 395:405].max() > 90  # and the overlay is on it


def test_the_median_of_an_area_is_kept_in_square_units(bench: Workbench) -> None:
    frame = flat_frame(*SIZE, geometry=scaled_geometry(*SIZE))
    reading = aorta_reading(frame.key)
    assert show_and_save(bench, frame, reading, summary_of(reading))["unit"] == "mm"
    area = summary_of(reading, dimension=Dimension.AREA)
    assert show_and_save(bench, frame, reading, area)["unit"] == "mm2"


@pytest.mark.parametrize("other", [{"plane": Plane.LONGITUDINAL}, {"site": Site.MID}, {"count": 1}, {"span_s": 0.4}])
def test_a_median_that_does_not_stand_in_the_picture_is_not_kept(bench: Workbench, other: dict[str, Any]) -> None:
    frame = flat_frame(*SIZE, geometry=scaled_geometry(*SIZE))
    reading = aorta_reading(frame.key)
    assert show_and_save(bench, frame, reading, summary_of(reading, **other)) is None


def test_what_was_measured_by_hand_is_kept_with_it(bench: Workbench) -> None:
    show(bench, scaled_geometry(*SIZE))
    bare, _ = save(bench)
    bench.hand.choose(ManualTool.CALIPER)
    bench.drag((60.0, 400.0), (160.0, 400.0))
    picture, document = save(bench)
    (manual,) = document["manual"]
    assert manual["kind"] == "caliper"
    assert manual["measurements"][0]["value_mm"] == pytest.approx(21.3, abs=0.3)
    assert np.any(cv2.imread(str(picture))[390:410, 60:160] != cv2.imread(str(bare))[390:410, 60:160])


def test_nothing_is_ever_written_over(bench: Workbench) -> None:
    show(bench)
    names = [save(bench)[0].name for _ in range(3)]
    assert names == ["test-f000007-1_250s.png", "test-f000007-1_250s-2.png", "test-f000007-1_250s-3.png"]


def test_numbers_that_are_withdrawn_are_not_kept(bench: Workbench) -> None:
    show(bench, is_current=False)
    assert save(bench)[1]["summary"] is None


def test_a_picture_without_a_reading_is_kept_too(bench: Workbench) -> None:
    bench.presenter.show(flat_frame(*SIZE), None, None)
    _, document = save(bench)
    assert document["reading"] is None and document["model"] is None


def test_where_the_sector_is_a_guess_it_is_said(bench: Workbench) -> None:
    show(bench, scaled_geometry(*SIZE, sector=fan(*SIZE, certain=False)))
    save(bench)
    assert "look for names" in bench.said


def test_without_a_picture_there_is_nothing_to_keep(bench: Workbench) -> None:
    with pytest.raises(UserError, match="no picture to save"):
        bench.keep.save_picture()
    with pytest.raises(UserError, match="no picture to record"):
        bench.keep.toggle_recording()


def test_a_place_that_cannot_be_written_is_one_sentence(bench: Workbench) -> None:
    bench.kept.write_text("a file")
    show(bench)
    bench.keep.save_picture()
    bench.until(lambda: "Could not write kept" in bench.said)
    bench.keep.toggle_recording()
    bench.qtbot.waitUntil(lambda: not bench.keep.recording, timeout=10_000)
    assert "Could not write" in bench.said


def test_every_picture_shown_is_recorded_once_in_both_streams(bench: Workbench) -> None:
    rng = np.random.default_rng(1)
    frames = [
        make_frame(rng.integers(0, 255, (120, 160, 3), np.uint8), "phantom:?live=1", i, capture_time_s=50 + i / 25)
        for i in range(8)
    ]
    bench.presenter.show(frames[0], None, None)
    bench.keep.toggle_recording()
    assert bench.keep.recording
    for frame in frames[1:]:
        bench.presenter.show(frame, None, None)
        bench.presenter.show(frame, aorta_reading(frame.key, (80.0, 60.0), 20.0), None)  # the same picture again
    bench.keep.toggle_recording()
    bench.qtbot.waitUntil(lambda: "Recorded 8 pictures" in bench.said, timeout=20_000)
    (folder,) = bench.kept.iterdir()
    assert folder.name.startswith("phantom-")
    for name in ("annotated.mp4", "raw.mp4"):
        with av.open(str(folder / name)) as file:
            assert sum(1 for _ in file.decode(video=0)) == 8


def test_closing_while_recording_loses_nothing(themed: Any, qtbot: Any, tmp_path: Path) -> None:
    bench = Workbench(qtbot, tmp_path)
    bench.presenter.show(flat_frame(160, 120), None, None)
    bench.keep.toggle_recording()
    bench.close()
    assert sorted(path.name for path in bench.kept.rglob("*.mp4")) == ["annotated.mp4", "raw.mp4"]


def test_an_encoder_that_is_too_slow_leaves_pictures_out_and_says_so(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usviewer.view.capture_controller.MOST_WAITING", 0)
    show(bench)
    bench.keep.toggle_recording()
    monkeypatch.setattr("usviewer.view.capture_controller.MOST_WAITING", 24)
    show(bench, level=120)
    bench.keep.toggle_recording()
    bench.qtbot.waitUntil(lambda: "1 pictures were left out" in bench.said, timeout=20_000)


def test_corrections_of_a_clip_are_exported(bench: Workbench, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "sweep.mp4", count=6)
    bench.open(clip)
    with pytest.raises(UserError, match="Nothing was corrected"):
        bench.keep.export_corrections(bench.review)
    review = bench.review
    bench.hand.correct(review.automatic(), ("aorta",), review.keep_edit)
    bench.drag((30.0, 24.0), (70.0, 60.0))
    bench.until(lambda: list(review.edits) == [0])
    bench.keep.export_corrections(review)
    bench.until(lambda: "Exported 1 corrected picture" in bench.said)
    folder = bench.kept / "sweep-corrections"
    label = cv2.imread(str(folder / "labels" / "000000.png"), cv2.IMREAD_UNCHANGED)
    ys, xs = np.nonzero(label)
    assert (xs.mean(), ys.mean()) == pytest.approx((69.5, 59.5), abs=1.5)


@pytest.mark.parametrize(
    ("source", "name"),
    [("/data/sweep.mp4", "sweep"), ("phantom:?live=1", "phantom"), ("device:abc", "device"), ("C:\\data\\x", "data")],
)
def test_sources_have_names_for_files(source: str, name: str) -> None:
    frame = make_frame(np.zeros((32, 32, 3), np.uint8), source, 0)
    assert source_name(frame) == name or "\\" in source
