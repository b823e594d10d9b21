"""Still pictures: one file, the pages of one file, or a folder in the natural order of its names.

Pillow reads them, and only behind the boundary that turns whatever it raises into a ``UserError``.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from natsort import natsorted, ns
from PIL import ExifTags, Image, UnidentifiedImageError

from usviewer.acquire.decoding import bands, on_black
from usviewer.acquire.deep import (
    BITS_PER_SAMPLE,
    Samples,
    Scale,
    Values,
    coloured_values,
    extremes,
    grey_values,
    samples_of,
    scale_for,
    spread_over,
    to_8_bit,
)
from usviewer.acquire.source import MAX_WORK_BYTES, RecordedSource, check_size, unreadable
from usviewer.acquire.video import mean_rate
from usviewer.errors import UserError, foreign_parser
from usviewer.files import open_regular, read_bytes
from usviewer.frame import Frame, Pixels, SourceInfo, make_frame

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what it says of damaged files is not for the terminal

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
HEAD_BYTES = 132
# TIFF and BigTIFF, PNG: what begins so and cannot be read is a damaged picture, and nothing else.
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SURE_SIGNATURES = (b"\x89PNG", *TIFF_SIGNATURES)
PICTURE_SIGNATURES = (*SURE_SIGNATURES, b"\xff\xd8\xff", b"BM", b"GIF8", b"P5", b"P6")
CLIP_SIGNATURES = (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"0&\xb2u\x8ef\xcf\x11")  # Matroska, MPEG, ASF
# A file of several pages stays open while its pages are no larger: finding one walks through those before it.
KEPT_OPEN_PX = 8_000_000
MAX_COLOUR_FILE_BYTES = 250_000_000
# So many bad pages one after another: the way from page to page is broken, not they.
MAX_BAD_IN_A_ROW = 8
# What a decoder takes at its peak, in bytes a pixel on top of the picture's own 3: (format, whether an animation).
WORK_BYTES_PER_PX = {("WEBP", False): 14, ("WEBP", True): 26, ("PNG", True): 13}
LEAST_WORK_BYTES_PER_PX = 8
COLOURED_BYTES_PER_PX = 26
ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH = 278, 322, 323
SUBFILE, SMALLER_COPY_OR_MASK = 254, 1 | 4  # TIFF: a page that is not a picture of its own


@dataclass(frozen=True, slots=True)
class ImagePage:
    """One picture of one file: its number there, what it is called, how many pixels of what samples it has.

    ``shown_s`` is how long it is shown (animations only).
    """

    path: Path
    number: int
    name: str
    size_px: int
    samples: Samples | None = None
    shown_s: float | None = None


@dataclass(frozen=True, slots=True)
class ImageContents:
    """The pages of one file, and what of it could not be read, with the reason."""

    pages: tuple[ImagePage, ...]
    failed: tuple[tuple[str, str], ...]


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
        self._files = _Files()
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
            pixels = self._files.pixels(page, self._scale(page.samples) if page.samples else None)
        except UserError as error:
            self._fail(page.name, error.what)
            raise
        name = page.path.name if self._kind == "images" else ""
        return make_frame(pixels, self._uri, index, self._times_s[index], name=name)

    def times_s(self) -> Sequence[float | None]:
        """None for stills; the times of an animation."""
        return self._times_s

    def close(self) -> None:
        """Close the file that is open."""
        self._files.close()

    def _scale(self, samples: Samples) -> Scale:
        """The scale of all pictures with samples of this kind; looks at them when it is first asked for."""
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


def _about(name: str, why: str) -> str:
    """The reason of a failure, without the name that stands before it already."""
    return f"it {why.removeprefix(f'{name} ')}" if why.startswith(f"{name} ") else why


def open_image(path: Path) -> ImageSource | None:
    """A picture file and all its pages, or None if it is not a still picture (an animated GIF is a clip)."""
    with _opened(path) as image:
        if image is None or (image.format == "GIF" and _moves(image)):
            return None
        found = _contents(path, image)
    pages = found.pages
    moving = None not in _times_of(pages)
    notes = [] if len(pages) == 1 or moving else [f"{len(pages)} pages of one file"]
    return ImageSource(str(path), path.stem, "video" if moving else "image", pages, notes, found.failed)


def open_folder(path: Path) -> ImageSource:
    """The pictures directly in a folder. A note names the clips and DICOM files in it, which are not shown."""
    try:
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
            with _opened(file) as image:
                if image is None:
                    raise UserError(f"{file.name} is not a picture, or is damaged", "Copy it again")
                found = _contents(file, image)
        except UserError as error:
            failed.append((file.name, error.what))
            continue
        several += len(found.pages) > 1
        pages.append(replace(found.pages[0], name=file.name, shown_s=None))
    if not pages:
        raise UserError(f"The folder {path.name} holds no pictures", _instead(others, failed))
    notes = [f"{others} clips or DICOM files of the folder are not shown: give them by name"] if others else []
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
    return "picture" if _is_picture(head) or file.suffix.lower() in SUFFIXES else "unknown"


def _is_picture(head: bytes) -> bool:
    return head.startswith(PICTURE_SIGNATURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


def _moves(gif: Any) -> bool:
    """Whether a GIF has several pictures. One that Pillow cannot read to its end is left to the clip reader."""
    try:
        with _quiet():
            return bool(gif.n_frames > 1)
    except Exception:  # Pillow raises what it will; FFmpeg takes the pictures before the damage
        return True


def _is_webp(head: bytes) -> bool:
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


@contextmanager
def _quiet(*, strict: bool = False) -> Iterator[None]:
    """No remarks of Pillow. ``strict``: its remark that a TIFF's list of tags is cut off is an error.

    It goes on with the tags before the cut, and takes what it misses for granted: sign, turn, white.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if strict:
            warnings.filterwarnings("error", message="Corrupt EXIF data")
        yield


