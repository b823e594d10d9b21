"""The hand's tools on the picture: calipers, ellipse, correcting a mask, two-point calibration.

What is drawn by hand belongs to one picture: it is shown again when exactly that picture is, and on no other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QPainter, QTransform

from usviewer.calibrate.calibration import spacing_from_points
from usviewer.errors import UserError
from usviewer.frame import Frame, FrameKey, ImageGeometry, Mask, Pixels
from usviewer.infer.prediction import Edge
from usviewer.measure import manual
from usviewer.measure.reading import Provenance, Reading
from usviewer.overlay import palette, words
from usviewer.overlay.items import Anchor, CaliperMark, Item, LineStyle, Outline, Text
from usviewer.overlay.palette import Size
from usviewer.units import Box, Point
from usviewer.view.app_state import AppState
from usviewer.view.canvas import Canvas
from usviewer.view.mask_tool import MaskTool
from usviewer.view.notify import Notify
from usviewer.view.tools import CaliperTool, EllipseTool, PointsTool, Segment, Tool

MOST_PICTURES = 64
# Handles that are nearer to one another on the screen cannot be told apart by a finger.
HANDLE_EVERY_PX = 28.0
KeepEdit = Callable[[Frame, manual.Edit | None], None]  # None: the automatic outline again


class DefaultTool(Tool, Protocol):
    """A tool that takes the hand's events while no tool of the hand's own is taken up."""

    def undo(self) -> bool:
        """Take its last step back; False when there is none."""


class ManualTool(StrEnum):
    """What the hand is doing."""

    NOTHING = ""
    CALIPER = "caliper"
    ELLIPSE = "ellipse"
    CORRECT = "correct"
    CALIBRATE = "calibrate"


@dataclass(slots=True, eq=False)
class _Drawn:
    """The shapes on one picture."""

    calipers: CaliperTool
    ellipse: EllipseTool

    @property
    def empty(self) -> bool:
        return not self.calipers.segments and self.ellipse.shape is None


@dataclass(frozen=True, slots=True, eq=False)
class _Correction:
    """The picture under correction: what the model said, what the outline is called, and who keeps the edits."""

    frame: Frame
    automatic: Reading
    label: str
    class_index: int
    classes: tuple[str, ...]
    edge: Edge
    keep: KeepEdit
    was_edited: bool = False


class ToolController(QObject):
    """Holds the chosen tool and the shapes of every picture; the canvas hands it the events as its one tool."""

    changed = Signal()

    def __init__(self, app_state: AppState, canvas: Canvas, notify: Notify, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app_state, self._canvas, self._notify = app_state, canvas, notify
        self._drawn: OrderedDict[str, _Drawn] = OrderedDict()
        self._chosen = ManualTool.NOTHING
        self._points = PointsTool(self._pixels, self._points_changed)
        self._marked_px: tuple[int, int] | None = None
        self._mask: MaskTool | None = None
        self._correcting: _Correction | None = None
        self._under: DefaultTool | None = None
        app_state.shown_changed.connect(self._follow)

    # -- choosing

    @property
    def chosen(self) -> ManualTool:
        """The tool in hand."""
        return self._chosen

    def choose(self, tool: ManualTool) -> None:
        """Take a tool up, or put it away when it is in hand already."""
        if self._frame() is None:
            return
        if tool is self._chosen:
            self.cancel_tool()
            return
        self.cancel_tool()
        self._chosen = tool
        if tool is ManualTool.CALIBRATE:
            self._points.clear()
        self._follow()
        self._canvas.setFocus()

    def set_default_tool(self, tool: DefaultTool | None) -> None:
        """What the hand does on the picture without a tool of its own; None: nothing."""
        self._under = tool
        self._follow()

    def cancel_tool(self) -> bool:
        """Lay the tool down; what was drawn stays. False when there was none in hand."""
        had = self._chosen is not ManualTool.NOTHING
        self._chosen, self._mask, self._correcting = ManualTool.NOTHING, None, None
        self._follow()
        return had

    def correct(
        self, automatic: Reading | None, labels: tuple[str, ...], keep: KeepEdit, edge: Edge = Edge.NOT_STATED
    ) -> None:
        """Correct the mask of the picture on the screen; again to end it. ``keep`` is told after every gesture.

        ``automatic`` is the model's own reading of it. ``labels`` are the model's classes: the first is drawn where the
        model has found nothing, with ``edge`` as its convention.
        """
        if self._chosen is ManualTool.CORRECT:
            self.cancel_tool()
            return
        frame, reading = self._frame(), self._app_state.on_screen.reading
        if frame is None or reading is None or automatic is None:
            raise UserError("This picture has not been analysed yet", "Wait until the analysis has reached it")
        self.cancel_tool()
        label, number = _first_label(reading, labels)
        known = reading.edge if reading.outlines_xy_px else edge
        self._correcting = _Correction(
            frame, automatic, label, number, labels, known, keep, reading.provenance is Provenance.EDITED
        )
        outline = next((o for o in reading.outlines_xy_px if len(o) >= 3), np.empty((0, 2)))
        size_px = frame.size_px
        spacing_px = HANDLE_EVERY_PX / max(1e-6, self._canvas.image_to_screen().m11())
        self._mask = MaskTool(manual.fill_outline(outline, size_px), self._mask_changed, spacing_px)
        self._mask.set_radius(max(4.0, min(size_px) / 50))
        self._chosen = ManualTool.CORRECT
        self._follow()
        self._canvas.setFocus()

    # -- what is drawn

    def readings(self) -> tuple[Reading, ...]:
        """The measurements drawn on the picture on the screen."""
        frame, drawn = self._frame(), self._shapes()
        if frame is None or drawn is None:
            return ()
        found = [manual.caliper(frame.key, start, end, frame.geometry) for start, end in drawn.calipers.segments]
        if drawn.ellipse.shape is not None:
            found.append(manual.ellipse(frame.key, *drawn.ellipse.shape, frame.geometry))
        return tuple(found)

    def items(self) -> tuple[Item, ...]:
        """The same as they are drawn into a picture that is kept."""
        items: list[Item] = []
        for reading in self.readings():
            items += _items_of(reading)
        return tuple(items)

    def clear(self) -> None:
        """Take everything that was drawn on this picture away."""
        frame = self._frame()
        if frame is not None:
            self._drawn.pop(frame.key.digest, None)
        self._points.clear()
        self._follow()

    def undo(self) -> bool:
        """Take the last step of the tool in hand back; False when there is none."""
        drawn = self._shapes()
        if self._chosen is ManualTool.NOTHING and self._under is not None:
            done = self._under.undo()
        elif self._mask is not None:
            done = self._mask.undo()
        elif self._chosen is ManualTool.ELLIPSE or (drawn is not None and not drawn.calipers.segments):
            done = drawn is not None and drawn.ellipse.key(Qt.Key.Key_Delete)
        else:
            done = drawn is not None and drawn.calipers.key(Qt.Key.Key_Delete)
        self._follow()
        return done

    # -- the mask

    @property
    def mask(self) -> MaskTool | None:
        """The mask under correction."""
        return self._mask

    def restore_automatic(self) -> None:
        """Throw the correction of this picture away and take the model's outline again."""
        if self._correcting is None or self._mask is None:
            return
        frame, automatic = self._correcting.frame, self._correcting.automatic
        outline = next((o for o in automatic.outlines_xy_px if len(o) >= 3), np.empty((0, 2)))
        self._mask.replace(manual.fill_outline(outline, frame.size_px))
        self._correcting.keep(frame, None)
        self._told()

    def _mask_changed(self, mask: Mask) -> None:
        now = self._correcting
        if now is not None:
            digest = now.frame.key.digest
            edit = manual.edit_of(mask, digest, 0, now.label, now.class_index, now.edge, now.classes)
            untouched = self._mask is not None and not self._mask.can_undo and not now.was_edited
            now.keep(now.frame, None if untouched else edit)  # all was undone: it is the model's own outline again
            self._told()

    # -- the scale

    @property
    def points(self) -> tuple[Point, ...]:
        """The marks of the calibration, none to two."""
        return tuple(self._points.points)

    def set_scale(self, distance_mm: float) -> None:
        """Use the distance of the two marks as the scale of this source. Raises ``UserError``."""
        if len(self._points.points) < 2:
            raise UserError("Two marks are needed", "Mark both ends of a known distance, best of the whole depth ruler")
        first, last = self._points.points
        self._app_state.set_user_spacing(spacing_from_points(first, last, distance_mm))
        self._notify.tell(f"Scale set: {distance_mm:g} mm between the two marks.", key="scale")
        self.cancel_tool()

    def _points_changed(self) -> None:
        self._marked_px = self._size_px()
        self._told()

    def _size_px(self) -> tuple[int, int] | None:
        frame = self._frame()
        return None if frame is None else frame.size_px

    # -- the canvas's tool: passes the events on to the tool in hand

    def press(self, at_xy_px: Point, button: Qt.MouseButton, reach_px: float) -> bool:
        tool = self._tool_at(at_xy_px, reach_px)
        self._pressed = tool
        return tool is not None and tool.press(at_xy_px, button, reach_px)

    def move(self, at_xy_px: Point) -> bool:
        tool = self._pressed or self._in_hand()
        return tool is not None and tool.move(at_xy_px)

    def release(self, at_xy_px: Point, button: Qt.MouseButton) -> bool:
        tool, self._pressed = self._pressed, None
        return tool is not None and tool.release(at_xy_px, button)

    def key(self, key: int) -> bool:
        tool = self._in_hand()
        return tool is not None and tool.key(key)

    def paint(self, painter: QPainter, to_screen: QTransform) -> None:
        if self._app_state.style.hidden:
            return
        drawn = self._shapes()
        if drawn is not None:
            taken: list[Box] = []
            drawn.ellipse.paint(painter, to_screen, taken)
            drawn.calipers.paint(painter, to_screen, taken)
        if self._chosen is ManualTool.CALIBRATE:
            self._points.paint(painter, to_screen)
        if self._mask is not None:
            self._mask.paint(painter, to_screen)
        elif self._under is not None:
            self._under.paint(painter, to_screen)

    _pressed: Tool | None = None

    def _in_hand(self) -> Tool | None:
        if self._chosen is ManualTool.CORRECT:
            return self._mask
        if self._chosen is ManualTool.CALIBRATE:
            return self._points
        if self._chosen in (ManualTool.CALIPER, ManualTool.ELLIPSE):
            drawn = self._shapes(make=True)
            assert drawn is not None
            return drawn.calipers if self._chosen is ManualTool.CALIPER else drawn.ellipse
        return self._under

    def _tool_at(self, at: Point, reach_px: float) -> Tool | None:
        """The tool in hand; without one, the shape whose handle lies there."""
        if self._chosen is not ManualTool.NOTHING:
            return self._in_hand()
        drawn = self._shapes()
        if drawn is None:
            return self._under
        return next((tool for tool in (drawn.calipers, drawn.ellipse) if tool.takes(at, reach_px)), self._under)

    # -- following the picture

    def _frame(self) -> Frame | None:
        return self._app_state.on_screen.frame

    def _pixels(self) -> Pixels | None:
        frame = self._frame()
        return frame.pixels if frame is not None else None

    def _shapes(self, *, make: bool = False) -> _Drawn | None:
        frame = self._frame()
        if frame is None:
            return None
        if make and frame.key.digest not in self._drawn:
            self._drawn[frame.key.digest] = self._new_shapes()
            while len(self._drawn) > MOST_PICTURES:
                self._drawn.popitem(last=False)
        return self._drawn.get(frame.key.digest)

    def _new_shapes(self) -> _Drawn:
        def length(start: Point, end: Point) -> str:
            return self._say(manual.caliper, start, end)

        def ellipse(axis: Segment, half_width_px: float) -> str:
            return self._say(manual.ellipse, axis, half_width_px)

        return _Drawn(CaliperTool(length, self._told), EllipseTool(ellipse, self._told))

    def _say(self, measure: Callable[..., Reading], *shape: object) -> str:
        frame = self._frame()
        key: FrameKey | None = frame.key if frame is not None else None
        geometry: ImageGeometry | None = frame.geometry if frame is not None else None
        return words.beside_words(measure(key, *shape, geometry))

    def _follow(self) -> None:
        """Another picture or another tool: what can be taken by the hand, and what is said about it."""
        if self._correcting is not None:
            frame = self._frame()
            if frame is None or frame.key.digest != self._correcting.frame.key.digest:
                self._chosen, self._mask, self._correcting = ManualTool.NOTHING, None, None
        if self._points.points and self._size_px() != self._marked_px:
            self._points.clear()  # marks on a picture of another size would scale this one wrongly
        drawn = self._shapes()
        working = self._chosen is not ManualTool.NOTHING or self._under is not None
        in_use = working or (drawn is not None and not drawn.empty)
        self._canvas.set_tool(self if in_use else None)
        self._canvas.setCursor(Qt.CursorShape.CrossCursor if working else Qt.CursorShape.ArrowCursor)
        self._told()

    def _told(self) -> None:
        self._canvas.update()
        self.changed.emit()


def _first_label(reading: Reading, labels: tuple[str, ...]) -> tuple[str, int]:
    """What the corrected outline is called, and its class."""
    own = reading.labels[0] if reading.labels and reading.outlines_xy_px else reading.label
    if own in labels:
        return own, labels.index(own)
    return (labels[0], 0) if labels else (own or reading.finding, 0)


def _items_of(reading: Reading) -> list[Item]:
    said = words.beside_words(reading).replace("\n", ", ")
    if reading.finding == manual.CALIPER:
        ends = reading.measurements[0].ends_xy_px
        assert ends is not None
        right = max(ends, key=lambda end: end[0])
        return [CaliperMark(ends, palette.MANUAL, LineStyle.DASHED), _beside(said, right)]
    outline = reading.outlines_xy_px[0]
    right = outline[int(np.argmax(outline[:, 0]))]
    return [Outline(outline, palette.MANUAL, LineStyle.DASHED), _beside(said, (float(right[0]), float(right[1])))]


def _beside(said: str, at: Point) -> Text:
    return Text((at[0] + 8.0, at[1] - 4.0), said, Anchor.BOTTOM_LEFT, Size.BODY, palette.MANUAL)
