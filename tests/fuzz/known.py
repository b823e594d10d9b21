"""Inputs that are built exactly, because a fault of their kind was found in use: each must be read or refused in time.

The third column says what has to come of it; where it is empty both are right, as long as memory and time hold.
"""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.fuzz import mutate_dicom, mutate_onnx, readers, seeds, seeds_kept
from tests.fuzz.task import Absent, Read, Task
from tests.helpers.recordings import dicom_dataset, picture
from usviewer.save.cache import ClipNotes, ClipResults

Write = Callable[[Path], None]
GIGABYTE = 1 << 30


def _content(kind: str, name: str) -> bytes:
    """The one file of a built seed."""
    files = next(seed for seed in seeds.SEEDS[kind] if seed.name == name).make()
    if files is None:
        raise Absent(name)
    (content,) = files.values()
    return content


def _file(name: str, content: Callable[[], bytes]) -> Write:
    return lambda folder: _put(folder / name, content())


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


# --- small files that take much memory -------------------------------------------------------------------------------


def _zeros_deflated(count: int, window: int) -> tuple[bytes, bytes]:
    """So many megabytes of zeros, and the end of the stream: blocks after a full flush stand for themselves."""
    packer = zlib.compressobj(9, wbits=window)
    packer.compress(b"")
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * count, packer.flush(zlib.Z_FINISH)


def _deflate_bomb(megabytes: int, *, honest: bool) -> bytes:
    """A deflated DICOM file of frames of nothing; not ``honest``: the header speaks of one small frame."""
    dataset = dicom_dataset(
        [np.zeros((1024, 1024), np.uint8)], NumberOfFrames=megabytes if honest else 1, PixelData=b""
    )
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = io.BytesIO()
    pydicom.dcmwrite(whole, dataset, enforce_file_format=True)
    content = whole.getvalue()
    start = 144 + struct.unpack_from("<I", content, 140)[0]
    body = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    at = body.rfind(mutate_dicom.PIXELS)
    body = body[:at] + mutate_dicom.PIXELS + b"OB\0\0" + struct.pack("<I", megabytes << 20)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros, end = _zeros_deflated(megabytes, -zlib.MAX_WBITS)
    return content[:start] + head + zeros + end


def _large_gif() -> bytes:
    """Small pictures on a canvas of 64 megapixels."""
    content = bytearray(_content("gif", "pillow.gif"))
    struct.pack_into("<HH", content, 6, 8000, 8000)
    return bytes(content)


def _large_still(kind: str, mode: str, side: int = 8000, **how: Any) -> bytes:
    image = Image.new(mode, (side, side))
    packed = io.BytesIO()
    image.save(packed, kind, **how)
    return packed.getvalue()


def _large_png_header() -> bytes:
    """A PNG that says it is 60000 x 60000, and holds nothing."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    packed = b"".join(
        struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + packed


def _many_pages() -> bytes:
    """A TIFF whose directory leads to itself: pages without an end."""
    content = bytearray(_content("still", "raw.tif"))
    (at,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, at)
    struct.pack_into("<I", content, at + 2 + 12 * entries, at)
    return bytes(content)


def _zip_of_zeros(folder: Path) -> None:
    """Kept readings whose array of points is 2 GB of zeros in 2 MB."""
    for name, content in seeds_kept.cache_files().items():
        (folder / name).write_bytes(content)
    (path,) = folder.glob("readings-*.npz")
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    header += b"{'descr': '<f8', 'fortran_order': False, 'shape': (134217728, 2), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path) as old:
        kept = {name: old.read(name) for name in old.namelist() if name != "points.npy"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name, content in kept.items():
            new.writestr(name, content)
        with new.open("points.npy", "w", force_zip64=True) as points:
            points.write(header)
            for _ in range(2048):
                points.write(bytes(1 << 20))


def _layout_picture() -> bytes:
    """A remembered ruler whose picture is 900 megapixels of nothing."""
    content = seeds_kept.layouts_file()["layouts.json"].decode()
    document = json.loads(content)
    document["layouts"][0]["grey"] = base64.b64encode(_large_still("PNG", "L", 12_000)).decode()
    return json.dumps(document).encode()


# --- what parsers stumble over ---------------------------------------------------------------------------------------


def _four_letters() -> bytes:
    """An everyday clip whose codec has a name that nobody knows."""
    content = _content("video", "mjpeg.avi")
    return content.replace(b"MJPG", b"ZQXW")


def _sample_entry() -> bytes:
    content = _content("video", "h264.mp4")
    return content.replace(b"avc1", b"zqxw")


def _half(kind: str, name: str, part: float = 0.5) -> bytes:
    content = _content(kind, name)
    return content[: int(len(content) * part)]


def _noise() -> bytes:
    """Noise on a whole screen: much that could be a ruler's tick."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1080, 1920), np.uint8))
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return packed.getvalue()


