"""DICOM pixel data, one frame at a time, as 8-bit RGB.

pydicom decodes to the stored values (``raw``) and says which colour space they are in; the one conversion to RGB is
here, so that nothing is converted twice and nothing not at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any, BinaryIO

import cv2
import numpy as np
from pydicom import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets, parse_fragments
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit

from usviewer.errors import UserError
from usviewer.frame import Pixels

PIXEL_DATA = 0x7FE00010
# Faster than pydicom's first choice (gdcm), equal to the bit, silent, and strict with pictures that are cut off.
PLUGINS = {str(JPEGBaseline8Bit): "pillow", str(JPEG2000Lossless): "pylibjpeg", str(JPEG2000): "pylibjpeg"}
YBR = ("YBR_FULL", "YBR_FULL_422")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom and its decoders: what matters of their words becomes a note or a ``UserError``."""
    _silence_gdcm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _silence_gdcm() -> None:
    import gdcm  # a large library: loaded with the first DICOM file

    for switch in ("DebugOff", "WarningOff", "ErrorOff"):
        getattr(gdcm.Trace, switch)()


class PixelReader:
    """The frames of one dataset. ``data`` stands where the value of Pixel Data begins, at ``offset``."""

    def __init__(self, dataset: Dataset, data: BinaryIO, offset: int, length: int | None, name: str) -> None:
        self._dataset, self._data, self._offset, self._name = dataset, data, offset, name
        self._decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit and int(dataset.BitsStored) > 8:
            raise NotImplementedError("12-bit JPEG: no decoder with a permissive licence")
        self._plugin = PLUGINS.get(str(dataset.file_meta.TransferSyntaxUID), "")
        self._options = as_pixel_options(dataset, transfer_syntax_uid=dataset.file_meta.TransferSyntaxUID)
        self._options["pixel_keyword"] = "PixelData"
        self._options["pixel_vr"] = "OB" if int(dataset.BitsAllocated) <= 8 else "OW"
        self.declared_frames = int(self._options["number_of_frames"])
        self.frame_count = self._count(length)
        self._options["number_of_frames"] = self.frame_count
        self._table = value_table(dataset)

    def _count(self, length: int | None) -> int:
        """Frames that are really there: by the length of plain data, by the offset table or the fragments of packed."""
        if self._decoder.is_encapsulated:
            self._data.seek(self._offset)
            offsets = parse_basic_offsets(self._data)
            fragments, _ = parse_fragments(self._data)
            return len(offsets) or min(fragments, self.declared_frames)
        samples, bits = int(self._dataset.SamplesPerPixel), int(self._dataset.BitsAllocated)
        frame_bytes = ceil(int(self._dataset.Rows) * int(self._dataset.Columns) * samples * bits / 8)
        if self._dataset.PhotometricInterpretation == "YBR_FULL_422":
            frame_bytes = frame_bytes // 3 * 2
        return min((length or 0) // frame_bytes, self.declared_frames)

    def pixels(self, index: int) -> Pixels:
        """Frame ``index`` as RGB (height, width, 3); ``UserError`` if it does not decode."""
        self._data.seek(self._offset)
        try:
            with quiet():
                values, facts = self._decoder.as_array(
                    self._data, index=index, raw=True, decoding_plugin=self._plugin, **self._options
                )
                return self._to_rgb(values, str(facts["photometric_interpretation"]))
        except Exception as error:  # every plugin of pydicom raises its own kinds
            raise UserError(
                f"Frame {index} of {self._name} cannot be decoded", "The file is damaged or cut off: copy it again"
            ) from error

    def _to_rgb(self, values: np.ndarray[Any, Any], colour: str) -> Pixels:
        if values.ndim == 2 and self._table is not None:
            codes = values.view(f"u{values.dtype.itemsize}")
            return np.ascontiguousarray(self._table[codes])
        if values.ndim == 2:
            raise ValueError(f"one sample a pixel, but {colour}")
        eight_bit = to_8_bit(values, int(self._dataset.BitsStored))
        if colour in YBR:
            return ybr_to_rgb(eight_bit)
        if colour not in ("RGB", "YBR_ICT", "YBR_RCT"):
            raise ValueError(f"unknown colours: {colour}")
        return eight_bit


def ybr_to_rgb(ybr: Pixels) -> Pixels:
    """JPEG's full-range YCbCr as RGB (PS3.3 C.7.6.3.1.2), within one level of the exact formula."""
    rgb = cv2.cvtColor(np.ascontiguousarray(ybr[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return np.asarray(rgb, dtype=np.uint8)


def to_8_bit(values: np.ndarray[Any, Any], bits_stored: int) -> Pixels:
    """Unsigned colour samples of ``bits_stored`` bits as 8 bits."""
    if values.dtype == np.uint8 and bits_stored == 8:
        return values
    scaled = np.rint(values.astype(np.float64) * (255.0 / (2**bits_stored - 1)))
    pixels: Pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    return pixels


def value_table(dataset: Dataset) -> Pixels | None:
    """What each stored value of a palette or grey picture looks like: (values, 3), 8-bit RGB.

    Palette: its colours. Grey: modality and VOI transformation where the file has them (PS3.3 C.11.1, C.11.2), else
    the range of Bits Stored; MONOCHROME1 is inverted. Negative values follow the positive ones, as they are stored.
    None for pictures of three samples a pixel.
    """
    if int(dataset.SamplesPerPixel) != 1:
        return None
    bits, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if bits not in (8, 16):
        raise UserError(f"Pictures of {bits} bits a pixel are not supported", "Export it with 8 or 16 bits")
    codes: np.ndarray[Any, Any] = np.arange(2**bits, dtype=f"u{bits // 8}")
    with quiet():
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            return _palette(dataset, codes)
        values: np.ndarray[Any, Any] = codes.view(f"i{bits // 8}") if dataset.get("PixelRepresentation") else codes
        grey = _grey(dataset, values, stored)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[:, None], 3, axis=1)


def _palette(dataset: Dataset, codes: np.ndarray[Any, Any]) -> Pixels:
    colours = np.asarray(apply_color_lut(codes[None], dataset))[0, :, :3]
    if colours.dtype == np.uint8:
        return np.ascontiguousarray(colours)
    # Some 16-bit palettes hold 8-bit values: their brightest colour then tells.
    shift = 8 if int(colours.max(initial=0)) > 255 else 0
    return (colours >> shift).astype(np.uint8)


def _grey(dataset: Dataset, values: np.ndarray[Any, Any], bits_stored: int) -> Pixels:
    windowed = "VOILUTSequence" in dataset or ("WindowCenter" in dataset and "WindowWidth" in dataset)
    if windowed or "ModalityLUTSequence" in dataset:
        shown = np.asarray(apply_modality_lut(values, dataset), dtype=np.float64)
        if windowed:
            shown = np.asarray(
                apply_voi_lut(np.asarray(apply_modality_lut(values, dataset)), dataset), dtype=np.float64
            )
        low, high = _shown_range(dataset)
    else:
        shown = values.astype(np.float64)
        low = -float(2 ** (bits_stored - 1)) if np.issubdtype(values.dtype, np.signedinteger) else 0.0
        high = low + 2**bits_stored - 1
    grey: Pixels = np.clip(np.rint((shown - low) * (255.0 / max(high - low, 1e-12))), 0, 255).astype(np.uint8)
    return grey


def _shown_range(dataset: Dataset) -> tuple[float, float]:
    """Black and white after the transformation: a window saturates at them, a table has its own bits."""
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        if keyword in dataset and dataset[keyword].value:
            return 0.0, float(2 ** int(dataset[keyword].value[0].LUTDescriptor[2]) - 1)
    ends = np.asarray(apply_voi_lut(np.array([-1e12, 1e12]), dataset), dtype=np.float64)
    return float(ends[0]), float(ends[1])


def video_stream(data: BinaryIO, offset: int) -> bytes:
    """The clip inside a dataset: all fragments joined, the offset table left out (PS3.5 A.4)."""
    data.seek(offset)
    parse_basic_offsets(data)
    return b"".join(generate_fragments(data))
