"""What is kept about a clip between sessions: its readings, bookmarks and corrections, found again by its content.

One folder for each content, wherever the file lies and whatever it is called: neither its name nor its path is kept.
The readings are also of one model, engine and scale, and are computed again where anything about them cannot be read.
Bookmarks and corrections are the user's work: they are never thrown away to make room, nor written over unread.

What lies here may be damaged, or another's work: nothing in it is believed to be of its type, and no file may unpack
to more than a bound.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from itertools import repeat
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import platformdirs
import xxhash

from usviewer import __version__
from usviewer.calibrate.calibration import NOTHING_STATED, StatedScale
from usviewer.calibrate.ruler.watch import Confirmed, Reference
from usviewer.errors import UserError, foreign_parser
from usviewer.files import atomic_path, keep_copy, make_folder, open_regular, read_bytes, remove_leftovers, write_text
from usviewer.infer.prediction import Edge, Prediction
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.manual import Edit
from usviewer.measure.reading import Errors, Measurement, Reading
from usviewer.save.kept_predictions import KeptPrediction, KeptPredictions
from usviewer.units import Spacing

FORMAT = 1
CHUNK_BYTES = 1 << 20
# Readings are dropped, the oldest first, beyond this; at about 100 kB a clip that is a thousand clips.
MOST_BYTES = 200_000_000
# Bounds of one file, as it lies and unpacked. Ten thousand frames with outlines of 500 points unpack to 80 MB, a
# hundred corrections that fill a 1080p picture to 26 MB.
MOST_FILE_BYTES = 100_000_000
MOST_UNPACKED_BYTES = 500_000_000
_MOST_FRAMES = 1 << 31
# Readings were once kept with the path of their file: those are dropped unread.
_READINGS = "readings-v2"
_PREDICTIONS = "predictions-v1"
_WITH_PATHS = "readings-[!v]*.npz"
_DAMAGED = "What is kept about this clip is damaged"
T = TypeVar("T")


def clips_folder() -> Path:
    """Return the folder of all that is kept about clips, inside the platform's data folder."""
    return Path(platformdirs.user_data_dir("usviewer", appauthor=False)) / "clips"


