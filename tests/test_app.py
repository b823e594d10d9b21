"""The command that opens the window."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.tools.tiny_models import add_dark_finder
from usviewer.__main__ import main


def start(*arguments: str, without_qt: bool = False) -> subprocess.CompletedProcess[str]:
    code = "import sys; from usviewer.__main__ import main; "
    if without_qt:
        code += "sys.modules['PySide6'] = None; sys.modules['PySide6.QtWidgets'] = None; "
    code += "sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, env=environment
    )


def test_a_screenshot_of_a_source_is_taken_and_the_window_closes(tmp_path: Path) -> None:
    pytest.importorskip("PySide6")
    add_dark_finder(tmp_path / "m", "aorta-x")
    picture = tmp_path / "window.png"
    uri = "phantom:?live=1&width=320&height=240"
    done = start(uri, "--screenshot", str(picture), "--size", "1280x720", "--after-s", "0.2")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert cv2.imread(str(picture)).shape == (720, 1280, 3)


def test_without_pyside_there_is_one_sentence() -> None:
    done = start("--demo", without_qt=True)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "usviewer: The window needs PySide6, which is not installed. Run: pip install PySide6-Essentials."
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-thing"], "neither a file nor a command 'no-such-thing'"),
        (["--size", "large"], "is not a size"),
        (["--screnshot", "x.png"], "screnshot"),
    ],
)
def test_bad_options_are_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
