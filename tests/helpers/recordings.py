"""Small recordings for the tests: each frame carries its own number in its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

BITS = 8
BLOCK_PX = 16
TIFF_TAGS = {
    **{"NewSubfileType": 254, "ImageWidth": 256, "ImageLength": 257, "BitsPerSample": 258, "Compression": 259},
    **{"PhotometricInterpretation": 262, "StripOffsets": 273, "Orientation": 274, "SamplesPerPixel": 277},
    **{"RowsPerStrip": 278, "StripByteCounts": 279, "TileWidth": 322, "TileLength": 323, "TileOffsets": 324},
    **{"TileByteCounts": 325, "SampleFormat": 339},
}


def picture(number: int, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """RGB with the number as black and white blocks in the top rows, over a grey scene that moves."""
    y, x = np.mgrid[:height, :width]
    grey = 90 + 50 * np.sin((x + 3 * number) / 11) * np.cos((y - 2 * number) / 7)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rgb[height // 2 :, : width // 4] *= (1.0, 0.5, 0.2)
    for bit in range(BITS):
        rgb[:BLOCK_PX, bit * BLOCK_PX : (bit + 1) * BLOCK_PX] = 235 if number >> bit & 1 else 20
    return np.rint(rgb).astype(np.uint8)


def number_in(pixels: NDArray[np.uint8]) -> int:
    """The number that ``picture`` wrote."""
    blocks = [pixels[4:12, bit * BLOCK_PX + 4 : (bit + 1) * BLOCK_PX - 4].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, level in enumerate(blocks) if level > 128)


def write_clip(
    path: Path,
    codec: str = "libx264",
    count: int = 40,
    *,
    size: tuple[int, int] = (160, 120),
    pixel_format: str = "yuv420p",
    rate: int = 25,
    ticks: Sequence[int] | None = None,
    key_every: int = 12,
    aspect: Fraction | None = None,
    display_matrix: dict[str, Any] | None = None,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Encode ``count`` numbered pictures; ``ticks`` are their times in units of 1 / rate."""
    with av.open(str(path), "w", format=format, container_options=container_options or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.gop_size = key_every
        stream.codec_context.time_base = Fraction(1, rate)
        if pixel_format.startswith(("gray", "yuvj")):
            stream.codec_context.color_range = ColorRange.JPEG
        if codec in ("mpeg1video", "mpeg2video", "mpeg4", "wmv2", "libvpx", "libvpx-vp9"):
            stream.bit_rate = 2_000_000
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if display_matrix:
            stream.set_display_rotation(**display_matrix)
        for number in range(count):
            pixels = pictures[number] if pictures else picture(number, *size)
            frame = av.VideoFrame.from_ndarray(pixels, format="gray" if pixels.ndim == 2 else "rgb24")
            frame.pts = ticks[number] if ticks else number
            frame.time_base = Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_tiff(path: Path, pages: Sequence[NDArray[Any]], **tags: int) -> Path:
    """An uncompressed TIFF in the byte order of its samples, with tags that Pillow would not write."""
    order = "big" if pages[0].dtype.byteorder == ">" else "little"
    content = bytearray((b"MM\0*" if order == "big" else b"II*\0") + bytes(4))
    link = 4
    for page in pages:
        fields = {
            "ImageWidth": page.shape[1],
            "ImageLength": page.shape[0],
            "BitsPerSample": 8 * page.dtype.itemsize,
            "Compression": 1,
            "PhotometricInterpretation": 1,
            "StripOffsets": len(content),
            "SamplesPerPixel": 1,
            "RowsPerStrip": page.shape[0],
            "StripByteCounts": page.nbytes,
            "SampleFormat": {"u": 1, "i": 2, "f": 3}[page.dtype.kind],
            **tags,
        }
        content += page.tobytes() + bytes(page.nbytes % 2)
        content[link : link + 4] = len(content).to_bytes(4, order)
        content += len(fields).to_bytes(2, order)
        for tag, value in sorted((TIFF_TAGS[name], value) for name, value in fields.items()):
            content += b"".join(n.to_bytes(size, order) for n, size in ((tag, 2), (4, 2), (1, 4), (value, 4)))
        link = len(content)
        content += bytes(4)
    path.write_bytes(content)
    return path


def dicom_dataset(frames: Sequence[NDArray[Any]], **elements: Any) -> FileDataset:
    """An uncompressed ultrasound cine (or still) of these frames; ``elements`` are set, or removed where None."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["usviewer"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    stack = np.stack(frames)
    bits = 8 * stack.dtype.itemsize
    values: dict[str, Any] = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientName": "Secret^Name",
        "PatientID": "S-1234",
        "Modality": "US",
        "SamplesPerPixel": 3 if stack.ndim == 4 else 1,
        "PhotometricInterpretation": "RGB" if stack.ndim == 4 else "MONOCHROME2",
        "PlanarConfiguration": 0 if stack.ndim == 4 else None,
        "NumberOfFrames": len(frames),
        "Rows": stack.shape[1],
        "Columns": stack.shape[2],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(np.issubdtype(stack.dtype, np.signedinteger)),
        "PixelData": stack.tobytes() + b"\0" * (stack.nbytes % 2),
        **elements,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def save_packed(dataset: FileDataset, path: Path, syntax: str, frames: Sequence[bytes], *, table: bool = True) -> Path:
    """Save with already packed frames, with or without an offset table."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(list(frames), has_bot=table)
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path
