"""Still pictures as a source: one file with its pages, or a folder in the natural order of its names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from natsort import natsorted, ns

from usviewer.acquire.deep import Samples, Scale, scale_for, spread_over
from usviewer.acquire.image_pages import (
    HEAD_BYTES,
    SURE_SIGNATURES,
    ImagePage,
    PageReader,
    is_webp,
    open_pillow,
    quiet_pillow,
    read_pages,
)
from usviewer.acquire.source import RecordedSource
from usviewer.acquire.video import mean_rate
from usviewer.errors import UserError
from usviewer.files import open_regular
from usviewer.frame import Frame, SourceInfo, make_frame

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
PICTURE_SIGNATURES = (*SURE_SIGNATURES, b"\xff\xd8\xff", b"BM", b"GIF8", b"P5", b"P6")
CLIP_SIGNATURES = (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"0&\xb2u\x8ef\xcf\x11")  # Matroska, MPEG, ASF


class ImageSource(RecordedSource):
    """Still pictures as frames, without times unless they are an animation. ``failed`` names what could not be read.

    Deep samples have one scale for the whole recording, found before the first of them is shown: seeking gives the
    very picture that iterating gives.
    """

    def __init__(
        self,
        uri: str,
        name: str,
        kind: str,
        pages: Sequence[ImagePage],
        notes: Sequence[str] = (),
        failed: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._uri, self._name, self._kind = uri, name, kind
        self._pages = tuple(pages)
        self._notes = tuple(notes)
        self._times_s = _times_of(self._pages)
        self._files = PageReader()
        self._scales: dict[str, Scale] = {}
        self.failed = tuple(failed)
        self._width_px, self._height_px = self._size_of_first()

    def _size_of_first(self) -> tuple[int, int]:
        """Size of the first picture that can be decoded; ``UserError`` if none can."""
        for index in range(len(self._pages)):
            try:
                frame = self.seek(index)
            except UserError:
                continue
            return frame.width_px, frame.height_px
        if len(self._pages) == 1 and self.failed:
            raise UserError(self.failed[-1][1], "Copy it again")
        raise UserError(
            f"No picture of {self._name} can be decoded", "The files are damaged or cut off: copy them again"
        )

    @property
    def info(self) -> SourceInfo:
        """Size of the first picture; pictures of a folder may differ."""
        failures = [f"{name} could not be read: {_about(name, why)}" for name, why in self.failed]
        return SourceInfo(
            uri=self._uri,
            name=self._name,
            kind=self._kind,
            width_px=self._width_px,
            height_px=self._height_px,
            frames_per_second=mean_rate(self._times_s),
            frame_count=len(self._pages),
            notes=(*self._notes, *failures),
        )

    def __iter__(self) -> Iterator[Frame]:
        """Every picture that can be read; one that cannot is left out, noted, and keeps its number."""
        for index in range(len(self._pages)):
            try:
                frame = self.seek(index)
            except UserError:
                continue
            yield frame

    def seek(self, index: int) -> Frame:
        """Return exactly picture ``index``."""
        self.check_index(index)
        page = self._pages[index]
        try:
            pixels = self._files.pixels(page, self._scale(page.samples))
        except UserError as error:
            self._fail(page.name, error.what)
            raise
        name = ""
        if self._kind == "images":
            name = page.path.name
        return make_frame(pixels, self._uri, index, self._times_s[index], name=name)

    def times_s(self) -> Sequence[float | None]:
        """None for stills; the times of an animation."""
        return self._times_s

    def close(self) -> None:
        """Close the file that is open."""
        self._files.close()

    def _scale(self, samples: Samples | None) -> Scale | None:
        """The scale of all pictures with samples of this kind; looks at them when it is first asked for.

        None where a picture has 8 bits and is shown as it is.
        """
        if samples is None:
            return None
        if samples.kind not in self._scales:
            alike = [page for page in self._pages if page.samples and page.samples.kind == samples.kind]
            looked_at = spread_over([page.size_px for page in alike])
            if len(looked_at) < len(alike):
                self._notes += (
                    f"Brightness follows {len(looked_at)} of {len(alike)} pictures; what is brighter is white",
                )
            self._scales[samples.kind] = scale_for(samples.kind, self._extremes(alike[number] for number in looked_at))
        return self._scales[samples.kind]

    def _extremes(self, pages: Iterable[ImagePage]) -> Iterator[tuple[float, float] | None]:
        for page in pages:
            try:
                yield self._files.extremes(page)
            except UserError:  # it is named when it is to be shown
                continue

    def _fail(self, name: str, why: str) -> None:
        if name not in {known for known, _ in self.failed}:
            self.failed = (*self.failed, (name, why))


def _times_of(pages: Sequence[ImagePage]) -> tuple[float | None, ...]:
    shown = [page.shown_s for page in pages]
    if len(pages) < 2 or None in shown:
        return (None,) * len(pages)
    return tuple(float(time) for time in np.cumsum([0.0, *(s or 0.0 for s in shown[:-1])]))


def _about(name: str, why: str) -> str:
    """The reason of a failure, without the name that stands before it already."""
    if not why.startswith(f"{name} "):
        return why
    return f"it {why.removeprefix(f'{name} ')}"


def open_image(path: Path) -> ImageSource | None:
    """Open a picture file with all its pages; None if it is not a still picture (an animated GIF is a clip).

    Raises ``UserError`` where none of its pages can be read.
    """
    with open_pillow(path) as image:
        if image is None or (image.format == "GIF" and _moves(image)):
            return None
        pages, failed = read_pages(path, image)
    moving = None not in _times_of(pages)
    # Pages that are shown for a time belong together; without times each may be of another patient.
    if moving:
        return ImageSource(str(path), path.stem, "video", pages, failed=failed)
    notes = []
    if len(pages) > 1:
        notes.append(f"{len(pages)} pages of one file")
    return ImageSource(str(path), path.stem, "image", pages, notes, failed)


def _moves(gif: Any) -> bool:
    """Whether a GIF has several pictures. One that Pillow cannot read to its end is left to the clip reader."""
    try:
        with quiet_pillow():
            return bool(gif.n_frames > 1)
    except Exception:  # Pillow raises what it will; FFmpeg takes the pictures before the damage
        return True


def open_folder(path: Path) -> ImageSource:
    """Open the pictures directly in a folder. A note counts the clips and DICOM files in it, which are not shown.

    Raises ``UserError`` for a folder that cannot be opened or holds no picture.
    """
    try:
        # Hidden files are what systems and programs keep for themselves, pictures among them ("._name" of macOS).
        files = natsorted((p for p in path.iterdir() if not p.name.startswith(".")), key=lambda p: p.name, alg=ns.PATH)
    except OSError as error:
        raise UserError(f"The folder {path.name} cannot be opened", "Check that you may read it") from error
    pages: list[ImagePage] = []
    failed: list[tuple[str, str]] = []
    others = several = 0
    for file in files:
        kind = _kind_of(file)
        others += kind == "other"
        if kind != "picture":
            continue
        try:
            with open_pillow(file) as image:
                if image is None:
                    raise UserError(f"{file.name} is not a picture, or is damaged", "Copy it again")
                of_file, _ = read_pages(file, image)
        except UserError as error:
            failed.append((file.name, error.what))
            continue
        several += len(of_file) > 1
        pages.append(replace(of_file[0], name=file.name, shown_s=None))
    if not pages:
        raise UserError(f"The folder {path.name} holds no pictures", _instead(others, failed))
    notes = []
    if others:
        notes.append(f"{others} clips or DICOM files of the folder are not shown: give them by name")
    if several:
        notes.append(f"{several} files hold several pages, of which only the first is shown: give them by name")
    return ImageSource(str(path), path.name, "images", pages, notes, failed)


def _instead(others: int, failed: Sequence[tuple[str, str]]) -> str:
    if others == 1:
        return "Give the clip or DICOM file in it by name"
    if others:
        return f"Give the {others} clips or DICOM files in it by name"
    if failed:
        return f"Copy the files in it again: {len(failed)} look like pictures but cannot be read"
    return "Give a folder of PNG, JPEG, BMP, TIFF or WebP files"


def _kind_of(file: Path) -> str:
    """``picture`` by its first bytes or its name; ``other`` for clips and DICOM; else ``unknown``."""
    try:
        with open_regular(file) as stream:
            head = stream.read(HEAD_BYTES)
    except IsADirectoryError:
        return "unknown"
    except OSError:
        head = b""
    if head[128:132] == b"DICM" or head[4:8] == b"ftyp" or head.startswith(CLIP_SIGNATURES):
        return "other"
    if head.startswith(b"RIFF") and head[8:12] in (b"AVI ", b"AVIX"):
        return "other"
    # The name counts as well: a picture whose beginning is damaged must be named, not passed over.
    if _is_picture(head) or file.suffix.lower() in SUFFIXES:
        return "picture"
    return "unknown"


def _is_picture(head: bytes) -> bool:
    return head.startswith(PICTURE_SIGNATURES) or is_webp(head)