def content_hash(path: Path) -> str:
    """128-bit hash of a file's bytes; of a folder's files (not its folders), with their names."""
    hasher = xxhash.xxh3_128()
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            hasher.update(b"\0" + os.fsencode(file.name) + b"\0")
        with open_regular(file) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                hasher.update(chunk)
    return str(hasher.hexdigest())


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What readings depend on besides the picture: the model (by hash), the engine that ran, and the user's scale.

    ``settings`` is whatever else they depend on, such as a plane that the operator has set.
    """

    model_sha256: str
    engine: str
    spacing: Spacing | None = None
    settings: str = ""

    def digest(self) -> str:
        """16 hexadecimal digits: equal for equal results."""
        shape = [each.name for kind in (Reading, Measurement, Errors) for each in fields(kind)]
        return str(xxhash.xxh3_64(repr((FORMAT, __version__, shape, self)).encode()).hexdigest())


class ClipNotes:
    """The bookmarks and corrections of one content. Reading and writing is slow work: not for the window's thread.

    ``problems`` says in a sentence each what could not be read. A damaged file stays as it is until it is written
    again, and then a copy is kept beside it.
    """

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self._path = path
        self.parent = folder or clips_folder()
        self.problems: list[str] = []

    @cached_property
    def folder(self) -> Path:
        """This content's own folder, which need not be there yet. Raises ``UserError`` where the clip is gone."""
        try:
            return self.parent / content_hash(self._path)
        except OSError as error:
            raise UserError(f"{self._path.name} cannot be read", "Check that it is still there") from error

    def bookmarks(self) -> tuple[int, ...]:
        """Frames that the user marked, in order."""
        return self._read("bookmarks.json", _bookmarks_from, ())

    def keep_bookmarks(self, bookmarks: Sequence[int]) -> None:
        """Replace the bookmarks."""
        self._keep("bookmarks.json", _bookmarks_from)
        write_text(self.folder / "bookmarks.json", json.dumps({"format": FORMAT, "bookmarks": sorted(bookmarks)}))

    def given(self) -> ExamContext:
        """What the operator said of this clip."""
        return self._read("given.json", _given_from, NO_CONTEXT)

    def keep_given(self, given: ExamContext) -> None:
        """Replace what the operator said."""
        self._keep("given.json", _given_from)
        write_text(self.folder / "given.json", json.dumps({"format": FORMAT, "given": _document_of(given)}))

    def scale(self) -> StatedScale:
        """What the operator said of this clip's scale."""
        return self._read("scale.npz", _scale_from, NOTHING_STATED)

    def keep_scale(self, said: StatedScale) -> None:
        """Replace what the operator said of the scale; a ruler is kept with the pixels that it is watched by."""
        self._keep("scale.npz", _scale_from)
        grey = {f"grey_{number}": each.reference.grey for number, each in enumerate(said.confirmed)}
        compared = {f"compared_{number}": each.reference.compared for number, each in enumerate(said.confirmed)}
        _write_arrays(self.folder / "scale.npz", _scale_document(said), {**grey, **compared})

    def edits(self, model_sha256: str) -> dict[int, Edit]:
        """What was corrected of this model's outlines, by frame."""
        return self._read(_edits_name(model_sha256), _edits_from, {})

    def keep_edits(self, model_sha256: str, edits: Mapping[int, Edit]) -> None:
        """Replace the corrections of this model's outlines."""
        self._keep(_edits_name(model_sha256), _edits_from)
        arrays = {f"mask_{index}": np.packbits(edit.mask, axis=None) for index, edit in edits.items()}
        document = {str(index): _edit_document(edit) for index, edit in edits.items()}
        _write_arrays(self.folder / _edits_name(model_sha256), document, arrays)

    def _read(self, name: str, parse: Callable[[bytes], T], nothing: T) -> T:
        """Read a file. Returns ``nothing`` where it is missing or damaged; ``problems`` then says so."""
        try:
            return _parsed(self.folder / name, parse)
        except FileNotFoundError:
            return nothing
        except (OSError, UserError) as error:
            if self._is_there(name):
                what = {
                    "bookmarks.json": "bookmarks",
                    "given.json": "notes on plane, site and age",
                    "scale.npz": "notes on the scale",
                }
                why = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
                self._tell(f"Your {what.get(name, 'corrections')} of this clip cannot be read{why}: the file is kept")
            return nothing

    def _is_there(self, name: str) -> bool:
        try:
            return (self.folder / name).exists()
        except (OSError, UserError):  # the clip itself cannot be read
            return False

    def _tell(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)

    def _keep(self, name: str, parse: Callable[[bytes], object]) -> None:
        """Copy a file that cannot be read, before it is written again."""
        path = make_folder(self.folder) / name
        try:
            _parsed(path, parse)
        except FileNotFoundError:
            return
        except (OSError, UserError):
            keep_copy(path)


