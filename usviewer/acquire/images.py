"""Still pictures: one file, the pages of one file, or a folder in the natural order of its names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from natsort import natsorted, ns
from PIL import Image, ImageOps, UnidentifiedImageError

from usviewer.acquire.decoding import on_black
from usviewer.acquire.source import RecordedSource, check_size
from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels, SourceInfo, make_frame

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
HEAD_BYTES = 132
PICTURE_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF8", b"P5", b"P6")
CLIP_SIGNATURES = (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"0&\xb2u\x8ef\xcf\x11")  # Matroska, MPEG, ASF


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of one file, and how long it is shown (animations only)."""

    path: Path
    number: int
    shown_s: float | None = None


class ImageSource(RecordedSource):
    """Still pictures as frames without times. ``failed`` names the files that could not be read, and why."""

    def __init__(
        self,
        uri: str,
        name: str,
        kind: str,
        pages: Sequence[Page],
        notes: Sequence[str] = (),
        failed: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._uri, self._name, self._kind = uri, name, kind
        self._pages = tuple(pages)
        self._notes = tuple(notes)
        self._times_s = _times_of(self._pages)
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
        raise UserError(
            f"No picture of {self._name} can be decoded", "The files are damaged or cut off: copy them again"
        )

    @property
    def info(self) -> SourceInfo:
        """Size of the first picture; pictures of a folder may differ."""
        failures = [f"{file} could not be read" for file, _ in self.failed]
        return SourceInfo(
            uri=self._uri,
            name=self._name,
            kind=self._kind,
            width_px=self._width_px,
            height_px=self._height_px,
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
        """Exactly picture ``index``."""
        self.check_index(index)
        page = self._pages[index]
        try:
            pixels = read_pixels(page)
        except UserError as error:
            self._fail(page.path.name, error.what)
            raise
        name = page.path.name if self._kind == "images" else ""
        return make_frame(pixels, self._uri, index, self._times_s[index], name=name)

    def times_s(self) -> Sequence[float | None]:
        """None for stills; the times of an animation."""
        return self._times_s

    def _fail(self, file: str, why: str) -> None:
        if file not in {known for known, _ in self.failed}:
            self.failed = (*self.failed, (file, why))


def open_image(path: Path) -> ImageSource | None:
    """A picture file and all its pages, or None if it is no still picture (an animated GIF is a clip)."""
    with _decoder(path) as image:
        if image is None or (image.format == "GIF" and getattr(image, "n_frames", 1) > 1):
            return None
        pages = _pages(path, image)
    notes = [] if len(pages) == 1 else [f"{len(pages)} pages of one file"]
    return ImageSource(str(path), path.stem, "image", pages, notes)


def open_folder(path: Path) -> ImageSource:
    """The pictures directly in a folder. Clips and DICOM files in it are not shown, and said so."""
    try:
        files = natsorted((p for p in path.iterdir() if not p.name.startswith(".")), key=lambda p: p.name, alg=ns.PATH)
    except OSError as error:
        raise UserError(f"The folder {path.name} cannot be opened", "Check that you may read it") from error
    pages: list[Page] = []
    failed: list[tuple[str, str]] = []
    others = several = 0
    for file in (file for file in files if file.is_file()):
        kind = _kind_of(file)
        others += kind == "other"
        if kind != "picture":
            continue
        try:
            with _decoder(file) as image:
                if image is None:
                    raise UserError(f"{file.name} is no picture, or damaged")
                found = _pages(file, image)
        except UserError as error:
            failed.append((file.name, error.what))
            continue
        several += len(found) > 1
        pages.append(found[0])
    if not pages:
        raise UserError(f"The folder {path.name} holds no pictures", _instead(others, failed))
    notes = [f"{others} clips or DICOM files of the folder are not shown: give them by name"] if others else []
    notes += [f"{several} files hold several pages: only the first of each is shown"] if several else []
    return ImageSource(str(path), path.name, "images", pages, notes, failed)


def _instead(others: int, failed: Sequence[tuple[str, str]]) -> str:
    if others:
        return f"It holds {others} clips or DICOM files: give these by name"
    if failed:
        return f"{len(failed)} files in it look like pictures but cannot be read"
    return "Give a folder of PNG, JPEG, BMP, TIFF or WebP files"


def _kind_of(file: Path) -> str:
    """``picture`` by its first bytes or its name; ``other`` for clips and DICOM; else ``unknown``."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        head = b""
    if (
        head[128:132] == b"DICM"
        or head[4:8] == b"ftyp"
        or head.startswith((b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3"))
    ):
        return "other"
    if head.startswith(b"RIFF") and head[8:12] in (b"AVI ", b"AVIX"):
        return "other"
    signatures = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF8", b"P5", b"P6")
    if head.startswith(signatures) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return "picture"
    return "picture" if file.suffix.lower() in SUFFIXES else "unknown"


@contextmanager
def _decoder(path: Path) -> Iterator[Any]:
    """Pillow's image, its pixels not yet decoded, or None if Pillow knows no such picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise UserError(f"{path.name} is too large to open", "Give a picture of at most 64 megapixels") from error
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
            image = None
        try:
            yield image
        finally:
            if image is not None:
                image.close()


def _pages(path: Path, image: Any) -> list[Page]:
    """All pages, by their headers; ``UserError`` where one is too small or too large."""
    pages = []
    for number in range(1 if image.format == "MPO" else getattr(image, "n_frames", 1)):
        try:
            image.seek(number)
        except (EOFError, OSError, ValueError):
            break
        check_size(path.name, *image.size)
        if image.format == "WEBP" and image.n_frames > 1:
            image.load()  # tells the duration only then
        duration_ms = image.info.get("duration")
        pages.append(Page(path, number, duration_ms / 1000 if duration_ms else None))
    return pages


def _times_of(pages: Sequence[Page]) -> tuple[float | None, ...]:
    shown = [page.shown_s for page in pages]
    if len(pages) < 2 or None in shown:
        return (None,) * len(pages)
    return tuple(float(time) for time in np.cumsum([0.0, *(s or 0.0 for s in shown[:-1])]))


def read_pixels(page: Page) -> Pixels:
    """Decode one page to RGB (height, width, 3): upright, on black, 8 bit. ``UserError`` if it is damaged."""
    with _decoder(page.path) as image:
        if image is None:
            raise UserError(f"{page.path.name} is no picture, or damaged", "Copy it again")
        try:
            if page.number:
                image.seek(page.number)
            return to_rgb(ImageOps.exif_transpose(image))
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise UserError(f"{page.path.name} is damaged or cut off", "Copy it again") from error


def to_rgb(image: Any) -> Pixels:
    """Any Pillow image as RGB, 8 bit: transparency on black, more than 8 bits scaled by the range they need."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.repeat(to_8_bit(np.asarray(image))[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        return on_black(np.asarray(image.convert("RGBA"), dtype=np.uint8))
    return np.array(image.convert("RGB"), dtype=np.uint8)


def to_8_bit(values: np.ndarray[Any, Any]) -> Pixels:
    """Grey values of any range as 0 to 255.

    Whole numbers are scaled by the smallest of 8, 10, 12, 14, 16 or 32 bits that holds the largest, fractions
    (0 to 1) by 255, anything else from its least to its largest value.
    """
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if np.issubdtype(values.dtype, np.floating):
        low, high = (0.0, 1.0) if 0 <= low and high <= 1 else (low, high)
    elif low >= 0:
        low, high = 0.0, float(next(2**bits - 1 for bits in (8, 10, 12, 14, 16, 32) if high < 2**bits))
    scaled = (np.nan_to_num(values.astype(np.float64), nan=low) - low) * (255.0 / max(high - low, 1e-12))
    pixels: Pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pixels
