"""Where everything is in the window, and what of it is shown: by mode, by the window's size, by the user's wish."""

from __future__ import annotations

from PySide6.QtCore import QObject, QRect, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedLayout, QVBoxLayout, QWidget

from usviewer.view import theme
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Canvas
from usviewer.view.notify import Notify
from usviewer.view.panels import SidePanel
from usviewer.view.reading_panel import ReadingPanel
from usviewer.view.window_bars import SourceBar, StatusLine

# The column of readings takes this share of a wide window, so that its letters grow with it.
_READINGS_SHARE, _MOST_READINGS_PX = 0.215, 440
_MESSAGE_PX = (240, 760)  # least and most: a longer line is hard to read


class WindowLayout(QObject):
    """Places the parts of one window. ``arranged`` tells that it was done, with whether a clip is under review."""

    arranged = Signal(bool)
    picture_shown = Signal()

    def __init__(
        self,
        window: QWidget,
        app_state: AppState,
        canvas: Canvas,
        notify: Notify,
        welcome: QWidget,
        source_bar: SourceBar,
        side_panel: SidePanel,
        readings: ReadingPanel,
        status_line: StatusLine,
    ) -> None:
        super().__init__(window)
        self._window, self._app_state, self._canvas, self._notify = window, app_state, canvas, notify
        self._welcome, self._source_bar, self._side_panel, self._readings = welcome, source_bar, side_panel, readings
        self._clips: QWidget | None = None
        self._timeline: QWidget | None = None
        self._reviewing = self._full_screen = False
        self._place = _Place()
        self._place.setMinimumSize(theme.PICTURE_LEAST_PX, theme.PICTURE_LOWEST_PX)
        self._place.resized.connect(self.place_message)
        self._stack = QStackedLayout(self._place)
        self._stack.addWidget(welcome)
        self._stack.addWidget(canvas)
        notify.setParent(self._place)
        notify.changed.connect(self.place_message)
        self._middle, self._row = QVBoxLayout(), QHBoxLayout()
        self._middle.setSpacing(0)
        self._middle.addWidget(self._place, 1)
        self._row.setSpacing(0)
        self._row.addLayout(self._middle, 1)
        self._row.addWidget(side_panel)
        self._row.addWidget(readings)
        column = QVBoxLayout(window)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(source_bar)
        column.addLayout(self._row, 1)
        column.addWidget(status_line)
        side_panel.changed.connect(self.arrange)

    def add_strip(self, strip: QWidget) -> None:
        """One more strip under the picture; it shows and hides itself."""
        self._middle.addWidget(strip)

    def add_review(self, clips: QWidget, timeline: QWidget) -> None:
        """The list of clips at the left and the timeline at the foot."""
        self._clips, self._timeline = clips, timeline
        self._row.insertWidget(0, clips)
        self._middle.addWidget(timeline)

    # -- what is shown

    def show_welcome(self) -> None:
        """The three ways to begin."""
        self._stack.setCurrentWidget(self._welcome)
        self.arrange()

    def show_picture(self) -> None:
        """The place of the picture, which may be still to come."""
        self._stack.setCurrentWidget(self._canvas)
        self._canvas.setFocus()
        self.arrange()
        self.picture_shown.emit()

    @property
    def welcoming(self) -> bool:
        """True while no source is open."""
        return self._stack.currentWidget() is self._welcome

    def set_reviewing(self, reviewing: bool) -> None:
        """Show what belongs to a clip under review, or to a live source."""
        self._reviewing = reviewing
        self.arrange()

    def set_side_panels(self, shown: bool) -> None:
        """Show or fold the readings and the timeline."""
        self._app_state.set_setting("side_panels", shown)
        self.arrange()

    @property
    def full_screen(self) -> bool:
        """Whether picture and number stand alone."""
        return self._full_screen

    def set_full_screen(self, on: bool) -> None:
        """Picture and number alone, or everything."""
        self._full_screen = on
        if on:
            self._window.showFullScreen()
        else:
            self._window.showNormal()
        self.arrange()

    def arrange(self) -> None:
        """Show what belongs to the mode, unless it is folded away."""
        shown = self._app_state.settings.side_panels and not self.welcoming
        self._readings.setVisible(shown)
        self._source_bar.setVisible(not self._full_screen)
        self._readings.set_buttons_visible(not self._full_screen)
        self.arranged.emit(self._reviewing)
        if self._timeline is not None and self._clips is not None:
            reviewing = self._reviewing and shown and not self._full_screen
            self._timeline.setVisible(reviewing)
            self._clips.setVisible(reviewing and self._has_room_for(self._clips))

    def _has_room_for(self, clips: QWidget) -> bool:
        """In a small window the list of clips gives way to an open panel: nothing is covered."""
        sides_px = self._readings.maximumWidth() + clips.maximumWidth()
        if self._side_panel.current:
            sides_px += self._side_panel.width()
        return self._window.width() - sides_px >= theme.PICTURE_LEAST_PX

    def fit(self) -> None:
        """Follow the size of the window."""
        width_px = self._window.width()
        self._side_panel.fit(width_px)
        wanted_px = max(theme.RAIL_WIDTH_PX, round(width_px * _READINGS_SHARE))
        self._readings.set_width(min(_MOST_READINGS_PX, wanted_px))
        self.arrange()
        self.place_message()

    def place_message(self) -> None:
        """Keep the message that floats over the picture in its place."""
        width, height = self._place.width(), self._place.height()
        least, most = _MESSAGE_PX
        # It floats: in the layout it would shrink the picture each time something is said.
        wide = max(least, min(most, width - 32))
        tall = max(self._notify.heightForWidth(wide), 56)
        self._notify.setGeometry(QRect((width - wide) // 2, height - tall - 16, wide, tall))


class _Place(QWidget):
    """Where the picture is; tells when its size has changed."""

    resized = Signal()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()
