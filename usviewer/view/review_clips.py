"""The clips of the folder, listed and shown small, and the user's own work on the one that is open.

Both are read and written in the background.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from usviewer.calibrate.calibration import NOTHING_STATED, StatedScale
from usviewer.errors import UserError
from usviewer.frame import Pixels
from usviewer.measure import NO_CONTEXT, ExamContext
from usviewer.measure.findings import finding_of
from usviewer.measure.manual import Edit
from usviewer.overlay import words
from usviewer.pipeline.curve import Curve
from usviewer.pipeline.folder import (
    NOTHING_SEEN,
    MadeFor,
    Thumbnail,
    find_clips,
    find_sibling_clips,
    make_thumbnail,
    result_of,
)
from usviewer.plain_text import printable
from usviewer.save.cache import ClipNotes
from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.notify import Notify
from usviewer.view.widgets import PlainLabel, tip

NO_NUMBER = "no number"
WIDTH_PX = 216
THUMB_PX = QSize(88, 60)
_PATH, _SAID, _DONE = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1, Qt.ItemDataRole.UserRole + 2


class ClipBrowser(QObject):
    """Fills the list of clips. ``made_for`` says whose results are looked up (None: no model yet)."""

    chosen = Signal(object)  # Path
    listed = Signal(object, object)  # what was asked for, the clips that were found
    not_listed = Signal(object)  # UserError

    def __init__(
        self, app_state: AppState, made_for: Callable[[], MadeFor | None], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._app_state = app_state
        self._made_for = made_for
        # One at a time: what the user opens next waits behind one look at most.
        self._chores: deque[Callable[[], None]] = deque()
        self._chore_runs = False
        self._asked: Path | None = None
        self.list = ClipList()
        self.list.hide()
        self.list.chosen.connect(self.chosen)

    def show(self, path: Path) -> None:
        """List a folder's clips, or those beside a file."""
        self._asked = path
        find = find_clips if path.is_dir() else find_sibling_clips
        # In the background: a folder on a network drive may take seconds to answer.
        self._app_state.loads.submit(partial(find, path), partial(self._list, path), self._fail)

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
        said, analysed = "", False
        if curve is not None:
            said, analysed = self._result_words(curve)
        self.list.show_result(clip, said, analysed)

    def _list(self, asked: Path, found: tuple[Path, ...]) -> None:
        if self._asked != asked:  # another folder was opened, or review was left, while this one was read
            return
        folder = asked if asked.is_dir() else asked.parent
        self.list.set_clips(folder.name, found)
        self.list.setVisible(self._app_state.settings.side_panels)
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
        self._app_state.loads.submit(
            partial(make_thumbnail, clip, self._made_for()),
            partial(self._show_glance, clip),
            lambda _: self._show_glance(clip, NOTHING_SEEN),  # opening the clip will say what is wrong with it
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
        self._app_state.loads.submit(look, partial(self._found, clip), lambda _: self._found(clip, None))

    def _found(self, clip: Path, curve: Curve | None) -> None:
        self.show_result(clip, curve)
        self._chore_done()

    def _result_words(self, curve: Curve) -> tuple[str, bool]:
        engine = self._app_state.engine()
        if engine is None:
            return NO_NUMBER, False
        return result_words(curve, engine.finding)


def result_words(curve: Curve, finding: str) -> tuple[str, bool]:
    """What a clip (or pictures of their own) amounts to, and whether that is a number.

    The list says no number that the headline would not: of a vessel that pulsates none from less than a heart beat, and
    none where a few frames alone were measured. Pictures may be of different patients: only the number of a single one
    is said.
    """
    if curve.summary is not None and curve.is_quotable:
        return words.maximum_words(curve.summary, finding), True
    measured = curve.values[np.isfinite(curve.values)]
    if not len(measured):
        return NO_NUMBER, False
    if len(curve.values) > 1:
        return f"{len(measured)} of {len(curve.values)} measured", False
    if finding_of(finding).needs_aggregate:  # one picture is less than a heart beat
        return "measured", False
    if "²" in curve.unit:
        return f"{measured[0]:.0f} {curve.unit}", True
    return " ".join(words.big_number(float(measured[0]), curve.unit, finding)), True


# --- the list at the left of the picture ------------------------------------------------------------------------------


class ClipList(QFrame):
    """Shows clips; ``chosen`` is the one that was clicked."""

    chosen = Signal(object)  # Path

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sidebar")
        self.setAccessibleName("Clips of this folder")
        self.setFixedWidth(WIDTH_PX)
        self._title = PlainLabel()
        self._title.setProperty("role", "quiet")
        self._title.setContentsMargins(12, 10, 12, 4)
        self.list = QListWidget()
        self.list.setAccessibleName("Clips of this folder")
        self.list.setItemDelegate(_ClipDelegate(self.list))
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.list.setStyleSheet(f"QListWidget {{ border: none; background: {theme.SURFACE}; padding: 0; }}")
        self.list.itemClicked.connect(lambda item: self.chosen.emit(Path(item.data(_PATH))))
        self.list.itemActivated.connect(lambda item: self.chosen.emit(Path(item.data(_PATH))))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._title)
        column.addWidget(self.list, 1)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All clips of the list, in its order."""
        return tuple(Path(self.list.item(row).data(_PATH)) for row in range(self.list.count()))

    def set_clips(self, folder: str, paths: tuple[Path, ...]) -> None:
        """List these; what was known before is forgotten. A single clip needs no list: it gives its place up."""
        self.list.clear()
        width_px = WIDTH_PX
        if len(paths) < 2:
            width_px = 0
        self.setFixedWidth(width_px)
        self._title.setText(f"{folder} · {len(paths)}")
        for path in paths:
            item = QListWidgetItem(printable(path.name))
            item.setData(_PATH, str(path))
            item.setToolTip(tip(path.name))
            self.list.addItem(item)

    def select(self, path: Path) -> None:
        """Mark the clip that is open."""
        for row in range(self.list.count()):
            if self.list.item(row).data(_PATH) == str(path):
                self.list.setCurrentRow(row)
                return
        self.list.setCurrentRow(-1)

    def show_thumbnail(self, path: Path, pixels: Pixels | None) -> None:
        """The picture of a clip (RGB, read-only); None where it cannot be opened."""
        item = self._item(path)
        if item is None:
            return
        if pixels is None:
            item.setData(_SAID, "cannot be opened")
            return
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        item.setData(Qt.ItemDataRole.DecorationRole, QPixmap.fromImage(image.copy()))

    def show_result(self, path: Path, said: str, analysed: bool) -> None:
        """What is known of a clip: its largest value in words, and whether it is analysed."""
        item = self._item(path)
        if item is not None:
            item.setData(_SAID, said)
            item.setData(_DONE, analysed)

    def said(self, path: Path) -> str:
        """The words beside a clip."""
        item = self._item(path)
        if item is None:
            return ""
        return str(item.data(_SAID) or "")

    def _item(self, path: Path) -> QListWidgetItem | None:
        for row in range(self.list.count()):
            if self.list.item(row).data(_PATH) == str(path):
                return self.list.item(row)
        return None


class _ClipDelegate(QStyledItemDelegate):
    """One clip: the thumbnail, the name over it all, and what is known."""

    def sizeHint(self, _option: QStyleOptionViewItem, _index: QModelIndex | QPersistentModelIndex) -> QSize:
        return QSize(WIDTH_PX - 12, THUMB_PX.height() + 16)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        rect = option.rect
        state = option.state
        painter.save()
        if state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, QColor(theme.RAISED))
            painter.fillRect(QRect(rect.left(), rect.top(), 3, rect.height()), QColor(theme.ACCENT))
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(rect, QColor(theme.RAISED))
        place = QRect(rect.left() + 12, rect.top() + 8, THUMB_PX.width(), THUMB_PX.height())
        self._thumbnail(painter, place, index.data(Qt.ItemDataRole.DecorationRole))
        words = QRect(place.right() + 10, place.top(), rect.right() - place.right() - 16, place.height())
        self._words(painter, words, index)
        painter.restore()

    def _thumbnail(self, painter: QPainter, place: QRect, picture: QPixmap | None) -> None:
        painter.fillRect(place, QColor(theme.BACKGROUND))
        if picture is not None and not picture.isNull():
            size = picture.size().scaled(place.size(), Qt.AspectRatioMode.KeepAspectRatio)
            inner = QRect(place.center().x() - size.width() // 2, place.center().y() - size.height() // 2, 0, 0)
            inner.setSize(size)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawPixmap(inner, picture)

    def _words(self, painter: QPainter, place: QRect, index: QModelIndex | QPersistentModelIndex) -> None:
        painter.setFont(theme.font(theme.LABEL_PX))
        painter.setPen(QColor(theme.TEXT))
        metrics = painter.fontMetrics()
        name = str(index.data(Qt.ItemDataRole.DisplayRole))
        lines = _broken(name, place.width(), metrics.horizontalAdvance)
        for number, line in enumerate(lines[:2]):
            shown = metrics.elidedText(line, Qt.TextElideMode.ElideMiddle, place.width())
            painter.drawText(place.left(), place.top() + (number + 1) * metrics.height() - 4, shown)
        said = str(index.data(_SAID) or "")
        painter.setPen(QColor(theme.QUIET))
        if index.data(_DONE):  # a number, in the colour that it has on the picture
            painter.setPen(QColor(theme.CALIPER))
        wraps = Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft
        painter.drawText(place, int(wraps), said)


def _broken(name: str, width_px: int, width_of: object) -> list[str]:
    """A file name in two lines: broken where the first is full."""
    assert callable(width_of)
    fits = len(name)
    while fits > 4 and width_of(name[:fits]) > width_px:
        fits -= 1
    if fits == len(name):
        return [name]
    return [name[:fits], name[fits:]]


class ClipWork:
    """Bookmarks and corrections of the clip that is open, and what was said of it; kept with its content.

    What earlier sessions left comes a moment later.
    """

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
