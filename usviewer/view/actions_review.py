"""The actions of review, of the hand's tools, and of keeping things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from usviewer.view.action import Action, Needs
from usviewer.view.tool_controller import ManualTool


def _hold_still(window: Any) -> None:
    """What is measured by hand belongs to one picture: a live one is frozen first."""
    if window.live.active and not window.live.frozen:
        window.live.freeze()


def _take_up(tool: ManualTool) -> Callable[[Any], None]:
    def run(window: Any) -> None:
        if window.hand.chosen is not tool and tool is not ManualTool.CALIBRATE:
            _hold_still(window)
        window.hand.choose(tool)

    return run


def _correct(window: Any) -> None:
    review, engine = window.review, window.desk.engine()
    labels = engine.labels if engine is not None else ()
    if window.prompt.on and window.prompt.prompts():
        window.prompt.correct()
        return
    if review.playing:
        review.play_or_pause()
    window.hand.correct(review.automatic(), labels, review.keep_edit, review.usual_edge())


def _save(window: Any) -> None:
    now = window.desk.to_keep()
    hand, pointed = window.hand, window.prompt.prompts()
    window.keep.save_picture(hand.items(), hand.readings(), window.findings(), pointed, now)


def _save_shown(window: Any, shown: Any) -> None:
    """Before the tools were loaded nothing can have been drawn or pointed at."""
    window.keep.save_picture(shown=shown)


def _in_hand(tool: ManualTool) -> Callable[[Any], bool]:
    return lambda window: window.hand is not None and window.hand.chosen is tool


_MOVING = (
    Action(
        "play", "Play / pause", "Play the clip from here, or stay here", lambda window: window.review.play_or_pause(),
        key="Space", icon="play", needs=Needs.REVIEW, group="Review", checked=lambda window: window.review.playing,
    ),
    Action(
        "step_back", "One frame back", "The frame before", lambda window: window.review.step(-1),
        key="Left", icon="step_back", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "step_on", "One frame on", "The next frame", lambda window: window.review.step(1),
        key="Right", icon="step_on", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "second_back", "One second back", "A second back, by the clip's own times",
        lambda window: window.review.skip(-1.0), key="Shift+Left", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "second_on", "One second on", "A second on, by the clip's own times",
        lambda window: window.review.skip(1.0), key="Shift+Right", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "first_frame", "First frame", "To the start of the clip", lambda window: window.review.go(0),
        key="Ctrl+Home", icon="first", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "last_frame", "Last frame", "To the end of the clip", lambda window: window.review.go(-1),
        key="Ctrl+End", icon="last", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "maximum", "Largest diameter", "To the frame with the largest diameter",
        lambda window: window.review.go_to_maximum(), key="Home", icon="maximum", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "slower", "Slower", "Play slower, down to a quarter of the clip's own rate",
        lambda window: window.review.change_rate(-1), key=",", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "faster", "Faster", "Play faster, up to four times the clip's own rate",
        lambda window: window.review.change_rate(1), key=".", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "loop", "Loop", "Loop two seconds round this frame, or end the loop",
        lambda window: window.review.loop_here(), key="Shift+L", icon="loop", needs=Needs.REVIEW, group="Review",
        checked=lambda window: window.review.looping,
    ),
    Action(
        "loop_start", "Loop from here", "Begin the looped range at this frame",
        lambda window: window.review.loop_from_here(end=False), key="[", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "loop_end", "Loop to here", "End the looped range at this frame",
        lambda window: window.review.loop_from_here(end=True), key="]", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "bookmark", "Bookmark", "Bookmark this frame, or take its bookmark away",
        lambda window: window.review.bookmark(), key="B", icon="bookmark", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "next_bookmark", "Next bookmark", "To the next bookmarked frame",
        lambda window: window.review.go_to_bookmark(1), key="Shift+B", needs=Needs.REVIEW, group="Review",
    ),
    Action(
        "last_bookmark", "Bookmark before", "To the bookmarked frame before this one",
        lambda window: window.review.go_to_bookmark(-1), key="Ctrl+B", needs=Needs.REVIEW, group="Review",
    ),
)  # fmt: skip

_HAND = (
    Action(
        "caliper", "Caliper", "Measure straight lengths by hand; a live picture is frozen first",
        _take_up(ManualTool.CALIPER), key="C", icon="caliper", needs=Needs.FRAME, group="Measure", holds_still=True,
        checked=_in_hand(ManualTool.CALIPER),
    ),
    Action(
        "ellipse", "Ellipse", "Measure an ellipse by hand; a live picture is frozen first",
        _take_up(ManualTool.ELLIPSE), key="E", icon="ellipse", needs=Needs.FRAME, group="Measure", holds_still=True,
        checked=_in_hand(ManualTool.ELLIPSE),
    ),
    Action(
        "correct", "Correct the mask", "Move, reshape or redraw the outline; the number is measured anew, as edited",
        _correct, key="X", icon="correct", needs=Needs.REVIEW, group="Measure", checked=_in_hand(ManualTool.CORRECT),
    ),
    Action(
        "calibrate", "Two-point scale", "Mark two points a known distance apart: the millimetres of this source",
        _take_up(ManualTool.CALIBRATE), key="K", icon="calibrate", needs=Needs.FRAME, group="Measure",
        checked=_in_hand(ManualTool.CALIBRATE),
    ),
    Action(
        "undo", "Undo", "Take the last step of the tool in hand back", lambda window: window.hand.undo(),
        key="Ctrl+Z", icon="undo", needs=Needs.FRAME, group="Measure",
    ),
    Action(
        "clear_hand", "Remove drawings", "Take everything drawn by hand on this picture away",
        lambda window: window.hand.clear(), key="Shift+Delete", needs=Needs.FRAME, group="Measure",
    ),
)  # fmt: skip

_KEEP = (
    Action(
        "save", "Save", "Save this picture with its overlay and numbers, and its JSON",
        _save, key="S", icon="save", needs=Needs.FRAME, group="Keep", shown=_save_shown,
    ),
    Action(
        "record", "Record", "Record what is shown, annotated and raw; again to finish",
        lambda window: window.keep.toggle_recording(), key="R", icon="record", needs=Needs.FRAME, group="Keep",
        checked=lambda window: window.keep is not None and window.keep.recording,
    ),
    Action(
        "export_corrections", "Export corrections", "Write the corrected pictures of this clip as a training set",
        lambda window: window.keep.export_corrections(window.review), key="Ctrl+E", icon="export",
        needs=Needs.REVIEW, group="Keep",
    ),
)  # fmt: skip

ACTIONS: tuple[Action, ...] = _MOVING + _HAND + _KEEP
