from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut, apply_voi_lut, convert_color_space
from pydicom.uid import (
    HEVCMP51,
    JPEG2000,
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    EnhancedUSVolumeStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SegmentationStorage,
)

from tests.helpers.recordings import dicom_dataset, number_in, picture, save_packed, write_clip
from usviewer.acquire.dicom import DicomSource, RawRegion, is_dicom
from usviewer.acquire.dicom_pixels import ybr_to_rgb
from usviewer.errors import UserError

COLOUR = [picture(number) for number in range(5)]
GREY = [frame[..., 0].copy() for frame in COLOUR]
DEEP = [np.linspace(0, 4095, 64 * 96).reshape(64, 96).astype(np.uint16) for _ in range(2)]


def saved(path: Path, frames: list[NDArray[Any]], syntax: str | None = None, **elements: Any) -> Path:
    dataset = dicom_dataset(frames, **elements)
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless, JPEG2000):
        options: dict[str, Any] = {JPEGLSNearLossless: {"jls_error": 3}, JPEG2000: {"j2k_cr": [8]}}.get(syntax, {})
        dataset.compress(syntax, generate_instance_uid=False, **options)
    elif syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            pydicom.dcmwrite(path, dataset, little_endian=False, implicit_vr=False, force_encoding=True)
            return path
    dataset.save_as(path, enforce_file_format=True)
    return path


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", quality=95, **options)
    return packed.getvalue() + b"\0" * (len(packed.getvalue()) % 2)


