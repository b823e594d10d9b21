from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import _expand_segmented_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, EnhancedUSVolumeStorage

from tests.acquire.test_dicom_pixels import DEEP, GREY, TWELVE, big_endian, grey_of, same, shown, written
from tests.helpers.recordings import dicom_dataset
from usviewer.acquire.dicom import DicomSource
from usviewer.acquire.dicom_tables import expand_segments
from usviewer.errors import UserError

CENTRE, WIDTH, FUNCTION, SLOPE, INTERCEPT = 0x00281050, 0x00281051, 0x00281056, 0x00281053, 0x00281052
PLAIN = ((CENTRE, "DS", b"128"), (WIDTH, "DS", b"256"))
# 8-bit values whose window leaves them as they are, or that has none.
AS_STORED: dict[str, Any] = {
    "plain": PLAIN,
    "empty": ((CENTRE, "DS", b""), (WIDTH, "DS", b"")),
    "centre empty": ((CENTRE, "DS", b""), (WIDTH, "DS", b"256")),
    "width 0": ((CENTRE, "DS", b"127"), (WIDTH, "DS", b"0")),
    "width negative": ((CENTRE, "DS", b"127"), (WIDTH, "DS", b"-256")),
    "width below 1": ((CENTRE, "DS", b"127"), (WIDTH, "DS", b"0.5")),
    "text": ((CENTRE, "DS", b"auto"), (WIDTH, "DS", b"256")),
    "not finite": ((CENTRE, "DS", b"1e999"), (WIDTH, "DS", b"256")),
    "the second can be": ((CENTRE, "DS", b"10\\128"), (WIDTH, "DS", b"0\\256")),
    "more centres than widths": ((CENTRE, "DS", b"128\\10"), (WIDTH, "DS", b"256")),
    "decimal commas": ((CENTRE, "DS", b"128,0"), (WIDTH, "DS", b"256,00")),
    "spaces": ((CENTRE, "DS", b" 128 "), (WIDTH, "DS", b" 256")),
    "function empty": (*PLAIN, (FUNCTION, "CS", b"")),
    "function unknown": (*PLAIN, (FUNCTION, "CS", b"SOFT")),
    "rescale empty": (*PLAIN, (SLOPE, "DS", b""), (INTERCEPT, "DS", b"")),
    "slope 0": (*PLAIN, (SLOPE, "DS", b"0"), (INTERCEPT, "DS", b"0")),
    "slope without intercept": ((CENTRE, "DS", b"256"), (WIDTH, "DS", b"511"), (SLOPE, "DS", b"2")),
    "intercept only": ((CENTRE, "DS", b"-872"), (WIDTH, "DS", b"256"), (INTERCEPT, "DS", b"-1000")),
    "rescale without a window": ((SLOPE, "DS", b"2,5"), (INTERCEPT, "DS", b"-7")),
}


@pytest.mark.parametrize("case", AS_STORED)
def test_a_window_that_is_none_counts_as_absent(tmp_path: Path, case: str) -> None:
    assert same(written(dicom_dataset(GREY), tmp_path / "a.dcm", *AS_STORED[case]), grey_of(GREY))
    inverted = dicom_dataset([255 - frame for frame in GREY], PhotometricInterpretation="MONOCHROME1")
    assert same(written(inverted, tmp_path / "b.dcm", *AS_STORED[case]), grey_of(GREY), within=1)


def test_a_comma_that_may_stand_between_thousands_is_no_number(tmp_path: Path) -> None:
    """1,024 may be one or a thousand: then there is no window, and the range of the values is shown."""
    window = ((CENTRE, "DS", b"1,024"), (WIDTH, "DS", b"2,048"))
    dicom_dataset(DEEP, **TWELVE).save_as(tmp_path / "b.dcm", enforce_file_format=True)
    assert same(written(dicom_dataset(DEEP, **TWELVE), tmp_path / "a.dcm", *window), shown(tmp_path / "b.dcm"))


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 1000, "WindowWidth": 400},
        {"WindowCenter": 1000, "WindowWidth": 1},
        {"WindowCenter": 1000, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 1000, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 1000.5, "WindowWidth": 3000, "RescaleSlope": 0.5, "RescaleIntercept": 100},
        {"WindowCenter": -20, "WindowWidth": 500, "RescaleSlope": 1, "RescaleIntercept": -1024},
    ],
)
def test_windows_are_those_of_pydicom(tmp_path: Path, window: dict[str, Any]) -> None:
    dataset = dicom_dataset(DEEP, **TWELVE, **window)
    values = np.asarray(apply_voi_lut(np.asarray(apply_modality_lut(DEEP[0], dataset)), dataset), dtype=float)
    with np.errstate(over="ignore"):
        ends = np.asarray(apply_voi_lut(np.array([-1e12, 1e12]), dataset), dtype=float)
    expected = (values - ends[0]) / (ends[1] - ends[0]) * 255
    found = shown(written(dataset, tmp_path / "a.dcm"))[0][..., 0]
    assert np.abs(found - expected).max() <= 0.51


def group(centre: float | str | None, width: float | str | None) -> Dataset:
    item, outer = Dataset(), Dataset()
    item.WindowCenter, item.WindowWidth = centre, width
    outer.FrameVOILUTSequence = [item]
    return outer


