"""One bad input costs only itself: it is named in one sentence, and all others have whole results."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.helpers.recordings import dicom_dataset, write_clip
from tests.helpers.tiny_models import add_dark_finder

pytestmark = pytest.mark.slow
WHOLE = {"readings.csv", "instances.csv", "summary.json", "best-frame.png"}


def picture(number: int) -> np.ndarray:
    grey = np.full((96, 128), 200, np.uint8)
    cv2.circle(grey, (64, 48), 12 + number, 10, -1)
    return np.repeat(grey[:, :, None], 3, axis=2)


def still(path: Path, number: int) -> Path:
    Image.fromarray(picture(number)).save(path)
    return path


def dicom(path: Path, frames: int) -> Path:
    dicom_dataset([picture(number) for number in range(frames)]).save_as(path, enforce_file_format=True)
    return path


def clip(path: Path) -> Path:
    return write_clip(path, count=3, size=(128, 96), pictures=[picture(number) for number in range(3)])


def cut(path: Path, share: float = 0.4) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def analyze(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which has a minute: nothing that it is given may hold it for ever."""
    command = [sys.executable, "-m", "usviewer", "analyze", "--model", "dark", "--no-video", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.removeprefix("usviewer: ") for line in done.stderr.splitlines() if line.startswith("usviewer: ")]


def named_once(said: Iterable[str], broken: Iterable[str]) -> bool:
    said = list(said)
    return len(said) == len(list(broken)) and all(sum(name in line for line in said) == 1 for name in broken)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_of_twenty_files_of_all_kinds_six_are_broken_and_fourteen_analysed(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "model")
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    good = [
        still(inputs / f"still-{number}.{kind}", number) for number, kind in enumerate(("png", "jpg", "bmp", "webp"))
    ]
    good += [still(inputs / f"page-{number}.tif", number) for number in range(2)]
    good += [dicom(inputs / f"image-{number}.dcm", 1) for number in range(3)]
    good += [dicom(inputs / f"cine-{number}.dcm", 3) for number in range(2)]
    good += [clip(inputs / f"clip-{number}.mp4") for number in range(3)]
    assert len(good) == 14
    broken = [
        cut(clip(inputs / "truncated.mp4"), 0.7),
        inputs / "nothing.png",
        inputs / "letter.png",
        cut(dicom(inputs / "half.dcm", 1)),
        cut(still(inputs / "scan.tif", 1)),
        inputs / "pipe.mp4",
    ]
    broken[1].write_bytes(b"")
    broken[2].write_text("Dear colleague, thank you for sending this patient.\n" * 20)
    os.mkfifo(broken[5])
    done = analyze(tmp_path, *sorted(inputs.iterdir()), "--out", "out")
    assert done.returncode == 2, done.stderr
    assert named_once(complaints(done), [path.name for path in broken])
    results = {path.name for path in (tmp_path / "out").iterdir()}
    assert results == {path.stem for path in good}
    for folder in (tmp_path / "out").iterdir():
        names = {path.name for path in folder.iterdir()}
        assert names >= WHOLE and not [name for name in names if name.startswith(".")]
        assert json.loads((folder / "summary.json").read_text())["frames"]["measured"] >= 1