def _damaged(path: Path) -> AbstractContextManager[None]:
    return foreign_parser(f"{path.name} is damaged or cut off", "Copy it again")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Pillow's image, its pixels not yet decoded, or None if Pillow knows no such picture.

    Pillow gets a file that is open already. By its name it would map the file into memory, which shears turned grey
    TIFFs, and ends the program where the file is shortened meanwhile.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
            head = file.read(HEAD_BYTES)
            file.seek(0)
        except OSError as error:
            raise unreadable(path.name, error, was_there=True) from error
        if size := webp_size_px(head):  # its decoder takes all its memory when it is opened
            check_size(path.name, *size)
        sure = _is_webp(head) or head.startswith(SURE_SIGNATURES)
        image = None
        what = f"{path.name} is damaged or of a kind that cannot be read"
        strict = head.startswith(TIFF_SIGNATURES)
        with _quiet(strict=strict), foreign_parser(what, "Copy it again or save it as PNG"):
            try:
                image = stack.enter_context(Image.open(file, formats=FORMATS))
            except Image.DecompressionBombError as error:
                raise UserError(f"{path.name} is too large to open", "Give one of at most 64 megapixels") from error
            except UnidentifiedImageError:
                if sure:
                    raise
        yield image


def webp_size_px(head: bytes) -> tuple[int, int] | None:
    """Width and height that the head of a WebP file states; None for anything else."""
    if not _is_webp(head) or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _contents(path: Path, image: Any) -> ImageContents:
    """All pages, by their headers. A bad one is named and left out; ``UserError`` where there is no good one."""
    pages: list[ImagePage] = []
    bad: dict[str, UserError] = {}
    in_a_row: list[str] = []
    for number in count():
        name = f"page {number} of {path.name}"
        try:
            if not _go_to(path, image, number):
                break
            if _is_own_picture(path, image, number):
                pages.append(_page(path, image, number, name))
            in_a_row.clear()
        except UserError as error:
            bad[name] = error
            in_a_row.append(name)
        if len(in_a_row) == MAX_BAD_IN_A_ROW:
            errors = [bad.pop(name) for name in in_a_row]
            bad[f"{in_a_row[0]} and what follows"] = errors[0]
            break
        if image.format in ("MPO", "GIF"):
            break
    if not pages:
        raise next(iter(bad.values()), UserError(f"{path.name} holds no picture", "Copy it again"))
    if len(pages) == 1 and not bad:
        pages = [replace(pages[0], name=path.name)]
    return ImageContents(tuple(pages), tuple((name, error.what) for name, error in bad.items()))


def _go_to(path: Path, image: Any, number: int) -> bool:
    """Go to a page. Returns False beyond the last one."""
    with _quiet(strict=image.format == "TIFF"), _damaged(path):
        try:
            image.seek(number)
        except EOFError:
            return False
    return True


def _is_own_picture(path: Path, image: Any, number: int) -> bool:
    """Not a smaller copy or a mask of another page, and not the picture that stands for an animation elsewhere."""
    with _quiet(), _damaged(path):
        if image.format == "TIFF":
            return number == 0 or not int(image.tag_v2.get(SUBFILE, 0)) & SMALLER_COPY_OR_MASK
        return number > 0 or not getattr(image, "default_image", False)


def _page(path: Path, image: Any, number: int, name: str) -> ImagePage:
    """Describe the current page of an image by its header."""
    with _quiet(), _damaged(path):
        width, height = image.size
        samples = samples_of(image)
    check_size(path.name, width, height)
    with _quiet(), _damaged(path):
        _check_memory(path.name, image, samples)
        if image.format == "WEBP" and image.n_frames > 1:
            image.load()  # tells the duration only then
        duration_ms = float(image.info.get("duration") or 0)
    return ImagePage(path, number, name, width * height, samples, duration_ms / 1000 if duration_ms > 0 else None)


