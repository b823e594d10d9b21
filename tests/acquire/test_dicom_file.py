"""Damaged, hostile and unusual files: read, or refused with a sentence, within bounds."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from tests.acquire.test_dicom_pixels import COLOUR, GREY, grey_of, jpeg, same, written
from tests.helpers.recordings import dicom_dataset, save_packed
from usviewer.acquire import dicom_file, dicom_pixels
from usviewer.acquire.dicom import DicomSource, is_dicom
from usviewer.calibrate.calibration import file_scale
from usviewer.calibrate.regions import SPACING_ONLY
from usviewer.errors import UserError


def parts(tmp_path: Path, syntax: str | None = None) -> tuple[bytes, bytes]:
    """A file's meta information and its dataset."""
    dataset = dicom_dataset(COLOUR)
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    data = written(dataset, tmp_path / "whole.dcm").read_bytes()
    end = 144 + struct.unpack("<L", data[140:144])[0]
    return data[:end], data[end:]


def deflated(*content: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return b"".join([*(packer.compress(part) for part in content), packer.flush()])


def test_a_deflated_file_is_unpacked_within_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_file, "INFLATED_BYTES", 4_000_000)
    meta, _ = parts(tmp_path, DeflatedExplicitVRLittleEndian)
    _, body = parts(tmp_path)
    many = [bytes(1_000_000)] * 20
    long_value = b"\x09\x00\x10\x10UN\0\0" + struct.pack("<L", 0xFFFFFF00)
    pixels = body[: body.index(b"\xe0\x7f\x10\x00")] + b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<L", 0xFFFFFF00)
    for head in (long_value, pixels):
        (tmp_path / "bomb.dcm").write_bytes(meta + deflated(head, *many))
        with pytest.raises(UserError, match="unpacks to more than 4 MB"):
            DicomSource(tmp_path / "bomb.dcm")
        bare = (meta + deflated(head, *many))[132:]
        (tmp_path / "bare").write_bytes(bare)
        assert not is_dicom(tmp_path / "bare", bare[:132])
    (tmp_path / "fits.dcm").write_bytes(meta + deflated(body))
    assert same(tmp_path / "fits.dcm", COLOUR)
    (tmp_path / "cut.dcm").write_bytes(meta + deflated(body)[:-1000])
    with pytest.raises(UserError, match="cut off"):
        DicomSource(tmp_path / "cut.dcm")


def test_what_stands_before_the_pixels_is_read_within_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta, body = parts(tmp_path)
    small = b"".join(struct.pack("<HH2sH", 9, number, b"SH", 0) for number in range(0x1000, 0x2000))
    (tmp_path / "a.dcm").write_bytes(meta + body[:0] + small + body)
    monkeypatch.setattr(dicom_file, "HEADER_READS", 2000)
    with pytest.raises(UserError, match="more data before its pictures"):
        DicomSource(tmp_path / "a.dcm")
    monkeypatch.undo()
    monkeypatch.setattr(dicom_file, "HEADER_BYTES", 20_000)
    with pytest.raises(UserError, match="more data before its pictures"):
        DicomSource(tmp_path / "a.dcm")


def test_a_long_private_value_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_file, "VALUE_BYTES", 10_000)
    monkeypatch.setattr(dicom_file, "HEADER_BYTES", 20_000)
    meta, body = parts(tmp_path)
    private = struct.pack("<HH2sHL", 9, 0x1010, b"OB", 0, 100_000) + bytes(100_000)
    at = body.index(b"\x10\x00\x10\x00")
    (tmp_path / "a.dcm").write_bytes(meta + body[:at] + private + body[at:])
    assert same(tmp_path / "a.dcm", COLOUR)


@pytest.mark.parametrize("depth", [50, 5000])
@pytest.mark.parametrize("defined", [False, True])
def test_sequences_nested_without_end_are_refused_or_passed_over(tmp_path: Path, depth: int, defined: bool) -> None:
    meta, body = parts(tmp_path)
    inner = b""
    if defined:  # lengths that are stated are only looked into when the value is asked for
        for _ in range(depth):
            item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
            inner = struct.pack("<HH2sHL", 0x0018, 0x6011, b"SQ", 0, len(item)) + item
    else:
        begin = struct.pack("<HH2sHL", 0x0018, 0x6011, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
            "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
        )
        end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        inner = begin * depth + end * depth
    at = body.index(b"\x28\x00\x02\x00")
    (tmp_path / "a.dcm").write_bytes(meta + body[:at] + inner + body[at:])
    if depth == 50 or defined:
        assert same(tmp_path / "a.dcm", COLOUR)
    else:
        with pytest.raises(UserError, match="damaged DICOM file"):
            DicomSource(tmp_path / "a.dcm")


@pytest.mark.parametrize("syntax", ["", "1.2.3", "1.2.840.10008.1.2.4.94", "not a uid", "1.2.840.10008.1.2.4.999"])
def test_an_empty_or_unknown_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    meta, body = parts(tmp_path)
    uid = b"1.2.840.10008.1.2.1\0"
    at = meta.index(uid)
    padded = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = meta[: at - 2] + struct.pack("<H", len(padded)) + padded + meta[at + len(uid) :]
    (tmp_path / "a.dcm").write_bytes(meta + body)
    if not syntax:
        assert same(tmp_path / "a.dcm", COLOUR)
    else:
        with pytest.raises(UserError, match="packed in a way that cannot be read"):
            DicomSource(tmp_path / "a.dcm")


