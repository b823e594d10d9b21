"""DICOM stills and cine: a picture or a cine, whatever its packing, with the file's own times.

Nothing of the patient is read into ``SourceInfo`` or ``DicomTags``.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from usviewer.acquire.clip import ClipReader
from usviewer.acquire.dicom_pixels import PIXEL_DATA, PixelReader, quiet, video_stream
from usviewer.acquire.dicom_tags import DicomTags, RawRegion, declared_frames, frame_times, read_tags
from usviewer.acquire.source import RecordedSource, check_size
from usviewer.acquire.video import clip_notes, mean_rate
from usviewer.errors import UserError
from usviewer.frame import Frame, Pixels, SourceInfo, make_frame

__all__ = ["DicomSource", "DicomTags", "RawRegion", "is_dicom"]

FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
VIDEO_SYNTAXES = {f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109)}
NOT_PICTURES = ("Segmentation", "RT Dose", "Parametric Map", "Presentation State", "Structure Set")
DEFER_BYTES = 65_536
UNDEFINED_LENGTH = 0xFFFFFFFF


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether the file is DICOM by its content, with or without the preamble; ``head`` is its first 132 bytes."""
    if head[128:132] == b"DICM":
        return True
    if head[:2] not in FIRST_GROUPS:
        return False
    try:
        with quiet():
            dataset = dcmread(path, force=True, stop_before_pixels=True, specific_tags=["SOPClassUID", "Rows"])
    except Exception:  # no parser error says more than "no"
        return False
    return "SOPClassUID" in dataset or "Rows" in dataset


@dataclass(frozen=True, slots=True)
class _Opened:
    """A dataset whose pixels are still in ``data``, ``length`` bytes from ``offset`` (None: packed, to a delimiter)."""

    dataset: Dataset
    data: BinaryIO
    offset: int
    length: int | None


class DicomSource(RecordedSource):
    """A still or a cine. ``tags`` has the regions for ``calibrate``; frames carry no geometry of their own."""

    def __init__(self, path: Path) -> None:
        self._uri, self._name = str(path), path.name
        self._damaged: set[int] = set()
        self._clip: ClipReader | None = None
        self._pixels: PixelReader | None = None
        self._file = path.open("rb")
        try:
            with quiet():  # pydicom looks at values, and remarks on them, when they are first asked for
                self._open(_read(self._file, self._name))
        except BaseException:
            self.close()
            raise

    def _open(self, opened: _Opened) -> None:
        dataset = opened.dataset
        self.tags = read_tags(dataset)
        self._declared = declared_frames(dataset)
        check_size(self._name, self.tags.columns, self.tags.rows)
        if str(dataset.file_meta.TransferSyntaxUID) in VIDEO_SYNTAXES:
            self._clip = ClipReader(video_stream(opened.data, opened.offset), self._name)
            self._times_s, self._clock = frame_times(dataset, len(self._clip.table().ticks), self._clip.times_s())
        else:
            self._pixels = _pixel_reader(opened, self._name)
            self._times_s, self._clock = frame_times(dataset, self._pixels.frame_count)
        self._height_px, self._width_px = self._picture(0).shape[:2]

    @property
    def info(self) -> SourceInfo:
        """Frames a second only where the file says so."""
        return SourceInfo(
            uri=self._uri,
            name=Path(self._uri).stem,
            kind="dicom",
            width_px=self._width_px,
            height_px=self._height_px,
            frames_per_second=mean_rate(self._times_s),
            frame_count=len(self._times_s),
            notes=self._notes(),
            pixel_aspect=self._pixel_aspect(),
        )

    def __iter__(self) -> Iterator[Frame]:
        """Every frame, decoded one by one; one that cannot be is left out, noted, and keeps its number."""
        if self._clip is None:
            for index in range(len(self._times_s)):
                try:
                    frame = self.seek(index)
                except UserError:
                    self._damaged.add(index)
                    continue
                yield frame
            return
        for index, (pixels, _) in enumerate(self._clip.pictures()):
            yield make_frame(pixels, self._uri, index, self._times_s[index])

    def seek(self, index: int) -> Frame:
        """Exactly frame ``index``."""
        self.check_index(index)
        return make_frame(self._picture(index), self._uri, index, self._times_s[index])

    def seek_near(self, index: int) -> Frame:
        """The frame itself; of a video inside DICOM the nearest cheap one."""
        self.check_index(index)
        return self.seek(self._clip.near(index) if self._clip else index)

    def times_s(self) -> Sequence[float | None]:
        """Seconds since the first frame by what the file says; None for a still and where nothing is said."""
        return self._times_s

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._clip:
            self._clip.close()

    def _picture(self, index: int) -> Pixels:
        if self._clip:
            return self._clip.picture(index)[0]
        assert self._pixels is not None
        return self._pixels.pixels(index)

    def _pixel_aspect(self) -> float:
        if self.tags.pixel_aspect_ratio:
            vertical, horizontal = self.tags.pixel_aspect_ratio
            return horizontal / vertical
        return float(self._clip.pixel_aspect) if self._clip else 1.0

    def _notes(self) -> tuple[str, ...]:
        notes = list(clip_notes(self._clip)) if self._clip else []
        count = len(self._times_s)
        if count != self._declared:
            notes.append(f"The file says {self._declared} frames, {count} are there")
        if self._damaged:
            notes.append(f"Damaged, left out: frame {', '.join(map(str, sorted(self._damaged)))}")
        if self.tags.modality not in ("US", "IVUS", ""):
            notes.append(f"This is not ultrasound but {self.tags.modality}")
        if count > 1 and not self._clock:
            notes.append("The file does not say the frame rate")
        if self._clock == "display":
            notes.append("Times follow the rate of display: the file does not say that of acquisition")
        return tuple(notes)