LOSSLESS = [None, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
LOSSLESS += [RLELossless, JPEG2000Lossless, JPEGLSLossless]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("frames", [COLOUR, GREY, COLOUR[:1]], ids=["colour", "grey", "still"])
def test_lossless_packings_come_back_exactly(
    tmp_path: Path, syntax: str | None, frames: list[NDArray[Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a.dcm", frames, syntax)
    with DicomSource(path) as source:
        shown = [frame.pixels for frame in source]
        assert len(shown) == len(frames) == source.info.frame_count
        for pixels, stored in zip(shown, frames, strict=True):
            assert np.array_equal(pixels, stored if stored.ndim == 3 else np.repeat(stored[..., None], 3, axis=2))
        assert np.array_equal(source.seek(len(frames) - 1).pixels, shown[-1])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("syntax", "limit"), [(JPEGLSNearLossless, 3), (JPEG2000, 60)])
def test_lossy_packings_stay_near(tmp_path: Path, syntax: str, limit: int) -> None:
    with DicomSource(saved(tmp_path / "a.dcm", GREY, syntax)) as source:
        difference = np.abs(source.seek(3).pixels[..., 0].astype(int) - GREY[3])
    assert difference.max() <= limit and difference.mean() < 3


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
@pytest.mark.parametrize("table", [True, False])
def test_jpeg_colours_with_and_without_an_offset_table(tmp_path: Path, syntax: str, table: bool) -> None:
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL_422")
    packed = [jpeg(frame, subsampling="4:2:2") for frame in COLOUR]
    with DicomSource(save_packed(dataset, tmp_path / "a.dcm", syntax, packed, table=table)) as source:
        assert [number_in(frame.pixels) for frame in source] == list(range(5))
        for index, expected in enumerate(packed):
            by_libjpeg = np.asarray(Image.open(io.BytesIO(expected)).convert("RGB")).astype(int)
            assert np.abs(source.seek(index).pixels - by_libjpeg).max() <= 2


def test_jpeg_that_really_is_rgb_is_not_converted(tmp_path: Path) -> None:
    dataset = dicom_dataset(COLOUR[:1])
    packed = [jpeg(COLOUR[0], keep_rgb=True, subsampling=0)]
    with DicomSource(save_packed(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit, packed)) as source:
        assert np.abs(source.seek(0).pixels.astype(int) - COLOUR[0]).max() < 20
        assert np.abs(source.seek(0).pixels.astype(int) - COLOUR[0]).mean() < 2


def test_frames_of_several_fragments(tmp_path: Path) -> None:
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL")
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    packed = [jpeg(frame, subsampling=0) for frame in COLOUR]
    for table in (True, False):
        dataset.PixelData = pydicom.encaps.encapsulate(packed, fragments_per_frame=3, has_bot=table)
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(tmp_path / "a.dcm")
        with DicomSource(tmp_path / "a.dcm") as source:
            assert [number_in(frame.pixels) for frame in source] == list(range(5))


def test_the_conversion_to_rgb_is_the_standards_to_one_level() -> None:
    values = np.arange(0, 256, 3, dtype=np.uint8)
    ybr = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(86, -1, 3)
    exact = convert_color_space(ybr, "YBR_FULL", "RGB").astype(int)
    assert np.abs(ybr_to_rgb(ybr) - exact).max() <= 1


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_plain_ybr_is_converted_once(tmp_path: Path, syntax: str | None) -> None:
    ybr = [np.asarray(convert_color_space(frame, "RGB", "YBR_FULL"), dtype=np.uint8) for frame in COLOUR]
    path = saved(tmp_path / "a.dcm", ybr, syntax, PhotometricInterpretation="YBR_FULL")
    with DicomSource(path) as source:
        assert np.abs(source.seek(2).pixels.astype(int) - COLOUR[2]).max() <= 3


def test_half_width_colour_without_packing(tmp_path: Path) -> None:
    path = get_testdata_file("SC_ybr_full_422_uncompressed.dcm")
    rgb = pixel_array(path)
    with DicomSource(Path(str(path))) as source:
        assert np.abs(source.seek(0).pixels.astype(int) - rgb).max() <= 1


def test_planes_of_colour(tmp_path: Path) -> None:
    planes = np.stack(COLOUR).transpose(0, 3, 1, 2).copy()
    path = saved(tmp_path / "a.dcm", COLOUR, PlanarConfiguration=1, PixelData=planes.tobytes())
    with DicomSource(path) as source:
        assert np.array_equal(source.seek(4).pixels, COLOUR[4])


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.dcm", GREY, PhotometricInterpretation="MONOCHROME1")
    with DicomSource(path) as source:
        assert np.array_equal(source.seek(1).pixels[..., 0], 255 - GREY[1])


def test_deep_grey_follows_window_table_or_bits_stored(tmp_path: Path) -> None:
    deep = DEEP[0].astype(float)
    bits = {"BitsStored": 12, "HighBit": 11}
    with DicomSource(saved(tmp_path / "bits.dcm", DEEP, **bits)) as source:
        assert np.abs(source.seek(0).pixels[..., 0] - deep * 255 / 4095).max() <= 0.51

    window = {**bits, "WindowCenter": 1000, "WindowWidth": 400}
    with DicomSource(saved(tmp_path / "window.dcm", DEEP, **window)) as source:
        expected = np.clip((deep - 999.5) / 399 + 0.5, 0, 1) * 255
        assert np.abs(source.seek(1).pixels[..., 0] - expected).max() <= 0.51

    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = np.linspace(65535, 0, 4096).astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    table["LUTDescriptor"].VR = "US"
    with DicomSource(saved(tmp_path / "table.dcm", DEEP, VOILUTSequence=[table], **bits)) as source:
        assert np.abs(source.seek(0).pixels[..., 0] - (255 - deep * 255 / 4095)).max() <= 0.51

    signed = [(frame.astype(np.int32) - 2048).astype(np.int16) for frame in DEEP]
    with DicomSource(saved(tmp_path / "signed.dcm", signed, **bits)) as source:
        assert np.abs(source.seek(0).pixels[..., 0] - deep * 255 / 4095).max() <= 0.51
    window = {**bits, "WindowCenter": 0, "WindowWidth": 4096, "RescaleSlope": 1, "RescaleIntercept": 0}
    with DicomSource(saved(tmp_path / "rescaled.dcm", signed, **window)) as source:
        assert np.abs(source.seek(0).pixels[..., 0] - deep * 255 / 4095).max() <= 1


@pytest.mark.parametrize("syntax", [None, RLELossless])
@pytest.mark.parametrize("entry_bits", [8, 16])
@pytest.mark.parametrize("really_8", [False, True])
def test_palettes(tmp_path: Path, syntax: str | None, entry_bits: int, really_8: bool) -> None:
    ramp = np.arange(256)
    colours = np.stack([ramp, 255 - ramp, (ramp * 7) % 256], axis=1)
    entries = colours if entry_bits == 8 or really_8 else colours * 257
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, entry_bits]
        elements[f"{name}PaletteColorLookupTableData"] = entries[:, channel].astype(f"<u{entry_bits // 8}").tobytes()
    dataset = dicom_dataset(GREY, **elements)
    for name in ("Red", "Green", "Blue"):
        dataset[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
    if syntax:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with DicomSource(tmp_path / "a.dcm") as source:
        assert np.array_equal(source.seek(2).pixels, colours[GREY[2]])


@pytest.mark.parametrize(
    ("elements", "times_s", "note"),
    [
        ({"FrameTime": 40.0, "FrameIncrementPointer": 0x00181063}, [0, 0.04, 0.08, 0.12, 0.16], ""),
        ({"FrameTimeVector": [0, 10, 20, 30, 40]}, [0, 0.01, 0.03, 0.06, 0.1], ""),
        ({"FrameTimeVector": [0, 10, 20, 30, 40], "FrameTime": 40.0}, [0, 0.01, 0.03, 0.06, 0.1], ""),
        (
            {"FrameTimeVector": [0, 10, 20, 30, 40], "FrameTime": 40.0, "FrameIncrementPointer": 0x00181063},
            [0, 0.04, 0.08, 0.12, 0.16],
            "",
        ),
        (
            {"FrameTimeVector": [0, 10], "FrameTime": 40.0},
            [0, 0.04, 0.08, 0.12, 0.16],
            "Times follow Frame Time: Frame Time Vector has 2 values for 5 frames",
        ),
        ({"FrameTime": 0.0, "CineRate": 20}, [0, 0.05, 0.1, 0.15, 0.2], "rate of display"),
        ({"RecommendedDisplayFrameRate": 10}, [0, 0.1, 0.2, 0.3, 0.4], "rate of display"),
        ({}, [None] * 5, "does not say the frame rate"),
    ],
)
def test_times_are_what_the_file_says(
    tmp_path: Path, elements: dict[str, Any], times_s: list[float | None], note: str
) -> None:
    with DicomSource(saved(tmp_path / "a.dcm", GREY, **elements)) as source:
        assert list(source.times_s()) == (times_s if None in times_s else pytest.approx(times_s))
        assert [frame.key.media_time_s for frame in source] == list(source.times_s())
        assert source.info.notes == () if not note else note in source.info.notes[0]
        known = None not in times_s
        assert source.info.frames_per_second == (pytest.approx(4 / times_s[-1]) if known else None)


def test_a_still_has_neither_time_nor_rate(tmp_path: Path) -> None:
    with DicomSource(saved(tmp_path / "a.dcm", GREY[:1], FrameTime=33.0)) as source:
        assert source.times_s() == (None,) and source.info.frames_per_second is None and source.info.notes == ()


def test_a_wrong_number_of_frames_is_counted_and_said(tmp_path: Path) -> None:
    with DicomSource(saved(tmp_path / "plain.dcm", GREY, NumberOfFrames=9)) as source:
        assert len(list(source)) == 5 and source.info.notes[0] == "The file says that it has 9 frames; 5 were found"
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL", NumberOfFrames=8)
    for table in (True, False):
        packed = [jpeg(frame, subsampling=0) for frame in COLOUR]
        path = save_packed(dataset, tmp_path / "packed.dcm", JPEGBaseline8Bit, packed, table=table)
        with DicomSource(path) as source:
            assert [number_in(frame.pixels) for frame in source] == list(range(5))
            assert source.info.notes[0] == "The file says that it has 8 frames; 5 were found"


@pytest.mark.parametrize(
    ("codec", "syntax", "container"),
    [
        ("libx264", MPEG4HP41, "mpegts"),
        ("libx264", MPEG4HP41, "h264"),
        ("libx264", MPEG4HP41, "mp4"),
        ("libx265", HEVCMP51, "mpegts"),
        ("mpeg2video", "1.2.840.10008.1.2.4.100", "mpegts"),
        ("mpeg2video", "1.2.840.10008.1.2.4.100", "mpeg2video"),
    ],
)
@pytest.mark.parametrize("table", [True, False])
def test_video_inside_dicom(tmp_path: Path, codec: str, syntax: str, container: str, table: bool) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    clip = write_clip(tmp_path / "clip", codec, 20, format=container, options=options).read_bytes()
    clip += b"\0" * (len(clip) % 2)
    dataset = dicom_dataset(COLOUR, NumberOfFrames=21, FrameTime=33.333, PhotometricInterpretation="YBR_PARTIAL_420")
    with DicomSource(save_packed(dataset, tmp_path / "a.dcm", syntax, [clip], table=table)) as source:
        frames = list(source)
        assert [number_in(frame.pixels) for frame in frames] == list(range(20))
        assert source.seek(13).key.digest == frames[13].key.digest
        assert (
            source.info.frame_count == 20 and "The file says that it has 21 frames; 20 were found" in source.info.notes
        )
        assert source.times_s() == pytest.approx([index * 0.033333 for index in range(20)])
        assert source.seek(3).key.media_time_s == frames[3].key.media_time_s


def test_tags_state_the_regions_and_leave_the_patient_out(tmp_path: Path) -> None:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 2
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 8, 4
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 150, 110
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.04, -0.05
    path = saved(
        tmp_path / "exam.dcm",
        GREY,
        SequenceOfUltrasoundRegions=[region, Dataset()],
        PixelSpacing=[0.5, 0.4],
        PixelAspectRatio=[5, 4],
        Manufacturer="Maker",
        ManufacturerModelName="Model",
        DeviceSerialNumber="77",
    )
    with DicomSource(path) as source:
        tags = source.tags
        assert tags.regions[0] == RawRegion(1, 1, 2, 8, 4, 150, 110, 3, 3, 0.04, -0.05, None, None)
        assert tags.regions[1] == RawRegion(*[None] * 13)
        assert (tags.rows, tags.columns, tags.pixel_spacing_mm) == (120, 160, (0.5, 0.4))
        assert (tags.manufacturer, tags.model, tags.device_serial, tags.modality) == ("Maker", "Model", "77", "US")
        assert source.info.pixel_aspect == pytest.approx(0.8)
        assert source.info.name == "exam"
        assert "Secret" not in repr((tags, source.info)) and "S-1234" not in repr((tags, source.info))
        assert source.seek(0).geometry is None


def test_spacing_of_each_frame_where_the_file_has_it(tmp_path: Path) -> None:
    def group(spacing: list[float] | None) -> Dataset:
        outer, measures = Dataset(), Dataset()
        if spacing:
            measures.PixelSpacing = spacing
            outer.PixelMeasuresSequence = [measures]
        return outer

    frames = [group([0.1, 0.2]), group(None), group([0.3, 0.3]), group(None), group(None)]
    path = saved(
        tmp_path / "a.dcm",
        GREY,
        SOPClassUID=EnhancedUSVolumeStorage,
        SharedFunctionalGroupsSequence=[group([0.5, 0.5])],
        PerFrameFunctionalGroupsSequence=frames,
    )
    with DicomSource(path) as source:
        assert source.tags.frame_spacing_mm == ((0.1, 0.2), (0.5, 0.5), (0.3, 0.3), (0.5, 0.5), (0.5, 0.5))
        assert source.tags.sop_class == "Enhanced US Volume Storage"


def test_what_is_no_ultrasound_is_said(tmp_path: Path) -> None:
    with DicomSource(saved(tmp_path / "a.dcm", GREY[:1], Modality="CT")) as source:
        assert source.info.notes == ("This is not ultrasound but CT",)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
@pytest.mark.parametrize("syntax", [None, RLELossless, DeflatedExplicitVRLittleEndian])
def test_cut_off_files_are_refused(tmp_path: Path, share: float, syntax: str | None) -> None:
    whole = saved(tmp_path / "whole.dcm", [*COLOUR, *COLOUR], syntax).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"cut\.dcm (is cut off|is a damaged|is DICOM without a picture)"):
        DicomSource(tmp_path / "cut.dcm")


def test_real_files_cut_at_every_tenth_are_refused(data: Path, tmp_path: Path) -> None:
    files = ["mf30_ybr422_jpeg_sonosite_pydicom", "sf_rgb_raw_ge_noregion_pydicom", "mf10_palette_rle_echo_dcm4che"]
    for name in files:
        whole = (data / "dicom_ultrasound" / f"{name}.dcm").read_bytes()
        for tenth in range(1, 10):
            (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) * tenth // 10])
            with pytest.raises(UserError):
                DicomSource(tmp_path / "cut.dcm")


def test_a_damaged_frame_is_left_out_and_said(tmp_path: Path) -> None:
    packed = [jpeg(frame, subsampling=0) for frame in COLOUR]
    packed[2] = packed[2][:200] + bytes(800)
    dataset = dicom_dataset(COLOUR, PhotometricInterpretation="YBR_FULL", FrameTime=40.0)
    with DicomSource(save_packed(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit, packed)) as source:
        assert [(frame.key.index, number_in(frame.pixels)) for frame in source] == [(0, 0), (1, 1), (3, 3), (4, 4)]
        assert source.info.notes == ("Damaged, left out: frame 2",)
        with pytest.raises(UserError, match=r"Frame 2 of a\.dcm cannot be decoded"):
            source.seek(2)


@pytest.mark.parametrize(
    "file",
    [
        "SC_rgb_jpeg_gdcm.dcm",  # JPEG lossless
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "GDCMJ2K_TextGBR.dcm",
        "examples_jpeg2k.dcm",
        "examples_palette.dcm",
        "examples_ybr_color.dcm",
        "SC_rgb_rle_2frame.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_pydicoms_own_samples_have_the_colours_of_the_reference(file: str) -> None:
    path = Path(str(get_testdata_file(file)))
    with DicomSource(path) as source:
        difference = np.abs(source.seek(0).pixels.astype(int) - reference(dcmread(path), 0))
    assert difference.max() <= 1


def test_files_without_pictures_are_refused_by_what_they_are(tmp_path: Path) -> None:
    for file, message in [
        ("reportsi.dcm", "without a picture.*Basic Text SR"),
        ("rtdose.dcm", "RT Dose Storage, not a picture"),
        ("waveform_ecg.dcm", "without a picture.*Waveform"),
        ("rtplan.dcm", "without a picture"),
        ("JPGExtended.dcm", "packed in a way that cannot be read"),
        ("MR_truncated.dcm", "cut off"),
    ]:
        with pytest.raises(UserError, match=message):
            DicomSource(Path(str(get_testdata_file(file))))
    with pytest.raises(UserError, match="without a picture"):
        DicomSource(saved(tmp_path / "no.dcm", GREY, PixelData=b"", Rows=None))
    with pytest.raises(UserError, match="Segmentation Storage, not a picture"):
        DicomSource(saved(tmp_path / "seg.dcm", GREY, SOPClassUID=SegmentationStorage))
    with pytest.raises(UserError, match="packed in a way that cannot be read"):
        DicomSource(save_packed(dicom_dataset(GREY), tmp_path / "jpip.dcm", "1.2.840.10008.1.2.4.94", [b"link"]))
    with pytest.raises(UserError, match="32 bits a pixel"):
        DicomSource(saved(tmp_path / "deep.dcm", [frame.astype(np.uint32) for frame in DEEP]))
    with pytest.raises(UserError, match="too large"):
        DicomSource(saved(tmp_path / "huge.dcm", GREY, Rows=30_000, Columns=30_000))
    with pytest.raises(UserError, match="damaged"):
        DicomSource(saved(tmp_path / "odd.dcm", GREY, BitsStored=None))


def test_frames_are_decoded_one_by_one(tmp_path: Path) -> None:
    frames = [np.full((300, 400, 3), number, np.uint8) for number in range(120)]
    path = saved(tmp_path / "long.dcm", frames)
    del frames
    tracemalloc.start()
    with DicomSource(path) as source:
        for index, frame in enumerate(source):
            assert frame.pixels[0, 0, 0] == index
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 12 * 300 * 400 * 3


def test_dicom_is_known_without_its_preamble(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.dcm", COLOUR, ImplicitVRLittleEndian).read_bytes()
    dataset = dcmread(tmp_path / "a.dcm")
    bare = tmp_path / "bare"
    with bare.open("wb") as file:
        pydicom.filewriter.write_dataset(_implicit(file), dataset)
    assert bare.read_bytes()[:2] == b"\x08\x00" and is_dicom(bare, bare.read_bytes()[:132])
    assert is_dicom(tmp_path / "a.dcm", whole[:132])
    with DicomSource(bare) as source:
        assert np.array_equal(source.seek(4).pixels, COLOUR[4])


def _implicit(file: Any) -> Any:
    stream = pydicom.filebase.DicomFileLike(file)
    stream.is_implicit_VR = stream.is_little_endian = True
    return stream


def reference(dataset: Dataset, index: int) -> NDArray[Any]:
    """pydicom's own way to RGB, whole picture by whole picture."""
    pixels = np.asarray(pixel_array(dataset, index=index))
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = np.asarray(apply_color_lut(pixels, dataset))
        return pixels >> 8 if pixels.dtype == np.uint16 else pixels
    if pixels.ndim == 3:
        return pixels
    return np.repeat(np.rint(apply_voi_lut(pixels, dataset))[..., None].astype(int), 3, axis=2)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_every_real_file_has_the_colours_of_the_reference(data: Path) -> None:
    files = sorted((data / "dicom_ultrasound").rglob("*.dcm"))
    assert len(files) == 24
    for file in [*files, data / "devices_itkpocus" / "sonoque_anechoic-3mm-3mm.dcm"]:
        with DicomSource(file) as source:
            dataset = dcmread(file)
            assert source.info.frame_count == int(dataset.get("NumberOfFrames") or 1), file.name
            last = source.info.frame_count - 1
            difference = np.abs(source.seek(last).pixels.astype(int) - reference(dataset, last))
            assert difference.max() <= 1, file.name
            assert (len(source.tags.regions) > 0) == ("SequenceOfUltrasoundRegions" in dataset)


def test_real_times_and_regions(data: Path) -> None:
    folder = data / "dicom_ultrasound"
    with DicomSource(folder / "mf30_ybr422_jpeg_sonosite_pydicom.dcm") as source:
        assert source.times_s()[29] == pytest.approx(29 * 0.033333)
        region = source.tags.regions[0]
        assert (region.max_x1, region.max_y1, source.tags.columns, source.tags.rows) == (595, 414, 320, 240)
    with DicomSource(folder / "mf2_palette_rle_cx50_regions_pydicom.dcm") as source:
        assert source.times_s() == (None, None) and "frame rate" in source.info.notes[0]
        assert [region.data_type for region in source.tags.regions] == [1, 10]
    with DicomSource(data / "devices_itkpocus" / "sonoque_anechoic-3mm-3mm.dcm") as source:
        assert source.tags.regions[0].delta_x == pytest.approx(0.00291)