class ClipResults:
    """The automatic readings of one content, made by one model, engine and scale; with the corrections beside them."""

    def __init__(self, notes: ClipNotes, made_by: MadeBy, source: str) -> None:
        self._notes = notes
        self._made_by = made_by
        self._source = source

    def load(self) -> dict[int, Reading] | None:
        """The readings of every frame under the source's present name; None where there are none, or damaged ones."""
        _forget_paths(self._notes.parent)
        try:
            readings = _parsed(self._file(), _readings_from)
        except (OSError, UserError):
            return None
        named = (replace(reading, key=replace(reading.key, source=self._source)) for reading in readings)
        return {reading.key.index: reading for reading in named} or None

    def store(self, readings: Mapping[int, Reading]) -> None:
        """Store readings, and drop the oldest of all clips where they have become too large."""
        _forget_paths(self._notes.parent)
        remove_leftovers(make_folder(self._notes.folder))
        outlines = [outline for reading in readings.values() for outline in reading.outlines_xy_px]
        arrays = {
            "points": np.concatenate([np.empty((0, 2)), *outlines]),
            "ends": np.cumsum([len(outline) for outline in outlines], dtype=np.int64),
        }
        _write_arrays(self._file(), {"readings": [_reading_document(r) for r in readings.values()]}, arrays)
        _make_room(self._notes.folder.parent, MOST_BYTES)

    def load_predictions(self) -> KeptPredictions | None:
        """What the model said of every frame, whatever the scale and the context; None where nothing is kept."""
        try:
            return _parsed(self._predictions_file(), _predictions_from)
        except (OSError, UserError):
            return None

    def store_predictions(self, kept: KeptPredictions) -> None:
        """Keep what the model said, so that another scale needs no network in the next session either."""
        make_folder(self._notes.folder)
        bits = [mask for one in kept.frames.values() for mask in one.masks if mask is not None]
        document = {
            "frames": [_prediction_document(one) for one in kept.frames.values()],
            "reference": kept.reference,
            "seen": dict(kept.seen),
        }
        _write_arrays(self._predictions_file(), document, {"bits": np.concatenate([np.empty(0, np.uint8), *bits])})
        _make_room(self._notes.folder.parent, MOST_BYTES)

    def edits(self) -> dict[int, Edit]:
        """What was corrected of this model's outlines, by frame."""
        return self._notes.edits(self._made_by.model_sha256)

    def _file(self) -> Path:
        return self._notes.folder / f"{_READINGS}-{self._made_by.digest()}.npz"

    def _predictions_file(self) -> Path:
        """They are of the model and its engine alone."""
        model = MadeBy(self._made_by.model_sha256, self._made_by.engine)
        return self._notes.folder / f"{_PREDICTIONS}-{model.digest()}.npz"


