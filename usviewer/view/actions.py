"""Every command of the window, as data, and the controllers that they work on.

Menus, buttons, the key map and the tests are built from these records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, get_args

from PySide6.QtGui import QKeySequence

from usviewer.measure.reading import Plane, Site
from usviewer.overlay.scene import MaskStyle
from usviewer.plain_text import printable
from usviewer.view.app_state import AppState, Displayed
from usviewer.view.canvas import Canvas
from usviewer.view.late_parts import LateParts
from usviewer.view.live_controller import LiveController
from usviewer.view.notify import Notify
from usviewer.view.panels import SidePanel
from usviewer.view.presenter import Presenter
from usviewer.view.source_controller import SourceController
from usviewer.view.tool_controller import ManualTool, ToolController
from usviewer.view.window_layout import WindowLayout

if TYPE_CHECKING:  # these are loaded in the background
    from usviewer.view.capture_controller import CaptureController
    from usviewer.view.prompt_controller import PromptController
    from usviewer.view.review_controller import ReviewController
    from usviewer.view.tracking_controller import TrackingController

# The headings of the key map, in its order.
Group = Literal["Measure", "Keep", "Source", "Review", "Exam", "View", "Panels", "Point"]
GROUPS: tuple[Group, ...] = get_args(Group)
# What the hand, pointing and keeping need is loaded in the background in the window's first seconds.
_LOADED_LATER: tuple[Group, ...] = ("Measure", "Point", "Keep")


@dataclass(frozen=True, slots=True)
class Controllers:
    """Everything that an action of the window may work on."""

    app_state: AppState
    presenter: Presenter
    canvas: Canvas
    notify: Notify
    live: LiveController
    sources: SourceController
    side_panel: SidePanel
    layout: WindowLayout
    late: LateParts

    @property
    def tools(self) -> ToolController:
        """The hand's tools, once they are loaded."""
        return self.late.needed.tools

    @property
    def capture(self) -> CaptureController:
        """Pictures and recordings, once they are loaded."""
        return self.late.needed.capture

    @property
    def review(self) -> ReviewController:
        """The clip under review, once that is loaded."""
        return self.late.needed.review

    @property
    def prompt(self) -> PromptController:
        """Pointing, once it is loaded."""
        return self.late.needed.prompt

    @property
    def tracking(self) -> TrackingController:
        """Following what was pointed at, once it is loaded."""
        return self.late.needed.tracking


class Needs(StrEnum):
    """What must be there for an action to make sense; without it the action is greyed."""

    NOTHING = "nothing"
    SOURCE = "source"
    FRAME = "frame"
    LIVE = "live"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Action:
    """One command of the window.

    ``key`` is the key as Qt writes it ("Ctrl+Z"), changeable by the user. ``checked`` says whether a switch is on; None
    for what is not a switch. ``released`` makes it a command that lasts while its key is held. ``shown`` does it with
    what was on the screen when the key was pressed. ``holds_still``: a live picture is frozen first. ``icon`` names a
    file of ``resources/icons``. ``group`` is its heading in the key map; some are loaded later (``_LOADED_LATER``).
    """

    id: str
    text: str
    tooltip: str
    run: Callable[[Controllers], object]
    key: str = ""
    icon: str = ""
    needs: Needs = Needs.NOTHING
    group: Group = "View"
    checked: Callable[[Controllers], bool] | None = None
    released: Callable[[Controllers], None] | None = None
    shown: Callable[[Controllers, Displayed], None] | None = None
    holds_still: bool = False

    @property
    def is_loaded_later(self) -> bool:
        """Whether it works on what is still being loaded in the window's first seconds."""
        return self.group in _LOADED_LATER and self.id != "freeze"


# --- what takes more than one call ------------------------------------------------------------------------------------

# None: the plane that the outline shows.
_PLANES = (None, Plane.TRANSVERSE, Plane.LONGITUDINAL)
_MASKS = tuple(MaskStyle)


