from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers.scenes import aorta_reading, summary_of
from usviewer.errors import UserError
from usviewer.frame import FrameKey
from usviewer.measure.reading import Plane, Status
from usviewer.save import plots
from usviewer.save.plots import write_bland_altman, write_diameter_plot


def clip(count=60, radius=56.0):
    readings = []
    for index in range(count):
        reading = aorta_reading(FrameKey("clip", index, index / 20, 0.0, str(index)), radius=radius + np.sin(index / 3))
        if 20 <= index < 30:
            reading = replace(reading, status=Status.NOT_VISUALISED, measurements=())
        readings.append(reading)
    return readings


def picture(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)


def share_near(image, colour, tolerance=25):
    return (np.abs(image - colour).max(axis=2) <= tolerance).mean()


def test_the_curve_the_gap_and_the_maximum_are_drawn(tmp_path):
    readings = clip()
    write_diameter_plot(readings, tmp_path / "d.png", summary_of(readings[10]), "Aorta 1.0")
    image = picture(tmp_path / "d.png")
    assert (image[0, 0] == 255).all()
    assert share_near(image, (0, 0x72, 0xB2)) > 0.002
    assert share_near(image, (0xD5, 0x5E, 0)) > 0.0001
    gap = image[:, int(image.shape[1] * 0.44)]  # 24 of 60 frames: inside the frames that were not seen
    assert not (np.abs(gap - (0, 0x72, 0xB2)).max(axis=1) < 25).sum() > 6  # the median line, no curve


def test_values_of_another_kind_are_gaps():
    readings = clip()
    summary = summary_of(readings[0])
    along = replace(readings[1], plane=Plane.LONGITUDINAL)
    uncalibrated = aorta_reading(readings[2].key, spacing=None)
    values = plots._values([readings[0], along, uncalibrated, readings[25]], summary)
    assert np.isfinite(values).tolist() == [True, False, False, False]


def test_frames_without_times_are_counted():
    readings = [replace(r, key=replace(r.key, media_time_s=None)) for r in clip(3)]
    times, label = plots._times(readings)
    assert (times.tolist(), label) == ([0.0, 1.0, 2.0], "Frame")


@pytest.mark.parametrize("count", [0, 1, 60])
def test_nothing_measured_is_said_not_drawn_as_zero(tmp_path, count):
    readings = [replace(reading, status=Status.NOT_VISUALISED, measurements=()) for reading in clip(count)]
    write_diameter_plot(readings, tmp_path / "d.png", None)
    assert share_near(picture(tmp_path / "d.png"), (0, 0x72, 0xB2)) == 0


def test_a_single_measured_frame_is_a_point(tmp_path):
    (reading,) = clip(1)
    write_diameter_plot([reading], tmp_path / "d.png", summary_of(reading, count=1))
    assert share_near(picture(tmp_path / "d.png"), (0, 0x72, 0xB2)) > 0


def test_agreement_is_drawn(tmp_path):
    reference = np.linspace(15, 60, 40)
    measured = reference + np.random.default_rng(4).normal(0.4, 1.0, 40)
    write_bland_altman(reference, measured, tmp_path / "b.png", unit="mm", quantity="AP diameter")
    image = picture(tmp_path / "b.png")
    assert share_near(image, (0xD5, 0x5E, 0)) > 0.001


@pytest.mark.parametrize("count", [0, 1])
def test_agreement_needs_pairs(tmp_path, count):
    with pytest.raises(UserError, match="two measured pairs"):
        write_bland_altman(np.ones(count), np.ones(count), tmp_path / "b.png", unit="mm", quantity="AP diameter")
    assert list(tmp_path.iterdir()) == []


def test_no_global_figures():
    code = "import sys, usviewer.save.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", ["$x^2$", "price $5", r"$\frac{1$", r"a\$b", "\u4e3b\u52a8\u8109", "\x1b[2J \udcfc"])
def test_a_name_is_drawn_as_it_is_and_never_set_as_a_formula(tmp_path, name):
    readings = clip()
    write_diameter_plot(readings, tmp_path / "d.png", summary_of(readings[10]), name)
    values = np.array([20.0, 21.0, 25.0])
    write_bland_altman(values, values + 1, tmp_path / "b.png", unit="mm", quantity=name, note=f"{name} on {name}")
    assert picture(tmp_path / "d.png").size and picture(tmp_path / "b.png").size
    assert plots._text(name).count("$") == plots._text(name).count(r"\$")
