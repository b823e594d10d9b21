"""How much memory reading a source takes: its true peak, in a process of its own.

In this process earlier tests have left their own peak. ``ru_maxrss`` will not do either: a child inherits the peak of
the process that starts it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_CHILD = """
import sys
from usviewer.acquire import dicom, images, open_source, video
from usviewer.errors import UserError

def peak_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

before, said = peak_kib(), "read"
try:
    with open_source(sys.argv[1]) as source:
        for frame in source:
            size = frame.pixels.nbytes
            del frame
        source.seek(0)
        said = f"read {size}"
except UserError as error:
    said = f"refused {error}"
print(before, peak_kib(), said)
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a process of its own took to read a source, beside its libraries, and what it said."""

    peak_bytes: int
    said: str


def read_alone(path: Path) -> Reading:
    """Open a source, read it to its end and seek its first frame. Skips the test where the system does not tell."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells the peak of a process exactly")
    command = [sys.executable, "-c", _CHILD, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    before, after, said = done.stdout.strip().split(" ", 2)
    return Reading((int(after) - int(before)) * 1024, said)