def _read(file: BinaryIO, name: str) -> _Opened:
    """Read everything but the pixels. ``UserError`` for damaged files and those that hold no picture."""
    try:
        with quiet(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            dataset = dcmread(file, force=True, defer_size=DEFER_BYTES)
        _complete_meta(dataset)
        cut_off = any("End of file" in str(warning.message) for warning in said)
        opened = None if cut_off else _locate_pixels(dataset, file)
    except (InvalidDicomError, zlib.error, EOFError, ValueError, OSError, AttributeError, KeyError) as error:
        raise UserError(f"{name} is a damaged DICOM file", "Copy it again") from error
    if opened is None:
        _check_is_picture(dataset, name)
        raise UserError(f"{name} is cut off", "Copy it again")
    _check_is_picture(dataset, name)
    return opened


def _complete_meta(dataset: Dataset) -> None:
    """Files without meta information: the transfer syntax is the one pydicom found it could read."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _locate_pixels(dataset: Dataset, file: BinaryIO) -> _Opened | None:
    """Where the pixels lie; None if the file ends before they do."""
    if PIXEL_DATA not in dataset:
        return _Opened(dataset, file, 0, 0)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:  # offsets count in the unpacked data
        file.seek(0)
        with quiet():
            value = bytes(dcmread(file, force=True).PixelData)
        return _Opened(dataset, BytesIO(value), 0, len(value))
    element: Any = dataset.get_item(PIXEL_DATA, keep_deferred=True)
    if element.length == UNDEFINED_LENGTH:
        return _Opened(dataset, file, element.value_tell, None)
    whole = element.value_tell + element.length <= file.seek(0, SEEK_END)
    return _Opened(dataset, file, element.value_tell, element.length) if whole else None


def _check_is_picture(dataset: Dataset, name: str) -> None:
    kind = UID(str(dataset.get("SOPClassUID", ""))).name
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise UserError(f"{name} is the index of a DICOM medium, not a picture", "Give the files beside it")
    if any(word in kind for word in NOT_PICTURES):
        raise UserError(f"{name} is a DICOM {kind}, not a picture", "Give the ultrasound picture itself")
    if PIXEL_DATA not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        what = f" ({kind})" if kind else ""
        raise UserError(f"{name} is DICOM without a picture{what}, or cut off", "Give an ultrasound still or cine")


def _pixel_reader(opened: _Opened, name: str) -> PixelReader:
    syntax = opened.dataset.file_meta.TransferSyntaxUID
    try:
        with quiet():
            reader = PixelReader(opened.dataset, opened.data, opened.offset, opened.length, name)
    except NotImplementedError as error:
        raise UserError(f"{name} is packed in a way that cannot be read ({syntax.name})", "Export it anew") from error
    except (AttributeError, KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(f"The description of the pixels in {name} is damaged", "Copy or export it again") from error
    if reader.frame_count == 0:
        raise UserError(f"{name} holds no whole frame", "Copy it again")
    return reader