def test_of_a_folder_of_twenty_pictures_six_are_broken_and_fourteen_analysed(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "model")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(14):
        still(folder / f"good-{number:02}.{('png', 'jpg', 'tif')[number % 3]}", number % 5)
    broken = {
        "cut.png": cut(still(folder / "cut.png", 1)),
        "cut.jpg": cut(still(folder / "cut.jpg", 1)),
        "cut.tif": cut(still(folder / "cut.tif", 1)),
        "nothing.png": folder / "nothing.png",
        "letter.png": folder / "letter.png",
        "head.png": cut(still(folder / "head.png", 2), 0.05),
    }
    broken["nothing.png"].write_bytes(b"")
    broken["letter.png"].write_text("Dear colleague, thank you for sending this patient.\n" * 20)
    done = analyze(tmp_path, folder, "--out", "out")
    assert done.returncode == 2, done.stderr
    assert named_once(complaints(done), broken)
    with (tmp_path / "out" / "readings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == sorted(path.name for path in folder.glob("good-*"))
    assert len(list((tmp_path / "out").iterdir())) >= 4


def test_a_name_that_is_no_text_costs_nothing(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "model")
    folder = tmp_path / "mixed"
    folder.mkdir()
    raw = os.fsdecode(b"Untersuchung_\xfc.png")
    names = [
        "a.png",
        raw,
        "case [left].png",
        "CASE [left].png",
        "=cmd.png",
        "x[bold]y.png",
        "two  spaces .png",
        "n" * 250 + ".png",
    ]
    try:
        for number, name in enumerate(names):
            still(folder / "x.png", number).rename(folder / name)
    except OSError:
        pytest.skip("this disk takes only names that are text")
    done = analyze(tmp_path, folder, "--masks", "--out", "out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "readings.csv").open(encoding="utf-8", newline="") as file:
        files = {row["file"] for row in csv.DictReader(file)}
    assert {"Untersuchung_\\xfc.png", "case [left].png", "CASE [left].png", "'=cmd.png", "x[bold]y.png"} <= files
    assert len(files) == len(names)
    coco = json.loads((tmp_path / "out" / "masks.json").read_text(encoding="utf-8"))
    assert "Untersuchung_\\xfc.png" in {image["file_name"] for image in coco["images"]}
    single = analyze(tmp_path, *(folder / name for name in names), "--out", "one by one [x[/b]y]")
    assert single.returncode == 0, single.stderr
    assert len(list((tmp_path / "one by one [x[/b]y]").iterdir())) == len(names)
    assert "results in one by one [x[/b]y]/" in single.stderr and "x[bold]y: " in single.stderr
    assert "\\xfc" in single.stderr and "\udcfc" not in single.stderr


def test_escapes_in_a_name_never_reach_the_terminal(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "model")
    name = "a\x1b]0;owned\x07\n\x1b[2Jusviewer: good.png"
    still(tmp_path / "x.png", 1).rename(tmp_path / name)
    (tmp_path / f"broken {name}").write_bytes(b"nothing")
    done = analyze(tmp_path, tmp_path / name, tmp_path / f"broken {name}", tmp_path / f"gone {name}", "--out", "out")
    assert done.returncode == 2
    assert all(letter.isprintable() for letter in (done.stdout + done.stderr).replace("\n", ""))
    assert len(complaints(done)) == 2


def test_letters_that_the_terminals_encoding_has_not_end_nothing(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "model")
    still(tmp_path / "\N{GREEK SMALL LETTER ALPHA}\N{CJK UNIFIED IDEOGRAPH-4E3B}.png", 1)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "ascii:strict",
    }
    command = [sys.executable, "-m", "usviewer", "analyze", "--model", "dark", *map(str, tmp_path.glob("*.png"))]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "\\u03b1\\u4e3b" in done.stderr


def test_a_disk_that_is_full_for_one_input_costs_only_that_one(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    add_dark_finder(tmp_path / "model")
    small, large = still(tmp_path / "small.png", 1), tmp_path / "large"
    large.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    for number in range(2):
        Image.fromarray(noise).save(large / f"{number}.png")
    command = [sys.executable, "-m", "usviewer", "analyze", "--model", "dark", str(large), str(small), "--out", "out"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
    )
    assert done.returncode == 2, done.stderr
    (said,) = complaints(done)
    assert str(large) in said and "larger than this disk allows" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small"]


def test_an_error_in_the_program_costs_only_its_input(tmp_path: Path) -> None:
    add_dark_finder(tmp_path / "model")
    first, second = still(tmp_path / "Muster_Anna.png", 1), still(tmp_path / "second.png", 2)
    script = (
        "import sys\n"
        "from usviewer.__main__ import main\n"
        "from usviewer import api\n"
        "plain = api.open_source\n"
        "api.open_source = lambda uri: plain(uri) if 'second' in uri else [][len(uri)]\n"
        "sys.exit(main(['analyze', '--model', 'dark', '--out', 'out', *sys.argv[1:]]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "-c", script, str(first), str(second)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (said,) = complaints(done)
    assert "Muster_Anna.png: an error in the program. Please report it with the file" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["second"]
    (report,) = (tmp_path / "state").rglob("error-*.txt")
    assert "Muster" not in report.read_text()
