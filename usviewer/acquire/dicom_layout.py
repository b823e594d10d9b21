"""How the pixels of a dataset lie: its description, checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pydicom import Dataset

from usviewer.acquire.dicom_values import is_stated, number, text, whole
from usviewer.errors import UserError

GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
YBR = ("YBR_FULL", "YBR_FULL_422")
COLOURS = ("RGB", *YBR, "YBR_ICT", "YBR_RCT")
# Two pixels share their colour difference: 2 samples a pixel on average instead of 3 (PS3.3 C.7.6.3.1.2).
HALF_WIDTH = "YBR_FULL_422"
BITS = (8, 16, 32)
# One decoded frame as it is stored; decoders need some times of it for a moment. 64 megapixels of 8-bit colour fit.
FRAME_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where the samples of a frame lie and what they mean. ``frames`` is what the file states, None: nothing sensible.

    ``high_bit`` is the bit of a sample's container that its highest bit lies at.
    """

    rows: int
    columns: int
    samples: int
    planar: int
    colour: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    frames: int | None

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.rows * self.columns

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame without packing."""
        samples = 2 if self.colour == HALF_WIDTH else self.samples
        return self.pixels * samples * ceil(self.bits_allocated / 8)


def declared_frames(dataset: Dataset) -> int | None:
    """Number of Frames: 1 where absent; None where it is stated but is not a number above 0."""
    if not is_stated(dataset, "NumberOfFrames"):
        return 1
    count = number(dataset, "NumberOfFrames")
    if count is not None and 1 <= count < 2**31:
        return int(count)
    return None


def read_pixel_layout(dataset: Dataset, name: str) -> PixelLayout:
    """Read the description of the pixels. Raises ``UserError`` for one that makes no sense."""
    samples = whole(dataset, "SamplesPerPixel")
    colour = text(dataset, "PhotometricInterpretation").upper()
    # Both are required, but a file that lacks one of them can be understood by the other.
    if not samples:
        samples = 3 if colour in COLOURS else 1
    if not colour:
        colour = "RGB" if samples == 3 else GREY[1]
    bits, stored = whole(dataset, "BitsAllocated"), whole(dataset, "BitsStored")
    if bits is None or stored is None or not 1 <= stored <= bits:
        raise _damaged(name, f"Bits Allocated {_said(bits)}, Bits Stored {_said(stored)}")
    if bits not in BITS or (samples == 1 and bits == 32):
        raise UserError(f"Pictures of {bits} bits a pixel are not supported", "Export it with 8 or 16 bits")
    if samples not in (1, 3):
        raise _damaged(name, f"{samples} samples a pixel")
    planar = whole(dataset, "PlanarConfiguration") or 0
    if planar not in (0, 1):
        raise _damaged(name, f"Planar Configuration {planar}")
    layout = PixelLayout(
        rows=whole(dataset, "Rows") or 0,
        columns=whole(dataset, "Columns") or 0,
        samples=samples,
        planar=planar,
        colour=colour,
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=_high_bit(whole(dataset, "HighBit"), bits, stored),
        signed=samples == 1 and whole(dataset, "PixelRepresentation") == 1,
        frames=declared_frames(dataset),
    )
    if layout.frame_bytes > FRAME_BYTES:
        raise UserError(
            f"A frame of {name} takes {layout.frame_bytes / 1e6:.0f} MB: too large to open", "Export it smaller"
        )
    return layout


def check_colour(layout: PixelLayout, name: str) -> None:
    """Raise ``UserError`` for colours that do not fit the number of samples."""
    known = {1: (*GREY, PALETTE), 3: COLOURS}
    if layout.colour not in known[layout.samples]:
        raise _damaged(name, f"{layout.samples} samples a pixel, but {layout.colour}")


def _high_bit(stated: int | None, bits: int, stored: int) -> int:
    """Samples lie at the low end of their container (PS3.5 8.1.1); in old files they may lie above it."""
    if stated is not None and stored <= stated < bits:
        return stated
    return stored - 1


def _damaged(name: str, what: str) -> UserError:
    return UserError(f"The description of the pixels in {name} is damaged ({what})", "Copy or export it again")


def _said(value: int | None) -> str:
    if value is None:
        return "missing"
    return str(value)