def _dismiss(do: Controllers) -> None:
    """The topmost thing that is open."""
    late = do.late.made
    # Escape must not do two things at once: the order is from what lies on top to what lasts longest.
    if do.side_panel.current:
        do.side_panel.close_panel()
    elif late is not None and late.tools.cancel_tool():
        pass
    elif do.notify.current is not None:
        do.notify.dismiss()
    elif do.layout.full_screen:
        do.layout.set_full_screen(False)
    elif late is not None and late.prompt.on:
        late.prompt.toggle()


def _next_mask(do: Controllers) -> None:
    """Outline, fill, nothing, outline ..."""
    at = _MASKS.index(do.app_state.style.mask)
    do.app_state.set_setting("mask", str(_MASKS[(at + 1) % len(_MASKS)]))


def _next_plane(do: Controllers) -> None:
    given = do.app_state.given
    do.app_state.set_given(replace(given, plane=_PLANES[(_PLANES.index(given.plane) + 1) % len(_PLANES)]))


def _correct(do: Controllers) -> None:
    """The outline that was pointed at, where there is one; else the model's own."""
    review, engine = do.review, do.app_state.engine()
    if do.prompt.on and do.prompt.prompts():
        do.prompt.correct()
        return
    if review.playing:  # a correction belongs to one picture
        review.play_or_pause()
    labels: tuple[str, ...] = ()
    if engine is not None:
        labels = engine.labels
    do.tools.correct(review.automatic(), labels, review.keep_edit, review.usual_edge())


def _save(do: Controllers) -> None:
    now, tools = do.presenter.to_keep(), do.tools
    do.capture.save_picture(tools.items(), tools.readings(), do.presenter.report(), do.prompt.prompts(), now)


def _save_shown(do: Controllers, shown: Displayed) -> None:
    """Before the tools were loaded nothing can have been drawn or pointed at."""
    do.capture.save_picture(shown=shown)


# --- kinds of actions -------------------------------------------------------------------------------------------------


def _panel(name: str, text: str, tooltip: str, key: str, icon: str = "", group: Group = "Panels") -> Action:
    """Opens a panel beside the picture, or closes it."""
    return Action(
        name, text, tooltip, lambda do: do.side_panel.toggle(name), key, icon or name, group=group,
        checked=lambda do: do.side_panel.current == name,
    )  # fmt: skip


def _site(number: int, site: Site, text: str) -> Action:
    """Says where the vessel is cut; said again, it is taken back."""

    def run(do: Controllers) -> None:
        given = do.app_state.given
        chosen = site
        if given.site is site:
            chosen = Site.NOT_SET
        do.app_state.set_given(replace(given, site=chosen))

    tooltip = f"This is the {text[0].lower()}{text[1:]}; again: not set"
    return Action(
        f"site_{site.name.lower()}", text, tooltip, run, str(number), needs=Needs.FRAME, group="Exam",
        checked=lambda do: do.app_state.given.site is site,
    )  # fmt: skip


def _review(
    name: str, text: str, tooltip: str, run: Callable[[Controllers], object], key: str, icon: str = ""
) -> Action:
    """Moves through the clip under review."""
    return Action(name, text, tooltip, run, key, icon, Needs.REVIEW, "Review")


def _tool(tool: ManualTool, text: str, tooltip: str, key: str, *, holds_still: bool) -> Action:
    """Takes up a tool of the hand. What is measured by hand belongs to one picture: a live one is frozen first."""

    def run(do: Controllers) -> None:
        if holds_still and do.tools.chosen is not tool and do.live.active and not do.live.frozen:
            do.live.freeze()
        do.tools.choose(tool)

    return Action(
        str(tool), text, tooltip, run, key, str(tool), Needs.FRAME, "Measure", holds_still=holds_still,
        checked=lambda do: do.tools.chosen is tool,
    )  # fmt: skip


def _point(
    name: str, text: str, tooltip: str, run: Callable[[Controllers], object], key: str, needs: Needs = Needs.FRAME
) -> Action:
    """Works on what was pointed at."""
    return Action(name, text, tooltip, run, key, needs=needs, group="Point")


def _follow(name: str, text: str, tooltip: str, key: str, *, forwards: bool, backwards: bool) -> Action:
    """Follows an outline through the clip."""

    def run(do: Controllers) -> None:
        do.tracking.follow(forwards=forwards, backwards=backwards)

    return _point(name, text, tooltip, run, key, Needs.REVIEW)


