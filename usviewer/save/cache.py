"""What is kept about a clip between sessions: its readings, bookmarks and corrections, found again by its content.

One folder for each content, wherever the file lies and whatever it is called. The readings are also of one model,
engine and scale, and are computed again where anything about them cannot be read. Bookmarks and corrections are the
user's work: they are never thrown away to make room.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from itertools import repeat
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import platformdirs
import xxhash

from usviewer import __version__
from usviewer.errors import UserError
from usviewer.infer.prediction import Edge
from usviewer.measure.given import NOTHING_GIVEN, Given
from usviewer.measure.manual import Edit
from usviewer.measure.reading import Errors, Measurement, Reading
from usviewer.save.aside import make_folder, write_text, written_aside
from usviewer.units import Spacing

FORMAT = 1
CHUNK_BYTES = 1 << 20
# Readings are dropped, the oldest first, beyond this; at about 100 kB a clip that is a thousand clips.
MOST_BYTES = 200_000_000
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile, UserError)


def clips_folder() -> Path:
    """Where all this lies: the platform's data folder."""
    return Path(platformdirs.user_data_dir("usviewer", appauthor=False)) / "clips"


def content_hash(path: Path) -> str:
    """128-bit hash of a file's bytes; of a folder's files (not its folders), with their names."""
    hasher = xxhash.xxh3_128()
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            hasher.update(f"\0{file.name}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                hasher.update(chunk)
    return str(hasher.hexdigest())


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What readings depend on beside the picture: the model (by hash), the engine that ran, and the user's scale.

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
    """The bookmarks and corrections of one content. Reading and writing is slow work: not for the window's thread."""

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self._path = path
        self._parent = folder or clips_folder()

    @cached_property
    def folder(self) -> Path:
        """This content's own folder, which need not be there yet. Raises ``UserError`` where the clip is gone."""
        try:
            return self._parent / content_hash(self._path)
        except OSError as error:
            raise UserError(f"{self._path.name} cannot be read", "Check that it is still there") from error

    def bookmarks(self) -> tuple[int, ...]:
        """Frames that the user marked, in order."""
        try:
            document = json.loads((self.folder / "bookmarks.json").read_text(encoding="utf-8"))
            return tuple(sorted({int(index) for index in document["bookmarks"]}))
        except _UNREADABLE:
            return ()

    def keep_bookmarks(self, bookmarks: Sequence[int]) -> None:
        """Replace the bookmarks."""
        make_folder(self.folder)
        write_text(self.folder / "bookmarks.json", json.dumps({"format": FORMAT, "bookmarks": sorted(bookmarks)}))

    def given(self) -> Given:
        """What the operator said of this clip."""
        try:
            document = json.loads((self.folder / "given.json").read_text(encoding="utf-8"))
            given: Given = _value_of(Given, document["given"])
        except _UNREADABLE:
            return NOTHING_GIVEN
        return given

    def keep_given(self, given: Given) -> None:
        """Replace what the operator said."""
        make_folder(self.folder)
        write_text(self.folder / "given.json", json.dumps({"format": FORMAT, "given": _document_of(given)}))

    def edits(self, model_sha256: str) -> dict[int, Edit]:
        """What was corrected of this model's outlines, by frame."""
        try:
            with _arrays(self._edits_file(model_sha256)) as file:
                document = json.loads(file["document"].tobytes())
                return {int(index): _edit_from(entry, file[f"mask_{index}"]) for index, entry in document.items()}
        except _UNREADABLE:
            return {}

    def keep_edits(self, model_sha256: str, edits: Mapping[int, Edit]) -> None:
        """Replace the corrections of this model's outlines."""
        make_folder(self.folder)
        arrays = {f"mask_{index}": np.packbits(edit.mask, axis=None) for index, edit in edits.items()}
        document = {str(index): _edit_document(edit) for index, edit in edits.items()}
        _write_arrays(self._edits_file(model_sha256), document, arrays)

    def _edits_file(self, model_sha256: str) -> Path:
        return self.folder / f"corrections-{model_sha256[:16] or 'none'}.npz"


class ClipResults:
    """The automatic readings of one content, made by one model, engine and scale; with the corrections beside them."""

    def __init__(self, notes: ClipNotes, made_by: MadeBy, source: str) -> None:
        self._notes = notes
        self._made_by = made_by
        self._source = source

    def load(self) -> dict[int, Reading] | None:
        """The readings of every frame under the source's present name; None where there are none, or damaged ones."""
        try:
            with _arrays(self._file()) as file:
                document = json.loads(file["document"].tobytes())
                parts = np.split(file["points"], file["ends"][:-1]) if len(file["ends"]) else []
                outlines = iter(parts)
                readings = [_reading_from(entry, outlines, self._source) for entry in document["readings"]]
        except _UNREADABLE:
            return None
        return {reading.key.index: reading for reading in readings} or None

    def store(self, readings: Mapping[int, Reading]) -> None:
        """Keep them, and make room where the kept readings of all clips have become too large."""
        make_folder(self._notes.folder)
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
        return self._notes.folder / f"readings-{self._made_by.digest()}.npz"


def _write_arrays(path: Path, document: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    coded = np.frombuffer(json.dumps(document, allow_nan=False, default=float).encode(), np.uint8)
    with written_aside(path) as part, part.open("wb") as file:
        np.savez_compressed(file, document=coded, **arrays)


@contextmanager
def _arrays(path: Path) -> Iterator[Any]:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # np.load leaves a damaged file open
        yield file


def _make_room(folder: Path, most_bytes: int) -> None:
    """Drop the oldest readings; a file that cannot be dropped is left."""
    files = [(file.stat().st_mtime, file.stat().st_size, file) for file in folder.glob("*/readings-*.npz")]
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= most_bytes:
            return
        try:
            file.unlink()
        except OSError:
            continue
        total -= size


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
    return document


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _reading_document(reading: Reading) -> dict[str, Any]:
    """Everything but the outlines, of which only the number is said: they are kept as one array."""
    document = _document_of(replace(reading, outlines_xy_px=()))
    return {**document, "outlines_xy_px": len(reading.outlines_xy_px)}


def _reading_from(entry: Mapping[str, Any], outlines: Iterator[Any], source: str) -> Reading:
    own = tuple(next(outlines) for _ in range(entry["outlines_xy_px"]))
    reading: Reading = _value_of(Reading, {**entry, "outlines_xy_px": []})
    key = replace(reading.key, source=source, capture_time_s=0.0)
    return replace(reading, key=key, outlines_xy_px=own)
