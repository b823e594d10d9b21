"""The pages of one picture file: PNG, JPEG, BMP, TIFF, WebP, GIF and PPM, what is in them and their pixels.

Pillow reads them, and only behind the boundary that turns whatever it raises into a ``UserError``.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
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
    to_8_bit,
)
from usviewer.acquire.source import MAX_WORK_BYTES, check_size, unreadable
from usviewer.errors import UserError, foreign_parser
from usviewer.files import open_regular, read_bytes
from usviewer.frame import Pixels

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what it says of damaged files is not for the terminal

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
HEAD_BYTES = 132
# TIFF and BigTIFF, PNG: what begins so and cannot be read is a damaged picture, and nothing else.
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SURE_SIGNATURES = (b"\x89PNG", *TIFF_SIGNATURES)
# A file of several pages stays open while its pages are no larger: finding one walks through those before it.
KEPT_OPEN_PX = 8_000_000
# Colours of 16 bits are read by OpenCV, which wants the whole file in memory: a third of the work that is allowed.
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


@contextmanager
def open_pillow(path: Path) -> Iterator[Any]:
    """Open Pillow's image, its pixels not yet decoded; None if Pillow knows no such picture.

    Raises ``UserError`` for a picture that is damaged, too large, or cannot be opened.

    Pillow gets a file that is open already. By its name it would map the file into memory, which shears turned grey
    TIFFs, and ends the program where the file becomes shorter in the meantime.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
            head = file.read(HEAD_BYTES)
            file.seek(0)
        except OSError as error:
            raise unreadable(path.name, error, was_there=True) from error
        if size := _webp_size_px(head):  # its decoder takes all its memory when it is opened
            check_size(path.name, *size)
        sure = is_webp(head) or head.startswith(SURE_SIGNATURES)
        image = None
        what = f"{path.name} is damaged or of a kind that cannot be read"
        strict = head.startswith(TIFF_SIGNATURES)
        with quiet_pillow(strict=strict), foreign_parser(what, "Copy it again or save it as PNG"):
            try:
                image = stack.enter_context(Image.open(file, formats=FORMATS))
            except Image.DecompressionBombError as error:
                raise UserError(f"{path.name} is too large to open", "Give one of at most 64 megapixels") from error
            except UnidentifiedImageError:
                if sure:
                    raise
        yield image


def _webp_size_px(head: bytes) -> tuple[int, int] | None:
    """Width and height that the head of a WebP file states; None for anything else."""
    if not is_webp(head) or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def is_webp(head: bytes) -> bool:
    """Tell whether a file that begins with these bytes is WebP."""
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


@contextmanager
def quiet_pillow(*, strict: bool = False) -> Iterator[None]:
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


def read_pages(path: Path, image: Any) -> tuple[tuple[ImagePage, ...], tuple[tuple[str, str], ...]]:
    """List all pages of a file by their headers, and the names of those that cannot be read, each with the reason.

    Raises ``UserError`` where there is no good one.
    """
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
        # The other pictures of an MPO are previews or second views; a GIF of several is a clip, and not opened here.
        if image.format in ("MPO", "GIF"):
            break
    if not pages:
        raise next(iter(bad.values()), UserError(f"{path.name} holds no picture", "Copy it again"))
    if len(pages) == 1 and not bad:
        pages = [replace(pages[0], name=path.name)]
    return tuple(pages), tuple((name, error.what) for name, error in bad.items())


def _go_to(path: Path, image: Any, number: int) -> bool:
    """Go to a page. Returns False beyond the last one."""
    with quiet_pillow(strict=image.format == "TIFF"), _damaged(path):
        try:
            image.seek(number)
        except EOFError:
            return False
    return True


def _is_own_picture(path: Path, image: Any, number: int) -> bool:
    """Not a smaller copy or a mask of another page, and not the picture that stands for an animation elsewhere."""
    with quiet_pillow(), _damaged(path):
        if image.format == "TIFF":
            return number == 0 or not int(image.tag_v2.get(SUBFILE, 0)) & SMALLER_COPY_OR_MASK
        return number > 0 or not getattr(image, "default_image", False)


def _page(path: Path, image: Any, number: int, name: str) -> ImagePage:
    """Describe the current page of an image by its header."""
    with quiet_pillow(), _damaged(path):
        width, height = image.size
        samples = samples_of(image)
    check_size(path.name, width, height)
    with quiet_pillow(), _damaged(path):
        _check_memory(path.name, image, samples)
        if image.format == "WEBP" and image.n_frames > 1:
            image.load()  # tells the duration only then
        duration_ms = float(image.info.get("duration") or 0)
    shown_s = None
    if duration_ms > 0:
        shown_s = duration_ms / 1000
    return ImagePage(path, number, name, width * height, samples, shown_s)


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


class PageReader:
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
                self._image = self._stack.enter_context(open_pillow(page.path))
                self._path = page.path
            with quiet_pillow(strict=self._image is not None and self._image.format == "TIFF"), _damaged(page.path):
                self._image.seek(page.number)
                self._image.load()
            yield self._image
        except BaseException:
            self.close()
            raise
        # The first page is found at once; a large one would stay in memory with its file.
        if page.number == 0 or page.size_px > KEPT_OPEN_PX:
            self.close()


def _orientation(image: Any, page: ImagePage) -> int:
    """EXIF's number for how the picture is turned. Pillow has turned TIFFs, and says 1 for them, once decoded."""
    with quiet_pillow(), _damaged(page.path):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    # EXIF 2.32, 4.6.4 A: where the first row and column lie. 5 to 8 swap rows and columns.
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
    mode = "RGBA" if transparent else "RGB"
    for top, bottom in bands(image.height, image.width):
        with foreign_parser(f"The colours of {page.path.name} ({image.mode}) cannot be shown", "Save it as PNG"):
            band = image.crop((0, top, image.width, bottom))
            if band.mode == "La":  # Pillow has no way from grey with premultiplied opacity to RGB
                band = band.convert("LA")
            values = np.asarray(band.convert(mode), dtype=np.uint8)
        if transparent:
            values = on_black(values)
        yield top, bottom, values


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
        if image.mode != "RGB":  # grey with opacity: OpenCV gives it as colours with opacity
            image = image.convert("RGBA")
        upper = np.asarray(image, dtype=np.uint8)
    try:
        content = read_bytes(page.path, MAX_COLOUR_FILE_BYTES)
    except OSError as error:
        raise UserError(f"{page.path.name} cannot be read, or is too large", "Save it with 8 bits") from error
    return coloured_values(content, page.number, upper, page.path.name)
