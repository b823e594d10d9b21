"""The whole loop on a screen without a monitor: a window, the screen filmed, the pattern read back."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.helpers.displays import virtual_display


def run(*arguments: str, platform: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QT_QPA_PLATFORM": platform, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "usviewer", "latency-test", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)


def test_a_window_is_filmed_and_the_delays_are_printed() -> None:
    pytest.importorskip("PySide6")
    with virtual_display(1024, 768):
        done = run("screen:?rate=20", "--changes", "20", "--seconds", "150", "--hold-ms", "120", platform="xcb")
    assert done.returncode == 0, done.stderr
    found = re.search(r"p50 ([\d.]+), p95 ([\d.]+), p99 ([\d.]+), max ([\d.]+) ms \((\d+) changes", done.stdout)
    assert found, done.stdout
    p50, p95, p99, most = (float(number) for number in found.groups()[:4])
    assert 0 < p50 <= p95 <= p99 <= most and int(found[5]) >= 20
    assert "could not be read" in done.stdout


def test_a_screen_on_which_the_window_does_not_show_is_one_sentence() -> None:
    pytest.importorskip("PySide6")
    with virtual_display(320, 240):
        done = run("screen:", "--seconds", "2", platform="offscreen")
    assert done.returncode == 2
    assert "could not be read on any of" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [("phantom:",), ("--seconds", "0"), ("--hold-ms", "soon")])
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, platform="offscreen")
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr
