"""The healthy inputs that cases are made from: built here, and real files of ``../shared/data`` where these are.

A seed is a dictionary of files, name to content. Every seed is read without a word by the product as it is (a test
checks that), so that what a case shows comes from its damage.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.uid import (
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.conftest import DATA
from tests.fuzz import seeds_kept
from tests.helpers.recordings import dicom_dataset, picture, save_packed, write_clip

Files = Mapping[str, bytes]
Make = Callable[[], Files | None]

SIZE = (96, 64)


@dataclass(frozen=True)
class Seed:
    """One healthy input. ``make`` gives its files, or None where it is a real file that is not here."""

    kind: str
    name: str
    make: Make


class Store:
    """Seeds by name, each made once for all workers and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self, seed: Seed) -> Files | None:
        """The files of a seed; None where it is not here."""
        place = self._folder / f"{seed.kind}-{seed.name}"
        if not place.is_dir():
            made = seed.make()
            if made is None:
                return None
            aside = Path(tempfile.mkdtemp(dir=self._folder))
            for name, content in made.items():
                (aside / name).write_bytes(content)
            try:
                os.rename(aside, place)
            except OSError:  # another worker was quicker
                shutil.rmtree(aside)
        return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


# --- clips -----------------------------------------------------------------------------------------------------------

CLIPS: Mapping[str, dict[str, Any]] = {
    "h264.mp4": {"options": {"bf": "2"}},
    "h264.ts": {"format": "mpegts"},
    "ffv1.mkv": {"codec": "ffv1", "pixel_format": "bgr0"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "png.mov": {"codec": "png", "pixel_format": "rgb24"},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "wmv2.wmv": {"codec": "wmv2", "format": "asf"},
    "turned.mp4": {"display_matrix": {"degrees": 90}},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
}
REAL_CLIPS = (
    "clips_lung_pocovid/Reg_Image_18122_crop.mp4",
    "clips_lung_pocovid/Pneu_northumbria_0409_set1_vid1.avi",
    "clips_lung_pocovid/Reg_pat4Image_140238.mpeg",
    "clips_lung_pocovid/Cov_recommendations_likebutterfly_mov5.mov",
    "devices_itkpocus/sonosite-anon-eye1-video.mp4",
)


def _clip(name: str, count: int = 10, **how: Any) -> Files:
    # One thread and no identifiers of this very run: the same bytes each time.
    options = {"threads": "1", **how.pop("options", {})}
    container = {"fflags": "+bitexact", **how.pop("container_options", {})}
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(
            Path(folder) / name,
            count=count,
            size=SIZE,
            key_every=4,
            options=options,
            container_options=container,
            **how,
        )
        return {name: path.read_bytes()}


def _gif() -> Files:
    return _clip("loop.gif", codec="gif", pixel_format="rgb8")


def _pillow_gif() -> Files:
    frames = [Image.fromarray(picture(number, *SIZE)).quantize(64) for number in range(6)]
    return {"pillow.gif": _saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40, loop=0)}


# --- stills ----------------------------------------------------------------------------------------------------------


def _saved(image: Any, kind: str, **how: Any) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **how)
    return packed.getvalue()


def _still(name: str, kind: str, mode: str, **how: Any) -> Files:
    return {name: _saved(_image(mode), kind, **how)}


def _image(mode: str, number: int = 5) -> Any:
    rgb = picture(number, *SIZE)
    if mode == "I;16":
        return Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(rgb[..., 0].astype(np.float32) / 255)
    image = Image.fromarray(rgb)
    if mode == "RGBA":
        image.putalpha(image.convert("L"))
        return image
    return image.quantize(64) if mode == "P" else image.convert(mode)


def _pages(name: str, kind: str, mode: str, **how: Any) -> Files:
    images = [_image(mode, number) for number in range(3)]
    return {name: _saved(images[0], kind, save_all=True, append_images=images[1:], **how)}