def test_enhanced_files_have_a_window_for_each_frame(tmp_path: Path) -> None:
    """Nearest first: the frame's own, the shared one, that of the dataset; empty ones count as absent."""
    shallow = [frame.astype(np.uint16) * 4 for frame in GREY]
    own = [group(512, 1024), group("", ""), group(256, 512)]
    enhanced = {"SOPClassUID": EnhancedUSVolumeStorage, "PerFrameFunctionalGroupsSequence": own}
    shared = dicom_dataset(shallow, **enhanced, SharedFunctionalGroupsSequence=[group(1024, 2048)])
    found = shown(written(shared, tmp_path / "a.dcm"))
    for pixels, frame, width in zip(found, shallow, (1024, 2048, 512), strict=True):
        assert np.abs(pixels[..., 0] - np.clip(frame / (width - 1) * 255, 0, 255)).max() <= 0.51
    dataset = dicom_dataset(shallow, **enhanced, WindowCenter=512, WindowWidth=1024)
    assert (
        np.abs(shown(written(dataset, tmp_path / "b.dcm"))[1][..., 0] - np.clip(shallow[1] / 1023 * 255, 0, 255)).max()
        <= 0.51
    )


def test_enhanced_files_may_rescale_each_frame(tmp_path: Path) -> None:
    def rescaled(slope: float) -> Dataset:
        item, outer = Dataset(), Dataset()
        item.RescaleSlope, item.RescaleIntercept = slope, 0
        outer.PixelValueTransformationSequence = [item]
        return outer

    groups = [rescaled(1), rescaled(2), rescaled(4)]
    window = {"WindowCenter": 512, "WindowWidth": 1024}
    frames = [frame.astype(np.uint16) for frame in GREY]
    found = shown(written(dicom_dataset(frames, PerFrameFunctionalGroupsSequence=groups, **window), tmp_path / "a.dcm"))
    for pixels, frame, slope in zip(found, frames, (1, 2, 4), strict=True):
        assert np.abs(pixels[..., 0] - frame.astype(float) * slope / 1023 * 255).max() <= 0.51


def voi_table(entries: NDArray[Any], bits: int = 16) -> Dataset:
    table = Dataset()
    table.LUTDescriptor = [len(entries) % 65536, 0, bits]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = entries.astype("<u2" if bits > 8 else "u1").tobytes()
    table["LUTData"].VR = "OW"
    return table


@pytest.mark.parametrize("deflated", [False, True])
def test_the_largest_tables_are_read_wherever_they_lie(tmp_path: Path, deflated: bool) -> None:
    dataset = dicom_dataset(DEEP, **TWELVE, VOILUTSequence=[voi_table(np.arange(65536)[::-1])])
    if deflated:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    expected = [np.rint((65535.0 - frame) * 255 / 65535) for frame in DEEP]
    assert same(written(dataset, tmp_path / "a.dcm"), grey_of(expected))


def test_tables_without_entries_count_as_absent(tmp_path: Path) -> None:
    empty, nothing = voi_table(np.arange(4)), Dataset()
    empty.LUTData = b""
    for sequence in ([], [empty], [nothing]):
        dataset = dicom_dataset(GREY, VOILUTSequence=sequence, ModalityLUTSequence=sequence)
        assert same(written(dataset, tmp_path / "a.dcm", *PLAIN), grey_of(GREY))
    dataset = dicom_dataset(GREY, VOILUTSequence=[empty, voi_table(255 - np.arange(256), 8)])
    assert same(written(dataset, tmp_path / "b.dcm"), grey_of([255 - frame for frame in GREY]))


def test_a_big_endian_table_has_its_values(tmp_path: Path) -> None:
    table = voi_table(np.linspace(65535, 0, 4096))
    table.LUTData = np.linspace(65535, 0, 4096).astype(">u2").tobytes()
    dataset = dicom_dataset(DEEP, **TWELVE, VOILUTSequence=[table])
    path = big_endian(dataset, tmp_path / "a.dcm", np.stack(DEEP).astype(">u2").tobytes(), "OW")
    assert same(path, grey_of([np.rint(255 - frame.astype(float) * 255 / 4095) for frame in DEEP]), within=1)


def test_a_modality_table_goes_before_the_window(tmp_path: Path) -> None:
    table = voi_table(np.arange(4096) // 2, 16)
    elements = {**TWELVE, "ModalityLUTSequence": [table], "WindowCenter": 512, "WindowWidth": 1024}
    found = shown(written(dicom_dataset(DEEP, **elements), tmp_path / "a.dcm"))
    assert np.abs(found[0][..., 0] - np.clip((DEEP[0] // 2) / 1023 * 255, 0, 255)).max() <= 0.51


def test_a_picture_without_its_palette_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="palette"):
        DicomSource(written(dicom_dataset(GREY, PhotometricInterpretation="PALETTE COLOR"), tmp_path / "a.dcm"))


SEGMENTS = [0, 3, 5, 9, 200, 1, 20, 40, 1, 10, 40, 2, 2, 0, 0, 0, 2, 7, 8]


def test_palettes_in_segments_are_those_of_pydicom(tmp_path: Path) -> None:
    words = tuple(SEGMENTS)
    assert expand_segments(list(words), 1000, wide=True) == _expand_segmented_lut(words, "<H")
    small = (0, 3, 5, 9, 200, 1, 20, 40, 2, 2, 0, 0, 0, 0)
    assert expand_segments(list(small), 1000, wide=False) == _expand_segmented_lut(small, "<B")
    dataset = dicom_dataset(GREY, PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        dataset[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        segments = np.array([0, 1, 0, 1, 255, 255 * 257], "<u2").tobytes()
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", segments)
    assert same(written(dataset, tmp_path / "a.dcm"), grey_of(GREY))


@pytest.mark.parametrize(
    "codes", [[1, 5, 5], [2, 1, 0, 0], [0, 1, 7, 2, 9, 0, 0], [7, 7, 7], [0, 1, 3] + [1, 65535, 9] * 5000, [0, 1, 3, 1]]
)
def test_segments_never_stand_for_more_than_the_table(codes: list[int]) -> None:
    assert len(expand_segments(codes, 300, wide=True)) <= 300
