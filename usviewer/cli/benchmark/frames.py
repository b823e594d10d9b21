"""Frames of a size, in memory, so that a measurement times the stages and not the reading."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from usviewer.acquire import frame_count, open_source
from usviewer.acquire.phantom import PhantomSource, parse_phantom_uri
from usviewer.acquire.source import RecordedSource
from usviewer.calibrate import calibration_for
from usviewer.errors import UserError
from usviewer.frame import Frame, SourceInfo, make_frame

HELD = 12


def held_frames(uri: str, size_px: tuple[int, int] | None, count: int = HELD) -> tuple[Frame, ...]:
    """So many calibrated frames from all over a source, scaled into (width, height) with black borders where given.

    A phantom is simulated at that size. Raises ``UserError`` for a live source: it cannot be measured twice.
    """
    if uri.lower().startswith("phantom:"):
        spec = parse_phantom_uri(uri)
        if size_px is not None:
            spec = replace(spec, width=size_px[0], height=size_px[1])
        phantom = PhantomSource(replace(spec, live=False), uri)
        return tuple(phantom.seek(index) for index in _indices(spec.frames, count))
    with open_source(uri) as source:
        total = frame_count(source)
        if not total:
            raise UserError(f"{source.info.name} cannot be measured with", "Give a recorded clip or phantom:")
        calibrate = calibration_for(source)
        frames = [calibrate(source.seek(index)) for index in _indices(total, count)]
    return tuple(frames if size_px is None else (_scaled(frame, size_px) for frame in frames))


def _indices(total: int, count: int) -> list[int]:
    return sorted({round(i * (total - 1) / max(1, count - 1)) for i in range(min(count, total))})


def _scaled(frame: Frame, size_px: tuple[int, int]) -> Frame:
    """The picture in the middle of another size; its geometry does not hold there and is left out."""
    if frame.size_px == size_px:
        return frame
    width, height = size_px
    ratio = min(width / frame.width_px, height / frame.height_px)
    inner = (max(1, round(frame.width_px * ratio)), max(1, round(frame.height_px * ratio)))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    cv2.resize(frame.pixels, inner, dst=canvas[top : top + inner[1], left : left + inner[0]])
    return make_frame(canvas, frame.key.source, frame.key.index, frame.key.media_time_s)


class LoopSource(RecordedSource):
    """Frames in memory, over and over, as a software source of a given rate. ``yielded`` counts them."""

    def __init__(self, frames: Sequence[Frame], frames_per_second: float) -> None:
        self._frames = tuple(frames)
        first = self._frames[0]
        self._info = SourceInfo(
            "bench", "Frames in memory", "phantom", first.width_px, first.height_px, frames_per_second, live=True
        )
        self.yielded = 0

    @property
    def info(self) -> SourceInfo:
        """A live source: the caller sets the pace."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        while True:
            frame = self._frames[self.yielded % len(self._frames)]
            key = replace(frame.key, index=self.yielded, capture_time_s=time.monotonic())
            yield replace(frame, key=key)
            self.yielded += 1

    def seek(self, index: int) -> Frame:
        """One of them."""
        return self._frames[index % len(self._frames)]

    def times_s(self) -> Sequence[float | None]:
        """It has no end."""
        return ()