def _text_page() -> bytes:
    """A page of short strokes in rows and columns."""
    rng = np.random.default_rng(1)
    page = np.full((1080, 1920), 10, np.uint8)
    for y in range(20, 1060, 16):
        for x in range(20, 1900, 9):
            height, width = rng.integers(2, 11), rng.integers(1, 7)
            page[y : y + height, x : x + width] = 230
    packed = io.BytesIO()
    Image.fromarray(page).save(packed, "PNG")
    return packed.getvalue()


def _tags(change: Callable[[Any], None], name: str = "regions") -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(_content("dicom", name)))
    change(dataset)
    implicit, little = dataset.original_encoding
    packed = io.BytesIO()
    pydicom.dcmwrite(packed, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    return packed.getvalue()


def _raw(keyword: str, kind: str, value: bytes) -> Callable[[Any], None]:
    tag = pydicom.tag.Tag(pydicom.datadict.tag_for_keyword(keyword) or 0)
    return lambda dataset: mutate_dicom.put(dataset, tag, kind, value)


def _empty_syntax(dataset: Any) -> None:
    mutate_dicom.put(dataset.file_meta, mutate_dicom.SYNTAX, "UI", b"")


def _deep_sequence(dataset: Any) -> None:
    mutate_dicom.deep_sequence(dataset, mutate_dicom.DEEPEST)


DEEP = b"[" * 100_000
DIGITS = b"9" * 10_000


def _kept(wrong: str, content: bytes) -> Write:
    def write(folder: Path) -> None:
        for name, healthy in seeds_kept.cache_files().items():
            (folder / name).write_bytes(content if name == wrong else healthy)

    return write


def _unending_layouts() -> bytes:
    return seeds_kept.layouts_file()["layouts.json"].replace(b'"origin_px": ', b'"origin_px": 1e400, "x": ')


# --- what is no file -------------------------------------------------------------------------------------------------


def _special(what: Literal["pipe", "socket", "zero", "circle"], name: str) -> Write:
    """A name that leads to what never ends, or never begins."""

    def write(folder: Path) -> None:
        path = folder / name
        if what == "pipe":
            os.mkfifo(path)
        elif what == "socket":
            here = Path.cwd()
            os.chdir(folder)  # the names of sockets are short
            try:
                socket.socket(socket.AF_UNIX).bind(name)
            finally:
                os.chdir(here)
        else:
            path.symlink_to("/dev/zero" if what == "zero" else path)

    def write_where_there_are_such(folder: Path) -> None:
        if sys.platform == "win32":
            raise Absent(what)
        write(folder)

    return write_where_there_are_such


PARTS = {"model": "model.onnx", "manifest": "manifest.toml", "expected": "golden.json", "picture": "golden.png"}


def _model(part: str, content: Callable[[], bytes]) -> Write:
    """The U-Net's folder of which one file has another content."""

    def write(folder: Path) -> None:
        files = {**seeds_kept.MODELS["unet"](), PARTS[part]: content()}
        for name, kept in seeds_kept.with_hashes(files).items():
            (folder / name).write_bytes(kept)

    return write


def _model_of(what: Literal["pipe", "zero"], part: str) -> Write:
    """The U-Net's folder of which one file is none."""

    def write(folder: Path) -> None:
        for name, content in seeds_kept.MODELS["unet"]().items():
            if name != PARTS[part]:
                (folder / name).write_bytes(content)
        _special(what, PARTS[part])(folder)

    return write


def _graph(change: Callable[[Any], None]) -> bytes:
    graph = seeds_kept.read_graph(seeds_kept.MODELS["unet"]()["model.onnx"])
    change(graph)
    return bytes(graph.SerializeToString())


def _ninety_nine(graph: Any) -> None:
    graph.ir_version = 99


def _long_loop(graph: Any) -> None:
    mutate_onnx.endless_loop(graph, turns=1 << 62)


def _huge(graph: Any) -> None:
    mutate_onnx.huge_tensor(graph, 100_000)


def _mixed(folder: Path) -> None:
    """Fourteen good pictures and six that are bad in six ways."""
    for number in range(14):
        Image.fromarray(picture(number, *seeds.SIZE)).save(folder / f"good {number}.png")
    (folder / "bad cut.tif").write_bytes(_half("still", "lzw.tif"))
    (folder / "bad empty.png").write_bytes(b"")
    (folder / "bad noise.jpg").write_bytes(Random(0).randbytes(1000))
    (folder / "bad cut.gif").write_bytes(_half("still", "still.gif"))
    (folder / "bad large.png").write_bytes(_large_png_header())
    _special("pipe", "bad pipe.png")(folder)
    try:
        (folder / os.fsdecode(b"not utf-8 \xff.png")).write_bytes((folder / "good 0.png").read_bytes())
    except OSError:  # a file system that holds only text
        return


def _read_other_content(folder: Path) -> Read:
    """A pipe in the place of kept readings."""
    clip = folder.parent / "clip.bin"
    clip.write_bytes(seeds_kept.CLIP)
    notes = ClipNotes(clip, folder)
    notes.folder.mkdir()
    ClipResults(notes, seeds_kept.MADE_BY, "clip").store(seeds_kept.readings())
    for path in list(notes.folder.iterdir()):
        path.unlink()
        os.mkfifo(path)
    for name in ("bookmarks.json", "given.json"):
        os.mkfifo(notes.folder / name)
    assert notes.bookmarks() == ()
    notes.given()
    return Read(refused=ClipResults(notes, seeds_kept.MADE_BY, "clip").load() is None)


# --- the list --------------------------------------------------------------------------------------------------------

Must = Literal["", "read", "refused"]
READERS: Mapping[str, Callable[[Path], Read]] = {
    "source": readers.read_source,
    "folder": readers.read_folder,
    "model": readers.read_model,
    "settings": readers.read_settings,
    "layouts": readers.read_layouts,
    "cache": readers.read_cache,
    "piped cache": _read_other_content,
}

_LIST: tuple[tuple[str, str, Must, Write], ...] = (
    # what takes all memory
    ("deflate-bomb", "source", "", _file("a.dcm", partial(_deflate_bomb, 4000, honest=True))),
    ("deflate-lie", "source", "", _file("a.dcm", partial(_deflate_bomb, 4000, honest=False))),
    ("gif-canvas", "source", "", _file("a.gif", _large_gif)),
    ("png-64-rgb", "source", "", _file("a.png", partial(_large_still, "PNG", "RGB"))),
    ("png-64-rgba", "source", "", _file("a.png", partial(_large_still, "PNG", "RGBA"))),
    ("png-64-deep", "source", "", _file("a.png", partial(_large_still, "PNG", "I;16"))),
    ("png-64-palette", "source", "", _file("a.png", partial(_large_still, "PNG", "P"))),
    ("jpeg-64", "source", "", _file("a.jpg", partial(_large_still, "JPEG", "RGB", progressive=True))),
    ("tiff-64-float", "source", "", _file("a.tif", partial(_large_still, "TIFF", "F", compression="tiff_lzw"))),
    ("tiff-64-cmyk", "source", "", _file("a.tif", partial(_large_still, "TIFF", "CMYK", compression="tiff_lzw"))),
    ("png-header", "source", "refused", _file("a.png", _large_png_header)),
    ("tiff-circle", "source", "", _file("a.tif", _many_pages)),
    ("zip-of-zeros", "cache", "", _zip_of_zeros),
    ("layout-picture", "layouts", "", _file("layouts.json", _layout_picture)),
    # what takes all time
    ("noise", "source", "read", _file("a.png", _noise)),
    ("page-of-text", "source", "read", _file("a.png", _text_page)),
    ("pipe", "source", "refused", _special("pipe", "a.mp4")),
    ("socket", "source", "refused", _special("socket", "a.mp4")),
    ("zero", "source", "refused", _special("zero", "a.mp4")),
    ("link-to-itself", "source", "refused", _special("circle", "a.mp4")),
    ("pipe-model", "model", "refused", _model_of("pipe", "model")),
    ("pipe-manifest", "model", "refused", _model_of("pipe", "manifest")),
    ("pipe-golden", "model", "refused", _model_of("pipe", "expected")),
    ("pipe-golden-picture", "model", "refused", _model_of("pipe", "picture")),
    ("zero-model", "model", "refused", _model_of("zero", "model")),
    ("zero-golden", "model", "refused", _model_of("zero", "expected")),
    ("pipe-settings", "settings", "", _special("pipe", "settings.json")),
    ("piped-cache", "piped cache", "refused", lambda folder: None),
    ("endless-loop", "model", "refused", _model("model", partial(_graph, mutate_onnx.endless_loop))),
    ("long-loop", "model", "refused", _model("model", partial(_graph, _long_loop))),
    ("huge-tensor", "model", "refused", _model("model", partial(_graph, _huge))),
    # what parsers stumble over
    ("unknown-codec-avi", "source", "refused", _file("a.avi", _four_letters)),
    ("unknown-codec-mp4", "source", "refused", _file("a.mp4", _sample_entry)),
    ("half-tiff", "source", "refused", _file("a.tif", partial(_half, "still", "raw.tif"))),
    ("half-tiff-deflate", "source", "refused", _file("a.tif", partial(_half, "still", "deflate.tif"))),
    ("half-pages", "source", "", _file("a.tif", partial(_half, "still", "pages.tif"))),
    ("cut-gif", "source", "", _file("a.gif", partial(_half, "gif", "pillow.gif"))),
    ("cut-still-gif", "source", "", _file("a.gif", partial(_half, "still", "still.gif"))),
    ("half-webp", "source", "refused", _file("a.webp", partial(_half, "still", "moving.webp"))),
    ("half-mp4", "source", "refused", _file("a.mp4", partial(_half, "video", "h264.mp4"))),
    ("half-dicom", "source", "", _file("a.dcm", partial(_half, "dicom", "jpeg"))),
    ("empty-syntax", "source", "", _file("a.dcm", partial(_tags, _empty_syntax))),
    ("unknown-vr", "source", "", _file("a.dcm", partial(_tags, _raw("Modality", "ZZ", b"US")))),
    ("no-samples", "source", "", _file("a.dcm", partial(_tags, _raw("SamplesPerPixel", "US", b"\0\0")))),
    ("no-bits", "source", "refused", _file("a.dcm", partial(_tags, _raw("BitsAllocated", "US", b"\0\0")))),
    ("no-rows", "source", "refused", _file("a.dcm", partial(_tags, _raw("Rows", "US", b"")))),
    ("comma-clock", "source", "", _file("a.dcm", partial(_tags, _raw("FrameTimeVector", "DS", b"0,40,40"), "vector"))),
    ("empty-clock", "source", "", _file("a.dcm", partial(_tags, _raw("FrameTimeVector", "DS", b""), "vector"))),
    ("words-of-frames", "source", "", _file("a.dcm", partial(_tags, _raw("NumberOfFrames", "IS", b"3 frames")))),
    ("deep-dicom", "source", "", _file("a.dcm", partial(_tags, _deep_sequence))),
    ("deep-manifest", "model", "refused", _model("manifest", lambda: b"x = " + DEEP)),
    ("deep-golden", "model", "refused", _model("expected", lambda: DEEP)),
    ("huge-golden-picture", "model", "refused", _model("picture", _large_png_header)),
    ("new-onnx", "model", "refused", _model("model", partial(_graph, _ninety_nine))),
    ("deep-settings", "settings", "refused", _file("settings.json", lambda: DEEP)),
    ("long-number-settings", "settings", "", _file("settings.json", lambda: b'{"version": 1, "x": %s}' % DIGITS)),
    ("deep-layouts", "layouts", "refused", _file("layouts.json", lambda: DEEP)),
    ("unending-layouts", "layouts", "", _file("layouts.json", _unending_layouts)),
    ("deep-bookmarks", "cache", "refused", _kept("bookmarks.json", DEEP)),
    ("unending-bookmarks", "cache", "refused", _kept("bookmarks.json", b'{"format": 1, "bookmarks": [1e400]}')),
    ("deep-given", "cache", "", _kept("given.json", DEEP)),
    ("mixed-folder", "folder", "read", _mixed),
)  # fmt: skip

# A task goes to another process by name, so it carries the name of its input and not the function itself.


def _write(name: str, folder: Path) -> None:
    _write_of(name)(folder)


def _write_of(name: str) -> Write:
    return next(write for known, _, _, write in _LIST if known == name)


KNOWN: Mapping[str, Task] = {
    name: Task("known", f"--known {name}", partial(_write, name), READERS[reader], must)
    for name, reader, must, _ in _LIST
}
# Many seconds each, most of them for making the input: not in the short run, which has another of each of their kinds.
HEAVY = frozenset({
    "deflate-lie", "png-64-rgb", "png-64-rgba", "png-64-deep", "png-64-palette", "tiff-64-float", "tiff-64-cmyk",
    "zip-of-zeros", "layout-picture", "long-loop",
})  # fmt: skip
