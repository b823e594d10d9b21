"""The clips of a folder at the left of the picture: thumbnail, name, largest value, analysed or not."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
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

from usviewer.frame import Pixels
from usviewer.plain_text import printable
from usviewer.view import theme
from usviewer.view.plain import PlainLabel, tip

WIDTH_PX = 216
THUMB_PX = QSize(88, 60)
_PATH, _SAID, _DONE = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1, Qt.ItemDataRole.UserRole + 2


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
        self.setFixedWidth(WIDTH_PX if len(paths) > 1 else 0)
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
        return str(item.data(_SAID) or "") if item is not None else ""

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
        painter.setPen(QColor(theme.CALIPER if index.data(_DONE) else theme.QUIET))
        wraps = Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft
        painter.drawText(place, int(wraps), said)


def _broken(name: str, width_px: int, width_of: object) -> list[str]:
    """A file name in two lines: broken where the first is full."""
    assert callable(width_of)
    fits = len(name)
    while fits > 4 and width_of(name[:fits]) > width_px:
        fits -= 1
    return [name] if fits == len(name) else [name[:fits], name[fits:]]
