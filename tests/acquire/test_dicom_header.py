from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from tests.acquire.test_dicom_pixels import GREY, written
from tests.helpers.recordings import dicom_dataset, save_packed, write_clip
from usviewer.acquire.dicom import DicomSource
from usviewer.acquire.dicom_values import quiet

VECTOR, STEP, RATE, CINE, DURATION = 0x00181065, 0x00181063, 0x00082144, 0x00180040, 0x00181242
FRAMES = [*GREY, *GREY, *GREY[:2]]
DISPLAY = (RATE, "IS", b"30")


def clock(path: Path) -> tuple[float | None, list[float | None], str]:
    with DicomSource(path) as source:
        notes = source.info.notes
        return source.info.frames_per_second, list(source.times_s()), notes[0] if notes else ""


def of(tmp_path: Path, *raw: tuple[int, str, bytes], **elements: Any) -> tuple[float | None, list[float | None], str]:
    return clock(written(dicom_dataset(FRAMES, **elements), tmp_path / "a.dcm", *raw))


@pytest.mark.parametrize(
    ("raw", "rate", "note"),
    [
        ((STEP, "DS", b"33.3"), 30.03, ""),
        ((STEP, "DS", b"33,3"), 30.03, ""),
        ((VECTOR, "DS", b"0\\40\\60\\80\\40\\40\\40\\40"), 7 / 0.34, ""),
        ((VECTOR, "DS", b"0,0\\33,3\\33,3\\33,3\\33,3\\33,3\\33,3\\33,3"), 30.03, ""),
        ((VECTOR, "DS", b"0,0\\33,333\\33,333\\33,333\\33,333\\33,333\\33,333\\33,333"), 30.0003, ""),
        ((VECTOR, "DS", b"33.3"), 30, "Frame Time Vector has 1 values for 8 frames"),
        ((VECTOR, "DS", b"0\\40\\\\40\\40\\40\\40\\40"), 30, "Frame Time Vector has values that are not numbers"),
        ((VECTOR, "DS", b"0\\40\\-40\\40\\40\\40\\40\\40"), 30, "Frame Time Vector goes back in time"),
        ((VECTOR, "DS", b"0\\0\\0\\0\\0\\0\\0\\0"), 30, "Frame Time Vector cannot be right (no time passes)"),
        ((VECTOR, "DS", b""), 30, "the file does not say that of acquisition"),
        ((STEP, "DS", b"33333"), 30, "Frame Time cannot be right (0.03 frames a second)"),
        ((STEP, "DS", b"0.0333"), 30, "Frame Time cannot be right (30030 frames a second)"),
        ((STEP, "DS", b"1e-300"), 30, "Frame Time cannot be right"),
        ((STEP, "DS", b"1e300"), 30, "Frame Time cannot be right"),
        ((STEP, "DS", b"0"), 30, "Frame Time cannot be right (no time passes)"),
        ((STEP, "DS", b"-33"), 30, "Frame Time cannot be right"),
        ((STEP, "DS", b"fast"), 30, "Frame Time is not a number"),
        ((STEP, "DS", b"33,333"), 30, "Frame Time is not a number"),
        ((STEP, "DS", b""), 30, "the file does not say that of acquisition"),
        ((DURATION, "IS", b"33"), 30, "the file does not say that of acquisition"),
    ],
)
def test_a_clock_that_cannot_be_right_gives_way_to_the_next_and_is_named(
    tmp_path: Path, raw: tuple[int, str, bytes], rate: float, note: str
) -> None:
    found, times_s, said = of(tmp_path, raw, DISPLAY)
    assert found == pytest.approx(rate, rel=1e-4) and times_s[0] == 0
    assert note in said and bool(note) == said.startswith("Times follow the rate of display: ")


@pytest.mark.parametrize(
    ("step_ms", "shown", "believed"),
    [(b"1.25", b"30", True), (b"1000", b"30", True), (b"2", b"1", False), (b"1000", b"1000", False), (b"9", b"", True)],
)
def test_acquisition_and_display_may_differ_but_not_by_a_unit(
    tmp_path: Path, step_ms: bytes, shown: bytes, believed: bool
) -> None:
    rate, _, note = of(tmp_path, (STEP, "DS", step_ms), (RATE, "IS", shown))
    assert rate == pytest.approx(1000 / float(step_ms) if believed else float(shown))
    assert note == "" if believed else "contradicts the rate of display" in note


@pytest.mark.parametrize(
    ("raw", "rate"),
    [
        ((CINE, "IS", b"0"), None),
        ((CINE, "IS", b"-25"), None),
        ((CINE, "IS", b"20\\20"), 20),
        ((CINE, "IS", b"20\\25"), None),
        ((CINE, "IS", b"30000"), None),
        ((RATE, "IS", b"29,97"), 29.97),
        ((RATE, "IS", b"slow"), None),
        ((DURATION, "IS", b"33"), None),
    ],
)
def test_rates_of_display_that_cannot_be_count_as_absent(
    tmp_path: Path, raw: tuple[int, str, bytes], rate: float | None
) -> None:
    found, times_s, note = of(tmp_path, raw)
    assert found == (None if rate is None else pytest.approx(rate))
    assert (None in times_s) == (rate is None)
    assert note == (
        "The file does not say the frame rate"
        if rate is None
        else "Times follow the rate of display: the file does not say that of acquisition"
    )


def test_without_any_clock_that_can_be_there_are_no_times(tmp_path: Path) -> None:
    rate, times_s, note = of(tmp_path, (STEP, "DS", b"0.033"))
    assert rate is None and set(times_s) == {None}
    assert note == "The frame rate is not known: Frame Time cannot be right (30303 frames a second)"


def stamped(*stamps: str) -> list[Dataset]:
    groups = []
    for stamp in stamps:
        content, outer = Dataset(), Dataset()
        with quiet():  # pydicom remarks on those that are none
            content.FrameAcquisitionDateTime = stamp
        outer.FrameContentSequence = [content]
        groups.append(outer)
    return groups


def test_enhanced_files_may_stamp_each_frame(tmp_path: Path) -> None:
    frames = GREY
    for stamps, times_s, note in (
        (("20240101235959.900000", "20240101235959.950000", "20240102000000.050000"), [0, 0.05, 0.15], ""),
        (("20240101120000.0+0100", "20240101110000.05+0000", "20240101110000.1"), [0, 0.05, 0.1], ""),
        (("20240101120000.2", "20240101120000.1", "20240101120000.0"), None, "go back in time"),
        (("20240101120000", "20240101120000", "20240101120000"), None, "no time passes"),
        (("20240101120000.0", "", "20240101120000.1"), None, "does not say"),
        (("20249901120000.0", "x", "20240101120000.1"), None, "does not say"),
    ):
        dataset = dicom_dataset(frames, PerFrameFunctionalGroupsSequence=stamped(*stamps))
        _, found, said = clock(written(dataset, tmp_path / "a.dcm"))
        assert found == (pytest.approx(times_s, abs=1e-6) if times_s else [None] * 3)
        assert said == note if times_s else note in said


def test_the_video_inside_has_times_of_its_own(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip", "libx264", 8, format="mp4").read_bytes()
    dataset = dicom_dataset(GREY, NumberOfFrames=8, FrameTime=0.04, PhotometricInterpretation="YBR_PARTIAL_420")
    path = save_packed(dataset, tmp_path / "a.dcm", "1.2.840.10008.1.2.4.102", [clip + b"\0" * (len(clip) % 2)])
    rate, _, note = clock(path)
    assert rate == pytest.approx(25)
    assert note == "Times follow the video inside: Frame Time cannot be right (25000 frames a second)"