# --- the table --------------------------------------------------------------------------------------------------------

_TABLE: tuple[Action, ...] = (
    Action("demo", "Watch the demonstration", "Play a simulated aorta of known diameter",
        lambda do: do.sources.open_live("phantom:?live=1"), "Ctrl+D", "demo", group="Source"),
    Action("open", "Open a file…", "Open a clip, a still or a DICOM file", lambda do: do.sources.ask_for_file(), "O",
        "open", group="Source"),
    Action("open_folder", "Open a folder…", "Open a folder of clips or pictures",
        lambda do: do.sources.ask_for_folder(), "Shift+O", "open", group="Source"),
    _panel("source", "Connect a scanner",
        "Choose a capture card, a camera or the phantom; each shows its picture first", "D", group="Source"),
    Action("close_source", "Close the source", "Let the source go and return to the start",
        lambda do: do.sources.close(), "Ctrl+W", "close", Needs.SOURCE, "Source"),
    Action("mode", "Live / review", "Change between the live source and the clip under review",
        lambda do: do.sources.change_mode(), "L", "review", group="Source"),
    Action("freeze", "Freeze", "Hold this picture with its own overlay; again to go on", lambda do: do.live.freeze(),
        "Space", "freeze", Needs.LIVE, "Measure", checked=lambda do: do.live.frozen),
    _panel("model", "Model", "Choose the model and the engine, read its card, add one", "M"),
    _panel("scale", "Scale", "Where the millimetres come from, and how to get them", "Shift+K"),
    _panel("overlay", "Overlay", "Outline, fill or nothing, and how strong", "V", "eye"),
    _panel("performance", "Performance", "How long each stage takes, and every message so far", "Shift+P"),
    _panel("keys", "Keys", "Every key, and how to change it", "F1"),
    Action("hide_overlay", "Untouched picture", "Hide everything that is drawn on the picture while the key is held",
        lambda do: do.app_state.hide_overlay(True), "H", "eye", Needs.FRAME,
        released=lambda do: do.app_state.hide_overlay(False)),
    Action("mask", "Outline, fill or nothing", "Change how the outlined area is shown", _next_mask, "T",
        needs=Needs.FRAME),
    Action("fit", "Whole picture", "Show the whole picture, as large as it goes", lambda do: do.canvas.fit(), "0",
        needs=Needs.FRAME),
    Action("zoom_in", "Larger", "Enlarge the picture", lambda do: do.canvas.zoom_by(1.25), "+", needs=Needs.FRAME),
    Action("zoom_out", "Smaller", "Make the picture smaller", lambda do: do.canvas.zoom_by(0.8), "-",
        needs=Needs.FRAME),
    Action("fold", "Side panels", "Fold the readings and the timeline away, or show them again",
        lambda do: do.layout.set_side_panels(not do.app_state.settings.side_panels), "F10", "panels",
        checked=lambda do: do.app_state.settings.side_panels),
    Action("full_screen", "Full screen", "Picture and number alone; again to return",
        lambda do: do.layout.set_full_screen(not do.layout.full_screen), "F11", "fullscreen",
        checked=lambda do: do.layout.full_screen),
    Action("dismiss", "Put away", "Close the open panel, end the tool, or put the message away", _dismiss, "Escape"),
    _panel("exam", "Exam", "Plane, site and age as you say; the sweep, the pulse and what was seen so far", "I"),
    Action("plane", "Set the plane", "The plane as seen, transverse, or longitudinal: your word wins over the outline",
        _next_plane, "A", needs=Needs.FRAME, group="Exam"),
    _site(1, Site.PROXIMAL, "Proximal aorta"),
    _site(2, Site.MID, "Mid aorta"),
    _site(3, Site.DISTAL, "Distal aorta"),
    _site(4, Site.RIGHT_ILIAC, "Right iliac artery"),
    _site(5, Site.LEFT_ILIAC, "Left iliac artery"),
    Action("play", "Play / pause", "Play the clip from here, or stay here", lambda do: do.review.play_or_pause(),
        "Space", "play", Needs.REVIEW, "Review", checked=lambda do: do.review.playing),
    _review("step_back", "One frame back", "The frame before", lambda do: do.review.step(-1), "Left", "step_back"),
    _review("step_on", "One frame on", "The next frame", lambda do: do.review.step(1), "Right", "step_on"),
    _review("second_back", "One second back", "A second back, by the clip's own times", lambda do: do.review.skip(-1.0),
        "Shift+Left"),
    _review("second_on", "One second on", "A second on, by the clip's own times", lambda do: do.review.skip(1.0),
        "Shift+Right"),
    _review("first_frame", "First frame", "To the start of the clip", lambda do: do.review.go(0), "Ctrl+Home", "first"),
    _review("last_frame", "Last frame", "To the end of the clip", lambda do: do.review.go(-1), "Ctrl+End", "last"),
    _review("maximum", "Largest diameter", "To the frame with the largest diameter",
        lambda do: do.review.go_to_maximum(), "Home", "maximum"),
    _review("slower", "Slower", "Play slower, down to a quarter of the clip's own rate",
        lambda do: do.review.change_rate(-1), ","),
    _review("faster", "Faster", "Play faster, up to four times the clip's own rate",
        lambda do: do.review.change_rate(1), "."),
    Action("loop", "Loop", "Loop two seconds round this frame, or end the loop", lambda do: do.review.loop_here(),
        "Shift+L", "loop", Needs.REVIEW, "Review", checked=lambda do: do.review.looping),
    _review("loop_start", "Loop from here", "Begin the looped range at this frame",
        lambda do: do.review.loop_from_here(end=False), "["),
    _review("loop_end", "Loop to here", "End the looped range at this frame",
        lambda do: do.review.loop_from_here(end=True), "]"),
    _review("bookmark", "Bookmark", "Bookmark this frame, or take its bookmark away", lambda do: do.review.bookmark(),
        "B", "bookmark"),
    _review("next_bookmark", "Next bookmark", "To the next bookmarked frame", lambda do: do.review.go_to_bookmark(1),
        "Shift+B"),
    _review("last_bookmark", "Bookmark before", "To the bookmarked frame before this one",
        lambda do: do.review.go_to_bookmark(-1), "Ctrl+B"),
    _tool(ManualTool.CALIPER, "Caliper", "Measure straight lengths by hand; a live picture is frozen first", "C",
        holds_still=True),
    _tool(ManualTool.ELLIPSE, "Ellipse", "Measure an ellipse by hand; a live picture is frozen first", "E",
        holds_still=True),
    Action("correct", "Correct the mask",
        "Move, reshape or redraw the outline; the number is measured again, as edited", _correct, "X", "correct",
        Needs.REVIEW, "Measure", checked=lambda do: do.tools.chosen is ManualTool.CORRECT),
    _tool(ManualTool.CALIBRATE, "Two-point scale",
        "Mark two points a known distance apart: the millimetres of this source", "K", holds_still=False),
    Action("undo", "Undo", "Take the last step of the tool in hand back", lambda do: do.tools.undo(), "Ctrl+Z", "undo",
        Needs.FRAME, "Measure"),
    Action("clear_hand", "Remove drawings", "Take everything drawn by hand on this picture away",
        lambda do: do.tools.clear(), "Shift+Delete", needs=Needs.FRAME, group="Measure"),
    Action("save", "Save", "Save this picture with its overlay and numbers, and its JSON", _save, "S", "save",
        Needs.FRAME, "Keep", shown=_save_shown),
    Action("record", "Record", "Record what is shown, annotated and raw; again to finish",
        lambda do: do.capture.toggle_recording(), "R", "record", Needs.FRAME, "Keep",
        checked=lambda do: do.capture.recording),
    Action("export_corrections", "Export corrections", "Write the corrected pictures of this clip as a training set",
        lambda do: do.capture.export_corrections(do.review), "Ctrl+E", "export", Needs.REVIEW, "Keep"),
    Action("point", "Point at it", "Click on a structure and it is outlined; right click excludes, drag draws a box",
        lambda do: do.prompt.toggle(), "P", "point", Needs.FRAME, "Point", holds_still=True,
        checked=lambda do: do.prompt.on),
    _point("point_new", "Another structure", "What is clicked on next is another structure",
        lambda do: do.prompt.begin(), "N"),
    _point("point_next", "Next structure", "Work on the next of the structures that were pointed at",
        lambda do: do.prompt.next_structure(), "Shift+N"),
    _point("point_clear", "Clear this picture", "Take what was pointed at on this picture away",
        lambda do: do.prompt.clear(), "Ctrl+Delete"),
    _point("point_clear_all", "Clear all outlines", "Take everything that was pointed at away, on every picture",
        lambda do: do.prompt.clear_all(), "Ctrl+Shift+Delete"),
    _follow("follow_on", "Follow forwards", "Follow the outline from here to the end of the clip", "F", forwards=True,
        backwards=False),
    _follow("follow_back", "Follow backwards", "Follow the outline from here to the start of the clip", "Shift+F",
        forwards=False, backwards=True),
    _follow("follow_both", "Follow both ways", "Follow the outline from here to both ends of the clip", "Ctrl+F",
        forwards=True, backwards=True),
    _point("follow_stop", "Stop following", "Stop following; what was followed so far stays",
        lambda do: do.tracking.stop_following(), "Shift+Escape"),
    _point("point_brush", "Correct what was outlined", "Reshape or paint the outline that was pointed at",
        lambda do: do.prompt.correct(), "Shift+X"),
    _point("point_take", "Take as corrections",
        "Put the outlines in the place of the model's own, as corrections of it",
        lambda do: do.prompt.take_as_corrections(), "Shift+T", Needs.REVIEW),
    _point("point_export", "Export the outlines", "Write tables, masks (COCO) and a clip of what was pointed at",
        lambda do: do.prompt.export(do.capture.folder()), "Shift+E", Needs.REVIEW),
)  # fmt: skip

