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
from usviewer.atomic import atomic_path, make_folder, write_text
from usviewer.errors import UserError, foreign_parser
from usviewer.files import keep_copy, open_regular, read_bytes
from usviewer.infer.prediction import Edge
from usviewer.measure.exam_context import NO_CONTEXT, ExamContext
from usviewer.measure.manual import Edit
from usviewer.measure.reading import Errors, Measurement, Reading
from usviewer.unfinished import remove_leftovers
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
_WITH_PATHS = "readings-[!v]*.npz"
_DAMAGED = "What is kept about this clip is damaged"
T = TypeVar("T")


def clips_folder() -> Path:
    """The folder of all this: inside the platform's data folder."""
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
                what = {"bookmarks.json": "bookmarks", "given.json": "notes on plane, site and age"}
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

    def edits(self) -> dict[int, Edit]:
        """What was corrected of this model's outlines, by frame."""
        return self._notes.edits(self._made_by.model_sha256)

    def _file(self) -> Path:
        return self._notes.folder / f"{_READINGS}-{self._made_by.digest()}.npz"


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
    for file in folder.glob(f"*/{_READINGS}-*.npz"):
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
