"""``usviewer analyze`` by the ruler on the pictures: only when confirmed, and not a frame longer than it holds."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers.recordings import write_clip
from usviewer.__main__ import main
from usviewer.calibrate.ruler.layouts import UNCONFIRMED
from usviewer.calibrate.ruler.watch import WITHDRAWALS

SAMPLE = ROOT / "resources" / "sample.mp4"
SAMPLE_MM = 0.2572
COUNT, CHANGE = 40, 22
ZOOM = 1.1


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, whose depth (the ruler, the numbers, the picture) changes at a frame, as when a knob is turned."""
    with av.open(str(SAMPLE)) as file:
        frames = [
            frame.to_ndarray(format="rgb24") for frame, _ in zip(file.decode(video=0), range(COUNT), strict=False)
        ]
    height, width = frames[0].shape[:2]
    turn = np.array([[ZOOM, 0.0, width * (1.0 - ZOOM)], [0.0, ZOOM, 0.0]])
    changed = [cv2.warpAffine(pixels, turn, (width, height)) for pixels in frames[CHANGE:]]
    pictures = [*frames[:CHANGE], *changed]
    path = tmp_path_factory.mktemp("depth") / "depth.mp4"
    return write_clip(path, count=COUNT, size=(width, height), pictures=pictures, options={"crf": "12"})


def analysed(clip: Path, out: Path, *options: str) -> tuple[list[dict[str, str]], dict]:
    assert main(["analyze", str(clip), "--no-video", "--out", str(out), *options]) == 0
    with (out / "readings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((out / "summary.json").read_text(encoding="utf-8"))


def in_mm(row: dict[str, str]) -> list[str]:
    """The columns of a row that hold millimetres."""
    return [name for name, value in row.items() if value and name.endswith(("_mm", "_mm2", "_mm_per_px"))]


def test_no_millimetre_from_the_depth_change_on(clip: Path, tmp_path: Path) -> None:
    rows, summary = analysed(clip, tmp_path / "out", "--ruler-tick-mm", "10")
    before = [row for row in rows[:CHANGE] if row["status"] == "measured"]
    assert len(before) > CHANGE / 2
    for row in before:
        assert row["scale_source"] == "on-screen ruler"
        assert float(row["spacing_y_mm_per_px"]) == pytest.approx(SAMPLE_MM, rel=0.003)
        assert row["ap_diameter_mm"]
    assert any(row["status"] == "measured" for row in rows[CHANGE:])
    for row in rows[CHANGE:]:
        assert in_mm(row) == []
        assert row["no_scale_reason"] in WITHDRAWALS
    (withdrawn,) = summary["scale_withdrawn"]
    assert withdrawn["frame"] == CHANGE
    assert withdrawn["reason"] in WITHDRAWALS
    assert summary["aggregate"]["unit"] == "mm"
    assert summary["aggregate"]["count"] == len(before)
    assert summary["aggregate"]["maximum_frame"] < CHANGE
    assert [scale["frames"] for scale in summary["scales"]] == [len(before)]


def test_a_ruler_that_nobody_confirmed_is_told_and_not_used(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows, summary = analysed(clip, tmp_path / "out")
    assert all(in_mm(row) == [] for row in rows)
    assert {row["no_scale_reason"] for row in rows} == {UNCONFIRMED}
    assert summary["scale_withdrawn"] == []
    assert "--ruler-tick-mm" in capfd.readouterr().err


@pytest.mark.parametrize("options", [("--ruler-tick-mm", "-3"), ("--ruler-tick-mm", "10", "--mm-per-pixel", "0.2")])
def test_what_cannot_be_is_refused_in_a_sentence(
    clip: Path, tmp_path: Path, options: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(clip), "--no-video", "--out", str(tmp_path / "out"), *options]) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
