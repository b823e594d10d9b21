"""The computer's language changes no number: what is typed, what is shown, and what is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers.recordings import write_clip

SOURCES = Path("/usr/share/i18n/locales")
LOCALES = ("C", "de_DE.UTF-8", "fr_FR.UTF-8", "tr_TR.UTF-8")
CHILD = Path(__file__).with_name("helpers") / "locale_child.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def locpath(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the locales, made of the system's own sources; no administrator is needed."""
    if shutil.which("localedef") is None or not (SOURCES / "de_DE").exists():
        pytest.skip("the sources of the locales are not installed (Debian: apt install locales)")
    folder = tmp_path_factory.mktemp("locales")
    for name in LOCALES[1:]:
        subprocess.run(["localedef", "-i", name.split(".")[0], "-f", "UTF-8", str(folder / name)], check=True)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of the sample at half its size."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(ROOT / "resources/sample.mp4") as sample:
        frames = [frame.to_ndarray(format="rgb24") for frame, _ in zip(sample.decode(video=0), range(8), strict=False)]
    pictures = [np.ascontiguousarray(frame[::2, ::2]) for frame in frames]
    return write_clip(path, count=len(pictures), size=(480, 360), pictures=pictures, options={"crf": "16"})


@pytest.fixture(scope="module")
def ran(locpath: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Each language once, in a process of its own: its folder, and what it said."""
    pytest.importorskip("PySide6")
    found = {}
    for name in LOCALES:
        folder = tmp_path_factory.mktemp(name.split(".")[0])
        shutil.copy2(clip, folder / "clip.mp4")
        language = {"LC_ALL": name, "LANG": name, "LANGUAGE": name.split("_")[0], "LOCPATH": str(locpath)}
        own = {f"XDG_{kind}_HOME": str(folder / kind) for kind in ("DATA", "CONFIG", "CACHE", "STATE")}
        environment = {**os.environ, **language, **own, "PYTHONPATH": str(ROOT), "USVIEWER_ENGINE": "cpu"}
        environment |= {"QT_QPA_PLATFORM": "offscreen", "SOURCE_DATE_EPOCH": "0"}
        done = subprocess.run(
            [sys.executable, str(CHILD)], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        found[name] = folder, json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", LOCALES[1:])
def test_the_same_text_is_the_same_number_in_every_field_and_option(ran: dict[str, Any], name: str) -> None:
    plain, other = ran["C"][1], ran[name][1]
    assert other["told_point"] == ","  # the language is really there, and Qt took it over
    assert other["fields"] == plain["fields"]
    assert other["options"] == plain["options"]
    assert other["shown"] == plain["shown"] == ["52.5 mm", "0.25 mm"]


def test_what_is_typed_stays_in_the_field_and_means_what_it_says(ran: dict[str, Any]) -> None:
    fields = ran["C"][1]["fields"]
    assert all(text == typed for field in fields.values() for text, (typed, _) in field.items())
    assert [fields["distance of two points"][text][1] for text in ("52.5", "52,5", "7.25", "7,25")] == [
        *(52.5, 52.5, 7.25, 7.25)
    ]
    assert fields["tick of a ruler"]["5,25 cm"][1] == 52.5
    assert fields["mm per pixel"]["1,05"][1] == "1.05"
    assert fields["mm per pixel"]["0,21x0,25"][1] == "0.21 x 0.25"
    assert fields["gestational age"]["28,50"][1] == 28.5
    assert fields["distance of two points"]["1.000"][1] == 1.0  # a metre is no distance on a picture
    assert "28 weeks and 3 days" in fields["gestational age"]["28.3"][1]
    assert "may mean 1 or 1000" in ran["C"][1]["options"]["bench --live"]["1.000"]


@pytest.mark.parametrize("name", LOCALES)
def test_libraries_read_a_decimal_point_beside_the_window(ran: dict[str, Any], name: str) -> None:
    assert ran[name][1]["strtod"] == 16.5


@pytest.mark.parametrize("name", LOCALES[1:])
def test_an_analysis_writes_the_same_files(ran: dict[str, Any], name: str) -> None:
    (first, said), (other, also) = ran["C"], ran[name]
    assert said["analyze"] == also["analyze"] == 0
    written = sorted(path.relative_to(first / "out") for path in (first / "out").rglob("*") if path.is_file())
    assert len(written) >= 5
    assert written == sorted(path.relative_to(other / "out") for path in (other / "out").rglob("*") if path.is_file())
    for path in written:
        assert (first / "out" / path).read_bytes() == (other / "out" / path).read_bytes(), path
    assert json.loads((other / "out/summary.json").read_text(encoding="utf-8"))["aggregate"]["median"] == pytest.approx(
        33.9, abs=1.5
    )
