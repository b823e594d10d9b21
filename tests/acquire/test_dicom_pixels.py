"""Header and data disagree, old byte orders, odd layouts: the picture is what the data hold, or it is refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.processing import convert_color_space
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.helpers.recordings import dicom_dataset, number_in, picture, save_packed, write_clip
from usviewer.acquire.dicom import DicomSource
from usviewer.acquire.dicom_values import quiet
from usviewer.errors import UserError

COLOUR = [picture(number) for number in range(3)]
GREY = [frame[..., 0].copy() for frame in COLOUR]
DEEP = [frame.astype(np.uint16) * 16 for frame in GREY]
TWELVE = {"BitsStored": 12, "HighBit": 11}


def shown(path: Path) -> list[NDArray[np.uint8]]:
    with DicomSource(path) as source:
        return [frame.pixels for frame in source]


def written(dataset: Dataset, path: Path, *raw: tuple[int, str, bytes]) -> Path:
    """Save, with elements whose bytes no writer would accept."""
    for tag, vr, value in raw:
        padded = value + b" " * (len(value) % 2)
        dataset[Tag(tag)] = RawDataElement(Tag(tag), vr, len(padded), padded, 0, False, True)
    with quiet():  # pydicom remarks on them
        dataset.save_as(path, enforce_file_format=True)
    return path


def big_endian(dataset: Dataset, path: Path, data: bytes, vr: str) -> Path:
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = data
    dataset["PixelData"].VR = vr
    dcmwrite(path, dataset, little_endian=False, implicit_vr=False, force_encoding=True)
    return path


def swapped(data: bytes) -> bytes:
    return np.frombuffer(data + b"\0" * (len(data) % 2), "u1").reshape(-1, 2)[:, ::-1].tobytes()


def grey_of(frames: list[NDArray[Any]]) -> list[NDArray[Any]]:
    return [np.repeat(frame[..., None], 3, axis=2) for frame in frames]


def same(path: Path, frames: list[NDArray[Any]], within: int = 0) -> bool:
    found = shown(path)
    assert len(found) == len(frames)
    return all(np.abs(a.astype(int) - b).max() <= within for a, b in zip(found, frames, strict=True))


def test_big_endian_words_are_the_same_picture(tmp_path: Path) -> None:
    stack = np.stack(DEEP)
    path = big_endian(dicom_dataset(DEEP, **TWELVE), tmp_path / "a.dcm", stack.astype(">u2").tobytes(), "OW")
    plain = dicom_dataset(DEEP, **TWELVE)
    plain.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    assert same(path, shown(tmp_path / "b.dcm"))
    inverted = dicom_dataset(DEEP, **TWELVE, PhotometricInterpretation="MONOCHROME1")
    path = big_endian(inverted, tmp_path / "c.dcm", (4095 - stack).astype(">u2").tobytes(), "OW")
    assert same(path, shown(tmp_path / "b.dcm"))


def test_big_endian_signed_words_with_a_window(tmp_path: Path) -> None:
    signed = [frame.astype(np.int16) - 2048 for frame in DEEP]
    window = {**TWELVE, "WindowCenter": -1000, "WindowWidth": 800}
    dicom_dataset(signed, **window).save_as(tmp_path / "b.dcm", enforce_file_format=True)
    data = np.stack(signed).astype(">i2").tobytes()
    assert same(big_endian(dicom_dataset(signed, **window), tmp_path / "a.dcm", data, "OW"), shown(tmp_path / "b.dcm"))


@pytest.mark.parametrize("size", [(160, 120), (45, 33)])
def test_big_endian_bytes_are_swapped_in_words_only(tmp_path: Path, size: tuple[int, int]) -> None:
    colour = [picture(number, 160, 120)[: size[1], : size[0]].copy() for number in range(3)]
    grey = [frame[..., 0].copy() for frame in colour]
    for frames in (grey, colour):
        data = np.stack(frames).tobytes()
        truth = frames if frames[0].ndim == 3 else grey_of(frames)
        path = big_endian(dicom_dataset(frames), tmp_path / "ow.dcm", swapped(data), "OW")
        assert same(path, truth)
        path = big_endian(dicom_dataset(frames), tmp_path / "ob.dcm", data + b"\0" * (len(data) % 2), "OB")
        assert same(path, truth)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_big_endian_palette_has_its_colours(tmp_path: Path, bits: int) -> None:
    ramp = np.arange(256)
    colours = np.stack([ramp, 255 - ramp, (ramp * 7) % 256], axis=1)
    dataset = dicom_dataset(GREY, PhotometricInterpretation="PALETTE COLOR")
    for channel, name in enumerate(("Red", "Green", "Blue")):
        entries = colours[:, channel] * (257 if bits == 16 else 1)
        data = entries.astype(">u2").tobytes() if bits == 16 else swapped(entries.astype("u1").tobytes())
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        dataset[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(dataset, f"{name}PaletteColorLookupTableData", data)
        dataset[f"{name}PaletteColorLookupTableData"].VR = "OW"
    path = big_endian(dataset, tmp_path / "a.dcm", np.stack(GREY).tobytes(), "OB")
    assert same(path, [colours[frame] for frame in GREY])


def test_gdcm_reads_the_same_big_endian_values(tmp_path: Path) -> None:
    import gdcm

    data = np.stack(DEEP).astype(">u2").tobytes()
    path = big_endian(dicom_dataset(DEEP, **TWELVE), tmp_path / "a.dcm", data, "OW")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    values = np.frombuffer(reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape"), "<u2")
    assert same(path, grey_of(list(np.rint(values.reshape(3, 120, 160) * (255 / 4095)))))


def test_the_length_tells_whether_colours_are_at_half_the_width(tmp_path: Path) -> None:
    ybr = [np.asarray(convert_color_space(frame, "RGB", "YBR_FULL"), dtype=np.uint8) for frame in COLOUR]
    full = dicom_dataset(ybr, PhotometricInterpretation="YBR_FULL_422")
    full.save_as(tmp_path / "full.dcm", enforce_file_format=True)
    assert same(tmp_path / "full.dcm", COLOUR, within=3)

    half = dcmread(str(get_testdata_file("SC_ybr_full_422_uncompressed.dcm")))
    half.save_as(tmp_path / "half.dcm")
    truth = shown(tmp_path / "half.dcm")
    half.PhotometricInterpretation = "YBR_FULL"
    half.save_as(tmp_path / "called_full.dcm")
    assert same(tmp_path / "called_full.dcm", truth)


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", quality=95, **options)
    return packed.getvalue()


def bare(packed: bytes) -> bytes:
    """Without the segments that say what the colours are."""
    at, kept = 2, packed[:2]
    while packed[at + 1] != 0xDA:
        size = 2 + int.from_bytes(packed[at + 2 : at + 4], "big")
        kept += b"" if 0xE0 <= packed[at + 1] <= 0xEF else packed[at : at + size]
        at += size
    return kept + packed[at:]


ADOBE_YCC = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"


@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "MONOCHROME2"])
@pytest.mark.parametrize("marker", [None, "adobe", "jfif"])
def test_jpeg_with_colours_at_half_the_width_is_never_rgb(tmp_path: Path, stated: str, marker: str | None) -> None:
    packed = [jpeg(frame, subsampling="4:2:0") for frame in COLOUR]
    if marker != "jfif":
        packed = [bare(frame) for frame in packed]
    if marker == "adobe":
        packed = [frame[:2] + ADOBE_YCC + frame[2:] for frame in packed]
    truth = [np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")) for frame in packed]
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation=stated, PlanarConfiguration=1)
    assert same(save_packed(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit, packed), truth, within=2)


def test_samples_of_a_jpeg_are_those_of_its_stream(tmp_path: Path) -> None:
    packed = [jpeg(frame) for frame in GREY]
    truth = [np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")) for frame in packed]
    stated = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    deep = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    for elements in (stated, deep, {"SamplesPerPixel": None}, {"SamplesPerPixel": 0}):
        path = save_packed(dicom_dataset(GREY, **elements), tmp_path / "a.dcm", JPEGBaseline8Bit, packed)
        assert same(path, truth)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_packed_colours_do_not_follow_planar_configuration(tmp_path: Path, syntax: str) -> None:
    dataset = dicom_dataset(COLOUR)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.PlanarConfiguration = 1
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert same(tmp_path / "a.dcm", COLOUR)


def test_lossless_jpeg_does_not_follow_planar_configuration(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("SC_rgb_jpeg_gdcm.dcm")))
    dataset = dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    dataset.PlanarConfiguration = 1
    dataset.save_as(tmp_path / "a.dcm")
    assert same(tmp_path / "a.dcm", shown(path))


def test_rle_that_is_called_something_else_keeps_its_colours(tmp_path: Path) -> None:
    ybr = [np.asarray(convert_color_space(frame, "RGB", "YBR_FULL"), dtype=np.uint8) for frame in COLOUR]
    for frames, stated in ((ybr, "YBR_FULL_422"), (COLOUR, "YBR_RCT"), (COLOUR, "RGB")):
        dataset = dicom_dataset(frames)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.PhotometricInterpretation = stated
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        assert same(tmp_path / "a.dcm", COLOUR, within=3)
    dataset.PhotometricInterpretation = "MONOCHROME2"  # three samples: of which colours, nobody can tell
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match="3 samples a pixel, but MONOCHROME2"):
        DicomSource(tmp_path / "a.dcm")


def test_a_panic_of_the_rle_decoder_costs_its_frame(tmp_path: Path) -> None:
    """It is written in Rust, and what it raises then is no ``Exception``."""
    dataset = dicom_dataset(DEEP, **TWELVE)
    dataset.compress(RLELossless, generate_instance_uid=False)
    packed = list(generate_frames(dataset.PixelData, number_of_frames=3))
    segments, first, second = struct.unpack("<3L", packed[1][:12])
    head = struct.pack("<3L", segments, first, second + 2) + packed[1][12:64]
    packed[1] = head + b"\x81\0" + packed[1][64:]  # a run more than the first segment has room for
    save_packed(dataset, tmp_path / "a.dcm", RLELossless, packed)
    with DicomSource(tmp_path / "a.dcm") as source:
        assert [number_in(frame.pixels) for frame in source] == [0, 2]
        assert source.info.notes == ("Damaged, left out: frame 1", "The file does not say the frame rate")


def table_of(offsets: list[int]) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack(f"<L{len(offsets)}L", 4 * len(offsets), *offsets)


@pytest.mark.parametrize("offsets", [[0], [0, 8], [4, 9, 12], [0, 0, 0], [10**9] * 3, [0] * 9])
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("declared", [3, 1, 7])
def test_a_wrong_offset_table_costs_no_frame(tmp_path: Path, offsets: list[int], pieces: int, declared: int) -> None:
    packed = [jpeg(frame) for frame in COLOUR]
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL_422", NumberOfFrames=declared)
    save_packed(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit, packed)
    fragments = encapsulate(packed, fragments_per_frame=pieces, has_bot=False)[8:]
    dataset.PixelData = table_of(offsets) + fragments
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with DicomSource(tmp_path / "a.dcm") as source:
        assert [number_in(frame.pixels) for frame in source] == [0, 1, 2]
        note = () if declared == 3 else (f"The file says that it has {declared} frames; 3 were found",)
        assert source.info.notes[: len(note)] == note


def test_a_frame_without_its_head_does_not_shift_the_others(tmp_path: Path) -> None:
    packed = [jpeg(frame) for frame in COLOUR]
    packed[1] = bytes(len(packed[1]))
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL_422")
    for table in (True, False):
        with DicomSource(save_packed(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit, packed, table=table)) as source:
            assert [(frame.key.index, number_in(frame.pixels)) for frame in source] == [(0, 0), (2, 2)]


@pytest.mark.parametrize("stated", [b"3 frames", b"", b"0", b"-3", b"3,0", b"many"])
def test_frames_are_counted_where_their_number_is_none(tmp_path: Path, stated: bytes) -> None:
    path = written(dicom_dataset(COLOUR), tmp_path / "a.dcm", (0x00280008, "IS", stated))
    assert same(path, COLOUR)
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL_422")
    save_packed(dataset, tmp_path / "b.dcm", JPEGBaseline8Bit, [jpeg(frame) for frame in COLOUR])
    path = written(dataset, tmp_path / "b.dcm", (0x00280008, "IS", stated))
    assert [number_in(pixels) for pixels in shown(path)] == [0, 1, 2]


def test_samples_follow_the_colours_where_their_number_is_none(tmp_path: Path) -> None:
    for number in (None, 0):
        assert same(written(dicom_dataset(COLOUR, SamplesPerPixel=number), tmp_path / "a.dcm"), COLOUR)
        assert same(written(dicom_dataset(GREY, SamplesPerPixel=number), tmp_path / "b.dcm"), grey_of(GREY))


def test_colours_without_planar_configuration_are_read_by_pixel(tmp_path: Path) -> None:
    assert same(written(dicom_dataset(COLOUR, PlanarConfiguration=None), tmp_path / "a.dcm"), COLOUR)
    empty = written(dicom_dataset(COLOUR, PlanarConfiguration=None), tmp_path / "b.dcm", (0x00280006, "US", b""))
    assert same(empty, COLOUR)


def test_unpacked_pixels_under_the_name_of_a_packing(tmp_path: Path) -> None:
    whole = dicom_dataset(COLOUR)
    whole.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    data = (tmp_path / "a.dcm").read_bytes()
    uid, new = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50"
    at = data.index(uid)
    head = data[: at - 2] + struct.pack("<H", len(new)) + new
    (tmp_path / "a.dcm").write_bytes(head + data[at + len(uid) :])
    assert same(tmp_path / "a.dcm", COLOUR)


def test_samples_at_the_high_end_of_their_container(tmp_path: Path) -> None:
    """In old files; High Bit is also wrong where samples lie at the low end: what is used of the container tells."""
    low = dicom_dataset(DEEP, **TWELVE)
    low.save_as(tmp_path / "low.dcm", enforce_file_format=True)
    high = dicom_dataset([frame << 4 for frame in DEEP], BitsStored=12, HighBit=15)
    high.save_as(tmp_path / "high.dcm", enforce_file_format=True)
    wrong = dicom_dataset(DEEP, BitsStored=12, HighBit=15)
    wrong.save_as(tmp_path / "wrong.dcm", enforce_file_format=True)
    truth = shown(tmp_path / "low.dcm")
    assert same(tmp_path / "high.dcm", truth) and same(tmp_path / "wrong.dcm", truth)


def test_few_bits_in_a_byte_fill_the_range(tmp_path: Path) -> None:
    frames = [frame >> 4 for frame in GREY]
    path = written(dicom_dataset(frames, BitsStored=4, HighBit=3), tmp_path / "a.dcm")
    assert same(path, grey_of([frame * 17 for frame in frames]))


@pytest.mark.parametrize("signed", [False, True])
def test_a_deep_file_with_shallow_values_is_not_black(tmp_path: Path, signed: bool) -> None:
    """And its frames share one range: a dark one stays dark."""
    frames = [
        GREY[0].astype(np.int16 if signed else np.uint16),
        (GREY[0] // 4).astype(np.int16 if signed else np.uint16),
    ]
    frames[0].flat[0] = 255
    path = written(dicom_dataset(frames), tmp_path / "a.dcm")
    assert same(path, grey_of([frame.astype(int) for frame in frames]))


def test_a_deep_file_that_uses_its_range_is_shown_over_it(tmp_path: Path) -> None:
    path = written(dicom_dataset([frame * 16 for frame in DEEP]), tmp_path / "a.dcm")
    assert same(path, grey_of([np.rint(frame * 16 * (255 / 65535)) for frame in DEEP]))


@pytest.mark.parametrize("number", range(7))
def test_every_video_packing_may_come_in_fragments(tmp_path: Path, number: int) -> None:
    clip = write_clip(tmp_path / "clip", "libx264", 8, format="mpegts", options={}).read_bytes()
    clip += b"\0" * (len(clip) % 2)
    pieces = [clip[:1000], clip[1000:5000], clip[5000:]]
    dataset = dicom_dataset(COLOUR, NumberOfFrames=8, PhotometricInterpretation="YBR_PARTIAL_420")
    uid = f"1.2.840.10008.1.2.4.10{number}.1"
    with DicomSource(save_packed(dataset, tmp_path / "a.dcm", uid, pieces, table=False)) as source:
        assert [number_in(frame.pixels) for frame in source] == list(range(8))


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"SamplesPerPixel": 4}, "4 samples a pixel"),
        ({"BitsAllocated": 0}, "Bits Allocated 0"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "12 bits a pixel"),
        ({"BitsAllocated": 65528, "BitsStored": 8}, "65528 bits a pixel"),
        ({"BitsStored": 9}, "Bits Stored 9"),
        ({"BitsStored": 0}, "Bits Stored 0"),
        ({"BitsAllocated": None}, "Bits Allocated missing"),
        ({"PlanarConfiguration": 7}, "Planar Configuration 7"),
        ({"PhotometricInterpretation": "CMYK"}, "3 samples a pixel, but CMYK"),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "3 samples a pixel, but MONOCHROME2"),
    ],
)
def test_descriptions_that_cannot_be_are_refused_by_name(
    tmp_path: Path, elements: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        DicomSource(written(dicom_dataset(COLOUR, **elements), tmp_path / "a.dcm"))


def test_streams_of_another_size_are_refused_before_room_is_made_for_them(tmp_path: Path) -> None:
    packed = bytearray(jpeg(COLOUR[0]))
    at = packed.index(b"\xff\xc0")
    packed[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    dataset = dicom_dataset(COLOUR[:1], PhotometricInterpretation="YBR_FULL_422")
    with pytest.raises(UserError, match="packed as 65000 x 65000 pixels, but the file states 160 x 120"):
        DicomSource(save_packed(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit, [bytes(packed)]))
    dataset = dicom_dataset(COLOUR[:1])
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    stream = bytearray(dataset.PixelData)
    at = stream.index(b"\xff\x4f\xff\x51")
    stream[at + 8 : at + 16] = struct.pack(">LL", 2**31 - 1, 2**31 - 1)
    dataset.PixelData = bytes(stream)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match="packed as 2147483647 x 2147483647"):
        DicomSource(tmp_path / "b.dcm")


def test_frames_that_take_too_much_memory_are_refused(tmp_path: Path) -> None:
    dataset = dicom_dataset([np.zeros((40, 40, 3), np.uint16)], Rows=8000, Columns=8000)
    with pytest.raises(UserError, match=r"A frame of a\.dcm takes 384 MB"):
        DicomSource(written(dataset, tmp_path / "a.dcm"))
    packed = jpeg(COLOUR[0]) + bytes(2_000_000)
    dataset = dicom_dataset(COLOUR[:1], PhotometricInterpretation="YBR_FULL_422")
    with pytest.raises(UserError, match="packed in more bytes than it can have"):
        DicomSource(save_packed(dataset, tmp_path / "b.dcm", JPEGBaseline8Bit, [packed]))
