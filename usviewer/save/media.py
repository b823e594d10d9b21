"""Annotated pictures and clips. What is kept is what was seen: each is made from an ``AnnotatedFrame``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from usviewer import RESEARCH_USE
from usviewer.errors import UserError
from usviewer.files import AtomicFile, cannot_write, write_bytes
from usviewer.frame import Frame, Pixels
from usviewer.overlay.items import AnnotatedFrame, Scene, Text, square_pixels, square_scene
from usviewer.overlay.raster import paint
from usviewer.overlay.scene import research_line
from usviewer.save.deidentify import blank_outside_sector

# Fine enough for every frame rate: 11 microseconds.
_TICKS_PER_S = 90_000
# For a clip of a single picture, which has no interval of its own.
_USUAL_INTERVAL = _TICKS_PER_S // 25
# As FFmpeg numbers them. Written into the file: players guess by the size else, and show other greys.
_BT709 = 1
_LIMITED_RANGE = 1
_LARGEST_OF_ASPECT = 4096
# The quickest coding: a third of the work of "veryfast" for the same fidelity (48 dB, hardly told from the original by
# eye) in twice the bytes. A live encoder must keep up with the picture, a whole clip should not wait for it.
_PRESET = "ultrafast"
_CODED = {"crf": "20", "preset": _PRESET}
_LOSSLESS = {"qp": "0", "preset": _PRESET}


def picture_of(shown: AnnotatedFrame, keep_surroundings: bool = False) -> Pixels:
    """Draw the picture as it leaves the program: surroundings blanked (``save.deidentify``), then the overlay drawn.

    It has the frame's own pixels, also where these are not square: players stretch them, so there the overlay is drawn
    for what they show. The research-use line is on every one, whatever the style left out.
    """
    pixels = blank_outside_sector(shown.frame.pixels, shown.frame.geometry, keep_surroundings)
    picture = pixels
    if not pixels.flags.writeable:  # the frame's own pixels, which nobody draws on
        picture = pixels.copy()
    scene, aspect = _with_research_line(shown.scene), shown.frame.pixel_aspect
    if aspect == 1.0:
        paint(picture, scene)
        return picture
    bare = square_pixels(picture, aspect)
    drawn = bare.copy()
    paint(drawn, square_scene(scene, aspect))
    size_px = (picture.shape[1], picture.shape[0])
    # Only where something was drawn: stretching there and back would blur the rest of the picture.
    touched = cv2.resize((drawn != bare).any(axis=2).astype(np.float32), size_px, interpolation=cv2.INTER_AREA) > 0
    picture[touched] = cv2.resize(drawn, size_px, interpolation=cv2.INTER_AREA)[touched]
    return picture


def _square_picture_of(shown: AnnotatedFrame, keep_surroundings: bool = False) -> Pixels:
    """The same with square pixels: viewers of pictures ignore any other shape."""
    aspect = shown.frame.pixel_aspect
    if aspect == 1.0:
        return picture_of(shown, keep_surroundings)
    picture = square_pixels(blank_outside_sector(shown.frame.pixels, shown.frame.geometry, keep_surroundings), aspect)
    paint(picture, square_scene(_with_research_line(shown.scene), aspect))
    return picture


def write_png(shown: AnnotatedFrame, path: Path, keep_surroundings: bool = False) -> None:
    """Write one annotated picture at the frame's own size; stretched where its pixels are not square."""
    write_bytes(path, encode_png(_square_picture_of(shown, keep_surroundings)))


@dataclass(frozen=True, slots=True)
class Form:
    """Size (width, height) of a picture and the width of its pixels over their height."""

    size_px: tuple[int, int]
    pixel_aspect: float = 1.0


def form_of(frame: Frame) -> Form:
    """The form of a frame."""
    return Form(frame.size_px, frame.pixel_aspect)


def fit_to_form(picture: Pixels, form: Form, room: Form) -> Pixels:
    """Fit a picture (uint8, height x width x 3, RGB) of one form into a clip of another.

    As large as it goes, centred, on black; of the size of ``room``.
    """
    if form == room:
        return picture
    wide, high = form.size_px[0] * form.pixel_aspect / room.pixel_aspect, form.size_px[1]
    ratio = min(room.size_px[0] / wide, room.size_px[1] / high)
    size = max(1, min(room.size_px[0], round(wide * ratio))), max(1, min(room.size_px[1], round(high * ratio)))
    mode = cv2.INTER_LINEAR
    if ratio < 1.0:  # averaged: a thin line may fall between pixels that are merely picked
        mode = cv2.INTER_AREA
    canvas = np.zeros((room.size_px[1], room.size_px[0], 3), np.uint8)
    left, top = (room.size_px[0] - size[0]) // 2, (room.size_px[1] - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=mode)
    return canvas


def encode_png(pixels: Pixels) -> bytes:
    """PNG of an RGB (H, W, 3) or grey (H, W) picture."""
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), dtype=np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def _with_research_line(scene: Scene) -> Scene:
    if any(isinstance(item, Text) and item.text == RESEARCH_USE for item in scene.items):
        return scene
    return replace(scene, items=(*scene.items, research_line(scene.frame_size_px, scene.unit_px)))


