from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.prompt_graphs import prompt_model
from usviewer.__main__ import main
from usviewer.infer import registry


@pytest.fixture
def model(tmp_path: Path) -> str:
    prompt_model(tmp_path / "made", "my-prompt")
    return registry.add_model(tmp_path / "made").id


def sweep(folder: Path, frames: Sequence[int], labelled: Sequence[int]) -> Path:
    """A clip of a dark disc that moves over speckle, with its ellipses; a disc is absent on the other frames."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.normal(0, 1, (240, 320)).astype(np.float32), (0, 0), 2)
    ground = np.clip(150 + 25 * ground / ground.std(), 0, 255).astype(np.uint8)
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20, (320, 240))
    rows = []
    for index in frames:
        x, y = 130 + 1.5 * index, 110 + index
        grey = np.roll(ground, (index, round(1.5 * index)), (0, 1))
        inside = np.hypot(*(np.mgrid[0:240, 0:320] + 0.5 - np.array((y, x))[:, None, None])) < 28
        grey = np.where(inside, grey // 6, grey)
        video.write(np.repeat(grey[:, :, None].astype(np.uint8), 3, axis=2))
        if index in labelled:
            rows.append((index, x - 0.5, y - 0.5, 28, 28, 0))
    video.release()
    with (folder / "ellipses.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("frame", "center_x_px", "center_y_px", "semi_axis_x_px", "semi_axis_y_px", "angle_deg"))
        table.writerows(rows)
    return folder


def test_a_clip_is_followed_from_one_click_and_every_run_by_itself(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep(tmp_path / "sweep", range(16), [*range(8), *range(11, 16)])
    assert main(["evaluate", model, str(folder), "--follow", "--engine", "cpu", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "From one click on frame 0: mean Dice 0.8" in said and "over 8 frames" in said
    assert "From one click on frame 11: mean Dice 0.8" in said and "over 5 frames" in said
    with (tmp_path / "out" / "propagation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == [*range(8), *range(11, 16)]
    facts = json.loads((tmp_path / "out" / "propagation.json").read_text())
    assert facts["frames"] == 13 and min(facts["mean_dice"].values()) > 0.85


def test_following_is_for_prompt_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["evaluate", "aorta", "phantom", "--follow", "--out", str(tmp_path / "o")]) != 0
    assert "--follow is for a model that takes clicks" in " ".join(capsys.readouterr().err.split())


def test_after_the_structure_is_lost_every_frame_counts_as_missed(model: str) -> None:
    from usviewer.evaluate.datasets import DatasetOptions, open_dataset
    from usviewer.evaluate.tracking import follow
    from usviewer.infer.prompt.prompt_model import PromptModel

    dataset = open_dataset("phantom", DatasetOptions(count=1))
    (sample,) = list(dataset.samples())[:1]
    frames = [replace(sample.frame.key, index=number) for number in range(4)]
    dark = np.zeros_like(sample.frame.pixels)
    samples = [
        replace(sample, frame=replace(sample.frame, key=key, pixels=dark if key.index > 1 else sample.frame.pixels))
        for key in frames
    ]
    made = replace(dataset, samples=lambda: iter(samples), labels=tuple(sample.truth.masks))
    rows = list(follow(PromptModel(registry.load_spec(model), "cpu", 1), made))
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert rows[2].lost and rows[3].dice == 0 and rows[0].dice > 0
