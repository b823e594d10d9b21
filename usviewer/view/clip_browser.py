"""The clips beside the one under review: listed, glanced at and looked up one after another, beside everything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Signal

from usviewer.errors import UserError
from usviewer.measure.findings import finding_of
from usviewer.overlay import words
from usviewer.pipeline.curve import Curve
from usviewer.view.app_state import AppState
from usviewer.view.clip_list import ClipList
from usviewer.view.folder import (
    NOTHING_SEEN,
    MadeFor,
    Thumbnail,
    find_clips,
    find_sibling_clips,
    make_thumbnail,
    result_of,
)

NO_NUMBER = "no number"


class ClipBrowser(QObject):
    """Fills the list of clips. ``made_for`` says whose results are looked up (None: no model yet)."""

    chosen = Signal(object)  # Path
    listed = Signal(object, object)  # what was asked for, the clips that were found
    not_listed = Signal(object)  # UserError

    def __init__(self, desk: AppState, made_for: Callable[[], MadeFor | None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._made_for = made_for
        self._chores: deque[Callable[[], None]] = deque()
        self._chore_runs = False
        self._asked: Path | None = None
        self.list = ClipList()
        self.list.hide()
        self.list.chosen.connect(self.chosen)

    def show(self, path: Path) -> None:
        """List a folder's clips, or those beside a file."""
        self._asked = path
        listing = partial(find_clips, path) if path.is_dir() else partial(find_sibling_clips, path)
        self._desk.loads.submit(listing, partial(self._list, path), self._fail)

    def cancel_tool(self) -> None:
        """Nothing is under review any more."""
        self._asked = None
        self._chores.clear()
        self.list.hide()

    def look_up(self, but: Path) -> None:
        """Another model: say what it found in the other clips, where that was kept."""
        if not self._chores:
            self._chores.extend(partial(self._look_up, clip) for clip in self.list.paths if clip != but)
            self._next_chore()

    def show_result(self, clip: Path, curve: Curve | None) -> None:
        """What a clip amounts to; None where it was not analysed."""
        said, analysed = self._result_words(curve) if curve is not None else ("", False)
        self.list.show_result(clip, said, analysed)

    def _list(self, asked: Path, found: tuple[Path, ...]) -> None:
        if self._asked != asked:
            return
        folder = asked if asked.is_dir() else asked.parent
        self.list.set_clips(folder.name, found)
        self.list.setVisible(self._desk.settings.side_panels)
        self.listed.emit(asked, found)
        self._chores = deque(partial(self._glance_at, clip) for clip in found)
        self._next_chore()

    def _fail(self, error: UserError) -> None:
        self.not_listed.emit(error)

    def _next_chore(self) -> None:
        if self._chores and not self._chore_runs:
            self._chore_runs = True
            self._chores.popleft()()

    def _chore_done(self) -> None:
        self._chore_runs = False
        self._next_chore()

    def _glance_at(self, clip: Path) -> None:
        self._desk.loads.submit(
            partial(make_thumbnail, clip, self._made_for()),
            partial(self._show_glance, clip),
            lambda _: self._show_glance(clip, NOTHING_SEEN),
        )

    def _show_glance(self, clip: Path, seen: Thumbnail) -> None:
        self.list.show_thumbnail(clip, seen.pixels)
        if seen.curve is not None:
            self.show_result(clip, seen.curve)
        self._chore_done()

    def _look_up(self, clip: Path) -> None:
        made_for = self._made_for()
        if made_for is None:
            self._chore_done()
            return
        look = partial(result_of, clip, made_for)
        self._desk.loads.submit(look, partial(self._found, clip), lambda _: self._found(clip, None))

    def _found(self, clip: Path, curve: Curve | None) -> None:
        self.show_result(clip, curve)
        self._chore_done()

    def _result_words(self, curve: Curve) -> tuple[str, bool]:
        engine = self._desk.engine()
        return result_words(curve, engine.finding) if engine is not None else (NO_NUMBER, False)


def result_words(curve: Curve, finding: str) -> tuple[str, bool]:
    """What a clip (or pictures of their own) amounts to, and whether that is a number.

    The list says no number that the headline would not: of a vessel that pulsates none from less than a heart beat, and
    none where a few frames alone were measured. Pictures may be of different patients: only the number of a single one
    is said.
    """
    pulsates = finding_of(finding).needs_aggregate
    if curve.summary is not None and (curve.over_a_beat or not pulsates):
        return words.maximum_words(curve.summary, finding), True
    measured = curve.values[np.isfinite(curve.values)]
    if not len(measured):
        return NO_NUMBER, False
    if len(curve.values) > 1 or pulsates:
        return ("measured" if len(curve.values) == 1 else f"{len(measured)} of {len(curve.values)} measured"), False
    if "²" in curve.unit:
        return f"{measured[0]:.0f} {curve.unit}", True
    return " ".join(words.big_number(float(measured[0]), curve.unit, finding)), True