ACTIONS: Mapping[str, Action] = {action.id: action for action in _TABLE}


def with_keys(keys: Mapping[str, str]) -> dict[str, Action]:
    """All actions with the user's own keys in the place of the usual ones; an empty key takes it away."""
    return {name: replace(action, key=keys.get(name, action.key)) for name, action in ACTIONS.items()}


def clash(actions: Mapping[str, Action], name: str, key: str) -> Action | None:
    """Another action that already has this key. What needs live and what needs review never meet: these may share."""
    # Space freezes a live picture and plays a clip: one key, never both at once.
    modes = {Needs.LIVE, Needs.REVIEW}
    mine = actions[name].needs
    for other in actions.values():
        apart = {mine, other.needs} == modes
        if other.id != name and key and other.key == key and not apart:
            return other
    return None


def usable_keys(keys: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Those of the user's keys that can be used, and what is wrong with the others, a sentence each.

    They come from a file: an action or a key may not exist, and of two actions with one key neither would work.
    """
    usable, problems = {}, []
    for name, key in keys.items():
        if name not in ACTIONS:
            problems.append(f"The key of '{printable(name[:40])}' belongs to no action and was left out.")
        elif key and (QKeySequence(key).count() != 1 or not QKeySequence(key).toString()):
            problems.append(f"'{printable(key[:40])}' is not a key: '{ACTIONS[name].text}' keeps its usual one.")
        else:
            usable[name] = key
    for name in list(usable):
        # Again each time: an action that keeps its usual key may now clash with the next.
        actions = with_keys(usable)
        if (other := clash(actions, name, actions[name].key)) is not None:
            problems.append(
                f"{usable.pop(name)} is also the key of '{other.text}': '{actions[name].text}' keeps its usual one."
            )
    return usable, tuple(problems)


def key_of(action: Action) -> str:
    """The key as it is shown; empty where there is none."""
    shown = {"Escape": "Esc"}
    return shown.get(action.key, action.key)


def tooltip_of(action: Action) -> str:
    """What it does, with its key."""
    if not action.key:
        return action.tooltip
    return f"{action.tooltip} ({key_of(action)})"