STILLS: Mapping[str, Make] = {
    "rgb.png": partial(_still, "rgb.png", "PNG", "RGB"),
    "rgba.png": partial(_still, "rgba.png", "PNG", "RGBA"),
    "palette.png": partial(_still, "palette.png", "PNG", "P"),
    "deep.png": partial(_still, "deep.png", "PNG", "I;16"),
    "bits.png": partial(_still, "bits.png", "PNG", "1"),
    "grey.jpg": partial(_still, "grey.jpg", "JPEG", "L"),
    "progressive.jpg": partial(_still, "progressive.jpg", "JPEG", "RGB", progressive=True),
    "cmyk.jpg": partial(_still, "cmyk.jpg", "JPEG", "CMYK"),
    "rgb.bmp": partial(_still, "rgb.bmp", "BMP", "RGB"),
    "palette.bmp": partial(_still, "palette.bmp", "BMP", "P"),
    "raw.tif": partial(_still, "raw.tif", "TIFF", "RGB"),
    "lzw.tif": partial(_still, "lzw.tif", "TIFF", "L", compression="tiff_lzw"),
    "deflate.tif": partial(_still, "deflate.tif", "TIFF", "I;16", compression="tiff_adobe_deflate"),
    "float.tif": partial(_still, "float.tif", "TIFF", "F"),
    "turned.tif": partial(_still, "turned.tif", "TIFF", "L", tiffinfo={274: 6}),
    "pages.tif": partial(_pages, "pages.tif", "TIFF", "L"),
    "deep-pages.tif": partial(_pages, "deep-pages.tif", "TIFF", "I;16"),
    "lossy.webp": partial(_still, "lossy.webp", "WEBP", "RGB", quality=80),
    "moving.webp": partial(_pages, "moving.webp", "WEBP", "RGB", lossless=True, duration=40),
    "still.gif": partial(_still, "still.gif", "GIF", "P"),
    "grey.pgm": partial(_still, "grey.pgm", "PPM", "L"),
    "rgb.ppm": partial(_still, "rgb.ppm", "PPM", "RGB"),
}
REAL_STILLS = (
    "aorta_stills/sample1_1.jpg",
    "carotid_ccaui/images/202201121752220024VAS_slice_599.png",
    "devices_itkpocus/interson-image.jpg",
)


def _folder() -> Files:
    files = {f"{number}.png": _saved(Image.fromarray(picture(number, *SIZE)), "PNG") for number in range(4)}
    return {**files, **_still("4.jpg", "JPEG", "RGB"), **_still("5.tif", "TIFF", "I;16"), "notes.txt": b"no picture"}


# --- DICOM -----------------------------------------------------------------------------------------------------------

COUNT = 3


def _colour() -> list[NDArray[np.uint8]]:
    return [picture(number, *SIZE) for number in range(COUNT)]


def _grey(dtype: Any = np.uint8) -> list[NDArray[Any]]:
    return [frame[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1) for frame in _colour()]


def _region() -> Dataset:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = SIZE[0] - 1, SIZE[1] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.1
    return region


CLOCK: dict[str, Any] = {"FrameTime": "40", "FrameIncrementPointer": 0x00181063}
VECTOR: dict[str, Any] = {"FrameTimeVector": ["0", "40", "41"], "FrameIncrementPointer": 0x00181065}


def _written(dataset: FileDataset, **how: Any) -> Files:
    packed = io.BytesIO()
    pydicom.dcmwrite(packed, dataset, **how)
    return {"a.dcm": packed.getvalue()}


def _plain(frames: list[NDArray[Any]], syntax: str = "", **elements: Any) -> Files:
    dataset = dicom_dataset(frames, **elements)
    if syntax == ExplicitVRBigEndian:
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        return _written(dataset, little_endian=False, implicit_vr=False, force_encoding=True)
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax:
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return _written(dataset, enforce_file_format=True)


def _packed(syntax: str, frames: list[bytes], *, table: bool = True, **elements: Any) -> Files:
    dataset = dicom_dataset(_colour(), **elements)
    with tempfile.TemporaryDirectory() as folder:
        path = save_packed(dataset, Path(folder) / "a.dcm", syntax, frames, table=table)
        return {path.name: path.read_bytes()}


def _jpegs(*, table: bool) -> Files:
    frames = [_saved(Image.fromarray(frame), "JPEG", quality=90) for frame in _colour()]
    frames = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    return _packed(JPEGBaseline8Bit, frames, table=table, PhotometricInterpretation="YBR_FULL_422", **CLOCK)


def _video() -> Files:
    (clip,) = _clip("clip.mp4", count=COUNT).values()
    return _packed(MPEG4HP41, [clip + b"\0" * (len(clip) % 2)], PhotometricInterpretation="YBR_PARTIAL_420", **CLOCK)


def _palette() -> Files:
    table = np.arange(256, dtype=np.uint16) * 257
    tables: dict[str, Any] = {
        f"{colour}PaletteColorLookupTable{what}": value
        for colour in ("Red", "Green", "Blue")
        for what, value in (("Descriptor", [256, 0, 16]), ("Data", table.tobytes()))
    }
    return _plain(_grey(), PhotometricInterpretation="PALETTE COLOR", **tables)