def _write_arrays(path: Path, document: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    coded = np.frombuffer(json.dumps(document, allow_nan=False, default=float).encode(), np.uint8)
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez_compressed(file, document=coded, **arrays)


def _parsed(path: Path, parse: Callable[[bytes], T]) -> T:
    """Read a kept file. Raises ``OSError`` where it cannot be read, ``UserError`` where its content is not valid.

    Everything here is foreign: a number may be a list, a list may never end. So the values are taken apart inside the
    boundary, too.
    """
    content = read_bytes(path, MOST_FILE_BYTES)
    with foreign_parser(_DAMAGED):
        return parse(content)


def _arrays(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of an archive. ``ValueError`` for one that would unpack to more than the bound."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_UNPACKED_BYTES:
            raise ValueError("the arrays are too large")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _bookmarks_from(content: bytes) -> tuple[int, ...]:
    return tuple(sorted({_frame_number(index) for index in json.loads(content)["bookmarks"]}))


def _given_from(content: bytes) -> ExamContext:
    given: ExamContext = _value_of(ExamContext, json.loads(content)["given"])
    return given


def _edits_from(content: bytes) -> dict[int, Edit]:
    arrays = _arrays(content)
    document = json.loads(arrays["document"].tobytes())
    return {_frame_number(int(index)): _edit_from(entry, arrays[f"mask_{index}"]) for index, entry in document.items()}


def _readings_from(content: bytes) -> list[Reading]:
    """Readings without a source: the folder they lie in tells whose they are."""
    arrays = _arrays(content)
    points, ends = arrays["points"], arrays["ends"]
    if points.dtype != np.float64 or points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError("outlines are not points")
    falls = ends.dtype != np.int64 or ends.ndim != 1 or (np.diff(ends, prepend=0) < 0).any()
    if falls or ends[-1:].sum() != len(points):
        raise ValueError("outlines do not end where they should")
    outlines = iter(np.split(points, ends[:-1]) if len(ends) else [])
    return [_reading_from(entry, outlines) for entry in json.loads(arrays["document"].tobytes())["readings"]]


def _frame_number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST_FRAMES:
        raise ValueError("not the number of a frame")
    return value


@cache
def _forget_paths(folder: Path) -> None:
    """Drop what was kept with a path: once in a process, since nothing writes such files any more."""
    for file in folder.glob(f"*/{_WITH_PATHS}"):
        with suppress(OSError):
            file.unlink()


def _make_room(folder: Path, most_bytes: int) -> None:
    """Drop the oldest readings; a file that cannot be dropped is left."""
    files = []
    for file in (*folder.glob(f"*/{_READINGS}-*.npz"), *folder.glob(f"*/{_PREDICTIONS}-*.npz")):
        with suppress(OSError):  # another window has just dropped it
            files.append((file.stat().st_mtime, file.stat().st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= most_bytes:
            return
        try:
            file.unlink()
        except OSError:
            continue
        total -= size


# --- the operator's scale ---------------------------------------------------------------------------------------------


def _scale_document(said: StatedScale) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "spacing": _document_of(said.spacing),
        "size_px": said.size_px,
        "from_start": said.from_start,
        "confirmed": [_confirmed_document(each) for each in said.confirmed],
    }


def _confirmed_document(confirmed: Confirmed) -> dict[str, Any]:
    reference = confirmed.reference
    return {
        "spacing": _document_of(confirmed.spacing),
        "from_index": confirmed.from_index,
        "size_px": reference.size_px,
        "box_px": reference.box_px,
        "axis": reference.axis,
        "ticks_px": reference.ticks_px,
        "along_px": reference.along_px,
    }


def _scale_from(content: bytes) -> StatedScale:
    arrays = _arrays(content)
    document = json.loads(arrays["document"].tobytes())
    confirmed = tuple(
        _confirmed_from(entry, arrays[f"grey_{number}"], arrays[f"compared_{number}"])
        for number, entry in enumerate(document["confirmed"])
    )
    spacing = _value_of(Spacing | None, document["spacing"])
    size_px = _value_of(tuple[int, int] | None, document["size_px"])
    return StatedScale(spacing, size_px, confirmed, from_start=_value_of(bool, document["from_start"]))


def _confirmed_from(entry: Mapping[str, Any], grey: np.ndarray[Any, Any], compared: np.ndarray[Any, Any]) -> Confirmed:
    size_px = _value_of(tuple[int, int], entry["size_px"])
    x0, y0, x1, y1 = box = _value_of(tuple[int, int, int, int], entry["box_px"])
    if not (0 <= x0 < x1 <= size_px[0] and 0 <= y0 < y1 <= size_px[1]) or entry["axis"] not in ("x", "y"):
        raise ValueError("a ruler outside its picture")
    if any(strip.dtype != np.uint8 or strip.shape != (y1 - y0, x1 - x0) for strip in (grey, compared)):
        raise ValueError("a ruler of another size")
    for strip in (grey, compared):
        strip.setflags(write=False)
    ticks, along = _value_of(tuple[int, int], entry["ticks_px"]), _value_of(tuple[float, ...], entry["along_px"])
    reference = Reference(size_px, box, grey, compared, str(entry["axis"]), ticks, along)
    return Confirmed(_value_of(Spacing, entry["spacing"]), reference, _frame_number(entry["from_index"]))


# --- predictions ------------------------------------------------------------------------------------------------------


def _prediction_document(kept: KeptPrediction) -> dict[str, Any]:
    """No name, no clock, no times: masks are kept as bits of one array."""
    key = replace(kept.key, source="", capture_time_s=0.0)
    bare = _document_of(replace(kept.bare, key=key))
    bare.pop("timings_ms")
    return {
        "bare": bare,
        "shapes": [shape if bits is not None else None for shape, bits in zip(kept.shapes, kept.masks, strict=True)],
        "sector_box_px": kept.sector_box_px,
        "pixel_aspect": kept.pixel_aspect,
        "stated_aspect": kept.stated_aspect,
    }


def _predictions_from(content: bytes) -> KeptPredictions:
    arrays = _arrays(content)
    document, bits = json.loads(arrays["document"].tobytes()), arrays["bits"]
    if bits.dtype != np.uint8 or bits.ndim != 1:
        raise ValueError("masks are not bits")
    frames: dict[int, KeptPrediction] = {}
    start = 0
    for entry in document["frames"]:
        shapes = _value_of(tuple[tuple[int, int] | None, ...], entry["shapes"])
        masks: list[Any] = []
        for shape in shapes:
            count = -1 if shape is None else (_frame_number(shape[0]) * _frame_number(shape[1]) + 7) // 8
            masks.append(None if shape is None else bits[start : start + count])
            if shape is not None and len(masks[-1]) != count:
                raise ValueError("masks are cut off")
            start += max(0, count)
        one = _kept_prediction(entry, tuple(masks), shapes)
        frames[_frame_number(one.key.index)] = one
    seen = {str(digest): str(reason) for digest, reason in document["seen"].items()}
    return KeptPredictions(frames, str(document["reference"]), seen)


def _kept_prediction(entry: Mapping[str, Any], masks: tuple[Any, ...], shapes: Any) -> KeptPrediction:
    bare = _value_of(Prediction, entry["bare"])
    if len(bare.instances) + len(bare.carried) != len(masks):
        raise ValueError("masks without an instance")
    box = _value_of(tuple[int, int, int, int] | None, entry["sector_box_px"])
    aspects = (_value_of(float, entry["pixel_aspect"]), _value_of(float, entry["stated_aspect"]))
    return KeptPrediction(bare, masks, tuple(shape or (0, 0) for shape in shapes), box, *aspects)


def _edits_name(model_sha256: str) -> str:
    return f"corrections-{model_sha256[:16] or 'none'}.npz"


def _edit_document(edit: Edit) -> dict[str, Any]:
    return {
        "digest": edit.digest,
        "instance": edit.instance,
        "label": edit.label,
        "class_index": edit.class_index,
        "classes": edit.classes,
        "size": list(edit.mask.shape),
        "origin": list(edit.mask_origin_px),
        "edge": str(edit.edge),
    }


def _edit_from(entry: Mapping[str, Any], packed: np.ndarray[Any, Any]) -> Edit:
    rows, columns = (int(side) for side in entry["size"])
    if min(rows, columns) < 0 or packed.shape != ((rows * columns + 7) // 8,):
        raise ValueError("a mask of another size")
    mask = np.unpackbits(packed, count=rows * columns).reshape(rows, columns).view(np.bool_)
    mask.setflags(write=False)
    origin = (int(entry["origin"][0]), int(entry["origin"][1]))
    where = (str(entry["digest"]), int(entry["instance"]), str(entry["label"]), int(entry["class_index"]))
    return Edit(*where, mask, origin, Edge(entry["edge"]), tuple(entry["classes"]))


# --- readings as JSON, by the types of their fields: a new field of a reading is kept without a word here ------------


def _document_of(value: Any) -> Any:
    """Dataclasses as objects, tuples as lists; enumerations are strings already."""
    if is_dataclass(value):
        return {each.name: _document_of(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_document_of(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value


def _value_of(kind: Any, document: Any) -> Any:
    """The value of a type from its document; ``TypeError``, ``ValueError`` or ``KeyError`` where it does not fit."""
    inner = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        if document is None:
            return None
        return _value_of(next(option for option in inner if option is not NoneType), document)
    if get_origin(kind) is tuple:
        kinds = repeat(inner[0], len(document)) if inner[1:] == (...,) else inner
        return tuple(_value_of(each, item) for each, item in zip(kinds, document, strict=True))
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _value_of(hints[name], item) for name, item in document.items()})
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(document)
    return _plain_value(kind, document)


def _plain_value(kind: Any, document: Any) -> Any:
    """A number, a text or a yes or no, of exactly this type; a number that is one."""
    if kind is float and type(document) in (int, float) and math.isfinite(document):
        return document
    if kind in (str, int, bool) and type(document) is kind:
        return document
    raise TypeError(f"{document!r:.50} is no {kind}")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _reading_document(reading: Reading) -> dict[str, Any]:
    """A reading without name, clock and outlines; of these only the number, since they are kept as one array."""
    key = replace(reading.key, source="", capture_time_s=0.0)
    document = _document_of(replace(reading, key=key, outlines_xy_px=()))
    return {**document, "outlines_xy_px": len(reading.outlines_xy_px)}


def _reading_from(entry: Mapping[str, Any], outlines: Iterator[Any]) -> Reading:
    own = tuple(next(outlines) for _ in range(entry["outlines_xy_px"]))
    reading: Reading = _value_of(Reading, {**entry, "outlines_xy_px": []})
    _frame_number(reading.key.index)
    return replace(reading, outlines_xy_px=own)
