"""The examples run as their users run them: each in a process of its own."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.recordings import write_clip

EXAMPLES = ROOT / "examples"
SAMPLE = ROOT / "resources" / "sample.mp4"


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What an example prints. It finds this tree, whatever is installed."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )


def test_every_example_is_run_here() -> None:
    tested = set(re.findall(r'run\(\s*"(\w+\.py)"', Path(__file__).read_text("utf-8")))
    assert tested == {path.name for path in EXAMPLES.glob("*.py")}


def test_a_clip_is_measured() -> None:
    done = run("measure_clip.py", SAMPLE, "0.2572")
    assert done.returncode == 0, done.stderr
    assert "120 of 120 frames measured" in done.stdout
    assert re.search(r"ap_diameter: median 33\.\d, maximum 34\.\d mm", done.stdout)


def test_a_folder_becomes_a_table_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(ROOT / "models" / "aorta" / "golden.png", folder / "still.png")
    write_clip(folder / "clip.mp4", count=3)
    (folder / "notes.txt").write_text("not a clip")
    done = run("folder_to_dataframe.py", folder, tmp_path / "table.csv")
    assert done.returncode == 0, done.stderr
    assert "notes.txt" in done.stderr
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["clip"], row["frame"]) for row in rows] == [("clip.mp4", str(i)) for i in range(3)] + [
        ("still.png", "0")
    ]
    assert rows[-1]["ap_diameter_px"] and not rows[-1]["ap_diameter_mm"]


def test_a_model_of_ones_own_measures_what_it_was_made_for(tmp_path: Path) -> None:
    done = run("own_model.py", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert re.search(r"median (19\.\d|20\.\d) mm over 30 frames", done.stdout)


def test_the_readmes_script_runs_and_is_short() -> None:
    code = re.search(r"<!-- script -->\n```python\n(.+?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert code is not None
    assert len(code[1].strip().splitlines()) <= 12
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code[1]],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "120 of 120 frames measured" in done.stdout
