"""The user's own work on one clip: bookmarks, corrections, what was said of it; kept with its content by a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from usviewer.calibrate.calibration import NOTHING_STATED, StatedScale
from usviewer.errors import UserError
from usviewer.measure.exam_context import NO_CONTEXT, ExamContext
from usviewer.measure.manual import Edit
from usviewer.save.cache import ClipNotes
from usviewer.view.app_state import AppState
from usviewer.view.notify import Notify


class ClipWork:
    """Bookmarks and corrections of the clip that is open. What earlier sessions left comes a moment later."""

    def __init__(self, app_state: AppState, notify: Notify, path: Path) -> None:
        self._app_state, self._notify = app_state, notify
        self.notes = ClipNotes(path)
        self.bookmarks: tuple[int, ...] = ()
        self._model_sha256 = ""
        self._edits: dict[int, Edit] | None = None  # None: not read yet
        self._unsaved: dict[int, Edit | None] = {}

    def read_bookmarks(self) -> None:
        """Fetch the marks of earlier sessions."""
        self._app_state.jobs.submit(self.notes.bookmarks, self._take_bookmarks, _say_nothing)

    def _take_bookmarks(self, found: tuple[int, ...]) -> None:
        self.bookmarks = tuple(sorted({*self.bookmarks, *found}))
        self._tell_problems()

    def _tell_problems(self) -> None:
        """What earlier sessions left and cannot be read is not passed over in silence."""
        while self.notes.problems:
            self._notify.warn(self.notes.problems.pop())

    def toggle_bookmark(self, index: int) -> None:
        """Mark a frame, or take its mark away."""
        self.bookmarks = tuple(sorted(set(self.bookmarks) ^ {index}))
        self._keep(partial(self.notes.keep_bookmarks, self.bookmarks), "bookmarks")

    def read_said(self, done: Callable[[ExamContext, StatedScale], None]) -> None:
        """Fetch what the operator said of this clip and its scale; nothing where it cannot be read."""

        def take(said: tuple[ExamContext, StatedScale]) -> None:
            done(*said)
            self._tell_problems()

        def read() -> tuple[ExamContext, StatedScale]:
            return self.notes.given(), self.notes.scale()

        self._app_state.jobs.submit(read, take, lambda _error: done(NO_CONTEXT, NOTHING_STATED))

    def _keep(self, write: Callable[[], None], key: str) -> None:
        """Write in the background; one sentence where that fails."""
        self._app_state.jobs.submit(write, failed=partial(self._notify.report, key=key))

    def keep_scale(self, said: StatedScale) -> None:
        """Keep what the operator says of this clip's scale."""
        self._keep(partial(self.notes.keep_scale, said), "kept scale")

    def keep_given(self, given: ExamContext) -> None:
        """Keep what the operator says of this clip."""
        self._keep(partial(self.notes.keep_given, given), "given")

    @property
    def edits(self) -> Mapping[int, Edit]:
        """The corrections of this clip, by frame."""
        return dict(self._edits or {})

    def known_edits(self, model_sha256: str) -> Mapping[int, Edit] | None:
        """The corrections of this model's outlines, also those that are still being written; None: not read yet."""
        return self.edits if self._model_sha256 == model_sha256 and self._edits is not None else None

    def read_edits(self, model_sha256: str) -> None:
        """Fetch the corrections of this model's outlines; those of another model are put away."""
        if self.known_edits(model_sha256) is not None:
            return
        self._edits, self._unsaved, self._model_sha256 = None, {}, model_sha256
        read = partial(self.notes.edits, model_sha256)
        self._app_state.jobs.submit(read, partial(self._take_edits, model_sha256), _say_nothing)

    def _take_edits(self, model_sha256: str, found: dict[int, Edit]) -> None:
        if self._model_sha256 == model_sha256:
            self._edits = found
            self._tell_problems()
            if self._unsaved:
                self.keep_edits(self._unsaved)

    def keep_edits(self, new: Mapping[int, Edit | None]) -> None:
        """Keep corrections, by frame; None takes one back."""
        if self._edits is None:  # those of earlier sessions are still being read, and must not be written over
            self._unsaved |= new
            return
        merged = {**self._edits, **new}
        self._edits = {index: edit for index, edit in merged.items() if edit is not None}
        self._keep(partial(self.notes.keep_edits, self._model_sha256, dict(self._edits)), "corrections")


def _say_nothing(_error: UserError) -> None:
    """The clip itself cannot be read: the playback says so."""
