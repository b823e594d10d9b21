"""The actions of pointing: what is clicked on is outlined, named, followed through the clip, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from usviewer.view.action import Action, Needs


def _follow(*, forwards: bool, backwards: bool) -> Callable[[Any], None]:
    return lambda window: window.prompt.follow(forwards=forwards, backwards=backwards)


ACTIONS: tuple[Action, ...] = (
    Action(
        "point", "Point at it", "Click on a structure and it is outlined; right click excludes, drag draws a box",
        lambda window: window.prompt.toggle(), key="P", icon="point", needs=Needs.FRAME, group="Point",
        holds_still=True,
        checked=lambda window: window.prompt is not None and window.prompt.on,
    ),
    Action(
        "point_new", "Another structure", "What is clicked on next is another structure",
        lambda window: window.prompt.begin(), key="N", needs=Needs.FRAME, group="Point",
    ),
    Action(
        "point_next", "Next structure", "Work on the next of the structures that were pointed at",
        lambda window: window.prompt.next_structure(), key="Shift+N", needs=Needs.FRAME, group="Point",
    ),
    Action(
        "point_clear", "Clear this picture", "Take what was pointed at on this picture away",
        lambda window: window.prompt.clear(), key="Ctrl+Delete", needs=Needs.FRAME, group="Point",
    ),
    Action(
        "point_clear_all", "Clear all outlines", "Take everything that was pointed at away, on every picture",
        lambda window: window.prompt.clear_all(), key="Ctrl+Shift+Delete", needs=Needs.FRAME, group="Point",
    ),
    Action(
        "follow_on", "Follow forwards", "Follow the outline from here to the end of the clip",
        _follow(forwards=True, backwards=False), key="F", needs=Needs.REVIEW, group="Point",
    ),
    Action(
        "follow_back", "Follow backwards", "Follow the outline from here to the start of the clip",
        _follow(forwards=False, backwards=True), key="Shift+F", needs=Needs.REVIEW, group="Point",
    ),
    Action(
        "follow_both", "Follow both ways", "Follow the outline from here to both ends of the clip",
        _follow(forwards=True, backwards=True), key="Ctrl+F", needs=Needs.REVIEW, group="Point",
    ),
    Action(
        "follow_stop", "Stop following", "Stop following; what was followed so far stays",
        lambda window: window.prompt.stop_following(), key="Shift+Escape", needs=Needs.FRAME, group="Point",
    ),
    Action(
        "point_brush", "Correct what was outlined", "Reshape or paint the outline that was pointed at",
        lambda window: window.prompt.correct(), key="Shift+X", needs=Needs.FRAME, group="Point",
    ),
    Action(
        "point_take", "Take as corrections", "Put the outlines in the place of the model's own, as corrections of it",
        lambda window: window.prompt.take_as_corrections(), key="Shift+T", needs=Needs.REVIEW, group="Point",
    ),
    Action(
        "point_export", "Export the outlines", "Write tables, masks (COCO) and a clip of what was pointed at",
        lambda window: window.prompt.export(window.keep.folder()), key="Shift+E", needs=Needs.REVIEW, group="Point",
    ),
)  # fmt: skip
