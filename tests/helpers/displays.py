"""A screen without a monitor, for tests of what takes pictures of the screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Display:
    """An X server of its own; ``colour`` (RGB) fills it."""

    name: str
    size_px: tuple[int, int]
    colour: tuple[int, int, int] = (255, 255, 255)


@contextmanager
def virtual_display(width_px: int = 640, height_px: int = 480) -> Iterator[Display]:
    """Start Xvfb on a free number and name it in ``DISPLAY``; skips the test where there is none."""
    program = shutil.which("Xvfb")
    if program is None or not sys.platform.startswith("linux"):
        pytest.skip("Xvfb is not here: the screen cannot be tested")
    reading, writing = os.pipe()
    command = [
        program,
        "-displayfd",
        str(writing),
        "-screen",
        "0",
        f"{width_px}x{height_px}x24",
        "-nolisten",
        "tcp",
        "-noreset",
        "-wr",
    ]
    server = subprocess.Popen(command, pass_fds=(writing,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    before = os.environ.get("DISPLAY")
    try:
        with os.fdopen(reading) as said:
            number = said.readline().strip()
        if not number:
            pytest.skip("Xvfb does not start: the screen cannot be tested")
        os.environ["DISPLAY"] = f":{number}"
        yield Display(f":{number}", (width_px, height_px))
    finally:
        if before is None:
            os.environ.pop("DISPLAY", None)
        else:
            os.environ["DISPLAY"] = before
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def display() -> Iterator[Display]:
    """One display for all tests of a module."""
    with virtual_display() as found:
        yield found
