"""What a figure was measured on, and what else the computer did meanwhile."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from usviewer import __version__
from usviewer.infer import choice, session

LIBRARIES = ("numpy", "opencv-python-headless", "av", "onnx", "PySide6-Essentials")


def facts() -> dict[str, Any]:
    """Processor, memory, system and versions, for the head of a report."""
    memory = psutil.virtual_memory()
    return {
        "processor": choice.processor(),
        "cores": session.usable_cores(),
        "memory_gib": round(memory.total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "usviewer": __version__,
        **session.versions(),
        **{name: found for name in LIBRARIES if (found := _version(name))},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def memory_mb() -> float:
    """Of this process, resident."""
    return float(psutil.Process().memory_info().rss) / 1e6


@dataclass(frozen=True, slots=True)
class _Moment:
    wall_s: float
    busy_s: float
    own_s: float


class OtherLoad:
    """How many cores other processes used since the last question; ``own`` names processes that belong to us."""

    def __init__(self, own: Sequence[int] = ()) -> None:
        self._own = [psutil.Process(pid) for pid in own]
        self._last = self._now()

    def cores(self) -> float:
        """Since the last call, or since the beginning."""
        now, last = self._now(), self._last
        self._last = now
        span = now.wall_s - last.wall_s
        return max(0.0, (now.busy_s - last.busy_s) - (now.own_s - last.own_s)) / span if span > 0 else 0.0

    def _now(self) -> _Moment:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        own = sum(os.times()[:2])
        for process in self._own:
            used = process.cpu_times()
            own += used.user + used.system
        return _Moment(time.monotonic(), sum(times) - idle - getattr(times, "guest", 0.0), own)