def test_packed_pixels_of_an_unpacked_transfer_syntax_are_refused(tmp_path: Path) -> None:
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL_422")
    data = save_packed(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit, [jpeg(frame) for frame in COLOUR]).read_bytes()
    at = data.index(b"1.2.840.10008.1.2.4.50")
    head = data[: at - 2] + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0"
    (tmp_path / "a.dcm").write_bytes(head + data[at + 22 :])
    with pytest.raises(UserError, match="packed in a way that cannot be read"):
        DicomSource(tmp_path / "a.dcm")


@pytest.mark.parametrize("tag", [0x00280010, 0x00186011, 0x00280030, 0x00080060, 0x00280008, 0x00281050, 0x00181063])
@pytest.mark.parametrize("vr", [b"ZZ", b"SQ", b"FD", b"US", b"AT", b"\xff\xff"])
def test_values_that_nobody_understands_count_as_absent(tmp_path: Path, tag: int, vr: bytes) -> None:
    meta, body = parts(tmp_path)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    value = b"12,\xff\\x\0\xfe"
    new = (
        head
        + (vr + b"\0\0" + struct.pack("<L", len(value)) if vr == b"SQ" else vr + struct.pack("<H", len(value)))
        + value
    )
    at = body.index(head + b"US") if tag == 0x00280010 else body.index(b"\x28\x00\x02\x00")
    rest = body[at + 10 :] if tag == 0x00280010 else body[at:]
    (tmp_path / "a.dcm").write_bytes(meta + body[:at] + new + rest)
    try:
        with DicomSource(tmp_path / "a.dcm") as source:
            scale = file_scale(source)
            assert scale is not None and not scale.spacings
            assert np.array_equal(source.seek(0).pixels, COLOUR[0])
            assert set(source.times_s()) == {None} and source.info.notes
    except UserError:
        assert tag in (0x00280010, 0x00280008) or vr == b"\xff\xff" or vr == b"SQ"


def test_a_value_longer_than_the_file_is_no_crash(tmp_path: Path) -> None:
    meta, body = parts(tmp_path)
    for element in (b"\x08\x00\x05\x00UN\0\0\xff\xff\xff\xf0", b"\x08\x00\x05\x00CS\xff\xff"):
        (tmp_path / "a.dcm").write_bytes(meta + element + body)
        with pytest.raises(UserError):
            DicomSource(tmp_path / "a.dcm")


def test_pieces_without_number_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_file, "MAX_FRAGMENTS", 100)
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL_422")
    save_packed(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit, [jpeg(frame) for frame in COLOUR])
    dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" * 200
    dataset["PixelData"].is_undefined_length = True
    with pytest.raises(UserError, match="more than 100 pieces"):
        DicomSource(written(dataset, tmp_path / "a.dcm"))


def test_a_video_too_large_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_pixels, "VIDEO_BYTES", 1_000_000)
    path = save_packed(dicom_dataset(COLOUR), tmp_path / "a.dcm", "1.2.840.10008.1.2.4.102", [bytes(1_500_000)])
    with pytest.raises(UserError, match=r"The video inside a\.dcm is larger than 1 MB"):
        DicomSource(path)


def test_a_class_that_is_in_no_list_is_not_repeated(tmp_path: Path) -> None:
    """A wrong length makes one value of all that follows, the patient's name included."""
    dataset = Dataset()
    path = tmp_path / "a.dcm"
    with dicom_file.quiet():
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1 Secret^Name"
        dataset.Rows = 10
        dataset.save_as(path, implicit_vr=False, little_endian=True)
    with pytest.raises(UserError, match="without a picture") as refused:
        DicomSource(path)
    assert "Secret" not in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, says in (
        (tmp_path, "cannot be opened"),
        (tmp_path / "none.dcm", "is gone"),
        (Path("/dev/zero"), "a pipe"),
    ):
        with pytest.raises(UserError, match=says):
            DicomSource(path)


@pytest.mark.parametrize(
    ("value", "aspect"),
    [
        (b"0\\0", 1.0),
        (b"1\\0", 1.0),
        (b"-1\\1", 1.0),
        (b"square", 1.0),
        (b"1", 1.0),
        (b"1\\500", 1.0),
        (b"", 1.0),
        (b"0.5\\1", 2.0),
        (b"5\\4", 0.8),
    ],
)
def test_a_pixel_aspect_that_cannot_be_counts_as_absent(tmp_path: Path, value: bytes, aspect: float) -> None:
    with DicomSource(written(dicom_dataset(GREY), tmp_path / "a.dcm", (0x00280034, "IS", value))) as source:
        assert source.info.pixel_aspect == pytest.approx(aspect)


def test_a_pixel_spacing_of_the_functional_groups_is_not_called_none(tmp_path: Path) -> None:
    measures, outer, region = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.3, 0.3]
    outer.PixelMeasuresSequence = [measures]
    for place in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        groups = [outer] * (1 if place.startswith("Shared") else len(GREY))
        with DicomSource(written(dicom_dataset(GREY, **{place: groups}), tmp_path / "a.dcm")) as source:
            scale = file_scale(source)
            assert scale is not None and scale.no_scale_reason == SPACING_ONLY and not scale.spacings
        region.RegionSpatialFormat = region.RegionDataType = 1
        region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 159, 119
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
        region.PhysicalDeltaX = region.PhysicalDeltaY = 0.04
        dataset = dicom_dataset(GREY, SequenceOfUltrasoundRegions=[region], **{place: groups})
        with DicomSource(written(dataset, tmp_path / "b.dcm")) as source:
            scale = file_scale(source)
            assert scale is not None and "Pixel Spacing and the ultrasound region differ" in scale.no_scale_reason


def test_a_healthy_grey_cine_is_as_it_was(tmp_path: Path) -> None:
    assert same(written(dicom_dataset(GREY), tmp_path / "a.dcm"), grey_of(GREY))