def _bare() -> Files:
    """Without preamble and meta information, as old software writes it."""
    dataset = dicom_dataset(_grey())
    whole = Dataset()
    whole.update(dataset)
    packed = io.BytesIO()
    pydicom.dcmwrite(packed, whole, implicit_vr=True, little_endian=True, force_encoding=True)
    return {"a.dcm": packed.getvalue()}


WINDOW: dict[str, Any] = {
    "WindowCenter": "30000",
    "WindowWidth": "40000",
    "VOILUTFunction": "LINEAR",
    "RescaleSlope": "1",
}
WINDOW |= {"RescaleIntercept": "0"}
DICOM: Mapping[str, Make] = {
    "regions": lambda: _plain(_colour(), SequenceOfUltrasoundRegions=[_region()], **CLOCK),
    "vector": lambda: _plain(_grey(), PixelAspectRatio=["4", "3"], **VECTOR),
    "still": lambda: _plain(_colour()[:1], PixelSpacing=["0.2", "0.2"], NumberOfFrames=None),
    "deep": lambda: _plain(_grey(np.uint16), **WINDOW),
    "signed": lambda: _plain(_grey(np.int16), **{**WINDOW, "WindowCenter": "100", "WindowWidth": "200"}),
    "implicit": lambda: _plain(_colour(), ImplicitVRLittleEndian, **CLOCK),
    "big-endian": lambda: _plain(_colour(), ExplicitVRBigEndian),
    "deflated": lambda: _plain(_colour(), DeflatedExplicitVRLittleEndian),
    "rle": lambda: _plain(_colour(), RLELossless),
    "j2k": lambda: _plain(_colour(), JPEG2000Lossless),
    "jpeg-ls": lambda: _plain(_grey(), JPEGLSLossless),
    "jpeg": lambda: _jpegs(table=True),
    "jpeg-no-table": lambda: _jpegs(table=False),
    "video": _video,
    "palette": _palette,
    "planes": lambda: _plain([np.ascontiguousarray(f) for f in _colour()], PlanarConfiguration=1),
    "bare": _bare,
}
REAL_DICOM = (
    "dicom_ultrasound/mf10_palette_rle_echo_dcm4che.dcm",
    "dicom_ultrasound/mf30_ybr422_jpeg_sonosite_pydicom.dcm",
    "dicom_ultrasound/sf_j2k_lossless_ge_noregion_pydicom.dcm",
    "dicom_ultrasound/sf_mono2_jpegls_philips_noregion_fodicom.dcm",
    "dicom_ultrasound/sf_ybrfull_rle_acuson_carotid_regions_dcm4che.dcm",
    "devices_itkpocus/sonoque_anechoic-3mm-3mm.dcm",
)


# --- all of them -----------------------------------------------------------------------------------------------------


def _real(path: str) -> Files | None:
    file = DATA / path
    return {file.name: file.read_bytes()} if file.is_file() else None


def _real_seeds(kind: str, paths: tuple[str, ...]) -> tuple[Seed, ...]:
    return tuple(Seed(kind, Path(path).name, partial(_real, path)) for path in paths)


def _seeds(kind: str, made: Mapping[str, Make]) -> tuple[Seed, ...]:
    return tuple(Seed(kind, name, make) for name, make in made.items())


SEEDS: Mapping[str, tuple[Seed, ...]] = {
    "video": (
        *_seeds("video", {name: partial(_clip, name, **how) for name, how in CLIPS.items()}),
        *_real_seeds("video", REAL_CLIPS),
    ),
    "gif": (
        *_seeds("gif", {"loop.gif": _gif, "pillow.gif": _pillow_gif}),
        *_real_seeds("gif", ("clips_lung_pocovid/Cov-Atlas+(44).gif",)),
    ),
    "still": (*_seeds("still", STILLS), *_real_seeds("still", REAL_STILLS)),
    "folder": _seeds("folder", {"mixed": _folder}),
    "dicom": (*_seeds("dicom", DICOM), *_real_seeds("dicom", REAL_DICOM)),
    "model": _seeds("model", seeds_kept.MODELS),
    "settings": _seeds("settings", {"settings": seeds_kept.settings_file}),
    "layouts": _seeds("layouts", {"layouts": seeds_kept.layouts_file}),
    "cache": _seeds("cache", {"clip": seeds_kept.cache_files}),
}