class ClipWriter:
    """An H.264 clip in an MP4 file, of the source's own size, times and shape of pixels; whole or not there.

    Players stretch pixels that are not square, as the source's. Even sizes are coded in 4:2:0, which every player
    shows; odd ones in 4:4:4, which keeps their size. ``lossless`` keeps every pixel as it is (H.264 in RGB: VLC, mpv
    and all of FFmpeg play it, browsers do not). Use as a context manager: an exception inside, Ctrl-C included, leaves
    no file. One thread at a time.
    """

    def __init__(
        self,
        path: Path,
        size_px: tuple[int, int],
        *,
        pixel_aspect: float = 1.0,
        lossless: bool = False,
        threads: int | None = None,
    ) -> None:
        self.path = path
        self._size_px = size_px
        self._pixel_aspect = pixel_aspect
        self._lossless = lossless
        self._clock = _Clock()
        self._scaler = VideoReformatter()
        self._held: Any = None
        self._file: Any = None
        self._atomic = AtomicFile(path)
        with self._failing_whole():
            part = str(self._atomic.part.absolute())
            self._file = av.open(part, "w", format="mp4", options={"movflags": "+faststart"})
            self._stream = self._new_stream(threads or max(2, (os.cpu_count() or 2) // 4))

    def add(self, pixels: Pixels, time_s: float) -> None:
        """Append a picture (uint8, height x width x 3, RGB) that is shown from ``time_s`` on.

        Raises ``ValueError`` for another size and for times that run backwards. Equal times are set 11 microseconds
        apart, since no file can hold them.
        """
        if pixels.shape != (self._size_px[1], self._size_px[0], 3):
            raise ValueError(f"a picture of {pixels.shape} in a clip of {self._size_px}")
        frame = self._coded(pixels)
        frame.pts, frame.time_base = self._clock.tick(time_s), Fraction(1, _TICKS_PER_S)
        with self._failing_whole():
            self._encode(frame)

    def close(self, last_duration_s: float | None = None) -> None:
        """Finish the file and give it its name. The last picture lasts as long as told, else as the one before it.

        Raises ``UserError`` when there was no picture.
        """
        if self._clock.last is None:
            self.abort()
            raise UserError(f"There was no picture to write to {self.path.name}")
        with self._failing_whole():
            self._encode(None)
            if last_duration_s is not None:
                self._held.duration = max(1, round(last_duration_s * _TICKS_PER_S))
            else:
                self._held.duration = self._clock.interval
            self._file.mux(self._held)
            self._file.close()
        self._atomic.commit()

    def abort(self) -> None:
        """Remove everything that was written."""
        with suppress(av.FFmpegError, OSError):  # the file is thrown away, so its end may fail
            if self._file is not None:
                self._file.close()
        self._atomic.discard()

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _new_stream(self, threads: int) -> Any:
        codec, options = "libx264", _CODED
        if self._lossless:
            codec, options = "libx264rgb", _LOSSLESS
        stream: Any = self._file.add_stream(codec, options=dict(options))
        stream.width, stream.height = self._size_px
        stream.pix_fmt = self._pixel_format()
        coder = stream.codec_context
        coder.time_base = Fraction(1, _TICKS_PER_S)
        if self._pixel_aspect != 1.0:  # two bytes each in H.264
            coder.sample_aspect_ratio = Fraction(self._pixel_aspect).limit_denominator(_LARGEST_OF_ASPECT)
        coder.thread_count = threads
        coder.max_b_frames = 0  # coded in the order of showing: plain times, and the last picture's duration holds
        if not self._lossless:
            coder.colorspace = coder.color_primaries = coder.color_trc = _BT709
            coder.color_range = _LIMITED_RANGE
        return stream

    def _pixel_format(self) -> str:
        if self._lossless:
            return "rgb24"
        if self._size_px[0] % 2 or self._size_px[1] % 2:
            return "yuv444p"  # the only one that has odd sizes
        return "yuv420p"

    def _coded(self, pixels: Pixels) -> av.VideoFrame:
        """The picture as the encoder takes it, in memory of its own: the encoder may keep it for a while."""
        if self._lossless:
            return av.VideoFrame.from_ndarray(pixels, format="rgb24")
        same_memory = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), format="rgb24")
        return self._scaler.reformat(same_memory, format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709)

    def _encode(self, frame: Any) -> None:
        """Encode a picture. The newest packet waits, since only the end of the clip tells how long it lasts."""
        for packet in self._stream.encode(frame):
            if self._held is not None:
                self._file.mux(self._held)
            self._held = packet

    @contextmanager
    def _failing_whole(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self.abort()
            cause = OSError(None, "the encoder refused it")
            if isinstance(error, OSError):
                cause = error
            raise cannot_write(self.path, cause) from error


class _Clock:
    """Times in ticks that only grow."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.interval = _USUAL_INTERVAL
        self._given_s = float("-inf")

    def tick(self, time_s: float) -> int:
        if time_s < self._given_s:
            raise ValueError("the times of a clip run backwards")
        tick = round(time_s * _TICKS_PER_S)
        if self.last is not None:
            tick = max(tick, self.last + 1)
            self.interval = tick - self.last
        self.last, self._given_s = tick, time_s
        return tick