def _check_memory(name: str, image: Any, samples: Samples | None) -> None:
    """Refuse a picture that takes too much memory to decode, by its header.

    A TIFF's tile or strip may be far larger than its picture, and libtiff takes the memory of a whole one.
    """
    width, height = image.size
    moving = image.format in ("WEBP", "PNG") and getattr(image, "n_frames", 1) > 1
    bytes_per_px = WORK_BYTES_PER_PX.get((image.format, moving), LEAST_WORK_BYTES_PER_PX)
    if samples is not None and samples.coloured:
        bytes_per_px = COLOURED_BYTES_PER_PX
    work = width * height * bytes_per_px
    if image.format == "TIFF":
        tags = image.tag_v2
        rows = min(int(tags.get(ROWS_PER_STRIP, height)), height)
        tile = int(tags.get(TILE_WIDTH, width)) * int(tags.get(TILE_LENGTH, rows))
        work += tile * sum(tags.get(BITS_PER_SAMPLE, (8,))) / 8
    if work > MAX_WORK_BYTES:
        raise UserError(
            f"{name} takes too much memory to open ({width} x {height} pixels as {image.format})",
            "Save it smaller, or as JPEG or PNG with 8 bits",
        )


def _times_of(pages: Sequence[ImagePage]) -> tuple[float | None, ...]:
    shown = [page.shown_s for page in pages]
    if len(pages) < 2 or None in shown:
        return (None,) * len(pages)
    return tuple(float(time) for time in np.cumsum([0.0, *(s or 0.0 for s in shown[:-1])]))


class _Files:
    """Decodes pages. A file of several stays open until another is asked for, or ``close``."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._path: Path | None = None
        self._image: Any = None
        weakref.finalize(self, self._stack.close)

    def close(self) -> None:
        """Let go of the file that is open."""
        self._path = self._image = None
        self._stack.close()

    def pixels(self, page: ImagePage, scale: Scale | None) -> Pixels:
        """A page as RGB (height, width, 3): upright, on black, 8 bit. ``UserError`` if it is damaged."""
        with self._decoded(page) as image:
            orientation = _orientation(image, page)
            pixels = np.empty((image.height, image.width, 3), np.uint8)
            for top, bottom, rgb in _rgb(image, page, scale):
                pixels[top:bottom] = rgb
        return _upright(pixels, orientation)

    def extremes(self, page: ImagePage) -> tuple[float, float] | None:
        """The least and the largest of a page's deep samples."""
        with self._decoded(page) as image:
            return extremes(values[..., :3] for _, _, values in _deep(image, page))

    @contextmanager
    def _decoded(self, page: ImagePage) -> Iterator[Any]:
        if self._path != page.path:
            self.close()
        try:
            if self._image is None:
                self._image = self._stack.enter_context(_opened(page.path))
                self._path = page.path
            with _quiet(strict=self._image is not None and self._image.format == "TIFF"), _damaged(page.path):
                self._image.seek(page.number)
                self._image.load()
            yield self._image
        except BaseException:
            self.close()
            raise
        if page.number == 0 or page.size_px > KEPT_OPEN_PX:
            self.close()


def _orientation(image: Any, page: ImagePage) -> int:
    """EXIF's number for how the picture is turned. Pillow has turned TIFFs, and says 1 for them, once decoded."""
    with _quiet(), _damaged(page.path):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _rgb(image: Any, page: ImagePage, scale: Scale | None) -> Iterator[tuple[int, int, Pixels]]:
    """Bands of rows (from, to) as RGB, or as grey (height, width, 1)."""
    if page.samples is not None and scale is not None:
        for top, bottom, values in _deep(image, page):
            colours = to_8_bit(values[..., :3], scale, inverted=page.samples.inverted)
            if values.shape[2] == 4:
                colours = on_black(np.concatenate([colours, (values[..., 3:] >> 8).astype(np.uint8)], axis=2))
            yield top, bottom, colours
        return
    transparent = image.has_transparency_data
    for top, bottom in bands(image.height, image.width):
        with foreign_parser(f"The colours of {page.path.name} ({image.mode}) cannot be shown", "Save it as PNG"):
            band = image.crop((0, top, image.width, bottom))
            band = band.convert("LA") if band.mode == "La" else band
            values = np.asarray(band.convert("RGBA" if transparent else "RGB"), dtype=np.uint8)
        yield top, bottom, on_black(values) if transparent else values


def _deep(image: Any, page: ImagePage) -> Iterator[tuple[int, int, Values]]:
    """Bands of rows (from, to) with their samples of more than 8 bits (height, width, channels)."""
    samples = page.samples
    assert samples is not None
    if samples.coloured:
        values = _coloured(image, page)
        yield from ((top, bottom, values[top:bottom]) for top, bottom in bands(image.height, image.width))
        return
    for top, bottom in bands(image.height, image.width):
        with _damaged(page.path):
            band = grey_values(image.crop((0, top, image.width, bottom)), samples)
        yield top, bottom, band[:, :, None]


def _coloured(image: Any, page: ImagePage) -> Values:
    with foreign_parser(f"The colours of {page.path.name} ({image.mode}) cannot be shown", "Save it with 8 bits"):
        upper = np.asarray(image.convert("RGB" if image.mode == "RGB" else "RGBA"), dtype=np.uint8)
    try:
        content = read_bytes(page.path, MAX_COLOUR_FILE_BYTES)
    except OSError as error:
        raise UserError(f"{page.path.name} cannot be read, or is too large", "Save it with 8 bits") from error
    return coloured_values(content, page.number, upper, page.path.name)
