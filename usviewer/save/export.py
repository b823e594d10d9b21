"""One folder type for every export: all of its files or none, free names, and what must be said of its pictures.

Analyses, corrections, outlined structures, recordings and saved pictures go through it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from usviewer.files import PartFolder, cannot_write, make_folder, remove_leftovers
from usviewer.frame import Frame, Pixels
from usviewer.overlay.items import AnnotatedFrame
from usviewer.save.deidentify import BLANKED, blank_outside_sector, privacy_notice
from usviewer.save.media import picture_of, write_png

# Files that are replaced wait here, inside the folder of work, until all new ones have their places.
_EARLIER = "earlier"


class ExportFolder:
    """The files of one export while they are written; a context manager.

    Write to ``path``, a hidden folder inside ``parent``. ``become_folder`` or ``move_out`` gives all files their names,
    or leaves everything as it was and raises ``UserError``. Leaving the block before that removes what was written, and
    ``parent`` as well where it was made for it.

    Pictures come from the methods here, so that one policy blanks them all (``save.deidentify``). ``notice`` is what
    the user must know about them, said once; empty where there is nothing to say. ``name`` is what the new folder will
    be called, for an export that becomes one.
    """

    def __init__(self, parent: Path, name: str = "", *, keep_surroundings: bool = False) -> None:
        self.parent = parent
        self.notice = ""
        self._name = name
        self._keep_surroundings = keep_surroundings
        self._made_parent = not os.path.isdir(parent)  # Path.is_dir raises for a name that is too long
        make_folder(parent)
        remove_leftovers(parent)
        if name:
            _refuse_bad_name(free_name(parent, name))
        self._part = PartFolder(parent)

    def __enter__(self) -> ExportFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what did not get its name."""
        self._part.remove()
        if self._made_parent:
            with suppress(OSError):  # the export lies in it
                self.parent.rmdir()

    @property
    def path(self) -> Path:
        """Where the files are written."""
        return self._part.path

    def folder(self, name: str | Path) -> Path:
        """A folder inside the export, made where it is missing."""
        return make_folder(self.path / name)

    def files(self) -> list[Path]:
        """All that was written, relative to ``path``."""
        return self._part.files()

    @property
    def surroundings(self) -> str:
        """What was done to the pictures around the ultrasound, for the document that goes with them."""
        return self.notice or BLANKED

    # -- pictures

    def bare_picture(self, frame: Frame) -> Pixels:
        """The picture without an overlay, blanked around the ultrasound: uint8 (height, width, 3), RGB."""
        self.note_surroundings(frame)
        return blank_outside_sector(frame.pixels, frame.geometry, self._keep_surroundings)

    def annotated_picture(self, shown: AnnotatedFrame) -> Pixels:
        """The picture with its overlay, blanked around the ultrasound: uint8 (height, width, 3), RGB."""
        self.note_surroundings(shown.frame)
        return picture_of(shown, self._keep_surroundings)

    def write_picture(self, shown: AnnotatedFrame, name: str | Path) -> None:
        """Write the picture with its overlay as a PNG of that name."""
        self.note_surroundings(shown.frame)
        write_png(shown, self.path / name, self._keep_surroundings)

    def note_surroundings(self, frame: Frame) -> None:
        """Remember what must be said of this frame, which may be the only one whose sector is uncertain."""
        self.notice = self.notice or privacy_notice(frame.geometry, self._keep_surroundings)

    # -- the end

    def become_folder(self, target: Path | None = None) -> Path:
        """Make all that was written one new folder: ``target``, or the name given at the beginning.

        A number is added where that name is taken. Returns the folder.
        """
        wanted = target or self.parent / self._name
        named = free_name(wanted.parent, wanted.name)
        try:
            self._part.release()
            os.rename(self.path, named)
        except OSError as error:
            raise cannot_write(named, error) from error
        return named

    def move_out(self, replaced: Sequence[Path] = ()) -> None:
        """Move all files into ``parent``. The files that are ``replaced`` there (relative to it) are removed.

        No other file there is touched: a name that is taken by one is an error.
        """
        away = [(self.parent / path, self.path / _EARLIER / path) for path in replaced]
        new = [(self.path / path, self.parent / path) for path in self.files()]
        try:
            _rename_all([*away, *new])
        except OSError as error:
            raise cannot_write(self.parent, error) from None


def free_name(parent: Path, stem: str, endings: Sequence[str] = ("",)) -> Path:
    """``stem`` with the first ending in the folder, or ``stem-2``, ``stem-3`` ...: nothing that is there is replaced.

    The name is free with each of the ``endings``, for files that belong together.
    """
    name, number = stem, 1
    # A name that is too long is free, and writing it says what is wrong. A link that leads nowhere is not free.
    while any(os.path.lexists(parent / f"{name}{ending}") for ending in endings):
        number += 1
        name = f"{stem}-{number}"
    return parent / f"{name}{endings[0]}"


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders that are empty."""
    for folder in folders:
        with suppress(OSError):  # it is not there, or the user's own files are in it
            folder.rmdir()


def _refuse_bad_name(path: Path) -> None:
    """Raise ``UserError`` for a folder that the disk cannot have: now, and not at the end of a long recording."""
    try:
        path.mkdir()
        path.rmdir()
    except OSError as error:
        raise cannot_write(path, error) from error


def _rename_all(steps: Sequence[tuple[Path, Path]]) -> None:
    """Give every file its new name, or leave all of them where they were and raise ``OSError``."""
    done: list[tuple[Path, Path]] = []
    made: list[Path] = []
    try:
        for source, target in steps:
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True)
                made.append(target.parent)
            _rename(source, target)
            done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            with suppress(OSError):  # the others still go back
                os.replace(target, source)
        remove_empty(made)
        raise


def _rename(source: Path, target: Path) -> None:
    """Rename a file. Raises ``FileExistsError`` where the name is taken, as some systems do by themselves."""
    if target.is_file():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.replace(source, target)
