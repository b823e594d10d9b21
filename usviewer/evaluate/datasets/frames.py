"""Frames of a data set, opened and calibrated exactly as ``usviewer analyze`` does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from usviewer.acquire import open_source
from usviewer.calibrate import for_source
from usviewer.errors import UserError
from usviewer.frame import Frame
from usviewer.units import Spacing


def calibrated_clip(
    uri: str, spacing: Spacing | None, wanted: Callable[[int], bool], last: int | None = None
) -> Iterator[Frame]:
    """The wanted frames (by index) of a clip or a folder of stills, up to ``last``."""
    with open_source(uri) as source:
        calibrate = for_source(source, spacing)
        for frame in source:
            if last is not None and frame.key.index > last:
                return
            if wanted(frame.key.index):
                yield calibrate(frame)


def calibrated_still(path: Path, spacing: Spacing | None) -> Frame:
    """The one picture of a file."""
    return next(calibrated_clip(str(path), spacing, lambda _: True))


def can_open(path: Path) -> bool:
    """Whether a file is a clip or picture at all."""
    try:
        with open_source(str(path)):
            return True
    except UserError:
        return False
